"""Kill a real training, again and again: it ends, bit for bit, as one that was never killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

EPOCHS, STEPS = 9, 9 * (1797 // 64)
SETTINGS = [
    *("--width", "8", "--n-components", "16", "--batch-size", "64", "--max-iter", str(EPOCHS), "--ema", "0.9"),
    *("--augment", "translate", "--checkpoint-every", "0.1", "--sheets", "3", "--log-every", "7"),
    *("--no-tensorboard", "--device", "cpu", "--precision", "auto", "--seed", "5"),
]
DEADLINE = 60.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@contextmanager
def training(out: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "ganfeat", "train", "digits", "--out", str(out), *SETTINGS]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(out: Path) -> subprocess.CompletedProcess[str]:
    with training(out) as process:
        printed, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, said
    return subprocess.CompletedProcess(process.args, process.returncode, printed, said)


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> bool:
    """Look, as fast as possible, until something has happened or the process has ended; return which."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if condition():
            return True
        if process.poll() is not None:
            return False
        time.sleep(0.0005)
    raise AssertionError("nothing happened")


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def checkpoints(out: Path) -> list[Path]:
    return sorted(out.glob("checkpoints/step-*"))


def newest_step(out: Path) -> int:
    return int(checkpoints(out)[-1].name.removeprefix("step-")) if checkpoints(out) else 0


def lines(out: Path) -> int:
    history = out / "history.jsonl"
    return history.read_bytes().count(b"\n") if history.exists() else 0


def torn(out: Path) -> list[Path]:
    return [*out.glob("checkpoints/.step-*.tmp-*"), *out.glob(".model.safetensors.tmp-*")]


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Path:
    """The run that nobody killed."""
    out = tmp_path_factory.mktemp("runs") / "untouched"
    finish(out)
    return out


def assert_same_run(out: Path, untouched: Path) -> None:
    for name in ("model.safetensors", f"checkpoints/step-{STEPS:08d}/state.safetensors"):
        assert (out / name).read_bytes() == (untouched / name).read_bytes(), name
    records = []
    for folder in (out, untouched):
        parsed = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        records.append([{k: v for k, v in r.items() if k not in ("seconds", "images_per_second")} for r in parsed])
    assert [r["step"] for r in records[0]] == [*range(7, STEPS, 7), STEPS]  # each step once
    assert records[0] == records[1]
    pictures = [{p.name: p.read_bytes() for p in folder.glob("samples/*.png")} for folder in (out, untouched)]
    assert pictures[0] == pictures[1]
    assert torn(out) == []


def test_killed_at_random_moments_it_ends_the_same(tmp_path, untouched):
    """SIGKILL before the first checkpoint, then at three seeded moments, each somewhere past the kill before."""
    out = tmp_path / "run"
    chance = random.Random(0)
    with training(out) as process:
        assert wait_until((out / "config.json").exists, process)
        kill(process)
    assert checkpoints(out) == []
    kills, reached = 1, []
    for _ in range(3):
        with training(out) as process:
            records = lines(out) + chance.randint(1, 6)
            began = newest_step(out)
            if wait_until(lambda n=records, b=began: lines(out) >= n and newest_step(out) > b, process):
                time.sleep(chance.uniform(0, 0.02))  # anywhere between two records
                if process.poll() is None:
                    kills += 1
            kill(process)
        reached.append(newest_step(out))
    assert kills >= 3
    assert 0 < reached[0] < STEPS  # it was killed half-way
    assert reached == sorted(reached)
    finish(out)
    assert_same_run(out, untouched)


def test_killed_while_it_writes_a_checkpoint_it_ends_the_same(tmp_path, untouched):
    """SIGSTOP when the temporary folder shows; if it is still there in the standstill, SIGKILL."""
    out = tmp_path / "run"
    with training(out) as process:
        while wait_until(lambda: checkpoints(out) and torn(out), process):
            process.send_signal(signal.SIGSTOP)
            if torn(out):
                kill(process)
                break
            process.send_signal(signal.SIGCONT)
    assert torn(out), "no moment within a write was met"
    assert newest_step(out) < STEPS
    finish(out)
    assert_same_run(out, untouched)


def test_asked_to_stop_it_saves_says_how_to_go_on_and_ends_the_same(tmp_path, untouched):
    """SIGTERM, then SIGINT, each once training is under way: 143 and 130, nothing lost, no traceback."""
    out = tmp_path / "run"
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with training(out) as process:
            before = lines(out)
            assert wait_until(lambda n=before: lines(out) > n, process)
            process.send_signal(number)
            printed, said = process.communicate(timeout=DEADLINE)
        assert process.returncode == status, said
        assert "stopping after this step" in said
        assert "everything is saved" in printed
        command = printed.rstrip().splitlines()[-1]
        assert command.startswith("ganfeat train digits --out ")
        assert str(out) in command
        assert "Traceback" not in said
        assert (out / "model.safetensors").exists()
        last = json.loads((out / "history.jsonl").read_text().splitlines()[-1])
        assert last["step"] <= newest_step(out) < STEPS
    finish(out)
    assert_same_run(out, untouched)


def test_a_damaged_newest_checkpoint_costs_time_alone(tmp_path, untouched):
    out = tmp_path / "run"
    with training(out) as process:
        assert wait_until(lambda: len(checkpoints(out)) == 2, process)
        kill(process)
    newest = checkpoints(out)[-1] / "state.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    newest.write_bytes(content)
    done = finish(out)
    assert f"warning: checkpoint {newest.parent} is damaged" in done.stderr
    assert "going back to the one before it" in done.stderr
    assert_same_run(out, untouched)
