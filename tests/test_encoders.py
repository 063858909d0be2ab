"""BiGAN, ALI, latent regressors and autoencoders as scikit-learn estimators."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from ganfeat import ALI, DCGAN, AutoEncoder, BiGAN, FeatureExtractor, InputError, LatentRegressor, LinearSVM, load
from ganfeat.config import suggest
from ganfeat.estimators import METHODS

ENCODERS = [BiGAN, ALI, LatentRegressor, AutoEncoder]
GAMES = [BiGAN, ALI, LatentRegressor]
SMALL = {"architecture": "mlp", "width": 8, "n_components": 4, "max_iter": 1, "batch_size": 16}

DIGITS = load_digits()
IMAGES = np.round(DIGITS.images[..., None] * 255 / 16).astype(np.uint8)
FEW = IMAGES[:64]


@parametrize_with_checks(
    [kind(image_shape=(1, -1, 1), **{**SMALL, "n_components": 2}, random_state=0) for kind in ENCODERS]
)
def test_scikit_learn_compatible(estimator, check):
    check(estimator)


def small(kind, **changes):
    return kind(**{**SMALL, "random_state": 0, **changes})


@pytest.fixture(scope="module", params=ENCODERS, ids=lambda kind: kind.method)
def fitted(request):
    return small(request.param).fit(FEW)


@pytest.fixture(scope="module", params=GAMES, ids=lambda kind: kind.method)
def game(request):
    """A convolutional one with an encoder and a discriminator, trained enough to differ from its untrained twin."""
    return small(request.param, architecture="conv", width=4, pool=2, learning_rate=0.01).fit(FEW)


def assert_same(a, b):
    theirs = b.objective_.state_dict()
    assert a.objective_.state_dict().keys() == theirs.keys()
    for name, value in a.objective_.state_dict().items():
        assert torch.equal(value, theirs[name]), name


# ---------------------------------------------------------------- encode, draw, reconstruct


def test_features_latents_and_reconstructions_are_one_anothers(fitted):
    z = fitted.transform(FEW)
    assert z.shape == (64, 4) and z.dtype == np.float32
    assert np.array_equal(z, fitted.encode(FEW))
    assert np.array_equal(fitted.inverse_transform(z), fitted.reconstruct(FEW))
    assert np.array_equal(fitted.generate(z), fitted.inverse_transform(z))
    assert fitted.reconstruct(FEW).shape == FEW.shape and fitted.reconstruct(FEW).dtype == np.uint8


def test_transform_is_the_encoder_itself():
    """In float32, against a plain forward pass on the formula for pixels."""
    for kind in ENCODERS:
        model = small(kind, precision="fp32").fit(FEW)
        with torch.no_grad():
            expected = model.encoder_(torch.from_numpy(FEW.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2))
        np.testing.assert_allclose(model.transform(FEW), expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ENCODERS)
def test_latents_have_the_range_of_their_prior(kind):
    """Extreme weights make extreme outputs: bounded for U(-1, 1), and not for N(0, 1)."""
    for prior in ("uniform", "normal"):
        model = small(kind, prior=prior).fit(FEW)
        model.encoder_.head.weight.mul_(1e3)
        model.set_params(taps="output")
        model._extractor = None
        z = model.transform(FEW)
        assert (np.abs(z).max() <= 1) == (prior == "uniform")


def test_rows_images_and_lists_of_the_same_pixels_give_the_same(fitted):
    z = fitted.transform(FEW)
    for same in (FEW[..., 0], FEW.reshape(64, -1), FEW.reshape(64, -1).tolist()):
        given = np.asarray(same, np.uint8) if isinstance(same, list) else same
        assert np.array_equal(fitted.transform(given), z)
        assert np.array_equal(fitted.reconstruct(given), fitted.reconstruct(FEW))
        assert fitted.reconstruction_error(given) == fitted.reconstruction_error(FEW)


@pytest.mark.parametrize("kind", ENCODERS)
def test_floats_come_back_in_their_own_range(kind):
    """Rows of 0..16, and shifted: the same model, pictures in the units of the data, distances in those of [0, 1]."""
    rows = DIGITS.data[:64]
    model, moved = small(kind, precision="fp32").fit(rows), small(kind, precision="fp32").fit(rows * 3 - 7)
    again = model.reconstruct(rows)
    assert again.shape == (64, 8, 8, 1) and again.dtype == np.float32
    assert again.min() >= 0 and again.max() <= 16
    np.testing.assert_allclose(moved.reconstruct(rows * 3 - 7), again * 3 - 7, atol=1e-2)
    np.testing.assert_allclose(moved.transform(rows * 3 - 7), model.transform(rows), atol=1e-3)
    distances = np.linalg.norm((again.reshape(64, -1) - rows) / 16, axis=1)
    assert model.reconstruction_error(rows)["error"] == pytest.approx(distances.mean(), rel=1e-5)


def test_the_error_and_its_baseline(fitted):
    """By hand; every image meets another one's reconstruction, each of them once."""
    again = fitted.reconstruct(FEW) / 255.0
    found = fitted.reconstruction_error(FEW, random_state=3)
    own = np.sqrt(((FEW / 255.0 - again) ** 2).sum((1, 2, 3)))
    assert found["error"] == pytest.approx(own.mean(), rel=1e-5)
    two = fitted.reconstruction_error(FEW[:2])["shuffled"]
    crossed = [np.sqrt(((FEW[i] / 255.0 - again[1 - i]) ** 2).sum()) for i in (0, 1)]
    assert two == pytest.approx(np.mean(crossed), rel=1e-5)
    assert found == fitted.reconstruction_error(FEW, random_state=3)
    with pytest.raises(InputError, match="at least 2"):
        fitted.reconstruction_error(FEW[:1])


