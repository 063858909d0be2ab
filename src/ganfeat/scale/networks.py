"""The networks of an extraction: made ready once, kept in the folder, and made again by every worker.

Batch-norm statistics that are estimated on images are estimated once, so that all workers have the same digits. A
worker takes the architecture from the run and all numbers from the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.checkpoint import read_tensors, write_atomically
from ganfeat.errors import InputError
from ganfeat.features import FeatureExtractor
from ganfeat.projection import PROJECTION, Projection
from ganfeat.scale.output import Output
from ganfeat.scale.plan import gone

_EXTRACTOR = ("taps", "at", "pool", "pooling", "mirror", "dtype", "precision")
_NETWORK, _UNTRAINED = "network.safetensors", "untrained.safetensors"


@dataclass
class Networks:
    """What turns images into columns.

    Parameters
    ----------
    trained : FeatureExtractor
    untrained : FeatureExtractor or None
        Of the same layers of the network before its training, if it is asked for.
    projection : Projection or None
        Applied to the features of the trained network.
    """

    trained: FeatureExtractor
    untrained: FeatureExtractor | None = None
    projection: Projection | None = None

    @property
    def n_features(self) -> int:
        """Numbers an image."""
        return self.trained.n_features_out_ if self.projection is None else self.projection.n_components

    def features(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Rows ``(n, n_features)`` of at most a batch of images."""
        rows = self.trained.transform(images) if len(images) else _none(self.trained)
        if self.projection is None:
            return rows
        return self.projection.transform(rows).astype(self.trained.dtype, copy=False)

    def columns(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The baselines, if they are asked for: raw pixels, features of the untrained network."""
        if self.untrained is None:
            return {}
        rows = self.untrained.transform(images) if len(images) else _none(self.untrained)
        return {"pixels": images.reshape(len(images), -1), "random_init": rows}

    def save(self, output: Output) -> None:
        """Keep all numbers in the folder."""
        _write(output.work / _NETWORK, self.trained)
        if self.untrained is not None:
            _write(output.work / _UNTRAINED, self.untrained)
        if self.projection is not None:
            self.projection.save(output.path / PROJECTION)

    @classmethod
    def load(cls, output: Output, gan: Any, settings: Mapping[str, Any], batch_size: int) -> Networks:
        """Make them again, of the run's architecture.

        Raises
        ------
        InputError
            If the run is not that of the plan, or the numbers are gone.
        """
        names = [_NETWORK, *([_UNTRAINED] if settings["baselines"] else [])]
        paths = [output.work / name for name in names] + ([output.path / PROJECTION] if settings["pca"] else [])
        for path in paths:
            if not path.exists():
                raise gone(path, output)
        return cls(
            _read(output.work / _NETWORK, gan, settings, batch_size),
            _read(output.work / _UNTRAINED, gan, settings, batch_size) if settings["baselines"] else None,
            Projection.load(output.path / PROJECTION) if settings["pca"] else None,
        )


def extractor_settings(settings: Mapping[str, Any], batch_size: int) -> dict[str, Any]:
    """Parameters of the plan's extractor, but for its batch norm."""
    return {name: settings[name] for name in _EXTRACTOR} | {"pool": settings["pool"] or None, "batch_size": batch_size}


def _none(extractor: FeatureExtractor) -> NDArray[Any]:
    return np.empty((0, extractor.n_features_out_), extractor.dtype)


def _write(path: Path, extractor: FeatureExtractor) -> None:
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().clone() for name, tensor in extractor.network_.state_dict().items()}
    write_atomically(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))


def _read(path: Path, gan: Any, settings: Mapping[str, Any], batch_size: int) -> FeatureExtractor:
    extractor: FeatureExtractor = gan.extractor(
        settings["network"], bn="eval", **extractor_settings(settings, batch_size)
    )
    try:
        extractor.network_.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        raise InputError(
            f"the run is not the one that {path.parent.parent} was begun with ({str(error).splitlines()[0]}): give "
            "that one, or another --out"
        ) from None
    return extractor
