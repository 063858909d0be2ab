"""Autoencoders: E and G minimise the error of G(E(x)), the baselines of BiGAN's experiments.

(Donahue, Krähenbühl & Darrell 2017, arXiv:1605.09782, section 4.) ``l2`` is ``E_x |x - G(E(x))|_2^2``, ``l1`` is
``E_x |x - G(E(x))|_1``, over pixels in [0, 1]. With noise, a denoising autoencoder (Vincent et al. 2010, JMLR 11): E
sees x + noise, G must give x.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ganfeat.errors import InputError
from ganfeat.nets.blocks import at_least_float32
from ganfeat.nets.families import Plan
from ganfeat.objectives.agreement import VIEWS
from ganfeat.objectives.base import Draw, Metrics, Player
from ganfeat.objectives.encoding import EncodingObjective

ERRORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"l1": torch.abs, "l2": torch.square}
"""What is summed over the pixels' differences."""


class AutoEncoder(EncodingObjective):
    """E and G, one loss.

    Parameters
    ----------
    plan : Plan
    loss : {"l2", "l1"}
    noise : float
        Standard deviation of the Gaussian noise that E sees on pixels in [0, 1]; 0 for a plain autoencoder.
    augment : sequence of str
        Transforms of the images; G must give the transformed image.
    agreement, views
        As in :class:`~ganfeat.objectives.encoding.EncodingObjective`.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        loss: str = "l2",
        noise: float = 0.0,
        augment: Sequence[str] = (),
        agreement: float = 0.0,
        views: Sequence[str] = VIEWS,
    ) -> None:
        if not isinstance(loss, str) or loss not in ERRORS:
            raise InputError(f"loss={loss!r} is not known: choose one of {', '.join(sorted(ERRORS))}")
        super().__init__(plan, augment=augment, game=False, agreement=agreement, views=views)
        self.loss, self.noise = loss, noise

    def players(self) -> tuple[Player, ...]:
        """E and G together."""
        return (Player("autoencoder", (*self.encoder_networks(), self.generator), self.loss_of_autoencoder),)

    def inputs_of_sampler(self, n: int, generator: torch.Generator, take: Callable[[], torch.Tensor]) -> torch.Tensor:
        """E(x): G never sees a latent of the prior."""
        return self.encoder(take())

    def loss_of_autoencoder(self, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """The error summed over pixels, the mean over images."""
        target_NCHW = self.augment(draw.real_NCHW, draw.generator)
        seen_NCHW = target_NCHW
        if self.noise:
            shape, device = target_NCHW.shape, target_NCHW.device
            noise_NCHW = torch.randn(shape, generator=draw.generator, device=device)
            seen_NCHW = target_NCHW + 2 * self.noise * noise_NCHW
        again_NCHW = self.generator(self.encoder(seen_NCHW))
        error = ERRORS[self.loss]((at_least_float32(again_NCHW) - self.small(target_NCHW)) / 2)
        return self.with_agreement(error.flatten(1).sum(1).mean(), {}, draw)
