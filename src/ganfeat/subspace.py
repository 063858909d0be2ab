"""Row space and null space of a head: which part of the features a network's output depends on, and which it ignores.

For a linear head ``y = A f + b`` every row of features has one decomposition ``f = f_row + f_null``: ``f_row`` in the
row space of ``A``, ``f_null`` in its null space, orthogonal to each other, and ``A f = A f_row`` (propositions 4 and 5
of "Discriminator as a feature extractor", January 2020, section 2; bias plays no part). A head that is not linear is
split by the row space of its Jacobian, which holds to first order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data
from torch import nn
from torch.func import jacrev, vmap

from ganfeat.arrays import blocks
from ganfeat.config import require
from ganfeat.errors import InputError
from ganfeat.features import detached_copy

PARTS = ("row", "null", "both")
_JACOBIAN_BYTES = 1 << 26


class SubspaceSplit(TransformerMixin, BaseEstimator):
    """Split features into the row-space and the null-space part of a head.

    Nothing of ``n_features x n_features`` is ever built: the null part is ``x - V^T (V x)`` with the few rows ``V`` of
    :attr:`row_basis_`.

    Parameters
    ----------
    head : nn.Linear, array ``(n_outputs, n_features)``, fitted scikit-learn model with ``coef_``, or nn.Module
        What reads the features. Any other module than a linear one takes rows ``(N, n_features)``; of it the row space
        is that of the Jacobians at the rows given to ``fit``, i.e. of the mean of ``J^T J`` over them. It is copied and
        run in evaluation mode.
    part : {"null", "row", "both"}
        What :meth:`transform` gives; ``"both"`` is the row part and, behind it, the null part.
    rank : int, optional
        Dimensions of the row space: so many of the largest singular values. By default, the numerical rank.
    explained : float, optional
        Instead of ``rank``: as few dimensions as hold this share of the squared singular values. The Jacobians of a
        head that is not linear usually span everything a little, and much of it in a few dimensions.
    tol : float, optional
        Singular values at most this share of the largest count as 0. By default, as in
        :func:`numpy.linalg.matrix_rank`, the longer side of the matrix times its type's machine epsilon.
    softmax : bool
        Take the mean of the outputs away first. Behind a softmax, ``lambda 1`` added to all logits changes no
        probability (propositions 6 and 7): the row space that is left, of rank at most ``n_outputs - 1``, is what
        changes the probabilities of the classes.
    max_samples : int
        Rows of ``fit``, evenly spaced, at which Jacobians are taken. They need ``8 * max_samples * n_outputs *
        n_features`` bytes.

    Attributes
    ----------
    rank_ : int
    row_basis_ : ndarray of float64 ``(rank_, n_features)``
        Orthonormal rows that span the row space, by falling singular value.
    singular_values_ : ndarray of float64 ``(min(n_outputs, n_features),)``
        All of them; of Jacobians, those of ``sqrt(mean J^T J)``.
    n_outputs_ : int
    n_features_in_ : int

    References
    ----------
    "Discriminator as a feature extractor" (preprint of January 2020), propositions 4 to 7, corollary 4.

    Examples
    --------
    >>> import numpy as np
    >>> split = SubspaceSplit(np.array([[2.0, 0.0, 0.0]])).fit(np.ones((1, 3)))
    >>> split.rank_, split.transform(np.array([[5.0, 6.0, 7.0]]))
    (1, array([[0., 6., 7.]]))
    """

    def __init__(
        self,
        head: Any,
        *,
        part: str = "null",
        rank: int | None = None,
        explained: float | None = None,
        tol: float | None = None,
        softmax: bool = False,
        max_samples: int = 256,
    ) -> None:
        self.head = head
        self.part = part
        self.rank = rank
        self.explained = explained
        self.tol = tol
        self.softmax = softmax
        self.max_samples = max_samples

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # ------------------------------------------------------------------ fit

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the row space; of a linear head the values of X play no part.

        Parameters
        ----------
        X : array ``(n, n_features)``
            Features, as the head takes them.
        y : ignored

        Raises
        ------
        InputError
            If a parameter is wrong, or the head is none or takes other features.
        """
        self._check_parameters()
        X = self._rows(X, reset=True)
        matrix = matrix_of(self.head)
        if matrix is None:
            matrix, epsilon = self._jacobians_at(X)
        else:
            epsilon = float(np.finfo(matrix.dtype if matrix.dtype.kind == "f" else np.float64).eps)
            if matrix.shape[1] != X.shape[1]:
                raise InputError(
                    f"the head reads {matrix.shape[1]} features and X has {X.shape[1]}: give the features that the "
                    "head is given, for a network of ganfeat those of network.features(images)"
                )
            if not np.isfinite(matrix).all():
                raise InputError("the head has NaN or infinite weights: train it anew, with a lower learning rate")
            self.n_outputs_ = len(matrix)
            matrix = self._centred(matrix.astype(np.float64)[None])[0]
        _, values, basis = np.linalg.svd(matrix, full_matrices=False)
        self.singular_values_: NDArray[np.float64] = values
        self.rank_ = self._choose(values, max(matrix.shape) * epsilon)
        self.row_basis_: NDArray[np.float64] = np.ascontiguousarray(basis[: self.rank_])
        return self

    def _check_parameters(self) -> None:
        if self.part not in PARTS:
            raise InputError(f"part={self.part!r} is not known: choose one of {', '.join(PARTS)}")
        if self.rank is not None and self.explained is not None:
            raise InputError("rank and explained both say how many dimensions the row space has: give one of them")
        if self.rank is not None:
            require("rank", self.rank, int, least=0)
        if self.explained is not None:
            require("explained", self.explained, float, above=0)
            if self.explained > 1:
                raise InputError(f"explained={self.explained!r} is a share: give more than 0 and at most 1")
        if self.tol is not None:
            require("tol", self.tol, float, least=0, below=1)
        require("max_samples", self.max_samples, int, least=1)

    def _rows(self, X: Any, *, reset: bool = False) -> NDArray[Any]:
        return validate_data(self, X, reset=reset, dtype=[np.float64, np.float32])

    def _centred(self, matrices_NOF: NDArray[np.float64]) -> NDArray[np.float64]:
        """Without what moves all outputs alike, where a softmax reads them."""
        if not self.softmax:
            return matrices_NOF
        if matrices_NOF.shape[1] < 2:
            raise InputError("softmax=True needs a head of at least 2 outputs, and this one has 1: leave it out")
        return matrices_NOF - matrices_NOF.mean(axis=1, keepdims=True)

    def _choose(self, values: NDArray[np.float64], usual: float) -> int:
        largest = float(values[0]) if len(values) else 0.0
        rank = int((values > largest * (usual if self.tol is None else self.tol)).sum())
        if self.rank is not None:
            if self.rank > rank:
                raise InputError(f"rank={self.rank} is above the rank of the head, which is {rank}: give at most that")
            return self.rank
        if self.explained is not None and rank:
            shares = np.cumsum(np.square(values[:rank])) / np.square(values[:rank]).sum()
            return int(np.searchsorted(shares, self.explained * (1 - 1e-12)) + 1)
        return rank

    # ------------------------------------------------------------------ Jacobians

    def _jacobians_at(self, X: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
        """A matrix of as many rows as needed whose Gram matrix is the mean of ``J^T J``, and the head's epsilon."""
        n = min(len(X), self.max_samples)
        rows = X[np.arange(n) * len(X) // n]
        stacked = np.concatenate([part.reshape(-1, X.shape[1]) for part in self._jacobians(rows)])
        self.n_outputs_ = len(stacked) // n
        kinds = [p.dtype for p in self.head.parameters() if p.is_floating_point()]
        epsilon = max((torch.finfo(kind).eps for kind in kinds), default=float(np.finfo(np.float64).eps))
        return stacked / np.sqrt(n), epsilon

    def _jacobians(self, X: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
        """Jacobians of the head, float64 ``(some, n_outputs, n_features)``, centred where a softmax follows."""
        head = detached_copy(self.head).double().eval().requires_grad_(False).cpu()

        def outputs(x_F: torch.Tensor) -> torch.Tensor:
            out = head(x_F.clone()[None])  # a copy: the head's first layer may work in place
            return out.flatten()

        def converted(rows: NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(np.array(rows, np.float64))

        try:
            with torch.no_grad():
                n_outputs = outputs(converted(X[:1])[0]).numel()
            size = max(1, _JACOBIAN_BYTES // (8 * n_outputs * X.shape[1]))
            for start in range(0, len(X), size):
                jacobian = vmap(jacrev(outputs))(converted(X[start : start + size])).detach().numpy()
                if not np.isfinite(jacobian).all():
                    raise InputError("the head's derivative is NaN or infinite at some rows: give other features")
                yield self._centred(jacobian)
        except (RuntimeError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"the head does not take rows of {X.shape[1]} features ({str(error).splitlines()[0]}): give a module "
                f"that maps (N, {X.shape[1]}) to (N, outputs), or its weight as an array"
            ) from None

    # ------------------------------------------------------------------ use

    def transform(self, X: Any) -> NDArray[Any]:
        """The part of the features that ``part`` asks for.

        Parameters
        ----------
        X : array ``(n, n_features)``

        Returns
        -------
        ndarray ``(n, n_features)``, of both parts ``(n, 2 * n_features)``; float32 of float32, else float64
        """
        row, null = self.split(X)
        return {"row": row, "null": null}[self.part] if self.part != "both" else np.hstack([row, null])

    def split(self, X: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Row part and null part; their sum is X, their products are 0, and the head gives the same of both and of X.

        Parameters
        ----------
        X : array ``(n, n_features)``

        Returns
        -------
        row, null : ndarray ``(n, n_features)``
            Computed in float64; float32 of float32.
        """
        check_is_fitted(self, "row_basis_")
        X = self._rows(X)
        row, null = np.empty_like(X, order="C"), np.empty_like(X, order="C")
        start = 0
        for block in blocks(X):
            part = slice(start, start + len(block))
            exact = block.astype(np.float64)
            inside = exact @ self.row_basis_.T @ self.row_basis_
            row[part], null[part] = inside, exact - inside
            start += len(block)
        return row, null

    def split_locally(self, X: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """As :meth:`split`, each row by the row space of the head's Jacobian at that very row.

        To first order, what is added to a row within its own null space leaves the output as it is. Of a linear head
        it is the same as :meth:`split`; ``rank`` and ``explained`` apply to every row's Jacobian.

        Parameters
        ----------
        X : array ``(n, n_features)``

        Returns
        -------
        row, null : ndarray ``(n, n_features)``
        """
        check_is_fitted(self, "row_basis_")
        X = self._rows(X)
        if matrix_of(self.head) is not None:
            return self.split(X)
        row, null = np.empty_like(X, order="C"), np.empty_like(X, order="C")
        start = 0
        for jacobians in self._jacobians(X):
            _, values, bases = np.linalg.svd(jacobians, full_matrices=False)
            usual = max(jacobians.shape[1:]) * float(np.finfo(np.float64).eps)
            for k, (value, basis) in enumerate(zip(values, bases, strict=True), start):
                kept = basis[: self._choose(value, usual)]
                exact = X[k].astype(np.float64)
                inside = (kept @ exact) @ kept
                row[k], null[k] = inside, exact - inside
            start += len(jacobians)
        return row, null

    def row_coordinates(self, X: Any) -> NDArray[Any]:
        """The row part in the basis :attr:`row_basis_`: as much, in ``rank_`` numbers an image.

        Parameters
        ----------
        X : array ``(n, n_features)``

        Returns
        -------
        ndarray ``(n, rank_)``; float32 of float32, else float64
        """
        check_is_fitted(self, "row_basis_")
        X = self._rows(X)
        found = np.empty((len(X), self.rank_), X.dtype)
        start = 0
        for block in blocks(X):
            found[start : start + len(block)] = block.astype(np.float64) @ self.row_basis_.T
            start += len(block)
        return found

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """``row_NAME`` or ``null_NAME`` for every feature, ``x0``, ``x1``, ... where they have no names."""
        check_is_fitted(self, "row_basis_")
        names = _check_feature_names_in(self, input_features)
        parts = ("row", "null") if self.part == "both" else (self.part,)
        return np.array([f"{part}_{name}" for part in parts for name in names], dtype=object)


def matrix_of(head: Any) -> NDArray[Any] | None:
    """The weights ``(n_outputs, n_features)`` of a linear head; None for a module that is not linear.

    Raises
    ------
    InputError
        If it is no head.
    """
    if isinstance(head, nn.Linear):
        weight = head.weight.detach().cpu()
        return np.asarray((weight.float() if weight.dtype.itemsize < 4 else weight).numpy())
    if isinstance(head, nn.Module):
        return None
    weights = getattr(head, "coef_", None)
    if weights is None:
        if isinstance(head, BaseEstimator):
            raise InputError(
                f"{type(head).__name__} has no coef_: fit it first, or give a linear model (another one's row space is "
                "not defined)"
            )
        weights = head
    weights = weights.toarray() if hasattr(weights, "toarray") else weights
    try:
        matrix = np.atleast_2d(np.asarray(weights))
        matrix = matrix if matrix.dtype.kind == "f" else matrix.astype(np.float64)
    except (TypeError, ValueError):
        matrix = np.empty((0, 0, 0))
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(
            f"head is a {type(head).__name__}: give an nn.Linear, an array (n_outputs, n_features), a fitted linear "
            "scikit-learn model, or an nn.Module that takes rows of features"
        )
    return matrix
