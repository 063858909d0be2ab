"""Jobs side by side: results in order, one process or many, an early end, a process that dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ganfeat.errors import InputError, RunError
from ganfeat.recipes.processes import Stopper, side_by_side


def nothing(done, total, note=""):
    pass


def square(n, reporter):
    reporter.report(0.5, f"job {n}")
    time.sleep(0.3)
    return n * n, os.getpid()


def patient(n, reporter):
    """Waits to be stopped; the first one is not."""
    if n == 0:
        return 0
    while not reporter.stopped():
        time.sleep(0.01)
    return None


def stubborn(n, reporter):
    """Does not listen."""
    time.sleep(60)


def mixed(n, reporter):
    return 0 if n == 0 else stubborn(n, reporter)


def fail(n, reporter):
    if n == 1:
        raise InputError("job 1 is wrong")
    return patient(n, reporter)


def die(n, reporter):
    os._exit(9)


@pytest.mark.parametrize("processes", [1, 2])
def test_results_are_in_the_order_of_the_jobs(processes):
    seen = []
    found = side_by_side(
        square, [3, 1, 2], processes, Stopper(), lambda done, total, note="": seen.append((done, total, note))
    )
    assert [result for result, _ in found] == [9, 1, 4]
    assert (os.getpid() in {pid for _, pid in found}) == (processes == 1)
    assert seen[-1][:2] == (3, 3)
    assert seen[-1][2].startswith("3 of 3 done")
    assert any("job 2" in note for _, _, note in seen)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_jobs_end_early_when_asked():
    stop = Stopper()

    def update(done, total, note=""):
        if done >= 1:
            assert stop.request_stop()

    assert side_by_side(patient, [0, 1, 2], 2, stop, update) == [0, None, None]
    assert side_by_side(patient, [1, 2], 1, stop, nothing) == [None, None]
    assert not Stopper().request_stop()  # nobody is asked while no job runs: a signal interrupts


def test_sigterm_to_all_lets_every_job_save(tmp_path):
    """As batch systems send it: the others hear it as well, and are not killed by it."""
    script = tmp_path / "jobs.py"
    script.write_text(
        "import signal, sys\nsys.path.insert(0, sys.argv[1])\nfrom test_processes import patient\n"
        "from ganfeat.recipes.processes import Stopper, side_by_side\n"
        "if __name__ == '__main__':\n"
        "    stop = Stopper()\n"
        "    signal.signal(signal.SIGTERM, lambda *_: stop.request_stop())\n"
        "    seen = lambda done, total, note='': print('began', flush=True) if done else None\n"
        "    print(side_by_side(patient, [1, 0, 2], 2, stop, seen), flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, script, Path(__file__).parent], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "began\n"  # job 0 has ended, the others wait
    os.killpg(process.pid, signal.SIGTERM)
    printed, _ = process.communicate(timeout=120)
    assert printed.splitlines()[-1] == "[None, 0, None]"
    assert process.returncode == 0


def test_an_interruption_does_not_wait_for_the_jobs():
    began = time.monotonic()

    def update(done, total, note=""):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side(mixed, [0, 1], 2, Stopper(), update)
    assert time.monotonic() - began < 45


def test_an_error_ends_the_others_and_is_told():
    with pytest.raises(InputError, match="job 1 is wrong"):
        side_by_side(fail, [1, 2], 2, Stopper(), nothing)


def test_a_killed_process_is_named():
    with pytest.raises(RunError, match=r"a process that trained was killed.*fewer --jobs"):
        side_by_side(die, [1, 2], 2, Stopper(), nothing)


def test_threads_are_left_as_they_were(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    side_by_side(square, [1, 2], 2, Stopper(), nothing)
    assert "OMP_NUM_THREADS" not in os.environ
