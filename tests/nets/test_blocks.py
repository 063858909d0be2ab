"""Sizes of maps, and the initial weights."""

import math

import pytest
import torch
from torch import nn

from ganfeat.errors import InputError
from ganfeat.nets.blocks import (
    ConvBlock,
    check_kernel_size,
    count_layers,
    fractionally_strided,
    halvings,
    initialise,
    narrowest_input,
)
from ganfeat.nets.dcgan import Discriminator, Generator


@pytest.mark.parametrize(
    ("side", "sides"),
    [(8, [8, 4, 2]), (28, [28, 14, 7, 4]), (32, [32, 16, 8, 4]), (30, [30, 15, 8, 4]), (5, [5, 3, 2]), (1, [1, 1, 1])],
)
def test_sides_are_halved_rounding_up(side, sides):
    assert halvings(side, len(sides) - 1) == sides
    assert count_layers(side, side) == len(sides) - 1


def test_layers_bring_the_longer_side_to_at_most_four_and_no_further():
    for side in range(1, 260):
        layers = count_layers(side, 1)
        assert layers == count_layers(1, side) == max(2, math.ceil(math.log2(side / 4)))
        assert halvings(side, layers)[-1] <= 4
        assert layers == 2 or halvings(side, layers - 1)[-1] > 4


def test_narrowest_input_is_what_the_last_strided_convolution_reads():
    assert [narrowest_input(s, s) for s in (8, 16, 28, 32, 64)] == [4, 8, 7, 8, 8]
    assert narrowest_input(64, 8) == 1  # 8, 4, 2, 1: the fourth layer reads one pixel
    assert narrowest_input(8, 64) == 1


