"""What is measured while an encoder learns: true numbers, of images never learned from, that change nothing."""

import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from ganfeat import DCGAN, AutoEncoder, BiGAN, ImageDataset, InputError, LatentRegressor, load
from ganfeat.estimators.monitor import COLUMNS, SHOWN, Monitor, evenly, hold_out
from ganfeat.history import read
from ganfeat.nets.families import Plan
from ganfeat.objectives.encoding import EncodingObjective
from ganfeat.pictures import out_of_pairs, read_png, untile

CPU = torch.device("cpu")
DIGITS = load_digits()
IMAGES = np.round(DIGITS.images[:200, ..., None] * 255 / 16).astype(np.uint8)
LABELS = DIGITS.target[:200].astype(np.int64)
LABELLED = ImageDataset(IMAGES, labels=LABELS)
SMALL = {"architecture": "mlp", "n_components": 6, "width": 16, "max_iter": 4, "batch_size": 32, "random_state": 0}
TIMING = ("seconds", "images_per_second")
MEASURES = {
    *("reconstruction/real", "reconstruction/real_shuffled"),
    *("reconstruction/generated", "reconstruction/generated_shuffled"),
    *("cycle/z", "cycle/z_shuffled"),
}


def small(kind=BiGAN, **changes):
    return kind(**{**SMALL, "device": "cpu", **changes})


def trained(images=LABELLED, kind=BiGAN, changes=None, **recording):
    """A model fitted without a run folder, and its records."""
    model = small(kind, **(changes or {}))
    return model, list(model.iter_fit(images, **{"log_every": 2, "evaluations": 3, **recording}))


def assert_same_weights(first, second):
    first, second = (model.objective_.state_dict() for model in (first, second))
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


def monitor(images=IMAGES, training=None, held_out=None, **changes):
    everything = np.arange(len(images))
    return Monitor(
        images,
        everything if training is None else training,
        everything[:0] if held_out is None else held_out,
        **{"seed": 0, "device": CPU, "precision": "fp32", **changes},
    )


# ---------------------------------------------------------------------- what is held out


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.99])
def test_every_image_is_learned_from_or_held_out(share):
    training, held_out = hold_out(200, share, seed=3)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, held_out])), np.arange(200))
    assert len(held_out) == round(200 * share)
    assert (np.diff(training) > 0).all() and (np.diff(held_out) > 0).all()


def test_the_seed_decides_who_is_held_out():
    first, again, other = (hold_out(200, 0.2, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, float("nan"), "some", True])
def test_a_share_that_is_none_is_refused_by_name(share):
    with pytest.raises(InputError, match="validation"):
        next(small().iter_fit(IMAGES, validation=share))


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_too_few_on_either_side_are_refused_with_their_numbers(share):
    with pytest.raises(InputError, match=r"of 200 images holds .* out and leaves .* at least 2"):
        hold_out(200, share, 0)


def test_images_that_are_held_out_are_not_learned_from():
    """Neither weights nor batch-norm statistics know what they look like."""
    kind, settings = BiGAN, {**SMALL, "width": 4, "architecture": "conv"}
    poisoned = IMAGES.copy()
    _, held_out = hold_out(len(IMAGES), 0.3, seed=0)
    poisoned[held_out] = np.random.default_rng(0).integers(0, 256, poisoned[held_out].shape)
    models = []
    for images in (IMAGES, poisoned):
        models.append(kind(**{**settings, "max_iter": 1, "device": "cpu"}))
        list(models[-1].iter_fit(images, validation=0.3))
    assert_same_weights(*models)
    everything = kind(**{**settings, "max_iter": 1, "device": "cpu"}).fit(IMAGES)
    name = next(iter(everything.objective_.state_dict()))
    assert not torch.equal(everything.objective_.state_dict()[name], models[0].objective_.state_dict()[name])


def test_an_epoch_is_a_pass_over_what_is_learned_from():
    """140 of 200 in batches of 32: 4 steps an epoch."""
    assert trained(validation=0.3)[1][-1]["total_steps"] == 4 * 4


