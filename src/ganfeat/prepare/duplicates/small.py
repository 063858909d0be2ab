"""32 x 32 pictures of a set, block by block: what duplicates are looked for in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.resize import resize_array
from ganfeat.errors import InputError

SIDE = 32
BLOCK = 4096
"""Images at a time."""
_HELD = 1 << 26
"""Bytes of large images that are in memory at once."""


def check_images(images: NDArray[np.uint8]) -> None:
    """Raise InputError where images are not uint8 ``(n, h, w, 1 or 3)``."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        raise InputError(f"images is {images.dtype} of shape {images.shape}: expected uint8 (n, height, width, 1 or 3)")


def small_pictures(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Min-resized centre crops of ``uint8 (n, h, w, c)``, ``(n, 32, 32, c)``; a view where they are that already."""
    if images.shape[1:3] == (SIDE, SIDE):
        return images
    small = np.empty((len(images), SIDE, SIDE, images.shape[3]), np.uint8)
    for i, image in enumerate(images):
        small[i] = resize_array(image, SIDE)
    return small


def blocks(images: NDArray[np.uint8], start: int = 0, size: int = BLOCK) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """First row and small pictures, in order; of a memory map, one block is in memory at a time."""
    for first in range(start, len(images), size):
        yield first, chosen(images, np.arange(first, min(first + size, len(images))))


def chosen(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Small pictures of some rows; of larger images, few are in memory at a time."""
    step = max(1, _HELD // max(1, images[:1].nbytes))
    parts = [small_pictures(np.asarray(images[rows[i : i + step]])) for i in range(0, len(rows), step)]
    if not parts:
        return np.empty((0, SIDE, SIDE, images.shape[3]), np.uint8)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
