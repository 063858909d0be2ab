"""The main job from end to end: images without labels, a DCGAN, features, and what they are worth.

    ganfeat demo --images mnist5k --out demo-out

4,000 MNIST digits to learn from without labels, 1,000 held out; about two minutes after
installing, on 2 CPU cores. The result of the last measured run is in docs/results/demo.json.

The networks and the losses are DCGAN's. What differs from the paper's settings was chosen on a split of the
4,000 training digits (3,000 to learn from, 1,000 to validate on), never on the held-out ones: D sees images
that are slightly rotated, scaled and sheared about their centre, not shifted, so that it cannot memorise so small
a set; smaller batches and a higher learning rate, so that it learns enough in the time; see docs/log.md.
"""

from __future__ import annotations

import importlib.util
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.checkpoint import RunFolder
from ganfeat.data import ImageDataset, load_images
from ganfeat.device import describe_machine
from ganfeat.errors import InputError, MissingExtraError
from ganfeat.estimators import DCGAN
from ganfeat.features import FeatureExtractor
from ganfeat.probes import FewLabels, compare
from ganfeat.probes.baselines import principal_components
from ganfeat.probes.curves import AT_EDGE, FeatureSets, Stage
from ganfeat.probes.draws import hold_out
from ganfeat.probes.scaler import FeatureScaler
from ganfeat.version import __version__

if TYPE_CHECKING:
    from ganfeat.report import RunReport

RECIPE: dict[str, Any] = {
    "width": 32,
    "augment": ("affine",),
    "batch_size": 64,
    "learning_rate": 6e-4,
}
STEPS = 3125
"""Mini-batches of training: 50 epochs of 4,000 images."""
HELD_OUT = 0.2
LEAST = 40
QUERIES, NEIGHBOURS = 10, 8
MAP_POINTS = 1000


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows held out."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def split(images: ImageDataset, seed: int) -> Split:
    """Hold out a fifth, stratified where there are labels. Seeded."""
    labels = images.labels if images.labels is not None else np.zeros(len(images), np.int64)
    return Split(*hold_out(labels, HELD_OUT, seed))


def train(
    images: ImageDataset,
    folder: Path,
    stage: Stage,
    *,
    device: str,
    seed: int,
    epochs: int,
    on_start: Callable[[DCGAN], None],
) -> DCGAN:
    """Fit the DCGAN of the recipe, into a run folder."""
    gan = DCGAN(**RECIPE, max_iter=epochs, device=device, random_state=seed)
    on_start(gan)
    with stage("training", 0) as update:
        for record in gan.iter_fit(images, run=folder, log_every=10):
            update(record["step"], record["total_steps"], note=f"{record['images_per_second']:,.0f} images/s")
    return gan


def feature_sets(gan: DCGAN, images: ImageDataset, rows: Split, stage: Stage) -> FeatureSets:
    """Raw pixels, their principal components, the untrained discriminator's features, and the trained one's."""
    learn, held_out = images.images[rows.train], images.images[rows.test]
    with stage("extracting features", 4) as update:
        pixels = learn.reshape(len(learn), -1), held_out.reshape(len(held_out), -1)
        update(1)
        components = principal_components(*pixels)
        update(2)
        untrained = gan.random_init()
        random_init = untrained.transform(learn), untrained.transform(held_out)
        update(3)
        ours = gan.transform(learn), gan.transform(held_out)
        update(4)
    return {"raw_pixels": pixels, "pca": components, "random_init": random_init, "ganfeat": ours}


def score(
    sets: FeatureSets, train_labels: NDArray[Any], test_labels: NDArray[Any], protocol: FewLabels, stage: Stage
) -> dict[str, Any]:
    """Compare the sets on the images that have a label; -1 is none."""
    train, test = train_labels >= 0, test_labels >= 0
    known = {name: (learn[train], held_out[test]) for name, (learn, held_out) in sets.items()}
    return compare(known, train_labels[train], test_labels[test], protocol, stage)


