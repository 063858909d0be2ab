"""Two ranks: their gradients, one run folder, one voice, the same end after any kill, and what is refused.

They are in one file so that one worker of the tests runs them all, with one process that forks the ranks.
"""

import json
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
    assert [p.name for p in out.glob("*") if p.name != ".lock"] == []
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


def write_photos(folder: Path, seed: int = 0) -> np.ndarray:
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 8, 8, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i:02}.png")
    return pixels


def hidden(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("*") if ".images." in path.name)


def test_images_are_decoded_once_and_mapped_by_all(runs, ranks, tmp_path):
    """A folder becomes a hidden memory map for as long as it is needed; a .npy file is mapped as it is."""
    pixels = write_photos(tmp_path / "photos")
    np.save(tmp_path / "photos.npy", pixels)
    settings = [*runs.options(max_iter=8, batch_size=16, limit=None), "--quiet"]
    seen, models = [], []
    for source in ("photos", "photos.npy"):
        out = tmp_path / f"run-{source}"
        pids = ranks.start("train", tmp_path / source, "--out", out, *settings)
        runs.wait_until(lambda o=out: runs.lines(o) >= 2)
        if source == "photos":  # a second call by mistake leaves them alone
            os.kill(pids[1], signal.SIGSTOP)
            beside = ranks.start("train", tmp_path / source, "--out", out, *settings, "--size", 4)
            assert ranks.wait(beside) == [2, 2], ranks.said()
            assert "another process is training" in ranks.said()[0]
            os.kill(pids[1], signal.SIGCONT)
        maps = [Path(f"/proc/{pid}/maps").read_text() for pid in pids] if sys.platform == "linux" else []
        seen.append([(out / ".images.0.npy").exists(), *("images.0.npy" in m or "photos.npy" in m for m in maps)])
        assert ranks.wait(pids) == [0, 0], ranks.said()
        assert hidden(out) == []
        models.append((out / "model.safetensors").read_bytes())
    assert seen == [[True, *seen[0][1:]], [False, *seen[1][1:]]]
    assert all(map(all, (seen[0], seen[1][1:])))
    assert models[0] == models[1]
    out = tmp_path / "run-photos"
    assert ranks.run("train", tmp_path / "none", "--out", out, *settings, "--size", 4) == [2, 2], ranks.said()
    assert "image_shape: [8, 8, 3] -> [4, 4, 3]" in ranks.said()[0]
    assert hidden(out) == []


def test_hidden_images_are_deleted_by_whoever_finishes_the_run(runs, ranks, tmp_path):
    """Also what a process left that was killed as it decoded; what a refused call has made is deleted at once."""
    out = tmp_path / "run"
    write_photos(tmp_path / "photos")
    settings = [*runs.options(max_iter=10, batch_size=16, limit=None), "--quiet"]
    command = ["train", str(tmp_path / "photos"), "--out", str(out), *settings]
    out.mkdir()
    (out / "..images.0.npy.17.partial").touch()  # not a stranger's: the run is started all the same
    assert ranks.run(*command, "--limit", 3) == [2, 2], ranks.said()  # refused when the images are read
    assert hidden(out) == []
    pids = ranks.start(*command)
    runs.wait_until(lambda: runs.lines(out) >= 1)
    os.kill(pids[0], signal.SIGTERM)
    assert ranks.wait(pids) == [143, 143], ranks.said()
    assert hidden(out) == [".images.0.npy", ".images.0.pack.json"]
    assert ranks.run(*command, ranks=1) == [0], ranks.said()
    assert hidden(out) == []


def test_machines_with_a_disk_for_the_run_and_photographs_of_their_own(runs, ranks, tmp_path):
    """Copies of photographs have other times; other photographs are refused, in words."""
    machines = [tmp_path / name for name in ("first", "second", "other")]
    for machine in machines:
        write_photos(machine / "photos", seed=machine.name == "other")
    for i, path in enumerate(sorted((machines[1] / "photos").iterdir())):
        os.utime(path, (i, i))
    out, settings = tmp_path / "run", [*runs.options(max_iter=3, batch_size=16, limit=None), "--quiet"]
    command = ["train", "photos", "--out", out, *settings]
    assert ranks.run(*command, machines=[machines[0], machines[2]]) == [1, 1], ranks.said()
    assert "the processes differ in the images that they read" in ranks.said()[0]
    pids = ranks.start(*command, machines=machines[:2])
    runs.wait_until(lambda: runs.lines(out) >= 1)
    seen = hidden(out)
    assert ranks.wait(pids) == [0, 0], ranks.said()
    assert [name for name in seen if name.endswith(".npy")] == [".images.0.npy", ".images.1.npy"]
    assert hidden(out) == []


