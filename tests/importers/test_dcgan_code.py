"""The DCGAN authors' arrays, against their network written out in NumPy: Theano's convolution and batch norm."""

import copy
import io
import json
import os
import pickle
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from ganfeat import DCGAN, FeatureExtractor, InputError, load
from ganfeat.checkpoint import RunFolder
from ganfeat.importers import import_dcgan_code
from ganfeat.importers.dcgan_code import _new_gan, detect, fill, read_arrays

EPSILON = 1e-8


# ---------------------------------------------------------------- their network, in float64


def _windows(k, stride, shape):
    """For each entry (u, v) of a kernel, the pixels of the padded image that it meets: those of a flipped kernel."""
    h, w = shape
    for u in range(k):
        for v in range(k):
            top, left = k - 1 - u, k - 1 - v
            yield (
                u,
                v,
                (..., slice(top, top + stride * (h - 1) + 1, stride), slice(left, left + stride * (w - 1) + 1, stride)),
            )


def theano_conv(x_NCHW, w_OCkk, stride):
    """``y[i, j] = sum w[u, v] x[stride i + p - u, stride j + p - v]``, p centring the kernel."""
    k = w_OCkk.shape[2]
    p = k // 2
    padded = np.pad(x_NCHW, ((0, 0), (0, 0), (p, p), (p, p)))
    shape = tuple((s + 2 * p - k) // stride + 1 for s in x_NCHW.shape[2:])
    y = np.zeros((len(x_NCHW), len(w_OCkk), *shape))
    for u, v, place in _windows(k, stride, shape):
        y += np.einsum("nchw,oc->nohw", padded[place], w_OCkk[:, :, u, v], optimize=True)
    return y


def theano_deconv(y_NOHW, w_OCkk, stride):
    """The gradient of :func:`theano_conv` by its image, whose sides are ``stride`` times those of y."""
    k = w_OCkk.shape[2]
    p = k // 2
    n, _, h, w = y_NOHW.shape
    padded = np.zeros((n, w_OCkk.shape[1], stride * h + 2 * p, stride * w + 2 * p))
    for u, v, place in _windows(k, stride, (h, w)):
        padded[place] += np.einsum("nohw,oc->nchw", y_NOHW, w_OCkk[:, :, u, v], optimize=True)
    return padded[:, :, p : p + stride * h, p : p + stride * w]


def batch_norm(x, gain, bias):
    """By the statistics of the batch, per unit or per map."""
    axes, shape = ((0,), (1, -1)) if x.ndim == 2 else ((0, 2, 3), (1, -1, 1, 1))
    mean = x.mean(axes, keepdims=True)
    variance = np.square(x - mean).mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + EPSILON) * gain.reshape(shape) + bias.reshape(shape)


def their_discriminator(arrays, x_NCHW, strides):
    """All activations, and the logit."""
    w, *rest, wy = (a.astype(np.float64) for a in arrays)
    activations = []
    x = theano_conv(x_NCHW, w, strides[0])
    for i in range(len(strides)):
        if i:
            w, g, b = rest[3 * i - 3 : 3 * i]
            x = batch_norm(theano_conv(x, w, strides[i]), g, b)
        x = np.where(x > 0, x, 0.2 * x)
        activations.append(x)
    return activations, (x.reshape(len(x), -1) @ wy)[:, 0]


def their_generator(arrays, z_ND, strides):
    """Pictures in [-1, 1]."""
    *hidden, wx = (a.astype(np.float64) for a in arrays)
    w, g, b = hidden[:3]
    x = np.maximum(batch_norm(z_ND @ w, g, b), 0).reshape(len(z_ND), -1, 4, 4)
    for i, stride in enumerate(strides[:-1], 1):
        w, g, b = hidden[3 * i : 3 * i + 3]
        x = np.maximum(batch_norm(theano_deconv(x, w, stride), g, b), 0)
    return np.tanh(theano_deconv(x, wx, strides[-1]))


def test_the_convolution_is_scipys_and_the_transposed_one_its_adjoint():
    """scipy's flips, too; and <conv(x), y> = <x, deconv(y)> for all x and y."""
    rng = np.random.default_rng(0)
    for k, stride in ((5, 2), (3, 1), (3, 2)):
        x, w = rng.normal(size=(2, 3, 8, 8)), rng.normal(size=(4, 3, k, k))
        y = theano_conv(x, w, stride)
        whole = sum(convolve2d(x[1, c], w[2, c], mode="same") for c in range(3))
        np.testing.assert_allclose(y[1, 2], whole[::stride, ::stride], rtol=1e-12, atol=1e-12)
        other = rng.normal(size=y.shape)
        np.testing.assert_allclose((y * other).sum(), (x * theano_deconv(other, w, stride)).sum(), rtol=1e-10)


