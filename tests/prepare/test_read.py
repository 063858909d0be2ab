"""Reading of what people have into a set: every odd file is named, and a kill at any moment changes nothing."""

import hashlib
import io
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import tarfile
import time
import unicodedata
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganfeat.data import load_images
from ganfeat.data.decode import UnreadableImageError
from ganfeat.data.shards import open_shards
from ganfeat.errors import InputError, RunError
from ganfeat.prepare.crew import in_order
from ganfeat.prepare.read import Box, read
from ganfeat.prepare.reasons import kind_of
from ganfeat.prepare.repeats import Repeats

RANDOM = np.random.default_rng(0)


def photo(width=40, height=30):
    coarse = RANDOM.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind="JPEG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def fill(root, count=12, kind="jpg"):
    for row in range(count):
        path = root / "ab"[row % 2] / f"{row}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo().save(path)
    return root


def bomb():
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0"))


@pytest.fixture
def messy(tmp_path):
    """Everything that can be wrong with a folder, but for permissions."""
    root = fill(tmp_path / "messy", 4)
    composed = unicodedata.normalize("NFC", "é.jpg")
    for name in ("a/A.jpg", "a/a.JPG", f"a/{composed}", f"b/{composed}", "b/new\nline.png", "b/🐱.png"):
        photo().save(root / name)
    try:
        photo().save(root / "a" / unicodedata.normalize("NFD", composed))
        photo().save(root / "b" / os.fsdecode(b"\xff.png"))
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    shutil.copyfile(root / "a" / "0.jpg", root / "b" / "copy.jpg")
    whole = encoded(photo(300, 200), quality=95)
    (root / "b" / "zero.jpg").touch()
    (root / "b" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "b" / "cut.png").write_bytes(encoded(photo(90, 90), "PNG")[:900])
    (root / "b" / "bomb.png").write_bytes(bomb())
    (root / "b" / "text.jpg").write_text("words")
    (root / "b" / "image.txt").write_bytes(whole)
    (root / "b" / "nothing").write_bytes(encoded(photo(), "PNG"))
    (root / "b" / "notes.txt").write_text("words")
    (root / "b" / "table.csv").write_text("1,2")
    (root / "b" / "broken.jpg").symlink_to("nowhere")
    (root / "b" / "self.jpg").symlink_to("self.jpg")
    (root / "b" / "up").symlink_to(root)
    (root / "twice").symlink_to(root / "a")
    os.mkfifo(root / "b" / "pipe.jpg")
    os.mkfifo(root / "b" / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(root)  # the path of a socket may not be long
        server.bind("socket.png")
        os.chdir(before)
    return root


DROPPED = {
    "b/zero.jpg": "empty (0 bytes)",
    "b/cut.jpg": "cut short",
    "b/cut.png": "cut short",
    "b/bomb.png": "too many pixels",
    "b/text.jpg": "no image by its content",
    "b/image.txt": "an image by its content, not by its name",
    "b/nothing": "an image by its content, not by its name",
    "b/broken.jpg": "broken link",
    "b/self.jpg": "a link that leads back to itself",
    "b/up": "a link to a folder that holds it",
    "twice": "a link to a folder that is read elsewhere",
    "b/pipe.jpg": "not a regular file",
    "b/pipe": "not a regular file",
    "socket.png": "not a regular file",
}


def test_a_messy_folder_is_read_and_every_odd_file_is_named(messy, tmp_path):
    made = read(str(messy), tmp_path / "set", [16, 24])
    table = pq.read_table(tmp_path / "set" / "steps" / "read" / "dropped.parquet").to_pylist()
    assert {row["id"]: row["kind"] for row in table} == DROPPED
    counts = made.counts
    assert counts["kept"] == len(made.packed) == 13
    assert counts["dropped"] == len(DROPPED) == sum(counts["reasons"].values())
    assert counts["candidates"] == counts["kept"] + counts["dropped"]
    assert counts["reasons"]["not a regular file"] == 3
    assert counts["other files"] == {".csv": 1, ".txt": 1}
    assert (counts["exact copies"]["groups"], counts["exact copies"]["images"]) == (1, 2)
    assert counts["exact copies"]["examples"] == [["a/0.jpg", "b/copy.jpg"]]
    assert counts["same name"]["examples"] == [["a/é.jpg", "b/é.jpg"]]
    assert sorted(map(sorted, counts["names alike"]["examples"])) == [
        ["a/A.jpg", "a/a.JPG"],
        sorted(["a/é.jpg", "a/e\u0301.jpg"]),
    ]
    ids = {name for (name,) in made.packed.rows()}
    assert {"b/new\nline.png", "b/🐱.png", r"b/\udcff.png"} <= ids
    assert made.packed.classes == ("a", "b")
    for name in ("kept", "dropped"):
        picture = np.asarray(Image.open(tmp_path / "set" / "steps" / "read" / f"{name}.png"))
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100, "there is something to see"


def test_pixels_labels_and_hashes_are_those_of_the_files(tmp_path):
    root = fill(tmp_path / "in")
    photo().convert("CMYK").save(root / "a" / "cmyk.jpg")
    photo().save(root / "a" / "turned.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0")
    packed = read(str(root), tmp_path / "set", [16, 24]).packed
    for size in (16, 24):
        expected = load_images(root, size=size, channels=3)
        got = load_images(tmp_path / "set", size=size)
        np.testing.assert_array_equal(got.images, expected.images)
        assert (got.ids, got.classes) == (expected.ids, expected.classes)
        assert got.labels.tolist() == expected.labels.tolist()
    for name, source, width, height, digest in packed.rows(["id", "source", "width", "height", "hash"]):
        assert hashlib.sha256((root / name).read_bytes()).hexdigest() == digest
        assert Path(source) == root / name
        assert (width, height) == ((30, 40) if "turned" in name else (40, 30))


def test_without_permission(tmp_path):
    """As another user, for root may read everything."""
    root = fill(tmp_path / "in", 4)
    (root / "a" / "0.jpg").chmod(0)
    (root / "b" / "closed").mkdir()
    (root / "b" / "closed").chmod(0)
    if os.geteuid():
        counts = read(str(root), tmp_path / "set", [8]).counts
    else:
        (tmp_path / "out").mkdir(mode=0o777)
        (tmp_path / "out").chmod(0o777)
        above = [folder for folder in tmp_path.parents if folder.stat().st_mode & 0o5 != 0o5]
        if any(folder == Path("/root") for folder in above):
            pytest.skip("the temporary folder is closed to others")
        before = {folder: folder.stat().st_mode for folder in (*above, tmp_path)}
        for folder in before:
            folder.chmod(0o755)
        read(str(fill(tmp_path / "first", 2)), tmp_path / "warm", [8])  # what is imported on the way is open to root
        child = os.fork()
        if not child:
            try:
                os.setgid(65534)
                os.setuid(65534)
                read(str(root), tmp_path / "out" / "set", [8], workers=1)
                os._exit(0)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        for folder, mode in before.items():
            folder.chmod(mode & 0o7777)
        counts = json.loads((tmp_path / "out" / "set" / "steps" / "read" / "counts.json").read_text())
    assert counts["reasons"] == {"no permission": 1, "a folder that cannot be read": 1}
    assert counts["kept"] == 3


@pytest.mark.parametrize("processes", [False, True])
def test_nothing_depends_on_workers(tmp_path, processes):
    root = fill(tmp_path / "in", 40)
    (root / "a" / "bad.jpg").write_text("x")
    read(str(root), tmp_path / "one", [8], workers=1)
    read(str(root), tmp_path / "other", [8], workers=3, processes=processes)
    assert files(tmp_path / "one") == files(tmp_path / "other")


def files(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


SCRIPT = """
import sys, time
from pathlib import Path
from ganfeat.prepare import read, work

def slow(job, candidates):
    time.sleep(0.02)
    return work.make(job, candidates)

read.make, read._CHUNK, read._COMMIT_CANDIDATES = slow, 4, 8
read.read(sys.argv[1], Path(sys.argv[2]), [16, 24], workers=2)
"""


@contextmanager
def started(root, path):
    """A process that writes to `path`."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(root), str(path)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def candidates_of(path):
    """How far the journal says that a set is."""
    try:
        return json.loads((path / ".work" / "journal.json").read_text())["position"].get("candidates", 0)
    except FileNotFoundError:
        return 0


def test_killed_at_random_it_ends_with_the_same_bytes(tmp_path):
    root = fill(tmp_path / "in", 150)
    for row in range(0, 150, 10):
        (root / "ab"[row % 2] / f"{row}.jpg").write_text("x")
    one, other = tmp_path / "one", tmp_path / "other"
    with started(root, one) as process:
        assert process.wait(timeout=60) == 0
    dice, reached = random.Random(0), []
    for least in (1, 40, 90):
        with started(root, other) as process:
            until = time.monotonic() + 60
            while candidates_of(other) < least and process.poll() is None and time.monotonic() < until:
                time.sleep(0.002)
            time.sleep(dice.uniform(0, 0.06))
        assert not (other / "set.json").exists()
        reached.append(candidates_of(other))
    assert 0 < reached[0] < reached[1] < reached[2] < 150, "each was killed in the middle, and went on"
    with started(root, other) as process:
        assert process.wait(timeout=60) == 0
    assert files(one) == files(other)


def test_ended_after_each_commit_it_goes_on_where_it_was(tmp_path, monkeypatch):
    """In one process: the writer fails right after each commit."""
    monkeypatch.setattr("ganfeat.prepare.read._COMMIT_CANDIDATES", 16)
    root = fill(tmp_path / "in", 50)
    (root / "b" / "bad.jpg").write_text("x")
    read(str(root), tmp_path / "one", [8])

    from ganfeat.data.packed import SetWriter

    real, resumed = SetWriter.commit, []

    def failing(self, position):
        real(self, position)
        raise RunError("as if killed")

    monkeypatch.setattr(SetWriter, "commit", failing)
    for _ in range(4):
        with pytest.raises(RunError, match="as if killed"):
            read(str(root), tmp_path / "other", [8])
    monkeypatch.setattr(SetWriter, "commit", real)
    resumed.append(read(str(root), tmp_path / "other", [8]).resumed)
    assert resumed[0] > 0
    assert files(tmp_path / "one") == files(tmp_path / "other")


def test_a_finished_set_is_left_alone_and_another_is_refused(tmp_path):
    root = fill(tmp_path / "in", 4)
    read(str(root), tmp_path / "set", [8])
    before = files(tmp_path / "set")
    assert read(str(root), tmp_path / "set", [8]).finished_before
    with pytest.raises(InputError, match=r"finished set, made otherwise \(sizes"):
        read(str(root), tmp_path / "set", [8, 9])
    photo().save(root / "a" / "more.jpg")
    with pytest.raises(InputError, match="the images have changed since"):
        read(str(root), tmp_path / "set", [8])
    assert files(tmp_path / "set") == before


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_channels(tmp_path, channels):
    (tmp_path / "in").mkdir()
    for row in range(3):
        photo().convert("L").save(tmp_path / "in" / f"{row}.png")
    packed = read(str(tmp_path / "in"), tmp_path / "set", [8], channels=channels).packed
    assert packed.channels == (channels or 1)
    np.testing.assert_array_equal(packed.images, load_images(tmp_path / "in", size=8, channels=channels).images)


@pytest.mark.parametrize("way", ["draft", "simplejpeg"])
def test_fast_jpegs_are_near_and_are_told(tmp_path, way):
    pytest.importorskip("simplejpeg")
    root = tmp_path / "in"
    root.mkdir()
    for row in range(4):
        photo(640, 480).save(root / f"{row}.jpg", quality=90)
    exact = read(str(root), tmp_path / "exact", [16]).packed
    fast = read(str(root), tmp_path / "fast", [16], fast_jpeg=way).packed
    off = np.abs(exact.images.astype(int) - fast.images)
    assert 0 < off.max() < 12
    assert fast.card["settings"]["fast_jpeg"] == way
    assert list(fast.rows(["width", "height", "hash"])) == list(exact.rows(["width", "height", "hash"]))


class Halves:
    name, missing = "halves", "too narrow"

    def __init__(self):
        self.card = {"of": "width"}

    def __call__(self, image):
        height, width = image.shape[:2]
        return [] if width < 20 else [Box(0, 0, width // 2, height), Box(width // 2, 0, width, height)]


def test_parts_of_images_become_rows(tmp_path):
    root = fill(tmp_path / "in", 3)
    photo(10, 10).save(root / "a" / "narrow.png")
    packed = read(str(root), tmp_path / "set", [8], cropper=Halves(), workers=1).packed
    assert [row for row in packed.rows(["id", "box"])][:2] == [
        ("a/0.jpg#0", [0, 0, 20, 30]),
        ("a/0.jpg#1", [20, 0, 40, 30]),
    ]
    whole = np.asarray(Image.open(root / "a" / "0.jpg"))
    np.testing.assert_array_equal(packed.images[1], load_images(whole[None, :, 20:40], size=8).images[0])
    counts = json.loads((tmp_path / "set" / "steps" / "read" / "counts.json").read_text())
    assert (counts["kept"], counts["reasons"]) == (6, {"too narrow": 1})
    assert counts["exact copies"]["images"] == 0, "parts of one image are no copies of each other"


def test_nothing_to_read_is_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.jpg").touch()
    with pytest.raises(InputError, match=r"no image in .* can be used:\n  1 × empty"):
        read(str(tmp_path / "in"), tmp_path / "set", [8])


@pytest.mark.parametrize("sizes", [[], [0], [2000], [8, -1]])
def test_wrong_sizes_are_refused_before_anything_is_made(tmp_path, sizes):
    with pytest.raises(InputError, match=r"1\.\.1024"):
        read("digits", tmp_path / "set", sizes)
    assert not (tmp_path / "set").exists()


def test_a_bigan_is_served_by_two_sizes(tmp_path):
    """E sees the larger images, and G draws as large as the smaller ones: both are exact."""
    root = fill(tmp_path / "in", 8)
    read(str(root), tmp_path / "set", [16, 28])
    for size in (16, 28):
        images = load_images(tmp_path / "set", size=size)
        assert isinstance(images.images, np.memmap)
        np.testing.assert_array_equal(images, load_images(root, size=size, channels=3))


def test_results_come_back_in_order_and_few_are_waiting():
    taken = []

    def things():
        for number in range(50):
            taken.append(number)
            yield number, number

    for place, (number, result) in enumerate(in_order(things(), lambda given: given * 2, workers=3)):
        assert (place, 2 * place) == (number, result)
        assert len(taken) - place <= 2 * 3 + 3


def test_repeats_are_counted_whatever_their_number(monkeypatch):
    monkeypatch.setattr("ganfeat.prepare.repeats._AT_ONCE", 16)
    counter = Repeats(300)
    for number in range(300):
        counter.add(str(number % 250))
    found = counter.found(5)
    assert (found.groups, found.members, len(found.some)) == (50, 100, 5)
    assert found.some <= {Repeats.key(str(number)) for number in range(50)}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("image file is truncated (13 bytes not processed)", "cut short"),
        ("damaged (error: 12)", "damaged"),
        ("broken data stream when reading image file", "damaged"),
        ("Input/output error 5: x", "Input/output error …"),
        ("no permission to read it", "no permission"),
    ],
)
def test_reasons_are_few(reason, kind):
    assert kind_of(reason) == kind


def test_a_name_that_is_not_utf_8_is_counted_by_its_suffix(tmp_path):
    root = fill(tmp_path / "in", 2)
    try:
        (root / os.fsdecode(b"x.\xff")).write_text("words")
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    assert read(str(root), tmp_path / "set", [8]).counts["other files"] == {r".\udcff": 1}


def test_a_pattern_that_is_not_utf_8_is_a_source(tmp_path):
    root = tmp_path / os.fsdecode(b"\xff")
    try:
        root.mkdir()
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    with tarfile.open(root / "x.tar", "w") as archive:
        for row in range(3):
            photo().save(tmp_path / f"{row}.png")
            archive.add(tmp_path / f"{row}.png", f"{row}.png")
    for number, source in enumerate((root, root / "*.tar")):
        assert open_shards(str(source)).name.encode(), "it can be written"
        assert len(read(str(source), tmp_path / f"set{number}", [8]).packed) == 3


def test_trouble_of_the_machine_ends_the_run_and_it_goes_on(tmp_path, monkeypatch):
    """No image is left out for it: the set is the same as without."""
    root = fill(tmp_path / "in", 40)
    read(str(root), tmp_path / "one", [8], channels=3)
    for number, error in enumerate((OSError(24, "Too many open files"), MemoryError())):
        path, calls = tmp_path / f"set{number}", []

        def opened(self, *arguments, real=Path.open, calls=calls, error=error, **options):
            calls.append(self) if self.suffix == ".jpg" else None
            if len(calls) == 20:
                raise error
            return real(self, *arguments, **options)

        with monkeypatch.context() as patched, pytest.raises(RunError, match=r"jpg: .*run the same command again"):
            patched.setattr(Path, "open", opened)
            read(str(root), path, [8], workers=1, channels=3)
        read(str(root), path, [8], channels=3)
        assert files(path) == files(tmp_path / "one")


@pytest.mark.parametrize("inside", [".", "set", "a/set"])
def test_a_set_inside_of_its_source_is_refused(tmp_path, inside):
    """Its pictures would be images of the source, and the source another one each time."""
    root = fill(tmp_path / "in", 4)
    before = files(root)
    with pytest.raises(InputError, match="give a folder outside of it"):
        read(str(root), root / inside, [8])
    assert files(root) == before


@pytest.mark.parametrize("channels", [2, 4])
def test_pixels_of_other_channels_are_refused_before_anything_is_made(tmp_path, channels):
    np.save(tmp_path / "x.npy", RANDOM.integers(0, 256, (5, 8, 8, channels), dtype=np.uint8))
    with pytest.raises(InputError, match=rf"have {channels} channels.*images\[\.\.\., :3\]"):
        read(str(tmp_path / "x.npy"), tmp_path / "set", [8])
    assert not (tmp_path / "set").exists()


def warn(given):
    import warnings

    with warnings.catch_warnings(record=True) as told:
        warnings.warn_explicit("odd file", UserWarning, "PngImagePlugin.py", given, module="PIL.PngImagePlugin")
    return len(told)


def test_processes_are_silent_about_odd_files():
    assert [told for _, told in in_order([(0, 1)], warn, workers=2, processes=True)] == [0]


def test_the_same_source_from_another_folder_is_the_same(tmp_path, monkeypatch):
    fill(tmp_path / "in", 4)
    monkeypatch.chdir(tmp_path)
    read("in", tmp_path / "set", [8])
    monkeypatch.chdir(tmp_path / "in")
    for source in (str(tmp_path / "in"), "../in", "."):
        assert read(source, tmp_path / "set", [8]).finished_before


def test_kinds_of_reasons_are_bounded(tmp_path, monkeypatch):
    root = fill(tmp_path / "in", 60)
    monkeypatch.setattr("ganfeat.prepare.reasons._KINDS", ())
    monkeypatch.setattr("ganfeat.prepare.work.kind_of", lambda reason: str(RANDOM.integers(10**9)))
    monkeypatch.setattr(
        "ganfeat.prepare.work.decode_upright", lambda *_: (_ for _ in ()).throw(UnreadableImageError("as it happens"))
    )
    photo().save(root / "last.png")
    with pytest.raises(InputError, match="no image in"):
        read(str(root), tmp_path / "set", [8], channels=3)
    kinds = json.loads((tmp_path / "set" / ".work" / "journal.json").read_text())["kinds"]
    assert len(kinds) == 41
    assert kinds["another reason"] == 61 - 40


def test_few_damaged_images_are_decoded_again_for_the_sheet(tmp_path, monkeypatch):
    root = fill(tmp_path / "in", 2)
    whole = encoded(photo(300, 200), quality=95)
    for number in range(30):
        (root / f"{number}.jpg").write_bytes(whole[: len(whole) // 2])
    from ganfeat.prepare.work import glimpse_of

    calls = []
    monkeypatch.setattr("ganfeat.prepare.read.glimpse_of", lambda *given: calls.append(given) or glimpse_of(*given))
    assert read(str(root), tmp_path / "set", [8], workers=2).counts["reasons"] == {"cut short": 30}
    assert len(calls) == 8


def test_a_set_made_of_a_set_takes_the_sizes_that_are_there(tmp_path):
    root = fill(tmp_path / "in", 8)
    first = read(str(root), tmp_path / "first", [32, 12]).packed
    second = read(str(tmp_path / "first"), tmp_path / "second", [32, 12, 10]).packed
    np.testing.assert_array_equal(load_images(second.path, size=12), load_images(first.path, size=12))
    np.testing.assert_array_equal(load_images(second.path, size=32), first.images)
    smaller = load_images(load_images(first.path, size=12).images, size=10)
    np.testing.assert_array_equal(load_images(second.path, size=10).images, smaller.images)
    columns = ["id", "source", "width", "height", "hash", "label"]
    assert list(second.rows(columns)) == list(first.rows(columns))
    assert second.classes == first.classes


def test_a_writer_that_fails_lets_go_of_the_workers(tmp_path, monkeypatch):
    root = fill(tmp_path / "in", 60)
    ended = []

    def watched(*arguments, real=in_order):
        try:
            yield from real(*arguments)
        finally:
            ended.append(True)

    monkeypatch.setattr("ganfeat.prepare.read.in_order", watched)
    monkeypatch.setattr(
        "ganfeat.data.packed.SetWriter.add", lambda *_: (_ for _ in ()).throw(RunError("the disk is full"))
    )
    with pytest.raises(RunError) as error:
        read(str(root), tmp_path / "set", [8], workers=3)
    assert error.value.__traceback__ is not None, "which holds the frames, and what is in them"
    assert ended == [True]
