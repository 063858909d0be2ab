"""Duplicates by features: near neighbours, looked at again pixel by pixel, joined to groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganfeat.errors import InputError
from ganfeat.prepare.duplicates.descriptor import Shortening, pixel_rows
from ganfeat.prepare.duplicates.grouping import groups_of_pairs, kept_rows, same_pixels
from ganfeat.prepare.duplicates.kept import Work
from ganfeat.prepare.duplicates.likeness import likeness
from ganfeat.prepare.duplicates.neighbours import nearest
from ganfeat.prepare.duplicates.small import chosen

Progress = Callable[[int, int, str], object]
Passes = Callable[[NDArray[np.int64], NDArray[np.float32]], NDArray[np.bool_]]
CANDIDATES = 5
"""Nearest neighbours that are compared pixel by pixel."""
STRANGER = 8
"""Rank of the neighbour that is taken for no duplicate, to choose the least likeness; from the 6th on, for a ratio."""
STRANGERS = 4000
BUDGET = 0.001
"""Share of the strangers that may pass."""
LEAST_RANGE = 0.88, 0.94
RATIO = 0.3
"""Duplicates have at most this share of the distance of each one's nearest stranger."""
COPY = 0.96
"""Strangers that are so much alike are taken for copies, and do not count."""
_BLOCK = 4096
_ROUNDS = 10


class FoundPairs(NamedTuple):
    """Groups, the least likeness they were made with, how many pairs were compared, and what strangers are like."""

    groups: NDArray[np.int64]
    least: float
    compared: int
    strangers: dict[str, float]


def groups_by_features(
    images: NDArray[np.uint8],
    work: Work,
    *,
    features: NDArray[np.floating] | None = None,
    areas: NDArray[np.int64] | None = None,
    least: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> FoundPairs:
    """Find groups of duplicates among images.

    Parameters
    ----------
    images : ndarray or memmap of uint8, shape (n, h, w, 1 or 3)
    work : Work
        Keeps what was found.
    features : ndarray or memmap, shape (n, d), optional
        Of any network; without it, those of :func:`~ganfeat.prepare.duplicates.descriptor.pixel_rows`.
    areas : ndarray, shape (n,), optional
        See :func:`~ganfeat.prepare.duplicates.grouping.kept_rows`.
    least : float, optional
        Pairs that are at least so alike are duplicates. By default chosen: see Notes.
    seed : int
    progress : callable(done, total, what), optional

    Notes
    -----
    Images whose 32 x 32 pictures are equal are one from the start. Each of the rest is compared with its 5 nearest
    neighbours in the features by :func:`~ganfeat.prepare.duplicates.likeness.likeness`; pairs of at least `least` are
    joined to connected components. As a chain of small changes leads from anything to anything, a member of a component
    that is not itself alike to the image kept leaves it, and forms groups with others that left.

    How alike images are that are no duplicates differs between sets and within them: two photographs hardly ever are,
    the ones among handwritten digits are all much alike. Strangers tell.

    - A stranger is the 8th neighbour of an image, unless the two are alike by 0.96: then it is a copy itself. The least
      likeness lets one in a thousand strangers pass, of 4,000; but it stays within 0.88 to 0.94.
    - The distance of a pair (1 less the likeness) is at most 0.3 of that of each of the two from its nearest stranger
      (the ratio test of Lowe 2004, section 7.1), the 6th and 7th neighbours included. So of more than 6 copies of one
      picture, those with a likeness below 0.96 may be kept.
    """
    same = same_pixels(images)
    rows = np.flatnonzero(same == np.arange(len(images)))
    if len(rows) < 2:
        return FoundPairs(same, least or LEAST_RANGE[1], 0, {})
    near = work.array("neighbours.npy")
    if near is None:
        near = _neighbours(images, rows, features, seed, progress)
        work.keep_array("neighbours.npy", near)
    strangers: dict[str, float] = {}
    if least is None:
        least, strangers = _least(images, rows, near, seed)
    pairs = _candidate_pairs(near[:, :CANDIDATES])
    alike = _all_alike(images, rows, pairs, work, "alike.bin", "comparing pixels", progress)
    close, alike = pairs[alike >= least], alike[alike >= least]
    nearest_strangers = _strangers(images, rows, near, np.unique(close), work, progress)

    def passes(pairs: NDArray[np.int64], alike: NDArray[np.float32]) -> NDArray[np.bool_]:
        return (alike >= least) & (1 - alike <= RATIO * (1 - nearest_strangers[pairs].max(axis=1)))

    some = None if areas is None else _largest_of_same(same, areas)[rows]
    groups = _star_groups(images, rows, close[passes(close, alike)], some, passes)
    return FoundPairs(rows[groups][np.searchsorted(rows, same)], least, len(pairs), strangers)


def _all_alike(
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    pairs: NDArray[np.int64],
    work: Work,
    name: str,
    what: str,
    progress: Progress | None,
) -> NDArray[np.float32]:
    """Likeness of pairs of places in ``rows``, kept in a file while it is found."""
    alike = work.column(name, np.float32, 1, _BLOCK)
    for start in range(alike.done, len(pairs), _BLOCK):
        alike.append(_alike(images, rows[pairs[start : start + _BLOCK]])[:, None])
        if progress is not None:
            progress(alike.done, len(pairs), what)
    return np.asarray(alike.rows()[: len(pairs), 0], np.float32)


def _strangers(
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    near: NDArray[np.int32],
    asked: NDArray[np.int64],
    work: Work,
    progress: Progress | None,
) -> NDArray[np.float32]:
    """Likeness of some places in ``rows`` to their nearest stranger; -1 where none is known."""
    ranks = near[asked, CANDIDATES:]
    pairs = np.stack([asked.repeat(ranks.shape[1]), ranks.ravel()], axis=1)
    pairs = pairs[pairs[:, 1] >= 0]
    alike = _all_alike(images, rows, pairs, work, "strangers.bin", "comparing with strangers", progress)
    of_all = np.full(len(rows), -1, np.float32)
    strange = alike < COPY
    np.maximum.at(of_all, pairs[strange, 0], alike[strange])
    return of_all


def _largest_of_same(same: NDArray[np.int64], areas: NDArray[np.int64]) -> NDArray[np.int64]:
    """The largest area among images with the same pixels, at each of them."""
    best = np.zeros(len(same), np.int64)
    np.maximum.at(best, same, areas)
    return best[same]


def _neighbours(
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    features: NDArray[np.floating] | None,
    seed: int,
    progress: Progress | None,
) -> NDArray[np.int32]:
    shorten = None if features is None else Shortening(features.shape[1], seed)

    def read(start: int, stop: int) -> NDArray[np.float32]:
        some = rows[start:stop]
        if features is None or shorten is None:
            return pixel_rows(chosen(images, some))
        block = shorten(features[some])
        if not np.isfinite(block).all():
            raise InputError("features has NaN or infinite numbers: extract them again")
        return block

    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total, "looking for neighbours")

    found = nearest(len(rows), read, STRANGER, seed, told)
    return np.concatenate([block for block, _ in found]).astype(np.int32)


