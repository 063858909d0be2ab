"""M-GAN from the command line: train, info, extract either network, compare, report."""

import json

import numpy as np
import pytest

from ganfeat import load
from ganfeat.cli import main
from ganfeat.data import load_images


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mgan") / "run"
    sizes = ["--width", "8", "--n-generators", "3", "--n-features", "12", "--n-components", "5"]
    command = ["train", "digits", "--out", str(folder), "--method", "mgan", "--limit", "300", "--max-iter", "1"]
    assert main([*command, *sizes, "--shares-removed", "1", "--no-tensorboard", "--quiet"]) == 0
    return folder


def call(*arguments):
    return main([str(a) for a in arguments])


def test_info_says_which_layers_are_taken_by_default(run, capsys):
    assert call("info", run) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "`--taps ...`, or just an INDEX for the activation. By default -1" in printed
    assert "`--network classifier --taps ...`" in printed


@pytest.mark.parametrize("network", ["discriminator", "classifier"])
def test_extract_gives_what_transform_gives(run, tmp_path, network):
    out = tmp_path / "f.npy"
    assert call("extract", run, "digits", "--out", out, "--network", network, "--limit", 40, "--quiet") == 0
    images = load_images("digits", limit=40)
    np.testing.assert_array_equal(np.load(out), load(run).transform(images, network))


def test_compare_sets_c_beside_d(run, tmp_path, capsys):
    assert (
        call(
            "compare",
            run,
            "digits",
            "--limit",
            400,
            "--labels-per-class",
            5,
            "--draws",
            2,
            "--out",
            tmp_path / "c",
            "--json",
        )
        == 0
    )
    networks = json.loads(capsys.readouterr().out)["networks"]
    assert [(n["name"], n["tapped"]) for n in networks] == [("run D", "discriminator"), ("run C", "classifier")]


def test_report_shows_the_classifiers_loss(run):
    assert call("report", run, "--quiet") == 0
    assert "classifier" in (run / "report.html").read_text()


def test_a_setting_of_another_method_is_refused(tmp_path, capsys):
    assert call("train", "digits", "--out", tmp_path / "x", "--method", "dcgan", "--n-generators", 3) == 2
    assert "mgan has it" in " ".join(capsys.readouterr().err.split())
    assert call("train", "digits", "--out", tmp_path / "x", "--method", "mgan", "--augment", "flip") == 2
    assert "no setting 'augment'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "x").exists()
