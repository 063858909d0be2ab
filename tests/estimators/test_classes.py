"""ACGAN and CatGAN as estimators: who is told labels, what they learn of them, and how they go on."""

import json

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import normalized_mutual_info_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from ganfeat import ACGAN, DCGAN, CatGAN, ImageDataset, InputError, load
from ganfeat.device import resolve_device
from ganfeat.estimators import METHODS
from ganfeat.nets.blocks import initialise
from ganfeat.objectives.acgan import ACGAN as ACGANObjective
from ganfeat.objectives.gan import GAN
from ganfeat.training import LoopSettings, Trainer

SMALL = {"width": 4, "n_components": 4, "max_iter": 1, "batch_size": 16, "pool": 2, "random_state": 0}
TINY = {**SMALL, "width": 2, "n_components": 2, "image_shape": (1, -1, 1)}
DIGITS = load_digits()
IMAGES = np.round(DIGITS.images[:64, ..., None] * 255 / 16).astype(np.uint8)
LABELS = DIGITS.target[:64]
LABELLED = ImageDataset(IMAGES, labels=LABELS)
BOTH = [ACGAN, CatGAN]


@parametrize_with_checks([ACGAN(**TINY), CatGAN(n_classes=3, **TINY)])
def test_scikit_learn_compatible(estimator, check):
    check(estimator)


def small(kind, **changes):
    return kind(**{**SMALL, **changes})


@pytest.fixture(scope="module", params=BOTH)
def fitted(request):
    return small(request.param).fit(LABELLED)


@pytest.fixture(scope="module")
def acgan():
    return small(ACGAN).fit(LABELLED)


def same_weights(a, b):
    mine, theirs = a.objective_.state_dict(), b.objective_.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in mine.items())


# ---------------------------------------------------------------------- who is told labels


@pytest.mark.parametrize("method", [name for name, kind in METHODS.items() if not kind.supervised])
def test_labels_reach_no_weight_of_a_method_that_needs_none(method, monkeypatch):
    """Given every way they can be, they change nothing: not a weight, and no player ever sees them."""
    seen = []
    for name in ("_play_in_turn", "_play_at_once"):
        step = getattr(Trainer, name)
        monkeypatch.setattr(Trainer, name, lambda self, draw, go=step: (seen.append(draw.labels_N), go(self, draw)))
    settings = {k: v for k, v in SMALL.items() if k not in ("pool", "max_iter")}
    models = [METHODS[method](max_iter=2, **settings) for _ in range(2)]
    models[0].fit(IMAGES)
    models[1].fit(LABELLED, LABELS)
    assert same_weights(*models)
    assert len(seen) == 16 and all(labels is None for labels in seen)
    on = [model.partial_fit(IMAGES, y) for model, y in zip(models, (None, LABELS), strict=True)]
    assert same_weights(*on)
    assert not models[0].objective_.supervised


def test_the_loop_refuses_labels_for_an_objective_that_learns_without():
    gan = GAN((8, 8, 1), width=2)
    with pytest.raises(ValueError, match="GAN learns without labels"):
        Trainer(gan, IMAGES, LoopSettings(), torch.device("cpu"), labels=LABELS)


def test_every_image_comes_with_its_own_label():
    """Images that are their label's grey, in whatever order and from whichever rows: they never part."""
    labels = np.arange(40) % 10
    grey = np.broadcast_to((labels * 25).astype(np.uint8)[:, None, None, None], (40, 8, 8, 1)).copy()
    objective = ACGANObjective((8, 8, 1), np.ones(10), width=2, n_components=2)
    initialise(objective, torch.Generator().manual_seed(0))
    rows = np.arange(3, 40, 2)
    settings = LoopSettings(max_iter=2, batch_size=5)
    trainer = Trainer(objective, grey, settings, resolve_device("cpu"), rows=rows, labels=labels)
    met, step = [], trainer._play_in_turn

    def spy(draw):
        found = (draw.real_NCHW[:, 0, 0, 0] + 1) * 127.5 / 25
        torch.testing.assert_close(found, draw.labels_N.float())
        met.extend(draw.labels_N.tolist())
        step(draw)

    trainer._play_in_turn = spy
    for _ in trainer.run():
        pass
    assert len(met) == 2 * 15 and set(met) == set(labels[rows])


