"""Streaming PCA: scikit-learn's PCA on small data, whatever the blocks; few passes on long rows; refusals."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.utils.estimator_checks import parametrize_with_checks

from ganfeat import InputError, StreamingPCA
from ganfeat.feature_files import open_features, write_part
from ganfeat.projection import Projection, find_projection, fit, fit_projection, projection_of

WAYS = [("covariance", 1), ("sketch", 1), ("sketch", 2), ("sketch", 4)]


@parametrize_with_checks([StreamingPCA(), StreamingPCA(1, whiten=True, method="sketch", n_passes=2)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def low_rank(n=600, d=300, rank=20, noise=0.0, seed=0):
    """Rows far from 0 with a falling spectrum."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(size=(n, rank)) * np.geomspace(10, 0.5, rank)
    return parts @ np.linalg.qr(rng.normal(size=(d, rank)))[0].T + noise * rng.normal(size=(n, d)) + 100


def cut(rows, *sizes):
    return lambda: iter(np.split(rows, np.cumsum(sizes)))


@pytest.mark.parametrize("whiten", [False, True])
def test_it_is_scikit_learns(whiten):
    digits = load_digits().data
    ours, theirs = StreamingPCA(20, whiten=whiten).fit(digits), PCA(20, whiten=whiten, svd_solver="full").fit(digits)
    np.testing.assert_allclose(ours.explained_variance_, theirs.explained_variance_, rtol=1e-12)
    np.testing.assert_allclose(ours.explained_variance_ratio_, theirs.explained_variance_ratio_, rtol=1e-12)
    np.testing.assert_allclose(ours.mean_, theirs.mean_, atol=1e-6)
    np.testing.assert_allclose(ours.components_, theirs.components_, atol=1e-6)  # signs included
    np.testing.assert_allclose(ours.transform(digits), theirs.transform(digits), atol=1e-4)
    np.testing.assert_allclose(
        ours.inverse_transform(ours.transform(digits)), theirs.inverse_transform(theirs.transform(digits)), atol=1e-4
    )


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 80), max_size=5),
    way=st.sampled_from(WAYS),
    dtype=st.sampled_from(["float64", "float32", "float16"]),
)
def test_blocks_do_not_matter(sizes, way, dtype):
    """Not even to the last bit."""
    rows = low_rank(400, 30, noise=0.1).astype(dtype)
    method, passes = way
    cuts = [s for s in sizes if sum(sizes) < len(rows)]
    one, other = (
        fit_projection(cut(rows, *how), 4, method=method, n_passes=passes, oversampling=4, whiten=True)
        for how in ((), cuts)
    )
    assert one.n_rows == other.n_rows == 400
    for name in ("mean", "components", "scale", "variance"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    parts = [one.transform(part) for part in np.split(rows, np.cumsum(cuts))]
    assert np.array_equal(np.concatenate(parts), one.transform(rows))


@pytest.mark.parametrize(("method", "passes"), WAYS)
def test_of_low_rank_all_ways_are_exact(method, passes):
    """The covariance has 20 dimensions and a mean 100 away from 0: nothing to lose."""
    rows = low_rank()
    exact = PCA(20, svd_solver="full").fit(rows)
    found = fit_projection(cut(rows, 100, 250), 20, method=method, n_passes=passes)
    np.testing.assert_allclose(found.variance, exact.explained_variance_, rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.diag(found.components @ exact.components_.T)), 1, atol=1e-4)
    assert found.kept == pytest.approx(1, abs=1e-4)
    assert found.total_variance == pytest.approx(rows.var(axis=0, ddof=1).sum(), rel=1e-5)


@pytest.mark.parametrize(("method", "passes"), [way for way in WAYS if way != ("sketch", 1)])
def test_whitened_covariance_is_the_identity(method, passes):
    """On the rows learned from, also where the components are not exact."""
    rows = low_rank(noise=1).astype(np.float32)
    found = fit_projection(cut(rows, 77), 30, whiten=True, method=method, n_passes=passes, oversampling=10)
    assert found.whitens
    np.testing.assert_allclose(np.cov(found.transform(rows), rowvar=False), np.eye(30), atol=2e-3)
    np.testing.assert_allclose(found.transform(rows).mean(axis=0), 0, atol=2e-3)


