"""Tar files as WebDataset writes them, and as they come out of a network that broke."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from ganfeat.data.encoded import Unreadable
from ganfeat.data.shards import decode, open_shards, read_shard
from ganfeat.data.tar_files import read_tar


def encoded(value, kind="PNG", side=8):
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (value, 0, 0)).save(stream, kind)
    return stream.getvalue()


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


SAMPLES = [
    ("./a/000.png", encoded(0)),
    ("./a/000.cls", b"7\n"),
    ("./a/001.json", json.dumps({"label": "cat", "caption": "a cat"}).encode()),
    ("./a/001.png", encoded(1)),
    ("./a/002.left.png", encoded(2)),
    ("./a/002.right.png", encoded(3)),
    ("./a/002.txt", b"dog"),
    ("./a/003.png", encoded(4)),
    ("./b/003.cls", b"9"),
    ("./b/003.png", encoded(5)),
    ("./b/004.png", encoded(6)),
    ("./b/004.txt", b"two\nlines"),
    ("./b/.hidden.png", encoded(7)),
    ("./b/notes.md", b"nothing"),
]
NAMES = ["a/000.png", "a/001.png", "a/002.left.png", "a/002.right.png", "a/003.png", "b/003.png", "b/004.png"]
LABELS = [7, "cat", "dog", "dog", None, 9, None]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_samples_are_what_shares_a_key(tmp_path, mode):
    members = list(read_tar(write_tar(tmp_path / "x.tar", SAMPLES, mode)))
    assert [member.name for member in members] == NAMES
    assert [member.label for member in members] == LABELS
    assert [np.array(Image.open(io.BytesIO(m.content)))[0, 0, 0] for m in members] == list(range(7))


@pytest.mark.parametrize("words", [b"\xff", b"", b"x" * 101, b"  "])
def test_what_is_no_label_is_none(tmp_path, words):
    (member,) = read_tar(write_tar(tmp_path / "x.tar", [("0.png", encoded(0)), ("0.cls", words)]))
    assert member.label is None


@pytest.mark.parametrize("label", [True, 1.5, None, [1], {"a": 1}])
def test_json_labels_are_whole_numbers_or_names(tmp_path, label):
    members = [("0.png", encoded(0)), ("0.json", json.dumps({"label": label}).encode())]
    (member,) = read_tar(write_tar(tmp_path / "x.tar", members))
    assert member.label is None


@pytest.mark.parametrize("cut", [300, 700, 1300, 2100])
def test_a_tar_file_that_ends_early_gives_what_is_whole(tmp_path, cut):
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    whole = write_tar(tmp_path / "x.tar", [(f"{i}.png", stream.getvalue()) for i in range(2)])
    broken = tmp_path / "y.tar"
    broken.write_bytes(whole.read_bytes()[:cut])
    members = list(read_tar(broken))
    assert isinstance(members[-1].content, Unreadable)
    assert "damaged" in members[-1].content.reason
    assert len(members) - 1 == (cut > 1536)


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_a_compressed_tar_file_that_ends_early_is_named(tmp_path, mode):
    path = write_tar(tmp_path / "x.tar", SAMPLES, mode)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    *_, last = read_tar(path)
    assert isinstance(last.content, Unreadable)


def test_a_damaged_header_is_not_the_end(tmp_path):
    """The standard library ends silently there: the images behind it would be missed without a word."""
    path = write_tar(tmp_path / "x.tar", [(f"{i}.png", encoded(i)) for i in range(3)])
    content = bytearray(path.read_bytes())
    content[1024 + 148 : 1024 + 156] = b"\xff" * 8
    path.write_bytes(content)
    first, last = read_tar(path)
    assert first.name == "0.png"
    assert "damaged tar file: bad checksum at byte 1,024" in last.content.reason


def test_what_is_no_tar_file_is_one_candidate_that_says_so(tmp_path):
    (tmp_path / "x.tar").write_text("no tar file" * 100)
    (tmp_path / "y.tar").touch()
    for name in ("x.tar", "y.tar"):
        (member,) = read_tar(tmp_path / name)
        assert isinstance(member.content, Unreadable)


def test_shards_of_tar_files(tmp_path):
    write_tar(tmp_path / "1.tar", SAMPLES[:4])
    write_tar(tmp_path / "0.tar", SAMPLES[9:10])
    (tmp_path / "notes.txt").write_text("x")
    for source in (str(tmp_path), f"{tmp_path}/*.tar"):
        shards = list(open_shards(source).shards())
        candidates = [candidate for shard in shards for candidate in read_shard(shard)]
        assert [shard.index for shard in shards] == [0, 1]
        assert [one.id for one in candidates] == ["0.tar:b/003.png", "1.tar:a/000.png", "1.tar:a/001.png"]
        assert [decode(one, 8, 3)[0, 0, 0] for one in candidates] == [5, 0, 1]
