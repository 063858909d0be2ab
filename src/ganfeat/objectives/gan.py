"""The GAN on DCGAN's networks (Goodfellow et al. 2014; Radford, Metz & Chintala 2016).

min_G max_D  E_x log D(x) + E_z log(1 - D(G(z))), G with the non-saturating loss.

D and G are both updated on every mini-batch, with the same z; the authors' code updates them on alternate ones.
With ``augment``, D sees transformed images only, real and generated alike (after Zhao et al. 2020,
arXiv:2006.10738). With ``mutual_information``, it is InfoGAN (:mod:`ganfeat.objectives.infogan`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ganfeat.arrays import ImageShape
from ganfeat.nets.blocks import at_least_float32
from ganfeat.nets.dcgan import Discriminator, Generator
from ganfeat.objectives import infogan
from ganfeat.objectives.augment import Augment
from ganfeat.objectives.base import Draw, Metrics, Objective, Player, frozen
from ganfeat.objectives.losses import discriminator_loss, generator_loss, judgements
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
    mutual_information : float
        Weight of InfoGAN's term; 0 for the plain GAN.
    n_codes : int
        How many of z's first components are its codes.
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
        mutual_information: float = 0.0,
        n_codes: int = 10,
    ) -> None:
        super().__init__()
        self.n_components = n_components
        self.prior = get_prior(prior)
        self.augment = Augment(augment)
        self.generator = Generator(
            image_shape, n_components, width, kernel_size, convs_per_scale, generator_maps, norm_epsilon
        )
        self.discriminator = Discriminator(image_shape, width, kernel_size, convs_per_scale, norm_epsilon)
        self.information = infogan.on_trunk(
            self.discriminator.head.in_features, n_components, prior, weight=mutual_information, n_codes=n_codes
        )

    def players(self) -> tuple[Player, ...]:
        """D, then G (with InfoGAN's Q) against the D just updated, on the same z."""
        reader = () if self.information is None else (self.information,)
        return (
            Player("discriminator", (self.discriminator,), self.loss_of_discriminator),
            Player("generator", (self.generator, *reader), self.loss_of_generator),
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
        """``-E log D(x) - E log(1 - D(G(z)))``, and of InfoGAN ``-lambda L_I``, for the trunk that D shares with Q.

        Real and generated images pass D as separate batches, each with its own batch statistics.
        """
        generated_NCHW = draw.shared["generated"] = self.generator(draw.z_ND)
        real_N = at_least_float32(self.discriminator(self.augment(draw.real_NCHW, draw.generator)))
        generated_N, features_NF = self._judge(self.augment(generated_NCHW.detach(), draw.generator))
        loss = discriminator_loss(real_N, generated_N)
        if self.information is not None:
            with frozen(self.information):
                loss = loss + self.information(features_NF, draw.z_ND)[0]
        return loss, judgements(real_N, generated_N)

    def loss_of_generator(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """``-E log D(G(z))`` under the updated D, and of InfoGAN ``-lambda L_I``."""
        with frozen(self.discriminator):
            generated_N, features_NF = self._judge(self.augment(draw.shared["generated"], draw.generator))
        loss = generator_loss(generated_N)
        if self.information is None:
            return loss, {}
        term, metrics = self.information(features_NF, draw.z_ND)
        return loss + term, metrics

    def _judge(self, x_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """D's logits, and the features that Q reads, too."""
        features_NF = self.discriminator.features(x_NCHW)
        return at_least_float32(self.discriminator.head(features_NF).squeeze(1)), features_NF
