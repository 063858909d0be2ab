"""What the recipes share: a training and a test set, a protocol for every set of features, and the numbers beside."""

from __future__ import annotations

import glob
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ganfeat.arrays import fingerprint
from ganfeat.checkpoint import RunFolder, write_atomically
from ganfeat.data import ImageDataset, load_images
from ganfeat.device import describe_machine
from ganfeat.errors import InputError
from ganfeat.estimators import DCGAN
from ganfeat.importers.dcgan_code import import_dcgan_code
from ganfeat.probes import Protocol, few_label_curve
from ganfeat.probes.curves import Stage
from ganfeat.recipes.feature_sets import CENTRED, Make, baselines, of_network
from ganfeat.recipes.kept import digest, kept_scores, training_seconds
from ganfeat.version import __version__

SHAPE = (32, 32, 3)
"""Of all recipes' images."""


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
    """The training and the test images of a folder, 32 x 32 RGB; those without a label are left out.

    Raises
    ------
    InputError
        If the folder has none of the recipe's files (the message names them), or the images have no labels.
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
        file = folder / pattern
        source = file if file.is_file() else f"{glob.escape(str(folder))}/{pattern}"
        with stage(f"reading {part}", 0) as update:
            images = load_images(source, size=SHAPE[0], channels=SHAPE[2], limit=limit, strict=True, progress=update)
        if images.labels is None or not (images.labels >= 0).any():
            raise InputError(f"{file} has no labels: accuracy needs them")
        if (images.labels < 0).any():
            images = images[images.labels >= 0]
        if len(np.unique(images.labels)) < 2:  # type: ignore[arg-type]
            raise InputError(f"the labels of {file} have 1 class: accuracy needs at least 2")
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
        if imported.image_shape_ != SHAPE:
            found, wanted = (" x ".join(map(str, shape)) for shape in (imported.image_shape_, SHAPE))
            raise InputError(
                f"--weights {weights} are of a network of {found} images, and the images of {recipe.name} are "
                f"{wanted}: give the folder of {recipe.imported}"
            )
    own = None
    if own_settings is not None:
        own = train(out / "run", learn, own_settings, stage, on_start)
        if not own.finished_:
            return None
    sets: dict[str, Make] = dict(baselines(learn, test, plan.centroids, seed, device))
    if own is not None:
        sets |= of_network("our DCGAN", own, learn, test, mirror=recipe.mirror)
    if imported is not None:
        sets |= of_network(recipe.imported, imported, learn, test, mirror=recipe.mirror, recalibrate=True)
    settings = _settings(recipe, plan, scale, seed, learn, test, own, imported)
    scores = {name: entry for name, entry in kept_scores(out / "scores.json", settings).items() if name in sets}
    kept = list(scores)
    out.mkdir(parents=True, exist_ok=True)
    for name, make in sets.items():
        if name in scores:
            continue
        scores[name] = _score(name, make, recipe, out, learn, test, stage, seed, device)
        write_atomically(out / "scores.json", json.dumps({"settings": settings, "scores": scores}).encode())
    results = {
        "command": command,
        "recipe": recipe.name,
        "scale": scale,
        "machine": describe_machine(None if own is None else own.device_),
        "ganfeat": __version__,
        "seed": seed,
        "seconds": _seconds(own, scores, kept, time.perf_counter() - began),
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


def _score(
    name: str,
    make: Make,
    recipe: Recipe,
    out: Path,
    learn: ImageDataset,
    test: ImageDataset,
    stage: Stage,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Make one set of features and score it by every protocol."""
    assert learn.labels is not None and test.labels is not None
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="features-", dir=out) as folder:
        with stage(f"features: {name}", 0):
            rows, held_out = make(Path(folder))
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
            entry[key] = {**point, "half_width": protocol.half_width(point)}
        del rows, held_out  # files that are open cannot be removed everywhere
    entry["seconds"] = round(time.perf_counter() - started, 1)
    return entry


def _settings(
    recipe: Recipe,
    plan: Scale,
    scale: str,
    seed: int,
    learn: ImageDataset,
    test: ImageDataset,
    own: DCGAN | None,
    imported: DCGAN | None,
) -> dict[str, Any]:
    """What scores depend on."""
    return {
        "recipe": recipe.name,
        "scale": scale,
        "seed": seed,
        "ganfeat": __version__,
        "images": {
            part: [images.fingerprint(), fingerprint(np.asarray(images.labels))]
            for part, images in (("train", learn), ("test", test))
        },
        "network": None if plan.network is None else json.loads(json.dumps(dict(plan.network))),
        "epochs": None if own is None else own.n_iter_,
        "learned": None if own is None else digest(own.discriminator_),
        "weights": None if imported is None else imported._data["fingerprint"],
        "protocols": json.loads(json.dumps({key: p.card() for key, p in recipe.protocols.items()})),
    }


def _seconds(own: DCGAN | None, scores: Mapping[str, Any], kept: Sequence[str], this_call: float) -> dict[str, float]:
    """Time of training and of scoring, over all calls; what of the scoring is from earlier ones; and of this call."""
    return {
        "training": 0.0 if own is None else training_seconds(own.history_),
        "scoring": round(sum(s["seconds"] for s in scores.values()), 1),
        "scoring in earlier calls": round(sum(scores[name]["seconds"] for name in kept), 1),
        "this call": round(this_call, 1),
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
