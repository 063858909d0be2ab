"""A small stand-in for MNIST's files."""

import gzip

import numpy as np
import pytest
from sklearn.datasets import load_digits

ROWS, LABELS = load_digits(return_X_y=True)
IMAGES = (ROWS.reshape(-1, 8, 8) * 15).astype(np.uint8)
PARTS = {"train": slice(0, 400), "t10k": slice(400, 600)}


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return gzip.compress(header + np.ascontiguousarray(array, np.uint8).tobytes())


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "mnist"
    place.mkdir()
    for part, rows in PARTS.items():
        (place / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(IMAGES[rows]))
        (place / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(LABELS[rows]))
    return place
