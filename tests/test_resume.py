"""Kill a real training, again and again: it ends, bit for bit, as one that was never killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from ganfeat import ACGAN, ALI, DCGAN, AutoEncoder, BiGAN, CatGAN, ImageDataset, InputError, LatentRegressor, load

SMALL = {"width": 4, "n_components": 3, "batch_size": 10, "max_iter": 2, "ema": 0.9, "device": "cpu", "random_state": 1}
EPOCHS, STEPS = 9, 9 * (1797 // 64)
SETTINGS = [
    *("--width", "8", "--n-components", "16", "--batch-size", "64", "--max-iter", str(EPOCHS), "--ema", "0.9"),
    *("--augment", "translate", "--checkpoint-every", "0.1", "--sheets", "3", "--log-every", "7"),
    *("--no-tensorboard", "--device", "cpu", "--precision", "auto", "--seed", "5"),
]
FAMILY = {
    "bigan": ["--method", "bigan", "--architecture", "mlp", "--update-order", "simultaneous", "--decay-iter", "6"],
    "joint-regressor": ["--method", "latent-regressor", "--joint", "0.25", "--update-order", "alternating"],
    "acgan": ["--method", "acgan"],
}
"""Of other methods: one update of all at once with a decay, one in turn with convolutions, and one with labels."""

DEADLINE = 60.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@contextmanager
def training(out: Path, method: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "ganfeat", "train", "digits", "--out", str(out), *SETTINGS, *method]
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


def finish(out: Path, method: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    with training(out, method) as process:
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


@pytest.mark.parametrize("method", FAMILY.values(), ids=FAMILY)
def test_another_method_killed_once_ends_the_same(tmp_path, method):
    """SIGKILL at a seeded moment after the first checkpoint, and to the end; against one go."""
    untouched, out = tmp_path / "untouched", tmp_path / "run"
    finish(untouched, method)
    chance = random.Random(len(method))
    with training(out, method) as process:
        records = chance.randint(2, 9)
        assert wait_until(lambda: lines(out) >= records and newest_step(out), process)
        time.sleep(chance.uniform(0, 0.02))  # anywhere between two records
        kill(process)
    assert 0 < newest_step(out) < STEPS
    finish(out, method)
    assert_same_run(out, untouched)


STOPPED = {
    "bigan": lambda: BiGAN(architecture="mlp", decay_iter=1, **SMALL),
    "bigan-infogan": lambda: BiGAN(architecture="mlp", mutual_information=0.1, n_codes=2, **SMALL),
    "ali": lambda: ALI(update_order="alternating", **SMALL),
    "joint-regressor": lambda: LatentRegressor(joint=0.25, update_order="alternating", decay_iter=1, **SMALL),
    "autoencoder": lambda: AutoEncoder(noise=0.1, **SMALL),
    "dcgan-infogan": lambda: DCGAN(mutual_information=0.1, n_codes=2, **SMALL),
    "acgan": lambda: ACGAN(**SMALL),
    "catgan": lambda: CatGAN(n_classes=4, augment=("translate",), **SMALL),
}


@pytest.mark.parametrize("new", STOPPED.values(), ids=STOPPED)
def test_stopped_at_any_step_it_ends_the_same(tmp_path, new):
    """In this process: asked to stop twice, then dropped without a word, as a kill would; weights, state, records."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    images = ImageDataset(pixels, labels=np.arange(40) % 5 - 1)
    whole, out = tmp_path / "whole", tmp_path / "run"
    for _ in new().iter_fit(images, run=whole, log_every=1, sheets=2):
        pass
    pace = {"log_every": 1, "checkpoint_seconds": 0.0, "sheets": 2}
    for stop in (2, 3, None):
        model = new()
        for record in model.iter_fit(images, run=out, **pace):
            if record["step"] == stop:
                model.request_stop()
            if stop is None and record["step"] == 6:
                break
    records = list(new().iter_fit(images, run=out, **pace))
    assert [r["step"] for r in records] == [6, 7, 8]  # the dropped one's last checkpoint was of step 5
    for name in ("model.safetensors", "untrained.safetensors", "checkpoints/step-00000008/state.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    parsed = []
    for folder in (out, whole):
        found = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        parsed.append([{k: v for k, v in r.items() if k not in ("seconds", "images_per_second")} for r in found])
    assert parsed[0] == parsed[1]
    assert [r["step"] for r in parsed[0]] == [*range(1, 9)]


@pytest.mark.parametrize("new", [DCGAN, BiGAN, ALI])
def test_a_run_older_than_infogan_goes_on_without_it_and_only_without(tmp_path, new):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    out = tmp_path / "run"
    new(**{**SMALL, "max_iter": 1}).fit(images, run=out)
    config = json.loads((out / "config.json").read_text())
    for name in ("mutual_information", "n_codes"):
        assert name in config["estimator"]
        del config["estimator"][name]
    (out / "config.json").write_text(json.dumps(config))
    for changes in ({"mutual_information": 0.05, "n_codes": 2}, {"n_codes": 100}):
        with pytest.raises(InputError, match=f"{next(iter(changes))}: None -> "):
            new(**SMALL, **changes).fit(images, run=out)
    assert new(**SMALL).fit(images, run=out).history_[-1]["epoch"] == 2
    assert load(out).get_params()["mutual_information"] == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mutual_information": -0.1}, "mutual_information=-0.1 must be a number of at least 0"),
        ({"mutual_information": 0.1}, "n_codes=10 must be at most n_components=3"),
        ({"n_codes": 0}, "n_codes=0 must be a whole number of at least 1"),
    ],
    ids=str,
)
def test_settings_of_infogan_that_cannot_work_are_refused(wrong, message):
    for new in (DCGAN, BiGAN, ALI):
        with pytest.raises(InputError, match=message):
            new(**SMALL, **wrong).check_parameters()
