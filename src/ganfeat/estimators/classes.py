"""What estimators share whose discriminator sorts images into classes: labels, which class, and how surely."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ganfeat.errors import InputError
from ganfeat.estimators.base import GANEstimator
from ganfeat.features import OUTPUT, FeatureExtractor
from ganfeat.objectives.acgan import UNKNOWN

KINDS = "labels are whole numbers, or names of classes"


class ClassEstimator(GANEstimator):
    """A GAN whose discriminator sorts images into classes."""

    @abstractmethod
    def _sorter(self) -> nn.Module:
        """The network from images to logits of classes ``(N, K)``."""

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """How probable each class is: D's softmax outputs.

        Parameters
        ----------
        X : array or ImageDataset
            Images or rows, as in :meth:`fit`.

        Returns
        -------
        ndarray ``float32 (n, n_classes)``, of rows that sum to 1
        """
        check_is_fitted(self, "objective_")
        images = self._validated(X, reset=False)
        settings: dict[str, Any] = {"bn": "eval", "device": str(self.device_), "precision": self.precision_}
        logits_NK = FeatureExtractor(self._sorter(), taps=OUTPUT, **settings).fit(images[:1]).transform(images)
        return softmax(logits_NK, axis=1)

    def predict(self, X: Any) -> NDArray[Any]:
        """Most probable class of every image, as its index.

        Parameters
        ----------
        X : array or ImageDataset
            Images or rows, as in :meth:`fit`.

        Returns
        -------
        ndarray ``int64 (n,)``
        """
        return self.predict_proba(X).argmax(1)


def class_labels(y: Any, n_images: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Labels as integers, booleans or strings, and which images have one.

    Parameters
    ----------
    y : array ``(n_images,)``
        Floats must be whole numbers. Of numbers, -1 is an image without a label.
    n_images : int

    Returns
    -------
    labels : ndarray ``(n_images,)``
    known : ndarray of bool ``(n_images,)``

    Raises
    ------
    InputError
        If there are none, not one an image, or they are something else.
    """
    if y is None:
        raise InputError(
            "ACGAN requires y to be passed, but the target y is None: it learns from labels. Give fit(images, y), or "
            "images that have them, as load_images finds in a folder with a sub-folder for every class; or train "
            "a method that needs none"
        )
    labels = column_or_1d(np.asarray(y), warn=True)
    if len(labels) != n_images:
        raise InputError(f"y has {len(labels)} labels for {n_images} images: give one an image")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.floor(labels)).any():
            raise InputError(f"Unknown label type: y is {labels.dtype} with fractions or NaN; {KINDS}")
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels):
        labels = labels.astype(str)
    if labels.dtype.kind not in "biuU":
        raise InputError(f"Unknown label type: y is {labels.dtype}; {KINDS}")
    known = labels != UNKNOWN if labels.dtype.kind in "iu" else np.ones(n_images, bool)
    return labels, known