@pytest.mark.parametrize("z", [np.zeros(4), np.zeros((2, 5)), np.zeros((2, 3)), np.zeros((2, 4, 1)), 0.0])
def test_latents_of_a_wrong_shape(fitted, z):
    with pytest.raises(InputError, match=r"z must be \(n, 4\)"):
        fitted.inverse_transform(z)


def test_latents_that_are_not_finite(fitted):
    with pytest.raises(InputError, match="NaN"):
        fitted.inverse_transform(np.full((2, 4), np.nan))
    assert fitted.inverse_transform(np.zeros((0, 4))).shape == (0, 8, 8, 1)


def test_other_images_than_those_fitted_on(fitted):
    for verb in ("transform", "encode", "reconstruct", "reconstruction_error"):
        with pytest.raises(InputError, match="8x8x1"):
            getattr(fitted, verb)(np.zeros((3, 16, 16, 1), np.uint8))
        with pytest.raises(InputError, match="give it the same kind"):
            getattr(fitted, verb)(FEW / 255.0)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("verb", ["transform", "encode", "reconstruct", "inverse_transform", "reconstruction_error"])
def test_not_fitted_yet(kind, verb):
    with pytest.raises(NotFittedError):
        getattr(small(kind), verb)(FEW)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("architecture", ["conv", "mlp"])
def test_a_smaller_generator(kind, architecture):
    """E sees 16 x 16, G draws 8 x 8: errors are taken at G's size, on means over areas."""
    images = np.repeat(np.repeat(FEW, 2, axis=1), 2, axis=2)
    model = small(kind, architecture=architecture, width=4, generator_size=8).fit(images)
    assert model.image_shape_ == (16, 16, 1) and model.transform(images).shape == (64, 4)
    again = model.reconstruct(images)
    assert again.shape == (64, 8, 8, 1) and model.sample(3).shape == (3, 8, 8, 1)
    distances = np.linalg.norm((again.reshape(64, -1) / 255.0 - FEW.reshape(64, -1) / 255.0), axis=1)
    assert model.reconstruction_error(images)["error"] == pytest.approx(distances.mean(), rel=1e-4)
    if kind is not AutoEncoder:
        assert len(model.extractor("discriminator").transform(images)) == 64


# ---------------------------------------------------------------- which network, which layer


def test_names_of_the_layers(fitted):
    assert fitted.get_feature_names_out().tolist() == [f"output[{i}]" for i in range(4)]
    for taps, names in (
        ("trunk", ["trunk"]),
        (0, ["trunk.1.linear:activation"]),
        (-1, ["trunk.2.linear:activation"]),
        ("all", ["trunk.1.linear:activation", "trunk.2.linear:activation"]),
        (["output", 0], ["output", "trunk.1.linear:activation"]),
    ):
        extractor = fitted.extractor(taps=taps)
        assert [tap.name for tap in extractor.taps_] == names
        assert extractor.n_features_out_ == len(extractor.get_feature_names_out())


def test_the_trunk_is_the_last_hidden_layer_of_either_network(game):
    """And D's output its logit."""
    for network in ("encoder", "discriminator"):
        trunk, last, every = (
            game.extractor(network, taps=taps, pool=None).transform(FEW) for taps in ("trunk", -1, "all")
        )
        assert np.array_equal(trunk, last)
        assert np.array_equal(every[:, -trunk.shape[1] :], trunk)
    logits = game.extractor("discriminator", taps="output")
    assert logits.transform(FEW).shape == (64, 1)
    rows = game.extractor("discriminator", taps=["output", "trunk"]).transform(FEW)
    assert np.array_equal(rows[:, :1], logits.transform(FEW))


