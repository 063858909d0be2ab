"""The whole measurement: every claim on one run, on images that are read and turned into features once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.arrays import as_images, fingerprint
from ganfeat.config import require
from ganfeat.data import load_images
from ganfeat.device import describe_machine
from ganfeat.errors import InputError
from ganfeat.nets.batchnorm import batch_norms
from ganfeat.probes.baselines import principal_components
from ganfeat.probes.curves import Stage
from ganfeat.probes.draws import hold_out
from ganfeat.subspace import SubspaceSplit
from ganfeat.theory import classes, invariance, robustness, spaces, usefulness
from ganfeat.theory.claims import Claim, claim
from ganfeat.theory.networks import Drawn, Head, Opened, batch_statistics, checkpoints, draw, heads_of, open_run, read
from ganfeat.theory.resampling import RANDOM_HEADS, RESAMPLES, random_bases

LIMIT = 5000
LEAST = 50
MOVED = 500
"""Images that noise is put on."""
OF_CHECKPOINTS = 1000
"""Images that a checkpoint is judged by."""
HELD_OUT = 0.2
BATCHED, USUAL = ", statistics of each batch", ", statistics of real images"
"""Of batch norms: as in training, and as when features are extracted."""
Features = NDArray[np.float32]


@dataclass(frozen=True)
class Real:
    """Images in random order, with labels where there are any; -1 where one is not known."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    source: str
    fingerprint: str

    @property
    def known(self) -> NDArray[np.int64]:
        """Rows with a label."""
        return np.flatnonzero(self.labels >= 0) if self.labels is not None else np.empty(0, np.int64)


def measure_theory(
    run: Path | str,
    data: Any,
    stage: Stage,
    *,
    test: Any = None,
    limit: int | None = LIMIT,
    device: str = "auto",
    seed: int = 0,
) -> dict[str, Any]:
    """Measure what is claimed of discriminators and classifiers on a trained network.

    Parameters
    ----------
    run : path
        Run folder of a GAN whose discriminator judges images alone.
    data
        Real images, as :func:`ganfeat.load_images` takes them, best those that it learned from; with labels for the
        claims that need them.
    stage
        Opens progress displays.
    test : optional
        Real images that it has not seen: what can be is measured on them, too, and probes are scored on them.
    limit : int, optional
        Use so many images of each, evenly spaced; None for all.
    device : {"auto", "cpu", "cuda", "mps"}
    seed : int
        Of everything random.

    Returns
    -------
    dict
        ``claims``: ``key``, ``title``, ``says``, ``verdict``, ``parts`` (:func:`~ganfeat.theory.claims.part`),
        ``tables`` and ``notes`` of each; ``run``, ``network``, ``heads``, ``images``, ``settings``, ``machine``,
        ``seconds`` and ``notes``.

    Raises
    ------
    InputError
        If the run is none, has no discriminator of images, or there are too few images.
    """
    began = time.perf_counter()
    require("seed", seed, int, least=0, below=2**31)
    notes: list[str] = []
    with stage("loading the run", 0):
        opened = open_run(run, device)
    real = _read_images(opened, data, stage, limit, seed)
    held_out = None if test is None else _read_images(opened, test, stage, limit, seed)
    _refuse_overlap(real, held_out)
    notes.append(_seen(opened, real))
    claims = _Measurement(opened, real, held_out, stage, device, seed, notes).claims()
    heads = opened.heads.values()
    return {
        "run": str(run),
        "network": opened.gan.describe("discriminator"),
        "method": opened.config["method"],
        "heads": {
            head.name: {"outputs": head.layer.out_features, "features": head.layer.in_features} for head in heads
        },
        "claims": claims,
        "images": {
            "data": real.source,
            "images": len(real.pixels),
            "with a label": len(real.known),
            "test": None if held_out is None else held_out.source,
            "test images": 0 if held_out is None else len(held_out.pixels),
            "generated": len(real.pixels),
        },
        "settings": {
            "features": "what the head reads: the last layer's output, flattened, not pooled; float32",
            "batch norm": "the run's statistics of its real training images, as when features are extracted; 'of each "
            f"batch': those of batches of {opened.batch_size}, real and generated apart, as in training",
            "intervals": f"95 %, bootstrap over images, {RESAMPLES} draws; of accuracies, over draws of labels",
            "random heads": f"{RANDOM_HEADS}, weights normal, of the same rank",
            "noise": f"on {min(MOVED, len((held_out or real).pixels))} images",
            "seed": seed,
            "limit": limit,
        },
        "machine": describe_machine(opened.gan.device_),
        "seconds": {"total": round(time.perf_counter() - began, 2)},
        "notes": notes,
    }


