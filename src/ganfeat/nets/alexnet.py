"""AlexNet's convolutions (Krizhevsky, Sutskever & Hinton 2012) as the trunk of an encoder.

BiGAN's E on images (Donahue, Krähenbühl & Darrell 2017, arXiv:1605.09782, section 3) is AlexNet up to its fifth
convolution, so nothing is pooled after it. What the paper leaves open follows the authors' released code for ImageNet:
LeakyReLU(0.2); batch norm with gain and bias from the second convolution on, in place of response normalisation; no
biases of convolutions; and the first convolution and the pooling, too, are padded, so that each divides a side by its
stride, rounding up. Sides of 64 run through 16, 8 and 4, sides of 112 through 28, 14 and 7.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from torch import nn

from ganfeat.arrays import ImageShape
from ganfeat.errors import InputError
from ganfeat.nets.blocks import ConvBlock

SMALLEST_SIDE = 17
"""With less, the last three convolutions would read maps of one pixel."""


class Layer(NamedTuple):
    """One convolution, and whether it is max-pooled, 3 x 3 with a stride of two."""

    maps: int
    kernel_size: int
    stride: int
    groups: int
    pooled: bool


LAYERS = (
    Layer(96, 11, 4, 1, True),
    Layer(256, 5, 1, 2, True),
    Layer(384, 3, 1, 1, False),
    Layer(384, 3, 1, 2, False),
    Layer(256, 3, 1, 2, False),
)


def alexnet_trunk(image_shape: ImageShape, norm_epsilon: float = 1e-5) -> tuple[nn.Sequential, int]:
    """``conv1`` to ``conv5``, with ``pool1`` and ``pool2``, and how many values they give for an image.

    Parameters
    ----------
    image_shape : (height, width, channels)
    norm_epsilon : float
        Added to the variance in batch norm.

    Raises
    ------
    InputError
        If a side is shorter than :data:`SMALLEST_SIDE`.
    """
    height, width, channels = image_shape
    if min(height, width) < SMALLEST_SIDE:
        raise InputError(
            f"architecture='alexnet' divides sides by 16, so images of {height} x {width} are too small for it: load "
            f"them with {SMALLEST_SIDE} pixels a side or more (the papers' are 64 and 112), or use architecture='conv'"
        )
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for i, layer in enumerate(LAYERS):
        modules[f"conv{i + 1}"] = ConvBlock(
            channels, layer.maps, layer.kernel_size, i > 0, layer.stride, norm_epsilon, groups=layer.groups
        )
        channels, step = layer.maps, layer.stride
        if layer.pooled:
            modules[f"pool{i + 1}"] = nn.MaxPool2d(3, 2, padding=1)
            step *= 2
        height, width = -(-height // step), -(-width // step)
    return nn.Sequential(modules), channels * height * width
