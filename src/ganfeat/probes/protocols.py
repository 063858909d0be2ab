"""Protocols: how many labels, how often drawn, how C is chosen, and which interval is reported."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganfeat.arrays import all_finite
from ganfeat.config import FEATURE_SETS, require
from ganfeat.errors import InputError
from ganfeat.probes.newton import Rows
from ganfeat.probes.scaler import FeatureScaler
from ganfeat.probes.svm import (
    DEFAULT_CS,
    FALLBACK_C,
    ROUGH,
    SCALINGS,
    OneVsRest,
    prepare,
    solver_device,
    warn_unconverged,
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
CHOICES = ("cv", "validation")
INTERVALS = ("mean", "draws")
DRAWS_AT_ONCE = 20


@dataclass(frozen=True)
class Protocol:
    """Accuracy of an L2-SVM against the number of labels: which labels, which C, which interval. Data, not code.

    For every number of labels, ``draws`` training sets are drawn, stratified and seeded; the same rows for
    every set of features, so that differences are paired. Features are scaled by all training rows, without their
    labels. :data:`PROTOCOLS` has the field's own.

    Parameters
    ----------
    labels_per_class : sequence of int or None
        A number that a class does not have is lowered to what it has. None is all labels.
    draws : int
        At most; one when all labels are used.
    labelled_rows : int, optional
        Fewer draws, but at least three, where more than so many labelled rows would be drawn in all.
    Cs : sequence of float
    choose : {"cv", "validation"}
        C is the best of ``Cs`` by accuracy, and is then kept for all draws of that size: cross-validated on the
        training labels of the first draws (up to five, about 500 rows in all), or on ``validation_rows`` rows, which
        are held back from the training rows and have labels, over the first ``validation_draws`` draws.
    folds : int
        Of the cross-validation. Above 1,000 rows, one fifth validates the others.
    validation_rows, validation_draws : int
    scaling : {"standard", "centred", "none"}
        See :class:`~ganfeat.LinearSVM`. Raw pixels and PCA are centred where this is "standard".
    interval : {"mean", "draws"}
        95 % of the mean over draws, or 1.96 standard deviations over draws, as the papers print it.
    seed : int
    """

    labels_per_class: Sequence[int | None] = (1, 5, 10, 50, 100, 400)
    draws: int = 20
    Cs: Sequence[float] = DEFAULT_CS
    folds: int = 3
    seed: int = 0
    labelled_rows: int | None = 2000
    choose: str = "cv"
    validation_rows: int = 0
    validation_draws: int = 10
    scaling: str = "standard"
    interval: str = "mean"

    def __post_init__(self) -> None:
        if not self.labels_per_class:
            raise InputError("labels_per_class is empty: give at least one number")
        for labels in self.labels_per_class:
            if labels is not None:
                require("labels_per_class", labels, int, least=1)
        if not len(self.Cs):
            raise InputError("Cs is empty: give at least one C")
        for C in self.Cs:
            require("Cs", C, float, above=0)
        require("draws", self.draws, int, least=1)
        require("folds", self.folds, int, least=2)
        require("seed", self.seed, int, least=0)
        require("validation_draws", self.validation_draws, int, least=1)
        require("validation_rows", self.validation_rows, int, least=1 if self.choose == "validation" else 0)
        for name, known in (("choose", CHOICES), ("scaling", SCALINGS), ("interval", INTERVALS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name}={getattr(self, name)!r} is not known: choose one of {', '.join(known)}")

    def card(self) -> dict[str, Any]:
        """The protocol in words, to be printed beside every result."""
        grid = ", ".join(f"{C:g}" for C in self.Cs)
        if self.choose == "cv":
            C = (
                f"best of {grid} by {self.folds}-fold cross-validation on training labels, pooled over the first draws "
                "(up to five, about 500 rows; above 1,000 rows one fold of five validates the others); "
                f"{FALLBACK_C:g} with one label a class"
            )
        else:
            C = (
                f"best of {grid} by the mean accuracy over {self.validation_draws} draws on {self.validation_rows:,} "
                "labelled rows held back from the training rows"
            )
        scale = {
            "standard": "features standardised (raw pixels and PCA centred), mean squared length of a row 1, learned "
            "from unlabelled training rows",
            "centred": "features centred, mean squared length of a row 1, learned from unlabelled training rows",
            "none": "features as they are",
        }
        interval = (
            "95 % of the mean over draws of labels (Student's t)"
            if self.interval == "mean"
            else "1.96 standard deviations over draws of labels"
        )
        return {
            "probe": "L2-SVM (squared hinge), one-vs-rest, ganfeat's LinearSVM",
            "labels per class": ["all" if k is None else k for k in self.labels_per_class],
            "draws": f"up to {self.draws}, stratified, the same rows for every set of features, seed {self.seed}",
            "C": C,
            "scale": scale[self.scaling],
            "interval": f"{interval}, for this network and these held-out images: it covers neither other training "
            "seeds nor other test images; with a single draw, of the proportion over test images (normal)",
        }

    def draws_for(self, labels: int, available: int, classes: int) -> int:
        """How many training sets of this size are drawn."""
        if labels >= available:
            return 1
        if self.labelled_rows is None:
            return self.draws
        return int(min(self.draws, max(3, self.labelled_rows // (labels * classes))))

    def half_width(self, point: Mapping[str, Any]) -> float:
        """The interval's half-width, of a point of a curve."""
        if self.interval == "draws" and point["draws"] > 1:
            return 1.96 * float(point["std"])
        return float(point["ci95"])


