"""The GAN's losses, on logits.

``l = log D / (1 - D)`` is D's logit, so ``-log D = softplus(-l)`` and ``-log(1 - D) = softplus(l)``.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import softplus

from ganfeat.objectives.base import Metrics

OUTLYING = math.log(10)
"""Distance of log alpha from its median beyond which a real image counts as outlying: a factor of 10 of alpha."""


def discriminator_loss(real_N: torch.Tensor, generated_N: torch.Tensor) -> torch.Tensor:
    """``-E log D(x) - E log(1 - D(G(z)))`` (Goodfellow et al. 2014, equation 1), a scalar."""
    return softplus(-real_N).mean() + softplus(generated_N).mean()


def generator_loss(generated_N: torch.Tensor) -> torch.Tensor:
    """``-E log D(G(z))``, the non-saturating form (Goodfellow et al. 2014, section 3), a scalar."""
    return softplus(-generated_N).mean()


def judgements(real_N: torch.Tensor, generated_N: torch.Tensor) -> Metrics:
    """What D's logits say, for the record: mean and standard deviation over each half of the batch.

    As ``log alpha(x) = log (1 - D) / D = -l``, ``spread/real`` is the standard deviation of log alpha over real images,
    which a healthy game keeps small (docs/theory.md); ``outlying/real`` is the share of them whose alpha is more than
    ten times, or less than a tenth of, their median.
    """
    real_N, generated_N = real_N.detach(), generated_N.detach()
    return {
        "logit/real": real_N.mean(),
        "logit/generated": generated_N.mean(),
        "spread/real": real_N.std(),
        "spread/generated": generated_N.std(),
        "outlying/real": ((real_N - real_N.median()).abs() > OUTLYING).to(real_N.dtype).mean(),
    }