# ---------------------------------------------------------------- arrays of theirs, or of their shapes


@pytest.fixture(scope="module")
def svhn():
    """The released arrays of the SVHN network, or a skip that says why."""
    beside = Path(os.environ.get("GANFEAT_DATA", Path(__file__).parents[2] / "../shared/data")).parent / "weights"
    folder = Path(os.environ.get("GANFEAT_WEIGHTS", beside)) / "dcgan_code_svhn"
    if not folder.is_dir():
        pytest.skip(f"the authors' weights are not at {folder}; set GANFEAT_WEIGHTS to the folder of dcgan_code_svhn")
    return folder


def write(folder, d_maps, g_maps, kernel_size, n_components=5, epoch="200_", seed=0):
    """Random arrays in their shapes: maps of D from the image on, of G from z on."""
    rng = np.random.default_rng(seed)

    def draw(*shape, centre=0.0, scale=0.2):
        return rng.normal(centre, scale, shape).astype(np.float32)

    def norm(n):
        return [draw(n, centre=1.0), draw(n)]

    k = kernel_size
    d = [draw(d_maps[1], d_maps[0], k, k)]
    for before, after in pairwise(d_maps[1:]):
        d += [draw(after, before, k, k), *norm(after)]
    d.append(draw(16 * d_maps[-1], 1))
    g = [draw(n_components, 16 * g_maps[0]), *norm(16 * g_maps[0])]
    for before, after in pairwise(g_maps):
        g += [draw(before, after, k, k), *norm(after)]
    g.append(draw(g_maps[-1], d_maps[0], k, k))
    folder.mkdir(parents=True, exist_ok=True)
    for name, arrays in (("discrim", d), ("gen", g)):
        for i, array in enumerate(arrays, 1):
            np.save(folder / f"{epoch}{name}_params.jl_{i:02d}.npy", array)
        (folder / f"{epoch}{name}_params.jl").write_bytes(b"never opened")
    return folder


def small(folder, **changes):
    """Two layers: images of 16 x 16."""
    return write(folder, [1, 2, 4], [4, 2], 3, **changes)


@pytest.fixture
def folder(tmp_path):
    return small(tmp_path / "arrays")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    return import_dcgan_code(small(tmp_path_factory.mktemp("weights") / "arrays"), seed=3)


def filled(released):
    """The networks with batch statistics, as the authors used them."""
    image_shape, settings = detect(released)
    gan = _new_gan(image_shape, settings, seed=0)
    fill(gan, released)
    return image_shape, settings, gan.train()


def activations_of(discriminator, x_NCHW):
    found = []
    for block in discriminator.blocks:
        x_NCHW = block(x_NCHW)
        found.append(x_NCHW)
    return found


