"""Pictures as bytes: PNG, GIF, data URIs; and pictures that a page sends, as pixels."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.decode import UnreadableImageError, decode_image
from ganfeat.errors import InputError
from ganfeat.pictures import enlarged, grey_or_colour, write_gif

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""What may be uploaded."""
MAX_PIXELS = 16_000_000
"""Of an uploaded picture; more would need a quarter of a gigabyte to decode."""
FAST = 1
"""Compression of PNGs on their way to a page on the same machine: small ones gain nothing from more."""


def _picture(image: NDArray[np.uint8], scale: int = 1) -> Image:
    from PIL import Image as pil

    image = enlarged(grey_or_colour(image), scale)
    return pil.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))


def png(image: NDArray[np.uint8], scale: int = 1, level: int = FAST) -> bytes:
    """``uint8 (h, w, c)`` as a PNG, enlarged by whole pixels; channels other than 1 or 3 are averaged to grey."""
    file = io.BytesIO()
    _picture(image, scale).save(file, format="PNG", compress_level=level)
    return file.getvalue()


def data_uri(image: NDArray[np.uint8]) -> str:
    """``uint8 (h, w, c)`` as the PNG that stands in an ``<img src>`` itself."""
    return f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"


def data_uris(images: NDArray[np.uint8]) -> list[str]:
    """:func:`data_uri` of every one of ``uint8 (n, h, w, c)``."""
    return [data_uri(image) for image in images]


def gif(frames: NDArray[np.uint8], scale: int = 1, seconds: float = 0.08) -> bytes:
    """``uint8 (n, h, w, c)`` as a GIF that repeats for ever, ``seconds`` a frame."""
    file = io.BytesIO()
    write_gif(file, frames, seconds, scale)
    return file.getvalue()


def read_upload(body: bytes, size: int, channels: int) -> NDArray[np.uint8]:
    """Decode an uploaded picture: upright, its middle square scaled.

    Parameters
    ----------
    body : bytes
        A PNG, JPEG, WebP, GIF (the first frame) or BMP file. Its size is read, and refused, before it is decoded.
    size : int
        Side of the result.
    channels : {1, 3}

    Returns
    -------
    ndarray ``uint8 (size, size, channels)``

    Raises
    ------
    InputError
        If it is no such file, damaged, or of more than :data:`MAX_PIXELS` pixels.
    """
    from PIL import Image as pil

    if not body:
        raise InputError("the picture is empty: choose a PNG, JPEG, WebP, GIF or BMP file")
    try:
        with pil.open(io.BytesIO(body), formats=FORMATS) as image:
            width, height = image.size
    except (pil.DecompressionBombError, pil.DecompressionBombWarning):
        width = height = MAX_PIXELS
    except Exception:  # a damaged file may raise anything
        raise InputError("the picture cannot be read: choose a whole PNG, JPEG, WebP, GIF or BMP file") from None
    if width * height > MAX_PIXELS:
        raise InputError(f"the picture has more than {MAX_PIXELS:,} pixels: make it smaller first")
    try:
        return np.array(decode_image(body, size, channels))  # Pillow's own is read-only
    except UnreadableImageError as error:
        raise InputError(f"the picture cannot be read: {error}") from None
