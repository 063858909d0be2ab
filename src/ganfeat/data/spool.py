"""Lists longer than the memory: short ones stay in it, the rest goes to a temporary file (see ``TMPDIR``)."""

from __future__ import annotations

import heapq
import json
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

_IN_MEMORY = 1 << 22
_BLOCK = 1 << 16
_SORTED_AT_ONCE = 1 << 16
_RUNS = 64
"""Sorted runs, each a file, that are open at once."""


class Spool:
    """A list of plain values that is appended to, then read as often as wanted, from the start.

    Takes 4 MiB of memory at most, whatever its length.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)
        weakref.finalize(self, self._file.close)
        self._length = 0
        self._bytes = 0

    def append(self, value: Any) -> None:
        """Add anything that JSON can hold; names that are not UTF-8 come back as they were."""
        line = json.dumps(value).encode("ascii") + b"\n"
        self._file.seek(self._bytes)
        self._file.write(line)
        self._bytes += len(line)
        self._length += 1

    def to_disk(self) -> None:
        """Let go of the memory that a short list takes."""
        self._file.rollover()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        place, rest = 0, b""
        while place < self._bytes:
            self._file.seek(place)
            block = self._file.read(_BLOCK)
            place += len(block)
            *lines, rest = (rest + block).split(b"\n")
            yield from map(json.loads, lines)


def in_order(names: Iterable[str], at_once: int = _SORTED_AT_ONCE) -> Iterator[str]:
    """Sort any number of names, holding `at_once` of them in memory, with few files open."""
    source = iter(names)
    first = sorted(islice(source, at_once))
    if len(first) < at_once:
        yield from first
        return
    levels: list[list[Spool]] = [[]]
    while first:
        levels[0].append(_run(first))
        for level, runs in enumerate(levels):
            if len(runs) == _RUNS:
                merged = _run(heapq.merge(*runs))
                runs.clear()
                levels.append([]) if level + 1 == len(levels) else None
                levels[level + 1].append(merged)
        first = sorted(islice(source, at_once))
    yield from heapq.merge(*(run for runs in levels for run in runs))


def _run(names: Iterable[str]) -> Spool:
    run = Spool()
    for name in names:
        run.append(name)
    run.to_disk()
    return run
