"""DCGAN's networks with classes: the same layers, other heads."""

import pytest
import torch

from ganfeat.nets.blocks import initialise
from ganfeat.nets.classes import (
    CategoricalDiscriminator,
    ClassHead,
    ClassifyingDiscriminator,
    ConditionalGenerator,
)
from ganfeat.nets.dcgan import Discriminator, Generator

SHAPE = (12, 8, 3)


def made(kind, *settings, **named):
    network = kind(SHAPE, *settings, **named).double()
    initialise(network, torch.Generator().manual_seed(0))
    return network.eval()


def images(n=5):
    return torch.rand(n, 3, 12, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("convs_per_scale", [1, 2])
def test_the_trunk_and_the_head_of_the_source_are_those_of_dcgan(convs_per_scale):
    """With the weights of a plain D, the source's logits are the plain D's."""
    plain = made(Discriminator, width=4, convs_per_scale=convs_per_scale)
    judge = made(ClassifyingDiscriminator, 6, width=4, convs_per_scale=convs_per_scale)
    missing, unexpected = judge.load_state_dict(plain.state_dict(), strict=False)
    assert set(missing) == {"class_head.weight", "class_head.bias"} and not unexpected
    torch.testing.assert_close(judge(images()), plain(images()))
    torch.testing.assert_close(judge.features(images()), plain.features(images()))


def test_both_heads_read_the_same_features():
    judge = made(ClassifyingDiscriminator, 6, width=4)
    source_N, classes_NK = judge.judge(images())
    assert source_N.shape == (5,) and classes_NK.shape == (5, 6)
    features_NF = judge.features(images())
    torch.testing.assert_close(source_N, judge.head(features_NF)[:, 0])
    torch.testing.assert_close(classes_NK, judge.class_head(features_NF))
    assert torch.equal(ClassHead(judge)(images()), classes_NK)


def test_categories_have_one_head_and_no_source():
    sorter = made(CategoricalDiscriminator, 6, width=4)
    assert sorter(images()).shape == (5, 6)
    torch.testing.assert_close(sorter(images()), sorter.head(sorter.features(images())))
    assert [name for name, _ in sorter.named_children()] == ["blocks", "head"]


def test_the_class_stands_one_hot_behind_z():
    """G(c, z) is the plain G of the concatenation, given in two parts or in one; another class, another image."""
    conditional = made(ConditionalGenerator, 4, 3, width=4)
    plain = made(Generator, 3 + 4, width=4)
    plain.load_state_dict(conditional.state_dict())
    z_ND = torch.randn(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    classes = torch.eye(4, dtype=torch.float64)
    expected = plain(torch.cat([z_ND, classes], 1))
    assert torch.equal(conditional(z_ND, classes), expected)
    assert torch.equal(conditional(torch.cat([z_ND, classes], 1)), expected)
    same_z = conditional(z_ND[:1].expand(4, -1), classes)
    assert (same_z[0] - same_z[1:]).abs().amax((1, 2, 3)).min() > 1e-6
