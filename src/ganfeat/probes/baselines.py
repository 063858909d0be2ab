"""What any learned feature has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PCA_VARIANCE = 0.9
PCA_ROWS = 10_000


def principal_components(
    train: NDArray[Any],
    test: NDArray[Any],
    variance: float = PCA_VARIANCE,
    *,
    learn_from: NDArray[Any] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Components that hold 90 % of the variance of raw pixels, not whitened.

    Learned from at most 10,000 rows, evenly spaced, without labels.

    Parameters
    ----------
    train, test : ndarray ``(n, n_pixels)``
    variance : float
        Share to keep.
    learn_from : ndarray ``(n, n_pixels)``, optional
        Rows to learn the components from, if not ``train``.
    """
    from sklearn.decomposition import PCA

    learn_from = train if learn_from is None else learn_from
    sample = np.unique(np.linspace(0, len(learn_from) - 1, min(len(learn_from), PCA_ROWS)).astype(int))
    solver = "full" if learn_from.shape[1] <= len(sample) else "auto"
    pca = PCA(variance, svd_solver=solver).fit(np.asarray(learn_from[sample], np.float32))
    return (
        pca.transform(np.asarray(train, np.float32)).astype(np.float32),
        pca.transform(np.asarray(test, np.float32)).astype(np.float32),
    )
