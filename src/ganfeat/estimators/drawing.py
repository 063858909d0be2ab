"""What an estimator draws: latents of its prior, and images of latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ganfeat import arrays
from ganfeat.arrays import ImageShape, Scaling
from ganfeat.config import require
from ganfeat.device import autocast
from ganfeat.errors import InputError
from ganfeat.nets.blocks import Given
from ganfeat.objectives.base import Objective

SAMPLE_BATCH = 256


class Drawing:
    """The part of an estimator that draws."""

    method: ClassVar[str]
    n_components: int
    image_shape_: ImageShape
    scaling_: Scaling
    device_: torch.device
    precision_: str
    objective_: Objective
    generator_: nn.Module
    _integer: bool
    _draw_seed: Callable[[], int]

    def generate(self, z: NDArray[Any]) -> NDArray[Any]:
        """Images of latents: G(z).

        Parameters
        ----------
        z : array ``(n, n_components)``

        Returns
        -------
        ndarray ``(n, height, width, channels)``, of the shape that G draws
            ``uint8`` if the model was fitted on ``uint8``, else ``float32`` in the range of its data.
        """
        return self._generate(z)

    @torch.no_grad()
    def _generate(self, z: NDArray[Any], *along: torch.Tensor) -> NDArray[Any]:
        """Images of latents, and of what else G is given of each, ``(n, ...)``."""
        z, pictures = self._checked(z), []
        for start in range(0, len(z), SAMPLE_BATCH):
            rows = [part[start : start + SAMPLE_BATCH].to(self.device_) for part in (torch.from_numpy(z), *along)]
            with autocast(self.device_, self.precision_):
                x_NCHW = self.generator_(*rows)
            pictures.append(x_NCHW.float().permute(0, 2, 3, 1).cpu().numpy())
        x_NHWC = np.concatenate(pictures) if pictures else np.empty((0, *self._drawn_shape()), np.float32)
        return arrays.to_uint8(x_NHWC) if self._integer else self.scaling_.from_networks(x_NHWC)

    def _checked(self, z: Any) -> NDArray[np.float32]:
        """Latents ``float32 (n, n_components)``, a copy: they may be read-only, or a view backwards."""
        check_is_fitted(self, "objective_")
        n_components = int(self.n_components)
        try:
            z = np.array(z, np.float32)
        except (TypeError, ValueError):
            raise InputError(f"z must be numbers (n, {n_components})") from None
        if z.ndim != 2 or z.shape[1] != n_components:
            raise InputError(f"z must be (n, {n_components}), not {z.shape}")
        if not np.isfinite(z).all():
            raise InputError("z has NaN or infinite values")
        return z

    def _drawn_shape(self) -> ImageShape:
        """Of what G draws."""
        return self.image_shape_

    def sample(self, n_samples: int = 1, random_state: int | None = None) -> NDArray[Any]:
        """Draw new images.

        Parameters
        ----------
        n_samples : int
        random_state : int, optional
            Seed of z; None draws anew every time.

        Returns
        -------
        ndarray ``(n_samples, height, width, channels)``, see :meth:`generate`
        """
        return self.generate(self._latents(n_samples, random_state))

    @property
    def condition(self) -> tuple[str, list[Any]] | None:
        """What G is told beside z, by name, and its values; None of a G that is told nothing else."""
        return None

    def latents(self, n_samples: int, random_state: int | None = None) -> NDArray[np.float32]:
        """Draw z from the prior.

        Parameters
        ----------
        n_samples : int
        random_state : int, optional
            Seed; None draws anew every time.

        Returns
        -------
        ndarray ``float32 (n_samples, n_components)``
        """
        return self._latents(n_samples, random_state)[:, : int(self.n_components)]

    def decoder(self, given: Any = None) -> nn.Module:
        """G as a network of z alone, for whoever needs its layers or gradients.

        Parameters
        ----------
        given : one of the values of :attr:`condition`, optional
            What G is told beside z; by default the first of them.

        Returns
        -------
        nn.Module
            Maps z ``(N, n_components)`` to images ``(N, channels, height, width)`` in [-1, 1]; in evaluation mode, its
            weights without gradients, in place: not a copy.

        Raises
        ------
        InputError
            If G is not told such a thing.
        """
        check_is_fitted(self, "objective_")
        condition = self.condition
        if condition is None:
            if given is not None:
                raise InputError(f"the generator of {self.method} is told nothing beside z: leave {given!r} out")
            return self.generator_
        name, values = condition
        given = values[0] if given is None else given
        if given not in values:
            raise InputError(f"there is no {name} {given!r}: choose one of {', '.join(map(str, values))}")
        return Given(self.generator_, self._told(values.index(given)).to(self.device_)).eval()

    def _told(self, index: int) -> torch.Tensor:
        """What G takes for a value of :attr:`condition`, ``(1, ...)``."""
        raise NotImplementedError

    @torch.no_grad()
    def picture(self, z: Any, given: Any = None) -> NDArray[np.uint8]:
        """Images of latents as a person looks at them: G(z), ``uint8`` whatever the model was fitted on.

        Parameters
        ----------
        z : array ``(n, n_components)``
        given : optional
            As for :meth:`decoder`.

        Returns
        -------
        ndarray ``uint8 (n, height, width, channels)``, of the shape that G draws
        """
        z, decoder = self._checked(z), self.decoder(given)
        pictures = [np.empty((0, *self._drawn_shape()), np.uint8)]
        for start in range(0, len(z), SAMPLE_BATCH):
            with autocast(self.device_, self.precision_):
                x_NCHW = decoder(torch.from_numpy(z[start : start + SAMPLE_BATCH]).to(self.device_))
            pictures.append(arrays.to_uint8(x_NCHW.float().permute(0, 2, 3, 1).cpu().numpy()))
        return np.concatenate(pictures)

    def _latents(self, n_samples: int, random_state: int | None) -> NDArray[np.float32]:
        """So many of the prior."""
        check_is_fitted(self, "objective_")
        require("n_samples", n_samples, int, least=1)
        seed = self._draw_seed() if random_state is None else int(random_state)
        return self.objective_.draw_latents(n_samples, torch.Generator().manual_seed(seed)).numpy()
