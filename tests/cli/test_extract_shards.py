"""``ganfeat extract`` to parquet, called as a person calls it."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganfeat import DCGAN, load, load_images
from ganfeat.cli import extract_parts, main
from ganfeat.feature_files import open_features


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "digits"
    images = load_images("digits", limit=120)
    DCGAN(width=4, n_components=4, max_iter=1, batch_size=32, random_state=0).fit(images, run=path)
    return path


def call(*arguments):
    return main(["extract", *map(str, arguments)])


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_folder_has_the_rows_of_the_npy_file(run, tmp_path, capsys):
    assert call(run, "digits", "-o", tmp_path / "f.npy", "-q", "--limit", "90") == 0
    out = tmp_path / "features"
    assert call(run, "digits", "-o", out, "--limit", "90", "--part-rows", "400", "--baselines") == 0
    printed = capsys.readouterr()
    assert printed.out.rstrip().splitlines()[-1] == f"Next: ganfeat probe {out}"
    table, plain = open_features(out), json.loads((tmp_path / "f.json").read_text())
    for column, file in (("features", "f"), ("pixels", "f.pixels"), ("random_init", "f.random_init")):
        assert np.array_equal(table.read(column), np.load(tmp_path / f"{file}.npy")), column
    assert np.array_equal(table.labels, np.load(tmp_path / "f.labels.npy"))
    assert plain.keys() <= table.card.keys()
    assert {k for k in plain if plain[k] != table.card[k]} == {"fingerprint"}
    assert main(["probe", str(out), "--draws", "1", "--labels-per-class", "2", "--json", "-q"]) == 0
    assert {"ganfeat", "raw_pixels", "random_init"} <= json.loads(capsys.readouterr().out)["accuracy"].keys()


def test_one_parquet_file_and_what_lies_beside_it(run, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    np.save(tmp_path / "x.npy", load_images("digits").images[:50])
    assert call(run, tmp_path / "x.npy", "-o", tmp_path / "f.parquet", "--part-rows", "20", "--pca", "3", "--json") == 0
    card = json.loads(capsys.readouterr().out)
    assert names(tmp_path) == ["f.json", "f.parquet", "f.projection.safetensors", "images", "x.npy"]
    table = open_features(tmp_path / "f.parquet")
    assert table.shape == (50, 3) and table.labels is None and table.card.items() <= card.items()
    assert call(run, tmp_path / "x.npy", "-o", tmp_path / "again", "-q", "--pca-from", tmp_path / "f.parquet") == 0
    assert np.array_equal(open_features(tmp_path / "again").read(), table.read())
    whole = load(run).transform(np.load(tmp_path / "x.npy"))
    assert np.linalg.norm(whole - whole.mean(0)) >= np.linalg.norm(table.read()) > 0


def test_json_names_the_side_table(run, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for i in range(12):
        Image.fromarray(load_images("digits").images[i, :, :, 0]).save(images / f"{i:02d}.png")
    (images / "bad.png").write_bytes(b"")
    assert call(run, images, "-o", tmp_path / "f", "--json", "-q") == 0
    card = json.loads(capsys.readouterr().out)
    assert card["errors"] == str(tmp_path / "f" / "errors") and card["unreadable"] == 1
    assert card["skipped"] == [{"source": "bad.png", "reason": "empty file (0 bytes)"}]
    assert call(run, images, "-o", tmp_path / "g", "-q", "--strict") == 2
    assert "1 of 13 images cannot be read" in capsys.readouterr().err
    assert call(run, images, "-o", tmp_path / "f.parquet", "-q") == 0
    assert names(tmp_path) == ["f", "f.errors.parquet", "f.json", "f.parquet", "g", "images"]


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def test_killed_while_joining_nothing_is_lost(run, tmp_path, monkeypatch):
    """Before each change of a file, of the first file and of one that takes the place of another."""
    images = tmp_path / "images"
    images.mkdir()
    for i in range(12):
        Image.fromarray(load_images("digits").images[i, :, :, 0]).save(images / f"{i:02d}.png")
    (images / "bad.png").write_bytes(b"")
    out = tmp_path / "f.parquet"
    arguments = (run, images, "-o", out, "-q", "--pca", "2", "--part-rows", "5")
    shown = ["f.errors.parquet", "f.json", "f.parquet", "f.projection.safetensors", "images"]
    made, stop, joining = [], [0], [False]

    def counted(method):
        def change(*arguments, **more):
            if joining[0]:
                if len(made) >= stop[0]:
                    raise Killed
                made.append(arguments)
            return method(*arguments, **more)

        return change

    def join(*arguments, method=extract_parts.join_parts):
        joining[0] = True
        method(*arguments)

    monkeypatch.setattr(extract_parts, "join_parts", join)
    changes = [(Path, "replace"), (Path, "rename"), (Path, "unlink"), (shutil, "rmtree"), (os, "unlink"), (os, "rmdir")]
    for owner, name in changes:
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    expected, kills = None, 0
    parts, kept = tmp_path / ".f.parquet.parts", tmp_path.with_name("kept")
    for number in range(60):
        stop[0] = number
        made.clear()
        if number:
            shutil.copytree(kept, parts)
        try:
            assert call(*arguments) == 0
        except Killed:
            kills += 1
        killed = joining[0] and len(made) == number
        stop[0] = 10**6
        if not number:
            shutil.copytree(parts, kept)
        assert call(*arguments) == 0, number  # joins, or finds that all is done
        joining[0] = False
        assert names(tmp_path) == shown, number
        table, projection = open_features(out), (tmp_path / "f.projection.safetensors").read_bytes()
        content = (table.read().tobytes(), list(table.ids), projection, table.card)
        expected = content if expected is None else expected
        assert content == expected, number
        (tmp_path / "f.json").write_text('{"plan": "another", "pca": null, "unreadable": 0}')  # so it is made again
        if not killed:
            break
    assert kills > 8


def test_a_second_time_nothing_is_done_and_files_of_others_are_left_alone(run, tmp_path, capsys, monkeypatch):
    np.save(tmp_path / "x.npy", load_images("digits").images[:50])
    out = tmp_path / "f.parquet"
    (tmp_path / "f.errors.parquet").write_text("mine")
    assert call(run, tmp_path / "x.npy", "-o", out, "-q") == 2
    assert "f.errors.parquet is in the way" in capsys.readouterr().err
    (tmp_path / "f.errors.parquet").rename(tmp_path / "f.json")
    assert call(run, tmp_path / "x.npy", "-o", out, "-q") == 2
    assert "f.json is in the way" in capsys.readouterr().err
    assert (tmp_path / "f.json").read_text() == "mine" and names(tmp_path) == ["f.json", "x.npy"]
    (tmp_path / "f.json").unlink()
    assert call(run, tmp_path / "x.npy", "-o", out, "--json", "-q") == 0
    first = json.loads(capsys.readouterr().out)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr("ganfeat.scale.worker.Worker.run", lambda *_: pytest.fail("done again"))
        assert call(run, tmp_path / "x.npy", "-o", out, "--json", "-q") == 0
    assert json.loads(capsys.readouterr().out) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert call(run, tmp_path / "x.npy", "-o", out, "--pool", "2", "-q") == 0  # something else takes its place
    assert open_features(out).n_features < first["features"]


WRONG = {
    "a suffix that is none": (["-o", "{tmp}/f.csv"], "must end in .npy or .parquet"),
    "a file in the way": (["-o", "{tmp}/file"], "is a file"),
    "no such folder": (["-o", "{tmp}/nowhere/f"], "mkdir -p"),
    "another folder": (["-o", "{tmp}/mine"], "other files (notes.txt)"),
    "pca of npy": (["-o", "{tmp}/f.npy", "--pca", "3"], "ganfeat reduce"),
    "ray of npy": (["-o", "{tmp}/f.npy", "--engine", "ray"], "name a folder"),
    "pack": (["-o", "{tmp}/f", "--pack", "{tmp}/p.npy"], "ganfeat prepare"),
    "actors of none": (["-o", "{tmp}/f", "--actors", "2"], "--engine ray"),
    "unknown engine": (["-o", "{tmp}/f", "--engine", "spark"], "spark"),
    "recalibrate on all": (["-o", "{tmp}/f", "--bn", "recalibrate"], "--recalibrate-on"),
    "recalibrate-on alone": (["-o", "{tmp}/f", "--recalibrate-on", "digits"], "--bn recalibrate"),
    "whiten alone": (["-o", "{tmp}/f", "--whiten"], "--pca"),
    "no components": (["-o", "{tmp}/f", "--pca", "0"], "pca=0"),
    "too many components": (["-o", "{tmp}/f", "--pca", "5000"], "5000"),
    "no projection": (["-o", "{tmp}/f", "--pca-from", "{tmp}/none.safetensors"], "none.safetensors"),
    "no rows": (["-o", "{tmp}/f", "--part-rows", "0"], "part_rows=0"),
    "tap out of range": (["-o", "{tmp}/f", "--taps", "2"], "0 to 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_one_clear_line(case, run, tmp_path, capsys):
    (tmp_path / "file").write_text("text")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    arguments, message = WRONG[case]
    assert call(run, "digits", *(a.format(tmp=tmp_path) for a in arguments), "-q") == 2
    printed = capsys.readouterr()
    assert message in printed.err.splitlines()[0] and printed.out == ""
    assert not list(tmp_path.glob("f*/part-*"))


def test_ray_that_is_not_installed(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert call(run, "digits", "-o", tmp_path / "f", "--engine", "ray", "-q") == 2
    assert "pip install 'ganfeat[ray]'" in capsys.readouterr().err
    assert names(tmp_path) == []


def test_a_cluster_that_is_not_there(run, tmp_path, capsys):
    pytest.importorskip("ray")
    assert call(run, "digits", "-o", tmp_path / "f", "--engine", "ray", "--address", "127.0.0.1:1", "-q") == 2
    assert "cannot reach Ray at 127.0.0.1:1" in capsys.readouterr().err
