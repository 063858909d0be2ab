"""Recipes of tables: what is scored, on which rows, and what an interrupted run keeps."""

import io
import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.svm import LinearSVC

from ganfeat import InputError, load
from ganfeat.cli import main
from ganfeat.probes import PROTOCOLS, FeatureScaler, Protocol
from ganfeat.recipes import dcgan_cifar10, dcgan_svhn1000, tables
from ganfeat.recipes.kept import kept_scores
from ganfeat.recipes.tables import Published, Recipe, Scale, run

ROWS, LABELS = load_digits(return_X_y=True)
IMAGES = np.repeat(ROWS.reshape(-1, 8, 8).repeat(4, axis=1).repeat(4, axis=2)[..., None] * 15, 3, axis=3).astype(
    np.uint8
)
TRAIN, TEST = slice(0, 400), slice(400, 600)

TINY = Recipe(
    name="tiny",
    about="a stand-in",
    data="SVHN's files",
    files=dcgan_svhn1000.RECIPE.files,
    protocols={
        "all": replace(PROTOCOLS["all-labels"], Cs=(0.1, 10.0)),
        "validated": replace(
            PROTOCOLS["svhn-1000"], labels_per_class=(5,), draws=3, validation_rows=100, validation_draws=2
        ),
    },
    scales={"smoke": Scale({"width": 4, "max_iter": 1, "n_components": 8}, centroids=8)},
    published=(Published("something", 80.0, "a paper"),),
    targets={"smoke": ("our DCGAN", "all", 10.0)},
)


@contextmanager
def silent(name, total):
    yield lambda done, total=None, note="": None


def write_mat(folder):
    """As SVHN has it: the image's number last, and 10 for the digit 0."""
    for name, rows in (("train", TRAIN), ("test", TEST)):
        y = np.where(LABELS[rows] == 0, 10, LABELS[rows]).astype(np.uint8)[:, None]
        scipy.io.savemat(folder / f"{name}_32x32.mat", {"X": np.moveaxis(IMAGES[rows], 0, -1), "y": y})
    return folder


def write_parquet(folder, labels=LABELS):
    """As the Hub has it: PNG bytes, in shards."""

    def png(image):
        content = io.BytesIO()
        Image.fromarray(image).save(content, "png")
        return {"bytes": content.getvalue(), "path": None}

    for name, rows in (
        ("train-00000-of-00002", slice(0, 200)),
        ("train-00001-of-00002", slice(200, 400)),
        ("test-0", TEST),
    ):
        table = pa.table({"image": [png(i) for i in IMAGES[rows]], "label": labels[rows]})
        pq.write_table(table, folder / f"{name}.parquet")
    return folder


