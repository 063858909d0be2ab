"""The L2-SVM: its objective, written out, against scikit-learn's; and what must not change its answers."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from ganfeat import InputError, LinearSVM
from ganfeat.probes.newton import Rows
from ganfeat.probes.scaler import FeatureScaler
from ganfeat.probes.svm import FALLBACK_C, OneVsRest

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
    assert agreement >= 0.995
    assert ours.decision_function(fresh).shape == ((200,) if classes == 2 else (200, classes))
    np.testing.assert_allclose(
        ours.decision_function(fresh), theirs.decision_function(scaler.transform(fresh)), atol=0.02
    )


def objectives(model, rows, y, C):
    """Of every class, on rows as they are, in float64."""
    positive = model.classes_[1:] if len(model.classes_) == 2 else model.classes_
    return np.array(
        [
            objective(w, b, rows, np.where(y == c, 1.0, -1.0), C)
            for w, b, c in zip(model.coef_, np.atleast_1d(model.intercept_), positive, strict=True)
        ]
    )


GRID = [
    # n, p, classes, C: few and many rows, wide and narrow, a rotation, a randomised preconditioner, bf16 products
    (300, 20, 2, 1.0),
    (1500, 60, 10, 1e-3),
    (1500, 60, 10, 30.0),
    (60, 900, 3, 0.1),
    (900, 700, 5, 1.0),
    (2000, 1500, 10, 0.01),
    (2000, 1500, 10, 1.0),
    (2000, 1500, 4, 30.0),
]


@pytest.mark.parametrize(("n", "p", "classes", "C"), GRID)
def test_objective_and_answers_are_those_of_linear_svc(n, p, classes, C):
    rows, y = problem(n + 3000, p, classes, seed=n)
    rows = ((rows - rows.mean(axis=0)) / np.sqrt((rows.var(axis=0)).sum())).astype(np.float32)
    learn, fresh = rows[:n], rows[n:]
    ours = LinearSVM(C=C, scaling="none").fit(learn, y[:n])
    theirs = LinearSVC(C=C, loss="squared_hinge", dual=False, tol=1e-6, max_iter=5000, random_state=0)
    theirs.fit(learn.astype(np.float64), y[:n])
    reached, best = objectives(ours, learn, y[:n], C), objectives(theirs, learn, y[:n], C)
    np.testing.assert_array_less(reached, best * (1 + 1e-4))
    np.testing.assert_allclose(ours.objective_, reached, rtol=1e-5)
    assert (ours.predict(fresh) == theirs.predict(fresh.astype(np.float64))).mean() >= 0.999
    # The bound is one: no minimum lies further below.
    assert (reached - ours.gap_ <= best * (1 + 1e-6)).all()


@pytest.mark.parametrize("n", [200, 1797])
@pytest.mark.parametrize("C", [0.01, 10.0])
def test_long_rows_as_they_are(n, C):
    """Unscaled digits, 0..16: the Hessian's condition is a million and more."""
    ours = LinearSVM(C=C, scaling="none").fit(X[:n], Y[:n])
    theirs = LinearSVC(C=C, dual=False, tol=1e-8, max_iter=100_000, random_state=0).fit(X[:n], Y[:n])
    reached, best = objectives(ours, X[:n], Y[:n], C), objectives(theirs, X[:n], Y[:n], C)
    np.testing.assert_array_less(reached, best * (1 + 1e-4) + 1e-9)


@pytest.mark.parametrize("n", [500, 1797])
def test_a_huge_c(n, C=1e4):
    rows = FeatureScaler().fit(X[:n]).transform(X[:n]).astype(np.float64)
    ours = LinearSVM(C=C, scaling="none").fit(rows, Y[:n])
    theirs = LinearSVC(C=C, dual=False, tol=1e-9, max_iter=100_000, random_state=0).fit(rows, Y[:n])
    reached, best = objectives(ours, rows, Y[:n], C), objectives(theirs, rows, Y[:n], C)
    np.testing.assert_array_less(reached, best * (1 + 1e-3))


