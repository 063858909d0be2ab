"""A common scale for features, so that one grid of C suits any number of them."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ganfeat.arrays import blocks, release
from ganfeat.errors import InputError


class FeatureScaler:
    """Bring features to a common scale; streamed, so rows may be a memory map.

    Parameters
    ----------
    standardise : bool
        Give every feature mean 0 and variance 1 (a feature that hardly varies is left small, not blown up).
        Otherwise only the means are removed.

    Attributes
    ----------
    mean_, factor_ : ndarray ``float64 (n_features,)``
        Rows become ``(row - mean_) * factor_``.

    Notes
    -----
    Rows are divided by the root of their mean squared length, so that an average row has length 1.
    """

    def __init__(self, standardise: bool = True) -> None:
        self.standardise = standardise

    def fit(self, rows: NDArray[Any], weight: NDArray[Any] | None = None) -> Self:
        """Learn means and scales from rows ``(n, n_features)``; labels play no part.

        ``weight``, ``(n,)``, counts a row that many times.
        """
        width = rows.shape[1]
        exact = rows.dtype.kind in "iu" or rows.dtype.itemsize > 4
        work = np.float64 if exact else np.float32
        total, squares, mass, start = np.zeros(width), np.zeros(width), 0.0, 0
        origin: NDArray[Any] = np.zeros(width, work)
        for block in blocks(rows):
            if start == 0:
                origin = block.mean(axis=0, dtype=np.float64).astype(work)  # sums about it lose no digits
            apart = np.subtract(block, origin, dtype=work)
            part = np.ones(len(block), work) if weight is None else weight[start : start + len(block)].astype(work)
            total += part @ apart
            with np.errstate(over="ignore"):
                squares += part @ np.square(apart, out=apart)
            mass += float(part.sum(dtype=np.float64))
            start += len(block)
        release(rows)
        if not np.isfinite(squares).all():
            raise InputError(
                "the features are too large to be squared in float32, or not finite: scale them down first"
            )
        offset = total / mass
        variance = np.maximum(squares / mass - offset**2, 0)
        spread = np.sqrt(variance)
        typical = math.sqrt(float(np.mean(variance)))
        scale = np.ones(width)
        if self.standardise and typical > 0:
            scale = spread + 1e-3 * typical
        length = math.sqrt(float(np.sum((spread / scale) ** 2))) or 1.0
        self.mean_: NDArray[np.float64] = origin + offset
        self.factor_: NDArray[np.float64] = 1.0 / (scale * length)
        return self

    def transform(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Scaled rows, ``float32``."""
        if rows.dtype.kind in "iu" or rows.dtype.itemsize > 4:
            return ((rows - self.mean_) * self.factor_).astype(np.float32)
        scaled = np.asarray(rows, dtype=np.float32) - self.mean_.astype(np.float32)
        scaled *= self.factor_.astype(np.float32)
        return scaled
