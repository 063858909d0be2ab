"""The paper's networks: their sizes, and its rules."""

from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn.functional import adaptive_max_pool2d

from ganfeat.errors import InputError
from ganfeat.nets.blocks import initialise
from ganfeat.nets.dcgan import Discriminator, Generator

SHAPES = [(s, s, 1) for s in (8, 16, 28, 32, 64, 128)] + [(30, 20, 2), (7, 45, 3), (5, 5, 4), (9, 64, 1)]


@pytest.fixture(params=SHAPES, ids=lambda s: "x".join(map(str, s)))
def shape(request):
    return request.param


def test_generated_images_have_the_shape_and_the_range_of_real_ones(shape):
    height, width, channels = shape
    generator = Generator(shape, n_components=6, width=4)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(30)  # far beyond what tanh lets through
        x_NCHW = generator(torch.randn(3, 6, generator=torch.Generator().manual_seed(0)))
    assert x_NCHW.shape == (3, channels, height, width)
    assert x_NCHW.min() >= -1
    assert x_NCHW.max() <= 1


def test_the_discriminator_gives_one_logit_an_image_through_halved_maps(shape):
    height, width, channels = shape
    discriminator = Discriminator(shape, width=4)
    x_NCHW = torch.zeros(3, channels, height, width)
    assert discriminator(x_NCHW).shape == (3,)
    for i, block in enumerate(discriminator.blocks):
        height, width = (height + 1) // 2, (width + 1) // 2
        x_NCHW = block(x_NCHW)
        assert x_NCHW.shape == (3, 4 * 2**i, height, width)
    assert max(height, width) <= 4


def test_the_generator_mirrors_the_discriminator(shape):
    """The same maps, upside down: each transposed convolution of G has the shape of D's convolution."""
    up = [m for m in Generator(shape, width=4).modules() if isinstance(m, nn.ConvTranspose2d)]
    down = [m for m in Discriminator(shape, width=4).modules() if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.in_channels) for m in up] == [(m.in_channels, m.out_channels) for m in down[::-1]]


