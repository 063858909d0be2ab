"""What the rows of a comparison say: margins, the best against the next, and what would have told without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.probes import label_free, margin

Row = dict[str, Any]


def measures(rows: NDArray[Any], neighbours: NDArray[np.int64], seed: int) -> dict[str, float | None]:
    """Label-free measures of one set of features; agreement between networks is added when all are there.

    Parameters
    ----------
    rows : ndarray ``(n, p)``
        A sample of images.
    neighbours : ndarray ``(n, k)``
        Their nearest neighbours by these features.
    seed : int
    """
    few = rows[label_free.sample(len(rows), label_free.DUPLICATE_ROWS)]
    return {
        "effective_rank": label_free.effective_rank(rows),
        "dead": float(label_free.dead_features(rows).mean()),
        "duplicate": float(label_free.duplicate_features(few).mean()),
        "half_agreement": label_free.half_agreement(rows, neighbours.shape[1], seed=seed),
    }


def between_networks(neighbours: Mapping[tuple[str, str], NDArray[np.int64]]) -> dict[tuple[str, str], float | None]:
    """Of every (network, tap): mean overlap of neighbours with the same tap of the other networks."""
    agreement: dict[tuple[str, str], float | None] = {}
    for (network, tap), ours in neighbours.items():
        others = [theirs for (name, at), theirs in neighbours.items() if at == tap and name != network]
        agreement[network, tap] = float(np.mean([label_free.overlap(ours, o) for o in others])) if others else None
    return agreement


def over(row: Row, twin: Row) -> dict[str, dict[str, Any]]:
    """Paired difference of two rows by labels per class; a single draw has no interval (None)."""
    found = {}
    for k, ours in row["accuracy"].items():
        theirs = twin["accuracy"][k]
        if ours["draws"] > 1:
            found[k] = margin(ours, theirs)
        else:
            found[k] = {"mean": ours["mean"] - theirs["mean"], "std": 0.0, "ci95": None, "draws": 1}
    return found


def conclusions(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """The number of labels that decides, the best row, paired tests, and the rank correlations.

    Parameters
    ----------
    rows : sequence of dict
        As :func:`ganfeat.comparison.compare_networks` gives them. Untrained networks do not compete.
    seed : int
        Of the permutations.

    Returns
    -------
    dict
        ``labels_per_class``; ``headline``, the number with the most draws, the largest of these; ``best``, the name of
        the best row, and ``best_layer`` of the best of a network; ``paired_tests`` of the best layer against the
        second and against the best baseline; ``rank_correlation`` of each label-free measure with accuracy.
    """
    curve = rows[0]["accuracy"]
    headline = max(curve, key=lambda k: (curve[k]["draws"], int(k)))

    def ranked(kind: str) -> list[Row]:
        return sorted((r for r in rows if r["kind"] == kind), key=lambda r: -r["accuracy"][headline]["mean"])

    trained, baselines = ranked("trained"), ranked("baseline")
    correlations = {}
    for measure in trained[0]["label_free"]:
        with_it = [row for row in trained if row["label_free"][measure] is not None]
        correlations[measure] = label_free.rank_correlation(
            [row["label_free"][measure] for row in with_it],
            [row["accuracy"][headline]["mean"] for row in with_it],
            seed=seed,
        )
    best = max((trained[0], baselines[0]), key=lambda r: r["accuracy"][headline]["mean"])
    return {
        "labels_per_class": [int(k) for k in curve],
        "headline": int(headline),
        "best": best["name"],
        "best_layer": trained[0]["name"],
        "paired_tests": [paired_test(trained[0], other, headline) for other in (*trained[1:2], baselines[0])],
        "rank_correlation": correlations,
    }


def paired_test(first: Row, second: Row, labels: str) -> dict[str, Any]:
    """Student's paired t-test of two rows over the same draws of labels.

    Returns
    -------
    dict
        ``first``, ``second`` (names), ``labels_per_class``, and of the difference ``mean``, ``ci95`` (half-width of the
        95 % interval), ``draws`` and the two-sided ``p``. With a single draw ``ci95`` and ``p`` are None.
    """
    from scipy.stats import ttest_rel

    difference = over(first, second)[labels]
    p = None
    if difference["draws"] > 1:
        ours, theirs = (row["accuracy"][labels]["accuracies"] for row in (first, second))
        if difference["std"] > 1e-12:
            p = float(ttest_rel(ours, theirs).pvalue)
        else:  # every draw differs alike: t is 0/0, or infinite
            p = float(difference["mean"] == 0)
    return {
        "first": first["name"],
        "second": second["name"],
        "labels_per_class": int(labels),
        **{key: difference[key] for key in ("mean", "ci95", "draws")},
        "p": p,
    }
