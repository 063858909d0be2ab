"""Row space and null space: orthogonality, reconstruction, idempotence, the head's answers; Jacobians against them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from ganfeat import InputError, LinearSVM
from ganfeat.subspace import SubspaceSplit


class Softest(nn.Module):
    """Takes any number of features: the largest, softly, and their mean."""

    def forward(self, x_NF):
        return torch.stack([x_NF.logsumexp(1), x_NF.mean(1)], 1)


@parametrize_with_checks([SubspaceSplit(Softest()), SubspaceSplit(Softest(), part="both", explained=0.9)])
def test_scikit_learn_contract(estimator, check):
    """A head that takes any number of features, as the suite tries many."""
    check(estimator)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@st.composite
def heads_and_rows(draw):
    """A head of any rank, zero and deficient ones too, and rows of either precision."""
    outputs, features = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    rank = draw(st.integers(0, min(outputs, features)))
    seed = draw(st.integers(0, 1000))
    kind = draw(st.sampled_from([np.float32, np.float64]))
    head = random(outputs, rank, seed=seed) @ random(rank, features, seed=seed + 1)
    X = random(draw(st.integers(1, 5)), features, seed=seed + 2) * draw(st.sampled_from([1e-3, 1.0, 1e3]))
    return head, rank, X.astype(kind)


@settings(max_examples=150, deadline=None)
@given(heads_and_rows())
def test_invariants(case):
    """Parts are orthogonal and add up; a second split changes nothing; the head sees the row part alone."""
    head, rank, X = case
    split = SubspaceSplit(head).fit(X)
    assert split.rank_ == rank == np.linalg.matrix_rank(head)
    V = split.row_basis_
    assert V.dtype == np.float64 and np.allclose(V @ V.T, np.eye(rank), atol=1e-12)
    row, null = split.split(X)
    assert row.dtype == null.dtype == X.dtype
    size = np.abs(X).max()
    close = {"rtol": 0, "atol": (1e-5 if X.dtype == np.float32 else 1e-12) * size}
    assert np.allclose(row + null, X, **close)
    assert np.allclose((row * null).sum(1), 0, atol=close["atol"] * size * X.shape[1])
    assert np.allclose(split.split(row)[0], row, **close) and np.allclose(split.split(row)[1], 0, **close)
    assert np.allclose(split.split(null)[1], null, **close) and np.allclose(split.split(null)[0], 0, **close)
    gain = 1 + np.abs(head).sum()
    assert np.allclose(null @ head.T, 0, atol=close["atol"] * gain)
    assert np.allclose(row @ head.T, X @ head.T, atol=close["atol"] * gain)
    coordinates = split.row_coordinates(X)
    assert coordinates.shape == (len(X), rank) and np.allclose(coordinates @ V, row, **close)
    if rank == 0:
        assert np.array_equal(null, X) and not row.any()


def test_parts_and_their_names():
    X, head = random(4, 5), random(2, 5, seed=1)
    row, null = SubspaceSplit(head).fit(X).split(X)
    for part, expected in {"row": row, "null": null, "both": np.hstack([row, null])}.items():
        split = SubspaceSplit(head, part=part)
        assert np.array_equal(split.fit_transform(X), expected)
        assert len(split.get_feature_names_out()) == expected.shape[1]
    both = SubspaceSplit(head, part="both").fit(X).get_feature_names_out(list("abcde"))
    assert both[0] == "row_a" and both[-1] == "null_e"


def test_a_softmax_head_loses_what_moves_all_logits_alike():
    """Rank K - 1; the row of the mean logit is in the null space; probabilities do not change along it."""
    head, X = random(4, 9), random(6, 9, seed=1)
    split = SubspaceSplit(head, softmax=True).fit(X)
    assert (split.rank_, SubspaceSplit(head).fit(X).rank_) == (3, 4)
    along = head.mean(0) - split.split(head.mean(0)[None])[0][0]  # moves every logit alike, no probability
    moved = along @ head.T
    assert np.allclose(moved, moved[0]) and abs(moved[0]) > 0.1

    def probabilities(rows):
        return torch.softmax(torch.from_numpy(rows @ head.T), 1).numpy()

    assert np.allclose(probabilities(X), probabilities(split.split(X)[0]))
    assert not np.allclose(X @ head.T, split.split(X)[0] @ head.T)


def test_every_kind_of_linear_head():
    X, y = make_classification(60, 6, n_informative=4, n_classes=3, random_state=0)
    linear, half = nn.Linear(6, 3), nn.Linear(6, 3).to(torch.bfloat16)
    array = linear.weight.detach().numpy()
    for head, matrix in (
        (linear, array),
        (array.tolist(), array),
        (array[0], array[:1]),
        (fitted := LogisticRegression().fit(X, y), fitted.coef_),
        (svm := LinearSVM(C=1.0).fit(X, y), svm.coef_),
        (line := LinearRegression().fit(X, y), line.coef_[None]),
        (sparse := LogisticRegression().fit(X, y).sparsify(), sparse.coef_.toarray()),
        (half, half.weight.detach().float().numpy()),
    ):
        split = SubspaceSplit(head).fit(X)
        assert np.allclose(split.split(X)[1] @ np.asarray(matrix, float).T, 0, atol=1e-10)
        assert split.rank_ == np.linalg.matrix_rank(matrix)


def test_in_a_pipeline():
    """A classifier on the null part of another's features knows nothing of what that one sees."""
    X, y = make_classification(300, 8, n_informative=3, n_redundant=0, class_sep=2, flip_y=0, random_state=1)
    first = LogisticRegression().fit(X, y)
    pipe = make_pipeline(SubspaceSplit(first), LogisticRegression()).fit(X, y)
    null = make_pipeline(SubspaceSplit(first)).fit_transform(X)
    assert np.allclose(first.decision_function(null), first.intercept_)
    assert pipe.score(X, y) < first.score(X, y) - 0.05
    assert clone(pipe)[0].head is not None