def test_every_pass_captures_more():
    """Of a slowly falling spectrum: at most the exact share, and nearer to it with every pass."""
    rng = np.random.default_rng(1)
    rows = (rng.normal(size=(800, 400)) * np.arange(1, 401) ** -0.5).astype(np.float32)
    exact = PCA(20, svd_solver="full").fit(rows).explained_variance_ratio_.sum()
    centred = rows - rows.mean(axis=0)

    def captured(passes):
        found = fit_projection(cut(rows), 20, method="sketch", n_passes=passes, oversampling=20)
        np.testing.assert_allclose(found.components @ found.components.T, np.eye(20), atol=1e-5)
        true = np.square(centred @ found.components.T).sum() / np.square(centred).sum()
        if passes == 1:
            assert found.kept < true  # the variances of one pass are low, and said to be
        else:
            assert found.kept == pytest.approx(true, rel=1e-5)
        return true

    shares = [captured(passes) for passes in (1, 2, 3, 5)]
    assert shares[0] < shares[2] < shares[3] <= exact * (1 + 1e-6)
    assert shares[1] < shares[2]
    assert shares[2] > 0.97 * exact
    assert shares[3] > 0.995 * exact


def test_constant_columns_and_whitening():
    rows = low_rank(rank=5, d=12)
    rows[:, 3] = 7
    whole = StreamingPCA().fit(rows)
    assert whole.components_.shape == (12, 12)
    np.testing.assert_allclose(whole.components_ @ whole.components_.T, np.eye(12), atol=1e-5)
    with pytest.raises(InputError, match="only 5 components of the 8 vary"):
        StreamingPCA(8, whiten=True).fit(rows)
    assert StreamingPCA(whiten=True).fit(rows).n_components_ == 5
    flat = StreamingPCA(2).fit(np.ones((5, 3)))
    assert not flat.transform(np.ones((2, 3))).any()


@pytest.mark.parametrize("method", ["covariance", "sketch"])
def test_refusals(method):
    rows = low_rank(10, 30, rank=5)
    for n, message in ((31, "more than the 30 features"), (11, "cannot be learned from 10 rows"), (0, "at least 1")):
        with pytest.raises(InputError, match=message):
            StreamingPCA(n, method=method).fit(rows)
    with pytest.raises(InputError, match="0 rows"):
        fit_projection(lambda: iter(()), 2, method=method)
    with pytest.raises(InputError, match="choose one of"):
        StreamingPCA(2, method="exact").fit(rows)
    rows[7, 2] = np.nan
    with pytest.raises(InputError, match="NaN or infinite in rows 0 to 9"):
        fit_projection(cut(rows), 2, method=method)
    with pytest.raises(InputError, match="followed by others"):
        fit_projection(lambda: iter((np.ones((4, 3)), np.ones((4, 2)))), 2, method=method)


def test_other_rows_in_the_second_pass_are_noticed():
    passes = iter([np.ones((3, 4)), np.eye(4), np.ones((3, 4))])
    with pytest.raises(InputError, match="4 rows in one pass and 3 in the next"):
        fit_projection(lambda: iter([next(passes)]), 2, method="sketch", n_passes=2)


def test_a_file_and_back(tmp_path):
    rows = low_rank()
    learned = fit_projection(cut(rows), 6, whiten=True)
    learned.save(tmp_path / "p.safetensors")
    again = Projection.load(tmp_path / "p.safetensors")
    assert np.array_equal(again.transform(rows), learned.transform(rows))
    assert (again.total_variance, again.n_rows, again.about) == (learned.total_variance, 600, dict(learned.about))
    (tmp_path / "x.safetensors").write_bytes((tmp_path / "p.safetensors").read_bytes()[:-5])
    with pytest.raises(InputError, match="damaged"):
        Projection.load(tmp_path / "x.safetensors")
    from safetensors.numpy import save_file

    save_file({"mean": np.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="holds no projection"):
        Projection.load(tmp_path / "x.safetensors")


def test_the_first_components_are_those_of_fewer():
    rows = low_rank(noise=0.5)
    for whiten in (False, True):
        fewer = fit_projection(cut(rows), 3, whiten=whiten)
        first = fit_projection(cut(rows), 9).first(3, whiten=whiten)
        np.testing.assert_allclose(first.transform(rows), fewer.transform(rows), atol=1e-3)
    with pytest.raises(InputError, match="1 to 9"):
        fit_projection(cut(rows), 9).first(10)


def test_files_arrays_and_rows_as_they_come_give_the_same(tmp_path):
    rows = low_rank(noise=0.5).astype(np.float32)
    np.save(tmp_path / "f.npy", rows)
    write_part(tmp_path / "f.parquet", list(map(str, range(600))), None, rows)
    array = StreamingPCA(4).fit(rows)
    partly = StreamingPCA(4)
    for part in np.split(rows, [5, 200]):
        partly.partial_fit(part)
    for other in (
        StreamingPCA(4).fit(tmp_path / "f.npy"),
        StreamingPCA(4).fit(np.load(tmp_path / "f.npy", mmap_mode="r")),
        StreamingPCA(4).fit(open_features(tmp_path / "f.parquet")),
        partly,
    ):
        assert np.array_equal(other.components_, array.components_)
        assert np.array_equal(other.transform(tmp_path / "f.parquet"), array.transform(rows))
    before = partly.explained_variance_
    partly.partial_fit(rows[:50] + 3)
    assert partly.n_samples_seen_ == 650
    assert not np.array_equal(partly.explained_variance_, before)
    with pytest.raises(ValueError, match="300"):
        array.transform(rows[:, :20])


@pytest.mark.parametrize("columns", [64, 75])
def test_a_few_components_of_many_columns_are_the_exact_ones(monkeypatch, columns):
    """The covariance is finished in tiles, and its leading eigenvectors are found without the others."""

    monkeypatch.setattr(fit, "_TILE", 16)
    monkeypatch.setattr(fit, "_ALL_AT_ONCE", 32)
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((500, columns)) @ (
        generator.standard_normal((columns, columns)) * (np.arange(1, columns + 1) ** -1.0)[:, None]
    )
    rows = (rows + 100).astype(np.float32)
    found = fit_projection(lambda: [rows], 6, method="covariance")
    exact = PCA(6, svd_solver="full").fit(rows.astype(np.float64))
    np.testing.assert_allclose(found.variance, exact.explained_variance_, rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(found.components * exact.components_, axis=1)), 1, atol=1e-4)
    assert found.variance.sum() / exact.explained_variance_.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("spectrum", ["flat", "equal", "falling", "large"])
