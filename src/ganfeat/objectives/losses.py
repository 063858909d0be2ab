"""The GAN's losses, on logits.

``l = log D / (1 - D)`` is D's logit, so ``-log D = softplus(-l)`` and ``-log(1 - D) = softplus(l)``.
"""

from __future__ import annotations

import torch
from torch.nn.functional import softplus


def discriminator_loss(real_N: torch.Tensor, generated_N: torch.Tensor) -> torch.Tensor:
    """``-E log D(x) - E log(1 - D(G(z)))`` (Goodfellow et al. 2014, equation 1), a scalar."""
    return softplus(-real_N).mean() + softplus(generated_N).mean()


def generator_loss(generated_N: torch.Tensor) -> torch.Tensor:
    """``-E log D(G(z))``, the non-saturating form (Goodfellow et al. 2014, section 3), a scalar."""
    return softplus(-generated_N).mean()
