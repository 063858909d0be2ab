"""Nearest neighbours: those of an exhaustive search in float64, whatever the scale, the origin and the copies."""

import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.utils.estimator_checks import parametrize_with_checks

from ganfeat import InputError, KNNClassifier
from ganfeat.data import load_images
from ganfeat.probes import knn

X, Y = load_digits(return_X_y=True)


@parametrize_with_checks([KNNClassifier(), KNNClassifier(3, metric="cosine")])
def test_scikit_learn_compatible(estimator, check):
    check(estimator)


def rows(n, p, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(n, p)).astype(dtype)


def fit(references, k=1, **settings):
    return KNNClassifier(k, device="cpu", **settings).fit(references, np.arange(len(references)) % 2)


def exhaustive(references, queries, k):
    """From differences; of equal distances the lower index first."""
    distances = cdist(queries.astype(np.float64), references.astype(np.float64))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), order


@pytest.fixture
def odd_blocks(monkeypatch):
    """Sizes that divide nothing, so that every seam is there."""
    monkeypatch.setattr(knn, "_BLOCK_ROWS", 64 + 3)
    monkeypatch.setattr(knn, "_BLOCK_BYTES", 5000)
    monkeypatch.setattr(knn, "_QUERY_ROWS", 13)
    monkeypatch.setattr(knn, "_VOTE_ROWS", 7)


# ---------------------------------------------------------------- whose neighbours


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.uint8, np.int64])
def test_distances_and_neighbours_are_scikit_learns(metric, k, dtype):
    references, queries = (rows(n, 40, seed) for n, seed in ((700, 0), (90, 1)))
    if np.dtype(dtype).kind in "iu":
        references, queries = (np.rint(r * 30 + 128).clip(0, 255) for r in (references, queries))
    references, queries = references.astype(dtype), queries.astype(dtype)
    ours = fit(references, k, metric=metric).kneighbors(queries)
    peer = NearestNeighbors(n_neighbors=k, metric=metric, algorithm="brute").fit(references.astype(np.float64))
    theirs = peer.kneighbors(queries.astype(np.float64))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-9, atol=1e-12)
    gaps = np.diff(peer.kneighbors(queries.astype(np.float64), k + 1)[0], axis=1)
    clear = (gaps > 1e-9).all(axis=1)
    assert clear.mean() > 0.5
    assert np.array_equal(ours[1][clear], theirs[1][clear])


def test_the_classes_of_digits_are_scikit_learns():
    ours = KNNClassifier().fit(X[:1000], Y[:1000])
    theirs = KNeighborsClassifier(1, algorithm="brute").fit(X[:1000], Y[:1000])
    assert ours.score(X[1000:], Y[1000:]) == theirs.score(X[1000:], Y[1000:]) > 0.95
    names = np.array(list("jihgfedcba"))
    named = KNNClassifier().fit(X[:1000], names[Y[:1000]])
    assert np.array_equal(named.predict(X[1000:]), names[ours.predict(X[1000:])])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 4])
def test_blocks_of_odd_sizes_change_nothing(odd_blocks, monkeypatch, metric, k):
    model = fit(X[:500], k, metric=metric)
    cut = model.kneighbors(X[500:600])
    classes = model.predict(X[500:600])
    monkeypatch.undo()
    whole = fit(X[:500], k, metric=metric)
    assert all(np.array_equal(a, b) for a, b in zip(cut, whole.kneighbors(X[500:600]), strict=True))
    assert np.array_equal(classes, whole.predict(X[500:600]))


def test_memory_maps(tmp_path, odd_blocks):
    np.save(tmp_path / "x.npy", X.astype(np.float16))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    model = fit(mapped[:500], 3)
    assert np.shares_memory(model._rows, mapped), "the rows were copied"
    for ours, expected in zip(model.kneighbors(mapped[500:540]), exhaustive(X[:500], X[500:540], 3), strict=True):
        np.testing.assert_allclose(ours, expected)


def test_memory_does_not_grow_with_the_rows(tmp_path, odd_blocks):
    """What NumPy allocates at most; the products have the size of two blocks."""
    peaks = []
    for n in (2_000, 20_000):
        np.save(tmp_path / f"{n}.npy", rows(n, 50, dtype=np.float16))
        mapped = np.load(tmp_path / f"{n}.npy", mmap_mode="r")
        labels = np.zeros(n, np.uint8)
        labels[::2] = 1
        model = KNNClassifier(device="cpu").fit(mapped, labels)
        tracemalloc.start()
        assert model.kneighbors(mapped[:20])[1].ravel().tolist() == list(range(20))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 20_000 * 50 * 2 / 4


# ---------------------------------------------------------------- digits of the numbers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_from_the_origin(dtype):
    """10,000 away, float32 keeps steps of 1/1024: ``|a|^2`` alone would need ten times as many digits."""
    references, queries = ((rows(n, 20, n) + 1e4).astype(dtype) for n in (600, 50))
    distances, indices = fit(references, 3).kneighbors(queries)
    expected = exhaustive(references, queries, 3)
    np.testing.assert_allclose(distances, expected[0], rtol=1e-12)
    assert np.array_equal(indices, expected[1])


@pytest.mark.parametrize("distance", [1e3, 1e6])
def test_two_clusters_far_apart(distance):
    """No centre is near to both: float32 cannot tell the rows of a cluster apart."""
    side = np.where(np.arange(400) % 2, distance, -distance)[:, None]
    references, queries = rows(400, 10) + side, rows(40, 10, 1) + side[:40]
    for found, expected in zip(fit(references, 4).kneighbors(queries), exhaustive(references, queries, 4), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e25])
