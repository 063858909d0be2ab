"""The networks of a comparison: loaded runs, and the features of all their layers in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.checkpoint import RunFolder
from ganfeat.errors import InputError
from ganfeat.estimators import load
from ganfeat.features import FeatureExtractor, needs_file

ALL = "all"


@dataclass(frozen=True)
class Network:
    """A run, its untrained twin where it keeps one, and where each layer is in the features of all of them."""

    name: str
    run: str
    gan: Any
    config: dict[str, Any]
    extractor: FeatureExtractor
    twin: FeatureExtractor | None
    columns: dict[str, slice]

    def card(self) -> dict[str, Any]:
        """What it is, for the result."""
        gan = self.gan
        return {
            "name": self.name,
            "run": self.run,
            "network": f"{gan.method} {gan.network}, width {gan.width}, {gan.n_iter_} epochs",
            "seed": self.config["seed"],
            "image_shape": list(gan.image_shape_),
            "taps": [tap.name for tap in self.extractor.taps_],
            "features": self.extractor.n_features_out_,
            "precision": self.extractor.precision_,
            "untrained twin": self.twin is not None,
        }


def open_networks(runs: Sequence[Path | str], device: str, settings: dict[str, Any], notes: list[str]) -> list[Network]:
    """Load runs, each once, ready to be tapped.

    Parameters
    ----------
    runs : sequence of path
    device : str
    settings : dict
        Of the extractor: ``at``, ``pool``, ``pooling``.
    notes : list of str
        What a person should know of what was left out is added to it.

    Raises
    ------
    InputError
        If a folder is no run, or its network cannot be compared.
    """
    places: dict[Path, Path] = {}
    for run in runs:
        places.setdefault(Path(run).resolve(), Path(run))
    paths = list(places.values())
    if len(paths) < len(runs):
        notes.append("A run that was given twice is compared once.")
    names = [path.resolve().name for path in paths]
    networks = []
    for path, name in zip(paths, names, strict=True):
        folder = RunFolder(path)
        config = folder.config()
        gan = load(path, device=device)
        height, width, _ = gan.image_shape_
        if height != width:
            raise InputError(
                f"{path} was trained on {height} x {width} images; compare reads square ones: leave it out, or use "
                "Python's load()"
            )
        extractor = gan.extractor(taps=ALL, **settings)
        columns = layer_columns(extractor)
        if not columns:
            raise InputError(f"{path}: its {gan.network} has no conv layers to compare: leave it out")
        twin = None
        if folder.read_untrained() is None:
            notes.append(f"{path} keeps no untrained network: its layers stand without their untrained twins.")
        else:
            twin = gan.random_init().extractor(taps=ALL, **settings)
        name = name if names.count(name) == 1 else str(path)
        networks.append(Network(name, str(path), gan, config, extractor, twin, columns))
    return networks


def layer_columns(extractor: FeatureExtractor) -> dict[str, slice]:
    """Where each tap of a fitted extractor is in its features.

    By index, and all together under ``"all"``; a single tap is not repeated as all.
    """
    columns, start = {}, 0
    taps = groupby(name.rpartition("[")[0] for name in extractor.get_feature_names_out())
    for index, (_, group) in enumerate(taps):
        stop = start + len(list(group))
        columns[str(index)] = slice(start, stop)
        start = stop
    return {**columns, ALL: slice(0, start)} if len(columns) > 1 else columns


def extract(
    extractor: FeatureExtractor, pixels: NDArray[np.uint8], folder: Path, update: Callable[..., None]
) -> NDArray[np.float32]:
    """Features of images, in memory, or in a file of the folder: see :func:`~ganfeat.features.needs_file`.

    Parameters
    ----------
    extractor : FeatureExtractor
        Fitted.
    pixels : ndarray of uint8 ``(n, h, w, c)``
    folder : Path
        Temporary; a file of an extraction before is overwritten.
    update : callable(done, total)

    Returns
    -------
    ndarray or memory map of float32 ``(n, n_features_out_)``

    Raises
    ------
    InputError
        If the disk of the folder has no room for them.
    """
    file = folder / "features.npy"
    file.unlink(missing_ok=True)
    advice = "use --limit, a smaller --pool, or set TMPDIR to a folder on a larger disk"
    if needs_file(extractor, len(pixels), folder, advice):
        return extractor.transform_to(file, pixels, update)
    return extractor.transform(pixels, update)
