"""Theorem 1, robustness: how far noise on the images moves each part of the features, in units of its own variance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganfeat.theory.claims import Claim, Estimate, above, below, claim, estimate, part, table
from ganfeat.theory.networks import Head, read
from ganfeat.theory.noise import NOISES
from ganfeat.theory.resampling import RANDOM_HEADS, Resampling, stacked_bases, with_interval
from ganfeat.theory.spaces import Spread

MOST_RANDOM, HALF = 0.95, 0.5
SAYS = (
    "Null-space features are free of noise and more robust. Measured: E |f(x + noise) - f(x)|^2 of each part, divided "
    "by the variance of that part over real images, so that a part that hardly varies is not robust for that alone."
)
RULE_RATIO = "holds if the interval is below 1, does not hold if it is above"
RULE_RANDOM = (
    "holds if noise moves D's row space more than those of 95 % of random heads, does not hold if more than those of "
    "fewer than half"
)


@dataclass(frozen=True)
class Drift:
    """Squared distances that noise moves the features of some images: in all, in the row space, of random heads.

    By ``(kind, strength)``: ``total`` and ``row`` of every image, ``random`` the mean of every random head.
    """

    total: dict[tuple[str, float], NDArray[np.float64]] = field(default_factory=dict)
    row: dict[tuple[str, float], NDArray[np.float64]] = field(default_factory=dict)
    random: dict[tuple[str, float], NDArray[np.float64]] = field(default_factory=dict)


def drift(
    head: Head,
    images: NDArray[np.uint8],
    spread: Spread,
    seed: int,
    device: torch.device,
    update: Callable[..., None] = lambda *_, **__: None,
) -> Drift:
    """Move images by every noise, the same for every network, and say how far the features move.

    Parameters
    ----------
    head : Head
    images : ndarray of uint8 ``(n, h, w, c)``
    spread : Spread
        Of the same features: it has the split.
    seed : int
    device : torch.device
    update : callable(done, total)
    """
    V = spread.split.row_basis_.T.astype(np.float32)
    random = stacked_bases(spread.n_features, spread.rank, [seed, 4]).T
    still = read(head, images, device)
    found = Drift()
    conditions = [(kind, strength) for kind, (_, strengths) in NOISES.items() for strength in strengths]
    for done, (kind, strength) in enumerate(conditions, 1):
        generator = torch.Generator().manual_seed(seed + 100 * done)

        def change(x_NCHW: torch.Tensor, k: str = kind, s: float = strength, g: Any = generator) -> torch.Tensor:
            return NOISES[k][0](x_NCHW, s, g)

        moved = read(head, images, device, change=change) - still
        key = kind, float(strength)
        found.total[key] = np.einsum("nf,nf->n", moved, moved, dtype=np.float64)
        found.row[key] = np.square(moved @ V, dtype=np.float64).sum(1)
        by_head = np.square(moved @ random, dtype=np.float64).mean(0)
        found.random[key] = by_head.reshape(RANDOM_HEADS, spread.rank).sum(1)
        update(done, len(conditions))
    return found


def theorem_1_robust(
    found: Drift, spread: Spread, seed: int, others: Mapping[str, tuple[Drift, Spread]] | None = None
) -> Claim:
    """The claim: on D's features; ``others`` are whole features of other networks, for the table alone."""
    images = Resampling(len(next(iter(found.total.values()))), [seed, 6])
    real = Resampling(len(spread.total_N), [seed, 7])
    null_N = np.maximum(spread.total_N - spread.row_N, 0)
    scale = {"full": spread.total_N, "row": spread.row_N, "null": null_N}
    mean = {name: float(values.mean()) for name, values in scale.items()}
    again = {name: real.means(values) for name, values in scale.items()}
    others = others or {}
    rows: list[list[Any]] = []
    ratios, random, ours = [], [], []
    with np.errstate(divide="ignore", invalid="ignore"):
        for key, total in found.total.items():
            drifts = {"full": total, "row": found.row[key], "null": np.maximum(total - found.row[key], 0)}
            if not total.mean() > 0:
                continue
            value = {name: float(np.divide(d.mean(), mean[name])) for name, d in drifts.items()}
            draws = {name: images.means(d) / again[name] for name, d in drifts.items()}
            ratio = float(np.divide(value["null"], value["row"]))
            many = draws["null"] / draws["row"]
            ratios.append((ratio, many))
            ours.append(value["row"])
            random.append(found.random[key] / spread.random_variance)
            rows.append(
                [
                    f"{key[0]} {key[1]:g}",
                    with_interval(value["row"], draws["row"]),
                    with_interval(value["null"], draws["null"]),
                    with_interval(ratio, many),
                    _of_random(random[-1]),
                    with_interval(value["full"], draws["full"]),
                    *(_whole(*other, key) for other in others.values()),
                ]
            )
        logs = np.log([one for one, _ in ratios])
        overall = with_interval(float(np.exp(logs.mean())), np.exp(np.log([many for _, many in ratios]).mean(0)))
        beside = np.log(random).mean(0) < np.log(ours).mean()
    share = estimate(float(beside.mean()) if np.isfinite(ours).any() else float("nan"))
    known = {**share, "low": share["value"], "high": share["value"]}
    parts = [
        part(
            "drift of the null part over that of the row part, geometric mean over kinds and strengths of noise",
            overall,
            below(overall, 1.0, 1.0),
            RULE_RATIO,
        ),
        part(
            "random heads whose row space noise moves less than D's",
            share,
            above(known, MOST_RANDOM - 1e-9, HALF),
            RULE_RANDOM,
            "%",
        ),
    ]
    fewer = sum(1 for row in rows if row[3]["high"] is not None and row[3]["high"] < 1)
    more = sum(1 for row in rows if row[3]["low"] is not None and row[3]["low"] > 1)
    gain = np.nanmean([row[2]["value"] / row[5]["value"] for row in rows if row[2]["value"] and row[5]["value"]] or [1])
    notes = [
        f"Of {len(rows)} kinds and strengths of noise, the null part moves less than the row part in {fewer} and more "
        f"in {more} (whole intervals). Without their row part, the features move {100 * gain:.2f} % as far as with it "
        "(mean over noises): that is what a probe on the null part gains or loses."
    ]
    headings = ["noise", "row part", "null part", "null / row", "random heads", "full", *others]
    caption = (
        "Drift: mean squared distance that noise moves the features, over their variance on real images, by part. "
        "Intensities are of images in [-1, 1], blur and translation in pixels, the others shares of the image. Random "
        "heads: their row spaces, median and middle 90 %."
    )
    return claim(
        "theorem-1-robust",
        "Theorem 1, robust: noise moves the null part less",
        SAYS,
        parts,
        [table(caption, headings, rows, [""] * (len(headings) - 1))],
        notes,
    )


def _of_random(drifts: NDArray[np.float64]) -> Estimate:
    known = drifts[np.isfinite(drifts)]
    if not len(known):
        return estimate(float("nan"))
    few, half, most = (float(q) for q in np.quantile(known, [0.05, 0.5, 0.95]))
    return estimate(half, few, most)


def _whole(found: Drift, spread: Spread, key: tuple[str, float]) -> float | None:
    variance = float(spread.total_N.mean())
    return float(found.total[key].mean()) / variance if variance else None
