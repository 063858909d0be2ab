"""The auxiliary classifier GAN: D says the class of an image, too (Odena, Olah & Shlens 2017, arXiv:1610.09585).

L_S = E log P(S = real | x) + E log P(S = generated | G(c, z))        the source
L_C = E log P(C = c | x)    + E log P(C = c | G(c, z))                the class

D maximises L_S + L_C, G maximises L_C - L_S (section 3), here with the non-saturating form of L_S. G is given the class
as a one-hot vector behind z, D has a head for the source and one for the classes on DCGAN's trunk.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from ganfeat.arrays import ImageShape
from ganfeat.distributed import reduce
from ganfeat.distributed.team import team
from ganfeat.errors import InputError
from ganfeat.nets.blocks import at_least_float32
from ganfeat.nets.classes import ClassifyingDiscriminator, ConditionalGenerator
from ganfeat.objectives.augment import Augment
from ganfeat.objectives.base import Draw, Metrics, Objective, Player, frozen
from ganfeat.objectives.losses import discriminator_loss, generator_loss, judgements
from ganfeat.priors import get_prior

UNKNOWN = -1
"""The label of an image whose class is not known."""


class ACGAN(Objective):
    """A GAN that learns from labels.

    Parameters
    ----------
    image_shape : (height, width, channels)
    frequencies : sequence of float
        How often each of the K classes is drawn for G: the paper's p_c, up to a factor.
    classification : float
        Weight of L_C; 0 for a GAN whose D is told nothing.
    n_components : int
        Length of z, without the class.
    width, kernel_size, convs_per_scale, norm_epsilon
        Of :class:`~ganfeat.nets.dcgan.Generator` and :class:`~ganfeat.nets.dcgan.Discriminator`.
    prior : {"uniform", "normal"}
    augment : sequence of str
        Transforms of what D sees, by their names in :mod:`ganfeat.objectives.augment`.
    """

    supervised = True

    def __init__(
        self,
        image_shape: ImageShape,
        frequencies: Sequence[float],
        *,
        classification: float = 1.0,
        n_components: int = 100,
        width: int = 64,
        kernel_size: int = 5,
        convs_per_scale: int = 1,
        norm_epsilon: float = 1e-5,
        prior: str = "uniform",
        augment: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.n_components, self.classification = n_components, classification
        self.frequencies = tuple(float(f) for f in frequencies)
        self.prior = get_prior(prior)
        self.augment = Augment(augment)
        layers = (width, kernel_size, convs_per_scale)
        self.generator = ConditionalGenerator(image_shape, self.n_classes, n_components, *layers, norm_epsilon)
        self.discriminator = ClassifyingDiscriminator(image_shape, self.n_classes, *layers, norm_epsilon)

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.frequencies)

    def players(self) -> tuple[Player, ...]:
        """D, then G against the D just updated, on the same z and classes."""
        return (
            Player("discriminator", (self.discriminator,), self.loss_of_discriminator),
            Player("generator", (self.generator,), self.loss_of_generator),
        )

    def draw_latents(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """``float32 (n, n_components + K)``: z from the prior, and behind it a class by its frequency, one-hot."""
        z_ND = self.prior(n, self.n_components, generator)
        weights_K = torch.tensor(self.frequencies, device=generator.device)
        classes_N = torch.multinomial(weights_K, n, replacement=True, generator=generator)
        return torch.cat([z_ND, one_hot(classes_N, self.n_classes).to(z_ND.dtype)], 1)

    def taps(self) -> dict[str, nn.Module]:
        """D's layers."""
        return {"discriminator": self.discriminator}

    def sampler(self) -> nn.Module:
        """G."""
        return self.generator

    def loss_of_discriminator(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """``-L_S - L_C``; an image without a label counts for the source alone.

        Real and generated images pass D as separate batches, each with its own batch statistics.
        """
        if draw.labels_N is None:
            raise InputError("ACGAN learns from labels: hand the trainer one label an image, -1 where it is not known")
        generated_NCHW = draw.shared["generated"] = self.generator(draw.z_ND)
        real_N, real_NK = self._judge(self.augment(draw.real_NCHW, draw.generator))
        generated_N, generated_NK = self._judge(self.augment(generated_NCHW.detach(), draw.generator))
        classes_N = self._classes(draw)
        loss = discriminator_loss(real_N, generated_N)
        term = class_loss(real_NK, draw.labels_N) + class_loss(generated_NK, classes_N)
        return loss + self.classification * term, {
            **judgements(real_N, generated_N),
            "accuracy/real": accuracy(real_NK, draw.labels_N),
            "accuracy/generated": accuracy(generated_NK, classes_N),
        }

    def loss_of_generator(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """``-E log P(S = real | G(c, z)) - E log P(C = c | G(c, z))`` under the updated D."""
        with frozen(self.discriminator):
            generated_N, generated_NK = self._judge(self.augment(draw.shared["generated"], draw.generator))
        term = class_loss(generated_NK, self._classes(draw))
        return generator_loss(generated_N) + self.classification * term, {}

    def _classes(self, draw: Draw) -> torch.Tensor:
        """What G was asked to draw, ``(N,)``."""
        return draw.z_ND[:, self.n_components :].argmax(1)

    def _judge(self, x_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        source_N, classes_NK = self.discriminator.judge(x_NCHW)
        return at_least_float32(source_N), at_least_float32(classes_NK)


def class_loss(logits_NK: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """``-E log P(C = c | x)`` over the images whose class is known, a scalar; 0 where none is.

    Of processes that train together each has its part of the sum; how many are known is counted over all.
    """
    total = cross_entropy(logits_NK, labels_N, ignore_index=UNKNOWN, reduction="sum")
    known = reduce.total((labels_N != UNKNOWN).sum()).clamp(min=1)
    return total / known if team().size == 1 else total / (known / team().size)


def accuracy(logits_NK: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """Share of right classes among the images whose class is known, a scalar; 0 where none is."""
    right = (logits_NK.detach().argmax(1) == labels_N).sum()
    return right / (labels_N != UNKNOWN).sum().clamp(min=1)
