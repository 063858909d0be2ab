"""Positions in boxes, and the regression on them, against closed forms and scikit-learn."""

import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ganfeat.errors import InputError
from ganfeat.inspection import positions
from ganfeat.inspection.boxes import Box
from ganfeat.inspection.positions import check_enough, fit_regression, hold_out, inside

RNG = np.random.default_rng(0)


def a_case(n=8, grid=(6, 5), maps=4, noise=0.5):
    """The first map is on inside, the second outside, the third is noise, the fourth never varies."""
    truth = np.zeros((n, *grid), bool)
    for mask in truth:
        i, j = RNG.integers(grid[0] - 2), RNG.integers(grid[1] - 2)
        mask[i : i + 2, j : j + 2] = True
    X = RNG.normal(0, noise, (n, maps, *grid)).astype(np.float32)
    X[:, 0] += truth
    X[:, 1] += ~truth
    X[:, 3] = 1000.7
    return X, truth


def box(x, y, width, height):
    return Box("s0.0", x, y, width, height)


def test_at_the_images_own_size_a_box_is_its_pixels():
    for _ in range(20):
        left, top = RNG.integers(0, 8, 2)
        width, height = RNG.integers(1, 6, 2)
        mask = inside([[box(left, top, width, height)]], (12, 14), (12, 14))[0]
        wanted = np.zeros((12, 14), bool)
        wanted[top : top + height, left : left + width] = True
        assert (mask == wanted).all()


def test_a_cell_counts_by_where_its_centre_lies():
    """Cells of 4 x 2 pixels: centres at 2, 6, 10, ... down and 1, 3, 5, ... across; left and top edges belong."""
    mask = inside([[box(1, 2, 4, 4)], [box(1.01, 2.01, 4, 4)]], (4, 8), (16, 16))
    assert sorted(zip(*np.nonzero(mask[0]), strict=True)) == [(0, 0), (0, 1)]
    assert sorted(zip(*np.nonzero(mask[1]), strict=True)) == [(1, 1), (1, 2)]


def test_a_box_between_all_centres_has_the_cell_that_it_is_in():
    mask = inside([[box(9, 9, 1, 1)], [box(15.5, 15.5, 0.5, 0.5)], []], (2, 2), (16, 16))
    assert mask[0].tolist() == [[False, False], [False, True]] == mask[1].tolist() and not mask[2].any()


def test_a_thin_box_between_centres_keeps_its_length():
    """A stroke one pixel wide, on cells of 4 x 4 pixels: the column or row of cells it is in, as far as it goes."""
    mask = inside([[box(3, 0, 1, 16)], [box(0, 8, 11, 1)]], (4, 4), (16, 16))
    assert sorted(zip(*np.nonzero(mask[0]), strict=True)) == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert sorted(zip(*np.nonzero(mask[1]), strict=True)) == [(2, 0), (2, 1), (2, 2)]


def test_several_boxes_are_their_union():
    boxes = [box(0, 0, 5, 5), box(3, 3, 5, 5)]
    both = inside([boxes], (16, 16), (16, 16))[0]
    assert (both == inside([[b] for b in boxes], (16, 16), (16, 16)).any(axis=0)).all()


@pytest.mark.parametrize("balanced", [False, True])
def test_the_regression_is_scikit_learns_on_standardised_positions(balanced):
    X, truth = a_case()
    model = fit_regression(X, truth, balanced=balanced)
    rows = np.moveaxis(X[:, :3], 1, -1).reshape(-1, 3).astype(float)
    rows = (rows - rows.mean(0)) / rows.std(0)
    theirs = LogisticRegression(class_weight="balanced" if balanced else None).fit(rows, truth.ravel())
    assert model.weight[:3] == pytest.approx(theirs.coef_[0], abs=1e-3) and model.weight[3] == 0
    said = theirs.predict_proba(rows)[:, 1].reshape(truth.shape)
    assert model.probabilities(X) == pytest.approx(said, abs=1e-3)
    assert model.weight[0] > 0 > model.weight[1] and abs(model.weight[2]) < 0.3 * model.weight[0]


