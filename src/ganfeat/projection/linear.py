"""A linear map of features to fewer of them, and its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ganfeat.checkpoint import read_tensors, write_atomically
from ganfeat.errors import InputError

FORMAT = "ganfeat projection 1"
_ROWS, _COLUMNS = 256, 16


@dataclass(frozen=True)
class Projection:
    """``(x - mean) @ components.T * scale``: principal components, whitened where scale is not 1.

    Parameters
    ----------
    mean : ndarray of float32 ``(n_features,)``
    components : ndarray of float32 ``(n_components, n_features)``
        Orthonormal rows, by falling variance; of each, the entry that is largest in magnitude is positive.
    scale : ndarray of float32 ``(n_components,)``
        1, or 1 / standard deviation.
    variance : ndarray of float64 ``(n_components,)``
        Of the rows learned from, along each component (sum of squares / (n - 1)).
    total_variance : float
        Of the rows learned from, all columns together.
    n_rows : int
        Learned from.
    about : dict
        How it was learned: plain values.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    scale: NDArray[np.float32]
    variance: NDArray[np.float64]
    total_variance: float
    n_rows: int
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_components(self) -> int:
        """Numbers a row afterwards."""
        return len(self.components)

    @property
    def n_features(self) -> int:
        """Numbers a row before."""
        return int(self.components.shape[1])

    @property
    def whitens(self) -> bool:
        """Whether all components come out with variance 1."""
        return bool((self.scale != 1).any())

    @property
    def kept(self) -> float:
        """Share of the variance that the components hold, 0 to 1."""
        return float(self.variance.sum() / self.total_variance) if self.total_variance > 0 else 1.0

    @cached_property
    def sha256(self) -> str:
        """16 hex digits of a SHA-256 over mean, components and scale: the same only of the same projection."""
        digest = hashlib.sha256(f"{self.n_components} {self.n_features}".encode())
        for array in (self.mean, self.components, self.scale):
            digest.update(np.ascontiguousarray(array, "<f4").data)
        return digest.hexdigest()[:16]

    def card(self) -> dict[str, Any]:
        """What is said of it beside features: plain values, the same only of the same projection."""
        return {
            "components": self.n_components,
            "of": self.n_features,
            "whitened": self.whitens,
            "share of variance": round(self.kept, 6),
            "learned from rows": self.n_rows,
            "sha256": self.sha256,
        }

    def first(self, n_components: int, *, whiten: bool | None = None) -> Projection:
        """The first components of this one, which are those that would have been learned.

        Parameters
        ----------
        n_components : int
            At most as many as there are.
        whiten : bool, optional
            By default as this one.
        """
        if not 1 <= n_components <= self.n_components:
            raise InputError(f"n_components={n_components}: give 1 to {self.n_components}, which is what was learned")
        variance = self.variance[:n_components]
        whiten = self.whitens if whiten is None else whiten
        return Projection(
            self.mean,
            self.components[:n_components],
            whitening(variance, self.total_variance) if whiten else np.ones(n_components, np.float32),
            variance,
            self.total_variance,
            self.n_rows,
            self.about,
        )

    def transform(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Project rows.

        Each row's numbers are the same bit for bit whatever rows are given with it: all products are of as many rows.

        Parameters
        ----------
        features : ndarray ``(n, n_features)``
            Of any kind of numbers; computed in float32.

        Returns
        -------
        ndarray of float32 ``(n, n_components)``

        Raises
        ------
        InputError
            If the rows are of another length.
        """
        if features.ndim != 2 or features.shape[1] != self.n_features:
            raise InputError(
                f"the projection was learned from rows of {self.n_features} features, these are {features.shape}: "
                "extract them with the same run and options"
            )
        mean, scale, components = self._tensors
        out = np.empty((len(features), self.n_components), np.float32)
        rows = torch.zeros(_ROWS, self.n_features)
        for start in range(0, len(features), _ROWS):
            block = np.asarray(features[start : start + _ROWS], np.float32)
            rows[: len(block)] = torch.from_numpy(_writable(block))
            rows[: len(block)] -= mean
            products = (rows @ components.T)[: len(block), : self.n_components]
            out[start : start + len(block)] = (products * scale).numpy()
        return out

    @cached_property
    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        padding = -self.n_components % _COLUMNS  # full tiles: the digits of a row do not depend on its place
        components = F.pad(torch.from_numpy(_writable(self.components)), (0, 0, 0, padding))
        return torch.tensor(self.mean), torch.tensor(self.scale), components

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_tensors"}

    def inverse_transform(self, projected: NDArray[Any]) -> NDArray[np.float32]:
        """Features whose projection this is, with nothing outside the components: ``(n, n_features)``, float32."""
        if projected.ndim != 2 or projected.shape[1] != self.n_components:
            raise InputError(f"the projection gives rows of {self.n_components} numbers, these are {projected.shape}")
        return ((projected / self.scale) @ self.components + self.mean).astype(np.float32)

    def save(self, path: Path | str) -> None:
        """Write a safetensors file, whole or not at all; its metadata is JSON under the name ``projection``."""
        from safetensors.numpy import save

        said = {
            "format": FORMAT,
            "total_variance": self.total_variance,
            "n_rows": self.n_rows,
            "about": dict(self.about),
        }
        tensors = {
            name: np.ascontiguousarray(getattr(self, name)) for name in ("mean", "components", "scale", "variance")
        }
        write_atomically(Path(path), save(tensors, metadata={"projection": json.dumps(said)}))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what :meth:`save` has written.

        Raises
        ------
        InputError
            If the file is absent, damaged, or holds something else.
        """
        from safetensors import safe_open

        path = Path(path)
        tensors = read_tensors(path)
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
        try:
            said = json.loads(metadata["projection"])
            if said["format"] != FORMAT:
                raise KeyError(said["format"])
            made = cls(
                mean=_numbers(tensors, "mean", torch.float32),
                components=_numbers(tensors, "components", torch.float32),
                scale=_numbers(tensors, "scale", torch.float32),
                variance=_numbers(tensors, "variance", torch.float64),
                total_variance=float(said["total_variance"]),
                n_rows=int(said["n_rows"]),
                about=dict(said["about"]),
            )
            rows, columns = made.components.shape
            if made.mean.shape != (columns,) or made.scale.shape != (rows,) or made.variance.shape != (rows,):
                raise ValueError("its tensors do not go together")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{path} holds no projection ({error}): give the file that --pca or `ganfeat reduce` has written"
            ) from None
        return made


