"""The alarms as a person meets them: in ``train``, ``info`` and ``report``."""

import json

import pytest
import torch

import ganfeat
from ganfeat.cli import main
from ganfeat.cli.train import COLLAPSED, progress_note

SMALL = ["--width", "4", "--n-components", "5", "--batch-size", "64", "--max-iter", "3", "--limit", "200"]
SMALL += ["--log-every", "1", "--sheets", "1", "--precision", "fp32", "--device", "cpu", "--no-tensorboard"]

pytestmark = pytest.mark.filterwarnings("always::ganfeat.health.HealthWarning")  # the command line prints them


@pytest.fixture(autouse=True)
def early(monkeypatch):
    """Steps that usually do not count do, so that a G that has hardly begun counts as collapsed."""
    before = torch.get_num_threads()
    monkeypatch.setattr("ganfeat.health.LEAST_STEPS", 0)
    monkeypatch.setattr("ganfeat.health.LEAST_APART", 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


def call(*arguments):
    return main([str(a) for a in arguments])


def test_a_run_stops_on_collapse_with_a_status_of_its_own_and_goes_on_without_the_option(tmp_path, capsys, monkeypatch):
    command = ["train", "digits", "--out", str(tmp_path / "run"), *SMALL]
    monkeypatch.setattr("sys.argv", ["ganfeat", *command, "--stop-on-collapse"])
    assert call(*command, "--stop-on-collapse") == COLLAPSED == 3
    printed = capsys.readouterr()
    warned = [line for line in printed.err.splitlines() if line.startswith("warning:")]
    assert warned and all("evaluations in a row" in line and "learning_rate" in line for line in warned)
    assert "as --stop-on-collapse asks: " in printed.out and "diversity alarm since epoch 1.0" in printed.out
    going_on = printed.out.rstrip().splitlines()[-1]
    assert going_on == " ".join(["ganfeat", *command, "--no-stop-on-collapse"])
    assert not ganfeat.load(tmp_path / "run").finished_

    assert call(*going_on.split()[1:], "--json") == 0  # it can be typed as it was printed
    result = json.loads(capsys.readouterr().out)
    assert result["finished"] and result["steps"] == 9
    assert "diversity" in result["health"]["up"] and result["health"]["last"]["diversity"] < 0.4
    assert len(result["health"]["raised"]) >= len(warned)

    assert call("train", "digits", "--out", tmp_path / "whole", *SMALL, "--quiet") == 0
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert models[0] == models[1]


def test_info_and_report_come_to_the_verdict_of_the_training(tmp_path, capsys):
    assert call("train", "digits", "--out", tmp_path / "run", *SMALL) == 0
    assert "mode collapse" in capsys.readouterr().out
    verdict = ganfeat.load(tmp_path / "run").health_.verdict()
    assert "diversity alarm since epoch 1.0" in verdict
    assert call("info", tmp_path / "run", "--json") == 0
    health = json.loads(capsys.readouterr().out)["health"]
    assert health == ganfeat.load(tmp_path / "run").health_.summary()
    assert call("info", tmp_path / "run") == 0
    assert "mode collapse" in capsys.readouterr().out
    assert call("report", tmp_path / "run") == 0
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert '<section id="health">' in page and verdict in page
    for alarm in health["raised"]:
        assert alarm["message"].replace("'", "&#x27;") in page
    for chart in ("coverage, %", "diversity, %", "spread of log alpha", "filters in one mode, %"):
        assert f"Line chart of {chart} over epochs" in page


def test_a_run_that_was_not_measured_has_no_such_section(tmp_path, capsys):
    assert call("train", "digits", "--out", tmp_path / "run", *SMALL, "--evaluations", "0") == 0
    assert call("report", tmp_path / "run") == call("info", tmp_path / "run") == 0
    assert "mode collapse" not in capsys.readouterr().out
    assert '<section id="health">' not in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_only_validation_needs_an_encoder(tmp_path, capsys):
    assert call("train", "digits", "--out", tmp_path / "run", *SMALL, "--validation", "0.2") == 2
    assert "--validation is for methods with an encoder, which 'dcgan' has not" in capsys.readouterr().err
    assert call("train", "digits", "--out", tmp_path / "run", *SMALL, "--evaluations", "0", "--stop-on-collapse") == 2
    assert "stop_on_collapse with evaluations=0: at least 3 are needed" in capsys.readouterr().err


def test_the_progress_names_the_alarms_that_are_up():
    assert progress_note({"images_per_second": 10.0}, ["coverage"]) == "10 images/s, coverage ALARM"
