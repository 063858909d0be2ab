"""Intervals by the bootstrap over images, and random heads to compare a head with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ganfeat.theory.claims import Estimate, estimate

RESAMPLES = 400
RANDOM_HEADS = 200
Floats = NDArray[np.float64]


class Resampling:
    """Bootstrap over images: how often each is drawn, in :data:`RESAMPLES` draws of as many.

    Parameters
    ----------
    n : int
        Images.
    seed : sequence of int
    """

    def __init__(self, n: int, seed: list[int]) -> None:
        self.n = n
        counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
        self.weights_BN: NDArray[np.float32] = (counts / n).astype(np.float32)

    def means(self, values: NDArray[np.floating]) -> Floats:
        """Means over each draw of images: ``(n, ...)`` to ``(RESAMPLES, ...)``."""
        flat = np.asarray(values).reshape(self.n, -1)
        kind = np.float32 if flat.dtype == np.float32 else np.float64
        return (self.weights_BN.astype(kind, copy=False) @ flat).astype(np.float64).reshape(-1, *values.shape[1:])


def with_interval(value: float, draws: Floats) -> Estimate:
    """An estimate with the middle 95 % of its draws; unbounded where these are not finite, empty where not numbers."""
    if np.isnan(draws).any():
        return estimate(value)
    low, high = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")
    return estimate(value, float(low), float(high))


def random_bases(n_features: int, rank: int, seed: list[int], count: int = RANDOM_HEADS) -> Iterator[Floats]:
    """Row spaces of random heads (weights normal): orthonormal ``(rank, n_features)``."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield np.linalg.qr(generator.standard_normal((n_features, rank)))[0].T


def stacked_bases(n_features: int, rank: int, seed: list[int], count: int = RANDOM_HEADS) -> NDArray[np.float32]:
    """All of :func:`random_bases`, ``(count * rank, n_features)``."""
    return np.concatenate(list(random_bases(n_features, rank, seed, count))).astype(np.float32)