def test_acgan_learns_from_labels():
    right, wrong = small(ACGAN).fit(IMAGES, LABELS), small(ACGAN).fit(IMAGES, np.roll(LABELS, 1))
    assert not same_weights(right, wrong)
    assert same_weights(right, small(ACGAN).fit(LABELLED))
    assert same_weights(small(ACGAN).fit(LABELLED, np.roll(LABELS, 1)), wrong)  # y comes before the data set's


# ---------------------------------------------------------------------- labels that cannot be learned from


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "the target y is None.*sub-folder for every class"),
        (LABELS[:-1], "63 labels for 64 images"),
        (np.zeros(64, int), "one class in 64 labels.*at least two"),
        (np.where(np.arange(64) < 5, 3, -1), "one class in 5 labels"),
        (np.full(64, -1), "no class in 0 labels"),
        (LABELS + 0.5, "float64 with fractions"),
        (np.where(LABELS == 1, np.nan, LABELS), "fractions or NaN"),
        (LABELS * 1j, "[Cc]omplex"),
        (np.array([*LABELS[:-1].astype(object), "seven"], object), "object"),
    ],
)
def test_labels_that_cannot_be_learned_from(y, message, tmp_path):
    for run in (None, tmp_path / "run"):
        with pytest.raises(ValueError, match=message):
            small(ACGAN).fit(IMAGES, y, run=run)
    with pytest.raises(ValueError, match=message):
        small(ACGAN).partial_fit(IMAGES, y)
    assert list(tmp_path.iterdir()) == []


def test_names_whole_floats_and_other_numbers_are_the_same_classes():
    plain = small(ACGAN).fit(IMAGES, LABELS)
    names = np.array([f"digit {label}" for label in LABELS])
    for y, classes in (
        (LABELS.astype(float), np.arange(10)),
        (LABELS.astype(np.uint8) * 20, np.arange(10) * 20),
        (names, np.unique(names)),
        (names.astype(object), np.unique(names)),
    ):
        model = small(ACGAN).fit(IMAGES, y)
        assert same_weights(model, plain)
        assert model.classes_.tolist() == classes.tolist()
        assert model.predict(IMAGES).tolist() == classes[plain.predict(IMAGES)].tolist()


def test_images_without_a_label_are_learned_from_all_the_same():
    """They count for the source: other weights than without these images, and than with their labels."""
    some = np.where(np.arange(64) % 3 == 0, -1, LABELS)
    model = small(ACGAN).fit(IMAGES, some)
    assert model.class_counts_.sum() == (some >= 0).sum() and -1 not in model.classes_
    assert not same_weights(model, small(ACGAN).fit(IMAGES, LABELS))
    assert all(np.isfinite(list(record.values())).all() for record in model.history_)
    few = np.where(np.arange(64) < 3, LABELS, -1)  # most mini-batches have no label at all
    assert np.isfinite(list(small(ACGAN).fit(IMAGES, few).history_[-1].values())).all()


def test_a_later_fit_keeps_the_classes():
    model = small(ACGAN).partial_fit(IMAGES, LABELS)
    assert model.partial_fit(IMAGES[:20], LABELS[:20]).classes_.tolist() == list(range(10))
    with pytest.raises(InputError, match="label 10 is none"):
        model.partial_fit(IMAGES, LABELS + 1)


# ---------------------------------------------------------------------- what they are for


def test_acgan_names_held_out_digits_and_draws_those_it_is_asked_for():
    rows, y = DIGITS.data, DIGITS.target
    settings = {"width": 8, "max_iter": 6, "batch_size": 64, "learning_rate": 2e-3, "precision": "fp32"}
    model = ACGAN(random_state=0, **settings).fit(rows[:1400], y[:1400])
    assert (model.predict(rows[1400:]) == y[1400:]).mean() > 0.6  # chance is 0.1
    assert (model.random_init().predict(rows[1400:]) == y[1400:]).mean() < 0.3
    judge = KNeighborsClassifier(1).fit(rows[:1400], y[:1400])
    asked = np.repeat(np.arange(10), 20)
    z = np.random.default_rng(0).uniform(-1, 1, (200, 100))
    assert (judge.predict(model.generate(z, asked).reshape(200, -1)) == asked).mean() > 0.6
    record = model.history_[-1]
    assert record["accuracy/real"] > 0.6 and record["accuracy/generated"] > 0.6


