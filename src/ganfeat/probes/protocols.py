"""Protocols: how many labels, how often drawn, how C is chosen, and which interval is reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganfeat.config import require
from ganfeat.errors import InputError
from ganfeat.probes.svm import DEFAULT_CS, FALLBACK_C, SCALINGS

CHOICES = ("cv", "validation")
INTERVALS = ("mean", "draws")


@dataclass(frozen=True)
class Protocol:
    """Accuracy of an L2-SVM against the number of labels: which labels, which C, which interval. Data, not code.

    For every number of labels, ``draws`` training sets are drawn, stratified and seeded; the same rows for
    every set of features, so that differences are paired. Features are scaled by all training rows, without their
    labels. :data:`PROTOCOLS` has the field's own.

    Parameters
    ----------
    labels_per_class : sequence of int or None
        A number that a class does not have is lowered to what it has. None is all labels.
    draws : int
        At most; one when all labels are used.
    labelled_rows : int, optional
        Fewer draws, but at least three, where more than so many labelled rows would be drawn in all.
    Cs : sequence of float
    choose : {"cv", "validation"}
        C is the best of ``Cs`` by accuracy, and is then kept for all draws of that size: cross-validated on the
        training labels of the first draws (up to five, about 500 rows in all), or on ``validation_rows`` rows, which
        are held back from the training rows and have labels, over the first ``validation_draws`` draws.
    folds : int
        Of the cross-validation. Above 1,000 rows, one fifth validates the others.
    validation_rows, validation_draws : int
    scaling : {"standard", "centred", "none"}
        See :class:`~ganfeat.LinearSVM`. Raw pixels and PCA are centred where this is "standard".
    interval : {"mean", "draws"}
        95 % of the mean over draws, or 1.96 standard deviations over draws, as the papers print it.
    seed : int
    """

    labels_per_class: Sequence[int | None] = (1, 5, 10, 50, 100, 400)
    draws: int = 20
    Cs: Sequence[float] = DEFAULT_CS
    folds: int = 3
    seed: int = 0
    labelled_rows: int | None = 2000
    choose: str = "cv"
    validation_rows: int = 0
    validation_draws: int = 10
    scaling: str = "standard"
    interval: str = "mean"

    def __post_init__(self) -> None:
        if not self.labels_per_class:
            raise InputError("labels_per_class is empty: give at least one number")
        for labels in self.labels_per_class:
            if labels is not None:
                require("labels_per_class", labels, int, least=1)
        if not len(self.Cs):
            raise InputError("Cs is empty: give at least one C")
        for C in self.Cs:
            require("Cs", C, float, above=0)
        require("draws", self.draws, int, least=1)
        require("folds", self.folds, int, least=2)
        require("seed", self.seed, int, least=0)
        require("validation_draws", self.validation_draws, int, least=1)
        require("validation_rows", self.validation_rows, int, least=1 if self.choose == "validation" else 0)
        for name, known in (("choose", CHOICES), ("scaling", SCALINGS), ("interval", INTERVALS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name}={getattr(self, name)!r} is not known: choose one of {', '.join(known)}")

    def card(self) -> dict[str, Any]:
        """The protocol in words, to be printed beside every result."""
        grid = ", ".join(f"{C:g}" for C in self.Cs)
        if self.choose == "cv":
            C = (
                f"best of {grid} by {self.folds}-fold cross-validation on training labels, pooled over the first draws "
                "(up to five, about 500 rows; above 1,000 rows one fold of five validates the others); "
                f"{FALLBACK_C:g} with one label a class"
            )
        else:
            C = (
                f"best of {grid} by the mean accuracy over {self.validation_draws} draws on {self.validation_rows:,} "
                "labelled rows held back from the training rows"
            )
        scale = {
            "standard": "features standardised (raw pixels and PCA centred), mean squared length of a row 1, learned "
            "from unlabelled training rows",
            "centred": "features centred, mean squared length of a row 1, learned from unlabelled training rows",
            "none": "features as they are",
        }
        interval = (
            "95 % of the mean over draws of labels (Student's t)"
            if self.interval == "mean"
            else "1.96 standard deviations over draws of labels"
        )
        return {
            "probe": "L2-SVM (squared hinge), one-vs-rest, ganfeat's LinearSVM",
            "labels per class": ["all" if k is None else k for k in self.labels_per_class],
            "draws": f"up to {self.draws}, stratified, the same rows for every set of features, seed {self.seed}",
            "C": C,
            "scale": scale[self.scaling],
            "interval": f"{interval}, for this network and these held-out images: it covers neither other training "
            "seeds nor other test images; with a single draw, of the proportion over test images (normal)",
        }

    def draws_for(self, labels: int, available: int, classes: int) -> int:
        """How many training sets of this size are drawn."""
        if labels >= available:
            return 1
        if self.labelled_rows is None:
            return self.draws
        return int(min(self.draws, max(3, self.labelled_rows // (labels * classes))))

    def half_width(self, point: Mapping[str, Any]) -> float:
        """The interval's half-width, of a point of a curve."""
        if self.interval == "draws" and point["draws"] > 1:
            return 1.96 * float(point["std"])
        return float(point["ci95"])


FewLabels = Protocol
"""The protocol with its defaults: a curve over few labels."""

PROTOCOLS: dict[str, Protocol] = {
    "few-labels": Protocol(),
    "all-labels": Protocol(labels_per_class=(None,), draws=1),
    "400-per-class": Protocol(labels_per_class=(400,), draws=10, labelled_rows=None, interval="draws"),
    "svhn-1000": Protocol(
        labels_per_class=(100,),
        draws=100,
        labelled_rows=None,
        Cs=tuple(c * 1e-4 for c in (1, 2, 5, 10, 20, 50, 100)),
        choose="validation",
        validation_rows=10_000,
        validation_draws=10,
        scaling="none",
        interval="draws",
    ),
}
"""Few labels; all labels; 400 of each class (DCGAN, table 1); 1,000 labels of SVHN, as the authors' code draws them
(DCGAN, section 5.2): features unscaled, 10,000 validation images, 100 draws."""
