"""ImageDataset is an array to NumPy and scikit-learn, and keeps labels with their images."""

import hashlib
import pickle

import numpy as np
import pytest

from ganfeat.data import ImageDataset, Skipped
from ganfeat.errors import InputError


@pytest.fixture
def dataset():
    pixels = np.arange(5 * 4 * 4 * 3, dtype=np.uint16).reshape(5, 4, 4, 3).astype(np.uint8)
    return ImageDataset(pixels, np.array([0, 1, 2, 1, 0]), ("a", "b", "c"), tuple("pqrst"), (Skipped("x", "y"),), "s")


def test_is_an_array_without_a_copy(dataset):
    assert (len(dataset), dataset.shape, dataset.dtype, dataset.ndim) == (5, (5, 4, 4, 3), np.uint8, 4)
    assert np.shares_memory(np.asarray(dataset), dataset.images)
    assert not np.shares_memory(np.array(dataset), dataset.images)
    assert np.asarray(dataset, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy"):
        np.asarray(dataset, dtype=np.float32, copy=False)


def test_indexing_keeps_labels_and_ids_with_their_images(dataset):
    assert np.array_equal(dataset[1], dataset.images[1])
    assert np.array_equal(dataset[np.int64(-1)], dataset.images[-1])
    assert np.array_equal(dataset[:, 0, 0], dataset.images[:, 0, 0])
    for key, rows in (
        (slice(1, None, 2), [1, 3]),
        ([4, 0, 0], [4, 0, 0]),
        (np.array([-1]), [4]),
        (dataset.labels == 1, [1, 3]),
        ([], []),
    ):
        part = dataset[key]
        assert np.array_equal(part.images, dataset.images[rows])
        assert part.labels.tolist() == dataset.labels[rows].tolist()
        assert part.ids == tuple(dataset.ids[row] for row in rows)
        assert part.classes == dataset.classes
        assert part.skipped == ()
    assert np.shares_memory(dataset[1:3].images, dataset.images)
    assert [image.shape for image in dataset] == [(4, 4, 3)] * 5


@pytest.mark.parametrize("indices", [[5], [-6], [0.5], [[1]], [True], ["a"]])
def test_wrong_indices_are_refused(dataset, indices):
    with pytest.raises(InputError):
        dataset.subset(indices)


def test_scikit_learn_splits_it(dataset):
    from sklearn.model_selection import train_test_split

    train, test, y_train, y_test = train_test_split(dataset, dataset.labels, test_size=2, random_state=0)
    assert train.shape == (3, 4, 4, 3)
    for pixels, label in zip([*train, *test], [*y_train, *y_test], strict=True):
        (row,) = [row for row in range(5) if np.array_equal(dataset[row], pixels)]
        assert dataset.labels[row] == label


def test_fingerprint_is_sha256_of_shape_and_pixels_only(dataset, tmp_path):
    expected = hashlib.sha256(b"(5, 4, 4, 3)" + dataset.images.tobytes()).hexdigest()
    assert dataset.fingerprint() == expected
    assert ImageDataset(dataset.images).fingerprint() == expected
    np.save(tmp_path / "x.npy", dataset.images)
    assert ImageDataset(np.load(tmp_path / "x.npy", mmap_mode="r")).fingerprint() == expected
    assert ImageDataset(np.asfortranarray(dataset.images)).fingerprint() == expected
    assert ImageDataset(dataset.images.reshape(5, 2, 8, 3)).fingerprint() != expected
    changed = dataset.images.copy()
    changed[-1, -1, -1, -1] ^= 1
    assert ImageDataset(changed).fingerprint() != expected


def test_fingerprint_does_not_depend_on_the_blocks_it_is_read_in(dataset, monkeypatch):
    whole = dataset.fingerprint()
    monkeypatch.setattr("ganfeat.data.images._BLOCK_BYTES", 100)
    assert dataset.fingerprint() == whole


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((np.zeros((2, 4, 4, 1)),), "uint8"),
        ((np.zeros((2, 4, 4), np.uint8),), "channels"),
        (([[1]],), "load_images"),
        ((np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, int)), "2 integers"),
        ((np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2)), "integers"),
        ((np.zeros((2, 4, 4, 1), np.uint8), None, None, ("one",)), "ids"),
    ],
)
def test_what_is_no_dataset_is_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        ImageDataset(*arguments)


def test_repr_and_pickle(dataset):
    assert repr(dataset) == "<ImageDataset: 5 images of 4×4×3 from s, 3 classes, 1 skipped>"
    assert pickle.loads(pickle.dumps(dataset)).skipped == (Skipped("x", "y"),)
