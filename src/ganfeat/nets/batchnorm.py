"""Batch norm between training and use: re-estimated statistics instead of running averages.

While D trains, its running averages mix real and generated batches and lag behind the weights. The DCGAN
authors therefore estimate them anew on the target set, as the plain mean over batches (of 128), and freeze
them: a feature must never depend on what else is in its batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

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
