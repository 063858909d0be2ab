"""The measurement: every layer of every network, its untrained twin, and the baselines, under one protocol."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.comparison import findings
from ganfeat.comparison.images import Images, read
from ganfeat.comparison.networks import ALL, Network, extract, open_networks
from ganfeat.device import describe_machine
from ganfeat.features import OUTPUT
from ganfeat.probes import FewLabels, few_label_curve, label_free
from ganfeat.probes.baselines import principal_components
from ganfeat.probes.curves import CENTRED, Stage
from ganfeat.probes.kmeans import KMeansFeatures
from ganfeat.tracing import STAGES

BASELINES = {"raw_pixels": "raw pixels", "pca": "PCA", "kmeans": "k-means features"}
PATCH = 6


def compare_networks(
    runs: Sequence[Path | str],
    data: Any,
    protocol: FewLabels,
    stage: Stage,
    *,
    test: Any = None,
    limit: int | None = None,
    at: str = "activation",
    pool: int | None = 4,
    pooling: str = "max",
    device: str = "auto",
) -> dict[str, Any]:
    """Few-label accuracy of every layer of every network, and of all its layers together.

    A run with an encoder counts as two networks, E and D, where it has a D; of E the output E(x) is a row, too.

    Parameters
    ----------
    runs : sequence of path
        Run folders. One that is given twice is taken once.
    data
        Images with labels, as :func:`ganfeat.load_images` takes them; read at the size of each network. Those
        whose label is -1 are left out.
    protocol : FewLabels
        Its seed also decides which images are held out.
    stage
        Opens progress displays.
    test : optional
        Images to score on. By default a fifth of ``data``, stratified, is held out.
    limit : int, optional
        Use so many images of ``data`` and of ``test``, evenly spaced.
    at, pool, pooling
        As for :class:`~ganfeat.features.FeatureExtractor`.
    device : {"auto", "cpu", "cuda", "mps"}

    Returns
    -------
    dict
        ``rows``, one for a set of features: ``name``, ``kind`` (``baseline``, ``untrained`` or ``trained``),
        ``network``, ``tap``, ``features``, ``accuracy`` (:func:`~ganfeat.probes.few_label_curve`); of trained ones
        also ``over_untrained`` (paired difference by labels per class, None without a twin) and ``label_free``. Then
        what :func:`~ganfeat.comparison.findings.conclusions` gives, and ``networks``, ``images``, ``protocol``,
        ``machine``, ``seconds`` by stage, and ``notes``.

    Raises
    ------
    InputError
        If a run is none, or the images cannot be scored.
    """
    clock, notes = _Clock(), list[str]()
    with clock("loading"), stage("loading networks", 0):
        networks = open_networks(runs, device, {"at": at, "pool": pool, "pooling": pooling}, notes)
    with clock("reading"):
        shapes = list(dict.fromkeys(network.gan.image_shape_ for network in networks))
        seeds = [network.config["seed"] for network in networks]
        images = read(data, test, shapes, stage, limit=limit, seed=protocol.seed, other_seeds=seeds)

    def scored(rows: NDArray[Any], update: Callable[..., None], standardise: bool = True) -> dict[str, Any]:
        y, cut = images.labels, images.learn
        with clock("probing"):
            curve = few_label_curve(
                rows[:cut],
                y[:cut],
                rows[cut:],
                y[cut:],
                protocol,
                standardise=standardise,
                progress=update,
                device=device,
            )
        return {"features": int(rows.shape[1]), "accuracy": curve}

    rows: list[findings.Row] = []
    for shape in shapes:
        size = f" ({shape[0]} x {shape[1]} x {shape[2]})" if len(shapes) > 1 else ""
        for key, words in BASELINES.items():
            with stage(f"{words}{size}", 0) as update:
                with clock("baselines"):
                    features = _baseline(key, images.pixels[shape], images.learn, protocol.seed, device)
                row: findings.Row = {"name": f"{words}{size}", "kind": "baseline", "network": None, "tap": key}
                rows.append(row | scored(features, update, standardise=key not in CENTRED))

    sample = label_free.sample(images.learn)
    neighbours: dict[tuple[str, str], NDArray[np.int64]] = {}
    with tempfile.TemporaryDirectory(prefix="ganfeat-compare-") as folder:
        for network in networks:
            pixels = images.pixels[network.gan.image_shape_]
            for kind, extractor in (("untrained", network.twin), ("trained", network.extractor)):
                if extractor is None:
                    continue
                words = f"{network.name} untrained" if kind == "untrained" else network.name
                with stage(f"features of {words}", len(pixels)) as update, clock("extracting"):
                    union = extract(extractor, pixels, Path(folder), update)
                for tap, columns in network.columns.items():
                    layer = _layer(network, tap, at)
                    row = {"name": f"{words}, {layer}", "kind": kind, "network": network.name, "tap": tap}
                    with stage(row["name"], 0) as update:
                        rows.append(row | scored(union[:, columns], update))
                        if kind == "trained":
                            with clock("label-free"):
                                seen = np.ascontiguousarray(union[sample, columns])
                                near = neighbours[network.name, tap] = label_free.nearest_neighbours(seen)
                                rows[-1]["label_free"] = findings.measures(seen, near, protocol.seed)
                del union
    twins = {(row["network"], row["tap"]): row for row in rows if row["kind"] == "untrained"}
    agreement = findings.between_networks(neighbours)
    for row in rows:
        if row["kind"] == "trained":
            place = row["network"], row["tap"]
            row["over_untrained"] = findings.over(row, twins[place]) if place in twins else None
            row["label_free"]["network_agreement"] = agreement[place]
    notes += _seen_notes(networks, images, protocol.seed)
    return {
        **findings.conclusions(rows, protocol.seed),
        "rows": rows,
        "networks": [network.card() | {"images": _seen(network, images)} for network in networks],
        "images": images.card,
        "protocol": protocol.card() | _card(networks, images, len(sample), at, pool, pooling),
        "machine": describe_machine(networks[0].gan.device_),
        "seconds": clock.seconds(),
        "notes": notes,
    }


class _Clock:
    """Seconds by stage; a stage may be entered several times."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._stages[name] = self._stages.get(name, 0.0) + time.perf_counter() - began

    def seconds(self) -> dict[str, float]:
        """So far, by stage, and in all."""
        stages = {**self._stages, "total": time.perf_counter() - self._began}
        return {name: round(seconds, 2) for name, seconds in stages.items()}