# ---------------------------------------------------------------------- when


def steps_with_measures(records):
    return [record["step"] for record in records if "cycle/z" in record]


def test_evaluations_come_in_equal_distances_and_at_the_end():
    """24 steps; thirds end at 8, 16, 24, and the records are of 5, 10, ...: the first at or after each."""
    assert steps_with_measures(trained(log_every=5)[1]) == [10, 20, 24]
    assert steps_with_measures(trained(log_every=1)[1]) == [8, 16, 24]
    assert steps_with_measures(trained(log_every=100)[1]) == [24]
    assert steps_with_measures(trained(log_every=2, evaluations=1000)[1]) == list(range(2, 25, 2))
    assert steps_with_measures(trained(evaluations=0)[1]) == []


@pytest.mark.parametrize("kind", [BiGAN, LatentRegressor, AutoEncoder])
def test_every_method_with_an_encoder_is_measured(kind):
    records = trained(IMAGES, kind)[1]
    assert {name for name in records[-1] if name.startswith(("reconstruction/", "cycle/", "knn/"))} == MEASURES
    assert all(np.isfinite(records[-1][name]) for name in MEASURES)


def test_a_method_without_an_encoder_is_not_measured():
    gan = DCGAN(width=4, n_components=4, max_iter=1, random_state=0)
    assert not any(name.startswith(("reconstruction/", "cycle/", "knn/")) for name in list(gan.iter_fit(LABELLED))[-1])
    with pytest.raises(InputError, match="dcgan has none: leave it out"):
        list(gan.iter_fit(LABELLED, validation=0.2))


# ---------------------------------------------------------------------- that it changes nothing


def test_a_run_that_is_killed_again_and_again_writes_the_same_records(tmp_path):
    """A checkpoint after every step, killed with a record written but its step not saved: it is measured again."""
    recording = {"log_every": 2, "evaluations": 3, "sheets": 4, "validation": 0.2, "checkpoint_seconds": 0.0}
    list(small(ema=0.9).iter_fit(LABELLED, run=tmp_path / "whole", **recording))
    for killed_at in (4, 8, 10, 14, 99):
        iterator = small(ema=0.9).iter_fit(LABELLED, run=tmp_path / "parts", **recording)
        for record in iterator:
            if record["step"] >= killed_at:
                iterator.close()
                break
    records = [
        [{k: v for k, v in r.items() if k not in TIMING} for r in read(tmp_path / name / "history.jsonl")]
        for name in ("whole", "parts")
    ]
    assert records[0] == records[1]
    assert len(steps_with_measures(records[0])) == 3 and "knn/output" in records[0][-1]
    files = [{p.name: p.read_bytes() for p in (tmp_path / name / "samples").iterdir()} for name in ("whole", "parts")]
    assert files[0] == files[1]
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert models[0] == models[1]


def test_measuring_does_not_change_the_training(tmp_path):
    before = torch.get_rng_state()
    for name, evaluations, sheets in (("unseen", 0, 0), ("seen", 10, 20)):
        recording = {"evaluations": evaluations, "sheets": sheets, "log_every": 1, "validation": 0.2}
        list(small(architecture="conv", width=4, max_iter=2).iter_fit(LABELLED, run=tmp_path / name, **recording))
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("unseen", "seen")]
    assert models[0] == models[1]
    states = [next((tmp_path / name / "checkpoints").glob("*/state.safetensors")) for name in ("unseen", "seen")]
    assert states[0].read_bytes() == states[1].read_bytes()
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_do_not_reach_the_weights():
    permuted = ImageDataset(IMAGES, labels=np.random.default_rng(0).permutation(LABELS))
    (right, told), (wrong, misled) = (trained(images, validation=0.3) for images in (LABELLED, permuted))
    assert_same_weights(right, wrong)
    assert told[-1]["knn/trunk"] > 0.5 > misled[-1]["knn/trunk"]
    assert {k: v for k, v in told[-1].items() if k in MEASURES} == {
        k: v for k, v in misled[-1].items() if k in MEASURES
    }


