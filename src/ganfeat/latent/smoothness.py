"""Whether a walk changes its images smoothly, and whether they are copies of training images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.arrays import all_finite
from ganfeat.config import require
from ganfeat.errors import InputError
from ganfeat.probes.knn import KNNClassifier

SHARP = 5.0
"""A step above so many times the median step is a sharp jump."""
COMPARED = 1000
"""Training images whose own nearest neighbours are looked up."""
_FLAT = 1e-6
_BLOCK_BYTES = 2**26
"""Of rows that are copied at a time, where some of them are left out."""


@dataclass(frozen=True)
class Steps:
    """How far each step of a walk goes.

    Attributes
    ----------
    lengths : ndarray ``float64 (n - 1,)``
        Euclidean distance between neighbouring frames per unit of z; NaN where z stays where it is.
    median : float
    ratio : float or None
        Largest over median; None where the median is 0.
    jumps : ndarray ``int64``
        The sharp ones: steps longer than :data:`SHARP` times the median (``factor``). Step i leads from frame i to
        frame i + 1.
    """

    lengths: NDArray[np.float64]
    median: float
    ratio: float | None
    jumps: NDArray[np.int64]


@dataclass(frozen=True)
class Neighbours:
    """Where the frames lie among the training images.

    Attributes
    ----------
    indices : ndarray ``int64 (n, k)``
        The nearest training images, nearest first.
    distances : ndarray ``float64 (n, k)``
        Euclidean, over all pixels in 0..1 or all features.
    closeness : ndarray ``float64 (n,)``
        For each frame the share of the compared training images whose nearest other training image is farther than the
        frame's nearest training image; ties count half.
    score : float
        The mean of ``closeness``. See :func:`smoothness`.
    usual : float
        Median distance of a training image to its nearest other training image.
    duplicates : int
        Training images that are exact copies of an earlier one, and count once.
    nearer : float or None
        Share of the frames whose nearest image of all, training and held-out ones together, is a training image.
    chance : float or None
        What that share is expected to be of frames that know no more of the training images than of the held-out ones:
        the training images' share of all.
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]
    closeness: NDArray[np.float64]
    score: float
    usual: float
    duplicates: int
    nearer: float | None
    chance: float | None


@dataclass(frozen=True)
class Smoothness:
    """Steps and neighbours in pixels and in features; None of what was not given."""

    pixels: Steps
    features: Steps | None
    near_pixels: Neighbours | None
    near_features: Neighbours | None