def test_a_joint_discriminator_sees_the_encoders_z(game):
    """Its logit on an image is D(x, E(x)), of a latent regressor's D(x)."""
    game = clone(game).set_params(precision="fp32", max_iter=1).fit(FEW)
    x = torch.from_numpy(FEW.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        arguments = (x,) if isinstance(game, LatentRegressor) else (x, game.encoder_(x))
        expected = game.discriminator_(*arguments).numpy()
    found = game.extractor("discriminator", taps="output").transform(FEW)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("taps", ["output", "trunk", "all", -1, ["output", "0:conv"]])
@pytest.mark.parametrize("architecture", ["conv", "mlp"])
def test_taps_as_a_parameter(taps, architecture, tmp_path):
    model = small(BiGAN, architecture=architecture, width=4, taps=taps, pool=2).fit(FEW)
    rows = model.transform(FEW)
    assert rows.shape == (64, len(model.get_feature_names_out()))
    assert np.array_equal(rows, model.extractor().transform(FEW))
    assert model.extractor() is model.extractor()
    assert model.encode(FEW).shape == (64, 4)
    model.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").transform(FEW), rows)


def test_set_output_names_the_columns(fitted):
    pytest.importorskip("pandas")
    frame = clone(fitted).set_output(transform="pandas").fit(FEW.reshape(64, -1)).transform(FEW.reshape(64, -1))
    assert list(frame.columns) == [f"output[{i}]" for i in range(4)]
    assert np.array_equal(frame.to_numpy(), fitted.transform(FEW))


def test_a_network_that_is_not_there(fitted):
    with pytest.raises(InputError, match="generator"):
        fitted.extractor("generator")
    if isinstance(fitted, AutoEncoder):
        with pytest.raises(InputError, match="discriminator"):
            fitted.extractor("discriminator")
    with pytest.raises(InputError, match="0 to 1"):
        fitted.extractor(taps=2)
    with pytest.raises(InputError, match="no layer 'trnk'"):
        fitted.extractor(taps="trnk")


def test_a_feature_does_not_depend_on_batch_mates(game):
    """Bit for bit among other images; elsewhere in the batch up to float32's rounding, in a product's last rows."""
    order = np.random.default_rng(0).permutation(len(FEW))
    mates = 255 - FEW
    mates[7] = FEW[7]
    for network in ("encoder", "discriminator"):
        extractor = game.extractor(network, batch_size=10)
        rows = extractor.transform(FEW)
        assert np.array_equal(extractor.transform(mates)[7], rows[7])
        np.testing.assert_allclose(extractor.transform(FEW[order]), rows[order], rtol=0, atol=2e-6)
        np.testing.assert_allclose(extractor.transform(FEW[7:8]), rows[7:8], rtol=0, atol=2e-6)


def test_untrained_twins_of_encoder_and_discriminator(game, tmp_path):
    """The same weights from the run's memory, from a folder, and from images; others than the trained ones."""
    game.save(tmp_path / "model")
    twins = game.random_init(), load(tmp_path / "model").random_init(), game.random_init(FEW)
    for network in ("encoder", "discriminator"):
        trained, *found = (m.extractor(network, taps="all").transform(FEW) for m in (game, *twins))
        assert np.array_equal(found[0], found[1])
        assert np.array_equal(found[0][:, :16], found[2][:, :16])  # the first layer has no batch norm
        assert not np.allclose(trained, found[0], atol=1e-2)
    assert twins[0].n_iter_ == 0 and twins[0].history_ == []
    other = game.random_init(FEW, random_state=9)
    assert not np.allclose(other.encode(FEW), twins[0].encode(FEW), atol=1e-3)


def test_recalibrated_statistics_are_those_of_the_images(game):
    for network in ("encoder", "discriminator"):
        dark = game.extractor(network, taps="all", bn="recalibrate").fit(FEW // 2).transform(FEW)
        assert not np.array_equal(dark, game.extractor(network, taps="all").transform(FEW))
    expected = FeatureExtractor(game.encoder_, taps="all", pool=2, precision=game.precision_).fit(FEW).transform(FEW)
    assert np.array_equal(game.extractor(taps="all", bn="recalibrate").fit(FEW).transform(FEW), expected)


# ---------------------------------------------------------------- going on, files, pipelines


def test_partial_fit_is_warm_start(fitted):
    kind = type(fitted)
    twice = small(kind).partial_fit(FEW).partial_fit(FEW)
    warm = small(kind, warm_start=True).fit(FEW).fit(FEW)
    assert_same(twice, warm)
    assert_same(small(kind).partial_fit(FEW), fitted)
    assert not np.array_equal(twice.transform(FEW), fitted.transform(FEW))
    assert twice.n_iter_ == 2


@pytest.mark.parametrize("architecture", ["conv", "mlp"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_saving_and_loading_keep_every_bit(kind, architecture, tmp_path):
    model = small(kind, architecture=architecture, width=4, ema=0.9, random_state=5).fit(FEW)
    model.save(tmp_path / "model")
    other = load(tmp_path / "model")
    assert type(other) is kind
    assert_same(model, other)
    z = model.transform(FEW)
    for verb, given in (("transform", FEW), ("encode", FEW), ("reconstruct", FEW), ("inverse_transform", z)):
        assert getattr(model, verb)(given).tobytes() == getattr(other, verb)(given).tobytes(), verb
    assert model.reconstruction_error(FEW) == other.reconstruction_error(FEW)
    assert np.array_equal(model.sample(3, random_state=0), other.sample(3, random_state=0))
    assert {**other.get_params(), "augment": ()} == model.get_params()
    assert clone(other).fit(FEW).transform(FEW).tobytes() == z.tobytes()


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_run_folder_goes_on(kind, tmp_path):
    small(kind).fit(FEW, run=tmp_path / "run")
    on = small(kind, max_iter=2).fit(FEW, run=tmp_path / "run")
    assert_same(on, small(kind, max_iter=2).fit(FEW))
    assert_same(on, load(tmp_path / "run"))
    with pytest.raises(InputError, match="n_components: 4 -> 5"):
        small(kind, n_components=5, max_iter=2).fit(FEW, run=tmp_path / "run")


def test_the_card_says_how_to_use_the_model(fitted, tmp_path):
    """Its example runs as it stands."""
    fitted.save(tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    title = card.splitlines()[0]
    assert title.endswith("for 8 x 8 images of 1 channel(s)") and fitted.method.split("-")[0] in title.lower()
    code = card.split("```python\n")[1].split("```")[0].replace("this folder", str(tmp_path / "model"))
    names = {"images": FEW}
    exec(code, names)
    assert np.array_equal(names["features"], fitted.transform(FEW))
    assert np.array_equal(names["pictures"], fitted.reconstruct(FEW))


def test_clones_and_parameters():
    for kind in ENCODERS:
        model = small(kind, prior="normal", taps="trunk")
        assert clone(model).get_params() == model.get_params()
        assert METHODS[kind.method] is kind
    assert issubclass(ALI, BiGAN) and ALI().prior == "normal" and BiGAN().prior == "uniform"


def test_a_pipeline_from_images_to_labels():
    rows, y = DIGITS.data[:600], DIGITS.target[:600]
    for kind in (BiGAN, AutoEncoder):
        model = small(kind, width=32, n_components=16, max_iter=2, learning_rate=2e-3)
        pipe = make_pipeline(model, LinearSVM()).fit(rows[:400], y[:400])
        assert pipe.score(rows[400:], y[400:]) > 0.4  # chance is 0.1
        assert pipe[-1].n_features_in_ == 16


# ---------------------------------------------------------------- wrong parameters

WRONG = [
    (ENCODERS, "architecture", "resnet", "conv"),
    (ENCODERS, "architecture", None, "conv"),
    (ENCODERS, "prior", "cauchy", "normal, uniform"),
    (ENCODERS, "n_components", 0, "at least 1"),
    (ENCODERS, "n_components", 2.5, "whole number"),
    (ENCODERS, "width", 0, "at least 1"),
    (ENCODERS, "width", "wide", "whole number"),
    (ENCODERS, "generator_size", 0, "at least 1"),
    (ENCODERS, "generator_size", 16, "at most 8"),
    (ENCODERS, "norm_epsilon", 0.0, "above 0"),
    (ENCODERS, "kernel_size", 4, "odd"),
    (ENCODERS, "augment", ("rotate",), "translate"),
    (ENCODERS, "max_iter", 0, "at least 1"),
    (ENCODERS, "batch_size", 1, "at least 2"),
    (ENCODERS, "learning_rate", float("nan"), "learning_rate"),
    (ENCODERS, "beta1", 1.0, "beta"),
    (ENCODERS, "weight_decay", -1.0, "weight_decay"),
    (ENCODERS, "decay_iter", -1, "decay_iter"),
    (ENCODERS, "ema", 1.0, "ema"),
    (ENCODERS, "taps", "trnk", "no layer 'trnk'"),
    (ENCODERS, "at", "relu", "activation"),
    (ENCODERS, "pool", 0, "at least 1"),
    (ENCODERS, "pooling", "mean", "avg"),
    (ENCODERS, "precision", "fp8", "bf16"),
    (ENCODERS, "device", "tpu", "cpu"),
    (ENCODERS, "random_state", -1, "random_state"),
    (GAMES, "update_order", "random", "simultaneous, alternating"),
    ([LatentRegressor], "joint", -0.25, "at least 0"),
    ([AutoEncoder], "loss", "l3", "l1, l2"),
    ([AutoEncoder], "noise", -0.1, "at least 0"),
    ([AutoEncoder], "noise", "some", "a number"),
]


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [(kind, *rest) for kinds, *rest in WRONG for kind in kinds],
    ids=lambda value: getattr(value, "method", None),
)
def test_a_wrong_parameter_is_refused_before_any_training(kind, name, value, message, tmp_path):
    architecture = "conv" if name == "kernel_size" else "mlp"
    model = small(kind, **{"architecture": architecture, name: value})
    with pytest.raises(InputError, match=message):
        next(model.iter_fit(FEW, run=tmp_path / "run"))
    assert not hasattr(model, "history_") and list(tmp_path.iterdir()) == []
    if name not in ("taps", "at", "pool", "pooling") and value != 16:  # what does not depend on the images
        with pytest.raises(InputError, match=message):
            model.check_parameters()


def test_every_method_is_suggested_by_its_name():
    assert suggest("bigann", METHODS) == " (did you mean 'bigan'?)"
    assert set(METHODS) == {"dcgan", "bigan", "ali", "latent-regressor", "autoencoder", "mgan", "acgan", "catgan"}
    assert METHODS["dcgan"] is DCGAN


# ---------------------------------------------------------------- reconstructions mean something


def test_reconstructions_of_held_out_digits_are_recognised():
    """A classifier of training digits names held-out ones and their reconstructions nearly alike."""
    train, test = IMAGES[:1400], IMAGES[1400:]
    model = AutoEncoder(
        architecture="mlp", width=128, n_components=32, max_iter=30, learning_rate=2e-3, batch_size=64, random_state=0
    ).fit(train)
    errors = model.reconstruction_error(test)
    judge = KNeighborsClassifier(1).fit(train.reshape(len(train), -1), DIGITS.target[:1400])
    on_digits = judge.score(test.reshape(len(test), -1), DIGITS.target[1400:])
    on_reconstructions = judge.score(model.reconstruct(test).reshape(len(test), -1), DIGITS.target[1400:])
    untrained = model.random_init().reconstruction_error(test)
    assert errors["error"] < 0.5 * errors["shuffled"]
    assert untrained["error"] > 0.9 * untrained["shuffled"]
    assert on_reconstructions > on_digits - 0.1 > 0.8


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (BiGAN(agreement=1.0, views=("zoom",)), "views='zoom' is not known"),
        (BiGAN(views="zoom"), "views='zoom' is not known"),
        (BiGAN(agreement=1.0, views=()), "two equal views"),
        (LatentRegressor(regression=0), "nothing to learn"),
        (AutoEncoder(loss=["l2"]), "loss="),
        (AutoEncoder(architecture=["conv"]), "architecture="),
        (BiGAN(generator_size="8"), "generator_size='8'"),
        (BiGAN(max_iter=3, decay_iter=4), "decay_iter=4 must be at most max_iter=3"),
    ],
)
def test_settings_that_teach_nothing_or_do_not_exist_are_refused_before_images_are_read(model, says):
    with pytest.raises(InputError, match=says):
        model.check_parameters()


def test_an_untrained_network_needs_no_room_for_the_decay():
    rows = load_digits().data[:200]
    model = BiGAN(architecture="mlp", width=8, n_components=4, max_iter=2, decay_iter=2, random_state=0).fit(rows)
    model.set_params(max_iter=1)
    assert model.random_init(rows, random_state=1).transform(rows).shape == (200, 4)
    assert model.partial_fit(rows).n_iter_ == 3


def test_a_description_names_the_width_of_the_network_that_is_meant():
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 1)).astype(np.uint8)
    model = BiGAN(architecture="alexnet", width=8, n_components=4, max_iter=1, random_state=0).fit(images)
    assert "width 96" in model.describe("encoder") and "width 8" in model.describe("discriminator")