class TestRules:
    """Section 3 of the paper, and what its released code adds."""

    generator = Generator((32, 32, 3), width=8)
    discriminator = Discriminator((32, 32, 3), width=8)

    @pytest.mark.parametrize("name", ["generator", "discriminator"])
    def test_no_pooling_but_strides_of_two(self, name):
        modules = list(getattr(self, name).modules())
        assert not [m for m in modules if "pool" in type(m).__name__.lower()]
        convolutions = [m for m in modules if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        assert len(convolutions) == 3
        assert {m.stride for m in convolutions} == {(2, 2)}
        assert {m.kernel_size for m in convolutions} == {(5, 5)}
        assert all(m.bias is None for m in convolutions)

    def test_no_hidden_fully_connected_layer(self):
        assert [m.out_features for m in self.discriminator.modules() if isinstance(m, nn.Linear)] == [1]
        assert [m.in_features for m in self.generator.modules() if isinstance(m, nn.Linear)] == [100]

    def test_batch_norm_everywhere_but_at_the_images(self):
        """One norm a hidden layer: G's projection and all but its last convolution; all but D's first."""
        norms = (nn.BatchNorm1d, nn.BatchNorm2d)
        assert [m.num_features for m in self.generator.modules() if isinstance(m, norms)] == [32 * 4 * 4, 16, 8]
        assert [m.num_features for m in self.discriminator.modules() if isinstance(m, norms)] == [16, 32]

    def test_activations(self):
        """ReLU in G and tanh at its end, LeakyReLU(0.2) in D and a bare logit at its end."""
        kinds = (nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.GELU)
        of_g = [type(m) for m in self.generator.modules() if isinstance(m, kinds)]
        of_d = [m for m in self.discriminator.modules() if isinstance(m, kinds)]
        assert of_g == [nn.ReLU] * 3 + [nn.Tanh]
        assert [type(m) for m in of_d] == [nn.LeakyReLU] * 3
        assert {m.negative_slope for m in of_d} == {0.2}


def test_the_svhn_network_has_7168_features():
    """Methods, section 2: taps of 64, 128 and 256 maps, pooled to 4 x 4, are 1024 + 2048 + 4096 features."""
    x_NCHW = torch.zeros(2, 3, 32, 32)
    features = []
    for block in Discriminator((32, 32, 3), width=64).blocks:
        x_NCHW = block(x_NCHW)
        features.append(adaptive_max_pool2d(x_NCHW, 4).flatten(1).shape[1])
    assert features == [1024, 2048, 4096]
    assert sum(features) == 7168


class TestImageNet:
    """The authors' network for 32 x 32 ImageNet: 3 x 3 kernels, two convolutions per halving of the side."""

    settings: ClassVar = {"width": 8, "kernel_size": 3, "convs_per_scale": 2}
    generator = Generator((32, 32, 3), 256, **settings)
    discriminator = Discriminator((32, 32, 3), **settings)

    def test_the_strides_alternate(self):
        down = [m for m in self.discriminator.modules() if isinstance(m, nn.Conv2d)]
        up = [m for m in self.generator.modules() if isinstance(m, nn.ConvTranspose2d)]
        assert [m.stride[0] for m in down] == [1, 2, 1, 2, 1, 2]
        assert [m.stride[0] for m in up] == [2, 1, 2, 1, 2, 1]
        assert [m.out_channels for m in down] == [8, 8, 16, 16, 32, 32]
        assert [(m.out_channels, m.in_channels) for m in up] == [(m.in_channels, m.out_channels) for m in down[::-1]]

    def test_batch_norm_everywhere_but_at_the_images(self):
        norms = (nn.BatchNorm1d, nn.BatchNorm2d)
        assert [m.num_features for m in self.generator.modules() if isinstance(m, norms)] == [512, 32, 16, 16, 8, 8]
        assert [m.num_features for m in self.discriminator.modules() if isinstance(m, norms)] == [8, 16, 16, 32, 32]

    def test_it_has_28672_features(self):
        """16 x (128 + 128 + 256 + 256 + 512 + 512), no map being smaller than 4 x 4."""
        x_NCHW = torch.zeros(2, 3, 32, 32)
        with torch.device("meta"):
            blocks = Discriminator((32, 32, 3), 128, 3, 2).blocks
        features = 0
        for block in blocks:
            x_NCHW = block.to_empty(device="cpu").eval()(x_NCHW)
            features += adaptive_max_pool2d(x_NCHW, 4).flatten(1).shape[1]
        assert features == 28672


def test_two_convolutions_a_scale_work_for_any_size(shape):
    height, width, channels = shape
    generator = Generator(shape, n_components=3, width=2, kernel_size=3, convs_per_scale=2)
    x_NCHW = generator(torch.zeros(2, 3))
    assert x_NCHW.shape == (2, channels, height, width)
    discriminator = Discriminator(shape, width=2, kernel_size=3, convs_per_scale=2)
    assert discriminator(x_NCHW).shape == (2,)
    assert len(discriminator.blocks) == 2 * len(Discriminator(shape, width=2).blocks)


def test_the_layout_of_one_convolution_a_scale_is_the_papers():
    """Names of the state, and shapes, that run folders of the first version hold."""
    state = {k: tuple(v.shape) for k, v in Discriminator((32, 32, 3), width=8).state_dict().items()}
    assert {k: v for k, v in state.items() if "norm" not in k} == {
        "blocks.0.conv.weight": (8, 3, 5, 5),
        "blocks.1.conv.weight": (16, 8, 5, 5),
        "blocks.2.conv.weight": (32, 16, 5, 5),
        "head.weight": (1, 32 * 4 * 4),
        "head.bias": (1,),
    }
    state = {k: tuple(v.shape) for k, v in Generator((32, 32, 3), width=8).state_dict().items() if "weight" in k}
    assert state == {
        "project.0.weight": (512, 100),
        "project.1.weight": (512,),
        "upward.0.weight": (32, 16, 5, 5),
        "upward.1.weight": (16,),
        "upward.3.weight": (16, 8, 5, 5),
        "upward.4.weight": (8,),
        "upward.6.weight": (8, 3, 5, 5),
    }


def test_a_generator_of_given_maps():
    generator = Generator((16, 16, 2), n_components=3, width=4, maps=[7, 5])
    kernels = [m.weight.shape[:2] for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert kernels == [(7, 5), (5, 2)]
    assert generator(torch.zeros(2, 3)).shape == (2, 2, 16, 16)
    for wrong in ([7], [7, 5, 3], [7, 0], [7, 2.5]):
        with pytest.raises(InputError, match=r"generator_maps=.* must be 2 positive whole numbers"):
            Generator((16, 16, 2), maps=wrong)


@pytest.mark.parametrize("convs_per_scale", [0, 3, -1])
def test_other_than_one_or_two_convolutions_a_scale_are_refused(convs_per_scale):
    for network in (Generator, Discriminator):
        with pytest.raises(InputError, match=f"convs_per_scale={convs_per_scale} must be 1 or 2"):
            network((8, 8, 1), convs_per_scale=convs_per_scale)


def test_the_norms_epsilon():
    """A map whose variance is that of epsilon comes out with half the variance it would have without."""
    for network in (Generator((16, 16, 1), norm_epsilon=1e-3), Discriminator((16, 16, 1), norm_epsilon=1e-3)):
        assert {m.eps for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)} == {1e-3}
    norm = Discriminator((16, 16, 1), width=2, norm_epsilon=1e-3).blocks[1].norm
    x_NCHW = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    x_NCHW = (x_NCHW - x_NCHW.mean((2, 3), keepdim=True)) / x_NCHW.std((2, 3), correction=0, keepdim=True) * 1e-3**0.5
    torch.testing.assert_close(norm(x_NCHW).var((2, 3), correction=0), torch.full((1, 4), 0.5))


def test_an_image_in_eval_mode_does_not_see_its_batch():
    network = Discriminator((16, 16, 1), width=4)
    initialise(network, torch.Generator().manual_seed(0))
    network.double().eval()
    x_NCHW = torch.randn(5, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = network(x_NCHW)
    alone = torch.cat([network(x[None]) for x in x_NCHW])
    torch.testing.assert_close(together, alone)


def test_an_even_kernel_is_refused():
    for network in (Generator, Discriminator):
        with pytest.raises(InputError, match="kernel_size=4 must be odd"):
            network((8, 8, 1), kernel_size=4)
