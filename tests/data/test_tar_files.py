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


def test_names_that_occur_again_are_told_apart(tmp_path):
    """As `tar --append` makes them. A name that looks like a second one is one as well."""
    names = ["a.png", "b.png", "a.png", "./a.png", "b.png~2.png", "b.png", "a.png"]
    path = write_tar(tmp_path / "x.tar", [(name, encoded(place)) for place, name in enumerate(names)])
    members = list(read_tar(path))
    assert [one.name for one in members] == [
        "a.png",
        "b.png",
        "a.png~2",
        "a.png~3",
        "b.png~2.png",
        "b.png~2",
        "a.png~4",
    ]
    assert [np.array(Image.open(io.BytesIO(m.content)))[0, 0, 0] for m in members] == list(range(7))
    (shard,) = open_shards(str(path)).shards()
    assert len({one.id for one in read_shard(shard)}) == 7


def test_many_names_are_told_apart(monkeypatch):
    from ganfeat.data import unique

    monkeypatch.setattr(unique, "_NEW", 8)
    names = unique.Unique()
    given = [names.name(f"{number % 50}{'~2' if number % 7 == 0 else ''}") for number in range(300)]
    assert len(set(given)) == 300
    assert given[1:7] == [str(number) for number in range(1, 7)]


def test_names_with_dots_are_not_all_held(tmp_path):
    """`scan` is the key of all: each image has its own label all the same, and few are in memory."""
    import tracemalloc

    size, members = 1 << 19, []
    for number in range(200):
        members.append((f"scan.{number:03}.png", bytes(size)))
        members.append((f"scan.{number:03}.cls", str(number).encode()))
    path = write_tar(tmp_path / "x.tar", members)
    del members
    tracemalloc.start()
    try:
        read = [(member.name, member.label, len(member.content)) for member in read_tar(path)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read == [(f"scan.{number:03}.png", number, size) for number in range(200)]
    assert peak < 40e6


def test_words_of_the_key_are_for_all_of_a_long_sample(tmp_path):
    members = [("scan.cls", b"cat"), *((f"scan.{number:03}.png", encoded(number)) for number in range(150))]
    members += [("scan.150.cls", b"dog"), ("scan.150.png", encoded(150))]
    read = list(read_tar(write_tar(tmp_path / "x.tar", members)))
    assert [member.name for member in read] == [f"scan.{number:03}.png" for number in range(151)]
    assert [member.label for member in read] == ["cat"] * 150 + ["dog"]


def test_long_words_are_not_read(tmp_path):
    members = [("0.txt", b"x" * 10), ("0.cls", b"1" * ((1 << 20) + 1)), ("0.png", encoded(0))]
    (member,) = read_tar(write_tar(tmp_path / "x.tar", members))
    assert member.label == "x" * 10


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE])
def test_links_are_named(tmp_path, kind):
    path = write_tar(tmp_path / "x.tar", [("a.png", encoded(0))])
    with tarfile.open(path, "a") as archive:
        for name in ("b.png", "notes.txt"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.png"
            archive.addfile(info)
    first, second = read_tar(path)
    assert (first.name, second.name) == ("a.png", "b.png")
    words = "not a regular file" if kind == tarfile.FIFOTYPE else "a link"
    assert second.content == Unreadable(f"{words} in a tar file")


@pytest.mark.parametrize(
    ("name", "words", "label"),
    [
        ("cls", "007", "007"),
        ("cls", "7", 7),
        ("cls", "-1", -1),
        ("cls", "-0", "-0"),
        ("json", json.dumps({"label": 10**30}), None),
        ("json", json.dumps({"label": 2**63 - 1}), 2**63 - 1),
    ],
)
def test_numbers_are_those_that_can_be_kept_and_are_written_as_such(tmp_path, name, words, label):
    (member,) = read_tar(write_tar(tmp_path / "x.tar", [("0.png", encoded(0)), (f"0.{name}", words.encode())]))
    assert member.label == label
    assert type(member.label) is type(label)
