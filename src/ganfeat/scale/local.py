"""Extraction on this machine: one process, or as many as torchrun starts, each with its own shards."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence

from ganfeat.errors import RunError
from ganfeat.scale.output import Done, Output
from ganfeat.scale.plan import Plan
from ganfeat.scale.worker import Worker

PATIENCE = 3600.0
"""Seconds that a process waits for the others while nothing that they write grows."""


def run_here(output: Output, run: str, missing: Sequence[int], *, device: str, batch_size: int) -> Generator[Done]:
    """Do shards in this process, one after the other.

    Parameters
    ----------
    output : Output
        With its plan.
    run : str
    missing : sequence of int
    device : str
    batch_size : int
    """
    if missing:
        yield from Worker(output.path, run, device=device, batch_size=batch_size).run(missing)


def share_of(missing: Sequence[int], rank: int, size: int) -> list[int]:
    """The shards of one of several processes.

    A shard is its process's by its number alone, so that processes that look at the folder at different times neither
    leave one out nor do one twice.
    """
    return [shard for shard in missing if shard % size == rank]


def wait_for(plan: Plan, output: Output, heed: Callable[[], object], patience: float = PATIENCE) -> Iterator[int]:
    """Wait until all parts are there; gives now and then how many are missing.

    Parameters
    ----------
    plan : Plan
    output : Output
    heed : callable
        Called while waiting; raises where another process has failed.
    patience : float
        Seconds without a new part, and without growth of one that is being written, after which the others are given
        up.

    Raises
    ------
    RunError
        If they are.
    """
    left, since, pause, signs = plan.shards, time.monotonic(), 0.05, output.signs_of_life()
    while missing := len(plan.missing(output)):
        heed()
        if missing < left:
            left, since = missing, time.monotonic()
            yield missing
        elif time.monotonic() - since > patience / 4:
            seen, signs = signs, output.signs_of_life()
            if signs != seen:
                since = time.monotonic()
            elif time.monotonic() - since > patience:
                raise RunError(
                    f"{missing} parts are missing and nothing was written for {patience / 60:.0f} minutes: other "
                    "processes are gone or hang. Stop them, and run the same command again: it does what is missing"
                )
        time.sleep(pause)
        pause = min(1.5 * pause, 2.0)
