"""Permutation-invariant networks: fully connected, blind to where a pixel is.

Those of BiGAN's MNIST experiment (Donahue, Krähenbühl & Darrell 2017, arXiv:1605.09782, section 4.1; details
by the authors' released code): two hidden layers of 1,024 units, batch norm without gain and bias, no biases, pixels in
[0, 1], and z at the second hidden layer of G and of D.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from ganfeat.arrays import ImageShape
from ganfeat.nets.blocks import ZeroLinear, at_least_float32


class Pixels(nn.Module):
    """Images ``(N, C, H, W)`` in [-1, 1] to rows ``(N, C * H * W)`` in [0, 1]."""

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Flatten, shift and scale."""
        return x_NCHW.flatten(1).add(1).mul_(0.5)


class DenseBlock(nn.Module):
    """Linear map, batch norm (optional), activation; z may join before the norm by a linear map of its own.

    Parameters
    ----------
    inputs, outputs : int
    joined : int
        Length of the z that joins; 0 for none.
    norm : bool
    norm_epsilon : float
    slope : float
        Of LeakyReLU below zero; 0 is ReLU.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        joined: int = 0,
        norm: bool = True,
        norm_epsilon: float = 1e-5,
        slope: float = 0.2,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.join = nn.Linear(joined, outputs, bias=False) if joined else None
        self.norm = nn.BatchNorm1d(outputs, norm_epsilon, affine=False) if norm else None
        self.activation = nn.LeakyReLU(slope, inplace=True)

    def forward(self, h_NI: torch.Tensor, z_ND: torch.Tensor | None = None) -> torch.Tensor:
        """``activation(norm(W h + V z))``, ``(N, outputs)``."""
        h_NO = self.linear(h_NI)
        if self.join is not None:
            h_NO = h_NO.add_(self.join(z_ND))
        if self.norm is not None:
            h_NO = self.norm(h_NO)
        return self.activation(h_NO)


def encoder_trunk(image_shape: ImageShape, width: int = 1024, norm_epsilon: float = 1e-5) -> nn.Sequential:
    """E up to the layer before its output: two hidden layers, the first without batch norm."""
    return nn.Sequential(
        Pixels(),
        DenseBlock(math.prod(image_shape), width, norm=False),
        DenseBlock(width, width, norm_epsilon=norm_epsilon),
    )


class MLPGenerator(nn.Module):
    """z to images in [-1, 1]; z joins again at the second hidden layer.

    Parameters
    ----------
    image_shape : (height, width, channels)
    n_components : int
    width : int
        Units of a hidden layer.
    norm_epsilon : float
    """

    def __init__(
        self, image_shape: ImageShape, n_components: int, width: int = 1024, norm_epsilon: float = 1e-5
    ) -> None:
        super().__init__()
        height, width_px, channels = image_shape
        self.image_size = (channels, height, width_px)
        self.first = DenseBlock(n_components, width, norm_epsilon=norm_epsilon, slope=0.0)
        self.second = DenseBlock(width, width, joined=n_components, norm_epsilon=norm_epsilon, slope=0.0)
        self.output = nn.Linear(width, math.prod(image_shape), bias=False)

    def forward(self, z_ND: torch.Tensor) -> torch.Tensor:
        """``(N, n_components)`` to ``float32 (N, C, H, W)``: the sigmoid's [0, 1], as [-1, 1]."""
        pixels_NP = torch.sigmoid(at_least_float32(self.output(self.second(self.first(z_ND), z_ND))))
        return pixels_NP.mul(2).sub(1).view(-1, *self.image_size)


class MLPDiscriminator(nn.Module):
    """Images in [-1, 1], with or without their z, to one logit, positive for real; it starts at 0.

    Parameters
    ----------
    image_shape : (height, width, channels)
    n_components : int
        Length of the z that joins at the second hidden layer; 0 for a discriminator of images alone.
    width : int
    norm_epsilon : float
    """

    def __init__(
        self, image_shape: ImageShape, n_components: int = 0, width: int = 1024, norm_epsilon: float = 1e-5
    ) -> None:
        super().__init__()
        self.first = nn.Sequential(Pixels(), DenseBlock(math.prod(image_shape), width, norm=False))
        self.trunk = DenseBlock(width, width, joined=n_components, norm_epsilon=norm_epsilon)
        self.head = ZeroLinear(width, 1, bias=False)

    def forward(self, x_NCHW: torch.Tensor, z_ND: torch.Tensor | None = None) -> torch.Tensor:
        """``(N, C, H, W)``, and ``(N, n_components)`` where z joins, to logits ``(N,)``."""
        return self.head(self.trunk(self.first(x_NCHW), z_ND)).squeeze(1)