def test_numbers_whose_squares_float32_cannot_hold(scale):
    references, queries = rows(300, 8) * scale, rows(20, 8, 1) * scale
    for found, expected in zip(fit(references, 2).kneighbors(queries), exhaustive(references, queries, 2), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("copies", [1, 7, 40])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_of_copies_the_first_is_the_nearest(copies, metric):
    """Also where there are more of them than spare candidates."""
    references = np.tile(rows(30, 6), (copies, 1))
    distances, indices = fit(references, min(3, copies), metric=metric).kneighbors(references[:30])
    np.testing.assert_allclose(distances, 0, atol=1e-15)
    assert np.array_equal(indices, np.arange(30)[:, None] + 30 * np.arange(min(3, copies)))


def test_rows_that_are_all_the_same(odd_blocks):
    distances, indices = fit(np.full((300, 3), 0.1), 4).kneighbors(np.full((2, 3), 0.1))
    assert not distances.any() and indices.tolist() == [[0, 1, 2, 3]] * 2


def test_ties_of_whole_numbers(odd_blocks):
    """On a grid nearly every distance occurs many times."""
    references = np.random.default_rng(0).integers(0, 3, (200, 4))
    queries = np.random.default_rng(1).integers(0, 3, (50, 4)).astype(np.uint8)
    for found, expected in zip(fit(references, 9).kneighbors(queries), exhaustive(references, queries, 9), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-15)


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_products_of_lower_precision_do_not_change_the_answers(precision):
    """bfloat16 products of rows 100 away are off by more than the distances between them."""
    side = np.where(np.arange(400) % 2, 30, -30)[:, None]
    references, queries = rows(400, 64) + side, rows(40, 64, 1) + side[:40]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = fit(references, 5).kneighbors(queries)
    finally:
        torch.set_float32_matmul_precision(before)
    for ours, expected in zip(found, exhaustive(references, queries, 5), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


# ---------------------------------------------------------------- invariances


def test_euclidean_neighbours_stay_under_rotation_and_translation():
    turn, _ = np.linalg.qr(rows(12, 12, 5))
    references, queries = rows(300, 12), rows(40, 12, 1)
    plain = fit(references, 4).kneighbors(queries)
    moved = fit(references @ turn + 30, 4).kneighbors(queries @ turn + 30)
    assert np.array_equal(plain[1], moved[1])
    np.testing.assert_allclose(plain[0], moved[0], rtol=1e-9)


def test_cosine_neighbours_stay_under_scaling_of_rows_and_euclidean_ones_do_not():
    references, queries = rows(300, 12), rows(40, 12, 1)
    scales = np.geomspace(1e-3, 1e3, 300)[:, None]
    plain = fit(references, 4, metric="cosine").kneighbors(queries)
    scaled = fit(references * scales, 4, metric="cosine").kneighbors(queries * 17)
    assert np.array_equal(plain[1], scaled[1])
    np.testing.assert_allclose(plain[0], scaled[0], rtol=1e-9)
    assert (fit(references * scales, 4).kneighbors(queries * 17)[1] != plain[1]).any()


def test_a_zero_row_is_at_right_angles_to_everything():
    references = np.array([[0.0, 0.0], [-1.0, 0.0], [0.0, 5.0], [3.0, 0.0]])
    distances, indices = fit(references, 4, metric="cosine").kneighbors(np.array([[2.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(distances, [[0, 1, 1, 2], [1, 1, 1, 1]], atol=1e-15)
    assert indices.tolist() == [[3, 0, 2, 1], [0, 1, 2, 3]]


# ---------------------------------------------------------------- votes


def test_the_majority_wins_and_of_equals_the_nearer():
    references = np.array([[1.0], [2.0], [3.0], [4.0]])
    labels = np.array(["b", "a", "a", "b"])
    votes = {k: KNNClassifier(k).fit(references, labels).predict([[0.0]])[0] for k in (1, 2, 3, 4)}
    assert votes == {1: "b", 2: "b", 3: "a", 4: "b"}


def test_a_row_is_its_own_neighbour():
    distances, indices = fit(X).kneighbors(X)
    first = np.unique(X, axis=0, return_index=True, return_inverse=True)
    assert not distances.any() and np.array_equal(indices[:, 0], first[1][first[2].ravel()])
    assert KNNClassifier().fit(X, Y).score(X, Y) == 1


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "manhattan"}, "choose one of euclidean, cosine"),
        ({"n_neighbors": 0}, "n_neighbors=0"),
        ({"n_neighbors": 11}, "n_samples=10"),
        ({"device": "tpu"}, "device='tpu'"),
    ],
)
def test_wrong_parameters(settings, message):
    with pytest.raises(InputError, match=message):
        KNNClassifier(**settings).fit(X[:10], Y[:10])
    with pytest.raises(InputError, match="n_neighbors=11"):
        fit(X[:10]).kneighbors(X[:2], 11)


def test_numbers_that_are_not_finite():
    with pytest.raises(InputError, match="NaN or infinite"):
        fit(np.array([[1.0], [np.inf]]))
    with pytest.raises(InputError, match="NaN or infinite"):
        fit(X[:10]).kneighbors(np.full((1, 64), np.nan))


# ---------------------------------------------------------------- a published number


@pytest.mark.data
@pytest.mark.slow
def test_mnist_pixels(data_folder):
    """96.91 %: known of raw pixels, euclidean 1-NN, 60,000 references and 10,000 queries."""
    train, test = (load_images(data_folder / "mnist" / f"{p}-images-idx3-ubyte.gz") for p in ("train", "t10k"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = KNNClassifier().fit(train.images.reshape(60_000, -1), train.labels)
        assert model.score(test.images.reshape(10_000, -1), test.labels) == 0.9691
