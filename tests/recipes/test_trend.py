"""Rank correlation over settings and seeds, with p-values."""

import numpy as np
import pytest
from scipy import stats

from ganfeat.recipes.trend import trend


def table(values):
    return dict(enumerate(values.T.tolist()))


def test_it_is_spearmans_rho_over_all_points():
    values = np.random.default_rng(0).normal(size=(3, 5)) + 0.5 * np.arange(5)
    found = trend(table(values))
    rho = stats.spearmanr(np.tile(np.arange(5), 3), values.ravel()).statistic
    assert found["spearman"] == pytest.approx(rho)
    assert found["slope"] == pytest.approx(stats.linregress(np.tile(np.arange(5), 3), values.ravel()).slope)
    page = stats.page_trend_test(values)
    assert (found["page"], found["page_p"]) == (pytest.approx(page.statistic), pytest.approx(page.pvalue))


def test_a_perfect_order_is_as_unlikely_as_it_is():
    """Of 4! ** 2 orders two are as extreme."""
    found = trend(table(np.array([[1.0, 2, 3, 4], [5, 6, 7, 8]]) * [[1], [0.01]]))
    assert found["p"] == pytest.approx(2 / 24**2, abs=0.003)
    assert trend(table(np.arange(4.0)[None]))["p"] == pytest.approx(2 / 24, abs=0.02)


def test_the_sign_is_that_of_the_trend():
    values = np.arange(4.0)[None] + np.zeros((2, 1))
    assert trend(table(-values))["spearman"] == pytest.approx(-trend(table(values))["spearman"])


def test_p_values_of_noise_are_uniform():
    ps = [trend(table(np.random.default_rng(k).normal(size=(3, 5))))["p"] for k in range(60)]
    assert stats.kstest(ps, "uniform").pvalue > 0.01


def test_no_variation_is_no_trend():
    assert trend({2: [0.1, 0.3]})["slope"] is None
    found = trend({0: [0.5, 0.5], 1: [0.5, 0.5]})
    assert found["spearman"] is None
    assert found["slope"] == pytest.approx(0)
