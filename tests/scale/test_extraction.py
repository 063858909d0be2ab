"""Features in parts: the same rows as the plain way, each image once, whatever happens in between."""

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganfeat import load, load_images
from ganfeat.errors import InputError
from ganfeat.feature_files import open_features
from ganfeat.scale import Options, extract
from ganfeat.scale import worker as worker_module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """40 grey images in two classes, and four things that are none, one of which was an image."""
    root = tmp_path_factory.mktemp("images")
    pixels = load_images("digits", limit=40).images
    for i, image in enumerate(pixels):
        path = root / "ab"[i % 2] / f"{i:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
    (root / "a" / "005.jpg").write_bytes(b"")
    (root / "a" / "023.jpg").write_bytes(b"no image")
    (root / "b" / "011.png").write_bytes((root / "b" / "013.png").read_bytes()[:60])
    (root / "a" / "link.png").symlink_to(root / "nowhere")
    return root


def rows_of(out):
    table = open_features(out)
    return list(table.ids), table.read(), table.labels


def names(out):
    return sorted(p.name for p in out.glob("part-*"))


def test_the_rows_are_those_of_the_plain_way(run, folder, tmp_path):
    """Ids, labels and digits, for sizes of part and batch that divide nothing evenly."""
    plain = load_images(folder, size=8, channels=1)
    expected = load(run).transform(plain)
    cards = []
    for part_rows, batch_size in ((7, 256), (13, 5), (4096, 16)):
        out = tmp_path / f"{part_rows}-{batch_size}"
        cards.append(extract(run, folder, out, Options(part_rows=part_rows), batch_size=batch_size))
        ids, rows, labels = rows_of(out)
        assert ids == list(plain.ids) and np.array_equal(rows, expected) and np.array_equal(labels, plain.labels)
        assert len(names(out)) == -(-42 // part_rows)
    assert cards[0]["images"] == len(plain) and cards[0]["classes"] == ["a", "b"]
    assert len({card["fingerprint"] for card in cards}) == 1
    assert json.loads((tmp_path / "7-256" / "features.json").read_text()) == cards[0]


def test_what_cannot_be_read_is_in_side_tables(run, folder, tmp_path):
    card = extract(run, folder, tmp_path / "f", Options(part_rows=10))
    plain = load_images(folder, size=8, channels=1)
    found = [row for path in sorted((tmp_path / "f" / "errors").iterdir()) for row in pq.read_table(path).to_pylist()]
    assert {(row["id"], row["reason"]) for row in found} == {tuple(entry) for entry in plain.skipped}
    assert card["unreadable"] == len(found) == 4
    assert {"broken link", "empty file (0 bytes)"} < {row["reason"] for row in found}
    for path in (tmp_path / "f" / "errors").glob("part-*"):  # beside the part of the same images
        part = set(pq.read_table(tmp_path / "f" / path.name)["id"].to_pylist())
        assert part and not part & {row["id"] for row in pq.read_table(path).to_pylist()}
    assert all(row["source"].startswith(str(folder)) for row in found)


@pytest.mark.parametrize("limit", [{"max_skipped": 3}, {"max_skipped": 0.05}, {"max_skipped": 0}])
def test_too_many_unreadable_images_are_refused_and_allowed_afterwards(run, folder, tmp_path, limit):
    out = tmp_path / "f"
    with pytest.raises(InputError, match=r"of 43 images cannot be read, and .*:\n  a/link.png: broken link") as error:
        extract(run, folder, out, Options(part_rows=10), **limit)
    assert "--max-skipped" in str(error.value) and not (out / "features.json").exists()
    assert extract(run, folder, out, Options(part_rows=10), max_skipped=4)["unreadable"] == 4


def test_a_limit_takes_the_images_that_load_images_takes(run, tmp_path):
    extract(run, "digits", tmp_path / "f", Options(part_rows=100, limit=77))
    images = load_images("digits", limit=77)
    ids, rows, labels = rows_of(tmp_path / "f")
    assert ids == list(map(str, images.ids)) if images.ids else len(ids) == 77
    assert np.array_equal(rows, load(run).transform(images)) and np.array_equal(labels, images.labels)


@pytest.mark.parametrize(
    "settings",
    [
        {"taps": ("0:conv", "head"), "mirror": True, "pool": 2, "pooling": "avg"},
        {"bn": "recalibrate", "recalibrate_on": "digits"},
        {"bn": "recalibrate", "recalibrate_on": "digits", "seed": 5},
        {"dtype": "float16", "at": "norm"},
    ],
    ids=["taps", "recalibrated", "another untrained network", "float16"],
)
def test_options_mean_what_they_mean_to_an_extractor(run, tmp_path, settings):
    extract(run, "digits", tmp_path / "f", Options(part_rows=50, limit=60, baselines=True, **settings))
    images, gan = load_images("digits", limit=60), load(run)
    wanted = {k: v for k, v in settings.items() if k not in ("recalibrate_on", "seed")}
    twin = gan.random_init(load_images("digits"), random_state=5) if "seed" in settings else gan.random_init()
    table = open_features(tmp_path / "f")
    for column, owner in (("features", gan), ("random_init", twin)):
        extractor = owner.extractor(**wanted)
        if "bn" in settings:
            extractor.fit(load_images("digits"))
        expected = extractor.transform(images)
        assert table.read(column).dtype == expected.dtype and np.array_equal(table.read(column), expected), column
    assert np.array_equal(table.read("pixels"), images.images.reshape(60, -1))


def test_components_are_those_of_the_features_and_are_handed_on(run, tmp_path):
    extract(run, "digits", tmp_path / "whole", Options(part_rows=500))
    card = extract(run, "digits", tmp_path / "small", Options(part_rows=700, pca=5, whiten=True))
    rows, small = rows_of(tmp_path / "whole")[1].astype(np.float64), rows_of(tmp_path / "small")[1]
    centred = rows - rows.mean(axis=0)
    vectors = np.linalg.svd(centred, full_matrices=False)[2][:5]
    expected = centred @ vectors.T
    expected /= expected.std(axis=0, ddof=1)
    signs = np.sign((expected * small).sum(axis=0))
    np.testing.assert_allclose(small, expected * signs, atol=2e-3)
    assert card["pca"]["components"] == card["features"] == 5 and card["pca"]["of"] == rows.shape[1]
    np.save(tmp_path / "few.npy", load_images("digits").images[100:130])
    for given in ("small", "small/projection.safetensors"):
        out = tmp_path / given.replace("/", "-").replace(".", "-")
        again = extract(run, tmp_path / "few.npy", out.with_name("of-" + out.name), Options(pca_from=tmp_path / given))
        assert np.array_equal(rows_of(out.with_name("of-" + out.name))[1], small[100:130]), given
        assert again["pca"] == card["pca"]
    extract(
        run, "digits", tmp_path / "learned", Options(part_rows=700, pca=5, whiten=True, pca_from=tmp_path / "whole")
    )
    np.testing.assert_allclose(rows_of(tmp_path / "learned")[1], small, atol=1e-4)


def test_going_on_does_only_what_is_missing(run, tmp_path, monkeypatch):
    out, options = tmp_path / "f", Options(part_rows=300)
    card = extract(run, "digits", out, options)
    content = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    before = {name: (out / name).stat().st_mtime_ns for name in names(out)}
    loaded = []
    monkeypatch.setattr(worker_module, "load", lambda *a, **k: loaded.append(a) or load(*a, **k))
    assert extract(run, "digits", out, options) == card and not loaded  # whole: nothing to do
    for gone in ("part-00001.parquet", "part-00004.parquet"):
        (out / gone).unlink()
    assert extract(run, "digits", out, options) == card and len(loaded) == 1
    after = {name: (out / name).stat().st_mtime_ns for name in names(out)}
    assert {name for name in after if after[name] != before[name]} == {"part-00001.parquet", "part-00004.parquet"}
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == content


CHANGES = {
    "pool": (Options(part_rows=300, pool=2), "pool: 4 -> 2"),
    "parts": (Options(part_rows=301), "part_rows: 300 -> 301"),
    "taps": (Options(part_rows=300, taps=("-1",)), "taps: "),
    "baselines": (Options(part_rows=300, baselines=True), 'baselines: None -> "the run\'s own"'),
    "components": (Options(part_rows=300, pca=3), "pca: "),
}


@pytest.fixture(scope="module")
def begun(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("begun") / "f"
    extract(run, "digits", out, Options(part_rows=300))
    return out


@pytest.mark.parametrize("change", CHANGES)
def test_another_plan_is_refused_with_the_difference(run, begun, change):
    options, said = CHANGES[change]
    before = {p: p.read_bytes() for p in begun.rglob("*") if p.is_file()}
    with pytest.raises(InputError, match="another plan") as error:
        extract(run, "digits", begun, options)
    assert said in str(error.value) and "another --out" in str(error.value)
    assert {p: p.read_bytes() for p in begun.rglob("*") if p.is_file()} == before


def test_other_images_and_another_run_are_refused(run, folder, tmp_path, begun):
    data = tmp_path / "x.npy"
    np.save(data, load_images("digits", limit=30).images)
    extract(run, data, tmp_path / "f", Options())
    np.save(data, load_images("digits", limit=31).images)
    with pytest.raises(InputError, match="the images have changed"):
        extract(run, data, tmp_path / "f", Options())
    load(run).random_init().save(tmp_path / "other")
    with pytest.raises(InputError, match="the run has changed"):
        extract(tmp_path / "other", "digits", begun, Options(part_rows=300))


def test_a_foreign_folder_and_a_damaged_or_foreign_part_are_refused(run, tmp_path):
    out, options = tmp_path / "f", Options(part_rows=600)
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"other files \(notes.txt\)"):
        extract(run, "digits", out, options)
    (out / "notes.txt").unlink()
    card = extract(run, "digits", out, options)
    for name, content in (
        ("part-00009.parquet", None),
        ("part-00001.parquet", b"PAR1"),
        ("part-00000.parquet", "less"),
    ):
        whole = (out / name).read_bytes() if (out / name).exists() else None
        (out / "features.json").unlink()
        if content == "less":
            pq.write_table(pq.read_table(out / name).slice(1), out / name)
        else:
            (out / name).write_bytes(content or (out / "part-00000.parquet").read_bytes())
        with pytest.raises(InputError, match=f"{name}.* delete"):
            extract(run, "digits", out, options)
        assert not (out / "features.json").exists()
        (out / name).unlink() if whole is None else (out / name).write_bytes(whole)
        assert extract(run, "digits", out, options) == card


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


@contextmanager
def killed_before_change(number, moment=lambda: True):
    """Every rename, removal and new folder counts, from the moment on; before this one everything stops."""
    made = []

    def counted(method):
        def change(*arguments, **more):
            if moment():
                if len(made) >= number:
                    raise Killed
                made.append(arguments)
            return method(*arguments, **more)

        return change

    changes = [(Path, "replace"), (Path, "rename"), (Path, "unlink"), (Path, "mkdir"), (Path, "touch")]
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in [*changes, (shutil, "rmtree"), (os, "rename"), (os, "unlink"), (os, "rmdir")]:
            patch.setattr(owner, name, counted(getattr(owner, name)))
        yield made


def errors_told(out, name):
    path = out / "errors" / name
    return pq.read_table(path)["id"].to_pylist() if path.exists() else []


def test_killed_before_any_change_of_a_file_a_part_is_there_with_its_errors_or_not_at_all(run, folder, tmp_path):
    options, expected = Options(part_rows=15), {}
    card = extract(run, folder, tmp_path / "whole", options)
    for name in names(tmp_path / "whole"):
        ids = pq.read_table(tmp_path / "whole" / name)["id"].to_pylist()
        expected[name] = (ids, errors_told(tmp_path / "whole", name))
    assert sum(bool(errors) for _, errors in expected.values()) >= 2
    out = tmp_path / "begun"
    with killed_before_change(0, lambda: (out / "plan.json").exists()), pytest.raises(Killed):
        extract(run, folder, out, options)
    for name in expected:  # as if the first attempt at each had read it otherwise
        shutil.copy(tmp_path / "whole" / "errors" / "listing.parquet", out / "errors" / name)
    kills = 0
    for number in range(200):
        again = tmp_path / f"f{number}"
        shutil.copytree(out, again)
        try:
            with killed_before_change(number):
                assert extract(run, folder, again, options) == card
        except Killed:
            kills += 1
        for name in names(again):
            ids = pq.read_table(again / name)["id"].to_pylist()
            assert (ids, errors_told(again, name)) == expected[name], (number, name)
        if (again / "features.json").exists():
            break
        if number % 6 == 0:  # and from there it goes on
            assert extract(run, folder, again, options) == card
        shutil.rmtree(again)
    assert kills > 10
    assert extract(run, folder, again, options) == card
    assert not list((again / "work").glob("attempt-*"))
    assert {p.name: p.read_bytes() for p in (tmp_path / "whole").glob("part-*")} == {
        p.name: p.read_bytes() for p in again.glob("part-*")
    }


def test_a_start_that_was_killed_can_be_made_again(run, tmp_path):
    options, data = Options(pca=2), tmp_path / "x.npy"
    np.save(data, load_images("digits", limit=40).images)
    card = extract(run, data, tmp_path / "whole", options)
    kills = 0
    for number in range(100):
        out = tmp_path / f"f{number}"
        try:
            with killed_before_change(number):
                extract(run, data, out, options)
        except Killed:
            kills += 1
        begun = (out / "plan.json").exists()
        assert extract(run, data, out, options) == card, number
        if begun:
            break
    assert kills >= 8


@pytest.mark.parametrize("mine", ["work/thesis.tex", "errors/log.txt", "projection.safetensors", "work/work/x"])
def test_folders_of_a_person_that_have_our_names_are_left_alone(run, tmp_path, mine):
    path = tmp_path / "f" / mine
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(InputError, match="other files"):
        extract(run, "digits", tmp_path / "f")
    assert [p.name for p in (tmp_path / "f").rglob("*") if p.is_file()] == [path.name] and path.read_text() == "mine"


def test_tar_files_whose_number_of_images_is_not_known_before(run, folder, tmp_path):
    """Labels are texts, parts are files; a damaged member is an error like another; a limit cannot be met."""
    import io
    import tarfile

    images = load_images("digits", limit=9)
    for shard in range(3):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for i in range(3 * shard, 3 * shard + 3):
                content = io.BytesIO()
                Image.fromarray(images.images[i, ..., 0]).save(content, "PNG")
                for suffix, data in (
                    (".png", content.getvalue() if i != 4 else b"no"),
                    (".cls", b"%d" % images.labels[i]),
                ):
                    member = tarfile.TarInfo(f"{i:03d}{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    card = extract(run, str(tmp_path / "*.tar"), tmp_path / "f", max_skipped=1)
    kept = np.delete(np.arange(9), 4)
    table = open_features(tmp_path / "f")
    assert np.array_equal(table.read(), load(run).transform(images.images[kept]))
    assert [str(label) for label in table.labels] == [str(label) for label in images.labels[kept]]
    assert (card["parts"], card["images"], card["unreadable"]) == (3, 8, 1)
    with pytest.raises(InputError, match="--limit"):
        extract(run, str(tmp_path / "*.tar"), tmp_path / "g", Options(limit=3))
    with pytest.raises(InputError, match="1 of 9 images cannot be read"):
        extract(run, str(tmp_path / "*.tar"), tmp_path / "h", max_skipped=0.0)
    learned = extract(run, str(tmp_path / "*.tar"), tmp_path / "p", Options(pca=2), max_skipped=1)
    assert learned["pca"]["learned from rows"] == 8
