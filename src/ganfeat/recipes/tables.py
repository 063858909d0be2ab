"""What the recipes share: a training and a test set, sets of features one at a time, and the numbers beside them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.checkpoint import RunFolder, write_atomically
from ganfeat.data import ImageDataset, load_images
from ganfeat.device import describe_machine
from ganfeat.errors import InputError
from ganfeat.estimators import DCGAN
from ganfeat.importers.dcgan_code import import_dcgan_code
from ganfeat.probes import KMeansFeatures, Protocol, few_label_curve
from ganfeat.probes.baselines import principal_components
from ganfeat.probes.protocols import Stage
from ganfeat.version import __version__

Pair = tuple[NDArray[Any], NDArray[Any]]
"""Features to learn from, and of the test images."""


@dataclass(frozen=True)
class Published:
    """A number of a paper: accuracy in percent."""

    what: str
    accuracy: float
    source: str


@dataclass(frozen=True)
class Scale:
    """How much of a recipe is run.

    ``network`` are the parameters of :class:`~ganfeat.DCGAN` (none: no network of our own), ``images`` and ``test`` how
    many images are used (all, if None), ``centroids`` the size of the k-means baseline.
    """

    network: Mapping[str, Any] | None
    centroids: int
    images: int | None = None
    test: int | None = None
    expects: str = ""


@dataclass(frozen=True)
class Recipe:
    """One table of a paper: data, networks, protocols, and the numbers to stand beside."""

    name: str
    about: str
    data: str
    scales: Mapping[str, Scale]
    protocols: Mapping[str, Protocol]
    published: Sequence[Published]
    files: Mapping[str, Sequence[str]]
    targets: Mapping[str, tuple[str, str, float]] = field(default_factory=dict)
    mirror: bool = False
    imported: str = ""


def read_pair(recipe: Recipe, folder: Path | str, scale: Scale, stage: Stage) -> tuple[ImageDataset, ImageDataset]:
    """The training and the test images of a folder, 32 x 32 RGB.

    Raises
    ------
    InputError
        If the folder has none of the recipe's files; the message names them.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"--data {folder} is no folder: give the one with {recipe.data}")
    sets = []
    for part, limit in (("train", scale.images), ("test", scale.test)):
        pattern = next((p for p in recipe.files[part] if any(folder.glob(p))), None)
        if pattern is None:
            raise InputError(
                f"--data {folder} has no {' and no '.join(recipe.files[part])}: give the folder with {recipe.data}"
            )
        with stage(f"reading {part}", 0) as update:
            images = load_images(f"{folder}/{pattern}", size=32, channels=3, limit=limit, strict=True, progress=update)
        if images.labels is None or len(np.unique(images.labels)) < 2:
            raise InputError(f"{folder}/{pattern} has no labels: accuracy needs them")
        sets.append(images)
    return sets[0], sets[1]


def train(
    folder: Path, images: ImageDataset, settings: Mapping[str, Any], stage: Stage, on_start: Callable[[DCGAN], None]
) -> DCGAN:
    """Our own network, into a run folder; an unfinished one is gone on with."""
    gan = DCGAN(**settings)
    on_start(gan)
    with stage("training", 0) as update:
        for record in gan.iter_fit(replace(images, labels=None), run=folder, log_every=20):
            update(record["step"], record["total_steps"], note=f"{record['images_per_second']:,.0f} images/s")
    return gan


def baselines(
    train: ImageDataset, test: ImageDataset, centroids: int, seed: int
) -> Iterator[tuple[str, Callable[[], Pair]]]:
    """Sets of features that no GAN made."""
    pixels = train.images.reshape(len(train), -1), test.images.reshape(len(test), -1)

    def kmeans() -> Pair:
        model = KMeansFeatures(n_centroids=centroids, random_state=seed).fit(train.images)
        return model.transform(train.images), model.transform(test.images)

    yield "raw pixels", lambda: pixels
    yield "PCA", lambda: principal_components(*pixels)
    yield f"k-means, {centroids} centroids", kmeans


def of_network(
    name: str, gan: DCGAN, train: ImageDataset, test: ImageDataset, *, mirror: bool, recalibrate: bool = False
) -> Iterator[tuple[str, Callable[[], Pair]]]:
    """Features of the trained discriminator and of its untrained twin; averaged over mirror images too, if asked for.

    ``recalibrate`` estimates batch-norm statistics on the training images: for networks that learned from others.
    """

    def features(model: DCGAN, mirrored: bool) -> Pair:
        changes: dict[str, Any] = {"mirror": mirrored}
        if recalibrate:
            changes["bn"] = "recalibrate"
        extractor = model.extractor(**changes)
        if recalibrate:
            extractor.fit(train.images)
        return extractor.transform(train), extractor.transform(test)

    untrained = gan.random_init()
    for mirrored in (False, True)[: 2 if mirror else 1]:
        also = ", with mirror images" if mirrored else ""
        yield f"{name}, untrained{also}", lambda mirrored=mirrored: features(untrained, mirrored)  # type: ignore[misc]
        yield f"{name}{also}", lambda mirrored=mirrored: features(gan, mirrored)  # type: ignore[misc]


CENTRED = ("raw pixels", "PCA")


