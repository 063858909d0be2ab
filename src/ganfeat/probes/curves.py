"""Accuracy of sets of features under a protocol, alone and side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganfeat.arrays import all_finite
from ganfeat.config import FEATURE_SETS
from ganfeat.errors import InputError
from ganfeat.probes.draws import draw_labels, held_back
from ganfeat.probes.intervals import margin, summary
from ganfeat.probes.newton import Rows
from ganfeat.probes.protocols import Protocol
from ganfeat.probes.scaler import FeatureScaler
from ganfeat.probes.svm import FALLBACK_C, ROUGH, OneVsRest, prepare, solver_device, warn_unconverged

Progress = Callable[[int, int], None]
Stage = Callable[[str, int], AbstractContextManager[Callable[..., None]]]
"""``stage(name, total)`` opens a progress display; what it gives is called with ``(done, total=None, note="")``."""
FeatureSets = dict[str, tuple[NDArray[Any], NDArray[Any]]]
"""By name: (rows to learn from, rows held out)."""

CENTRED = ("raw_pixels", "pca")
"""Sets whose variances are their weights, so that they are centred but not standardised: better for them."""
AT_EDGE = "C at the edge of its grid"
"""Key of what :func:`compare` gives, where there is something to say: a better C may lie beyond what was tried."""
DRAWS_AT_ONCE = 20


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
    pool, validation = held_back(
        train_labels, protocol.validation_rows if protocol.choose == "validation" else 0, protocol.seed
    )
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