def test_all_pixels_are_read_while_the_others_wait_as_long_as_it_takes(runs, ranks, tmp_path):
    """Each looks at a sample; the first reads all of them, with signs of life, and no time limit of a message runs."""
    short = [*runs.options(max_iter=1), "--quiet"]
    assert ranks.run("hashed", "train", "digits", "--out", tmp_path / "run", *short) == [0, 0], ranks.said()
    first, second = (said.split("\n") for said in ranks.said())
    assert first == ["pixels", "pixels, alive", ""]
    assert second == ["pixels", ""]


@pytest.mark.parametrize("end", ["lives", "first dies", "last dies"])
def test_a_turn_is_waited_for_as_long_as_its_process_lives(ranks, end):
    """The first keeps the notice board, the last does not: both deaths are told."""
    works = 1 if end == "last dies" else 0
    statuses = ranks.run("turns", end)
    said = ranks.said()[1 - works]
    assert "Traceback" not in said
    if end == "lives":
        assert (statuses, ranks.said()) == ([0, 0], ["worked\n"] * 2)
    else:
        assert (statuses[works], statuses[1 - works]) == (7, 1), ranks.said()
        assert f"rank {1 - works} lost" in said


@pytest.mark.parametrize(
    ("settings", "message", "again"),
    [("device: cuda:1", "the GPU of its local rank", True), ("widht: 4", "did you mean 'width'", False)],
)
def test_a_settings_file_is_heard_before_the_processes_meet(runs, ranks, tmp_path, settings, message, again):
    (tmp_path / "settings.yaml").write_text(settings)
    given = [*runs.options(device=None), "--config", tmp_path / "settings.yaml"]
    assert ranks.run("train", "digits", "--out", tmp_path / "run", *given) == [2, 2], ranks.said()
    first, second = ranks.said()
    assert message in first
    assert (message in second) is again


def test_one_rank_of_one_is_a_plain_training(runs, ranks, tmp_path):
    """Started by torchrun with one process, it is what it is without, byte for byte."""
    short = [*runs.options(max_iter=1), "--quiet"]
    assert ranks.run("train", "digits", "--out", tmp_path / "one", *short, ranks=1) == [0], ranks.said()
    assert main(["train", "digits", "--out", str(tmp_path / "plain"), *short]) == 0
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    shutil.rmtree(tmp_path / "one")


def test_a_killed_rank_is_started_again_with_the_others_and_a_signal_saves(runs, ranks, untouched, tmp_path):
    """SIGKILL to a random rank at a random moment, SIGTERM to torchrun; then to the end, the same bit for bit."""
    out, chance = tmp_path / "run", random.Random(1)
    shadow = str(Path(__file__).with_name("started.py"))
    command = ["--nproc-per-node", "2", "--max-restarts", "1", shadow, str(ranks.socket), str(tmp_path)]
    training = ["train", "digits", "--out", str(out), *runs.options()]
    (torchrun,) = ranks.start("torchrun", *command, *training, ranks=1)
    runs.wait_until(lambda: runs.lines(out) >= 1 and RunFolder(out).newest_step())
    time.sleep(chance.uniform(0, 0.05))
    victim = chance.randrange(2)
    os.kill(int((tmp_path / f"0-{victim}.pid").read_text()), signal.SIGKILL)
    again = [tmp_path / f"1-{rank}.said" for rank in range(2)]
    runs.wait_until(lambda: all(path.exists() and (tmp_path / f"{path.stem}.pid").exists() for path in again))
    before = runs.lines(out)
    runs.wait_until(lambda: runs.lines(out) > before)
    os.kill(torchrun, signal.SIGTERM)
    assert ranks.wait([torchrun]) != [0], ranks.said()
    first, second = (path.read_text() for path in again)
    assert "everything is saved" in first, first
    assert second == ""
    assert 0 < RunFolder(out).newest_step() < runs.STEPS
    assert ranks.run(*training) == [0, 0], ranks.said()
    runs.assert_same(out, untouched)


@pytest.fixture(scope="module")
def differences(ranks, tmp_path_factory):
    target = tmp_path_factory.mktemp("gradients") / "found.json"
    assert ranks.run("gradients", target) == [0, 0], ranks.said()
    return json.loads(target.read_text())


def test_every_game_has_the_gradients_of_the_whole_batch(differences):
    """Also of losses that couple the images, and of a penalty on gradients; and the running statistics."""
    shared = {name: off for name, off in differences.items() if name.endswith(" shared")}
    assert len(shared) == 12
    assert {name: off for name, off in shared.items() if not off < 1e-9} == {}


def test_with_batch_norms_of_their_own_parts_they_have_not(differences):
    apart = {name: off for name, off in differences.items() if name.endswith(" apart")}
    assert {name: off for name, off in apart.items() if off < 1e-3} == {}


def test_a_penalty_in_a_pass_of_its_own_is_averaged_where_torchs_wrapper_leaves_it_out(differences):
    assert differences["penalty averaged"] < 1e-12
    assert differences["penalty wrapped"] > 1e-3
