"""Sheets: many images laid out as one picture, and PNG files of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

GREY = 128
"""Of gaps, and of cells without an image."""


def grey_or_colour(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures ``uint8 (..., c)`` as they can be shown, ``(..., 1 or 3)``: other channels are averaged to grey."""
    if images.shape[-1] in (1, 3):
        return images
    return images.mean(axis=-1, keepdims=True).astype(np.uint8)


def tile(images: NDArray[np.uint8], columns: int | None = None, pad: int = 1) -> NDArray[np.uint8]:
    """Lay ``uint8 (n, h, w, c)`` out as one picture ``(H, W, 1 or 3)``, row by row.

    Channels other than 1 or 3 are averaged to grey.
    """
    images = grey_or_colour(images)
    n, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (height + pad) - pad, columns * (width + pad) - pad, channels), GREY, np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + pad), (i % columns) * (width + pad)
        sheet[top : top + height, left : left + width] = image
    return sheet


def untile(sheet: NDArray[np.uint8], height: int, width: int, pad: int = 1) -> NDArray[np.uint8]:
    """Cut a picture made by :func:`tile` into its images again, ``uint8 (n, height, width, 1 or 3)``."""
    rows, columns = (sheet.shape[0] + pad) // (height + pad), (sheet.shape[1] + pad) // (width + pad)
    return np.stack(
        [
            sheet[
                r * (height + pad) : r * (height + pad) + height,
                c * (width + pad) : c * (width + pad) + width,
            ]
            for r in range(rows)
            for c in range(columns)
        ]
    )


def in_pairs(above: NDArray[np.uint8], below: NDArray[np.uint8], columns: int = 8) -> NDArray[np.uint8]:
    """Put images ``(n, h, w, c)`` in the order in which :func:`tile` shows rows of ``below`` under those of ``above``.

    Where ``n`` is above ``columns`` and no multiple of it, grey images fill the last two rows.
    """
    columns = min(columns, len(above))
    grey = np.full((2, -len(above) % columns, *above.shape[1:]), GREY, np.uint8)
    pairs = np.concatenate([np.stack([above, below]), grey], axis=1)
    rows = pairs.reshape(2, -1, columns, *above.shape[1:]).swapaxes(0, 1)
    return np.ascontiguousarray(rows.reshape(-1, *above.shape[1:]))


def out_of_pairs(images: NDArray[np.uint8], columns: int = 8) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Undo :func:`in_pairs`: last pairs of which both are as grey as what fills the rows are left out."""
    columns = min(columns, len(images) // 2)
    pairs = images.reshape(-1, 2, columns, *images.shape[1:]).swapaxes(0, 1).reshape(2, -1, *images.shape[1:])
    kept = np.flatnonzero((pairs != GREY).any(axis=(0, 2, 3, 4)))
    above, below = pairs[:, : kept[-1] + 1 if len(kept) else 0]
    return above, below


PAPER, INK = 255, 32
"""Grey levels of the margin and of the words of :func:`captioned`."""
TEXT_HEIGHT = 13
_MARGIN = 8


def enlarged(sheet: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Every pixel of ``(H, W, c)`` as ``scale x scale`` pixels."""
    return sheet.repeat(scale, axis=0).repeat(scale, axis=1)


def colour(sheet: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture ``(H, W, c)`` in three channels; others than 1 or 3 are averaged to grey."""
    return np.ascontiguousarray(np.broadcast_to(grey_or_colour(sheet), (*sheet.shape[:2], 3)))


def captioned(parts: Sequence[tuple[str, NDArray[np.uint8]]], scale: int = 1) -> NDArray[np.uint8]:
    """Stack sheets, each with words above it, on white.

    Parameters
    ----------
    parts : sequence of (str, ndarray of uint8 (H, W, 1 or 3))
        Words (none: an empty string) and the sheet below them. Words that are wider than the widest sheet take several
        lines.
    scale : int
        Every pixel of the sheets becomes ``scale x scale`` pixels; words stay as they are.

    Returns
    -------
    ndarray of uint8 (H, W, 3)
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(TEXT_HEIGHT)
    sheets = [(words, enlarged(colour(sheet), scale)) for words, sheet in parts]
    width = max((sheet.shape[1] for _, sheet in sheets), default=1)
    stack = []
    for words, sheet in sheets:
        lines = _lines(words, lambda line: font.getlength(line) <= width)
        if lines:
            picture = Image.new("RGB", (width, len(lines) * (TEXT_HEIGHT + 4)), (PAPER,) * 3)
            draw = ImageDraw.Draw(picture)
            for i, line in enumerate(lines):
                draw.text((0, i * (TEXT_HEIGHT + 4)), line, fill=(INK,) * 3, font=font)
            stack.append(np.asarray(picture))
        stack.append(np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0)), constant_values=PAPER))
        stack.append(np.full((_MARGIN, width, 3), PAPER, np.uint8))
    whole = np.concatenate(stack[:-1]) if stack else np.full((1, width, 3), PAPER, np.uint8)
    return np.pad(whole, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), constant_values=PAPER)


def _lines(words: str, fits: Callable[[str], bool]) -> list[str]:
    """Break words so that every line fits; a word that does not fit alone is left as it is."""
    lines: list[str] = []
    for word in words.split():
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def read_png(path: Path) -> NDArray[np.uint8]:
    """Read a picture written by :func:`write_png`, ``uint8 (H, W, 1 or 3)``."""
    from PIL import Image

    with Image.open(path) as picture:
        sheet = np.array(picture)
    return sheet[..., None] if sheet.ndim == 2 else sheet


def write_png(path: Path, sheet: NDArray[np.uint8]) -> None:
    """Write ``uint8 (H, W, 1 or 3)`` as PNG."""
    from PIL import Image

    Image.fromarray(sheet[..., 0] if sheet.shape[2] == 1 else sheet).save(path, format="PNG")


def write_gif(target: Path | BinaryIO, frames: NDArray[np.uint8], seconds: float, scale: int = 1) -> None:
    """Write ``uint8 (n, h, w, c)`` as a GIF that repeats for ever.

    Parameters
    ----------
    target : path or binary file
    frames : ndarray
        Channels other than 1 or 3 are averaged to grey.
    seconds : float
        Of a frame. GIFs know hundredths only, and browsers slow those of less than two down.
    scale : int
        Every pixel becomes ``scale x scale`` pixels.
    """
    from PIL import Image

    large = (enlarged(grey_or_colour(frame), scale) for frame in frames)  # one after the other: they are many
    pictures = (Image.fromarray(frame[..., 0] if frame.shape[2] == 1 else frame) for frame in large)
    pause = max(2, round(100 * seconds)) * 10
    next(pictures).save(target, format="GIF", save_all=True, append_images=pictures, duration=pause, loop=0)
