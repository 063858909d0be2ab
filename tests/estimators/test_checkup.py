"""What is looked at in a game: of every method with a D, the same every time, and without a trace in the training."""

import copy
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from ganfeat import DCGAN, AutoEncoder, BiGAN, InputError, LatentRegressor, load
from ganfeat.estimators.checkup import Checkup
from ganfeat.health import Health, HealthWarning
from ganfeat.history import read
from ganfeat.nets.blocks import initialise
from ganfeat.objectives.base import Objective
from ganfeat.objectives.gan import GAN

CPU = torch.device("cpu")
DIGITS = np.round(load_digits().images[:300, ..., None] * 255 / 16).astype(np.uint8)
SMALL = {"n_components": 6, "width": 8, "max_iter": 2, "batch_size": 64, "random_state": 0, "device": "cpu"}
PLACES = ("pixels", "features")
MEASURES = {
    *(f"diversity/{place}" for place in PLACES),
    *(f"{what}/{place}{floor}" for what in ("coverage", "bins") for place in PLACES for floor in ("", "_real")),
}
FILTERS = {f"{what}/{network}" for what in ("filters", "mode") for network in ("generator", "discriminator")}


def checkup(images=DIGITS, **changes):
    settings = {"seed": 0, "device": CPU, "precision": "fp32", **changes}
    return Checkup(images, np.arange(len(images)), **settings)


@pytest.fixture
def early(monkeypatch):
    """Every evaluation counts, so that a G that has hardly begun counts as collapsed."""
    monkeypatch.setattr("ganfeat.health.LEAST_STEPS", 0)
    monkeypatch.setattr("ganfeat.health.LEAST_APART", 0)


def measured(record):
    return {
        name: v
        for name, v in record.items()
        if name.split("/")[0] in ("diversity", "coverage", "bins", "filters", "mode")
    }


class Resampler(Objective):
    """A game whose G draws exactly the images that it was given, those of z's rows in turn."""

    def __init__(self, images):
        super().__init__()
        self.sampler_ = Shown(images)
        self.discriminator = nn.Sequential(nn.Flatten(), nn.Linear(images[0].size, 5), nn.ReLU(), nn.Linear(5, 1))
        initialise(self.discriminator, torch.Generator().manual_seed(0))

    def players(self):
        return ()

    def draw(self, real_NCHW, generator):
        raise NotImplementedError

    def taps(self):
        return {"discriminator": self.discriminator}

    def sampler(self):
        return self.sampler_

    def draw_latents(self, n, generator):
        return torch.arange(n)[:, None].float()


class Shown(nn.Module):
    def __init__(self, images):
        super().__init__()
        self.images = torch.from_numpy(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)

    def forward(self, z_ND):
        return self.images[z_ND[:, 0].long() % len(self.images)]


# ---------------------------------------------------------------------- true numbers


def test_samples_that_are_the_real_images_of_the_cells_reach_them_all():
    check = checkup()
    found = check.measure(Resampler(DIGITS[check.halves[0]]), 0)
    for place in PLACES:
        assert found[f"coverage/{place}"] == 1.0 and found[f"bins/{place}"] == 0.0
        assert found[f"diversity/{place}"] == pytest.approx(1.0, abs=0.1)  # of one half over the other's


def test_samples_that_are_the_other_real_images_reach_what_the_floor_says():
    check = checkup()
    found = check.measure(Resampler(DIGITS[check.halves[1]]), 0)
    for place in PLACES:
        assert found[f"diversity/{place}"] == pytest.approx(1.0)
        for what in ("coverage", "bins"):
            assert found[f"{what}/{place}"] == found[f"{what}/{place}_real"]


def test_one_image_again_and_again_reaches_one_cell():
    found = checkup().measure(Resampler(DIGITS[:1]), 0)
    for place in PLACES:
        assert found[f"diversity/{place}"] == pytest.approx(0.0, abs=1e-6)
        assert found[f"coverage/{place}"] == pytest.approx(1 / 9)  # 150 // 16 cells


