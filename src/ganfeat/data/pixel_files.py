"""Files of pixels, read block by block: ``.npy``, ``.npz``, IDX and ``.mat``, whatever their length."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.data import array_files, mat_files
from ganfeat.data.decode import raise_if_machine
from ganfeat.data.matlab import DamagedError, open_variables
from ganfeat.errors import InputError

_BLOCK_BYTES = 1 << 22
_DAMAGE = (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile)

Blocks = Callable[[int, int], Iterator[NDArray[np.uint8]]]


@dataclass(frozen=True)
class Pixels:
    """Images that are stored as pixels.

    Attributes
    ----------
    count : int
    divisible : bool
        Whether a part can be read without all that is before it, which is not so in compressed files.
    blocks : callable
        ``blocks(start, stop)`` yields pixels ``(m, height, width, channels)``. Raises InputError where the file is
        damaged.
    labels : ndarray of int64, shape (count,), or None
    classes : tuple of str or None
    label_files : tuple of Path
        Other files that were read.
    """

    count: int
    divisible: bool
    blocks: Blocks
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None
    label_files: tuple[Path, ...] = ()


def open_pixels(path: Path) -> Pixels | None:
    """Open a file of pixels; None if it is of no such kind.

    Raises
    ------
    InputError
        As the readers in ``array_files.py`` and ``mat_files.py``.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        beside = path.with_name(f"{path.stem}.labels.npy")
        return _whole(array_files.open_npy(path), (beside,) if beside.is_file() else ())
    if suffix == ".npz":
        return _open_npz(path)
    if suffix in mat_files.SUFFIXES:
        return _open_mat(path)
    return _open_idx(path) if array_files.idx_dimensions(path) else None


def _whole(dataset: Any, label_files: tuple[Path, ...] = ()) -> Pixels:
    def blocks(start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        step = _rows_at_once(dataset.shape[1:])
        for first in range(start, stop, step):
            yield dataset.images[first : min(first + step, stop)]

    return Pixels(len(dataset), True, blocks, dataset.labels, dataset.classes, label_files)


def _open_npz(path: Path) -> Pixels:
    if not zipfile.is_zipfile(path):
        return _whole(array_files.open_npz(path))  # says what is wrong
    with np.load(path, allow_pickle=False) as archive:
        key = next((key for key in array_files.IMAGE_KEYS if key in archive.files), None)
        label_key = next((key for key in array_files.LABEL_KEYS if key in archive.files), None)
        found = None if label_key is None or key is None else array_files.member(archive, label_key, path)
    if key is None:
        return _whole(array_files.open_npz(path))

    def opened() -> IO[bytes]:
        return zipfile.ZipFile(path).open(f"{key}.npy")

    with opened() as file:
        shape, in_order, dtype = _npy_header(file)
    if dtype != np.uint8 or not in_order:
        return _whole(array_files.open_npz(path))
    return _stream(path, shape, found, lambda: _behind(opened(), _npy_header))


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, not fortran, dtype


def _behind(file: IO[bytes], header: Callable[[IO[bytes]], object]) -> IO[bytes]:
    header(file)
    return file


def _open_idx(path: Path) -> Pixels:
    dimensions = array_files.idx_dimensions(path)
    with array_files.maybe_gzip(path) as file:
        shape, dtype = array_files.idx_header(path, file, dimensions)
        zipped, offset = file.name != str(path) or hasattr(file, "mtime"), 4 + 4 * dimensions
    if dimensions == 1 or dtype != np.uint8:
        array_files.open_idx(path)  # says what is wrong
    beside = array_files.idx_labels_file(path)
    files = () if beside is None else (beside,)
    labels = array_files.idx_labels(path)
    if not zipped:
        if path.stat().st_size != offset + math.prod(shape):
            array_files.open_idx(path)  # says what is wrong
        pixels = np.memmap(path, np.uint8, "r", offset, shape)
        return _whole(array_files.from_array(pixels, labels, source=str(path)), files)

    def opened() -> IO[bytes]:
        return _behind(array_files.maybe_gzip(path), lambda file: file.read(offset))

    return _stream(path, shape, labels, opened, files)


def _stream(
    path: Path, shape: tuple[int, ...], labels: Any, opened: Callable[[], IO[bytes]], files: tuple[Path, ...] = ()
) -> Pixels:
    """Images of one byte a value behind one another, in a file that can only be read from its start."""
    like = array_files.from_array(np.broadcast_to(np.uint8(0), shape), labels, source=str(path))

    def blocks(start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        image = like.shape[1:]
        step, size = _rows_at_once(image), math.prod(image)
        try:
            with opened() as file:
                for first in range(0, stop, step):
                    count = min(step, stop - first)
                    content = file.read(count * size)
                    if len(content) < count * size:
                        raise InputError(f"{path} is shorter than its header says, {shape}: fetch it again")
                    block = np.frombuffer(content, np.uint8).reshape(count, *image)
                    if first + count > start:
                        yield block[max(0, start - first) :]
        except _DAMAGE as error:
            if isinstance(error, InputError):
                raise
            if isinstance(error, OSError):
                raise_if_machine(error)
            raise InputError(f"{path} is damaged ({type(error).__name__} {error}): fetch it again") from error

    return Pixels(len(like), False, blocks, like.labels, like.classes, files)


def _open_mat(path: Path) -> Pixels:
    try:
        with path.open("rb") as file:
            known = open_variables(file)
            mat_files.check(path, known)
            labels = mat_files.labels_of(known["y"].read(), path)
            shape = known["X"].shape
    except (DamagedError, OSError) as error:
        raise InputError(f"{path} {error}") from error

    def blocks(start: int, stop: int) -> Iterator[NDArray[np.uint8]]:
        step = _rows_at_once(shape[:3])
        first = 0
        try:
            with path.open("rb") as file:
                for values in open_variables(file)["X"].parts(step * math.prod(shape[:3])):
                    count = values.size // math.prod(shape[:3])
                    if first + count > start and first < stop:
                        images = mat_files.images_first(values, (*shape[:3], count))
                        yield images[max(0, start - first) : stop - first]
                    first += count
        except (DamagedError, OSError) as error:
            if isinstance(error, OSError):
                raise_if_machine(error)
            raise InputError(f"{path} {error}") from error

    return Pixels(shape[3], False, blocks, labels, mat_files.DIGIT_NAMES)


def _rows_at_once(shape: tuple[int, ...]) -> int:
    return max(1, _BLOCK_BYTES // max(1, math.prod(shape)))
