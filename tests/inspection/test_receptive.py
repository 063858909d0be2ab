"""Receptive fields: the closed form of stacked convolutions, and networks that have none."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ganfeat import BiGAN
from ganfeat.inspection.guided import image_gradients
from ganfeat.inspection.layer import layers_in, layers_of
from ganfeat.inspection.receptive import crop, crop_size, receptive_fields


def stack(*layers, channels=2, activation=nn.LeakyReLU):
    modules, inputs = [], 1
    for kernel, stride, padding in layers:
        modules += [nn.Conv2d(inputs, channels, kernel, stride, padding), nn.BatchNorm2d(channels), activation()]
        inputs = channels
    return nn.Sequential(*modules)


def closed_form(layers, side, index):
    """Size r = 1 + sum (k - 1) j and start s = i J - P, with jumps j before and J after: Dumoulin & Visin 2016."""
    size, jump, padding = 1, 1, 0
    for kernel, stride, pad in layers:
        size, padding, jump = size + (kernel - 1) * jump, padding + pad * jump, jump * stride
    start = index * jump - padding
    return max(0, start), min(side, start + size)


@pytest.mark.parametrize(
    "layers",
    [
        [(5, 2, 2), (5, 2, 2), (5, 2, 2)],
        [(3, 1, 1), (3, 2, 1), (3, 1, 1), (3, 2, 1)],
        [(4, 2, 1), (4, 2, 1)],
        [(3, 1, 0), (1, 1, 0), (2, 3, 0)],
    ],
)
def test_stacked_convolutions_follow_the_closed_form(layers):
    side = 32
    layer = layers_in(stack(*layers), (side, side, 1))[-1]
    rows, columns = layer.grid
    units = [[row % 2, row, column] for row in range(rows) for column in range(0, columns, 3)]
    found = receptive_fields(layer, (side, side, 1), units)
    expected = [(*closed_form(layers, side, row), *closed_form(layers, side, column)) for _, row, column in units]
    assert found.tolist() == [list(map(int, each)) for each in expected]


def test_weights_that_are_zero_or_huge_and_dead_units_change_nothing():
    layers = [(3, 2, 1)] * 3
    network = stack(*layers)
    expected = receptive_fields(layers_in(network, (16, 16, 1))[-1], (16, 16, 1), [[0, 1, 1]])
    for value in (0.0, -1e30, float("inf")):
        for module in network:
            if isinstance(module, nn.Conv2d):
                module.weight.data.fill_(value)
        layer = layers_in(network, (16, 16, 1))[-1]
        assert (receptive_fields(layer, (16, 16, 1), [[0, 1, 1]]) == expected).all()


def test_a_hundred_layers_neither_vanish_nor_explode():
    layers = [(3, 1, 1)] * 100
    layer = layers_in(stack(*layers, activation=nn.ReLU), (9, 9, 1))[-1]
    assert receptive_fields(layer, (9, 9, 1), [[0, 4, 4]]).tolist() == [[0, 9, 0, 9]]


def test_pooling_branches_and_groups():
    """Each channel of a network with branches has its own field; max-pooling sees its whole window."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.narrow, self.wide, self.last = (
                nn.Conv2d(1, 1, 1),
                nn.Conv2d(1, 1, 5, padding=2),
                nn.Conv2d(2, 2, 1, groups=2),
            )

        def forward(self, x):
            x = F.max_pool2d(x, 2)
            return F.relu(self.last(torch.cat([self.narrow(x), self.wide(x)], dim=1)), inplace=True)

    layer = layers_in(Branches(), (20, 20, 1))[-1]
    found = receptive_fields(layer, (20, 20, 1), [[0, 4, 4], [1, 4, 4], [0, 4, 4]])
    assert found.tolist() == [[8, 10, 8, 10], [4, 14, 4, 14], [8, 10, 8, 10]]


@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(3, 2, 1), nn.AdaptiveMaxPool2d(5), nn.AvgPool2d(2, 2), nn.MaxPool2d(2, 2, dilation=1)]
)
def test_a_field_holds_every_pixel_that_any_gradient_reaches(pool):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), pool, nn.Conv2d(3, 2, 2), nn.ReLU())
    layer = layers_in(network, (12, 12, 1), "conv")[-1]
    images = np.random.default_rng(0).integers(0, 256, (200, 12, 12, 1), dtype=np.uint8)
    (top, bottom, left, right), *_ = receptive_fields(layer, (12, 12, 1), [[1, 1, 2]]).tolist()
    reached = (image_gradients(layer, layer.prepare(images), [[1, 1, 2]] * 200, "plain") != 0).any((0, 3))
    rows, columns = np.flatnonzero(reached.any(1)), np.flatnonzero(reached.any(0))
    assert (top, bottom, left, right) == (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)


def test_where_everything_sees_everything():
    for network in (
        nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 1)),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 1)),
    ):
        layer = layers_in(network, (8, 8, 1), "activation")[-1]
        assert receptive_fields(layer, (8, 8, 1), [[0, 0, 0]]).tolist() == [[0, 8, 0, 8]]


def test_a_network_that_insists_on_float32():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = stack((3, 2, 1), (3, 2, 1))

        def forward(self, x):
            return self.layers(x.float())

    found, expected = (
        receptive_fields(layers_in(network, (16, 16, 1))[-1], (16, 16, 1), [[0, 1, 2]])
        for network in (Single(), stack((3, 2, 1), (3, 2, 1)))
    )
    assert (found == expected).all()


def test_a_joint_discriminator_sees_by_its_own_convolutions_and_the_network_stays():
    model = BiGAN(width=4, n_components=3, max_iter=1, batch_size=20, random_state=0).fit(
        np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    )
    layer = layers_of(model.extractor("discriminator", taps="all"))[1]
    weight = next(layer.network.parameters())
    found = receptive_fields(layer, (16, 16, 3), [[0, 0, 0], [0, 2, 2]])
    assert found.tolist() == [[0, 7, 0, 7], [2, 15, 2, 15]]
    assert weight is next(layer.network.parameters()) and weight.dtype == torch.float32


def test_crops_are_put_against_the_side_that_the_image_has_not_cut():
    picture = np.arange(36, dtype=np.uint8).reshape(6, 6, 1)
    fields = np.array([[0, 2, 3, 6], [1, 5, 0, 4], [4, 6, 0, 2]])
    assert crop_size(fields) == (4, 4)
    cut = [crop(picture, field, (4, 4), 99)[..., 0] for field in fields]
    expected = np.full((3, 4, 4), 99)
    expected[0, 2:, :3], expected[1], expected[2, :2, 2:] = picture[:2, 3:, 0], picture[1:5, :4, 0], picture[4:, :2, 0]
    np.testing.assert_array_equal(cut, expected)
