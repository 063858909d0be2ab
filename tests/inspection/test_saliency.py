"""Channels seen through their images: what is planted is found, and what the numbers say at their ends."""

import numpy as np
import pytest
import torch
from torch import nn

from ganfeat import InputError
from ganfeat.inspection.activations import Top, top_images
from ganfeat.inspection.filters import filter_pictures, first_filters
from ganfeat.inspection.layer import layers_in
from ganfeat.inspection.saliency import (
    ChannelView,
    agreement,
    chance_purity,
    channel_view,
    framed,
    framed_sheet,
    gradient_pictures,
    half_in,
    purity,
    views_sheet,
)

SHAPE = (16, 16, 3)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, 2, 2),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(6, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
    )


def images(n=50):
    return np.random.default_rng(1).integers(0, 256, (n, *SHAPE), dtype=np.uint8)


def test_a_view_holds_what_the_unit_sees():
    layer = layers_in(network(), SHAPE)[-1]
    top = top_images(layer, images(), 6)
    view = channel_view(layer, images(), top, 3, 4)
    assert view.crops.shape == view.guided.shape == view.plain.shape == (4, 9, 9, 3)
    assert np.array_equal(view.wholes, images()[view.images]) and np.array_equal(view.values, top.values[3, :4])
    with torch.no_grad():  # all that the unit sees: with noise elsewhere its value is the same
        for value, whole, (top_, bottom, left, right), unit in zip(
            view.values, view.wholes, view.fields, view.units, strict=True
        ):
            alone = np.random.default_rng(2).integers(0, 256, SHAPE, dtype=np.uint8)
            alone[top_:bottom, left:right] = whole[top_:bottom, left:right]
            seen = layer.network.eval()(layer.prepare(alone[None]))[0][tuple(unit)]
            assert seen.item() == pytest.approx(value, abs=1e-5)
    inside = (view.fields[:, 1] - view.fields[:, 0]) * (view.fields[:, 3] - view.fields[:, 2])
    assert ((np.abs(view.plain).sum(3) > 0).sum((1, 2)) <= inside).all()


def test_a_planted_patch_is_what_excites_and_where():
    """A unit that adds up red minus the rest: the image with a red square at a known place comes first."""
    module = nn.Sequential(nn.Conv2d(3, 1, 4, 4, bias=False), nn.ReLU())
    module[0].weight.data = torch.tensor([1.0, -0.5, -0.5]).view(1, 3, 1, 1).expand(1, 3, 4, 4).contiguous()
    layer = layers_in(module, SHAPE)[0]
    grey = np.full((20, *SHAPE), 128, np.uint8)
    grey[13, 4:8, 8:12] = (255, 0, 0)
    view = channel_view(layer, grey, top_images(layer, grey, 2), 0, 1)
    assert (
        view.images.tolist() == [13] and view.units.tolist() == [[0, 1, 2]] and view.fields.tolist() == [[4, 8, 8, 12]]
    )
    assert (view.crops[0] == (255, 0, 0)).all() and np.allclose(view.guided[0], (1, -0.5, -0.5))
    assert (view.guided_pictures[0] == (255, 64, 64)).all()  # 128 - 63.5, rounded to even
    assert half_in(view.guided, view) == 0.5


def test_pictures_of_gradients_are_symmetric_about_mid_grey_on_one_scale():
    found = gradient_pictures(np.array([0.0, 1, -2, 2, -1]).reshape(5, 1, 1, 1))
    assert found.ravel().tolist() == [128, 192, 1, 255, 64]
    assert (gradient_pictures(np.zeros((2, 3, 3, 1))) == 128).all()


def view_of(gradient, field):
    zeros = np.zeros((1, *gradient.shape[1:]), np.uint8)
    ones = np.ones(1)
    return ChannelView(0, ones, ones, np.zeros((1, 3), int), np.array([field]), zeros, zeros, gradient, gradient)


def test_half_of_a_gradient_lies_in():
    """One pixel of 16; all of 16; nothing."""
    field = (0, 4, 0, 4)
    one, all_, none = np.zeros((1, 4, 4, 1)), np.ones((1, 4, 4, 1)), np.zeros((1, 4, 4, 1))
    one[0, 2, 2] = -3
    for gradient, expected in ((one, 1 / 16), (all_, 0.5), (none, None)):
        assert half_in(gradient, view_of(gradient, field)) == expected


