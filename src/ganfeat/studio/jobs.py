"""Work that takes seconds, in one thread behind the requests, with its progress."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from ganfeat.errors import InputError

KEPT = 8
"""Results."""
NICENESS = 4
"""Of the thread, where the system knows such a thing: whoever moves a slider goes first."""
log = logging.getLogger("ganfeat.studio")


class ClosedError(Exception):
    """The server ends: what is at work may leave it."""


@dataclass
class Job:
    """A piece of work: how far it is, and what came of it.

    Parameters
    ----------
    work : callable(job)
        Calls :meth:`update` now and then, and gives the result.
    """

    work: Callable[[Job], Any]
    progress: float = 0.0
    doing: str = "waiting for other work"
    result: Any = None
    error: InputError | None = None
    told: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)

    def update(self, progress: float, doing: str | None = None) -> None:
        """Say how far it is, 0 to 1, and what is being done.

        Raises
        ------
        ClosedError
            If the server ends.
        """
        if self.closed.is_set():
            raise ClosedError
        self.progress = min(max(float(progress), 0.0), 1.0)
        self.doing = self.doing if doing is None else doing

    def counted(self, begin: float, end: float, doing: str) -> Callable[[int, int], None]:
        """``progress(done, total)`` for one of its parts, which takes it from ``begin`` to ``end``."""
        self.update(begin, doing)
        return lambda done, total: self.update(begin + (end - begin) * done / max(total, 1))

    def outcome(self) -> Any:
        """What came of it, once it is done.

        Raises
        ------
        InputError
            If it failed.
        """
        if self.error is not None:
            self.told = True
            raise self.error
        return self.result

    def run(self) -> None:
        """Do it."""
        try:
            self.update(0.0, "starting")
            self.result = self.work(self)
            self.progress = 1.0
        except InputError as error:
            self.error = error
        except ClosedError:
            self.error = InputError("the server has ended")
        except Exception:
            log.exception("work behind the requests failed")
            self.error = InputError("something went wrong in the server: its terminal says what")
        self.done.set()


class Jobs:
    """One thread that does jobs in turn; the last results are kept, by key."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._jobs: OrderedDict[Hashable, Job] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def ask(self, key: Hashable, work: Callable[[Job], Any]) -> Job:
        """The job of this key; begun if it is new, or has failed and :meth:`Job.outcome` has said so."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None or job.told:
                job = self._jobs[key] = Job(work, closed=self._closed)
                self._waiting.put(job)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="studio jobs", daemon=True)
                    self._thread.start()
            self._jobs.move_to_end(key)
            ended = [k for k, j in self._jobs.items() if j.done.is_set() and k != key]
            for old in ended[: max(0, len(self._jobs) - KEPT)]:
                del self._jobs[old]
        return job

    def _work(self) -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while (job := self._waiting.get()) is not None:
            job.run()

    def close(self, seconds: float = 0.3) -> bool:
        """Ask what is at work to end; return whether it did."""
        self._closed.set()
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()
