"""Every measure on features and logits with known answers; verdicts by their rules; noise that is what it says."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from ganfeat.subspace import SubspaceSplit
from ganfeat.theory import classes, invariance, robustness, spaces, usefulness
from ganfeat.theory.claims import FAILS, HOLDS, OPEN, SKIPPED, above, below, estimate, together
from ganfeat.theory.networks import Head
from ganfeat.theory.noise import NOISES
from ganfeat.theory.resampling import Resampling, stacked_bases, with_interval

CPU = torch.device("cpu")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def split_of(*rows):
    matrix = np.array(rows, float)
    return SubspaceSplit(matrix).fit(np.zeros((1, matrix.shape[1])))


# ---------------------------------------------------------------------- verdicts


def test_a_claim_is_as_good_as_its_parts():
    assert together([HOLDS, HOLDS]) == HOLDS and together([HOLDS, SKIPPED]) == HOLDS
    assert together([HOLDS, OPEN]) == OPEN and together([OPEN, FAILS]) == FAILS
    assert together([]) == together([SKIPPED]) == SKIPPED


def test_verdicts_need_the_whole_interval():
    assert [below(estimate(1, low, high), 2, 3) for low, high in ((0, 1.9), (0, 2.1), (2.5, 4), (3.1, 4))] == [
        HOLDS,
        OPEN,
        OPEN,
        FAILS,
    ]
    assert [above(estimate(1, low, high), 3, 2) for low, high in ((3.1, 4), (2.5, 4), (0, 2.1), (0, 1.9))] == [
        HOLDS,
        OPEN,
        OPEN,
        FAILS,
    ]
    for unknown in (estimate(1), estimate(math.nan, 0, math.inf)):
        assert below(unknown, 2, 3) == above(unknown, 3, 2) == OPEN
    assert json.dumps(estimate(math.inf, math.nan, 1), allow_nan=False)


def test_bootstrap_intervals_are_those_of_the_mean():
    """Of a mean of n normal numbers, 1.96 / sqrt(n) either way."""
    values = normal(2000).astype(np.float64)
    found = with_interval(values.mean(), Resampling(2000, [0]).means(values))
    for side, sign in (("low", -1), ("high", 1)):
        assert found[side] - found["value"] == pytest.approx(sign * 1.96 / math.sqrt(2000), rel=0.15)


# ---------------------------------------------------------------------- corollary 3


def test_the_spread_of_logits_in_closed_form():
    """Normal logits: the ratio, the share of an equal mixture, and the AUC Phi(d / sqrt(s^2 + t^2))."""
    real, generated = 2 + 0.5 * normal(6000), normal(6000, seed=1)
    found = {name: value["value"] for name, value in invariance.spread(real, generated, 0).items()}
    assert found["ratio"] == pytest.approx(0.25, abs=0.01) and found["std_real"] == pytest.approx(0.5, abs=0.02)
    assert found["share"] == pytest.approx((0.25 / 2) / (1.25 / 2 + 1), abs=0.01)
    assert found["auc"] == pytest.approx((1 + math.erf(2 / math.sqrt(1.25) / math.sqrt(2))) / 2, abs=0.005)


def test_auc_counts_ties_half_and_shifts_change_nothing():
    found = invariance.spread(np.array([0.0, 1.0] * 50), np.array([0.0, 0.0, 1.0, -1.0] * 25), 0)
    assert found["auc"]["value"] == pytest.approx(0.5 * (0.25 + 0.5 / 2) + 0.5 * (0.75 + 0.25 / 2))
    moved = invariance.spread(np.array([0.0, 1.0] * 50) + 7, np.array([0.0, 0.0, 1.0, -1.0] * 25) + 7, 0)
    assert moved["ratio"]["value"] == pytest.approx(found["ratio"]["value"])


@pytest.mark.parametrize(
    ("std", "distance", "verdict"),
    [(0.5, 5, HOLDS), (0.1, 0.0, HOLDS), (3, 1, FAILS), (1, 2.7, OPEN), (0.5, 0.5, OPEN), (4, 40, OPEN)],
)
def test_invariance_by_the_ratio_or_by_the_size(std, distance, verdict):
    """At the equilibrium, distance 0, only the size of log alpha's spread can tell; of a D that has won, no ratio."""
    found = invariance.spread(std * normal(3000), distance + std * normal(3000, seed=1), 0)
    assert invariance.judged(found) == verdict


def test_a_head_of_zeros_has_nothing_to_tell_apart():
    """D = 1/2 everywhere is invariant; its ratio, 0/0, is no number."""
    found = invariance.spread(np.zeros(60), np.zeros(60), 0)
    assert found["ratio"]["value"] is None and found["auc"]["value"] == 0.5 and invariance.judged(found) == HOLDS


