"""What the loop knows of an objective: who plays, with which loss, and where features can be taken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

Metrics = dict[str, torch.Tensor]
"""Scalars on the device, detached, to be averaged into the next record."""


@dataclass
class Draw:
    """Everything random of one step, and what the players share of it.

    ``real_NCHW`` is the mini-batch in [-1, 1], ``z_ND`` the latents, ``generator`` the source of any
    further randomness. ``shared`` holds what an early player computed and a later one uses again. ``labels_N`` are
    the classes of the mini-batch, -1 where one is not known, for a ``supervised`` objective alone.
    """

    real_NCHW: torch.Tensor
    z_ND: torch.Tensor
    generator: torch.Generator
    shared: dict[str, torch.Tensor] = field(default_factory=dict)
    labels_N: torch.Tensor | None = None


@dataclass(frozen=True)
class Player:
    """Networks that one optimiser updates together, and the loss that they minimise."""

    name: str
    networks: tuple[nn.Module, ...]
    loss: Callable[[Draw], tuple[torch.Tensor, Metrics]]

    def parameters(self) -> list[nn.Parameter]:
        """All parameters of the player's networks, in a fixed order."""
        return [p for network in self.networks for p in network.parameters()]


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Let gradients pass through networks without computing those of their parameters."""
    parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


class Objective(nn.Module, ABC):
    """A game: owns its networks, states the losses. Knows no file, device, progress bar or scikit-learn.

    Attributes
    ----------
    simultaneous : bool
        Whether the losses of all players are computed before any of them is updated, so that they may share one
        forward pass; otherwise each player meets the others as they are after their updates.
    supervised : bool
        Whether it learns from labels. Of any other, the loop takes none.
    """

    simultaneous: bool = False
    supervised: bool = False

    @abstractmethod
    def players(self) -> tuple[Player, ...]:
        """Who is updated by which loss, in the order of their updates within a step."""

    def draw(self, real_NCHW: torch.Tensor, generator: torch.Generator) -> Draw:
        """Draw what a step needs beside the mini-batch: one z for every real image."""
        return Draw(real_NCHW, self.draw_latents(len(real_NCHW), generator), generator)

    @abstractmethod
    def taps(self) -> dict[str, nn.Module]:
        """Networks that take images ``(N, C, H, W)`` in [-1, 1] and whose layers can be features.

        By the names of the attributes that hold them.
        """

    @abstractmethod
    def sampler(self) -> nn.Module:
        """The network that maps z ``(N, D)`` to images ``(N, C, H, W)`` in [-1, 1]."""

    def inputs_of_sampler(self, n: int, generator: torch.Generator, take: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What the sampler is given while it learns, for its batch-norm statistics: latents of the prior.

        ``take`` gives real images, for an objective whose sampler is given their codes.
        """
        return self.draw_latents(n, generator)

    def diagnose(self, real_NCHW: torch.Tensor, generator: torch.Generator) -> Metrics:
        """Measures on a batch that are no losses, for the record; called in evaluation mode, without gradients."""
        return {}

    @abstractmethod
    def draw_latents(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """``float32 (n, n_components)`` from the prior."""
