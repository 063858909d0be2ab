"""Parquet as the Hugging Face Hub has it."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganfeat.data import Skipped, load_images
from ganfeat.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def write(path, images=IMAGES, names=None, **columns):
    cells = pa.array([{"bytes": png(image), "path": None} for image in images], CELL)
    table = pa.table({"image": cells, **columns})
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=3)
    return path


def test_round_trip_with_class_names(tmp_path):
    path = write(tmp_path / "x.parquet", names=["cat", "dog"], label=[0, 1, 0, 1, 1, 0, None])
    dataset = load_images(path)
    assert np.array_equal(dataset.images, IMAGES)
    assert dataset.labels.tolist() == [0, 1, 0, 1, 1, 0, -1]
    assert dataset.classes == ("cat", "dog")
    assert dataset.ids[3] == "x.parquet:3"
    assert np.array_equal(load_images(path, workers=4).images, IMAGES)


def test_other_labels(tmp_path):
    path = tmp_path / "x.parquet"
    assert load_images(write(path)).labels is None
    named = load_images(write(path, fine_label=list("bacabab")))
    assert (named.classes, named.labels.tolist()) == (("a", "b", "c"), [1, 0, 2, 0, 1, 0, 1])
    coded = load_images(write(path, target=pa.array(list("bacabab")).dictionary_encode()))
    assert coded.labels.tolist() == [1, 0, 2, 0, 1, 0, 1]
    plain = load_images(write(path, label=[5, 6, 7, 5, 6, 7, 5]))
    assert (plain.classes, plain.labels.tolist()) == (None, [5, 6, 7, 5, 6, 7, 5])
    assert load_images(write(path, label=[[1]] * 7)).labels is None
    assert load_images(write(path, label=[0.5] * 7)).labels is None


def test_binary_column_and_rows_without_images(tmp_path):
    cells = [png(IMAGES[0]), None, png(IMAGES[2])[:60], png(IMAGES[3])]
    pq.write_table(pa.table({"picture": pa.array(cells, pa.binary()), "label": [4, 5, 6, 7]}), tmp_path / "x.parquet")
    dataset = load_images(tmp_path / "x.parquet", max_skipped=2)
    assert np.array_equal(dataset.images, IMAGES[[0, 3]])
    assert dataset.labels.tolist() == [4, 7]
    assert dataset.ids == ("x.parquet:0", "x.parquet:3")
    assert dataset.skipped[0] == Skipped("x.parquet:1", "no image in this row")
    assert dataset.skipped[1].source == "x.parquet:2"


def test_paths_inside_are_not_followed(tmp_path):
    Image.fromarray(IMAGES[0]).save(tmp_path / "secret.png")
    cells = pa.array([{"bytes": None, "path": str(tmp_path / "secret.png")}], CELL)
    pq.write_table(pa.table({"image": cells}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="names a file"):
        load_images(tmp_path / "x.parquet")


def test_shards_by_folder_and_glob(tmp_path):
    write(tmp_path / "data-00000-of-00002.parquet", IMAGES[:4], label=[0, 1, 2, 3])
    write(tmp_path / "data-00001-of-00002.parquet", IMAGES[4:], label=[4, 5, 6])
    for source in (tmp_path, tmp_path / "data-*.parquet", str(tmp_path / "*.parquet")):
        dataset = load_images(source)
        assert np.array_equal(dataset.images, IMAGES)
        assert dataset.labels.tolist() == list(range(7))
    assert dataset.ids[4] == "data-00001-of-00002.parquet:0"
    part = load_images(tmp_path, limit=3)
    assert np.array_equal(part.images, IMAGES[[0, 2, 4]])
    assert part.labels.tolist() == [0, 2, 4]


def test_splits_are_not_mixed(tmp_path):
    write(tmp_path / "train-00000.parquet")
    write(tmp_path / "test-00000.parquet", IMAGES[:2])
    with pytest.raises(InputError, match=r"splits test, train: say which, one of '.*test\*\.parquet'"):
        load_images(tmp_path)
    assert len(load_images(tmp_path / "test*.parquet")) == 2


def test_what_is_no_table_of_images(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        load_images(path)
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(InputError, match="found none; the columns are text"):
        load_images(path)
    pq.write_table(pa.table({"a": [b"x"], "b": [b"y"]}), path)
    with pytest.raises(InputError, match=r"found several \(a, b\)"):
        load_images(path)
    write(path, IMAGES[:0])
    with pytest.raises(InputError, match="no image"):
        load_images(path)
    with pytest.raises(InputError, match="no parquet file matches"):
        load_images(tmp_path / "*.pq")
    write(tmp_path / "a.parquet", label=list(range(7)))
    write(tmp_path / "b.parquet", label=list("abcdefg"))
    with pytest.raises(InputError, match="differ in the column 'label'"):
        load_images(tmp_path / "[ab].parquet")
