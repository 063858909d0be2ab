"""SVHN's files: what MATLAB's order holds comes back as images, and what is not SVHN is told."""

import os
import struct

import numpy as np
import pytest
import scipy.io

from ganfeat.data import load_images
from ganfeat.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 32, 32, 3), dtype=np.uint8)
DIGITS = np.arange(23) % 10


def write(path, images=IMAGES, digits=DIGITS, zipped=True, **others):
    """As SVHN has it: the image's number last, and 10 for the digit 0."""
    y = np.where(digits == 0, 10, digits).astype(np.uint8)[:, None]
    variables = {"X": np.moveaxis(images, 0, -1), "y": y, **others}
    scipy.io.savemat(path, variables, do_compression=zipped)
    return path


@pytest.fixture
def mat(tmp_path):
    return tmp_path / "train_32x32.mat"


@pytest.mark.parametrize("zipped", [True, False])
def test_what_was_written_comes_back(mat, zipped):
    dataset = load_images(write(mat, zipped=zipped))
    assert np.array_equal(dataset.images, IMAGES)
    assert dataset.images.flags.c_contiguous
    assert dataset.labels.tolist() == DIGITS.tolist()
    assert dataset.classes == tuple("0123456789")
    assert dataset.source == str(mat)
    scipys = scipy.io.loadmat(mat)
    assert np.array_equal(np.moveaxis(scipys["X"], -1, 0), dataset.images)
    assert np.array_equal(scipys["y"].ravel() % 10, dataset.labels)
    assert load_images(mat.parent).fingerprint() == dataset.fingerprint()


@pytest.mark.parametrize("shape", [(5, 8, 12, 1), (5, 7, 9, 5), (1, 6, 6, 3), (3, 1, 1, 2), (2, 1, 5, 1), (2, 5, 1, 1)])
def test_any_height_width_and_channels(mat, shape, monkeypatch):
    monkeypatch.setattr("ganfeat.data.mat_files._BLOCK", 2)
    images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    write(mat, images, DIGITS[: len(images)])
    from ganfeat.data.mat_files import open_mat

    assert np.array_equal(open_mat(mat).images, images)


