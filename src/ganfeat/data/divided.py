"""Every kind of source in pieces: which it is, how it is divided, and how a piece is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.data import array_files, mat_files, pixel_files, sets, tables, tar_files
from ganfeat.data.bundled import BUNDLED
from ganfeat.data.encoded import Unreadable
from ganfeat.data.folder import found_file, is_image_name, printable, signature_of
from ganfeat.data.images import ImageDataset, Skipped
from ganfeat.data.listing import ListedFolder, read_listed
from ganfeat.data.shards import Candidate, Known, LabelKind, Shard, ShardedSource
from ganfeat.data.sources import matches_of, missing
from ganfeat.errors import InputError


@dataclass(frozen=True)
class Divided:
    """Files in pieces, as :class:`~ganfeat.data.shards.ShardedSource`."""

    name: str
    signature: str
    pieces: Callable[[], Iterator[Shard]]
    classes: tuple[str, ...] | None = None
    count: int | None = None
    skipped: Iterable[Skipped] = ()
    others: Iterable[Path] = ()
    labelled: bool | None = None
    label_kind: LabelKind | None = None

    def shards(self) -> Iterator[Shard]:
        """Give the pieces."""
        return self.pieces()


def divide(source: str, rows: int, shape: tuple[int, ...] | None) -> ShardedSource:
    """Do :func:`~ganfeat.data.shards.open_shards`."""
    source = os.fspath(source)
    if source in BUNDLED:
        return _bundled(source, rows)
    if source.startswith("hf://"):
        from ganfeat.data import hub

        return hub.open_hub(source)
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, rows, shape)
    if path.is_file():
        return _file(path, rows)
    if path.exists():
        raise InputError(f"{path} is neither a file nor a folder: give one of these")
    if found := matches_of(path):
        return _several(found, source, rows, path)
    raise missing(path, source)


def _folder(path: Path, rows: int, shape: tuple[int, ...] | None) -> ShardedSource:
    if sets.is_set(path):
        return _packed(path, rows, shape)
    listed = ListedFolder(path, rows)
    if listed.count:
        return listed
    others = sorted(listed.others)
    for chosen in (
        [other for other in others if tar_files.is_tar_name(other.name)],
        [other for other in others if other.suffix.lower() in tables.SUFFIXES],
    ):
        if chosen:
            return _several(chosen, str(path), rows, path)
    single = array_files.idx_among(others) + [one for one in others if one.suffix.lower() in mat_files.SUFFIXES]
    if len(single) > 1:
        raise InputError(f"{path} holds several image files, say which: {', '.join(map(str, single))}")
    if single:
        return _file(single[0], rows)
    unseen = "".join(f"\n  {name}: {reason}" for name, reason in list(listed.skipped)[:5])
    raise InputError(
        f"no images under {path}: looked for image files (then tar, parquet, IDX and .mat) in "
        f"{len(others)} files{'; could not be looked at:' if unseen else ''}{unseen}"
    )


def _file(path: Path, rows: int) -> ShardedSource:
    if tar_files.is_tar_name(path.name) or path.suffix.lower() in tables.SUFFIXES:
        return _several([path], str(path), rows, path)
    if is_image_name(path.name):
        alone = Shard(0, "folder", (str(path.parent.absolute()), path.name), 0, 1, {"labelled": False})
        return Divided(printable(str(path)), _signature([path]), lambda: iter([alone]), None, 1, labelled=False)
    pixels = pixel_files.open_pixels(path)
    if pixels is None:
        raise InputError(
            f"{path} is of no kind that is read: expected an image, .tar, .parquet, .mat, .npy, .npz or IDX"
        )
    files = [path, *pixels.label_files]
    step = rows if pixels.divisible else pixels.count
    where = str(path.absolute())

    def pieces() -> Iterator[Shard]:
        for index, start in enumerate(range(0, pixels.count, step)):
            yield Shard(index, "pixels", (where,), start, min(start + step, pixels.count))

    known = _numbers(pixels.labels is not None)
    return Divided(printable(str(path)), _signature(files), pieces, pixels.classes, pixels.count, **known)


def _several(paths: list[Path], name: str, rows: int, root: Path) -> ShardedSource:
    """Tar or parquet files."""
    name = printable(name)
    tars = [path for path in paths if tar_files.is_tar_name(path.name)]
    parquet = [path for path in paths if path.suffix.lower() in tables.SUFFIXES]
    if bool(tars) == bool(parquet):
        found = "tar and parquet files" if tars else f"{len(paths)} files, none of which is tar or parquet"
        raise InputError(f"{name!r} names {found}: name either, or for images give their folder")
    chosen = tars or parquet
    names = _names(chosen)
    if tars:
        return Divided(name, _signature(tars), lambda: _tar_pieces(tars, names))
    if root.is_dir():
        tables.one_split(parquet, root)
    table = tables.describe(parquet)
    return Divided(
        name,
        _signature(parquet),
        lambda: _parquet_pieces(parquet, names, table, rows),
        table.classes or None,
        sum(table.rows),
        labelled=table.label is not None,
        label_kind=table.label_kind,
    )


def _numbers(labelled: bool) -> dict[str, Any]:
    return {"labelled": labelled, "label_kind": "int64" if labelled else None}


def _names(paths: list[Path]) -> list[str]:
    """Short names of files, that differ: the last part where that is enough."""
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        above = os.path.commonpath([path.parent for path in paths])
        names = [os.path.relpath(path, above) for path in paths]
    return [printable(name) for name in names]


def _tar_pieces(paths: list[Path], names: list[str]) -> Iterator[Shard]:
    for index, (path, name) in enumerate(zip(paths, names, strict=True)):
        yield Shard(index, "tar", (str(path.absolute()),), 0, 0, {"name": name})


def _parquet_pieces(paths: list[Path], names: list[str], table: tables.Table, rows: int) -> Iterator[Shard]:
    index = start = 0
    for path, name in zip(paths, names, strict=True):
        first = 0
        for groups, count in _bundles(tables.group_sizes(path), rows):
            details = {"name": name, "first": first, "groups": groups, "image": table.image, "label": table.label}
            yield Shard(index, "parquet", (str(path.absolute()),), start, start + count, details)
            index, start, first = index + 1, start + count, first + count


def _bundles(sizes: list[int], rows: int) -> Iterator[tuple[list[int], int]]:
    groups: list[int] = []
    count = 0
    for group, size in enumerate(sizes):
        groups.append(group)
        count += size
        if count >= rows or group + 1 == len(sizes):
            yield groups, count
            groups, count = [], 0


def _packed(path: Path, rows: int, shape: tuple[int, ...] | None) -> ShardedSource:
    found = sets.open_set(path, None if shape is None else sets.nearest(path, shape[0]))
    where = str(path.absolute())
    size, known = found.size, _numbers(bool(found.card["labelled"]))

    def pieces() -> Iterator[Shard]:
        for index, start in enumerate(range(0, len(found), rows)):
            yield Shard(index, "packed", (where,), start, min(start + rows, len(found)), {"size": size})

    return Divided(printable(str(path)), found.signature, pieces, found.classes, len(found), **known)


def _bundled(name: str, rows: int) -> ShardedSource:
    dataset = _loaded(name)
    known = _numbers(dataset.labels is not None)

    def pieces() -> Iterator[Shard]:
        for index, start in enumerate(range(0, len(dataset), rows)):
            yield Shard(index, "bundled", (name,), start, min(start + rows, len(dataset)))

    return Divided(dataset.source, dataset.fingerprint(), pieces, dataset.classes, len(dataset), **known)


@lru_cache(maxsize=1)
def _loaded(name: str) -> ImageDataset:
    return BUNDLED[name]()


def _signature(paths: list[Path]) -> str:
    return signature_of(tuple(found_file(path) for path in paths))


def _read_parquet(shard: Shard) -> Iterator[Candidate]:
    path, about = Path(shard.paths[0]), shard.details
    source, row = printable(str(path)), about["first"]
    try:
        for item, label in tables.read_rows(path, about["image"], about["label"], about["groups"]):
            known = None if isinstance(label, int) and not 0 <= label < 2**63 else label
            yield Candidate(f"{about['name']}:{row}", source, item, known)
            row += 1
    except InputError as error:
        reason = str(error).removeprefix(f"{path} ")
        for missed in range(row, about["first"] + shard.stop - shard.start):
            yield Candidate(f"{about['name']}:{missed}", source, Unreadable(f"the parquet file {reason}"), None)


def _read_tar(shard: Shard) -> Iterator[Candidate]:
    path = Path(shard.paths[0])
    name, source = shard.details["name"], printable(str(path))
    for member in tar_files.read_tar(path):
        yield Candidate(f"{name}:{member.name}" if member.name else name, source, member.content, member.label)


def _read_pixels(shard: Shard) -> Iterator[Candidate]:
    path = Path(shard.paths[0])
    pixels = pixel_files.open_pixels(path)
    if pixels is None or pixels.count < shard.stop:
        raise InputError(f"{path} is not the file that it was: start again")
    source, row = printable(str(path)), shard.start
    try:
        for block in pixels.blocks(shard.start, shard.stop):
            for image in block:
                yield _pixels(source, row, image, pixels.labels)
                row += 1
    except InputError as error:
        reason = str(error).removeprefix(f"{path} ")
        for missed in range(row, shard.stop):
            yield Candidate(str(missed), source, Unreadable(f"the file {reason}"), None)


def _read_packed(shard: Shard) -> Iterator[Candidate]:
    found = sets.open_set(shard.paths[0], shard.details["size"])
    smaller = {size: sets.open_set(found.path, size).images for size in found.sizes if size < found.size}
    columns = ["id", "source", "width", "height", "hash"]
    columns += [name for name, has in (("label", found.card["labelled"]), ("box", found.card["boxed"])) if has]
    for row, values in enumerate(found.rows(columns, shard.start, shard.stop), shard.start):
        of = dict(zip(columns, values, strict=True))
        box = None if of.get("box") is None else tuple(of["box"])
        pixels = {size: images[row] for size, images in smaller.items()}
        known = Known(of["source"], of["width"], of["height"], of["hash"], box, pixels)
        yield Candidate(of["id"], printable(shard.paths[0]), found.images[row], of.get("label"), known)


def _read_bundled(shard: Shard) -> Iterator[Candidate]:
    dataset = _loaded(shard.paths[0])
    for row in range(shard.start, shard.stop):
        yield _pixels(dataset.source, row, dataset.images[row], dataset.labels)


def _pixels(source: str, row: int, image: NDArray[np.uint8], labels: NDArray[np.int64] | None) -> Candidate:
    label = None if labels is None or labels[row] < 0 else int(labels[row])
    return Candidate(str(row), source, image, label)


def _read_hub(shard: Shard) -> Iterator[Candidate]:
    from ganfeat.data import hub

    return hub.read(shard)


READERS: dict[str, Callable[[Shard], Iterator[Candidate]]] = {
    "folder": read_listed,
    "parquet": _read_parquet,
    "tar": _read_tar,
    "pixels": _read_pixels,
    "packed": _read_packed,
    "bundled": _read_bundled,
    "hub": _read_hub,
}
