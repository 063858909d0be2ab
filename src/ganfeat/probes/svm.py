"""The L2-regularised squared-hinge linear SVM that the papers probe with."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.svm import LinearSVC
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ganfeat.config import require
from ganfeat.errors import InputError

DEFAULT_CS = (0.1, 1.0, 10.0, 100.0)
FALLBACK_C = 1.0
LARGE = 1000


class FeatureScaler:
    """Bring features to a common scale, so that one grid of C suits any number of them.

    Parameters
    ----------
    standardise : bool
        Give every feature mean 0 and variance 1 (a feature that hardly varies is left small, not blown up).
        Otherwise only the means are removed.

    Notes
    -----
    Rows are divided by the root of their mean squared length, so that an average row has length 1.
    """

    def __init__(self, standardise: bool = True) -> None:
        self.standardise = standardise

    def fit(self, rows: NDArray[Any]) -> Self:
        """Learn means and scales from rows ``(n, n_features)``; labels play no part."""
        mean = rows.mean(axis=0, dtype=np.float64)
        spread = np.asarray(rows, np.float32).std(axis=0, dtype=np.float64)
        total = math.sqrt(float(np.mean(spread**2)))
        scale = np.ones_like(spread)
        if self.standardise and total > 0:
            scale = spread + 1e-3 * total
        length = math.sqrt(float(np.sum((spread / scale) ** 2))) or 1.0
        self.mean_ = mean.astype(np.float32)
        self.factor_ = (1.0 / (scale * length)).astype(np.float32)
        return self

    def transform(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Scaled rows, ``float32``."""
        scaled = np.asarray(rows, dtype=np.float32) - self.mean_
        scaled *= self.factor_
        return scaled


class LinearSVM(ClassifierMixin, BaseEstimator):
    """Linear one-vs-rest SVM, squared hinge, L2, on standardised features.

    Minimises ``(|w|^2 + b^2) / 2 + C * sum_i max(0, 1 - y_i (w x_i + b))^2`` for every class. Where there are fewer
    rows than features, the problem is first rotated into the span of the rows, which changes nothing but the
    time it takes: the solution lies in that span.

    Parameters
    ----------
    C : float or "cv"
        ``"cv"`` takes the best of ``Cs`` by cross-validation on the training labels.
    Cs : sequence of float
    cv : int
        Folds; fewer where a class has fewer labels. Above 1,000 rows one half validates the other.
    standardise : bool
        See :class:`FeatureScaler`.
    random_state : int
        Of the folds.

    Attributes
    ----------
    C_ : float
        The C used. 1 where ``C="cv"`` and a class has a single label: there is nothing to validate on.
    classes_ : ndarray
    coef_ : ndarray ``(n_classes, n_features)``
        In the units of the features given. One row for two classes.
    intercept_ : ndarray ``(n_classes,)``

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> bool(LinearSVM(C="cv").fit(X, y).score(X, y) > 0.9)
    True
    """

    def __init__(
        self,
        C: float | str = "cv",
        *,
        Cs: Sequence[float] = DEFAULT_CS,
        cv: int = 5,
        standardise: bool = True,
        random_state: int = 0,
    ) -> None:
        self.C = C
        self.Cs = Cs
        self.cv = cv
        self.standardise = standardise
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from features ``(n, n_features)`` and their labels ``(n,)``."""
        X, y = validate_data(self, X, y, dtype=[np.float32, np.float64], ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise InputError(f"the labels have 1 class, {self.classes_[0]!r}: a classifier needs at least 2")
        if self.C != "cv":
            require("C", self.C, float, above=0)
        scaler = FeatureScaler(self.standardise).fit(X)
        rows, rotation = rotate(scaler.transform(X))
        self.C_ = float(self.C) if self.C != "cv" else self._choose(rows, y)
        svm = solve(rows, y, self.C_)
        directions = svm.coef_ if rotation is None else svm.coef_ @ rotation.T
        self.coef_ = directions * scaler.factor_
        self.intercept_ = svm.intercept_ - self.coef_ @ scaler.mean_
        return self

    def _choose(self, rows: NDArray[Any], y: NDArray[Any]) -> float:
        scores = cross_validate(rows, y, self.Cs, self.cv, self.random_state)
        return FALLBACK_C if scores is None else float(self.Cs[int(np.argmax(scores))])

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Signed distances ``(n, n_classes)``, or ``(n,)`` for two classes."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float32, np.float64])
        scores = X @ self.coef_.T + self.intercept_
        return scores.ravel() if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of every row, ``(n,)``."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]


def rotate(rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Coordinates of rows in an orthonormal basis of their span, where that is smaller.

    Returns
    -------
    coordinates ``(n, min(n, n_features))``, basis ``(n_features, n)`` or None
    """
    if len(rows) >= rows.shape[1]:
        return rows, None
    basis, triangle = np.linalg.qr(rows.T)
    return np.ascontiguousarray(triangle.T), basis


def solve(rows: NDArray[Any], y: NDArray[Any], C: float) -> LinearSVC:
    """The primal problem to scikit-learn's tolerance."""
    return LinearSVC(C=C, loss="squared_hinge", dual=False, max_iter=2000, random_state=0).fit(rows, y)


def cross_validate(
    rows: NDArray[Any],
    y: NDArray[Any],
    Cs: Sequence[float],
    folds: int,
    seed: int,
) -> NDArray[Any] | None:
    """Mean validation accuracy of every C; None where a class has a single label."""
    folds = min(folds, int(np.unique(y, return_counts=True)[1].min()))
    if folds < 2:
        return None
    splitter = (
        StratifiedKFold(folds, shuffle=True, random_state=seed)
        if len(rows) <= LARGE
        else StratifiedShuffleSplit(1, test_size=0.5, random_state=seed)
    )
    splits = list(splitter.split(rows, y))
    jobs = [(C, learn, check) for C in Cs for learn, check in splits]

    def accuracy(job: tuple[float, NDArray[Any], NDArray[Any]]) -> float:
        C, learn, check = job
        return float(solve(rows[learn], y[learn], C).score(rows[check], y[check]))

    return np.array(in_parallel(accuracy, jobs)).reshape(len(Cs), len(splits)).mean(axis=1)


def in_parallel(function: Callable[[Any], Any], jobs: Sequence[Any]) -> list[Any]:
    """Map over threads, one a CPU of this process: liblinear works outside Python's lock."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(max(1, min(workers, len(jobs), 16))) as pool:
        return list(pool.map(function, jobs))
