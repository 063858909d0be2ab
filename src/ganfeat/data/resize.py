"""Sizes and channels: min-resize, centre crop, grey from colour and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ganfeat.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIZE = 1024
OWN_SIZE_LIMIT = 128
DEFAULT_SIZE = 32

# ITU-R 601 luma in 16-bit fixed point: the very numbers of Pillow's convert("L"), so that files and
# arrays of the same pixels agree to the bit.
_LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)


def min_resize_crop(image: Image, size: int) -> Image:
    """Scale the short side to `size` and keep the centre square.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode L or RGB, of any height and width.
    size : int
        Side of the result.

    Returns
    -------
    PIL.Image.Image
        ``(size, size)``. An image whose short side is `size` already is only cropped, its pixels untouched;
        any other is resampled once, bicubic with antialiasing, from the centre square.
    """
    from PIL import Image as pil

    width, height = image.size
    side = min(width, height)
    if side == size:
        left, top = (width - side) // 2, (height - side) // 2
        return image if width == height else image.crop((left, top, left + side, top + side))
    left_f, top_f = (width - side) / 2, (height - side) / 2
    box = (left_f, top_f, left_f + side, top_f + side)
    return image.resize((size, size), pil.Resampling.BICUBIC, box=box)


def resize_array(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Do :func:`min_resize_crop` to pixels ``(h, w, c)`` with any number of channels."""
    from PIL import Image as pil

    pixels = np.ascontiguousarray(image)
    if pixels.shape[2] == 3:
        return np.asarray(min_resize_crop(pil.fromarray(pixels), size))
    planes = [
        np.asarray(min_resize_crop(pil.fromarray(np.ascontiguousarray(pixels[:, :, channel])), size))
        for channel in range(pixels.shape[2])
    ]
    return np.stack(planes, axis=2)


def convert_channels(images: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Bring pixels ``(..., c)`` to `channels`: 1 to 3 repeats, 3 to 1 takes the luma (ITU-R 601).

    Raises
    ------
    InputError
        For any other pair of numbers.
    """
    own = images.shape[-1]
    if own == channels:
        return images
    if (own, channels) == (1, 3):
        return np.repeat(images, 3, axis=-1)
    if (own, channels) == (3, 1):
        luma = (images.astype(np.uint32) @ _LUMA + 0x8000) >> 16
        return luma.astype(np.uint8)[..., np.newaxis]
    raise InputError(
        f"the images have {own} channels and cannot be turned into {channels}: pass channels={own}, "
        "or take the channels you mean first, as in images[..., :3]"
    )
