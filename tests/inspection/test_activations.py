"""Top-activating images against a search of everything at once."""

import numpy as np
import pytest
import torch
from torch import nn

from ganfeat import InputError
from ganfeat.inspection import activations
from ganfeat.inspection.activations import scan, top_images
from ganfeat.inspection.layer import layers_in, run

SHAPE = (10, 10, 1)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(4, 7, 2),
        nn.ReLU(inplace=True),
    )


def images(n=60):
    return np.random.default_rng(1).integers(0, 256, (n, *SHAPE), dtype=np.uint8)


def test_against_a_search_of_everything(monkeypatch):
    monkeypatch.setattr(activations, "BATCH", 16)  # 60 = 3 * 16 + 12
    layers = layers_in(network(), SHAPE)
    seen = []
    found = scan(layers, images(), 5, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(16, 60), (32, 60), (48, 60), (60, 60)]
    with torch.no_grad():
        everything = run(layers, layers[0].prepare(images()))
    for layer, top, maps in zip(layers, found, everything, strict=True):
        maps = maps.numpy()
        for channel in range(layer.channels):
            best = maps[:, channel].reshape(60, -1).max(1)
            order = np.argsort(-best, kind="stable")[:5]
            assert top.images[channel].tolist() == order.tolist()
            np.testing.assert_allclose(top.values[channel], best[order], rtol=1e-5)
            for image, (row, column) in zip(order, top.positions[channel], strict=True):
                assert maps[image, channel, row, column] == best[image]
        assert np.array_equal(top.channels, np.arange(layer.channels))


def test_ties_go_to_the_earlier_image_and_the_first_position(monkeypatch):
    """Equal images in all batches; a constant map, as of an even image without padding."""
    monkeypatch.setattr(activations, "BATCH", 8)
    same = np.repeat(np.full((1, *SHAPE), 200, np.uint8), 30, axis=0)
    top = top_images(layers_in(network(), SHAPE)[0], same, 4)
    assert (top.images == [0, 1, 2, 3]).all() and (top.positions == 0).all()


def test_some_channels_are_rows_of_all(monkeypatch):
    layer = layers_in(network(), SHAPE)[-1]
    everything, some = top_images(layer, images(), 3), top_images(layer, images(), 3, [5, 2])
    assert some.channels.tolist() == [5, 2] and everything.values.shape == (7, 3)
    for name in ("values", "images", "positions"):
        np.testing.assert_array_equal(getattr(some, name), getattr(everything, name)[[5, 2]])
    assert some.units(2, 2).tolist() == [[2, *place] for place in some.positions[1, :2].tolist()]
    with pytest.raises(InputError, match="channel 3 was not looked at, only 5, 2"):
        some.row(3)


def test_fewer_images_than_asked_for_and_layers_without_maps():
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(100, 6), nn.ReLU(), nn.Linear(6, 1))
    layer = layers_in(mlp, SHAPE)[0]
    top = top_images(layer, images(3), 9)
    assert top.values.shape == (6, 3) and (top.positions == 0).all()
    with torch.no_grad():
        values = mlp[:3](layer.prepare(images(3))).numpy()
    np.testing.assert_allclose(top.values, -np.sort(-values.T, axis=1), rtol=1e-6)


def test_a_memory_map_and_training_mode_give_the_same(tmp_path):
    np.save(tmp_path / "x.npy", images())
    module = network()
    layer = layers_in(module, SHAPE)[-1]
    expected = top_images(layer, images(), 4)
    module.train()
    found = top_images(layer, np.load(tmp_path / "x.npy", mmap_mode="r"), 4)
    np.testing.assert_array_equal(found.values, expected.values)
    assert module.training and module[1].num_batches_tracked == 0


def test_wrong_calls():
    layer = layers_in(network(), SHAPE)[-1]
    for channels, words in (
        ([7], "no channel 7.*0 to 6"),
        ([-1], "no channel -1"),
        ([1, 1], "twice"),
        ([], "at least one"),
    ):
        with pytest.raises(InputError, match=words):
            top_images(layer, images(), 3, channels)
    with pytest.raises(InputError, match="at least one"):
        top_images(layer, images()[:0], 3)
    with pytest.raises(InputError, match="could not run"):
        top_images(layer, np.zeros((3, 10, 10, 3), np.uint8), 3)
    layer.network[0].weight.data.fill_(float("nan"))
    with pytest.raises(InputError, match="not finite"):
        top_images(layer, images(), 3)
