"""One image file, of whatever kind, to one uint8 array. All handling of colour is here.

Grey 16-bit pixels are divided by 257 (so 65535 is 255), floats are taken as 0..1 or, if any is above 1,
as 0..255; transparency is laid on white; CMYK and other spaces are converted without their ICC profiles.
JPEGs are decoded in full: Pillow's ``draft()`` is faster, but changes the pixels.
"""

from __future__ import annotations

import errno
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.resize import min_resize_crop
from ganfeat.errors import RunError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
# A quarter of a gigabyte as RGB, and the number at which Pillow itself begins to warn.
MAX_PIXELS = 89_478_485

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_LOADED_ONCE = ("JPEG", "MPO", "PNG")
"""Images of these hold their pixels when their file is closed, and need no copy."""
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_ORIENTATION_TAG = 0x0112
_SIDEWAYS = 5
"""EXIF orientations from here on exchange width and height."""

_MACHINE = frozenset(
    getattr(errno, name)
    for name in ("EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ETIMEDOUT", "EHOSTDOWN", "ENOTCONN", "ENODEV")
    if hasattr(errno, name)
)
_LARGE = 1 << 24
_one_large = threading.Lock()
"""Of images of more pixels, one is decoded at a time: each may take a third of a gigabyte."""

FastJpeg = Literal["draft", "simplejpeg"]


class UnreadableImageError(Exception):
    """The file cannot be turned into pixels. The message is the reason, without the name."""


class Header(NamedTuple):
    """What the first bytes of an image tell."""

    width: int
    height: int
    grey: bool


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silence Pillow's warnings about odd files: what is wrong with a file is in the list of skipped ones.

    Filters are shared by all threads, so enter it once around a pool and not in its workers.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        yield


def read_header(item: Path | bytes) -> Header:
    """Read size and kind of an image without decoding it.

    Raises
    ------
    UnreadableImageError
        If it is no image of a kind we read, or too large.
    """
    with _opened(item) as image:
        return Header(image.width, image.height, image.mode in _GREY_MODES)


def decode_image(item: Path | bytes, size: int, channels: int) -> NDArray[np.uint8]:
    """Decode, turn upright, convert, scale and crop one image.

    Parameters
    ----------
    item : Path or bytes
        A file, or its contents. Of several frames the first is taken.
    size : int
        Side of the square result.
    channels : {1, 3}
        Grey (luma) or RGB.

    Returns
    -------
    ndarray of uint8, shape (size, size, channels)

    Raises
    ------
    UnreadableImageError
        With the reason, if the image cannot be read whole.
    RunError
        If it is the machine that has no memory, no more open files or no connection to its disk: the image may be good.
    """
    square = min_resize_crop(decode_upright(item, channels).image, size)
    return np.asarray(square).reshape(size, size, channels)


class Upright(NamedTuple):
    """A decoded image, mode L or RGB, and the width and height that it has in full."""

    image: Image
    width: int
    height: int


def decode_upright(item: Path | bytes, channels: int, fast_jpeg: FastJpeg | None = None, at_least: int = 0) -> Upright:
    """Decode, turn upright and convert one image.

    Parameters
    ----------
    item : Path or bytes
        A file, or its contents. Of several frames the first is taken.
    channels : {1, 3}
        Grey (luma) or RGB.
    fast_jpeg : {"draft", "simplejpeg"}, optional
        Decode JPEGs at 1/2, 1/4 or 1/8 of their size, as long as both sides stay twice `at_least` or longer: several
        times faster, with other pixels. By Pillow's ``draft()``, or by ``simplejpeg``, which takes bytes alone.
    at_least : int
        The largest side that is wanted.

    Raises
    ------
    UnreadableImageError, RunError
        As :func:`decode_image`.
    """
    with _opened(item) as image, _one_large if image.width * image.height > _LARGE else nullcontext():
        width, height = image.size
        fast = None
        if fast_jpeg is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, (2 * at_least, 2 * at_least))
            if fast_jpeg == "simplejpeg" and isinstance(item, bytes) and image.mode in ("L", "RGB"):
                fast = _simplejpeg(item, channels, 2 * at_least)
        if fast is None:
            image.load()
        orientation = _orientation(image)
        plain, mode = _plain(_turned(fast or image, orientation)), "L" if channels == 1 else "RGB"
        if plain.mode != mode or (plain is image and image.format not in _LOADED_ONCE):
            plain = plain.convert(mode)
        return Upright(plain, *((height, width) if orientation >= _SIDEWAYS else (width, height)))


