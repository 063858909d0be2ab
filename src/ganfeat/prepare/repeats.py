"""How often something occurs twice among any number of things, with a bounded part of it in memory."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

_AT_ONCE = 1 << 18
_MOST_FILES = 64


class Found(NamedTuple):
    """Groups of two or more that are the same, how many are in them, and the keys of a few groups."""

    groups: int
    members: int
    some: frozenset[bytes]


class Repeats:
    """Counts what occurs more than once.

    Keys of 128 bits are written to temporary files by their first bits, each of about a quarter of a million (or a 64th
    of all), and counted one file after the other.

    Parameters
    ----------
    expected : int
        About how many things there will be.
    """

    def __init__(self, expected: int) -> None:
        parts = 1
        while parts * _AT_ONCE < expected and parts < _MOST_FILES:
            parts *= 2
        self._open = ExitStack()
        self._parts = [self._open.enter_context(tempfile.TemporaryFile()) for _ in range(parts)]

    @staticmethod
    def key(text: str) -> bytes:
        """Give the key of a text."""
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def add(self, text: str) -> None:
        """Count one more."""
        key = self.key(text)
        self._parts[key[0] % len(self._parts)].write(key)

    def found(self, most: int) -> Found:
        """Count, and close the files. `most` is how many groups are named."""
        groups = members = 0
        some: list[bytes] = []
        with self._open:
            for part in self._parts:
                part.seek(0)
                keys = np.frombuffer(part.read(), np.uint64).reshape(-1, 2)
                keys = keys[np.lexsort((keys[:, 1], keys[:, 0]))]
                if not len(keys):
                    continue
                starts = np.flatnonzero(np.append(True, (keys[1:] != keys[:-1]).any(axis=1)))
                counts = np.diff(np.append(starts, len(keys)))
                groups += int((counts > 1).sum())
                members += int(counts[counts > 1].sum())
                for place in np.flatnonzero(counts > 1)[: most - len(some)]:
                    some.append(keys[starts[place]].tobytes())
        return Found(groups, members, frozenset(some))
