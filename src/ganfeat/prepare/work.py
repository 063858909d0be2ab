"""What workers do: a few candidates in, rows and pixels out. Nothing here knows of files that are written."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.decode import (
    FastJpeg,
    UnreadableImageError,
    decode_upright,
    explained,
    out_of_memory,
    raise_if_machine,
)
from ganfeat.data.encoded import Unreadable
from ganfeat.data.packed import Dropped, Row
from ganfeat.data.resize import convert_channels, min_resize_crop, resize_array
from ganfeat.data.shards import Candidate, Known
from ganfeat.errors import RunError
from ganfeat.prepare.reasons import kind_of

GLIMPSE = 64
"""Side of the pictures of what was dropped."""
_GLIMPSED = 1 << 24
"""Pixels of a damaged image that is worth a look."""
_HELD = 1 << 28
"""Files above so many bytes are not held in memory as they are."""


class Box(NamedTuple):
    """A part of an image, in pixels: ``left <= x < right``, ``top <= y < bottom``, inside the image."""

    left: int
    top: int
    right: int
    bottom: int


class NothingToCutError(Exception):
    """Raised by a :class:`Cropper` that finds nothing. The message says why in few words: it is counted."""


class Cropper(Protocol):
    """Says which parts of an image become rows of a set. It is pickled for the processes that use it.

    Attributes
    ----------
    name : str
        What it looks for, in words.
    card : dict
        All settings that decide what it finds, as plain values.
    missing : str
        Why an image of which it gives no part is left out, in few words: it is counted.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def card(self) -> dict[str, Any]: ...  # noqa: D102
    @property
    def missing(self) -> str: ...  # noqa: D102

    def __call__(self, image: NDArray[np.uint8]) -> list[Box]:
        """Find parts of an upright RGB image ``uint8 (height, width, 3)`` at its full size, in a fixed order.

        Raises
        ------
        NothingToCutError
            Where there is another reason than `missing` that it gives none.
        """


@dataclass(frozen=True)
class Job:
    """What is made of each image."""

    sizes: tuple[int, ...]
    channels: int
    fast_jpeg: FastJpeg | None = None
    cropper: Cropper | None = None


class Lost(NamedTuple):
    """An image that was left out.

    Attributes
    ----------
    dropped : Dropped
    glimpse : ndarray of uint8, shape (64, 64, channels), or None
        What can be shown of it.
    candidate : Candidate or None
        Of which :func:`glimpse_of` may show something.
    """

    dropped: Dropped
    glimpse: NDArray[np.uint8] | None
    candidate: Candidate | None = None


@dataclass
class Made:
    """What became of some candidates, in their order."""

    images: dict[int, NDArray[np.uint8]]
    rows: list[Row] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    candidates: int = 0


class _Part(NamedTuple):
    row: Row
    images: list[NDArray[np.uint8]]


def make(job: Job, candidates: Sequence[Candidate]) -> Made:
    """Decode some candidates to all sizes."""
    parts: list[_Part] = []
    lost: list[Lost] = []
    for candidate in candidates:
        try:
            parts += _parts(job, candidate)
        except _LeftOutError as error:
            dropped = Dropped(candidate.id, candidate.source, str(error), str(error))
            lost.append(Lost(dropped, error.glimpse))
        except UnreadableImageError as error:
            dropped = Dropped(candidate.id, candidate.source, kind_of(str(error)), str(error))
            lost.append(Lost(dropped, None, candidate))
        except MemoryError as error:
            raise RunError(f"{candidate.id}: {out_of_memory()}") from error
        except RunError as error:
            raise RunError(f"{candidate.id}: {error}") from error
    shape = (len(parts), job.channels)
    images = {
        size: np.stack([part.images[i] for part in parts])
        if parts
        else np.empty((shape[0], size, size, shape[1]), np.uint8)
        for i, size in enumerate(job.sizes)
    }
    return Made(images, [part.row for part in parts], lost, len(candidates))


class _LeftOutError(Exception):
    def __init__(self, reason: str, glimpse: NDArray[np.uint8]) -> None:
        super().__init__(reason)
        self.glimpse = glimpse


