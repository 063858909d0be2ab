"""Every kind of source in pieces gives what `load_images` gives in one."""

import errno
import json
import os
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganfeat.data import load_images
from ganfeat.data.decode import UnreadableImageError
from ganfeat.data.encoded import Unreadable
from ganfeat.data.shards import Shard, decode, open_shards, read_shard
from ganfeat.errors import InputError, RunError

RANDOM = np.random.default_rng(0)


def pixels(count, side=9, channels=3):
    return RANDOM.integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def folder(tmp_path, labelled=True):
    for row, image in enumerate(pixels(11)):
        save(tmp_path / "in" / ("bcd"[row % 3] if labelled else "only") / f"{row}.png", image)
    (tmp_path / "in" / "b" / "bad.png").write_text("x") if labelled else None
    return tmp_path / "in"


def content(image):
    import io

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def parquet(tmp_path, labels=(3, -1, 0, 2, 3, 1, 0, None, 2, 1)):
    (tmp_path / "shards").mkdir()
    rows = [
        {"image": {"bytes": content(image), "path": None}, "label": label}
        for image, label in zip(pixels(10), labels, strict=True)
    ]
    rows[4]["image"] = None
    for number, part in enumerate((rows[:7], rows[7:])):
        path = tmp_path / "shards" / f"train-{number:05}-of-00002.parquet"
        pq.write_table(pa.Table.from_pylist(part), path, row_group_size=3)
    return tmp_path / "shards"


def names(tmp_path):
    return parquet(tmp_path, tuple("cbabcabcab"))


def idx(tmp_path, zipped=False):
    import gzip

    images, opened = pixels(10, 7, 1), gzip.open if zipped else open
    suffix = ".gz" if zipped else ""
    with opened(tmp_path / f"t-images-idx3-ubyte{suffix}", "wb") as file:
        file.write(struct.pack(">IIII", 0x0803, 10, 7, 7) + images.tobytes())
    with opened(tmp_path / f"t-labels-idx1-ubyte{suffix}", "wb") as file:
        file.write(struct.pack(">II", 0x0801, 10) + bytes(range(10)))
    return tmp_path / f"t-images-idx3-ubyte{suffix}"


def npy(tmp_path):
    np.save(tmp_path / "x.npy", pixels(10))
    np.save(tmp_path / "x.labels.npy", np.arange(10) % 3)
    return tmp_path / "x.npy"


def npz(tmp_path, **more):
    np.savez_compressed(tmp_path / "x.npz", images=pixels(10), labels=np.array(list("abcabcabca")), **more)
    return tmp_path / "x.npz"


def npz_in_other_order(tmp_path):
    np.savez(tmp_path / "x.npz", pictures=np.asfortranarray(pixels(10)))
    return tmp_path / "x.npz"


def mat(tmp_path, zipped=True):
    savemat = pytest.importorskip("scipy.io").savemat
    known = {"X": pixels(10).transpose(1, 2, 3, 0), "y": np.arange(1, 11)[:, None]}
    savemat(tmp_path / "x.mat", known, do_compression=zipped)
    return tmp_path / "x.mat"


SOURCES = {
    "folder": folder,
    "folder without classes": lambda tmp_path: folder(tmp_path, False),
    "one image": lambda tmp_path: folder(tmp_path) / "b" / "0.png",
    "parquet": parquet,
    "parquet with names": names,
    "a glob": lambda tmp_path: parquet(tmp_path) / "train-*.parquet",
    "IDX": idx,
    "IDX, gzip": lambda tmp_path: idx(tmp_path, True),
    "npy": npy,
    "npz": npz,
    "npz in another order": npz_in_other_order,
    "mat": mat,
    "mat, plain": lambda tmp_path: mat(tmp_path, False),
    "digits": lambda tmp_path: "digits",
}


