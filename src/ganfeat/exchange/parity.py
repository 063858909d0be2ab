"""Whether an ONNX file says the same as PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganfeat.arrays import ImageShape, Scaling
from ganfeat.errors import InputError, RunError
from ganfeat.features import FeatureExtractor, detached_copy
from ganfeat.projection import Projection

TOLERANCE = 1e-4
"""Largest difference from PyTorch that is accepted; of features larger than 1, as a share of the largest."""
BATCHES = (1, 2, 5, 16)
"""Sizes of batches that are compared, and all at once."""


def images_to_compare(images: Any, shape: ImageShape, scaling: Scaling | None) -> NDArray[Any]:
    """Images to compare on: ``uint8``, or floats in the model's range."""
    if images is None:
        height, width, channels = shape
        rng = np.random.default_rng(0)
        made = [np.zeros(shape), np.full(shape, 255.0)]
        for coarse in (1, 2, 4, 8):
            small = rng.uniform(0, 255, (8, -(-height // coarse), -(-width // coarse), channels))
            made += list(small.repeat(coarse, 1).repeat(coarse, 2)[:, :height, :width])
        given = np.stack(made)
        order = rng.permutation(len(given))
        if scaling is None:
            return np.rint(given[order]).astype(np.uint8)
        return (given[order] / 255 * (scaling.high - scaling.low) + scaling.low).astype(np.float32)
    given = np.asarray(getattr(images, "images", images))
    if given.shape[1:] != shape or not len(given):
        raise InputError(f"images to compare on are {given.shape}, the model takes (n, {', '.join(map(str, shape))})")
    if (given.dtype == np.uint8) != (scaling is None):
        raise InputError(
            f"images to compare on are {given.dtype}, and the file would take "
            + (
                "uint8: for floats in a range of their own give scaling, e.g. Scaling(-1, 1)"
                if scaling is None
                else "floats"
            )
        )
    given = np.concatenate([given] * -(-max(BATCHES) // len(given))) if len(given) < max(BATCHES) else given
    return given if scaling is None else given.astype(np.float32)


def features_by_torch(
    extractor: FeatureExtractor, scaling: Scaling | None, projection: Projection | None, images: NDArray[Any]
) -> NDArray[Any]:
    """Features as the extractor itself gives them in float32: its own path from arrays to rows, not the graph's."""
    twin = FeatureExtractor(extractor.network_)
    twin.__dict__.update(extractor.__dict__)
    twin.network_ = detached_copy(extractor.network_).to("cpu")
    twin.device_, twin.precision_, twin.dtype, twin.batch_size = torch.device("cpu"), "fp32", "float32", 16
    rows = twin.transform(images if scaling is None else scaling.to_networks(images))
    return rows if projection is None else projection.transform(rows)


def compare(
    content: bytes,
    batch: NDArray[Any],
    name: str,
    expected: Callable[[NDArray[Any]], list[NDArray[Any]]],
    tolerance: float,
) -> dict[str, Any]:
    """Run the file by onnxruntime beside the network, in batches of several sizes.

    Parameters
    ----------
    content : bytes
        Of the ONNX file.
    batch : ndarray ``(n, ...)``
    name : str
        Of the input.
    expected : callable
        Gives the outputs as PyTorch has them, ``float32 (n, ...)`` each; of one that the file gives as ``uint8``, the
        values in [-1, 1] that it rounds.
    tolerance : float
        See :data:`TOLERANCE`.

    Raises
    ------
    RunError
        If they differ by more.
    """
    session = open_session(content)
    wanted = expected(batch)
    largest = max(float(np.abs(w).max()) for w in wanted)
    difference, sizes = 0.0, [size for size in BATCHES if size <= len(batch)]
    allowed = tolerance * max(1.0, largest)
    for size in [*sizes, len(batch)]:
        for start in range(0, len(batch) - size + 1, size):
            rows = slice(start, start + size)
            for ours, theirs in zip(session.run(None, {name: batch[rows]}), wanted, strict=True):
                if ours.shape != theirs[rows].shape:
                    raise RunError(
                        f"the ONNX file gives {ours.shape} and PyTorch {theirs[rows].shape}: nothing was written"
                    )
                off = _off(ours, theirs[rows])
                if not off <= allowed:
                    raise RunError(
                        f"onnxruntime and PyTorch differ by {off:.2g} on a batch of {size}, and at most {allowed:.2g} "
                        f"was asked for (the largest value is {largest:.3g}): nothing was written"
                    )
                difference = max(difference, off)
    return {
        "difference": difference,
        "largest": largest,
        "allowed": allowed,
        "images": len(batch),
        "batches": sorted({*sizes, len(batch)}),
    }


def _off(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Largest difference; of pixels, beyond the half step that rounding takes."""
    wanted = theirs.astype(np.float64)
    if ours.dtype != np.uint8:
        return float(np.abs(ours.astype(np.float64) - wanted).max())
    steps = np.clip((wanted + 1) * 127.5, 0, 255)
    return float(max(0.0, np.abs(ours.astype(np.float64) - steps).max() - 0.5) / 127.5)


def open_session(content: bytes | Path, threads: int | None = None) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU, as many threads as PyTorch has, errors only.

    Parameters
    ----------
    content : bytes or Path
        Of an ONNX file.
    threads : int, optional
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    given = content if isinstance(content, bytes) else str(content)
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
