"""The first step of ``ganfeat prepare``: any source of images, decoded in all sizes, into a packed set."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ganfeat.config import differences
from ganfeat.data.batch import default_workers
from ganfeat.data.bundled import BUNDLED
from ganfeat.data.decode import FastJpeg, UnreadableImageError, quiet_pillow, read_header
from ganfeat.data.encoded import Unreadable
from ganfeat.data.folder import printable
from ganfeat.data.packed import Dropped, PackedSet, SetWriter, open_set
from ganfeat.data.resize import MAX_SIZE
from ganfeat.data.sets import CARD, is_set
from ganfeat.data.shards import Candidate, ShardedSource, open_shards, read_shard
from ganfeat.data.work_folder import remove_work
from ganfeat.errors import InputError, MissingExtraError
from ganfeat.prepare.crew import in_order
from ganfeat.prepare.reasons import BY_CONTENT, MOST, OTHER, kind_of, suffix_of_image
from ganfeat.prepare.report import Noted, write_report
from ganfeat.prepare.work import GLIMPSE, Box, Cropper, Job, Lost, Made, NothingToCutError, glimpse_of, make, resized

__all__ = ["Box", "Cropper", "NothingToCutError", "Plan", "Result", "check_settings", "plan", "read", "settle_channels"]

_CHUNK, _CHUNK_BYTES = 16, 1 << 23
_COMMIT_CANDIDATES, _COMMIT_SECONDS = 4096, 30.0
_LOOKED_AT = 256
_GLIMPSES = 8
"""Pictures of dropped images that are kept for the report, of each reason."""
_SUFFIXES = 30

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Result:
    """What came of a reading.

    Attributes
    ----------
    packed : PackedSet
    counts : dict
        What ``steps/read/counts.json`` holds.
    resumed : int
        How many candidates had been read before, by a process that was ended.
    finished_before : bool
        Nothing was left to do.
    """

    packed: PackedSet
    counts: dict[str, Any]
    resumed: int = 0
    finished_before: bool = field(default=False)


def read(
    source: str,
    path: Path,
    sizes: Sequence[int],
    *,
    channels: int | None = None,
    fast_jpeg: FastJpeg | None = None,
    cropper: Cropper | None = None,
    workers: int | None = None,
    processes: bool = False,
    progress: Progress | None = None,
    planned: Plan | None = None,
) -> Result:
    """Read a source into a packed set, or go on with a set that is not finished.

    Parameters
    ----------
    source : str
        As :func:`~ganfeat.data.shards.open_shards` takes it.
    path : Path
        The set's folder: new, empty, or of a set that was begun with the same settings.
    sizes : sequence of int
        Sides of the square results, 1..1024. Each is made from the decoded image, not from another size.
    channels : {1, 3}, optional
        Grey or RGB. By default grey if the first 256 images that can be opened are, else RGB: how images are stored is
        not known of all before they are read.
    fast_jpeg : {"draft", "simplejpeg"}, optional
        Decode large JPEGs at a fraction of their size (see :func:`~ganfeat.data.decode.decode_upright`). Without it,
        pixels are those of :func:`~ganfeat.data.load_images`.
    cropper : Cropper, optional
        Finds the parts of each image that become rows, in its full size.
    workers : int, optional
        How many decode at once; by default as many as there are cores, and 8 threads at most. The result
        does not depend on it.
    processes : bool
        Whether these are processes, which they always are for a `cropper`: what it holds may be of use to one thread
        alone.
    progress : callable, optional
        Called with (candidates done, candidates in all, or 0 where that is not known).
    planned : Plan, optional
        What :func:`plan` made of the same arguments: the files are not listed again.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        If there is nothing to read, or the folder is of another set.
    RunError
        If the disk is full.
    """
    planned = planned or plan(source, sizes, channels, fast_jpeg, cropper)
    job, settings, opened = planned.job, planned.settings, planned.source
    refuse_inside(source, path)
    if is_finished(path):
        return _finished(path, settings)
    if opened.count == 0:
        raise InputError(f"there are no images in {opened.name}")
    writer = SetWriter(path, job.sizes, job.channels, settings=settings, total=None if cropper else opened.count)
    with writer, quiet_pillow():
        before = int(writer.position.get("candidates", 0))
        if not writer.position:
            _note_listing(writer, opened, job)
        processes = processes or cropper is not None
        hands = workers or (default_workers(None) if processes else default_workers())
        _read_all(writer, opened, job, hands, processes, progress)
        if not writer.count:
            told = "".join(f"\n  {count:,} × {kind}" for kind, count in writer.kinds.most_common(8))
            raise InputError(
                f"no image in {opened.name} can be used:{told}\nDelete {path} when the images are repaired"
            )
        write_report(writer, int(writer.position["candidates"]), _noted(writer))
        packed = writer.finish(opened.name, opened.classes)
    return Result(packed, _counts(path), before)


def settle_channels(source: ShardedSource) -> int:
    """Choose 1 channel if the first images that can be opened are grey, else 3."""
    seen = 0
    with quiet_pillow():
        for shard in source.shards():
            for candidate in read_shard(shard):
                if (grey := _is_grey(candidate)) is None:
                    continue
                if not grey:
                    return 3
                seen += 1
                if seen == _LOOKED_AT:
                    return 1
    return 1 if seen else 3


def _is_grey(candidate: Candidate) -> bool | None:
    item = candidate.item
    if isinstance(item, np.ndarray):
        return item.shape[2] == 1
    try:
        return None if isinstance(item, Unreadable) else read_header(item).grey
    except UnreadableImageError:
        return None


@dataclass(frozen=True)
class Plan:
    """What is to be read and made, and all settings that decide what comes of it."""

    job: Job
    settings: dict[str, Any]
    source: ShardedSource


def plan(
    source: str,
    sizes: Sequence[int],
    channels: int | None = None,
    fast_jpeg: FastJpeg | None = None,
    cropper: Cropper | None = None,
) -> Plan:
    """Check what is asked for, and list the files. Arguments and errors are those of :func:`read`."""
    sizes = tuple(dict.fromkeys(sizes))
    if not sizes or not all(isinstance(size, int) and 1 <= size <= MAX_SIZE for size in sizes):
        raise InputError(f"sizes {', '.join(map(str, sizes)) or 'none'}: give one or more whole numbers, 1..{MAX_SIZE}")
    if channels not in (None, 1, 3):
        raise InputError(f"channels={channels}: give 1 (grey) or 3 (RGB), or leave it out")
    if fast_jpeg is not None and cropper is not None:
        raise InputError(f"fast JPEG decoding and {cropper.name} exclude each other: parts are cut from full images")
    if fast_jpeg == "simplejpeg":
        try:
            import simplejpeg  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("simplejpeg", "fast", "fast JPEG decoding by simplejpeg") from error
    opened = open_shards(source, shape=(max(sizes), max(sizes), channels or 3))
    _check_channels(opened)
    job = Job(sizes, channels or settle_channels(opened), fast_jpeg, cropper)
    settings = {
        "source": _where(source),
        "signature": opened.signature,
        "fast_jpeg": fast_jpeg,
        "cut": None if cropper is None else {"name": cropper.name, **cropper.card},
    }
    return Plan(job, {**settings, "sizes": list(sizes), "channels": job.channels}, opened)


def _check_channels(source: ShardedSource) -> None:
    """Refuse arrays of pixels that are neither grey nor RGB, which are told by the first."""
    shard = next(source.shards(), None)
    if shard is None or shard.kind not in ("pixels", "packed", "bundled"):
        return
    item = next((candidate.item for candidate in read_shard(shard)), None)
    if isinstance(item, np.ndarray) and item.shape[2] not in (1, 3):
        raise InputError(
            f"the images in {source.name} have {item.shape[2]} channels, and sets are grey or RGB: save those you mean "
            "first, as in np.save('rgb.npy', images[..., :3])"
        )


def _where(source: str) -> str:
    """Name a source alike from every folder."""
    named = source in BUNDLED or source.startswith("hf://")
    return printable(source if named else str(Path(source).expanduser().resolve()))


def refuse_inside(source: str, path: Path) -> None:
    """Refuse a set in the folder that it is made of: its pictures would be images of the source.

    Raises
    ------
    InputError
    """
    folder = Path(source.removeprefix("hf://")).expanduser()
    if source not in BUNDLED and folder.is_dir() and path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path} lies in {source}, and would be read as a part of it: give a folder outside of it")


def is_finished(path: Path) -> bool:
    """Tell whether a folder holds a finished set."""
    return (path / CARD).is_file() and is_set(path)


def _finished(path: Path, settings: Mapping[str, Any]) -> Result:
    packed = open_set(path)
    check_settings(path, packed.card["settings"], settings)
    remove_work(path)  # of a process that was killed after its last file was written
    return Result(packed, _counts(path), finished_before=True)


def check_settings(path: Path, made: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse a finished set that was made with other settings.

    Raises
    ------
    InputError
        It names what differs.
    """
    told = {"signature": "the images have changed since"}
    lines = [told.get(line.partition(":")[0], line) for line in differences(made, json.loads(json.dumps(asked)))]
    if lines:
        raise InputError(
            f"{path} is a finished set, made otherwise ({'; '.join(lines)}): give another folder, or delete it"
        )


