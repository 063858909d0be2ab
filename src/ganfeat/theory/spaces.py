"""Corollary 4, f(x) = c + f_n(x) on real images; and whether what separates real from generated is in the row space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd

from ganfeat.subspace import SubspaceSplit
from ganfeat.theory.claims import Claim, Estimate, above, below, claim, other_mode, part, table
from ganfeat.theory.resampling import RANDOM_HEADS, Resampling, random_bases, stacked_bases, with_interval

FEW, HALF = 0.05, 0.5
MOSTLY = 0.5
RULE_4 = (
    "holds if the interval is below what 95 % of random heads of the same rank have, does not hold if it is above what "
    "half of them have"
)
RULE_NOISE = f"holds if the interval is above {100 * MOSTLY:.0f} %, does not hold if it is below"
SAYS_4 = (
    "The features of real images are f(x) = c + f_n(x): their part in the row space of D's head is constant, and they "
    "differ in its null space alone. Measured: the share of the features' variance over real images that lies in the "
    "row space, against that of random directions, since a row space of few dimensions holds little of any variance."
)
SAYS_NOISE = (
    "What tells generated images from real ones, which is noise, is in the row space of D's head and so kept out of "
    "the null space. Measured: how much of the squared distance between the mean features of real and of generated "
    "images lies in the row space (the sampling error of the means taken off)."
)


@dataclass(frozen=True)
class Spread:
    """How features spread over real images, in all and within the row space of a head.

    ``total_N`` and ``row_N`` are squared distances of every image from the mean; ``random`` the shares of the variance
    that random heads' row spaces hold, ``random_variance`` these variances, ``top`` the share of as many leading
    principal components.
    """

    split: SubspaceSplit
    n_features: int
    total_N: NDArray[np.float64]
    row_N: NDArray[np.float64]
    random: NDArray[np.float64]
    random_variance: NDArray[np.float64]
    top: float
    share: Estimate

    @property
    def rank(self) -> int:
        """Of the head."""
        return int(self.split.rank_)


def spread(features: NDArray[np.float32], split: SubspaceSplit, seed: int, *, top: bool = True) -> Spread:
    """Measure the variance of features in all and in a row space.

    Parameters
    ----------
    features : ndarray of float32 ``(n, n_features)``
    split : SubspaceSplit
        Fitted, of a linear head.
    seed : int
        Of the bootstrap over images and of the random heads.
    top : bool
        Whether to compute the principal components, too.
    """
    centred = features - features.mean(axis=0, dtype=np.float64).astype(np.float32)
    total = np.einsum("nf,nf->n", centred, centred, dtype=np.float64)
    row = np.square(centred @ split.row_basis_.T.astype(np.float32), dtype=np.float64).sum(1)
    sum_total = total.sum()
    again = Resampling(len(features), [seed, 3]).means(np.stack([row, total], 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = with_interval(float(row.sum() / sum_total), again[:, 0] / again[:, 1])
        random = _energies(centred, stacked_bases(features.shape[1], split.rank_, [seed, 4]), split.rank_)
        leading = float("nan")
        if top and split.rank_ and sum_total:
            values = randomized_svd(centred, split.rank_, n_iter=4, random_state=seed)[1]
            leading = float(np.square(values).sum() / sum_total)
        return Spread(split, features.shape[1], total, row, random / sum_total, random / len(features), leading, share)


def _energies(rows: NDArray[np.float32], bases: NDArray[np.float32], rank: int) -> NDArray[np.float64]:
    """Sum of squares of the rows within each of the stacked bases, a few of these at a time."""
    energies = [
        np.square(rows @ some.T, dtype=np.float64).sum(0) for some in np.array_split(bases, max(1, len(bases) // 256))
    ]
    return np.concatenate(energies).reshape(RANDOM_HEADS, rank).sum(1)


def corollary_4(measured: Mapping[str, Spread], evidence: Mapping[str, Spread]) -> Claim:
    """The claim: of D's head on real images; ``evidence`` of other heads, for the table alone."""
    parts = []
    for name, found in measured.items():
        few, half = (float(q) for q in np.quantile(found.random, [FEW, HALF]))
        parts.append(
            part(
                f"share of the features' variance in the row space, {name} (random heads: {100 * half:.3g} % in the "
                f"median, 95 % of them above {100 * few:.3g} %)",
                found.share,
                below(found.share, few, half),
                RULE_4,
                "%",
            )
        )
    rows = []
    for name, found in {**measured, **evidence}.items():
        few, half, most = (float(q) for q in np.quantile(found.random, [FEW, HALF, 0.95]))
        rest = {
            "value": None if found.share["value"] is None else 1 - found.share["value"],
            "low": None,
            "high": None,
        }
        rows.append(
            [
                name,
                str(found.rank),
                f"{found.n_features:,}",
                found.share,
                rest,
                {"value": half, "low": few, "high": most},
                found.rank / found.n_features,
                found.top if np.isfinite(found.top) else None,
            ]
        )
    headings = ["", "rank", "features", "row space", "null space", "random heads", "rank / features", "top components"]
    caption = (
        "Share of the features' variance over real images, %. Random heads: row spaces of the same rank, median and "
        "middle 90 %. Top components: as many leading principal components, the most that any head of this rank holds."
    )
    return claim(
        "corollary-4",
        "Corollary 4: the row-space part of real images is constant",
        SAYS_4,
        parts,
        [table(caption, headings, rows, ["", "", "%", "%", "%", "%", "%"])],
    )


