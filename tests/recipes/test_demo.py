"""The demo, end to end: one epoch on the 8 x 8 digits."""

import json
import re
from contextlib import contextmanager

import numpy as np
import pytest

from ganfeat import ImageDataset, InputError, load, load_images
from ganfeat.recipes import demo

DIGITS = load_images("digits", limit=300)
SETS = ["raw_pixels", "pca", "random_init", "ganfeat"]


@contextmanager
def silent(name, total):
    yield lambda done, total=None, note="": None


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def results(out):
    return demo.run(out, DIGITS, silent, epochs=1, draws=2)


def test_the_results_are_as_promised(out, results):
    assert json.loads((out / "results.json").read_text()) == results
    assert results.keys() >= {"seconds", "images", "device", "accuracy", "labels_per_class"}
    assert list(results["accuracy"]) == SETS
    sizes = [str(k) for k in results["labels_per_class"]]
    assert sizes == ["1", "5", "10", str(np.bincount(DIGITS.labels[demo.split(DIGITS, 0).train]).max())]
    for curve in results["accuracy"].values():
        assert list(curve) == sizes
        for point in curve.values():
            assert 0 < point["mean"] < 1 and point["std"] >= 0 and point["ci95"] >= 0
    assert results["accuracy"]["raw_pixels"]["10"]["mean"] > 0.7
    assert isinstance(results["seconds"], float) and isinstance(results["device"], str)


def test_nothing_that_is_held_out_is_learned_from(out, results):
    images = DIGITS
    rows = demo.split(images, 0)
    assert results["learned_from"] == len(rows.train) and results["held_out"] == len(rows.test)
    assert len(rows.train) + len(rows.test) == len(images) == 300
    assert not set(rows.train) & set(rows.test)
    config = json.loads((out / "run" / "config.json").read_text())
    assert config["data"]["n"] == len(rows.train)
    shares = np.bincount(images.labels[rows.test]) / np.bincount(images.labels)
    np.testing.assert_allclose(shares, demo.HELD_OUT, atol=0.02)


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        ("mnist5k", {}, "ganfeat demo --images mnist5k --seed 0"),
        ("digits", {"seed": 3, "epochs": 2}, "ganfeat demo --images digits --seed 3 --max-iter 2"),
        ("my digits", {"device": "cpu"}, "ganfeat demo --images 'my digits' --seed 0 --device cpu"),
    ],
)
def test_the_command_makes_the_run_again(source, options, expected):
    assert demo.this_command(source, **{"seed": 0, "epochs": None, "device": "auto", **options}) == expected


def test_the_command_is_beside_the_numbers(results):
    assert results["command"].endswith("--seed 0 --max-iter 1")


def test_the_protocol_is_beside_the_numbers(results):
    card = results["protocol"]
    assert {"probe", "C", "interval", "scale", "draws", "network", "taps", "pool", "features", "batch norm"} <= set(
        card
    )
    assert "width 32" in card["network"] and "1 epoch" in card["network"]


def test_the_report_is_one_page_that_opens_offline(out, results):
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", page, re.I)
    assert not re.search(r"url\(\s*['\"]?(?:https?:)?//|@import", page, re.I)
    assert not re.search(r"<(script|img|link|iframe)[^>]+(src|href)=[\"'](?!data:|#)", page)
    for name in SETS:
        assert f"{100 * results['accuracy'][name]['10']['mean']:.1f}" in page


def test_the_run_is_a_model_of_its_own(out, results):
    gan = load(out / "run")
    images = DIGITS
    assert gan.finished_
    assert gan.transform(images[:3]).shape == (3, results["protocol"]["features"])


def test_called_again_it_trains_no_more_and_finds_the_same(out, results):
    model = (out / "run" / "model.safetensors").stat().st_mtime_ns
    history = (out / "run" / "history.jsonl").read_bytes()
    again = demo.run(out, DIGITS, silent, epochs=1, draws=2)
    assert again["accuracy"] == results["accuracy"]
    assert again["continued"] and not results["continued"]
    assert (out / "run" / "history.jsonl").read_bytes() == history
    assert (out / "run" / "model.safetensors").stat().st_mtime_ns >= model