def write_arrays(folder, maps, seed=0):
    """As the DCGAN authors released theirs: a network of so many maps, from the image on."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(0, 0.2, shape).astype(np.float32)

    def norm(n):
        return [1 + draw(n), draw(n)]

    d, top = [draw(maps[1], maps[0], 3, 3)], 16 * maps[-1]
    g = [draw(5, top), *norm(top)]
    for before, after in pairwise(maps[1:]):
        d += [draw(after, before, 3, 3), *norm(after)]
        g[3:3] = [draw(after, before, 3, 3), *norm(before)]
    d.append(draw(top, 1))
    g.append(draw(maps[1], maps[0], 3, 3))
    folder.mkdir()
    for name, arrays in (("discrim", d), ("gen", g)):
        for i, array in enumerate(arrays, 1):
            np.save(folder / f"200_{name}_params.jl_{i:02d}.npy", array)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipe")
    results = run(TINY, folder / "out", write_mat(folder), silent, scale="smoke", command="ganfeat reproduce tiny")
    return folder, results


def test_every_number_stands_beside_its_baselines(finished):
    folder, results = finished
    assert list(results["results"]) == [
        "raw pixels",
        "PCA",
        "k-means, 8 centroids",
        "our DCGAN, untrained",
        "our DCGAN",
    ]
    assert results == json.loads((folder / "out" / "results.json").read_text())
    assert results["published"][0]["accuracy"] == 80.0 and results["learned_from"] == 400 and results["test"] == 200
    for entry in results["results"].values():
        assert entry["all"]["draws"] == 1 and entry["validated"]["draws"] == 3
        assert entry["validated"]["half_width"] == pytest.approx(1.96 * entry["validated"]["std"])
    reached = 100 * results["results"]["our DCGAN"]["all"]["mean"]
    assert results["target"] == {
        "set": "our DCGAN",
        "protocol": "all",
        "goal": 10.0,
        "reached": reached,
        "points_above": reached - 10,
    }
    assert results["protocols"]["validated"] == TINY.protocols["validated"].card()


def test_the_numbers_are_those_of_the_run_folder(finished):
    """The features of the saved network, standardised, with the C that was chosen, by scikit-learn."""
    folder, results = finished
    gan = load(folder / "out" / "run")
    for model, name in ((gan, "our DCGAN"), (gan.random_init(), "our DCGAN, untrained")):
        entry = results["results"][name]
        train, test = model.transform(IMAGES[TRAIN]), model.transform(IMAGES[TEST])
        assert entry["features"] == train.shape[1]
        scaler = FeatureScaler().fit(train)
        svm = LinearSVC(C=entry["all"]["C"], dual=False).fit(scaler.transform(train), LABELS[TRAIN])
        assert entry["all"]["mean"] == pytest.approx(svm.score(scaler.transform(test), LABELS[TEST]), abs=0.011)
    raw = LinearSVC(C=1.0, dual=False).fit(IMAGES[TRAIN].reshape(400, -1) / 255.0, LABELS[TRAIN])
    expected = raw.score(IMAGES[TEST].reshape(200, -1) / 255.0, LABELS[TEST])
    assert results["results"]["raw pixels"]["all"]["mean"] == pytest.approx(expected, abs=0.05)


def test_parquet_shards_give_the_same_numbers(finished, tmp_path):
    _, results = finished
    other = run(TINY, tmp_path / "out", write_parquet(tmp_path), silent, scale="smoke")
    for name, entry in results["results"].items():
        for key in TINY.protocols:
            assert other["results"][name][key] == entry[key]


def test_what_was_scored_before_is_kept_and_other_settings_are_not(finished):
    folder, results = finished
    kept = json.loads((folder / "out" / "scores.json").read_text())
    kept["scores"]["PCA"]["all"]["mean"] = 0.123
    del kept["scores"]["our DCGAN"]
    (folder / "out" / "scores.json").write_text(json.dumps(kept))
    again = run(TINY, folder / "out", folder, silent, scale="smoke")
    assert again["results"]["PCA"]["all"]["mean"] == 0.123
    assert again["results"]["our DCGAN"]["all"] == results["results"]["our DCGAN"]["all"]
    other = replace(TINY, protocols={"all": replace(TINY.protocols["all"], Cs=(0.1, 1.0, 10.0))})
    assert run(other, folder / "out", folder, silent, scale="smoke")["results"]["PCA"]["all"]["mean"] > 0.3


BRIEF = replace(
    TINY,
    protocols={"few": Protocol(labels_per_class=(2,), draws=2)},
    scales={"smoke": Scale(None, centroids=2)},
    targets={},
    imported="theirs",
)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Scores of imported weights, with one of them marked."""
    folder = tmp_path_factory.mktemp("imported")
    write_mat(folder)
    run(BRIEF, folder / "out", folder, silent, scale="smoke", weights=write_arrays(folder / "arrays", [3, 2, 4, 8]))
    kept = json.loads((folder / "out" / "scores.json").read_text())
    kept["scores"]["PCA"]["few"]["mean"] = 0.123
    return folder, json.dumps(kept)


def changed_test_image(folder, patch):
    images = IMAGES[TEST].copy()
    images[0, 0, 0] ^= 1
    y = np.where(LABELS[TEST] == 0, 10, LABELS[TEST]).astype(np.uint8)[:, None]
    scipy.io.savemat(folder / "test_32x32.mat", {"X": np.moveaxis(images, 0, -1), "y": y})


def changed_test_label(folder, patch):
    y = np.where(LABELS[TEST] == 0, 10, LABELS[TEST]).astype(np.uint8)[::-1, None]
    scipy.io.savemat(folder / "test_32x32.mat", {"X": np.moveaxis(IMAGES[TEST], 0, -1), "y": y})


def changed_weight(folder, patch):
    path = folder / "arrays" / "200_discrim_params.jl_01.npy"
    np.save(path, np.load(path) * np.float32(2))


def changed_version(folder, patch):
    patch.setattr(tables, "__version__", "0.0.0")


CHANGES = (None, changed_test_image, changed_test_label, changed_weight, changed_version)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__ if change else "unchanged")
def test_scores_are_kept_only_of_the_same_images_weights_and_version(imported, change, tmp_path, monkeypatch):
    folder, kept = imported
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "out" / "scores.json").write_text(kept)
    if change is not None:
        change(tmp_path / "copy", monkeypatch)
    again = run(
        BRIEF, tmp_path / "copy" / "out", tmp_path / "copy", silent, scale="smoke", weights=tmp_path / "copy" / "arrays"
    )
    assert (again["results"]["PCA"]["few"]["mean"] == 0.123) == (change is None)
    seconds, scored = again["seconds"], sum(entry["seconds"] for entry in again["results"].values())
    assert seconds["scoring"] == pytest.approx(scored)
    assert seconds["scoring in earlier calls"] == pytest.approx(scored if change is None else 0)


