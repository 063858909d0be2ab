"""M-GAN: the features of the discriminator and of the classifier, as they share fewer layers.

Table 2 of the study of discriminators as feature extractors (arXiv preprint of January 2020). For every number of
shares removed an M-GAN learns from the training images without labels, anew for every seed; D's and C's last layer is
frozen and probed by one linear layer, learned by SGD with the study's settings, and by an L2-SVM. What is to be
reproduced is the trend: C minus D grows with every share removed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.checkpoint import RunFolder, write_atomically
from ganfeat.data import ImageDataset
from ganfeat.device import describe_machine, resolve_device
from ganfeat.errors import InputError
from ganfeat.estimators import MGAN
from ganfeat.probes import PROTOCOLS, SoftmaxRegression, few_label_curve
from ganfeat.probes.baselines import principal_components
from ganfeat.probes.curves import Stage
from ganfeat.probes.intervals import summary
from ganfeat.recipes import dcgan_cifar10, mnist, tables
from ganfeat.recipes.kept import digest, kept_scores, training_seconds
from ganfeat.recipes.processes import Reporter, Stopper, side_by_side
from ganfeat.recipes.trend import trend
from ganfeat.version import __version__

SIZE = 32
NETWORKS = ("discriminator", "classifier")
PAPER = "table 2 of the study of discriminators as feature extractors (arXiv preprint of January 2020)"
PROBES = {
    "softmax": "one linear layer without bias, softmax, SGD (learning rate 2e-4, momentum 0.9, batches of 120, 20 "
    "epochs), features as they are: the study's probe",
    "svm": "L2-SVM, features standardised, C by validation on a fifth of the training images",
}
"""By their names in results."""


def read_mnist(folder: Path, stage: Stage, images: int | None, test: int | None) -> tuple[ImageDataset, ImageDataset]:
    """MNIST, 32 x 32."""
    return mnist.read_pair(folder, stage, size=SIZE, images=images, test=test)


def read_cifar10(folder: Path, stage: Stage, images: int | None, test: int | None) -> tuple[ImageDataset, ImageDataset]:
    """CIFAR-10, in colour."""
    return tables.read_pair(dcgan_cifar10.RECIPE, folder, tables.Scale(None, 0, images, test), stage)


@dataclass(frozen=True)
class Table:
    """One of the study's experiments.

    ``published`` has D's and C's accuracy, 0 to 1, by shares removed; ``gaps`` C minus D in points.
    """

    name: str
    about: str
    read: Callable[[Path, Stage, int | None, int | None], tuple[ImageDataset, ImageDataset]]
    removed: tuple[int, ...]
    published: Mapping[int, tuple[float | None, float | None]]
    gaps: Mapping[int, float]


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "mgan-mnist",
            "D's and C's features of an M-GAN as they share fewer layers, MNIST",
            read_mnist,
            (0, 1, 2, 3, 4),
            {0: (0.9592, 0.9589), 1: (0.9427, 0.9574), 2: (0.9394, 0.9612), 3: (0.9365, 0.9617), 4: (0.9309, 0.9578)},
            {0: -0.03, 1: 1.47, 2: 2.18, 3: 2.52, 4: 2.69},
        ),
        Table(
            "mgan-cifar10",
            "D's and C's features of an M-GAN as they share fewer layers, CIFAR-10",
            read_cifar10,
            (0, 1, 2),
            {1: (None, 0.5567)},  # and the best of D, of unknown shares: 0.5513
            {0: -0.17, 1: 6.23, 2: 6.62},
        ),
    )
}


@dataclass(frozen=True)
class Scale:
    """How much is run."""

    width: int
    seeds: int
    epochs: int = 20
    images: int | None = None
    test: int | None = None
    expects: str = ""


SCALES = {
    "smoke": Scale(8, 2, 1, 600, 200, expects="a minute; its numbers mean nothing"),
    "cpu": Scale(32, 3, expects="a quarter of the paper's width, 3 seeds; MNIST: 2 to 3 hours on 2 CPU cores"),
    "full": Scale(128, 3, expects="the paper's width, 3 seeds; for a GPU; not measured yet"),
}


@dataclass(frozen=True)
class Job:
    """One network to train and to score, in a process of its own."""

    table: str
    data: Path
    out: Path
    scale: Scale
    removed: int
    seed: int
    device: str

    @property
    def name(self) -> str:
        """Of its run folder."""
        return f"removed-{self.removed}-{self.seed}"

    def model(self) -> MGAN:
        """The estimator, not fitted."""
        return MGAN(
            shares_removed=self.removed,
            width=self.scale.width,
            max_iter=self.scale.epochs,
            random_state=self.seed,
            device=self.device,
        )


@contextmanager
def _silent(_name: str, _total: float) -> Iterator[Callable[..., None]]:
    """Show nothing of what is read in another process."""
    yield lambda *_args, **_more: None


def probe(
    learn: NDArray[Any], labels: NDArray[Any], test: NDArray[Any], test_labels: NDArray[Any], seed: int, device: str
) -> dict[str, float]:
    """Accuracy, 0 to 1, of features on the test images, by both of :data:`PROBES`."""
    softmax = SoftmaxRegression(random_state=seed, device=device).fit(learn, labels)
    protocol = replace(PROTOCOLS["all-labels"], seed=seed)
    (svm,) = few_label_curve(learn, labels, test, test_labels, protocol, device=device).values()
    return {"softmax": float(softmax.score(test, test_labels)), "svm": float(svm["mean"])}


def work(job: Job, reporter: Reporter) -> dict[str, Any] | None:
    """Train the network of a job and score D and C, trained and untrained; what was done before is kept.

    Returns
    -------
    dict or None
        None if it was ended early.
    """
    model, folder = job.model(), job.out / job.name
    learn, test = TABLES[job.table].read(job.data, _silent, job.scale.images, job.scale.test)
    for record in model.iter_fit(replace(learn, labels=None), run=folder, log_every=50):
        note = f"{job.removed} removed, seed {job.seed}: {record['images_per_second']:,.0f} images/s"
        reporter.report(0.9 * record["step"] / record["total_steps"], note)
        if reporter.stopped():
            model.request_stop()
    if not model.finished_:
        return None
    settings = {
        "ganfeat": __version__,
        "images": [learn.fingerprint(), test.fingerprint()],
        "network": digest(model.objective_),
    }
    path = folder / "scores.json"
    scores = kept_scores(path, settings)
    if not scores:
        assert learn.labels is not None and test.labels is not None
        for who, network in (("trained", model), ("untrained", model.random_init())):
            scores[who] = {}
            for which in NETWORKS:
                if reporter.stopped():
                    return None
                rows = (network.transform(images.images, which) for images in (learn, test))
                train_rows, test_rows = rows
                scores[who][which] = probe(train_rows, learn.labels, test_rows, test.labels, job.seed, job.device)
                reporter.report(0.95, f"{job.removed} removed, seed {job.seed}: scoring")
        write_atomically(path, json.dumps({"settings": settings, "scores": scores}).encode())
    return {**scores, "seconds": training_seconds(model.history_), "epochs": model.n_iter_}


def run(
    table: Table,
    out: Path,
    data: Path | str,
    stage: Stage,
    *,
    scale: str = "cpu",
    seeds: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    device: str = "auto",
    command: str = "",
    on_start: Callable[[Stopper], None] = lambda stop: None,
) -> dict[str, Any] | None:
    """Train an M-GAN for every number of shares removed and every seed, score all, write ``results.json``.

    Every network is a run folder in ``out``. What was trained and scored before is kept: an interrupted run goes on.

    Parameters
    ----------
    table : Table
    out : Path
    data : Path or str
        Folder of the data set's files.
    stage
        Opens progress displays.
    scale : {"smoke", "cpu", "full"}
    seeds : int, optional
        Networks for every number of shares removed; by default the scale's.
    seed : int
        The first one's.
    jobs : int
        Networks that are trained side by side.
    device
    command : str
        As it was typed, for the results.
    on_start : callable(stopper), optional
        Given what a signal may ask to stop.

    Returns
    -------
    dict or None
        What is in ``results.json``; None if a training was stopped early.
    """
    plan, began = SCALES[scale], time.perf_counter()
    count = plan.seeds if seeds is None else seeds
    for name, value in (("seeds", count), ("jobs", jobs)):
        if value < 1:
            raise InputError(f"--{name} {value} must be at least 1")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file: give a folder")
    all_seeds = list(range(seed, seed + count))
    queue = [Job(table.name, Path(data), out, plan, r, s, device) for s in all_seeds for r in table.removed]
    for job in queue:
        job.model().check_parameters()
        RunFolder(out / job.name).refuse_foreign()
    learn, test = table.read(Path(data), stage, plan.images, plan.test)  # wrong data are refused here, once
    stop = Stopper()
    on_start(stop)
    out.mkdir(parents=True, exist_ok=True)
    with stage(f"training {len(queue)} networks", 0) as update:
        found = side_by_side(work, queue, min(jobs, len(queue)), stop, update)
    if any(result is None for result in found):
        return None
    baselines = _baselines(learn, test, out, seed, device, stage)
    by_removed = {r: [f for job, f in zip(queue, found, strict=True) if job.removed == r] for r in table.removed}
    results: dict[str, Any] = {
        "command": command,
        "recipe": table.name,
        "scale": scale,
        "machine": describe_machine(resolve_device(device)),
        "ganfeat": __version__,
        "seeds": all_seeds,
        "jobs": jobs,
        "seconds": {
            "training": {job.name: f["seconds"] for job, f in zip(queue, found, strict=True)},
            "this call": round(time.perf_counter() - began, 1),
        },
        "learned_from": len(learn),
        "test": len(test),
        "epochs": found[0]["epochs"],
        "settings": {k: v for k, v in queue[0].model().get_params().items() if k in _SHOWN},
        "baselines": baselines,
        "results": {str(r): _row(table, r, entries, len(test)) for r, entries in by_removed.items()},
        "trend": {
            name: growth({r: [_gap(entry, name) for entry in entries] for r, entries in by_removed.items()})
            for name in PROBES
        },
        "protocol": {
            **PROBES,
            "features": "the last convolution of D and of C, 128 numbers, batch-norm statistics re-estimated on the "
            "training images, then frozen",
            "untrained": "the same networks before their training, with statistics of the same images",
            "interval": "95 % of the mean over seeds (Student's t); differences are paired over seeds. With one seed, "
            "over test images (of a difference: none)",
            "trend": "of C minus D with the shares removed: over all settings, of which the first is 0 by construction "
            "(with all layers shared D's features are C's), so that any gap at the others makes it grow; and over "
            "those with a share removed, which alone tell whether the gap grows with every further one",
            "published": PAPER,
        },
    }
    RunFolder(out).write_json("results.json", results)
    return results


_SHOWN = (
    *("n_components", "n_generators", "width", "n_features", "diversity", "prior", "batch_size", "learning_rate"),
    *("beta1", "weight_decay", "max_iter"),
)


def _baselines(
    learn: ImageDataset, test: ImageDataset, out: Path, seed: int, device: str, stage: Stage
) -> dict[str, dict[str, float]]:
    """Raw pixels, in [-1, 1], and their principal components, by both probes."""
    settings = {"ganfeat": __version__, "images": [learn.fingerprint(), test.fingerprint()], "seed": seed}
    scores = kept_scores(out / "baselines.json", settings)
    if scores:
        return scores
    assert learn.labels is not None and test.labels is not None
    pixels = [s.images.reshape(len(s), -1).astype(np.float32) / 127.5 - 1 for s in (learn, test)]
    for name, rows in (("raw pixels", pixels), ("PCA", principal_components(pixels[0], pixels[1]))):
        with stage(f"scoring {name}", 0):
            entry = probe(rows[0], learn.labels, rows[1], test.labels, seed, device)
            scores[name] = {"features": int(rows[0].shape[1]), **entry}
    write_atomically(out / "baselines.json", json.dumps({"settings": settings, "scores": scores}).encode())
    return scores


def growth(gaps: Mapping[int, list[float]]) -> dict[str, Any]:
    """Whether C minus D grows with the shares removed, given the gaps of every seed by shares removed.

    Returns
    -------
    dict
        ``from 0`` and ``from 1``: :func:`~ganfeat.recipes.trend.trend` of all settings, and of those with a share
        removed; at 0 the gap is 0 by construction. ``gap``: the mean over the latter and over seeds, with its 95 %
        interval over seeds (None for a single one).
    """
    apart = {removed: values for removed, values in gaps.items() if removed}
    return {
        "from 0": trend(gaps),
        "from 1": trend(apart) if apart else None,
        "gap": _seeds([float(mean) for mean in np.mean(list(apart.values()), axis=0)], 0) if apart else None,
    }


def _gap(entry: Mapping[str, Any], name: str) -> float:
    """C minus D by a probe."""
    return float(entry["trained"]["classifier"][name] - entry["trained"]["discriminator"][name])


def _row(table: Table, removed: int, entries: list[dict[str, Any]], n_test: int) -> dict[str, Any]:
    """A row of the table: for D, C and their difference the mean over seeds, beside the paper's."""
    d, c = table.published.get(removed, (None, None))
    row: dict[str, Any] = {"published": {"discriminator": d, "classifier": c, "gap": table.gaps[removed]}}
    for which in NETWORKS:
        row[which] = {
            name: _seeds([entry["trained"][which][name] for entry in entries], n_test)
            | {"untrained": _seeds([entry["untrained"][which][name] for entry in entries], n_test)}
            for name in PROBES
        }
    row["gap"] = {name: _seeds([_gap(entry, name) for entry in entries], 0) for name in PROBES}
    return row


def _seeds(values: list[float], n_test: int) -> dict[str, Any]:
    """Mean and interval over seeds."""
    if len(values) == 1 and not n_test:
        return {"mean": values[0], "std": 0.0, "ci95": None, "draws": 1, "values": values}
    return {**summary(values, n_test), "values": values}
