"""Groups of duplicates: from equal codes or from pairs; and which image of a group is kept.

A group is named by its first row: ``groups[i]`` is the smallest row of the group of ``i``, and ``i`` itself for an
image without duplicates.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from ganfeat.prepare.duplicates.small import blocks

DIGEST = 16


def groups_of_codes(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Rows of equal bytes in one group.

    Parameters
    ----------
    codes : ndarray of uint8, shape (n, 16)

    Returns
    -------
    ndarray of int64, shape (n,)

    Notes
    -----
    By sorting: the time is that of sorting n numbers, and pairs are never formed.

    Examples
    --------
    >>> codes = np.zeros((4, 16), np.uint8)
    >>> codes[1, 3] = codes[3, 3] = 7
    >>> groups_of_codes(codes)
    array([0, 1, 0, 1])
    """
    halves = np.ascontiguousarray(codes).view(np.uint64)
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: in a run of equal codes the first row comes first
    in_order = halves[order]
    begins = np.ones(len(codes), bool)
    begins[1:] = (in_order[1:] != in_order[:-1]).any(axis=1)
    run = np.cumsum(begins) - 1
    groups = np.empty(len(codes), np.int64)
    groups[order] = order[begins][run] if len(codes) else order
    return groups


def groups_of_pairs(pairs: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Connected components of n rows under pairs ``(m, 2)``.

    Examples
    --------
    >>> groups_of_pairs(np.array([[4, 2], [0, 4]]), 5)
    array([0, 1, 0, 3, 0])
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (n, n))
    labels = connected_components(graph, directed=False)[1]
    first = np.full(n, n, np.int64)
    np.minimum.at(first, labels, np.arange(n))
    return first[labels]


def same_pixels(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Groups of images whose 32 x 32 pictures are equal, pixel for pixel."""
    digests = np.empty((len(images), DIGEST), np.uint8)
    for first, pictures in blocks(images):
        for i, picture in enumerate(pictures):
            digest = hashlib.blake2b(picture.tobytes(), digest_size=DIGEST).digest()
            digests[first + i] = np.frombuffer(digest, np.uint8)
    return groups_of_codes(digests)


def kept_rows(groups: NDArray[np.int64], areas: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Of each row, the row that its group keeps.

    Parameters
    ----------
    groups : ndarray of int64, shape (n,)
    areas : ndarray, shape (n,), optional
        Pixels of the images as they were found: the largest is kept, the first of several. Without it, the first.

    Examples
    --------
    >>> kept_rows(np.array([0, 0, 2, 0]), np.array([5, 9, 1, 9]))
    array([1, 1, 2, 1])
    """
    n = len(groups)
    if areas is None:
        return groups.copy()
    order = np.lexsort((np.arange(n), -np.asarray(areas, np.int64), groups))
    begins = np.ones(n, bool)
    begins[1:] = groups[order][1:] != groups[order][:-1]
    best = np.empty(n, np.int64)
    best[order] = order[begins][np.cumsum(begins) - 1] if n else order
    return best