FewLabels = Protocol
"""The protocol with its defaults: a curve over few labels."""

PROTOCOLS: dict[str, Protocol] = {
    "few-labels": Protocol(),
    "all-labels": Protocol(labels_per_class=(None,), draws=1),
    "400-per-class": Protocol(labels_per_class=(400,), draws=10, labelled_rows=None, interval="draws"),
    "svhn-1000": Protocol(
        labels_per_class=(100,),
        draws=100,
        labelled_rows=None,
        Cs=tuple(c * 1e-4 for c in (1, 2, 5, 10, 20, 50, 100)),
        choose="validation",
        validation_rows=10_000,
        validation_draws=10,
        scaling="none",
        interval="draws",
    ),
}
"""Few labels; all labels; 400 of each class (DCGAN, table 1); 1,000 labels of SVHN, as the authors' code draws them
(DCGAN, section 5.2): features unscaled, 10,000 validation images, 100 draws."""


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
    protocol: Protocol | None = None,
    *,
    standardise: bool = True,
    progress: Progress | None = None,
    device: str = "auto",
) -> dict[str, dict[str, Any]]:
    """Accuracy of one set of features against the number of labels.

    Parameters
    ----------
    train : ndarray ``(n, n_features)``
        The pool that labels are drawn from. All its rows set the scale.
    train_labels : ndarray ``(n,)``
    test, test_labels : ndarray
        Held out: used for nothing but the accuracy.
    protocol : Protocol, optional
    standardise : bool
        False centres only: better for raw pixels and PCA, where a feature's variance is its weight.
    progress : callable(done, total), optional
    device : {"auto", "cpu", "cuda", "mps"}

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
        protocol or Protocol(),
        standardise=standardise,
        progress=progress,
        device=device,
    )
    return _public(curve)


def _curve(
    train: NDArray[Any],
    train_labels: NDArray[Any],
    test: NDArray[Any],
    test_labels: NDArray[Any],
    protocol: Protocol,
    *,
    standardise: bool,
    progress: Progress | None,
    device: str = "auto",
) -> dict[str, dict[str, Any]]:
    """As :func:`few_label_curve`, with what is for :func:`compare` only.

    ``_hits``: which test images a single draw got right; ``_at_edge``: whether the best C was the grid's first or last.
    """
    for name, rows, labels in (("training", train, train_labels), ("test", test, test_labels)):
        if len(rows) != len(labels):
            raise InputError(f"{len(rows)} {name} rows and {len(labels)} labels: they must be as many")
        if not len(rows):
            raise InputError(f"there are 0 {name} rows with a label: give at least one")
        if not all_finite(rows):
            raise InputError(f"the {name} features have NaN or infinite values: extract them again")
    if (np.asarray(train_labels).dtype.kind in "US") != (np.asarray(test_labels).dtype.kind in "US"):
        raise InputError("some labels are text and some are numbers: use one kind for training and test rows")
    if train.shape[1] != test.shape[1]:
        raise InputError(f"{train.shape[1]} training and {test.shape[1]} test features: extract both alike")
    classes, counts = np.unique(train_labels, return_counts=True)
    if len(classes) < 2:
        raise InputError(f"the labels have {len(classes)} class: accuracy needs at least 2")
    scaling = protocol.scaling if standardise or protocol.scaling != "standard" else "centred"
    scaler = FeatureScaler(scaling == "standard").fit(train) if scaling != "none" else None
    pool, validation = _held_back(train_labels, protocol)
    counts = np.unique(train_labels[pool], return_counts=True)[1]
    if len(counts) < len(classes):
        raise InputError("a class has no row left beside the validation rows: lower validation_rows")
    bench = _Bench(train, train_labels, scaler, protocol, device)
    sizes = sorted({int(min(k or counts.max(), counts.max())) for k in protocol.labels_per_class})
    plan = {k: protocol.draws_for(k, int(counts.max()), len(classes)) for k in sizes}
    done, total = 0, sum(plan.values())
    curve: dict[str, dict[str, Any]] = {}
    for k, draws in plan.items():
        sets = [pool[draw_labels(train_labels[pool], k, d, protocol.seed)] for d in range(draws)]
        C, chosen = bench.choose(sets, validation)
        right: list[NDArray[np.bool_]] = []
        for first in range(0, draws, DRAWS_AT_ONCE):
            some = sets[first : first + DRAWS_AT_ONCE]
            right += [answers == test_labels for answers in bench.answers(some, C, test)]
            done += len(some)
            if progress is not None:
                progress(done, total)
        accuracies = [float(np.mean(one)) for one in right]
        point = {**summary(accuracies, len(test)), "C": C, "accuracies": accuracies}
        point["_at_edge"] = chosen and len(protocol.Cs) > 1 and C in (min(protocol.Cs), max(protocol.Cs))
        if draws == 1:
            point["_hits"] = right[0]
        curve[str(k)] = point
    return curve


def _held_back(labels: NDArray[Any], protocol: Protocol) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that labels are drawn from, and rows that C is chosen on."""
    rows = np.arange(len(labels))
    if protocol.choose != "validation":
        return rows, rows[:0]
    if protocol.validation_rows >= len(labels):
        raise InputError(
            f"{protocol.validation_rows:,} validation rows of {len(labels):,} leave nothing to learn from: lower "
            "validation_rows"
        )
    mixed = np.random.default_rng([protocol.seed, 2]).permutation(rows)
    return np.sort(mixed[protocol.validation_rows :]), np.sort(mixed[: protocol.validation_rows])


