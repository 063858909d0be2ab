"""Batch norm between training and use: re-estimated statistics instead of running averages.

While D trains, its running averages mix real and generated batches and lag behind the weights. The DCGAN
authors therefore estimate them anew on the target set, as the plain mean over batches (of 128), and freeze
them: a feature must never depend on what else is in its batch.

Where several processes train together, each norms by its own part of the mini-batch, unless they share their
statistics (:class:`SharedNorms`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ganfeat.distributed import reduce
from ganfeat.nets.blocks import at_least_float32

BatchNorm = nn.modules.batchnorm._BatchNorm


def batch_norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """All batch-norm layers of a network."""
    return [m for m in network.modules() if isinstance(m, BatchNorm)]


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[torch.Tensor], only: nn.Module | None = None) -> int:
    """Set every batch norm's statistics to the plain mean of those of the batches, in place.

    ``only`` is the part of the network whose batch norms are set; the others keep, and use, their statistics.

    Only batch-norm layers are in training mode meanwhile, so dropout stays silent. All layers' modes are
    as before afterwards.

    Returns
    -------
    int
        The number of batches used; 0 leaves the network as it was.
    """
    norms = batch_norms(network if only is None else only)
    if not norms:
        return 0
    modes = {m: m.training for m in network.modules()}
    kept = [(m, m.momentum, m.track_running_stats, m.running_mean is None) for m in norms]
    saved = [{k: v.clone() for k, v in m.named_buffers()} for m in norms]
    count = 0
    try:
        network.eval()
        for norm in norms:
            if not norm.track_running_stats or norm.running_mean is None:
                _add_statistics(norm)
            norm.reset_running_stats()
            norm.momentum = None  # cumulative average
            norm.train()
        for batch in batches:
            network(batch)
            count += 1
    finally:
        for norm, momentum, tracked, bare in kept:
            norm.momentum = momentum
            if count == 0 and bare:
                norm.track_running_stats = tracked
                norm.running_mean = norm.running_var = norm.num_batches_tracked = None
        for module, mode in modes.items():
            module.training = mode
        if count == 0:
            for norm, buffers in zip(norms, saved, strict=True):
                for name, value in buffers.items():
                    getattr(norm, name).copy_(value)
    return count


def _add_statistics(norm: nn.modules.batchnorm._BatchNorm) -> None:
    """Give a layer that was made without running statistics (always batch statistics) a place for them."""
    like: dict[str, Any] = {} if norm.weight is None else {"device": norm.weight.device, "dtype": norm.weight.dtype}
    norm.track_running_stats = True
    norm.running_mean = torch.zeros(norm.num_features, **like)
    norm.running_var = torch.ones(norm.num_features, **like)
    norm.num_batches_tracked = torch.tensor(0, dtype=torch.long, device=norm.running_mean.device)


class SharedNorms(TorchFunctionMode):
    """Within this context, batch norms that train take their statistics over the parts of all processes.

    The networks are not touched: whatever they call batch norm, with layers that they share or in a second call, is
    computed here. PyTorch's ``SyncBatchNorm`` has no kernel for CPUs and no second derivative. Every process must run
    the same networks in the same order on as many images.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take over the batch norms that use their batch's statistics."""
        if func is F.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    x: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """As :func:`torch.nn.functional.batch_norm`, over the mini-batch of all processes, in one message either way."""
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    wide = at_least_float32(x)
    places = [d for d in range(x.ndim) if d != 1]
    variance_C, mean_C = torch.var_mean(wide, places, correction=0)
    of_each_R2C = reduce.stacked(torch.stack([mean_C, variance_C]))
    means_RC, variances_RC = of_each_R2C.unbind(1)
    mean_C = means_RC.mean(0)
    variance_C = variances_RC.mean(0) + (means_RC - mean_C).square().mean(0)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            count = len(means_RC) * x.numel() / x.shape[1]
            running_mean.lerp_(mean_C.to(running_mean.dtype), momentum)
            running_var.lerp_((variance_C * (count / max(count - 1, 1))).to(running_var.dtype), momentum)
    shape = [1, -1, *[1] * (x.ndim - 2)]
    scale_C = (variance_C + eps).rsqrt()
    if weight is not None:
        scale_C = scale_C * weight
    y = (wide - mean_C.view(shape)) * scale_C.view(shape)
    if bias is not None:
        y = y + bias.view(shape)
    return y.to(x.dtype)