def test_catgan_finds_clusters_that_an_untrained_network_does_not():
    """By their mutual information with labels that it has never seen; after so short a training 0.6 to 0.75."""
    rows, y = DIGITS.data, DIGITS.target
    settings = {"width": 8, "max_iter": 8, "batch_size": 100, "learning_rate": 2e-3, "precision": "fp32"}
    model = CatGAN(random_state=0, **settings).fit(rows)
    found, before = (normalized_mutual_info_score(y, m.predict(rows)) for m in (model, model.random_init()))
    assert found > 0.45 and found > before + 0.15
    assert len(np.unique(model.predict(rows))) >= 8
    first, last = model.history_[0], model.history_[-1]
    assert last["entropy/real"] < first["entropy/real"] - 0.3  # more certain of real images,
    assert last["entropy/real"] < last["entropy/generated"]  # and more than of generated ones,
    assert last["entropy/marginal"] > 0.9 * np.log(10)  # by categories that are used alike


def test_records_have_what_the_method_has(fitted):
    last = fitted.history_[-1]
    if fitted.method == "acgan":
        assert {"logit/real", "logit/generated", "accuracy/real", "accuracy/generated"} <= last.keys()
        assert not any(name.startswith("entropy") for name in last)
    else:
        assert {"entropy/real", "entropy/generated", "entropy/marginal", "entropy/marginal_generated"} <= last.keys()
        assert not any(name.startswith(("logit", "spread")) for name in last)
        assert all(-1e-5 <= last[name] <= np.log(10) + 1e-5 for name in last if name.startswith("entropy"))


# ---------------------------------------------------------------------- use


def test_probabilities_and_predictions_agree(fitted):
    p = fitted.predict_proba(IMAGES)
    assert p.shape == (64, 10) and p.dtype == np.float32 and (p >= 0).all()
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    assert np.array_equal(fitted.predict(IMAGES), p.argmax(1))
    assert np.array_equal(fitted.predict_proba(IMAGES[7:9]), p[7:9])  # whatever else is given with them
    with pytest.raises(NotFittedError):
        clone(fitted).predict(IMAGES)


def test_predictions_are_those_of_the_head():
    for kind, head in ((ACGAN, lambda d, x: d.judge(x)[1]), (CatGAN, lambda d, x: d(x))):
        model = small(kind, precision="fp32").fit(LABELLED)
        with torch.no_grad():
            logits = head(model.discriminator_, torch.from_numpy(IMAGES / 127.5 - 1).float().permute(0, 3, 1, 2))
        np.testing.assert_allclose(model.predict_proba(IMAGES), logits.softmax(1), atol=1e-5)


def test_samples_of_a_class(acgan):
    pictures = acgan.sample(12, random_state=1)
    assert pictures.shape == (12, 8, 8, 1) and pictures.dtype == np.uint8
    assert np.array_equal(pictures, acgan.sample(12, random_state=1))
    latents = acgan.objective_.draw_latents(12, torch.Generator().manual_seed(1)).numpy()
    z, classes = latents[:, :4], latents[:, 4:].argmax(1)
    assert np.array_equal(pictures, acgan.generate(z, classes))
    threes = acgan.sample(12, random_state=1, label=3)
    assert np.array_equal(threes, acgan.generate(z, 3)) and np.array_equal(threes, acgan.generate(z, np.full(12, 3)))
    assert np.array_equal(threes[classes == 3], pictures[classes == 3])
    assert not np.array_equal(threes, pictures)
    assert np.array_equal(acgan.generate(z), acgan.generate(z, np.arange(12) % 10))
    for wrong, message in ((10, "label 10 is none"), ("three", "label 'three' is none"), (np.zeros(3, int), "shape")):
        with pytest.raises(InputError, match=message):
            acgan.generate(z, wrong)
    with pytest.raises(InputError, match=r"z must be \(n, 4\)"):
        acgan.generate(latents)


# ---------------------------------------------------------------------- the run folder


