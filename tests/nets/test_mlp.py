"""BiGAN's permutation-invariant networks, layer by layer as the paper's MNIST experiment has them."""

import pytest
import torch
from torch import nn

from ganfeat.nets.blocks import ZeroLinear, initialise
from ganfeat.nets.families import Plan, build
from ganfeat.nets.mlp import DenseBlock, MLPDiscriminator, MLPGenerator, Pixels, encoder_trunk

MNIST = Plan((28, 28, 1), 50, architecture="mlp", norm_epsilon=1e-8)


@pytest.fixture(scope="module")
def networks():
    with torch.random.fork_rng(devices=[]):
        built = nn.ModuleDict(dict(zip(("E", "G", "D"), build(MNIST), strict=True)))
    initialise(built, torch.Generator().manual_seed(0))
    return built


def _linear(network):
    return [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]


def _count(network):
    return sum(p.numel() for p in network.parameters())


def test_layers_of_the_mnist_networks(networks):
    """Widths, in order; z's own maps of 50 stand behind the layer that they join."""
    assert _linear(networks["E"]) == [(784, 1024), (1024, 1024), (1024, 50)]
    assert _linear(networks["G"]) == [(50, 1024), (1024, 1024), (50, 1024), (1024, 784)]
    assert _linear(networks["D"]) == [(784, 1024), (1024, 1024), (50, 1024), (1024, 1)]


def test_weights_of_the_mnist_networks_by_hand(networks):
    wide, pixels, z = 1024 * 1024, 784 * 1024, 50 * 1024
    assert _count(networks["E"]) == pixels + wide + z == 1_902_592
    assert _count(networks["G"]) == z + (wide + z) + pixels == 1_953_792
    assert _count(networks["D"]) == pixels + (wide + z) + 1024 == 1_903_616
    alone = Plan((28, 28, 1), 50, architecture="mlp", joint=False)
    assert _count(build(alone)[2]) == pixels + wide + 1024
    ali = Plan((28, 28, 1), 50, architecture="mlp", stochastic=True)
    assert _count(build(ali)[0]) == pixels + wide + 2 * z


def test_no_bias_no_gain_and_the_papers_epsilon(networks):
    assert all(m.bias is None for m in networks.modules() if isinstance(m, nn.Linear))
    norms = {k: [m for m in networks[k].modules() if isinstance(m, nn.BatchNorm1d)] for k in "EGD"}
    assert {k: len(v) for k, v in norms.items()} == {"E": 1, "G": 2, "D": 1}
    assert all(not m.affine and m.eps == 1e-8 for v in norms.values() for m in v)


def test_activations(networks):
    """LeakyReLU(0.2) in E and D, ReLU in G: of LeakyReLU, that with a slope of 0."""
    slopes = {k: [m.negative_slope for m in networks[k].modules() if isinstance(m, nn.LeakyReLU)] for k in "EGD"}
    assert slopes == {"E": [0.2, 0.2], "G": [0.0, 0.0], "D": [0.2, 0.2]}


def test_the_head_of_d_starts_at_0_and_every_other_layer_at_random(networks):
    layers = [m for m in networks.modules() if isinstance(m, nn.Linear)]
    assert [m for m in layers if isinstance(m, ZeroLinear)] == [networks["D"].head]
    assert not networks["D"].head.weight.any()
    for layer in layers:
        if layer is not networks["D"].head:
            n = layer.weight.numel()
            assert abs(layer.weight.mean()) < 5 * 0.02 / n**0.5
            assert abs(layer.weight.std() - 0.02) < 5 * 0.02 / (2 * n) ** 0.5
    x_NCHW = torch.rand(4, 1, 28, 28) * 2 - 1
    assert not networks["D"](x_NCHW, torch.rand(4, 50)).any()


def test_the_head_moves_although_it_starts_at_0(networks):
    """Its gradient is its input: a D that starts undecided learns."""
    x_NCHW = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    (gradient,) = torch.autograd.grad(networks["D"](x_NCHW, torch.zeros(4, 50)).sum(), networks["D"].head.weight)
    assert gradient.abs().max() > 0


def test_pixels_are_between_0_and_1_and_the_images_are_left_alone():
    x_NCHW = torch.tensor([-1.0, 0.0, 0.5, 1.0]).view(1, 1, 2, 2)
    before = x_NCHW.clone()
    assert Pixels()(x_NCHW).tolist() == [[0.0, 0.5, 0.75, 1.0]]
    assert torch.equal(x_NCHW, before)


def test_generated_images_are_in_the_range_of_real_ones():
    generator = MLPGenerator((5, 4, 3), 6, 16)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(100)
    x_NCHW = generator(torch.randn(50, 6, generator=torch.Generator().manual_seed(0)))
    assert x_NCHW.shape == (50, 3, 5, 4)
    assert x_NCHW.min() == -1
    assert x_NCHW.max() == 1


def test_permuting_pixels_and_weights_changes_nothing():
    """What permutation-invariant means: no pixel has a neighbour."""
    trunk = encoder_trunk((4, 4, 1), 8).double()
    x_NP = torch.rand(10, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    expected = trunk(x_NP.view(10, 1, 4, 4))
    with torch.no_grad():
        trunk[1].linear.weight.copy_(trunk[1].linear.weight[:, order])
    assert torch.allclose(trunk(x_NP[:, order].reshape(10, 1, 4, 4)), expected, rtol=0, atol=1e-14)


class TestJoin:
    """z by a linear map of its own is z behind the inputs: [W, V] [h, z] = W h + V z."""

    @pytest.mark.parametrize("norm", [True, False])
    @pytest.mark.parametrize("slope", [0.0, 0.2])
    def test_a_join_is_a_concatenation(self, norm, slope):
        generator = torch.Generator().manual_seed(0)
        block = DenseBlock(7, 9, joined=4, norm=norm, slope=slope).double()
        h_NI, z_ND = (torch.randn(20, k, dtype=torch.float64, generator=generator) for k in (7, 4))
        h_NI.requires_grad_()
        joined = torch.cat([h_NI, z_ND], 1) @ torch.cat([block.linear.weight, block.join.weight], 1).T
        if norm:
            joined = (joined - joined.mean(0)) / (joined.var(0, unbiased=False) + block.norm.eps).sqrt()
        expected = torch.where(joined > 0, joined, slope * joined)
        found = block(h_NI, z_ND)
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)
        wanted = [h_NI, block.linear.weight, block.join.weight]
        gradient = torch.randn(expected.shape, dtype=torch.float64, generator=generator)
        pairs = zip(
            torch.autograd.grad(found, wanted, gradient), torch.autograd.grad(expected, wanted, gradient), strict=True
        )
        assert all(torch.allclose(a, b, rtol=0, atol=1e-10) for a, b in pairs)

    def test_where_nothing_joins_there_is_no_map(self):
        assert DenseBlock(7, 9).join is None
        assert MLPDiscriminator((4, 4, 1), 0, 8).trunk.join is None
