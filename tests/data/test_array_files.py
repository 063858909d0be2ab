"""``.npy``, ``.npz`` and IDX: what is written comes back, and nothing is unpickled."""

import gzip
import struct

import numpy as np
import pytest

from ganfeat.data import load_images
from ganfeat.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
LABELS = np.array([2, 0, 1, 1, 0, 2])


class Trap:
    """Unpickling it would be seen."""

    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


def write_idx(path, array, zipped=False):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if zipped else content)
    return path


def test_npy_is_memory_mapped_unless_resized(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    mapped = load_images(tmp_path / "x.npy")
    assert isinstance(mapped.images, np.memmap)
    assert np.array_equal(mapped.images, IMAGES)
    assert mapped.labels is None
    assert load_images(tmp_path / "x.npy", size=4).shape == (6, 4, 4, 3)
    np.save(tmp_path / "x.labels.npy", LABELS)
    assert load_images(str(tmp_path / "x.npy")).labels.tolist() == LABELS.tolist()
    np.save(tmp_path / "x.labels.npy", LABELS[:3])
    with pytest.raises(InputError, match=r"expected \(6,\)"):
        load_images(tmp_path / "x.npy")


@pytest.mark.parametrize("image_key", ["images", "x", "X", "data", "whatever"])
@pytest.mark.parametrize("label_key", ["labels", "y", None])
def test_npz_keys(tmp_path, image_key, label_key):
    np.savez_compressed(tmp_path / "x.npz", **{image_key: IMAGES, label_key or "other": LABELS})
    dataset = load_images(tmp_path / "x.npz")
    assert np.array_equal(dataset.images, IMAGES)
    assert (dataset.labels is None) == (label_key is None)
    assert label_key is None or dataset.labels.tolist() == LABELS.tolist()


def test_npz_with_string_labels_and_unclear_images(tmp_path):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=np.array(["b", "a", "b", "c", "a", "b"]))
    dataset = load_images(tmp_path / "x.npz")
    assert (dataset.classes, dataset.labels.tolist()) == (("a", "b", "c"), [1, 0, 1, 2, 0, 1])
    np.savez(tmp_path / "x.npz", train=IMAGES, test=IMAGES)
    with pytest.raises(InputError, match=r"images, x, X, data.*found train, test"):
        load_images(tmp_path / "x.npz")


def test_pickles_are_never_opened(tmp_path):
    objects = np.array([Trap(), None], dtype=object)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "y.npz", images=objects)
    np.savez(tmp_path / "z.npz", images=IMAGES, labels=objects)
    np.save(tmp_path / "w.npy", IMAGES)
    np.save(tmp_path / "w.labels.npy", objects, allow_pickle=True)
    for name in ("x.npy", "y.npz", "z.npz", "w.npy"):
        with pytest.raises(InputError, match="pickled Python objects, which are never loaded"):
            load_images(tmp_path / name)
    assert not Trap.sprung


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_damaged_files_are_refused(tmp_path, name):
    path = tmp_path / name
    (np.save if name.endswith("y") else np.savez)(path, IMAGES)
    whole = path.read_bytes()
    for content in (b"", b"junk", whole[:50], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"x\.np[yz]"):
            load_images(path)


def test_floats_in_a_file_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES / 255)
    with pytest.raises(InputError, match=r"x\.npy is float64: convert it to uint8"):
        load_images(tmp_path / "x.npy")


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_with_its_labels(tmp_path, zipped):
    end = ".gz" if zipped else ""
    path = write_idx(tmp_path / f"train-images-idx3-ubyte{end}", IMAGES[..., 0], zipped)
    assert load_images(path).labels is None
    write_idx(tmp_path / f"train-labels-idx1-ubyte{end}", LABELS, zipped)
    for source in (path, tmp_path):
        dataset = load_images(source)
        assert np.array_equal(dataset.images[..., 0], IMAGES[..., 0])
        assert dataset.labels.tolist() == LABELS.tolist()


def test_idx_is_known_by_its_first_bytes(tmp_path):
    path = write_idx(tmp_path / "anything", IMAGES, zipped=True)
    assert np.array_equal(load_images(path).images, IMAGES)
    dotted = write_idx(tmp_path / "t10k-images.idx3-ubyte", IMAGES[..., 0])
    write_idx(tmp_path / "t10k-labels.idx1-ubyte.gz", LABELS, zipped=True)
    assert load_images(dotted).labels.tolist() == LABELS.tolist()


def test_idx_mistakes(tmp_path):
    path = write_idx(tmp_path / "a-images-idx3-ubyte", IMAGES[..., 0])
    labels = write_idx(tmp_path / "a-labels-idx1-ubyte", LABELS[:2])
    with pytest.raises(InputError, match=r"expected \(6,\)"):
        load_images(path)
    with pytest.raises(InputError, match="holds labels"):
        load_images(labels)
    write_idx(tmp_path / "b-images-idx3-ubyte", IMAGES[..., 0])
    with pytest.raises(InputError, match=r"several image files, say which: .*a-images.*b-images"):
        load_images(tmp_path)
    whole = path.read_bytes()
    for content, said in ((whole[:-1], "shorter"), (whole + b"x", "longer"), (whole[:9], "shorter")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=said):
            load_images(path)
    path.write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(InputError, match="damaged"):
        load_images(path)
    path.write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12)
    with pytest.raises(InputError, match=r"damaged|shorter"):
        load_images(path)
