"""What objectives with an encoder share: E, G, perhaps D, latents of the prior, and how well E and G invert each other.

Shape legend: N images, C channels, H height, W width, D latent components.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ganfeat.errors import InputError
from ganfeat.nets.encoder import Encoder, OnImages, resized
from ganfeat.nets.families import Plan, build
from ganfeat.objectives.agreement import VIEWS, Agreement
from ganfeat.objectives.augment import Augment
from ganfeat.objectives.base import Draw, Metrics, Objective
from ganfeat.priors import get_prior


class EncodingObjective(Objective):
    """E, G and, in a game, D.

    Parameters
    ----------
    plan : Plan
        The networks.
    simultaneous : bool
        Update all networks at once from the same forward pass, as BiGAN's authors do, instead of one after the other.
    augment : sequence of str
        Transforms of the images, by their names in :mod:`ganfeat.objectives.augment`.
    game : bool
        Whether there is a D.
    agreement : float
        Weight of the agreement of E's views (:mod:`ganfeat.objectives.agreement`) in E's loss; 0 for none.
    views : sequence of str
        Transforms of a view.
    """

    encoder: Encoder
    generator: nn.Module
    discriminator: nn.Module | None

    def __init__(
        self,
        plan: Plan,
        *,
        simultaneous: bool = True,
        augment: Sequence[str] = (),
        game: bool = True,
        agreement: float = 0.0,
        views: Sequence[str] = VIEWS,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.simultaneous = simultaneous
        self.prior = get_prior(plan.prior)
        self.augment = Augment(augment)
        self.encoder, self.generator, self.discriminator = build(plan, discriminator=game)
        if not Augment(views, "views").names and agreement:
            raise InputError("views=() are two equal views, which teach nothing: name at least one transform")
        self.agreement = Agreement(self.encoder.head.in_features, agreement, views) if agreement else None

    def encoder_networks(self) -> tuple[nn.Module, ...]:
        """What is updated with E."""
        return (self.encoder,) if self.agreement is None else (self.encoder, self.agreement)

    def with_agreement(self, loss: torch.Tensor, metrics: Metrics, draw: Draw) -> tuple[torch.Tensor, Metrics]:
        """E's loss, and the agreement of its views where that is asked for."""
        if self.agreement is None:
            return loss, metrics
        term = self.agreement(self.encoder, draw.real_NCHW, draw.generator)
        return loss + term, {**metrics, "agreement/views": term.detach() / self.agreement.weight}

    def draw_latents(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """``float32 (n, n_components)`` from the prior."""
        return self.prior(n, self.plan.n_components, generator)

    def taps(self) -> dict[str, nn.Module]:
        """E's layers; D's, on pairs (x, E(x)) where it is joint."""
        if self.discriminator is None:
            return {"encoder": self.encoder}
        size, encoder = self.plan.small_shape[:2], self.encoder if self.plan.joint else None
        return {"encoder": self.encoder, "discriminator": OnImages(self.discriminator, size, encoder)}

    def sampler(self) -> nn.Module:
        """G."""
        return self.generator

    def small(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Images in the size that G draws and D sees."""
        return resized(x_NCHW, self.plan.small_shape[:2])

    def large(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """What G drew in the size that E sees."""
        return resized(x_NCHW, self.plan.image_shape[:2])

    @torch.no_grad()
    def diagnose(self, real_NCHW: torch.Tensor, generator: torch.Generator) -> Metrics:
        """How well E and G invert each other, on images that may be held out; call it in evaluation mode.

        ``reconstruction/real`` is the mean Euclidean distance ``|x - G(E(x))|`` over images with pixels in [0, 1],
        ``reconstruction/generated`` the same for ``x = G(z)``; each beside its ``_shuffled``, the distance to the
        reconstruction of another image: only their ratio means something. ``cycle/z`` is the root mean square of
        ``z - E(G(z))``, ``cycle/z_shuffled`` beside another image's z.
        """
        z_ND = self.draw_latents(len(real_NCHW), generator)
        generated_NCHW = self.generator(z_ND)
        encoded_ND = self.encoder(self.large(generated_NCHW))
        metrics: Metrics = {}
        for name, seen, coded in (
            ("real", self.small(real_NCHW), self.encoder(real_NCHW)),
            ("generated", generated_NCHW, encoded_ND),
        ):
            again = self.generator(coded)
            metrics[f"reconstruction/{name}"] = _distance(seen, again)
            metrics[f"reconstruction/{name}_shuffled"] = _distance(seen, again.roll(1, 0))
        metrics["cycle/z"] = (z_ND - encoded_ND).float().square().mean().sqrt()
        metrics["cycle/z_shuffled"] = (z_ND.roll(1, 0) - encoded_ND).float().square().mean().sqrt()
        return metrics


def _distance(x_NCHW: torch.Tensor, y_NCHW: torch.Tensor) -> torch.Tensor:
    """Mean Euclidean distance between images in [-1, 1], with pixels taken as [0, 1]."""
    return torch.linalg.vector_norm((x_NCHW.float() - y_NCHW.float()).flatten(1) / 2, dim=1).mean()
