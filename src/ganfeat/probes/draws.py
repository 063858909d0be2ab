"""Which rows have labels: held out, held back, drawn. All stratified where it matters, and seeded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.config import require
from ganfeat.errors import InputError


def hold_out(y: NDArray[Any], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from and rows held out, stratified and seeded, each in ascending order.

    Every class keeps at least one row to learn from.
    """
    require("seed", seed, int, least=0)
    generator = np.random.default_rng([seed, 1])
    learn, held_out = [], []
    for label in np.unique(y):
        rows = generator.permutation(np.flatnonzero(y == label))
        cut = min(round(len(rows) * share), len(rows) - 1)
        held_out.append(rows[:cut])
        learn.append(rows[cut:])
    return np.sort(np.concatenate(learn)), np.sort(np.concatenate(held_out))


def draw_labels(y: NDArray[Any], per_class: int, draw: int, seed: int) -> NDArray[np.int64]:
    """Rows of one stratified training set, ``per_class`` of every class (or all that it has)."""
    generator = np.random.default_rng([seed, per_class, draw])
    chosen = []
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        chosen.append(generator.choice(rows, min(per_class, len(rows)), replace=False))
    return np.sort(np.concatenate(chosen))


def held_back(labels: NDArray[Any], validation_rows: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that labels are drawn from, and rows that C is chosen on."""
    rows = np.arange(len(labels))
    if not validation_rows:
        return rows, rows[:0]
    if validation_rows >= len(labels):
        raise InputError(
            f"{validation_rows:,} validation rows of {len(labels):,} leave nothing to learn from: lower validation_rows"
        )
    mixed = np.random.default_rng([seed, 2]).permutation(rows)
    return np.sort(mixed[validation_rows:]), np.sort(mixed[:validation_rows])