def run(
    out: Path,
    source: Any,
    stage: Stage,
    *,
    device: str = "auto",
    seed: int = 0,
    epochs: int | None = None,
    draws: int = 20,
    on_start: Callable[[DCGAN], None] = lambda gan: None,
) -> dict[str, Any] | None:
    """Run the demo and write ``results.json``, ``report.html``, ``demo.png`` and the run folder ``run`` into ``out``.

    Parameters
    ----------
    out : Path
    source
        As :func:`ganfeat.load_images` takes it.
    stage
        Opens progress displays.
    device, seed
    epochs : int, optional
        As many as make :data:`STEPS` mini-batches, if not given.
    draws : int
        Of few-label training sets.
    on_start : callable(gan), optional
        Given the model before it is trained, so that a signal may stop it.

    Returns
    -------
    dict or None
        What is in ``results.json``; None if the training was stopped early.

    Raises
    ------
    InputError
        If there are too few images, or ``out`` holds something else.
    """
    from ganfeat.report import draw_overview, write_report

    if importlib.util.find_spec("matplotlib") is None:  # before the work, not after it
        raise MissingExtraError("matplotlib", "plot", "The demo's report")
    started = time.perf_counter()
    with stage("reading images", 0) as update:
        images = load_images(source, progress=update)
    if images.labels is not None and len(np.unique(images.labels[images.labels >= 0])) < 2:
        images = replace(images, labels=None)  # one folder of images is no class: there is nothing to score
    if len(images) < LEAST:
        raise InputError(f"{source} has {len(images)} images: the demo needs at least {LEAST} to learn from")
    rows = split(images, seed)
    folder = out / "run"
    resumed = RunFolder(folder).exists
    learn = images.subset(rows.train)
    command = this_command(source, seed, epochs, device)
    if epochs is None:
        epochs = max(1, round(STEPS * RECIPE["batch_size"] / len(learn)))
    gan = train(learn, folder, stage, device=device, seed=seed, epochs=epochs, on_start=on_start)
    if not gan.finished_:
        return None
    protocol = FewLabels(draws=draws)
    sets = feature_sets(gan, images, rows, stage)
    compared: dict[str, Any] = {"accuracy": {}, "margin": {}, "labels_per_class": []}
    if images.labels is not None:
        compared = score(sets, images.labels[rows.train], images.labels[rows.test], protocol, stage)
    edges = {AT_EDGE: compared.pop(AT_EDGE)} if AT_EDGE in compared else {}
    with stage("drawing the report", 3) as update:
        page = _page(gan, images, rows, sets["ganfeat"], folder, update)
        results = {
            "seconds": round(time.perf_counter() - started, 1),
            "images": str(source),
            "learned_from": len(rows.train),
            "held_out": len(rows.test),
            "device": gan.device_.type,
            "machine": describe_machine(gan.device_),
            "command": command,
            "precision": gan.precision_,
            "seed": seed,
            "epochs": gan.n_iter_,
            "continued": resumed,
            **compared,
            "protocol": protocol.card() | edges | gan_card(gan),
        }
        page = replace(
            page,
            summary=summary_sentence(results),
            results=results if results["accuracy"] else None,
            protocol=results["protocol"] if results["accuracy"] else None,
            footer=f"ganfeat {__version__}, {results['machine']['cpu']}, {results['machine']['threads']} threads, "
            f"{results['seconds']:.0f} s. {results['command']}",
        )
        write_report(page, out / "report.html")
        assert page.feature_map is not None
        draw_overview(out / "demo.png", results, page.samples[-1][1], page.feature_map.points, page.feature_map.labels)
        update(3)
    RunFolder(out).write_json("results.json", results)
    return results


def this_command(source: Any, seed: int, epochs: int | None, device: str) -> str:
    """The command line that makes this run again."""
    words = ["ganfeat", "demo", "--images", str(source), "--seed", str(seed)]
    if epochs is not None:
        words += ["--max-iter", str(epochs)]
    if device != "auto":
        words += ["--device", device]
    return shlex.join(words)


