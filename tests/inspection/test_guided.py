"""Gradients of units: closed forms, agreement with autograd, and the rule of guided backpropagation by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ganfeat import DCGAN, BiGAN, FeatureExtractor, InputError
from ganfeat.inspection.guided import Guided, image_gradients
from ganfeat.inspection.layer import layer_of, layers_in, layers_of

SHAPE = (12, 12, 3)


def images(n=4, shape=SHAPE):
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def deep(activation, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2, padding=2),
        activation(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        activation(),
        nn.Conv2d(8, 5, 3, padding=1),
        activation(),
    ).eval()


def gradients(network, units, rule, index=-1, at="activation"):
    layer = layers_in(network, SHAPE, at)[index]
    return image_gradients(layer, layer.prepare(images(len(units))), units, rule)


def test_of_a_linear_network_the_gradient_is_the_kernel_where_the_unit_looks():
    """d (sum_k w_k x_(2i - 2 + k)) / dx is w, at rows 2i - 2 to 2i + 2; without a rectifier guiding changes nothing."""
    network = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2, padding=2))
    for rule in ("plain", "guided"):
        found = gradients(network, [[1, 2, 3], [3, 0, 0]], rule)
        kernel = network[0].weight.detach().permute(0, 2, 3, 1).numpy()
        expected = np.zeros((2, *SHAPE), np.float32)
        expected[0, 2:7, 4:9] = kernel[1]
        expected[1, :3, :3] = kernel[3, 2:, 2:]
        np.testing.assert_array_equal(found, expected)


def test_plain_is_what_autograd_gives():
    network = deep(nn.ReLU)
    x_NCHW = layers_in(network, SHAPE)[0].prepare(images()).requires_grad_()
    units = [[0, 0, 0], [1, 1, 2], [4, 2, 2], [2, 1, 1]]
    maps = network(x_NCHW)
    total = sum(maps[n, c, i, j] for n, (c, i, j) in enumerate(units))
    expected = torch.autograd.grad(total, x_NCHW)[0].permute(0, 2, 3, 1).numpy()
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(gradients(network, units, "plain"), expected, rtol=1e-5, atol=1e-7)


def test_guided_is_what_hooks_on_the_modules_give():
    """The usual implementation for ReLU: its own gradient, and of that the positive part."""
    network = deep(nn.ReLU)
    units = [[0, 0, 0], [1, 1, 2], [4, 2, 2], [2, 1, 1]]
    found = gradients(network, units, "guided")
    x_NCHW = layers_in(network, SHAPE)[0].prepare(images()).requires_grad_()
    for module in network:
        if isinstance(module, nn.ReLU):
            module.register_full_backward_hook(lambda _module, below, _above: (below[0].clamp(min=0),))
    maps = network(x_NCHW)
    total = sum(maps[n, c, i, j] for n, (c, i, j) in enumerate(units))
    expected = torch.autograd.grad(total, x_NCHW)[0].permute(0, 2, 3, 1).numpy()
    assert np.abs(expected).max() > 0 and np.abs(expected - gradients(deep(nn.ReLU), units, "plain")).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


class Hand(nn.Module):
    """Two layers of 1 x 1 convolutions: a = slope-leaky(W x), y = slope-leaky(v a), computed by hand below."""

    def __init__(self, activation):
        super().__init__()
        self.first, self.second, self.activation = (
            nn.Conv2d(3, 3, 1, bias=False),
            nn.Conv2d(3, 1, 1, bias=False),
            activation,
        )
        self.first.weight.data = torch.tensor([[1.0, 2, 0], [-1, 0, 1], [0, -3, 1]])[..., None, None]
        self.second.weight.data = torch.tensor([[2.0, -5, 3]])[..., None, None]

    def forward(self, x):
        return self.activation(self.second(self.activation(self.first(x))))


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.LeakyReLU(0.2),
        nn.LeakyReLU(0.2, inplace=True),
        nn.PReLU(init=0.2),
        nn.ELU(),
        nn.ELU(inplace=True),
        nn.ReLU6(),
        nn.Threshold(0, 0),
        F.relu,
        F.relu_,
        torch.relu,
        torch.relu_,
        lambda x: x.relu(),
        lambda x: (x.relu_(), x)[1],
        lambda x: (F.leaky_relu_(x, 0.1), x)[1],
        lambda x: F.leaky_relu(x, inplace=True),
        lambda x: F.rrelu(x, training=False),
        lambda x: x.clamp(min=0),
        lambda x: torch.clamp(x, 0, 100),
        lambda x: torch.clamp_min(x, 0.0),
        lambda x: x.clamp_(min=0),
    ],
)
def test_a_network_of_two_layers_by_hand(activation):
    """Of x = (0.5, 0.25, 1): W x = (1, 0.5, 0.25), all positive, and y = 2 - 2.5 + 0.75 > 0, leaky or not.

    Plain: v W = (2 + 5, 4 - 9, -5 + 3). Guided: v cut to (2, 0, 3), times W: (2, 4 - 9, 3).
    """
    network = Hand(activation)
    layer = layers_in(network, (2, 2, 3))[1]
    x_NCHW = torch.tensor([0.5, 0.25, 1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2).contiguous()
    for rule, expected in (("plain", (7, -5, -2)), ("guided", (2, -5, 3))):
        found = image_gradients(layer, x_NCHW, [[0, 1, 0]], rule)
        np.testing.assert_allclose(found[0, 1, 0], expected, atol=1e-6)
        found[0, 1, 0] = 0
        assert (found == 0).all()


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.2), nn.LeakyReLU(0.2, inplace=True)])
def test_where_a_rectifier_was_negative_nothing_passes(activation):
    """Of x = (-1, 1, 2): W x = (1, 3, -1); the third is cut, also of a leaky rectifier, and v_2 < 0: (2) (1, 2, 0).
    y = 2 - 15 + ... < 0 at the activation; before it, where no rectifier of its own is, it can be asked all the same.
    """
    layer = layers_in(Hand(activation), (2, 2, 3), "conv")[1]
    x_NCHW = torch.tensor([-1.0, 1, 2]).view(1, 3, 1, 1).expand(1, 3, 2, 2).contiguous()
    np.testing.assert_allclose(image_gradients(layer, x_NCHW, [[0, 0, 0]], "guided")[0, 0, 0], (2, 4, 0), atol=1e-6)
    behind = layers_in(Hand(activation), (2, 2, 3))[1]
    assert (image_gradients(behind, x_NCHW, [[0, 0, 0]], "guided") == 0).all()


def test_smooth_activations_keep_their_derivative():
    for activation in (nn.Tanh, nn.Sigmoid, nn.GELU, nn.Softplus, lambda: nn.Hardtanh(-0.5, 0.5)):
        units = [[0, 1, 1], [1, 2, 0]]
        network = deep(activation)
        np.testing.assert_array_equal(gradients(network, units, "guided"), gradients(network, units, "plain"))


def test_a_clamp_that_does_not_cut_at_zero_is_no_rectifier():
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Hardtanh())

    class Cut(nn.Module):
        def forward(self, x):
            return network(x).clamp(min=-0.3)

    units = [[0, 1, 1]]
    np.testing.assert_array_equal(gradients(Cut(), units, "guided"), gradients(Cut(), units, "plain"))


def test_a_way_around_a_rectifier_is_not_guided():
    """y = relu(x) + x, in place or not: of a negative x guided backpropagation gives 1, what the way around gives."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)

        def forward(self, x):
            return self.conv(F.relu(x) + x)

    network = Residual()
    network.conv.weight.data = torch.tensor([[1.0, 2, 3], [0, 0, 0]])[..., None, None]
    layer = layers_in(network, (2, 2, 3))[0]
    x_NCHW = torch.tensor([1.0, -1, 2]).view(1, 3, 1, 1).expand(1, 3, 2, 2).contiguous()
    found = image_gradients(layer, x_NCHW, [[0, 0, 0]], "guided")
    np.testing.assert_allclose(found[0, 0, 0], (2, 2, 6))