@pytest.mark.parametrize("content", ["[]", "3", "null", "{}", '{"settings": 1}', "{", '{"settings": S}', "no UTF-8"])
def test_a_file_of_scores_of_another_form_is_none(content, tmp_path):
    path = tmp_path / "scores.json"
    path.write_bytes(content.replace("S", '{"seed": 0}').encode() if content != "no UTF-8" else b"\xff")
    assert kept_scores(path, {"seed": 0}) == {}


def test_seconds_of_training_are_those_of_all_its_calls():
    """Those of the records begin anew with every call: 5 of the first, 4 of the second."""
    own = SimpleNamespace(history_=[{"seconds": s} for s in (1.0, 5.0, 2.0, 4.0)])
    found = tables._seconds(own, {"a": {"seconds": 3.0}, "b": {"seconds": 2.5}}, ["a"], 7.0)
    assert found == {"training": 9.0, "scoring": 5.5, "scoring in earlier calls": 3.0, "this call": 7.0}
    assert tables._seconds(None, {}, [], 0.0)["training"] == 0


@pytest.mark.parametrize("fails", [False, True])
def test_large_features_are_the_same_in_files_that_do_not_stay(finished, fails, tmp_path, monkeypatch):
    folder, results = finished
    mapped = []

    def recorded(rows, labels, held_out, *arguments, **settings):
        mapped.append(isinstance(rows, np.memmap) and isinstance(held_out, np.memmap))
        if fails and mapped[-1]:
            raise RuntimeError("interrupted")
        return tables_curve(rows, labels, held_out, *arguments, **settings)

    tables_curve = tables.few_label_curve
    monkeypatch.setattr(tables, "few_label_curve", recorded)
    monkeypatch.setattr("ganfeat.features.MEMORY", 1000)
    if fails:
        with pytest.raises(RuntimeError, match="interrupted"):
            run(TINY, tmp_path / "out", folder, silent, scale="smoke")
    else:
        again = run(TINY, tmp_path / "out", folder, silent, scale="smoke")
        for name, entry in results["results"].items():
            assert {**again["results"][name], "seconds": 0} == {**entry, "seconds": 0}
        assert mapped == [False] * 6 + [True] * 4  # two protocols; pixels, PCA and k-means stay in memory
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"run", "scores.json"} | (set() if fails else {"results.json"})


