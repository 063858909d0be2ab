"""``ganfeat reconstruct``, called as a person calls it."""

import json

import numpy as np
import pytest

from ganfeat import DCGAN, AutoEncoder, load, load_images
from ganfeat.cli import main
from ganfeat.pictures import read_png, untile

DIGITS = load_images("digits", limit=120)
SETTINGS = {"n_components": 8, "max_iter": 2, "batch_size": 20, "random_state": 0}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    AutoEncoder(architecture="mlp", width=16, **SETTINGS).fit(DIGITS, run=path)
    return path


def call(*arguments):
    return main(["reconstruct", *map(str, arguments)])


def test_a_sheet_of_images_above_their_reconstructions(run, tmp_path, capsys):
    """23 of them: two full rows, and three in a third; the rest is grey."""
    assert call(run, "digits", "--out", tmp_path / "a.png", "--images", "23", "--limit", "100") == 0
    printed = " ".join(capsys.readouterr().out.split())
    images, model = load_images("digits", limit=100), load(run)
    shown = images.images[np.linspace(0, 99, 23).astype(int)]
    cells = untile(read_png(tmp_path / "a.png"), 8, 8).reshape(3, 2, 10, 8, 8, 1)
    above, below = (cells[:, side].reshape(30, 8, 8, 1) for side in (0, 1))
    assert np.array_equal(above[:23], shown) and np.array_equal(below[:23], model.reconstruct(shown))
    assert (above[23:] == 128).all() and (below[23:] == 128).all()
    found = model.reconstruction_error(images)
    for value in (found["error"], found["shuffled"], found["error"] / found["shuffled"]):
        assert f"{value:.3f}" in printed
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_json_is_all_that_standard_output_holds(run, tmp_path, capsys):
    assert call(run, "digits", "-o", tmp_path / "a.png", "--limit", "120", "--json", "--seed", "4") == 0
    result = json.loads(capsys.readouterr().out)
    found = load(run).reconstruction_error(DIGITS, random_state=4)
    assert result.items() >= {**found, "images": 120, "skipped": 0, "shown": 20, "out": str(tmp_path / "a.png")}.items()
    assert result["ratio"] == found["error"] / found["shuffled"]
    assert result["learned from"] is True


def test_whether_the_run_has_learned_from_them_is_said(run, tmp_path, capsys):
    assert call(run, "digits", "-o", tmp_path / "a.png", "--limit", "120") == 0
    assert "has learned from these very images:" in capsys.readouterr().out
    assert call(run, "digits", "-o", tmp_path / "a.png", "--limit", "119") == 0
    assert "has learned from" not in capsys.readouterr().out


def test_few_images_and_colours(tmp_path, capsys):
    """Fewer images than are asked for; photographs of 12 x 12 that G draws at 6 x 6."""
    images = np.random.default_rng(0).integers(0, 256, (30, 12, 12, 3), dtype=np.uint8)
    AutoEncoder(width=4, generator_size=6, **SETTINGS).fit(images, run=tmp_path / "run")
    np.save(tmp_path / "x.npy", images[:3])
    assert call(tmp_path / "run", tmp_path / "x.npy", "-o", tmp_path / "a.png", "-q") == 0
    assert capsys.readouterr() == ("", "")
    cells = untile(read_png(tmp_path / "a.png"), 6, 6)
    halved = images[:3].reshape(3, 6, 2, 6, 2, 3).mean((2, 4))
    assert cells.shape == (6, 6, 6, 3) and np.abs(cells[:3] - halved).max() <= 1


def test_a_run_that_held_a_share_out_has_not_learned_from_that(tmp_path, capsys):
    model = AutoEncoder(architecture="mlp", width=16, **SETTINGS)
    list(model.iter_fit(DIGITS, run=tmp_path / "run", validation=0.25))
    for limit, share in ((120, 0.25), (119, 0.0)):
        assert call(tmp_path / "run", "digits", "-o", tmp_path / "a.png", "--limit", limit, "--json") == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out)["held out"] == share
        assert ("from all but a share of these very images (25 % were held out)" in printed.err) == (limit == 120)


def test_a_run_without_an_encoder(tmp_path, capsys):
    DCGAN(width=4, **SETTINGS).fit(DIGITS, run=tmp_path / "run")
    before = sorted(tmp_path.iterdir())
    assert call(tmp_path / "run", "digits", "-o", tmp_path / "a.png", "-q") == 2
    said = capsys.readouterr().err
    assert "dcgan, which has no encoder" in said and "--method bigan, ali, latent-regressor or autoencoder" in said
    assert sorted(tmp_path.iterdir()) == before


WRONG = {
    "no run": (["{tmp}/no", "digits", "-o", "{tmp}/a.png"], "is not a run folder"),
    "no data": (["{run}", "{tmp}/no", "-o", "{tmp}/a.png"], "no"),
    "no out": (["{run}", "digits"], "--out"),
    "out without .png": (["{run}", "digits", "-o", "{tmp}/a.jpg"], "must end in .png"),
    "out a folder": (["{run}", "digits", "-o", "{tmp}/folder.png"], "is a folder"),
    "no such folder": (["{run}", "digits", "-o", "{tmp}/no/a.png"], "mkdir -p"),
    "out among the images": (["{run}", "{tmp}", "-o", "{tmp}/a.png"], "one of the images"),
    "no images": (["{run}", "digits", "-o", "{tmp}/a.png", "--images", "0"], "--images 0 must be at least 1"),
    "one image": (["{run}", "{tmp}/one.npy", "-o", "{tmp}/a.png"], "at least 2"),
    "negative seed": (["{run}", "digits", "-o", "{tmp}/a.png", "--seed", "-1"], "--seed -1"),
    "device": (["{run}", "digits", "-o", "{tmp}/a.png", "--device", "tpu"], "tpu"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_one_clear_line_and_leaves_nothing(case, run, tmp_path, capsys):
    np.save(tmp_path / "one.npy", DIGITS.images[:1])
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    arguments, message = WRONG[case]
    assert call(*(a.format(tmp=tmp_path, run=run) for a in arguments), "--quiet") == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert lines[0].startswith("ganfeat: ") and message in lines[0] and len(lines) <= 2
    assert printed.out == "" and sorted(tmp_path.rglob("*")) == before