def test_leading_components_are_orthonormal_and_hold_what_the_best_hold(spectrum):
    """Also where the iteration does not settle: of a flat spectrum, and whatever the scale."""
    n, k = 300, 12
    variances = {
        "flat": np.linspace(1, 0.9, n),
        "equal": np.ones(n),
        "falling": np.arange(1, n + 1) ** -1.0,
        "large": np.linspace(120, 100, n),
    }[spectrum]
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(n, n)))[0]
    covariance = turned * variances @ turned.T
    values, components = fit.leading(torch.from_numpy(covariance.copy()), k)
    np.testing.assert_allclose(components @ components.T, np.eye(k), atol=1e-10)
    held = np.trace(components @ covariance @ components.T)
    assert held >= 0.99999 * variances[:k].sum()
    np.testing.assert_allclose(values, np.diag(components @ covariance @ components.T), rtol=1e-8)


def test_leading_falls_back_to_all_eigenvectors(monkeypatch):
    monkeypatch.setattr(fit, "_SETTLED", 0)
    monkeypatch.setattr(fit, "_MOST_ITERATIONS", 2)
    variances = np.linspace(1, 0.9, 100)
    values, components = fit.leading(torch.diag(torch.from_numpy(variances)), 3)
    np.testing.assert_allclose(values, variances[:3], rtol=1e-12)
    np.testing.assert_allclose(np.abs(components), np.eye(100)[:3], atol=1e-6)


def test_more_than_2048_columns():
    """The way that such rows really go: of noise, whose spectrum is flat."""
    rows = np.random.default_rng(0).normal(size=(200, 2100)).astype(np.float32) + 5
    found = fit_projection(lambda: [rows], 10)
    exact = PCA(10, svd_solver="full").fit(rows)
    np.testing.assert_allclose(found.components @ found.components.T, np.eye(10), atol=1e-5)
    centred = rows - rows.mean(axis=0, dtype=np.float64)
    held = np.square(centred @ found.components.T.astype(np.float64)).sum() / (len(rows) - 1)
    assert held >= 0.9999 * exact.explained_variance_.sum()
    assert found.variance.sum() == pytest.approx(held, rel=1e-5)


@pytest.mark.parametrize("method", ["covariance", "sketch"])
def test_looking_at_what_was_learned_so_far_changes_nothing(method):
    rows = low_rank(noise=0.5)
    looked, other = (StreamingPCA(4, method=method) for _ in range(2))
    for part in np.split(rows, [200, 450]):
        other.partial_fit(part)
        looked.partial_fit(part)
        assert looked.components_.shape == (4, 300)
    np.testing.assert_allclose(looked.explained_variance_, other.explained_variance_, rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.sum(looked.components_ * other.components_, axis=1)), 1, atol=1e-4)


@pytest.mark.parametrize("method", ["covariance", "sketch"])
def test_where_there_is_no_float64_the_cpu_learns(method, monkeypatch):
    rows = low_rank(noise=0.5)
    expected = fit_projection(cut(rows), 4, method=method)
    monkeypatch.setattr(fit, "resolve_device", lambda name: torch.device("mps"))
    assert np.array_equal(fit_projection(cut(rows), 4, method=method).components, expected.components)
    assert StreamingPCA(4, method=method).partial_fit(rows).components_.shape == (4, 300)


