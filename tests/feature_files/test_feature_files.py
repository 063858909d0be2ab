"""Features in files: what is written is what is read, a folder is whole or refused, and memory stays small."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ganfeat import InputError
from ganfeat.feature_files import PartWriter, open_features, write_part


def rows(n, k=5, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=(n, k)).astype(dtype)


def names(n):
    return [f"photos/ünï {i}.jpg" for i in range(n)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    dtype=st.sampled_from(["float32", "float16"]),
    labels=st.sampled_from(["none", "int", "text"]),
    at_once=st.integers(1, 20),
)
def test_what_is_written_is_read(tmp_path, cuts, dtype, labels, at_once):
    """Bit for bit, however it was cut when it was written, and however it is cut when it is read."""
    n = sum(cuts)
    x, pixels = rows(n, dtype=dtype), np.arange(n * 7, dtype=np.uint8).reshape(n, 7)
    y = {"none": None, "int": np.arange(n) - 1, "text": np.array([f"class {i % 3}" for i in range(n)])}[labels]
    with PartWriter(tmp_path / "f.parquet") as part:
        start = 0
        for cut in cuts:
            piece = slice(start, start + cut)
            part.write(names(n)[piece], x[piece], None if y is None or not n else y[piece], pixels=pixels[piece])
            start += cut
    table = open_features(tmp_path / "f.parquet")
    assert (table.shape, table.dtype, table.columns) == ((n, 5), x.dtype, {"pixels": (7, np.dtype(np.uint8))})
    found = list(table.blocks(at_once))
    assert all(0 < len(block) <= at_once for block in found)
    assert np.array_equal(np.concatenate([np.empty((0, 5), dtype), *found]), x)
    assert np.array_equal(table.read("pixels"), pixels)
    assert list(table.ids) == names(n)
    if y is not None and n:
        assert table.labels.dtype.kind == y.dtype.kind
        assert np.array_equal(table.labels, y)
    else:
        assert table.labels is None
    if n:
        assert np.array_equal(table.to_npy(tmp_path / "f.npy"), x)


def test_rows_that_wait_are_not_the_callers(tmp_path):
    """A buffer that is filled again and again, as extraction does."""
    buffer = np.zeros((2, 3), np.float32)
    with PartWriter(tmp_path / "f.parquet") as part:
        for i in range(4):
            buffer[:] = i
            part.write(names(2), buffer)
    assert open_features(tmp_path / "f.parquet").read()[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_file_is_plain(tmp_path):
    """Lists of fixed size, no dictionary of floats, bounded row groups, statistics of ids only; uint8 in its size."""
    x, pixels = rows(3000, 2048), np.random.default_rng(0).integers(0, 256, (3000, 300), dtype=np.uint8)
    write_part(tmp_path / "f.parquet", names(3000), np.arange(3000), x, {"pixels": pixels}, {"made": "here"})
    file = pq.ParquetFile(tmp_path / "f.parquet")
    assert [str(one.type) for one in file.schema_arrow] == [
        "string",
        "int64",
        "fixed_size_list<element: float not null>[2048]",
        "fixed_size_list<element: uint8 not null>[300]",
    ]
    assert file.schema_arrow.metadata[b"made"] == b"here"
    assert file.metadata.num_row_groups == 2
    columns = {
        file.metadata.row_group(0).column(i).path_in_schema: file.metadata.row_group(0).column(i) for i in (2, 3)
    }
    floats, small = columns["features.list.element"], columns["pixels.list.element"]
    assert not any("DICTIONARY" in name for name in floats.encodings)
    assert floats.total_uncompressed_size < 2 * 2**24
    assert small.total_compressed_size < 1.1 * 300 * file.metadata.row_group(0).num_rows
    assert floats.statistics is None


def test_labels_may_be_unknown(tmp_path):
    write_part(tmp_path / "i.parquet", names(3), [4, None, 2], rows(3))
    assert open_features(tmp_path / "i.parquet").labels.tolist() == [4, -1, 2]
    write_part(tmp_path / "t.parquet", names(3), ["cat", None, "dog"], rows(3))
    assert open_features(tmp_path / "t.parquet").labels.tolist() == ["cat", "", "dog"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_number_is_refused_by_name(tmp_path, value):
    x = rows(4)
    x[2, 1] = value
    with pytest.raises(InputError, match=r"features of photos/ünï 2.jpg are NaN or infinite"):
        write_part(tmp_path / "f.parquet", names(4), None, x)
    assert list(tmp_path.iterdir()) == []
    np.save(tmp_path / "f.npy", x)
    with pytest.raises(InputError, match=r"f.npy has NaN or infinite features in row 2"):
        list(open_features(tmp_path / "f.npy").blocks())


def test_rows_that_do_not_go_together(tmp_path):
    path = tmp_path / "f.parquet"
    for arguments, message in (
        ((names(3), None, rows(4)), "3 ids and 4 rows"),
        ((names(4), [1], rows(4)), "4 ids and 1 labels"),
        ((names(4), [1, "a", 2, 3], rows(4)), "all be whole numbers, or all text"),
        ((names(4), None, rows(4, dtype=np.float64)), "float32 or float16"),
        ((names(4), None, rows(4), {"id": rows(4)}), "cannot be named 'id'"),
        ((names(4), None, iter([rows(2), rows(2, 6)])), "must be the same"),
        ((names(4), None, iter([])), "4 ids and 0 rows"),
        (([], None, iter([])), "nothing was written"),
    ):
        with pytest.raises((InputError, TypeError), match=message):
            write_part(path, *arguments)
        assert list(tmp_path.iterdir()) == []


def folder_of(path, sizes, **card):
    path.mkdir()
    for i, n in enumerate(sizes):
        write_part(path / f"part-{i:05d}.parquet", [f"{i}-{j}" for j in range(n)], np.full(n, i), rows(n, seed=i))
    (path / "features.json").write_text(json.dumps(card))
    return path


def test_a_folder_is_its_parts_in_order(tmp_path):
    """Parts without rows among them: shards whose images were all unreadable."""
    folder = folder_of(tmp_path / "features", [0, 3, 0, 2], run="runs/x", images=5)
    table = open_features(folder)
    assert (table.shape, table.card["run"]) == ((5, 5), "runs/x")
    assert list(table.ids) == ["1-0", "1-1", "1-2", "3-0", "3-1"]
    assert table.labels.tolist() == [1, 1, 1, 3, 3]
    assert np.array_equal(table.read(), np.concatenate([rows(3, seed=1), rows(2, seed=3)]))


def test_a_folder_that_is_not_whole_is_refused(tmp_path):
    folder = folder_of(tmp_path / "features", [2, 2], images=4)
    (folder / "features.json").unlink()
    with pytest.raises(InputError, match=r"has not ended. Run the same `ganfeat extract` command again"):
        open_features(folder)
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(InputError, match="holds no features"):
        open_features(folder)
    folder = folder_of(tmp_path / "lost", [2, 2], images=6)
    with pytest.raises(InputError, match="says 6 images, the parts have 4 rows"):
        open_features(folder)
    write_part(folder / "part-00002.parquet", names(2), None, rows(2, 9))
    with pytest.raises(InputError, match="have other columns"):
        open_features(folder)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.parquet").write_text("no parquet")
    whole = tmp_path / "whole.parquet"
    write_part(whole, names(500), None, rows(500))
    (tmp_path / "cut.parquet").write_bytes(whole.read_bytes()[:-100])
    pq.write_table(pa.table({"image": [b"jpeg"]}), tmp_path / "images.parquet")
    pq.write_table(pa.table({"id": ["a"], "features": [[1.0]], "label": [1.5]}), tmp_path / "labels.parquet")
    np.save(tmp_path / "flat.npy", np.zeros(3))
    (tmp_path / "x.csv").write_text("1")
    for name, message in (
        ("text.parquet", "damaged, or no parquet"),
        ("cut.parquet", "damaged, or no parquet"),
        ("images.parquet", r"without the columns id .* it has image \(binary\)"),
        ("labels.parquet", "labels of type double"),
        ("flat.npy", "images x features"),
        ("x.csv", "no file of features"),
        ("none.npy", "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            open_features(tmp_path / name)


def test_damage_inside_is_found(tmp_path):
    """The footer is whole, the rows are not."""
    path = tmp_path / "f.parquet"
    write_part(path, names(2000), None, rows(2000, 64))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 3000] = b"\0" * 3000
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"f.parquet is damaged"):
        open_features(path).read()


def test_lists_of_others_are_read(tmp_path):
    """As pandas writes them: of any length by their type, all as long in fact; else refused."""
    x = rows(4)
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"id": names(4), "features": list(x), "label": ["a", "b", "a", "b"]}), path)
    assert np.array_equal(open_features(path).read(), x)
    ragged = pa.array([[1.0, 2.0], [1.0]])
    pq.write_table(pa.table({"id": names(2), "features": ragged}), path)
    with pytest.raises(InputError, match="features of 1 to 2 numbers"):
        open_features(path).read()
    pq.write_table(pa.table({"id": names(2), "features": pa.array([[1.0, None], [1.0, 2.0]])}), path)
    with pytest.raises(InputError, match="empty cells"):
        open_features(path).read()


def test_npy_has_its_labels_and_card_beside(tmp_path):
    np.save(tmp_path / "f.npy", rows(3))
    assert open_features(tmp_path / "f.npy").labels is None
    np.save(tmp_path / "f.labels.npy", np.array([1, 0, 2]))
    (tmp_path / "f.json").write_text('{"run": "runs/x"}')
    table = open_features(tmp_path / "f.npy")
    assert (table.labels.tolist(), table.ids, table.card) == ([1, 0, 2], None, {"run": "runs/x"})
    np.save(tmp_path / "f.labels.npy", np.array([1, 0]))
    with pytest.raises(InputError, match="2 labels for 3 rows"):
        _ = table.labels


def test_memory_does_not_grow_with_the_rows(tmp_path):
    """Of 192 MiB of rows it takes hardly more than of 64, in a process of its own."""
    code = (
        "import sys, resource, numpy as np, pyarrow\n"
        "from ganfeat.feature_files import PartWriter, open_features\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "block = np.random.default_rng(0).normal(size=(256, 4096)).astype(np.float32)\n"
        "def go(n):\n"
        "    with PartWriter(sys.argv[1]) as part:\n"
        "        for i in range(n):\n"
        "            part.write([str(j) for j in range(256)], block)\n"
        "    assert sum(len(b) for b in open_features(sys.argv[1]).blocks()) == 256 * n\n"
        "    return peak()\n"
        "small = go(16)\n"
        "print(go(48) - small)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "f.parquet")], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 24


def test_what_memory_does_not_hold_is_mapped_and_leaves_nothing(tmp_path, monkeypatch):
    from ganfeat.feature_files import reading

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(reading.tempfile, "gettempdir", lambda: str(scratch))
    x = rows(40)
    write_part(tmp_path / "f.parquet", names(40), None, x, {"pixels": np.ones((40, 3), np.uint8)})
    table = open_features(tmp_path / "f.parquet")
    assert not isinstance(table.array(), np.memmap)
    monkeypatch.setattr(reading, "_MEMORY", 0)
    mapped = table.array()
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
    assert np.array_equal(mapped, x)
    assert np.array_equal(table.array("pixels"), np.ones((40, 3)))
    assert list(scratch.iterdir()) == []
    monkeypatch.setattr(reading.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(InputError, match="set TMPDIR to a folder on a larger disk"):
        table.array()
    with pytest.raises(InputError, match="no column 'random_init': choose one of features, pixels"):
        table.array("random_init")


@pytest.mark.parametrize("kind", ["npy", "parquet", "text"])
def test_batches_are_ids_labels_and_blocks(kind, tmp_path):
    n, x = 23, rows(23)
    y = np.array([f"class {i % 3}" for i in range(n)]) if kind == "text" else np.arange(n) % 4
    if kind == "npy":
        np.save(tmp_path / "f.npy", x)
        np.save(tmp_path / "f.labels.npy", y)
        table = open_features(tmp_path / "f.npy")
    else:
        write_part(tmp_path / "f.parquet", names(n), y, x)
        table = open_features(tmp_path / "f.parquet")
    found = list(table.batches(5))
    assert [len(one.features) for one in found] == [5, 5, 5, 5, 3]
    assert np.array_equal(np.concatenate([one.features for one in found]), x)
    assert np.array_equal(np.concatenate([one.labels for one in found]), y)
    assert np.array_equal(table.labels, y)
    if kind == "npy":
        assert all(one.ids is None for one in found)
    else:
        assert [name for one in found for name in one.ids] == names(n)
        assert (table.labels.dtype.kind, table.no_labels.dtype.kind) == (y.dtype.kind,) * 2


def test_batches_read_the_file_once(tmp_path, monkeypatch):
    """Not once a batch, as asking the table for its ids and labels in a loop would."""
    from ganfeat.feature_files import reading

    write_part(tmp_path / "f.parquet", names(50), np.arange(50), rows(50))
    table, opened, reading_of = open_features(tmp_path / "f.parquet"), [], reading._reading
    monkeypatch.setattr(reading, "_reading", lambda path: opened.append(path) or reading_of(path))
    assert sum(len(one.ids) for one in table.batches(3)) == 50
    assert len(opened) == 1


@pytest.mark.parametrize("labels", [np.array(["b", "a"]), np.array([b"b", b"a"]), ["b", "a"], np.array([True, False])])
def test_the_first_rows_decide_what_labels_are(labels, tmp_path):
    """Not a block without rows before them; and truth values are numbers."""
    with PartWriter(tmp_path / "f.parquet") as part:
        part.write([], rows(0), labels[:0])
        part.write(names(2), rows(2), labels)
        part.write([], rows(0), labels[:0])
    expected = [1, 0] if not isinstance(labels, list) and labels.dtype == bool else ["b", "a"]
    assert open_features(tmp_path / "f.parquet").labels.tolist() == expected
    with PartWriter(tmp_path / "f.parquet") as part:
        part.write([], rows(0), labels[:0])
    assert open_features(tmp_path / "f.parquet").shape == (0, 5)


@pytest.mark.parametrize("first", [[], None])
def test_lists_of_no_numbers_are_refused(first, tmp_path):
    table = pa.table({"id": ["a", "b"], "features": pa.array([first, [1.0]], pa.list_(pa.float32()))})
    for content in (table, table.slice(0, 0)):
        pq.write_table(content, tmp_path / "f.parquet")
        with pytest.raises(InputError, match="has no numbers in its first row of features"):
            open_features(tmp_path / "f.parquet")


def test_categories_and_numbers_as_ids(tmp_path):
    """As pandas writes them."""
    labels = pa.array(["cat", None, "dog"]).dictionary_encode()
    pq.write_table(pa.table({"id": [7, 8, 9], "label": labels, "features": list(rows(3))}), tmp_path / "f.parquet")
    table = open_features(tmp_path / "f.parquet")
    assert (table.labels.tolist(), table.ids.tolist()) == (["cat", "", "dog"], ["7", "8", "9"])
    (batch,) = table.batches()
    assert (batch.labels.tolist(), batch.ids) == (["cat", "", "dog"], ["7", "8", "9"])


def test_parts_are_in_the_order_of_their_numbers(tmp_path):
    (tmp_path / "f").mkdir()
    for number in (99_999, 100_000, 2):
        write_part(tmp_path / f"f/part-{number:05d}.parquet", [str(number)], None, rows(1))
    (tmp_path / "f/features.json").write_text("{}")
    assert open_features(tmp_path / "f").ids.tolist() == ["2", "99999", "100000"]


def test_a_card_of_other_features_is_refused(tmp_path):
    np.save(tmp_path / "f.npy", rows(3))
    write_part(tmp_path / "f.parquet", names(3), None, rows(3))
    for said in ({"images": 4}, {"images": 3, "features": 6}):
        (tmp_path / "f.json").write_text(json.dumps({"rows": {}, **said}))
        for name in ("f.npy", "f.parquet"):
            with pytest.raises(InputError, match=r"f.json is of [34] images and [56] features, .* has 3 rows of 5"):
                open_features(tmp_path / name)
    (tmp_path / "f.json").write_text('{"images": 4}')  # something else
    assert open_features(tmp_path / "f.npy").shape == (3, 5)
