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
from ganfeat.features import OUTPUT, FeatureExtractor, needs_file

ALL = "all"
SIDES = {"encoder": "E", "discriminator": "D", "classifier": "C"}
"""What is added to the name of a run that has both."""


@dataclass(frozen=True)
class Network:
    """A network of a run, its untrained twin where there is one, and where each layer is in the features of all."""

    name: str
    run: str
    tapped: str
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
            "network": gan.describe(self.tapped),
            "tapped": self.tapped,
            "seed": self.config["seed"],
            "image_shape": list(gan.image_shape_),
            "taps": [tap.name for tap in self.extractor.taps_],
            "features": self.extractor.n_features_out_,
            "precision": self.extractor.precision_,
            "untrained twin": self.twin is not None,
        }


def open_networks(runs: Sequence[Path | str], device: str, settings: dict[str, Any], notes: list[str]) -> list[Network]:
    """Load runs, each once, ready to be tapped: the discriminator of a DCGAN, E and D of a run that has an encoder.

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
        untrained = None
        if folder.read_untrained() is None:
            notes.append(f"{path} keeps no untrained network: its layers stand without their untrained twins.")
        else:
            untrained = gan.random_init()
        name = name if names.count(name) == 1 else str(path)
        for tapped in gan.objective_.taps():
            taps = [OUTPUT, ALL] if tapped == "encoder" else ALL
            extractor = gan.extractor(tapped, taps=taps, **settings)
            twin = None if untrained is None else untrained.extractor(tapped, taps=taps, **settings)
            full = f"{name} {SIDES[tapped]}" if set(gan.objective_.taps()) != {"discriminator"} else name
            networks.append(Network(full, str(path), tapped, gan, config, extractor, twin, layer_columns(extractor)))
    return networks


def layer_columns(extractor: FeatureExtractor) -> dict[str, slice]:
    """Where each tap of a fitted extractor is in its features.

    The network's output by its name, layers by index, and all of these together under ``"all"``; a single layer is not
    repeated as all.
    """
    columns, start, layers = {}, 0, list[int]()
    taps = groupby(name.rpartition("[")[0] for name in extractor.get_feature_names_out())
    for tap, group in taps:
        stop = start + len(list(group))
        if tap == OUTPUT:
            columns[tap] = slice(start, stop)
        else:
            columns[str(len(layers))] = slice(start, stop)
            layers.append(start)
        start = stop
    return {**columns, ALL: slice(layers[0], start)} if len(layers) > 1 else columns


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