@pytest.mark.parametrize("convs_per_scale", [1, 2])
@pytest.mark.parametrize("shape", [(32, 32), (64, 8), (28, 28), (5, 5), (3, 9)])
def test_narrowest_input_is_the_smallest_map_that_a_convolution_of_d_reads(shape, convs_per_scale):
    read = []
    discriminator = Discriminator((*shape, 1), width=2, convs_per_scale=convs_per_scale)
    for block in discriminator.blocks:
        block.conv.register_forward_pre_hook(lambda _, args: read.append(min(args[0].shape[2:])))
    discriminator(torch.zeros(2, 1, *shape))
    assert min(read) == narrowest_input(*shape)


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_bf16_gradients_of_stride_one_are_right_for_narrow_maps_too(width, kind):
    """Those of stride two are not for maps one pixel wide, which is why `narrowest_input` is asked for.

    bf16 has 8 bits of mantissa, so a sum of products is off by less than a hundredth of its size.
    """
    generator = torch.Generator().manual_seed(0)
    layer = kind(8, 8, 3, stride=1, padding=1, bias=False).to(memory_format=torch.channels_last)
    x_NCHW = torch.randn(16, 8, 4, width, generator=generator).to(memory_format=torch.channels_last)
    gradient = torch.randn(16, 8, 4, width, generator=generator)
    layer(x_NCHW).backward(gradient)
    expected, layer.weight.grad = layer.weight.grad, None
    with torch.autocast("cpu", torch.bfloat16):
        y_NCHW = layer(x_NCHW)
    y_NCHW.backward(gradient.to(y_NCHW.dtype))
    assert (layer.weight.grad - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize("side", [1, 2, 5, 7, 8, 28])
def test_the_transposed_convolution_undoes_the_size_of_the_strided_one(side, kernel_size):
    block = ConvBlock(2, 3, kernel_size, norm=False)
    x_NCHW = torch.zeros(1, 2, side, side + 3)
    small = block(x_NCHW)
    up = fractionally_strided(3, 2, kernel_size, tuple(small.shape[2:]), (side, side + 3))
    assert up(small).shape == x_NCHW.shape
    same = ConvBlock(2, 3, kernel_size, norm=False, stride=1)(x_NCHW)
    assert same.shape[2:] == x_NCHW.shape[2:]
    up = fractionally_strided(3, 2, kernel_size, (side, side + 3), (side, side + 3), stride=1)
    assert up(same).shape == x_NCHW.shape


@pytest.mark.parametrize("kernel_size", [2, 4, 1, 0, -3])
def test_a_kernel_without_a_centre_is_refused(kernel_size):
    with pytest.raises(InputError, match="kernel_size"):
        check_kernel_size(kernel_size)


def _networks():
    return nn.ModuleList([Generator((16, 16, 3), 20, 16), Discriminator((16, 16, 3), 16)])


def test_initial_weights_follow_the_paper():
    """N(0, 0.02), gains N(1, 0.02), biases 0.

    Of n draws the mean has a standard error of 0.02 / sqrt(n) and the deviation one of 0.02 / sqrt(2 n); five of
    them are allowed.
    """
    networks = _networks()
    initialise(networks, torch.Generator().manual_seed(3))
    weights = {nn.Conv2d: 0.0, nn.ConvTranspose2d: 0.0, nn.Linear: 0.0, nn.BatchNorm1d: 1.0, nn.BatchNorm2d: 1.0}
    for kind, centre in weights.items():
        layers = [m for m in networks.modules() if type(m) is kind]
        values = torch.cat([m.weight.detach().flatten() for m in layers])
        n = len(values)
        assert abs(values.mean() - centre) < 5 * 0.02 / n**0.5
        assert abs(values.std() - 0.02) < 5 * 0.02 / (2 * n) ** 0.5
        assert all((m.bias == 0).all() for m in layers if m.bias is not None)


def test_the_seed_alone_decides_the_initial_weights_and_torchs_global_generator_is_left_alone():
    networks = [_networks() for _ in range(3)]
    before = torch.get_rng_state()
    for network, seed in zip(networks, (1, 1, 2), strict=True):
        initialise(network, torch.Generator().manual_seed(seed))
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = (torch.cat([p.flatten() for p in network.parameters()]) for network in networks)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


class TestJoin:
    """z by a linear map of its own, at every position, is a 1 x 1 convolution of z laid out as maps.

    And that is one convolution of maps and z together, whose kernel is 0 for z but in its centre.
    """

    @pytest.mark.parametrize("norm", [True, False])
    @pytest.mark.parametrize(("stride", "kernel_size", "size"), [(2, 5, (8, 8)), (2, 3, (7, 5)), (1, 3, (4, 6))])
    def test_a_join_is_a_concatenation(self, norm, stride, kernel_size, size):
        generator = torch.Generator().manual_seed(0)
        block = ConvBlock(3, 6, kernel_size, norm, stride, joined=4).double()
        x_NCHW = torch.randn(5, 3, *size, dtype=torch.float64, generator=generator).requires_grad_()
        z_ND = torch.randn(5, 4, dtype=torch.float64, generator=generator)
        kernel = torch.zeros(6, 4, kernel_size, kernel_size, dtype=torch.float64)
        kernel[:, :, kernel_size // 2, kernel_size // 2] = block.join.weight
        z_NDHW = z_ND[:, :, None, None].expand(-1, -1, *size)
        joined_NCHW = nn.functional.conv2d(
            torch.cat([x_NCHW, z_NDHW], 1), torch.cat([block.conv.weight, kernel], 1), None, stride, kernel_size // 2
        )
        if norm:
            mean, variance = (f(joined_NCHW, (0, 2, 3)) for f in (torch.mean, lambda x, d: x.var(d, unbiased=False)))
            scale = (variance + block.norm.eps).rsqrt()
            joined_NCHW = (joined_NCHW - mean[:, None, None]) * scale[:, None, None]
        expected = torch.where(joined_NCHW > 0, joined_NCHW, 0.2 * joined_NCHW)
        found = block(x_NCHW, z_ND)
        assert torch.allclose(found, expected, rtol=0, atol=1e-11)
        wanted = [x_NCHW, block.conv.weight, block.join.weight]
        gradient = torch.randn(expected.shape, dtype=torch.float64, generator=generator)
        pairs = zip(
            torch.autograd.grad(found, wanted, gradient), torch.autograd.grad(expected, wanted, gradient), strict=True
        )
        assert all(torch.allclose(a, b, rtol=0, atol=1e-9) for a, b in pairs)

    def test_without_z_to_join_there_is_no_map(self):
        assert ConvBlock(3, 6, 3, norm=True).join is None


def test_what_joins_a_convolution_starts_as_a_sum_over_its_window():
    block = ConvBlock(3, 256, 5, norm=True, joined=200)
    initialise(block, torch.Generator().manual_seed(0))
    assert block.join.weight.std().item() == pytest.approx(0.02 * 5, rel=0.02)
    assert block.conv.weight.std().item() == pytest.approx(0.02, rel=0.02)