def _note_listing(writer: SetWriter, source: ShardedSource, job: Job) -> None:
    """Note what listing the files has found: links, pipes, and images that are named as something else."""
    found = 0
    for skipped in source.skipped:
        writer.drop([Dropped(skipped.source, source.name, kind_of(skipped.reason), skipped.reason)])
        found += 1
    suffixes = Counter[str]()
    for path in source.others:
        if (suffix := suffix_of_image(path)) is None:
            suffix = printable(path.suffix.lower()) or "no suffix"
            suffixes[suffix if suffix in suffixes or len(suffixes) < _SUFFIXES else "other"] += 1
            continue
        reason = f"{BY_CONTENT}: rename it to end in {suffix}"
        name = printable(str(path))
        inside = name.removeprefix(str(Path(source.name).absolute())).lstrip("/")
        made = make(job, [Candidate(inside, name, path, None)]) if writer.kinds[BY_CONTENT] < _GLIMPSES else None
        _drop(writer, job, [Lost(Dropped(inside, name, BY_CONTENT, reason), _first_picture(made))])
        found += 1
    writer.note({"others": dict(sorted(suffixes.items()))})
    writer.commit({"shard": 0, "done": 0, "candidates": found})


def _first_picture(made: Made | None) -> Any:
    if made is None or not made.rows:
        return None
    return resized(next(iter(made.images.values()))[0], [GLIMPSE])[0]


