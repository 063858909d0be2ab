"""The images of a data set that excite channels most, found in one pass and constant memory.

Names: :class:`Top`, :func:`scan` (all channels of several layers in one pass), :func:`top_images` (of one layer).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganfeat.arrays import release
from ganfeat.errors import InputError
from ganfeat.inspection.layer import Layer, run

BATCH = 256
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Top:
    """The most exciting images of channels of a layer, strongest first, at most one position of each.

    Attributes
    ----------
    channels : ndarray ``int64 (C,)``
        Which channels of the layer.
    values : ndarray ``float32 (C, k)``
        Activation.
    images : ndarray ``int64 (C, k)``
        Index of the image; equal values in this order.
    positions : ndarray ``int64 (C, k, 2)``
        Row and column of the unit; of equal ones the first, row by row.
    """

    channels: NDArray[np.int64]
    values: NDArray[np.float32]
    images: NDArray[np.int64]
    positions: NDArray[np.int64]

    def row(self, channel: int) -> int:
        """Where a channel is in the arrays; InputError if it was not asked for."""
        found = np.flatnonzero(self.channels == channel)
        if not len(found):
            raise InputError(f"channel {channel} was not looked at, only {_listed(self.channels)}")
        return int(found[0])

    def units(self, channel: int, count: int | None = None) -> NDArray[np.int64]:
        """Channel, row and column of a channel's strongest units, ``int64 (k, 3)``."""
        positions = self.positions[self.row(channel)][:count]
        return np.column_stack([np.full(len(positions), channel), positions])


def top_images(
    layer: Layer,
    images: NDArray[Any],
    count: int = 9,
    channels: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Top:
    """:func:`scan` of a single layer; ``channels`` are those to look at, by default all.

    Raises
    ------
    InputError
        If a channel does not exist.
    """
    wanted = np.arange(layer.channels) if channels is None else checked_channels(layer, channels)
    return _scan([layer], [wanted], images, count, progress)[0]


def scan(layers: Sequence[Layer], images: NDArray[Any], count: int = 9, progress: Progress | None = None) -> list[Top]:
    """Find the images that excite every channel of several layers of one network most.

    The network runs once a batch, in float32. Memory does not grow with the number of images, which may be a memory
    map.

    Parameters
    ----------
    layers : sequence of Layer
        See :func:`ganfeat.inspection.layer.layers_of`.
    images : ndarray of uint8 ``(n, h, w, c)``
    count : int
        How many images a channel; all where there are fewer.
    progress : callable(done, total), optional
        Called after every batch. What it raises ends the scan.

    Returns
    -------
    list of Top
        One a layer.

    Raises
    ------
    InputError
        If there are no images, the network does not take them, or its activations are not finite.
    """
    return _scan(layers, [np.arange(layer.channels) for layer in layers], images, count, progress)


def _scan(
    layers: Sequence[Layer],
    channels: Sequence[NDArray[np.int64]],
    images: NDArray[Any],
    count: int,
    progress: Progress | None,
) -> list[Top]:
    n = len(images)
    if n == 0 or count < 1:
        raise InputError(f"{n} images, count={count}: at least one of each is needed")
    kept: list[tuple[torch.Tensor, ...] | None] = [None] * len(layers)
    size = min(BATCH, n)
    for start in range(0, n, size):
        block = images[start : start + size]
        fresh = len(block)
        # always as many rows: other batches run other kernels, which round otherwise
        full = np.concatenate([block, np.repeat(block[-1:], size - fresh, axis=0)]) if fresh < size else block
        with torch.inference_mode():
            found = run(layers, layers[0].prepare(full))
            for i, maps in enumerate(found):
                best, place = (
                    maps[:fresh, channels[i]]
                    .flatten(2 if maps.ndim > 2 else 1)
                    .reshape(fresh, len(channels[i]), -1)
                    .max(dim=2)
                )
                if not torch.isfinite(best).all():
                    raise InputError(f"layer {layers[i].name} gives values that are not finite: the training diverged")
                rows = torch.arange(start, start + fresh, device=best.device).expand(len(channels[i]), fresh)
                kept[i] = _best(kept[i], (best.T, rows, place.T), count)
        release(images)
        if progress is not None:
            progress(start + fresh, n)
    return [_top(layer, wanted, best) for layer, wanted, best in zip(layers, channels, kept, strict=True) if best]


def _best(
    kept: tuple[torch.Tensor, ...] | None, fresh: tuple[torch.Tensor, ...], count: int
) -> tuple[torch.Tensor, ...]:
    """Of values ``(C, n)`` and what goes along with them the largest; the earlier of equal ones first."""
    both = fresh if kept is None else tuple(torch.cat(pair, dim=1) for pair in zip(kept, fresh, strict=True))
    order = both[0].sort(dim=1, descending=True, stable=True).indices[:, :count]
    return tuple(values.gather(1, order) for values in both)


def _top(layer: Layer, channels: NDArray[np.int64], best: tuple[torch.Tensor, ...]) -> Top:
    values, images, place = (tensor.cpu().numpy() for tensor in best)
    positions = np.stack(np.divmod(place, layer.grid[1]), axis=-1)
    return Top(channels.astype(np.int64), values.astype(np.float32), images, positions)


def checked_channels(layer: Layer, channels: Sequence[int]) -> NDArray[np.int64]:
    """Channels as an array; InputError if one is not in the layer, or named twice."""
    chosen = np.asarray(channels)
    if chosen.ndim != 1 or not len(chosen) or chosen.dtype.kind not in "iu":
        raise InputError(f"channels={channels!r}: give whole numbers, at least one")
    outside = chosen[(chosen < 0) | (chosen >= layer.channels)]
    if len(outside):
        raise InputError(f"there is no channel {outside[0]} in layer {layer.name}: it has 0 to {layer.channels - 1}")
    if len(np.unique(chosen)) < len(chosen):
        raise InputError(f"channels {_listed(chosen)}: one is named twice")
    return chosen.astype(np.int64)


def _listed(channels: NDArray[np.int64]) -> str:
    return ", ".join(map(str, channels[:10].tolist())) + (", …" if len(channels) > 10 else "")
