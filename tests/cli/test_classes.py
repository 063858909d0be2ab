"""The commands on runs of ACGAN and CatGAN: all of them work, and say which of the two has seen labels."""

import json

import numpy as np
import pytest

from ganfeat import load, load_images
from ganfeat.checkpoint import RunFolder
from ganfeat.cli import main
from ganfeat.estimators import METHODS

SMALL = [
    *("--width", "4", "--n-components", "5", "--batch-size", "40", "--max-iter", "1", "--no-tensorboard"),
    *("--limit", "120", "--sheets", "1", "--log-every", "1", "--device", "cpu"),
]
IMAGES = load_images("digits", limit=120)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module", params=["acgan", "catgan"])
def run(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / request.param
    own = ["--n-classes", "4"] if request.param == "catgan" else ["--classification", "0.5"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        assert main(["train", "digits", "--out", str(out), "--method", request.param, *SMALL, *own, "--quiet"]) == 0
    return out


def said(capsys, *arguments):
    assert main([*map(str, arguments)]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_the_command_trains_what_the_library_trains(run):
    own = {"n_classes": 4} if run.name == "catgan" else {"classification": 0.5}
    settings = {"width": 4, "n_components": 5, "batch_size": 40, "max_iter": 1, "device": "cpu", "random_state": 0}
    model = METHODS[run.name](**settings, **own).fit(IMAGES)
    again = load(run)
    assert np.array_equal(again.predict_proba(IMAGES), model.predict_proba(IMAGES))
    assert np.array_equal(again.transform(IMAGES), model.transform(IMAGES))
    assert ("labels" in RunFolder(run).config()["data"]) == (run.name == "acgan")


def test_info_lists_its_layers(run, capsys):
    words = said(capsys, "info", run)
    assert f"method │ {run.name}" in words and "blocks.1" in words and "discriminator" in words


def test_its_report_draws_what_its_discriminator_says(run, tmp_path, capsys):
    said(capsys, "report", run, "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for words, method in (
        ("learned with their labels from 120 images", "acgan"),
        ("learned without labels from 120 images", "catgan"),
        ("Classes right", "acgan"),
        ("Logit", "acgan"),
        ("Entropy, nats", "catgan"),
    ):
        assert (words in page) == (run.name == method), words


def test_extracted_features_and_their_probe_say_who_has_seen_labels(run, tmp_path, capsys):
    features = tmp_path / "features.npy"
    said(capsys, "extract", run, "digits", "--limit", "120", "--out", features, "--device", "cpu")
    assert np.array_equal(np.load(features), load(run).transform(IMAGES))
    card = json.loads(features.with_suffix(".json").read_text())
    assert card.get("learned") == ("with labels" if run.name == "acgan" else None)
    quick = ("--labels-per-class", "2", "--draws", "2")
    words = said(capsys, "probe", features, features.with_suffix(".labels.npy"), *quick)
    assert ("the network learned from labels" in words) == (run.name == "acgan")
    assert ("may have seen them without labels" in words) == (run.name == "catgan")


def test_a_comparison_says_who_has_seen_labels(run, capsys):
    words = said(capsys, "compare", run, "digits", "--limit", "120", "--labels-per-class", "2", "--draws", "2")
    how = "with" if run.name == "acgan" else "without"
    assert f"{run.name}: has seen the held-out images, {how} labels." in words
    assert f"{run.name}, layer 1" in words and "over untrained" in words


def test_without_labels_acgan_is_refused_with_what_to_do(tmp_path, capsys):
    np.save(tmp_path / "images.npy", IMAGES.images)
    arguments = ["train", str(tmp_path / "images.npy"), "--out", str(tmp_path / "run"), "--method", "acgan"]
    assert main([*arguments, "--no-tensorboard"]) == 2
    words = " ".join(capsys.readouterr().err.split())
    assert "learns from labels" in words and "a folder with a sub-folder for every class" in words
    assert "Traceback" not in words and not (tmp_path / "run").exists()
