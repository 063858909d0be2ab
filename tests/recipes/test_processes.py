"""Jobs side by side: results in order, one process or many, an early end, a process that dies."""

import os
import time

import pytest

from ganfeat.errors import InputError, RunError
from ganfeat.recipes.processes import Stopper, side_by_side


def nothing(done, total, note=""):
    pass


def square(n, reporter):
    reporter.report(0.5, f"job {n}")
    return n * n, os.getpid()


def patient(n, reporter):
    """Waits to be stopped; the first one is not."""
    if n == 0:
        return 0
    while not reporter.stopped():
        time.sleep(0.01)
    return None


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
            stop.request_stop()

    assert side_by_side(patient, [0, 1, 2], 2, stop, update) == [0, None, None]
    assert side_by_side(patient, [1, 2], 1, stop, nothing) == [None, None]


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