def _simplejpeg(content: bytes, channels: int, side: int) -> Image | None:
    """Decode a JPEG by libjpeg-turbo; None where it refuses, so that Pillow tells whether the file is damaged."""
    import simplejpeg
    from PIL import Image as pil

    kind = "GRAY" if channels == 1 else "RGB"
    try:
        pixels = simplejpeg.decode_jpeg(content, kind, True, True, min_height=side, min_width=side)
    except ValueError:
        return None
    return pil.fromarray(pixels[..., 0] if channels == 1 else pixels)


@contextmanager
def _opened(item: Path | bytes) -> Iterator[Image]:
    from PIL import Image as pil
    from PIL import UnidentifiedImageError

    try:
        if (len(item) if isinstance(item, bytes) else item.stat().st_size) == 0:
            raise UnreadableImageError("empty file (0 bytes)")
        with pil.open(io.BytesIO(item) if isinstance(item, bytes) else item, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImageError(_bomb(f"{image.width}×{image.height} pixels"))
            yield image
    except UnreadableImageError:
        raise
    except pil.DecompressionBombError as error:
        raise UnreadableImageError(_bomb(str(error).split(",")[0])) from error
    except UnidentifiedImageError as error:
        raise UnreadableImageError("not a JPEG, PNG, WebP, BMP, TIFF or GIF image") from error
    except MemoryError as error:
        raise out_of_memory() from error
    except OSError as error:
        raise_if_machine(error)
        raise UnreadableImageError(explained(error)) from error
    except Exception as error:  # a damaged file may raise anything: struct.error, KeyError, zlib.error, …
        raise UnreadableImageError(f"damaged ({type(error).__name__}: {error})") from error


def raise_if_machine(error: OSError) -> None:
    """Raise a :class:`~ganfeat.errors.RunError` if it is not the file that is at fault.

    What is skipped for such a reason would be missing for good, and another time not.
    """
    if error.errno in _MACHINE:
        raise RunError(
            f"{error.strerror or error}: this is the machine's fault, not the images'. Repair it (fewer workers help "
            "where files or memory are short), and run the same command again"
        ) from error


def out_of_memory() -> RunError:
    """Say that memory is short."""
    return RunError("memory is short: run the same command again, with fewer workers")


def explained(error: OSError) -> str:
    """Say why a file cannot be read."""
    return "no permission to read it" if isinstance(error, PermissionError) else error.strerror or str(error)


def _bomb(found: str) -> str:
    return f"{found}: above the limit of {MAX_PIXELS:,} pixels an image (a decompression bomb?)"


def _orientation(image: Image) -> int:
    """Read the EXIF orientation. A damaged EXIF block does not make an image unreadable."""
    try:
        found = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # see above; the pixels have been decoded already
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _turned(image: Image, orientation: int) -> Image:
    """Undo the EXIF orientation."""
    from PIL import Image as pil

    turn = pil.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    method = turns.get(orientation)
    return image if method is None else image.transpose(method)


def _plain(image: Image) -> Image:
    """Bring any mode to opaque 8-bit L or RGB (or one that ``convert`` takes there losslessly)."""
    from PIL import Image as pil

    mode = image.mode
    if mode.startswith("I;16"):
        return pil.fromarray(_grey16(np.asarray(image).astype(np.int64)))
    if mode == "I":
        return pil.fromarray(_grey16(np.asarray(image)))
    if mode == "F":
        return pil.fromarray(_grey_float(np.asarray(image)))
    if mode in {"LA", "La", "PA", "RGBA", "RGBa"} or "transparency" in image.info:
        if mode == "La":
            image = image.convert("LA")
        upper = image.convert("RGBA")
        white = pil.new("RGBA", upper.size, (255, 255, 255, 255))
        return pil.alpha_composite(white, upper).convert("RGB")
    return image if mode in {"1", "L", "RGB"} else image.convert("RGB")


def _grey16(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise UnreadableImageError(f"integer pixels from {low} to {high}: save it with 8 or 16 bits")
    return ((values.astype(np.int64) + 128) // 257).astype(np.uint8)


def _grey_float(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255):  # also where one is NaN
        raise UnreadableImageError(f"float pixels from {low:g} to {high:g}: save it in 0..1 or 0..255")
    return np.rint(values * 255 if high <= 1 else values).astype(np.uint8)
