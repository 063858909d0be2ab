"""Protocols: who sees which labels, how often is drawn, and what the intervals mean."""

import json
import math
from contextlib import contextmanager

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.svm import LinearSVC

from ganfeat import InputError
from ganfeat.probes import FewLabels, compare, few_label_curve, margin
from ganfeat.probes.baselines import principal_components
from ganfeat.probes.curves import AT_EDGE
from ganfeat.probes.draws import draw_labels, hold_out
from ganfeat.probes.intervals import summary
from ganfeat.probes.protocols import PROTOCOLS, Protocol
from ganfeat.probes.scaler import FeatureScaler
from ganfeat.probes.svm import FALLBACK_C

DIGITS, NAMES = load_digits(return_X_y=True)
TRAIN, TRAIN_Y, TEST, TEST_Y = DIGITS[:600], NAMES[:600], DIGITS[600:900], NAMES[600:900]
QUICK = FewLabels(labels_per_class=(1, 10), draws=4)


@pytest.fixture(scope="module")
def curve():
    return few_label_curve(TRAIN, TRAIN_Y, TEST, TEST_Y, QUICK)


# ---------------------------------------------------------------- the draws


def test_draws_are_stratified_seeded_and_without_repetition():
    y = np.repeat([3, 7, -2], [50, 20, 4])
    for draw in range(5):
        rows = draw_labels(y, 10, draw, seed=0)
        assert len(set(rows.tolist())) == len(rows) == 24
        assert {k: int((y[rows] == k).sum()) for k in (3, 7, -2)} == {3: 10, 7: 10, -2: 4}
        assert np.array_equal(rows, draw_labels(y, 10, draw, seed=0))
    different = {tuple(draw_labels(y, 10, d, s)) for d in range(5) for s in range(3)}
    assert len(different) == 15


def test_every_row_is_drawn_sometimes():
    y = np.repeat([0, 1], 20)
    counts = np.bincount(np.concatenate([draw_labels(y, 5, d, 0) for d in range(200)]), minlength=40)
    assert counts.sum() == 2000
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("y", [np.arange(103) % 4, np.repeat(["a", "b", "c"], [1, 2, 60])], ids=["even", "uneven"])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_what_is_held_out(y, share):
    """Disjoint, complete, of every class its share, and every class keeps a row to learn from."""
    learn, held_out = hold_out(y, share, seed=0)
    assert sorted([*learn, *held_out]) == list(range(len(y)))
    assert np.array_equal(learn, np.sort(learn)) and np.array_equal(held_out, np.sort(held_out))
    for label in np.unique(y):
        n, out = (y == label).sum(), (y[held_out] == label).sum()
        assert abs(out - share * n) <= 0.5 and out < n
    again, other = hold_out(y, share, seed=0), hold_out(y, share, seed=1)
    assert np.array_equal(again[1], held_out) and not np.array_equal(other[1], held_out)


# ---------------------------------------------------------------- the curve


def test_the_curve_against_the_protocol_written_out(curve):
    """Scale on all training rows without labels, fit on the drawn ones, count on the test set."""
    scaler = FeatureScaler().fit(TRAIN)
    for k in (1, 10):
        C, expected = curve[str(k)]["C"], []
        for draw in range(4):
            rows = draw_labels(TRAIN_Y, k, draw, 0)
            svm = LinearSVC(C=C, dual=False, random_state=0).fit(scaler.transform(TRAIN[rows]), TRAIN_Y[rows])
            expected.append(np.mean(svm.predict(scaler.transform(TEST)) == TEST_Y))
        np.testing.assert_allclose(curve[str(k)]["accuracies"], expected, atol=0.011)
    assert curve["1"]["C"] == FALLBACK_C
    assert curve["1"]["mean"] + 0.15 < curve["10"]["mean"]


def test_the_interval_is_students(curve):
    for point in curve.values():
        a = np.array(point["accuracies"])
        assert point["draws"] == len(a) == 4
        assert point["mean"] == pytest.approx(a.mean())
        assert point["std"] == pytest.approx(a.std(ddof=1))
        low, high = stats.t.interval(0.95, 3, loc=a.mean(), scale=stats.sem(a))
        assert point["ci95"] == pytest.approx((high - low) / 2)


def test_two_draws_in_closed_form():
    """Two values d apart: std d / sqrt(2), standard error d / 2, and t with one degree of freedom is tan."""
    point = summary([0.6, 0.8], 100)
    assert point["std"] == pytest.approx(0.2 / math.sqrt(2))
    assert point["ci95"] == pytest.approx(0.1 * math.tan(math.pi * 0.475))


