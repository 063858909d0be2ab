"""Every kind of source in pieces gives what `load_images` gives in one."""

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
from ganfeat.data.shards import Shard, decode, open_shards, read_shard
from ganfeat.errors import InputError

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
