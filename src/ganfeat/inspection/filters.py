"""The weights of a network's first layer as pictures.

Names: :func:`first_filters`, :func:`filter_pictures`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode

from ganfeat.errors import InputError
from ganfeat.inspection.layer import Layer, run
from ganfeat.tracing import CONVOLUTIONS, LINEAR_MAPS


class _First(TorchFunctionMode):
    """Remembers the weight of the first convolution, or linear map, that runs."""

    weight: torch.Tensor | None = None

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.followed = {"conv": CONVOLUTIONS, "linear": LINEAR_MAPS}[kind]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Look, and run the function."""
        if self.weight is None and func in self.followed:
            self.weight = args[1] if len(args) > 1 else (kwargs or {})["weight"]
        return func(*args, **(kwargs or {}))


def first_filters(layer: Layer, image_shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Weights of the first layer that runs, one filter an output channel, as they are applied.

    Parameters
    ----------
    layer : Layer
        Any of the network's.
    image_shape : (height, width, channels)

    Returns
    -------
    ndarray ``float32 (n, h, w, c)``
        Of a fully connected first layer ``h`` and ``w`` are the image's.

    Raises
    ------
    InputError
        If the first layer's weights are no pictures: it reads no image.
    """
    first = _First(layer.block.kind)
    with torch.no_grad(), first:
        run([layer], layer.prepare(np.zeros((2, *image_shape), np.uint8)))
    height, width, channels = image_shape
    weight = first.weight
    assert weight is not None, "a layer of this kind ran"
    if weight.ndim == 2 and weight.shape[1] == math.prod(image_shape):
        weight = weight.reshape(-1, channels, height, width)
    if weight.ndim != 4:
        raise InputError(f"the first layer's weights, of shape {tuple(weight.shape)}, are no pictures")
    return np.ascontiguousarray(weight.detach().permute(0, 2, 3, 1).float().cpu().numpy())


def filter_pictures(filters: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Weights as grey levels or colours: 0 is mid-grey, each filter's largest absolute weight black or white.

    Parameters
    ----------
    filters : ndarray ``(n, h, w, c)``
        Other numbers of channels than 1 and 3 are averaged.

    Returns
    -------
    ndarray ``uint8 (n, h, w, 1 or 3)``
    """
    if filters.shape[3] not in (1, 3):
        filters = filters.mean(axis=3, keepdims=True)
    return signed_pictures(filters, np.abs(filters).max(axis=(1, 2, 3), initial=0, keepdims=True))


def signed_pictures(values: NDArray[Any], scale: Any) -> NDArray[np.uint8]:
    """Signed values as ``uint8``: ``-scale`` and below is 1, 0 is 128, ``scale`` and above 255; all 128 at scale 0."""
    scale = np.where(np.asarray(scale) > 0, scale, np.inf)
    return (128 + np.rint(127 * np.clip(values / scale, -1, 1))).astype(np.uint8)
