"""BiGAN (Donahue, Krähenbühl & Darrell 2017, arXiv:1605.09782) and ALI (Dumoulin et al. 2017, arXiv:1606.00704).

min_{G,E} max_D  E_x log D(x, E(x)) + E_z log(1 - D(G(z), z))           (BiGAN, equations 2 and 3)

G and E are trained with swapped labels, which is the non-saturating form:
``-E_x log(1 - D(x, E(x))) - E_z log D(G(z), z)``. At the optimum G and E are each other's inverse (theorem 2). ALI is
the same game with an encoder that draws from a Gaussian (its section 2, reparametrised).
"""

from __future__ import annotations

import torch

from ganfeat.objectives.base import Draw, Metrics, Player, frozen
from ganfeat.objectives.encoding import EncodingObjective
from ganfeat.objectives.losses import discriminator_loss


class BiGAN(EncodingObjective):
    """The joint discriminator's game; ALI where the plan's encoder is stochastic."""

    def players(self) -> tuple[Player, ...]:
        """D, then G and E together."""
        assert self.discriminator is not None
        return (
            Player("discriminator", (self.discriminator,), self.loss_of_discriminator),
            Player("generator_encoder", (self.generator, self.encoder), self.loss_of_generator_and_encoder),
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
        real_N = self.discriminator(seen_NCHW, encoded_ND).float()
        generated_N = self.discriminator(generated_NCHW, draw.z_ND).float()
        draw.shared["logit real"], draw.shared["logit generated"] = real_N, generated_N
        metrics = {"logit/real": real_N.detach().mean(), "logit/generated": generated_N.detach().mean()}
        return discriminator_loss(real_N, generated_N), metrics

    def loss_of_generator_and_encoder(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """The swapped labels: ``-E log(1 - D(x, E(x))) - E log D(G(z), z)``."""
        assert self.discriminator is not None
        if self.simultaneous:
            return discriminator_loss(draw.shared["logit generated"], draw.shared["logit real"]), {}
        seen_NCHW, encoded_ND, generated_NCHW = self._pairs(draw)
        with frozen(self.discriminator):
            real_N = self.discriminator(seen_NCHW, encoded_ND).float()
            generated_N = self.discriminator(generated_NCHW, draw.z_ND).float()
        return discriminator_loss(generated_N, real_N), {}
