"""Networks as one graph from pixels to what is asked of them, without Python's help: what exporters can follow.

A :class:`~ganfeat.FeatureExtractor` watches a network while it runs. The same watching, done once while PyTorch records
the operations, leaves a graph in which the taps are ordinary outputs. Only the pooling is written anew, in operations
that other runtimes have.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ganfeat.arrays import Scaling
from ganfeat.features import FeatureExtractor, detached_copy
from ganfeat.nets.blocks import Given
from ganfeat.nets.mgan import MultiGenerator
from ganfeat.projection import Projection


def windows(side: int, cells: int) -> list[tuple[int, int]]:
    """First and last (exclusive) pixel of each cell, as adaptive pooling cuts a side; windows may overlap.

    >>> windows(7, 4)
    [(0, 2), (1, 4), (3, 6), (5, 7)]
    """
    return [(i * side // cells, -(-(i + 1) * side // cells)) for i in range(cells)]


def pooled(x_NCHW: torch.Tensor, size: Any, pooling: str) -> torch.Tensor:
    """Adaptive pooling of maps whose height and width are known, without an adaptive operation.

    Parameters
    ----------
    x_NCHW : Tensor ``(N, C, H, W)``
    size : int or (int or None, int or None)
        Cells; None keeps a side.
    pooling : {"avg", "max"}

    Returns
    -------
    Tensor ``(N, C, *size)``
    """
    height, width = (int(side) for side in x_NCHW.shape[2:])
    rows, columns = (size, size) if isinstance(size, int) else size
    rows, columns = height if rows is None else rows, width if columns is None else columns
    if (rows, columns) == (height, width):
        return x_NCHW
    if height % rows == 0 and width % columns == 0:
        kernel = (height // rows, width // columns)
        return F.max_pool2d(x_NCHW, kernel) if pooling == "max" else F.avg_pool2d(x_NCHW, kernel)
    for axis, side, cells in ((2, height, rows), (3, width, columns)):  # both are separable
        parts = [x_NCHW.narrow(axis, start, stop - start) for start, stop in windows(side, cells)]
        ends = [p.amax(axis, keepdim=True) if pooling == "max" else p.mean(axis, keepdim=True) for p in parts]
        x_NCHW = torch.cat(ends, axis)
    return x_NCHW


class Portable(TorchFunctionMode):
    """Replace adaptive pooling, which ONNX knows only where the sides divide, by operations that it knows."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the function, or what stands for it."""
        kwargs = kwargs or {}
        name = {F.adaptive_max_pool2d: "max", F.adaptive_avg_pool2d: "avg"}.get(func)
        if name is not None and args and args[0].ndim == 4 and not kwargs.get("return_indices", len(args) > 2):
            return pooled(args[0], args[1] if len(args) > 1 else kwargs["output_size"], name)
        return func(*args, **kwargs)


class Features(nn.Module):
    """Images ``(N, H, W, C)`` to features ``float32 (N, n_features)``, as a fitted extractor gives them in float32.

    Parameters
    ----------
    extractor : FeatureExtractor
        Fitted; copied.
    scaling : Scaling, optional
        Of images that are floats in a range of their own. Without it they are ``uint8``.
    projection : Projection, optional
        Applied to the features.
    """

    def __init__(
        self, extractor: FeatureExtractor, scaling: Scaling | None = None, projection: Projection | None = None
    ) -> None:
        super().__init__()
        twin = copy.copy(extractor)
        twin.network_ = detached_copy(extractor.network_).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        twin.network = twin.network_
        twin.device_, twin.precision_ = torch.device("cpu"), "fp32"
        twin.device, twin.precision, twin.dtype = "cpu", "fp32", "float32"
        self.extractor = twin  # no module: it must not be looked into for weights twice
        self.network = twin.network_
        self.scaling = scaling
        self.projected = None if projection is None else Projected(projection)
        self.eval().requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Preprocessing, the network, taps, pooling, flattening, side by side."""
        if self.scaling is not None:
            half = (self.scaling.high - self.scaling.low) / 2
            images = (images - self.scaling.low) / half - 1
        with Portable():
            rows = self._rows(images)
            if self.extractor.mirror:
                rows = (rows + self._rows(images.flip(2))) / 2
        return rows if self.projected is None else self.projected(rows)

    def _rows(self, images: torch.Tensor) -> torch.Tensor:
        taps = self.extractor._capture(self.extractor._prepared(images), whole=True)
        return torch.cat([x.flatten(1) for x in taps], dim=1)


class Projected(nn.Module):
    """A projection (PCA, whitening) with torch's operations."""

    def __init__(self, projection: Projection) -> None:
        super().__init__()
        for name in ("mean", "components", "scale"):
            self.register_buffer(name, torch.from_numpy(np.array(getattr(projection, name), np.float32)))

    def forward(self, rows_NF: torch.Tensor) -> torch.Tensor:
        """``(N, n_features)`` to ``(N, n_components)``."""
        centred_NF = rows_NF - self.get_buffer("mean")
        return F.linear(centred_NF, self.get_buffer("components")) * self.get_buffer("scale")


class Images(nn.Module):
    """Latents ``float32 (N, n_components)`` to images ``uint8 (N, H, W, C)``, and to G's own ``float32`` in [-1, 1].

    Parameters
    ----------
    decoder : nn.Module
        As :meth:`ganfeat.DCGAN.decoder` gives it; copied.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        if isinstance(decoder, Given) and isinstance(decoder.generator, MultiGenerator):
            index = int(decoder.get_buffer("told"))  # rows are dealt to generators by their values: no graph holds that
            decoder = nn.Sequential(decoder.generator.firsts[index], decoder.generator.shared)
        network = detached_copy(decoder)
        self.network = network.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.eval().requires_grad_(False)

    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rounded to the nearest of 0..255; and as G draws them."""
        with Portable():
            values = self.network(z).float().permute(0, 2, 3, 1)
        return ((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8), values
