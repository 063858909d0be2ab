"""Encoders: images to latents, in the range of their prior; and the pair (x, E(x)) that a joint discriminator sees."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ganfeat.arrays import ImageShape
from ganfeat.nets.blocks import ConvBlock, at_least_float32
from ganfeat.nets.dcgan import layout

BOUNDED = ("uniform",)
"""Priors on (-1, 1), where an encoder ends in ``2 * sigmoid - 1``; for others its output is linear."""


class Encoder(nn.Module):
    """A trunk, a linear head, and the range of the prior.

    ``trunk`` is the layer before the output, for taps.

    Parameters
    ----------
    trunk : nn.Module
        Images ``(N, C, H, W)`` to maps or rows.
    n_features : int
        Values that the trunk gives for an image.
    n_components : int
        Length of z.
    prior : {"uniform", "normal"}
        Distribution of z; it decides the output's range.
    stochastic : bool
        Give a Gaussian's mean and log variance instead of a point (ALI: Dumoulin et al. 2017, arXiv:1606.00704,
        section 2); :meth:`sample` draws from it.
    """

    def __init__(
        self, trunk: nn.Module, n_features: int, n_components: int, prior: str, stochastic: bool = False
    ) -> None:
        super().__init__()
        self.bounded = prior in BOUNDED
        self.stochastic = stochastic
        self.n_components = n_components
        self.trunk = trunk
        self.head = nn.Linear(n_features, n_components * (2 if stochastic else 1), bias=False)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """``float32 (N, n_components)``; of a stochastic encoder, the mean (before the bound)."""
        return self.bound(self.parameters_of(x_NCHW)[0])

    def parameters_of(self, x_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Output before the bound, and the log variance of a stochastic encoder, ``float32 (N, n_components)``."""
        out = self.logits(x_NCHW)
        if not self.stochastic:
            return out, None
        mean, log_variance = out.chunk(2, dim=1)
        return mean, log_variance

    def features(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """The trunk's output as rows ``(N, n_features)``."""
        h = self.trunk(x_NCHW)
        if h.ndim == 4:
            h = h.permute(0, 2, 3, 1)  # as they lie in memory
        return h.flatten(1)

    def logits(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """The head's output, ``float32``."""
        return at_least_float32(self.head(self.features(x_NCHW)))

    def bound(self, a_ND: torch.Tensor) -> torch.Tensor:
        """``2 * sigmoid(a) - 1`` for a prior on (-1, 1), else ``a``."""
        return torch.sigmoid(a_ND).mul(2).sub(1) if self.bounded else a_ND

    def sample(self, x_NCHW: torch.Tensor, noise_ND: torch.Tensor) -> torch.Tensor:
        """Reparametrised draw ``mean + exp(log_variance / 2) * noise``, bounded; without noise where there is none."""
        mean, log_variance = self.parameters_of(x_NCHW)
        if log_variance is None:
            return self.bound(mean)
        return self.bound(mean + torch.exp(log_variance / 2) * noise_ND)


def conv_trunk(
    image_shape: ImageShape, width: int = 64, kernel_size: int = 5, norm_epsilon: float = 1e-5
) -> tuple[nn.Sequential, int]:
    """The convolutions of DCGAN's D as an encoder's trunk, and how many values they give."""
    maps, sizes, strides = layout(image_shape, width)
    blocks = (
        ConvBlock(maps[i], maps[i + 1], kernel_size, i > 0, stride, norm_epsilon) for i, stride in enumerate(strides)
    )
    return nn.Sequential(*blocks), maps[-1] * sizes[-1][0] * sizes[-1][1]


def resized(x_NCHW: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Images as ``(N, C, *size)``: smaller by the mean over areas, larger by bilinear interpolation."""
    if x_NCHW.shape[2:] == size:
        return x_NCHW
    if size[0] < x_NCHW.shape[2]:
        return F.adaptive_avg_pool2d(x_NCHW, size)
    return F.interpolate(x_NCHW, size, mode="bilinear", align_corners=False)


class OnImages(nn.Module):
    """A discriminator as a network of the encoder's images alone: D(x, E(x)) where it is joint, x in D's size.

    The encoder runs out of sight of whoever watches the layers.
    """

    def __init__(self, discriminator: nn.Module, size: tuple[int, int], encoder: nn.Module | None) -> None:
        super().__init__()
        self.size = size
        self.discriminator, self.encoder = discriminator, encoder

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """``(N, C, H, W)`` to logits ``(N,)``."""
        small_NCHW = resized(x_NCHW, self.size)
        if self.encoder is None:
            return self.discriminator(small_NCHW)
        with torch._C.DisableTorchFunction():
            z_ND = self.encoder(x_NCHW)
        return self.discriminator(small_NCHW, z_ND)


def parts(network: nn.Module) -> list[nn.Module]:
    """What has batch norms of its own, to be estimated one after the other: an encoder before who is shown E(x)."""
    if isinstance(network, OnImages):
        return [part for part in (network.encoder, network.discriminator) if part is not None]
    return [network]
