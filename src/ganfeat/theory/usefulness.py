"""Theorem 1, usefulness: what a linear probe makes of the full features, of each part, and of what stands beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.probes import FewLabels, few_label_curve, margin
from ganfeat.probes.curves import Stage
from ganfeat.theory.claims import Claim, Estimate, above, claim, estimate, part, table

FULL, NULL, ROW = "full features", "null-space part", "row-space part"
CONTROL = "a random head's null space"
UNTRAINED, PIXELS, PCA = "untrained, full features", "raw pixels", "PCA"
BY_VARIANCE = (PIXELS, PCA)
"""Centred, not standardised: see :data:`ganfeat.probes.curves.CENTRED`."""
POINTS = 0.01
SAYS = (
    "The differences between real images that the null space holds make useful features. Measured: accuracy of a "
    "linear SVM with few labels on the null part, against the full features, and as a control against features "
    "without the row space of a random head."
)
RULE = (
    f"holds if the null part is less than {100 * POINTS:.0f} point below the full features, does not hold if it is "
    "more (whole interval of the paired difference over draws of labels)"
)


def protocol_for(labels: NDArray[Any], seed: int) -> FewLabels:
    """Few labels, at most half of the smallest class, so that draws differ; ten draws of each number of labels."""
    least = int(np.unique(labels, return_counts=True)[1].min())
    sizes = sorted({max(1, min(k, least // 2)) for k in (10, 100)})
    return FewLabels(labels_per_class=tuple(sizes), draws=10, labelled_rows=None, seed=seed)


def theorem_1_useful(
    sets: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
    labels: NDArray[np.int64],
    test_labels: NDArray[np.int64],
    protocol: FewLabels,
    stage: Stage,
    device: str,
) -> Claim:
    """The claim.

    Parameters
    ----------
    sets : mapping
        By the names of this module: rows to learn from, and rows held out. :data:`FULL` and :data:`NULL` must be there.
    labels, test_labels : ndarray
    protocol : FewLabels
    stage
        Opens progress displays.
    device : str
    """
    curves = {}
    for name, (train, test) in sets.items():
        with stage(f"probing {name}", 0) as update:
            curves[name] = few_label_curve(
                train,
                labels,
                test,
                test_labels,
                protocol,
                standardise=name not in BY_VARIANCE,
                progress=update,
                device=device,
            )
    counts = list(curves[FULL])
    parts = []
    for k in counts:
        found = difference(curves[NULL][k], curves[FULL][k])
        what = f"accuracy of the null part minus that of the full features, {k} labels per class"
        parts.append(part(what, found, above(found, -POINTS, -POINTS), RULE, "%"))
    notes = []
    kept = [difference(curves[CONTROL][k], curves[FULL][k])["value"] for k in counts] if CONTROL in curves else []
    if kept and all(value is not None and value > -POINTS for value in kept):
        notes.append(
            "The control, the null space of a random head, is as good as well: that so few directions can be spared "
            "says little of this head."
        )
    headings = ["labels per class", *counts, *(f"minus full ({k})" for k in counts)]
    rows = []
    for name, curve in curves.items():
        minus = [None if name == FULL else difference(curve[k], curves[FULL][k]) for k in counts]
        rows.append([name, *(_point(curve[k]) for k in counts), *minus])
    caption = (
        "Accuracy of a linear SVM on held-out images, %, and paired differences to the full features, in points; 95 % "
        "intervals over draws of labels, for this network and these images."
    )
    return claim(
        "theorem-1-useful",
        "Theorem 1, useful: null-space features are as good",
        SAYS,
        parts,
        [table(caption, headings, rows, ["%"] * (2 * len(counts)))],
        notes,
        protocol=protocol.card(),
    )


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Estimate:
    """Paired difference of two points of curves; of a single draw, without an interval."""
    if ours["draws"] < 2:
        return estimate(ours["mean"] - theirs["mean"])
    return _point(margin(ours, theirs))


def _point(point: Mapping[str, Any]) -> Estimate:
    return estimate(point["mean"], point["mean"] - point["ci95"], point["mean"] + point["ci95"])