@pytest.mark.parametrize("rows", [4, 4096])
@pytest.mark.parametrize("kind", SOURCES)
def test_pieces_are_the_whole(tmp_path, kind, rows):
    source = SOURCES[kind](tmp_path)
    whole = load_images(source, size=6, channels=3, max_skipped=3)
    opened = open_shards(str(source), rows=rows)
    shards = [Shard.from_json(shard.to_json()) for shard in opened.shards()]
    assert shards == list(open_shards(str(source), rows=rows).shards())
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert [shard.start for shard in shards] == [0, *(shard.stop for shard in shards)][:-1]
    candidates = [candidate for shard in shards for candidate in read_shard(shard)]
    assert opened.count == len(candidates) == len(whole) + len(whole.skipped)
    images, ids, labels, unread = [], [], [], []
    for candidate in candidates:
        try:
            images.append(decode(candidate, 6, 3))
        except UnreadableImageError as error:
            unread.append((candidate.id, str(error)))
            continue
        ids.append(candidate.id)
        labels.append(candidate.label)
    np.testing.assert_array_equal(np.stack(images), whole.images)
    assert len(set(ids)) == len(ids)
    assert ids == list(whole.ids or ids)
    assert unread == [tuple(entry) for entry in whole.skipped]
    if whole.labels is None:
        assert set(labels) == {None}
    else:
        classes = opened.classes or whole.classes
        assert classes is None or classes == whole.classes
        numbers = [classes.index(label) if isinstance(label, str) else label for label in labels]
        assert [-1 if number is None else number for number in numbers] == whole.labels.tolist()


def test_the_signature_changes_with_the_files(tmp_path):
    root = folder(tmp_path)
    before = open_shards(str(root)).signature
    assert before == open_shards(str(root)).signature
    os.utime(root / "b" / "0.png", ns=(1, 1))
    assert before != open_shards(str(root)).signature


def test_odd_names_survive_json(tmp_path):
    odd = os.fsdecode(b"caf\xe9 \n.png")
    try:
        save(tmp_path / odd, pixels(1)[0])
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    (shard,) = open_shards(str(tmp_path)).shards()
    assert json.loads(shard.to_json())
    (candidate,) = read_shard(Shard.from_json(shard.to_json()))
    assert candidate.id == "caf\\udce9 \n.png"
    assert decode(candidate, 9, 3).shape == (9, 9, 3)


def test_a_file_that_is_gone_by_then_is_named(tmp_path):
    root = folder(tmp_path)
    (shard,) = open_shards(str(root)).shards()
    (root / "b" / "0.png").unlink()
    first = next(iter(read_shard(shard)))
    with pytest.raises(UnreadableImageError, match="No such file"):
        decode(first, 6, 3)


def test_a_damaged_parquet_file_gives_its_rows_as_unreadable(tmp_path):
    root = parquet(tmp_path)
    shards = list(open_shards(str(root), rows=3).shards())
    path = root / "train-00000-of-00002.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[4:200] = bytes(196)
    path.write_bytes(damaged)
    read = [list(read_shard(shard)) for shard in shards]
    assert [len(candidates) for candidates in read] == [shard.stop - shard.start for shard in shards]
    with pytest.raises(UnreadableImageError, match="the parquet file is damaged"):
        decode(read[0][0], 6, 3)
    assert decode(read[-1][0], 6, 3).shape == (6, 6, 3)


def test_a_compressed_array_that_is_cut_short_gives_what_is_there(tmp_path):
    path = idx(tmp_path, True)
    (shard,) = open_shards(str(path)).shards()
    path.write_bytes(path.read_bytes()[:300])
    read = list(read_shard(shard))
    assert len(read) == 10
    with pytest.raises(UnreadableImageError, match="the file is damaged"):
        decode(read[-1], 6, 3)


def test_a_long_folder_is_sorted_outside_of_the_memory(tmp_path, monkeypatch):
    from ganfeat.data import folder, spool

    monkeypatch.setattr(folder, "in_order", lambda names: spool.in_order(names, at_once=3))
    monkeypatch.setattr(spool, "_IN_MEMORY", 64)
    for row in (5, 3, 11, 1, 7, 9, 2, 8):
        (tmp_path / f"{row}.png").write_text(str(row))
    (shard,) = open_shards(str(tmp_path)).shards()
    assert list(shard.paths[1:]) == sorted(f"{row}.png" for row in (5, 3, 11, 1, 7, 9, 2, 8))


@pytest.mark.parametrize("what", ["nothing", "empty", "words.txt", "mixed"])
def test_what_cannot_be_read_is_refused(tmp_path, what):
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.txt").write_text("words")
    (tmp_path / "mixed").mkdir()
    zipfile.ZipFile(tmp_path / "mixed" / "x.zip", "w").close()
    with pytest.raises(InputError):
        open_shards(str(tmp_path / what))


