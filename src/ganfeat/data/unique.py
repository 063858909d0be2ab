"""Names that occur twice made different, with eight bytes of memory a name."""

from __future__ import annotations

import hashlib

import numpy as np

_NEW = 1 << 16


class Unique:
    """Gives the names of a list in turn: as they are the first time, with ``~2``, ``~3`` behind them after that.

    Of names their 64-bit hashes are kept: among a million, two that differ are taken for the same with a probability
    of 3e-8, and one of them gets ``~2``.
    """

    def __init__(self) -> None:
        self._old = np.empty(0, np.uint64)
        self._new: set[int] = set()
        self._again: dict[int, int] = {}

    def name(self, name: str) -> str:
        """Give the name, or one like it that has not been given."""
        if self._add(key := _hash(name)):
            return name
        number = self._again.get(key, 1) + 1
        while not self._add(_hash(f"{name}~{number}")):
            number += 1
        self._again[key] = number
        return f"{name}~{number}"

    def _add(self, key: int) -> bool:
        place = int(np.searchsorted(self._old, np.uint64(key)))
        if key in self._new or (place < len(self._old) and int(self._old[place]) == key):
            return False
        self._new.add(key)
        if len(self._new) == _NEW:
            self._old = np.sort(np.concatenate([self._old, np.fromiter(self._new, np.uint64, _NEW)]))
            self._new.clear()
        return True


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