def test_duplicated_rows_at_a_huge_c():
    rows, y = problem(100, 40, 3)
    ours = LinearSVM(C=1e8).fit(np.repeat(rows, 3, axis=0), np.repeat(y, 3))
    assert np.isfinite(ours.coef_).all() and (ours.predict(rows) == y).all()


def test_contradicting_rows_have_a_minimum_too():
    """The same row in both classes: the best that can be said of it is nothing."""
    model = LinearSVM(C=1e8, scaling="none").fit(np.repeat([[1.0, 2.0]], 4, axis=0), [0, 1, 0, 1])
    np.testing.assert_allclose(model.decision_function([[1.0, 2.0]]), 0, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_unscaled_features_that_are_not_centred(precision):
    """1,500 x 1,200 like activations: positive, of length 50."""
    rows, y = problem(1500, 1200, 4)
    rows = np.maximum(rows, 0).astype(np.float32)
    ours = LinearSVM(C=1e-3, scaling="none", precision=precision).fit(rows, y)
    theirs = LinearSVC(C=1e-3, dual=False, tol=1e-7, max_iter=10_000, random_state=0).fit(rows.astype(np.float64), y)
    np.testing.assert_array_less(objectives(ours, rows, y, 1e-3), objectives(theirs, rows, y, 1e-3) * (1 + 1e-4))


def test_where_the_products_are_too_rough_the_fit_says_so_or_is_right():
    """Long rows, a large C, bf16: nothing ends unconverged in silence."""
    rows, y = problem(1500, 1200, 3)
    rows = (rows * 30).astype(np.float32)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ours = LinearSVM(C=10.0, scaling="none", precision="bf16").fit(rows, y)
    theirs = LinearSVC(C=10.0, dual=False, tol=1e-8, max_iter=10_000, random_state=0).fit(rows.astype(np.float64), y)
    above = objectives(ours, rows, y, 10.0) / objectives(theirs, rows, y, 10.0) - 1
    assert any(issubclass(w.category, ConvergenceWarning) for w in told) or (above < 1e-3).all()
    assert (ours.objective_ <= 10.0 * 1500).all()  # no worse than no weights at all


def test_more_classes_than_a_fifth_of_the_rows():
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(400, 30))
    y = np.repeat(np.arange(400), 3)
    rows = centres[y] + generator.normal(size=(1200, 30)) * 0.1
    model = LinearSVM(C="cv", Cs=(1.0, 10.0)).fit(rows, y)
    assert model.score(rows, y) > 0.9 and set(model.cv_scores_) == {1.0, 10.0}


def test_rows_of_weight_zero_have_no_say_in_c():
    rows, y = problem(90, 12, 3)
    weight = np.r_[np.ones(60), np.zeros(30)]
    a = LinearSVM(C="cv").fit(rows, np.r_[y[:60], np.full(30, 7)], sample_weight=weight)
    b = LinearSVM(C="cv").fit(rows[:60], y[:60])
    assert a.cv_scores_ == pytest.approx(b.cv_scores_) and a.classes_.tolist() == [0, 1, 2]


def test_the_gap_is_the_dual_points():
    """Half the squared gradient is primal minus dual, with alpha = 2 C max(0, 1 - y z), written out."""
    rows, y = problem(200, 10, 2)
    C = 0.5
    with pytest.warns(ConvergenceWarning, match=r"1 class\(es\) \(1\).*max_iter"):
        rough = LinearSVM(C=C, scaling="none", max_iter=1, tol=1e-12).fit(rows, y)
    w, b = np.append(rough.coef_[0], rough.intercept_), np.c_[rows, np.ones(len(rows))]
    s = np.where(y == 1, 1.0, -1.0)
    alpha = 2 * C * np.maximum(0, 1 - s * (b @ w))
    primal = w @ w / 2 + (alpha**2).sum() / (4 * C)
    dual = alpha.sum() - np.sum((b.T @ (alpha * s)) ** 2) / 2 - (alpha**2).sum() / (4 * C)
    assert rough.gap_[0] == pytest.approx(primal - dual, rel=1e-4)
    exact = LinearSVM(C=C, scaling="none", tol=1e-10).fit(rows, y)
    assert exact.gap_[0] < 1e-6 * rough.gap_[0] and rough.objective_[0] - rough.gap_[0] <= exact.objective_[0]


