"""Parts that the convolutional networks share, and their initialisation.

Shape legend: N images, C channels, H height, W width, D latent components.
"""

from __future__ import annotations

import torch
from torch import nn

from ganfeat.errors import InputError

SMALLEST_MAP = 4
"""Strided convolutions halve a side until it is at most this long."""


def halvings(side: int, layers: int) -> list[int]:
    """Sides of the maps when a stride of two is applied ``layers`` times: 28 -> [28, 14, 7, 4].

    An odd side is rounded up, so that any size works without padding the images.
    """
    sides = [side]
    for _ in range(layers):
        sides.append((sides[-1] + 1) // 2)
    return sides


def count_layers(height: int, width: int) -> int:
    """How many strided layers bring the longer side down to :data:`SMALLEST_MAP`; at least two.

    >>> [count_layers(s, s) for s in (8, 16, 28, 32, 64, 128)]
    [2, 2, 3, 3, 4, 5]
    """
    side, layers = max(height, width), 0
    while side > SMALLEST_MAP:
        side, layers = (side + 1) // 2, layers + 1
    return max(layers, 2)


def narrowest_input(height: int, width: int) -> int:
    """Shorter side of the smallest map that a convolution of the stack reads.

    It is the same with several convolutions per halving: all of a scale read maps of the size that the strided one,
    the last of them, reads.
    """
    return halvings(min(height, width), count_layers(height, width) - 1)[-1]


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """What a half-precision layer gave as float32; float32 and float64 are left as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class ZeroLinear(nn.Linear):
    """A linear layer that starts at 0: a discriminator with it begins undecided."""


class Given(nn.Module):
    """A generator that is told one thing beside z, always the same, so that it is a network of z alone.

    Parameters
    ----------
    generator : nn.Module
        Takes ``(N, n_components)`` and what it is told, ``(N, ...)``.
    told : Tensor ``(1, ...)``
    """

    def __init__(self, generator: nn.Module, told: torch.Tensor) -> None:
        super().__init__()
        self.generator = generator
        self.register_buffer("told", told, persistent=False)

    def forward(self, z_ND: torch.Tensor) -> torch.Tensor:
        """``(N, n_components)`` to what the generator draws."""
        told = self.get_buffer("told")
        return self.generator(z_ND, told.expand(z_ND.shape[0], *told.shape[1:]))


class ConvBlock(nn.Module):
    """Convolution, batch norm (optional), LeakyReLU: a block of D, with its three taps.

    Maps ``(N, C, H, W)`` to ``(N, out_channels, ceil(H / stride), ceil(W / stride))``. With ``joined``, a z of that
    length joins by a linear map, added to every position before the norm (BiGAN). ``groups`` parts of the maps see
    nothing of each other (AlexNet).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        norm: bool,
        stride: int = 2,
        norm_epsilon: float = 1e-5,
        joined: int = 0,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=False,
        )
        self.join = nn.Linear(joined, out_channels, bias=False) if joined else None
        self.norm = nn.BatchNorm2d(out_channels, norm_epsilon) if norm else None
        self.activation = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x_NCHW: torch.Tensor, z_ND: torch.Tensor | None = None) -> torch.Tensor:
        """Apply the three in turn, z before the norm."""
        x_NCHW = self.conv(x_NCHW)
        if self.join is not None:  # in place, so that it stays the convolution's output for whoever watches
            x_NCHW = x_NCHW.add_(self.join(z_ND)[:, :, None, None])
        if self.norm is not None:
            x_NCHW = self.norm(x_NCHW)
        return self.activation(x_NCHW)


def fractionally_strided(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    before: tuple[int, int],
    after: tuple[int, int],
    stride: int = 2,
) -> nn.ConvTranspose2d:
    """Transposed convolution from maps of size ``before`` to maps of size ``after``, ``stride`` times as large."""
    padding = kernel_size // 2
    extra = [a - ((b - 1) * stride - 2 * padding + kernel_size) for b, a in zip(before, after, strict=True)]
    return nn.ConvTranspose2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=padding,
        output_padding=(extra[0], extra[1]),
        bias=False,
    )


def check_kernel_size(kernel_size: int) -> None:
    """Refuse a kernel whose centre is not a pixel."""
    if kernel_size < 3 or kernel_size % 2 == 0:
        raise InputError(f"kernel_size={kernel_size} must be odd and at least 3 (the papers use 5 and 3)")


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Weights N(0, 0.02) (DCGAN, section 4), batch-norm gains N(1, 0.02) (its code), biases 0, in place.

    What joins a convolution of k x k starts as if z were constant maps beside its input: sums of k * k such weights,
    N(0, 0.02 k). A :class:`ZeroLinear` starts at 0. ``generator`` is a CPU generator: the same seed gives the same
    network on every device.
    """
    for module in network.modules():
        if isinstance(module, ZeroLinear):
            module.weight.data.zero_()
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.weight.data.normal_(0.0, 0.02, generator=generator)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.affine:
            module.weight.data.normal_(1.0, 0.02, generator=generator)
        else:
            continue
        if module.bias is not None:
            module.bias.data.zero_()
    for module in network.modules():
        if isinstance(module, ConvBlock) and module.join is not None:
            module.join.weight.data.mul_(module.conv.kernel_size[0])