def _read_images(opened: Opened, source: Any, stage: Stage, limit: int | None, seed: int) -> Real:
    side, _, channels = opened.gan.image_shape_
    with stage("reading images", 0) as update:
        images = load_images(
            source, size=side, channels=channels if channels in (1, 3) else None, limit=limit, progress=update
        )
    pixels = as_images(images.images, opened.gan.image_shape_)
    if len(pixels) < LEAST:
        raise InputError(f"{images.source} has {len(pixels)} images: at least {LEAST} are needed to tell anything")
    order = np.random.default_rng([seed, 10]).permutation(len(pixels))
    labels = images.labels
    if labels is not None and not (labels >= 0).any():
        labels = None
    return Real(pixels[order], None if labels is None else labels[order], images.source, fingerprint(pixels))


def _refuse_overlap(real: Real, held_out: Real | None) -> None:
    if held_out is not None and real.fingerprint == held_out.fingerprint:
        raise InputError(
            f"--test ({held_out.source}) has the same images as DATA: give others, or leave --test out, and a fifth of "
            "DATA is held out for the probes"
        )


def _seen(opened: Opened, real: Real) -> str:
    learned = opened.config.get("data") or {}
    if "fingerprint" not in learned:
        return "The run does not say which images it learned from."
    if learned["fingerprint"] == real.fingerprint:
        return "DATA are the images that the run learned from."
    return "DATA are not exactly the images that the run learned from: they are others, or some of them."


