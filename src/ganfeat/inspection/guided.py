"""Gradients of a unit with respect to the image: plain, and by guided backpropagation.

Guided backpropagation (J. T. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller, "Striving for Simplicity: The All
Convolutional Net", ICLR 2015 workshop, section 3.4): on its way back through a rectifier the gradient passes where the
rectifier's input was positive (as in backpropagation through a ReLU) and where the gradient itself is positive (as in a
deconvnet); elsewhere it is set to 0. So of a leaky rectifier the negative side passes nothing, and the positive one its
slope. It is a picture of what in the image pushed the unit up; the values are no derivatives. Bounded and smooth
activations (tanh, sigmoid, GELU, SiLU, softplus) keep their derivative, and so does a rectifier that is written as
arithmetic (``x * (x > 0)``, ``torch.where``).

Names: :func:`image_gradients`, :class:`Guided`.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ganfeat.errors import InputError
from ganfeat.inspection.layer import Layer, run

RULES = ("guided", "plain")
RECTIFIERS = frozenset(
    {
        F.relu,
        F.relu_,
        torch.relu,
        torch.relu_,
        torch.Tensor.relu,
        torch.Tensor.relu_,
        F.leaky_relu,
        F.leaky_relu_,
        F.prelu,
        torch.prelu,
        torch.Tensor.prelu,
        F.rrelu,
        F.rrelu_,
        torch.rrelu,
        torch.rrelu_,
        F.relu6,
        F.elu,
        F.elu_,
        F.celu,
        F.celu_,
        F.selu,
        F.selu_,
        torch.celu,
        torch.celu_,
        torch.selu,
        torch.selu_,
    }
)
"""Functions with a kink at 0, linear (or bounded above) beyond it."""
CLAMPS = frozenset(
    {
        torch.clamp,
        torch.clamp_,
        torch.clip,
        torch.clip_,
        torch.clamp_min,
        torch.clamp_min_,
        torch.Tensor.clamp,
        torch.Tensor.clamp_,
        torch.Tensor.clip,
        torch.Tensor.clip_,
        torch.Tensor.clamp_min,
        torch.Tensor.clamp_min_,
        F.hardtanh,
        F.hardtanh_,
        F.threshold,
        torch.threshold,
    }
)
"""Rectifiers if they cut at 0."""


class _Below(torch.autograd.Function):
    """A copy; on the way back, the gradient where the input is positive."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x > 0)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradient: torch.Tensor) -> torch.Tensor:
        (positive,) = ctx.saved_tensors
        return gradient[0] * positive


class _Above(torch.autograd.Function):
    """The same values; on the way back, the gradient where it is positive."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradient: torch.Tensor) -> torch.Tensor:
        return gradient[0].clamp(min=0)


class Guided(TorchFunctionMode):
    """Within it, gradients pass rectifiers, modules and functions alike, by the rule of guided backpropagation.

    Values are as without it. Nothing is registered on a network. What follows a network at the same time, such as
    :class:`ganfeat.tracing.Watch`, is to be entered after it.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the function between two gates if it is a rectifier."""
        kwargs = dict(kwargs or {})
        if not (func in RECTIFIERS or (func in CLAMPS and _cuts_at_zero(args, kwargs))):
            return func(*args, **kwargs)
        source = args[0] if args else kwargs.pop("input")
        given = _Below.apply(source)  # type: ignore[no-untyped-call]
        output = func(given, *args[1:], **kwargs)
        above = _Above.apply(output)  # type: ignore[no-untyped-call]
        return source.copy_(above) if output is given else above  # in place, as the caller knows it


def _cuts_at_zero(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a clamp's lower bound, or a threshold, is the number 0."""
    named = [kwargs[name] for name in ("min", "min_val", "threshold") if name in kwargs]
    lower = named[0] if named else (args[1] if len(args) > 1 else None)
    return isinstance(lower, int | float) and lower == 0


def image_gradients(layer: Layer, x_NCHW: torch.Tensor, units: ArrayLike, rule: str = "guided") -> NDArray[np.float32]:
    """Gradients of one unit an image with respect to that image.

    Computed in float32, with frozen batch-norm statistics, whatever mode the network is in; it is left as it was,
    and its weights need no gradients.

    Parameters
    ----------
    layer : Layer
    x_NCHW : Tensor ``(N, C, H, W)``
        As ``layer.prepare`` gives it.
    units : array of int ``(N, 3)``
        Channel, row and column of the unit in the layer's maps; row and column are 0 in a layer without maps.
    rule : {"guided", "plain"}

    Returns
    -------
    ndarray ``float32 (N, H, W, C)``
        Signed: per unit of what the network takes, not per grey level.

    Raises
    ------
    InputError
        If a unit does not exist, or the network cuts the gradient off.
    """
    if rule not in RULES:
        raise InputError(f"rule={rule!r} is not known: choose {' or '.join(RULES)}")
    chosen = checked_units(layer, units, len(x_NCHW))
    with torch.inference_mode(False), torch.enable_grad():
        x_NCHW = x_NCHW.detach().clone().float().requires_grad_()
        with Guided() if rule == "guided" else nullcontext():
            maps = run([layer], x_NCHW.clone())[0]  # a copy: the network may overwrite what it is given
        rows = torch.arange(len(maps), device=maps.device)
        channel, *place = (index.to(maps.device) for index in torch.from_numpy(chosen).T)
        seen = maps[(rows, channel, *place[: maps.ndim - 2])]
        gradient = torch.autograd.grad(seen.sum(), x_NCHW, allow_unused=True)[0] if seen.requires_grad else None
    if gradient is None:
        raise InputError(f"no gradient of layer {layer.name} reaches the image: the network cuts it off")
    return np.ascontiguousarray(gradient.permute(0, 2, 3, 1).cpu().numpy())


def checked_units(layer: Layer, units: ArrayLike, n: int) -> NDArray[np.int64]:
    """Units as ``int64 (n, 3)``; InputError if one is not in the layer."""
    chosen = np.asarray(units)
    if chosen.shape != (n, 3) or chosen.dtype.kind not in "iu":
        raise InputError(f"units is {chosen.dtype} of shape {chosen.shape}: give {n} rows of channel, row, column")
    bounds = np.array([layer.channels, *layer.grid])
    outside = ((chosen < 0) | (chosen >= bounds)).any(axis=1)
    if outside.any():
        raise InputError(
            f"there is no unit {tuple(chosen[outside][0].tolist())} in layer {layer.name}: it has {layer.channels} "
            f"channels of {layer.grid[0]} x {layer.grid[1]}"
        )
    return chosen.astype(np.int64)
