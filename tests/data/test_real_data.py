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


def test_faces_are_grey_on_request(real):
    faces = load_images(real / "lfw", size=32, channels=1, limit=40)
    assert faces.shape == (40, 32, 32, 1)
    assert len(faces.classes) == 158


def test_photographs_of_any_shape(real):
    photos = load_images(real / "voc2012", size=64, limit=10)
    assert photos.shape == (10, 64, 64, 3)
    assert photos.labels is None
    assert photos.images.std() > 30
