"""What estimators with an encoder add: E(x), G(z), G(E(x))."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ganfeat.arrays import ImageShape
from ganfeat.config import require
from ganfeat.errors import InputError
from ganfeat.estimators import layers
from ganfeat.estimators.base import GANEstimator
from ganfeat.features import Taps
from ganfeat.nets.encoder import resized
from ganfeat.nets.families import Plan
from ganfeat.objectives.encoding import EncodingObjective

ORDERS = ("simultaneous", "alternating")
CHUNK = 1024
"""Images that are compared with their reconstructions at a time."""


class EncoderEstimator(GANEstimator):
    """What estimators with an encoder add: E(x), G(z), G(E(x))."""

    network = "encoder"

    @abstractmethod
    def _objective(self, image_shape: ImageShape) -> EncodingObjective:
        """A new objective for images of this shape."""

    def _halved(self) -> list[ImageShape]:
        small = self._drawn_shape()
        return {"mlp": [], "alexnet": [small]}.get(str(self.architecture), [small, self.image_shape_])

    def _drawn_shape(self) -> ImageShape:
        if self.generator_size is None:
            return self.image_shape_
        require("generator_size", self.generator_size, int, least=1)
        return (self.generator_size, self.generator_size, self.image_shape_[2])

    def _some_shape(self) -> ImageShape:
        side = self.generator_size if isinstance(self.generator_size, int) else 0
        return (max(side, 32), max(side, 32), 3)

    def _plan(self, image_shape: ImageShape, *, joint: bool, stochastic: bool = False) -> Plan:
        """The networks that the parameters ask for."""
        for name in ("n_components", "kernel_size"):
            require(name, getattr(self, name), int, least=1)
        for name in ("width", "generator_size"):
            if getattr(self, name) is not None:
                require(name, getattr(self, name), int, least=1)
        require("norm_epsilon", self.norm_epsilon, float, above=0)
        return Plan(
            image_shape,
            self.n_components,
            architecture=self.architecture,
            width=self.width,
            kernel_size=self.kernel_size,
            norm_epsilon=self.norm_epsilon,
            prior=self.prior,
            joint=joint,
            stochastic=stochastic,
            generator_size=self.generator_size,
        )

    def _simultaneous(self) -> bool:
        if self.update_order not in ORDERS:
            raise InputError(f"update_order={self.update_order!r} is not known: choose one of {', '.join(ORDERS)}")
        return self.update_order == ORDERS[0]

    def _named(self, network: nn.Module, taps: Taps) -> Taps:
        return layers.named(network, taps)

    def _transforms(self) -> dict[str, Any]:
        require("agreement", self.agreement, float, least=0)
        return {
            "augment": [self.augment] if isinstance(self.augment, str) else self.augment,
            "agreement": self.agreement,
            "views": [self.views] if isinstance(self.views, str) else self.views,
        }

    def transform(self, X: Any) -> NDArray[Any]:
        """Features of images: E(x), or other layers of E, as ``taps`` says.

        Parameters
        ----------
        X : array or ImageDataset
            Images or rows, as in :meth:`fit`.

        Returns
        -------
        ndarray ``float32 (n, n_features)``; ``(n, n_components)`` for E(x)
        """
        return super().transform(X)

    def inverse_transform(self, z: NDArray[Any]) -> NDArray[Any]:
        """Images of latents: G(z), as :meth:`generate`.

        Parameters
        ----------
        z : array ``(n, n_components)``

        Returns
        -------
        ndarray ``(n, height, width, channels)``
            ``uint8`` if the model was fitted on ``uint8``, else ``float32`` in the range of its data.
        """
        return self.generate(z)

    def encode(self, X: Any) -> NDArray[np.float32]:
        """Latents of images: E(x), whatever ``taps`` are.

        Parameters
        ----------
        X : array or ImageDataset
            Images or rows, as in :meth:`fit`.

        Returns
        -------
        ndarray ``float32 (n, n_components)``
        """
        check_is_fitted(self, "objective_")
        return self.extractor(taps="output").transform(self._validated(X, reset=False))

    def reconstruct(self, X: Any) -> NDArray[Any]:
        """G(E(x)): what E has kept of an image.

        Parameters
        ----------
        X : array or ImageDataset
            Images or rows, as in :meth:`fit`.

        Returns
        -------
        ndarray ``(n, height, width, channels)``, see :meth:`inverse_transform`
        """
        return self.generate(self.encode(X))

    def reconstruction_error(self, X: Any, *, random_state: int = 0) -> dict[str, float]:
        """How far G(E(x)) is from x, beside how far it is from other images: only their ratio means something.

        Parameters
        ----------
        X : array or ImageDataset
            Images or rows, as in :meth:`fit`; at least 2. They are compared in G's size.
        random_state : int
            Seed of which other image each is compared with.

        Returns
        -------
        dict
            ``error``, the mean Euclidean distance ``|x - G(E(x))|`` with pixels in [0, 1], and ``shuffled``, that of
            each x to the reconstruction of another image (EGr and EGr_b in the BiGAN authors' code).

        Raises
        ------
        InputError
            If there are fewer than 2 images.
        """
        check_is_fitted(self, "objective_")
        images = self._validated(X, reset=False)
        if len(images) < 2:
            raise InputError(f"n_samples={len(images)}: an error beside that of other images needs at least 2")
        again = self.reconstruct(X)
        again = again if self._integer else self.scaling_.to_networks(again)
        order = np.random.default_rng(random_state).permutation(len(images))
        others = np.empty_like(order)
        others[order] = np.roll(order, 1)  # one round through all of them: nobody meets itself
        totals = {"error": 0.0, "shuffled": 0.0}
        for start in range(0, len(images), CHUNK):
            rows = slice(start, start + CHUNK)
            x_NHWC = self.as_drawn(images[rows])
            for name, other in (("error", again[rows]), ("shuffled", again[others[rows]])):
                totals[name] += float(np.sqrt(np.square(x_NHWC - _unit(other)).sum((1, 2, 3))).sum())
        return {name: total / len(images) for name, total in totals.items()}

    def as_drawn(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Images in the size of those that G draws, with pixels in [0, 1].

        Parameters
        ----------
        images : ndarray ``(n, h, w, c)``
            ``uint8``, or ``float32`` in the networks' [-1, 1].

        Returns
        -------
        ndarray ``float32 (n, height, width, channels)``
        """
        side = self.generator_size
        x_NCHW = torch.from_numpy(_unit(images)).permute(0, 3, 1, 2)
        small_NCHW = x_NCHW if side is None else resized(x_NCHW, (side, side))
        return small_NCHW.permute(0, 2, 3, 1).numpy()


def _unit(images: NDArray[Any]) -> NDArray[np.float32]:
    """Pixels of 0..255, or of [-1, 1], as [0, 1]."""
    if images.dtype == np.uint8:
        return np.divide(images, 255, dtype=np.float32)
    return np.divide(images + 1, 2, dtype=np.float32)
