"""The exact nearest neighbours, and the class that most of them have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ganfeat.arrays import all_finite
from ganfeat.config import require
from ganfeat.device import resolve_device
from ganfeat.errors import InputError

METRICS = ("euclidean", "cosine")
SPARE = 8
"""Candidates beyond those asked for: what leaves room for the rounding of float32."""
_BLOCK_BYTES = 1 << 25
_BLOCK_ROWS = 4096
_QUERY_ROWS = 2048
_VOTE_ROWS = 256
_ROUNDING = {"highest": 2.0**-24, "high": 2.0**-11, "medium": 2.0**-8}
"""Of a float32 product, by what ``torch.set_float32_matmul_precision`` allows."""


class KNNClassifier(ClassifierMixin, BaseEstimator):
    """The class of the nearest neighbours, found exactly.

    Matrix products in float32 propose a few candidates more than are asked for; their distances are then computed
    from differences in float64. A bound on the rounding of the products tells whether any other row could be as
    near; where it could (rows far apart beside rows close together, many copies of a row), the search is repeated in
    float64 and with more candidates. So the answers are those of float64, also far from the origin.

    Parameters
    ----------
    n_neighbors : int
    metric : {"euclidean", "cosine"}
        The cosine distance is ``1 - a.b / (|a| |b|)``, and 1 where a row is zero.
    device : {"auto", "cpu", "cuda", "mps"}

    Attributes
    ----------
    classes_ : ndarray
    n_samples_fit_ : int

    Notes
    -----
    Of neighbours at the same distance, the first in the order of ``fit`` is the nearer. Of classes with as many
    votes, the one of the nearest neighbour wins. Rows may be memory maps of any number type, and are read in blocks:
    the memory needed does not grow with their number. They are not copied: leave them as they are after ``fit``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> round(KNNClassifier().fit(X[::2], y[::2]).score(X[1::2], y[1::2]), 2)
    0.96
    """

    def __init__(self, n_neighbors: int = 1, *, metric: str = "euclidean", device: str = "auto") -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.device = device

    def fit(self, X: Any, y: Any) -> Self:
        """Keep rows ``(n, n_features)`` and their labels ``(n,)``.

        Raises
        ------
        InputError
            If a parameter is wrong, there are fewer rows than neighbours, or a number is not finite.
        """
        if self.metric not in METRICS:
            raise InputError(f"metric={self.metric!r} is not known: choose one of {', '.join(METRICS)}")
        resolve_device(self.device)
        X, y = validate_data(self, X, y, dtype="numeric", ensure_all_finite=False)
        check_classification_targets(y)
        self._rows = _finite(X)
        self._check_neighbours(self.n_neighbors)
        self.classes_, self._labels = np.unique(y, return_inverse=True)
        self.n_samples_fit_ = len(X)
        total = np.zeros(X.shape[1])
        for _, rows in _blocks(X, self.metric, np.float64):
            total += rows.sum(axis=0)
        self._centre = (total / len(X)).astype(np.float32 if np.can_cast(X.dtype, np.float32) else np.float64)
        longest = (np.square(rows).sum(axis=1).max() for _, rows in _blocks(X, self.metric, np.float64, self._centre))
        self._longest = float(np.sqrt(max(longest)))
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of every row, ``(n,)``."""
        check_is_fitted(self)
        indices = self.kneighbors(X)[1]
        return self.classes_[
            np.concatenate([self._vote(part) for part in np.array_split(indices, -(-len(indices) // _VOTE_ROWS))])
        ]

    def _vote(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """The class of most neighbours ``(n, k)``; of several such, that of the nearest."""
        labels = self._labels[indices]
        votes = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)
        return labels[np.arange(len(labels)), votes.argmax(axis=1)]

    def kneighbors(self, X: Any, n_neighbors: int | None = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The nearest rows of ``fit``, nearest first.

        Parameters
        ----------
        X : array or memory map ``(n, n_features)``
        n_neighbors : int, optional
            By default that of the classifier.

        Returns
        -------
        distances ``(n, n_neighbors)``, indices ``(n, n_neighbors)``
        """
        check_is_fitted(self)
        X = _finite(validate_data(self, X, reset=False, dtype="numeric", ensure_all_finite=False))
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        self._check_neighbours(k)
        device = resolve_device(self.device)
        distances, indices = np.empty((len(X), k)), np.empty((len(X), k), np.int64)
        for start in range(0, len(X), _QUERY_ROWS):
            part = slice(start, start + _QUERY_ROWS)
            distances[part], indices[part] = self._nearest(X[part], k, device)
        return (np.sqrt(distances) if self.metric == "euclidean" else distances / 2), indices

    def _check_neighbours(self, k: int) -> None:
        require("n_neighbors", k, int, least=1)
        if k > len(self._rows):
            raise InputError(f"n_neighbors={k}, but n_samples={len(self._rows)}: ask for at most as many")

    def _nearest(self, queries: NDArray[Any], k: int, device: torch.device) -> tuple[NDArray[Any], NDArray[Any]]:
        """Squared distances (of unit rows for cosine) and indices of the ``k`` nearest."""
        n = len(self._rows)
        squares, indices = np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)
        left, m, dtype = np.arange(len(queries)), min(k + SPARE, n), torch.float32
        while len(left):
            unsure = []
            step = max(1, _BLOCK_BYTES // (16 * m))  # few queries at once where each has many candidates
            for part in (left[i : i + step] for i in range(0, len(left), step)):
                found, beyond = self._candidates(queries[part], m, dtype, device)
                exact = self._distances(queries[part], found)
                order = np.argsort(exact, axis=1, kind="stable")[:, :k]
                squares[part] = np.take_along_axis(exact, order, axis=1)
                indices[part] = np.take_along_axis(found, order, axis=1)
                sure = ((squares[part, -1] < beyond) & np.isfinite(beyond)) | (m == n)
                unsure.append(part[~sure])
            left = np.concatenate(unsure)
            if dtype == torch.float32:
                dtype, device = torch.float64, torch.device("cpu") if device.type == "mps" else device
            else:
                m = min(4 * m, n)
        return squares, indices

    def _candidates(
        self, queries: NDArray[Any], m: int, dtype: torch.dtype, device: torch.device
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The ``m`` nearest by matrix product, in ascending order of index, and what no other row is nearer than.

        ``|a - b|^2 = |a|^2 - 2 a.b + |b|^2`` of centred rows. With ``u`` the rounding and ``d`` features, it is off by
        at most ``2 (d + 8) u (|a| + |b|)^2``: ``d u |a| |b|`` from a sum of ``d`` products, ``u |a|`` from rounding a
        row (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1).
        """
        single = dtype == torch.float32
        number = np.float32 if single else np.float64
        ((_, rows),) = _blocks(queries, self.metric, number, self._centre, len(queries))
        length = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1))
        a_QD = torch.from_numpy(rows).to(device)
        best_QM = torch.empty(len(queries), 0, dtype=dtype, device=device)
        place_QM = torch.empty(len(queries), 0, dtype=torch.int64, device=device)
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            for start, block in _blocks(self._rows, self.metric, number, self._centre):
                b_RD = torch.from_numpy(block).to(device)
                squares_R = b_RD.square().sum(dim=1)
                if self.metric == "cosine":
                    squares_R += torch.from_numpy(_is_zero(self._rows[start : start + len(block)])).to(device)
                distance_QR = torch.addmm(squares_R, a_QD, b_RD.T, alpha=-2)
                near, place = distance_QR.topk(min(m, len(block)), dim=1, largest=False, sorted=False)
                best_QM = torch.cat([best_QM, near], dim=1)
                place_QM = torch.cat([place_QM, place + start], dim=1)
                if best_QM.shape[1] > m:
                    best_QM, kept = best_QM.topk(m, dim=1, largest=False, sorted=False)
                    place_QM = place_QM.gather(1, kept)
        rounding = _ROUNDING[torch.get_float32_matmul_precision()] if single else 2.0**-53
        d, scale = rows.shape[1], (length + self._longest) ** 2 + (self.metric == "cosine")
        slack = 2 * (d + 8) * (rounding * scale + float(np.finfo(number).tiny))
        farthest = best_QM.max(dim=1).values.double().cpu().numpy()
        return place_QM.sort(dim=1).values.cpu().numpy(), farthest + length**2 - slack

    def _distances(self, queries: NDArray[Any], indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """From differences in float64, ``(n, m)``: so that close rows far from the origin keep their digits."""
        n, m = indices.shape
        exact = np.empty((n, m))
        step = max(1, _BLOCK_BYTES // (8 * queries.shape[1] * m))
        across = max(1, _BLOCK_BYTES // (8 * queries.shape[1]))
        for start in range(0, n, step):
            part = slice(start, start + step)
            a = torch.from_numpy(_ready(queries[part], self.metric, np.float64))
            for first in range(0, m, across):
                chosen = indices[part, first : first + across]
                rows = self._rows[chosen.ravel()]
                b = torch.from_numpy(_ready(rows, self.metric, np.float64)).view(*chosen.shape, -1)
                exact[part, first : first + across] = b.sub_(a[:, None]).square_().sum(dim=2).numpy()
                if self.metric == "cosine":
                    zero = _is_zero(rows).reshape(chosen.shape) + _is_zero(queries[part])[:, None]
                    exact[part, first : first + across] += zero
        return exact


def _finite(X: NDArray[Any]) -> NDArray[Any]:
    if not all_finite(X):
        raise InputError("X has NaN or infinite numbers: remove or replace these rows first")
    return X


def _is_zero(rows: NDArray[Any]) -> NDArray[np.float32]:
    """1 for a row of zeros: as if it had a coordinate of its own, so that it is at right angles to everything."""
    return np.asarray(~rows.any(axis=1), np.float32)


def _ready(rows: NDArray[Any], metric: str, dtype: Any) -> NDArray[Any]:
    """A copy of the rows as numbers; of length 1 for cosine."""
    if metric == "euclidean":
        return np.array(rows, dtype=dtype)
    rows = np.array(rows, dtype=np.float64)
    rows /= np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)  # squares may overflow
    rows /= np.maximum(np.sqrt(np.square(rows).sum(axis=1, keepdims=True)), 1.0)
    return rows


def _blocks(
    array: NDArray[Any], metric: str, dtype: Any, centre: NDArray[Any] | None = None, size: int | None = None
) -> Iterator[tuple[int, NDArray[Any]]]:
    """First index and rows, less the centre; rounded once, after the subtraction."""
    size = size or int(np.clip(_BLOCK_BYTES // (4 * array.shape[1]), 64, _BLOCK_ROWS))
    exact = metric == "euclidean" and np.can_cast(array.dtype, np.float32)
    exact = exact and (centre is None or centre.dtype == np.float32)
    for start in range(0, len(array), size):
        rows = _ready(array[start : start + size], metric, dtype if exact else np.float64)
        if centre is not None:
            rows -= centre
        yield start, rows.astype(dtype, copy=False)
