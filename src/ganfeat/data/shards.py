"""Sources of any length in pieces, which can be read one by one, on any machine that sees the files.

:func:`open_shards` finds out what a source is and gives its pieces, :func:`read_shard` the images of one, not decoded
yet, and :func:`decode` one image's pixels. The same files give the same pieces in the same order; what is held in
memory does not grow with the number of images (folder names, and names of tar and parquet files, are held).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.decode import UnreadableImageError, decode_image
from ganfeat.data.encoded import Item, Unreadable
from ganfeat.data.images import Skipped
from ganfeat.data.resize import convert_channels, resize_array
from ganfeat.errors import InputError

ROWS = 4096

LabelKind = Literal["int64", "string"]


class Known(NamedTuple):
    """What a packed set tells of an image: where it came from, and its pixels ``(size, size, channels)`` by size."""

    source: str
    width: int
    height: int
    hash: str
    box: tuple[int, int, int, int] | None
    images: Mapping[int, NDArray[np.uint8]]


class Candidate(NamedTuple):
    """An image that is not decoded yet.

    Attributes
    ----------
    id : str
        Its name, unique within the source: the path relative to the folder, with ``/``; ``file.parquet:row``;
        ``shard.tar:member``; the row in an array or a packed set.
    source : str
        The file it lies in.
    item : Path, bytes, Unreadable or ndarray of uint8, shape (height, width, channels)
        What :func:`decode` takes.
    label : int, str or None
        A string is a class by its name: one of the source's `classes`, where these are known before.
    known : Known, optional
        Of an image in a packed set.
    """

    id: str
    source: str
    item: Item | NDArray[np.uint8]
    label: int | str | None
    known: Known | None = None


@dataclass(frozen=True)
class Shard:
    """A piece of a source, small, and made of plain values alone.

    Attributes
    ----------
    index : int
        Its place among the pieces.
    kind : str
        How it is read.
    paths : tuple of str
        Files, absolute; of a folder its path, and the relative paths of the images.
    start, stop : int
        Its images' places in the whole source, ``start`` .. ``stop - 1``; both 0 where they are not known before it is
        read (tar files, Hub).
    details : dict
        What else its kind needs.
    """

    index: int
    kind: str
    paths: tuple[str, ...]
    start: int = 0
    stop: int = 0
    details: dict[str, Any] = field(default_factory=dict, hash=False)

    def to_json(self) -> str:
        """Write it as one line of ASCII, whatever bytes the names are of."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Shard:
        """Undo :meth:`to_json`."""
        known = json.loads(text)
        return cls(**{**known, "paths": tuple(known["paths"])})


class ShardedSource(Protocol):
    """What :func:`open_shards` gives.

    Attributes
    ----------
    name : str
        What it is, in words.
    classes : tuple of str or None
        Names of the classes, sorted, where they are known before all is read.
    signature : str
        SHA-256 that changes when the files do (names, sizes and times; of the Hub, the commit).
    count : int or None
        How many candidates there are, where that is known before all is read.
    skipped : iterable of Skipped
        What was found while listing and cannot be read.
    others : iterable of Path
        Files that are no images by their names, of a folder of images.
    labelled : bool or None
        Whether there are labels (of some images at least, or a column for them). None for tar files: that is not known
        before all is read.
    label_kind : {"int64", "string", None}
        What labels are: whole numbers (or names of `classes`, which stand for their places), or names. None where there
        are none, or it is not known.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def classes(self) -> tuple[str, ...] | None: ...  # noqa: D102
    @property
    def signature(self) -> str: ...  # noqa: D102
    @property
    def count(self) -> int | None: ...  # noqa: D102
    @property
    def skipped(self) -> Iterable[Skipped]: ...  # noqa: D102
    @property
    def others(self) -> Iterable[Path]: ...  # noqa: D102
    @property
    def labelled(self) -> bool | None: ...  # noqa: D102
    @property
    def label_kind(self) -> LabelKind | None: ...  # noqa: D102

    def shards(self) -> Iterator[Shard]:
        """Give the pieces, always the same in the same order."""


def open_shards(source: str, rows: int = ROWS, shape: tuple[int, ...] | None = None) -> ShardedSource:
    """Find out what a source is, and divide it.

    Parameters
    ----------
    source : str
        A path or name that :func:`~ganfeat.data.load_images` takes (a folder, parquet, IDX, ``.mat``, ``.npy``,
        ``.npz``, one image, ``"digits"``, ``"mnist5k"``); a tar file, a folder or a glob of tar files; a packed set; or
        ``"hf://NAME"``, a data set of the Hugging Face Hub (``"hf://NAME[/CONFIGURATION]:SPLIT"``, by default the split
        ``train``).
    rows : int
        Images a piece, about: parquet is divided between row groups, a tar file not at all.
    shape : tuple of int (height, width, channels), optional
        What images will be decoded to. A packed set gives those that are nearest above.

    Returns
    -------
    ShardedSource

    Raises
    ------
    InputError
        If it is nothing that is read; the message says what would be.
    MissingExtraError
        For the Hub without ``datasets``.
    """
    from ganfeat.data.divided import divide

    if rows < 1:
        raise InputError(f"rows={rows}: give a whole number, 1 or more")
    return divide(source, rows, shape)


def read_shard(shard: Shard) -> Iterator[Candidate]:
    """Read the images of a piece in their order, not decoded.

    What cannot be read is a :class:`Candidate` as well, with an :class:`~ganfeat.data.encoded.Unreadable` that says
    why: a damaged file never ends the reading.

    Raises
    ------
    InputError
        If the file is gone, or is another one now.
    RunError
        If the machine or the connection fails, and it is not the file.
    """
    from ganfeat.data.divided import READERS

    return READERS[shard.kind](shard)


def decode(candidate: Candidate, size: int, channels: int) -> NDArray[np.uint8]:
    """Decode one image as :func:`~ganfeat.data.load_images` does.

    Parameters
    ----------
    candidate : Candidate
    size : int
        Side of the square result.
    channels : int
        1 (grey, by luma) or 3; of pixels also as many as they have.

    Returns
    -------
    ndarray of uint8, shape (size, size, channels)

    Raises
    ------
    UnreadableImageError
        With the reason.
    RunError
        If it is the machine that has no memory, no more open files or no connection to its disk.
    """
    item = candidate.item
    if isinstance(item, Unreadable):
        raise UnreadableImageError(item.reason)
    if isinstance(item, np.ndarray):
        pixels = convert_channels(item, channels)
        return pixels if pixels.shape[:2] == (size, size) else resize_array(pixels, size)
    return decode_image(item, size, channels)
