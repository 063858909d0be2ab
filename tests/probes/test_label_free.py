"""Measures of features without labels: closed forms, invariances, planted faults."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from ganfeat.errors import InputError
from ganfeat.probes import label_free
from ganfeat.probes.label_free import (
    dead_features,
    duplicate_features,
    effective_rank,
    half_agreement,
    nearest_neighbours,
    neighbour_agreement,
    overlap,
    rank_correlation,
    sample,
)

RNG = np.random.default_rng(0)


def normal(n, p, seed=0):
    return np.random.default_rng(seed).standard_normal((n, p)).astype(np.float32)


def rotation(p, seed=0):
    return np.linalg.qr(normal(p, p, seed).astype(np.float64))[0]


# ---------------------------------------------------------------------- effective rank


@pytest.mark.parametrize("wide", [False, True])
def test_effective_rank_of_orthogonal_rows(wide):
    """Of k singular values 1, exp(log k) = k; of two, a and b, the exponential of the entropy of (a, b) / (a + b)."""
    k, p = 6, 9 if wide else 6
    assert effective_rank(np.eye(k, p), centre=False) == pytest.approx(k)
    rows = np.zeros((4, 7))
    rows[0, 0], rows[1, 3] = 3.0, 1.0
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert effective_rank(rows, centre=False) == pytest.approx(expected)


def test_effective_rank_is_near_k_for_isotropic_data_in_k_dimensions():
    rows = normal(2000, 12) @ rotation(40)[:12].astype(np.float32)
    assert effective_rank(rows) == pytest.approx(12, abs=0.05)


def test_effective_rank_is_that_of_the_singular_values():
    """The products in blocks, either way round, against NumPy's SVD in float64."""
    for shape in ((30, 2500), (2500, 30)):
        rows = normal(*shape) * np.linspace(0.1, 3, shape[1], dtype=np.float32) + 5
        values = np.linalg.svd(rows - rows.mean(axis=0, dtype=np.float64), compute_uv=False)
        q = values[values > 1e-9 * values[0]] / values.sum()
        assert effective_rank(rows) == pytest.approx(math.exp(-(q * np.log(q)).sum()), rel=1e-6)


def test_effective_rank_does_not_see_rotation_order_scale_or_shift():
    rows = normal(80, 20).astype(np.float64) * np.linspace(1, 4, 20)
    expected = effective_rank(rows)
    assert 1 < expected < 20
    for other in (rows @ rotation(20), rows[:, ::-1], rows[::-1], 7 * rows, rows + np.arange(20)):
        assert effective_rank(other) == pytest.approx(expected, rel=1e-9)
    assert effective_rank(rows * np.arange(1, 21) ** 2) < expected - 1  # what it does see


def test_effective_rank_has_no_floor_of_rounding():
    """Rank 1 in 3,000 columns: float32 products would add hundreds of directions of noise."""
    rows = np.outer(normal(100, 1)[:, 0], normal(1, 3000)[0]).astype(np.float32)
    assert effective_rank(rows) == pytest.approx(1, abs=1e-3)


def test_effective_rank_where_nothing_varies():
    assert effective_rank(np.full((5, 3), 2.0)) == 0
    assert effective_rank(np.full((5, 3), 2.0), centre=False) == pytest.approx(1)


# ---------------------------------------------------------------------- dead and duplicate features


def planted():
    """40 features; 3, 17 and 39 dead; 5 says what 2 says, 30 what 21 says upside down."""
    rows = normal(300, 40) * RNG.uniform(0.5, 2, 40).astype(np.float32)
    rows[:, 3], rows[:, 17], rows[:, 39] = 0, 1234.567, 1e-6 * rows[:, 0]
    rows[:, 5] = 3 * rows[:, 2] + 1
    rows[:, 30] = -rows[:, 21] + 0.01 * rows[:, 7]
    return rows


def test_planted_faults_are_found_exactly():
    rows = planted()
    assert np.flatnonzero(dead_features(rows)).tolist() == [3, 17, 39]
    assert np.flatnonzero(duplicate_features(rows)).tolist() == [5, 30]


@pytest.mark.parametrize("block", [1, 7, 40, 1000])
def test_duplicates_do_not_depend_on_the_blocks(block, monkeypatch):
    monkeypatch.setattr(label_free, "_COLUMNS", block)
    assert np.flatnonzero(duplicate_features(planted())).tolist() == [5, 30]


def test_faults_follow_their_columns():
    rows, order = planted(), RNG.permutation(40)
    np.testing.assert_array_equal(dead_features(rows[:, order]), dead_features(rows)[order])
    assert duplicate_features(rows[:, order]).sum() == 2
    np.testing.assert_array_equal(dead_features(rows * 1e-5), dead_features(rows))
    signs = np.where(np.arange(40) % 2, 2.0, -0.5).astype(np.float32)
    np.testing.assert_array_equal(duplicate_features(rows * signs), duplicate_features(rows))


def test_features_of_which_most_are_dead():
    """The typical spread is of those that vary."""
    rows = np.zeros((50, 10))
    rows[:, 4:6] = normal(50, 2)
    assert np.flatnonzero(~dead_features(rows)).tolist() == [4, 5]
    assert dead_features(np.ones((5, 3))).all() and not duplicate_features(np.ones((5, 3))).any()