@pytest.mark.parametrize("method", ["covariance", "sketch"])
def test_too_few_rows_are_refused_before_they_are_read(method):
    read = []

    def blocks():
        for block in np.split(low_rank(10, 30), 5):
            read.append(len(block))
            yield block

    with pytest.raises(InputError, match="cannot be learned from 10 rows of 30 features: give 10 or less"):
        fit_projection(blocks, 11, method=method, n_rows=10)
    assert read == [2]  # to know how long they are


def test_a_card_is_of_one_projection_only():
    """Of all components the share of variance is 1, whatever they are."""
    one, other = (fit_projection(cut(low_rank(60, 8, rank=8, seed=seed)), 8) for seed in (0, 1))
    assert one.card() | {"sha256": ""} == other.card() | {"sha256": ""}
    assert one.card() != other.card()
    again = fit_projection(cut(low_rank(60, 8, rank=8), 7), 8)
    assert again.card() == one.card()
    cards = [one.card(), one.first(3).card(), one.first(3, whiten=True).card(), one.first(8, whiten=True).card()]
    assert len({card["sha256"] for card in cards}) == 4


def test_a_file_keeps_the_card(tmp_path):
    learned = fit_projection(cut(low_rank()), 6, whiten=True)
    learned.save(tmp_path / "p.safetensors")
    assert Projection.load(tmp_path / "p.safetensors").card() == learned.card()


def saved(path, change, **tensors):
    """A file of a projection, with some tensors changed."""
    from safetensors.torch import load_file, save_file

    fit_projection(cut(low_rank(60, 8, rank=8)), 3).save(path)
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    found = load_file(path)
    save_file(
        {name: change(t) if name in tensors.get("only", found) else t for name, t in found.items()}, path, metadata
    )
    return path


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_file_of_another_precision_is_read(dtype, tmp_path):
    again = Projection.load(saved(tmp_path / "p.safetensors", lambda tensor: tensor.to(dtype)))
    assert (again.mean.dtype, again.components.dtype, again.variance.dtype) == (np.float32, np.float32, np.float64)
    rows = low_rank(60, 8, rank=8)
    expected = fit_projection(cut(rows), 3).transform(rows)
    np.testing.assert_allclose(again.transform(rows), expected, atol=1e-4 if dtype.itemsize >= 4 else 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor.int(), "is int32"),
        (lambda tensor: torch.full_like(tensor, torch.nan), "has NaN or infinite numbers"),
        (lambda tensor: tensor[:2], "do not go together|not enough values"),
    ],
)
@pytest.mark.parametrize("name", ["mean", "components", "scale", "variance"])
def test_a_file_of_no_numbers_is_refused(name, change, message, tmp_path):
    path = saved(tmp_path / "p.safetensors", change, only=[name])
    with pytest.raises(InputError, match=f"holds no projection .*({message})"):
        Projection.load(path)


def test_where_a_projection_lies(tmp_path, monkeypatch):
    """One rule for all options: itself, beside a file, or in a folder."""
    monkeypatch.chdir(tmp_path)
    learned = fit_projection(cut(low_rank(60, 8, rank=8)), 3)
    (tmp_path / "folder.v2").mkdir()
    np.save("f.npy", np.ones((2, 3)))
    np.save("bare.npy", np.ones((2, 3)))
    for name in ("p.safetensors", "f.projection.safetensors", "folder.v2/projection.safetensors"):
        learned.save(name)
    for named, expected in (
        ("p.safetensors", "p.safetensors"),
        ("f.npy", "f.projection.safetensors"),
        ("folder.v2", "folder.v2/projection.safetensors"),
        ("bare.npy", None),
    ):
        assert find_projection(Path(named)) == (None if expected is None else Path(expected))
    with pytest.raises(InputError, match=r"--pca-from bare.npy: there is no bare.projection.safetensors"):
        projection_of(Path("bare.npy"), "--pca-from")
    with pytest.raises(InputError, match=r"--pca-from none does not exist"):
        find_projection(Path("none"), "--pca-from")


def test_what_transform_keeps_is_not_pickled():
    learned = fit_projection(cut(low_rank()), 6)
    before = pickle.dumps(learned)
    expected = learned.transform(low_rank())
    assert len(pickle.dumps(learned)) == len(before)
    assert np.array_equal(pickle.loads(pickle.dumps(learned)).transform(low_rank()), expected)
    assert learned._tensors[2] is learned._tensors[2]  # padded once, not at every call
