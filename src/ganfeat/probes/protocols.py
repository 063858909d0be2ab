"""Protocols: how many labels, how often drawn, how C is chosen, and which interval is reported."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.config import FEATURE_SETS, require
from ganfeat.errors import InputError
from ganfeat.probes.svm import (
    DEFAULT_CS,
    FALLBACK_C,
    FeatureScaler,
    cross_validate,
    in_parallel,
    rotate,
    solve,
)

Progress = Callable[[int, int], None]
Stage = Callable[[str, int], AbstractContextManager[Callable[..., None]]]
"""``stage(name, total)`` opens a progress display; what it gives is called with ``(done, total=None, note="")``."""
FeatureSets = dict[str, tuple[NDArray[Any], NDArray[Any]]]
"""By name: (rows to learn from, rows held out)."""

CENTRED = ("raw_pixels", "pca")
"""Sets whose variances are their weights, so that they are centred but not standardised: better for them."""
AT_EDGE = "C at the edge of its grid"
"""Key of what :func:`compare` gives, where there is something to say: a better C may lie beyond what was tried."""


@dataclass(frozen=True)
class FewLabels:
    """Accuracy against the number of labels per class.

    For every number of labels, ``draws`` training sets are drawn, stratified and seeded; the same rows for
    every set of features, so that differences are paired. C is the best of ``Cs`` by cross-validated
    accuracy on the training labels of the first draws (up to five, about 500 rows in all), and is then kept
    for all draws of that size. Features are standardised on all training rows, without their labels.

    Parameters
    ----------
    labels_per_class : sequence of int
        A number that a class does not have is lowered to what it has.
    draws : int
        At most; fewer for many labels (about 2,000 labelled rows in all), and one when all labels are used.
    Cs : sequence of float
    folds : int
    seed : int
    """

    labels_per_class: Sequence[int] = (1, 5, 10, 50, 100, 400)
    draws: int = 20
    Cs: Sequence[float] = DEFAULT_CS
    folds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.labels_per_class:
            raise InputError("labels_per_class is empty: give at least one number")
        for labels in self.labels_per_class:
            require("labels_per_class", labels, int, least=1)
        require("draws", self.draws, int, least=1)
        require("folds", self.folds, int, least=2)
        require("seed", self.seed, int, least=0)

    def card(self) -> dict[str, Any]:
        """The protocol in words, to be printed beside every result."""
        return {
            "probe": "L2-SVM (squared hinge), one-vs-rest, scikit-learn LinearSVC",
            "labels per class": list(self.labels_per_class),
            "draws": f"up to {self.draws}, stratified, the same rows for every set of features, seed {self.seed}",
            "C": f"best of {list(self.Cs)} by {self.folds}-fold cross-validation on training labels, "
            f"pooled over the first draws (up to five, about 500 rows); {FALLBACK_C:g} with one label a class",
            "scale": "features standardised (raw pixels and PCA centred), mean squared length of a row 1, "
            "learned from unlabelled training rows",
            "interval": "95 % of the mean over draws of labels (Student's t), for this network and these held-out "
            "images: it covers neither other training seeds nor other test images; with a single draw, of the "
            "proportion over test images (normal)",
        }

    def draws_for(self, labels: int, available: int, classes: int) -> int:
        """How many training sets of this size are drawn."""
        if labels >= available:
            return 1
        return int(min(self.draws, max(3, 2000 // (labels * classes))))


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


def few_label_curve(
    train: NDArray[Any],
    train_labels: NDArray[Any],
    test: NDArray[Any],
    test_labels: NDArray[Any],
    protocol: FewLabels | None = None,
    *,
    standardise: bool = True,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """Accuracy of one set of features against the number of labels.

    Parameters
    ----------
    train : ndarray ``(n, n_features)``
        The pool that labels are drawn from. All its rows set the scale.
    train_labels : ndarray ``(n,)``
    test, test_labels : ndarray
        Held out: used for nothing but the accuracy.
    protocol : FewLabels, optional
    standardise : bool
        False centres only: better for raw pixels and PCA, where a feature's variance is its weight.
    progress : callable(done, total), optional

    Returns
    -------
    dict
        ``{"10": {"mean", "std", "ci95", "draws", "C", "accuracies"}, ...}`` by labels per class; fractions
        of 1. ``std`` is over draws (0 for a single one), ``ci95`` the half-width of the interval.

    Raises
    ------
    InputError
        If rows and labels do not match, or there is a single class.
    """
    curve = _curve(
        train,
        train_labels,
        test,
        test_labels,
        protocol or FewLabels(),
        standardise=standardise,
        progress=progress,
    )
    return _public(curve)


def _curve(
    train: NDArray[Any],
    train_labels: NDArray[Any],
    test: NDArray[Any],
    test_labels: NDArray[Any],
    protocol: FewLabels,
    *,
    standardise: bool,
    progress: Progress | None,
) -> dict[str, dict[str, Any]]:
    """As :func:`few_label_curve`, with what is for :func:`compare` only.

    ``_hits``: which test images a single draw got right; ``_at_edge``: whether the best C was the grid's first or last.
    """
    for name, rows, labels in (("training", train, train_labels), ("test", test, test_labels)):
        if len(rows) != len(labels):
            raise InputError(f"{len(rows)} {name} rows and {len(labels)} labels: they must be as many")
        if not len(rows):
            raise InputError(f"there are 0 {name} rows with a label: give at least one")
    if train.shape[1] != test.shape[1]:
        raise InputError(f"{train.shape[1]} training and {test.shape[1]} test features: extract both alike")
    classes, counts = np.unique(train_labels, return_counts=True)
    if len(classes) < 2:
        raise InputError(f"the labels have {len(classes)} class: accuracy needs at least 2")
    scaler = FeatureScaler(standardise).fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    sizes = sorted({int(min(k, counts.max())) for k in protocol.labels_per_class})
    plan = {k: protocol.draws_for(k, int(counts.max()), len(classes)) for k in sizes}
    done, total = 0, sum(plan.values())
    curve: dict[str, dict[str, Any]] = {}
    for k, draws in plan.items():
        sets = [draw_labels(train_labels, k, d, protocol.seed) for d in range(draws)]
        problems = [(*rotate(train[rows]), train_labels[rows]) for rows in sets]
        C, chosen = choose_c(problems, protocol)

        def hits(problem: tuple[Any, Any, Any], C: float = C) -> NDArray[np.bool_]:
            rows, basis, labels = problem
            answers = solve(rows, labels, C).predict(test if basis is None else test @ basis)
            return np.asarray(answers == test_labels)

        right = in_parallel(hits, problems)
        accuracies = [float(np.mean(one)) for one in right]
        done += draws
        if progress is not None:
            progress(done, total)
        point = {**summary(accuracies, len(test)), "C": C, "accuracies": accuracies}
        point["_at_edge"] = chosen and len(protocol.Cs) > 1 and C in (min(protocol.Cs), max(protocol.Cs))
        if draws == 1:
            point["_hits"] = right[0]
        curve[str(k)] = point
    return curve


def _public(curve: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {k: {name: v for name, v in point.items() if not name.startswith("_")} for k, point in curve.items()}


def compare(
    sets: FeatureSets,
    train_labels: NDArray[Any],
    test_labels: NDArray[Any],
    protocol: FewLabels,
    stage: Stage,
) -> dict[str, Any]:
    """Accuracies of several sets of features under one protocol, on the same rows.

    Parameters
    ----------
    sets : dict
        By a name of :data:`ganfeat.config.FEATURE_SETS`; ``"ganfeat"`` must be one.
    train_labels, test_labels : ndarray
    protocol : FewLabels
    stage
        Opens progress displays.

    Returns
    -------
    dict
        ``accuracy``: curves of :func:`few_label_curve` by set; ``margin``: by other set, the paired difference of
        ``ganfeat`` to it (:func:`margin`); ``labels_per_class``; and under :data:`AT_EDGE`, where there are any, by
        set the numbers of labels whose best C was the smallest or the largest tried.
    """
    accuracy: dict[str, dict[str, dict[str, Any]]] = {}
    for name in sorted(sets, key=list(FEATURE_SETS).index):
        with stage(f"probing {FEATURE_SETS[name]}", 0) as update:
            accuracy[name] = _curve(
                sets[name][0],
                train_labels,
                sets[name][1],
                test_labels,
                protocol,
                standardise=name not in CENTRED,
                progress=update,
            )
    ours = accuracy["ganfeat"]
    edges = {name: [int(k) for k, point in curve.items() if point["_at_edge"]] for name, curve in accuracy.items()}
    edges = {name: sizes for name, sizes in edges.items() if sizes}
    return {
        "labels_per_class": [int(k) for k in ours],
        "accuracy": {name: _public(curve) for name, curve in accuracy.items()},
        "margin": {
            name: {k: margin(ours[k], curve[k]) for k in ours} for name, curve in accuracy.items() if name != "ganfeat"
        },
        **({AT_EDGE: edges} if edges else {}),
    }


def choose_c(problems: list[tuple[Any, Any, Any]], protocol: FewLabels) -> tuple[float, bool]:
    """The C of best cross-validated accuracy over the first draws, training labels only; and whether there was one."""
    enough = max(1, min(5, 500 // len(problems[0][0])))
    scores = [
        cross_validate(rows, labels, protocol.Cs, protocol.folds, protocol.seed)
        for rows, _, labels in problems[:enough]
    ]
    if any(s is None for s in scores):
        return FALLBACK_C, False
    return float(protocol.Cs[int(np.argmax(np.mean(np.array(scores), axis=0)))]), True


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
