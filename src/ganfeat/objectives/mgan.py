"""M-GAN: several generators, a discriminator, and a classifier of generators that shares layers with it.

(Hoang, Nguyen, Le & Phung 2018, "MGAN: training generative adversarial nets with multiple generators"; the networks and
the sliding amount of sharing are of table 1 of the study of discriminators as feature extractors.)

min_{G_1..K, C} max_D  E_x log D(x) + E_{x~G} log(1 - D(x)) - beta / K sum_k E_{x~G_k} log C_k(x)

G learns with the non-saturating loss, as in :mod:`ganfeat.objectives.gan`. D, C and G are updated in turn, each with an
optimiser of its own; layers that D and C share are parameters of both, and get both updates. C's loss is the plain
cross-entropy: under Adam, which divides by the gradient's size, its weight beta would change nothing.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ganfeat.arrays import ImageShape
from ganfeat.errors import InputError
from ganfeat.nets.blocks import at_least_float32
from ganfeat.nets.mgan import Judge, MultiGenerator, count_convs, generator_of_rows, judge_blocks
from ganfeat.objectives.base import Draw, Metrics, Objective, Player, frozen
from ganfeat.objectives.losses import discriminator_loss, generator_loss, judgements
from ganfeat.priors import get_prior


class MGAN(Objective):
    """K generators against a discriminator, told apart by a classifier.

    Parameters
    ----------
    image_shape : (height, width, channels)
    n_components : int
        Length of z.
    n_generators : int
        K.
    shares_removed : int
        How many of the convolutional layers, counted from the last, D and C do not share: 0 to all (4 for 32 x 32).
    width : int
        Maps of D's and C's first and G's last hidden layer.
    n_features : int
        Maps of D's and C's last layer, the features.
    diversity : float
        beta: how much G heeds the classifier.
    prior : {"uniform", "normal"}

    Raises
    ------
    InputError
        If more layers are not to be shared than there are, or the images are smaller than 8 x 8.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        *,
        n_components: int = 128,
        n_generators: int = 10,
        shares_removed: int = 0,
        width: int = 128,
        n_features: int = 128,
        diversity: float = 0.02,
        prior: str = "normal",
    ) -> None:
        super().__init__()
        layers = count_convs(image_shape)
        if not 0 <= shares_removed <= layers:
            height, width_px, _ = image_shape
            raise InputError(
                f"shares_removed={shares_removed} must be 0 to {layers}: D and C have {layers} convolutional layers "
                f"for images of {height} x {width_px}"
            )
        self.n_components, self.n_generators, self.diversity = n_components, n_generators, diversity
        self.prior = get_prior(prior)
        self.shared_blocks = layers - shares_removed
        self.generator = MultiGenerator(image_shape, n_generators, n_components, width)
        blocks = judge_blocks(image_shape, width, n_features)
        own = judge_blocks(image_shape, width, n_features)[self.shared_blocks :]
        self.discriminator = Judge(blocks, n_features, 1)
        self.classifier = Judge([*blocks[: self.shared_blocks], *own], n_features, n_generators)

    def players(self) -> tuple[Player, ...]:
        """D, then C, then the generators against both just updated, on the same z, dealt out evenly."""
        return (
            Player("discriminator", (self.discriminator,), self.loss_of_discriminator),
            Player("classifier", (self.classifier,), self.loss_of_classifier),
            Player("generator", (self.generator,), self.loss_of_generator),
        )

    def draw_latents(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """``float32 (n, n_components)`` from the prior."""
        return self.prior(n, self.n_components, generator)

    def taps(self) -> dict[str, nn.Module]:
        """D's layers, and C's."""
        return {"discriminator": self.discriminator, "classifier": self.classifier}

    def sampler(self) -> nn.Module:
        """All generators; each draws an equal share of the rows."""
        return self.generator

    def loss_of_discriminator(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """``-E log D(x) - E log(1 - D(G(z)))``; real and generated images pass D as separate batches."""
        generated_NCHW = draw.shared["generated"] = self.generator(draw.z_ND)
        real_N = at_least_float32(self.discriminator(draw.real_NCHW))
        generated_N = at_least_float32(self.discriminator(generated_NCHW.detach()))
        return discriminator_loss(real_N, generated_N), judgements(real_N, generated_N)

    def loss_of_classifier(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """``-1/K sum_k E_{x~G_k} log C_k(x)``: which generator drew an image."""
        logits_NK = at_least_float32(self.classifier(draw.shared["generated"].detach()))
        return self._told_apart(logits_NK)

    def loss_of_generator(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """``-E log D(x) - beta/K sum_k E_{x~G_k} log C_k(x)`` for generated x, under D and C as updated."""
        with frozen(self.discriminator, self.classifier):
            logits_N, logits_NK = self._judge(draw.shared["generated"])
        term, _ = self._told_apart(at_least_float32(logits_NK))
        return generator_loss(at_least_float32(logits_N)) + self.diversity * term, {}

    def _judge(self, x_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of D and of C, with one pass through what they share."""
        x_NCHW = self.discriminator.blocks[: self.shared_blocks](x_NCHW)
        judges = (self.discriminator, self.classifier)
        d, c = (judge.judge(judge.blocks[self.shared_blocks :](x_NCHW).flatten(1)) for judge in judges)
        return d, c

    def _told_apart(self, logits_NK: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
        k_N = generator_of_rows(len(logits_NK), self.n_generators, logits_NK.device)
        right = (logits_NK.detach().argmax(1) == k_N).float().mean()
        return cross_entropy(logits_NK, k_N), {"accuracy/classifier": right}
