"""Images in memory (or in a memory map) together with what is known of them."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganfeat.errors import InputError

_BLOCK_BYTES = 1 << 24


class Skipped(NamedTuple):
    """An image that could not be read: its name, and why."""

    source: str
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class ImageDataset:
    """Images as bytes, with labels, class names and origins where they are known.

    NumPy and scikit-learn take it as the array ``images`` itself: it has ``shape``, ``dtype`` and
    ``ndim``, ``numpy.asarray(dataset)`` copies nothing, and indexing with a slice, a mask or an array of
    indices gives the :class:`ImageDataset` of those images, labels included.

    Parameters
    ----------
    images : ndarray or memmap of uint8, shape (n, height, width, channels)
        Pixels in 0..255.
    labels : array of int64, shape (n,), optional
        -1 where the label of an image is not known.
    classes : tuple of str, optional
        ``classes[label]`` is the name of a label.
    ids : tuple of str, optional
        Where each image came from: its path relative to the folder, or ``file.parquet:row``.
    skipped : tuple of Skipped
        The images that could not be read, which are not in ``images``.
    source : str
        What was read, in words.

    Raises
    ------
    InputError
        If the pixels are not uint8 ``(n, height, width, channels)``, or there are not as many labels or
        ids as images.

    Examples
    --------
    >>> import numpy as np
    >>> from ganfeat.data import ImageDataset
    >>> dataset = ImageDataset(np.zeros((4, 8, 8, 1), dtype=np.uint8), labels=np.array([0, 1, 1, 0]))
    >>> dataset[dataset.labels == 1].shape
    (2, 8, 8, 1)
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    skipped: tuple[Skipped, ...] = ()
    source: str = "array"

    def __post_init__(self) -> None:
        images: Any = self.images
        if not isinstance(images, np.ndarray):
            raise InputError(f"images is a {type(images).__name__}: give a NumPy array, or use load_images")
        if images.dtype != np.uint8:
            raise InputError(f"images is {images.dtype}: convert it to uint8 in 0..255, or use load_images")
        if images.ndim != 4:
            raise InputError(f"images has shape {images.shape}: expected (n, height, width, channels)")
        count = len(images)
        if self.labels is not None:
            labels = np.asarray(self.labels)
            if labels.shape != (count,) or labels.dtype.kind not in "iu":
                raise InputError(f"labels is {labels.dtype} of shape {labels.shape}: expected {count} integers")
            object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(self.classes))
        if self.ids is not None:
            object.__setattr__(self, "ids", tuple(self.ids))
            if len(self.ids) != count:
                raise InputError(f"{len(self.ids)} ids for {count} images: give one an image")
        object.__setattr__(self, "skipped", tuple(Skipped(*entry) for entry in self.skipped))

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, height, width, channels)``."""
        return self.images.shape

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Always uint8."""
        return self.images.dtype

    @property
    def ndim(self) -> int:
        """Always 4."""
        return self.images.ndim

    def __len__(self) -> int:
        return len(self.images)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.images, dtype=dtype, copy=copy, subok=False)

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, key: slice | Sequence[int] | NDArray[Any]) -> ImageDataset: ...
    @overload
    def __getitem__(self, key: tuple[Any, ...]) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        """One image for an integer, a dataset for a slice, mask or indices, pixels for a tuple."""
        if isinstance(key, tuple):
            return self.images[key]
        if isinstance(key, slice):
            return self._take(key, range(len(self))[key])
        if np.ndim(key) == 0:
            return self.images[operator.index(key)]
        return self.subset(key)

    def subset(self, indices: ArrayLike) -> ImageDataset:
        """Take some of the images, in the order given.

        Parameters
        ----------
        indices : array-like, shape (m,)
            Integers in ``-n..n-1``, or a boolean mask of length n.

        Returns
        -------
        ImageDataset
            Of m images, with their labels and ids. Nothing that was skipped is carried over.

        Raises
        ------
        InputError
            If the indices are of another kind, or out of range.
        """
        chosen = np.asarray(indices)
        if chosen.size == 0:
            chosen = chosen.astype(np.int64)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iub":
            raise InputError(f"indices is {chosen.dtype} of shape {chosen.shape}: give 1-D integers or a mask")
        if chosen.dtype == np.bool_:
            if len(chosen) != len(self):
                raise InputError(f"a mask of {len(chosen)} for {len(self)} images: give one value an image")
            chosen = np.flatnonzero(chosen)
        if chosen.size and (int(chosen.min()) < -len(self) or int(chosen.max()) >= len(self)):
            raise InputError(f"index {chosen.min()} or {chosen.max()} is out of range for {len(self)} images")
        return self._take(chosen, chosen.tolist())

    def _take(self, key: Any, rows: Sequence[int]) -> ImageDataset:
        return ImageDataset(
            images=self.images[key],
            labels=None if self.labels is None else self.labels[key],
            classes=self.classes,
            ids=None if self.ids is None else tuple(self.ids[row] for row in rows),
            source=self.source,
        )

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of the shape and the pixels (not of labels or names).

        Reads in blocks of 16 MiB, so a memory map larger than the memory will do.
        """
        digest = hashlib.sha256(repr(tuple(map(int, self.shape))).encode())
        rows = max(1, _BLOCK_BYTES // max(1, self.images[:1].nbytes))
        for start in range(0, len(self), rows):
            digest.update(np.ascontiguousarray(self.images[start : start + rows]).data)
        return digest.hexdigest()

    def __repr__(self) -> str:
        count, height, width, channels = self.shape
        parts = [f"{count} images of {height}×{width}×{channels} from {self.source}"]
        if self.labels is not None:
            known = len(self.classes) if self.classes is not None else len(np.unique(self.labels))
            parts.append(f"{known} classes")
        if self.skipped:
            parts.append(f"{len(self.skipped)} skipped")
        if isinstance(self.images, np.memmap):
            parts.append("memory-mapped")
        return f"<ImageDataset: {', '.join(parts)}>"