def test_a_row_given_twice_weighs_twice():
    rows, y = problem(150, 12, 3)
    twice = np.r_[np.arange(150), np.arange(0, 150, 3)]
    weight = np.ones(150)
    weight[::3] = 2
    a = LinearSVM(C=1.0).fit(rows[twice], y[twice]).decision_function(rows)
    b = LinearSVM(C=1.0).fit(rows, y, sample_weight=weight).decision_function(rows)
    np.testing.assert_allclose(a, b, atol=2e-3)
    everything = np.r_[np.arange(150), np.arange(150)]
    c = LinearSVM(C=1.0).fit(rows[everything], y[everything], sample_weight=np.full(300, 0.5)).decision_function(rows)
    d = LinearSVM(C=1.0).fit(rows, y).decision_function(rows)
    np.testing.assert_allclose(c, d, atol=2e-3)
    e = LinearSVM(C=0.5).fit(rows[everything], y[everything]).decision_function(rows)
    np.testing.assert_allclose(e, d, atol=2e-3)


def test_a_row_of_weight_zero_is_not_there():
    rows, y = problem(120, 9, 3)
    wild = np.r_[rows, rows[:30] * 1e3]
    weight = np.r_[np.ones(120), np.zeros(30)]
    a = LinearSVM(C=1.0).fit(wild, np.r_[y, (y[:30] + 1) % 3], sample_weight=weight).decision_function(rows)
    b = LinearSVM(C=1.0).fit(rows, y).decision_function(rows)
    np.testing.assert_allclose(a, b, atol=2e-3)


def test_as_c_goes_to_zero_the_weights_are_c_times_the_differences_of_the_classes():
    """All margins are 1, so w = 2 C sum_i y_i x_i and b = 2 C sum_i y_i."""
    rows, y = problem(90, 6, 3)
    C = 1e-9
    model = LinearSVM(C=C, scaling="none").fit(rows, y)
    for k in range(3):
        s = np.where(y == k, 1.0, -1.0)
        np.testing.assert_allclose(model.coef_[k], 2 * C * s @ rows, rtol=2e-3)
        assert model.intercept_[k] == pytest.approx(2 * C * s.sum(), rel=2e-3)


def test_as_c_goes_to_infinity_it_is_the_hard_margin_of_separable_rows():
    """Two points of opposite classes: the widest margin puts both on it; (w, b) is the shortest that does so."""
    rows, y = np.array([[3.0, 0.0], [1.0, 0.0], [5.0, 2.0]]), np.array([1, 0, 1])
    model = LinearSVM(C=1e6, scaling="none", tol=1e-10).fit(rows, y)
    np.testing.assert_allclose(model.decision_function(rows)[:2], [1, -1], atol=1e-3)
    assert model.objective_[0] == pytest.approx(
        (model.coef_[0] @ model.coef_[0] + model.intercept_[0] ** 2) / 2, rel=1e-3
    )
    # shortest (w, b) with 3 w + b = 1 and w + b = -1: w = 1, b = -2; the third point is beyond
    np.testing.assert_allclose([*model.coef_[0], *model.intercept_], [1.0, 0.0, -2.0], atol=1e-3)


@pytest.mark.parametrize("shape", [(700, 40), (3000, 1600)], ids=["fp32", "bf16 products"])
def test_a_memory_map_streamed_gives_the_answers_of_an_array_in_memory(tmp_path, shape):
    rows, y = problem(*shape, 4)
    rows = rows.astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    a = LinearSVM(C=1.0).fit(rows, y)
    b = LinearSVM(C=1.0).fit(mapped, y)
    c = LinearSVM(C=1.0, memory=0).fit(mapped, y)  # no room for a copy: every product reads the map
    np.testing.assert_allclose(b.objective_, a.objective_, rtol=1e-6)
    np.testing.assert_allclose(c.objective_, a.objective_, rtol=1e-5)
    assert np.array_equal(b.predict(mapped), a.predict(rows))
    assert (c.predict(rows) == a.predict(rows)).mean() >= 0.999
    np.testing.assert_array_equal(mapped, rows)


