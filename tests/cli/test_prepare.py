"""`ganfeat prepare`: what it says, what it refuses, and what it leaves behind."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganfeat.cli import main
from ganfeat.data import load_images
from ganfeat.errors import InputError, RunError

RANDOM = np.random.default_rng(0)


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    for row in range(12):
        coarse = RANDOM.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        path = root / "ab"[row % 2] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((40, 36), Image.Resampling.BICUBIC).save(path)
    (root / "a" / "zero.png").touch()
    return root


def test_a_folder_becomes_a_set(photos, tmp_path, capsys):
    call = ["prepare", str(photos), "--out", str(tmp_path / "set"), "--size", "16", "--size", "32"]
    assert main([*call, "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["images"], told["sizes"], told["channels"], told["classes"]) == (12, [16, 32], 3, 2)
    assert told["steps"]["read"]["reasons"] == {"empty (0 bytes)": 1}
    np.testing.assert_array_equal(load_images(tmp_path / "set", size=32), load_images(photos, size=32))
    assert main(call) == 0
    out = capsys.readouterr().out
    assert "finished already" in out
    assert "read: dropped, empty (0 bytes)" in out
    assert f"Next: ganfeat train {tmp_path / 'set'} --out runs/set" in out


def test_it_goes_on_where_it_was(photos, tmp_path, capsys, monkeypatch):
    call = ["prepare", str(photos), "--out", str(tmp_path / "set"), "--size", "16", "--workers", "1"]
    with monkeypatch.context() as patched:
        patched.setattr("ganfeat.prepare.read._COMMIT_CANDIDATES", 1)
        patched.setattr("ganfeat.prepare.read._CHUNK", 5)
        real, calls = __import__("ganfeat.prepare.work", fromlist=["make"]).make, []

        def once(job, candidates):
            calls.append(len(candidates))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return real(job, candidates)

        patched.setattr("ganfeat.prepare.read.make", once)
        assert main(call) == 130
    assert "To go on: ganfeat" in capsys.readouterr().out
    assert main(call) == 0
    assert "Went on behind 10 images" in capsys.readouterr().out
    assert len(load_images(tmp_path / "set")) == 12


def test_other_settings_are_refused_by_name(photos, tmp_path, capsys):
    call = ["prepare", str(photos), "--out", str(tmp_path / "set"), "-q"]
    assert main([*call, "--size", "16"]) == 0
    assert main([*call, "--size", "32"]) == 2
    assert "sizes: [16] -> [32]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--size", "0"), "1..1024"),
        (("--channels", "2"), "1 (grey) or 3"),
        (("--workers", "0"), "1 or more"),
        (("--face-size", "90"), "--faces all"),
        (("--fast-jpeg", "quick"), "draft"),
        (("--faces", "largest", "--fast-jpeg", "draft"), "exclude each other"),
        (("--faces", "largest", "--face-size", "3"), "min_size=3"),
    ],
)
def test_a_wrong_call_is_refused_before_any_work(photos, tmp_path, capsys, arguments, told):
    assert main(["prepare", str(photos), "--out", str(tmp_path / "set"), *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_a_source_that_is_not_there(tmp_path, capsys):
    assert main(["prepare", str(tmp_path / "nothing"), "--out", str(tmp_path / "set")]) == 2
    assert "there is no" in capsys.readouterr().err


def test_duplicates_are_left_out_of_all_sizes(photos, tmp_path, capsys, monkeypatch):
    """With a search that knows: rows 1 and 4 are duplicates of 0. The set is that of `read` without them."""
    import ganfeat.prepare.duplicates as module

    def find(images, ids, *, work, areas, **settings):
        assert images.shape == (12, 32, 32, 3)
        assert areas.tolist() == [40 * 36] * 12
        kept = np.arange(12)
        kept[[1, 4]] = 0
        work.mkdir(parents=True)
        (work / "groups.png").write_bytes(b"picture")
        distance = np.zeros(2, np.float32)
        card = {"step": "duplicates", "kept": 10, "dropped": 2}
        return module.Duplicates(kept, kept, np.array([1, 4]), distance, distance, card)

    monkeypatch.setattr(module, "find_duplicates", find)
    whole, path = tmp_path / "whole", tmp_path / "set"
    sizes = ["--size", "16", "--size", "32", "-q"]
    assert main(["prepare", str(photos), "--out", str(whole), *sizes]) == 0
    call = ["prepare", str(photos), "--out", str(path), *sizes, "--duplicates", "autoencoder"]
    assert main(call) == 0
    rows = [row for row in range(12) if row not in (1, 4)]
    for size in (16, 32):
        got, everything = load_images(path, size=size), load_images(whole, size=size)
        np.testing.assert_array_equal(got.images, everything.images[rows])
        np.testing.assert_array_equal(got.labels, everything.labels[rows])
        assert got.ids == tuple(everything.ids[row] for row in rows)
    dropped = pq.read_table(path / "steps" / "duplicates" / "dropped.parquet").to_pylist()
    assert [row["id"] for row in dropped] == [load_images(whole).ids[row] for row in (1, 4)]
    assert dropped[0]["kind"] == "a duplicate"
    assert (path / "steps" / "duplicates" / "groups.png").read_bytes() == b"picture"
    assert (path / "steps" / "read" / "counts.json").read_bytes() == (
        whole / "steps" / "read" / "counts.json"
    ).read_bytes()
    assert not (path / ".work").exists()
    assert main(call) == 0
    assert main(call[:-2]) == 2
    assert "duplicates" in capsys.readouterr().err


def test_a_search_that_has_failed_leaves_nothing_out(photos, tmp_path, capsys, monkeypatch):
    import ganfeat.prepare.duplicates as module

    def find(images, ids, **settings):
        raise RunError("the hashes do not tell the images apart")

    monkeypatch.setattr(module, "find_duplicates", find)
    call = ["prepare", str(photos), "--out", str(tmp_path / "set"), "-q", "--duplicates", "autoencoder"]
    assert main(call) == 1
    assert "do not tell the images apart" in capsys.readouterr().err
    assert not (tmp_path / "set" / "set.json").exists()


def test_killed_between_its_steps_it_goes_on(photos, tmp_path, capsys, monkeypatch):
    """After each step of a preparation in two, and with nothing of anybody else deleted."""
    import ganfeat.prepare.duplicates as module
    from ganfeat.data.packed import SetWriter, open_set

    def find(images, ids, *, work, **settings):
        work.mkdir(parents=True, exist_ok=True)
        if len(kills) < 2:
            kills.append(work)
            raise KeyboardInterrupt
        kept, far = np.arange(12), np.zeros(0, np.float32)
        return module.Duplicates(kept, kept, np.arange(0), far, far, {"step": "duplicates", "kept": 12, "dropped": 0})

    def finish(self, *arguments, real=SetWriter.finish, **options):
        if self.path == path and len(kills) < 3:
            kills.append(self.path)
            raise KeyboardInterrupt
        return real(self, *arguments, **options)

    monkeypatch.setattr(module, "find_duplicates", find)
    monkeypatch.setattr(SetWriter, "finish", finish)
    kills, path = [], tmp_path / "set"
    (path / ".work").mkdir(parents=True)
    (path / ".work" / "thesis.txt").write_text("mine")
    call = ["prepare", str(photos), "--out", str(path), "-q", "--duplicates", "autoencoder"]
    assert main(call) == 2
    assert ".work/thesis.txt and is no packed set" in capsys.readouterr().err
    (path / ".work" / "thesis.txt").unlink()
    for _ in range(3):
        assert main(call) == 130
        with pytest.raises(InputError, match="not finished"):
            open_set(path)
    assert main(call) == 0
    assert len(open_set(path)) == 12
    assert sorted(file.name for file in path.iterdir()) == ["images-64.npy", "index.parquet", "set.json", "steps"]


def test_help_teaches(capsys):
    assert main(["prepare", "--help"]) == 0
    out = capsys.readouterr().out
    for word in ("WebDataset", "--duplicates", "byte for byte", "ganfeat train"):
        assert word in out
