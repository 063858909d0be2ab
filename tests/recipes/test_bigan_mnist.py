"""The encoder family's table: what is scored against what, and what an interrupted run keeps."""

import io
import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from ganfeat import load
from ganfeat.cli import main
from ganfeat.recipes import bigan_mnist
from ganfeat.recipes.bigan_mnist import ROWS, RUNS, SCALES, Scale, run

ROWS_, LABELS = load_digits(return_X_y=True)
IMAGES = (ROWS_.reshape(-1, 8, 8) * 15).astype(np.uint8)
PARTS = {"train": slice(0, 400), "t10k": slice(400, 600)}


@contextmanager
def silent(name, total):
    yield lambda done, total=None, note="": None


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(SCALES, "smoke", Scale(2, width=16))
    monkeypatch.setattr(bigan_mnist, "UNTRAINED_SEEDS", 2)


def test_the_table_is_scored_as_scikit_learn_scores_it(folder, tiny, tmp_path):
    results = run(tmp_path / "out", folder, silent, scale="smoke", methods=("bigan", "lr"))
    assert list(results["results"]) == ["BiGAN", "D", "latent regressor"]
    train, test = (IMAGES[rows][..., None] for rows in PARTS.values())

    def nearest(rows, queries):
        return KNeighborsClassifier(1).fit(rows, LABELS[PARTS["train"]]).score(queries, LABELS[PARTS["t10k"]])

    raw = nearest(train.reshape(len(train), -1).astype(float), test.reshape(len(test), -1).astype(float))
    assert results["baselines"]["raw pixels"]["accuracy"] == pytest.approx(raw)
    for title, network, tap in (
        ("BiGAN", "encoder", "trunk"),
        ("D", "discriminator", "discriminator.trunk"),
        ("latent regressor", "encoder", "trunk"),
    ):
        model = load(tmp_path / "out" / f"{ROWS[title].run}-0")
        layer = results["results"][title]["seeds"][0]["trunk"]
        for scored, twin in ((layer, model), (layer["untrained"], model.random_init())):
            extractor = twin.extractor(network, taps=tap)
            assert scored["accuracy"] == pytest.approx(nearest(extractor.transform(train), extractor.transform(test)))
        gain = layer["accuracy"] - layer["untrained"]["accuracy"]
        assert layer["above_untrained"]["mean"] == pytest.approx(gain)
        assert results["results"][title]["accuracy"] == pytest.approx(100 * layer["accuracy"])
    bigan = load(tmp_path / "out" / "bigan-0")
    output = results["results"]["BiGAN"]["seeds"][0]["output"]
    assert output["accuracy"] == pytest.approx(nearest(bigan.transform(train), bigan.transform(test)))
    assert results["targets"] == []  # one epoch has no goal


def test_reconstruction_errors_are_those_of_the_model(folder, tiny, tmp_path):
    results = run(tmp_path / "out", folder, silent, scale="smoke", methods=("ae-l2",))
    inverse = results["results"]["autoencoder, l2"]["seeds"][0]["inverse"]
    test = IMAGES[PARTS["t10k"]][..., None]
    again = load(tmp_path / "out" / "ae-l2-0").reconstruct(test)
    error = np.linalg.norm((test.astype(float) - again).reshape(len(test), -1) / 255, axis=1).mean()
    assert inverse["reconstruction/real"] == pytest.approx(error, rel=0.02)  # reconstruct() rounds to uint8
    assert inverse["reconstruction/real"] < inverse["reconstruction/real_shuffled"]


def test_an_interrupted_run_goes_on_and_scores_nothing_twice(folder, tiny, tmp_path, monkeypatch):
    def stop(model):
        if model.method == "latent-regressor":
            records = type(model).iter_fit

            def ended(self, *args, **kwargs):
                for record in records(self, *args, **kwargs):
                    self.request_stop()
                    yield record

            monkeypatch.setattr(type(model), "iter_fit", ended)

    monkeypatch.setitem(SCALES, "smoke", Scale(40, width=16))
    out = tmp_path / "out"
    assert run(out, folder, silent, scale="smoke", methods=("bigan", "lr"), on_start=stop) is None
    monkeypatch.undo()
    monkeypatch.setitem(SCALES, "smoke", Scale(40, width=16))
    monkeypatch.setattr(bigan_mnist, "UNTRAINED_SEEDS", 2)
    assert not (out / "results.json").exists()
    weights = (out / "bigan-0" / "model.safetensors").read_bytes()
    results = run(out, folder, silent, scale="smoke", methods=("bigan", "lr"))
    assert (out / "bigan-0" / "model.safetensors").read_bytes() == weights
    stages = []

    @contextmanager
    def noting(name, total):
        stages.append(name)
        yield lambda done, total=None, note="": None

    again = run(out, folder, noting, scale="smoke", methods=("bigan", "lr"))
    assert not [name for name in stages if name.startswith("scoring")]
    assert json.dumps(again["results"]) == json.dumps(results["results"])


def test_seeds_are_networks_of_their_own(folder, tiny, tmp_path):
    results = run(tmp_path / "out", folder, silent, scale="smoke", methods=("ae-l2",), seeds=2)
    row = results["results"]["autoencoder, l2"]
    assert list(row["seeds"]) == [0, 1] and row["seeds"][0] != row["seeds"][1]
    mean = np.mean([100 * entry["trunk"]["accuracy"] for entry in row["seeds"].values()])
    assert row["accuracy"] == pytest.approx(mean)
    assert row["points_above_published"] == pytest.approx(mean - 97.58)


def test_every_row_has_a_run_that_has_its_network():
    for row in ROWS.values():
        assert row.run in RUNS
        assert row.network == "encoder" or row.run in ("lr", "jlr", "bigan")
    paper = replace(SCALES["full"])
    model = bigan_mnist.make("bigan", paper, 0)
    assert (model.max_iter, model.decay_iter, model.n_components, model.batch_size) == (400, 200, 50, 128)
    assert bigan_mnist.make("jlr", paper, 0).joint == 0.25


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "nowhere"], "is no folder"),
        (["--data", "."], "train-images"),
        (["--methods", "gan"], "choose from"),
        (["--seeds", "0"], "at least 1"),
        (["--weights", "."], "leave them out"),
    ],
)
def test_wrong_calls_name_the_fix(folder, arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = arguments if "--data" in arguments else ["--data", str(folder), *arguments]
    assert main(["reproduce", "bigan-mnist", "--scale", "smoke", *given]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "reproduce-bigan-mnist-smoke").exists()


def test_dcgan_recipes_refuse_the_options_of_this_one(tmp_path, capsys):
    assert main(["reproduce", "dcgan-cifar10", "--data", str(tmp_path), "--seeds", "2"]) == 2
    assert "bigan-mnist" in capsys.readouterr().err


def test_the_command(folder, tiny, tmp_path, capsys):
    out = str(tmp_path / "out")
    call = ["reproduce", "bigan-mnist", "--data", str(folder), "--scale", "smoke", "--methods", "ae-l1", "--out", out]
    assert main([*call, "--json"]) == 0
    results = json.load(io.StringIO(capsys.readouterr().out))
    assert results["results"]["autoencoder, l1"]["published"] == 97.63
    assert main(call) == 0
    assert "97.63" in capsys.readouterr().out
