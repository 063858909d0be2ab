"""Many hands: work given out in order to threads or processes, and taken back in the same order."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from ganfeat.data.decode import quiet_pillow
from ganfeat.errors import RunError

_SECONDS_BETWEEN_LOOKS = 1.0
_of_the_process = ExitStack()
_Given = TypeVar("_Given")
_Result = TypeVar("_Result")
_Place = TypeVar("_Place")


def in_order(
    things: Iterable[tuple[_Place, _Given]],
    work: Callable[[_Given], _Result],
    workers: int,
    processes: bool = False,
) -> Generator[tuple[_Place, _Result]]:
    """Do `work` on things, and give the results in their order.

    Parameters
    ----------
    things : iterable of (place, thing)
        Read as they are needed: no more than ``2 * workers + 2`` are waiting at once. A place is given back with its
        result.
    work : callable
        Where `processes` is set, one that can be pickled.
    workers : int
        1 does without any.
    processes : bool
        Processes, not threads.

    Raises
    ------
    RunError
        If a process was killed.
    """
    if workers == 1:
        for place, thing in things:
            yield place, work(thing)
        return
    waiting: deque[tuple[_Place, Future[_Result]]] = deque()
    with _pool(workers, processes) as pool:
        try:
            for place, thing in things:
                waiting.append((place, pool.submit(work, thing)))
                if len(waiting) > 2 * workers + 1:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        except BrokenProcessPool as error:
            raise RunError(
                "a worker process was killed, probably because memory was short: run the same command again, with "
                "fewer --workers; it continues"
            ) from error


@contextmanager
def _pool(workers: int, processes: bool) -> Iterator[Executor]:
    pool: Executor
    if processes:
        import multiprocessing

        ways = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in ways else "spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)
    else:
        pool = ThreadPoolExecutor(workers, thread_name_prefix="ganfeat-prepare")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Leave Ctrl-C to the first process, end when it is gone, and let it alone tell what is wrong with files."""
    _of_the_process.enter_context(quiet_pillow())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