def assert_equal_to_theirs(released, n):
    """All of D's activations, its logit, and G's pictures, to 1e-4 of each array's size."""
    _, settings, gan = filled(released)
    _, latent = next(iter(released.generator.items()))
    rng = np.random.default_rng(1)
    z = rng.normal(size=(n, latent.shape[0])).astype(np.float32)
    down = [1, 2] * (len(gan.discriminator.blocks) // 2) if settings["convs_per_scale"] == 2 else [2] * 3
    pictures = their_generator(released.generator.values(), z, down[::-1])
    ours = gan.generator(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(ours, pictures, atol=1e-4)
    x = pictures.astype(np.float32)
    activations, logit = their_discriminator(released.discriminator.values(), x.astype(np.float64), down)
    found = activations_of(gan.discriminator, torch.from_numpy(x))
    assert len(found) == len(activations)
    for mine, theirs in zip(found, activations, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, atol=1e-4 * np.abs(theirs).max())
    np.testing.assert_allclose(
        gan.discriminator(torch.from_numpy(x)).numpy(), logit, atol=1e-4 * max(1, np.abs(logit).max())
    )


# ---------------------------------------------------------------- the same network


def test_the_released_svhn_network(svhn):
    released = read_arrays(svhn)
    image_shape, settings, gan = filled(released)
    assert released.epoch == "200" and image_shape == (32, 32, 3)
    assert settings == {
        "n_components": 100,
        "width": 64,
        "kernel_size": 5,
        "convs_per_scale": 1,
        "generator_maps": None,
        "norm_epsilon": 1e-8,
        "prior": "normal",
    }
    assert gan.discriminator.head.bias == 0
    assert_equal_to_theirs(released, 8)


def test_the_released_generator_draws_pictures_only_with_flipped_kernels(svhn):
    """A crop of a photograph varies as much at its border as inside; unflipped, G leaves a flat frame.

    And D, as imported, takes what G draws as imported for far more real than what it draws unflipped.
    """
    _, _, gan = filled(read_arrays(svhn))
    z_ND = torch.randn(128, 100, generator=torch.Generator().manual_seed(0))
    unflipped = copy.deepcopy(gan.generator)
    for parameter in unflipped.parameters():
        if parameter.ndim == 4:
            parameter.copy_(parameter.flip(2, 3))
    at_border, logit = [], []
    for generator in (gan.generator, unflipped):
        x_NCHW = generator(z_ND)
        columns = x_NCHW.std((0, 1, 2))
        at_border.append(float(columns.min() / columns.max()))
        logit.append(float(gan.discriminator(x_NCHW).mean()))
    assert at_border[0] > 0.8 and at_border[1] < 0.3
    assert logit[0] > logit[1] + 5


@pytest.mark.parametrize(("width", "n", "features"), [(4, 6, 896), (128, 3, 28672)])
def test_the_six_layers_of_imagenet(width, n, features, tmp_path):
    """16 x (128 + 128 + 256 + 256 + 512 + 512) = 28,672 features at the authors' width."""
    maps = [width, width, 2 * width, 2 * width, 4 * width, 4 * width]
    released = read_arrays(write(tmp_path, [3, *maps], maps[::-1], 3, n_components=7, epoch="30_"))
    image_shape, settings, gan = filled(released)
    assert image_shape == (32, 32, 3)
    assert {k: settings[k] for k in ("width", "kernel_size", "convs_per_scale", "n_components", "prior")} == {
        "width": width,
        "kernel_size": 3,
        "convs_per_scale": 2,
        "n_components": 7,
        "prior": "uniform",
    }
    assert settings["generator_maps"] is None
    assert [block.conv.stride[0] for block in gan.discriminator.blocks] == [1, 2, 1, 2, 1, 2]
    assert_equal_to_theirs(released, n)
    sides = [a.shape[2] for a in activations_of(gan.discriminator, torch.zeros(2, 3, 32, 32))]
    assert sides == [32, 16, 16, 8, 8, 4]
    assert 16 * sum(maps) == features


def test_a_generator_of_other_maps_than_the_discriminators(tmp_path):
    maps = [6, 6, 5, 4, 3, 2]
    released = read_arrays(write(tmp_path, [3, 4, 4, 8, 8, 16, 16], maps, 3))
    _, settings, _ = filled(released)
    assert settings["generator_maps"] == tuple(maps)
    assert_equal_to_theirs(released, 6)


def test_four_layers_are_of_64_pixels_and_two_of_16(tmp_path):
    for d_maps, side in (([3, 2, 4], 16), ([3, 2, 4, 8, 16], 64)):
        released = read_arrays(write(tmp_path / str(side), d_maps, d_maps[:0:-1], 5))
        image_shape, settings = detect(released)
        assert image_shape == (side, side, 3) and settings["convs_per_scale"] == 1


# ---------------------------------------------------------------- the estimator


def test_the_imported_model_is_a_fitted_dcgan(imported):
    assert isinstance(imported, DCGAN) and imported.finished_ and imported.n_iter_ == 200
    images = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 1), dtype=np.uint8)
    features = imported.transform(images)
    assert features.shape == (9, 16 * (2 + 4)) and np.isfinite(features).all()
    np.testing.assert_array_equal(imported.transform(images[4:5])[0], features[4])
    pictures = imported.sample(5, random_state=0)
    assert pictures.shape == (5, 16, 16, 1) and pictures.dtype == np.uint8
    assert imported.precision_ == "fp32"


