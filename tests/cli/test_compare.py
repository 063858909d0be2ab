"""``ganfeat compare``, called as a person calls it."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from ganfeat import DCGAN, LatentRegressor, load_images
from ganfeat.cli import main
from ganfeat.probes.draws import hold_out

DIGITS = load_images("digits", limit=200)
DIGITS_60 = load_images("digits", limit=60)
QUICK = ["--labels-per-class", "2", "--labels-per-class", "5", "--draws", "3", "--limit", "200"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run[b]"  # no markup
    DCGAN(width=4, n_components=4, max_iter=1, batch_size=50, random_state=0).fit(DIGITS, run=path)
    return path


def call(*arguments):
    return main(["compare", *map(str, arguments)])


def test_a_table_tests_and_the_next_command(run, capsys):
    assert call(run, "digits", *QUICK) == 0
    printed = capsys.readouterr().out
    for name in (
        "raw pixels",
        "PCA",
        "k-means features",
        "run[b], layer 0",
        "run[b], all layers",
        "over untrained (5)",
    ):
        assert name in printed
    assert len(re.findall(r"^│ \* ", printed, re.M)) == 1  # one row is the best
    words = " ".join(printed.split())
    assert "paired t-tests over 3 draws of labels" in words and "not other training seeds" in words
    assert "Spearman's rank correlation of label-free measures" in words and "over the 3 rows of networks" in words
    assert "160 images to draw labels from, 40 held out" in words
    assert "run[b]: has seen the held-out images, without labels." in words
    last = printed.rstrip().splitlines()[-1]
    assert re.fullmatch(r"Next: ganfeat extract '.*run\[b\]' digits --out features.npy --taps (0|1|all)", last)


def test_json_and_files(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ganfeat", "compare", "RUN", "digits"])
    assert call(run, "digits", *QUICK, "--json", "--out", tmp_path / "a" / "b") == 0
    result = json.loads(capsys.readouterr().out)
    written = tmp_path / "a" / "b"
    assert sorted(path.name for path in written.iterdir()) == ["compare.html", "compare.json", "compare.png"]
    assert json.loads((written / "compare.json").read_text(encoding="utf-8")) == result
    assert result["command"] == "ganfeat compare RUN digits" and result["machine"]["cpu"]
    assert result["labels_per_class"] == [2, 5] and result["headline"] == 5
    assert (result["images"]["learned from"], result["images"]["held out"]) == (160, 40)
    for row in result["rows"]:
        assert all(len(point["accuracies"]) == 3 for point in row["accuracy"].values())


def test_the_encoder_and_the_discriminator_of_a_run(tmp_path, capsys):
    """Under one probe; the next command names the network that the best layer is of."""
    path = tmp_path / "both"
    settings = {"width": 4, "n_components": 4, "max_iter": 1, "batch_size": 50}
    LatentRegressor(**settings, architecture="mlp", random_state=0).fit(DIGITS, run=path)
    assert call(path, "digits", "--labels-per-class", "2", "--draws", "2", "--limit", "100") == 0
    printed = capsys.readouterr().out
    assert "both E, output" in printed and "both D, layer 0" in printed
    last = printed.rstrip().splitlines()[-1]
    assert re.search(r"--network (encoder --taps (output|0|1|all)|discriminator --taps (0|1|all))$", last)
    arguments = last.removeprefix("Next: ganfeat ").replace("features.npy", str(tmp_path / "f.npy")).split()
    assert main([*arguments, "--quiet", "--limit", "60"]) == 0


def test_a_number_of_labels_is_lowered_to_what_there_is(run, capsys):
    assert call(run, "digits", "--limit", "60", "--draws", "2", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    learn = hold_out(DIGITS_60.labels, 0.2, 0)[0]
    most = int(np.bincount(DIGITS_60.labels[learn]).max())
    assert result["labels_per_class"] == [most] and most < 10  # 10 and 100: all there are, once
    assert result["paired_tests"][0]["p"] is None


def test_images_to_test_on(run, tmp_path, capsys):
    np.savez(tmp_path / "a.npz", images=DIGITS.images[:150], y=DIGITS.labels[:150])
    np.savez(tmp_path / "b.npz", images=DIGITS.images[150:], y=DIGITS.labels[150:])
    quick = ["--labels-per-class", "2", "--draws", "2", "--json"]
    assert call(run, tmp_path / "a.npz", "--test", tmp_path / "b.npz", *quick) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["images"]["learned from"], result["images"]["held out"]) == (150, 50)
    assert result["protocol"]["held out"] == "--test"


def test_seeds(run, capsys):
    found = []
    for seed in (0, 0, 1):
        quick = ["--limit", "60", "--labels-per-class", "2", "--draws", "2", "--json"]
        assert call(run, "digits", *quick, "--seed", seed) == 0
        found.append([row["accuracy"] for row in json.loads(capsys.readouterr().out)["rows"]])
    assert found[0] == found[1] != found[2]


def test_quiet_is_silent(run, capsys):
    assert call(run, "digits", "--limit", "60", "--draws", "2", "--labels-per-class", "2", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


WRONG = {
    "nothing": ([], "ganfeat compare RUN... DATA"),
    "one path": (["{run}"], "ganfeat compare RUN... DATA"),
    "no images": (["{run}", "{run}"], "is a run folder"),
    "images first": (["digits", "{run}"], "is a run folder"),
    "no run": (["{tmp}/no", "digits"], "is not a run folder"),
    "no data": (["{run}", "{tmp}/no"], "there is no"),
    "no labels": (["{run}", "{tmp}/bare.npy"], "have no labels"),
    "one class": (["{run}", "{tmp}/same.npz"], "1 class"),
    "few images": (["{run}", "digits", "--limit", "12"], "at least 20"),
    "no label sizes": (["{run}", "digits", "--labels-per-class", "0"], "at least 1"),
    "no draws": (["{run}", "digits", "--draws", "0"], "at least 1"),
    "stage": (["{run}", "digits", "--at", "bn"], "conv, norm, activation"),
    "pooling": (["{run}", "digits", "--pooling", "median"], "avg, max"),
    "pool": (["{run}", "digits", "--pool", "-1"], "at least 1"),
    "device": (["{run}", "digits", "--device", "tpu"], "device"),
    "out is a file": (["{run}", "digits", "--out", "{tmp}/same.npz"], "is a file"),
    "out below a file": (["{run}", "digits", "--out", "{tmp}/same.npz/x"], "is a file"),
    "test without labels": (["{run}", "digits", "--test", "{tmp}/bare.npy"], "--test"),
    "test on what is learned from": (["{run}", "digits", "--test", "digits"], "leave --test out"),
    "negative seed": (["{run}", "digits", "--seed", "-1"], "seed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_one_clear_line(case, run, tmp_path, capsys):
    np.save(tmp_path / "bare.npy", DIGITS.images)
    np.savez(tmp_path / "same.npz", images=DIGITS.images, y=np.zeros(200, int))
    before = sorted(tmp_path.rglob("*"))
    arguments, message = WRONG[case]
    assert call(*(a.format(tmp=tmp_path, run=run) for a in arguments), "--quiet") == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("ganfeat: ") and message in lines[0]
    assert printed.out == "" and sorted(tmp_path.rglob("*")) == before


# ---------------------------------------------------------------------- the page

ROOT = Path(__file__).parents[2]


def test_the_page_shows_the_committed_result():
    """docs/compare.md: every cell of the table, the tests and the correlations, from docs/results."""
    from ganfeat.report.comparison import comparison_table, sentences

    result = json.loads((ROOT / "docs" / "results" / "compare-mnist5k.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    shown = [[cell.strip(" ") for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    headings, rows = comparison_table(result)
    assert headings in shown
    for row in rows:
        assert [row[0].replace("* ", "\\* "), *row[1:]] in shown
    words = " ".join(page.split())
    for sentence in sentences(result):
        assert sentence.replace("* the best", "\\* the best") in words
