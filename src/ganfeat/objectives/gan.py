"""The GAN on DCGAN's networks (Goodfellow et al. 2014; Radford, Metz & Chintala 2016).

min_G max_D  E_x log D(x) + E_z log(1 - D(G(z))), G with the non-saturating loss.

D and G are both updated on every mini-batch, with the same z; the authors' code updates them on alternate ones.
With ``augment``, D sees transformed images only, real and generated alike (after Zhao et al. 2020,
arXiv:2006.10738).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ganfeat.arrays import ImageShape
from ganfeat.nets.dcgan import Discriminator, Generator
from ganfeat.objectives.augment import Augment
from ganfeat.objectives.base import Draw, Metrics, Objective, Player, frozen
from ganfeat.objectives.losses import discriminator_loss, generator_loss
from ganfeat.priors import get_prior


class GAN(Objective):
    """DCGAN.

    Parameters
    ----------
    image_shape : (height, width, channels)
    n_components : int
        Length of z.
    width : int
        Maps of D's first and G's last hidden layer.
    kernel_size : int
    convs_per_scale, generator_maps, norm_epsilon
        See :class:`~ganfeat.nets.dcgan.Generator` and :class:`~ganfeat.nets.dcgan.Discriminator`.
    prior : {"uniform", "normal"}
    augment : sequence of str
        Transforms of what D sees, by their names in :mod:`ganfeat.objectives.augment`.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        n_components: int = 100,
        width: int = 64,
        kernel_size: int = 5,
        convs_per_scale: int = 1,
        generator_maps: Sequence[int] | None = None,
        norm_epsilon: float = 1e-5,
        prior: str = "uniform",
        augment: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.n_components = n_components
        self.prior = get_prior(prior)
        self.augment = Augment(augment)
        self.generator = Generator(
            image_shape, n_components, width, kernel_size, convs_per_scale, generator_maps, norm_epsilon
        )
        self.discriminator = Discriminator(image_shape, width, kernel_size, convs_per_scale, norm_epsilon)

    def players(self) -> tuple[Player, ...]:
        """D, then G against the D just updated, on the same z."""
        return (
            Player("discriminator", (self.discriminator,), self.loss_of_discriminator),
            Player("generator", (self.generator,), self.loss_of_generator),
        )

    def draw(self, real_NCHW: torch.Tensor, generator: torch.Generator) -> Draw:
        """One z for every real image."""
        return Draw(real_NCHW, self.draw_latents(len(real_NCHW), generator), generator)

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
        """``-E log D(x) - E log(1 - D(G(z)))``.

        Real and generated images pass D as separate batches, each with its own batch statistics.
        """
        generated_NCHW = draw.shared["generated"] = self.generator(draw.z_ND)
        real_N = self.discriminator(self.augment(draw.real_NCHW, draw.generator))
        generated_N = self.discriminator(self.augment(generated_NCHW.detach(), draw.generator))
        loss = discriminator_loss(real_N.float(), generated_N.float())
        metrics = {
            "logit/real": real_N.detach().float().mean(),
            "logit/generated": generated_N.detach().float().mean(),
        }
        return loss, metrics

    def loss_of_generator(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """``-E log D(G(z))`` under the updated D."""
        with frozen(self.discriminator):
            generated_N = self.discriminator(self.augment(draw.shared["generated"], draw.generator))
        return generator_loss(generated_N.float()), {}
