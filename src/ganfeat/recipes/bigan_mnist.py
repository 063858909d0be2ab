"""Permutation-invariant MNIST: BiGAN, its baselines, and one nearest neighbour (BiGAN, section 4.1 and table 1).

(Donahue, Krähenbühl & Darrell 2017, arXiv:1605.09782.) Every method learns from the 60,000 training images without
labels; the layer before the output (of E; of D for the row "D") is scored by the accuracy of one nearest neighbour
among the training images, on the 10,000 test images. The authors' log has that layer at 96.84 % before any
training, so each row stands beside its own untrained network, over several seeds.

Four rows are ours: a convolutional latent regressor; the same with an agreement of E's views; E learning from the
agreement alone, as the control; and the second one for twice as long, at twice the learning rate. Their settings were
chosen on a split of the training images.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ganfeat.checkpoint import RunFolder, write_atomically
from ganfeat.device import describe_machine
from ganfeat.errors import InputError
from ganfeat.estimators import AutoEncoder, BiGAN, LatentRegressor
from ganfeat.estimators.encoding import EncoderEstimator
from ganfeat.estimators.layers import TRUNK
from ganfeat.probes.baselines import principal_components
from ganfeat.probes.curves import Stage
from ganfeat.recipes.kept import digest, kept_scores, training_seconds
from ganfeat.recipes.mnist import read_pair
from ganfeat.recipes.nearest import Judge, Score
from ganfeat.version import __version__

NAME = "bigan-mnist"
ABOUT = "One nearest neighbour on the encoder family's layers, MNIST"
PAPER = "Donahue, Krähenbühl & Darrell 2017, table 1"
NETWORKS: Mapping[str, Any] = {
    "architecture": "mlp",
    "n_components": 50,
    "norm_epsilon": 1e-8,
    "weight_decay": 2.5e-5,
    "batch_size": 128,
    "learning_rate": 2e-4,
}
"""The paper's, with the details of the released code."""
UNTRAINED_SEEDS = 5
SHOWN = (
    *("architecture", "width", "n_components", "prior", "update_order", "loss", "joint", "regression", "agreement"),
    *("views", "batch_size", "learning_rate", "weight_decay", "norm_epsilon", "max_iter", "decay_iter"),
)
"""Settings that results name."""


@dataclass(frozen=True)
class Run:
    """A network to train: its estimator, and what it has beside, or instead of, :data:`NETWORKS`.

    ``epochs`` are its own, whatever the scale's, but for smoke.
    """

    estimator: type[EncoderEstimator]
    settings: Mapping[str, Any]
    epochs: int | None = None


CONV: Mapping[str, Any] = {
    "architecture": "conv",
    "width": 32,
    "norm_epsilon": 1e-5,
    "weight_decay": 1e-5,
    "learning_rate": 5e-4,
}
"""Of our own rows."""


RUNS: dict[str, Run] = {
    "bigan": Run(BiGAN, {}),
    "lr": Run(LatentRegressor, {}),
    "jlr": Run(LatentRegressor, {"joint": 0.25}),
    "ae-l2": Run(AutoEncoder, {"loss": "l2"}),
    "ae-l1": Run(AutoEncoder, {"loss": "l1"}),
    "conv-lr": Run(LatentRegressor, CONV, 15),
    "conv-lr-agreement": Run(LatentRegressor, {**CONV, "agreement": 1.0}, 15),
    "agreement": Run(LatentRegressor, {**CONV, "agreement": 1.0, "regression": 0.0}, 15),
    "longer": Run(LatentRegressor, {**CONV, "agreement": 1.0, "learning_rate": 1e-3}, 30),
}
"""By the name of their folder. The latent regressor's D and G are those of a plain GAN: E does not touch them."""


@dataclass(frozen=True)
class Row:
    """A row of the table: which network of which run, and the paper's accuracy in percent.

    ``output`` says whether the network's output, E(x), is scored, too: not where nothing trains it.
    """

    run: str
    published: float | None
    network: str = "encoder"
    output: bool = True


