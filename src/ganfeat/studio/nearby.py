"""Real images as neighbours of what G draws: what depends on them alone is computed once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganfeat.latent.smoothness import nearest_other, share_farther, unique_rows
from ganfeat.probes.knn import KNNClassifier

LEAST = 50
"""Images of which one may say how far they usually are from each other."""
COMPARED = 200
"""Images whose own nearest neighbours are looked up: enough for two digits, in a fraction of a second."""


class Near(NamedTuple):
    """Where pictures lie among the images: ``indices``, ``distances`` and ``closeness``, one a picture.

    As of :class:`~ganfeat.latent.smoothness.Neighbours`, which explains them.
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]
    closeness: NDArray[np.float64]


class Nearby:
    """Images to look for neighbours among, and how far they are from each other.

    Finds what :func:`~ganfeat.latent.smoothness.smoothness` does, which begins anew with every walk.

    Parameters
    ----------
    images : ``uint8 (n, h, w, c)``
    kept : ``int64 (m,)``
        Indices of those that are no copy of an earlier one, two or more.
    compared : int
        Images, drawn by ``random_state``, whose own nearest neighbours are looked up.
    random_state : int

    Attributes
    ----------
    usual : float
        Median distance of an image to its nearest other one, pixels in 0..1.
    """

    def __init__(
        self, images: NDArray[np.uint8], kept: NDArray[np.int64], compared: int = COMPARED, random_state: int = 0
    ) -> None:
        self._kept = kept
        rows = images.reshape(len(images), -1)
        rows = rows if len(kept) == len(rows) else rows[kept]
        self._search = KNNClassifier(device="cpu").fit(rows, np.zeros(len(rows), np.int64))
        chosen = np.sort(np.random.default_rng(random_state).permutation(len(rows))[:compared])
        distances, who = self._search.kneighbors(rows[chosen], 2)
        self._others = nearest_other(distances, who, chosen)
        self.usual = float(np.median(self._others)) / 255

    def of(self, pictures: NDArray[np.uint8]) -> Near:
        """Find the nearest image of each of ``uint8 (n, h, w, c)``."""
        distances, indices = self._search.kneighbors(pictures.reshape(len(pictures), -1), 1)
        closeness = share_farther(self._others, distances[:, 0])
        return Near(self._kept[indices[:, 0]], distances[:, 0] / 255, closeness)


def nearby(images: NDArray[np.uint8], random_state: int = 0) -> Nearby | None:
    """The :class:`Nearby` of images; None where fewer than :data:`LEAST` of them are different."""
    kept, _ = unique_rows(images)
    return Nearby(images, kept, random_state=random_state) if len(kept) >= LEAST else None
