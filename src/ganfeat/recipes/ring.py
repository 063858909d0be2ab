"""Eight Gaussians on a ring: the classic toy on which it can be counted whether a GAN has collapsed.

(As in Metz, Poole, Pfau & Sohl-Dickstein 2017, "Unrolled generative adversarial networks", section 3.1.) Points in the
plane are images of one pixel with two channels, ``(n, 1, 1, 2)`` in [-1, 1], so the loop, the losses and the health
checks are those of every other training; only the networks are fully connected ones of two hidden layers. One
generator whose learning rate is five times D's falls into few modes; M-GAN's eight generators cover all of them
(docs/health.md).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganfeat.nets.blocks import at_least_float32
from ganfeat.nets.mgan import Judge, first_layers
from ganfeat.objectives.augment import Augment
from ganfeat.objectives.base import Objective
from ganfeat.objectives.gan import GAN
from ganfeat.objectives.mgan import MGAN
from ganfeat.priors import get_prior

MODES = 8
RADIUS = 0.7
"""Distance of the modes from the origin."""
SCALE = 0.02
"""Standard deviation of a mode, in either direction."""
GOOD = 3.0
"""A sample within so many standard deviations of a centre is good."""
LEAST = 0.25
"""A mode is covered if it has this share, or more, of the good samples that it would have among equals."""


class Modes(NamedTuple):
    """What is true of samples: how many of the modes they cover, and which share of them is good."""

    covered: int
    good: float


def centres() -> NDArray[np.float64]:
    """The modes' centres, ``(8, 2)``, anticlockwise from (0.7, 0)."""
    angles = 2 * math.pi * np.arange(MODES) / MODES
    return RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def ring(n: int, seed: int) -> NDArray[np.float32]:
    """Draw points, as images ``float32 (n, 1, 1, 2)``; each mode is as likely as the others."""
    generator = np.random.default_rng(seed)
    points = centres()[generator.integers(MODES, size=n)] + SCALE * generator.standard_normal((n, 2))
    return points.astype(np.float32)[:, None, None, :]


def count_modes(points_N2: NDArray[np.floating]) -> Modes:
    """Tell by distance to the centres which modes samples ``(n, 2)`` cover."""
    distances = np.linalg.norm(points_N2[:, None] - centres(), axis=2)
    good = distances.min(axis=1) <= GOOD * SCALE
    counts = np.bincount(distances.argmin(axis=1)[good], minlength=MODES)
    return Modes(int((counts >= LEAST * len(points_N2) / MODES).sum()), float(good.mean()))


class PointGenerator(nn.Module):
    """z to points: a first layer for each of K generators, one hidden layer and the output shared by all."""

    def __init__(self, n_components: int, width: int, n_generators: int = 1) -> None:
        super().__init__()
        self.n_generators = n_generators
        self.firsts = nn.ModuleList(nn.Linear(n_components, width) for _ in range(n_generators))
        self.shared = nn.Sequential(
            nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2), nn.Tanh(), nn.Unflatten(1, (2, 1, 1))
        )

    def forward(self, z_ND: torch.Tensor, k_N: torch.Tensor | None = None) -> torch.Tensor:
        """``(N, n_components)`` to ``(N, 2, 1, 1)``; rows go to the generators as in M-GAN's networks."""
        return at_least_float32(self.shared(first_layers(self.firsts, z_ND, k_N)))


def _judges(width: int, *n_outputs: int) -> list[Judge]:
    """Judges of points that share their two hidden layers."""
    blocks = (
        nn.Sequential(nn.Flatten(), nn.Linear(2, width), nn.LeakyReLU(0.2)),
        nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.2)),
    )
    return [Judge(blocks, width, n) for n in n_outputs]


class RingGAN(GAN):
    """A GAN of points.

    Parameters
    ----------
    n_components : int
        Length of z.
    width : int
        Units of a hidden layer.
    seed : int
        Of the initial weights.
    """

    def __init__(self, *, n_components: int = 2, width: int = 128, seed: int = 0) -> None:
        Objective.__init__(self)
        self.n_components, self.prior = n_components, get_prior("normal")
        self.augment, self.information = Augment(()), None
        self.generator = PointGenerator(n_components, width)  # type: ignore[assignment]
        (self.discriminator,) = _judges(width, 1)  # type: ignore[assignment]
        _initialise(self, seed)


class RingMGAN(MGAN):
    """M-GAN of points; D and C share all hidden layers.

    Parameters
    ----------
    n_generators : int
        K.
    diversity : float
        beta: how much G heeds the classifier.
    n_components, width, seed
        As of :class:`RingGAN`.
    """

    def __init__(
        self,
        *,
        n_generators: int = MODES,
        diversity: float = 0.125,
        n_components: int = 2,
        width: int = 128,
        seed: int = 0,
    ) -> None:
        Objective.__init__(self)
        self.n_components, self.prior = n_components, get_prior("normal")
        self.n_generators, self.diversity = n_generators, diversity
        self.generator = PointGenerator(n_components, width, n_generators)  # type: ignore[assignment]
        self.discriminator, self.classifier = _judges(width, 1, n_generators)
        self.shared_blocks = len(self.discriminator.blocks)
        _initialise(self, seed)


@torch.no_grad()
def draw_points(objective: Objective, n: int, seed: int) -> NDArray[np.float32]:
    """Samples of the objective's generators, ``(n, 2)``."""
    z_ND = objective.draw_latents(n, torch.Generator().manual_seed(seed))
    return objective.sampler()(z_ND).flatten(1).numpy()


def _initialise(network: nn.Module, seed: int) -> None:
    """Weights and biases uniform within one over the root of the inputs, for want of norms."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            for parameter in module.parameters(recurse=False):
                parameter.data.uniform_(-bound, bound, generator=generator)
