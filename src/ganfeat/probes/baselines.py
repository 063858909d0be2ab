"""What any learned feature has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PCA_VARIANCE = 0.9
PCA_ROWS = 10_000


def principal_components(
    train: NDArray[Any], test: NDArray[Any], variance: float = PCA_VARIANCE
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Components that hold 90 % of the variance of raw pixels, not whitened.

    Learned from at most 10,000 training rows, evenly spaced, without labels.

    Parameters
    ----------
    train, test : ndarray ``(n, n_pixels)``
    variance : float
        Share to keep.
    """
    from sklearn.decomposition import PCA

    sample = np.unique(np.linspace(0, len(train) - 1, min(len(train), PCA_ROWS)).astype(int))
    solver = "full" if train.shape[1] <= len(sample) else "auto"
    pca = PCA(variance, svd_solver=solver).fit(np.asarray(train[sample], np.float32))
    return (
        pca.transform(np.asarray(train, np.float32)).astype(np.float32),
        pca.transform(np.asarray(test, np.float32)).astype(np.float32),
    )
