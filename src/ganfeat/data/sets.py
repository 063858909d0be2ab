"""Packed sets: a folder with decoded images of one or several sizes, and a table of what is known of each.

``images-64.npy``
    uint8 ``(n, 64, 64, channels)``, to be memory-mapped; one such file a size.
``index.parquet``
    A row an image, in the same order: ``id``, ``source``, ``width`` and ``height`` (of the image as it was found),
    ``hash`` (SHA-256, hexadecimal, of the encoded bytes or of the pixels), ``label`` (where there are any; null where
    an image has none) and ``box`` (left, top, right, bottom, where images were cut).
``steps/NAME/``
    What each step of ``ganfeat prepare`` kept and dropped.
``set.json``
    Sizes, channels, classes, settings. Written last: a folder that has it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.images import ImageDataset
from ganfeat.errors import InputError
from ganfeat.parquet import batches

FORMAT = "ganfeat-set/1"
CARD = "set.json"
INDEX = "index.parquet"
WORK = ".work"
"""Folder in a set that is not finished."""

JOURNAL = "journal.json"
"""In that folder: how far the set is."""

_ROWS_AT_ONCE = 1 << 14
_OURS = re.compile(rb'"format"\s*:\s*"ganfeat-set/')
_HEAD = 4096


def images_file(size: int) -> str:
    """Name of the file with the images of one size."""
    return f"images-{size}.npy"


def is_set(path: Path) -> bool:
    """Tell whether a folder is a packed set, and not one that holds something else of the same name.

    Raises
    ------
    InputError
        If it is one that is not finished.
    """
    if (path / CARD).is_file():
        try:
            with (path / CARD).open("rb") as file:
                head = file.read(_HEAD)
        except OSError as error:
            raise InputError(f"{path / CARD} cannot be read: {error.strerror}") from error
        # A damaged card beside a set's other files is a damaged set.
        if _OURS.search(head) or ((path / INDEX).is_file() and next(path.glob("images-*.npy"), None) is not None):
            return True
    if is_begun(path):
        raise InputError(f"{path} is a set that is not finished: run the same `ganfeat prepare` again, it continues")
    return False


def is_begun(path: Path) -> bool:
    """Tell whether a folder holds a set that is not finished, or the first step of one."""
    first = path / WORK / "read"
    return (path / WORK / JOURNAL).is_file() or (first.is_dir() and ((first / CARD).is_file() or is_begun(first)))


@dataclass(frozen=True, eq=False)
class PackedSet:
    """A finished set.

    Attributes
    ----------
    path : Path
    card : dict
        What ``set.json`` holds.
    size : int
        Of ``images``.
    images : memmap of uint8, shape (n, size, size, channels)
    """

    path: Path
    card: dict[str, Any]
    size: int
    images: NDArray[np.uint8] = field(repr=False)

    def __len__(self) -> int:
        return int(self.card["count"])

    @property
    def sizes(self) -> tuple[int, ...]:
        """All sizes, in the order in which they were asked for."""
        return tuple(self.card["sizes"])

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(self.card["channels"])

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes."""
        return None if self.card["classes"] is None else tuple(self.card["classes"])

    @property
    def signature(self) -> str:
        """SHA-256 of the card and of the files' sizes and times."""
        digest = hashlib.sha256((self.path / CARD).read_bytes())
        for name in (INDEX, *map(images_file, self.sizes)):
            status = (self.path / name).stat()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    @cached_property
    def labels(self) -> NDArray[np.int64] | None:
        """Labels, -1 where an image has none; None where none has."""
        if not self.card["labelled"]:
            return None
        labels = np.full(len(self), -1, np.int64)
        for start, batch in self._batches(["label"]):
            column = batch.column(0).fill_null(-1)
            labels[start : start + len(column)] = column.to_numpy(zero_copy_only=False)
        return labels

    def rows(
        self, columns: Sequence[str] = ("id",), start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Go through the index, with few rows in memory."""
        stop = len(self) if stop is None else min(stop, len(self))
        for first, batch in self._batches(list(columns), start, stop):
            part = batch.slice(max(0, start - first), max(0, stop - max(first, start)))
            yield from zip(*(part.column(name).to_pylist() for name in columns), strict=True)

    def _batches(self, columns: list[str], start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Any]]:
        """Batches that hold the rows ``start`` .. ``stop - 1``, with the place of their first row."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        stop = len(self) if stop is None else stop
        try:
            with pq.ParquetFile(self.path / INDEX) as table:
                first, groups, place = 0, list[int](), None
                for group in range(table.num_row_groups):
                    rows = table.metadata.row_group(group).num_rows
                    if first < stop and first + rows > start:
                        groups.append(group)
                        place = first if place is None else place
                    first += rows
                if first != len(self):
                    raise InputError(f"{self.path / INDEX} has {first} rows and not {len(self)}: prepare the set again")
                place = place or 0
                for batch in batches(table, _ROWS_AT_ONCE, columns, groups):
                    yield place, batch
                    place += len(batch)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise InputError(f"{self.path / INDEX} is damaged ({error}): prepare the set again") from error

    def dataset(self) -> ImageDataset:
        """All of it, as :func:`~ganfeat.data.load_images` gives it. Names and labels are held in memory."""
        ids = tuple(row[0] for row in self.rows())
        return ImageDataset(self.images, self.labels, self.classes, ids, (), str(self.path))


def open_set(path: str | os.PathLike[str], size: int | None = None) -> PackedSet:
    """Open a packed set.

    Parameters
    ----------
    path : path
        Its folder.
    size : int, optional
        One that it has; by default the first that was asked for when it was made.

    Raises
    ------
    InputError
        If it is none, is not finished, is damaged, or has no such size.
    """
    folder = Path(path)
    if not is_set(folder):
        raise InputError(f"{folder} is no packed set (it has no {CARD}): `ganfeat prepare DATA --out SET` makes one")
    card = _card(folder)
    sizes, shape = card["sizes"], (card["count"], card["channels"])
    size = sizes[0] if size is None else size
    if size not in sizes:
        raise InputError(f"{folder} has images of size {', '.join(map(str, sizes))}, and not of {size}")
    file = folder / images_file(size)
    try:
        images = np.load(file, mmap_mode="r" if shape[0] else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}): prepare the set again") from error
    expected = (shape[0], size, size, shape[1])
    if images.shape != expected or images.dtype != np.uint8:
        found = f"{images.dtype} of shape {images.shape}"
        raise InputError(f"{file} holds {found} and not {expected}: prepare the set again")
    return PackedSet(folder, card, size, images)


def nearest(path: str | os.PathLike[str], size: int) -> int:
    """Choose the size of a set from which images of `size` are made: that itself, else the next larger one.

    Raises
    ------
    InputError
        If all are smaller.
    """
    sizes = _card(Path(path))["sizes"]
    larger = [own for own in sizes if own >= size]
    if not larger:
        raise InputError(
            f"{path} has images of size {', '.join(map(str, sizes))}: for {size} prepare it again, with --size {size}"
        )
    return int(min(larger))


def open_dataset(path: Path, size: int | None) -> ImageDataset:
    """Open the images of a set from which those of `size` are made."""
    return open_set(path, None if size is None else nearest(path, size)).dataset()


def _card(folder: Path) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_text("utf-8"))
        known, sizes, numbers = card["format"], card["sizes"], (card["count"], card["channels"], *card["sizes"])
        card = {"classes": None, "labelled": False, "boxed": False, **card}
        if not sizes or not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise ValueError("sizes and numbers are wrong")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / CARD} is damaged ({error}): prepare the set again") from error
    if known != FORMAT:
        raise InputError(f"{folder} was made by another version of ganfeat ({known}): prepare the set again")
    return card