def gan_card(gan: DCGAN) -> dict[str, Any]:
    """Where the features come from, for the protocol's card."""
    extractor: FeatureExtractor = gan.extractor()
    return {
        "network": f"DCGAN discriminator, width {gan.width}, {gan.n_iter_} epochs",
        "taps": ", ".join(tap.name for tap in extractor.taps_),
        "pool": f"{gan.pooling}, {gan.pool} x {gan.pool}" if gan.pool else "none",
        "features": extractor.n_features_out_,
        "batch norm": "statistics re-estimated on the training images, then frozen",
    }


def _page(
    gan: DCGAN,
    images: ImageDataset,
    rows: Split,
    features: tuple[NDArray[Any], NDArray[Any]],
    folder: Path,
    update: Callable[..., None],
) -> RunReport:
    """Everything of the report but the results."""
    from ganfeat.report import FeatureMap, Neighbours, RunReport, samples_of

    points, shown = feature_map(features[1])
    update(1)
    labels = images.labels
    queries, nearest = nearest_neighbours(features, None if labels is None else labels[rows.test])
    update(2)
    learn, held_out = images.images[rows.train], images.images[rows.test]

    return RunReport(
        title="What a GAN learned from images without labels",
        samples=samples_of(RunFolder(folder)),
        real=learn[np.random.default_rng(0).permutation(len(learn))[:64]],
        history=gan.history_,
        feature_map=FeatureMap(
            points,
            labels=None if labels is None else labels[rows.test][shown],
            classes=images.classes,
            caption=f"t-SNE of the features of {len(points):,} held-out images. The labels only colour it.",
        ),
        neighbours=Neighbours(
            held_out[queries],
            learn[nearest],
            query_labels=None if labels is None else labels[rows.test][queries],
            neighbour_labels=None if labels is None else labels[rows.train][nearest],
            classes=images.classes,
        ),
        settings={k: v for k, v in gan.get_params().items() if v is not None},
    )


def summary_sentence(results: dict[str, Any]) -> str:
    """What came out, in one or two sentences."""
    text = f"Learned from {results['learned_from']:,} images without labels; {results['held_out']:,} were held out."
    accuracy = results["accuracy"]
    if not accuracy:
        return text + " The images have no labels, so the features were not scored."
    k = "10" if "10" in accuracy["ganfeat"] else next(iter(accuracy["ganfeat"]))
    share = {name: f"{100 * curve[k]['mean']:.1f}%" for name, curve in accuracy.items()}
    return (
        f"{text} With {k} labels per class, a linear classifier on the discriminator's features is right on "
        f"{share['ganfeat']} of the held-out images; on raw pixels {share['raw_pixels']}, on principal components "
        f"{share['pca']}, on the same network untrained {share['random_init']}."
    )


def feature_map(features: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Two dimensions for at most 1,000 rows, and which rows: PCA to 50, then t-SNE."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    shown = np.arange(min(len(features), MAP_POINTS))
    rows = FeatureScaler().fit(features[shown]).transform(features[shown])
    components = min(50, *rows.shape)
    compact = PCA(components, random_state=0, svd_solver="randomized").fit_transform(rows)
    perplexity = min(30.0, max(2.0, (len(rows) - 1) / 4))
    points = TSNE(perplexity=perplexity, init="pca", random_state=0, max_iter=500).fit_transform(compact)
    return points, shown


def nearest_neighbours(
    features: tuple[NDArray[Any], NDArray[Any]], labels: NDArray[Any] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For ten held-out images, one of each class first, the eight nearest learned-from ones by cosine."""
    from sklearn.neighbors import NearestNeighbors

    learn, held_out = features
    if labels is None:
        queries = np.arange(min(QUERIES, len(held_out)))
    else:
        queries = np.sort(np.unique(labels, return_index=True)[1][:QUERIES])
        queries = queries[np.argsort(labels[queries], kind="stable")]
    scaler = FeatureScaler().fit(learn)
    finder = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(learn)), metric="cosine").fit(scaler.transform(learn))
    return queries, finder.kneighbors(scaler.transform(held_out[queries]), return_distance=False)