class _Bench:
    """Fits SVMs on some of the rows and answers for others."""

    def __init__(
        self,
        train: NDArray[Any],
        labels: NDArray[Any],
        scaler: FeatureScaler | None,
        protocol: Protocol,
        device: str,
    ) -> None:
        self.train, self.labels, self.protocol, self.device = train, labels, protocol, device
        self.scale = (None, None) if scaler is None else (scaler.mean_, scaler.factor_)
        self.kept: tuple[bytes, OneVsRest] | None = None

    def problem(self, rows: NDArray[np.int64]) -> OneVsRest:
        """The SVMs of these rows. The last ones are kept."""
        key = rows.tobytes()
        if self.kept is None or self.kept[0] != key:
            everything = len(rows) == len(self.train)
            self.kept = None  # before the next one takes its place in memory
            prepared = prepare(self.train if everything else self.train[rows], *self.scale, device=self.device)
            problem = OneVsRest(prepared, self.labels[rows], seed=self.protocol.seed, tolerance=ROUGH)
            self.kept = key, problem
        return self.kept[1]

    def choose(self, sets: list[NDArray[np.int64]], validation: NDArray[np.int64]) -> tuple[float, bool]:
        """The C of best accuracy over the first draws, training labels only; and whether there was a choice."""
        protocol, Cs = self.protocol, sorted(float(C) for C in self.protocol.Cs)
        if protocol.choose == "validation":
            held_back = self.train[validation]
            scores = np.zeros(len(Cs))
            for rows in sets[: protocol.validation_draws]:
                answers = self._answers([(rows, C) for C in Cs], held_back)
                scores += [np.mean(one == self.labels[validation]) for one in answers]
            return Cs[int(np.argmax(scores))], True
        enough = max(1, min(5, 500 // len(sets[0])))
        totals = np.zeros(len(Cs))
        for rows in sets[:enough]:
            found, _ = self.problem(rows).cross_validate(Cs, protocol.folds)
            if found is None:
                return FALLBACK_C, False
            totals += found
        return Cs[int(np.argmax(totals))], True

    def answers(self, sets: list[NDArray[np.int64]], C: float, test: NDArray[Any]) -> list[NDArray[Any]]:
        """Classes of the test rows, by the SVM of every training set."""
        return self._answers([(rows, C) for rows in sets], test)

    def _answers(self, tasks: list[tuple[NDArray[np.int64], float]], test: NDArray[Any]) -> list[NDArray[Any]]:
        solved, start, before = [], None, None
        for rows, C in tasks:
            problem = self.problem(rows)
            solution = problem.solve(C, start if before is rows else None)
            warn_unconverged(solution, problem.classes)
            start, before = (solution.W_PK, solution.b_K), rows
            solved.append((problem, solution.W_PK.float(), solution.b_K.float()))
        device = solver_device(self.device)
        scores = Rows(test, *self.scale, device=device, memory=0).times(torch.cat([W for _, W, _ in solved], 1))
        scores += torch.cat([b for _, _, b in solved])
        columns = np.cumsum([len(b) for _, _, b in solved])[:-1]
        parts = np.split(scores.cpu().numpy(), columns, axis=1)
        return [problem.answers(part) for (problem, _, _), part in zip(solved, parts, strict=True)]


def _public(curve: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {k: {name: v for name, v in point.items() if not name.startswith("_")} for k, point in curve.items()}


def compare(
    sets: FeatureSets,
    train_labels: NDArray[Any],
    test_labels: NDArray[Any],
    protocol: Protocol,
    stage: Stage,
    *,
    device: str = "auto",
) -> dict[str, Any]:
    """Accuracies of several sets of features under one protocol, on the same rows.

    Parameters
    ----------
    sets : dict
        By a name of :data:`ganfeat.config.FEATURE_SETS`; ``"ganfeat"`` must be one.
    train_labels, test_labels : ndarray
    protocol : Protocol
    stage
        Opens progress displays.
    device : {"auto", "cpu", "cuda", "mps"}

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
                device=device,
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
