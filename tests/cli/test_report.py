"""``ganfeat report``, called as a person calls it, and what a run folder has to show."""

import json
import re
import shutil
import sys

import numpy as np
import pytest

from ganfeat import ALI, DCGAN, AutoEncoder, BiGAN, LatentRegressor, __version__, load, load_images
from ganfeat.checkpoint import RunFolder
from ganfeat.cli import main
from ganfeat.pictures import tile, write_png
from ganfeat.report.folder import reconstructions_of, report_of_run, samples_of

DIGITS = load_images("digits", limit=60)
SETTINGS = {"n_components": 4, "width": 8, "max_iter": 4, "batch_size": 16, "random_state": 0}
MODELS = {model.method: model for model in (DCGAN, BiGAN, ALI, LatentRegressor, AutoEncoder)}


def train(path, method="autoencoder", images=DIGITS, steps=None, **recording):
    """A run of 12 steps, or of fewer where it is stopped."""
    mlp = {} if method == "dcgan" else {"architecture": "mlp"}
    model = MODELS[method](**mlp, **SETTINGS)
    recording = {"log_every": 1, "evaluations": 3, "sheets": 4, **recording}
    for record in model.iter_fit(images, run=path, **recording):
        if record["step"] == steps:
            model.request_stop()
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "ae", validation=0.2)


@pytest.fixture
def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def call(*arguments):
    return main(["report", *map(str, arguments)])


def headings(html):
    return re.findall(r"<h2>(.*?)</h2>", html)


def test_a_page_of_a_run_with_an_encoder(run, tmp_path, capsys):
    assert call(run, "--out", tmp_path / "a.html") == 0
    html = (tmp_path / "a.html").read_text("utf-8")
    assert headings(html) == ["Samples over time", "Reconstructions", "Training", "Settings"]
    for chart in ("loss", "reconstruction error", "cycle error", "1-nn accuracy, %"):
        assert f"Line chart of {chart} over epochs" in html
    last = RunFolder(run).history.read_text().splitlines()[-1]
    error = json.loads(last)["reconstruction/real"]
    for words in (
        "<h1>ae: autoencoder</h1>",
        "autoencoder, mlp, learned without labels from 48 images of 8 x 8 x 1 from digits",
        "12 more were held out. 4 epochs, seed 0, cpu",
        f"held-out images were {error:.2f} from their reconstructions",
        f"Page by ganfeat {__version__}: ganfeat report {run} --out {tmp_path / 'a.html'}",
    ):
        assert words in html
    printed = capsys.readouterr().out
    assert f"Report: {tmp_path / 'a.html'}" in printed and f"Next: ganfeat extract {run} DATA" in printed
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]


@pytest.mark.parametrize("method", ["dcgan", "bigan", "ali", "latent-regressor"])
def test_runs_of_the_other_methods(method, tmp_path):
    train(tmp_path / "run", method, images=DIGITS.images)
    assert call(tmp_path / "run", "-q") == 0
    html = (tmp_path / "run" / "report.html").read_text("utf-8")
    again = [] if method == "dcgan" else ["Reconstructions"]
    assert headings(html) == ["Samples over time", *again, "Training", "Settings"]
    assert f"<h1>run: {method}</h1>" in html and "60 images of 8 x 8 x 1 from an array" in html
    assert "1-nn" not in html and ("Line chart of cycle" in html) == bool(again)


def test_the_pictures_are_those_of_the_sheets(run):
    """Of the step whose name they have; the images that are reconstructed are held out, 12 of them, and stay."""
    samples, (real, frames) = samples_of(RunFolder(run)), reconstructions_of(RunFolder(run))
    assert [label for label, _ in samples] == [label for label, _ in frames] == [f"epoch {i}" for i in range(5)]
    assert {images.shape for _, images in samples} == {(64, 8, 8, 1)}
    assert {images.shape for _, images in frames} == {real.shape} == {(12, 8, 8, 1)}
    assert {image.tobytes() for image in real} <= {image.tobytes() for image in DIGITS.images}
    assert np.abs(frames[-1][1].astype(int) - load(run).reconstruct(real)).max() <= 1
    page = report_of_run(RunFolder(run))
    assert page.real is page.reconstructed and np.array_equal(page.real, real)


def test_many_sheets_are_thinned_and_moments_are_told_apart(tmp_path):
    train(tmp_path / "run", sheets=1000)
    labels = [label for label, _ in samples_of(RunFolder(tmp_path / "run"))]
    assert len(set(labels)) == len(labels) == 12 and (labels[0], labels[-1]) == ("epoch 0.0", "epoch 4.0")
    (tmp_path / "run" / "history.jsonl").unlink()
    assert samples_of(RunFolder(tmp_path / "run"))[-1][0] == "step 12"