def _read_all(
    writer: SetWriter,
    source: ShardedSource,
    job: Job,
    workers: int,
    processes: bool,
    progress: Progress | None,
) -> None:
    position = dict(writer.position)
    start, before = (int(position["shard"]), int(position["done"])), int(position["candidates"])
    listed = before if start == (0, 0) else None
    total = (source.count or 0) + (listed or 0)
    since, last = 0, time.monotonic()
    with closing(in_order(_chunks(source, *start), partial(make, job), workers, processes)) as results:
        for place, made in results:
            writer.add(made.images, made.rows)
            _drop(writer, job, made.lost)
            before += made.candidates
            since += made.candidates
            position = {"shard": place[0], "done": place[1], "candidates": before}
            if since >= _COMMIT_CANDIDATES or time.monotonic() - last > _COMMIT_SECONDS:
                writer.commit(position)
                since, last = 0, time.monotonic()
            if progress is not None:
                progress(before, max(total, before) if source.count else 0)
    writer.commit(position)


def _chunks(source: ShardedSource, first: int, done: int) -> Iterator[tuple[tuple[int, int], list[Candidate]]]:
    """A few candidates at a time, from a position on, each with the position behind it."""
    for shard in islice(source.shards(), first, None):
        skip = done if shard.index == first else 0
        chunk: list[Candidate] = []
        size = 0
        for number, candidate in enumerate(read_shard(shard), 1):
            if number <= skip:
                continue
            chunk.append(candidate)
            size += _size(candidate)
            if len(chunk) == _CHUNK or size >= _CHUNK_BYTES:
                yield (shard.index, number), chunk
                chunk, size = [], 0
        yield (shard.index + 1, 0), chunk


def _size(candidate: Candidate) -> int:
    item = candidate.item
    return len(item) if isinstance(item, bytes) else item.nbytes if isinstance(item, np.ndarray) else 0


def _drop(writer: SetWriter, job: Job, lost: Sequence[Lost]) -> None:
    for dropped, glimpse, candidate in lost:
        if dropped.kind not in writer.kinds and len(writer.kinds) >= MOST:
            dropped = dropped._replace(kind=OTHER)
        if writer.kinds[dropped.kind] >= _GLIMPSES:
            glimpse = None
        elif candidate is not None:
            glimpse = glimpse_of(candidate, job.channels)
        if glimpse is not None:
            pixels = base64.b85encode(np.ascontiguousarray(glimpse).tobytes()).decode()
            writer.note({"kind": dropped.kind, "id": dropped.id, "shape": glimpse.shape, "pixels": pixels})
        writer.drop([dropped])


def _noted(writer: SetWriter) -> Noted:
    noted = Noted()
    for entry in writer.notes():
        if "others" in entry:
            noted.others.update(entry["others"])
        else:
            pixels = np.frombuffer(base64.b85decode(entry["pixels"]), np.uint8).reshape(entry["shape"])
            noted.glimpses.setdefault(entry["kind"], []).append((entry["id"], pixels))
    return noted


def _counts(path: Path) -> dict[str, Any]:
    counts: dict[str, Any] = json.loads((path / "steps" / "read" / "counts.json").read_text("utf-8"))
    return counts
