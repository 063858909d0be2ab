"""Multinomial logistic regression on standardised features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_X_y, validate_data

from ganfeat.config import require
from ganfeat.errors import InputError
from ganfeat.probes.scaler import FeatureScaler

LOGISTIC_CS = (1.0, 10.0, 100.0, 1000.0)
"""Higher than those of the SVM: on rows of length 1 the loss of a logistic regression is flatter than the hinge."""
SINGLE_LABEL_C = 10.0
_MAX_ITER = 5000


class LogisticProbe(ClassifierMixin, BaseEstimator):
    """Multinomial logistic regression with an L2 penalty, on standardised features.

    Minimises ``|w|^2 / 2 + C * sum_i -log softmax(w x_i + b)[y_i]``; the intercept ``b`` is not penalised. Solved by
    scikit-learn's ``LogisticRegression`` (L-BFGS).

    Parameters
    ----------
    C : float or "cv"
        ``"cv"`` takes the best of ``Cs`` by cross-validated accuracy on the training labels, the smallest of equals.
    Cs : sequence of float
    cv : int
        Folds; fewer where a class has fewer labels.
    standardise : bool
        See :class:`~ganfeat.probes.scaler.FeatureScaler`.
    random_state : int
        Of the folds.

    Attributes
    ----------
    C_ : float
        The C used. 10 where ``C="cv"`` and a class has a single label: there is nothing to validate on.
    classes_ : ndarray
    coef_ : ndarray ``(n_classes, n_features)``
        In the units of the features given. One row for two classes.
    intercept_ : ndarray ``(n_classes,)``

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> bool(LogisticProbe(C="cv").fit(X, y).score(X, y) > 0.95)
    True
    """

    def __init__(
        self,
        C: float | str = "cv",
        *,
        Cs: Sequence[float] = LOGISTIC_CS,
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
        """Learn from features ``(n, n_features)`` and their labels ``(n,)``.

        A fit that fails leaves what an earlier one learned as it was.

        Raises
        ------
        InputError
            If C or a parameter of its choice is out of range, or there is a single class.
        """
        if self.C != "cv":
            require("C", self.C, float, above=0)
        Cs = self._grid()
        require("cv", self.cv, int, least=2)
        rows, y = check_X_y(X, y, dtype=[np.float32, np.float64], ensure_min_samples=2, estimator=self)
        check_classification_targets(y)
        classes, counts = np.unique(y, return_counts=True)
        if len(classes) < 2:
            raise InputError(f"the labels have 1 class, {classes[0]!r}: a classifier needs at least 2")
        scaler = FeatureScaler(self.standardise).fit(rows)
        rows = scaler.transform(rows)
        folds = min(self.cv, int(counts.min()))
        if self.C != "cv":
            C = float(self.C)
        else:
            C = self._choose(Cs, rows, y, folds) if folds > 1 else SINGLE_LABEL_C
        model = _regression(rows).set_params(C=C).fit(rows, y)
        validate_data(self, X, skip_check_array=True)  # the number of features and their names, now that all went well
        self.C_, self.classes_ = C, classes
        self.coef_ = model.coef_ * scaler.factor_
        self.intercept_ = model.intercept_ - self.coef_ @ scaler.mean_
        return self

    def _grid(self) -> list[float]:
        try:
            Cs = list(self.Cs)
        except TypeError:
            raise InputError(
                f"Cs={self.Cs!r} must be a sequence of numbers, as Cs=(1.0, 10.0); a single C is given as C=1.0"
            ) from None
        if self.C == "cv" and not Cs:
            raise InputError("Cs is empty: give at least one number")
        for C in Cs:
            require("Cs", C, float, above=0)
        return sorted(map(float, Cs))

    def _choose(self, Cs: list[float], rows: NDArray[Any], y: NDArray[Any], folds: int) -> float:
        splitter = StratifiedKFold(folds, shuffle=True, random_state=self.random_state)
        search = GridSearchCV(_regression(rows), {"C": Cs}, cv=splitter, refit=False).fit(rows, y)
        return float(search.best_params_["C"])

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Logits ``(n, n_classes)``, or ``(n,)`` for two classes."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float32, np.float64])
        logits = X @ self.coef_.T + self.intercept_
        return logits.ravel() if logits.shape[1] == 1 else logits

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probabilities ``(n, n_classes)``."""
        from scipy.special import softmax

        logits = self.decision_function(X)
        return softmax(np.column_stack([np.zeros_like(logits), logits]) if logits.ndim == 1 else logits, axis=1)

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of every row, ``(n,)``."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]


def _regression(rows: NDArray[Any]) -> LogisticRegression:
    """To a tenth of scikit-learn's tolerance on features of variance 1; here they are smaller, and so are gradients."""
    return LogisticRegression(tol=1e-5 / math.sqrt(rows.shape[1]), max_iter=_MAX_ITER)
