"""Distributions of the latent z, drawn from an explicit generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ganfeat.errors import InputError

if TYPE_CHECKING:
    import torch


def uniform(n: int, n_components: int, generator: torch.Generator) -> torch.Tensor:
    """``z ~ U(-1, 1)``, ``float32 (n, n_components)``, on the generator's device (DCGAN, BiGAN)."""
    import torch

    z_ND = torch.rand(n, n_components, generator=generator, device=generator.device)
    return z_ND.mul_(2).sub_(1)


def normal(n: int, n_components: int, generator: torch.Generator) -> torch.Tensor:
    """``z ~ N(0, 1)``, ``float32 (n, n_components)``, on the generator's device (DCGAN's SVHN net, M-GAN)."""
    import torch

    return torch.randn(n, n_components, generator=generator, device=generator.device)


PRIORS: dict[str, Callable[[int, int, torch.Generator], torch.Tensor]] = {
    "normal": normal,
    "uniform": uniform,
}


def get_prior(name: str) -> Callable[[int, int, torch.Generator], torch.Tensor]:
    """Look a prior up by name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if name not in PRIORS:
        raise InputError(f"prior={name!r} is not known: choose one of {', '.join(sorted(PRIORS))}")
    return PRIORS[name]
