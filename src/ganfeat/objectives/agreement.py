"""Agreement of views: E should tell an image from others, however it is transformed.

Two random transforms of every image pass E's trunk and a linear projection to the unit sphere; each view must find the
other view of its image among those of all others in the mini-batch (InfoNCE: van den Oord, Li & Vinyals 2018,
arXiv:1807.03748; the form on both views is equation 1 of Chen et al. 2020, arXiv:2002.05709). It is no part of the
BiGAN paper. In a GAN, Jeong & Shin 2021 (arXiv:2103.09742) train a discriminator by it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ganfeat.distributed import reduce
from ganfeat.distributed.team import team
from ganfeat.nets.encoder import Encoder
from ganfeat.objectives.augment import Augment

VIEWS = ("affine", "affine", "translate")
"""Transforms of a view, if nothing else is said: twice the affine ones, and a shift."""
PROJECTED = 64
TEMPERATURE = 0.2


def info_nce(u_NP: torch.Tensor, v_NP: torch.Tensor, temperature: float = TEMPERATURE) -> torch.Tensor:
    """``-log`` of the share that a view's own partner has among all other views (Chen et al. 2020, equation 1).

    Among those of all processes that train together.

    Parameters
    ----------
    u_NP, v_NP : Tensor ``(N, P)``
        Two views of N images, of any length.
    temperature : float

    Returns
    -------
    Tensor
        A scalar: the mean over all 2 N views. ``log(2 N - 1)`` where E tells nothing.
    """
    if team().size > 1:
        return _info_nce_of_all(u_NP, v_NP, temperature)
    n = len(u_NP)
    views_MP = F.normalize(torch.cat([u_NP, v_NP]), dim=1)
    logits_MM = (views_MP @ views_MP.t()) / temperature
    own = torch.eye(2 * n, dtype=torch.bool, device=views_MP.device)
    return F.cross_entropy(logits_MM.masked_fill(own, -torch.inf), torch.arange(2 * n, device=own.device).roll(n))


def _info_nce_of_all(u_NP: torch.Tensor, v_NP: torch.Tensor, temperature: float) -> torch.Tensor:
    """The mean over this process's views, each among the views of all processes."""
    n, device = len(u_NP), u_NP.device
    views_RMP = reduce.stacked(F.normalize(torch.cat([u_NP, v_NP]), dim=1))
    rows_M = torch.arange(2 * n, device=device) + 2 * n * team().rank
    views_AP = views_RMP.flatten(0, 1)
    logits_MA = (views_AP[rows_M] @ views_AP.t()) / temperature
    own = rows_M[:, None] == torch.arange(len(views_AP), device=device)
    return F.cross_entropy(logits_MA.masked_fill(own, -torch.inf), rows_M.roll(n))


class Agreement(nn.Module):
    """The term, with its projection.

    Parameters
    ----------
    n_features : int
        Values that E's trunk gives for an image.
    weight : float
    views : sequence of str
        Transforms of a view, in turn, by their names in :mod:`ganfeat.objectives.augment`.
    """

    def __init__(self, n_features: int, weight: float, views: Sequence[str] = VIEWS) -> None:
        super().__init__()
        self.weight = weight
        self.view = Augment(views, "views")
        self.projection = nn.Linear(n_features, PROJECTED, bias=False)

    def forward(self, encoder: Encoder, x_NCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """The weighted loss of E on a mini-batch."""
        u_NP, v_NP = (self.projection(encoder.features(self.view(x_NCHW, generator))) for _ in range(2))
        with torch.autocast(x_NCHW.device.type, enabled=False):
            dtype = torch.promote_types(u_NP.dtype, torch.float32)
            return self.weight * info_nce(u_NP.to(dtype), v_NP.to(dtype))
