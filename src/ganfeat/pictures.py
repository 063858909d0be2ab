"""Sheets: many images laid out as one picture, and PNG files of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GREY = 128
"""Of gaps, and of cells without an image."""


def tile(images: NDArray[np.uint8], columns: int | None = None, pad: int = 1) -> NDArray[np.uint8]:
    """Lay ``uint8 (n, h, w, c)`` out as one picture ``(H, W, 1 or 3)``, row by row.

    Channels other than 1 or 3 are averaged to grey.
    """
    n, height, width, channels = images.shape
    if channels not in (1, 3):
        images = images.mean(axis=3, keepdims=True).astype(np.uint8)
        channels = 1
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
