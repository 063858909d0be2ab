"""BiGAN (Donahue, Krähenbühl & Darrell 2017, arXiv:1605.09782) and ALI (Dumoulin et al. 2017, arXiv:1606.00704).

min_{G,E} max_D  E_x log D(x, E(x)) + E_z log(1 - D(G(z), z))           (BiGAN, equations 2 and 3)

G and E are trained with swapped labels, which is the non-saturating form:
``-E_x log(1 - D(x, E(x))) - E_z log D(G(z), z)``. At the optimum G and E are each other's inverse (theorem 2). ALI is
the same game with an encoder that draws from a Gaussian (its section 2, reparametrised). With ``mutual_information``,
the GAN inside is InfoGAN (:mod:`ganfeat.objectives.infogan`), which has been proposed to disentangle the z that E
learns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ganfeat.nets.blocks import at_least_float32
from ganfeat.nets.families import Plan
from ganfeat.objectives import infogan
from ganfeat.objectives.agreement import VIEWS
from ganfeat.objectives.base import Draw, Metrics, Player, frozen
from ganfeat.objectives.encoding import EncodingObjective
from ganfeat.objectives.losses import discriminator_loss, judgements


class BiGAN(EncodingObjective):
    """The joint discriminator's game; ALI where the plan's encoder is stochastic.

    Parameters
    ----------
    plan : Plan
        Its D must be joint.
    simultaneous, augment, agreement, views
        As in :class:`~ganfeat.objectives.encoding.EncodingObjective`.
    mutual_information : float
        Weight of InfoGAN's term; 0 for none.
    n_codes : int
        How many of z's first components are its codes.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        simultaneous: bool = True,
        augment: Sequence[str] = (),
        mutual_information: float = 0.0,
        n_codes: int = 10,
        agreement: float = 0.0,
        views: Sequence[str] = VIEWS,
    ) -> None:
        super().__init__(plan, simultaneous=simultaneous, augment=augment, agreement=agreement, views=views)
        self.information = infogan.on_images(plan, weight=mutual_information, n_codes=n_codes)

    def players(self) -> tuple[Player, ...]:
        """D, then G and E together (with InfoGAN's Q)."""
        assert self.discriminator is not None
        reader = () if self.information is None else (self.information,)
        learners = (self.generator, *self.encoder_networks(), *reader)
        return (
            Player("discriminator", (self.discriminator,), self.loss_of_discriminator),
            Player("generator_encoder", learners, self.loss_of_generator_and_encoder),
        )

    def _pairs(self, draw: Draw) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """X as D sees it, E(x) and G(z): once a step."""
        if "generated" not in draw.shared:
            seen_NCHW = self.augment(draw.real_NCHW, draw.generator)
            draw.shared["generated"] = self.generator(draw.z_ND)
            draw.shared["seen"] = self.small(seen_NCHW)
            draw.shared["encoded"] = self._encode(seen_NCHW, draw.generator)
        return draw.shared["seen"], draw.shared["encoded"], draw.shared["generated"]

    def _encode(self, x_NCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if not self.encoder.stochastic:
            return self.encoder(x_NCHW)
        shape = (len(x_NCHW), self.plan.n_components)
        return self.encoder.sample(x_NCHW, torch.randn(shape, generator=generator, device=x_NCHW.device))

    def loss_of_discriminator(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """``-E log D(x, E(x)) - E log(1 - D(G(z), z))``; real and generated pairs pass D as separate batches."""
        assert self.discriminator is not None
        seen_NCHW, encoded_ND, generated_NCHW = self._pairs(draw)
        if not self.simultaneous:
            encoded_ND, generated_NCHW = encoded_ND.detach(), generated_NCHW.detach()
        real_N = at_least_float32(self.discriminator(seen_NCHW, encoded_ND))
        generated_N = at_least_float32(self.discriminator(generated_NCHW, draw.z_ND))
        draw.shared["logit real"], draw.shared["logit generated"] = real_N, generated_N
        return discriminator_loss(real_N, generated_N), judgements(real_N, generated_N)

    def loss_of_generator_and_encoder(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """The swapped labels: ``-E log(1 - D(x, E(x))) - E log D(G(z), z)``; of InfoGAN also ``-lambda L_I``."""
        assert self.discriminator is not None
        if self.simultaneous:
            real_N, generated_N = draw.shared["logit real"], draw.shared["logit generated"]
        else:
            seen_NCHW, encoded_ND, generated_NCHW = self._pairs(draw)
            with frozen(self.discriminator):
                real_N = at_least_float32(self.discriminator(seen_NCHW, encoded_ND))
                generated_N = at_least_float32(self.discriminator(generated_NCHW, draw.z_ND))
        loss = discriminator_loss(generated_N, real_N)
        metrics: Metrics = {}
        if self.information is not None:
            term, metrics = self.information(draw.shared["generated"], draw.z_ND)
            loss = loss + term
        return self.with_agreement(loss, metrics, draw)
