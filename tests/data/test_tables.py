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
    shards = sorted(tmp_path.iterdir())
    (tmp_path / "._data-00000-of-00002.parquet").write_bytes(b"what macOS leaves")
    lists = (shards, tuple(map(str, reversed(shards))))
    for source in (tmp_path, tmp_path / "data-*.parquet", str(tmp_path / "*.parquet"), *lists):
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


def test_names_of_splits(tmp_path):
    """As the Hub names shards, or folders, with splits of any name; the way out that is named leads out."""
    layouts = {
        "test, train": ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"),
        "extra, train": ("extra-00000-of-00001.parquet", "train-00000-of-00001-0a1b2c3d.parquet"),
        "train, validation": ("a/train/0000.parquet", "a/val/0000.parquet"),
        "test, train ": ("train/data-00000-of-00001.parquet", "test/data-00000-of-00001.parquet"),
        "test, train  ": ("Train.parquet", "test.parquet"),
    }
    for row, (splits, names) in enumerate(layouts.items()):
        for place, name in enumerate(names):
            path = tmp_path / f"[{row}]" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, IMAGES[place : place + 1])
        with pytest.raises(InputError, match=f"splits {splits.strip()}: say which, one of ") as refused:
            load_images(tmp_path / f"[{row}]")
        sources = [source.strip("'") for source in str(refused.value).split("one of ")[1].split(", ")]
        assert sum(len(load_images(source)) for source in sources) == len(names)


def test_lists_of_paths(tmp_path):
    a, b = write(tmp_path / "a.parquet", IMAGES[:4]), write(tmp_path / "b.parquet", IMAGES[4:])
    assert load_images([b, a]).source == f"{a} … {b} (2 files)"
    assert load_images((a,)).source == str(a)
    for wrong, said in (
        ([a, tmp_path / "c.parquet"], r"there is no file .*c\.parquet.*did you mean"),
        ([a, tmp_path], "a list of paths must name parquet files"),
        ([a, str(tmp_path / "b.png")], r"b\.png' is none: give images by folder"),
        ([a, b, tmp_path / ".." / tmp_path.name / "a.parquet"], "twice"),
    ):
        with pytest.raises(InputError, match=said):
            load_images(wrong)


def test_house_numbers_in_shards(tmp_path):
    """The Hub's copy of SVHN: settings, skipping, packing and progress go over all shards as over one file."""
    names, labels = list("0123456789"), [9, 0, 1, 5, 5, 7, 2]
    for row, part in enumerate((slice(0, 3), slice(3, 6), slice(6, 7))):
        path = tmp_path / "svhn" / "cropped_digits" / f"train-{row:05}-of-00003.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, IMAGES[part], names, label=labels[part])
    whole = load_images(write(tmp_path / "one.parquet", IMAGES, names, label=labels))
    seen = []
    source = str(path.parent / "train-*.parquet")
    dataset = load_images(source, progress=lambda done, total: seen.append((done, total)))
    assert dataset.fingerprint() == whole.fingerprint()
    assert (dataset.labels.tolist(), dataset.classes, dataset.source) == (labels, tuple(names), source)
    assert seen[-1] == (7, 7)
    options = {"size": 4, "channels": 1, "limit": 4}
    small = load_images(whole.images, **options)
    for _ in range(2):
        packed = load_images(source, **options, pack=tmp_path / "pack.npy")
        assert packed.images.shape == small.shape
        assert packed.labels.tolist() == [labels[row] for row in (0, 1, 3, 5)]
    with pytest.raises(InputError, match="other images"):
        load_images(sorted(path.parent.iterdir())[:2], **options, pack=tmp_path / "pack.npy")
    broken = pa.array([{"bytes": b"no image", "path": None}], CELL)
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "image", broken), path)
    dataset = load_images(source, max_skipped=1)
    assert [skipped.source for skipped in dataset.skipped] == [f"{path.name}:0"]
    assert dataset.labels.tolist() == labels[:6]
    with pytest.raises(InputError, match=f"1 of 7 images.*none may be:\n  {path.name}:0"):
        load_images(source, strict=True)


def test_shards_must_agree(tmp_path):
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    labels = [0, 1, 0, 1, 1, 0, 1]
    write(a, names=["cat", "dog"], label=labels)
    for wrong, said in (
        ({}, "differ in the column 'label'"),
        ({"label": labels, "names": ["dog", "cat"]}, "name the classes in 'label' differently"),
        ({"label": labels}, "name the classes in 'label' differently"),
        ({"label": list("abababa")}, "differ in the column 'label'"),
        ({"fine_label": labels}, "differ in the column '(fine_)?label'"),
    ):
        write(b, **wrong)
        for first, second in ((a, b), (b, a)):
            shards = [shard.rename(tmp_path / f"{row}.parquet") for row, shard in enumerate((first, second))]
            with pytest.raises(InputError, match=rf"1\.parquet and .*0\.parquet {said}: load them separately"):
                load_images(tmp_path)
            for shard, name in zip(shards, (first, second), strict=True):
                shard.rename(name)
    pq.write_table(pa.table({"picture": [png(IMAGES[0])], "label": [0]}), b)
    with pytest.raises(InputError, match=r"b\.parquet and .*a\.parquet differ in the column 'image'"):
        load_images(tmp_path)


def test_damage_between_header_and_footer_names_the_shard(tmp_path):
    write(tmp_path / "a.parquet", label=list(range(7)))
    content = bytearray(write(tmp_path / "b.parquet", label=list(range(7))).read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[4:footer] = bytes(footer - 4)
    (tmp_path / "b.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"b\.parquet is damaged .*fetch it again"):
        load_images(tmp_path)


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
