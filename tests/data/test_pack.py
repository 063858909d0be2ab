"""A pack is made once, used again for the same request, and refused for any other."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from ganfeat.data import ImageDataset, load_images
from ganfeat.errors import InputError


@pytest.fixture
def photos(tmp_path):
    random = np.random.default_rng(0)
    for row in range(12):
        path = tmp_path / "photos" / "ab"[row % 2] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos" / "a" / "bad.png").touch()
    return tmp_path / "photos"


@pytest.fixture
def pack(tmp_path):
    return tmp_path / "packs" / "photos.npy"


def test_a_pack_holds_the_same_and_is_an_ordinary_file(photos, pack):
    plain, packed = load_images(photos, 16), load_images(photos, 16, pack=pack)
    assert isinstance(packed.images, np.memmap)
    assert packed.images.mode == "r"
    assert packed.fingerprint() == plain.fingerprint()
    assert packed.labels.tolist() == plain.labels.tolist()
    assert (packed.classes, packed.ids, packed.skipped) == (plain.classes, plain.ids, plain.skipped)
    assert np.array_equal(np.load(pack), plain.images)
    assert load_images(pack).labels.tolist() == plain.labels.tolist()
    assert sorted(path.name for path in pack.parent.iterdir()) == [
        "photos.labels.npy",
        "photos.npy",
        "photos.pack.json",
    ]


def test_it_is_used_again_without_decoding(photos, pack, monkeypatch):
    first = load_images(photos, 16, 3, pack=pack)
    monkeypatch.setattr("ganfeat.data.loading.decode_into", None)
    again = load_images(photos, 16, 3, pack=pack)
    assert again.fingerprint() == first.fingerprint()
    assert again.labels.tolist() == first.labels.tolist()
    assert (again.classes, again.ids, again.skipped) == (first.classes, first.ids, first.skipped)
    assert again.skipped[0].reason == "empty file (0 bytes)"
    with pytest.raises(InputError, match="none may be"):
        load_images(photos, 16, 3, pack=pack, strict=True)


def test_what_was_left_open_matches_what_came_of_it(photos, pack):
    load_images(photos, pack=pack)
    assert load_images(photos, pack=pack).shape == (12, 32, 32, 3)
    assert load_images(photos, 32, 3, pack=pack).shape == (12, 32, 32, 3)
    with pytest.raises(InputError, match="size=None, not 16"):
        load_images(photos, 16, pack=pack)


def test_a_pack_of_something_else_is_refused(photos, pack):
    load_images(photos, 16, pack=pack)
    before = pack.read_bytes()
    with pytest.raises(InputError, match=r"size=16, not 8.*delete it"):
        load_images(photos, 8, pack=pack)
    with pytest.raises(InputError, match="limit=None, not 3"):
        load_images(photos, 16, limit=3, pack=pack)
    with pytest.raises(InputError, match="other images"):
        load_images("digits", 16, pack=pack)
    touched = photos / "a" / "0.png"
    os.utime(touched, ns=(1, 1))
    with pytest.raises(InputError, match="other images"):
        load_images(photos, 16, pack=pack)
    assert pack.read_bytes() == before


def test_foreign_and_damaged_packs_are_refused(photos, pack):
    pack.parent.mkdir()
    np.save(pack, np.zeros(3))
    with pytest.raises(InputError, match="not made by load_images"):
        load_images(photos, 16, pack=pack)
    pack.unlink()
    load_images(photos, 16, pack=pack)
    whole, notes = pack.read_bytes(), pack.with_name("photos.pack.json")
    pack.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="damaged"):
        load_images(photos, 16, pack=pack)
    pack.write_bytes(whole)
    assert len(load_images(photos, 16, pack=pack)) == 12
    text = notes.read_text()
    notes.write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match="damaged"):
        load_images(photos, 16, pack=pack)
    notes.write_text(json.dumps(json.loads(text) | {"format": "ganfeat-pack/0"}))
    with pytest.raises(InputError, match="another version"):
        load_images(photos, 16, pack=pack)


def test_a_failed_or_interrupted_pack_leaves_nothing(photos, pack):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_images(photos, 16, pack=pack, progress=interrupt)
    with pytest.raises(InputError, match="none may be"):
        load_images(photos, 16, pack=pack, strict=True)
    assert not pack.parent.exists() or list(pack.parent.iterdir()) == []
    assert len(load_images(photos, 16, pack=pack)) == 12


def test_many_skipped_rows_are_cut_off_the_map(tmp_path, pack):
    for row in range(30):
        path = tmp_path / "x" / f"{row:02}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"bad") if row % 3 else Image.new("L", (8, 8), row).save(path)
    packed = load_images(tmp_path / "x", pack=pack, max_skipped=20)
    assert packed.images[:, 0, 0, 0].tolist() == list(range(0, 30, 3))
    assert pack.stat().st_size == packed.images.offset + packed.images.nbytes


def test_arrays_are_packed_too(pack):
    dataset = ImageDataset(np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8), np.arange(5))
    packed = load_images(dataset, pack=pack)
    assert packed.fingerprint() == dataset.fingerprint()
    assert load_images(dataset, pack=pack).labels.tolist() == [0, 1, 2, 3, 4]
    changed = ImageDataset(255 - dataset.images)
    with pytest.raises(InputError, match="other images"):
        load_images(changed, pack=pack)
