"""k-means features: equal to a loop over patches, and blind to what they should be blind to."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from ganfeat import ImageDataset, InputError, KMeansFeatures
from ganfeat.probes import kmeans
from ganfeat.probes.kmeans import lloyd, normalise, pooling, triangle, whiten

DIGITS = load_digits()
GREY = np.round(DIGITS.images[:300, ..., None] * 255 / 16).astype(np.uint8)


def colours(n=30, height=12, width=9, seed=0):
    """Smooth noise: neighbouring pixels are alike, as in pictures."""
    noise = np.random.default_rng(seed).normal(size=(n, height + 2, width + 2, 3)).cumsum(axis=1).cumsum(axis=2)
    noise = noise[:, 2:, 2:] - noise.min()
    return (noise / noise.max() * 255).astype(np.uint8)


def small(**settings):
    return KMeansFeatures(**{"n_centroids": 12, "patch_size": 4, "n_patches": 3000, "device": "cpu", **settings})


@pytest.fixture(scope="module")
def fitted():
    return small().fit(colours())


@parametrize_with_checks([KMeansFeatures(2, patch_size=1, pool=1, n_patches=100, image_shape=(1, -1, 1), device="cpu")])
def test_scikit_learn_compatible(estimator, check):
    check(estimator)


# ---------------------------------------------------------------- the features


def by_loop(model, images):
    """Every patch by itself, in float64."""
    n, height, width, _ = images.shape
    side, grid, count = model.patch_size, model.pool, len(model.centroids_)
    centroids, rows, columns = model.centroids_.reshape(count, -1).astype(float), height - side + 1, width - side + 1
    result = np.zeros((n, count, grid, grid))
    for i in range(n):
        for top in range(rows):
            for left in range(columns):
                patch = images[i, top : top + side, left : left + side].astype(float).ravel()
                patch = (patch - patch.mean()) / np.sqrt(patch.var() + 10)
                point = (patch - model.mean_) @ model.whitening_
                z = np.sqrt(((point - centroids) ** 2).sum(axis=1))
                row = int(top >= -(-rows // 2)) if grid == 2 else 0
                column = int(left >= -(-columns // 2)) if grid == 2 else 0
                result[i, :, row, column] += np.maximum(0, z.mean() - z)
    return result.reshape(n, -1)


@pytest.mark.parametrize("grid", [1, 2])
@pytest.mark.parametrize("images", [colours(), GREY], ids=["colour", "grey"])
def test_equal_to_a_loop_over_patches(images, grid):
    model = small(pool=grid).fit(images)
    features = model.transform(images[:3])
    assert features.shape == (3, 12 * grid**2) and features.dtype == np.float32
    np.testing.assert_allclose(features, by_loop(model, images[:3]), rtol=1e-4, atol=1e-3)


def test_the_triangle_in_closed_form():
    """Distances 3, 4, 5 have the mean 4: only the nearest is active, by 1; at equal distances none is."""
    centroids = torch.tensor([[3.0, 0.0], [0.0, 4.0], [-3.0, -4.0]])
    torch.testing.assert_close(triangle(torch.zeros(1, 2), centroids), torch.tensor([[1.0, 0.0, 0.0]]))
    square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    torch.testing.assert_close(triangle(torch.zeros(1, 2), square), torch.zeros(1, 4))


def test_about_half_of_the_activations_are_zero(fitted):
    """As the paper says of its activation; and no cell is silent."""
    points = torch.randn(500, 48, generator=torch.Generator().manual_seed(0))
    active = (triangle(points, points[:50]) > 0).float().mean()
    assert 0.3 < active < 0.7
    assert (fitted.transform(colours()).reshape(30, -1, 4).sum(axis=1) > 0).all()


@pytest.mark.parametrize(("rows", "columns", "grid"), [(27, 27, 2), (7, 5, 3), (4, 9, 4), (1, 1, 1)])
def test_cells_tile_the_places(rows, columns, grid):
    cells = pooling(rows, columns, grid)
    assert cells.shape == (grid**2, rows * columns)
    assert np.array_equal(cells.sum(axis=0), np.ones(rows * columns))
    image = cells.argmax(axis=0).reshape(rows, columns)
    assert np.array_equal(image, np.sort(np.sort(image, axis=0), axis=1))
    across = cells.reshape(grid, grid, rows, columns).max(axis=3).sum(axis=2)
    assert across.max() - across.min() <= 1


def test_summed_over_a_coarser_grid(fitted):
    whole = clone(fitted).set_params(pool=1).fit(colours())
    quarters = fitted.transform(colours()).reshape(30, 12, 4).sum(axis=2)
    np.testing.assert_allclose(quarters, whole.transform(colours()), rtol=1e-5)


def test_a_shift_moves_the_features_to_another_cell():
    """A blob in one quadrant and in the one beside it: the same activations there."""
    model = small(patch_size=3).fit(GREY)
    image = np.zeros((2, 14, 14, 1), np.uint8)
    image[0, 2:4, 2:4] = image[1, 2:4, 8:10] = 200
    model.image_shape_ = (14, 14, 1)
    left, right = model.transform(image).reshape(2, 12, 2, 2)
    np.testing.assert_allclose(left[:, 0, 0], right[:, 0, 1], rtol=1e-4)
    np.testing.assert_allclose(left[:, 1], right[:, 1], rtol=1e-4)


@pytest.mark.parametrize("change", [lambda x: x + 60, lambda x: 255 - (255 - x) // 1], ids=["brighter", "same"])
def test_brightness_changes_nothing(change):
    images = colours() // 2
    model = small().fit(images)
    np.testing.assert_allclose(model.transform(change(images)), model.transform(images), rtol=1e-3, atol=2e-3)


def test_contrast_changes_nothing_where_there_is_enough():
    """Doubled, a patch of variance v is ``2 sqrt((v + 10) / (4 v + 10))`` times itself: 1 for large v."""
    patches = torch.randn(50, 36, generator=torch.Generator().manual_seed(0)) * 20
    v = patches.var(dim=1, correction=0)
    expected = normalise(patches) * (2 * ((v + 10) / (4 * v + 10)).sqrt())[:, None]
    torch.testing.assert_close(normalise(2 * patches + 9), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(normalise(2 * patches), normalise(patches), rtol=0.05, atol=0.05)
    flat = normalise(torch.full((1, 36), 77.0))
    torch.testing.assert_close(flat, torch.zeros(1, 36))


def test_features_do_not_depend_on_the_batch(fitted, monkeypatch):
    """Bit for bit on what else is transformed; on the size of blocks to rounding."""
    images = colours()
    whole = fitted.transform(images)
    assert np.array_equal(np.concatenate([fitted.transform(images[i : i + 7]) for i in range(0, 30, 7)]), whole)
    assert np.array_equal(fitted.transform(images[::-1])[::-1], whole)
    monkeypatch.setattr(kmeans, "_BLOCK_BYTES", 1)
    np.testing.assert_allclose(fitted.transform(images), whole, rtol=1e-4, atol=1e-3)


def test_features_have_names(fitted):
    names = fitted.get_feature_names_out()
    assert len(names) == len(set(names)) == fitted.transform(colours(1)).shape[1] == 48
    assert names[:5].tolist() == [*(f"kmeans[0,{i},{j}]" for i in (0, 1) for j in (0, 1)), "kmeans[1,0,0]"]


# ---------------------------------------------------------------- what is learned


def test_whitened_patches_have_the_identity_for_covariance():
    rows = np.random.default_rng(0).normal(size=(2000, 9)) @ np.random.default_rng(1).normal(size=(9, 9)) + 4
    mean, matrix = whiten(rows.astype(np.float32), 1e-8)
    white = (rows - mean) @ matrix
    np.testing.assert_allclose(white.T @ white / 2000, np.eye(9), atol=1e-3)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)  # ZCA: of all whitenings the nearest to the pixels
    _, damped = whiten(rows.astype(np.float32), 0.5)
    values = np.linalg.eigvalsh(np.cov(rows.T, bias=True))
    np.testing.assert_allclose(np.sort(np.linalg.eigvalsh(damped)), np.sort((values + 0.5) ** -0.5), rtol=1e-4)


def test_kmeans_is_scikit_learns_from_the_same_centroids():
    points = torch.randn(1000, 5, generator=torch.Generator().manual_seed(0))
    start = lloyd(points, 8, 0, np.random.default_rng(3), torch.device("cpu"))
    ours = lloyd(points, 8, 6, np.random.default_rng(3), torch.device("cpu"))
    theirs = KMeans(8, init=start.numpy(), n_init=1, max_iter=6, tol=0).fit(points.numpy())
    np.testing.assert_allclose(ours, theirs.cluster_centers_, atol=1e-4)
    assert cdist(points, ours).min(axis=1).mean() < cdist(points, start).min(axis=1).mean()


def test_a_centroid_that_is_nearest_to_nothing_gets_a_point():
    """Ten copies of each of 20 points: random centroids coincide, and 20 that differ are found."""
    points = torch.arange(20.0).repeat(10)[:, None]
    centroids = lloyd(points, 20, 200, np.random.default_rng(0), torch.device("cpu"))
    assert sorted(centroids.ravel().tolist()) == list(range(20))


def test_the_seed_decides_and_nothing_else(fitted):
    again, other = small().fit(colours()), small(random_state=1).fit(colours())
    assert np.array_equal(again.centroids_, fitted.centroids_)
    assert not np.array_equal(other.centroids_, fitted.centroids_)
    assert fitted.centroids_.shape == (12, 4, 4, 3)


def test_images_data_sets_rows_and_memory_maps_are_the_same(tmp_path):
    np.save(tmp_path / "x.npy", GREY)
    expected = small().fit(GREY).transform(GREY[:20])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = GREY.reshape(300, -1)
    for same in (ImageDataset(GREY), GREY[..., 0], mapped, rows):
        assert np.array_equal(small().fit(same).transform(same)[:20], expected)
    scaled = GREY / np.float32(255)
    np.testing.assert_allclose(small().fit(scaled).transform(scaled[:20]), expected, rtol=1e-3, atol=1e-2)


def test_better_than_pixels_with_few_labels():
    """100 labelled digits, a linear classifier, 1,000 held out."""
    images = np.round(DIGITS.images * 255 / 16).astype(np.uint8)
    model = KMeansFeatures(100, patch_size=3, n_patches=10_000, device="cpu").fit(images[:100])
    scores = {}
    for name, rows in {"kmeans": model.transform(images), "pixels": images.reshape(len(images), -1) / 255}.items():
        rows = (rows - rows[:100].mean(axis=0)) / (rows[:100].std(axis=0) + 0.1 * rows[:100].std())
        scores[name] = RidgeClassifier(10).fit(rows[:100], DIGITS.target[:100]).score(rows[500:], DIGITS.target[500:])
    assert scores["kmeans"] > scores["pixels"] + 0.02


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_centroids": 0}, "n_centroids=0"),
        ({"patch_size": 9}, "use patch_size=8 or less"),
        ({"patch_size": 7, "pool": 3}, "use pool=2 or less"),
        ({"n_patches": 11}, "n_patches=11 is less than n_centroids=12"),
        ({"eps": 0}, "eps=0"),
        ({"device": "tpu"}, "device='tpu'"),
    ],
)
def test_wrong_parameters(settings, message):
    with pytest.raises(InputError, match=message):
        small(**settings).fit(GREY)


def test_wrong_images(fitted):
    with pytest.raises(InputError, match="load_images"):
        fitted.transform("photos/")
    with pytest.raises(InputError, match="12x9x3"):
        fitted.transform(GREY)
    with pytest.raises(InputError, match="give the same kind"):
        fitted.transform(colours() / 255)
    with pytest.raises(InputError, match="0 images"):
        small().fit(GREY[:0])
    with pytest.raises(InputError, match="NaN"):
        small().fit(np.full((3, 8, 8, 1), np.nan))
