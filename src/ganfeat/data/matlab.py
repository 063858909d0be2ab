"""Arrays of numbers in MATLAB 5 files. Text, cells, structs and objects are named, and never read.

SciPy has a reader of everything that MATLAB can store, which crashes the process where a byte that says the
type of what follows is wrong (seen with SciPy 1.17). Plain arrays take the few lines below.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADER = 128
_CHUNK, _MOST_AT_ONCE = 1 << 16, 1 << 20
_MATRIX, _COMPRESSED = 14, 15
_OPAQUE = 17
_COMPLEX, _LOGICAL = 0x0800, 0x0200
_KINDS = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 16: "function", _OPAQUE: "object"}
_NUMBERS = range(6, 16)
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


class DamagedError(Exception):
    """What is wrong with a file, to be read after its name."""


@dataclass(frozen=True)
class Variable:
    """An array in an open file.

    Attributes
    ----------
    kind : str
        "numbers", or what else it is.
    shape : tuple of int
        The first index runs fastest.
    dtype : numpy.dtype or None
        As stored, which for whole numbers may be smaller than MATLAB's type; None if it is not of real numbers.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None
    file: io.BufferedReader
    place: int
    order: str

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def read(self) -> NDArray[Any]:
        """Read the values, flat, into memory of their own.

        Raises
        ------
        DamagedError
            If they are not all there, or their checksum (where they are compressed) is another.
        """
        return next(self.parts(self.size))

    def parts(self, at_once: int) -> Iterator[NDArray[Any]]:
        """Read the values, flat, so many at once.

        Raises
        ------
        DamagedError
            As :meth:`read`; where they are compressed, their checksum is known only after the last.
        """
        assert self.dtype is not None
        try:
            stream, end = _matrix(self.file, self.place, self.order)
            _head(stream, self.order)
            _, size, content = _tag(stream, self.order)
            if size != self.size * self.dtype.itemsize or (end is not None and stream.tell() + size > end):
                raise DamagedError("is damaged (a variable's size is wrong): fetch it again")
            for start in range(0, max(1, self.size), max(1, at_once)):
                values = np.empty(min(at_once, self.size - start), self.dtype)
                buffer = values.view(np.uint8).data
                if content:
                    buffer[:] = content[start * values.itemsize :][: len(buffer)]
                elif stream.readinto(buffer) != len(buffer):
                    raise DamagedError("is damaged (a variable ends early): fetch it again")
                last = start + at_once >= self.size
                if last and end is None and len(stream.read(_CHUNK)) >= 8:  # to the end, where the checksum is
                    raise DamagedError("is damaged (a variable ends late): fetch it again")
                yield values.astype(self.dtype.newbyteorder("="), copy=False)
        except (zlib.error, struct.error, EOFError) as error:
            raise DamagedError(f"is damaged ({error}): fetch it again") from error


def open_variables(file: io.BufferedReader) -> dict[str, Variable]:
    """Find the variables of a MATLAB 5 file, reading none.

    Parameters
    ----------
    file : io.BufferedReader
        Must stay open for :meth:`Variable.read`.

    Raises
    ------
    DamagedError
        If it is of another version, cut short, or damaged.
    """
    header = file.read(_HEADER)
    if header.startswith(b"\x89HDF") or header[124:128] in (b"\0\2IM", b"\2\0MI"):
        raise DamagedError("is a MATLAB 7.3 (HDF5) file, which is not read: save it in MATLAB with -v7")
    if header[124:128] not in (b"\0\1IM", b"\1\0MI"):
        raise DamagedError("is no MATLAB 5 file, or is damaged: fetch it again, or save it in MATLAB with -v7")
    order = "<" if header[126:] == b"IM" else ">"
    places, end, size = [], _HEADER, file.seek(0, os.SEEK_END)
    while end < size:
        places.append(end)
        file.seek(end)
        tag = file.read(8)
        end += 8 + (struct.unpack(f"{order}II", tag)[1] if len(tag) == 8 else 0)
    if end > size or not places:
        raise DamagedError(
            f"is cut short or damaged ({size:,} bytes, where its tags say {end:,} or more): fetch it again"
        )
    try:
        return dict(_variable(file, place, order) for place in places)
    except (zlib.error, struct.error, EOFError) as error:
        raise DamagedError(f"is damaged ({error}): fetch it again") from error


def _variable(file: io.BufferedReader, place: int, order: str) -> tuple[str, Variable]:
    stream, _ = _matrix(file, place, order)
    name, kind, shape = _head(stream, order)
    dtype = None
    if kind == "numbers":
        stored = _tag(stream, order)[0]
        if stored not in _DTYPES:
            raise DamagedError(f"is damaged (numbers of type {stored}): fetch it again")
        dtype = np.dtype(order + _DTYPES[stored])
    return name, Variable(kind, shape, dtype, file, place, order)


def _matrix(file: io.BufferedReader, place: int, order: str) -> tuple[io.BufferedReader, int | None]:
    """Give the inside of a variable as a stream, and where it ends in the file if it is not compressed."""
    file.seek(place)
    kind, size = struct.unpack(f"{order}II", file.read(8))
    stream, end = file, place + 8 + size
    if kind == _COMPRESSED:
        stream = io.BufferedReader(_Inflated(file, size), _CHUNK)
        kind = struct.unpack(f"{order}II", stream.read(8))[0]
        end = None
    if kind != _MATRIX:
        raise DamagedError(f"is damaged (a variable of type {kind}): fetch it again")
    return stream, end


def _head(stream: io.BufferedReader, order: str) -> tuple[str, str, tuple[int, ...]]:
    flags = struct.unpack(f"{order}II", _short(stream, order))[0]
    kind = _KINDS.get(flags & 0xFF, "unknown")
    if flags & 0xFF in _NUMBERS:
        kind = "complex" if flags & _COMPLEX else "logical" if flags & _LOGICAL else "numbers"
    sides = b"" if flags & 0xFF == _OPAQUE else _short(stream, order)
    shape = struct.unpack(f"{order}{len(sides) // 4}i", sides)
    if any(side < 0 for side in shape) or (kind == "numbers" and len(shape) < 2):
        raise DamagedError(f"is damaged (a variable of shape {shape}): fetch it again")
    return _short(stream, order).decode("latin-1"), kind, shape


def _short(stream: io.BufferedReader, order: str) -> bytes:
    _, size, content = _tag(stream, order)
    if size > _CHUNK:
        raise DamagedError("is damaged (a name or shape of absurd length): fetch it again")
    return content or stream.read(size + -size % 8)[:size]


def _tag(stream: io.BufferedReader, order: str) -> tuple[int, int, bytes]:
    """Type, size in bytes, and the contents where they are in the tag itself: four bytes at most."""
    tag = stream.read(8)
    kind, size = struct.unpack(f"{order}II", tag)
    if kind >> 16:
        kind, size = kind & 0xFFFF, kind >> 16
        return kind, size, tag[4 : 4 + size]
    return kind, size, b""


class _Inflated(io.RawIOBase):
    """What `size` bytes of a file, from where it stands, decompress to."""

    def __init__(self, file: io.BufferedReader, size: int) -> None:
        self._file, self._left, self._inflate = file, size, zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = b""
        while not content and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail
            if not packed:
                packed = self._file.read(min(self._left, _CHUNK))
                self._left -= len(packed)
            if not packed:
                raise EOFError("compressed data end early")
            content = self._inflate.decompress(packed, min(len(buffer), _MOST_AT_ONCE))
        buffer[: len(content)] = content
        return len(content)