def test_a_disk_that_is_too_small_is_told(finished, tmp_path, monkeypatch):
    folder, _ = finished
    monkeypatch.setattr("ganfeat.features.MEMORY", 1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(InputError, match="--out on a larger disk"):
        run(TINY, tmp_path / "out", folder, silent, scale="smoke")


def test_images_without_a_label_are_left_out(tmp_path):
    write_parquet(tmp_path, np.where(np.arange(len(LABELS)) % 4 == 1, -1, LABELS))
    learn, test = tables.read_pair(dcgan_cifar10.RECIPE, tmp_path, Scale(None, centroids=1), silent)
    rest = np.arange(600) % 4 != 1
    for found, part in ((learn, TRAIN), (test, TEST)):
        np.testing.assert_array_equal(found.labels, LABELS[part][rest[part]])
        np.testing.assert_array_equal(found.images, IMAGES[part][rest[part]])


@pytest.mark.parametrize(("label", "message"), [(-1, "has no labels"), (3, "1 class")])
def test_images_without_labels_or_of_one_class_are_refused(label, message, tmp_path):
    write_parquet(tmp_path, np.full(len(LABELS), label))
    with pytest.raises(InputError, match=message):
        tables.read_pair(dcgan_cifar10.RECIPE, tmp_path, Scale(None, centroids=1), silent)


@pytest.mark.parametrize("write", [write_mat, write_parquet])
@pytest.mark.parametrize("name", ["a[b]", "a*", "a?[!b]"])
def test_a_folder_whose_name_looks_like_a_pattern(name, write, tmp_path):
    (tmp_path / name).mkdir()
    learn, test = tables.read_pair(dcgan_svhn1000.RECIPE, write(tmp_path / name), Scale(None, centroids=1), silent)
    np.testing.assert_array_equal(learn.images, IMAGES[TRAIN])
    np.testing.assert_array_equal(test.labels, LABELS[TEST])


def test_weights_of_other_images_are_refused_before_the_training(finished, tmp_path):
    folder, _ = finished
    arrays = write_arrays(tmp_path / "arrays", [1, 2, 4])
    with pytest.raises(InputError, match="16 x 16 x 1 images, and the images of tiny are 32 x 32 x 3: give"):
        run(TINY, tmp_path / "out", folder, silent, scale="smoke", weights=arrays)
    assert not (tmp_path / "out").exists()


def test_mirror_images_are_scored_too(finished, tmp_path):
    folder, _ = finished
    mirrored = replace(TINY, mirror=True, protocols={"all": Protocol(labels_per_class=(5,), draws=2)})
    results = run(mirrored, tmp_path / "out", folder, silent, scale="smoke")
    both = results["results"]
    assert both["our DCGAN"] != both["our DCGAN, with mirror images"]
    assert "mirror" in results["features_card"]["with mirror images"]


def test_a_training_that_was_stopped_gives_no_numbers_and_goes_on(finished, tmp_path):
    folder, _ = finished

    class Impatient:
        def __call__(self, gan):
            self.gan = gan

    impatient = Impatient()

    @contextmanager
    def stage(name, total):
        def update(done, total=None, note=""):
            if name == "training":
                impatient.gan.request_stop()

        yield update

    slower = replace(TINY, scales={"smoke": Scale({**TINY.scales["smoke"].network, "max_iter": 12}, centroids=8)})
    assert run(slower, tmp_path / "out", folder, stage, scale="smoke", on_start=impatient) is None
    assert not (tmp_path / "out" / "results.json").exists()
    assert run(slower, tmp_path / "out", folder, silent, scale="smoke")["epochs"] == 12


@pytest.mark.parametrize("recipe", [dcgan_cifar10.RECIPE, dcgan_svhn1000.RECIPE], ids=lambda r: r.name)
def test_the_recipes_hold_together(recipe):
    assert set(recipe.scales) == {"smoke", "cpu", "full"}
    for scale, (name, protocol, goal) in recipe.targets.items():
        assert scale in recipe.scales and protocol in recipe.protocols and 0 < goal < 100
        assert name.startswith("our DCGAN") and (recipe.mirror or "mirror" not in name)
    for scale in recipe.scales.values():
        assert scale.network is None or "random_state" not in scale.network


def call(*arguments):
    return main(["reproduce", *map(str, arguments)])


def test_the_command_says_what_to_give_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_mat(tmp_path)
    (tmp_path / "file").write_text("x")
    wrong = [
        (["dcgan-cifar10", "--data", tmp_path / "nowhere"], "is no folder"),
        (["dcgan-cifar10", "--data", tmp_path / "empty"], "train-*.parquet"),
        (["dcgan-svhn1000", "--data", tmp_path / "empty"], "train_32x32.mat"),
        (["dcgan-svhn1000", "--data", tmp_path, "--scale", "smoke", "--weights", tmp_path / "empty"], "discrim_params"),
        (["dcgan-svhn1000", "--data", tmp_path, "--scale", "smoke", "--out", tmp_path / "file"], "is a file"),
        (["dcgan-svhn1000", "--data", tmp_path, "--scale", "smoke", "--seed", "-1"], "random_state=-1"),
        (["dcgan-svhn1000", "--data", tmp_path, "--scale", "huge"], "scale"),
        (["dcgan-mnist", "--data", tmp_path], "dcgan-mnist"),
    ]
    for arguments, message in wrong:
        assert call(*arguments, "--quiet") == 2
        printed = capsys.readouterr()
        assert message in printed.err and "Traceback" not in printed.err and printed.out == ""
        assert not list(tmp_path.glob("reproduce-*"))


def test_the_command_runs_a_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "out"
    arguments = ["dcgan-cifar10", "--data", write_parquet(tmp_path), "--scale", "smoke", "--out", out]
    assert call(*arguments) == 0
    printed = capsys.readouterr().out
    for words in ("our DCGAN, untrained, with mirror images", "82.8", "Radford", "its numbers mean nothing"):
        assert words in " ".join(printed.split())
    assert printed.rstrip().splitlines()[-1] == f"Next: ganfeat info {out / 'run'}"
    assert call(*arguments, "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["results"] == json.loads((out / "results.json").read_text())["results"]


def test_a_split_without_labels_is_refused(tmp_path):
    write_parquet(tmp_path)
    table = pq.read_table(tmp_path / "test-0.parquet").drop_columns("label")
    pq.write_table(table, tmp_path / "test-0.parquet")
    with pytest.raises(InputError, match="has no labels"):
        run(dcgan_cifar10.RECIPE, tmp_path / "out", tmp_path, silent, scale="smoke")
