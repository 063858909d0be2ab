"""A layer on a data set: a channel made to tell a class apart does, and is counted so."""

import numpy as np
import torch
from torch import nn

from ganfeat.data import ImageDataset
from ganfeat.inspection.layer import layers_in
from ganfeat.inspection.survey import survey

SHAPE = (8, 8, 3)
FAR = 10**12
"""A label as a table may have it."""


def layer():
    """Channel 0 adds up red minus green, channel 1 nothing, channel 2 is never above 0."""
    module = nn.Sequential(nn.Conv2d(3, 3, 4, 4), nn.ReLU())
    weight = torch.zeros(3, 3, 4, 4)
    weight[0, 0], weight[0, 1] = 1, -1
    module[0].weight.data, module[0].bias.data = weight, torch.tensor([0.0, 1, -1])
    return layers_in(module, SHAPE)[0]


def dataset(labels, **known):
    """Noise, and of label FAR red images."""
    images = np.random.default_rng(0).integers(0, 200, (len(labels), *SHAPE), dtype=np.uint8)
    images[np.asarray(labels) == FAR] = (255, 0, 0)
    return ImageDataset(images, np.asarray(labels), **known)


def test_a_channel_that_tells_a_class_apart_is_pure():
    """100 images, 10 of them red: the top 10 of channel 0 are those. Channel 1, constant, has no top 10."""
    labels = np.array([3, 4, 5, 6, 7, 8, 9, 3, 4, FAR] * 10)
    seen = []
    found = survey(layer(), dataset(labels, ids=tuple(f"i{k}" for k in range(100))), [0, 1], 4, looked=seen.append)
    assert seen == [1, 2] and [view.channel for view in found.views] == [0, 1]
    red, constant = found.rows
    assert (red["class"], red["class share"]) == (str(FAR), 1.0) and red["ids"] == ["i9", "i19", "i29", "i39"]
    assert constant["images"] == [0, 1, 2, 3] and constant["class"] is None is constant["class share"]
    assert found.chance["images"] == 10 and 0.2 < found.chance["mean"] < found.chance["high"] < 1
    assert found.all == {"class share": 1, "above chance": 1, "left out": 2}
    assert found.field == [4, 4] and found.silent == [1]


def test_without_labels_of_all_images_no_classes_are_counted():
    labels = np.array([0, 1] * 20)
    labels[5] = -1
    for given in (labels, None):
        images = np.zeros((40, *SHAPE), np.uint8)
        found = survey(layer(), ImageDataset(images, given), [2], 3)
        assert found.all is None and found.chance is None and "class" not in found.rows[0]
    few = survey(layer(), dataset([0, 1] * 5), [2], 3)
    assert few.all is None and few.silent == [2]


def test_channels_that_choose_no_images_are_of_no_class():
    """Data sorted by class, as folders are: a channel silent on all images, or all but three, prefers none of them."""
    labels = np.repeat(np.arange(10), 20)
    images = np.random.default_rng(0).integers(0, 200, (200, *SHAPE), dtype=np.uint8)
    images[::70] = (255, 0, 0)
    looked = layer()
    looked.network[0].bias.data = torch.tensor([-25.0, -100, -100])  # the sum of a red patch is 32
    found = survey(looked, ImageDataset(images, labels), [0, 1, 2], 3)
    assert [row["images"] for row in found.rows] == [[0, 70, 140], [0, 1, 2], [0, 1, 2]]
    assert found.all == {"class share": None, "above chance": None, "left out": 3} and found.chance["mean"] < 0.5
    assert all(row["class"] is None for row in found.rows)
    reds = np.linspace(255, 233, 23).astype(
        np.uint8
    )  # more than the 20 that are counted, of all classes, all different
    images[::9] = np.stack([reds, 0 * reds, 0 * reds], axis=1)[:, None, None]
    found = survey(looked, ImageDataset(images, labels), [0, 1], 3)
    assert found.all["left out"] == 2 and found.rows[0]["class share"] == found.all["class share"] <= 0.2


def test_names_of_classes():
    images = np.random.default_rng(0).integers(0, 200, (40, *SHAPE), dtype=np.uint8)
    labels = np.array([1] * 39 + [2])
    found = survey(layer(), ImageDataset(images, labels, ("never", "often", "once")), [0], 3)
    assert (found.rows[0]["class"], found.rows[0]["class share"]) == ("often", 1.0)
