"""DCGAN as a scikit-learn estimator: what it promises beyond what scikit-learn's own checks ask."""

import json
import random
import shutil

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from ganfeat import DCGAN, FeatureExtractor, ImageDataset, InputError, LinearSVM, load
from ganfeat.nets.batchnorm import batch_norms

SMALL = {"width": 4, "n_components": 4, "max_iter": 1, "batch_size": 16, "pool": 2}


@parametrize_with_checks(
    [
        DCGAN(image_shape=(1, -1, 1), width=2, n_components=2, max_iter=1, pool=2, random_state=0),
        LinearSVM(),
    ]
)
def test_scikit_learn_compatible(estimator, check):
    check(estimator)


def small(**changes):
    return DCGAN(**{**SMALL, "random_state": 0, **changes})


def bytes_of(n=48, side=8, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, channels), dtype=np.uint8)


DIGITS = load_digits()
IMAGES = np.round(DIGITS.images[:64, ..., None] * 255 / 16).astype(np.uint8)


@pytest.fixture(scope="module")
def fitted():
    return small().fit(IMAGES)


def weights(model):
    return model.objective_.state_dict()


def assert_same(a, b):
    assert weights(a).keys() == weights(b).keys()
    for name, value in weights(a).items():
        assert torch.equal(value, weights(b)[name]), name


def differ(a, b):
    return any(not torch.equal(value, weights(b)[name]) for name, value in weights(a).items())


# ---------------------------------------------------------------- what may be given


def test_images_data_sets_rows_lists_and_memory_maps_of_the_same_pixels_give_the_same_model(tmp_path, fitted):
    np.save(tmp_path / "x.npy", IMAGES)
    frozen = IMAGES.copy()
    frozen.setflags(write=False)
    for same in (
        ImageDataset(IMAGES),
        IMAGES[..., 0],
        IMAGES.reshape(len(IMAGES), -1),
        np.load(tmp_path / "x.npy", mmap_mode="r"),
        frozen,
        np.asfortranarray(IMAGES),
    ):
        model = small().fit(same)
        assert_same(model, fitted)
        assert model.image_shape_ == (8, 8, 1) and model.n_features_in_ == 64
        assert np.array_equal(model.transform(same), fitted.transform(IMAGES))


def test_rows_of_floats():
    rows = DIGITS.data[:64]
    model = small().fit(rows)
    assert model.image_shape_ == (8, 8, 1)
    features, pictures = model.transform(rows), model.sample(20, random_state=0)
    assert features.shape == (64, (4 + 8) * 4) and features.dtype == np.float32
    assert pictures.shape == (20, 8, 8, 1) and pictures.dtype == np.float32
    assert 0 <= pictures.min() and pictures.max() <= 16  # in the units of the data
    shifted = small().fit(rows * 3 - 7)
    np.testing.assert_allclose(shifted.transform(rows * 3 - 7), features, rtol=0.05, atol=0.05)


def test_the_images_are_not_changed(tmp_path):
    for images in (IMAGES.copy(), DIGITS.data[:32].copy(), IMAGES[:32].astype(np.float32)):
        before = images.copy()
        small().fit(images).transform(images)
        assert np.array_equal(images, before)


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [((24, 75), None), ((24, 5, 7, 2), None), ((24, 70), (5, -1, 2)), ((24, 12, 12), None), ((24, 28, 28, 1), None)],
)
def test_any_size_and_number_of_channels(shape, image_shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    model = small(image_shape=image_shape, width=2).fit(images)
    assert np.prod(model.image_shape_) == np.prod(shape[1:])
    assert model.sample(3).shape == (3, *model.image_shape_)
    assert len(model.transform(images)) == 24


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (bytes_of(1), "at least 2"),
        (bytes_of(0), "0 images"),
        (np.full((4, 8, 8, 1), np.nan), "NaN"),
        (np.full((4, 8, 8), np.inf, np.float32), "infinite"),
        (np.full((4, 64), np.nan), "NaN"),
        (np.zeros((4, 63)), "image_shape"),
        (np.zeros(64), "Reshape"),
        (np.zeros((2, 2, 8, 8, 1)), "dim"),
    ],
)
@pytest.mark.parametrize("run", [False, True])
def test_images_that_cannot_be_learned_from(images, message, run, tmp_path):
    with pytest.raises(ValueError, match=message):
        small().fit(images, run=tmp_path / "run" if run else None)
    assert list(tmp_path.iterdir()) == []


