"""E, G and D that fit each other, for all architectures, sizes and priors."""

import itertools

import pytest
import torch
from torch import nn

from ganfeat.errors import InputError
from ganfeat.nets.alexnet import alexnet_trunk
from ganfeat.nets.families import Plan, build
from ganfeat.priors import get_prior

SHAPES = [(32, 32, 3), (32, 32, 1), (64, 64, 3), (64, 64, 1), (28, 28, 1), (45, 33, 3), (19, 64, 1)]


def _count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("prior", ["uniform", "normal"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
@pytest.mark.parametrize("architecture", ["conv", "mlp", "alexnet"])
def test_networks_fit_each_other(architecture, shape, prior):
    height, width, channels = shape
    encoder, generator, discriminator = build(Plan(shape, 6, architecture=architecture, width=4, prior=prior))
    numbers = torch.Generator().manual_seed(0)
    x_NCHW = torch.rand(4, channels, height, width, generator=numbers) * 2 - 1
    z_ND = get_prior(prior)(4, 6, numbers)
    generated_NCHW, encoded_ND = generator(z_ND), encoder(x_NCHW)
    assert generated_NCHW.shape == x_NCHW.shape
    assert generated_NCHW.abs().max() <= 1
    assert encoded_ND.shape == z_ND.shape
    assert prior == "normal" or encoded_ND.abs().max() < 1
    for logits_N in (discriminator(x_NCHW, encoded_ND), discriminator(generated_NCHW, z_ND)):
        assert logits_N.shape == (4,)
    if architecture == "mlp":
        nn.init.ones_(discriminator.head.weight)
    loss = (discriminator(x_NCHW, encoded_ND) * torch.arange(4.0)).sum() + discriminator(generated_NCHW, z_ND)[0]
    loss.backward()
    for network in (encoder, generator, discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


@pytest.mark.parametrize("architecture", ["conv", "alexnet", "mlp"])
@pytest.mark.parametrize("side", [32, 64])
def test_z_joins_every_layer_of_d_after_the_first(architecture, side):
    """A joint D has as many more weights as z has components, for each map or unit of its later hidden layers."""
    plans = [Plan((side, side, 3), 6, architecture=architecture, width=4, joint=joint) for joint in (True, False)]
    joint, alone = (build(plan)[2] for plan in plans)
    later = {"mlp": [4], 32: [8, 16], 64: [8, 16, 32]}["mlp" if architecture == "mlp" else side]
    joins = [m for name, m in joint.named_modules() if name.endswith("join")]
    assert [tuple(m.weight.shape) for m in joins] == [(maps, 6) for maps in later]
    assert _count(joint) - _count(alone) == 6 * sum(later)
    x_NCHW = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    if architecture == "mlp":
        nn.init.ones_(joint.head.weight)
    for module in (joint, alone):
        module.eval()
    joint.load_state_dict(alone.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.equal(joint(x_NCHW, torch.zeros(2, 6)), alone(x_NCHW))
        for join, others in ((j, [o for o in joins if o is not j]) for j in joins):
            for other in others:
                other.weight.zero_()
            nn.init.normal_(join.weight, generator=torch.Generator().manual_seed(1))
            assert not torch.equal(joint(x_NCHW, torch.ones(2, 6)), alone(x_NCHW))


def test_alexnet_is_e_alone_beside_the_g_and_d_of_conv():
    shape = (64, 64, 3)
    conv, alexnet = (build(Plan(shape, 200, architecture=a, width=4)) for a in ("conv", "alexnet"))
    for ours, theirs in zip(alexnet[1:], conv[1:], strict=True):
        assert {k: v.shape for k, v in ours.state_dict().items()} == {
            k: v.shape for k, v in theirs.state_dict().items()
        }
    assert _count(alexnet[0]) == _count(alexnet_trunk(shape)[0]) + 4096 * 200


@pytest.mark.parametrize("architecture", ["conv", "mlp", "alexnet"])
def test_e_may_see_larger_images_than_g_draws(architecture):
    plan = Plan((112, 112, 3), 5, architecture=architecture, width=2, generator_size=64)
    encoder, generator, discriminator = build(plan)
    small = build(Plan((64, 64, 3), 5, architecture="conv" if architecture == "alexnet" else architecture, width=2))
    assert plan.small_shape == (64, 64, 3)
    assert encoder(torch.zeros(2, 3, 112, 112)).shape == (2, 5)
    assert generator(torch.zeros(2, 5)).shape == (2, 3, 64, 64)
    assert discriminator(torch.zeros(2, 3, 64, 64), torch.zeros(2, 5)).shape == (2,)
    assert [_count(n) for n in (generator, discriminator)] == [_count(n) for n in small[1:]]


def test_a_size_of_the_images_own_is_no_other_size():
    plans = [Plan((32, 32, 1), 5, width=2, generator_size=size) for size in (None, 32)]
    assert [_count(n) for n in build(plans[0])] == [_count(n) for n in build(plans[1])]


@pytest.mark.parametrize("architecture", ["conv", "mlp", "alexnet"])
class TestRefusals:
    def test_g_larger_than_the_images(self, architecture):
        with pytest.raises(InputError, match=r"generator_size=65 is larger than the images, 64 x 64.*at most 64"):
            build(Plan((64, 64, 3), 5, architecture=architecture, width=2, generator_size=65))

    def test_images_that_are_not_square(self, architecture):
        with pytest.raises(InputError, match=r"needs square images.*64 x 48.*load_images\(source, size=48\)"):
            build(Plan((64, 48, 3), 5, architecture=architecture, width=2, generator_size=32))


def test_an_unknown_architecture_is_refused_with_those_that_are_known():
    with pytest.raises(InputError, match=r"architecture='resnet'.*alexnet, conv, mlp"):
        build(Plan((32, 32, 3), 5, architecture="resnet"))


def test_an_autoencoder_has_no_d():
    for architecture, joint in itertools.product(("conv", "mlp", "alexnet"), (True, False)):
        assert build(Plan((32, 32, 3), 5, architecture, 2, joint=joint), discriminator=False)[2] is None