def _baseline(key: str, pixels: NDArray[np.uint8], learn: int, seed: int, device: str) -> NDArray[Any]:
    """Features that no network made, learned from the first ``learn`` images where they learn."""
    rows = pixels.reshape(len(pixels), -1)
    if key == "pca":
        return np.concatenate(principal_components(rows[:learn], rows[learn:]))
    if key == "kmeans":
        patch = min(PATCH, max(1, pixels.shape[1] - 1))
        return KMeansFeatures(patch_size=patch, random_state=seed, device=device).fit(pixels[:learn]).transform(pixels)
    return rows


def _layer(network: Network, tap: str, at: str) -> str:
    """What a layer is called in the name of its row."""
    last = max((t for t in network.columns if t.isdecimal()), key=int)
    if network.tapped == "encoder" and tap == last and at == STAGES[-1]:
        return f"layer {tap} (trunk)"
    return {ALL: "all layers", OUTPUT: "output"}.get(tap, f"layer {tap}")


def _learned_from(network: Network) -> str | None:
    found = (network.config.get("data") or {}).get("fingerprint")
    return None if found is None else str(found)


def _seen(network: Network, images: Images) -> str:
    return images.seen(network.gan.image_shape_, _learned_from(network), supervised=network.gan.supervised)


def _seen_notes(networks: Sequence[Network], images: Images, seed: int) -> list[str]:
    """What a person should know of the networks and the held-out images."""
    names: dict[str, list[str]] = {}
    for network in networks:
        sentence = f"{_seen(network, images)}."
        other = images.other_seed(network.gan.image_shape_, _learned_from(network))
        if other is not None:
            sentence += f" With --seed {other} instead of {seed}, those would be held out that it held out itself."
        names.setdefault(sentence, []).append(network.name)
    return [f"{', '.join(those)}: {sentence}" for sentence, those in names.items()]


def _card(
    networks: Sequence[Network], images: Images, sample: int, at: str, pool: int | None, pooling: str
) -> dict[str, Any]:
    """The protocol of the features, in words."""
    chosen = "a fifth of the labelled images, stratified, by the seed" if images.card["test"] is None else "--test"
    return {
        "taps": f"every layer, and all of them; of an encoder its output E(x), too; read at: {at}",
        "pool": f"{pooling}, {pool} x {pool}" if pool else "none",
        "batch norm": "statistics of each run's own training images, for its untrained twin too; frozen",
        "untrained twin": "the run's own network as it was before its training",
        "held out": chosen,
        "networks and held-out images": {network.name: _seen(network, images) for network in networks},
        "PCA and k-means": "learned from the images to learn from, without labels; PCA keeps 90 % of the variance, "
        f"k-means: {KMeansFeatures().n_centroids} centroids of patches of {PATCH} x {PATCH} (in smaller images a pixel "
        "less than their side), summed over quadrants (Coates, Lee & Ng 2011)",
        "label-free": f"on {sample} images to learn from; effective rank of centred features; dead: standard deviation "
        f"at most {label_free.STILL:g} of the median one; duplicate: absolute correlation above {label_free.ALIKE:g} "
        f"with an earlier one; neighbours: {label_free.NEIGHBOURS} nearest by cosine of standardised features, "
        "overlap of two random halves of the features, and with the same layer of the other networks",
    }
