"""SVHN's ``.mat`` files: images in ``X`` and digits in ``y``, as SVHN has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.images import ImageDataset
from ganfeat.data.matlab import DamagedError, Variable, open_variables
from ganfeat.errors import InputError

SUFFIXES = (".mat",)

DIGIT_NAMES = tuple("0123456789")
_EXPECTED = "expected uint8 X (height, width, channels, n) and y (n, 1), as in SVHN's train_32x32.mat"
_BLOCK = 1024


def open_mat(path: Path) -> ImageDataset:
    """Read the cropped digits of SVHN, or images stored in the same way.

    Parameters
    ----------
    path : Path
        A MATLAB 5 file, compressed or not, with ``X``, uint8 ``(height, width, channels, n)``, and ``y``, of n
        whole numbers 1..10, where 10 is the digit 0. Other variables are passed over unread.

    Returns
    -------
    ImageDataset
        Labels 0..9 with the classes "0".."9". The pixels are brought into order in the memory that they were
        read into, so the peak is one copy of them.

    Raises
    ------
    InputError
        If it is cut short, of another MATLAB version, has no such variables, or a label is out of range.

    References
    ----------
    Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu, A. Y. Ng, "Reading Digits in Natural Images with
    Unsupervised Feature Learning", NIPS Workshop on Deep Learning and Unsupervised Feature Learning 2011;
    http://ufldl.stanford.edu/housenumbers/.
    """
    try:
        with path.open("rb") as file:
            known = open_variables(file)
            check(path, known)
            labels = labels_of(known["y"].read(), path)
            pixels = known["X"].read()
    except (DamagedError, OSError) as error:
        raise InputError(f"{path} {error}") from error
    except MemoryError as error:
        raise InputError(f"the images in {path} do not fit in memory: {error}") from error
    return ImageDataset(images_first(pixels, known["X"].shape), labels, DIGIT_NAMES, source=str(path))


def check(path: Path, known: dict[str, Variable]) -> None:
    """Refuse variables that are not images and their digits."""
    for name in ("X", "y"):
        if name not in known:
            listed = ", ".join(map(repr, known)) or "nothing"
            raise InputError(f"{path} has no variable {name!r}, only {listed}: {_EXPECTED}")
        if known[name].dtype is None:
            raise InputError(f"{path}: {name} is of the kind {known[name].kind}: {_EXPECTED}")
    shape, digits = known["X"].shape, known["y"].shape
    if known["X"].dtype != np.uint8:
        raise InputError(f"{path}: X is {known['X'].dtype}: {_EXPECTED}")
    if len(shape) != 4 or 0 in shape:
        raise InputError(f"{path}: X has shape {shape}: {_EXPECTED}")
    if max(digits) != shape[3] or known["y"].size != shape[3]:
        raise InputError(
            f"{path}: X has {shape[3]} images (shape {shape}), y has shape {digits}: expected one label an "
            f"image, ({shape[3]}, 1)"
        )


def labels_of(digits: NDArray[Any], path: Path) -> NDArray[np.int64]:
    """Turn 1..10 into 0..9, where 10 is 0."""
    wrong = np.flatnonzero(~np.isin(digits, np.arange(1, 11)))
    if len(wrong):
        raise InputError(
            f"{path}: y holds {digits[wrong[0]]} at {wrong[0] + 1}: expected whole numbers 1..10, where 10 is the "
            "digit 0"
        )
    return digits.astype(np.int64) % 10


def images_first(pixels: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Turn ``(h, w, c, n)`` in MATLAB's order into C-ordered ``(n, h, w, c)``, in place.

    MATLAB lets the first index run fastest, so an image's bytes lie together, as they will afterwards.
    """
    height, width, channels, count = shape
    flat = pixels.reshape(count, -1)
    for start in range(0, count, _BLOCK):
        block = flat[start : start + _BLOCK]
        block[:] = block.reshape(-1, channels, width, height).transpose(0, 3, 2, 1).reshape(len(block), -1)
    return flat.reshape(count, height, width, channels)