def record(epoch, std, distance, spread=True):
    return {"epoch": epoch, "logit/real": distance, "logit/generated": 0.0} | ({"spread/real": std} if spread else {})


def test_stages_of_a_training():
    good, bad, between = (record(1, *pair) for pair in ((0.2, 2), (3, 2), (0.7, 2)))
    for history, verdict in (([good] * 99 + [bad], HOLDS), ([good] * 9 + [bad], FAILS), ([good, between] * 5, OPEN)):
        found, series, notes = invariance.stages(history)
        assert found["verdict"] == verdict and len(series["ratio"]) == len(history) and not notes
    assert found["value"] == 0.5


def test_records_of_older_runs_lack_the_spread():
    found, series, notes = invariance.stages([record(1, 0, 1, spread=False)])
    assert found is None and not series and "earlier versions" in notes[0]
    assert "no history" in invariance.stages([])[2][0]
    assert "1 of 2 records" in invariance.stages([record(1, 0, 1, spread=False), record(2, 0.1, 1)])[2][0]
    found = invariance.spread(normal(60) / 3, normal(60) / 3 + 9, 0)
    claim = invariance.corollary_3({"x": found}, {"y": found}, {}, [])
    assert claim["verdict"] == HOLDS and len(claim["parts"]) == 1 and "would be 'holds' for y" in claim["notes"][1]


# ---------------------------------------------------------------------- corollary 4, noise


def test_a_constant_row_part_holds_and_the_first_component_does_not():
    features = normal(400, 30) * np.linspace(3, 0.5, 30, dtype=np.float32)
    features[:, 7] = 5 + 1e-4 * normal(400, seed=1)
    constant, first = (
        spaces.spread(features, split_of(np.eye(30)[7]), 0),
        spaces.spread(features, split_of(np.eye(30)[0]), 0),
    )
    assert spaces.corollary_4({"D": constant}, {})["verdict"] == HOLDS
    claim = spaces.corollary_4({"D": first}, {"other": constant})
    assert claim["verdict"] == FAILS and len(claim["tables"][0]["rows"]) == 2
    variance = features.var(axis=0)
    assert first.share["value"] == pytest.approx(variance[0] / variance.sum(), rel=1e-5)
    assert first.top == pytest.approx(first.share["value"], rel=0.1) and first.top >= first.share["value"]


def test_random_heads_hold_rank_over_features_on_average():
    """Their mean, exactly, whatever the covariance; their median is less where few directions vary."""
    features = normal(300, 40) * np.r_[20.0, np.ones(39)].astype(np.float32)
    for rank in (1, 3):
        found = spaces.spread(features, split_of(*np.eye(40)[:rank]), 0)
        assert found.random.mean() == pytest.approx(rank / 40, rel=0.4)
    assert np.median(spaces.spread(features, split_of(np.eye(40)[0]), 0).random) < 0.8 / 40
    bases = stacked_bases(40, 3, [0], 5).reshape(5, 3, 40)
    assert np.allclose(bases @ bases.transpose(0, 2, 1), np.eye(3), atol=1e-5)


@pytest.mark.parametrize(("along", "verdict"), [(0, HOLDS), (1, FAILS)])
def test_where_real_and_generated_differ(along, verdict):
    real, generated = normal(500, 20), normal(500, 20, seed=1)
    generated[:, along] += 3
    found = spaces.separation(real, generated, split_of(np.eye(20)[0]), 0)
    assert spaces.theorem_1_noise({"D": found}, {}, {})["verdict"] == verdict
    assert found.share["value"] == pytest.approx(1 - along, abs=0.02)
    assert found.distance == pytest.approx(3 / math.sqrt(20), rel=0.05)


def test_the_sampling_error_of_means_is_taken_off():
    """3 along the first axis, 3 along another: one half, with as few images as 60 in 300 dimensions."""
    shares = []
    for seed in range(20):
        real, generated = normal(60, 300, seed=seed), normal(60, 300, seed=100 + seed)
        generated[:, :2] += 3
        shares.append(spaces.separation(real, generated, split_of(np.eye(300)[0]), seed).share["value"])
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)  # without it, 9 / (18 + 10)


# ---------------------------------------------------------------------- robustness