def test_values_are_the_same_under_the_rule():
    network = deep(lambda: nn.LeakyReLU(0.2, inplace=True))
    x_NCHW = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    expected = network(x_NCHW)
    with Guided():
        assert torch.equal(network(x_NCHW), expected)


def test_the_network_is_left_as_it_was():
    """In training mode, with weights that need gradients: neither modes nor statistics nor gradients change, and the
    result is that of evaluation mode with frozen weights; inside no_grad and inference mode, too.
    """
    network = deep(nn.ReLU)
    units = [[0, 0, 0], [1, 1, 2]]
    expected = gradients(network, units, "guided")
    network.train()
    network[2].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    np.testing.assert_array_equal(gradients(network, units, "guided"), expected)
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    network.requires_grad_(False)
    with torch.no_grad():
        np.testing.assert_array_equal(gradients(network, units, "guided"), expected)
    with torch.inference_mode():
        np.testing.assert_array_equal(gradients(network, units, "guided"), expected)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(gradients(network, units, "guided"), expected)


def test_batch_norms_without_statistics_are_refused_and_estimated_ones_serve():
    """What an extractor estimates it makes in inference mode, which gradients cannot pass without a copy."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU())
    with pytest.raises(InputError, match="recalibrate"):
        layers_in(network, SHAPE)
    extractor = FeatureExtractor(network, device="cpu").fit(images(40))
    layer = layer_of(extractor, at="norm")
    units = np.column_stack([np.arange(4), np.full((4, 2), 5)])
    kernel = network[0].weight.detach().permute(0, 2, 3, 1).numpy()
    scale = 1 / np.sqrt(extractor.network_[1].running_var.numpy() + 1e-5)
    found = image_gradients(layer, layer.prepare(images()), units, "plain")[:, 5:8, 5:8]
    np.testing.assert_allclose(found, kernel * scale[:, None, None, None], rtol=1e-4)


def test_hidden_layers_without_maps():
    network = nn.Sequential(nn.Flatten(), nn.Linear(432, 7), nn.ReLU(), nn.Linear(7, 1))
    layer = layers_in(network, SHAPE, "conv")[0]
    assert (layer.channels, layer.grid) == (7, (1, 1))
    found = image_gradients(layer, layer.prepare(images(1)), [[3, 0, 0]], "guided")[0]
    np.testing.assert_array_equal(found, network[1].weight[3].detach().view(3, 12, 12).permute(1, 2, 0).numpy())


def test_all_networks_of_a_joint_model():
    """Of D(x, E(x)) z is held: the gradient is that of D alone with z given."""
    model = BiGAN(width=4, n_components=3, max_iter=1, batch_size=20, random_state=0).fit(images(40))
    layers = layers_of(model.extractor("discriminator", taps="all"))
    x_NCHW = layers[0].prepare(images(2)).requires_grad_()
    wrapped = layers[-1].network
    z_ND = wrapped.encoder(x_NCHW).detach()
    maps = x_NCHW
    for block in wrapped.discriminator.blocks:
        maps = block(maps, z_ND)
    expected = torch.autograd.grad(maps[0, 1, 1, 0] + maps[1, 0, 0, 1], x_NCHW)[0].permute(0, 2, 3, 1)
    found = image_gradients(layers[-1], x_NCHW, [[1, 1, 0], [0, 0, 1]], "plain")
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-9)
    assert not wrapped.encoder._forward_hooks
    for layer in layers_of(model.extractor("encoder", taps="all")):
        assert np.isfinite(image_gradients(layer, x_NCHW, [[1, 0, 0], [0, 0, 1]])).all()


def test_wrong_calls():
    layer = layers_in(deep(nn.ReLU), SHAPE)[-1]
    x_NCHW = layer.prepare(images(1))
    for units, words in (
        ([[5, 0, 0]], r"no unit \(5, 0, 0\).*5 channels of 3 x 3"),
        ([[0, -1, 0]], "no unit"),
        ([[0, 0]], "1 rows of channel, row, column"),
        ([[0.0, 0, 0]], "1 rows"),
        ([[0, 0, 0], [1, 0, 0]], "1 rows"),
    ):
        with pytest.raises(InputError, match=words):
            image_gradients(layer, x_NCHW, units)
    with pytest.raises(InputError, match="guided or plain"):
        image_gradients(layer, x_NCHW, [[0, 0, 0]], "deconvnet")
    with pytest.raises(InputError, match="activation"):
        layers_in(deep(nn.ReLU), SHAPE, "relu")
    model = DCGAN(width=4, n_components=3, max_iter=1, batch_size=20, random_state=0).fit(images(40))
    with pytest.raises(InputError, match=r"layer 2 is out of range.*0 to 1"):
        layer_of(model.extractor(taps="all"), 2)

    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return self.conv(x.detach())

    with pytest.raises(InputError, match="reaches the image"):
        gradients(Cut(), [[0, 0, 0]], "plain")