def test_fewer_modes_reach_fewer_cells():
    digits = load_digits()
    some = [np.round(digits.images[digits.target < k][..., None] * 255 / 16).astype(np.uint8) for k in (1, 3, 6, 10)]
    images = np.round(digits.images[..., None] * 255 / 16).astype(np.uint8)
    reached = [checkup(images).measure(Resampler(few), 0)["coverage/pixels"] for few in some]
    assert reached == sorted(reached) and reached[0] < 0.3 and reached[-1] > 0.9


def test_a_batch_of_samples_is_not_normed_by_itself():
    """D's batch norm has the statistics of real images: samples of a hundredth of their contrast stay that close."""
    objective = GAN((8, 8, 1), width=8, n_components=4).eval()
    initialise(objective, torch.Generator().manual_seed(0))
    flat = Resampler(np.round(128 + (DIGITS.astype(float) - 128) / 40).astype(np.uint8))
    flat.discriminator = objective.discriminator
    assert checkup().measure(flat, 0)["diversity/features"] < 0.2


# ---------------------------------------------------------------------- of whom, and when


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        (DCGAN, {}, MEASURES | FILTERS),
        (DCGAN, {"ema": 0.9, "precision": "bf16"}, MEASURES | FILTERS),
        (BiGAN, {"architecture": "mlp"}, MEASURES),
        (BiGAN, {}, MEASURES | FILTERS),
        (LatentRegressor, {"architecture": "mlp"}, MEASURES),
        (AutoEncoder, {"architecture": "mlp"}, set()),
    ],
)
def test_every_method_with_a_discriminator_is_measured(kind, changes, expected):
    records = list(kind(**{**SMALL, "max_iter": 1, **changes}).iter_fit(DIGITS, evaluations=1))
    assert measured(records[-1]).keys() == expected
    assert all(np.isfinite(v) for v in measured(records[-1]).values())


def test_images_larger_than_what_g_draws_are_compared_in_its_size():
    large = np.kron(DIGITS, np.ones((1, 2, 2, 1), np.uint8))
    model = BiGAN(**{**SMALL, "max_iter": 1}, generator_size=8)
    assert measured(list(model.iter_fit(large, evaluations=1))[-1]).keys() == MEASURES | FILTERS


def test_too_few_images_are_not_measured():
    model = DCGAN(**{**SMALL, "max_iter": 1})
    assert measured(list(model.iter_fit(DIGITS[:127], evaluations=1))[-1]) == {}
    assert measured(list(model.iter_fit(DIGITS[:128], evaluations=1))[-1])["coverage/pixels"] >= 0.25  # of 4 cells


def test_images_that_are_held_out_are_not_looked_at():
    model = BiGAN(**{**SMALL, "architecture": "mlp", "max_iter": 1})
    poisoned = DIGITS.copy()
    from ganfeat.estimators.monitor import hold_out

    held_out = hold_out(len(DIGITS), 0.2, 0)[1]
    poisoned[held_out] = 255 - poisoned[held_out]
    found = [measured(list(model.iter_fit(images, validation=0.2, evaluations=1))[-1]) for images in (DIGITS, poisoned)]
    assert found[0] == found[1]


def test_images_that_are_all_alike_are_not_compared():
    found = checkup(np.full((200, 8, 8, 1), 7, np.uint8)).measure(Resampler(DIGITS), 0)
    assert "diversity/pixels" not in found and "coverage/pixels" not in found


# ---------------------------------------------------------------------- no trace