def test_a_float32_heads_rank_is_that_of_float32():
    """A sum of two rows, rounded to float32, is no third dimension; in float64 it is one."""
    head = random(3, 40).astype(np.float32)
    head[2] = head[0] / 3 + head[1] / 7
    X = random(2, 40)
    assert SubspaceSplit(head).fit(X).rank_ == 2
    assert SubspaceSplit(head.astype(np.float64)).fit(X).rank_ == 3
    assert SubspaceSplit(head.astype(np.float64), tol=1e-5).fit(X).rank_ == 2


def test_rank_and_explained_share():
    head = np.diag([3.0, 2.0, 1.0, 0.0])
    X = random(3, 4)
    assert SubspaceSplit(head).fit(X).rank_ == 3
    assert SubspaceSplit(head, rank=1).fit(X).rank_ == 1
    assert [SubspaceSplit(head, explained=s).fit(X).rank_ for s in (0.5, 9 / 14, 0.65, 13 / 14, 1.0)] == [1, 1, 2, 2, 3]
    assert np.allclose(SubspaceSplit(head, rank=1).fit_transform(X)[:, 1:], X[:, 1:])


def test_no_square_of_the_features_is_built():
    """28,672 features: their square would be 6.6 GB."""
    import tracemalloc

    X = np.ones((3, 28_672), np.float32)
    head = nn.Linear(28_672, 1)
    tracemalloc.start()
    null = SubspaceSplit(head).fit_transform(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6
    assert abs(null @ head.weight.detach().numpy().T).max() < 1e-3


# ---------------------------------------------------------------------- Jacobians


def two_layers(features=6, hidden=5, outputs=2, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(features, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(0.2, inplace=True), nn.Linear(hidden, outputs)
    )


def of_linear_modules(head):
    """The same map, so that it is not seen to be linear."""
    return nn.Sequential(head)


@pytest.mark.parametrize("softmax", [False, True])
def test_of_a_linear_head_the_jacobian_version_is_the_linear_one(softmax):
    head, X = nn.Linear(7, 3), random(20, 7).astype(np.float32)
    plain = SubspaceSplit(head, softmax=softmax).fit(X)
    by_jacobian = SubspaceSplit(of_linear_modules(head), softmax=softmax).fit(X)
    assert by_jacobian.rank_ == plain.rank_ == (2 if softmax else 3) and by_jacobian.n_outputs_ == 3
    assert np.allclose(by_jacobian.singular_values_[:3], plain.singular_values_, atol=1e-6)
    for a, b in zip(by_jacobian.split(X), plain.split(X), strict=True):
        assert np.allclose(a, b, atol=1e-5)
    for a, b in zip(by_jacobian.split_locally(X), plain.split_locally(X), strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_a_two_layer_head_by_finite_differences():
    """The mean of J^T J is that of central differences; a step in a row's own null space leaves its output."""
    head, X = two_layers(), random(9, 6)
    exact = two_layers().double().eval()

    def outputs(rows):
        with torch.no_grad():
            return exact(torch.from_numpy(np.array(rows))).numpy()

    step = 1e-6
    jacobian = np.stack([(outputs(X + step * e) - outputs(X - step * e)) / (2 * step) for e in np.eye(6)], axis=2)
    split = SubspaceSplit(head).fit(X)
    mean = np.einsum("nof,nog->fg", jacobian, jacobian) / len(X)
    ours = split.row_basis_.T @ np.diag(split.singular_values_[: split.rank_] ** 2) @ split.row_basis_
    assert np.allclose(ours, mean, atol=1e-7)
    moves = random(9, 6, seed=3)
    for k in range(9):
        local = SubspaceSplit(jacobian[k], tol=1e-6).fit(X)
        found = split.split_locally(X)
        assert np.allclose(found[0][k], local.split(X[k : k + 1])[0][0], atol=1e-6)
        aside, along = local.split(moves[k : k + 1])[1], local.split(moves[k : k + 1])[0]
        still = np.abs(outputs(X[k : k + 1] + 1e-4 * aside) - outputs(X[k : k + 1])).max()
        moved = np.abs(outputs(X[k : k + 1] + 1e-4 * along) - outputs(X[k : k + 1])).max()
        assert still < 1e-3 * moved
    assert head[1].training and head[1].num_batches_tracked == 0  # somebody's head is as it was


def test_jacobians_hold_most_of_a_nonlinear_head_in_few_dimensions():
    """A head of two hidden units has a row space of two dimensions, wherever it bends."""
    head, X = two_layers(features=10, hidden=2), random(50, 10)
    assert SubspaceSplit(head).fit(X).rank_ == 2
    wide = SubspaceSplit(two_layers(features=10, hidden=30)).fit(X)
    few = SubspaceSplit(two_layers(features=10, hidden=30), explained=0.5).fit(X)
    assert wide.rank_ == 10 > few.rank_ > 0
    assert SubspaceSplit(head, max_samples=3).fit(X).n_outputs_ == 2


WRONG = {
    "part": ({"head": np.eye(3), "part": "column"}, "row, null, both"),
    "rank above": ({"head": np.eye(3)[:2], "rank": 3}, "which is 2"),
    "rank": ({"head": np.eye(3), "rank": -1}, "at least 0"),
    "rank and explained": ({"head": np.eye(3), "rank": 1, "explained": 0.5}, "one of them"),
    "explained": ({"head": np.eye(3), "explained": 1.5}, "at most 1"),
    "tol": ({"head": np.eye(3), "tol": 2.0}, "tol"),
    "max_samples": ({"head": np.eye(3), "max_samples": 0}, "max_samples"),
    "other features": ({"head": np.eye(4)}, "reads 4 features and X has 3"),
    "NaN": ({"head": np.full((1, 3), np.nan)}, "NaN"),
    "no head": ({"head": "D"}, "head is a str"),
    "three axes": ({"head": np.zeros((2, 2, 2))}, "n_outputs, n_features"),
    "empty": ({"head": np.zeros((0, 3))}, "n_outputs, n_features"),
    "not fitted": ({"head": LogisticRegression()}, "fit it first"),
    "no linear model": ({"head": DecisionTreeClassifier()}, "no coef_"),
    "softmax of one": ({"head": np.ones((1, 3)), "softmax": True}, "at least 2 outputs"),
    "module of other features": ({"head": of_linear_modules(nn.Linear(5, 2))}, "rows of 3 features"),
    "module of images": ({"head": nn.Conv2d(3, 2, 1)}, "rows of 3 features"),
    "softmax of one, module": ({"head": of_linear_modules(nn.Linear(3, 1)), "softmax": True}, "at least 2 outputs"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_says_what_would_be_right(case):
    settings, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        SubspaceSplit(**settings).fit(random(4, 3))
