"""Means over draws of labels, their intervals, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganfeat.errors import InputError


def summary(accuracies: Sequence[float], n_test: int) -> dict[str, Any]:
    """Mean, standard deviation over draws, half-width of the 95 % interval, number of draws."""
    mean, n = float(np.mean(accuracies)), len(accuracies)
    if n == 1:
        return {"mean": mean, "std": 0.0, "ci95": 1.96 * math.sqrt(mean * (1 - mean) / n_test), "draws": 1}
    std = float(np.std(accuracies, ddof=1))
    return {"mean": mean, "std": std, "ci95": _student(n) * std / math.sqrt(n), "draws": n}


def margin(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Paired difference of two sets of features at one number of labels: mean, std and 95 % interval.

    Over draws of labels (Student's t). With a single draw, over the test images: each counts 1 where only ours is
    right, -1 where only theirs is, else 0, and the interval is that of the mean of these (normal).

    Parameters
    ----------
    ours, theirs : mapping
        Points of two curves, with ``accuracies``; for a single draw with ``_hits``, whether each test image was
        classified rightly, which :func:`few_label_curve` does not give away: :func:`compare` sees to it.

    Raises
    ------
    InputError
        If there is a single draw and a point lacks ``_hits``.
    """
    differences = [a - b for a, b in zip(ours["accuracies"], theirs["accuracies"], strict=True)]
    if len(differences) > 1:
        return summary(differences, 0)
    if "_hits" not in ours or "_hits" not in theirs:
        raise InputError("a single draw gives no paired interval without the answers to every image: use compare()")
    by_image = np.subtract(ours["_hits"], theirs["_hits"], dtype=np.float64)
    error = float(by_image.std()) / math.sqrt(len(by_image))
    return {"mean": differences[0], "std": 0.0, "ci95": 1.96 * error, "draws": 1}


def _student(n: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, n - 1))
