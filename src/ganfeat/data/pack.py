"""A pack: decoded images in one ``.npy`` memory map, made once and used again.

Beside ``F.npy`` lie ``F.pack.json`` (what it was made from, names, classes, what was skipped) and, where
there are labels, ``F.labels.npy``. The map is written under another name and renamed last, so a ``F.npy``
that exists is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.images import ImageDataset, Skipped
from ganfeat.errors import InputError

# Raise the number when the same request would give other pixels.
FORMAT = "ganfeat-pack/1 bicubic centre-crop"


@dataclass(frozen=True)
class Request:
    """What decides the contents of a pack. `size` and `channels` are as asked for, so may be None."""

    signature: str
    size: int | None
    channels: int | None
    limit: int | None


def check_pack_path(pack: Path) -> None:
    """Refuse a path that is not for a ``.npy`` file.

    Raises
    ------
    InputError
        Naming a path that would do.
    """
    if pack.suffix != ".npy" or pack.is_dir():
        raise InputError(f"pack={str(pack)!r} is not a .npy file: use {str(pack.with_suffix('.npy'))!r}")


def read_pack(pack: Path, request: Request) -> tuple[ImageDataset, int] | None:
    """Open a pack if there is one and it is what `request` would make.

    Returns
    -------
    tuple of ImageDataset and int, or None
        The memory-mapped images and the number of candidates that they were made from; None where there
        is no pack yet.

    Raises
    ------
    InputError
        If there is a file that belongs to other images or settings, or is damaged.
    """
    if not pack.exists():
        return None
    notes = _beside(pack, ".pack.json")
    other = "delete it, or give another path for the pack"
    if not notes.is_file():
        raise InputError(f"{pack} was not made by load_images(pack=…) (there is no {notes.name}): {other}")
    try:
        known: dict[str, Any] = json.loads(notes.read_text("utf-8"))
        kind, count, made = known["format"], int(known["count"]), Request(**known["request"])
        shape = tuple(known["shape"])
        has_labels = bool(known["labels"])
        source, classes, ids, skipped = (known[name] for name in ("source", "classes", "ids", "skipped"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{notes} is damaged ({error}): {other}") from error
    if kind != FORMAT:
        raise InputError(f"{pack} was made by another version of ganfeat ({kind}): {other}")
    differences = []
    if made.signature != request.signature:
        differences.append(f"it was made from other images, {source} as it was then")
    for name, asked, have, got in (
        ("size", request.size, made.size, shape[1]),
        ("channels", request.channels, made.channels, shape[3]),
        ("limit", request.limit, made.limit, made.limit),
    ):
        if asked != have and (asked is None or asked != got):
            differences.append(f"it was made with {name}={have}, not {asked}")
    if differences:
        raise InputError(f"{pack} cannot be used: {'; '.join(differences)}. To replace it {other}")
    try:
        images = np.load(pack, mmap_mode="r", allow_pickle=False)
        labels = np.load(_beside(pack, ".labels.npy"), allow_pickle=False) if has_labels else None
        if images.shape != shape:
            raise InputError(f"it has shape {images.shape} and not {shape}")
        dataset = ImageDataset(images, labels, classes, ids, skipped, source)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{pack} is damaged ({error}): {other}") from error
    return dataset, count


def write_pack(
    pack: Path,
    request: Request,
    shape: tuple[int, int, int, int],
    count: int,
    fill: Callable[[NDArray[np.uint8]], ImageDataset],
) -> ImageDataset:
    """Make a pack.

    Parameters
    ----------
    pack : Path
        The ``.npy`` file to make. Its folder is made too.
    request : Request
        What it answers.
    shape : tuple of int
        Of the array given to `fill`.
    count : int
        Number of candidates.
    fill : callable
        Fills the array from the front and returns the dataset, whose images are the filled part.

    Returns
    -------
    ImageDataset
        The same, memory-mapped for reading.
    """
    pack.parent.mkdir(parents=True, exist_ok=True)
    partial = pack.with_name(f".{pack.name}.{os.getpid()}.partial")
    try:
        pixels = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(partial)
        made = fill(pixels)
        kept, offset = len(made), pixels.offset
        pixels.flush()
        made_shape = (kept, *shape[1:])
        if kept < shape[0]:
            _shorten(partial, made_shape, offset)
        notes = {
            "format": FORMAT,
            "request": asdict(request),
            "source": made.source,
            "shape": made_shape,
            "count": count,
            "labels": made.labels is not None,
            "classes": made.classes,
            "skipped": made.skipped,
            "ids": made.ids,
        }
        _replace(_beside(pack, ".pack.json"), lambda path: path.write_text(json.dumps(notes), "utf-8"))
        beside = _beside(pack, ".labels.npy")
        beside.unlink(missing_ok=True)
        if made.labels is not None:
            labels = made.labels
            _replace(beside, lambda path: _save(path, labels))
        partial.replace(pack)
    finally:
        partial.unlink(missing_ok=True)
    images = np.load(pack, mmap_mode="r", allow_pickle=False)
    skipped = tuple(Skipped(*entry) for entry in made.skipped)
    return ImageDataset(images, made.labels, made.classes, made.ids, skipped, made.source)


def _beside(pack: Path, suffix: str) -> Path:
    return pack.with_name(pack.stem + suffix)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _reserve(path: Path) -> None:
    """Claim the room on the disk: writing to a map for which there is none would kill the process."""
    size = path.stat().st_size
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise InputError(f"no room for a pack of {size / 1e9:.1f} GB at {path.parent}: {error}") from error


def _shorten(path: Path, shape: tuple[int, ...], offset: int) -> None:
    """Cut the rows that were not filled. NumPy leaves room in the header for any number of rows."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with path.open("r+b") as file:
        np.lib.format.write_array_header_1_0(file, header)
        if file.tell() != offset:
            raise RuntimeError("the header of a .npy file changed its length")
        file.truncate(offset + int(np.prod(shape)))