def test_saved_loaded_copied_and_compared_with_its_untrained_self(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert same_weights(again, fitted) and again.get_params() == fitted.get_params()
    assert np.array_equal(again.predict(IMAGES), fitted.predict(IMAGES))
    assert np.array_equal(again.transform(IMAGES), fitted.transform(IMAGES))
    assert np.array_equal(again.sample(4, random_state=0), fitted.sample(4, random_state=0))
    again.save(tmp_path / "model")
    for untrained in (again.random_init(), again.random_init(IMAGES)):
        assert untrained.predict(IMAGES).shape == (64,)
        assert untrained.transform(IMAGES).shape == fitted.transform(IMAGES).shape
        assert not same_weights(untrained, fitted)
    assert same_weights(clone(fitted).fit(LABELLED), fitted)


def test_the_card_says_what_it_learned_from_and_its_example_runs(fitted, tmp_path):
    model = clone(fitted).fit(LABELLED, run=tmp_path / "run")
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    how = "with their labels" if fitted.supervised else "without labels"
    assert f"Learned {how} from 64 images" in card
    names = {"images": IMAGES}
    exec(card.split("```python\n")[1].split("```")[0].replace("this folder", str(tmp_path / "run")), names)
    assert np.array_equal(names["features"], model.transform(IMAGES))
    assert len(names["pictures"]) == 64
    if fitted.supervised:
        assert np.array_equal(names["classes"], model.predict(IMAGES)) and len(names["ones"]) == 64
    else:
        assert np.array_equal(names["clusters"], model.predict(IMAGES))


def test_a_run_goes_on_with_its_own_labels_only(tmp_path):
    run = tmp_path / "run"
    small(ACGAN).fit(IMAGES, LABELS, run=run)
    config = json.loads((run / "config.json").read_text())
    assert config["classes"] == list(range(10)) and config["class_counts"] == np.bincount(LABELS).tolist()
    on = small(ACGAN, max_iter=2)
    for y, message in (
        (np.roll(LABELS, 1), "other settings.*data.labels: "),
        (np.where(np.arange(64) == 5, -1, LABELS), "data.labels: "),
        (LABELS + 1, "classes: "),
    ):
        with pytest.raises(InputError, match=rf"(?s){message}"):
            on.fit(IMAGES, y, run=run)
    assert same_weights(on.fit(IMAGES, LABELS, run=run), small(ACGAN, max_iter=2).fit(LABELLED))
    assert same_weights(load(run), on)


def test_a_damaged_list_of_classes_is_an_error_with_a_reason(acgan, tmp_path):
    acgan.save(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    for damage, message in (({"class_counts": [1, 2]}, "do not fit"), ({"classes": None}, "damaged")):
        broken = {**config, **damage}
        if damage.get("classes", 0) is None:
            del broken["classes"]
        path.write_text(json.dumps(broken))
        with pytest.raises(InputError, match=message):
            load(tmp_path / "model")


def test_a_run_of_dcgan_knows_nothing_of_labels(tmp_path):
    small(DCGAN).fit(LABELLED, LABELS, run=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert set(config["data"]) == {"source", "n", "fingerprint"} and "classes" not in config


WRONG = [
    (ACGAN, "classification", -1.0, "at least 0"),
    (ACGAN, "classification", "some", "a number"),
    (CatGAN, "n_classes", 1, "at least 2"),
    (CatGAN, "n_classes", 2.5, "whole number"),
    *((kind, "n_components", 0, "at least 1") for kind in BOTH),
    *((kind, "kernel_size", 4, "odd") for kind in BOTH),
    *((kind, "convs_per_scale", 3, "1 or 2") for kind in BOTH),
    *((kind, "prior", "cauchy", "normal") for kind in BOTH),
    *((kind, "augment", ("rotate",), "translate") for kind in BOTH),
    *((kind, "norm_epsilon", 0.0, "above 0") for kind in BOTH),
]


@pytest.mark.parametrize(("kind", "name", "value", "message"), WRONG)
def test_a_wrong_parameter_is_refused_before_any_training(kind, name, value, message, tmp_path):
    model = small(kind, **{name: value})
    with pytest.raises(InputError, match=message):
        next(model.iter_fit(LABELLED, run=tmp_path / "run"))
    with pytest.raises(InputError, match=message):
        model.check_parameters()
    assert list(tmp_path.iterdir()) == []
