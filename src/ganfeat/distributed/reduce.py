"""Sums over the processes that gradients pass through, for what couples the images of a mini-batch.

Each of R processes has the loss L_r of its part of the batch, and the gradient of the whole is the mean of theirs. So
what a process must pass back through a number that all have contributed to is the sum of all their derivatives by it:
the derivative of a sum over the processes is such a sum again, to any order, so that penalties on gradients are right
as well. Every process must call these the same number of times in the same order.
"""

from __future__ import annotations

from typing import Any

import torch

from ganfeat.distributed.team import team


class _Sum(torch.autograd.Function):
    """A sum over the processes; its derivative is one, too."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return team().sum_(x.detach().clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return total(gradient)


def total(x: torch.Tensor) -> torch.Tensor:
    """Sum over the processes, of tensors of one shape; ``x`` itself where there is one process."""
    if team().size == 1:
        return x
    added: torch.Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return added


def mean(x: torch.Tensor) -> torch.Tensor:
    """Mean over the processes, of tensors of one shape; ``x`` itself where there is one process."""
    return x if team().size == 1 else total(x) / team().size


def stacked(x: torch.Tensor) -> torch.Tensor:
    """Tensors of all processes by rank, ``(size, *x.shape)``."""
    places = torch.zeros(team().size, device=x.device, dtype=x.dtype)
    places[team().rank] = 1
    return total(places.view(-1, *[1] * x.ndim) * x)