def test_the_threshold_is_a_correlation():
    """A feature r x + sqrt(1 - r^2) e has correlation r with x; made exact by orthogonalising e."""
    basis = np.linalg.qr(np.column_stack([np.ones(400), normal(400, 2)]).astype(np.float64))[0][:, 1:]
    for r, expected in ((0.995, True), (0.985, False), (-0.995, True)):
        rows = np.column_stack([basis[:, 0], r * basis[:, 0] + math.sqrt(1 - r * r) * basis[:, 1]])
        assert duplicate_features(rows).tolist() == [False, expected]


# ---------------------------------------------------------------------- neighbours


def test_neighbours_are_those_of_the_cosine():
    rows = normal(60, 15)
    z = (rows - rows.mean(0)) / rows.std(0)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    nearest = np.argsort(-(z @ z.T), axis=1)[:, 1:6]
    np.testing.assert_array_equal(np.sort(nearest_neighbours(rows, 5)), np.sort(nearest))


def test_nobody_is_its_own_neighbour_even_among_copies():
    found = nearest_neighbours(np.repeat(normal(5, 8), 4, axis=0), 3)
    assert not (found == np.arange(20)[:, None]).any()
    np.testing.assert_array_equal(np.sort(found // 4), np.repeat(np.arange(5), 4)[:, None].repeat(3, axis=1))


def test_neighbours_do_not_see_scale_shift_order_or_dead_features():
    rows = normal(50, 12)
    expected = np.sort(nearest_neighbours(rows, 4))
    dead = np.column_stack([rows, np.full(50, 3.3, np.float32)])
    for other in (rows * np.linspace(0.1, 10, 12, dtype=np.float32) + 4, rows[:, ::-1], dead):
        np.testing.assert_array_equal(np.sort(nearest_neighbours(other, 4)), expected)


def test_agreement_with_itself_is_one_and_of_noise_is_chance():
    """Independent features: a neighbour is any other row alike, so k of n - 1 agree on average."""
    rows = normal(400, 30)
    assert neighbour_agreement(rows, rows) == 1
    assert neighbour_agreement(rows, -2 * rows + 1) == 1  # cosines do not change
    chance = [neighbour_agreement(rows, normal(400, 20, seed), k=20) for seed in range(1, 6)]
    assert np.mean(chance) == pytest.approx(20 / 399, abs=0.006)


def test_overlap_counts_and_ignores_order():
    a = np.array([[1, 2, 3], [0, 2, 3]])
    assert overlap(a, a[:, ::-1]) == 1
    assert overlap(a, np.array([[4, 5, 6], [2, 0, 9]])) == pytest.approx(2 / 6)
    assert overlap(np.array([[1, 2]]), np.array([[2, 5]])) == overlap(np.array([[2, 5]]), np.array([[1, 2]])) == 0.5


def test_halves_agree_where_both_hold_everything_and_not_where_they_are_unrelated():
    few = normal(300, 3)
    assert half_agreement(np.tile(few, 60)) > 0.8
    assert half_agreement(normal(300, 60)) == pytest.approx(10 / 299, abs=0.02)
    assert half_agreement(normal(300, 60), seed=1) == half_agreement(normal(300, 60), seed=1)
    assert half_agreement(normal(300, 61), seed=1) != half_agreement(normal(300, 61), seed=2)
    assert half_agreement(normal(30, 1)) is None


# ---------------------------------------------------------------------- rank correlation


def test_rank_correlation_is_spearmans():
    x, y = normal(9, 1)[:, 0], np.round(normal(9, 1, 1)[:, 0])
    found = rank_correlation(x, y)
    assert found["spearman"] == pytest.approx(spearmanr(x, y).statistic) and found["rows"] == 9
    assert found["p"] == pytest.approx(spearmanr(x, y).pvalue, abs=0.06)
    assert rank_correlation(np.exp(x), 3 * y - 1) == found  # ranks alone count
    assert rank_correlation(-x, y)["spearman"] == pytest.approx(-found["spearman"])


@pytest.mark.parametrize(("n", "p"), [(3, 2 / 6), (4, 2 / 24), (5, 2 / 120), (6, 2 / 720)])
def test_p_of_a_perfect_order_is_exact(n, p):
    """One permutation of n! is as good, one as bad."""
    assert rank_correlation(range(n), range(n)) == {"spearman": pytest.approx(1), "p": pytest.approx(p), "rows": n}
    assert rank_correlation(range(n), range(n)[::-1])["spearman"] == pytest.approx(-1)


def test_p_is_seeded_and_small_for_many_rows():
    x = np.arange(12)
    first = rank_correlation(x, x**2, seed=3)
    assert first == rank_correlation(x, x**2, seed=3) and first["p"] < 0.001


@pytest.mark.parametrize(("x", "y"), [([], []), ([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [0, 0, 0])])
def test_no_correlation_of_what_does_not_vary(x, y):
    assert rank_correlation(x, y) == {"spearman": None, "p": None, "rows": len(x)}


# ---------------------------------------------------------------------- wrong input


def test_sample():
    np.testing.assert_array_equal(sample(5), np.arange(5))
    rows = sample(100_000, 1000)
    assert len(rows) == 1000 and rows[0] == 0 and rows[-1] == 99_999 and np.ptp(np.diff(rows)) <= 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: effective_rank(np.ones((1, 3))),
        lambda: effective_rank(np.ones(3)),
        lambda: dead_features(np.ones((4, 0))),
        lambda: nearest_neighbours(np.ones((10, 3)), 10),
        lambda: half_agreement(np.ones((10, 3)), 10),
        lambda: overlap(np.ones((10, 3), int), np.ones((10, 2), int)),
    ],
)
def test_what_cannot_be_measured(call):
    with pytest.raises(InputError, match=r"give"):
        call()
