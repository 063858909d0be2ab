"""CatGAN: D sorts images into K categories instead of telling their source (Springenberg 2016, arXiv:1511.06390).

max_D  H(E_x p(y | x))  - E_x H(p(y | x))  + E_z H(p(y | G(z)))
max_G  H(E_z p(y | G(z))) - E_z H(p(y | G(z)))

(Equation 7.) H is Shannon's entropy of a distribution over K categories: D is certain of every real image, uses all
categories equally often, and is uncertain of generated images; G draws images of which D is certain, of all categories.
The marginal of a mini-batch, the mean of its softmax outputs, stands for the expectation. No labels are used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from ganfeat.arrays import ImageShape
from ganfeat.distributed import reduce
from ganfeat.distributed.team import team
from ganfeat.errors import InputError
from ganfeat.nets.blocks import at_least_float32
from ganfeat.nets.classes import CategoricalDiscriminator
from ganfeat.nets.dcgan import Generator
from ganfeat.objectives.augment import Augment
from ganfeat.objectives.base import Draw, Metrics, Objective, Player, frozen
from ganfeat.priors import get_prior


def mean_entropy(logits_NK: torch.Tensor) -> torch.Tensor:
    """``E H(p(y | x))`` of softmax outputs, in nats: a scalar between 0 and log K."""
    log_p_NK = logits_NK.log_softmax(1)
    return -(log_p_NK.exp() * log_p_NK).sum(1).mean()


def marginal_entropy(logits_NK: torch.Tensor) -> torch.Tensor:
    """``H(E p(y | x))`` of the mean of softmax outputs, in nats: a scalar between ``E H(p(y | x))`` and log K.

    The mean is over the mini-batch of all processes that train together.
    """
    log_p_K = logits_NK.log_softmax(1).logsumexp(0) - math.log(len(logits_NK))
    if team().size > 1:
        log_p_K = reduce.stacked(log_p_K).logsumexp(0) - math.log(team().size)
    return -(log_p_K.exp() * log_p_K).sum()


class CatGAN(Objective):
    """A GAN whose discriminator finds categories.

    Parameters
    ----------
    image_shape : (height, width, channels)
    n_classes : int
        K, the categories.
    n_components : int
        Length of z.
    width, kernel_size, convs_per_scale, norm_epsilon
        Of :class:`~ganfeat.nets.dcgan.Generator` and :class:`~ganfeat.nets.dcgan.Discriminator`.
    prior : {"uniform", "normal"}
    augment : sequence of str
        Transforms of what D sees, by their names in :mod:`ganfeat.objectives.augment`.

    Raises
    ------
    InputError
        If there are fewer than two categories: all entropies would be 0.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        n_classes: int = 10,
        n_components: int = 100,
        width: int = 64,
        kernel_size: int = 5,
        convs_per_scale: int = 1,
        norm_epsilon: float = 1e-5,
        prior: str = "uniform",
        augment: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if n_classes < 2:
            raise InputError(f"n_classes={n_classes} must be at least 2: with one category there is nothing to learn")
        self.n_classes, self.n_components = n_classes, n_components
        self.prior = get_prior(prior)
        self.augment = Augment(augment)
        layers = (width, kernel_size, convs_per_scale)
        self.generator = Generator(image_shape, n_components, *layers, norm_epsilon=norm_epsilon)
        self.discriminator = CategoricalDiscriminator(image_shape, n_classes, *layers, norm_epsilon)

    def players(self) -> tuple[Player, ...]:
        """D, then G against the D just updated, on the same z."""
        return (
            Player("discriminator", (self.discriminator,), self.loss_of_discriminator),
            Player("generator", (self.generator,), self.loss_of_generator),
        )

    def draw_latents(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """``float32 (n, n_components)`` from the prior."""
        return self.prior(n, self.n_components, generator)

    def taps(self) -> dict[str, nn.Module]:
        """D's layers."""
        return {"discriminator": self.discriminator}

    def sampler(self) -> nn.Module:
        """G."""
        return self.generator

    def loss_of_discriminator(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """``-H(E_x p(y | x)) + E_x H(p(y | x)) - E_z H(p(y | G(z)))``.

        Real and generated images pass D as separate batches, each with its own batch statistics.
        """
        generated_NCHW = draw.shared["generated"] = self.generator(draw.z_ND)
        real_NK = self._sort(self.augment(draw.real_NCHW, draw.generator))
        generated_NK = self._sort(self.augment(generated_NCHW.detach(), draw.generator))
        marginal, real, generated = marginal_entropy(real_NK), mean_entropy(real_NK), mean_entropy(generated_NK)
        return real - marginal - generated, {
            "entropy/real": real.detach(),
            "entropy/generated": generated.detach(),
            "entropy/marginal": marginal.detach(),
        }

    def loss_of_generator(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """``-H(E_z p(y | G(z))) + E_z H(p(y | G(z)))`` under the updated D."""
        with frozen(self.discriminator):
            generated_NK = self._sort(self.augment(draw.shared["generated"], draw.generator))
        marginal = marginal_entropy(generated_NK)
        return mean_entropy(generated_NK) - marginal, {"entropy/marginal_generated": marginal.detach()}

    def _sort(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return at_least_float32(self.discriminator(x_NCHW))
