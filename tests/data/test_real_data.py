"""The real data sets, where they are present."""

import os
from pathlib import Path

import numpy as np
import pytest

from ganfeat.data import load_images
from ganfeat.errors import InputError

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def real():
    root = Path(os.environ.get("GANFEAT_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no real data at {root}: set GANFEAT_DATA")
    return root


def test_mnist(real):
    test = load_images(real / "mnist" / "t10k-images-idx3-ubyte.gz")
    assert test.shape == (10000, 28, 28, 1)
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte\.gz, .*train-images"):
        load_images(real / "mnist")


def test_cifar10(real):
    with pytest.raises(InputError, match="splits test, train"):
        load_images(real / "cifar10")
    test = load_images(real / "cifar10" / "test-*.parquet")
    assert test.shape == (10000, 32, 32, 3)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert test.classes[3] == "cat"
    assert test.skipped == ()
    # The first row is the well-known cat; the mean colour of the test set is published.
    assert test.labels[0] == 3
    assert np.allclose(test.images.mean((0, 1, 2)) / 255, [0.4942, 0.4851, 0.4504], atol=5e-4)


def test_cifar10_in_shards(real):
    """Two shards are the one set: limits, labels and order go over both."""
    shards = sorted((real / "cifar10").glob("train-*.parquet"))
    both = load_images(real / "cifar10" / "train-*.parquet", limit=400)
    assert both.ids[0] == f"{shards[0].name}:0"
    assert both.ids[200] == f"{shards[1].name}:0"
    assert both.ids[399] == f"{shards[1].name}:{399 * 50000 // 400 - 25000}"
    for place, shard in enumerate(shards):
        half, own = both[200 * place : 200 * (place + 1)], load_images(shard, limit=200)
        assert half.fingerprint() == own.fingerprint()
        assert np.array_equal(half.labels, own.labels)
    assert load_images(shards[::-1], limit=400).fingerprint() == both.fingerprint()
    with pytest.raises(InputError, match=r"one of '.*test-\*\.parquet', '.*train-\*\.parquet'"):
        load_images(real / "cifar10")


@pytest.mark.slow
def test_cifar10_training_set(real):
    train = load_images(real / "cifar10" / "train-*.parquet")
    assert train.shape == (50000, 32, 32, 3)
    assert np.bincount(train.labels).tolist() == [5000] * 10
    # The training set's mean colour is published too.
    assert np.allclose(train.images.mean((0, 1, 2)) / 255, [0.4914, 0.4822, 0.4465], atol=5e-4)


def test_faces_are_grey_on_request(real):
    faces = load_images(real / "lfw", size=32, channels=1, limit=40)
    assert faces.shape == (40, 32, 32, 1)
    assert len(faces.classes) == 158


def test_photographs_of_any_shape(real):
    photos = load_images(real / "voc2012", size=64, limit=10)
    assert photos.shape == (10, 64, 64, 3)
    assert photos.labels is None
    assert photos.images.std() > 30
