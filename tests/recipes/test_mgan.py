"""M-GAN's table: what is scored, what is kept, and what the command refuses."""

import json
from contextlib import contextmanager

import numpy as np
import pytest

from ganfeat import SoftmaxRegression, load
from ganfeat.cli import main
from ganfeat.data import load_images
from ganfeat.recipes import mgan
from ganfeat.recipes.mgan import SCALES, TABLES, Scale, run

MNIST = TABLES["mgan-mnist"]


@contextmanager
def silent(name, total):
    yield lambda done, total=None, note="": None


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(SCALES, "smoke", Scale(4, 2, 1))


def test_the_papers_gaps_are_its_accuracies_difference():
    for table in TABLES.values():
        assert set(table.gaps) == set(table.removed)
        for removed, (d, c) in table.published.items():
            if d is not None:
                assert 100 * (c - d) == pytest.approx(table.gaps[removed], abs=0.011)


def test_settings_are_those_of_the_study():
    full = mgan.Job("mgan-mnist", None, None, SCALES["full"], 3, 1, "cpu").model().get_params()
    wanted = {
        "n_components": 128,
        "n_generators": 10,
        "shares_removed": 3,
        "width": 128,
        "n_features": 128,
        "diversity": 0.02,
        "prior": "normal",
        "batch_size": 120,
        "learning_rate": 2e-4,
        "beta1": 0.5,
        "weight_decay": 0.0,
        "max_iter": 20,
    }
    assert {k: full[k] for k in wanted} == wanted
    probe = SoftmaxRegression()
    assert (probe.learning_rate, probe.momentum, probe.batch_size, probe.max_iter) == (2e-4, 0.9, 120, 20)


def test_the_table_is_scored_as_its_networks_score(folder, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(mgan, "TABLES", {"mgan-mnist": mgan.replace(MNIST, removed=(0, 4))})
    table, out = mgan.TABLES["mgan-mnist"], tmp_path / "out"
    results = run(table, out, folder, silent, scale="smoke", device="cpu")
    assert list(results["results"]) == ["0", "4"]
    assert results["seeds"] == [0, 1]
    sets = [load_images(folder / f"{part}-images-idx3-ubyte.gz", size=32) for part in ("train", "t10k")]
    images, labels = [s.images for s in sets], [s.labels for s in sets]
    for seed in (0, 1):
        model = load(out / f"removed-4-{seed}")
        for which in ("discriminator", "classifier"):
            for twin, entry in (
                (model, results["results"]["4"][which]["softmax"]),
                (model.random_init(), results["results"]["4"][which]["softmax"]["untrained"]),
            ):
                rows = [twin.transform(x, which) for x in images]
                expected = SoftmaxRegression(random_state=seed).fit(rows[0], labels[0]).score(rows[1], labels[1])
                assert entry["values"][seed] == pytest.approx(expected)
    for name in ("softmax", "svm"):
        row = results["results"]["4"]
        gap = np.subtract(row["classifier"][name]["values"], row["discriminator"][name]["values"])
        np.testing.assert_allclose(row["gap"][name]["values"], gap)
        assert row["gap"][name]["mean"] == pytest.approx(gap.mean())
        assert results["results"]["0"]["gap"][name]["values"] == [0.0, 0.0]  # all layers shared: the same features
    assert results["baselines"]["raw pixels"]["features"] == 1024
    assert json.loads((out / "results.json").read_text())["trend"] == results["trend"]

    def never(*args):
        raise AssertionError("scored twice")

    monkeypatch.setattr(mgan, "probe", never)
    again = run(table, out, folder, silent, scale="smoke", device="cpu")
    assert again["results"] == results["results"]


def test_the_command_shows_the_table_trains_side_by_side_and_refuses_what_is_not_for_it(
    folder,
    tiny,
    tmp_path,
    capsys,
    monkeypatch,
):
    monkeypatch.setitem(SCALES, "smoke", Scale(4, 1, 1, 100, 60))
    monkeypatch.setattr(mgan, "TABLES", {"mgan-mnist": mgan.replace(MNIST, removed=(0, 4))})
    monkeypatch.chdir(tmp_path)
    command = ["reproduce", "mgan-mnist", "--scale", "smoke", "--device", "cpu"]
    place = ["--data", str(folder)]
    assert main([*command, *place, "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "Accuracy in % by the study's probe" in printed
    assert "rank correlation" in printed
    assert (tmp_path / "reproduce-mgan-mnist-smoke" / "results.json").is_file()
    for more, message in (
        ([*place, "--methods", "bigan"], "--weights and --methods are not for mgan-mnist"),
        ([*place, "--jobs", "0"], "--jobs 0 must be at least 1"),
        ([*place, "--seeds", "0"], "--seeds 0 must be at least 1"),
        (["--data", str(tmp_path / "nowhere")], "is no folder"),
    ):
        assert main([*command, *more]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert main(["reproduce", "bigan-mnist", "--data", str(folder), "--jobs", "2"]) == 2
    assert "--jobs is for mgan-mnist" in capsys.readouterr().err


def test_growth_does_not_count_the_gap_that_is_0_by_construction():
    """A gap that stays the same from 1 on grows over all settings, and not over those with a share removed."""
    draws = []
    for seed in range(30):
        noise = np.random.default_rng(seed).normal(size=(5, 3)) / 100
        draws.append(mgan.growth({0: [0.0] * 3, **{k: (2 + noise[k]).tolist() for k in range(1, 5)}}))
    share = {key: np.mean([found[key]["p"] < 0.05 for found in draws]) for key in ("from 0", "from 1")}
    assert share["from 0"] > 0.25  # a test at the level of 5 %
    assert share["from 1"] < 0.2
    assert draws[-1]["from 1"]["points"] == 12
    assert draws[-1]["gap"]["mean"] == pytest.approx(2 + noise[1:].mean())
    growing = mgan.growth({k: (k + noise[k]).tolist() for k in range(5)})
    assert growing["from 1"]["p"] < 0.01


def test_a_stopped_table_goes_on(folder, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(mgan, "TABLES", {"mgan-mnist": mgan.replace(MNIST, removed=(0,))})
    table = mgan.TABLES["mgan-mnist"]
    stops = []

    @contextmanager
    def stopping_stage(name, total):
        yield lambda done, total=None, note="": stops[0].request_stop() if stops else None

    assert run(table, tmp_path, folder, stopping_stage, scale="smoke", device="cpu", on_start=stops.append) is None
    assert stops[0].wanted
    assert not (tmp_path / "results.json").exists()
    assert run(table, tmp_path, folder, silent, scale="smoke", device="cpu", seeds=1) is not None


def test_cifar_has_three_channels_and_three_settings(tmp_path):
    table = TABLES["mgan-cifar10"]
    assert table.removed == (0, 1, 2)
    images = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8)
    model = mgan.Job("mgan-cifar10", tmp_path, tmp_path, Scale(4, 1, 1), 2, 0, "cpu").model().fit(images)
    assert model.sample(3).shape == (3, 32, 32, 3)
