"""Names for points of the latent space, short enough for a command line or an address.

``sSEED.INDEX`` is row INDEX of the :data:`DRAWN` latents drawn with SEED; ``v...`` is a vector itself.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ganfeat.config import LARGEST_SEED
from ganfeat.errors import InputError

DRAWN = 256
"""Rows that a seed stands for. Always as many: row 3 of ten rows is not row 3 of a hundred."""
LARGEST = 1000.0
"""No coordinate of a latent is larger; those of a prior are of the order of 1."""
_SAMPLE = re.compile(r"s([0-9]{1,10})\.([0-9]{1,3})", re.ASCII)
_VECTOR = re.compile(r"v[A-Za-z0-9_-]*")
_SHOWN = 40


def sample_reference(seed: int, index: int) -> str:
    """The name of row ``index`` of those drawn with ``seed``: ``s0.17``."""
    return f"s{seed}.{index}"


def vector_reference(z: NDArray[np.floating]) -> str:
    """The name of a vector: ``v`` and its float32 bytes, little-endian, in the base64 of addresses, without ``=``.

    Parameters
    ----------
    z : array ``(D,)``

    Raises
    ------
    InputError
        If z is no vector of finite numbers within +-:data:`LARGEST`.
    """
    z = _sound(np.asarray(z, "<f4"), "z")
    return "v" + base64.urlsafe_b64encode(z.tobytes()).decode().rstrip("=")


def read_reference(text: str, n_components: int, draw: Callable[[int], NDArray[np.floating]]) -> NDArray[np.float32]:
    """The point that a reference names.

    Parameters
    ----------
    text : str
        ``sSEED.INDEX``, or ``v...`` of :func:`vector_reference`. It may come from anywhere: nothing of it is trusted.
    n_components : int
        Length of the network's z.
    draw : function
        Gives the rows ``(DRAWN, n_components)`` of a seed.

    Returns
    -------
    z : ndarray ``float32 (n_components,)``

    Raises
    ------
    InputError
        If it is neither, of another length, not finite, or beyond +-:data:`LARGEST`.
    """
    shown = repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
    if sample := _SAMPLE.fullmatch(text):
        seed, index = int(sample[1]), int(sample[2])
        if seed > LARGEST_SEED:
            raise InputError(f"{shown}: the seed must be at most {LARGEST_SEED}")
        if index >= DRAWN:
            raise InputError(f"{shown}: a seed has samples 0 to {DRAWN - 1}, so there is no {index}")
        return _sound(np.array(draw(seed)[index], np.float32), shown)
    if not text.startswith("v"):
        raise InputError(
            f"{shown} names no point: write sSEED.INDEX, e.g. s0.17 for sample 17 of seed 0, or the v... of a point "
            "as the JSON results give it"
        )
    expected = 4 * n_components
    if len(text) - 1 != -(-expected * 4 // 3):
        raise InputError(
            f"{shown} is no point of this network: a v... of its {n_components} numbers has "
            f"{1 - (-expected * 4 // 3)} characters, and this has {len(text)}"
        )
    if not _VECTOR.fullmatch(text):
        raise InputError(f"{shown} is damaged: copy the whole v... again")
    content = base64.urlsafe_b64decode(text[1:] + "=" * (-(len(text) - 1) % 4))
    return _sound(np.frombuffer(content, "<f4").astype(np.float32), shown)


def _sound(z: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    if z.ndim != 1 or not len(z):
        raise InputError(f"{name} must be one row of numbers, not {z.shape}")
    if not np.isfinite(z).all():
        raise InputError(f"{name} has NaN or infinite numbers")
    if np.abs(z).max() > LARGEST:
        raise InputError(f"{name} has numbers beyond +-{LARGEST:g}: no point of a network is as far out")
    return z
