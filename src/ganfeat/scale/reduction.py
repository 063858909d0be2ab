"""Principal components for an extraction: learned from some of its images, or given."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.batch import default_workers
from ganfeat.data.decode import quiet_pillow
from ganfeat.data.shards import Candidate, ShardedSource, read_shard
from ganfeat.errors import InputError
from ganfeat.feature_files import open_features
from ganfeat.features import FeatureExtractor
from ganfeat.projection import PROJECTION, Projection, find_projection, fit_projection
from ganfeat.scale.decoding import candidates_of, decoded

SAMPLE = 20_000
"""Images that components are learned from, evenly spaced."""
_SAMPLE_BYTES = 1 << 29
_SHARDS = 32
"""Tar files that they are taken from, where it is not known how many images there are."""

Stage = Callable[[str, float], AbstractContextManager[Callable[..., None]]]


def pca_setting(components: int | None, whiten: bool, given: Path | None) -> dict[str, Any] | None:
    """What a plan says of it: the same only if the projection will be."""
    if components is None and given is None:
        return None
    said = None
    if given is not None:
        file = find_projection(given, "--pca-from")
        said = hashlib.sha256(file.read_bytes()).hexdigest() if file is not None else str(given.absolute())
    return {"components": components, "whiten": whiten, "from": said}


def given_projection(
    given: Path, components: int | None, whiten: bool, extractor: FeatureExtractor, stage: Stage
) -> Projection:
    """Read a projection, or learn it from features that lie in files.

    Raises
    ------
    InputError
        If it is of features of another length.
    """
    columns = extractor.n_features_out_
    file = find_projection(given, "--pca-from")
    if file is not None:
        projection = Projection.load(file)
        if projection.n_features != columns:
            raise InputError(
                f"--pca-from {given} was learned from {projection.n_features:,} features an image, and there are "
                f"{columns:,}: use the same run, taps and pool"
            )
        return projection.first(
            projection.n_components if components is None else components, whiten=True if whiten else None
        )
    table = open_features(given)
    if table.n_features != columns:
        raise InputError(
            f"--pca-from {given} has {table.n_features:,} features an image, and there are {columns:,}: extract it "
            f"with the same run, taps and pool (a folder made with --pca has {PROJECTION} in it)"
        )
    if components is None:
        raise InputError(f"--pca-from {given} holds features: say with --pca how many components to learn from them")
    with stage("learning components", 0) as update:
        return fit_projection(
            table.blocks,
            components,
            whiten=whiten,
            device=extractor.device,
            n_rows=table.n_rows,
            progress=lambda done, total: update(done, total),
        )


def learned_projection(
    extractor: FeatureExtractor, source: ShardedSource, components: int, whiten: bool, stage: Stage
) -> Projection:
    """Learn a projection from features of at most :data:`SAMPLE` images, evenly spaced.

    Parameters
    ----------
    extractor : FeatureExtractor
        Fitted.
    source : ShardedSource
    components : int
    whiten : bool
    stage : callable
    """
    height, _, channels = extractor.image_shape_
    with stage("reading images to learn from", 0) as update:
        images = sample(source, height, channels, update)
    if len(images) <= components:
        raise InputError(
            f"--pca {components} needs more images than that to learn from, and {len(images)} could be read: use fewer "
            "components, or --pca-from"
        )
    with stage("learning components", 0) as update:
        return fit_projection(
            lambda: extractor.iterate(images),
            components,
            whiten=whiten,
            device=extractor.device,
            n_rows=len(images),
            progress=lambda done, total: update(done, total),
        )


def sample(
    source: ShardedSource, size: int, channels: int, update: Callable[..., None], most: int = SAMPLE
) -> NDArray[np.uint8]:
    """Decode evenly spaced images of all shards, or the first of evenly spaced tar files.

    Returns
    -------
    ndarray of uint8 ``(at most most, size, size, channels)``
    """
    most = max(1, min(most, _SAMPLE_BYTES // (size * size * channels)))
    found = []
    threads = default_workers()
    with quiet_pillow(), ThreadPoolExecutor(threads) as pool:
        for candidates in _some(source, most):
            for block in decoded(0, candidates, size, channels, 256, pool, threads + 2):
                found.append(block.images.copy())
                update(sum(map(len, found)), most)
    return np.concatenate(found) if found else np.empty((0, size, size, channels), np.uint8)


def _some(source: ShardedSource, most: int) -> Iterator[Iterator[Candidate]]:
    if source.count is not None:
        for shard in source.shards():
            yield candidates_of(shard, source.count, most)
        return
    shards = list(source.shards())
    kept = [shards[i * len(shards) // min(_SHARDS, len(shards))] for i in range(min(_SHARDS, len(shards)))]
    for shard in kept:
        yield islice(read_shard(shard), math.ceil(most / len(kept)))
