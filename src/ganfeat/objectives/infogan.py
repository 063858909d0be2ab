"""InfoGAN's term: mutual information between codes and the images drawn from them (Chen et al. 2016, arXiv:1606.03657).

The first components of z are the codes c. Beside the game V(D, G), G and a network Q that reads the codes from G(z)
maximise a lower bound of the information that the images have of them (equations 4 to 6):

min_{G,Q} max_D  V(D, G) - lambda L_I(G, Q),   L_I(G, Q) = E log Q(c | G(z)) + H(c) <= I(c; G(z))

The codes have the prior of z, U(-1, 1) or N(0, 1), so Q is what the paper takes for continuous codes, a factored
Gaussian. Its means are linear, its variance is fixed at 1, as in the authors' MNIST experiment (``fix_std`` in their
code). Another fixed variance v is another lambda, lambda / v, and nothing else. With a learned one the term has no
bound: I(c; G(z)) is infinite once the images tell c exactly, and on the way there its slope grows as 1 / v. At variance
1 L_I is loose, at most log 2 - log(2 pi) / 2 = -0.23 nats for a uniform code; so what is recorded,
``information/codes``, is the bound of the same means with the best variance of each code.

Where Q sits. On a D of images alone it is one linear layer on D's trunk, as in the paper (section 6). The trunk then is
Q's as much as D's, so D's loss has the term, too, for images that are constants there (as in the authors' code), and
the layer itself is updated with G. BiGAN's D reads z at every layer but its first: there, Q would find c without any
help of G. It must see x alone, so it is a network of its own, an encoder of D's architecture for images of D's size.
Not E itself: its regression on G(z) would be the latent regressor (:mod:`ganfeat.objectives.regressor`), and E would
no longer learn from D alone. Not D's first layer: one layer tells too little for the bound to be of use.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import nn

from ganfeat.errors import InputError
from ganfeat.nets.blocks import at_least_float32
from ganfeat.nets.families import Plan, build
from ganfeat.objectives.base import Metrics

ENTROPIES = {"normal": math.log(2 * math.pi * math.e) / 2, "uniform": math.log(2)}
"""H(c) of one code, in nats, by the name of its prior."""

ALIKE = {"alexnet": "conv"}
"""Architectures whose G and D are those of another."""


def lower_bound(means_NK: torch.Tensor, codes_NK: torch.Tensor, prior: str) -> torch.Tensor:
    """L_I of a Gaussian Q of variance 1: a scalar in nats, the sum over codes, the mean over images."""
    log_q_NK = -(codes_NK - means_NK).square() / 2 - math.log(2 * math.pi) / 2
    return (log_q_NK + ENTROPIES[prior]).sum(1).mean()


def tightest_bound(means_NK: torch.Tensor, codes_NK: torch.Tensor, prior: str) -> torch.Tensor:
    """L_I with, for each code, the variance that is best on these images: its mean squared error."""
    variances_K = (codes_NK - means_NK).square().mean(0).clamp_min(1e-30)
    return (ENTROPIES[prior] - (2 * math.pi * math.e * variances_K).log() / 2).sum()


class MutualInformation(nn.Module):
    """Q and the term ``-lambda L_I`` of the losses.

    Parameters
    ----------
    network : nn.Module
        Q's own layers: from what it reads to the means ``(N, n_codes)``.
    n_codes : int
        How many of z's first components are codes.
    weight : float
        lambda.
    prior : {"uniform", "normal"}
        Of z.
    """

    def __init__(self, network: nn.Module, n_codes: int, weight: float, prior: str) -> None:
        super().__init__()
        self.network = network
        self.n_codes, self.weight, self.prior = n_codes, weight, prior

    def forward(self, seen: torch.Tensor, z_ND: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        """The term for what Q reads of G(z), and the latents that it was drawn from."""
        means_NK, codes_NK = at_least_float32(self.network(seen)), z_ND[:, : self.n_codes]
        information = tightest_bound(means_NK.detach(), codes_NK, self.prior)
        return -self.weight * lower_bound(means_NK, codes_NK, self.prior), {"information/codes": information}


def on_trunk(
    n_features: int, n_components: int, prior: str, *, weight: float, n_codes: int
) -> MutualInformation | None:
    """Q as one layer on the ``(N, n_features)`` of a D of images alone; None where the weight is 0.

    Raises
    ------
    InputError
        If there are more codes than components.
    """
    if not weight:
        return None
    _check(n_codes, n_components)
    return MutualInformation(nn.Linear(n_features, n_codes), n_codes, weight, prior)


def on_images(plan: Plan, *, weight: float, n_codes: int) -> MutualInformation | None:
    """Q as a network of its own, for images of G's size; None where the weight is 0.

    Raises
    ------
    InputError
        If there are more codes than components.
    """
    if not weight:
        return None
    _check(n_codes, plan.n_components)
    like_encoder = dataclasses.replace(
        plan,
        architecture=ALIKE.get(plan.architecture, plan.architecture),
        image_shape=plan.small_shape,
        generator_size=None,
        n_components=n_codes,
        prior="normal",  # linear means, whatever the codes' range
        stochastic=False,
    )
    return MutualInformation(build(like_encoder, discriminator=False)[0], n_codes, weight, plan.prior)


def _check(n_codes: int, n_components: int) -> None:
    if n_codes > n_components:
        raise InputError(
            f"n_codes={n_codes} must be at most n_components={n_components}: the codes are components of z"
        )
