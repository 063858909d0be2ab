"""What a search has found so far, on disk: so that one that was killed goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.checkpoint import read_tensors, write_array, write_atomically
from ganfeat.errors import InputError
from ganfeat.prepare.duplicates.autoencoder import AutoencoderSettings, HashingAutoencoder

PLAN = "plan.json"
PICTURES = "pictures.bin"
_FILES = ("autoencoder.safetensors", "codes.bin", "neighbours.npy", "alike.bin", "strangers.bin", PICTURES)


class Work:
    """A folder for one search. Where it holds another search (other images or settings), it is emptied first.

    Parameters
    ----------
    path : Path
    plan : mapping
        Everything that decides what is found, as plain values.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self.path = path
        content = json.dumps(plan, indent=2, sort_keys=True) + "\n"
        file = path / PLAN
        if not file.is_file() or file.read_text("utf-8") != content:
            file.unlink(missing_ok=True)
            for name in _FILES:
                (path / name).unlink(missing_ok=True)
            path.mkdir(parents=True, exist_ok=True)
            write_atomically(file, content.encode())

    def autoencoder(self, settings: AutoencoderSettings) -> HashingAutoencoder | None:
        """The one that was trained, if it was."""
        path = self.path / "autoencoder.safetensors"
        if not path.is_file():
            return None
        try:
            return HashingAutoencoder(settings, read_tensors(path))
        except InputError:  # damaged: train another
            return None

    def keep_autoencoder(self, trained: HashingAutoencoder) -> None:
        """Write the weights."""
        from safetensors.torch import save

        write_atomically(self.path / "autoencoder.safetensors", save(trained.tensors))

    def array(self, name: str) -> NDArray[Any] | None:
        """An array that was written, if it was."""
        path = self.path / name
        return np.load(path, allow_pickle=False) if path.is_file() else None

    def keep_array(self, name: str, array: NDArray[Any]) -> None:
        """Write an array whole."""
        write_array(self.path / name, array)

    def column(self, name: str, dtype: Any, width: int, block: int) -> Column:
        """A file that grows by whole blocks of rows."""
        return Column(self.path / name, np.dtype(dtype), width, block)

    def forget(self, name: str) -> None:
        """Delete a file that is not wanted any more."""
        (self.path / name).unlink(missing_ok=True)


class Column:
    """Rows of equal length, appended in blocks; of a block that was not written whole nothing remains."""

    def __init__(self, path: Path, dtype: np.dtype[Any], width: int, block: int) -> None:
        self.path, self.dtype, self.width = path, dtype, width
        self._bytes = dtype.itemsize * width
        size = path.stat().st_size if path.is_file() else 0
        self.done = size // (self._bytes * block) * block
        if size % (self._bytes * block):
            with path.open("r+b") as file:
                file.truncate(self.done * self._bytes)

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows ``(m, width)``, and wait until they are on the disk: else zeros may be there after a power cut."""
        with self.path.open("ab") as file:
            file.write(np.ascontiguousarray(rows, self.dtype).tobytes())
            file.flush()
            os.fsync(file.fileno())
        self.done += len(rows)

    def rows(self) -> NDArray[Any]:
        """All of them, ``(n, width)``."""
        content = self.path.read_bytes() if self.path.is_file() else b""
        return np.frombuffer(content, self.dtype).reshape(-1, self.width)

    def mapped(self) -> NDArray[Any]:
        """All of them as a memory map, ``(n, width)``; at least one must have been written."""
        return np.memmap(self.path, self.dtype, "r", shape=(self.done, self.width))