def _parts(job: Job, candidate: Candidate) -> list[_Part]:
    item = candidate.item
    if isinstance(item, Unreadable):
        raise UnreadableImageError(item.reason)
    if isinstance(item, np.ndarray):
        return _from_pixels(job, candidate, item)
    content, digest = _read(item)
    channels = 3 if job.cropper else job.channels
    image, width, height = decode_upright(content, channels, job.fast_jpeg, max(job.sizes))
    if job.cropper is not None:
        return _cut(job, candidate, np.asarray(image), digest)
    images = [np.asarray(min_resize_crop(image, size)).reshape(size, size, job.channels) for size in job.sizes]
    return [_Part(Row(candidate.id, candidate.source, width, height, digest, candidate.label), images)]


def _from_pixels(job: Job, candidate: Candidate, pixels: NDArray[np.uint8]) -> list[_Part]:
    if candidate.known is not None and job.cropper is None:
        return _from_set(job, candidate, candidate.known, pixels)
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()
    if job.cropper is not None:
        return _cut(job, candidate, np.ascontiguousarray(convert_channels(pixels, 3)), digest)
    return [
        _Part(
            Row(candidate.id, candidate.source, width, height, digest, candidate.label),
            resized(convert_channels(pixels, job.channels), job.sizes),
        )
    ]


def _from_set(job: Job, candidate: Candidate, known: Known, pixels: NDArray[np.uint8]) -> list[_Part]:
    """Take each size from the set as it is there, else from the next larger one."""
    own = {**known.images, pixels.shape[0]: pixels}
    images = []
    for size in job.sizes:
        nearest = own[min(side for side in own if side >= size)]
        images += resized(convert_channels(nearest, job.channels), [size])
    row = Row(candidate.id, known.source, known.width, known.height, known.hash, candidate.label, known.box)
    return [_Part(row, images)]


def _cut(job: Job, candidate: Candidate, image: NDArray[np.uint8], digest: str) -> list[_Part]:
    assert job.cropper is not None
    try:
        boxes = job.cropper(image)
        if not boxes:
            raise NothingToCutError(job.cropper.missing)
    except NothingToCutError as error:
        glimpse = resize_array(convert_channels(image, job.channels), GLIMPSE)
        raise _LeftOutError(str(error), glimpse) from error
    parts = []
    height, width = image.shape[:2]
    for number, (left, top, right, bottom) in enumerate(boxes):
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(f"{job.cropper.name}: a box {boxes[number]} outside of an image of {width}×{height}")
        part = convert_channels(image[top:bottom, left:right], job.channels)
        box = (int(left), int(top), int(right), int(bottom))
        row = Row(f"{candidate.id}#{number}", candidate.source, width, height, digest, candidate.label, box)
        parts.append(_Part(row, resized(part, job.sizes)))
    return parts


def resized(pixels: NDArray[np.uint8], sizes: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Bring pixels ``(h, w, c)`` to square sizes."""
    return [pixels if pixels.shape[:2] == (size, size) else resize_array(pixels, size) for size in sizes]


def _read(item: Path | bytes) -> tuple[Path | bytes, str]:
    """What to decode, and its SHA-256. A file is opened once, unless it is so large that it may be no image."""
    if isinstance(item, bytes):
        return item, hashlib.sha256(item).hexdigest()
    try:
        with item.open("rb") as file:
            if item.stat().st_size > _HELD:
                return item, hashlib.file_digest(file, "sha256").hexdigest()
            content = file.read()
            return content, hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise_if_machine(error)
        raise UnreadableImageError(explained(error)) from error


def glimpse_of(candidate: Candidate, channels: int) -> NDArray[np.uint8] | None:
    """Show as much of a damaged image as can be decoded, ``(64, 64, channels)``, or None."""
    from PIL import Image

    if isinstance(candidate.item, Unreadable | np.ndarray):
        return None
    try:
        content, _ = _read(candidate.item)
        if isinstance(content, Path):
            return None
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > _GLIMPSED:
                return None
            try:
                image.load()
            except Exception:  # what was decoded up to here is in the image, once it has nothing left to load
                image.tile = []
            square = min_resize_crop(image.convert("L" if channels == 1 else "RGB"), GLIMPSE)
            return np.asarray(square).reshape(GLIMPSE, GLIMPSE, channels)
    except RunError:
        raise
    except Exception:  # it is damaged; there is nothing to see then
        return None
