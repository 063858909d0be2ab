"""Walks through the latent space: straight, or over the sphere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.config import require
from ganfeat.errors import InputError

KINDS = ("linear", "spherical")
FRAMES = 10
_PARALLEL = 1e-12
"""Sine of the angle below which two directions say nothing of the plane that they lie in."""


def along(
    points: Any, t: float | Sequence[float] | NDArray[np.floating], *, kind: str = "linear", closed: bool = False
) -> NDArray[np.float32]:
    """Points of a path through others.

    Parameters
    ----------
    points : array ``(P, D)``, P at least 2
    t : float or array ``(n,)``
        Where on the path, 0 (its start) to 1 (its end); every leg, from a point to the next, has the same share of
        it. The points themselves are met exactly, at multiples of 1 / legs.
    kind : {"linear", "spherical"}
        ``linear`` is the straight line, as in the DCGAN paper (Radford, Metz and Chintala 2016, fig. 4), whose z is
        uniform in a cube: a cube is convex, so a straight line between two of its points stays within the prior.
        ``spherical`` turns the direction at a constant rate (Shoemake 1985, "Animating rotation with quaternion
        curves") and interpolates the length: for a normal prior in many dimensions, where nearly all z have a length
        near ``sqrt(D)`` and the middle of a straight line is shorter than any (White 2016, "Sampling generative
        networks").
    closed : bool
        Whether the path goes back from the last point to the first; that leg counts.

    Returns
    -------
    z : ndarray ``float32 (D,)`` for one t, else ``(n, D)``

    Raises
    ------
    InputError
        If there are fewer than 2 points, ``kind`` is unknown, or t is beyond the path.

    Notes
    -----
    Between opposite directions there is no shortest way over the sphere: it goes by the axis whose coordinate is the
    smallest in the first of them. At a zero vector there is no direction: that leg is straight.

    Examples
    --------
    >>> along([[1, 0], [0, 1]], 0.5).round(3)
    array([0.5, 0.5], dtype=float32)
    >>> along([[1, 0], [0, 1]], [0, 0.5, 1], kind="spherical").round(3)
    array([[1.   , 0.   ], [0.707, 0.707], [0.   , 1.   ]], dtype=float32)
    """
    stops = _stops(points, closed)
    if kind not in KINDS:
        raise InputError(f"kind={kind!r} is not known: choose {' or '.join(KINDS)}")
    where = np.atleast_1d(np.asarray(t, np.float64))
    if where.ndim != 1 or not (np.isfinite(where).all() and (where >= 0).all() and (where <= 1).all()):
        raise InputError("t must be numbers from 0, the start of the path, to 1, its end")
    legs = len(stops) - 1
    place = where * legs
    whole = np.rint(place)
    place = np.where(np.abs(place - whole) < 1e-9 * legs, whole, place)  # k / legs * legs need not be k
    leg = np.minimum(place.astype(int), legs - 1)
    z = np.empty((len(place), stops.shape[1]))
    for number in np.unique(leg):
        here = leg == number
        z[here] = _leg(stops[number], stops[number + 1], place[here] - number, kind)
    found = z.astype(np.float32)
    return found if np.ndim(t) else found[0]


def walk(points: Any, frames: int = FRAMES, *, kind: str = "linear", closed: bool = False) -> NDArray[np.float32]:
    """Equal steps along a path through points, each leg in as many.

    Parameters
    ----------
    points, kind, closed
        As for :func:`along`.
    frames : int
        Steps a leg, at least 1.

    Returns
    -------
    z : ndarray ``float32 (legs * frames + 1, D)``
        Point k is row ``k * frames``; the last row of a closed walk is its first.

    Raises
    ------
    InputError
        As :func:`along`, and if ``frames`` is below 1.
    """
    require("frames", frames, int, least=1)
    n = (len(_stops(points, closed)) - 1) * frames
    return along(points, np.arange(n + 1) / n, kind=kind, closed=closed)


def _stops(points: Any, closed: bool) -> NDArray[np.float64]:
    """The points, and the first once more at the end of a closed path."""
    stops = np.asarray(points, np.float64)
    if stops.ndim != 2 or len(stops) < 2 or not stops.shape[1]:
        raise InputError(f"points must be (P, D), at least two of them, not {stops.shape}")
    if not np.isfinite(stops).all():
        raise InputError("points have NaN or infinite numbers")
    return np.concatenate([stops, stops[:1]]) if closed else stops


def _leg(a: NDArray[np.float64], b: NDArray[np.float64], t: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """From ``a (D,)`` to ``b`` at ``t (n,)`` of the way; the ends exactly."""
    t = t[:, None]
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if kind == "linear" or 0 in lengths or len(a) == 1:
        z = (1 - t) * a + t * b
    else:
        u, v = a / lengths[0], b / lengths[1]
        angle = 2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))  # exact also near 0 and pi
        across = v - (u @ v) * u
        if np.linalg.norm(across) < _PARALLEL:
            across = np.eye(1, len(u), int(np.abs(u).argmin()))[0]
        across -= (u @ across) * u
        across /= np.linalg.norm(across)
        z = ((1 - t) * lengths[0] + t * lengths[1]) * (np.cos(t * angle) * u + np.sin(t * angle) * across)
    return np.where(t == 0, a, np.where(t == 1, b, z))
