"""The L2-SVM: its objective, written out, against scikit-learn's on the data as they are."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.svm import LinearSVC

from ganfeat import InputError, LinearSVM
from ganfeat.probes.svm import FALLBACK_C, FeatureScaler, cross_validate, rotate

X, Y = load_digits(return_X_y=True)


def problem(n, p, classes, seed=0):
    generator = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = generator.normal(size=(classes, p)) * 0.5
    return centres[y] + generator.normal(size=(n, p)) * np.geomspace(0.1, 3, p) + 5, y


def objective(w, b, rows, signs, C):
    """``(|w|^2 + b^2) / 2 + C sum max(0, 1 - s (w x + b))^2``, in float64."""
    slack = np.maximum(0, 1 - signs * (rows.astype(np.float64) @ w + b))
    return (w @ w + b * b) / 2 + C * (slack**2).sum()


@pytest.mark.parametrize("C", [0.1, 10.0])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("n", "p"), [(120, 7), (40, 300)], ids=["n>p", "n<p"])
def test_the_solution_is_that_of_liblinear_on_the_unrotated_rows(n, p, classes, C):
    rows, y = problem(n, p, classes)
    ours = LinearSVM(C=C).fit(rows, y)
    scaler = FeatureScaler().fit(rows)
    scaled = scaler.transform(rows)
    theirs = LinearSVC(C=C, loss="squared_hinge", dual=False, tol=1e-7, max_iter=10_000, random_state=0).fit(scaled, y)
    w = ours.coef_ / scaler.factor_
    b = ours.intercept_ + ours.coef_ @ scaler.mean_
    assert w.shape == theirs.coef_.shape == ((1 if classes == 2 else classes), p)
    for k in range(len(w)):
        signs = np.where(y == (1 if classes == 2 else k), 1.0, -1.0)
        best = objective(theirs.coef_[k], theirs.intercept_[k], scaled, signs, C)
        assert objective(w[k], b[k], scaled, signs, C) <= best * (1 + 1e-4)
        assert best <= objective(np.zeros(p), 0.0, scaled, signs, C)
    fresh, _ = problem(200, p, classes, seed=1)
    agreement = np.mean(ours.predict(fresh) == theirs.predict(scaler.transform(fresh)))
    assert agreement >= 0.99
    assert ours.decision_function(fresh).shape == ((200,) if classes == 2 else (200, classes))
    np.testing.assert_allclose(
        ours.decision_function(fresh), theirs.decision_function(scaler.transform(fresh)), atol=0.02
    )


def test_the_rotation_is_an_isometry_onto_the_span():
    rows = np.random.default_rng(0).normal(size=(12, 50))
    coordinates, basis = rotate(rows)
    assert coordinates.shape == (12, 12) and basis.shape == (50, 12)
    np.testing.assert_allclose(basis.T @ basis, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(coordinates @ basis.T, rows, atol=1e-12)
    np.testing.assert_allclose(coordinates @ coordinates.T, rows @ rows.T, atol=1e-11)
    same, none = rotate(rows.T)
    assert same is not None and none is None and np.shares_memory(same, rows)


@pytest.mark.parametrize("p", [20, 200], ids=["n>p", "n<p"])
def test_a_rotation_of_centred_features_changes_nothing(p):
    rows, y = problem(60, p, 3)
    q, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(p, p)))
    a = LinearSVM(C=1.0, standardise=False).fit(rows, y).decision_function(rows)
    b = LinearSVM(C=1.0, standardise=False).fit(rows @ q, y).decision_function(rows @ q)
    np.testing.assert_allclose(a, b, atol=2e-3)


def test_units_of_the_features_change_nothing():
    rows, y = problem(60, 10, 3)
    a, b = (LinearSVM(C=1.0).fit(r, y).decision_function(r) for r in (rows, rows * 40 - 7))
    np.testing.assert_allclose(a, b, atol=5e-3)
    even = rows / rows.std(axis=0)
    uneven = even * np.geomspace(0.3, 3, 10)
    a, b = (LinearSVM(C=1.0).fit(r, y).decision_function(r) for r in (even, uneven))
    np.testing.assert_allclose(a, b, atol=0.02)
    c = LinearSVM(C=1.0, standardise=False).fit(uneven, y).decision_function(uneven)
    assert np.abs(a - c).max() > 0.1


def test_names_of_classes_and_order_of_rows_change_nothing():
    rows, y = problem(90, 12, 3)
    names = np.array(["zebra", "ant", "mole"])
    order = np.random.default_rng(0).permutation(90)
    plain = LinearSVM(C=1.0).fit(rows, y)
    named = LinearSVM(C=1.0).fit(rows[order], names[y][order])
    assert named.classes_.tolist() == ["ant", "mole", "zebra"]
    assert (named.predict(rows) == names[plain.predict(rows)]).mean() > 0.98
    np.testing.assert_allclose(named.decision_function(rows)[:, [2, 0, 1]], plain.decision_function(rows), atol=5e-3)


def test_c_is_chosen_by_cross_validation_on_the_training_labels():
    """The one of best mean validation accuracy, the scores being those of the same folds."""
    rows, y = X[:150], Y[:150]
    Cs = (1e-4, 1.0, 100.0)
    model = LinearSVM(C="cv", Cs=Cs, cv=3).fit(rows, y)
    scaled = FeatureScaler().fit(rows).transform(rows)
    scores = cross_validate(scaled, y, Cs, 3, 0)
    assert scores.shape == (3,) and scores[0] < scores.max()
    assert model.C_ == Cs[int(np.argmax(scores))]
    assert LinearSVM(C=3).fit(rows, y).C_ == 3.0


def test_cross_validated_scores_are_those_of_scikit_learn():
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    rows, y = FeatureScaler().fit(X[:200]).transform(X[:200]), Y[:200]
    ours = cross_validate(rows, y, [0.1, 10.0], 3, 5)
    folds = StratifiedKFold(3, shuffle=True, random_state=5)
    theirs = [cross_val_score(LinearSVC(C=C, dual=False, random_state=0), rows, y, cv=folds).mean() for C in (0.1, 10)]
    np.testing.assert_allclose(ours, theirs, atol=0.01)


def test_with_one_label_a_class_there_is_nothing_to_validate_on():
    rows, y = X[:10], np.arange(10)
    assert cross_validate(rows, y, (0.1, 1.0), 5, 0) is None
    assert LinearSVM(C="cv").fit(rows, y).C_ == FALLBACK_C
    assert LinearSVM(C="cv").fit(rows, y).predict(rows).tolist() == y.tolist()


@pytest.mark.parametrize("C", [0, -1.0, "best", None, float("nan"), True, np.inf])
def test_a_wrong_c_is_refused(C):
    with pytest.raises(InputError, match="C="):
        LinearSVM(C=C).fit(X[:50], Y[:50])


def test_one_class_is_refused():
    with pytest.raises(InputError, match="1 class"):
        LinearSVM().fit(X[:5], np.zeros(5))


def test_the_global_generator_is_left_alone():
    with np.printoptions(threshold=1000):
        before = str(np.random.get_state())  # noqa: NPY002
        LinearSVM(C="cv").fit(X[:60], Y[:60])
        assert str(np.random.get_state()) == before  # noqa: NPY002


# ---------------------------------------------------------------- the scale


@pytest.mark.parametrize("standardise", [True, False])
def test_an_average_row_has_length_one(standardise):
    rows = np.random.default_rng(0).normal(size=(200, 30)) * np.geomspace(1e-2, 1e3, 30) + 100
    scaled = FeatureScaler(standardise).fit(rows).transform(rows)
    assert scaled.dtype == np.float32
    assert np.mean(np.sum(scaled.astype(np.float64) ** 2, axis=1)) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-3)


def test_standardised_features_weigh_alike_and_centred_ones_by_their_variance():
    rows = np.random.default_rng(0).normal(size=(500, 4)) * [1, 1, 2, 4]
    alike = FeatureScaler(True).fit(rows).transform(rows).std(axis=0)
    np.testing.assert_allclose(alike, 0.5, rtol=0.01)
    weighed = FeatureScaler(False).fit(rows).transform(rows).std(axis=0)
    np.testing.assert_allclose(weighed / weighed[0], rows.std(axis=0) / rows[:, 0].std(), rtol=1e-4)


@pytest.mark.parametrize("standardise", [True, False])
def test_constant_features_are_silent_and_nearly_constant_ones_are_not_blown_up(standardise):
    rows = np.random.default_rng(0).normal(size=(50, 3))
    rows[:, 1] = 3.7
    rows[:, 2] *= 1e-7
    scaled = FeatureScaler(standardise).fit(rows).transform(rows)
    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(scaled[:, 1], 0, atol=1e-6)
    assert np.abs(scaled[:, 2]).max() < 1e-3
    constant = FeatureScaler(standardise).fit(np.full((5, 2), 2.0)).transform(np.full((5, 2), 2.0))
    assert np.array_equal(constant, np.zeros((5, 2)))


def test_integers_of_many_bits_do_not_overflow():
    rows = np.random.default_rng(0).integers(0, 256, (4000, 3), dtype=np.uint8)
    np.testing.assert_allclose(FeatureScaler().fit(rows).mean_, rows.mean(axis=0), rtol=1e-6)
    half = rows.astype(np.float16)
    scaled = FeatureScaler().fit(half).transform(half)
    np.testing.assert_allclose(scaled, FeatureScaler().fit(rows).transform(rows), atol=1e-5)
