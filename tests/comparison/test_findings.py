"""What the rows say: paired tests, the number of labels that decides, agreement between networks."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from ganfeat.comparison.findings import between_networks, conclusions, measures, over, paired_test
from ganfeat.probes import label_free
from ganfeat.probes.intervals import summary


def row(name, kind, accuracies, **label_free):
    """Accuracies by labels per class."""
    curve = {k: {**summary(values, 100), "accuracies": values} for k, values in accuracies.items()}
    return {"name": name, "kind": kind, "accuracy": curve, "label_free": label_free}


def rows():
    return [
        row("raw", "baseline", {"5": [0.5, 0.6, 0.5], "10": [0.70, 0.60, 0.65], "50": [0.9]}),
        row("kmeans", "baseline", {"5": [0.5, 0.6, 0.5], "10": [0.72, 0.66, 0.69], "50": [0.9]}),
        row("twin", "untrained", {"5": [0.99] * 3, "10": [0.99] * 3, "50": [0.99]}),
        row("a", "trained", {"5": [0.9] * 3, "10": [0.60, 0.61, 0.62], "50": [0.95]}, rank=3.0, dead=0.0, nets=None),
        row("b", "trained", {"5": [0.1] * 3, "10": [0.75, 0.66, 0.70], "50": [0.2]}, rank=5.0, dead=0.0, nets=None),
        row("c", "trained", {"5": [0.1] * 3, "10": [0.50, 0.51, 0.52], "50": [0.2]}, rank=2.0, dead=0.0, nets=None),
    ]


def test_the_most_draws_and_of_these_the_most_labels_decide():
    found = conclusions(rows(), 0)
    assert found["labels_per_class"] == [5, 10, 50] and found["headline"] == 10
    assert found["best"] == found["best_layer"] == "b"  # the untrained one does not compete
    assert [(t["first"], t["second"]) for t in found["paired_tests"]] == [("b", "a"), ("b", "kmeans")]


def test_a_baseline_may_be_the_best():
    changed = rows()
    changed[0] = row("raw", "baseline", {"5": [0.5] * 3, "10": [0.97, 0.98, 0.99], "50": [0.9]})
    found = conclusions(changed, 0)
    assert (found["best"], found["best_layer"]) == ("raw", "b")
    assert found["paired_tests"][1]["second"] == "raw" and found["paired_tests"][1]["mean"] < 0


def test_a_single_layer_is_tested_against_the_baseline_alone():
    found = conclusions(rows()[:4], 0)
    assert [(t["first"], t["second"]) for t in found["paired_tests"]] == [("a", "kmeans")]


def test_rank_correlations_are_of_the_networks_rows():
    found = conclusions(rows(), 0)["rank_correlation"]
    assert found["rank"] == {"spearman": pytest.approx(1), "p": pytest.approx(1 / 3), "rows": 3}
    assert found["dead"] == {"spearman": None, "p": None, "rows": 3}
    assert found["nets"] == {"spearman": None, "p": None, "rows": 0}


def test_the_paired_test_is_a_t_test_of_the_differences():
    first, second = rows()[4], rows()[0]
    found = paired_test(first, second, "10")
    differences = np.subtract(first["accuracy"]["10"]["accuracies"], second["accuracy"]["10"]["accuracies"])
    test = ttest_1samp(differences, 0)
    assert found["mean"] == pytest.approx(differences.mean()) and found["p"] == pytest.approx(test.pvalue)
    low, high = test.confidence_interval(0.95)
    assert found["ci95"] == pytest.approx((high - low) / 2)
    swapped = paired_test(second, first, "10")
    assert swapped["mean"] == pytest.approx(-found["mean"]) and swapped["p"] == pytest.approx(found["p"])


def test_differences_without_spread():
    same, better, single = rows()[4], row("d", "trained", {"10": [0.85, 0.76, 0.80]}), rows()
    assert paired_test(same, same, "10")["p"] == 1
    assert paired_test(better, same, "10")["p"] == 0
    found = paired_test(single[3], single[4], "50")
    assert found["p"] is None and found["ci95"] is None and found["mean"] == pytest.approx(0.75)
    assert over(single[3], single[4])["50"]["ci95"] is None


def test_agreement_between_networks_is_over_the_same_tap_of_the_others():
    a, b = np.array([[1, 2], [0, 2], [0, 1]]), np.array([[1, 3], [0, 3], [0, 3]])
    found = between_networks({("x", "0"): a, ("y", "0"): a, ("z", "0"): b, ("x", "1"): a})
    assert found == {("x", "0"): 0.75, ("y", "0"): 0.75, ("z", "0"): 0.5, ("x", "1"): None}


def test_measures_are_those_of_label_free():
    rows = np.random.default_rng(0).standard_normal((60, 30)).astype(np.float32)
    rows[:, 4], rows[:, 9] = 1, rows[:, 2]
    found = measures(rows, label_free.nearest_neighbours(rows, 5), 1)
    assert found == {
        "effective_rank": label_free.effective_rank(rows),
        "dead": pytest.approx(1 / 30),
        "duplicate": pytest.approx(1 / 30),
        "half_agreement": label_free.half_agreement(rows, 5, seed=1),
    }