def test_images_of_another_shape_than_fitted(fitted):
    with pytest.raises(InputError, match=r"8x8x1.*load_images"):
        fitted.transform(bytes_of(3, side=16))
    with pytest.raises(InputError, match="8x8x1"):
        fitted.transform(bytes_of(3, channels=3))
    with pytest.raises(ValueError, match="65 features"):
        fitted.transform(np.zeros((3, 65)))
    with pytest.raises(ValueError, match="NaN"):
        fitted.transform(np.full((3, 8, 8), np.nan))


WRONG = [
    ("n_components", 0),
    ("n_components", 2.5),
    ("width", 0),
    ("width", "wide"),
    ("kernel_size", 4),
    ("kernel_size", 1),
    ("kernel_size", "5"),
    ("prior", "cauchy"),
    ("augment", ("rotate",)),
    ("max_iter", 0),
    ("max_iter", 1.5),
    ("batch_size", 1),
    ("batch_size", 16.5),
    ("learning_rate", 0.0),
    ("learning_rate", float("nan")),
    ("beta1", 1.0),
    ("weight_decay", -1e-5),
    ("ema", 1.0),
    ("taps", "blocks.7"),
    ("taps", 5),
    ("at", "relu"),
    ("pool", -1),
    ("pool", 0),
    ("pool", 2.5),
    ("pooling", "mean"),
    ("image_shape", (8, 8)),
    ("image_shape", (9, 8, 1)),
    ("device", "tpu"),
    ("precision", "fp8"),
    ("random_state", "zero"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
@pytest.mark.parametrize("verb", ["fit", "run", "partial_fit"])
def test_a_wrong_parameter_is_refused_before_any_training(name, value, verb, tmp_path):
    """Not at construction, and not after the hours of training that it would spoil."""
    model, rows = small(**{name: value}), IMAGES.reshape(len(IMAGES), -1)
    with pytest.raises(InputError):
        if verb == "partial_fit":
            model.partial_fit(rows)
        else:
            next(model.iter_fit(rows, run=tmp_path / "run" if verb == "run" else None))
    assert not hasattr(model, "history_")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- randomness


def test_a_seed_decides_everything(fitted):
    again, other = small().fit(IMAGES), small(random_state=1).fit(IMAGES)
    assert_same(fitted, again)
    assert np.array_equal(fitted.transform(IMAGES), again.transform(IMAGES))
    assert differ(fitted, other)
    losses = [{k: v for k, v in r.items() if "/" in k} for r in fitted.history_]
    assert losses == [{k: v for k, v in r.items() if "/" in k} for r in again.history_] and losses


@pytest.mark.parametrize("kind", [np.random.RandomState, np.random.default_rng])
def test_generators_as_random_state(kind):
    first, second = small(random_state=kind(5)).fit(IMAGES), small(random_state=kind(5)).fit(IMAGES)
    assert_same(first, second)
    assert differ(first, small(random_state=kind(6)).fit(IMAGES))


def test_without_a_seed_models_differ():
    assert differ(small(random_state=None).fit(IMAGES), small(random_state=None).fit(IMAGES))


def test_the_global_generators_are_left_alone(tmp_path):
    def states():
        _name, keys, *rest = np.random.get_state()  # noqa: NPY002
        return torch.get_rng_state().tolist(), keys.tolist(), rest, random.getstate()

    before = states()
    model = small(random_state=None, ema=0.9, augment=("affine",)).fit(IMAGES, run=tmp_path / "run")
    model.transform(IMAGES)
    model.sample(3)
    model.random_init(IMAGES)
    model.partial_fit(IMAGES)
    model.save(tmp_path / "model")
    load(tmp_path / "model")
    FeatureExtractor(model.discriminator_).fit(IMAGES).transform(IMAGES)
    LinearSVM(C="cv").fit(DIGITS.data[:60], DIGITS.target[:60])
    assert states() == before


# ---------------------------------------------------------------- features


def test_transform_is_the_extractor_on_the_discriminator(fitted):
    extractor = FeatureExtractor(fitted.discriminator_, pool=2, bn="eval").fit(IMAGES)
    assert np.array_equal(fitted.transform(IMAGES), extractor.transform(IMAGES))
    assert fitted.get_feature_names_out().tolist() == extractor.get_feature_names_out().tolist()
    assert not batch_norms(fitted.discriminator_)[0].training


def test_a_feature_does_not_depend_on_batch_mates(fitted):
    rows = fitted.transform(IMAGES)
    order = np.random.default_rng(0).permutation(len(IMAGES))
    assert np.array_equal(fitted.transform(IMAGES[order]), rows[order])
    assert np.array_equal(fitted.transform(IMAGES[7:8]), rows[7:8])


def test_batch_norm_statistics_are_those_of_the_real_training_images():
    """One batch of all images: the first batch norm's mean is the mean of what it is given, in float64."""
    model = small(batch_size=64, precision="fp32").fit(IMAGES)
    block = model.discriminator_.blocks.double()
    x = torch.from_numpy(IMAGES / 127.5 - 1).permute(0, 3, 1, 2)
    given = block[1].conv(block[0](x))
    np.testing.assert_allclose(block[1].norm.running_mean, given.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(block[1].norm.running_var, given.var((0, 2, 3)), rtol=1e-4)


def test_other_taps_of_the_same_model(fitted):
    last = fitted.extractor(taps=[-1], at="conv", pool=None)
    assert last.transform(IMAGES).shape == (64, 8 * 2 * 2)
    assert fitted.extractor() is fitted.extractor()
    fitted_again = clone(fitted).set_params(pool=1).fit(IMAGES)
    assert fitted_again.transform(IMAGES).shape == (64, 12)
    fitted_again.set_params(pool=2)
    assert np.array_equal(fitted_again.transform(IMAGES), fitted.transform(IMAGES))


@pytest.mark.parametrize("random_state", [0, None, "generator"])
@pytest.mark.parametrize("calls", [1, 3])
def test_the_untrained_network_is_the_one_that_training_started_from(random_state, calls):
    seed = np.random.default_rng(3) if random_state == "generator" else random_state
    model = small(learning_rate=1e-12, weight_decay=0.0, random_state=seed)
    for _ in range(calls):
        model.partial_fit(IMAGES)
    untrained = model.random_init(IMAGES)
    for name, value in untrained.discriminator_.named_parameters():
        assert torch.allclose(value, dict(model.discriminator_.named_parameters())[name], atol=1e-8), name


@pytest.mark.parametrize("random_state", [0, None, "generator"])
def test_random_init_is_a_baseline_of_the_same_shape(random_state):
    seed = np.random.default_rng(3) if random_state == "generator" else random_state
    model = small(random_state=seed, learning_rate=0.01).fit(IMAGES)
    before = {k: v.clone() for k, v in weights(model).items()}
    features = model.transform(IMAGES)
    untrained = model.random_init(IMAGES)
    assert untrained.transform(IMAGES).shape == features.shape
    assert untrained.get_feature_names_out().tolist() == model.get_feature_names_out().tolist()
    assert not np.allclose(untrained.transform(IMAGES), features, atol=1e-3)
    assert_same(untrained, model.random_init(IMAGES))
    assert all(torch.equal(value, weights(model)[name]) for name, value in before.items())
    assert np.array_equal(model.transform(IMAGES), features)
    assert (untrained.n_iter_, untrained.history_, untrained.finished_) == (0, [], False)


def test_a_pipeline_from_images_to_labels():
    rows, y = DIGITS.data[:300], DIGITS.target[:300]
    pipe = make_pipeline(small(batch_size=64), LinearSVM(C="cv")).fit(rows[:200], y[:200])
    assert pipe.score(rows[200:], y[200:]) > 0.5
    assert pipe[-1].n_features_in_ == len(pipe[0].get_feature_names_out())


# ---------------------------------------------------------------- samples


def test_samples(fitted):
    pictures = fitted.sample(300, random_state=3)
    assert pictures.shape == (300, 8, 8, 1) and pictures.dtype == np.uint8
    assert np.array_equal(pictures, fitted.sample(300, random_state=3))
    assert np.array_equal(pictures[:5], fitted.sample(5, random_state=3))  # z is drawn row by row
    assert not np.array_equal(pictures, fitted.sample(300, random_state=4))
    assert not np.array_equal(fitted.sample(5), fitted.sample(5))
    assert fitted.sample().shape == (1, 8, 8, 1)
    assert len(np.unique(pictures.reshape(300, -1), axis=0)) > 250
    with pytest.raises(InputError, match="n_samples=0"):
        fitted.sample(0)


def test_generated_images_are_functions_of_z_alone(fitted):
    z = np.random.default_rng(0).uniform(-1, 1, (300, 4)).astype(np.float32)
    z.setflags(write=False)
    pictures = fitted.generate(z)
    assert np.array_equal(fitted.generate(z[::-1]), pictures[::-1])
    assert np.array_equal(fitted.generate(z[7:8].tolist()), pictures[7:8])
    assert fitted.generate(z[:0]).shape == (0, 8, 8, 1)
    with torch.no_grad():
        x = fitted.generator_.float()(torch.from_numpy(z.copy())).permute(0, 2, 3, 1).numpy()
    assert np.abs(np.clip(np.rint((x + 1) * 127.5), 0, 255) - pictures).max() <= 3  # bf16 rounds coarser


@pytest.mark.parametrize("z", [np.zeros(4), np.zeros((2, 5)), np.zeros((2, 4, 1)), 0.0])
def test_latents_of_a_wrong_shape(fitted, z):
    with pytest.raises(InputError, match=r"z must be \(n, 4\)"):
        fitted.generate(z)


def test_latents_that_are_not_finite(fitted):
    with pytest.raises(InputError, match="NaN"):
        fitted.generate(np.full((2, 4), np.nan))


@pytest.mark.parametrize("verb", ["transform", "generate", "sample", "save", "get_feature_names_out", "extractor"])
def test_not_fitted_yet(verb, tmp_path):
    arguments = {"transform": [IMAGES], "generate": [np.zeros((1, 4))], "save": [tmp_path / "model"]}
    with pytest.raises(NotFittedError):
        getattr(small(), verb)(*arguments.get(verb, []))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- going on


def test_what_a_fit_leaves(fitted):
    assert fitted.finished_ and fitted.n_iter_ == 1
    last = fitted.history_[-1]
    assert last["step"] == last["total_steps"] == 4 and last["epoch"] == 1.0
    assert {"loss/discriminator", "loss/generator", "logit/real", "logit/generated"} <= last.keys()


def test_partial_fit_is_warm_start():
    twice = small().partial_fit(IMAGES).partial_fit(IMAGES)
    warm = small(warm_start=True).fit(IMAGES).fit(IMAGES)
    once = small().fit(IMAGES)
    assert_same(twice, warm)
    assert_same(small().partial_fit(IMAGES), once)
    assert differ(twice, once)
    assert_same(small().fit(IMAGES).fit(IMAGES), once)  # without warm_start a fit starts anew


def test_partial_fit_refuses_images_of_another_shape():
    model = small().partial_fit(IMAGES)
    with pytest.raises(InputError, match="8x8x1"):
        model.partial_fit(bytes_of(20, side=16))


def test_a_run_folder_goes_on(tmp_path):
    """One epoch, then two: the weights of two at once, bit for bit."""
    small().fit(IMAGES, run=tmp_path / "a")
    further = small(max_iter=2).fit(IMAGES, run=tmp_path / "a")
    whole = small(max_iter=2).fit(IMAGES, run=tmp_path / "b")
    assert_same(further, whole)
    assert_same(further, small(max_iter=2).fit(IMAGES))
    assert (further.finished_, further.n_iter_) == (True, 2)
    assert [r["step"] for r in further.history_] == [4, 8]
    done = small(max_iter=2).fit(IMAGES, run=tmp_path / "a")  # nothing is left to do
    assert_same(done, whole)
    assert done.finished_


def test_a_run_folder_of_other_settings_is_refused(tmp_path):
    small().fit(IMAGES, run=tmp_path / "run")
    with pytest.raises(InputError, match="width: 4 -> 6"):
        small(width=6).fit(IMAGES, run=tmp_path / "run")
    with pytest.raises(InputError, match="fingerprint"):
        small().fit(IMAGES[::-1], run=tmp_path / "run")


def test_stopping_early_and_going_on(tmp_path):
    model = small(max_iter=3)
    assert not model.request_stop()
    for record in model.iter_fit(IMAGES, run=tmp_path / "run", log_every=1):
        if record["step"] == 5:
            assert model.request_stop()
    assert not model.finished_ and model.history_[-1]["step"] == 5
    assert not model.request_stop()
    again = small(max_iter=3).fit(IMAGES, run=tmp_path / "run")
    assert again.finished_
    assert_same(again, small(max_iter=3).fit(IMAGES))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("settings", "images"),
    [
        ({}, IMAGES),
        ({"ema": 0.9, "prior": "normal", "augment": ("affine", "flip"), "taps": [-1, "0:conv"]}, IMAGES),
        ({"image_shape": (8, -1, 1), "random_state": np.random.RandomState(0)}, DIGITS.data[:48]),
        ({"precision": "bf16", "pool": None}, bytes_of(24, 16, 3)),
    ],
    ids=["plain", "everything", "rows", "bf16"],
)
def test_saving_and_loading_keep_every_bit(settings, images, tmp_path):
    model = small(**settings).fit(images)
    model.save(tmp_path / "model")
    other = load(tmp_path / "model")
    assert isinstance(other, DCGAN)
    assert_same(model, other)
    assert np.array_equal(model.transform(images), other.transform(images))
    assert np.array_equal(model.sample(4, random_state=1), other.sample(4, random_state=1))
    assert other.get_feature_names_out().tolist() == model.get_feature_names_out().tolist()
    assert other.history_ == model.history_ and other.n_iter_ == model.n_iter_
    assert (other.finished_, other.image_shape_) == (True, model.image_shape_)
    kept = {k: v for k, v in model.get_params().items() if k != "random_state"}
    assert {k: other.get_params()[k] for k in kept} == kept
    assert list(other.augment) == list(model.augment)
    assert_same(model.random_init(images), other.random_init(images))
    clone(other).fit(images)
    model.save(tmp_path / "model")  # the same model may be written again
    other.save(tmp_path / "copy")
    assert_same(load(tmp_path / "copy"), model)


def test_a_run_folder_is_a_saved_model(tmp_path):
    model = small(max_iter=2).fit(IMAGES, run=tmp_path / "run")
    other = load(str(tmp_path / "run"))
    assert_same(model, other)
    assert (other.n_iter_, other.finished_) == (2, True)
    assert np.array_equal(model.transform(IMAGES), other.transform(IMAGES))


def test_a_loaded_model_does_not_silently_start_anew(fitted, tmp_path):
    """Its optimiser is not in the folder: going on would be training from the beginning."""
    fitted.save(tmp_path / "model")
    for verb in ("partial_fit", "fit"):
        model = load(tmp_path / "model").set_params(warm_start=True)
        with pytest.raises(InputError, match="run="):
            getattr(model, verb)(IMAGES)
    model = load(tmp_path / "model")
    assert_same(model.fit(IMAGES), fitted)  # a new fit from the beginning is what fit means


def test_nothing_is_pickled(fitted, tmp_path):
    small().fit(IMAGES, run=tmp_path / "run")
    fitted.save(tmp_path / "model")
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_size]
    assert {p.suffix for p in files} <= {".json", ".jsonl", ".safetensors", ".md", ".png"}
    assert not any(p.read_bytes()[:2] in (b"\x80\x04", b"\x80\x05", b"PK") for p in files)
    assert {"config.json", "model.safetensors", "README.md", "history.jsonl"} <= {p.name for p in files}


def test_a_foreign_folder_is_left_alone(fitted, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="overwritten"):
        fitted.save(tmp_path)
    with pytest.raises(InputError, match="overwritten"):
        small().fit(IMAGES, run=tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.name != ".lock"] == ["precious.txt"]
    with pytest.raises(InputError):
        fitted.save(tmp_path / "precious.txt")


def test_another_models_folder_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    with pytest.raises(InputError, match="other settings"):
        small(width=2).fit(IMAGES).save(tmp_path / "model")
    assert_same(load(tmp_path / "model"), fitted)


def edit(change):
    def damage(folder):
        path = folder / "config.json"
        config = json.loads(path.read_text())
        change(config)
        path.write_text(json.dumps(config))

    return damage


DAMAGE = {
    "gone": (shutil.rmtree, "does not exist"),
    "empty": (lambda f: [p.unlink() for p in f.iterdir() if p.is_file()], "no config.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no weights"),
    "truncated weights": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
        "damaged",
    ),
    "no safetensors": (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04N."), "damaged"),
    "half a config": (lambda f: (f / "config.json").write_text('{"format": 1, "meth'), "cannot be read"),
    "binary config": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "format"),
    "later format": (edit(lambda c: c.update(format=99)), "format 99"),
    "other method": (edit(lambda c: c.update(method="dgcan")), "did you mean 'dcgan'"),
    "no method": (edit(lambda c: c.pop("method")), "method"),
    "no estimator": (edit(lambda c: c.pop("estimator")), "damaged"),
    "no scaling": (edit(lambda c: c.pop("scaling")), "damaged"),
    "wrong scaling": (edit(lambda c: c.update(scaling={"integer": True, "lo": 1})), "damaged"),
    "no shape": (edit(lambda c: c.pop("image_shape")), "damaged"),
    "short shape": (edit(lambda c: c.update(image_shape=[8, 8])), "damaged"),
    "shape of text": (edit(lambda c: c.update(image_shape="8x8")), "damaged"),
    "seed of text": (edit(lambda c: c.update(seed="zero")), "damaged"),
    "other width": (edit(lambda c: c["estimator"].update(width=6)), "do not fit"),
    "other size": (edit(lambda c: c.update(image_shape=[16, 16, 1])), "do not fit"),
    "wrong width": (edit(lambda c: c["estimator"].update(width="wide")), "width"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_an_error_with_a_reason(damage, fitted, tmp_path):
    folder = tmp_path / "model"
    fitted.save(folder)
    break_it, message = DAMAGE[damage]
    break_it(folder)
    with pytest.raises(InputError, match=message):
        load(folder)


def test_few_labels_on_frozen_features_leave_the_model_alone():
    """The README's line: a pipeline on ``extractor()`` does not train the GAN anew, as one on the GAN itself would."""
    gan = small().fit(IMAGES)
    before = gan.transform(IMAGES)
    labels = np.arange(len(IMAGES)) % 2
    pipeline = make_pipeline(gan.extractor(), LinearSVM(C="cv")).fit(IMAGES, labels)
    assert np.array_equal(gan.transform(IMAGES), before)
    assert np.array_equal(pipeline[:-1].transform(IMAGES), before)


@pytest.mark.parametrize(
    ("fitted", "given"), [(IMAGES, IMAGES / 255.0), (IMAGES / 255.0, IMAGES), (IMAGES, IMAGES.astype(int))]
)
def test_other_numbers_than_those_fitted_on_are_refused(fitted, given):
    """Silently taking 0..1 for 0..255 gives grey images, whose features mean nothing."""
    with pytest.raises(InputError, match="give it the same kind"):
        small().fit(fitted).transform(given)


def test_channels_first_and_paths_are_refused():
    with pytest.raises(InputError, match=r"transpose\(0, 2, 3, 1\)"):
        small().fit(np.zeros((4, 3, 16, 16), np.uint8))
    with pytest.raises(InputError, match=r"load_images\('photos/'\)"):
        small().fit("photos/")


def test_wrong_parameters_are_told_before_any_image_is_read():
    for wrong in ({"width": 0}, {"device": "tpu"}, {"augment": ("spin",)}, {"beta1": 2}, {"random_state": -1}):
        with pytest.raises(InputError):
            small(**wrong).check_parameters()
    model = small().fit(IMAGES)
    model.check_parameters()
    assert model.transform(IMAGES[:2]).shape[0] == 2
