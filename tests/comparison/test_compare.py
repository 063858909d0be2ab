"""The measurement as a whole, on small networks and digits."""

from contextlib import contextmanager

import numpy as np
import pytest

from ganfeat import DCGAN, BiGAN, few_label_curve, load_images
from ganfeat.comparison import compare_networks
from ganfeat.probes import FewLabels, label_free
from ganfeat.probes.baselines import principal_components
from ganfeat.probes.draws import hold_out
from ganfeat.probes.kmeans import KMeansFeatures

DIGITS = load_images("digits", limit=240)
PROTOCOL = FewLabels(labels_per_class=(2, 5), draws=3, seed=1)


@contextmanager
def silent(name, total):
    yield lambda done, total=None, note="": None


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One that learned from all digits, one from those that seed 1 does not hold out, one of another size."""
    folder = tmp_path_factory.mktemp("runs")
    settings = {"width": 4, "n_components": 4, "max_iter": 1, "batch_size": 60}
    learn = hold_out(DIGITS.labels, 0.2, 1)[0]
    DCGAN(**settings, random_state=0).fit(DIGITS, run=folder / "all")
    DCGAN(**settings, random_state=1).fit(DIGITS[learn], run=folder / "learn")
    DCGAN(**settings, random_state=2).fit(load_images(DIGITS, size=16), run=folder / "large")
    return folder


@pytest.fixture(scope="module")
def result(runs):
    return compare_networks([runs / "all", runs / "learn"], DIGITS, PROTOCOL, silent)


def by_name(result):
    return {row["name"]: row for row in result["rows"]}


def split(rows):
    learn, held_out = hold_out(DIGITS.labels, 0.2, 1)
    return rows[learn], DIGITS.labels[learn], rows[held_out], DIGITS.labels[held_out]


def test_every_layer_of_every_network_and_its_twin(result):
    layers = ("layer 0", "layer 1", "all layers")
    names = [f"{name}{kind}, {layer}" for name in ("all", "learn") for kind in (" untrained", "") for layer in layers]
    assert list(by_name(result)) == ["raw pixels", "PCA", "k-means features", *names]
    kinds = [row["kind"] for row in result["rows"]]
    assert kinds == ["baseline"] * 3 + (["untrained"] * 3 + ["trained"] * 3) * 2


def test_rows_are_what_the_library_gives(result, runs):
    """A layer's row is the curve of that layer's own extractor; baselines are learned without the held-out images."""
    from ganfeat import load

    rows = by_name(result)
    gan = load(runs / "learn")
    for name, model in (("learn", gan), ("learn untrained", gan.random_init())):
        expected = few_label_curve(*split(model.extractor(taps=[0]).transform(DIGITS)), PROTOCOL)
        assert rows[f"{name}, layer 0"]["accuracy"] == expected
    pixels = DIGITS.images.reshape(len(DIGITS), -1)
    assert rows["raw pixels"]["accuracy"] == few_label_curve(*split(pixels), PROTOCOL, standardise=False)
    learn, y, held_out, z = split(pixels)
    components = principal_components(learn, held_out)
    assert rows["PCA"]["accuracy"] == few_label_curve(components[0], y, components[1], z, PROTOCOL, standardise=False)
    images = split(DIGITS.images)
    kmeans = KMeansFeatures(random_state=1).fit(images[0])
    pair = kmeans.transform(images[0]), kmeans.transform(images[2])
    assert rows["k-means features"]["accuracy"] == few_label_curve(pair[0], y, pair[1], z, PROTOCOL)


def test_margins_over_the_twins_are_paired(result):
    rows = by_name(result)
    for name in ("all, layer 0", "learn, layer 0"):
        ours, theirs = rows[name], rows[name.replace(",", " untrained,")]
        for k, margin in ours["over_untrained"].items():
            assert margin["mean"] == pytest.approx(ours["accuracy"][k]["mean"] - theirs["accuracy"][k]["mean"])


def test_label_free_measures_use_the_images_to_learn_from(result, runs):
    from ganfeat import load

    learn = split(DIGITS.images)[0]
    ours, theirs = (load(runs / name).extractor(taps=[0]).transform(learn) for name in ("all", "learn"))
    found = by_name(result)["all, layer 0"]["label_free"]
    assert found["effective_rank"] == pytest.approx(label_free.effective_rank(ours), rel=1e-6)
    assert found["network_agreement"] == pytest.approx(label_free.neighbour_agreement(ours, theirs))
    assert 0 < found["half_agreement"] < 1


def test_what_the_networks_have_seen_is_said(result):
    seen = {network["name"]: network["images"] for network in result["networks"]}
    assert seen["all"].startswith("has seen the held-out images")
    assert seen["learn"].startswith("has not seen the held-out images")
    assert result["protocol"]["networks and held-out images"] == seen
    assert {f"{name}: {words}." for name, words in seen.items()} == set(result["notes"])


def test_the_seed_of_a_runs_own_held_out_images_is_named(runs):
    """A run of seed 1 that learned from what seed 1 does not hold out, compared with seed 0."""
    result = compare_networks([runs / "learn"], DIGITS, FewLabels((2,), draws=2), silent)
    assert len(result["notes"]) == 1 and "With --seed 1 instead of 0" in result["notes"][0]
    assert "may have seen" in result["notes"][0]


def test_networks_of_other_sizes_have_baselines_of_their_own(runs):
    result = compare_networks([runs / "all", runs / "large"], DIGITS, FewLabels((2,), draws=2), silent)
    rows = by_name(result)
    assert rows["raw pixels (8 x 8 x 1)"]["features"] == 64 and rows["raw pixels (16 x 16 x 1)"]["features"] == 256
    assert rows["large, layer 0"]["label_free"]["network_agreement"] > 0.1


def test_a_run_with_an_encoder_is_two_networks(runs, tmp_path):
    """Their rows are what the library gives, and stand beside those of the other networks' same layers."""
    from ganfeat import load

    settings = {"width": 4, "n_components": 4, "max_iter": 1, "batch_size": 60}
    BiGAN(**settings, random_state=0).fit(DIGITS, run=tmp_path / "bigan")
    protocol = FewLabels((2,), draws=2)
    result = compare_networks([tmp_path / "bigan", runs / "all"], DIGITS, protocol, silent)
    rows = by_name(result)
    learn, held_out = hold_out(DIGITS.labels, 0.2, 0)
    layers = ("output", "layer 0", "layer 1 (trunk)", "all layers")
    assert {f"bigan E{twin}, {layer}" for layer in layers for twin in ("", " untrained")} <= set(rows)
    assert {f"bigan D{twin}, layer {i}" for i in (0, 1) for twin in ("", " untrained")} <= set(rows)
    model = load(tmp_path / "bigan")
    for name, features in (
        ("bigan E, output", model.transform(DIGITS)),
        ("bigan E untrained, output", model.random_init().transform(DIGITS)),
        ("bigan D, layer 1", model.extractor("discriminator", taps=[1]).transform(DIGITS)),
    ):
        parts = features[learn], DIGITS.labels[learn], features[held_out], DIGITS.labels[held_out]
        assert rows[name]["accuracy"] == few_label_curve(*parts, protocol), name
    assert rows["bigan E, output"]["label_free"]["network_agreement"] is None  # no other network has one
    assert 0 < rows["bigan D, layer 1"]["label_free"]["network_agreement"] < 1
    assert set(rows["bigan E, output"]["over_untrained"]) == {"2"}


