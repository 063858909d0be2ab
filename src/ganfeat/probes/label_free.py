"""What can be told of features without a label: how many directions they use, and whether they agree on neighbours.

Each measure takes features ``(n, p)`` as an array and none needs a label, so they may help to choose a layer or a
network where there are too few labels to compare with. Whether they do is to be checked, not assumed:
:func:`rank_correlation` with accuracies, where there are some.

References
----------
O. Roy, M. Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007, section 2.
Q. Garrido, R. Balestriero, L. Najman, Y. LeCun, "RankMe: assessing the downstream performance of pretrained
self-supervised representations by their rank", ICML 2023, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.errors import InputError

ROWS = 1000
"""How many images the measures are taken on, at most."""
DUPLICATE_ROWS = 500
"""As many do for correlations near 1: the standard error of 0.99 is then below 0.001."""
NEIGHBOURS = 10
STILL = 1e-3
ALIKE = 0.99
_COLUMNS = 1024
_PERMUTATIONS = 9999


def sample(n: int, most: int = ROWS) -> NDArray[np.int64]:
    """Rows to take the measures on: all of ``n``, or ``most`` evenly spaced ones, in ascending order."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def effective_rank(rows: NDArray[Any], *, centre: bool = True) -> float:
    """How many directions the rows use: the exponential of the entropy of the normalised singular values.

    ``exp(-sum_k q_k log q_k)`` with ``q_k = s_k / sum_j s_j`` (Roy & Vetterli, definition 1): k for rows that spread
    alike in k orthogonal directions. RankMe is the same number, of rows that are not centred.

    Parameters
    ----------
    rows : ndarray ``(n, p)``
    centre : bool
        Subtract the mean row first. Features after a ReLU have a large one, which is a direction of no variation.

    Returns
    -------
    float
        In ``[1, min(n, p)]``, at most ``n - 1`` of centred rows; 0 where nothing varies. Rotations of the columns,
        their order and a positive factor change nothing.

    Raises
    ------
    InputError
        If there are fewer than 2 rows, or no columns.
    """
    _check(rows)
    mean = rows.mean(axis=0, dtype=np.float64) if centre else np.zeros(rows.shape[1])
    n, p = rows.shape
    # Singular values are roots of eigenvalues: in float32, noise of 1e-7 of the largest would become 3e-4.
    products = np.zeros((min(n, p),) * 2)
    step = _COLUMNS if n <= p else n
    for start in range(0, p if n <= p else 1, step):
        part = slice(start, start + step) if n <= p else slice(None)
        block = rows[:, part] - mean[part]
        products += block @ block.T if n <= p else block.T @ block
    values = np.linalg.eigvalsh(products)
    values = np.sqrt(values[values > max(n, p) * np.finfo(np.float64).eps * max(values[-1], 0.0)])
    if not len(values):
        return 0.0
    shares = values / values.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def dead_features(rows: NDArray[Any], still: float = STILL) -> NDArray[np.bool_]:
    """Which features do not vary: standard deviation at most ``still`` of the median one of those that vary at all.

    Parameters
    ----------
    rows : ndarray ``(n, p)``
    still : float

    Returns
    -------
    ndarray of bool ``(p,)``
        All True where nothing varies. A positive factor, common to all, and shifts change nothing.
    """
    _check(rows)
    spread = np.asarray(rows, np.float32).std(axis=0, dtype=np.float64)
    spread[np.ptp(rows, axis=0) == 0] = 0  # rounding of the mean leaves a little of a constant
    varying = spread[spread > 0]
    typical = float(np.median(varying)) if len(varying) else 0.0
    return np.asarray(spread <= still * typical)


def duplicate_features(rows: NDArray[Any], alike: float = ALIKE) -> NDArray[np.bool_]:
    """Which features say what an earlier one says: absolute correlation above ``alike`` with one of them.

    Parameters
    ----------
    rows : ndarray ``(n, p)``
    alike : float

    Returns
    -------
    ndarray of bool ``(p,)``
        A dead feature (:func:`dead_features`) is no duplicate and has none. Shifts and factors of columns, also
        negative ones, change nothing, as long as they leave no feature dead.
    """
    _check(rows)
    z = _standardised(rows)
    z /= np.float32(len(rows) ** 0.5)
    found = np.zeros(z.shape[1], np.bool_)
    for start in range(0, z.shape[1], _COLUMNS):
        stop = min(start + _COLUMNS, z.shape[1])
        close = np.abs(z[:, :stop].T @ z[:, start:stop]) > alike  # of all so far, with those of this block
        close[start:] = np.triu(close[start:], 1)
        found[start:stop] = close.any(axis=0)
    return found


