"""Proposition 6, theorems 2 and 3: what a classifier's head says of its source classes, and where the classes differ.

Logits of one class are y_i + lambda(x) 1 (proposition 6), as a softmax does not see lambda; so all is measured without
the mean over the logits, and in the row space of the centred head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.subspace import SubspaceSplit
from ganfeat.theory.claims import Claim, Estimate, above, claim, estimate, judge, part, table
from ganfeat.theory.resampling import Resampling, with_interval
from ganfeat.theory.spaces import Spread

TIGHT, LOOSE = 0.9, 0.5
SAYS_6 = (
    "For images of one source class the classifier's logits are A f(x) + b = y_i + lambda(x) 1; for other classes they "
    "differ. Measured: of the variance of the logits without their mean over classes, the share between the source "
    "classes. And of the variance within classes, the share along 1, where a softmax sees nothing."
)
SAYS_2 = (
    "A classifier's features are guided to differ between its source classes, through the row space of its head; "
    "beyond that they may differ in the null space. Measured: the share of the variance between classes that lies in "
    "the row space (of the head without what moves all logits alike), against the share of the variance within classes."
)
SAYS_3 = (
    "Images of one source class keep part of their likeness in the features. Measured: the share of the features' "
    "variance between source classes, against that of the untrained network."
)
RULE_6 = f"holds if the interval is above {100 * TIGHT:.0f} %, does not hold if it is below {100 * LOOSE:.0f} %"
RULE_2 = "holds if the difference of the shares is above 0, does not hold if it is below (whole interval)"
RULE_3 = (
    "holds if the interval is above that of the untrained network, does not hold if it is below; without an untrained "
    "network it cannot be told"
)


@dataclass(frozen=True)
class Classes:
    """Classes in the logits and in the features of a head.

    ``logits`` and ``features``: shares of variance between classes, of centred logits and of features; ``along``: share
    of the variance of the logits within classes along 1; ``between`` and ``within``: shares of the features' variance
    between and within classes in the row space, ``more`` their difference; ``accuracy`` of the head, where its outputs
    are these classes; ``row`` and ``null``, ratios of variance between to within.
    """

    n_classes: int
    n_outputs: int
    logits: Estimate
    along: Estimate
    accuracy: float | None
    features: Estimate
    between: Estimate
    within: Estimate
    more: Estimate
    row: float
    null: float


def classes_in(
    features: NDArray[np.float32],
    logits: NDArray[np.floating],
    labels: NDArray[np.int64],
    split: SubspaceSplit,
    seed: int,
    *,
    source: bool = True,
) -> Classes:
    """Measure classes.

    Parameters
    ----------
    features : ndarray ``(n, n_features)``
    logits : ndarray ``(n, n_outputs)``
        Of the head.
    labels : ndarray of int ``(n,)``
    split : SubspaceSplit
        Of the head, with ``softmax=True``, fitted.
    seed : int
    source : bool
        Whether the labels are what the head's outputs stand for.
    """
    again = Resampling(len(labels), [seed, 8])
    logits = np.asarray(logits, np.float64)
    mean = logits.mean(1, keepdims=True)
    centred = _scatter(logits - mean, labels, again)
    along = _scatter(np.sqrt(logits.shape[1]) * mean, labels, again)
    whole = _scatter(features, labels, again)
    row = _scatter(split.row_coordinates(features), labels, again)

    def estimated(top: Any, bottom: Any) -> Estimate:
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.divide(top, bottom)
        return with_interval(float(shares[0]), shares[1:])

    with np.errstate(divide="ignore", invalid="ignore"):
        shares_b, shares_w = row[0] / whole[0], row[1] / whole[1]
        more = shares_b - shares_w
        ratios = (
            float(np.divide(row[0][0], row[1][0])),
            float(np.divide(whole[0][0] - row[0][0], whole[1][0] - row[1][0])),
        )
    fits = source and labels.max() < logits.shape[1]
    return Classes(
        n_classes=len(np.unique(labels)),
        n_outputs=logits.shape[1],
        logits=estimated(centred[0], centred[0] + centred[1]),
        along=estimated(along[1], along[1] + centred[1]),
        accuracy=float((logits.argmax(1) == labels).mean()) if fits else None,
        features=estimated(whole[0], whole[0] + whole[1]),
        between=estimated(row[0], whole[0]),
        within=estimated(row[1], whole[1]),
        more=with_interval(float(more[0]), more[1:]),
        row=ratios[0],
        null=ratios[1],
    )


def _scatter(
    values: NDArray[np.floating], labels: NDArray[np.int64], again: Resampling
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variance between and within classes, summed over columns: of the images, and behind it of every resampling.

    The variance that sampling errors of the class means add to that between them is taken off; a resampling has it
    twice.
    """
    values = values - values.mean(axis=0, dtype=np.float64).astype(values.dtype)
    n = len(values)
    squares = np.square(values, dtype=np.float64).sum(1)
    weights = np.concatenate([np.full((1, n), 1 / n, np.float32), again.weights_BN])
    found, present = np.unique(labels), np.zeros(len(weights))
    grand = np.zeros((len(weights), values.shape[1]))
    for label in found:
        rows = np.flatnonzero(labels == label)
        mass = weights[:, rows].sum(1, dtype=np.float64)
        total = (weights[:, rows].astype(values.dtype) @ values[rows]).astype(np.float64)
        grand += total
        present += np.divide(np.square(total).sum(1), mass, out=np.zeros(len(mass)), where=mass > 0)
    within = np.maximum(weights.astype(np.float64) @ squares - present, 0)
    between = present - np.square(grand).sum(1)
    off = (len(found) - 1) / n * np.where(np.arange(len(weights)) == 0, 1, 2)
    return np.maximum(between - off * within[0], 0), within