# ---------------------------------------------------------------------- the run folder


def test_the_share_is_a_setting_of_the_run(tmp_path):
    run = tmp_path / "run"
    list(small(max_iter=1).iter_fit(LABELLED, run=run, validation=0.2))
    assert json.loads((run / "config.json").read_text())["validation"] == 0.2
    assert "from 160 images" in (run / "README.md").read_text()
    for other in ({}, {"validation": 0.1}):
        with pytest.raises(InputError, match=r"validation: 0\.2 -> "):
            next(small(max_iter=2).iter_fit(LABELLED, run=run, **other))
    records = list(small(max_iter=2).iter_fit(LABELLED, run=run, validation=0.2))
    assert records[-1]["step"] == 2 * (160 // 32)
    load(run).save(run)  # the very model


def test_a_run_that_is_older_than_the_share_goes_on(tmp_path):
    list(small(max_iter=1).iter_fit(IMAGES, run=tmp_path))
    assert "validation" not in json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(InputError, match=r"validation: None -> 0\.1"):
        next(small(max_iter=2).iter_fit(IMAGES, run=tmp_path, validation=0.1))
    assert list(small(max_iter=2).iter_fit(IMAGES, run=tmp_path, validation=0.0))[-1]["step"] == 12


def test_tensorboard_has_the_measures(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recording = {"evaluations": 2, "sheets": 2, "validation": 0.2, "log_every": 1}
    list(small(max_iter=1).iter_fit(LABELLED, run=tmp_path, tensorboard=True, **recording))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("cycle/z")] == [2, 5]
    assert [e.step for e in events.Scalars("knn/trunk")] == [2, 5]
    assert [e.step for e in events.Images("reconstructions")] == [0, 2, 5]


# ---------------------------------------------------------------------- the numbers


class Inverses(EncodingObjective):
    """E flattens an image of 2 x 2, G folds z into one: each is the other's inverse."""

    def __init__(self):
        super().__init__(Plan((2, 2, 1), 4, architecture="mlp", width=4), game=False)
        self.encoder, self.generator = nn.Flatten(), nn.Unflatten(1, (1, 2, 2))

    def players(self):
        return ()


def test_exact_inverses_have_no_error_and_the_shuffled_baselines_their_distances():
    images = np.random.default_rng(0).integers(0, 256, (40, 2, 2, 1), dtype=np.uint8)
    watch = monitor(images)
    found = watch.measure(Inverses(), step=7)
    assert found.keys() == MEASURES
    assert [found[name] for name in ("reconstruction/real", "reconstruction/generated", "cycle/z")] == [0, 0, 0]
    pixels = images[watch.measured].reshape(40, 4) / 255
    expected = np.linalg.norm(pixels - np.roll(pixels, 1, axis=0), axis=1).mean()
    assert found["reconstruction/real_shuffled"] == pytest.approx(expected, rel=1e-5)
    # two independent U(-1, 1): the root of twice 1/3; 160 values
    assert found["cycle/z_shuffled"] == pytest.approx((2 / 3) ** 0.5, abs=0.12)


def test_latents_depend_on_seed_and_step_alone():
    model = Inverses()
    images = np.random.default_rng(0).integers(0, 256, (40, 2, 2, 1), dtype=np.uint8)

    def cycle(seed, step):
        return monitor(images, seed=seed).measure(model, step)["cycle/z_shuffled"]

    assert cycle(0, 5) == cycle(0, 5)
    assert len({cycle(0, 5), cycle(0, 6), cycle(1, 5)}) == 3


def test_held_out_images_are_measured_where_there_are_any():
    training, held_out = hold_out(200, 0.2, seed=0)
    assert set(monitor(training=training, held_out=held_out).measured) == set(held_out)
    assert set(monitor().measured) == set(range(200))


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_the_nearest_neighbours_are_scikit_learns(architecture):
    """At the end of a training, of the very weights that the model has; images of unknown label take no part."""
    labels = LABELS.copy()
    labels[::7] = -1
    changes = {"architecture": architecture, "width": 8, "max_iter": 2, "precision": "fp32"}
    model, records = trained(ImageDataset(IMAGES, labels=labels), changes=changes, validation=0.4)
    training, held_out = (rows[labels[rows] >= 0] for rows in hold_out(200, 0.4, seed=0))
    for name in ("output", "trunk"):
        features = model.extractor(taps=name).transform(IMAGES)
        reference = KNeighborsClassifier(1).fit(features[training].astype(np.float64), labels[training])
        expected = reference.score(features[held_out].astype(np.float64), labels[held_out])
        assert records[-1][f"knn/{name}"] == pytest.approx(expected, abs=1e-9), name


def test_at_most_so_many_neighbours_evenly_spaced():
    rows = np.arange(100, 1100)
    chosen = evenly(rows, 10)
    assert len(chosen) == 10 and (chosen[0], chosen[-1]) == (100, 1099)
    assert np.ptp(np.diff(chosen)) <= 1
    np.testing.assert_array_equal(evenly(rows, 2000), rows)


@pytest.mark.parametrize("images", [IMAGES, LABELLED, ImageDataset(IMAGES, labels=np.full(200, -1))])
@pytest.mark.parametrize("validation", [0.0, 0.2])
def test_without_known_labels_or_held_out_images_there_are_no_neighbours(images, validation):
    records = trained(images, changes={"max_iter": 1}, evaluations=1, validation=validation)[1]
    assert ("knn/output" in records[-1]) == (images is LABELLED and validation > 0)


# ---------------------------------------------------------------------- sheets


def sheets_of(run, size):
    pictures = sorted((run / "samples").glob("reconstruction-*.png"))
    return {p.name: out_of_pairs(untile(read_png(p), size, size)) for p in pictures}


def test_a_sheet_shows_held_out_images_above_what_the_model_makes_of_them(tmp_path):
    model = small(BiGAN, precision="fp32")
    list(model.iter_fit(LABELLED, run=tmp_path, sheets=2, validation=0.3))
    sheets = sheets_of(tmp_path, 8)
    assert list(sheets) == [f"reconstruction-step-{step:08d}.png" for step in (0, 8, 16)]
    assert {p.name for p in (tmp_path / "samples").glob("step-*.png")} == {
        f"step-{step:08d}.png" for step in (0, 8, 16)
    }
    held_out = {image.tobytes() for image in IMAGES[hold_out(200, 0.3, seed=0)[1]]}
    real = [above for above, _ in sheets.values()]
    assert len(real[0]) == SHOWN and {image.tobytes() for image in real[0]} <= held_out
    assert all(np.array_equal(above, real[0]) for above in real)
    expected = model.reconstruct(real[0]).astype(int)
    assert np.abs(sheets["reconstruction-step-00000016.png"][1] - expected).max() <= 1  # another size of batch


def test_real_images_are_shown_in_the_size_that_g_draws(tmp_path):
    images = np.kron(IMAGES, np.ones((1, 2, 2, 1), np.uint8))  # each pixel four times
    changes = {"architecture": "conv", "width": 4, "generator_size": 8, "max_iter": 1}
    list(small(**changes).iter_fit(images, run=tmp_path, sheets=1))
    for real, _ in sheets_of(tmp_path, 8).values():
        assert {image.tobytes() for image in real} <= {image.tobytes() for image in IMAGES}


@pytest.mark.parametrize(("n", "shown"), [(2, 2), (7, 7), (13, 13), (40, 32)])
def test_few_images_make_a_small_sheet_of_whole_rows(n, shown):
    sheet = monitor(IMAGES[:n]).sheet(small()._objective((8, 8, 1)).eval())
    above, below = out_of_pairs(untile(sheet, 8, 8))
    assert len(above) == len(below) == shown
    assert sheet.shape == (2 * -(-shown // COLUMNS) * 9 - 1, min(COLUMNS, shown) * 9 - 1, 1)