def smoothness(
    z: NDArray[np.floating],
    images: NDArray[Any],
    features: NDArray[Any] | None = None,
    training: NDArray[Any] | None = None,
    training_features: NDArray[Any] | None = None,
    *,
    held_out: NDArray[Any] | None = None,
    held_out_features: NDArray[Any] | None = None,
    factor: float = SHARP,
    n_neighbours: int = 1,
    compared: int = COMPARED,
    random_state: int = 0,
    device: str = "cpu",
) -> Smoothness:
    """Measure a walk: its steps, and how near its frames are to training images.

    Sharp transitions along a walk are a sign of memorisation (Radford, Metz and Chintala 2016, section 6.1); a smooth
    one that passes through plausible images all along is a sign of the opposite.

    Parameters
    ----------
    z : array ``(n, D)``
        The walk, n at least 2.
    images : array ``(n, h, w, c)``
        What G makes of it: ``uint8``, or floats in 0..1.
    features : array ``(n, F)``, optional
        Features of these images.
    training : array ``(N, h, w, c)``, optional
        What G learned from, in the same kind and size; a memory map is read in blocks.
    training_features : array ``(N, F)``, optional
        Features of these; needs ``features`` and ``training`` (which tells which are copies of each other).
    held_out, held_out_features : arrays, optional
        Images of the same origin that G has not learned from, and their features; those that are copies of a training
        image are left out.
    factor : float
        A step above so many times the median is a sharp jump.
    n_neighbours : int
        Nearest training images to find for each frame.
    compared : int
        Training images, drawn by ``random_state``, whose own nearest neighbours are looked up.
    random_state : int
    device : str
        For the search of neighbours.

    Returns
    -------
    Smoothness

    Raises
    ------
    InputError
        If arrays do not fit each other, or fewer than 3 different training images are given.

    Notes
    -----
    ``score`` of :class:`Neighbours` is the Mann-Whitney probability that a frame is nearer to its nearest training
    image than a training image is to its nearest *other* training image: 1 for copies, 1/2 for images as fresh as the
    training images are to each other. (The statistic is that of Meehan, Chaudhuri and Dasgupta 2020, "A non-parametric
    test to detect data-copying in generative models", with training images left out one at a time in place of a held
    out set, and over the whole space, not cell by cell.)

    The score cannot tell everything. Blurry or nonsensical images are often far from any training image and score near
    0, so low is not good. Images of less contrast or detail than most are near to many in pixels, and score near 1
    without being copies. A mixture of copies and failures scores between: look at ``closeness`` of single frames.
    Copies that are shifted or recoloured are far away in pixels; features may see them. Exact copies among the training
    images would make their own distances 0, and hide copying: they are counted, and used once. Near copies (the same
    photograph saved twice) still do. With a part of the training images only, copies of the others are missed.

    ``nearer`` asks what no blur changes: whether frames are nearer to the images that G learned from than to images of
    the same origin that it has not seen. Of what is not copied it is ``chance``, and 1 of copies; the more held-out
    images, the more it can tell. The frames of one walk are alike, so both vary more from walk to walk than their
    number suggests. Features of a network that learned from the same training images may themselves tell these from
    unseen ones, and then lift ``nearer`` without any copying: pixels do not.
    """
    z = np.asarray(z, np.float64)
    n = len(z)
    if z.ndim != 2 or n < 2:
        raise InputError(f"z must be a walk (n, D) of at least 2 points, not {z.shape}")
    require("factor", factor, float, above=0)
    rows = _rows(images, n, "images")
    unit = 255.0 if images.dtype == np.uint8 else 1.0
    apart = np.linalg.norm(np.diff(z, axis=0), axis=1)
    apart = np.where(apart > _FLAT * max(1e-30, float(apart.max())), apart, np.nan)
    pixel_steps = _steps(rows, unit, apart, factor)
    feature_rows = None if features is None else _rows(features, n, "features")
    feature_steps = None if feature_rows is None else _steps(feature_rows, 1.0, apart, factor)
    if training is None:
        if training_features is not None or held_out is not None:
            raise InputError("training_features and held_out need training, the images that G learned from")
        return Smoothness(pixel_steps, feature_steps, None, None)
    for others, name in ((training, "training"), (held_out, "held-out")):
        if others is not None and (others.shape[1:] != images.shape[1:] or others.dtype != images.dtype):
            raise InputError(
                f"{name} images are {others.dtype} {others.shape[1:]}, and those of the walk {images.dtype} "
                f"{images.shape[1:]}: give both in the same kind and size"
            )
    kept, fresh = unique_rows(training, held_out)
    if len(kept) < 3:
        raise InputError(f"there are {len(kept)} different training images: at least 3 are needed to compare with")
    if held_out is not None and not len(fresh):
        raise InputError("all held-out images are training images: give images that G has not learned from")
    order = np.sort(np.random.default_rng(random_state).permutation(len(kept))[:compared])
    near = _near(training, held_out, rows, (kept, fresh), order, n_neighbours, unit, device)
    if training_features is None:
        return Smoothness(pixel_steps, feature_steps, near, None)
    if feature_rows is None or len(training_features) != len(training):
        raise InputError("training_features must be one row for each training image, and features given beside them")
    if held_out_features is not None and (held_out is None or len(held_out_features) != len(held_out)):
        raise InputError("held_out_features must be one row for each held-out image")
    near_features = _near(
        training_features, held_out_features, feature_rows, (kept, fresh), order, n_neighbours, 1.0, device
    )
    return Smoothness(pixel_steps, feature_steps, near, near_features)