def _numbers(tensors: Mapping[str, torch.Tensor], name: str, dtype: torch.dtype) -> NDArray[Any]:
    """A tensor of a file as an array of the type that is computed with.

    Raises
    ------
    ValueError
        If it does not hold numbers with a fraction, or holds NaN or infinite ones.
    """
    tensor = tensors[name]
    if not tensor.is_floating_point():
        raise ValueError(f"{name} is {str(tensor.dtype).removeprefix('torch.')}")
    array: NDArray[Any] = tensor.to(dtype).numpy()
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has NaN or infinite numbers")
    return array


def whitening(variance: NDArray[np.float64], total: float) -> NDArray[np.float32]:
    """1 / standard deviation of every component.

    Raises
    ------
    InputError
        If there are components without variance.
    """
    rank = int((variance > total * np.finfo(np.float32).eps).sum())
    if rank < len(variance):
        raise InputError(
            f"only {rank} components of the {len(variance)} vary, and whitening divides by their variance: "
            f"use n_components={max(1, rank)} or less, or no whitening"
        )
    return (1 / np.sqrt(variance)).astype(np.float32)


def _writable(array: NDArray[Any]) -> NDArray[Any]:
    """The array, or a copy of one that is read-only, which torch warns of."""
    return array if array.flags.writeable and array.flags.c_contiguous else np.array(array, order="C")
