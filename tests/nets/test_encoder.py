"""Encoders: their range, their draws, their sizes; and D as a network of E's images."""

import pytest
import torch
from torch import nn

from ganfeat.nets.blocks import initialise
from ganfeat.nets.dcgan import Discriminator
from ganfeat.nets.encoder import Encoder, OnImages, conv_trunk, resized
from ganfeat.nets.families import Plan, build


def _encoder(prior="uniform", stochastic=False):
    return Encoder(nn.Flatten(), 12, 5, prior, stochastic)


def _images(n=6, side=2, channels=3, seed=0):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_uniform_prior_bounds_e_and_a_normal_one_does_not():
    for prior, most in (("uniform", 1.0), ("normal", 100.0)):
        encoder = _encoder(prior)
        with torch.no_grad():
            encoder.head.weight.copy_(torch.full((5, 12), 50.0))
            assert encoder(torch.ones(2, 3, 2, 2)).min() >= most
            assert encoder(-torch.ones(2, 3, 2, 2)).max() <= -most
            encoder.head.weight.mul_(1e-3)
            assert (encoder(_images()).abs() < 1).all()


def test_the_bound_is_twice_the_sigmoid_less_1():
    encoder, x_NCHW = _encoder(), _images()
    expected = 2 / (1 + torch.exp(-encoder.logits(x_NCHW))) - 1
    assert torch.allclose(encoder(x_NCHW), expected, rtol=0, atol=1e-6)
    assert torch.equal(_encoder("normal").bound(expected), expected)


@pytest.mark.parametrize("prior", ["uniform", "normal"])
class TestDraws:
    noise = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))

    def test_an_encoder_of_points_draws_its_point(self, prior):
        encoder = _encoder(prior)
        assert torch.equal(encoder.sample(_images(), self.noise), encoder(_images()))
        assert encoder.parameters_of(_images())[1] is None

    def test_with_a_log_variance_of_0_the_noise_is_added(self, prior):
        encoder = _encoder(prior, stochastic=True)
        with torch.no_grad():
            encoder.head.weight[5:] = 0
        mean = encoder.logits(_images())[:, :5]
        expected = mean + self.noise if prior == "normal" else (mean + self.noise).sigmoid() * 2 - 1
        assert torch.allclose(encoder.sample(_images(), self.noise), expected, rtol=0, atol=1e-6)

    def test_the_feature_is_the_mean_which_is_the_draw_without_noise(self, prior):
        encoder = _encoder(prior, stochastic=True)
        expected = encoder.bound(encoder.logits(_images())[:, :5])
        assert torch.equal(encoder(_images()), expected)
        assert torch.equal(encoder.sample(_images(), torch.zeros(6, 5)), expected)

    def test_the_deviation_is_the_exponential_of_half_the_log_variance(self, prior):
        encoder = _encoder(prior, stochastic=True)
        mean, log_variance = encoder.parameters_of(_images())
        before_bound = mean + log_variance.mul(0.5).exp() * self.noise
        assert torch.allclose(encoder.sample(_images(), self.noise), encoder.bound(before_bound), rtol=0, atol=1e-6)

    def test_gradients_reach_mean_and_variance(self, prior):
        """The reparametrised draw is differentiable in both: d/d log_variance is half the noise, at a variance of 1."""
        encoder = _encoder(prior, stochastic=True)
        out = torch.zeros(6, 10, requires_grad=True)
        encoder.logits = lambda _: out
        encoder.sample(_images(), self.noise).sum().backward()
        slope = torch.ones(6, 5)
        if prior == "uniform":
            s = self.noise.sigmoid()
            slope = 2 * s * (1 - s)
        assert torch.allclose(out.grad, torch.cat([slope, slope * self.noise / 2], 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(32, 32, 3), (64, 64, 1), (28, 28, 1), (30, 17, 2)])
def test_the_trunk_is_the_stack_of_dcgans_d(shape):
    trunk, n_features = conv_trunk(shape, 4)
    discriminator = Discriminator(shape, 4)
    assert {k: v.shape for k, v in trunk.state_dict().items()} == {
        k: v.shape for k, v in discriminator.blocks.state_dict().items()
    }
    assert n_features == discriminator.head.in_features
    height, width, channels = shape
    trunk.load_state_dict(discriminator.blocks.state_dict())
    x_NCHW = torch.randn(3, channels, height, width, generator=torch.Generator().manual_seed(0))
    assert torch.equal(trunk.eval()(x_NCHW), discriminator.blocks.eval()(x_NCHW))