def test_a_run_that_is_not_finished(tmp_path, capsys):
    train(tmp_path / "run", steps=6)
    assert call(tmp_path / "run", "--json", "-q") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["finished"] is False and (result["steps"], result["epochs"], result["records"]) == (6, 2.0, 6)
    html = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "Not finished: 2.0 of 4 epochs" in html


def test_json_counts_what_is_shown_and_the_same_run_gives_the_same_page(copied, capsys):
    assert call(copied, "-q") == 0
    assert capsys.readouterr() == ("", "")
    first = (copied / "report.html").read_bytes()
    assert call(copied, "--json") == 0
    assert (copied / "report.html").read_bytes() == first
    assert json.loads(capsys.readouterr().out) == {
        "run": str(copied),
        "method": "autoencoder",
        "finished": True,
        "epochs": 4.0,
        "steps": 12,
        "samples": 5,
        "reconstructions": 5,
        "records": 12,
        "out": str(copied / "report.html"),
    }


def test_imported_weights(copied, capsys):
    """They have a sheet of their own name and no history; without the sheet there are the settings."""
    config = json.loads((copied / "config.json").read_text())
    config["data"] = {"imported": "dcgan-code", "source": "there", "epochs": 7, "statistics": {}}
    (copied / "config.json").write_text(json.dumps(config))
    shutil.rmtree(copied / "samples")
    (copied / "history.jsonl").write_text("")
    (copied / "samples").mkdir()
    write_png(copied / "samples" / "imported.png", tile(DIGITS.images[:64]))
    assert call(copied, "--json", "-q") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["finished"] is True and (result["samples"], result["records"]) == (1, 0)
    html = (copied / "report.html").read_text("utf-8")
    assert headings(html) == ["Samples over time", "Settings"] and "imported from dcgan-code, there" in html
    (copied / "samples" / "imported.png").unlink()
    assert call(copied, "-q") == 0
    assert headings((copied / "report.html").read_text("utf-8")) == ["Settings"]


def test_sheets_of_two_numbers_of_images_show_those_that_all_have(copied):
    """A run that was begun by a version that left the last images out."""
    first = copied / "samples" / "reconstruction-step-00000000.png"
    write_png(first, tile(np.concatenate([DIGITS.images[:8], DIGITS.images[8:16]]), 8))
    real, frames = reconstructions_of(RunFolder(copied))
    assert {images.shape for _, images in frames} == {real.shape} == {(8, 8, 8, 1)}


def spoil(copied, name, content):
    path = copied / name
    if content is None:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_png(path, content)


STEP = "samples/step-00000012.png"
DAMAGED = {
    "no config": ([("config.json", None)], "is not a run folder"),
    "half a config": ([("config.json", b'{"format": 1, "method": "bigan"}')], "damaged: estimator, image_shape"),
    "nothing yet": ([("history.jsonl", None), ("samples", None)], "neither samples nor a history yet"),
    "no picture": ([(STEP, b"no picture")], "step-00000012.png cannot be read"),
    "other images": ([(STEP, tile(DIGITS.images[:4, :7, :7]))], "no sheet of 8 x 8 images"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_no_run_or_damaged_is_one_clear_line(case, copied, tmp_path, capsys):
    changes, message = DAMAGED[case]
    for name, content in changes:
        spoil(copied, name, content)
    refused(copied, tmp_path / "a.html", message, tmp_path, capsys)


def test_half_a_picture_is_one_clear_line(copied, tmp_path, capsys):
    spoil(copied, STEP, (copied / STEP).read_bytes()[:200])
    refused(copied, tmp_path / "a.html", "cannot be read", tmp_path, capsys)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("folder.html", "is a folder: name a file in it"),
        (".", "is a folder: name a file in it"),
        ("a.txt", "must end in .html, e.g."),
        ("a", "must end in .html, e.g."),
        ("file/a.html", "file"),
    ],
)
def test_a_wrong_out(out, message, run, tmp_path, capsys):
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").write_text("mine")
    refused(run, tmp_path / out, message, tmp_path, capsys)


def test_no_such_run(tmp_path, capsys):
    assert call(tmp_path / "no") == 2
    assert "does not exist" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(run, tmp_path / "a.html", "pip install 'ganfeat[plot]'", tmp_path, capsys)


def refused(run, out, message, folder, capsys):
    before = sorted(folder.rglob("*"))
    assert call(run, "--out", out, "--quiet") == 2
    printed = capsys.readouterr()
    (line,) = printed.err.strip().splitlines()
    assert line.startswith("ganfeat: ") and message in line
    assert printed.out == "" and sorted(folder.rglob("*")) == before
