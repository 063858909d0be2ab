"""Rows that are near each other for pictures that look alike: a standard descriptor, and any features made shorter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.resize import convert_channels

LONGEST = 256
_GREY_GRID, _COLOUR_GRID = 8, 4
_FLOOR = 0.02


def pixel_rows(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe pictures by what is left at 8 x 8 pixels, whatever their brightness and contrast.

    Parameters
    ----------
    pictures : ndarray of uint8, shape (n, 32, 32, 1 or 3)

    Returns
    -------
    ndarray of float32, shape (n, 64) for grey pictures and (n, 96) for coloured ones
        Grey levels of 8 x 8 cells, less their mean, over their standard deviation; and red less grey and blue less
        grey of 4 x 4 cells, over the same.
    """
    grey = convert_channels(pictures, 1)[..., 0] / np.float32(255)
    cells = _cells(grey, _GREY_GRID)
    cells -= cells.mean(axis=1, keepdims=True)
    contrast = cells.std(axis=1, keepdims=True) + _FLOOR
    parts = [cells / contrast / _GREY_GRID]
    if pictures.shape[3] == 3:
        for channel in (0, 2):
            colour = pictures[..., channel] / np.float32(255) - grey
            parts.append(_cells(colour, _COLOUR_GRID) / contrast / (_COLOUR_GRID * 2**0.5))
    return np.concatenate(parts, axis=1)


def _cells(planes: NDArray[Any], grid: int) -> NDArray[Any]:
    """Means over ``grid x grid`` cells of ``(n, h, w)``, ``(n, grid * grid)``."""
    n, height, width = planes.shape
    return planes.reshape(n, grid, height // grid, grid, width // grid).mean(axis=(2, 4)).reshape(n, -1)


class Shortening:
    """Features of any length to at most 256 numbers, by a random projection that keeps distances.

    Parameters
    ----------
    columns : int
    seed : int

    Notes
    -----
    Squared distances are kept to a relative standard deviation of ``sqrt(2 / 256)``, 9 % (Johnson & Lindenstrauss
    1984). Nothing is learned, so blocks of rows can be done one by one.
    """

    def __init__(self, columns: int, seed: int) -> None:
        self.matrix: NDArray[np.float32] | None = None
        if columns > LONGEST:
            generator = np.random.default_rng(seed)
            self.matrix = generator.standard_normal((columns, LONGEST), dtype=np.float32) / np.float32(LONGEST**0.5)

    def __call__(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Project ``(n, columns)``."""
        plain = np.asarray(rows, np.float32)
        return plain if self.matrix is None else np.asarray(plain @ self.matrix, np.float32)
