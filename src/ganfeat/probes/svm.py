"""The L2-regularised squared-hinge linear SVM that the papers probe with."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ganfeat.arrays import all_finite, blocks, release
from ganfeat.config import require
from ganfeat.device import available_memory, resolve_device, resolve_precision
from ganfeat.errors import InputError
from ganfeat.probes.newton import FEW_ROWS, MOST_STEPS, TOLERANCE, Rows, Solution, Spectrum, solve, spectrum
from ganfeat.probes.scaler import FeatureScaler

DEFAULT_CS = (0.1, 1.0, 10.0, 100.0)
FALLBACK_C = 1.0
ROUGH = 1e-3
"""Tolerance of solutions that are only counted right and wrong: they are 1e-5 from the minimum, in the end."""
LARGE = 1000
SCALINGS = ("standard", "centred", "none")


class LinearSVM(ClassifierMixin, BaseEstimator):
    """Linear one-vs-rest SVM, squared hinge, L2, on torch; agrees with scikit-learn's ``LinearSVC(dual=False)``.

    Minimises ``(|w|^2 + b^2) / 2 + C * sum_i s_i max(0, 1 - y_i (w x_i + b))^2`` for every class, all classes at
    once, by a preconditioned Newton method (:mod:`ganfeat.probes.newton`). Rows may be a memory map of
    ``float16`` or ``float32``, larger than memory: they are streamed in blocks, and scaled as they are read.

    Parameters
    ----------
    C : float or "cv"
        ``"cv"`` takes the best of ``Cs`` by cross-validation on the training labels.
    Cs : sequence of float
        Tried in ascending order, each started from the solution of the one before.
    cv : int or iterable of (rows to learn from, rows to validate on)
        Folds; fewer where a class has fewer labels. Above 1,000 rows one fifth validates the others.
    scaling : {"standard", "centred", "none"}
        Mean 0 and variance 1 for every feature, or only the means removed, and an average row of length 1: see
        :class:`~ganfeat.probes.FeatureScaler`. ``"none"`` takes the features as they are, as ``LinearSVC`` does.
    tol : float
        A class is solved when Newton's decrement falls below this share of its objective.
    max_iter : int
        Newton steps.
    device : {"auto", "cpu", "cuda", "mps"}
    precision : {"auto", "bf16", "fp32"}
        Of the products that only steer. The objective and its gradient are float32, summed in float64; float64 for up
        to a million numbers.
    memory : int, optional
        Bytes that the compact copy of the rows may take; beyond it every product streams the rows. By default half
        of what is free.
    random_state : int
        Of the folds and of the randomised preconditioner.

    Attributes
    ----------
    C_ : float
        The C used. 1 where ``C="cv"`` and a class has a single label: there is nothing to validate on.
    cv_scores_ : dict of float to float
        Mean validation accuracy by C, where ``C="cv"``.
    classes_ : ndarray
    coef_ : ndarray ``(n_classes, n_features)``
        In the units of the features given. One row for two classes.
    intercept_ : ndarray ``(n_classes,)``
    objective_ : ndarray ``(n_classes,)``
        Its value on the scaled rows.
    gap_ : ndarray ``(n_classes,)``
        Upper bound of how far the objective is above its minimum (the duality gap of a dual point at hand). Tight on
        scaled rows, loose by orders where rows are long.
    n_iter_ : int
        Newton steps.

    References
    ----------
    R.-E. Fan et al., "LIBLINEAR: A Library for Large Linear Classification", JMLR 9 (2008) 1871-1874.
    S. S. Keerthi, D. DeCoste, "A Modified Finite Newton Method for Fast Solution of Large Scale Linear SVMs", JMLR 6
    (2005) 341-361.

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
        cv: int | Iterable[tuple[NDArray[Any], NDArray[Any]]] = 5,
        scaling: str = "standard",
        tol: float = TOLERANCE,
        max_iter: int = MOST_STEPS,
        device: str = "auto",
        precision: str = "auto",
        memory: int | None = None,
        random_state: int = 0,
    ) -> None:
        self.C = C
        self.Cs = Cs
        self.cv = cv
        self.scaling = scaling
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.precision = precision
        self.memory = memory
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from features ``(n, n_features)`` and their labels ``(n,)``.

        Parameters
        ----------
        X : array or memory map
        y : array
        sample_weight : array ``(n,)``, optional
            Counts a row that many times; 0 leaves it out.

        Warns
        -----
        ConvergenceWarning
            If a class has not reached its minimum, with what may help.
        """
        self._check_parameters()
        X, y = self._validated(X, y)
        check_classification_targets(y)
        weight = _sample_weight(sample_weight, len(y))
        if weight is not None and not weight.all() and not isinstance(self.cv, Iterable):
            X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        classes = np.unique(y)
        if len(classes) < 2:
            raise InputError(f"the labels have 1 class, {classes[0]!r}: a classifier needs at least 2")
        mean = factor = None
        if self.scaling != "none":
            scaler = FeatureScaler(self.scaling == "standard").fit(X, weight)
            mean, factor = scaler.mean_, scaler.factor_
        rows = prepare(X, mean, factor, device=self.device, precision=self.precision, memory=self.memory)
        problem = OneVsRest(rows, y, weight=weight, seed=self.random_state, tolerance=self.tol, steps=self.max_iter)
        start = None
        if self.C == "cv":
            scores, starts = problem.cross_validate(self.Cs, self.cv)
            self.C_, self.cv_scores_ = FALLBACK_C, {}
            if scores is not None:
                best = int(np.argmax(scores))
                self.C_, start = float(sorted(self.Cs)[best]), starts[best]
                self.cv_scores_ = dict(zip(sorted(map(float, self.Cs)), map(float, scores), strict=True))
        else:
            self.C_ = float(self.C)
        solution = problem.solve(self.C_, start)
        warn_unconverged(solution, classes)
        self.classes_ = classes
        directions = solution.W_PK.T.cpu().numpy()
        self.coef_ = directions if factor is None else directions * factor
        self.intercept_ = solution.b_K.cpu().numpy()
        if mean is not None:
            self.intercept_ = self.intercept_ - self.coef_ @ mean
        self.objective_, self.gap_ = solution.objective_K.cpu().numpy(), solution.gap_K.cpu().numpy()
        self.n_iter_ = solution.steps
        return self

    def _check_parameters(self) -> None:
        if self.C != "cv":
            require("C", self.C, float, above=0)
        else:
            if not isinstance(self.Cs, Sequence | np.ndarray) or isinstance(self.Cs, str) or not len(self.Cs):
                raise InputError(f"Cs={self.Cs!r} must be a sequence of at least one C, e.g. (0.1, 1.0, 10.0)")
            for C in self.Cs:
                require("Cs", C, float, above=0)
            if not isinstance(self.cv, Iterable):
                require("cv", self.cv, int, least=2)
        if self.scaling not in SCALINGS:
            raise InputError(f"scaling={self.scaling!r} is not known: choose one of {', '.join(SCALINGS)}")
        resolve_precision(self.precision, resolve_device(self.device))
        require("tol", self.tol, float, above=0)
        require("max_iter", self.max_iter, int, least=1)
        require("random_state", self.random_state, int, least=0)
        if self.memory is not None:
            require("memory", self.memory, int, least=0)

    def _validated(self, X: Any, y: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Finite rows and labels; a memory map is checked in blocks, not copied."""
        kinds = [np.float32, np.float64, np.float16]
        if not isinstance(X, np.memmap):
            return validate_data(self, X, y, dtype=kinds, ensure_min_samples=2)
        X, y = validate_data(self, X, y, dtype=kinds, ensure_min_samples=2, ensure_all_finite=False)
        if not all_finite(X):
            raise InputError("the features have NaN or infinite values: extract them again")
        release(X)
        return X, y

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Signed distances ``(n, n_classes)``, or ``(n,)`` for two classes."""
        check_is_fitted(self)
        mapped = isinstance(X, np.memmap)
        X = validate_data(
            self, X, reset=False, dtype=[np.float32, np.float64, np.float16], ensure_all_finite=not mapped
        )
        scores = np.concatenate([block.astype(np.float64, copy=False) @ self.coef_.T for block in blocks(X)])
        release(X)
        scores += self.intercept_
        return scores.ravel() if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of every row, ``(n,)``."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]


def warn_unconverged(solution: Solution, classes: NDArray[Any]) -> None:
    """Warn of classes whose minimum was not reached, and say what may help."""
    late = torch.nonzero(~solution.converged_K).flatten().tolist()
    if late:
        positive = classes[1:] if len(classes) == 2 else classes
        names = ", ".join(str(positive[k % len(positive)]) for k in late[:5])
        above = float((solution.decrement_K / solution.objective_K.clamp_min(1e-300))[late].max())
        warnings.warn(
            f"the SVM has not converged for {len(late)} class(es) ({names}): its objective may be {above:.1g} of "
            'itself above the minimum. Scale the features (scaling="standard"), take a smaller C, or raise max_iter',
            ConvergenceWarning,
            stacklevel=3,
        )


def _sample_weight(sample_weight: Any, n: int) -> NDArray[np.float64] | None:
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, np.float64)
    if weight.ndim == 0:
        weight = np.full(n, float(weight))
    if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise InputError(
            f"sample_weight must be {n} numbers of at least 0: sample weights must contain at least one non-zero number"
        )
    return weight


def solver_device(name: str) -> torch.device:
    """Where to solve. MPS has no float64, so it is the CPU there."""
    device = resolve_device(name)
    return torch.device("cpu") if device.type == "mps" else device


def prepare(
    array: NDArray[Any],
    mean: NDArray[Any] | None = None,
    factor: NDArray[Any] | None = None,
    *,
    device: str = "cpu",
    precision: str = "auto",
    memory: int | None = None,
) -> Rows:
    """Rows for the solver, with a compact copy where half of the free memory (or ``memory`` bytes) has room for it."""
    where = solver_device(device)
    budget = available_memory(where) // 2 if memory is None else memory
    return Rows(array, mean, factor, device=where, precision=precision, memory=budget)


class OneVsRest:
    """One problem for every class (a single one for two classes), on the same rows, for any number of Cs and folds.

    Parameters
    ----------
    rows : Rows
    y : ndarray ``(n,)``
    weight : ndarray ``(n,)``, optional
    seed, tolerance, steps
        See :class:`LinearSVM`.
    """

    def __init__(
        self,
        rows: Rows,
        y: NDArray[Any],
        *,
        weight: NDArray[Any] | None = None,
        seed: int = 0,
        tolerance: float = TOLERANCE,
        steps: int = MOST_STEPS,
    ) -> None:
        self.rows, self.y, self.seed, self.tolerance, self.steps = rows, y, seed, tolerance, steps
        self.classes = np.unique(y)
        positive = self.classes[1:] if len(self.classes) == 2 else self.classes
        signs = np.where(y[:, None] == positive, np.float32(1), np.float32(-1))
        self.signs_NK = torch.from_numpy(signs).to(rows.device)
        self.weight = weight
        self._leading: Spectrum | None = None

    def _tensor(self, weight: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(weight.astype(np.float32)).to(self.rows.device)

    def _spectrum(self) -> Spectrum | None:
        if self._leading is None and self.rows.n > FEW_ROWS:
            weight = None if self.weight is None else self._tensor(self.weight)
            self._leading = spectrum(self.rows, weight, self.seed)
        return self._leading

    def solve(self, C: float, start: tuple[torch.Tensor, torch.Tensor] | None = None) -> Solution:
        """All classes at one C."""
        columns = self.signs_NK.shape[1]
        weight = None if self.weight is None else self._tensor(self.weight)[:, None]
        return self._solve(self.signs_NK, [C] * columns, weight, start)

    def _solve(
        self,
        signs: torch.Tensor,
        cost: list[float],
        weight: torch.Tensor | None,
        start: Any,
        tolerance: float | None = None,
    ) -> Solution:
        return solve(
            self.rows,
            signs,
            cost,
            weight=weight,
            start=start,
            leading=self._spectrum(),
            tolerance=self.tolerance if tolerance is None else tolerance,
            most_steps=self.steps,
        )

    def answers(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Classes of scores ``(n, columns)``."""
        if len(self.classes) == 2:
            return self.classes[(scores[:, 0] > 0).astype(int)]
        return self.classes[scores.argmax(axis=1)]

    def cross_validate(
        self, Cs: Sequence[float], folds: int | Iterable[tuple[NDArray[Any], NDArray[Any]]]
    ) -> tuple[NDArray[np.float64] | None, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Mean validation accuracy of every C, ascending, and the folds' mean solution as a start.

        All folds are columns of one problem, in which the rows held out have weight 0; the path over C is warm-started.
        None where a class has a single label.
        """
        if isinstance(folds, Iterable):
            splits: Any = [(np.asarray(learn), np.asarray(check)) for learn, check in folds]
        else:
            splits = self._splits(int(folds))
        if splits is None:
            return None, []
        columns, n = self.signs_NK.shape[1], self.rows.n
        own = np.ones(n) if self.weight is None else self.weight
        weight = np.zeros((n, len(splits) * columns), np.float32)
        for i, (learn, _) in enumerate(splits):
            weight[learn, i * columns : (i + 1) * columns] = own[learn, None]
        signs = self.signs_NK.repeat(1, len(splits))
        weights = self._tensor(weight)
        scores, starts, start = [], [], None
        for C in sorted(Cs):
            solution = self._solve(signs, [C] * signs.shape[1], weights, start, max(self.tolerance, ROUGH))
            start = solution.W_PK, solution.b_K
            outcome = (self.rows.times(solution.W_PK) + solution.b_K.float()).cpu().numpy()
            right = []
            for i, (_, check) in enumerate(splits):
                answers = self.answers(outcome[check, i * columns : (i + 1) * columns])
                right.append(np.average(answers == self.y[check], weights=own[check] if own[check].any() else None))
            scores.append(float(np.mean(right)))
            starts.append(
                (
                    solution.W_PK.view(self.rows.p, len(splits), columns).mean(1),
                    solution.b_K.view(len(splits), columns).mean(0),
                )
            )
        return np.array(scores), starts

    def _splits(self, folds: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]] | None:
        least = int(np.unique(self.y, return_counts=True)[1].min())
        if least < 2:
            return None
        folds = min(folds if len(self.y) <= LARGE else 5, least)
        splits = StratifiedKFold(folds, shuffle=True, random_state=self.seed).split(np.zeros(len(self.y)), self.y)
        return [next(splits)] if len(self.y) > LARGE else list(splits)