def test_agreement_of_the_same_filters_and_of_unrelated_ones():
    """Channels 0 and 1 are one filter; channel 2's, which fires everywhere, is orthogonal to channel 0's."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(3, 5, 5))
    first -= first.mean()
    other = rng.normal(size=(3, 5, 5))
    other -= other.mean()
    other -= first * (other * first).sum() / (first**2).sum()

    def with_second(second, bias):
        module = nn.Sequential(nn.Conv2d(3, 2, 5), nn.ReLU())
        module[0].weight.data = torch.from_numpy(np.stack([first, second])).float()
        module[0].bias.data = torch.tensor([0.0, bias])
        layer = layers_in(module, SHAPE)[0]
        return layer, channel_view(layer, images(), top_images(layer, images(), 3), 0)

    assert agreement(*with_second(2 * first, 0.0)) == pytest.approx(1, abs=1e-5)
    assert agreement(*with_second(-first, 100.0)) == pytest.approx(-1, abs=1e-5)
    assert agreement(*with_second(other, 100.0)) == pytest.approx(0, abs=1e-5)
    assert agreement(*with_second(other, -100.0)) is None  # never excited


def top_of(images, values=None):
    """Of channels whose images are known; activations fall by one from image to image if not told."""
    images = np.asarray(images)
    values = np.broadcast_to(-np.arange(images.shape[1]), images.shape) if values is None else np.asarray(values)
    return Top(np.arange(len(images)), values, images, np.zeros((*images.shape, 2), int))


def test_purity_is_not_that_of_the_images_that_happen_to_come_first():
    """Four images are counted; the next one's value tells whether the channel has chosen them."""
    labels = np.repeat([0, 1], 50)
    images = np.tile([0, 1, 2, 60, 3], (5, 1))
    values = [[9, 8, 7, 6, 5], [9, 8, 7, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [9, 9, 9, 9, 0]]
    found = purity(top_of(images, values), labels, 4)
    assert found[[0, 4]].tolist() == [0.75, 0.75] and np.isnan(found[1:4]).all()
    assert purity(top_of([[0, 1, 2]], [[0, 0, 0]]), labels[48:51], 3).tolist() == [
        pytest.approx(2 / 3)
    ]  # all there are


def test_purity_and_its_chance():
    """Of k labels drawn without replacement: k = 1 is always pure; of all images the share is that of the set."""
    labels = np.repeat([0, 1, 2], [10, 30, 60])
    assert purity(top_of([[0, 1, 2, 50, 7], [0, 10, 50, 99, 7]]), labels, 4).tolist() == [0.75, 0.5]
    assert chance_purity(labels, 1) == {"mean": 1, "high": 1}
    assert chance_purity(labels, 100) == pytest.approx({"mean": 0.6, "high": 0.6})
    two = np.repeat([0, 1], 500)  # two draws agree with probability 499 / 999
    assert chance_purity(two, 2)["mean"] == pytest.approx(0.5 + 0.5 * 499 / 999, abs=0.03)
    some = [np.random.default_rng(k).choice(1000, (1, 21), replace=False) for k in range(400)]
    drawn = [purity(top_of(images), two, 20)[0] for images in some]
    assert chance_purity(two, 20)["mean"] == pytest.approx(np.mean(drawn), abs=0.02)
    assert np.mean(np.array(drawn) > chance_purity(two, 20)["high"]) < 0.08


def test_sheets():
    layer = layers_in(network(), SHAPE)[-1]
    top = top_images(layer, images(), 3)
    views = [channel_view(layer, images(), top, channel) for channel in (0, 5)]
    sheet = views_sheet(views, gap=6)
    assert sheet.shape == (2 * 9 + 1, 3 * (3 * 9 + 2) + 12, 3)
    assert np.array_equal(sheet[10:, 10:19], views[1].crops[1])
    assert np.array_equal(sheet[:9, 29 + 6 : 29 + 15], views[0].guided_pictures[0])
    assert np.array_equal(sheet[:9, -9:], views[0].plain_pictures[2]) and (sheet[:, 29:35] == 255).all()
    assert framed_sheet(views, 2).shape == (2 * 32 + 2, 3 * 32 + 4, 3)
    grey = framed(np.zeros((4, 4, 1), np.uint8), np.array([1, 3, 0, 4]), 2)
    assert (grey.any(2).sum(), grey[2, 0].tolist(), grey[3, 1].tolist()) == (20, [255, 120, 0], [0, 0, 0])


def test_filters_of_the_first_layer():
    module = network()
    layer = layers_in(module, SHAPE)[-1]
    found = first_filters(layer, SHAPE)
    np.testing.assert_array_equal(found, module[0].weight.detach().permute(0, 2, 3, 1).numpy())
    pictures = filter_pictures(found)
    assert pictures.shape == (6, 5, 5, 3)
    for weights, picture in zip(found, pictures, strict=True):
        largest = np.unravel_index(np.abs(weights).argmax(), weights.shape)
        assert picture[largest] == (255 if weights[largest] > 0 else 1)
        assert np.array_equal(picture > 128, np.rint(127 * weights / np.abs(weights).max()) > 0)
    assert (filter_pictures(np.zeros((1, 3, 3, 2))) == 128).all()
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(768, 5), nn.ReLU(), nn.Linear(5, 1))
    found = first_filters(layers_in(mlp, SHAPE)[0], SHAPE)
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    by_hand = mlp[1](torch.from_numpy(x).permute(2, 0, 1).reshape(1, -1)).detach().numpy()[0]
    np.testing.assert_allclose((found * x).sum((1, 2, 3)) + mlp[1].bias.detach().numpy(), by_hand, rtol=1e-4)
    narrow = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(48, 5), nn.ReLU(), nn.Linear(5, 1))
    with pytest.raises(InputError, match="no pictures"):
        first_filters(layers_in(narrow, SHAPE)[0], SHAPE)
