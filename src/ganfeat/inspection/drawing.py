"""Samples enlarged, with numbers, rulers and boxes: what a person needs to draw boxes, or to see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ganfeat.inspection.boxes import Box
from ganfeat.pictures import colour, enlarged, tile

INK, PAPER, TICK = (32, 32, 32), (255, 255, 255), (150, 150, 150)
OUTLINE = (255, 210, 0)
SHADOW = (0, 0, 0)
FONT = 11
MARGIN = 20
"""Pixels left of and above a sample on a numbered sheet, for its rulers."""


def with_boxes(images: NDArray[np.uint8], boxes: Sequence[Sequence[Box]], scale: int) -> NDArray[np.uint8]:
    """Images with every pixel as ``scale x scale`` pixels, and their boxes around what they hold.

    Parameters
    ----------
    images : ndarray ``uint8 (n, h, w, c)``
    boxes : for each image, its boxes; those of the last images may be missing
    scale : int

    Returns
    -------
    ndarray ``uint8 (n, h * scale, w * scale, 3)``
    """
    from PIL import Image, ImageDraw

    drawn = []
    for i, image in enumerate(images):
        picture = Image.fromarray(enlarged(colour(image), scale))
        draw = ImageDraw.Draw(picture)
        for box in boxes[i] if i < len(boxes) else ():
            left, top = round(box.x * scale), round(box.y * scale)
            right = max(left, round((box.x + box.width) * scale) - 1)
            bottom = max(top, round((box.y + box.height) * scale) - 1)
            draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=SHADOW)
            draw.rectangle((left, top, right, bottom), outline=OUTLINE)
        drawn.append(np.asarray(picture))
    return np.stack(drawn)


def numbered(images: NDArray[np.uint8], names: Sequence[str], columns: int, scale: int) -> NDArray[np.uint8]:
    """A sheet of samples, each with its name and with rulers in its own pixels, every fourth one marked.

    Parameters
    ----------
    images : ndarray ``uint8 (n, h, w, c)``
    names : n of str
    columns, scale : int

    Returns
    -------
    ndarray ``uint8 (H, W, 3)``
    """
    from PIL import Image, ImageDraw, ImageFont

    font, small = ImageFont.load_default(FONT), ImageFont.load_default(FONT - 2)
    height, width = images.shape[1] * scale, images.shape[2] * scale
    above = MARGIN + FONT
    cells = []
    for image, name in zip(images, names, strict=True):
        cell = Image.new("RGB", (MARGIN + width + 6, above + height + 6), PAPER)
        cell.paste(Image.fromarray(enlarged(colour(image), scale)), (MARGIN, above))
        draw = ImageDraw.Draw(cell)
        draw.text((MARGIN, 0), name, fill=INK, font=font)
        every = 4 if 4 * scale >= 12 else 8
        for side, length in (("x", images.shape[2]), ("y", images.shape[1])):
            for at in range(0, length + 1, every):
                place, labelled = at * scale, at % (2 * every) == 0
                if side == "x":
                    draw.line((MARGIN + place, above - 4, MARGIN + place, above - 1), fill=TICK)
                    if labelled:
                        draw.text((MARGIN + place, above - 5), str(at), fill=INK, font=small, anchor="mb")
                else:
                    draw.line((MARGIN - 4, above + place, MARGIN - 1, above + place), fill=TICK)
                    if labelled:
                        draw.text((MARGIN - 5, above + place), str(at), fill=INK, font=small, anchor="rm")
        cells.append(np.asarray(cell))
    return tile(np.stack(cells), columns=columns, pad=1)
