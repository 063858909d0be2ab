"""Softmax regression by stochastic gradient descent, as a probe of frozen features."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_X_y, validate_data
from torch.nn import functional as F

from ganfeat.config import require
from ganfeat.device import resolve_device
from ganfeat.errors import InputError


class SoftmaxRegression(ClassifierMixin, BaseEstimator):
    """One linear layer without bias, softmax and cross-entropy, trained by SGD with momentum.

    The defaults are the protocol by which the features of M-GAN's discriminator and classifier were measured: learning
    rate 2e-4, momentum 0.9, batches of 120, 20 epochs, weights from N(0, 0.02). The features are taken as they are,
    neither centred nor scaled. Every epoch has an order of its own, and its last batch may be smaller.

    Parameters
    ----------
    learning_rate : float
    momentum : float
        In [0, 1).
    batch_size : int
    max_iter : int
        Epochs.
    init_std : float
        Standard deviation of the initial weights.
    random_state : int
        Of the initial weights and the orders.
    device : {"auto", "cpu", "cuda", "mps"}

    Attributes
    ----------
    classes_ : ndarray
    coef_ : ndarray of float32 ``(n_classes, n_features)``
    n_iter_ : int
        Epochs done.
    loss_curve_ : list of float
        Mean cross-entropy in nats over every epoch, each batch before its step.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> bool(SoftmaxRegression().fit(X, y).score(X, y) > 0.9)
    True
    """

    def __init__(
        self,
        *,
        learning_rate: float = 2e-4,
        momentum: float = 0.9,
        batch_size: int = 120,
        max_iter: int = 20,
        init_std: float = 0.02,
        random_state: int = 0,
        device: str = "auto",
    ) -> None:
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.init_std = init_std
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from features ``(n, n_features)`` and their labels ``(n,)``.

        A fit that fails leaves what an earlier one learned as it was.

        Raises
        ------
        InputError
            If a parameter is out of its range, there is a single class, or the weights grow without bound.
        """
        require("learning_rate", self.learning_rate, float, above=0)
        require("momentum", self.momentum, float, least=0, below=1)
        require("batch_size", self.batch_size, int, least=1)
        require("max_iter", self.max_iter, int, least=1)
        require("init_std", self.init_std, float, least=0)
        require("random_state", self.random_state, int, least=0)
        device = resolve_device(self.device)
        rows, y = check_X_y(X, y, dtype=np.float32, estimator=self)
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise InputError(f"the labels have 1 class, {classes[0]!r}: a classifier needs at least 2")
        x_ND, y_N = torch.tensor(rows, device=device), torch.tensor(labels, device=device)
        generator = torch.Generator().manual_seed(self.random_state)
        w_DK = torch.randn(rows.shape[1], len(classes), generator=generator).mul_(self.init_std).to(device)
        velocity_DK = torch.zeros_like(w_DK)
        losses: list[float] = []
        with torch.inference_mode():
            for _ in range(self.max_iter):
                order = torch.randperm(len(rows), generator=generator).to(device)
                total = torch.zeros((), device=device)
                for batch in torch.split(order, self.batch_size):
                    loss, gradient_DK = loss_and_gradient(w_DK, x_ND[batch], y_N[batch])
                    velocity_DK.mul_(self.momentum).add_(gradient_DK)
                    w_DK.sub_(velocity_DK, alpha=self.learning_rate)
                    total += loss * len(batch)
                losses.append(total.item() / len(rows))
        if not torch.isfinite(w_DK).all():
            raise InputError(
                f"the weights grew without bound at learning_rate={self.learning_rate:g}: lower it, "
                "or scale the features"
            )
        validate_data(self, X, skip_check_array=True)  # the number of features and their names, now that all went well
        self.classes_ = classes
        self.coef_: NDArray[np.float32] = w_DK.T.cpu().numpy().copy()
        self.n_iter_ = self.max_iter
        self.loss_curve_ = losses
        return self

    def _logits(self, X: Any) -> NDArray[np.float32]:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float32)
        return X @ self.coef_.T

    def decision_function(self, X: Any) -> NDArray[np.float32]:
        """Logits ``(n, n_classes)``; for two classes the second's less the first's, ``(n,)``."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """Probabilities ``(n, n_classes)``."""
        return F.softmax(torch.from_numpy(self._logits(X)), dim=1).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of every row, ``(n,)``."""
        best = self._logits(X).argmax(axis=1)
        return self.classes_[best]


def loss_and_gradient(w_DK: torch.Tensor, x_ND: torch.Tensor, y_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross-entropy and its gradient, ``x^T (softmax(x w) - onehot(y)) / N``.

    Parameters
    ----------
    w_DK : tensor ``(n_features, n_classes)``
    x_ND : tensor ``(n, n_features)``
    y_N : tensor of int64 ``(n,)``
    """
    log_p_NK = F.log_softmax(x_ND @ w_DK, dim=1)
    y_N1 = y_N[:, None]
    loss = -log_p_NK.gather(1, y_N1).mean()
    error_NK = log_p_NK.exp_().scatter_add_(1, y_N1, log_p_NK.new_full((1, 1), -1.0).expand(len(y_N), 1))
    return loss, (x_ND.T @ error_NK).div_(len(y_N))