ROWS: dict[str, Row] = {
    "BiGAN": Row("bigan", 97.39),
    "D": Row("lr", 97.30, "discriminator", output=False),
    "latent regressor": Row("lr", 97.44),
    "joint latent regressor": Row("jlr", 97.13),
    "autoencoder, l2": Row("ae-l2", 97.58),
    "autoencoder, l1": Row("ae-l1", 97.63),
    "convolutional latent regressor": Row("conv-lr", None),
    "convolutional latent regressor, with agreement of views": Row("conv-lr-agreement", None),
    "agreement of views alone": Row("agreement", None, output=False),
    "convolutional latent regressor, with agreement of views, longer": Row("longer", None),
}
TARGETS = {"BiGAN": 97.39, "convolutional latent regressor, with agreement of views, longer": 98.5}
"""Goals of ours, in percent."""


@dataclass(frozen=True)
class Scale:
    """How much is run: epochs, of which the second half with a falling learning rate.

    ``more`` says which runs have other numbers of epochs.
    """

    epochs: int
    more: Mapping[str, int] = field(default_factory=dict)
    width: int | None = None
    images: int | None = None
    test: int | None = None
    expects: str = ""

    def epochs_of(self, run: str) -> int:
        """Epochs of a run."""
        own = RUNS[run].epochs if self.width is None else None
        return self.more.get(run, own or self.epochs)


SCALES = {
    "smoke": Scale(1, width=64, images=1000, test=500, expects="a minute; its numbers mean nothing"),
    "cpu": Scale(
        100,
        {"bigan": 200, "lr": 30, "jlr": 30},
        expects="half of the paper's epochs for BiGAN, a quarter for autoencoders, 30 for regressors; 2 to 3 hours",
    ),
    "full": Scale(400, expects="the paper's epochs (our own rows: 15); 1.5 to 2.5 hours a method on one CPU core"),
}