def test_the_svhn_network_has_7168_features_also_with_frozen_statistics(svhn):
    """Recalibrated on one batch, evaluation is training's arithmetic, but for n / (n - 1) in the variance."""
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    _, _, gan = filled(read_arrays(svhn))
    features = FeatureExtractor(gan.discriminator, bn="recalibrate", precision="fp32").fit(images).transform(images)
    assert features.shape == (16, 7168)
    x_NCHW = images.transpose(0, 3, 1, 2) / 127.5 - 1
    activations, _ = their_discriminator(read_arrays(svhn).discriminator.values(), x_NCHW, [2, 2, 2])
    n = 16 * 4 * 4  # of the last layer, where it is smallest
    start = 0
    for maps in activations:
        pooled = maps.reshape(16, len(maps[0]), 4, maps.shape[2] // 4, 4, -1).max((3, 5)).reshape(16, -1)
        found = features[:, start : start + pooled.shape[1]]
        np.testing.assert_allclose(found, pooled, atol=2 / n * np.abs(pooled).max())
        start += pooled.shape[1]
    assert start == 7168


def test_the_untrained_twin_is_the_seeds_network_with_statistics_on_the_same_images(folder):
    images = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 1), dtype=np.uint8)
    gan = import_dcgan_code(folder, images=images, seed=5)
    twin = gan.random_init()
    fresh = gan.random_init(images, random_state=5)
    for a, b in zip(twin.discriminator_.parameters(), fresh.discriminator_.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not np.allclose(twin.transform(images), gan.transform(images))
    np.testing.assert_allclose(twin.transform(images), fresh.transform(images), rtol=1e-5, atol=1e-5)


def test_statistics_follow_the_seed_and_the_images(folder, imported):
    """Weights do not; G's statistics depend on the seed alone."""
    again = import_dcgan_code(folder, seed=3).objective_.state_dict()
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 1), dtype=np.uint8)
    on_images = import_dcgan_code(folder, seed=3, images=images)
    other_seed = import_dcgan_code(folder, seed=4, images=images).objective_.state_dict()
    for key, value in imported.objective_.state_dict().items():
        assert torch.equal(again[key], value), key
        if key.endswith(("weight", "bias")):
            assert torch.equal(other_seed[key], value), key
        elif key.startswith("generator") and "running" in key:
            assert torch.equal(on_images.objective_.state_dict()[key], value), key
            assert not torch.equal(other_seed[key], value), key
        elif "running" in key:
            assert not torch.equal(on_images.objective_.state_dict()[key], value), key


def test_statistics_of_the_generators_own_pictures(imported):
    """D's first batch norm sees the mean over G's pictures of what its convolution gives, within its sampling error."""
    x = imported.sample(4000, random_state=1).transpose(0, 3, 1, 2) / 127.5 - 1
    first, second = imported.discriminator_.blocks
    maps = second.conv(first(torch.from_numpy(x).float()))
    means = maps.mean((2, 3))
    error = means.std(0) / 4000**0.5 + means.std(0) / 12800**0.5
    assert ((means.mean(0) - second.norm.running_mean).abs() < 5 * error).all()


def test_saved_loaded_and_saved_again(imported, tmp_path):
    imported.save(tmp_path / "run")
    gan = load(tmp_path / "run")
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 1), dtype=np.uint8)
    for a, b in ((gan, imported), (gan.random_init(), imported.random_init())):
        np.testing.assert_array_equal(a.transform(images), b.transform(images))
    np.testing.assert_array_equal(gan.sample(3, random_state=0), imported.sample(3, random_state=0))
    assert gan.finished_ and gan.n_iter_ == 200
    card = (tmp_path / "run" / "README.md").read_text()
    assert "Imported from the arrays 200_* of dcgan_code" in card and "12,800 pictures of G's own" in card
    gan.save(tmp_path / "again")
    imported.save(tmp_path / "run")  # the same model: nothing is refused
    one, two = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("run", "again"))
    assert one == two and one["data"]["statistics"]["discriminator"] == "12,800 pictures of G's own"


def test_it_cannot_be_trained_on(imported, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 1), dtype=np.uint8)
    imported.save(tmp_path / "run")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    gan = load(tmp_path / "run")
    with pytest.raises(InputError, match="imported weights"):
        gan.fit(images, run=tmp_path / "run")
    with pytest.raises(InputError, match="without the state of its optimisers"):
        load(tmp_path / "run").partial_fit(images)
    assert {p: p.read_bytes() for p in before} == before