def test_limit_size_channels_and_pack(mat, tmp_path):
    write(mat)
    part = load_images(mat, limit=5)
    assert np.array_equal(part.images, IMAGES[[0, 4, 9, 13, 18]])
    assert part.labels.tolist() == [0, 4, 9, 3, 8]
    seen = []
    options = {"size": 16, "channels": 1}
    small = load_images(mat, **options, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (23, 23)
    assert small.fingerprint() == load_images(IMAGES, **options).fingerprint()
    pack = tmp_path / "packs" / "svhn.npy"
    for _ in range(2):  # made, then used again
        packed = load_images(mat, **options, pack=pack, strict=True, max_skipped=0)
        assert isinstance(packed.images, np.memmap)
        assert packed.fingerprint() == small.fingerprint()
        assert (packed.labels.tolist(), packed.classes) == (DIGITS.tolist(), small.classes)
        assert packed.source == str(mat)


def test_the_pixels_are_held_once(mat):
    """Beside the pixels there is room for a block, not for a copy."""
    import tracemalloc

    images = np.zeros((4000, 32, 32, 3), np.uint8)
    write(mat, images, np.arange(4000) % 10)
    load_images(mat, limit=1)
    tracemalloc.start()
    try:
        dataset = load_images(mat)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert dataset.images.nbytes == images.nbytes
    assert peak < 1.7 * images.nbytes


def test_doubles_as_labels_big_endian_and_other_variables(mat):
    """Octave and MATLAB store a vector of doubles where nobody asks for another type."""
    scipy.io.savemat(mat, {"notes": {"a": [1, "b"]}, "X": np.moveaxis(IMAGES, 0, -1), "y": np.full(23, 10.0)})
    assert load_images(mat).labels.tolist() == [0] * 23
    write(mat, zipped=False)
    assert load_images(big_endian(mat)).labels.tolist() == DIGITS.tolist()


def big_endian(path):
    """The same file as a machine of the other byte order writes it: uint8 variables with names of one letter."""
    content = bytearray(path.read_bytes())
    content[124:128] = b"\1\0MI"
    place = 128
    while place < len(content):
        total = struct.unpack_from("<II", content, place)[1]
        sides = struct.unpack_from("<I", content, place + 28)[0] // 4
        # Tags of the matrix and its flags, the flags, the tag of the shape, the shape.
        words = [place + 4 * word for word in range(8 + sides)]
        name = place + 32 + 4 * (sides + sides % 2)
        for word in [*words, name]:
            content[word : word + 4] = content[word : word + 4][::-1]
        for word in (name + 8, name + 12):
            content[word : word + 4] = content[word : word + 4][::-1]
        place += 8 + total
    path.write_bytes(content)
    return path


X = np.moveaxis(IMAGES, 0, -1)
Y = (DIGITS + 1)[:, None].astype(np.uint8)
REFUSED = {
    "no y": ({"X": X}, r"no variable 'y', only 'X': expected uint8 X \(height, width, channels, n\)"),
    "no X": ({"y": Y, "x": X}, r"no variable 'X', only 'y', 'x'"),
    "three dimensions": ({"X": X[..., 0], "y": Y[:1]}, r"X has shape \(32, 32, 3\)"),
    "rows": ({"X": IMAGES.reshape(23, -1), "y": Y}, r"X has shape \(23, 3072\)"),
    "images first": ({"X": IMAGES, "y": Y}, r"X has 3 images \(shape \(23, 32, 32, 3\)\), y has shape \(23, 1\)"),
    "no images": ({"X": X[..., :0], "y": Y[:0]}, r"X has shape \(32, 32, 3, 0\)"),
    "fewer labels": (
        {"X": X, "y": Y[:-1]},
        r"23 images .*y has shape \(22, 1\): expected one label an image, \(23, 1\)",
    ),
    "square labels": ({"X": X, "y": np.ones((23, 23))}, r"y has shape \(23, 23\)"),
    "floats": ({"X": X / 255, "y": Y}, r"X is float64: expected uint8"),
    "text": ({"X": "pixels", "y": Y}, r"X is of the kind char"),
    "a cell": ({"X": X, "y": np.array([1, "a"], object)}, r"y is of the kind cell"),
    "a struct": ({"X": {"a": X}, "y": Y}, r"X is of the kind struct"),
    "logical": ({"X": X, "y": Y > 3}, r"y is of the kind logical"),
    "digit 0": ({"X": X, "y": Y - 1}, r"y holds 0 at 1: expected whole numbers 1\.\.10, where 10 is the digit 0"),
    "digit 11": ({"X": X, "y": Y + 1}, r"y holds 11 at 10"),
    "halves": ({"X": X, "y": Y / 2}, r"y holds 0\.5 at 1"),
    "nan": ({"X": X, "y": np.where(Y == 3, np.nan, Y)}, r"y holds nan at 3"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_svhn_is_refused(mat, case):
    variables, said = REFUSED[case]
    scipy.io.savemat(mat, variables)
    with pytest.raises(InputError, match=rf"train_32x32\.mat.*{said}"):
        load_images(mat)


def test_other_versions_of_matlab(mat):
    mat.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(384) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match=r"MATLAB 7\.3 \(HDF5\) file, which is not read: save it in MATLAB with -v7"):
        load_images(mat)
    mat.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(300))
    with pytest.raises(InputError, match=r"7\.3 \(HDF5\)"):
        load_images(mat)
    scipy.io.savemat(mat, {"X": IMAGES[0, :, :, 0], "y": Y}, format="4")
    with pytest.raises(InputError, match="no MATLAB 5 file"):
        load_images(mat)
    for content in (b"", b"junk", b"<html>" * 100):
        mat.write_bytes(content)
        with pytest.raises(InputError, match="no MATLAB 5 file"):
            load_images(mat)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_anywhere_is_refused(mat, zipped):
    whole = write(mat, zipped=zipped).read_bytes()
    for length in (128, 131, 140, 200, len(whole) // 2, len(whole) - 60, len(whole) - 1):
        os.truncate(mat, length)
        with pytest.raises(InputError, match="cut short"):
            load_images(mat)
        mat.write_bytes(whole)


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_bytes_never_give_another_error(mat, zipped):
    whole = write(mat, IMAGES[:3], DIGITS[:3], zipped=zipped).read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for place in [*range(116, 220), *random.integers(220, len(whole), 60)]:
        content = bytearray(whole)
        content[place] ^= int(random.integers(1, 256))
        mat.write_bytes(content)
        try:
            load_images(mat)
        except InputError as error:
            assert str(mat) in str(error)
            refused += 1
    assert refused > 40


def test_a_folder_with_several_files(mat):
    write(mat)
    write(mat.with_name("test_32x32.mat"))
    with pytest.raises(InputError, match=r"several image files, say which: .*test_32x32\.mat, .*train_32x32\.mat"):
        load_images(mat.parent)
