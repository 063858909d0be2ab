"""Arrays at the border of the networks: rows, images, and the range ``[-1, 1]``.

Outside the networks images are ``uint8 (n, height, width, channels)``; scikit-learn tools may also hand
them over as rows ``(n, height * width * channels)`` together with an ``image_shape``. Floating-point
data has no agreed range, so :class:`Scaling` learns one when a model is fitted.
"""

from __future__ import annotations

import hashlib
import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.errors import InputError

ImageShape = tuple[int, int, int]
"""``(height, width, channels)``."""

_BLOCK_BYTES = 1 << 25


@dataclass(frozen=True)
class Scaling:
    """The affine map from the user's pixel range ``[low, high]`` to the networks' ``[-1, 1]``."""

    low: float = 0.0
    high: float = 255.0

    @classmethod
    def learn(cls, images: NDArray[Any]) -> Scaling:
        """Take 0..255 for ``uint8`` and the observed range for anything else."""
        if images.dtype == np.uint8:
            return cls()
        low, high = float(images.min()), float(images.max())
        return cls(low, high) if high > low else cls(low, low + max(1.0, abs(low)))

    def to_networks(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """``[low, high]`` to ``float32 [-1, 1]``."""
        half = (self.high - self.low) / 2
        return ((images.astype(np.float64) - self.low) / half - 1).astype(np.float32)

    def from_networks(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """``[-1, 1]`` to ``float32 [low, high]``."""
        half = (self.high - self.low) / 2
        return ((images.astype(np.float64) + 1) * half + self.low).astype(np.float32)


def to_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """``[-1, 1]`` to ``uint8 0..255``, rounded to the nearest."""
    return np.clip(np.rint((images + 1.0) * 127.5), 0, 255).astype(np.uint8)


def resolve_image_shape(n_features: int, image_shape: tuple[int, int, int] | None) -> ImageShape:
    """Find the shape of the images that rows of ``n_features`` values hold.

    Parameters
    ----------
    n_features : int
        Length of a row.
    image_shape : (height, width, channels) or None
        One entry may be -1 and is then computed, as in :meth:`numpy.ndarray.reshape`. None guesses a
        square of one channel, then a square of three.

    Raises
    ------
    InputError
        If no shape fits; the message names the call that would.
    """
    if image_shape is None:
        for channels in (1, 3):
            side = math.isqrt(n_features // channels) if n_features % channels == 0 else 0
            if side and side * side * channels == n_features:
                return (side, side, channels)
        raise InputError(
            f"rows of {n_features} values are no square image of 1 or 3 channels: "
            "say image_shape=(height, width, channels), or pass images (n, height, width, channels)"
        )
    shape = tuple(int(s) for s in image_shape)
    if len(shape) != 3 or sum(s == -1 for s in shape) > 1 or any(s == 0 or s < -1 for s in shape):
        raise InputError(
            f"image_shape is {image_shape!r}; it must be (height, width, channels) of positive numbers, "
            "one of which may be -1"
        )
    known = math.prod(s for s in shape if s != -1)
    if -1 in shape:
        if n_features % known == 0:
            height, width, channels = (n_features // known if s == -1 else s for s in shape)
            return (height, width, channels)
    elif known == n_features:
        return (shape[0], shape[1], shape[2])
    raise InputError(f"image_shape={image_shape!r} holds {known} values but a row has {n_features}: they must agree")


def as_images(array: NDArray[Any], image_shape: ImageShape) -> NDArray[Any]:
    """Give rows the shape of images; images pass through.

    Parameters
    ----------
    array : ndarray
        ``(n, h * w * c)``, ``(n, h, w)`` for one channel, or ``(n, h, w, c)``.
    image_shape : (height, width, channels)

    Returns
    -------
    ndarray ``(n, h, w, c)``, a view.

    Raises
    ------
    InputError
        If the images are of another shape.
    """
    if array.ndim == 2:
        return array.reshape(len(array), *image_shape)
    if array.ndim == 3 and image_shape[2] == 1:
        array = array[..., None]
    if array.shape[1:] != image_shape:
        raise InputError(
            f"images are {'x'.join(map(str, array.shape[1:]))}, this model was made for "
            f"{'x'.join(map(str, image_shape))} (height x width x channels): "
            f"load them with load_images(source, size={image_shape[0]}, channels={image_shape[2]})"
        )
    return array


def blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Cut an array (or memory map, whose pages are given back) along its first axis into pieces of about 32 MiB."""
    row_bytes = max(1, int(array.nbytes // max(1, len(array))))
    rows = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, len(array), rows):
        yield np.asarray(array[start : start + rows])
        release(array)


def all_finite(array: NDArray[Any]) -> bool:
    """Whether there is no NaN and no infinity, read in blocks."""
    return array.dtype.kind != "f" or all(bool(np.isfinite(block).all()) for block in blocks(array))


def fingerprint(array: NDArray[Any]) -> str:
    """SHA-256 over dtype, shape and content, read in blocks: the same data give the same 64 hex digits."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    for block in blocks(array):
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def release(array: NDArray[Any]) -> None:
    """Give the pages of a memory map that have been read back to the system; anything else is left alone.

    They stay in the system's cache of the file while there is room, but no longer count as this process's memory.
    """
    base: Any = array
    private = False
    while base is not None and not isinstance(base, mmap.mmap):
        private = private or (isinstance(base, np.memmap) and base.mode == "c")  # its changes are in memory only
        base = getattr(base, "base", None)
    if base is not None and not private and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
