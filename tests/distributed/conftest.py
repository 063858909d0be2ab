"""Ranks without torchrun, two processes of one machine, and the training that most tests compare theirs with."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

DEADLINE = 60.0
STEPS, EVERY = 4 * 10, 4
SETTINGS = {
    **{
        "width": 4,
        "n-components": 8,
        "batch-size": 32,
        "limit": 320,
        "max-iter": 4,
        "ema": 0.9,
        "augment": "translate",
    },
    **{
        "checkpoint-every": 0.1,
        "sheets": 1,
        "log-every": EVERY,
        "evaluations": 1,
        "device": "cpu",
        "precision": "fp32",
    },
}


def options(**changes: object) -> list[str]:
    """The command's options, some of them changed; None leaves one out."""
    wanted = {**SETTINGS, **{name.replace("_", "-"): value for name, value in changes.items()}}
    pairs = [(f"--{name}", str(value)) for name, value in wanted.items() if value is not None]
    return [*(word for pair in pairs for word in pair), "--no-tensorboard"]


class Ranks:
    """Starts processes as torchrun does, each with its number in the environment, forked by ``ranks.py``."""

    def __init__(self, folder: Path, place: Path) -> None:
        self.folder, self.count, self.socket = folder, 0, place / "socket"
        self.nursery = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("ranks.py")), str(self.socket)],
            stdin=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        end = time.monotonic() + 2 * DEADLINE
        while not self.socket.exists():
            assert self.nursery.poll() is None, "it could not start"
            assert time.monotonic() < end, "it did not start"
            time.sleep(0.01)

    def _ask(self, order: dict) -> int | None:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(DEADLINE)
            asking.connect(str(self.socket))
            asking.sendall(json.dumps(order).encode() + b"\n")
            with asking.makefile() as answer:
                return json.loads(answer.readline())

    def start(self, *arguments: object, ranks: int = 2, machines: Sequence[Path] = ()) -> list[int]:
        """Start so many, and return their process ids; or one on each of some machines, which is a working folder."""
        self.count += 1
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            port = chosen.getsockname()[1]
        pids = []
        for rank in range(len(machines) or ranks):
            env = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            if machines:
                env |= {"WORLD_SIZE": len(machines), "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "GROUP_RANK": rank}
            if arguments[0] == "torchrun":
                env = {}
            order = {"run": [str(a) for a in arguments], "env": {k: str(v) for k, v in env.items()}}
            order |= {"in": str(machines[rank])} if machines else {}
            pids.append(self._ask({**order, "to": str(self.folder / f"{self.count}-{rank}")}))
        return pids

    def wait(self, pids: Sequence[int]) -> list[int]:
        """How each ended: its exit status, or minus the signal."""
        end, found = time.monotonic() + DEADLINE, dict.fromkeys(pids)
        while None in found.values():
            for pid in [pid for pid, status in found.items() if status is None]:
                found[pid] = self._ask({"ended": pid})
                if time.monotonic() > end:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        assert time.monotonic() < end, f"some hang: {found}\n{self.said()}"
        return list(found.values())

    def said(self) -> list[str]:
        """What each of the last ones printed, to either stream."""
        return [path.read_text() for path in sorted(self.folder.glob(f"{self.count}-*"))]

    def run(self, *arguments: object, ranks: int = 2, machines: Sequence[Path] = ()) -> list[int]:
        """Start and wait."""
        return self.wait(self.start(*arguments, ranks=ranks, machines=machines))


@pytest.fixture(scope="session")
def ranks(tmp_path_factory) -> Iterator[Ranks]:
    with tempfile.TemporaryDirectory() as place:  # the name of a socket must be short
        found = Ranks(tmp_path_factory.mktemp("ranks"), Path(place))
        try:
            yield found
        finally:
            found.nursery.stdin.close()
            found.nursery.wait(DEADLINE)


@pytest.fixture(scope="session")
def untouched(ranks, tmp_path_factory) -> Path:
    """The run that nobody killed, of two ranks."""
    out = tmp_path_factory.mktemp("runs") / "untouched"
    assert ranks.run("train", "digits", "--out", out, *options(), "--json") == [0, 0], ranks.said()
    first, second = ranks.said()
    assert second == ""
    printed = json.loads(first[first.index("{") : first.rindex("}") + 1])  # once, and progress of one
    assert (printed["finished"], printed["steps"]) == (True, STEPS)
    assert first.count("training: done") == 1
    return out


class Runs:
    """What the tests ask of run folders."""

    options, STEPS, EVERY = staticmethod(options), STEPS, EVERY

    @staticmethod
    def records(out: Path) -> list[dict]:
        parsed = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
        return [{k: v for k, v in r.items() if k not in ("seconds", "images_per_second")} for r in parsed]

    @staticmethod
    def lines(out: Path) -> int:
        history = out / "history.jsonl"
        return history.read_bytes().count(b"\n") if history.exists() else 0

    @staticmethod
    def wait_until(condition) -> None:
        end = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.005)

    @classmethod
    def assert_same(cls, out: Path, untouched: Path) -> None:
        for name in ("model.safetensors", "untrained.safetensors", f"checkpoints/step-{STEPS:08d}/state.safetensors"):
            assert (out / name).read_bytes() == (untouched / name).read_bytes(), name
        assert cls.records(out) == cls.records(untouched)
        pictures = [{p.name: p.read_bytes() for p in folder.glob("samples/*.png")} for folder in (out, untouched)]
        assert pictures[0] == pictures[1]


@pytest.fixture(scope="session")
def runs() -> type[Runs]:
    return Runs