def test_fitted_anew_it_is_no_longer_imported(folder, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 1), dtype=np.uint8)
    gan = import_dcgan_code(folder, images=images).set_params(max_iter=1, batch_size=4).fit(images)
    gan.save(tmp_path / "run")
    assert RunFolder(tmp_path / "run").config()["data"] == {}


# ---------------------------------------------------------------- which files


def test_the_newest_epoch_is_taken_or_the_one_asked_for(folder):
    small(folder, epoch="30_", seed=1)
    assert read_arrays(folder).epoch == "200"
    assert read_arrays(folder, 30).epoch == read_arrays(folder, "30").epoch == "30"
    with pytest.raises(InputError, match=r"no epoch 7: it has 200, 30"):
        read_arrays(folder, 7)
    small(folder, epoch="best_", seed=1)
    with pytest.raises(InputError, match="several networks: choose one with --epoch"):
        read_arrays(folder)
    assert read_arrays(folder, "best").epoch == "best"


def test_any_beginning_of_the_names_will_do(tmp_path):
    for i, epoch in enumerate(("", "x_y_")):
        gan = import_dcgan_code(small(tmp_path / str(i), epoch=epoch), images=np.zeros((4, 16, 16, 1), np.uint8))
        assert gan.n_iter_ == 1


def test_double_precision_big_endian_and_fortran_order_are_read(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for path in other.glob("*.npy"):
        np.save(path, np.asfortranarray(np.load(path).astype(">f8")))
    _, _, one = filled(read_arrays(folder))
    _, _, two = filled(read_arrays(other))
    for (key, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


D, G = "200_discrim_params.jl_", "200_gen_params.jl_"


def _npz(path):
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    path.write_bytes(buffer.getvalue())


def _with(array, index, value):
    array = array.copy()
    array[index] = value
    return array


DAMAGES = {
    "a gap": (f"{G}03", lambda p: p.unlink(), rf"{G}03.npy is missing"),
    "the last of G": (f"{G}07", lambda p: p.unlink(), rf"{G}07.npy is missing"),
    "the last of D": (f"{D}05", lambda p: p.unlink(), rf"{D}05.npy is missing"),
    "the first of D": (f"{D}01", lambda p: p.unlink(), rf"{D}01.npy is missing"),
    "a folder in its place": (f"{D}02", lambda p: (p.unlink(), p.mkdir()), rf"{D}02.npy is missing"),
    "truncated": (f"{G}04", lambda p: p.write_bytes(p.read_bytes()[:-8]), rf"{G}04.npy is truncated"),
    "its header truncated": (f"{G}04", lambda p: p.write_bytes(p.read_bytes()[:50]), rf"{G}04.npy is truncated"),
    "empty": (f"{G}04", lambda p: p.write_bytes(b""), rf"{G}04.npy is truncated"),
    "text": (f"{D}02", lambda p: p.write_text("weights"), rf"{D}02.npy is truncated"),
    "a pickle": (f"{D}02", lambda p: p.write_bytes(pickle.dumps([1.0])), rf"{D}02.npy .*pickles are never opened"),
    "an archive": (f"{D}02", _npz, rf"{D}02.npy is truncated"),
    "objects": (f"{D}03", lambda p: np.save(p, np.array([{}, None])), rf"{D}03.npy .*pickles are never opened"),
    "whole numbers": (f"{D}03", lambda p: np.save(p, np.ones(4, int)), rf"{D}03.npy is of dtype int64"),
    "no values": (f"{D}03", lambda p: np.save(p, np.ones(0)), rf"{D}03.npy"),
    "a scalar": (f"{D}03", lambda p: np.save(p, np.float32(1)), rf"{D}03.npy has shape \(\), expected \(4,\)"),
    "NaN": (f"{D}03", lambda p: np.save(p, _with(np.load(p), 1, np.nan)), rf"{D}03.npy has NaN or infinite"),
    "too large": (f"{D}03", lambda p: np.save(p, _with(np.load(p).astype(float), 1, 1e40)), rf"{D}03.npy has NaN"),
    "a vector for a kernel": (f"{D}01", lambda p: np.save(p, np.ones(4)), rf"{D}01.npy has shape \(4,\), expected"),
    "an oblong kernel": (f"{D}02", lambda p: np.save(p, np.ones((4, 2, 3, 5))), rf"{D}02.npy has shape"),
    "an even kernel": (f"{D}01", lambda p: np.save(p, np.ones((2, 1, 4, 4))), "kernel_size=4 must be odd"),
    "another kernel": (f"{D}02", lambda p: np.save(p, np.ones((4, 2, 5, 5))), r"expected \(4, 2, 3, 3\)"),
    "other maps of D": (f"{D}02", lambda p: np.save(p, np.ones((5, 2, 3, 3))), rf"{D}02.npy .* \(4, 2, 3, 3\)"),
    "other maps of G": (f"{G}04", lambda p: np.save(p, np.ones((3, 2, 3, 3))), rf"{G}01.npy .* expected \(5, 48\)"),
    "a short gain": (f"{G}02", lambda p: np.save(p, np.ones(63)), rf"{G}02.npy has shape \(63,\), expected \(64,\)"),
    "a head of other maps": (f"{D}05", lambda p: np.save(p, np.ones((60, 1))), rf"{D}05.npy .* expected \(64, 1\)"),
    "a flat head": (f"{D}05", lambda p: np.save(p, np.ones(64)), rf"{D}05.npy has shape \(64,\), expected"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_missing_or_damaged_is_refused_by_name(damage, folder):
    name, harm, message = DAMAGES[damage]
    harm(folder / f"{name}.npy")
    with pytest.raises(InputError, match=message):
        import_dcgan_code(folder)


def test_one_network_alone_is_refused(folder):
    for network, other in (("gen", "discriminator"), ("discrim", "generator")):
        alone = folder.parent / network
        alone.mkdir()
        for path in folder.glob(f"*{network}_params*"):
            shutil.copy(path, alone)
        with pytest.raises(InputError, match=f"_01.npy is missing: .* none of the {other}"):
            import_dcgan_code(alone)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        import_dcgan_code(tmp_path / "no")
    with pytest.raises(InputError, match=r"has no arrays of dcgan_code: .*200_gen_params.jl_01.npy"):
        import_dcgan_code(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder"):
        import_dcgan_code(tmp_path / "file")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"images": np.zeros((4, 8, 8, 1), np.uint8)}, "16x16x1"),
        ({"images": np.zeros((4, 16, 16, 1))}, "give uint8"),
        ({"images": np.zeros((4, 256), np.uint8)}, r"must be \(n, height, width, channels\)"),
        ({"images": np.zeros((1, 16, 16, 1), np.uint8)}, "at least 2"),
        ({"prior": "gaussian"}, "prior='gaussian' is not known"),
        ({"precision": "fp8"}, "precision='fp8' is not known"),
        ({"device": "tpu"}, "device='tpu' is not known"),
        ({"seed": -1}, "seed=-1"),
    ],
    ids=str,
)
def test_wrong_arguments(wrong, message, folder):
    with pytest.raises(InputError, match=message):
        import_dcgan_code(folder, **wrong)


# ---------------------------------------------------------------- the same layout, trained here


def test_the_authors_layout_is_trained_saved_and_loaded(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
    settings = {"width": 2, "kernel_size": 3, "convs_per_scale": 2, "generator_maps": (7, 5, 4, 3)}
    gan = DCGAN(**settings, norm_epsilon=1e-4, n_components=3, max_iter=1, batch_size=8, random_state=0).fit(images)
    gan.save(tmp_path / "run")
    again = load(tmp_path / "run")
    assert {k: getattr(again, k) for k in settings} == settings and again.norm_epsilon == 1e-4
    np.testing.assert_array_equal(again.transform(images), gan.transform(images))
    np.testing.assert_array_equal(again.sample(3, random_state=0), gan.sample(3, random_state=0))
    assert gan.transform(images).shape == (16, 16 * (2 + 2 + 4) + 4 * 4)


def test_a_run_that_is_older_than_the_layout_goes_on(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
    settings = {"width": 2, "n_components": 3, "batch_size": 8, "random_state": 0}
    DCGAN(**settings, max_iter=1).fit(images, run=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    for name in ("convs_per_scale", "generator_maps", "norm_epsilon"):
        del config["estimator"][name]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert load(tmp_path / "run").convs_per_scale == 1
    with pytest.raises(InputError, match="convs_per_scale"):
        DCGAN(**settings, max_iter=2, convs_per_scale=2).fit(images, run=tmp_path / "run")
    assert DCGAN(**settings, max_iter=2).fit(images, run=tmp_path / "run").n_iter_ == 2
