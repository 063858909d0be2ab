"""Run a command under a limit of memory, and measure what it and its children used."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
_EVERY = 0.1
_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Used:
    """What a command used, all its processes together.

    ``anonymous`` is memory that nothing on disk can replace, ``resident`` has mapped pages of files, too, which the
    system takes back where memory is short. ``limit``: of a control group, under which the command ran, or None.
    """

    seconds: float
    cpu_seconds: float
    resident: float
    anonymous: float
    limit: float | None


def run(command: Sequence[str], limit: float | None = None, timeout: float | None = None) -> Used:
    """Run to the end.

    Parameters
    ----------
    command : sequence of str
    limit : float, optional
        GiB of a control group for the command, its children, and the pages of files that they read and write. The
        kernel kills what cannot do with it. Needs root on Linux; elsewhere the command runs without.

    Raises
    ------
    RuntimeError
        If the command fails.
    """
    with (
        _group(limit) as group,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=group.enter, start_new_session=True) as process,
    ):
        peak = _Peak(process.pid)
        before = os.times()
        started = time.perf_counter()
        watcher = threading.Thread(target=peak.watch, daemon=True)
        watcher.start()
        try:
            status = process.wait(timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            peak.stopped.set()
            watcher.join()
        seconds, after = time.perf_counter() - started, os.times()
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Used(
        round(seconds, 1),
        round(cpu, 1),
        round(peak.resident / GIB, 3),
        round(peak.anonymous / GIB, 3),
        limit if group.folder else None,
    )


class _Peak:
    def __init__(self, pid: int) -> None:
        self.pid, self.resident, self.anonymous = pid, 0, 0
        self.stopped = threading.Event()

    def watch(self) -> None:
        while not self.stopped.wait(_EVERY):
            resident = anonymous = 0
            for pid in _tree(self.pid):
                try:
                    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                except OSError:
                    continue
                fields = {name: value for name, _, value in (line.partition(":") for line in lines)}
                resident += _bytes(fields.get("VmRSS", "0"))
                anonymous += _bytes(fields.get("RssAnon", "0")) + _bytes(fields.get("RssShmem", "0"))
            self.resident, self.anonymous = max(self.resident, resident), max(self.anonymous, anonymous)


def _bytes(field: str) -> int:
    return int(field.split()[0]) * 1024


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        tasks = [(task / "children").read_text().split() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return
    children = [int(child) for task in tasks for child in task]
    for child in children:
        yield from _tree(child)


@dataclass
class _Group:
    folder: Path | None

    def enter(self) -> None:
        if self.folder is not None:
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))


@contextmanager
def _group(limit: float | None) -> Iterator[_Group]:
    name = f"ganfeat-{os.getpid()}"
    if (_V1 / "cgroup.procs").exists():
        folder, file = _V1 / name, "memory.limit_in_bytes"
    else:
        folder, file = _V2 / name, "memory.max"
    try:
        if limit is None:
            raise OSError
        folder.mkdir()
        (folder / file).write_text(str(int(limit * GIB)))
    except OSError:
        if folder.is_dir():
            folder.rmdir()
        yield _Group(None)
        return
    try:
        yield _Group(folder)
    finally:
        for _ in range(50):
            try:
                folder.rmdir()
                break
            except OSError:
                time.sleep(0.1)
