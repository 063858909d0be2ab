"""Independent trainings side by side, each in a process of its own.

Small networks do not fill a machine: on a CPU one thread each is faster than all threads for one after the other, and
on a GPU the processes launch their kernels in parallel.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

from ganfeat.errors import RunError

SECONDS = 0.5
"""Between two looks at what the processes report."""


class Reporter(Protocol):
    """How a job tells how far it is, and hears that it should end early."""

    def report(self, share: float, note: str = "") -> None:
        """Tell the share of the job that is done, 0 to 1."""

    def stopped(self) -> bool:
        """Whether the job should save its state and end."""


class Stopper:
    """Asks the jobs of :func:`side_by_side` to end early; safe in a signal handler."""

    def __init__(self) -> None:
        self.event: Any = multiprocessing.get_context("spawn").Event()

    def request_stop(self) -> bool:
        """Ask; there is always something to be asked."""
        self.event.set()
        return True


class _Sender:
    """Of a job in another process."""

    def __init__(self, number: int) -> None:
        self.number = number

    def report(self, share: float, note: str = "") -> None:
        _channel[0].put((self.number, share, note))

    def stopped(self) -> bool:
        return bool(_channel[1].is_set())


_channel: tuple[Any, Any] = (None, None)


def _begin(reports: Any, stop: Any, threads: int) -> None:
    """Prepare a process for jobs."""
    global _channel
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides, and asks for the end
    torch.set_num_threads(threads)
    _channel = (reports, stop)


def _work(job: Callable[[Any, Reporter], Any], number: int, argument: Any) -> Any:
    sender = _Sender(number)
    if sender.stopped():
        return None
    result = job(argument, sender)
    sender.report(1.0)
    return result


class _Here:
    """Of a job in this very process."""

    def __init__(self, stop: Stopper, tell: Callable[[float, str], None]) -> None:
        self.stop, self.tell = stop, tell

    def report(self, share: float, note: str = "") -> None:
        self.tell(share, note)

    def stopped(self) -> bool:
        return bool(self.stop.event.is_set())


def side_by_side(
    job: Callable[[Any, Reporter], Any],
    arguments: Sequence[Any],
    processes: int,
    stop: Stopper,
    update: Callable[..., None],
) -> list[Any]:
    """Do a job for every argument, so many at once.

    Parameters
    ----------
    job : callable(argument, reporter)
        A function of a module. It returns None if it was ended early.
    arguments : sequence
    processes : int
        With 1, the jobs are done in this process. The threads that torch has here are dealt out among the processes.
    stop : Stopper
    update : callable(done, total, note)
        Of a progress display.

    Returns
    -------
    list
        The results in the order of the arguments; None for jobs that were ended early.

    Raises
    ------
    RunError
        If a process died. What the others had saved is kept.
    """
    shares = [0.0] * len(arguments)

    def tell(number: int, share: float, note: str) -> None:
        shares[number] = share
        finished = sum(share >= 1 for share in shares)
        update(sum(shares), len(shares), note=", ".join(p for p in (f"{finished} of {len(shares)} done", note) if p))

    if processes == 1:
        results = []
        for number, argument in enumerate(arguments):
            here = _Here(stop, lambda share, note, n=number: tell(n, share, note))  # type: ignore[misc]
            results.append(None if here.stopped() else job(argument, here))
            if results[-1] is not None:
                here.report(1.0)
        return results

    import torch

    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    threads = max(1, torch.get_num_threads() // processes)
    pool = ProcessPoolExecutor(processes, context, _begin, (reports, stop.event, threads))
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)  # inherited
    try:
        with pool:
            waiting = futures = [pool.submit(_work, job, n, argument) for n, argument in enumerate(arguments)]
            while waiting:
                done, rest = wait(waiting, SECONDS, "FIRST_EXCEPTION")
                _drain(reports, tell)
                if any(future.exception() for future in done):
                    stop.request_stop()  # the others save and end
                waiting = list(rest)
            _drain(reports, tell)
            return [future.result() for future in futures]
    except BrokenProcessPool:
        raise RunError(
            "a process that trained was killed, perhaps because memory ran out. What was saved is kept: run the same "
            "command again, with fewer --jobs"
        ) from None
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _drain(reports: Any, tell: Callable[[int, float, str], None]) -> None:
    while True:
        try:
            tell(*reports.get_nowait())
        except queue.Empty:
            return
