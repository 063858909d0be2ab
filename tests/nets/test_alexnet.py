"""AlexNet's convolutions: sizes, groups, and right gradients in bf16."""

import math

import pytest
import torch
from torch import nn

from ganfeat.errors import InputError
from ganfeat.nets.alexnet import SMALLEST_SIDE, alexnet_trunk

SIDES = {
    64: [16, 8, 8, 4, 4, 4, 4],
    112: [28, 14, 14, 7, 7, 7, 7],
}
MAPS = [96, 96, 256, 256, 384, 384, 256]


@pytest.mark.parametrize("side", [64, 112])
def test_maps_of_the_papers_images(side):
    """conv1, pool1, conv2, pool2, conv3, conv4, conv5: strides of 4, 2, 1, 2, 1, 1, 1, rounded up."""
    trunk, n_features = alexnet_trunk((side, side, 3))
    x_NCHW, shapes = torch.zeros(2, 3, side, side), {}
    for name, module in trunk.named_children():
        x_NCHW = module(x_NCHW)
        shapes[name] = tuple(x_NCHW.shape[1:])
    assert list(shapes) == ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5"]
    assert list(shapes.values()) == [(m, s, s) for m, s in zip(MAPS, SIDES[side], strict=True)]
    assert n_features == x_NCHW[0].numel()


def test_weights_by_hand():
    """maps x maps before / groups x kernel x kernel, and two a map for each batch norm; no biases."""
    trunk, _ = alexnet_trunk((64, 64, 3))
    convs = [m for m in trunk.modules() if isinstance(m, nn.Conv2d)]
    assert [m.weight.numel() for m in convs] == [
        96 * 3 * 11 * 11,
        256 * 48 * 5 * 5,
        384 * 256 * 3 * 3,
        384 * 192 * 3 * 3,
        256 * 192 * 3 * 3,
    ]
    assert sum(p.numel() for p in trunk.parameters()) == 2_332_704 + 2 * (256 + 384 + 384 + 256)
    norms = [m for m in trunk.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_features for m in norms] == [256, 384, 384, 256]
    assert all(m.affine for m in norms)
    assert {m.negative_slope for m in trunk.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize(("index", "grouped"), [(2, True), (3, False), (4, True), (5, True)])
def test_the_two_halves_of_a_grouped_layer_see_nothing_of_each_other(index, grouped):
    block = getattr(alexnet_trunk((64, 64, 3))[0], f"conv{index}").eval()
    maps = block.conv.in_channels if not grouped else 2 * block.conv.weight.shape[1]
    x_NCHW = torch.randn(2, maps, 4, 4, generator=torch.Generator().manual_seed(0))
    other_NCHW = x_NCHW.clone()
    other_NCHW[:, : maps // 2] += 1
    changed_C = (block(x_NCHW) != block(other_NCHW)).any(dim=0).flatten(1).any(dim=1)
    half = len(changed_C) // 2
    assert changed_C[:half].all()
    assert changed_C[half:].any() != grouped


@pytest.mark.parametrize(("height", "width", "channels"), [(17, 17, 1), (17, 90, 3), (33, 65, 2), (96, 50, 3)])
def test_any_size_from_the_smallest_on(height, width, channels):
    trunk, n_features = alexnet_trunk((height, width, channels))
    maps_NCHW = trunk(torch.zeros(2, channels, height, width))
    assert maps_NCHW.shape == (2, 256, math.ceil(height / 16), math.ceil(width / 16))
    assert maps_NCHW[0].numel() == n_features


@pytest.mark.parametrize("shape", [(16, 16, 3), (16, 64, 1), (64, 8, 3)])
def test_images_that_are_too_small(shape):
    with pytest.raises(InputError, match=r"too small.*17 pixels.*architecture='conv'"):
        alexnet_trunk(shape)


@pytest.mark.parametrize("shape", [(SMALLEST_SIDE, SMALLEST_SIDE, 1), (SMALLEST_SIDE, 40, 3), (64, 64, 3)])
def test_bf16_gradients_are_right_down_to_the_smallest_images(shape):
    """A sum of products in bf16, of 8 bits of mantissa, is off by less than a hundredth of its size.

    Below four pixels, the gradients of a convolution with a stride of four are wrong on the CPU, even infinite.
    """
    height, width, channels = shape
    trunk, _ = alexnet_trunk(shape)
    trunk.to(memory_format=torch.channels_last)
    sizes: dict[str, torch.Size] = {}
    for name, block in trunk.named_children():
        if name.startswith("conv"):
            block.conv.register_forward_hook(lambda _m, args, _y, name=name: sizes.update({name: args[0].shape}))
    trunk(torch.zeros(2, channels, height, width))
    generator = torch.Generator().manual_seed(0)
    assert len(sizes) == 5
    for name, size in sizes.items():
        layer = getattr(trunk, name).conv
        layer._forward_hooks.clear()
        x_NCHW = torch.randn(size, generator=generator).to(memory_format=torch.channels_last).requires_grad_()
        y_NCHW = layer(x_NCHW)
        gradient = torch.randn(y_NCHW.shape, generator=generator)
        exact = torch.autograd.grad(y_NCHW, [layer.weight, x_NCHW], gradient)
        with torch.autocast("cpu", torch.bfloat16):
            y_NCHW = layer(x_NCHW)
        rounded = torch.autograd.grad(y_NCHW, [layer.weight, x_NCHW], gradient.to(y_NCHW.dtype))
        for a, b in zip(rounded, exact, strict=True):
            assert (a - b).norm() < 0.01 * b.norm()
