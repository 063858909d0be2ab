"""Pixels that are not encoded: arrays, ``.npy``, ``.npz`` and IDX. Nothing here ever unpickles."""

from __future__ import annotations

import gzip
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.images import ImageDataset
from ganfeat.errors import InputError

IMAGE_KEYS = ("images", "x", "X", "data")
LABEL_KEYS = ("labels", "y", "label")
_IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def from_array(values: Any, labels: Any = None, *, source: str = "array") -> ImageDataset:
    """Take pixels as they are.

    Parameters
    ----------
    values : array-like of uint8 or bool, shape (n, height, width) or (n, height, width, channels)
        Anything with ``__array__`` will do. True is 255.
    labels : array-like, shape (n,), optional
        Integers, or strings (which become classes, sorted).
    source : str
        What it is, for messages.

    Returns
    -------
    ImageDataset
        A view where that is possible, so a memory map remains one.

    Raises
    ------
    InputError
        For any other type or shape; the message says how to convert it. ``(n, 3, height, width)`` is
        refused, not guessed.
    """
    try:
        pixels = values if isinstance(values, np.ndarray) else np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{source} cannot be taken as one array of images: {error}") from error
    shape = pixels.shape
    if pixels.dtype.kind in "OUS":
        raise InputError(
            f"{source} ({type(values).__name__}) is not one array of pixels: give uint8 "
            "(n, height, width, channels), a folder, or a file"
        )
    if pixels.ndim == 2:
        raise InputError(
            f"{source} has shape {shape}, which is rows: reshape it to images, as in "
            "x.reshape(-1, height, width, channels)"
        )
    if pixels.ndim == 3 and shape[2] in (3, 4) and min(shape[:2]) > 4:
        raise InputError(f"{source} has shape {shape}, which looks like a single image: give images[None]")
    if pixels.ndim == 3:
        pixels = pixels[..., np.newaxis]
    if pixels.ndim != 4:
        raise InputError(f"{source} has shape {shape}: expected (n, height, width) or (n, height, width, channels)")
    if shape[1] in (1, 3, 4) and min(pixels.shape[2:]) > 4:
        raise InputError(
            f"{source} has shape {shape}, which looks like (n, channels, height, width): "
            "transpose it, x.transpose(0, 2, 3, 1)"
        )
    if pixels.size == 0:
        raise InputError(f"{source} is empty (shape {shape}): give at least one image")
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype != np.uint8:
        raise InputError(
            f"{source} is {pixels.dtype}: convert it to uint8 in 0..255, for values in 0..1 by "
            "(x * 255).round().astype('uint8')"
        )
    ids, classes = _as_labels(labels, len(pixels), source) if labels is not None else (None, None)
    return ImageDataset(pixels, labels=ids, classes=classes, source=source)


def _as_labels(values: Any, count: int, source: str) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    labels = np.asarray(values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,):
        raise InputError(f"the labels of {source} have shape {labels.shape}: expected ({count},), one an image")
    if labels.dtype.kind == "U":
        names, index = np.unique(labels, return_inverse=True)
        return index.astype(np.int64), tuple(map(str, names))
    if labels.dtype.kind not in "iub":
        raise InputError(f"the labels of {source} are {labels.dtype}: give integers or strings")
    return labels.astype(np.int64), None


def open_npy(path: Path) -> ImageDataset:
    """Memory-map a ``.npy`` file; labels come from ``F.labels.npy`` beside ``F.npy``.

    Raises
    ------
    InputError
        If it is damaged, holds Python objects, or is no array of images.
    """
    beside = path.with_name(f"{path.stem}.labels.npy")
    labels = _load_npy(beside) if beside.is_file() else None
    return from_array(_load_npy(path, "r"), labels, source=str(path))