def test_measuring_depends_on_the_model_alone_and_touches_no_global_generator():
    objective = GAN((8, 8, 1), width=8, n_components=4)
    initialise(objective, torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    found = [checkup().measure(copy.deepcopy(objective).eval(), step) for step in (1, 2)]
    assert found[0] == found[1]
    assert checkup(seed=1).measure(copy.deepcopy(objective).eval(), 1) != found[0]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", [DCGAN, BiGAN])
def test_the_weights_are_the_same_with_and_without(kind, tmp_path):
    for evaluations in (0, 10):
        model = kind(**SMALL)
        records = list(model.iter_fit(DIGITS, run=tmp_path / str(evaluations), evaluations=evaluations, log_every=1))
        assert bool(measured(records[-1])) == bool(evaluations)
    for name in ("model.safetensors", "checkpoints/*/state.safetensors"):
        one, other = (next((tmp_path / run).glob(name)).read_bytes() for run in ("0", "10"))
        assert one == other


def test_a_run_that_is_killed_measures_the_same_and_comes_to_the_same_verdict(tmp_path, early):
    recording = {"log_every": 1, "evaluations": 8, "sheets": 0, "checkpoint_seconds": 0.0}
    verdicts = []
    for name, kills in (("whole", (99,)), ("parts", (3, 5, 99))):
        for killed_at in kills:
            model = DCGAN(**SMALL)
            iterator = model.iter_fit(DIGITS, run=tmp_path / name, **recording)
            for record in iterator:
                if record["step"] >= killed_at:
                    iterator.close()
                    break
        verdicts.append(model.health_.summary())
        assert load(tmp_path / name).health_.summary() == verdicts[-1]
        again = DCGAN(**SMALL)
        assert list(again.iter_fit(DIGITS, run=tmp_path / name, **recording)) == []  # finished already
        assert again.health_.summary() == verdicts[-1]
    histories = [[measured(r) for r in read(tmp_path / name / "history.jsonl")] for name in ("whole", "parts")]
    assert histories[0] == histories[1] and verdicts[0] == verdicts[1]
    assert verdicts[0]["up"]  # after 8 steps G draws everything alike


# ---------------------------------------------------------------------- what is made of it


def test_a_short_fit_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DCGAN(**SMALL).fit(DIGITS)


def test_fit_warns_of_every_alarm_once(early):
    with pytest.warns(HealthWarning) as caught:
        model = DCGAN(**{**SMALL, "batch_size": 32, "max_iter": 4}).fit(DIGITS)
    assert sorted(str(w.message) for w in caught) == sorted(a.message for a in model.health_.raised)
    assert len(caught) == len({a.name for a in model.health_.raised})


def test_partial_fits_are_told_together(early):
    """One evaluation a call, and three in a row raise the alarm."""
    model = DCGAN(**SMALL)
    for _ in range(2):
        model.partial_fit(DIGITS)
    with pytest.warns(HealthWarning):
        model.partial_fit(DIGITS)
    assert model.health_.up


def test_stopping_on_collapse_leaves_a_run_that_goes_on_without_it(tmp_path, early):
    recording = {"log_every": 1, "evaluations": 8, "sheets": 0}
    stopped = DCGAN(**SMALL)
    list(stopped.iter_fit(DIGITS, run=tmp_path / "run", stop_on_collapse=True, **recording))
    assert not stopped.finished_ and stopped.health_.up and stopped.history_[-1]["step"] == 3
    list(stopped.iter_fit(DIGITS, run=tmp_path / "run", **recording))
    whole = DCGAN(**SMALL)
    list(whole.iter_fit(DIGITS, **recording))
    assert stopped.finished_
    for name, value in whole.objective_.state_dict().items():
        assert torch.equal(stopped.objective_.state_dict()[name], value), name


def test_stopping_needs_evaluations():
    for evaluations in (0, 2):
        with pytest.raises(InputError, match=f"evaluations={evaluations}: at least 3 are needed"):
            next(DCGAN(**SMALL).iter_fit(DIGITS, evaluations=evaluations, stop_on_collapse=True))
    with pytest.raises(InputError, match="at least 128 images to tell a collapse by, and there are 100"):
        next(DCGAN(**SMALL).iter_fit(DIGITS[:100], stop_on_collapse=True))
    with pytest.raises(InputError, match="is for methods with a discriminator, which autoencoder has not"):
        next(AutoEncoder(width=4, n_components=3).iter_fit(DIGITS, stop_on_collapse=True))


def test_models_that_were_not_trained_here_have_no_alarm():
    model = DCGAN(**SMALL).fit(DIGITS)
    assert model.random_init().health_ == Health()
