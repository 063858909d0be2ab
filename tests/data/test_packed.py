"""Packed sets: what is written is what is read, to the last bit, and only when it is whole."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from ganfeat.data import load_images
from ganfeat.data.packed import Dropped, Row, SetWriter, nearest, open_set
from ganfeat.data.shards import decode, open_shards, read_shard
from ganfeat.errors import InputError, RunError

RANDOM = np.random.default_rng(0)
IMAGES = {size: RANDOM.integers(0, 256, (20, size, size, 3), dtype=np.uint8) for size in (12, 8)}


def rows(start, stop, labels=True):
    return [
        Row(f"é{i}.png", "somewhere", 30 + i, 20, f"{i:064x}", ("cat", "dog", None)[i % 3] if labels else None)
        for i in range(start, stop)
    ]


def add(writer, start, stop, **options):
    writer.add({size: images[start:stop] for size, images in IMAGES.items()}, rows(start, stop, **options))


def begin(path, **settings):
    return SetWriter(path, (12, 8), 3, settings={"source": "x", **settings}, total=25)


@pytest.fixture
def whole(tmp_path):
    with begin(tmp_path / "set") as writer:
        add(writer, 0, 13)
        writer.drop([Dropped("bad.png", "somewhere", "empty", "empty file")])
        add(writer, 13, 20)
        return writer.finish("some images")


def files(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_what_is_written_is_read(whole):
    for size, images in IMAGES.items():
        packed = open_set(whole.path, size)
        assert isinstance(packed.images, np.memmap)
        np.testing.assert_array_equal(packed.images, images)
        np.testing.assert_array_equal(np.load(whole.path / f"images-{size}.npy"), images)
    assert whole.sizes == (12, 8)
    assert whole.size == 12
    assert whole.classes == ("cat", "dog")
    assert whole.labels.tolist() == [(0, 1, -1)[i % 3] for i in range(20)]
    assert list(whole.rows(["id", "width"], 5, 8)) == [(f"é{i}.png", 30 + i) for i in (5, 6, 7)]
    assert pq.read_table(whole.path / "index.parquet").column_names == [
        *("id", "source", "width", "height", "hash", "label")
    ]
    (dropped,) = pq.read_table(whole.path / "steps" / "read" / "dropped.parquet").to_pylist()
    assert dropped == {"id": "bad.png", "source": "somewhere", "kind": "empty", "reason": "empty file"}
    assert not (whole.path / ".work").exists()


def test_load_images_takes_the_size_or_the_next_larger_one(whole):
    exact = load_images(whole.path, size=8)
    assert isinstance(exact.images, np.memmap)
    np.testing.assert_array_equal(exact.images, IMAGES[8])
    assert exact.ids[3] == "é3.png"
    assert exact.classes == ("cat", "dog")
    assert load_images(str(whole.path)).shape == (20, 12, 12, 3)
    np.testing.assert_array_equal(load_images(whole.path, size=10), load_images(IMAGES[12], size=10))
    np.testing.assert_array_equal(load_images(whole.path, size=5), load_images(IMAGES[8], size=5))
    assert load_images(whole.path, channels=1).shape == (20, 12, 12, 1)
    with pytest.raises(InputError, match="images of size 12, 8: for 13 prepare it again, with --size 13"):
        load_images(whole.path, size=13)
    assert nearest(whole.path, 9) == 12


def test_a_set_is_a_source_of_shards(whole):
    shards = list(open_shards(str(whole.path), rows=7, shape=(8, 8, 3)).shards())
    candidates = [candidate for shard in shards for candidate in read_shard(shard)]
    np.testing.assert_array_equal(np.stack([decode(one, 8, 3) for one in candidates]), IMAGES[8])
    assert [one.id for one in candidates] == [f"é{i}.png" for i in range(20)]
    assert [one.label for one in candidates][:3] == [0, 1, None]


def test_after_a_kill_the_same_bytes(tmp_path, whole):
    path = tmp_path / "again"
    for stop in (4, 4, 11, 20, 20):
        with begin(path) as writer:
            start = writer.position.get("row", 0)
            assert writer.count == start
            add(writer, start, stop)
            if start < 15 <= stop:
                writer.drop([Dropped("bad.png", "somewhere", "empty", "empty file")])
            writer.commit({"row": stop})
            if stop < 20:
                add(writer, stop, stop + 3)  # lost, as if killed before the next commit
                writer.drop([Dropped("lost", "", "", "")])
    with begin(path) as writer:
        writer.finish("some images")
    assert files(path) == files(whole.path)


def test_a_set_that_is_not_finished_is_refused(tmp_path):
    with begin(tmp_path / "set") as writer:
        add(writer, 0, 3)
    for door in (open_set, load_images, lambda path: open_shards(str(path))):
        with pytest.raises(InputError, match=r"not finished: run the same `ganfeat prepare` again"):
            door(tmp_path / "set")
    with pytest.raises(InputError, match=r"begun with other settings .*source"):
        SetWriter(tmp_path / "set", (12, 8), 3, settings={"source": "y"})


def test_two_writers_are_refused(tmp_path):
    with begin(tmp_path / "set"), pytest.raises(InputError, match="another process is writing"):
        begin(tmp_path / "set")


def test_a_folder_of_something_else_is_refused(tmp_path, whole):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match=r"holds thesis.txt and is no packed set"):
        begin(tmp_path / "mine")
    with pytest.raises(InputError, match="is a finished set"):
        begin(whole.path)
    with pytest.raises(InputError, match="is a file"):
        begin(tmp_path / "mine" / "thesis.txt")


def test_no_room_is_said_before_the_work(tmp_path):
    with pytest.raises(InputError, match=r"no room for .* images"):
        SetWriter(tmp_path / "set", (1024,), 3, settings={}, total=10**12)


def test_a_full_disk_is_no_traceback(tmp_path, monkeypatch):
    with begin(tmp_path / "set") as writer:
        add(writer, 0, 4)
        writer.commit({"row": 4})
        full = OSError(28, "No space left on device")
        with monkeypatch.context() as patched, pytest.raises(RunError, match=r"No space left .* run the same command"):
            patched.setattr("os.fsync", lambda file: (_ for _ in ()).throw(full))
            add(writer, 4, 8)
            writer.commit({"row": 8})
    with begin(tmp_path / "set") as writer:
        assert writer.position == {"row": 4}


@pytest.mark.parametrize("name", ["set.json", "index.parquet", "images-8.npy"])
def test_damage_is_told(whole, name):
    (whole.path / name).write_bytes(b"damaged")
    with pytest.raises(InputError, match="is damaged"):
        load_images(whole.path, size=8)


def test_another_version_is_told(whole):
    card = json.loads((whole.path / "set.json").read_text())
    (whole.path / "set.json").write_text(json.dumps({**card, "format": "ganfeat-set/9"}))
    with pytest.raises(InputError, match="another version"):
        open_set(whole.path)


def test_many_different_texts_are_no_classes(tmp_path, monkeypatch):
    monkeypatch.setattr("ganfeat.data.set_writer.MOST_CLASSES", 1)
    with begin(tmp_path / "set") as writer:
        add(writer, 0, 20)
        packed = writer.finish("some images")
    assert (packed.classes, packed.labels) == (None, None)


def test_a_work_folder_of_somebody_else_is_left_alone(tmp_path):
    """Only what a writer has put there is deleted when a set is finished."""
    for name, content in ((".work/thesis.txt", "mine"), (".work/lock", "mine"), (".work/read/thesis.txt", "mine")):
        path = tmp_path / name.replace("/", "-")
        (path / name).parent.mkdir(parents=True)
        (path / name).write_text(content)
        with pytest.raises(InputError, match=rf"holds {name} and is no packed set"):
            begin(path)
        assert (path / name).read_text() == content


@pytest.mark.parametrize("name", ["thesis.txt", ".work/thesis.txt"])
def test_files_that_came_to_a_set_in_the_making_are_left_alone(tmp_path, name):
    with begin(tmp_path / "set") as writer:
        add(writer, 0, 20)
        writer.commit({"row": 20})
    (tmp_path / "set" / name).write_text("mine")
    with pytest.raises(InputError, match=f"holds {name}, which is not of the set that was begun there: move it"):
        begin(tmp_path / "set")
    (tmp_path / "set" / name).unlink()
    (tmp_path / "set" / ".DS_Store").touch()
    with begin(tmp_path / "set") as writer:
        (tmp_path / "set" / ".work" / "thesis.txt").write_text("mine")
        writer.finish("some images")
    assert (tmp_path / "set" / ".work" / "thesis.txt").read_text() == "mine"


def test_killed_before_its_first_journal_it_begins_again(tmp_path):
    (tmp_path / "set" / ".work").mkdir(parents=True)
    (tmp_path / "set" / ".work" / "lock").touch()
    (tmp_path / "set" / ".work" / ".journal.json.tmp-17").write_text("{")
    with begin(tmp_path / "set") as writer:
        add(writer, 0, 20)
        assert len(writer.finish("some images")) == 20
    assert not (tmp_path / "set" / ".work").exists()


@pytest.mark.parametrize("name", ["images-12.npy", "images-8.npy", ".work/index.jsonl", ".work/dropped.jsonl"])
@pytest.mark.parametrize("way", ["gone", "short"])
def test_what_was_lost_after_a_commit_is_told_and_not_filled_with_zeros(tmp_path, name, way):
    with begin(tmp_path / "set") as writer:
        add(writer, 0, 10)
        writer.drop([Dropped("bad.png", "somewhere", "empty", "empty file")])
        writer.commit({"row": 10})
        length = (tmp_path / "set" / name).stat().st_size
    file = tmp_path / "set" / name
    if way == "gone":
        file.unlink()
    else:
        with file.open("r+b") as opened:
            opened.truncate(30)
    assert length > 30
    with pytest.raises(InputError, match=r"the journal of .* start again"):
        begin(tmp_path / "set")


def test_a_set_that_another_process_has_just_finished_is_not_touched(tmp_path, whole, monkeypatch):
    """The second has looked before the first wrote set.json, and gets the lock right after it."""
    from contextlib import contextmanager

    before = files(whole.path)
    monkeypatch.setattr("ganfeat.data.set_writer.refuse_foreign", lambda path: None)

    @contextmanager
    def at_once(lock, folder):
        lock.touch()
        yield

    monkeypatch.setattr("ganfeat.data.set_writer._locked", at_once)
    with pytest.raises(InputError, match="is a finished set"):
        begin(whole.path)
    assert files(whole.path) == before


def test_numbers_among_names_are_names(tmp_path):
    labels = [0, "cat", 7, "dog", "007", None, -1, 10**30] + [None] * 12
    with begin(tmp_path / "set") as writer:
        known = [row._replace(label=label) for row, label in zip(rows(0, 20), labels, strict=True)]
        writer.add(IMAGES, known)
        packed = writer.finish("some images")
    assert packed.classes == ("0", "007", "7", "cat", "dog")
    named = [None if label < 0 else packed.classes[label] for label in packed.labels]
    assert named == ["0", "cat", "7", "dog", "007"] + [None] * 15


def test_numbers_alone_are_numbers_and_those_beyond_the_classes_take_their_names_away(tmp_path):
    for classes, expected in ((None, None), (list("abcdefgh"), tuple("abcdefgh")), (["a", "b"], None)):
        with begin(tmp_path / f"set{len(classes or ())}") as writer:
            labels = [7, 0, None, 10**30] + [1] * 16
            writer.add(IMAGES, [row._replace(label=label) for row, label in zip(rows(0, 20), labels, strict=True)])
            packed = writer.finish("some images", classes)
        assert packed.labels.tolist() == [7, 0, -1, -1] + [1] * 16
        assert packed.classes == expected


def test_other_things_named_as_a_set_names_its_own_are_no_set(tmp_path):
    from PIL import Image

    (tmp_path / ".work").mkdir()
    (tmp_path / "set.json").write_text('{"name": "my holidays"}')
    Image.fromarray(IMAGES[8][0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_images(tmp_path).images[0], IMAGES[8][0])
    assert open_shards(str(tmp_path)).count == 1
    with pytest.raises(InputError, match=r"holds a.png and is no packed set"):
        begin(tmp_path)


def test_shards_tell_where_images_were_from_and_their_other_sizes(whole):
    (shard,) = open_shards(str(whole.path)).shards()
    for row, candidate in enumerate(read_shard(shard)):
        assert candidate.known[:5] == (*rows(row, row + 1)[0][1:5], None)
        np.testing.assert_array_equal(candidate.known.images[8], IMAGES[8][row])
