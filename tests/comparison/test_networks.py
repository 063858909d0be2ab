"""Runs, and the features of all their layers in one pass."""

import numpy as np
import pytest

from ganfeat import ALI, DCGAN, AutoEncoder, FeatureExtractor, InputError, load_images
from ganfeat.comparison.networks import extract, layer_columns, open_networks

DIGITS = load_images("digits", size=16, limit=40)
SETTINGS = {"at": "activation", "pool": 4, "pooling": "max"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    DCGAN(width=4, n_components=4, max_iter=1, batch_size=20, random_state=3).fit(DIGITS, run=path)
    return path


def silent(*arguments):
    """Show no progress."""


@pytest.mark.parametrize("at", ["conv", "norm", "activation"])
def test_a_layers_columns_are_what_its_own_extractor_gives(run, at):
    (network,) = open_networks([run], "cpu", {**SETTINGS, "at": at, "pool": 2}, [])
    assert list(network.columns) == ["0", "1", "all"]
    for extractor, model in ((network.extractor, network.gan), (network.twin, network.gan.random_init())):
        union = extract(extractor, DIGITS.images, run, silent)
        for tap, columns in network.columns.items():
            taps = tap if tap == "all" else [int(tap)]
            alone = model.extractor(taps=taps, at=at, pool=2).transform(DIGITS)
            np.testing.assert_array_equal(union[:, columns], alone)
    assert network.card()["features"] == union.shape[1] and network.card()["seed"] == 3


@pytest.mark.parametrize("architecture", ["conv", "mlp"])
@pytest.mark.parametrize("at", ["conv", "activation"])
def test_the_networks_of_a_run_with_an_encoder(architecture, at, tmp_path):
    """E with its output, and D; each column is what its own extractor gives, of the untrained twin too."""
    settings = {"width": 4, "n_components": 3, "max_iter": 1, "batch_size": 20, "learning_rate": 0.01}
    ALI(architecture=architecture, **settings, random_state=3).fit(DIGITS, run=tmp_path / "ali")
    found = open_networks([tmp_path / "ali"], "cpu", {**SETTINGS, "at": at, "pool": 2}, [])
    assert [(network.name, network.tapped) for network in found] == [
        ("ali E", "encoder"),
        ("ali D", "discriminator"),
    ]
    for network, taps in zip(found, (["output", "0", "1", "all"], ["0", "1", "all"]), strict=True):
        assert list(network.columns) == taps
        assert network.card()["tapped"] == network.tapped
        assert f"ali {network.tapped}, {architecture}, width 4" in network.card()["network"]
        for extractor, model in ((network.extractor, network.gan), (network.twin, network.gan.random_init())):
            union = extract(extractor, DIGITS.images, tmp_path, silent)
            for tap, columns in network.columns.items():
                alone = model.extractor(network.tapped, taps=int(tap) if tap.isdecimal() else tap, at=at, pool=2)
                np.testing.assert_array_equal(union[:, columns], alone.transform(DIGITS))


def test_an_autoencoder_has_one_network(tmp_path):
    AutoEncoder(width=4, n_components=3, max_iter=1, batch_size=20, random_state=3).fit(DIGITS, run=tmp_path / "ae")
    (network,) = open_networks([tmp_path / "ae"], "cpu", SETTINGS, [])
    assert network.name == "ae E" and network.columns["output"] == slice(0, 3)
    assert network.columns["all"].start == 3  # all layers: without the output


def test_a_single_layer_is_not_repeated_as_all_of_them():
    import torch

    net = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU())
    assert layer_columns(FeatureExtractor(net, pool=2).fit(DIGITS)) == {"0": slice(0, 12)}


def test_large_features_are_the_same_in_a_file(run, tmp_path, monkeypatch):
    (network,) = open_networks([run], "cpu", SETTINGS, [])
    expected = extract(network.extractor, DIGITS.images, tmp_path, silent)
    assert not list(tmp_path.iterdir()) and not isinstance(expected, np.memmap)
    monkeypatch.setattr("ganfeat.features.MEMORY", 1000)
    for _ in range(2):
        mapped = extract(network.extractor, DIGITS.images, tmp_path, silent)
        assert isinstance(mapped, np.memmap) and mapped.dtype == np.float32
        np.testing.assert_array_equal(mapped, expected)


def test_a_disk_that_is_too_small_is_told_before_the_work(run, tmp_path, monkeypatch):
    (network,) = open_networks([run], "cpu", SETTINGS, [])
    monkeypatch.setattr("ganfeat.features.MEMORY", 0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100})())
    with pytest.raises(InputError, match="TMPDIR"):
        extract(network.extractor, DIGITS.images, tmp_path, silent)
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_given_twice(run, tmp_path):
    (tmp_path / "b").symlink_to(run)  # the same run by another name
    notes = []
    found = open_networks([run, tmp_path / "b", run], "cpu", SETTINGS, notes)
    assert [network.name for network in found] == ["run"] and "given twice" in notes[0]


def test_a_run_without_its_untrained_network(run, tmp_path):
    import shutil

    shutil.copytree(run, tmp_path / "x" / "run")
    (tmp_path / "x" / "run" / "untrained.safetensors").unlink()
    notes = []
    first, second = open_networks([run, tmp_path / "x" / "run"], "cpu", SETTINGS, notes)
    assert first.twin is not None and second.twin is None
    assert len(notes) == 1 and "keeps no untrained network" in notes[0]
    assert [first.name, second.name] == [str(run), str(tmp_path / "x" / "run")]  # both folders are called run


def test_what_is_no_run_or_no_square(run, tmp_path):
    with pytest.raises(InputError, match="is not a run folder"):
        open_networks([tmp_path], "cpu", SETTINGS, [])
    oblong = np.random.default_rng(0).integers(0, 256, (20, 8, 16, 1), dtype=np.uint8)
    DCGAN(width=4, n_components=4, max_iter=1, batch_size=10, random_state=0).fit(oblong, run=tmp_path / "oblong")
    with pytest.raises(InputError, match="8 x 16 images"):
        open_networks([tmp_path / "oblong"], "cpu", SETTINGS, [])
    with pytest.raises(InputError, match="median"):
        open_networks([run], "cpu", {**SETTINGS, "pooling": "median"}, [])
