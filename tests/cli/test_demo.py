"""``ganfeat demo``, called as a person calls it."""

import json

import numpy as np
import pytest

from ganfeat.cli import main


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def images(tmp_path):
    """Forty dark and bright pictures, in an archive with their labels."""
    labels = np.arange(60) % 2
    pixels = np.random.default_rng(0).integers(0, 128, (60, 8, 8, 1)) + 127 * labels[:, None, None, None]
    np.savez(tmp_path / "pictures.npz", images=pixels.astype(np.uint8), labels=labels)
    return tmp_path / "pictures.npz"


def demo(*arguments):
    return main(["demo", *map(str, arguments)])


def test_it_ends_with_the_table_and_the_next_command(images, tmp_path, capsys):
    out = tmp_path / "out"
    assert demo("--images", images, "--out", out, "--max-iter", "1") == 0
    printed = capsys.readouterr()
    for words in ("raw pixels", "PCA", "random init", "ganfeat", "±", f"Report: {out / 'report.html'}"):
        assert words in printed.out
    assert printed.out.rstrip().splitlines()[-1].startswith("Next: ganfeat train")
    assert "training: done" in printed.err
    assert {"run", "report.html", "results.json"} <= {p.name for p in out.iterdir()}
    capsys.readouterr()
    assert demo("--images", images, "--out", out, "--max-iter", "1", "--json", "--quiet") == 0  # the run is used again
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert printed.err == "" and result["continued"]
    assert result == json.loads((out / "results.json").read_text())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--images", "{tmp}/nowhere"], "nowhere"),
        (["--images", "digit"], "digits"),
        (["--images", "{tmp}/few.npy"], "at least 40"),
        (["--images", "{images}", "--max-iter", "0"], "max_iter=0"),
        (["--images", "{images}", "--seed", "-1"], "seed=-1"),
        (["--images", "{images}", "--device", "tpu"], "tpu"),
        (["--images", "{images}", "--out", "{tmp}/few.npy"], "few.npy"),
        (["--images", "{images}", "--out", "{tmp}/full"], "no run folder"),
    ],
)
def test_a_wrong_call_is_one_clear_line_and_leaves_nothing(options, message, images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "few.npy", np.zeros((5, 8, 8, 1), np.uint8))
    (tmp_path / "full" / "run").mkdir(parents=True)
    (tmp_path / "full" / "run" / "notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    assert demo(*(o.format(tmp=tmp_path, images=images) for o in options), "--quiet") == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("ganfeat: ") and message in lines[0]
    assert printed.out == ""
    assert [p for p in sorted(tmp_path.rglob("*")) if p.name != ".lock"] == before