def test_a_single_draw_has_the_interval_of_a_proportion():
    point = few_label_curve(TRAIN[:100], TRAIN_Y[:100], TEST, TEST_Y, FewLabels((1000,)))
    ((k, one),) = point.items()
    assert one.keys() == {"mean", "std", "ci95", "draws", "C", "accuracies"}  # and no answers by image
    assert int(k) == np.bincount(TRAIN_Y[:100]).max()  # lowered to what there is
    assert (one["draws"], one["std"]) == (1, 0.0)
    assert one["ci95"] == pytest.approx(1.96 * math.sqrt(one["mean"] * (1 - one["mean"]) / len(TEST)))


def test_sizes_beyond_what_there_is_are_lowered_to_one_point():
    curve = few_label_curve(TRAIN[:60], TRAIN_Y[:60], TEST, TEST_Y, FewLabels((2, 50, 400), draws=2))
    assert list(curve) == ["2", str(np.bincount(TRAIN_Y[:60]).max())]


def test_how_many_draws():
    protocol = FewLabels(draws=20)
    assert protocol.draws_for(1, 400, 10) == 20
    assert protocol.draws_for(50, 400, 10) == 4
    assert protocol.draws_for(399, 400, 10) == 3
    assert protocol.draws_for(400, 400, 10) == protocol.draws_for(500, 400, 10) == 1
    assert FewLabels(draws=2).draws_for(50, 400, 10) == 2


def test_seeds_decide_everything(curve):
    again = few_label_curve(TRAIN, TRAIN_Y, TEST, TEST_Y, QUICK)
    assert again == curve
    other = few_label_curve(TRAIN, TRAIN_Y, TEST, TEST_Y, FewLabels((1, 10), draws=4, seed=1))
    assert other["10"]["accuracies"] != curve["10"]["accuracies"]


def test_test_labels_decide_nothing_but_the_count(curve):
    """Shuffled test labels: the same C, accuracy at chance. Negated test labels: nothing right."""
    shuffled = np.random.default_rng(0).permutation(TEST_Y)
    other = few_label_curve(TRAIN, TRAIN_Y, TEST, shuffled, QUICK)
    assert [p["C"] for p in other.values()] == [p["C"] for p in curve.values()]
    assert other["10"]["mean"] < 0.2
    wrong = few_label_curve(TRAIN, TRAIN_Y, TEST, -TEST_Y - 1, QUICK)
    assert [p["mean"] for p in wrong.values()] == [0.0, 0.0]


def test_test_rows_do_not_set_the_scale():
    """The accuracy on some test rows is the same whatever the others are."""
    alone = few_label_curve(TRAIN, TRAIN_Y, TEST[:100], TEST_Y[:100], QUICK)
    odd = np.concatenate([TEST[:100], np.full((100, 64), 1e4)])
    labels = np.concatenate([TEST_Y[:100], np.full(100, -1)])
    both = few_label_curve(TRAIN, TRAIN_Y, odd, labels, QUICK)
    for k in alone:
        np.testing.assert_allclose(2 * np.array(both[k]["accuracies"]), alone[k]["accuracies"])


def test_labels_of_rows_that_are_not_drawn_decide_nothing():
    """Name the classes otherwise: the same accuracies."""
    names = np.array(list("qwertyuiop"))
    order = np.argsort(names)
    rank = np.argsort(order)  # so that the alphabetical order is that of the numbers
    named = few_label_curve(TRAIN, names[order][TRAIN_Y], TEST, names[order][TEST_Y], QUICK)
    numbered = few_label_curve(TRAIN, TRAIN_Y, TEST, TEST_Y, QUICK)
    assert rank.tolist() != list(range(10))
    assert {k: p["accuracies"] for k, p in named.items()} == {k: p["accuracies"] for k, p in numbered.items()}


def test_features_without_information_are_right_by_chance():
    generator = np.random.default_rng(0)
    rows, y = generator.normal(size=(900, 40)), generator.integers(0, 5, 900)
    point = few_label_curve(rows[:400], y[:400], rows[400:], y[400:], FewLabels((10,), draws=8))["10"]
    error = math.sqrt(0.2 * 0.8 / 500)  # of the test set, which all draws share
    assert abs(point["mean"] - 0.2) < 3 * error + point["ci95"]