def linear_network(*functionals):
    """A network whose features are these of the pixels, 8 x 8."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, len(functionals), bias=False), nn.Linear(len(functionals), 1))
    network[1].weight.data = torch.from_numpy(np.stack([f.ravel() for f in functionals])).float()
    return network.eval().requires_grad_(False)


CHECKERBOARD = np.indices((8, 8)).sum(0) % 2 * 2.0 - 1
QUADRANTS = [np.kron(np.eye(4)[k].reshape(2, 2), np.ones((4, 4))) for k in range(4)]


def smooth_images(n=120):
    """Four flat squares, and the least of pixel noise, which the checkerboard alone sees."""
    generator = np.random.default_rng(0)
    flat = np.kron(generator.integers(60, 200, (n, 2, 2)), np.ones((4, 4)))
    return (flat + generator.integers(-2, 3, flat.shape)).astype(np.uint8)[..., None]


@pytest.mark.parametrize(("place", "verdict"), [(0, HOLDS), (2, FAILS)])
def test_noise_that_the_head_reads_or_does_not(place, verdict):
    """Features: a checkerboard, all noise, and the means of four squares, which noise hardly moves."""
    network = linear_network(CHECKERBOARD, *QUADRANTS)
    network[2].weight.data = torch.eye(5)[place : place + 1]
    head, images = Head("discriminator", network, network[2]), smooth_images()
    features = network[1](torch.from_numpy(images.reshape(-1, 64) / 127.5 - 1).float()).numpy()
    spread = spaces.spread(features, split_of(np.eye(5)[place]), 0)
    found = robustness.drift(head, images, spread, 0, CPU)
    keys = [("gaussian", s) for s in (0.1, 0.2, 0.4)] + [("salt and pepper", s) for s in (0.02, 0.05, 0.1)]
    for values in (found.total, found.row, found.random):
        for key in set(values) - set(keys):
            del values[key]
    claim = robustness.theorem_1_robust(found, spread, 0, {"again": (found, spread)})
    assert claim["verdict"] == verdict and len(claim["tables"][0]["rows"]) == 6
    ratio = claim["parts"][0]["value"]
    assert (ratio < 0.5) if verdict == HOLDS else (ratio > 2)


def test_the_drift_of_white_noise_in_closed_form():
    """A linear feature w x moves by sigma^2 |w|^2, wherever nothing is clipped."""
    network = linear_network(CHECKERBOARD, *QUADRANTS)
    head, images = Head("discriminator", network, network[2]), np.full((400, 8, 8, 1), 127, np.uint8)
    spread = spaces.spread(normal(50, 5), split_of(np.eye(5)[0]), 0)
    found = robustness.drift(head, images, spread, 0, CPU)
    assert found.row["gaussian", 0.1].mean() == pytest.approx(0.01 * 64, rel=0.15)
    assert found.total["gaussian", 0.1].mean() == pytest.approx(0.01 * 128, rel=0.15)
    # a flat image stays as it is; lighter or darker by b, every square moves by 16 b
    assert found.total["blur", 1.0].mean() == pytest.approx(0, abs=1e-6)
    assert found.total["brightness", 0.2].mean() == pytest.approx(4 * (16 * 0.2) ** 2, rel=1e-4)
    assert found.random["gaussian", 0.1].shape == (200,)


@pytest.mark.parametrize("kind", NOISES)
def test_noise_keeps_range_and_shape_and_is_decided_by_the_seed(kind):
    noise, strengths = NOISES[kind]
    coarse = torch.rand(6, 3, 3, 3, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    x = nn.functional.interpolate(coarse, size=(12, 12), mode="bilinear")
    drifts = []
    for strength in strengths:
        first, again = (noise(x, strength, torch.Generator().manual_seed(1)) for _ in range(2))
        assert first.shape == x.shape and torch.equal(first, again)
        assert float(first.abs().max()) <= 1
        drifts.append(float((first - x).square().mean()))
    assert 0 < drifts[0] < drifts[1] < drifts[2]


def test_noises_are_what_they_are_called():
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(-0.5, 0.5, 12).repeat(4, 1, 12, 1)
    assert torch.allclose(NOISES["blur"][0](torch.full((2, 3, 9, 9), 0.3), 1.0, generator), torch.tensor(0.3))
    moved = NOISES["translation"][0](ramp, 2, generator)
    assert {round(float((m - r)[0, 5, 5]) * 11) for m, r in zip(moved, ramp, strict=True)} <= {-2, 0, 2}
    covered = NOISES["occlusion"][0](torch.ones(5, 1, 12, 12), 0.25, generator)
    assert ((covered == 0).sum((1, 2, 3)) == 9).all()
    contrast = NOISES["contrast"][0](ramp, 0.2, generator)
    assert torch.allclose(contrast.mean((1, 2, 3)), ramp.mean((1, 2, 3)), atol=1e-6)
    peppered = NOISES["salt and pepper"][0](torch.zeros(50, 1, 20, 20), 0.1, generator)
    assert float((peppered != 0).float().mean()) == pytest.approx(0.1, abs=0.01)
    assert float((peppered == 1).float().mean()) == pytest.approx(0.05, abs=0.01)


# ---------------------------------------------------------------------- usefulness


def silent(name, total):
    from contextlib import nullcontext

    return nullcontext(lambda *_, **__: None)


@pytest.mark.parametrize(("place", "verdict"), [(7, HOLDS), (0, FAILS)])
def test_a_null_part_without_what_tells_the_classes(place, verdict):
    y = np.arange(240) % 2
    X = normal(240, 8)
    X[:, 0] += 6 * y
    split = split_of(np.eye(8)[place])
    sets = {
        usefulness.FULL: (X[:120], X[120:]),
        usefulness.NULL: (split.split(X[:120])[1], split.split(X[120:])[1]),
    }
    protocol = usefulness.protocol_for(y[:120], 0)
    assert protocol.labels_per_class == (10, 30)
    claim = usefulness.theorem_1_useful(sets, y[:120], y[120:], protocol, silent, "cpu")
    assert claim["verdict"] == verdict and len(claim["parts"]) == 2
    if place == 0:
        assert claim["parts"][1]["value"] < -0.3


# ---------------------------------------------------------------------- classes


def of_classes(within=0.05, along=1.0, null=0.0, n=600, seed=0):
    """Four classes; logits y_i + lambda 1 + noise, read from four features of ten; the others differ by ``null``."""
    y = np.arange(n) % 4
    logits = 5 * np.eye(4, dtype=np.float32)[y] + within * normal(n, 4, seed=seed) + along * normal(n, 1, seed=seed + 1)
    rest = normal(n, 6, seed=seed + 2) + null * normal(4, 6, seed=9)[y]
    features = np.hstack([logits, rest])
    split = SubspaceSplit(np.eye(4, 10), softmax=True).fit(features)
    return classes.classes_in(features, logits, y, split, 0)


def test_proposition_6_holds_whatever_lambda_does():
    found = of_classes(within=0.05, along=30.0)
    claims = {c["key"]: c for c in classes.of_classifier({"x": found}, {}, {"x": of_classes(within=4.0)})}
    assert claims["proposition-6"]["verdict"] == HOLDS and found.logits["value"] > 0.99
    assert found.along["value"] > 0.99 and found.accuracy == 1.0


def test_proposition_6_does_not_hold_where_logits_vary_within_classes():
    found = of_classes(within=6.0, along=0.0)
    claims = {c["key"]: c for c in classes.of_classifier({"x": found}, {}, {})}
    assert claims["proposition-6"]["verdict"] == FAILS
    assert found.along["value"] == pytest.approx(1 / 4, abs=0.03)  # no direction more than another
    assert claims["theorem-3"]["verdict"] == OPEN  # there is no untrained network


def test_classes_in_the_row_space_or_in_the_null_space():
    row, null = of_classes(), of_classes(within=5.0, null=8.0)
    verdicts = [
        next(c for c in classes.of_classifier({"x": found}, {}, {}) if c["key"] == "theorem-2")["verdict"]
        for found in (row, null)
    ]
    assert verdicts == [HOLDS, FAILS] and row.row > row.null and null.row < null.null
    assert row.between["value"] > 0.95


def test_theorem_3_is_measured_against_the_untrained_network():
    def third(ours, before):
        return classes.of_classifier({"x": ours}, {}, {"x": before})[2]["verdict"]

    assert third(of_classes(), of_classes(within=6.0)) == HOLDS
    assert third(of_classes(within=6.0), of_classes()) == FAILS
    assert third(of_classes(), of_classes()) == OPEN


def test_variance_between_classes_is_free_of_the_sampling_error_of_their_means():
    """No class differs: 0 on average, where means of 5 images alone would give (K - 1) / n of the variance within."""
    found, naive = [], []
    for seed in range(60):
        X, y = normal(50, 6, seed=seed).astype(np.float64), np.arange(50) % 10
        between, within = classes._scatter(X, y, Resampling(50, [seed]))
        found.append(between[0] / within[0])
        naive.append((within[0] * 9 / 50 + between[0]) / within[0])
        exact = sum((y == k).mean() * np.square(X[y == k].mean(0) - X.mean(0)).sum() for k in range(10))
        assert within[0] + exact == pytest.approx(X.var(0).sum())
    assert np.mean(found) < 0.25 * np.mean(naive)