@dataclass(frozen=True)
class Separation:
    """Share of the squared distance between mean features in the row space, its random heads, and that distance."""

    share: Estimate
    random: NDArray[np.float64]
    distance: float


def separation(
    real: NDArray[np.float32], generated: NDArray[np.float32], split: SubspaceSplit, seed: int
) -> Separation:
    """Where the difference between the means of real and generated features lies.

    Parameters
    ----------
    real, generated : ndarray of float32 ``(n, n_features)``
    split : SubspaceSplit
        Fitted.
    seed : int

    Returns
    -------
    Separation
        ``distance`` is that of the means, in standard deviations of the real features' length from their mean.
    """
    V = split.row_basis_
    centre = real.mean(axis=0, dtype=np.float64)
    moments = []
    for key, rows in enumerate((real, generated)):
        centred = rows - centre.astype(np.float32)
        mean = centred.mean(axis=0, dtype=np.float64)
        variance = centred.var(axis=0, dtype=np.float64)
        inside = (centred @ V.T.astype(np.float32)).var(axis=0, dtype=np.float64)
        draws = Resampling(len(rows), [seed, 5, key]).means(centred)
        moments.append((mean, variance.sum() / len(rows), inside.sum() / len(rows), draws, variance.sum()))
    delta = moments[0][0] - moments[1][0]
    noise, noise_row = (moments[0][k] + moments[1][k] for k in (1, 2))
    again = moments[0][3] - moments[1][3]

    def share(difference: NDArray[np.float64], times: int) -> NDArray[np.float64]:
        """Each mean is off by its sampling error; a resampled one by that of the resampling, too."""
        whole = np.square(difference).sum(-1) - times * noise
        row = np.square(difference @ V.T).sum(-1) - times * noise_row
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(whole > 0, np.clip(row / whole, 0, 1), np.nan)

    draws = share(again, 2)
    draws = draws if np.isnan(draws).mean() > 0.025 else draws[~np.isnan(draws)]
    whole = float(np.square(delta).sum())
    random = np.array(
        [float(np.square(basis @ delta).sum()) for basis in random_bases(len(delta), split.rank_, [seed, 4])]
    )
    spread_of_real = float(np.sqrt(moments[0][4]))
    with np.errstate(divide="ignore", invalid="ignore"):
        return Separation(
            with_interval(float(share(delta, 1)), draws),
            random / whole,
            float(np.sqrt(max(whole - noise, 0.0)) / spread_of_real) if spread_of_real else float("nan"),
        )


def theorem_1_noise(
    measured: Mapping[str, Separation], usual: Mapping[str, Separation], evidence: Mapping[str, Separation]
) -> Claim:
    """The claim, on D's features as in training; ``usual``: as extracted; ``evidence``: of other networks."""
    parts = [
        part(
            f"share of the squared distance between real and generated in the row space, {name}",
            found.share,
            above(found.share, MOSTLY, MOSTLY),
            RULE_NOISE,
            "%",
        )
        for name, found in measured.items()
    ]
    rows = []
    for name, found in {**measured, **usual, **evidence}.items():
        few, half, most = (float(q) for q in np.quantile(found.random, [0.05, 0.5, 0.95]))
        distance = found.distance if np.isfinite(found.distance) else None
        rows.append([name, found.share, {"value": half, "low": few, "high": most}, distance])
    return claim(
        "theorem-1-noise",
        "Theorem 1, noise: real and generated differ in the row space",
        SAYS_NOISE,
        parts,
        [
            table(
                "Share of the squared distance between the mean features of real and generated images, %; random "
                "heads: median and middle 90 %. Distance: of the means, in standard deviations of the real features.",
                ["", "row space", "random heads", "distance"],
                rows,
                ["%", "%", ""],
            )
        ],
        [other_mode(name, above(found.share, MOSTLY, MOSTLY)) for name, found in usual.items()],
    )