def test_without_a_twin_there_is_no_margin(runs, tmp_path):
    import shutil

    shutil.copytree(runs / "all", tmp_path / "bare")
    (tmp_path / "bare" / "untrained.safetensors").unlink()
    result = compare_networks([tmp_path / "bare"], DIGITS, FewLabels((2,), draws=2), silent)
    assert {row["kind"] for row in result["rows"]} == {"baseline", "trained"}
    assert all(row["over_untrained"] is None for row in result["rows"] if row["kind"] == "trained")
    assert any("keeps no untrained network" in note for note in result["notes"])


def test_probes_run_on_the_device_that_is_asked_for(runs, monkeypatch):
    found = []

    def recorded(*arguments, **settings):
        found.append(settings.get("device"))
        return few_label_curve(*arguments, **settings)

    monkeypatch.setattr("ganfeat.comparison.compare.few_label_curve", recorded)
    compare_networks([runs / "all"], DIGITS, FewLabels((2,), draws=2), silent, device="cpu")
    assert found == ["cpu"] * (3 + 2 * 3)


def test_the_card_says_how_it_was_measured(result):
    assert PROTOCOL.card().items() <= result["protocol"].items()
    assert {"taps", "pool", "batch norm", "held out", "PCA and k-means", "label-free"} <= set(result["protocol"])
    assert set(result["seconds"]) == {
        "loading", "reading", "baselines", "probing", "extracting", "label-free", "total",
    }  # fmt: skip
    stages = sum(seconds for name, seconds in result["seconds"].items() if name != "total")
    assert stages <= result["seconds"]["total"] + 0.1
    assert result["machine"]["cpu"]
    assert np.isfinite(result["paired_tests"][0]["mean"])