class _Measurement:
    """Everything of one run; features are read once, and let go as soon as they are not needed."""

    def __init__(
        self,
        opened: Opened,
        real: Real,
        held_out: Real | None,
        stage: Stage,
        device: str,
        seed: int,
        notes: list[str],
    ) -> None:
        self.opened, self.real, self.held_out, self.stage = opened, real, held_out, stage
        self.asked_device, self.seed, self.notes = device, seed, notes
        self.device = opened.gan.device_
        self.objective = opened.gan.objective_
        self.D = opened.heads["discriminator"]
        self.C = opened.heads.get("classifier")
        self.D0, self.C0 = ((opened.untrained or {}).get(name) for name in ("discriminator", "classifier"))
        self.normed = bool(batch_norms(self.D.network))
        self.usual = USUAL if self.normed else ""
        if opened.untrained is None:
            notes.append("The run keeps no untrained network: its baseline is missing everywhere.")

    # ------------------------------------------------------------------ features

    def _features(self, head: Head, images: NDArray[Any], what: str) -> Features:
        with self.stage(f"features of {what}", 0):
            return read(head, images, self.device)

    @contextmanager
    def _as_in_training(self, *heads: Head) -> Iterator[int]:
        """Batch norms by the batch at hand; gives the size of a batch."""
        with batch_statistics(*(head.network for head in heads)):
            yield self.opened.batch_size

    def _split(self, head: Head, *, softmax: bool = False) -> SubspaceSplit:
        return SubspaceSplit(head.layer, softmax=softmax).fit(np.zeros((1, head.layer.in_features)))

    def claims(self) -> list[Claim]:
        """All of them, in the order of the study."""
        with self.stage("drawing images", 0):
            drawn = draw(self.objective, len(self.real.pixels), self.seed, self.device)
        split = self._split(self.D)
        real = self._features(self.D, self.real.pixels, "real images")
        generated = self._features(self.D, drawn.x_NCHW, "generated images")
        test = None if self.held_out is None else self._features(self.D, self.held_out.pixels, "--test")

        spreads = {"D, DATA": spaces.spread(real, split, self.seed)}
        usual = {f"DATA{self.usual}": self._judged(self.D, real, generated)}
        apart_usual = {f"D{self.usual}": spaces.separation(real, generated, split, self.seed)}
        if test is not None:
            usual[f"--test{self.usual}"] = self._judged(self.D, test, generated)
            spreads["D, --test"] = spaces.spread(test, split, self.seed)
        del generated
        judged, apart = usual, apart_usual
        if self.normed:
            judged, apart = {}, {}
            with self.stage("as in training", 0), self._as_in_training(self.D) as size:
                theirs = read(self.D, drawn.x_NCHW, self.device, size=size)
                for name, images in (("DATA", self.real), ("--test", self.held_out)):
                    if images is None:
                        continue
                    ours = read(self.D, images.pixels, self.device, size=size)
                    judged[f"{name}{BATCHED}"] = self._judged(self.D, ours, theirs)
                    if name == "DATA":
                        apart[f"D{BATCHED}"] = spaces.separation(ours, theirs, split, self.seed)
                del ours, theirs
        judged = judged | self._of_checkpoints()

        untrained, baselines, evidence, apart_0 = None, {}, {}, {}
        if self.D0 is not None:
            untrained = self._features(self.D0, self.real.pixels, "real images, untrained")
            split_0 = self._split(self.D0)
            evidence["untrained D, DATA"] = spaces.spread(untrained, split_0, self.seed)
            with self.stage("as in training, untrained", 0), self._as_in_training(self.D0) as size:
                pair = [read(self.D0, x, self.device, size=size) for x in (self.real.pixels, drawn.x_NCHW)]
            name = f"untrained D, DATA{BATCHED if self.normed else ''}"
            baselines[name] = self._judged(self.D0, *pair)
            apart_0[name] = spaces.separation(pair[0], pair[1], split_0, self.seed)
            del pair
        of_classes, of_C = self._of_classes(drawn, real)
        evidence |= of_C
        main = spreads["D, DATA" if test is None else "D, --test"]
        return [
            invariance.corollary_3(judged, usual if self.normed else {}, baselines, self.opened.gan.history_),
            spaces.corollary_4(spreads, evidence),
            self._useful(split, real, test, untrained),
            self._robust(main, evidence),
            spaces.theorem_1_noise(apart, apart_usual if self.normed else {}, apart_0),
            *of_classes,
        ]

    def _judged(self, head: Head, real: Features, generated: Features) -> invariance.Spread:
        return invariance.spread(head.logits(real), head.logits(generated), self.seed)

    def _of_checkpoints(self) -> dict[str, invariance.Spread]:
        """D against G as they played at every checkpoint that the run keeps."""
        found = {}
        pixels = self.real.pixels[:OF_CHECKPOINTS]
        for step, objective in checkpoints(self.opened, self.notes):
            head = heads_of(objective, str(self.opened.run))["discriminator"]
            with self.stage(f"checkpoint of step {step:,}", 0), batch_statistics(objective):
                size = self.opened.batch_size
                drawn = draw(objective, len(pixels), self.seed, self.device, size)
                real, generated = (read(head, x, self.device, size=size) for x in (pixels, drawn.x_NCHW))
            found[f"checkpoint of step {step:,}{BATCHED if self.normed else ''}"] = self._judged(head, real, generated)
        return found

    # ------------------------------------------------------------------ theorem 1

    def _useful(self, split: SubspaceSplit, real: Features, test: Features | None, untrained: Features | None) -> Claim:
        """Probes, where there are labels."""
        known = self.real.known
        y = self.real.labels[known] if self.real.labels is not None else np.empty(0, np.int64)
        problem = ""
        if len(np.unique(y)) < 2:
            problem = "DATA has no labels of two classes" if not len(y) else "the labels of DATA are of one class only"
        elif self.held_out is not None and len(np.unique(self.held_out.labels[self.held_out.known])) < 2:  # type: ignore[index]
            problem = "--test has no labels of two classes"
        elif np.unique(y, return_counts=True)[1].min() < 3:
            problem = "a class of DATA has fewer than 3 images"
        if problem:
            note = (
                f"Not measured: {problem}. Give images with labels, such as a folder with a sub-folder for every class."
            )
            self.notes.append(f"Theorem 1, useful: not measured, {problem}.")
            return claim(
                "theorem-1-useful",
                "Theorem 1, useful: null-space features are as good",
                usefulness.SAYS,
                [],
                notes=[note],
            )
        if self.held_out is None or test is None:
            learn, score = (known[rows] for rows in hold_out(y, HELD_OUT, self.seed))
            theirs: Any = self.real
            test = real
        else:
            learn, score, theirs = known, self.held_out.known, self.held_out
        train_y, test_y = self.real.labels[learn], theirs.labels[score]  # type: ignore[index]
        pixels = [images.reshape(len(images), -1) for images in (self.real.pixels[learn], theirs.pixels[score])]
        sets = {
            usefulness.PIXELS: (pixels[0], pixels[1]),
            usefulness.PCA: principal_components(pixels[0], pixels[1]),
        }
        if untrained is not None and self.D0 is not None:
            other = untrained if theirs is self.real else self._features(self.D0, theirs.pixels, "--test, untrained")
            sets[usefulness.UNTRAINED] = untrained[learn], other[score]
        ours = real[learn], test[score]
        sets[usefulness.FULL] = ours
        if split.rank_:
            sets[usefulness.ROW] = split.row_coordinates(ours[0]), split.row_coordinates(ours[1])
            basis = next(random_bases(real.shape[1], split.rank_, [self.seed, 11], 1))
            control = SubspaceSplit(basis).fit(basis)
            sets[usefulness.CONTROL] = control.split(ours[0])[1], control.split(ours[1])[1]
        sets[usefulness.NULL] = split.split(ours[0])[1], split.split(ours[1])[1]
        protocol = usefulness.protocol_for(train_y, self.seed)
        return usefulness.theorem_1_useful(sets, train_y, test_y, protocol, self.stage, self.asked_device)

    def _robust(self, main: spaces.Spread, evidence: dict[str, spaces.Spread]) -> Claim:
        images = (self.held_out or self.real).pixels[:MOVED]

        def moved(head: Head, spread: spaces.Spread, what: str) -> robustness.Drift:
            with self.stage(f"noise, {what}", 0) as update:
                return robustness.drift(head, images, spread, self.seed, self.device, update)

        others = {}
        for name, head, key in (
            ("untrained D, full", self.D0, "untrained D, DATA"),
            ("C, full", self.C, "C, DATA"),
        ):
            if head is not None and key in evidence and not (head is self.C and self._shared()):
                others[name] = moved(head, evidence[key], name), evidence[key]
        return robustness.theorem_1_robust(moved(self.D, main, "D"), main, self.seed, others)

    def _shared(self) -> bool:
        """Whether C reads the very features that D reads."""
        if self.C is None or self.C.network is self.D.network:
            return True
        few = self.real.pixels[:8]
        ours, theirs = (read(head, few, self.device) for head in (self.D, self.C))
        return ours.shape == theirs.shape and bool(np.array_equal(ours, theirs))

    # ------------------------------------------------------------------ the classifier

    def _of_classes(self, drawn: Drawn, of_D: Features) -> tuple[list[Claim], dict[str, spaces.Spread]]:
        """Proposition 6, theorems 2 and 3, and the spread of real images in the row space of the classifier's head."""
        if self.C is None:
            return [], {}
        sources: dict[str, tuple[NDArray[Any], NDArray[np.int64]]] = {}
        labels, known = self.real.labels, self.real.known
        if drawn.classes is not None:
            kind = "generators" if self.C.network is not self.D.network else "generated, classes asked for"
            sources[kind] = drawn.x_NCHW, drawn.classes
        learned = getattr(self.opened.gan, "classes_", None)
        if learned is not None and learned.dtype.kind in "iu" and labels is not None:
            named = np.flatnonzero(np.isin(labels, learned))
            if len(named) >= LEAST:
                sources["real, labels of DATA"] = self.real.pixels[named], np.searchsorted(learned, labels[named])
        measured: dict[str, classes.Classes] = {}
        evidence: dict[str, classes.Classes] = {}
        untrained: dict[str, classes.Classes] = {}
        for name, (images, y) in sources.items():
            for head, where in ((self.C, measured), (self.C0, untrained)):
                if head is None:
                    continue
                if batch_norms(head.network):
                    with self.stage(f"classes, {name}", 0), self._as_in_training(head) as size:
                        rows = read(head, images, self.device, size=size)
                    where[f"{name}{BATCHED}"] = self._classes(head, rows, y[: len(rows)])
                    if where is measured:
                        rows = self._features(head, images, name)
                        evidence[f"{name}{USUAL}"] = self._classes(head, rows, y)
                else:
                    where[name] = self._classes(head, self._features(head, images, name), y)
        real = of_D if self._shared() else self._features(self.C, self.real.pixels, "real images, C")
        if learned is None and labels is not None and len(np.unique(labels[known])) > 1:
            name = f"real images, labels of DATA{self.usual}"
            evidence[name] = self._classes(self.C, real[known], labels[known], source=False)
        head_spread = {"C, DATA": spaces.spread(real, self._split(self.C), self.seed)}
        centred = spaces.spread(real, self._split(self.C, softmax=True), self.seed, top=False)
        found = classes.of_classifier(measured, evidence, untrained, {"Real images, the classifier's head": centred})
        return found, head_spread

    def _classes(self, head: Head, rows: Features, y: NDArray[np.int64], *, source: bool = True) -> classes.Classes:
        split = self._split(head, softmax=True)
        return classes.classes_in(rows, head.logits(rows), y, split, self.seed, source=source)