def test_the_hub_without_a_network(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True, raising=False)
    root = folder(tmp_path)
    (root / "b" / "bad.png").unlink()
    whole = load_images(root, size=6, channels=3)
    opened = open_shards(f"hf://{root}")
    candidates = [candidate for shard in opened.shards() for candidate in read_shard(shard)]
    assert opened.classes == whole.classes
    got = {decode(one, 6, 3).tobytes(): one.label for one in candidates}
    assert got == {image.tobytes(): label for image, label in zip(whole.images, whole.labels.tolist(), strict=True)}
    with pytest.raises(InputError, match="cannot be opened"):
        open_shards(f"hf://{tmp_path / 'nowhere'}")


@pytest.mark.parametrize("kind", SOURCES)
def test_it_is_known_whether_there_are_labels(tmp_path, kind):
    opened = open_shards(str(SOURCES[kind](tmp_path)))
    labels = [candidate.label for shard in opened.shards() for candidate in read_shard(shard)]
    known = [label for label in labels if label is not None]
    assert opened.labelled is bool(known)
    names = bool(known) and opened.classes is None and isinstance(known[0], str)
    assert opened.label_kind == ("string" if names else "int64" if known else None)


def test_labels_that_begin_late_are_announced(tmp_path):
    np.save(tmp_path / "x.npy", pixels(100))
    np.save(tmp_path / "x.labels.npy", np.r_[np.full(70, -1), np.arange(30)])
    opened = open_shards(str(tmp_path / "x.npy"))
    assert (opened.labelled, opened.label_kind) == (True, "int64")


def test_of_a_row_group_little_is_in_memory(tmp_path):
    """Writers make one group of up to a million rows."""
    size, count = 1 << 13, 1 << 12
    content = np.random.default_rng(0).bytes(size)
    schema = pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(tmp_path / "x.parquet", schema, compression=None, use_dictionary=False) as writer:
        writer.write_table(pa.table([[content[i:] + content[:i] for i in range(count)]], schema))
    (shard,) = open_shards(str(tmp_path / "x.parquet")).shards()
    before, most, seen = pa.total_allocated_bytes(), 0, 0
    for candidate in read_shard(shard):
        most = max(most, pa.total_allocated_bytes() - before)
        seen += len(candidate.item) == size
    assert seen == count
    assert most < 0.5 * size * count


class Failing:
    """Raises an error of the machine from the second call on."""

    def __init__(self, real, number):
        self.real, self.number, self.calls = real, number, 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        if self.calls > 1:
            raise OSError(self.number, os.strerror(self.number)) if self.number else MemoryError
        return self.real(*arguments, **options)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE, errno.ENODEV, 0])
def test_trouble_of_the_machine_is_no_damage_of_images(tmp_path, monkeypatch, number):
    from ganfeat.data import tables, tar_files

    root = folder(tmp_path)
    candidates = list(read_shard(next(open_shards(str(root)).shards())))
    monkeypatch.setattr("PIL.Image.open", Failing(Image.open, number))
    decode(candidates[0], 8, 3)
    with pytest.raises(RunError, match="run the same command again"):
        decode(candidates[1], 8, 3)
    (rows, *_) = open_shards(str(parquet(tmp_path)), rows=4096).shards()
    monkeypatch.setattr(tables, "opened", Failing(tables.opened, number))
    with pytest.raises(RunError, match="run the same command again"):
        list(read_shard(rows))
    if number:
        monkeypatch.setattr(tar_files, "_opened", Failing(None, number))
        tar_files._opened.calls = 1
        with pytest.raises(RunError, match="run the same command again"):
            list(tar_files.read_tar(tmp_path / "x.tar"))


def test_a_folder_that_cannot_be_listed_for_want_of_open_files_is_not_left_out(tmp_path, monkeypatch):
    root = folder(tmp_path)
    calls = []

    def scandir(path, real=os.scandir):
        calls.append(path)
        if len(calls) > 6:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path)

    monkeypatch.setattr("ganfeat.data.folder.os.scandir", scandir)
    with pytest.raises(RunError, match="Too many open files"):
        open_shards(str(root))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True, raising=False)
    return datasets


def test_a_local_data_set_of_the_hub_changes_its_signature_with_its_files(tmp_path, hub):
    root = parquet(tmp_path)
    before = open_shards(f"hf://{root}").signature
    assert before == open_shards(f"hf://{root}").signature
    os.utime(root / "train-00000-of-00002.parquet", ns=(1, 1))
    assert before != open_shards(f"hf://{root}").signature


