"""The single-layer k-means features: what any learned features of images should be compared with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.nn import functional as F

from ganfeat.arrays import ImageShape, Scaling, all_finite, as_images, resolve_image_shape
from ganfeat.config import require
from ganfeat.device import resolve_device
from ganfeat.errors import InputError

MOST_PATCHES = 400_000
PATCHES_PER_CENTROID = 250
CONTRAST = 10.0
"""Added to the variance of a patch, in squared steps of 0..255, so that noise in a flat one is not blown up."""
_BLOCK_BYTES = 1 << 21
_BLOCK_ROWS = 4096


class KMeansFeatures(TransformerMixin, BaseEstimator):
    """Patches of images, whitened, told by how near they are to centroids, summed over the parts of the image.

    ``fit`` samples patches, gives each mean 0 and contrast 1, ``(x - mean) / sqrt(var + 10)``, whitens them (ZCA) and
    finds centroids by k-means. ``transform`` takes every patch of an image, at every pixel, and its distances ``z`` to
    the centroids; its activations are ``max(0, mean(z) - z)`` ("triangle"), summed over each cell of a grid.

    Parameters
    ----------
    n_centroids : int
    patch_size : int
        Side, in pixels.
    pool : int
        Side of the grid: 2 is four quadrants.
    n_patches : int, optional
        To learn from. By default 250 for each centroid, at least 50,000 and at most 400,000.
    eps : float
        Added to the variances that whitening divides by.
    max_iter : int
        Rounds of k-means.
    image_shape : (height, width, channels), optional
        Shape of the images when rows are given; see :func:`ganfeat.arrays.resolve_image_shape`.
    random_state : int
        Of the patches and the first centroids.
    device : {"auto", "cpu", "cuda", "mps"}

    Attributes
    ----------
    centroids_ : ndarray of float32 ``(n_centroids, patch_size, patch_size, channels)``
        In the whitened space.
    mean_ : ndarray of float32 ``(n_pixels,)``
        Of the normalised patches, ``n_pixels = patch_size ** 2 * channels``.
    whitening_ : ndarray of float32 ``(n_pixels, n_pixels)``
        Symmetric.
    n_iter_ : int
        Rounds of k-means done.
    image_shape_ : (height, width, channels)
    scaling_ : Scaling
        What range of numbers is 0..255. Of ``uint8`` itself, of others the range seen in ``fit``.

    References
    ----------
    A. Coates, H. Lee, A. Y. Ng, "An Analysis of Single-Layer Networks in Unsupervised Feature Learning", AISTATS 2011,
    sections 3 and 4.

    A. Coates, A. Y. Ng, "Learning Feature Representations with K-means", in Neural Networks: Tricks of the Trade, 2nd
    ed., 2012.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)
    >>> KMeansFeatures(n_centroids=10).fit(images).transform(images).shape
    (20, 40)
    """

    def __init__(
        self,
        n_centroids: int = 400,
        *,
        patch_size: int = 6,
        pool: int = 2,
        n_patches: int | None = None,
        eps: float = 0.1,
        max_iter: int = 10,
        image_shape: ImageShape | None = None,
        random_state: int = 0,
        device: str = "auto",
    ) -> None:
        self.n_centroids = n_centroids
        self.patch_size = patch_size
        self.pool = pool
        self.n_patches = n_patches
        self.eps = eps
        self.max_iter = max_iter
        self.image_shape = image_shape
        self.random_state = random_state
        self.device = device

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn whitening and centroids from images, without labels.

        Parameters
        ----------
        X : array or ImageDataset ``(n, h, w, c)``, or rows
        y : ignored

        Raises
        ------
        InputError
            If a parameter is out of range, or the images are smaller than a patch, or not finite.
        """
        for name in ("n_centroids", "patch_size", "pool", "max_iter"):
            require(name, getattr(self, name), int, least=1)
        require("eps", self.eps, float, above=0)
        require("random_state", self.random_state, int, least=0)
        count = self.n_patches
        if count is None:
            count = min(MOST_PATCHES, max(50_000, PATCHES_PER_CENTROID * self.n_centroids))
        require("n_patches", count, int, least=1)
        if count < self.n_centroids:
            raise InputError(f"n_patches={count} is less than n_centroids={self.n_centroids}: give at least as many")
        device = resolve_device(self.device)
        images = self._images(X, fitting=True)
        generator = np.random.default_rng(self.random_state)
        patches = normalise(torch.from_numpy(self._sample(images, count, generator)))
        self.mean_, self.whitening_ = whiten(patches.numpy(), self.eps)
        points = (patches - torch.from_numpy(self.mean_)) @ torch.from_numpy(self.whitening_)
        centroids = lloyd(points, self.n_centroids, self.max_iter, generator, device)
        self.n_iter_ = self.max_iter
        side, channels = self.patch_size, self.image_shape_[2]
        self.centroids_: NDArray[np.float32] = centroids.numpy().reshape(-1, side, side, channels)
        return self

    def _images(self, X: Any, *, fitting: bool = False) -> NDArray[Any]:
        if isinstance(X, str | Path):
            raise InputError(f"X is a path: read the images first, load_images({str(X)!r})")
        array = getattr(X, "images", X)
        if getattr(array, "ndim", 0) not in (3, 4):
            array = validate_data(self, array, reset=fitting, dtype="numeric")
            shape = resolve_image_shape(array.shape[1], self.image_shape) if fitting else self.image_shape_
        else:
            array = np.asarray(array)
            array = array[..., None] if array.ndim == 3 else array
            shape = array.shape[1:] if fitting else self.image_shape_
            if not len(array):
                raise InputError("there are 0 images: give at least 1")
            if not all_finite(array):
                raise InputError("images have NaN or infinite pixels: remove or replace them first")
        images = as_images(array, shape)
        if fitting:
            height, width, channels = map(int, shape)
            self.image_shape_: ImageShape = (height, width, channels)
            self.n_features_in_ = height * width * channels
            self.scaling_ = Scaling.learn(images)
            self._integer = images.dtype == np.uint8
            if min(height, width) < self.patch_size:
                raise InputError(
                    f"images are {height}x{width}, smaller than a patch: use patch_size={min(height, width)} or less"
                )
            places = min(height, width) - self.patch_size + 1
            if places < self.pool:
                raise InputError(
                    f"images of {height}x{width} have {places} patches of side {self.patch_size} along an edge: "
                    f"use pool={places} or less, or smaller patches"
                )
        if (images.dtype == np.uint8) != self._integer:
            raise InputError(
                f"the features were fitted on {'uint8' if self._integer else 'other numbers than uint8'}, "
                f"and these images are {images.dtype}: give the same kind"
            )
        return images

    def _bytes(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """As numbers 0..255."""
        if self._integer:
            return pixels.astype(np.float32)
        low, high = self.scaling_.low, self.scaling_.high
        return ((pixels.astype(np.float64) - low) * (255 / (high - low))).astype(np.float32)

    def _sample(self, images: NDArray[Any], count: int, generator: np.random.Generator) -> NDArray[np.float32]:
        """Random patches, flattened: ``(count, n_pixels)``."""
        side = self.patch_size
        windows = np.lib.stride_tricks.sliding_window_view(images, (side, side), axis=(1, 2))  # type: ignore[call-overload]
        n, rows, columns = windows.shape[:3]
        chosen = np.sort(generator.integers(n, size=count))  # in the order of the file, for memory maps
        patches = windows[chosen, generator.integers(rows, size=count), generator.integers(columns, size=count)]
        return self._bytes(patches.transpose(0, 2, 3, 1).reshape(count, -1))

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Features of images.

        Parameters
        ----------
        X : array or ImageDataset ``(n, h, w, c)``, or rows

        Returns
        -------
        ndarray of float32 ``(n, n_centroids * pool ** 2)``
        """
        check_is_fitted(self)
        images = self._images(X)
        device = resolve_device(self.device)
        height, width, _ = self.image_shape_
        side, count = self.patch_size, len(self.centroids_)
        shape = (height - side + 1, width - side + 1)
        mean, whitening, centroids, cells = (
            torch.from_numpy(a).to(device)
            for a in (self.mean_, self.whitening_, self.centroids_.reshape(count, -1), pooling(*shape, self.pool))
        )
        offset = -mean @ whitening
        budget = _BLOCK_BYTES if device.type == "cpu" else 128 * _BLOCK_BYTES
        size = max(1, budget // (4 * math.prod(shape) * count))
        features = np.empty((len(images), count * self.pool**2), np.float32)
        with torch.inference_mode():
            for start in range(0, len(images), size):
                block = images[start : start + size]
                n = len(block)
                if n < size:  # always as many: the same kernels give the same digits
                    block = np.concatenate([block, np.repeat(block[-1:], size - n, axis=0)])
                x_NHWC = torch.from_numpy(self._bytes(block)).to(device)
                patches = x_NHWC.unfold(1, side, 1).unfold(2, side, 1).permute(0, 1, 2, 4, 5, 3)
                points = torch.addmm(offset, normalise(patches.reshape(size * math.prod(shape), -1)), whitening)
                active_NPK = triangle(points, centroids).view(size, -1, count)
                sums_NKC = (cells @ active_NPK).transpose(1, 2)
                features[start : start + n] = sums_NKC[:n].reshape(n, -1).cpu().numpy()
        return features

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """``kmeans[centroid,row,column]`` for every feature."""
        check_is_fitted(self)
        cells = np.ndindex(len(self.centroids_), self.pool, self.pool)
        return np.array([f"kmeans[{','.join(map(str, cell))}]" for cell in cells], dtype=object)


def normalise(patches: torch.Tensor) -> torch.Tensor:
    """``(x - mean) / sqrt(var + 10)`` of every row ``(n, n_pixels)``, pixels being 0..255."""
    return F.layer_norm(patches, patches.shape[1:], eps=CONTRAST)


def whiten(rows: NDArray[np.float32], eps: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and ZCA matrix ``V (D + eps)^-1/2 V^T``, where ``V D V^T`` is the covariance of the rows."""
    mean = rows.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), _BLOCK_ROWS):
        centred = rows[start : start + _BLOCK_ROWS] - mean
        covariance += centred.T @ centred
    values, vectors = np.linalg.eigh(covariance / len(rows))
    matrix = (vectors / np.sqrt(np.maximum(values, 0) + eps)) @ vectors.T
    return mean.astype(np.float32), matrix.astype(np.float32)


