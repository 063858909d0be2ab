"""Generator and discriminator of DCGAN (Radford, Metz & Chintala 2016, arXiv:1511.06434).

Section 3's rules: strided convolutions instead of pooling, no hidden fully connected layer, batch norm
everywhere but at G's output and D's input, ReLU in G with tanh at its end, LeakyReLU(0.2) in D. The
details that the paper leaves open follow the authors' released code: 5 x 5 kernels, no convolution
biases, and batch norm of G's projection per unit, before it is reshaped to maps. Batch norm's epsilon is PyTorch's
1e-5 (the code's is 1e-8, which blows up a map that never varies). At 64 x 64, the paper's G begins with 1024 maps:
``width=128``.

The authors' network for 32 x 32 ImageNet has two convolutions per halving of the side, the first with stride one:
``convs_per_scale=2, kernel_size=3, width=128``. All six layers, max-pooled to 4 x 4, are its 28,672 features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from ganfeat.arrays import ImageShape
from ganfeat.errors import InputError
from ganfeat.nets.blocks import ConvBlock, check_kernel_size, count_layers, fractionally_strided, halvings


class Layout(NamedTuple):
    """D's convolutions, from the image down; G's are the same, backwards.

    ``maps`` and ``sizes`` are of the image and of every convolution's output; ``strides`` has one entry less.
    """

    maps: list[int]
    sizes: list[tuple[int, int]]
    strides: list[int]


def layout(image_shape: ImageShape, width: int, convs_per_scale: int = 1) -> Layout:
    """Lay the convolutions out: the maps double and the sides are halved once a scale.

    The halving convolution is the last of its scale. Raises InputError for other than 1 or 2 a scale.

    >>> layout((32, 32, 3), 128, 2).maps, layout((32, 32, 3), 128, 2).strides
    ([3, 128, 128, 256, 256, 512, 512], [1, 2, 1, 2, 1, 2])
    """
    if convs_per_scale not in (1, 2):
        raise InputError(
            f"convs_per_scale={convs_per_scale!r} must be 1 or 2 (the paper's 1, its ImageNet network's 2)"
        )
    height, width_px, channels = image_shape
    scales = count_layers(height, width_px)
    sides = list(zip(halvings(height, scales), halvings(width_px, scales), strict=True))
    out = Layout([channels], [sides[0]], [])
    for i in range(scales):
        out.maps.extend([width * 2**i] * convs_per_scale)
        out.sizes.extend([sides[i]] * (convs_per_scale - 1) + [sides[i + 1]])
        out.strides.extend([1] * (convs_per_scale - 1) + [2])
    return out


class Generator(nn.Module):
    """z to images in [-1, 1].

    Parameters
    ----------
    image_shape : (height, width, channels)
        Any height and width; 28 runs through maps of 4, 7, 14 and 28.
    n_components : int
        Length of z.
    width : int
        Maps of the last hidden layer; twice as many at every scale before it.
    kernel_size : int
        Odd.
    convs_per_scale : {1, 2}
        Convolutions per doubling of the side; the first of them doubles it.
    maps : sequence of int, optional
        Maps of the hidden layers, the projection's first. By default D's, backwards.
    norm_epsilon : float
        Added to the variance in batch norm.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        n_components: int = 100,
        width: int = 64,
        kernel_size: int = 5,
        convs_per_scale: int = 1,
        maps: Sequence[int] | None = None,
        norm_epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        check_kernel_size(kernel_size)
        down = layout(image_shape, width, convs_per_scale)
        hidden = down.maps[:0:-1] if maps is None else list(maps)
        layers, sizes, strides = len(down.strides), down.sizes[::-1], down.strides[::-1]
        if len(hidden) != layers or not all(isinstance(m, int) and m > 0 for m in hidden):
            raise InputError(f"generator_maps={tuple(hidden)} must be {layers} positive whole numbers, one a layer")
        self.first_map = (hidden[0], *sizes[0])
        units = hidden[0] * sizes[0][0] * sizes[0][1]
        self.project = nn.Sequential(
            nn.Linear(n_components, units, bias=False), nn.BatchNorm1d(units, norm_epsilon), nn.ReLU(inplace=True)
        )
        channels = [*hidden, image_shape[2]]
        upward: list[nn.Module] = []
        for i in range(layers):
            upward.append(
                fractionally_strided(channels[i], channels[i + 1], kernel_size, sizes[i], sizes[i + 1], strides[i])
            )
            if i < layers - 1:
                upward += [nn.BatchNorm2d(channels[i + 1], norm_epsilon), nn.ReLU(inplace=True)]
        self.upward = nn.Sequential(*upward, nn.Tanh())

    def forward(self, z_ND: torch.Tensor) -> torch.Tensor:
        """``(N, n_components)`` to ``(N, channels, height, width)`` in [-1, 1]."""
        return self.upward(self.project(z_ND).view(-1, *self.first_map))


class Discriminator(nn.Module):
    """Images in [-1, 1] to one logit, positive for real.

    At every scale there are twice the maps of the scale before it, at half its side: with one convolution a scale,
    ``blocks[i]`` has ``width * 2**i`` maps.

    Parameters
    ----------
    image_shape : (height, width, channels)
    width : int
        Maps of the first layer.
    kernel_size : int
        Odd.
    convs_per_scale : {1, 2}
        Convolutions per halving of the side; the last of them halves it.
    norm_epsilon : float
        Added to the variance in batch norm.
    n_components : int
        Length of the z that joins at every layer after the first (BiGAN's joint discriminator); 0 for images alone.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        width: int = 64,
        kernel_size: int = 5,
        convs_per_scale: int = 1,
        norm_epsilon: float = 1e-5,
        n_components: int = 0,
    ) -> None:
        super().__init__()
        check_kernel_size(kernel_size)
        maps, sizes, strides = layout(image_shape, width, convs_per_scale)
        self.blocks = nn.Sequential(
            *(
                ConvBlock(maps[i], maps[i + 1], kernel_size, i > 0, stride, norm_epsilon, n_components if i else 0)
                for i, stride in enumerate(strides)
            )
        )
        self.head = nn.Linear(maps[-1] * sizes[-1][0] * sizes[-1][1], 1)

    def forward(self, x_NCHW: torch.Tensor, z_ND: torch.Tensor | None = None) -> torch.Tensor:
        """``(N, channels, height, width)``, and ``(N, n_components)`` where z joins, to logits ``(N,)``."""
        return self.head(self.features(x_NCHW, z_ND)).squeeze(1)

    def features(self, x_NCHW: torch.Tensor, z_ND: torch.Tensor | None = None) -> torch.Tensor:
        """What the head reads: the last maps as rows ``(N, head.in_features)``."""
        if z_ND is None:
            x_NCHW = self.blocks(x_NCHW)
        else:
            for block in self.blocks:
                x_NCHW = block(x_NCHW, z_ND)
        maps_NHWC = x_NCHW.permute(0, 2, 3, 1)  # as they lie in memory: no copy, forward or backward
        return maps_NHWC.flatten(1)