def run(
    recipe: Recipe,
    out: Path,
    data: Path | str,
    stage: Stage,
    *,
    scale: str = "cpu",
    weights: Path | None = None,
    command: str = "",
    seed: int = 0,
    device: str = "auto",
    on_start: Callable[[DCGAN], None] = lambda gan: None,
) -> dict[str, Any] | None:
    """Run a recipe; write ``results.json``, and the network of our own as the run folder ``run``, into ``out``.

    What was trained and scored before under the same settings is kept, so an interrupted run goes on.

    Parameters
    ----------
    recipe : Recipe
    out : Path
    data : Path or str
        Folder of the data set.
    stage
        Opens progress displays.
    scale : {"smoke", "cpu", "full"}
    weights : Path, optional
        Folder of the DCGAN authors' released arrays, scored beside.
    command : str
        As it was typed, for the results.
    seed, device
    on_start : callable(gan), optional
        Given the model before it is trained, so that a signal may stop it.

    Returns
    -------
    dict or None
        What is in ``results.json``; None if the training was stopped early.
    """
    plan = recipe.scales[scale]
    if plan.network is None and weights is None:
        raise InputError(f"{recipe.name} at this scale trains nothing: give --weights, the authors' released arrays")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file: give a folder")
    own_settings = None if plan.network is None else {**plan.network, "random_state": seed, "device": device}
    if own_settings is not None:
        DCGAN(**own_settings).check_parameters()
        RunFolder(out / "run").refuse_foreign()
    began = time.perf_counter()
    learn, test = read_pair(recipe, data, plan, stage)
    imported = None
    if weights is not None:
        with stage("importing weights", 0):
            imported = import_dcgan_code(weights, seed=seed, device=device, precision="auto")
    own = None
    if own_settings is not None:
        own = train(out / "run", learn, own_settings, stage, on_start)
        if not own.finished_:
            return None
    sets: dict[str, Callable[[], Pair]] = dict(baselines(learn, test, plan.centroids, seed))
    if own is not None:
        sets |= of_network("our DCGAN", own, learn, test, mirror=recipe.mirror)
    if imported is not None:
        sets |= of_network(recipe.imported, imported, learn, test, mirror=recipe.mirror, recalibrate=True)
    settings = _settings(recipe, plan, scale, seed, learn, own, weights)
    scores = _kept(out / "scores.json", settings)
    assert learn.labels is not None and test.labels is not None
    for name, make in sets.items():
        if name in scores:
            continue
        started = time.perf_counter()
        with stage(f"features: {name}", 0):
            rows, held_out = make()
        entry: dict[str, Any] = {"features": int(rows.shape[1])}
        for key, protocol in recipe.protocols.items():
            with stage(f"{name}, {key}", 0) as update:
                (point,) = few_label_curve(
                    rows,
                    learn.labels,
                    held_out,
                    test.labels,
                    replace(protocol, seed=seed),
                    standardise=name not in CENTRED,
                    progress=update,
                    device=device,
                ).values()
            entry[key] = {k: v for k, v in point.items() if k != "accuracies"}
            entry[key]["half_width"] = protocol.half_width(point)
        entry["seconds"] = round(time.perf_counter() - started, 1)
        scores[name] = entry
        write_atomically(out / "scores.json", json.dumps({"settings": settings, "scores": scores}).encode())
        del rows, held_out
    results = {
        "command": command,
        "recipe": recipe.name,
        "scale": scale,
        "machine": describe_machine(None if own is None else own.device_),
        "ganfeat": __version__,
        "seed": seed,
        "seconds": _seconds(own, scores, time.perf_counter() - began),
        "learned_from": len(learn),
        "test": len(test),
        "network": settings["network"],
        "epochs": None if own is None else own.n_iter_,
        "results": scores,
        "published": [p.__dict__ for p in recipe.published],
        "target": _target(recipe, scale, scores),
        "protocols": {key: p.card() for key, p in recipe.protocols.items()},
        "features_card": _features_card(recipe, own or imported),
    }
    RunFolder(out).write_json("results.json", results)
    return results


def _settings(
    recipe: Recipe, plan: Scale, scale: str, seed: int, learn: ImageDataset, own: DCGAN | None, weights: Path | None
) -> dict[str, Any]:
    """What scores depend on."""
    return {
        "recipe": recipe.name,
        "scale": scale,
        "seed": seed,
        "images": learn.fingerprint(),
        "network": None if plan.network is None else json.loads(json.dumps(dict(plan.network))),
        "epochs": None if own is None else own.n_iter_,
        "weights": None if weights is None else weights.name,
        "protocols": json.loads(json.dumps({key: p.card() for key, p in recipe.protocols.items()})),
    }


def _kept(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of an interrupted run of the same settings."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(content["scores"]) if content.get("settings") == settings else {}


def _seconds(own: DCGAN | None, scores: Mapping[str, Any], this_run: float) -> dict[str, Any]:
    """Time of training, over all its sessions, of scoring, and of this call."""
    training = 0.0 if own is None or not own.history_ else float(own.history_[-1]["seconds"])
    return {
        "training": round(training, 1),
        "scoring": round(sum(s["seconds"] for s in scores.values()), 1),
        "this call": round(this_run, 1),
    }


def _target(recipe: Recipe, scale: str, scores: Mapping[str, Any]) -> dict[str, Any] | None:
    """By how much the goal of this scale is passed or missed, in points."""
    if scale not in recipe.targets:
        return None
    name, protocol, goal = recipe.targets[scale]
    reached = 100 * scores[name][protocol]["mean"]
    return {"set": name, "protocol": protocol, "goal": goal, "reached": reached, "points_above": reached - goal}


def _features_card(recipe: Recipe, gan: DCGAN | None) -> dict[str, Any]:
    if gan is None:
        return {}
    card = {
        "taps": ", ".join(tap.name for tap in gan.extractor().taps_),
        "pool": f"{gan.pooling}, {gan.pool} x {gan.pool}",
        "batch norm": "statistics re-estimated on the training images (imported networks: on them too), then frozen",
        "untrained": "the same network before its training, with statistics of the same images",
    }
    if recipe.mirror:
        card["with mirror images"] = "features averaged over every image and its mirror image"
    return card