STREAMED = """
import sys
import numpy as np
import torch
from pathlib import Path
from ganfeat import LinearSVM
torch.set_num_threads(1)
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
LinearSVM(C=1.0).fit(np.eye(8), np.arange(8) % 2)
before = resident()
rows = np.load(sys.argv[1], mmap_mode="r")
LinearSVM(C=0.01, memory=0).fit(rows, np.arange(len(rows)) % 2)
print((resident() - before) / rows.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_a_memory_map_need_not_fit_into_memory(tmp_path):
    """400 MB of rows: what the fit adds to the process is far less."""
    mapped = np.lib.format.open_memmap(tmp_path / "rows.npy", "w+", np.float32, (50_000, 2000))
    generator = np.random.default_rng(0)
    few = generator.normal(size=(1000, 2000)).astype(np.float32)
    for start in range(0, 50_000, 1000):
        mapped[start : start + 1000] = few + (np.arange(1000) % 2)[:, None]
    mapped.flush()
    del mapped
    done = subprocess.run([sys.executable, "-c", STREAMED, tmp_path / "rows.npy"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.8  # it would be above 1 if pages were kept; what is needed does not grow with the map


def test_a_map_that_was_written_to_in_memory_keeps_its_changes(tmp_path):
    rows, y = problem(100, 5, 2)
    np.save(tmp_path / "rows.npy", rows)
    private = np.load(tmp_path / "rows.npy", mmap_mode="c")
    private[:50] = 0
    LinearSVM(C=1.0).fit(private, y)
    assert not private[:50].any() and private[50:].any()


def test_bad_rows_of_a_map_are_refused(tmp_path):
    rows, y = problem(50, 5, 2)
    rows[3, 2] = np.nan
    np.save(tmp_path / "rows.npy", rows)
    with pytest.raises(InputError, match="NaN"):
        LinearSVM(C=1.0).fit(np.load(tmp_path / "rows.npy", mmap_mode="r"), y)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ">f4", np.int64])
def test_other_kinds_of_numbers_give_the_same_answers(dtype):
    rows, y = problem(120, 8, 3)
    rows = np.round(rows * 4)
    a = LinearSVM(C=1.0).fit(rows.astype(dtype), y).decision_function(rows)
    b = LinearSVM(C=1.0).fit(rows.astype(np.float32), y).decision_function(rows)
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_far_from_the_origin_no_digit_is_lost():
    rows, y = problem(200, 8, 3)
    a = LinearSVM(C=1.0).fit(rows, y).decision_function(rows)
    b = LinearSVM(C=1.0).fit(rows + 1e8, y).decision_function(rows + 1e8)
    np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.parametrize("scaling", ["standard", "centred"])
def test_a_shift_of_the_features_changes_nothing(scaling):
    rows, y = problem(100, 300, 3)
    a = LinearSVM(C=1.0, scaling=scaling).fit(rows, y).decision_function(rows)
    b = LinearSVM(C=1.0, scaling=scaling).fit(rows + 9, y).decision_function(rows + 9)
    np.testing.assert_allclose(a, b, atol=3e-3)


@pytest.mark.parametrize("p", [20, 200], ids=["n>p", "n<p"])
def test_a_rotation_of_centred_features_changes_nothing(p):
    rows, y = problem(60, p, 3)
    q, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(p, p)))
    a = LinearSVM(C=1.0, scaling="centred").fit(rows, y).decision_function(rows)
    b = LinearSVM(C=1.0, scaling="centred").fit(rows @ q, y).decision_function(rows @ q)
    np.testing.assert_allclose(a, b, atol=2e-3)


def test_units_of_the_features_change_nothing():
    rows, y = problem(60, 10, 3)
    a, b = (LinearSVM(C=1.0).fit(r, y).decision_function(r) for r in (rows, rows * 40 - 7))
    np.testing.assert_allclose(a, b, atol=5e-3)
    even = rows / rows.std(axis=0)
    uneven = even * np.geomspace(0.3, 3, 10)
    a, b = (LinearSVM(C=1.0).fit(r, y).decision_function(r) for r in (even, uneven))
    np.testing.assert_allclose(a, b, atol=0.02)
    c = LinearSVM(C=1.0, scaling="centred").fit(uneven, y).decision_function(uneven)
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


def scores_of(rows, y, Cs, folds, seed):
    scaled = FeatureScaler().fit(rows).transform(rows)
    return OneVsRest(Rows(scaled, device=torch.device("cpu")), y, seed=seed).cross_validate(Cs, folds)[0]


def test_c_is_chosen_by_cross_validation_on_the_training_labels():
    """The one of best mean validation accuracy, the scores being those of the same folds."""
    rows, y = X[:150], Y[:150]
    Cs = (100.0, 1e-4, 1.0)
    model = LinearSVM(C="cv", Cs=Cs, cv=3).fit(rows, y)
    scores = scores_of(rows, y, Cs, 3, 0)
    assert scores.shape == (3,) and scores[0] < scores.max()
    assert model.C_ == sorted(Cs)[int(np.argmax(scores))]
    assert list(model.cv_scores_) == sorted(Cs) and list(model.cv_scores_.values()) == pytest.approx(list(scores))
    assert LinearSVM(C=3).fit(rows, y).C_ == 3.0


def test_the_solution_after_a_choice_of_c_is_that_of_this_c():
    rows, y = X[:400], Y[:400]
    chosen = LinearSVM(C="cv", tol=1e-8).fit(rows, y)
    direct = LinearSVM(C=chosen.C_, tol=1e-8).fit(rows, y)
    np.testing.assert_allclose(chosen.objective_, direct.objective_, rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 10])
def test_cross_validated_scores_are_those_of_scikit_learn(classes):
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    rows, y = FeatureScaler().fit(X[:200]).transform(X[:200]), Y[:200] % classes
    ours = OneVsRest(Rows(rows, device=torch.device("cpu")), y, seed=5).cross_validate([0.1, 10.0], 3)[0]
    folds = StratifiedKFold(3, shuffle=True, random_state=5)
    theirs = [cross_val_score(LinearSVC(C=C, dual=False, random_state=0), rows, y, cv=folds).mean() for C in (0.1, 10)]
    np.testing.assert_allclose(ours, theirs, atol=0.006)


def test_with_one_label_a_class_there_is_nothing_to_validate_on():
    rows, y = X[:10], np.arange(10)
    assert scores_of(rows, y, (0.1, 1.0), 5, 0) is None
    assert LinearSVM(C="cv").fit(rows, y).C_ == FALLBACK_C
    assert LinearSVM(C="cv").fit(rows, y).predict(rows).tolist() == y.tolist()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scaling": "zscore"}, "scaling"),
        ({"Cs": ()}, "Cs"),
        ({"Cs": (1.0, -1.0)}, "Cs"),
        ({"cv": 1}, "cv"),
        ({"C": 1.0, "tol": 0}, "tol"),
        ({"C": 1.0, "max_iter": 0}, "max_iter"),
        ({"C": 1.0, "device": "tpu"}, "device"),
        ({"C": 1.0, "precision": "fp8"}, "precision"),
        ({"C": 1.0, "memory": "4GB"}, "memory"),
        ({"Cs": 1.0}, "Cs"),
    ],
)
def test_wrong_parameters_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        LinearSVM(**wrong).fit(X[:50], Y[:50])


@pytest.mark.parametrize("weight", [np.ones(49), -np.ones(50), np.zeros(50), np.full(50, np.nan)])
def test_wrong_weights_are_refused(weight):
    with pytest.raises(InputError, match="sample_weight"):
        LinearSVM(C=1.0).fit(X[:50], Y[:50], sample_weight=weight)


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
