"""Receptive fields: which pixels of the image a unit depends on, for any network.

The network runs backwards from the unit as far as the image, and where anything arrives is the field. So that nothing
is lost on the way, weights are replaced by positive ones, activations and batch norms by the identity and max-pooling
by mean-pooling, on a copy in float64: what a unit *can* depend on, whatever the weights are. Fields end where the image
does.

Names: :func:`receptive_fields`; :func:`crop_size` and :func:`crop`, to cut them out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ganfeat.errors import InputError
from ganfeat.features import detached_copy
from ganfeat.inspection.guided import checked_units
from ganfeat.inspection.layer import Layer, run
from ganfeat.tracing import ACTIVATIONS, CONVOLUTIONS, LINEAR_MAPS

DRAWS = 2
"""Random images: what depends on the image's values (attention, sorting) is the union over them."""
BATCH = 32
BATCH_NORMS = frozenset({F.batch_norm, torch.batch_norm})
MEANS: dict[Any, Any] = {
    torch.max_pool2d: F.avg_pool2d,
    F.max_pool2d: F.avg_pool2d,
    F.adaptive_max_pool2d: F.adaptive_avg_pool2d,
}


class _Reached(torch.autograd.Function):
    """The same values; on the way back, 1 wherever anything arrives: neither underflow nor cancellation."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradient: torch.Tensor) -> torch.Tensor:
        return (gradient[0] != 0).to(gradient[0].dtype)


class _Connections(TorchFunctionMode):
    """Within it a network computes only what depends on what."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the function, or what has the same connections."""
        kwargs = dict(kwargs or {})
        if func in CONVOLUTIONS or func in LINEAR_MAPS:
            x, weight, *rest = (*args, *(kwargs.pop(name) for name in ("input", "weight") if name in kwargs))
            if rest:
                rest[0] = None
            kwargs.pop("bias", None)
            fan_in = weight[0].numel() if weight.ndim > 1 else weight.numel()
            return _reached(func(x, torch.full_like(weight, 1 / fan_in, dtype=x.dtype), *rest, **kwargs))
        if func in ACTIVATIONS or func in BATCH_NORMS:
            return args[0] if args else kwargs["input"]
        if func in MEANS and not kwargs.get("return_indices"):
            return self._mean(func, args, kwargs)
        return func(*args, **kwargs)

    @staticmethod
    def _mean(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        names: tuple[str, ...] = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
        if MEANS[func] is F.adaptive_avg_pool2d:
            names = ("input", "output_size")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        given.pop("return_indices", None)
        if given.pop("dilation", 1) not in (1, (1, 1), [1, 1]):
            return func(*args, **kwargs)
        return _reached(MEANS[func](**given))


def _reached(x: torch.Tensor) -> torch.Tensor:
    return _Reached.apply(x)  # type: ignore[no-untyped-call]


def receptive_fields(layer: Layer, image_shape: tuple[int, int, int], units: ArrayLike) -> NDArray[np.int64]:
    """The smallest rectangle of the image that holds all pixels a unit can depend on.

    Of a joint discriminator D(x, E(x)), what reaches it through E is left out.

    Parameters
    ----------
    layer : Layer
    image_shape : (height, width, channels)
    units : array of int ``(n, 3)``
        Channel, row and column in the layer's maps.

    Returns
    -------
    ndarray ``int64 (n, 4)``
        Top, bottom, left, right: rows ``top`` to ``bottom - 1``.

    Raises
    ------
    InputError
        If a unit does not exist, or depends on no pixel.
    """
    chosen = checked_units(layer, units, len(np.asarray(units)))
    distinct, back = np.unique(chosen, axis=0, return_inverse=True)
    with torch.inference_mode(False):
        # where there is float64 on every machine
        network = detached_copy(layer.network).cpu().double().requires_grad_(False)
        copy = Layer(network, layer.block, layer.stage, layer.prepare)
        found = [
            _fields(copy, image_shape, distinct[start : start + BATCH]) for start in range(0, len(distinct), BATCH)
        ]
    return np.concatenate(found)[back.ravel()]


def _fields(layer: Layer, image_shape: tuple[int, int, int], units: NDArray[np.int64]) -> NDArray[np.int64]:
    height, width, channels = image_shape
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand((DRAWS, channels, height, width), generator=generator, dtype=torch.float64) + 0.5
    x_NCHW = drawn.repeat(len(units), 1, 1, 1).requires_grad_()
    with torch.enable_grad():
        with _Connections():
            maps = run([layer], x_NCHW.clone())[0]
        channel, *place = torch.from_numpy(units).repeat_interleave(DRAWS, dim=0).T
        seen = maps[(torch.arange(len(maps)), channel, *place[: maps.ndim - 2])]
        gradient = torch.autograd.grad(seen.sum(), x_NCHW, allow_unused=True)[0] if seen.requires_grad else None
    if gradient is None:
        raise InputError(f"layer {layer.name} does not depend on the image in a way that can be followed")
    reached = (gradient != 0).reshape(len(units), DRAWS * channels, height, width).any(dim=1).numpy()
    rectangles = np.empty((len(units), 4), np.int64)
    for i, pixels in enumerate(reached):
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        if not len(rows):
            raise InputError(f"unit {tuple(units[i].tolist())} of layer {layer.name} depends on no pixel")
        rectangles[i] = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    return rectangles


def crop_size(fields: NDArray[np.int64]) -> tuple[int, int]:
    """Height and width of the largest of the fields."""
    return int((fields[:, 1] - fields[:, 0]).max()), int((fields[:, 3] - fields[:, 2]).max())


def crop(picture: NDArray[Any], field: NDArray[np.int64], size: tuple[int, int], fill: float) -> NDArray[Any]:
    """Cut a field out of a picture ``(h, w, c)`` into one of ``size``.

    A field that the image's border has cut is put against the other side of the crop, as if the image went on; the rest
    is ``fill``.
    """
    top, bottom, left, right = field.tolist()
    cut = np.full((*size, picture.shape[2]), fill, picture.dtype)
    row = size[0] - (bottom - top) if top == 0 else 0
    column = size[1] - (right - left) if left == 0 else 0
    cut[row : row + bottom - top, column : column + right - left] = picture[top:bottom, left:right]
    return cut