def test_progress_ends_at_its_total():
    calls = []
    few_label_curve(
        TRAIN[:80], TRAIN_Y[:80], TEST, TEST_Y, FewLabels((1, 2), draws=3), progress=lambda *a: calls.append(a)
    )
    assert calls == [(3, 6), (6, 6)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TRAIN[:50], TRAIN_Y[:49], TEST, TEST_Y), "50 training rows and 49 labels"),
        ((TRAIN[:50], TRAIN_Y[:50], TEST[:9], TEST_Y[:8]), "9 test rows and 8 labels"),
        ((TRAIN[:50], np.zeros(50), TEST, TEST_Y), "1 class"),
        ((TRAIN[:50], TRAIN_Y[:50], TEST[:0], TEST_Y[:0]), "test"),
        ((TRAIN[:50], TRAIN_Y[:50], TEST[:, :60], TEST_Y), "60"),
    ],
)
def test_what_cannot_be_probed_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        few_label_curve(*arguments, QUICK)


def test_the_card_says_how_it_was_done():
    card = FewLabels((1, 5), draws=7, folds=4, seed=9).card()
    assert card["labels per class"] == [1, 5]
    assert "7" in card["draws"] and "seed 9" in card["draws"]
    assert "4-fold cross-validation on training labels" in card["C"]
    assert "pooled over the first draws (up to five, about 500 rows; above 1,000" in card["C"]
    assert "95 %" in card["interval"] and "Student" in card["interval"]
    assert "neither other training seeds nor other test images" in card["interval"]
    assert "without" in card["scale"] or "unlabelled" in card["scale"]


# ---------------------------------------------------------------- the field's protocols


def test_the_papers_protocols_are_data():
    assert all(isinstance(p, Protocol) and json.dumps(p.card()) for p in PROTOCOLS.values())
    svhn = PROTOCOLS["svhn-1000"]
    np.testing.assert_allclose(svhn.Cs, np.array([1, 2, 5, 10, 20, 50, 100]) * 1e-4)
    assert (svhn.draws, svhn.validation_rows, svhn.validation_draws, svhn.scaling) == (100, 10_000, 10, "none")
    assert svhn.draws_for(100, 7000, 10) == 100
    assert PROTOCOLS["all-labels"].card()["labels per class"] == ["all"]


def test_c_by_validation_written_out():
    """Rows held back by their own generator, the mean over the first draws, features as they are, 1.96 std."""
    protocol = Protocol(
        labels_per_class=(8,),
        draws=5,
        labelled_rows=None,
        Cs=(1e-6, 1e-4, 1e-2),
        choose="validation",
        validation_rows=200,
        validation_draws=3,
        scaling="none",
        interval="draws",
    )
    (point,) = few_label_curve(TRAIN, TRAIN_Y, TEST, TEST_Y, protocol).values()
    mixed = np.random.default_rng([0, 2]).permutation(600)
    held_back, pool = np.sort(mixed[:200]), np.sort(mixed[200:])
    draws = [pool[draw_labels(TRAIN_Y[pool], 8, d, 0)] for d in range(5)]

    def accuracy(rows, C, test, answers):
        svm = LinearSVC(C=C, dual=False, random_state=0, tol=1e-6, max_iter=5000).fit(TRAIN[rows], TRAIN_Y[rows])
        return np.mean(svm.predict(test) == answers)

    means = [np.mean([accuracy(r, C, TRAIN[held_back], TRAIN_Y[held_back]) for r in draws[:3]]) for C in protocol.Cs]
    assert point["C"] == protocol.Cs[int(np.argmax(means))] and np.argmax(means) != 0
    expected = [accuracy(rows, point["C"], TEST, TEST_Y) for rows in draws]
    np.testing.assert_allclose(point["accuracies"], expected, atol=0.007)
    assert protocol.half_width(point) == pytest.approx(1.96 * np.std(point["accuracies"], ddof=1))
    assert Protocol().half_width(point) == point["ci95"]


def test_all_labels_are_one_draw_of_all_rows():
    (point,) = few_label_curve(TRAIN, TRAIN_Y, TEST, TEST_Y, PROTOCOLS["all-labels"]).values()
    scaler = FeatureScaler().fit(TRAIN)
    svm = LinearSVC(C=point["C"], dual=False, random_state=0).fit(scaler.transform(TRAIN), TRAIN_Y)
    assert point["draws"] == 1
    assert point["mean"] == pytest.approx(np.mean(svm.predict(scaler.transform(TEST)) == TEST_Y), abs=0.007)