def nearest_neighbours(rows: NDArray[Any], k: int = NEIGHBOURS) -> NDArray[np.int64]:
    """For every row the ``k`` others nearest by the cosine between standardised features.

    Parameters
    ----------
    rows : ndarray ``(n, p)``
    k : int

    Returns
    -------
    ndarray ``(n, k)``, in no particular order
        Shifts, positive factors and the order of columns change nothing.

    Raises
    ------
    InputError
        If there are not more than ``k`` rows.
    """
    _check(rows, k)
    z = _standardised(rows)
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    likeness = z @ z.T
    np.fill_diagonal(likeness, -np.inf)
    return np.argpartition(-likeness, k - 1, axis=1)[:, :k]


def overlap(neighbours: NDArray[np.int64], others: NDArray[np.int64]) -> float:
    """Mean share of neighbours ``(n, k)`` that are also in ``others`` ``(n, k)``; ``k / (n - 1)`` is chance."""
    if neighbours.shape != others.shape:
        raise InputError(f"neighbours {neighbours.shape} and {others.shape}: give them of the same rows and number")
    return float(np.mean((neighbours[:, :, None] == others[:, None, :]).any(axis=2)))


def neighbour_agreement(rows: NDArray[Any], others: NDArray[Any], k: int = NEIGHBOURS) -> float:
    """How far two sets of features of the same images agree on who is near: :func:`overlap` of their neighbours.

    Parameters
    ----------
    rows : ndarray ``(n, p)``
    others : ndarray ``(n, q)``
    k : int

    Returns
    -------
    float
        1 for the same neighbours; ``k / (n - 1)`` on average for unrelated ones.
    """
    return overlap(nearest_neighbours(rows, k), nearest_neighbours(others, k))


def half_agreement(rows: NDArray[Any], k: int = NEIGHBOURS, *, seed: int = 0) -> float | None:
    """:func:`neighbour_agreement` of two random halves of the features.

    Neighbouring cells of one map are seen alike, so halves of a layer are not independent of each other: compare
    the number between layers, not with chance.

    Parameters
    ----------
    rows : ndarray ``(n, p)``
    k : int
    seed : int
        Of the split.

    Returns
    -------
    float, or None of a single feature
    """
    _check(rows, k)
    columns = np.random.default_rng([seed, 2]).permutation(rows.shape[1])
    half = len(columns) // 2
    if not half:
        return None
    return neighbour_agreement(rows[:, np.sort(columns[:half])], rows[:, np.sort(columns[half:])], k)


def rank_correlation(measure: Sequence[float], accuracy: Sequence[float], *, seed: int = 0) -> dict[str, Any]:
    """Spearman's rank correlation of a measure with accuracy, and its p-value by permutation.

    Parameters
    ----------
    measure, accuracy : sequence of float
        One a row of a comparison.
    seed : int
        Of the permutations, where there are too many to take all.

    Returns
    -------
    dict
        ``spearman`` in [-1, 1], ``p`` (two-sided: twice the share of permutations at least as extreme, at most 1; of
        all permutations up to 7 rows, of 9,999 above) and ``rows``. The first two are None for fewer than 3 rows or
        where either is constant.
    """
    from scipy.stats import permutation_test, rankdata

    x, y = rankdata(measure), rankdata(accuracy)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"spearman": None, "p": None, "rows": len(x)}
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()

    def correlation(x: NDArray[Any], axis: int = -1) -> NDArray[Any]:
        return np.asarray(np.round(np.mean(x * y, axis=axis), 12))  # equal ranks must count as equal

    test = permutation_test(
        (x,),
        correlation,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=_PERMUTATIONS,
        random_state=np.random.default_rng(seed),
    )
    return {"spearman": float(test.statistic), "p": float(test.pvalue), "rows": len(x)}


def _standardised(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Mean 0 and variance 1, and 0 throughout for dead features."""
    live = ~dead_features(rows)
    z = np.array(rows, np.float32)
    z -= z.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = z.std(axis=0, dtype=np.float64)
    z *= np.where(live, 1 / np.where(live, spread, 1), 0).astype(np.float32)
    return z


def _check(rows: NDArray[Any], k: int = 1) -> None:
    if rows.ndim != 2 or len(rows) <= k or not rows.shape[1]:
        raise InputError(f"rows {rows.shape}: give (n, p) with n above {k} and p of at least 1")
