"""Folders as people have them: every kind of file, links, odd names, and damaged files among them."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ganfeat.data import Skipped, load_images
from ganfeat.errors import InputError


def save(path, value=(255, 0, 0), side=8, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(value, int) else "RGB", (side, side), value).save(path, **options)
    return path


def giant_png():
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


def truncated_jpeg():
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "JPEG")
    return stream.getvalue()[:1500]


@pytest.fixture
def odd(tmp_path):
    """Eight good files and six bad ones; the rest is not to be looked at."""
    root = tmp_path / "odd"
    save(root / "A.JPG")
    save(root / "b.png", 200)
    save(root / "deep" / "er" / "c.webp")
    save(root / "deep" / "d.bmp")
    save(root / "e.TIFF")
    save(root / "f.gif")
    save(root / "ünï 图 \n.jpeg")
    save(root / "named wrong.jpg", format="PNG")
    (root / "zero.png").touch()
    (root / "text.jpg").write_text("no image")
    (root / "cut.jpg").write_bytes(truncated_jpeg())
    (root / "giant.png").write_bytes(giant_png())
    (root / "broken.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(root / "pipe.png")
    save(root / ".hidden.png")
    save(root / ".cache" / "x.png")
    save(root / "__MACOSX" / "b.png")
    (root / "notes.txt").write_text("ignored")
    (root / "deep" / "loop").symlink_to(root)
    (root / "deep" / "self").symlink_to(root / "deep")
    (root / "again").symlink_to(root / "deep" / "er")
    return root


GOOD = [
    "A.JPG",
    "b.png",
    "deep/d.bmp",
    "deep/er/c.webp",
    "e.TIFF",
    "f.gif",
    "named wrong.jpg",
    "ünï 图 \n.jpeg",
]


def test_an_odd_folder_is_read_whole(odd):
    dataset = load_images(odd, size=8, max_skipped=6)
    assert list(dataset.ids) == GOOD
    assert dataset.shape == (8, 8, 8, 3)
    assert dataset.labels is None
    assert dict(dataset.skipped) == {
        "broken.jpg": "broken link",
        "pipe.png": "not a regular file",
        "zero.png": "empty file (0 bytes)",
        "text.jpg": "not a JPEG, PNG, WebP, BMP, TIFF or GIF image",
        "cut.jpg": dict(dataset.skipped)["cut.jpg"],
        "giant.png": dict(dataset.skipped)["giant.png"],
    }
    assert "truncated" in dict(dataset.skipped)["cut.jpg"]
    assert "89,478,485" in dict(dataset.skipped)["giant.png"]
    for name, image in zip(dataset.ids, dataset, strict=True):
        expected = (200, 200, 200) if name == "b.png" else (255, 0, 0)
        assert np.abs(image.astype(int) - expected).max() <= 3, name


def test_the_limit_of_skipped_files(odd):
    with pytest.raises(InputError, match=r"of 14 images cannot be read, and the limit is 5:\n  broken.jpg: broken"):
        load_images(odd, max_skipped=5)
    with pytest.raises(InputError, match="the limit is 2"):
        load_images(odd)
    assert len(load_images(odd, max_skipped=6 / 14)) == 8
    with pytest.raises(InputError, match=r"none may be:\n  broken.jpg"):
        load_images(odd, max_skipped=1.0, strict=True)
    for name in ("broken.jpg", "pipe.png", "zero.png", "text.jpg", "cut.jpg", "giant.png"):
        (odd / name).unlink()
    assert list(load_images(odd, strict=True).ids) == GOOD


def test_a_share_is_rounded_up_so_one_bad_file_is_no_disaster(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    (tmp_path / "c.png").touch()
    assert load_images(tmp_path).skipped == (Skipped("c.png", "empty file (0 bytes)"),)
    (tmp_path / "d.png").touch()
    with pytest.raises(InputError, match="2 of 4 images cannot be read, and the limit is 1"):
        load_images(tmp_path)
    for none in (0, 0.0):
        with pytest.raises(InputError, match="none may be"):
            load_images(tmp_path, max_skipped=none)


def test_nothing_readable_is_an_error_whatever_the_limit(tmp_path):
    (tmp_path / "c.png").touch()
    with pytest.raises(InputError, match=r"no image in .* can be read:\n  c.png: empty"):
        load_images(tmp_path, max_skipped=1.0)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_files_and_folders_without_permission_are_skipped(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png").chmod(0)
    save(tmp_path / "c" / "d.png")
    (tmp_path / "c").chmod(0)
    try:
        skipped = dict(load_images(tmp_path, max_skipped=2).skipped)
    finally:
        (tmp_path / "c").chmod(0o755)
    assert skipped == {"b.png": "no permission to read it", "c": "folder: Permission denied"}


def test_a_file_that_may_not_be_opened_is_skipped(tmp_path, monkeypatch):
    """The same where permissions do not bind the tester, by letting ``open`` refuse."""
    save(tmp_path / "a.png")
    secret = save(tmp_path / "b.png")
    real = Image.open

    def refusing(file, *arguments, **options):
        if file == secret:
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, *arguments, **options)

    monkeypatch.setattr(Image, "open", refusing)
    assert load_images(tmp_path).skipped == (Skipped("b.png", "no permission to read it"),)


def test_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        save(tmp_path / name)
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    assert load_images(tmp_path).ids == (r"caf\udce9.png",)


def test_links_to_folders_are_followed_once_and_never_upwards(tmp_path):
    outside = tmp_path / "outside"
    save(outside / "x.png", 9)
    save(tmp_path / "sibling" / "never.png", 9)
    root = tmp_path / "root"
    save(root / "a.png", 1)
    (root / "link").symlink_to(outside)
    (root / "twice").symlink_to(outside)
    (root / "up").symlink_to(tmp_path)
    (outside / "back").symlink_to(root)
    assert load_images(root).ids == ("a.png", "link/x.png")


def test_class_folders_give_labels(tmp_path):
    for name in ("cat/1.png", "cat/2.png", "ant/9.png", "dog/0.png"):
        save(tmp_path / name)
    (tmp_path / "cat" / "0.png").touch()
    dataset = load_images(tmp_path)
    assert dataset.ids == ("ant/9.png", "cat/1.png", "cat/2.png", "dog/0.png")
    assert dataset.classes == ("ant", "cat", "dog")
    assert dataset.labels.tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(
    "names",
    [
        ("a.png", "b.png"),
        ("cat/1.png", "dog/2.png", "stray.png"),
        ("only/1.png", "only/2.png"),
        ("train/cat/1.png", "train/dog/1.png"),
    ],
)
def test_other_layouts_give_no_labels(tmp_path, names):
    for name in names:
        save(tmp_path / name)
    dataset = load_images(tmp_path)
    assert dataset.ids == tuple(sorted(names))
    assert (dataset.labels, dataset.classes) == (None, None)


def test_empty_says_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "film.mp4").write_text("x")
    with pytest.raises(InputError, match=r"no images under .*looked for \.jpg, .*in 2 files"):
        load_images(tmp_path)


def test_size_and_channels_when_left_out(tmp_path):
    save(tmp_path / "a.png", 5, side=48)
    save(tmp_path / "b.png", 7, side=48)
    assert load_images(tmp_path).shape == (2, 48, 48, 1)
    assert load_images(tmp_path, channels=3).shape == (2, 48, 48, 3)
    save(tmp_path / "c.png", (1, 2, 3), side=48)
    assert load_images(tmp_path).shape == (3, 48, 48, 3)
    assert load_images(tmp_path, channels=1).shape == (3, 48, 48, 1)
    save(tmp_path / "d.png", side=49)
    assert load_images(tmp_path).shape == (4, 32, 32, 3)
    assert load_images(tmp_path, size=20).shape == (4, 20, 20, 3)


def test_large_images_become_32(tmp_path):
    save(tmp_path / "a.png", 5, side=129)
    assert load_images(tmp_path).shape == (1, 32, 32, 1)
    save(tmp_path / "a.png", 5, side=128)
    assert load_images(tmp_path).shape == (1, 128, 128, 1)


def test_the_number_of_workers_changes_nothing(tmp_path):
    random = np.random.default_rng(0)
    for row in range(70):
        shape = (*random.integers(10, 60, 2), 3)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / f"{row}.png")
    for row in (5, 33, 69):
        (tmp_path / f"{row}.png").write_bytes(b"bad")
    one, four = (load_images(tmp_path, workers=workers) for workers in (1, 4))
    assert one.fingerprint() == four.fingerprint()
    assert (one.ids, one.skipped, len(one)) == (four.ids, four.skipped, 67)
    with pytest.raises(InputError, match=r"at least 3 of 70|33.png"):
        load_images(tmp_path, workers=4, max_skipped=1)


def test_progress_reaches_the_end(tmp_path):
    for row in range(11):
        save(tmp_path / f"{row}.png")
    seen = []
    load_images(tmp_path, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (11, 11)


def test_a_limit_is_spread_over_all_classes(tmp_path):
    for name in "abcd":
        for row in range(5):
            save(tmp_path / name / f"{row}.png")
    dataset = load_images(tmp_path, limit=4)
    assert dataset.ids == ("a/0.png", "b/0.png", "c/0.png", "d/0.png")
    assert dataset.labels.tolist() == [0, 1, 2, 3]
    assert len(load_images(tmp_path, limit=1)) == 1
    assert len(load_images(tmp_path, limit=99)) == 20


def test_a_single_file(tmp_path):
    assert load_images(save(tmp_path / "one.jpg", 9)).ids == ("one.jpg",)


def test_any_number_of_names_is_sorted_with_few_files_open(monkeypatch):
    """Names of a flat folder are short: they go to the disk all the same, and runs of them are merged."""
    import tempfile

    from ganfeat.data import spool

    opened, most = set(), []
    real = tempfile.SpooledTemporaryFile

    class Counted(real):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            opened.add(self)
            most.append(len(opened))

        def close(self):
            opened.discard(self)
            super().close()

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Counted)
    monkeypatch.setattr(spool, "_RUNS", 4)
    names = [f"{number * 7919 % 1000:04}" for number in range(1000)]
    given = spool.in_order(names, at_once=8)
    assert next(given) == "0000"
    assert all(file._rolled for file in opened), "no run stays in memory"
    assert list(given) == sorted(names)[1:]
    assert max(most) < 20
