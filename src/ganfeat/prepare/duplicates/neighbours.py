"""Nearest rows through faiss: exact for few, by inverted lists for many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.errors import MissingExtraError

EXACT = 4096
"""Rows up to which all are compared with all."""
LIST = 400
"""Rows of an inverted list, about."""
PROBES = 8
"""Lists that are searched: the time of a query does not depend on the number of rows."""
MANY = 1024
"""Lists from which on the nearest are looked for in a graph (HNSW) and not among all."""
_TRAINING = 64
_BLOCK = 8192


def require_faiss() -> Any:
    """The library.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise MissingExtraError("faiss-cpu", "ann", "Looking for near duplicates by features") from None
    return faiss


def nearest(
    n: int,
    read: Callable[[int, int], NDArray[np.float32]],
    k: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Find the ``k`` nearest other rows of every row, block by block, in order.

    Parameters
    ----------
    n : int
        Rows in all.
    read : callable(start, stop)
        Gives rows as float32 ``(stop - start, d)``; it is called three times for each.
    k : int
    seed : int
        Of the k-means that makes the lists.
    progress : callable(done, total), optional

    Yields
    ------
    (rows, distances), each of shape (block, k)
        Nearest first; -1 and infinity where there is none. Distances are euclidean.

    Notes
    -----
    Rows are kept as float16. Above 4,096 of them, about ``n / 400`` lists are made by k-means, and a query looks at the
    rows of 8 of them. Up to 1,024 lists (409,600 rows) a row's lists are found by comparing it with all of them; above,
    in a graph (Malkov & Yashunin 2018), in time ``log n`` a row. The k-means takes a time that is quadratic in ``n``
    with a small constant: some ``n * n / 250`` distances.
    """
    faiss = require_faiss()
    width = read(0, 1).shape[1] if n else 1
    index = _index(faiss, n, width, read, seed)
    for start in range(0, n, _BLOCK):
        index.add(read(start, min(n, start + _BLOCK)))
    k_found = min(k + 1, n)
    for start in range(0, n, _BLOCK):
        stop = min(n, start + _BLOCK)
        squares, found = index.search(read(start, stop), k_found)
        yield _without_self(found, squares, np.arange(start, stop), k)
        if progress is not None:
            progress(stop, n)


def _index(faiss: Any, n: int, width: int, read: Callable[[int, int], NDArray[np.float32]], seed: int) -> Any:
    half = faiss.ScalarQuantizer.QT_fp16
    if n <= EXACT:
        return faiss.IndexFlatL2(width)
    lists = n // LIST
    sample = _spread_sample(n, lists * _TRAINING, read)
    settings = faiss.ClusteringParameters()
    settings.seed, settings.niter, settings.max_points_per_centroid = seed % 2**31, 10, _TRAINING
    clustering = faiss.Clustering(width, lists, settings)
    clustering.train(sample, faiss.IndexFlatL2(width))
    quantizer = _quantizer(faiss, faiss.vector_to_array(clustering.centroids).reshape(lists, width))
    index = faiss.IndexIVFScalarQuantizer(quantizer, width, lists, half, faiss.METRIC_L2, False)
    index.nprobe = PROBES
    index.train(sample)
    return index


def _quantizer(faiss: Any, centroids: NDArray[np.float32]) -> Any:
    """Finds the nearest centroids."""
    lists, width = centroids.shape
    if lists < MANY:
        flat = faiss.IndexFlatL2(width)
        flat.add(centroids)
        return flat
    graph = faiss.IndexHNSWFlat(width, 32)
    graph.hnsw.efConstruction, graph.hnsw.efSearch = 80, 64
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # threads would add rows in an order of chance
    try:
        graph.add(centroids)
    finally:
        faiss.omp_set_num_threads(threads)
    return graph


def _spread_sample(n: int, size: int, read: Callable[[int, int], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Evenly spaced rows, read in order block by block."""
    rows = np.unique(np.linspace(0, n - 1, min(n, size)).astype(np.int64))
    parts = []
    for start in range(0, n, _BLOCK):
        inside = rows[(rows >= start) & (rows < start + _BLOCK)] - start
        if len(inside):
            parts.append(read(start, min(n, start + _BLOCK))[inside])
    return np.concatenate(parts)


def _without_self(
    found: NDArray[np.int64], squares: NDArray[np.float32], rows: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Drop the row itself; where equal rows have pushed it out, the last."""
    own = found == rows[:, None]
    own[~own.any(axis=1), -1] = True
    order = np.argsort(own, axis=1, kind="stable")[:, :-1]
    others = np.full((len(rows), k), -1, np.int64)
    distances = np.full((len(rows), k), np.inf, np.float32)
    width = order.shape[1]
    others[:, :width] = np.take_along_axis(found, order, axis=1)
    distances[:, :width] = np.sqrt(np.maximum(np.take_along_axis(squares, order, axis=1), 0))
    distances[others < 0] = np.inf
    return others, distances