def _least(
    images: NDArray[np.uint8], rows: NDArray[np.int64], near: NDArray[np.int32], seed: int
) -> tuple[float, dict[str, float]]:
    """The least likeness by the rule, and what it was made of: see the Notes of :func:`groups_by_features`."""
    sample = np.sort(np.random.default_rng(seed).permutation(len(rows))[:STRANGERS])
    strangers = near[sample, -1]
    pairs = np.stack([sample, strangers], axis=1)[strangers >= 0]
    low, high = LEAST_RANGE
    alike = _alike(images, rows[pairs]) if len(pairs) else np.empty(0, np.float32)
    alike = alike[alike < COPY]
    if not len(alike):
        return high, {}
    asked = float(np.quantile(alike, 1 - BUDGET))
    return float(np.clip(asked, low, high)), {"pairs": len(alike), "least asked for": round(asked, 4)}


def _candidate_pairs(near: NDArray[np.int32]) -> NDArray[np.int64]:
    """Every pair once, the smaller row first, in order."""
    n, k = near.shape
    one, other = np.repeat(np.arange(n), k), near.ravel().astype(np.int64)
    one, other = one[other >= 0], other[other >= 0]
    keys = np.unique(np.minimum(one, other) * n + np.maximum(one, other))
    return np.stack([keys // n, keys % n], axis=1)


def _alike(images: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    alike = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _BLOCK):
        part = pairs[start : start + _BLOCK]
        rows, place = np.unique(part, return_inverse=True)
        pictures, place = chosen(images, rows), place.reshape(part.shape)
        alike[start : start + _BLOCK] = likeness(pictures[place[:, 0]], pictures[place[:, 1]])
    return alike


def _star_groups(
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    close: NDArray[np.int64],
    areas: NDArray[np.int64] | None,
    passes: Passes,
) -> NDArray[np.int64]:
    """Groups of which every member is alike to the one that is kept; numbers are places in ``rows``."""
    groups = np.arange(len(rows))
    for _ in range(_ROUNDS):
        joined = groups_of_pairs(close, len(rows))
        kept = kept_rows(joined, areas)
        others = np.flatnonzero(kept != np.arange(len(rows)))
        if not len(others):
            break
        linked = _linked(close, others, kept, len(rows))
        alike = linked.copy()
        unlinked = np.stack([others, kept[others]], axis=1)[~linked]
        alike[~linked] = passes(unlinked, _alike(images, rows[unlinked]))
        groups[others[alike]] = kept[others[alike]]
        left = np.zeros(len(rows), bool)
        left[others[~alike]] = True
        close = close[left[close].all(axis=1)]
        if not len(close):
            break
    return _named_by_first(groups)


def _linked(close: NDArray[np.int64], others: NDArray[np.int64], kept: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """Which rows have been found alike to the kept one already."""
    low, high = np.minimum(others, kept[others]), np.maximum(others, kept[others])
    return np.isin(low * n + high, close[:, 0] * n + close[:, 1])


def _named_by_first(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    first = np.full(len(groups), len(groups), np.int64)
    np.minimum.at(first, groups, np.arange(len(groups)))
    return first[groups]


def compared(images: NDArray[np.uint8], kept: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """How far each image that is dropped is from the one kept in its place.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w, c)
    kept : ndarray of int64, shape (n,)
        Of each row, the row that is kept.

    Returns
    -------
    dict
        ``row`` of each image that is dropped; ``distance``, 1 less the likeness; ``difference``, the root mean square
        difference of the 32 x 32 pictures in grey levels, 0..255.
    """
    dropped = np.flatnonzero(kept != np.arange(len(kept)))
    pairs = np.stack([dropped, kept[dropped]], axis=1)
    distance, difference = np.empty(len(pairs), np.float32), np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _BLOCK):
        part = slice(start, start + _BLOCK)
        one, other = chosen(images, pairs[part, 0]), chosen(images, pairs[part, 1])
        equal = (one == other).all(axis=(1, 2, 3))
        distance[part] = np.where(equal, 0, np.maximum(1 - likeness(one, other), 0))
        difference[part] = np.sqrt(np.square(one.astype(np.float32) - other).mean(axis=(1, 2, 3)))
    return {"row": dropped, "distance": distance, "difference": difference}
