"""Corollary 3: in a game that is well, D says the same of all real images, at every stage.

D(x) = 1 / (1 + alpha(x)) with alpha = p_g / p_r (corollary 1), so D's logit is -log alpha, and its standard deviation
over real images is that of log alpha.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.theory.claims import (
    FAILS,
    HOLDS,
    OPEN,
    Claim,
    Estimate,
    Part,
    claim,
    estimate,
    judge,
    other_mode,
    part,
    table,
)
from ganfeat.theory.resampling import Resampling, with_interval

NARROW, WIDE = 0.25, 0.5
"""Of the ratio: below, invariant; above, not."""
STILL, MOVING = math.log(1.25), math.log(2)
"""Of the standard deviation of log alpha: alpha within a factor 1.25; beyond a factor 2."""
STAGES = 0.95
KEPT_RECORDS = 400
RULE = (
    f"holds if the standard deviation of log alpha is below log 1.25 = {STILL:.3f}, or below log 2 = {MOVING:.3f} with "
    f"a ratio below {NARROW:g}; does not hold if it is above log 2 and the ratio above {WIDE:g} (whole intervals)"
)
SAYS = (
    "In a GAN that trains well, D(x) is the same for all real x, at every stage of the training. Measured: the spread "
    "of D's logit over real images against its distance to that of generated ones, std_real / |mean_real - "
    "mean_generated|."
)
MEASURES = {
    "ratio": ("std real / distance", ""),
    "std_real": ("std of log alpha, real", ""),
    "std_generated": ("std, generated", ""),
    "mean_real": ("mean, real", ""),
    "mean_generated": ("mean, generated", ""),
    "share": ("of pooled variance within real", "%"),
    "auc": ("AUC, real against generated", "%"),
}
TABLES = (
    (
        "An invariant D has a small ratio and a small share of the variance (of an equal mixture of real and generated "
        "images) within real; log alpha is D's logit with its sign changed.",
        ("ratio", "std_real", "share", "auc"),
    ),
    ("D's logit.", ("mean_real", "mean_generated", "std_real", "std_generated")),
)
Spread = dict[str, Estimate]


def spread(real_N: NDArray[Any], generated_N: NDArray[Any], seed: int) -> Spread:
    """How D's logit spreads over real images, and how far from those of generated ones.

    Parameters
    ----------
    real_N, generated_N : ndarray
        Logits.
    seed : int
        Of the bootstrap over images.

    Returns
    -------
    dict of :data:`~ganfeat.theory.claims.Estimate`
        ``ratio`` (std_real / |mean_real - mean_generated|), ``std_real`` (of log alpha), ``std_generated``,
        ``mean_real``, ``mean_generated``; ``share``, of the variance of an equal mixture of both, what lies within
        real; ``auc``, the chance that D's logit of a real image is above that of a generated one.
    """
    real_N, generated_N = np.asarray(real_N, np.float64).ravel(), np.asarray(generated_N, np.float64).ravel()
    draws = {}
    for name, values, key in (("real", real_N, 1), ("generated", generated_N, 2)):
        centre = values.mean()
        moments = np.stack([values - centre, np.square(values - centre)], 1)
        again = Resampling(len(values), [seed, key])
        found = again.means(moments)
        draws[name] = found[:, 0] + centre, np.maximum(found[:, 1] - np.square(found[:, 0]), 0), again
    one = _of_moments(*(f(v) for v in (real_N, generated_N) for f in (np.mean, np.var)))
    many = _of_moments(*(moment for name in ("real", "generated") for moment in draws[name][:2]))
    result = {name: with_interval(float(one[name]), many[name]) for name in one}
    weights = draws["real"][2].weights_BN, draws["generated"][2].weights_BN
    result["auc"] = with_interval(*_auc(real_N, generated_N, *weights))
    return {name: result[name] for name in MEASURES}


def _of_moments(mean_real: Any, var_real: Any, mean_generated: Any, var_generated: Any) -> dict[str, Any]:
    distance = np.abs(mean_real - mean_generated)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "ratio": np.sqrt(var_real) / distance,
            "std_real": np.sqrt(var_real),
            "std_generated": np.sqrt(var_generated),
            "mean_real": mean_real,
            "mean_generated": mean_generated,
            "share": var_real / 2 / ((var_real + var_generated) / 2 + np.square(distance) / 4),
        }


def _auc(
    real_N: NDArray[Any], generated_N: NDArray[Any], real_BN: NDArray[Any], generated_BN: NDArray[Any]
) -> tuple[float, NDArray[np.float64]]:
    """P(real above generated) + P(as high) / 2, and its bootstrap."""
    order = np.argsort(generated_N, kind="stable")
    places = [np.searchsorted(generated_N[order], real_N, side) for side in ("left", "right")]  # type: ignore[call-overload]
    value = float(np.mean([place / len(order) for place in places]))
    draws = np.empty(len(real_BN))
    for k, (ours, theirs) in enumerate(zip(real_BN, generated_BN, strict=True)):
        below = np.concatenate([[0.0], np.cumsum(theirs[order], dtype=np.float64)])
        draws[k] = ours @ (below[places[0]] + below[places[1]]) / 2
    return value, draws


def judged(found: Spread) -> str:
    """The verdict of one stage by :data:`RULE`."""

    def end(name: str, side: str) -> float:
        value = found[name][side]
        return value if value is not None else (math.inf if side == "high" and name == "ratio" else math.nan)

    return judge(
        (end("ratio", "high") < NARROW and end("std_real", "high") < MOVING) or end("std_real", "high") < STILL,
        end("ratio", "low") > WIDE and end("std_real", "low") > MOVING,
    )


def stages(history: Sequence[Mapping[str, Any]]) -> tuple[Part | None, dict[str, list[float | None]], list[str]]:
    """The same over the records of a training.

    Returns
    -------
    part or None
        None where no record has what is needed.
    series : dict
        ``epoch``, ``ratio`` and ``std_real`` of at most :data:`KEPT_RECORDS` records.
    notes : list of str
    """
    if not history:
        return None, {}, ["The run keeps no history of its training: only its weights are judged."]
    with_spread = [record for record in history if "spread/real" in record]
    if not with_spread:
        return (
            None,
            {},
            [
                "The records of this run lack the spread of D's logits (spread/real), as runs of earlier versions do: "
                "the stages of its training cannot be judged, only its weights."
            ],
        )
    notes = []
    if len(with_spread) < len(history):
        notes.append(f"{len(history) - len(with_spread):,} of {len(history):,} records lack spread/real: left out.")
    std = np.array([record["spread/real"] for record in with_spread], float)
    distance = np.array([abs(record["logit/real"] - record["logit/generated"]) for record in with_spread], float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = std / distance
    good = ((ratio < NARROW) & (std < MOVING)) | (std < STILL)
    bad = (ratio > WIDE) & (std > MOVING)
    verdict = HOLDS if good.mean() >= STAGES else FAILS if bad.mean() > 1 - STAGES else OPEN
    found = part(
        f"records of the training in which D's logit is invariant, of {len(std):,} (in {100 * bad.mean():.1f} % it is "
        f"not; median ratio {np.nanmedian(ratio):.3g})",
        estimate(float(good.mean())),
        verdict,
        f"holds if {100 * STAGES:.0f} % of the records hold by the rule above, does not if more than "
        f"{100 * (1 - STAGES):.0f} % do not",
        "%",
    )
    kept = np.unique(np.linspace(0, len(std) - 1, min(len(std), KEPT_RECORDS)).astype(int))
    series: dict[str, list[float | None]] = {
        name: [estimate(float(values[k]))["value"] for k in kept]
        for name, values in (
            ("epoch", np.array([record["epoch"] for record in with_spread], float)),
            ("ratio", ratio),
            ("std_real", std),
        )
    }
    return found, series, notes


def corollary_3(
    measured: Mapping[str, Spread],
    usual: Mapping[str, Spread],
    baselines: Mapping[str, Spread],
    history: Sequence[Mapping[str, Any]],
) -> Claim:
    """The claim.

    Parameters
    ----------
    measured : mapping
        By what was measured on: the trained network and its checkpoints, as they play. Each is a part.
    usual : mapping
        The same with batch norms as when features are extracted, if that is something else: a note each.
    baselines : mapping
        The untrained network, for the table.
    history : sequence of records
    """
    parts = [
        part(f"std real / distance, {name}", found["ratio"], judged(found), RULE) for name, found in measured.items()
    ]
    over_time, series, notes = stages(history)
    if over_time is not None:
        parts.append(over_time)
    notes += [other_mode(name, judged(found)) for name, found in usual.items()]
    return claim(
        "corollary-3",
        "Corollary 3: D says the same of all real images",
        SAYS,
        parts,
        [
            table(
                caption,
                ["", *(MEASURES[key][0] for key in keys)],
                [[name, *(found[key] for key in keys)] for name, found in {**measured, **usual, **baselines}.items()],
                [MEASURES[key][1] for key in keys],
            )
            for caption, keys in TABLES
        ],
        notes,
        series=series,
    )
