"""Streaming PCA as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ganfeat import arrays
from ganfeat.config import require
from ganfeat.errors import InputError
from ganfeat.feature_files import FeatureTable, open_features
from ganfeat.projection.fit import N_PASSES, Covariance, finish, fit_projection, place_of, resolve_method, start
from ganfeat.projection.linear import Projection


class StreamingPCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Principal components, whitened or not, of rows that need not fit into memory.

    ``fit`` reads an array, a memory map or a file of features in blocks. Up to 2,048 columns the result is exact after
    one pass, the same as :class:`sklearn.decomposition.PCA`'s; up to 8,192 too, but that few components of so many
    columns (an eighth or less) may hold up to about a millionth less of the variance than the best, and that those of
    nearly equal variance may be mixed. For longer rows they are found by ``n_passes`` steps of randomised subspace
    iteration. ``partial_fit`` takes rows as they come, once; after ``fit``, which keeps no sums, it begins anew.

    Parameters
    ----------
    n_components : int, optional
        At most the number of rows and of features; by default as many as that (needed beyond 8,192 columns).
    whiten : bool
        Scale every component to variance 1.
    method : {"auto", "covariance", "sketch"}
        See :func:`ganfeat.projection.fit_projection`.
    n_passes : int
        Of ``sketch``, in ``fit``.
    oversampling : int, optional
        Columns that ``sketch`` carries beyond ``n_components``. By default a quarter, at least 32.
    random_state : int
        Of ``sketch``.
    device : {"auto", "cpu", "cuda", "mps"}
        Where components are learned; the CPU in place of ``mps``, which has no float64.

    Attributes
    ----------
    projection_ : Projection
        What was learned; it can be saved.
    components_ : ndarray of float32 ``(n_components_, n_features_in_)``
    explained_variance_ : ndarray of float64 ``(n_components_,)``
        Along each component, with ``n - 1`` in the denominator.
    explained_variance_ratio_ : ndarray of float64 ``(n_components_,)``
    mean_ : ndarray of float32 ``(n_features_in_,)``
    n_components_ : int
    n_samples_seen_ : int
    n_features_in_ : int

    References
    ----------
    N. Halko, P. G. Martinsson, J. A. Tropp, "Finding Structure with Randomness", SIAM Review 53, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.random.default_rng(0).normal(size=(100, 8))
    >>> small = StreamingPCA(3, whiten=True).fit_transform(rows)
    >>> np.allclose(np.cov(small, rowvar=False), np.eye(3), atol=1e-5)
    True
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        whiten: bool = False,
        method: str = "auto",
        n_passes: int = N_PASSES,
        oversampling: int | None = None,
        random_state: int = 0,
        device: str = "auto",
    ) -> None:
        self.n_components = n_components
        self.whiten = whiten
        self.method = method
        self.n_passes = n_passes
        self.oversampling = oversampling
        self.random_state = random_state
        self.device = device

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn components.

        Parameters
        ----------
        X : array or memory map ``(n, n_features)``, FeatureTable, or path of features
            Memory maps and files are read in blocks, once a pass.
        y : ignored

        Raises
        ------
        InputError
            If a parameter is wrong, or there are too few rows for so many components.
        """
        source = self._source(X, reset=True)
        self._sums: Any = None
        self._keep(
            fit_projection(
                source,
                self.n_components,
                whiten=self.whiten,
                method=self.method,
                n_passes=self.n_passes,
                oversampling=self.oversampling,
                random_state=self.random_state,
                device=self.device,
            )
        )
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Take more rows in; the attributes are worked out when they are next needed.

        Beyond 8,192 columns (or with ``method="sketch"``), what is learned is that of a single pass. The first call
        after ``fit`` begins anew: what ``fit`` learned is replaced, unlike that of scikit-learn's ``IncrementalPCA``.

        Parameters
        ----------
        X : array or memory map ``(n, n_features)``, FeatureTable, or path of features
        y : ignored
        """
        sums = getattr(self, "_sums", None)
        source = self._source(X, reset=sums is None)
        if sums is None:
            method = resolve_method(self.method, self.n_features_in_, self.n_components)
            if self.n_components is not None:
                require("n_components", self.n_components, int, least=1)
            place = place_of(self.device)
            sums = start(method, self.n_features_in_, self.n_components, self.oversampling, self.random_state, place)
        for block in source():
            sums.update(block)
        self._sums = sums
        self.__dict__.pop("_learned", None)
        return self

    def _source(self, X: Any, *, reset: bool) -> Callable[[], Iterable[NDArray[Any]]]:
        """Gives blocks of X, anew at every call."""
        if isinstance(X, str | Path):
            X = open_features(X)
        if isinstance(X, FeatureTable):
            self._check_width(X.n_features, reset)
            return X.blocks
        if isinstance(X, np.memmap) and X.ndim == 2 and X.dtype.kind in "fiu":  # nobody reads it twice, nor copies it
            self._check_width(X.shape[1], reset)
        else:
            X = validate_data(
                self, X, reset=reset, dtype=[np.float64, np.float32, np.float16], ensure_min_samples=1 + reset
            )
        return lambda: arrays.blocks(X)

    def _check_width(self, width: int, reset: bool) -> None:
        if reset:
            self.n_features_in_ = width
            self.__dict__.pop("feature_names_in_", None)
        elif width != self.n_features_in_:
            raise InputError(f"X has {width} features, but {type(self).__name__} is expecting {self.n_features_in_}")

    def _keep(self, projection: Projection) -> None:
        self._learned = projection

    @property
    def projection_(self) -> Projection:
        """What was learned from all rows so far."""
        if "_learned" not in self.__dict__:
            if self.__dict__.get("_sums") is None:
                raise AttributeError("projection_ is there after fit or partial_fit")
            self._sums.flush()
            sums = self._sums.kept() if isinstance(self._sums, Covariance) else self._sums  # more rows may come
            self._learned = finish(sums, self.n_components, self.whiten, method="one pass")
        return self._learned

    @property
    def components_(self) -> NDArray[np.float32]:
        """Orthonormal rows, by falling variance."""
        return self.projection_.components

    @property
    def explained_variance_(self) -> NDArray[np.float64]:
        """Variance along each component."""
        return self.projection_.variance

    @property
    def explained_variance_ratio_(self) -> NDArray[np.float64]:
        """Share of the variance along each component."""
        total = self.projection_.total_variance
        return self.projection_.variance / (total if total > 0 else 1)

    @property
    def mean_(self) -> NDArray[np.float32]:
        """Mean of the rows."""
        return self.projection_.mean

    @property
    def n_components_(self) -> int:
        """How many were learned."""
        return self.projection_.n_components

    @property
    def n_samples_seen_(self) -> int:
        """Rows learned from."""
        return self.projection_.n_rows

    @property
    def _n_features_out(self) -> int:
        return self.projection_.n_components

    def __sklearn_is_fitted__(self) -> bool:
        return "_learned" in self.__dict__ or self.__dict__.get("_sums") is not None

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Project rows.

        Parameters
        ----------
        X : array or memory map ``(n, n_features)``, FeatureTable, or path of features

        Returns
        -------
        ndarray of float32 ``(n, n_components_)``
        """
        check_is_fitted(self)
        projection = self.projection_
        parts = [projection.transform(block) for block in self._source(X, reset=False)()]
        return np.concatenate(parts) if parts else np.empty((0, projection.n_components), np.float32)

    def inverse_transform(self, X: Any) -> NDArray[np.float32]:
        """Features whose projection X is, with nothing outside the components.

        Parameters
        ----------
        X : array ``(n, n_components_)``

        Returns
        -------
        ndarray of float32 ``(n, n_features_in_)``
        """
        check_is_fitted(self)
        return self.projection_.inverse_transform(np.asarray(X))