def unique_rows(
    images: NDArray[Any], others: NDArray[Any] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the images that are no exact copy of an earlier one, ascending; and of such others, of neither."""
    from hashlib import blake2b

    seen: set[bytes] = set()
    found = []
    for array in (images, images[:0] if others is None else others):
        new = []
        for i, image in enumerate(array):
            digest = blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
            if digest not in seen:
                seen.add(digest)
                new.append(i)
        found.append(np.array(new, np.int64))
    return found[0], found[1]


def nearest_other(
    distances: NDArray[np.float64], indices: NDArray[np.int64], own: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distances to the nearest *other* row, ascending, of the two nearest ``(n, 2)`` of rows that are among them."""
    return np.sort(np.where(indices[:, 0] == own, distances[:, 1], distances[:, 0]))


def share_farther(others: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each distance the share of ``others``, ascending, that are farther; equal ones count half (Mann-Whitney)."""
    above = len(others) - np.searchsorted(others, distances, side="right")
    equal = len(others) - above - np.searchsorted(others, distances, side="left")
    return (above + 0.5 * equal) / len(others)


def _steps(rows: NDArray[Any], unit: float, apart: NDArray[np.float64], factor: float) -> Steps:
    moved = np.array([np.linalg.norm(b.astype(np.float64) - a) for a, b in pairwise(rows)])
    lengths = moved / unit / apart
    known = lengths[np.isfinite(lengths)]
    if not len(known):
        raise InputError("z is the same everywhere: a walk needs at least two different points")
    median = float(np.median(known))
    jumps = np.flatnonzero(np.nan_to_num(lengths) > factor * median)
    return Steps(lengths, median, float(known.max() / median) if median > 0 else None, jumps)


def _near(
    training: NDArray[Any],
    held_out: NDArray[Any] | None,
    queries: NDArray[Any],
    kept: tuple[NDArray[np.int64], NDArray[np.int64]],
    order: NDArray[np.int64],
    k: int,
    unit: float,
    device: str,
) -> Neighbours:
    """Nearest of the training rows that are ``kept``; the rows ``order`` of these are compared with each other."""
    require("n_neighbours", k, int, least=1)
    rows = _as_wide(training, queries, "training")
    distances, indices = _nearest(rows, kept[0], queries, k, device)
    around, who = _nearest(rows, kept[0], rows[kept[0][order]], 2, device)
    others = nearest_other(around, who, order)
    closeness = share_farther(others, distances[:, 0])
    nearer = chance = None
    if held_out is not None:
        unseen = _as_wide(held_out, queries, "held-out")
        beside, _ = _nearest(unseen, kept[1], queries, 1, device)
        chance = len(kept[0]) / (len(kept[0]) + len(kept[1]))
        ahead, ties = distances[:, 0] < beside[:, 0], distances[:, 0] == beside[:, 0]
        nearer = float((ahead + chance * ties).mean())
    return Neighbours(
        indices=kept[0][indices],
        distances=distances / unit,
        closeness=closeness,
        score=float(closeness.mean()),
        usual=float(np.median(others)) / unit,
        duplicates=len(rows) - len(kept[0]),
        nearer=nearer,
        chance=chance,
    )


def _nearest(
    rows: NDArray[Any], kept: NDArray[np.int64], queries: NDArray[Any], k: int, device: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distances and places in ``kept`` ``(n, k)`` of the nearest of the rows that are kept, of all where k is more."""

    def search(among: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        fitted = KNNClassifier(device=device).fit(among, np.zeros(len(among), np.int64))
        return fitted.kneighbors(queries, min(k, len(among)))

    if len(kept) == len(rows):
        return search(rows)
    # block by block: one copy of an image among many must not cost a copy of all rows
    distances, places = np.empty((len(queries), 0)), np.empty((len(queries), 0), np.int64)
    size = max(1, _BLOCK_BYTES // max(1, rows[0].nbytes))
    for start in range(0, len(kept), size):
        near, place = search(rows[kept[start : start + size]])
        distances, places = np.hstack([distances, near]), np.hstack([places, place + start])
        best = np.argsort(distances, axis=1, kind="stable")[:, :k]
        distances, places = np.take_along_axis(distances, best, axis=1), np.take_along_axis(places, best, axis=1)
    return distances, places


def _as_wide(array: NDArray[Any], queries: NDArray[Any], name: str) -> NDArray[Any]:
    """Rows as wide as those of the walk."""
    rows = _rows(array, len(array), name)
    if rows.shape[1] != queries.shape[1]:
        raise InputError(f"{name} rows have {rows.shape[1]} numbers and those of the walk {queries.shape[1]}")
    return rows


def _rows(array: NDArray[Any], n: int, name: str) -> NDArray[Any]:
    """Images or features as rows of finite numbers."""
    if len(array) != n:
        raise InputError(f"{name} are {len(array)}, and the walk has {n} points: give one for each")
    if not all_finite(array):
        raise InputError(f"{name} have NaN or infinite numbers")
    return array.reshape(n, -1)