def make(run: str, scale: Scale, seed: int, device: str = "auto") -> EncoderEstimator:
    """The estimator of a run, not fitted."""
    chosen = RUNS[run]
    settings = {
        **NETWORKS,
        **chosen.settings,
        "max_iter": scale.epochs_of(run),
        "decay_iter": scale.epochs_of(run) // 2,
    }
    if scale.width is not None:
        settings["width"] = scale.width if settings["architecture"] == "mlp" else max(4, scale.width // 8)
    return chosen.estimator(**settings, random_state=seed, device=device)


def run(
    out: Path,
    data: Path | str,
    stage: Stage,
    *,
    scale: str = "cpu",
    methods: Sequence[str] = (),
    seeds: int = 1,
    seed: int = 0,
    device: str = "auto",
    command: str = "",
    on_start: Callable[[EncoderEstimator], None] = lambda model: None,
) -> dict[str, Any] | None:
    """Train the methods, score them, write ``results.json``; every network is a run folder in ``out``.

    What was trained and scored before under the same settings is kept, so an interrupted run goes on, and several
    processes may train different methods into the same folder; ``results.json`` is of the call that ended last.

    Parameters
    ----------
    out : Path
    data : Path or str
        Folder of MNIST's files.
    stage
        Opens progress displays.
    scale : {"smoke", "cpu", "full"}
    methods : sequence of str
        Names of :data:`RUNS`; all, if empty.
    seeds : int
        Networks a method.
    seed : int
        The first one's.
    device
    command : str
        As it was typed, for the results.
    on_start : callable(model), optional
        Given each model before it is trained, so that a signal may stop it.

    Returns
    -------
    dict or None
        What is in ``results.json``; None if a training was stopped early.
    """
    for name in methods:
        if name not in RUNS:
            raise InputError(f"--methods {name} is not known: choose from {', '.join(RUNS)}")
    if seeds < 1:
        raise InputError(f"--seeds {seeds} must be at least 1")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file: give a folder")
    plan, began = SCALES[scale], time.perf_counter()
    wanted = [name for name in RUNS if not methods or name in methods]
    for name in wanted:
        make(name, plan, seed, device).check_parameters()
    learn, test = read_pair(Path(data), stage, images=plan.images, test=plan.test)
    models: dict[tuple[str, int], EncoderEstimator] = {}
    for name in wanted:
        for one in range(seed, seed + seeds):
            model = make(name, plan, one, device)
            on_start(model)
            with stage(f"training {name}, seed {one}", 0) as update:
                for record in model.iter_fit(replace(learn, labels=None), run=out / f"{name}-{one}", log_every=50):
                    update(record["step"], record["total_steps"], note=f"{record['images_per_second']:,.0f} images/s")
            if not model.finished_:
                return None
            models[name, one] = model
    judge = Judge(learn, test)
    settings = {
        "recipe": NAME,
        "scale": scale,
        "ganfeat": __version__,
        "images": [learn.fingerprint(), test.fingerprint()],
    }
    scores = kept_scores(out / "scores.json", settings)
    for key, work in _scorings(judge, models).items():
        if key not in scores:
            with stage(f"scoring: {key}", 0):
                scores[key] = work()
            scores = {**kept_scores(out / "scores.json", settings), **scores}  # another process may score others
            write_atomically(out / "scores.json", json.dumps({"settings": settings, "scores": scores}).encode())
    results: dict[str, Any] = {
        "command": command,
        "recipe": NAME,
        "scale": scale,
        "machine": describe_machine(next(iter(models.values())).device_),
        "ganfeat": __version__,
        "seeds": list(range(seed, seed + seeds)),
        "seconds": {
            "training": {f"{name}, seed {one}": training_seconds(m.history_) for (name, one), m in models.items()},
            "this call": round(time.perf_counter() - began, 1),
        },
        "learned_from": len(learn),
        "test": len(test),
        "baselines": {name: scores[name] for name in ("raw pixels", "PCA")},
        "untrained": [scores[key] for key in scores if key.startswith("untrained encoder, seed")],
        "results": {title: _row(row, models, scores) for title, row in ROWS.items() if row.run in wanted},
        "protocol": {
            "features": "trunk: the layer before the output; output: E(x)",
            "classifier": "1 nearest neighbour, Euclidean, among the training images",
            "batch norm": "statistics re-estimated on the training images, then frozen",
            "interval": "95 %, normal, over test images; differences are paired over them",
            "published": PAPER,
        },
    }
    results["targets"] = [] if scale == "smoke" else _targets(results)
    RunFolder(out).write_json("results.json", results)
    return results


def _other_seeds(models: Mapping[tuple[str, int], EncoderEstimator]) -> EncoderEstimator | None:
    """A model with the paper's encoder, whose shape other untrained encoders are made of; None if none was trained."""
    paper = {row.run for row in ROWS.values() if row.published is not None}
    return next((model for (name, _), model in models.items() if name in paper), None)


def _key(row: Row, seed: int, model: EncoderEstimator) -> str:
    """The name that a row's score is kept by: it is of these very weights."""
    return f"{row.network} of {row.run}, seed {seed}, {digest(model.objective_)[:12]}"


def _scorings(judge: Judge, models: Mapping[tuple[str, int], EncoderEstimator]) -> dict[str, Callable[[], Score]]:
    """Everything to be scored, by the name that its score is kept by."""
    work: dict[str, Callable[[], Score]] = {
        "raw pixels": lambda: judge.rows(*judge.pixels()),
        "PCA": lambda: judge.rows(*principal_components(*judge.pixels())),
    }
    if (first := _other_seeds(models)) is not None:
        for k in range(UNTRAINED_SEEDS):
            work[f"untrained encoder, seed {k}"] = partial(_untrained, judge, first, k)
    for (name, seed), model in models.items():
        for row in ROWS.values():
            if row.run == name:
                work[_key(row, seed, model)] = partial(judge.against_untrained, model, row.network, output=row.output)
    return work


def _untrained(judge: Judge, model: EncoderEstimator, seed: int) -> Score:
    """Another untrained encoder of the same shape."""
    return judge.rows(*judge.features(model.random_init(judge.learn, seed), "encoder", TRUNK))


def _row(row: Row, models: Mapping[tuple[str, int], EncoderEstimator], scores: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table: every seed's score, and their mean beside the paper's."""
    by_seed = {seed: scores[_key(row, seed, model)] for (name, seed), model in models.items() if name == row.run}
    first = next(model for (name, _), model in models.items() if name == row.run)
    accuracies = [100 * entry["trunk"]["accuracy"] for entry in by_seed.values()]
    return {
        "run": row.run,
        "method": first.method,
        "epochs": first.n_iter_,
        "settings": {k: v for k, v in first.get_params().items() if k in SHOWN},
        "published": row.published,
        "accuracy": float(np.mean(accuracies)),
        "points_above_published": None if row.published is None else float(np.mean(accuracies)) - row.published,
        "seeds": by_seed,
    }


def _targets(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By how much each goal is passed or missed, in points."""
    goals = []
    for name, goal in TARGETS.items():
        if name in results["results"]:
            reached = results["results"][name]["accuracy"]
            goals.append({"row": name, "goal": goal, "reached": reached, "points_above": reached - goal})
    return goals