def test_a_damaged_file_of_a_local_data_set_ends_no_reading(tmp_path, hub):
    root = parquet(tmp_path)
    shards = list(open_shards(f"hf://{root}").shards())
    path = root / "train-00000-of-00002.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[4:200] = bytes(196)
    path.write_bytes(damaged)
    first, second = ([*read_shard(shard)] for shard in shards)
    with pytest.raises(UnreadableImageError, match="is damaged"):
        decode(first[-1], 6, 3)
    assert decode(second[0], 6, 3).shape == (6, 6, 3)


class Stream:
    """What `datasets` gives for a data set of the Hub."""

    num_shards, info = 1, None

    def __init__(self, samples, features):
        self.samples, self.features = samples, features

    def __iter__(self):
        for sample in self.samples:
            if isinstance(sample, Exception):
                raise sample
            yield sample


def streamed(monkeypatch, hub, *samples):
    """Shards of a data set with these rows, whose branch `main` is at the commit c0ffee."""
    asked = []
    features = hub.Features(image=hub.Image(decode=False), label=hub.Value("int64"))

    def load_dataset(path, config, *, split, revision, streaming):
        asked.append(revision)
        stream = Stream(samples, features)
        stream.cast_column = lambda column, kind: stream
        return stream

    class Api:
        def dataset_info(self, name, revision):
            assert (name, revision) == ("some/one", None)
            return type("Info", (), {"sha": "c0ffee"})

    monkeypatch.setattr(hub, "load_dataset", load_dataset)
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    opened = open_shards("hf://some/one")
    return opened, [Shard.from_json(shard.to_json()) for shard in opened.shards()], asked


def test_a_branch_of_the_hub_is_read_as_it_was_when_it_was_opened(monkeypatch, hub):
    good = {"bytes": content(pixels(1)[0]), "path": None}
    rows = [{"image": good, "label": label} for label in (3, -1, 10**30, None)]
    opened, (shard,), asked = streamed(monkeypatch, hub, *rows)
    assert [candidate.label for candidate in read_shard(shard)] == [3, None, None, None]
    assert asked == ["c0ffee", "c0ffee"]
    assert (opened.labelled, opened.label_kind) == (True, "int64")


def test_a_connection_that_breaks_is_told_with_what_to_do(monkeypatch, hub):
    good = {"image": {"bytes": content(pixels(1)[0]), "path": None}, "label": 1}
    _, (shard,), _ = streamed(monkeypatch, hub, good, ConnectionResetError("by peer"))
    with pytest.raises(RunError, match=r"broke off \(by peer\): run the same command again"):
        list(read_shard(shard))


def test_rows_that_name_files_of_others_are_not_read(tmp_path, monkeypatch, hub):
    """Whoever writes a data set writes its rows: they name no file of this machine, and no other server."""
    save(tmp_path / "secret.png", pixels(1)[0])
    names = [
        str(tmp_path / "secret.png"),
        "file:///etc/passwd",
        "http://169.254.169.254/",
        "hf://datasets/some/other/x.png",
        "hf://datasets/some/one/../other/x.png",
        "zip://x.png::http://169.254.169.254/",
        "simplecache::hf://datasets/some/one/x.png",
    ]
    monkeypatch.setattr("fsspec.open", lambda *_: pytest.fail("it was opened"))
    samples = [{"image": {"bytes": None, "path": name}, "label": 0} for name in names]
    _, (shard,), _ = streamed(monkeypatch, hub, *samples)
    for candidate in read_shard(shard):
        with pytest.raises(UnreadableImageError, match="not of this data set"):
            decode(candidate, 6, 3)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "own").mkdir()
    os.mkfifo(tmp_path / "own" / "pipe.png")
    save(tmp_path / "own" / "x.png", pixels(1)[0])
    named = ["../secret.png", str(tmp_path / "secret.png"), str(tmp_path / "own" / "pipe.png"), "x.png"]
    table = pa.Table.from_pylist([{"image": {"bytes": None, "path": name}} for name in named])
    pq.write_table(table, tmp_path / "own" / "train.parquet")
    from ganfeat.data.hub import _item

    about = {"path": str(tmp_path / "own"), "local": True}
    items = [_item(cell, about, "x") for cell in table.column("image").to_pylist()]
    assert [isinstance(item, Unreadable) for item in items] == [True, True, True, False]
    assert "not there" in items[2].reason
