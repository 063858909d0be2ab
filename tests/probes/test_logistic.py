"""The logistic probe is scikit-learn's regression on standardised rows."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from ganfeat import InputError, LogisticProbe
from ganfeat.probes.logistic import SINGLE_LABEL_C
from ganfeat.probes.scaler import FeatureScaler

X, Y = load_digits(return_X_y=True)
TRAIN, TEST, LABELS = X[:200], X[1000:1300], Y[:200]


@parametrize_with_checks([LogisticProbe()])
def test_scikit_learn_compatible(estimator, check):
    check(estimator)


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("classes", [2, 10])
def test_the_answers_are_scikit_learns_on_scaled_rows(classes, standardise):
    rows, labels = TRAIN[LABELS < classes], LABELS[LABELS < classes]
    scaler = FeatureScaler(standardise).fit(rows)
    ours = LogisticProbe(C=30, standardise=standardise).fit(rows, labels)
    theirs = LogisticRegression(C=30, max_iter=5000, tol=1e-7).fit(scaler.transform(rows), labels)
    scaled = scaler.transform(TEST)
    np.testing.assert_allclose(ours.decision_function(TEST), theirs.decision_function(scaled), atol=0.02)
    np.testing.assert_allclose(ours.predict_proba(TEST), theirs.predict_proba(scaled), atol=2e-3)
    assert np.array_equal(ours.predict(TEST), theirs.predict(scaled))
    assert ours.coef_.shape == theirs.coef_.shape


def test_units_of_the_features_change_nothing():
    plain = LogisticProbe(C=10).fit(TRAIN, LABELS).predict_proba(TEST)
    moved = LogisticProbe(C=10).fit(TRAIN * 40 - 7, LABELS).predict_proba(TEST * 40 - 7)
    np.testing.assert_allclose(plain, moved, atol=1e-3)


def test_the_gradient_vanishes_at_the_solution():
    """``w = C sum_i (onehot(y_i) - p_i) x_i`` on scaled rows, to 1 % of it, and the intercept's part is zero."""
    scaler = FeatureScaler().fit(TRAIN)
    ours = LogisticProbe(C=10).fit(TRAIN, LABELS)
    missing = np.eye(10)[LABELS] - ours.predict_proba(TRAIN)
    w = ours.coef_ / scaler.factor_
    rest = w - 10 * missing.T @ scaler.transform(TRAIN)
    assert np.linalg.norm(rest) < 0.01 * np.linalg.norm(w)
    np.testing.assert_allclose(missing.sum(axis=0), 0, atol=0.02)


def test_c_is_chosen_by_cross_validation_on_the_training_labels():
    Cs = (1e-3, 10.0, 1e4)
    ours = LogisticProbe(C="cv", Cs=Cs, cv=3, random_state=4).fit(TRAIN, LABELS)
    scaled = FeatureScaler().fit(TRAIN).transform(TRAIN)
    folds = StratifiedKFold(3, shuffle=True, random_state=4)
    scores = [
        cross_val_score(LogisticRegression(C=C, max_iter=5000, tol=1e-5), scaled, LABELS, cv=folds).mean() for C in Cs
    ]
    assert ours.C_ == Cs[int(np.argmax(scores))] == 10.0
    assert scores[0] < max(scores)


def test_with_one_label_a_class_there_is_nothing_to_validate_on():
    model = LogisticProbe().fit(X[:10], np.arange(10))
    assert model.C_ == SINGLE_LABEL_C and model.predict(X[:10]).tolist() == list(range(10))


def test_names_of_classes():
    names = np.array(list("jihgfedcba"))
    plain, named = LogisticProbe(C=10).fit(TRAIN, LABELS), LogisticProbe(C=10).fit(TRAIN, names[LABELS])
    assert named.classes_.tolist() == sorted(names)
    np.testing.assert_allclose(named.predict_proba(TEST)[:, ::-1], plain.predict_proba(TEST), atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"C": 0}, "C=0"),
        ({"C": "best"}, "C='best'"),
        ({"Cs": ()}, "Cs is empty"),
        ({"Cs": (1, -1)}, "Cs=-1"),
        ({"Cs": 1.0}, "C=1.0"),
        ({"C": 3.0, "Cs": 1.0}, "must be a sequence of numbers"),
        ({"cv": 1}, "cv=1"),
    ],
)
def test_errors(settings, message):
    with pytest.raises(InputError, match=message):
        LogisticProbe(**settings).fit(TRAIN, LABELS)


def test_one_class_is_refused():
    with pytest.raises(InputError, match="1 class"):
        LogisticProbe().fit(TRAIN, np.zeros(200))


def test_a_refit_that_fails_leaves_the_model_as_it_was():
    model = LogisticProbe(C=10).fit(TRAIN, LABELS)
    before = {name: np.copy(value) for name, value in vars(model).items() if name.endswith("_")}
    for rows, labels in ((TRAIN[:, :5], np.zeros(200)), (TRAIN[:, :5], np.linspace(0, 1, 200))):
        with pytest.raises(ValueError, match=r"1 class|label type"):
            model.fit(rows, labels)
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(model, name), value)
    assert model.predict(TEST[:3]).tolist() == LogisticProbe(C=10).fit(TRAIN, LABELS).predict(TEST[:3]).tolist()