def test_the_head_reads_every_value_of_the_maps_once():
    trunk, n_features = conv_trunk((16, 16, 1), 4)
    encoder = Encoder(trunk, n_features, 1, "normal").eval()
    nn.init.ones_(encoder.head.weight)
    x_NCHW = _images(side=16, channels=1)
    assert torch.allclose(encoder(x_NCHW)[:, 0], trunk(x_NCHW).flatten(1).sum(1), rtol=1e-4, atol=1e-4)


class TestResized:
    def test_to_their_own_size_images_are_left_as_they_are(self):
        x_NCHW = _images(side=8)
        assert resized(x_NCHW, (8, 8)) is x_NCHW

    @pytest.mark.parametrize("k", [2, 3, 4])
    def test_a_whole_number_of_times_smaller_is_the_mean_of_the_pixels_that_become_one(self, k):
        x_NCHW = _images(side=12)
        expected = sum(x_NCHW[:, :, i::k, j::k] for i in range(k) for j in range(k)) / k**2
        assert torch.allclose(resized(x_NCHW, (12 // k, 12 // k)), expected, rtol=0, atol=1e-6)

    def test_twice_as_large_is_interpolated_between_the_centres_of_pixels(self):
        """Centres of the new pixels are a quarter of an old one off; beyond the last of them, nothing changes."""
        x_NCHW = torch.tensor([[0.0, 1.0], [0.0, 1.0]])[None, None]
        assert resized(x_NCHW, (4, 4))[0, 0].tolist() == [[0.0, 0.25, 0.75, 1.0]] * 4

    @pytest.mark.parametrize(("side", "new"), [(112, 64), (64, 112), (28, 20), (20, 28), (7, 13)])
    def test_ramps_stay_ramps_and_the_range_is_kept(self, side, new):
        """A pixel's value is its place, so that a resized image is off by less than a pixel's width of either size."""
        ramp = torch.linspace(-1, 1, side).expand(1, 2, side, side)
        for x_NCHW in (ramp, ramp.mT):
            found = resized(x_NCHW, (new, new))
            assert found.shape == (1, 2, new, new)
            expected = torch.linspace(-1, 1, new).expand(1, 2, new, new)
            expected = expected if x_NCHW is ramp else expected.mT
            assert (found - expected).abs().max() < 2 / min(side, new)
            assert found.abs().max() <= 1

    def test_there_and_back_again(self):
        """Twice as large and back is the image, but for what the interpolation smooths: flat pictures are exact."""
        flat = torch.full((2, 3, 9, 9), 0.25)
        assert torch.equal(resized(resized(flat, (18, 18)), (9, 9)), flat)


class TestOnImages:
    @pytest.mark.parametrize("architecture", ["conv", "mlp"])
    @pytest.mark.parametrize("size", [None, 8])
    def test_it_is_d_of_x_and_its_code(self, architecture, size):
        plan = Plan((16, 16, 1), 3, architecture=architecture, width=4, generator_size=size)
        encoder, _, discriminator = build(plan)
        if architecture == "mlp":
            nn.init.normal_(discriminator.head.weight)
        x_NCHW = _images(side=16, channels=1)
        small = (size or 16, size or 16)
        for module in (encoder, discriminator):
            module.eval()
        found = OnImages(discriminator, small, encoder)(x_NCHW)
        assert torch.equal(found, discriminator(resized(x_NCHW, small), encoder(x_NCHW)))
        assert not torch.equal(found, discriminator(resized(x_NCHW, small), torch.zeros(6, 3)))

    def test_without_an_encoder_it_is_d_of_x(self):
        _, _, discriminator = build(Plan((16, 16, 1), 3, width=4, joint=False))
        x_NCHW = _images(side=16, channels=1)
        assert torch.equal(OnImages(discriminator.eval(), (16, 16), None)(x_NCHW), discriminator(x_NCHW))


def test_bf16_gives_float32_codes():
    trunk, n_features = conv_trunk((16, 16, 1), 4)
    encoder = Encoder(trunk, n_features, 3, "uniform")
    initialise(encoder, torch.Generator().manual_seed(0))
    x_NCHW = _images(side=16, channels=1)
    with torch.no_grad():
        expected = encoder(x_NCHW)  # in training mode, which brings the tiny initial maps to a size of 1
        with torch.autocast("cpu", torch.bfloat16):
            codes = encoder(x_NCHW)
    assert codes.dtype == torch.float32
    assert expected.abs().max() > 0.1
    assert (codes - expected).abs().max() < 0.01
