"""Latent regressors: a GAN, and an encoder that learns to say which z an image was drawn from.

(Donahue, Krähenbühl & Darrell 2017, arXiv:1605.09782, section 2.3 and appendix.) The GAN is the plain one. E minimises
the regression of z from G(z): for z in (-1, 1) the sigmoid cross-entropy between (z + 1) / 2 and E's logits, the mean
over components; for a normal z half the squared error, likewise. In the joint latent regressor G minimises it as
well, with a weight (0.25 in the released code; 1 lets G and E agree on a degenerate code).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from ganfeat.errors import InputError
from ganfeat.nets.blocks import at_least_float32
from ganfeat.nets.encoder import Encoder
from ganfeat.nets.families import Plan
from ganfeat.objectives.agreement import VIEWS
from ganfeat.objectives.base import Draw, Metrics, Player, frozen
from ganfeat.objectives.encoding import EncodingObjective
from ganfeat.objectives.losses import discriminator_loss, generator_loss, judgements


def regression_loss(encoder: Encoder, logits_ND: torch.Tensor, z_ND: torch.Tensor) -> torch.Tensor:
    """How badly an encoder's output says z: a scalar, the mean over images and components."""
    if encoder.bounded:
        return F.binary_cross_entropy_with_logits(logits_ND, (z_ND + 1) / 2)
    return F.mse_loss(logits_ND, z_ND) / 2


class LatentRegressor(EncodingObjective):
    """A GAN and a regressor of its latents.

    Parameters
    ----------
    plan : Plan
        Its D must not be joint.
    joint : float
        Weight of the regression in G's loss; 0 is the plain latent regressor.
    regression : float
        Weight of the regression in E's loss; 0 with an agreement of views leaves E to that alone, as a control.
    simultaneous, augment, agreement, views
        As in :class:`~ganfeat.objectives.encoding.EncodingObjective`.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        joint: float = 0.0,
        regression: float = 1.0,
        simultaneous: bool = True,
        augment: Sequence[str] = (),
        agreement: float = 0.0,
        views: Sequence[str] = VIEWS,
    ) -> None:
        if plan.joint or plan.stochastic:
            raise InputError("a latent regressor's D sees images alone, and its encoder gives a point")
        if not regression and not agreement:
            raise InputError("regression=0 leaves E nothing to learn: give it an agreement as well")
        super().__init__(plan, simultaneous=simultaneous, augment=augment, agreement=agreement, views=views)
        self.joint, self.regression = joint, regression

    def players(self) -> tuple[Player, ...]:
        """D, G, E."""
        assert self.discriminator is not None
        return (
            Player("discriminator", (self.discriminator,), self.loss_of_discriminator),
            Player("generator", (self.generator,), self.loss_of_generator),
            Player("encoder", self.encoder_networks(), self.loss_of_encoder),
        )

    def loss_of_discriminator(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """``-E log D(x) - E log(1 - D(G(z)))``."""
        assert self.discriminator is not None
        generated_NCHW = draw.shared["generated"] = self.generator(draw.z_ND)
        seen_NCHW = generated_NCHW if self.simultaneous else generated_NCHW.detach()
        real_N = at_least_float32(self.discriminator(self.augment(self.small(draw.real_NCHW), draw.generator)))
        generated_N = at_least_float32(self.discriminator(self.augment(seen_NCHW, draw.generator)))
        draw.shared["logit generated"] = generated_N
        return discriminator_loss(real_N, generated_N), judgements(real_N, generated_N)

    def loss_of_generator(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """``-E log D(G(z))``, plus the weighted regression in the joint form."""
        assert self.discriminator is not None
        if self.simultaneous:
            generated_N = draw.shared["logit generated"]
        else:
            with frozen(self.discriminator):
                seen_NCHW = self.augment(draw.shared["generated"], draw.generator)
                generated_N = at_least_float32(self.discriminator(seen_NCHW))
        loss = generator_loss(generated_N)
        if not self.joint:
            return loss, {}
        if self.simultaneous:
            return loss + self.joint * self._regression(draw, draw.shared["generated"]), {}
        with frozen(self.encoder):
            return loss + self.joint * self._regression(draw, draw.shared["generated"]), {}

    def loss_of_encoder(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """The regression of z from G(z), and the agreement of views where that is asked for."""
        if self.simultaneous and self.joint:
            loss = draw.shared["regression"]
        else:
            loss = self._regression(draw, draw.shared["generated"].detach())
        return self.with_agreement(self.regression * loss, {}, draw)

    def _regression(self, draw: Draw, generated_NCHW: torch.Tensor) -> torch.Tensor:
        logits_ND = self.encoder.logits(self.large(generated_NCHW))
        loss = draw.shared["regression"] = regression_loss(self.encoder, logits_ND, draw.z_ND)
        return loss