def open_npz(path: Path) -> ImageDataset:
    """Read a ``.npz`` file.

    Images are under ``images``, ``x``, ``X`` or ``data``, or are the only array of three or four
    dimensions; labels under ``labels``, ``y`` or ``label``.

    Raises
    ------
    InputError
        If it is damaged, holds Python objects, or it is not clear which array is the images.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no .npz archive, or is damaged: save it again with np.savez")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        keys = archive.files
        named = [key for key in IMAGE_KEYS if key in keys]
        if named:
            images = member(archive, named[0], path)
        else:
            arrays = {key: member(archive, key, path) for key in keys}
            solid = [key for key, array in arrays.items() if array.ndim in (3, 4)]
            if len(solid) != 1:
                raise InputError(
                    f"{path}: looked for an array named {', '.join(IMAGE_KEYS)} or a single one of 3 or 4 "
                    f"dimensions, found {', '.join(keys) or 'nothing'}: save the images as images=…"
                )
            images = arrays[solid[0]]
        label_key = next((key for key in LABEL_KEYS if key in keys), None)
        labels = None if label_key is None else member(archive, label_key, path)
    return from_array(images, labels, source=str(path))


def _load_npy(path: Path, mmap_mode: Literal["r"] | None = None) -> NDArray[Any]:
    try:
        with path.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise InputError(f"{path} is no .npy file, or is damaged: save it again with np.save")
        return cast("NDArray[Any]", np.load(path, mmap_mode=mmap_mode, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise error if isinstance(error, InputError) else _unreadable(path, error) from error


def member(archive: Any, key: str, path: Path) -> NDArray[Any]:
    """Read an array of an open archive."""
    try:
        return cast("NDArray[Any]", archive[key])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(f"{path}[{key!r}]", error) from error


def _unreadable(name: object, error: Exception) -> InputError:
    if "pickle" in str(error) or "Python objects" in str(error):
        return InputError(
            f"{name} is damaged or holds pickled Python objects, which are never loaded, because unpickling "
            "runs code: save the pixels alone, np.save(path, images.astype('uint8'))"
        )
    return InputError(f"{name} cannot be read: {error}. Save it again with np.save")


def idx_dimensions(path: Path) -> int:
    """Give the number of dimensions if a file, plain or gzip, begins like an IDX file, else 0."""
    try:
        with maybe_gzip(path) as file:
            magic = file.read(4)
    except (OSError, EOFError, zlib.error):
        return 0
    return magic[3] if len(magic) == 4 and magic[:2] == b"\0\0" and magic[2] in _IDX_DTYPES else 0


def idx_among(paths: list[Path]) -> list[Path]:
    """Choose the files that hold images in IDX format: by a name that says so, and by how they begin."""
    named = [path for path in paths if "idx" in path.name.lower() or "ubyte" in path.name.lower()]
    return [path for path in named if idx_dimensions(path) >= 3]


def open_idx(path: Path) -> ImageDataset:
    """Read images in IDX format, plain or gzip, with the labels that lie beside them.

    The labels of ``X-images-idx3-ubyte[.gz]`` are ``X-labels-idx1-ubyte[.gz]``.

    Raises
    ------
    InputError
        If it is cut short, or holds labels, or the labels' number is another.
    """
    images = _read_idx(path)
    if images.ndim == 1:
        raise InputError(f"{path} holds labels: give the images' file beside it, …-images-idx3-ubyte")
    return from_array(images, idx_labels(path), source=str(path))


def idx_labels_file(path: Path) -> Path | None:
    """Find the file with the labels of the images in `path`."""
    name = re.sub(r"images([-.])idx\d", r"labels\1idx1", path.name)
    if name == path.name:
        return None
    plain = name.removesuffix(".gz")
    beside = [path.with_name(other) for other in (name, plain, f"{plain}.gz")]
    return next((other for other in beside if other.is_file()), None)


def idx_labels(path: Path) -> NDArray[Any] | None:
    """Read the labels that lie beside images in IDX format, if any."""
    found = idx_labels_file(path)
    return None if found is None else _read_idx(found)


def _read_idx(path: Path) -> NDArray[Any]:
    dimensions = idx_dimensions(path)
    if dimensions == 0:
        raise InputError(f"{path} is not an IDX file")
    try:
        with maybe_gzip(path) as file:
            shape, dtype = idx_header(path, file, dimensions)
            wanted = math.prod(shape) * dtype.itemsize
            content = file.read(wanted)
            rest = file.read(1)
    except (OSError, EOFError, ValueError, zlib.error, OverflowError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged ({type(error).__name__} {error}): fetch it again") from error
    if len(content) != wanted or rest:
        problem = "longer" if rest else "shorter"
        raise InputError(f"{path} is {problem} than its header says, {shape}: fetch it again")
    array = np.frombuffer(content, dtype=dtype).reshape(shape)
    return array if dtype.itemsize == 1 and dtype.kind == "u" else array.astype(dtype.newbyteorder("="))


def idx_header(path: Path, file: IO[bytes], dimensions: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the shape and kind of numbers at the beginning of an open IDX file."""
    head = file.read(4 + 4 * dimensions)
    if len(head) < 4 + 4 * dimensions:
        raise InputError(f"{path} is shorter than an IDX header: fetch it again")
    return tuple(int(side) for side in np.frombuffer(head[4:], dtype=">u4")), np.dtype(_IDX_DTYPES[head[2]])


def maybe_gzip(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed where it is gzip."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path)) if zipped else path.open("rb")
