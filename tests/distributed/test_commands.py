"""``ganfeat train`` on two ranks: one run folder, one voice, the same end after any kill, and what it refuses."""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganfeat import load
from ganfeat.checkpoint import RunFolder
from ganfeat.cli import main

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")


def newest_step(out: Path) -> int:
    return RunFolder(out).newest_step() or 0


def assert_whole(runs, out: Path) -> None:
    steps = [record["step"] for record in runs.records(out)]
    assert steps == [*range(runs.EVERY, runs.STEPS, runs.EVERY), runs.STEPS]  # each step once
    assert newest_step(out) == runs.STEPS
    assert load(out, device="cpu").sample(2, random_state=0).shape == (2, 8, 8, 1)


def test_two_ranks_make_one_run(runs, untouched):
    assert_whole(runs, untouched)
    config = RunFolder(untouched).config()
    assert config["ranks"] == 2
    assert "sync_bn" not in config
    assert not list(untouched.glob(".images*"))
    tensors, state, _ = RunFolder(untouched).read_checkpoint()
    assert state["ranks"] == 2
    first, second = (tensors[f"rank/{r}/generator"] for r in range(2))
    assert not np.array_equal(first.numpy(), second.numpy())  # each draws its own z


def test_a_rank_killed_at_random_ends_the_other_and_the_same_command_ends_the_same(runs, ranks, untouched, tmp_path):
    """SIGKILL at two seeded moments, of a rank that chance takes; the other ends by itself, in words."""
    out, chance, reached = tmp_path / "run", random.Random(3), []
    for _ in range(2):
        pids = ranks.start("train", "digits", "--out", out, *runs.options())
        before = runs.lines(out) + chance.randint(1, 3)
        runs.wait_until(lambda n=before: runs.lines(out) >= n and newest_step(out))
        time.sleep(chance.uniform(0, 0.05))
        victim = chance.randrange(2)
        os.kill(pids[victim], signal.SIGKILL)
        statuses = ranks.wait(pids)
        assert statuses[victim] == -signal.SIGKILL
        assert statuses[1 - victim] == 1, ranks.said()
        said = ranks.said()[1 - victim]
        assert "lost the others" in said
        assert "Traceback" not in said
        reached.append(newest_step(out))
    assert 0 < reached[0] < runs.STEPS
    assert reached == sorted(reached)
    assert ranks.run("train", "digits", "--out", out, *runs.options()) == [0, 0], ranks.said()
    assert_whole(runs, out)
    runs.assert_same(out, untouched)


def test_asked_to_stop_all_save_after_the_same_step_and_go_on_to_the_same(runs, ranks, untouched, tmp_path):
    """SIGTERM to one of them, then SIGINT to both."""
    out = tmp_path / "run"
    for number, asked in ((signal.SIGTERM, (1,)), (signal.SIGINT, (0, 1))):
        before = runs.lines(out)
        pids = ranks.start("train", "digits", "--out", out, *runs.options())
        runs.wait_until(lambda n=before: runs.lines(out) >= n + 2)
        for rank in asked:
            os.kill(pids[rank], number)
        assert ranks.wait(pids) == [128 + number] * 2, ranks.said()
        first, second = ranks.said()
        assert "everything is saved" in first
        assert "torchrun --nproc-per-node 2 -m ganfeat train digits --out" in first
        assert second == ""
        assert before * runs.EVERY < newest_step(out) < runs.STEPS
        assert runs.records(out)[-1]["step"] <= newest_step(out)
    assert ranks.run("train", "digits", "--out", out, *runs.options(), "--quiet") == [0, 0], ranks.said()
    assert ranks.said() == ["", ""]
    runs.assert_same(out, untouched)


def test_with_another_number_of_ranks_it_goes_on_and_says_so(runs, ranks, tmp_path):
    """Two, then one, then two again: everything is there, and the person is told."""
    out = tmp_path / "run"
    for number, said in ((2, ""), (1, "2 processes and goes on with 1"), (2, "1 process and goes on with 2")):
        before = runs.lines(out)
        pids = ranks.start("train", "digits", "--out", out, *runs.options(), ranks=number)
        if number == 2 and before:
            assert ranks.wait(pids) == [0, 0], ranks.said()
        else:
            runs.wait_until(lambda n=before: runs.lines(out) >= n + 2)
            os.kill(pids[-1], signal.SIGTERM)
            assert ranks.wait(pids) == [143] * number, ranks.said()
        assert f"trained by {said}" in ranks.said()[0] if said else "warning" not in ranks.said()[0]
    assert_whole(runs, out)
    assert RunFolder(out).config()["ranks"] == 2


