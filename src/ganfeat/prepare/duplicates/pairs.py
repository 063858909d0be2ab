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
CANDIDATES = 5
"""Nearest neighbours that are compared pixel by pixel."""
STRANGER = 8
"""Rank of the neighbour that is taken for no duplicate, to choose the least likeness."""
STRANGERS = 4000
BUDGET = 0.001
"""Share of the strangers that may pass."""
LEAST_RANGE = 0.88, 0.94
_BLOCK = 4096
_ROUNDS = 10


class FoundPairs(NamedTuple):
    """Groups, the least likeness they were made with, and how many pairs were compared."""

    groups: NDArray[np.int64]
    least: float
    compared: int


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

    The least likeness lets one in a thousand strangers pass: pairs of an image and its 8th neighbour, of 4,000 images
    at most; but it stays within 0.88 to 0.94, for where groups of more than 8 are common the 8th is no stranger.
    """
    same = same_pixels(images)
    rows = np.flatnonzero(same == np.arange(len(images)))
    if len(rows) < 2:
        return FoundPairs(same, least or LEAST_RANGE[1], 0)
    near = work.array("neighbours.npy")
    if near is None:
        near = _neighbours(images, rows, features, seed, progress)
        work.keep_array("neighbours.npy", near)
    if least is None:
        least = _least(images, rows, near, seed)
    pairs = _candidate_pairs(near[:, :CANDIDATES])
    alike = work.column("alike.bin", np.float32, 1, _BLOCK)
    for start in range(alike.done, len(pairs), _BLOCK):
        part = rows[pairs[start : start + _BLOCK]]
        alike.append(_alike(images, part)[:, None])
        if progress is not None:
            progress(alike.done, len(pairs), "comparing pixels")
    close = pairs[alike.rows()[: len(pairs), 0] >= least]
    some = None if areas is None else _largest_of_same(same, areas)[rows]
    groups = _star_groups(images, rows, close, some, least)
    return FoundPairs(rows[groups][np.searchsorted(rows, same)], least, len(pairs))


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


def _least(images: NDArray[np.uint8], rows: NDArray[np.int64], near: NDArray[np.int32], seed: int) -> float:
    """See the Notes of :func:`groups_by_features`."""
    sample = np.sort(np.random.default_rng(seed).permutation(len(rows))[:STRANGERS])
    strangers = near[sample, -1]
    pairs = np.stack([sample, strangers], axis=1)[strangers >= 0]
    low, high = LEAST_RANGE
    if not len(pairs):
        return high
    return float(np.clip(np.quantile(_alike(images, rows[pairs]), 1 - BUDGET), low, high))


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
    least: float,
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
        alike[~linked] = _alike(images, rows[np.stack([others, kept[others]], axis=1)[~linked]]) >= least
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
