"""``ganfeat saliency``, called as a person calls it."""

import json

import numpy as np
import pytest

from ganfeat import DCGAN, AutoEncoder, load, load_images
from ganfeat.cli import main
from ganfeat.inspection.activations import top_images
from ganfeat.inspection.guided import image_gradients
from ganfeat.inspection.layer import layer_of
from ganfeat.pictures import read_png, write_png

DIGITS = load_images("digits", limit=120)
SETTINGS = {"n_components": 8, "max_iter": 2, "batch_size": 20, "random_state": 0}
FILES = ["filters.png", "receptive.png", "saliency.json", "saliency.png"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    DCGAN(width=6, **SETTINGS).fit(DIGITS, run=path)
    return path


def call(*arguments):
    return main(["saliency", *map(str, arguments)])


def test_what_is_written_is_what_the_functions_say(run, tmp_path, capsys):
    assert call(run, "digits", "--limit", "120", "--out", tmp_path / "s", "--channels", "3", "0", "--top", "4") == 0
    printed = capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == FILES
    result = json.loads((tmp_path / "s" / "saliency.json").read_text())
    layer = layer_of(load(run).extractor(taps="all"))
    top = top_images(layer, DIGITS.images, 13)
    assert (result["layer"], result["channels"], result["maps"]) == (layer.name, 12, [2, 2])
    assert [row["channel"] for row in result["trained"]["channels"]] == [3, 0]
    for row in result["trained"]["channels"]:
        channel = row["channel"]
        assert row["images"] == top.images[channel, :4].tolist() and row["units"] == top.positions[channel, :4].tolist()
        assert row["strongest"] == top.values[channel, 0] and f"{row['strongest']:.2f}" in printed
        counts = np.bincount(DIGITS.labels[top.images[channel, :12]])
        assert top.values[channel, 11] > top.values[channel, 12]
        assert row["class share"] == counts.max() / 12 and row["class"] == DIGITS.classes[counts.argmax()]
    shares = [np.bincount(DIGITS.labels[images[:12]]).max() / 12 for images in top.images]
    assert result["trained"]["all"]["class share"] == pytest.approx(np.mean(shares))
    assert result["trained"]["all"]["left out"] == 0 and "Over all 12 channels" in printed
    assert result["chance"]["images"] == 12 and 0.1 < result["chance"]["mean"] < 0.5
    assert result["untrained"]["channels"] != result["trained"]["channels"]
    assert [picture["file"] for picture in result["pictures"]] == ["saliency.png", "receptive.png", "filters.png"]
    assert result["notes"] == [] and result["command"].startswith("ganfeat")
    unit = np.array([[3, *top.positions[3, 0]]])
    gradient = image_gradients(layer, layer.prepare(DIGITS.images[top.images[3, :1]]), unit)
    sheet = read_png(tmp_path / "s" / "saliency.png")
    assert np.abs(gradient).max() > 0 and sheet.std() > 10
    assert "Next: ganfeat" in printed


def test_by_default_six_channels_into_the_run_and_its_report(run, tmp_path, capsys):
    assert call(run, "digits", "--limit", "60", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["channel"] for row in result["trained"]["channels"]] == [0, 1, 2, 3, 4, 5]
    assert all(len(row["images"]) == 6 for row in result["untrained"]["channels"])
    assert sorted(path.name for path in (run / "saliency").iterdir()) == FILES
    assert main(["report", str(run), "--out", str(tmp_path / "page.html"), "-q"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count("<figure") >= 3 and "guided gradients" in page


def test_channels_that_choose_no_images_are_of_no_class_and_that_is_said(run, tmp_path, capsys, monkeypatch):
    """Images sorted by class, and two channels of the same value on all of them."""

    def broken(*arguments, **settings):
        gan = load(*arguments, **settings)
        layer_of(gan.extractor(taps="all"), 0).network.blocks[0].conv.weight.data[[1, 4]] = 0
        return gan

    monkeypatch.setattr("ganfeat.estimators.load", broken)
    order = np.argsort(DIGITS.labels, kind="stable")
    for label in np.unique(DIGITS.labels):
        (tmp_path / "data" / str(label)).mkdir(parents=True)
    for i in order.tolist():
        write_png(tmp_path / "data" / str(DIGITS.labels[i]) / f"{i}.png", DIGITS.images[i])
    assert call(run, tmp_path / "data", "--out", tmp_path / "s", "--layer", 0) == 0
    printed = " ".join(capsys.readouterr().out.split())
    result = json.loads((tmp_path / "s" / "saliency.json").read_text())
    assert [row["channel"] for row in result["trained"]["channels"] if row["class share"] is None] == [1, 4]
    assert result["trained"]["all"]["left out"] == 2 and result["untrained"]["all"]["left out"] == 0
    shares = [row["class share"] for row in result["trained"]["channels"] if row["class share"] is not None]
    assert result["trained"]["all"]["class share"] == pytest.approx(np.mean(shares)) and len(shares) == 4
    assert "Over 4 of 6 channels" in printed and "Not counted: 2 channels (0 untrained)" in printed
    assert [row[2:4] for row in result["table"][1:] if row[0] in ("1", "4")] == [["-", "-"]] * 2


def test_other_layers_and_stages(run, tmp_path, capsys):
    assert call(run, "digits", "--limit", "30", "-o", tmp_path / "a", "--layer", "0", "--at", "conv", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["channels"], result["maps"], result["field"]) == (6, [4, 4], [5, 5])
    assert result["layer"].endswith(":conv")


def test_networks_without_maps_and_encoders(tmp_path, capsys):
    """A unit sees the whole image; without labels no classes are counted."""
    AutoEncoder(architecture="mlp", width=16, **SETTINGS).fit(DIGITS, run=tmp_path / "run")
    np.save(tmp_path / "x.npy", DIGITS.images[:40])
    assert call(tmp_path / "run", tmp_path / "x.npy", "-o", tmp_path / "out", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["network"], result["maps"], result["field"]) == ("encoder", [1, 1], [8, 8])
    assert result["chance"] is None and result["trained"]["all"] is None
    for row in result["trained"]["channels"]:
        assert row["fields"] == [[0, 8, 0, 8]] * 6


def test_a_run_without_its_untrained_network_gets_another_initialisation(run, tmp_path, capsys):
    import shutil

    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "untrained.safetensors").unlink()
    assert call(tmp_path / "run", "digits", "--limit", "60", "--json", "--top", "2") == 0
    result = json.loads(capsys.readouterr().out)
    assert any("another initialisation" in note for note in result["notes"])
    assert result["untrained"]["channels"][0]["images"] != result["trained"]["channels"][0]["images"]


def test_mistakes_are_refused_with_the_fix(run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for arguments, words in (
        ((run, run), "is a run folder: ganfeat saliency RUN DATA"),
        ((tmp_path / "none", "digits"), "none"),
        ((run, "digits", "--layer", "7"), "out of range"),
        ((run, "digits", "--at", "relu"), "activation"),
        ((run, "digits", "--network", "generator"), "discriminator"),
        ((run, "digits", "--channels", "12"), "no channel 12"),
        ((run, "digits", "--channels", "1", "1"), "twice"),
        ((run, "digits", "--channels", *range(65)), "1 to 64"),
        ((run, "digits", "--top", "0"), "--top 0 must be at least 1"),
        ((run, "digits", "--top", "65"), "at most 64"),
        ((run, "digits", "--seed", "-1"), "--seed -1"),
        ((run, "digits", "--seed", "9" * 20), "--seed 99999999999999999999 must be"),
        ((run, "digits", "--limit", "0"), "limit=0"),
        ((run, "digits", "--out", tmp_path / "file"), "is a file"),
        ((run, tmp_path / "nowhere"), "nowhere"),
    ):
        assert call(*arguments) == 2
        error = capsys.readouterr().err
        assert words in error and "Traceback" not in error, arguments
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_floating_point_and_oblong_runs_are_refused(tmp_path, capsys):
    DCGAN(width=4, **SETTINGS).fit(np.random.default_rng(0).random((40, 64)), run=tmp_path / "float")
    DCGAN(width=4, **SETTINGS).fit(
        np.random.default_rng(0).integers(0, 256, (40, 8, 12, 1), dtype=np.uint8), run=tmp_path / "oblong"
    )
    for name, words in (("float", "floating-point"), ("oblong", "8 x 12")):
        assert call(tmp_path / name, "digits") == 2
        assert words in capsys.readouterr().err