def few(n=60, side=8, labels=None):
    images = np.random.default_rng(0).integers(0, 256, (n, side, side, 1), dtype=np.uint8)
    return ImageDataset(images, labels=labels)


@pytest.mark.parametrize("labels", [None, np.zeros(60, int), np.full(60, -1)], ids=["none", "one class", "unknown"])
def test_images_that_cannot_be_scored(labels, tmp_path):
    """A report without numbers, and not an error after the training."""
    results = demo.run(tmp_path / "out", few(labels=labels), silent, epochs=1, draws=1)
    assert (results["accuracy"], results["labels_per_class"]) == ({}, [])
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    assert "<html" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "no labels" in demo.summary_sentence(results)


def test_images_without_a_label_are_learned_from_and_not_scored(tmp_path):
    labels = np.where(np.arange(60) < 40, np.arange(60) % 2, -1)
    results = demo.run(tmp_path / "out", few(labels=labels), silent, epochs=1, draws=1)
    assert results["learned_from"] + results["held_out"] == 60
    assert results["learned_from"] >= 48
    assert max(results["labels_per_class"]) <= 20  # two classes of at most 20, and no third of unknown ones


def test_too_few_images(tmp_path):
    with pytest.raises(InputError, match="39 images: the demo needs at least 40"):
        demo.run(tmp_path / "out", few(39), silent)
    assert list(tmp_path.iterdir()) == []


def test_foreign_files_are_kept(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    demo.run(tmp_path, few(), silent, epochs=1, draws=1)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    other = tmp_path / "other"
    (other / "run").mkdir(parents=True)
    (other / "run" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="no run folder"):
        demo.run(other, few(), silent, epochs=1)
    assert [p.name for p in (other / "run").iterdir() if p.name != ".lock"] == ["notes.txt"]


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    demo.run(tmp_path, few(), silent, epochs=1, draws=1)
    with pytest.raises(InputError, match="seed: 0 -> 1"):
        demo.run(tmp_path, few(), silent, epochs=1, draws=1, seed=1)


def test_a_stopped_demo_gives_no_results(tmp_path):
    import threading

    asked = []

    def stop(gan):
        def ask():
            while not gan.request_stop():
                pass
            asked.append(True)

        thread = threading.Thread(target=ask, daemon=True)
        asked.append(thread)
        thread.start()

    assert demo.run(tmp_path / "out", few(), silent, epochs=2000, draws=1, on_start=stop) is None
    asked[0].join()
    assert not (tmp_path / "out" / "results.json").exists()
    assert (tmp_path / "out" / "run" / "model.safetensors").exists()


# ---------------------------------------------------------------- the pieces


def test_a_map_of_two_dimensions_for_at_most_a_thousand_rows():
    rows = np.random.default_rng(0).normal(size=(30, 80)).astype(np.float32)
    points, shown = demo.feature_map(rows)
    assert points.shape == (30, 2) and np.isfinite(points).all()
    assert shown.tolist() == list(range(30))


def test_neighbours_are_the_nearest_by_cosine_of_standardised_features():
    generator = np.random.default_rng(0)
    learn, held_out = generator.normal(2, 3, (50, 6)), generator.normal(2, 3, (20, 6))
    labels = np.repeat([1, 0], 10)
    queries, nearest = demo.nearest_neighbours((learn, held_out), labels)
    assert sorted(labels[queries].tolist()) == labels[queries].tolist() and set(labels[queries]) == {0, 1}
    a, b = ((x - learn.mean(0)) / learn.std(0) for x in (held_out[queries], learn))
    cosine = (a @ b.T) / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
    assert np.array_equal(nearest, np.argsort(-cosine, axis=1)[:, :8])
    queries, nearest = demo.nearest_neighbours((learn[:3], held_out), None)
    assert queries.tolist() == list(range(10)) and nearest.shape == (10, 3)


def test_the_epochs_are_those_trained(tmp_path):
    """A run that has more than are asked for is not trained back."""
    assert demo.run(tmp_path, few(), silent, epochs=2, draws=1)["epochs"] == 2
    assert demo.run(tmp_path, few(), silent, epochs=1, draws=1)["epochs"] == 2