def test_a_memory_map_is_probed_as_an_array_is(tmp_path):
    np.save(tmp_path / "rows.npy", TRAIN.astype(np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    protocol = Protocol(labels_per_class=(5, None), draws=2)
    a = few_label_curve(mapped, TRAIN_Y, TEST, TEST_Y, protocol)
    b = few_label_curve(TRAIN.astype(np.float32), TRAIN_Y, TEST, TEST_Y, protocol)
    assert {k: v["accuracies"] for k, v in a.items()} == {k: v["accuracies"] for k, v in b.items()}


@pytest.mark.parametrize(
    "wrong",
    [
        {"labels_per_class": ()},
        {"labels_per_class": (0,)},
        {"Cs": ()},
        {"Cs": (0.0,)},
        {"draws": 0},
        {"choose": "test set"},
        {"choose": "validation"},
        {"scaling": "zscore"},
        {"interval": "min-max"},
    ],
)
def test_wrong_protocols_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong)) if wrong != {"choose": "validation"} else "validation_rows"):
        Protocol(**wrong)


def test_validation_rows_must_leave_every_class_something():
    protocol = Protocol(labels_per_class=(1,), choose="validation", validation_rows=600)
    with pytest.raises(InputError, match="lower validation_rows"):
        few_label_curve(TRAIN, TRAIN_Y, TEST, TEST_Y, protocol)


def test_what_is_no_number_and_labels_of_two_kinds_are_refused():
    bad = TRAIN.copy()
    bad[3, 3] = np.nan
    with pytest.raises(InputError, match="training features have NaN"):
        few_label_curve(bad, TRAIN_Y, TEST, TEST_Y, QUICK)
    with pytest.raises(InputError, match="some labels are text"):
        few_label_curve(TRAIN, TRAIN_Y, TEST, TEST_Y.astype(str), QUICK)
    with pytest.raises(InputError, match="too large"):
        few_label_curve(TRAIN.astype(np.float32) * 1e30, TRAIN_Y, TEST.astype(np.float32) * 1e30, TEST_Y, QUICK)


# ---------------------------------------------------------------- comparisons


@contextmanager
def silent(name, total):
    yield lambda done, total=None, note="": None


def test_sets_are_compared_on_the_same_rows():
    """A set against its own copy, and against its mirror image: paired differences are 0, draw by draw."""
    ours = (TRAIN, TEST)
    mirrored = (TRAIN[:, ::-1].copy(), TEST[:, ::-1].copy())
    result = compare({"ganfeat": ours, "random_init": ours, "pca": mirrored}, TRAIN_Y, TEST_Y, QUICK, silent)
    assert list(result["accuracy"]) == ["pca", "random_init", "ganfeat"]  # weakest first
    assert result["labels_per_class"] == [1, 10]
    for k in ("1", "10"):
        same = result["margin"]["random_init"][k]
        assert (same["mean"], same["std"], same["ci95"]) == (0.0, 0.0, 0.0)
    assert result["accuracy"]["ganfeat"] == result["accuracy"]["random_init"]
    assert "ganfeat" not in result["margin"]


def test_the_margin_is_antisymmetric_and_paired(curve):
    other = few_label_curve(TRAIN[:, :32], TRAIN_Y, TEST[:, :32], TEST_Y, QUICK)
    for k in curve:
        there, back = margin(curve[k], other[k]), margin(other[k], curve[k])
        assert there["mean"] == pytest.approx(-back["mean"])
        assert there["ci95"] == pytest.approx(back["ci95"])
        differences = np.subtract(curve[k]["accuracies"], other[k]["accuracies"])
        assert there["mean"] == pytest.approx(curve[k]["mean"] - other[k]["mean"])
        assert there["std"] == pytest.approx(differences.std(ddof=1))
        test = stats.ttest_rel(curve[k]["accuracies"], other[k]["accuracies"])
        assert (there["ci95"] < abs(there["mean"])) == (test.pvalue < 0.05)


def single(hits):
    return summary([float(np.mean(hits))], len(hits)) | {"accuracies": [float(np.mean(hits))], "_hits": np.array(hits)}


