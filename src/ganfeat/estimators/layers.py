"""Layers of a discriminator beside an encoder, by the names that an encoder's have: trunk and output."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ganfeat.features import OUTPUT, Taps
from ganfeat.nets.encoder import OnImages

TRUNK = "trunk"
"""The layer before the output."""


def named(network: nn.Module, taps: Taps) -> Taps:
    """Taps with D's ``"trunk"`` and ``"output"`` (its logit) by the names of the network's modules.

    Parameters
    ----------
    network : nn.Module
        As an objective's ``taps()`` give it.
    taps : "all", int, str, or a sequence of int and str
    """
    if not isinstance(network, OnImages):
        return taps
    blocks = [name for name, _ in getattr(network.discriminator, "blocks", nn.Sequential()).named_children()]
    last = f"blocks.{blocks[-1]}" if blocks else TRUNK
    names = {TRUNK: f"discriminator.{last}", OUTPUT: "discriminator.head"}
    if isinstance(taps, str):
        return names.get(taps, taps)
    if isinstance(taps, Sequence):
        return [names.get(str(tap), tap) for tap in taps]
    return taps
