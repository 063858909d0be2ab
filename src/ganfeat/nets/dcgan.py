"""Generator and discriminator of DCGAN (Radford, Metz & Chintala 2016, arXiv:1511.06434).

Section 3's rules: strided convolutions instead of pooling, no hidden fully connected layer, batch norm
everywhere but at G's output and D's input, ReLU in G with tanh at its end, LeakyReLU(0.2) in D. The
details that the paper leaves open follow the authors' released code: 5 x 5 kernels, no convolution
biases, and batch norm of G's projection per unit, before it is reshaped to maps. Batch norm's epsilon is PyTorch's
1e-5 (the code's is 1e-8, which blows up a map that never varies). At 64 x 64, the paper's G begins with 1024 maps:
``width=128``.
"""

from __future__ import annotations

import torch
from torch import nn

from ganfeat.arrays import ImageShape
from ganfeat.nets.blocks import ConvBlock, check_kernel_size, count_layers, fractionally_strided, halvings


class Generator(nn.Module):
    """z to images in [-1, 1].

    Parameters
    ----------
    image_shape : (height, width, channels)
        Any height and width; 28 runs through maps of 4, 7, 14 and 28.
    n_components : int
        Length of z.
    width : int
        Maps of the last hidden layer; every layer before it has twice as many.
    kernel_size : int
        Odd.
    """

    def __init__(self, image_shape: ImageShape, n_components: int = 100, width: int = 64, kernel_size: int = 5) -> None:
        super().__init__()
        check_kernel_size(kernel_size)
        height, width_px, channels = image_shape
        layers = count_layers(height, width_px)
        sizes = list(zip(halvings(height, layers), halvings(width_px, layers), strict=True))[::-1]
        maps = [width * 2**i for i in range(layers)][::-1]
        self.first_map = (maps[0], *sizes[0])
        units = maps[0] * sizes[0][0] * sizes[0][1]
        self.project = nn.Sequential(
            nn.Linear(n_components, units, bias=False), nn.BatchNorm1d(units), nn.ReLU(inplace=True)
        )
        upward: list[nn.Module] = []
        for i in range(layers):
            last = i == layers - 1
            out_channels = channels if last else maps[i + 1]
            upward.append(fractionally_strided(maps[i], out_channels, kernel_size, sizes[i], sizes[i + 1]))
            upward += [nn.Tanh()] if last else [nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
        self.upward = nn.Sequential(*upward)

    def forward(self, z_ND: torch.Tensor) -> torch.Tensor:
        """``(N, n_components)`` to ``(N, channels, height, width)`` in [-1, 1]."""
        return self.upward(self.project(z_ND).view(-1, *self.first_map))


class Discriminator(nn.Module):
    """Images in [-1, 1] to one logit, positive for real.

    ``blocks[i]`` has ``width * 2**i`` maps and half the side of the block before it.

    Parameters
    ----------
    image_shape : (height, width, channels)
    width : int
        Maps of the first layer.
    kernel_size : int
        Odd.
    """

    def __init__(self, image_shape: ImageShape, width: int = 64, kernel_size: int = 5) -> None:
        super().__init__()
        check_kernel_size(kernel_size)
        height, width_px, channels = image_shape
        layers = count_layers(height, width_px)
        maps = [channels, *(width * 2**i for i in range(layers))]
        self.blocks = nn.Sequential(*(ConvBlock(maps[i], maps[i + 1], kernel_size, norm=i > 0) for i in range(layers)))
        self.head = nn.Linear(maps[-1] * halvings(height, layers)[-1] * halvings(width_px, layers)[-1], 1)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """``(N, channels, height, width)`` to logits ``(N,)``."""
        maps_NHWC = self.blocks(x_NCHW).permute(0, 2, 3, 1)  # as they lie in memory: no copy, forward or backward
        return self.head(maps_NHWC.flatten(1)).squeeze(1)