def of_classifier(
    measured: Mapping[str, Classes],
    evidence: Mapping[str, Classes],
    untrained: Mapping[str, Classes],
    spreads: Mapping[str, Spread] | None = None,
) -> list[Claim]:
    """Proposition 6, theorems 2 and 3.

    Parameters
    ----------
    measured : mapping
        On source classes: each is a part.
    evidence : mapping
        For the tables alone: other modes, other labels.
    untrained : mapping
        Of the untrained network, by the names of ``measured``.
    spreads : mapping, optional
        Variance in the head's row space over real images, for theorem 2's table.
    """
    everything = {
        **measured,
        **evidence,
        **{f"untrained, {name}": found for name, found in untrained.items()},
    }
    six = claim(
        "proposition-6",
        "Proposition 6: logits of a class are y_i + lambda(x) 1",
        SAYS_6,
        [
            part(
                f"share of the centred logits' variance between classes, {name}",
                found.logits,
                above(found.logits, TIGHT, LOOSE),
                RULE_6,
                "%",
            )
            for name, found in measured.items()
        ],
        [
            table(
                "Logits of the classifier's head. Along 1: of the variance within classes, what adds the same to all "
                "logits; 1 / classes if it lay in no direction more than in others.",
                ["", "between classes", "along 1", "1 / outputs", "accuracy"],
                [
                    [name, found.logits, found.along, 1 / found.n_outputs, found.accuracy]
                    for name, found in everything.items()
                ],
                ["%"] * 4,
            )
        ],
    )
    two = claim(
        "theorem-2",
        "Theorem 2: classes differ in the row space",
        SAYS_2,
        [
            part(
                f"share of the variance between classes in the row space, minus that of the variance within, {name}",
                found.more,
                above(found.more, 0.0, 0.0),
                RULE_2,
                "%",
            )
            for name, found in measured.items()
        ],
        [
            table(
                "Shares of the features' variance between and within classes in the row space, %, and the variance "
                "between classes over that within, in the row space and in the null space.",
                ["", "between", "within", "ratio, row space", "ratio, null space"],
                [
                    [
                        name,
                        found.between,
                        found.within,
                        *(x if np.isfinite(x) else None for x in (found.row, found.null)),
                    ]
                    for name, found in everything.items()
                ],
                ["%", "%", "", ""],
            )
        ],
        [
            f"{name}: {100 * (found.share['value'] or 0.0):.3g} % of the features' variance is in the row space, the "
            f"rest, in the null space, is what theorem 2 calls extra divergences (random heads of the same rank: "
            f"{100 * float(np.median(found.random)):.3g} %)."
            for name, found in (spreads or {}).items()
        ],
    )
    parts = []
    for name, found in measured.items():
        before = untrained.get(name)
        none = estimate(float("nan"))
        low, high = ((none if before is None else before.features)[k] for k in ("low", "high"))
        ours = found.features
        known = None not in (low, high, ours["low"], ours["high"])
        verdict = judge(
            known and ours["low"] > high,  # type: ignore[operator]
            known and ours["high"] < low,  # type: ignore[operator]
        )
        parts.append(part(f"share of the features' variance between classes, {name}", ours, verdict, RULE_3, "%"))
    three = claim(
        "theorem-3",
        "Theorem 3: images of a class stay alike in the features",
        SAYS_3,
        parts,
        [
            table(
                "Share of the features' variance between classes, %.",
                ["", "classes", "between classes"],
                [[name, str(found.n_classes), found.features] for name, found in everything.items()],
                ["", "%"],
            )
        ],
    )
    return [six, two, three]
