"""torchrun itself, with its elastic agent: a killed rank costs time alone, and a signal to torchrun saves."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ganfeat.checkpoint import RunFolder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")


def test_a_killed_rank_is_started_again_with_the_others_and_a_signal_saves(runs, ranks, untouched, tmp_path):
    """SIGKILL to a random rank at a random moment, SIGTERM to torchrun; then to the end, the same bit for bit."""
    out, chance = tmp_path / "run", random.Random(1)
    shadow = str(Path(__file__).with_name("started.py"))
    command = ["--nproc-per-node", "2", "--max-restarts", "1", shadow, str(ranks.socket), str(tmp_path)]
    training = ["train", "digits", "--out", str(out), *runs.options()]
    with subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *command, *training],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
    ) as torchrun:
        try:
            runs.wait_until(lambda: runs.lines(out) >= 1 and RunFolder(out).newest_step())
            time.sleep(chance.uniform(0, 0.05))
            victim = chance.randrange(2)
            os.kill(int((tmp_path / f"0-{victim}.pid").read_text()), signal.SIGKILL)
            again = [tmp_path / f"1-{rank}.said" for rank in range(2)]
            runs.wait_until(lambda: all(path.exists() and (tmp_path / f"{path.stem}.pid").exists() for path in again))
            before = runs.lines(out)
            runs.wait_until(lambda: runs.lines(out) > before)
            torchrun.send_signal(signal.SIGTERM)
            said, _ = torchrun.communicate(timeout=60)
        finally:
            torchrun.kill()
    assert torchrun.returncode, said
    first, second = (path.read_text() for path in again)
    assert "everything is saved" in first, first
    assert second == ""
    assert 0 < RunFolder(out).newest_step() < runs.STEPS
    assert ranks.run(*training) == [0, 0], ranks.said()
    runs.assert_same(out, untouched)