def lloyd(
    points: torch.Tensor, count: int, rounds: int, generator: np.random.Generator, device: torch.device
) -> torch.Tensor:
    """Centroids ``(count, n_features)`` by Lloyd's k-means from random points.

    A centroid that is nearest to no point becomes a random point. The sums are made on the CPU, in the order of the
    points: the same digits on any number of threads, which scikit-learn's ``KMeans`` does not promise.
    """
    centroids = points[np.sort(generator.choice(len(points), count, replace=False))]
    for _ in range(rounds):
        c_KD = centroids.to(device)
        half_K = c_KD.square().sum(dim=1).div_(2)
        nearest = torch.cat(
            [
                torch.addmm(half_K, x.to(device), c_KD.T, alpha=-1).argmin(dim=1).cpu()
                for x in torch.split(points, _BLOCK_ROWS)
            ]
        )
        sizes = torch.bincount(nearest, minlength=count)
        sums = torch.zeros(count, points.shape[1]).index_add_(0, nearest, points)
        centroids = sums / sizes.clamp(min=1)[:, None]
        empty = torch.nonzero(sizes == 0)[:, 0]
        centroids[empty] = points[generator.choice(len(points), len(empty), replace=False)]
    return centroids


def triangle(points: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """``max(0, mean(z) - z)``, where ``z`` are the distances of a point to all centroids (Coates et al., eq. 3)."""
    z_PK = torch.cdist(points, centroids, compute_mode="use_mm_for_euclid_dist")
    return torch.sub(z_PK.mean(dim=1, keepdim=True), z_PK, out=z_PK).clamp_(min=0)


def pooling(rows: int, columns: int, grid: int) -> NDArray[np.float32]:
    """Which places ``(grid ** 2, rows * columns)`` belong to which cell: 1 or 0. Earlier cells are the larger ones."""
    across = [
        np.stack([np.isin(np.arange(n), part) for part in np.array_split(np.arange(n), grid)]) for n in (rows, columns)
    ]
    return np.kron(*across).astype(np.float32)