def test_units_of_the_maps_do_not_matter():
    X, truth = a_case()
    scale, shift = np.array([1e-3, 7, 1e3, 1.0]), np.array([0, 100, -5, 0.0])
    other = (X * scale[:, None, None] + shift[:, None, None]).astype(np.float32)
    assert fit_regression(other, truth).weight == pytest.approx(fit_regression(X, truth).weight, abs=1e-2)


def test_each_image_is_judged_by_regressions_that_have_not_seen_it():
    """Changing an image's boxes changes no answer about it."""
    X, truth = a_case()
    before = hold_out(X, truth, seed=3)
    assert before.scores["folds"] == 5 and before.scores["images"] == 8
    changed = truth.copy()
    changed[2] = ~changed[2]
    after = hold_out(X, changed, seed=3)
    same = before.fold == before.fold[2]
    assert (before.logits[same] == after.logits[same]).all() and same[2]
    assert not np.allclose(before.logits[~same], after.logits[~same])
    assert before.apply(X) == pytest.approx(1 / (1 + np.exp(-before.logits)), abs=1e-12)


def test_what_is_learned_from_some_images_is_what_they_alone_give():
    X, truth = a_case()
    some = np.array([5, 0, 3])
    mine, theirs = fit_regression(X, truth, images=some), fit_regression(X[some], truth[some])
    assert (mine.weight == theirs.weight).all() and mine.intercept == theirs.intercept


def test_large_maps_are_not_copied_whole(monkeypatch):
    """Positions are drawn first, and gathered then; no fold copies its images."""
    monkeypatch.setattr(positions, "MOST_VALUES", 2**14)
    hold_out(*a_case())  # imports
    X, truth = a_case(n=10, grid=(64, 64), maps=64)
    tracemalloc.start()
    try:
        hold_out(X, truth)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.5 * X.nbytes


def test_scores_where_there_is_something_to_tell_and_where_not():
    X, truth = a_case(n=20, noise=0.2)
    scores = hold_out(X, truth).scores
    assert scores["accuracy"] > 0.97 and scores["balanced_accuracy"] > 0.95 and scores["auc"] > 0.99
    assert scores["chance"] == pytest.approx(1 - truth.mean())
    assert (scores["positions"], scores["inside"]) == (truth.size, truth.sum())
    blind = hold_out(X[:, 2:3], truth).scores
    assert blind["accuracy"] == pytest.approx(scores["chance"], abs=0.02) and abs(blind["auc"] - 0.5) < 0.15


def test_too_many_positions_are_drawn_from(monkeypatch):
    X, truth = a_case(n=40)
    whole = fit_regression(X, truth).weight
    monkeypatch.setattr(positions, "MOST_VALUES", 4 * 600)
    part = fit_regression(X, truth, seed=1).weight
    assert not np.allclose(part, whole) and part == pytest.approx(whole, abs=0.8)
    assert (fit_regression(X, truth, seed=1).weight == part).all()
    monkeypatch.setattr(positions, "MOST_VALUES", 1)
    assert np.isfinite(fit_regression(X, truth).weight).all()  # one of each class is always there


def test_too_little_to_learn_from_is_refused():
    one = np.zeros((1, 4, 4), bool)
    one[0, 0, 0] = True
    with pytest.raises(InputError, match="boxes on 1 image are too few: at least 2 images must have boxes"):
        check_enough(one)
    with pytest.raises(InputError, match="boxes cover whole images"):
        check_enough(np.ones((5, 4, 4), bool))
    check_enough(one.repeat(2, axis=0))
    for constant in (False, True):
        with pytest.raises(InputError, match="position is inside a box"):
            fit_regression(np.zeros((2, 1, 4, 4), np.float32), np.full((2, 4, 4), constant))
