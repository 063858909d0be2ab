"""Sums and differences of latents, and directions from one group of them to another."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganfeat.config import require
from ganfeat.errors import InputError

NEIGHBOURS = 8
SCALE = 0.25
"""Half the width of the noise of the neighbours (Radford et al. 2016, fig. 7)."""
_TIE = 1e-12


def combine(a: Any, b: Any = None, c: Any = None) -> NDArray[np.float32]:
    """``mean(a) - mean(b) + mean(c)``: arithmetic on means of exemplars.

    Single samples give unstable results, means of three stable ones (Radford, Metz and Chintala 2016, section 6.3.2).
    The result may lie outside a uniform prior's cube; as in the paper it is not brought back.

    Parameters
    ----------
    a, b, c : array ``(n, D)`` or ``(D,)``
        The exemplars of a concept; ``b`` and ``c`` may be left out.

    Returns
    -------
    z : ndarray ``float32 (D,)``

    Raises
    ------
    InputError
        If a group is empty, or they are not equally long.

    Examples
    --------
    >>> combine([[1, 2], [3, 4]], [1, 1], [0, 5])
    array([1., 7.], dtype=float32)
    """
    means = [_group(group, name).mean(axis=0) for group, name in ((a, "a"), (b, "b"), (c, "c")) if group is not None]
    signs = [1.0] + [sign for group, sign in ((b, -1.0), (c, 1.0)) if group is not None]
    if len({mean.shape for mean in means}) > 1:
        raise InputError(f"latents of {', '.join(str(len(mean)) for mean in means)} numbers do not go together")
    return np.asarray(sum(sign * mean for sign, mean in zip(signs, means, strict=True)), np.float32)


def noisy_neighbours(
    z: NDArray[np.floating], n: int = NEIGHBOURS, scale: float = SCALE, random_state: int = 0
) -> NDArray[np.float32]:
    """Points around another, ``z + U(-scale, scale)`` in each coordinate (Radford et al. 2016, fig. 7).

    What is true of ``z`` alone is an accident; what its neighbours share, too, is not.

    Parameters
    ----------
    z : array ``(D,)``
    n : int
    scale : float
    random_state : int
        Seed.

    Returns
    -------
    ndarray ``float32 (n, D)``
    """
    require("n", n, int, least=1)
    require("scale", scale, float, least=0)
    noise = np.random.default_rng(random_state).uniform(-scale, scale, (n, len(z)))
    return (np.asarray(z, np.float64) + noise).astype(np.float32)


def combine_pixels(
    a: NDArray[np.uint8], b: NDArray[np.uint8] | None = None, c: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """The same arithmetic on the exemplars' pixels, for comparison: it lays images over each other.

    Parameters
    ----------
    a, b, c : ``uint8 (n, h, w, channels)``
        Images of the exemplars that :func:`combine` takes.

    Returns
    -------
    ndarray ``uint8 (h, w, channels)``
        Clipped to 0..255.
    """
    total = np.zeros(a.shape[1:])
    for images, sign in ((a, 1), (b, -1), (c, 1)):
        if images is not None:
            total += sign * images.astype(np.float64).mean(axis=0)
    return np.clip(np.rint(total), 0, 255).astype(np.uint8)


class Direction(NamedTuple):
    """From one group of latents to another.

    Attributes
    ----------
    vector : ndarray ``float32 (D,)``
        ``mean(b) - mean(a)``: added to a z like those of ``a``, it should give one like those of ``b``.
    separation : float or None
        How often a pair that took no part in making the direction lies on it in the right order, the one of ``b``
        ahead of the one of ``a``: 1 always, 1/2 by chance. None where a group has no two different members that are
        not in the other as well.
    chance : float or None
        Share of random regroupings of the same latents (this one among them) that are separated at least as well: the
        p-value of a permutation test. At least ``1 / (regroupings + 1)``; of few latents, near one over the number of
        ways to group them or more, as their own grouping comes up again among the random ones.
    """

    vector: NDArray[np.float32]
    separation: float | None
    chance: float | None


def direction(group_a: Any, group_b: Any, *, regroupings: int = 500, random_state: int = 0) -> Direction:
    """The difference of two groups' means, as the "turn" vector (Radford, Metz and Chintala 2016, fig. 8).

    Parameters
    ----------
    group_a, group_b : array ``(n, D)``
        Latents whose images lack a property, and have it (look left, and right).
    regroupings : int
        For ``chance``.
    random_state : int
        Seed of these.

    Returns
    -------
    Direction

    Raises
    ------
    InputError
        If a group is empty, or they are not equally long.

    Notes
    -----
    In 100 dimensions any two small groups differ along the difference of their own means. So each pair, one of either
    group, is judged by the means of the others (leave-pair-out, Airola et al. 2011, "An experimental comparison of
    cross-validation techniques for estimating the area under the ROC curve"): exchange the two and the direction
    stays, so that of groups which do not differ the expectation is exactly 1/2. (Left out one by one it would be
    below.) With few members it is rough, as ``chance`` says: a direction may well show the property, and its own few
    exemplars be ordered badly. A latent that stands in a group twice is judged once: its twin would stay in the mean,
    and order it rightly whatever the groups are. One that is in both groups is not judged. The vector is the
    difference of the means of all that is given.
    """
    a, b = _group(group_a, "group_a"), _group(group_b, "group_b")
    if a.shape[1] != b.shape[1]:
        raise InputError(f"latents of {a.shape[1]} and of {b.shape[1]} numbers do not go together")
    require("regroupings", regroupings, int, least=1)
    vector = (b.mean(axis=0) - a.mean(axis=0)).astype(np.float32)
    a, b = _once(a, b), _once(b, a)
    if min(len(a), len(b)) < 2:
        return Direction(vector, None, None)
    together = np.concatenate([a, b])
    products = together @ together.T
    order = np.arange(len(together))
    separation = _separation(products, order[: len(a)], order[len(a) :])
    rng = np.random.default_rng(random_state)
    as_good = 1
    for _ in range(regroupings):
        mixed = rng.permutation(order)
        as_good += _separation(products, mixed[: len(a)], mixed[len(a) :]) >= separation
    return Direction(vector, separation, as_good / (regroupings + 1))


def _separation(products: NDArray[np.float64], a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Of all pairs (i, j), the share in which ``(b_j - a_i) . (mean of b without j - mean of a without i)`` is above 0.

    ``products`` are those of all latents with each other, ``(n, n)``; ``a`` and ``b`` say who is in which group.
    """
    own = np.diagonal(products)
    to_a, to_b = products[:, a].sum(axis=1), products[:, b].sum(axis=1)
    cross = products[np.ix_(a, b)]
    ahead = (
        ((to_b[b] - own[b]) / (len(b) - 1))[None, :]
        - (to_b[a][:, None] - cross) / (len(b) - 1)
        - (to_a[b][None, :] - cross) / (len(a) - 1)
        + ((to_a[a] - own[a]) / (len(a) - 1))[:, None]
    )
    ahead[np.abs(ahead) < _TIE * float(own.mean())] = 0.0
    return float(((ahead > 0) + 0.5 * (ahead == 0)).mean())


def along_direction(z: NDArray[np.floating], vector: NDArray[np.floating], steps: Any) -> NDArray[np.float32]:
    """``z + step * vector``.

    Parameters
    ----------
    z : array ``(D,)`` or ``(n, D)``
    vector : array ``(D,)``
    steps : array ``(s,)``
        In units of the vector: for the "turn" vector 0 is z itself, and 1 goes as far as from one mean to the other.

    Returns
    -------
    ndarray ``float32 (s, D)`` or ``(n, s, D)``
    """
    steps = np.asarray(steps, np.float64)[:, None]
    moved = np.asarray(z, np.float64)[..., None, :] + steps * np.asarray(vector, np.float64)
    return moved.astype(np.float32)


def _once(group: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """The different rows of a group that are not in the other, in their order."""
    there = {row.tobytes() for row in other + 0.0}  # -0 and 0 are the same
    rows = {row.tobytes(): i for i, row in reversed(list(enumerate(group + 0.0)))}
    return group[sorted(i for row, i in rows.items() if row not in there)]


def _group(latents: Any, name: str) -> NDArray[np.float64]:
    """One latent or several, ``(n, D)``."""
    group = np.atleast_2d(np.asarray(latents, np.float64))
    if group.ndim != 2 or not group.size:
        raise InputError(f"{name} must be latents (n, D), at least one, not {group.shape}")
    if not np.isfinite(group).all():
        raise InputError(f"{name} has NaN or infinite numbers")
    return group
