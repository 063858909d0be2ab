"""Whether a measure grows along ordered settings, over several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

RESAMPLES = 9_999


def trend(values: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    """Rank correlation of a measure with its setting.

    Parameters
    ----------
    values : mapping
        Settings, ordered numbers, to the measure of every seed, as many for each.

    Returns
    -------
    dict
        ``spearman``: rho over all settings and seeds. ``p``: two-sided, of a permutation test that permutes the
        settings within each seed (what a seed does to all settings alike is no evidence of a trend). ``page``:
        Page's L test of the ordering over seeds, with its one-sided ``page_p``; None with fewer than 2 seeds or 3
        settings.
        ``slope``: of a least-squares line, per step of the setting. ``points``: how many. Without two settings, or any
        variation, there is no correlation: None.
    """
    from scipy import stats

    settings = np.array(sorted(values), float)
    table_SR = np.array([values[int(s)] for s in settings], float).T  # seeds, settings
    n_seeds, n_settings = table_SR.shape
    ranks = stats.rankdata(settings)
    found: dict[str, Any] = {"spearman": None, "p": None, "page": None, "page_p": None, "points": int(table_SR.size)}
    if n_settings < 2:
        return {**found, "slope": None}
    found["slope"] = float(np.polyfit(np.tile(settings, n_seeds), table_SR.ravel(), 1)[0])
    if np.ptp(table_SR) == 0:
        return found
    all_ranks = stats.rankdata(table_SR).reshape(table_SR.shape)
    rho = float(np.corrcoef(np.tile(ranks, n_seeds), all_ranks.ravel())[0, 1])
    rng = np.random.default_rng(0)
    shuffled = rng.permuted(np.broadcast_to(ranks, (RESAMPLES, n_seeds, n_settings)), axis=2)
    centred = all_ranks - all_ranks.mean()
    sums = (shuffled * centred).sum((1, 2))
    observed = float((ranks * centred).sum())
    extreme = int((np.abs(sums) >= abs(observed) - 1e-9).sum())
    found |= {"spearman": rho, "p": (1 + extreme) / (1 + RESAMPLES)}
    if n_seeds > 1 and n_settings > 2:
        page = stats.page_trend_test(table_SR)
        found |= {"page": float(page.statistic), "page_p": float(page.pvalue)}
    return found
