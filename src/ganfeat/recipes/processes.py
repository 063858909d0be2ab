"""Independent trainings side by side, each in a process of its own.

Small networks do not fill a machine: on a CPU one thread each is faster than all threads for one after the other, and
on a GPU the processes launch their kernels in parallel.

Signals. The first process decides: at the first Ctrl-C or SIGTERM the jobs save and end; at the second they are killed
(what they have saved is whole). The others ignore Ctrl-C, which a terminal sends to all of them; SIGTERM, which a
batch system sends to all, asks the job to save and end, as does the end of the first process.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol

from ganfeat.errors import RunError

SECONDS = 0.5
"""Between two looks at what the processes report, and at what is asked of them."""
Job = Callable[[Any, "Reporter"], Any]


class Reporter(Protocol):
    """How a job tells how far it is, and hears that it should end early."""

    def report(self, share: float, note: str = "") -> None:
        """Tell the share of the job that is done, 0 to 1."""

    def stopped(self) -> bool:
        """Whether the job should save its state and end."""


class Stopper:
    """Asks the jobs of :func:`side_by_side` to end early.

    Attributes
    ----------
    wanted : bool
        Whether that was asked.
    busy : bool
        Whether there are jobs to be asked.
    """

    def __init__(self) -> None:
        self.wanted = self.busy = False

    def request_stop(self) -> bool:
        """Ask; whether there is anybody to be asked. Safe in a signal handler."""
        self.wanted = self.wanted or self.busy
        return self.busy


def side_by_side(
    job: Job, arguments: Sequence[Any], processes: int, stop: Stopper, update: Callable[..., None]
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

    stop.busy = True
    try:
        if processes == 1:
            return [_here(job, argument, number, stop, tell) for number, argument in enumerate(arguments)]
        return _elsewhere(job, arguments, processes, stop, tell)
    finally:
        stop.busy = False


# ---------------------------------------------------------------------- in this process


class _Here:
    def __init__(self, stop: Stopper, number: int, tell: Callable[[int, float, str], None]) -> None:
        self.stop, self.number, self.tell = stop, number, tell

    def report(self, share: float, note: str = "") -> None:
        self.tell(self.number, share, note)

    def stopped(self) -> bool:
        return self.stop.wanted


def _here(job: Job, argument: Any, number: int, stop: Stopper, tell: Callable[[int, float, str], None]) -> Any:
    result = None if stop.wanted else job(argument, _Here(stop, number, tell))
    if result is not None:
        tell(number, 1.0, "")
    return result


# ---------------------------------------------------------------------- in others


def _elsewhere(
    job: Job, arguments: Sequence[Any], processes: int, stop: Stopper, tell: Callable[[int, float, str], None]
) -> list[Any]:
    import torch

    context = multiprocessing.get_context("spawn")
    reports, asked = context.Queue(), context.Event()
    threads = max(1, torch.get_num_threads() // processes)
    with _threads(threads), ProcessPoolExecutor(processes, context, _begin, (reports, asked, threads)) as pool:
        try:
            futures = [pool.submit(_work, job, number, argument) for number, argument in enumerate(arguments)]
            waiting = futures
            while waiting:
                done, rest = wait(waiting, SECONDS, FIRST_EXCEPTION)
                errors = [error for future in done if (error := future.exception()) is not None]
                if any(isinstance(error, BrokenProcessPool) for error in errors):
                    break
                _drain(reports, tell)
                if errors or stop.wanted:
                    asked.set()  # the others save and end
                waiting = list(rest)
            results = [_result(future, stop) for future in futures]
            _drain(reports, tell)
            for number, result in enumerate(results):
                if result is not None:  # its last report may be on the way still
                    tell(number, 1.0, "")
            return results
        except BaseException:  # a second Ctrl-C, too: at once
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list((getattr(pool, "_processes", None) or {}).values()):
                process.kill()
            raise


def _result(future: Future[Any], stop: Stopper) -> Any:
    try:
        return future.result()
    except BrokenProcessPool:
        if stop.wanted:  # it was stopped before it could listen
            return None
        raise RunError(
            "a process that trained was killed, perhaps because memory ran out. What was saved is kept: run the same "
            "command again, with fewer --jobs"
        ) from None


def _drain(reports: Any, tell: Callable[[int, float, str], None]) -> None:
    while True:
        try:
            tell(*reports.get_nowait())
        except queue.Empty:
            return


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let processes that are started meanwhile begin with so many threads."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


# Of a process that does jobs.
_reports: Any = None
_asked: Any = None
_ended = False


def _begin(reports: Any, asked: Any, threads: int) -> None:
    """Prepare this process for jobs."""
    global _reports, _asked
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    import torch

    torch.set_num_threads(threads)
    _reports, _asked = reports, asked


def _end(_number: int, _frame: Any) -> None:
    global _ended
    _ended = True


def _orphaned() -> bool:
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


class _There:
    def __init__(self, number: int) -> None:
        self.number = number

    def report(self, share: float, note: str = "") -> None:
        if not _orphaned():
            _reports.put((self.number, share, note))

    def stopped(self) -> bool:
        return _ended or bool(_asked.is_set()) or _orphaned()


def _work(job: Job, number: int, argument: Any) -> Any:
    reporter = _There(number)
    result = None if reporter.stopped() else job(argument, reporter)
    if _orphaned():
        os._exit(1)  # nobody takes the result, and waiting for another job would be for ever
    if result is not None:
        reporter.report(1.0)
    return result