def test_shared_batch_norms_are_another_run(runs, ranks, untouched, tmp_path):
    out = tmp_path / "run"
    short = [*runs.options(max_iter=1), "--quiet"]
    few = [*runs.options(limit=3), "--quiet"]  # refused when the images are read: they do not hinder what follows
    assert ranks.run("train", "digits", "--out", out, *few) == [2, 2], ranks.said()
    assert ranks.run("train", "digits", "--out", out, *short, "--sync-bn") == [0, 0], ranks.said()
    assert RunFolder(out).config()["sync_bn"] is True
    assert runs.records(out)[0] != runs.records(untouched)[0]
    assert ranks.run("train", "digits", "--out", out, *short) == [2, 2]
    assert "sync_bn: True -> None" in ranks.said()[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 63}, "give 62 or 64"),
        ({"batch_size": 2}, "give 4"),
        ({"limit": 3}, "3 images are too few for 2 processes"),
        ({"method": "mgan", "n_generators": 20, "augment": None}, "batches of 16 images on each process"),
        ({"method": "nothing"}, "method 'nothing' is not known"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_once(runs, ranks, tmp_path, changes, message):
    out = tmp_path / "run"
    assert ranks.run("train", "digits", "--out", out, *runs.options(**changes)) == [2, 2], ranks.said()
    first, second = ranks.said()
    assert message in first
    assert "Traceback" not in first
    assert second == ""
    assert [p.name for p in out.glob("*") if not p.name.startswith(".images")] == []
    assert "batch_size" not in changes or not out.exists()


def test_a_failure_of_the_first_rank_alone_ends_both_in_one_message(runs, ranks, tmp_path):
    """Only the first looks into the run folder."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    assert ranks.run("train", "digits", "--out", out, *runs.options(), "--quiet") == [2, 2], ranks.said()
    first, second = ranks.said()
    assert "is no run folder" in first
    assert second == ""
    assert [p.name for p in out.iterdir()] == ["thesis.txt"]


def test_images_are_decoded_once_and_mapped_by_all(runs, ranks, tmp_path):
    """A folder becomes a hidden memory map for as long as it is needed; a .npy file is mapped as it is."""
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(photos / f"{i:02}.png")
    np.save(tmp_path / "photos.npy", pixels)
    settings = [*runs.options(max_iter=8, batch_size=16, limit=None), "--quiet"]
    seen, models = [], []
    for source in ("photos", "photos.npy"):
        out = tmp_path / f"run-{source}"
        pids = ranks.start("train", tmp_path / source, "--out", out, *settings)
        runs.wait_until(lambda o=out: runs.lines(o) >= 2)
        maps = [Path(f"/proc/{pid}/maps").read_text() for pid in pids] if sys.platform == "linux" else []
        seen.append([(out / ".images.npy").exists(), *("images.npy" in m or "photos.npy" in m for m in maps)])
        assert ranks.wait(pids) == [0, 0], ranks.said()
        assert not list(out.glob(".images*"))
        models.append((out / "model.safetensors").read_bytes())
    assert seen == [[True, *seen[0][1:]], [False, *seen[1][1:]]]
    assert all(map(all, (seen[0], seen[1][1:])))
    assert models[0] == models[1]


def test_one_rank_of_one_is_a_plain_training(runs, ranks, tmp_path):
    """Started by torchrun with one process, it is what it is without, byte for byte."""
    short = [*runs.options(max_iter=1), "--quiet"]
    assert ranks.run("train", "digits", "--out", tmp_path / "one", *short, ranks=1) == [0], ranks.said()
    assert main(["train", "digits", "--out", str(tmp_path / "plain"), *short]) == 0
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    shutil.rmtree(tmp_path / "one")