def test_the_margin_of_single_draws_is_paired_over_the_images():
    """McNemar's: of n images, b where only ours is right and c where only theirs: mean m = (b - c) / n, and the mean
    of n values -1, 0, 1 has the standard error sqrt(((b + c) / n - m^2) / n)."""
    both, b, c, neither = 300, 60, 20, 20
    n = both + b + c + neither
    ours = single([True] * both + [True] * b + [False] * c + [False] * neither)
    theirs = single([True] * both + [False] * b + [True] * c + [False] * neither)
    difference, back = margin(ours, theirs), margin(theirs, ours)
    m = (b - c) / n
    assert difference["mean"] == pytest.approx(m) and difference["draws"] == 1 and difference["std"] == 0
    assert difference["ci95"] == pytest.approx(1.96 * math.sqrt(((b + c) / n - m**2) / n))
    assert (back["mean"], back["ci95"]) == pytest.approx((-m, difference["ci95"]))
    apart = 1.96 * math.sqrt(sum(p["mean"] * (1 - p["mean"]) for p in (ours, theirs)) / n)
    assert difference["ci95"] < apart  # as if they were asked of different images
    nothing = single([False] * n)
    assert margin(ours, nothing)["ci95"] == pytest.approx(ours["ci95"])  # that of a proportion
    assert margin(ours, ours)["ci95"] == 0


def test_a_single_draw_without_its_answers_has_no_margin():
    point = few_label_curve(TRAIN[:100], TRAIN_Y[:100], TEST, TEST_Y, FewLabels((1000,)))
    with pytest.raises(InputError, match="use compare"):
        margin(*point.values(), *point.values())


def test_single_draws_are_compared_image_by_image():
    sets = {"ganfeat": (TRAIN[:100], TEST), "pca": (TRAIN[:100, :32], TEST[:, :32])}
    result = compare(sets, TRAIN_Y[:100], TEST_Y, FewLabels((1000,)), silent)
    ((k, margin_of_k),) = result["margin"]["pca"].items()
    json.dumps(result)  # no array is left in it
    right = []
    for name, standardise in (("ganfeat", True), ("pca", False)):
        scaler = FeatureScaler(standardise).fit(sets[name][0])
        point = result["accuracy"][name][k]
        assert point.keys() == {"mean", "std", "ci95", "draws", "C", "accuracies"}
        svm = LinearSVC(C=point["C"], dual=False, random_state=0).fit(scaler.transform(sets[name][0]), TRAIN_Y[:100])
        right.append(svm.predict(scaler.transform(sets[name][1])) == TEST_Y)
    by_image = right[0].astype(float) - right[1]
    assert margin_of_k["mean"] == pytest.approx(by_image.mean(), abs=0.01)
    assert margin_of_k["ci95"] == pytest.approx(1.96 * by_image.std() / math.sqrt(len(TEST)), rel=0.05)


def test_a_c_at_the_edge_of_its_grid_is_told():
    """Both of a grid of two are edges; one label a class chooses none, and a grid of one is no choice."""

    def edges(Cs):
        sets = {"ganfeat": (TRAIN, TEST), "random_init": (TRAIN, TEST)}
        result = compare(sets, TRAIN_Y, TEST_Y, FewLabels((1, 10), draws=2, Cs=Cs), silent)
        return result.get(AT_EDGE)

    assert edges((0.1, 10.0)) == {"random_init": [10], "ganfeat": [10]}
    assert edges((1.0,)) is None
    assert edges((1e-6, 1.0, 1e6)) is None


# ---------------------------------------------------------------- PCA


@pytest.mark.parametrize("n", [40, 500], ids=["n<p", "n>p"])
def test_principal_components_keep_nine_tenths_and_no_more_than_needed(n):
    train, test = principal_components(DIGITS[:n], DIGITS[n : n + 50])
    total = DIGITS[:n].var(axis=0).sum()
    kept = train.var(axis=0)
    assert train.shape[1] == test.shape[1] < min(n, 64) and len(test) == 50
    assert kept.sum() >= 0.9 * total - 1e-3
    assert kept[:-1].sum() < 0.9 * total
    assert (np.diff(kept) <= 1e-3).all()
    np.testing.assert_allclose(np.cov(train.T), np.diag(kept) * n / (n - 1), atol=1e-2)


def test_principal_components_do_not_see_the_test_rows():
    a, _ = principal_components(DIGITS[:100], DIGITS[100:110])
    b, _ = principal_components(DIGITS[:100], DIGITS[500:900] * 100)
    assert np.array_equal(a, b)
    scaled = principal_components(DIGITS[:100].astype(np.uint8), DIGITS[:100].astype(np.uint8))
    np.testing.assert_allclose(scaled[0], scaled[1], atol=1e-4)


def test_principal_components_of_other_rows():
    train, test = principal_components(DIGITS[:100], DIGITS[100:150], learn_from=DIGITS[:600])
    own, _ = principal_components(DIGITS[:600], DIGITS[:1])
    np.testing.assert_allclose(train, own[:100], atol=1e-3)
    assert test.shape == (50, train.shape[1])
