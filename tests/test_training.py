"""The loop: order of the images, exact state, averages, guards, and that watching changes nothing."""

import json
import math

import numpy as np
import pytest
import torch

from ganfeat import history
from ganfeat.checkpoint import RunFolder
from ganfeat.errors import InputError, RunError
from ganfeat.nets.batchnorm import batch_norms
from ganfeat.nets.blocks import initialise
from ganfeat.objectives.gan import GAN
from ganfeat.pictures import read_png
from ganfeat.training import SHEET, Batches, LoopSettings, Trainer

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
TIMING = ("seconds", "images_per_second")


def new_trainer(images=IMAGES, initial_seed=0, rows=None, monitor=None, **settings):
    """20 images, batches of 6: 3 steps an epoch, 2 images left out."""
    settings = {"max_iter": 4, "batch_size": 6, "learning_rate": 2e-3, "log_every": 2, "sheets": 2, **settings}
    gan = GAN(images.shape[1:], n_components=5, width=4, augment=("translate",))
    initialise(gan, torch.Generator().manual_seed(initial_seed))
    return Trainer(gan, images, LoopSettings(**settings), CPU, rows=rows, monitor=monitor)


class Sizes:
    """A monitor that tells the size of G's weights, and spoils the copy that it was given."""

    def measure(self, model, step):
        assert not any(module.training for module in model.modules())
        with torch.no_grad():
            size = float(sum(p.double().square().sum() for p in model.generator.parameters()))
            for tensor in model.state_dict().values():
                tensor.zero_()
        return {"size/generator": size, "size/step": float(step)}

    def sheet(self, model):
        self.measure(model, 0)
        return np.full((3, 5, 1), 7, np.uint8)


@pytest.fixture
def folder(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.open({})
    return run


def snapshot(trainer):
    tensors, state = trainer.state()
    return {k: v.clone() for k, v in tensors.items()}, json.loads(json.dumps(state))


def assert_same(first, second):
    assert first[0].keys() == second[0].keys()
    different = [name for name, value in first[0].items() if not torch.equal(value, second[0][name])]
    assert different == []
    assert first[1] == second[1]


def played(trainer, steps):
    for _ in range(steps):
        trainer.play()
    return trainer


def steps_of(folder):
    return [r["step"] for r in history.read(folder.history)]


def checkpoints_of(folder):
    return sorted(p.name for p in folder.checkpoints.iterdir())


# ---------------------------------------------------------------------- mini-batches


class TestBatches:
    def batches(self, images=IMAGES, size=6, seed=0):
        return Batches(images, size, seed, CPU)

    def test_an_epoch_is_a_permutation_and_each_is_another(self):
        batches = self.batches()
        orders = [batches.order(epoch).copy() for epoch in range(5)]
        for order in orders:
            np.testing.assert_array_equal(np.sort(order), np.arange(20))
        assert len({tuple(order) for order in orders}) == 5

    def test_the_steps_of_an_epoch_are_its_order_cut_into_whole_batches(self):
        batches = self.batches()
        assert batches.per_epoch == 3
        for epoch in (0, 1, 7):
            expected = batches.take(batches.order(epoch)[:18])
            found = torch.cat([batches.at(3 * epoch + k) for k in range(3)])
            assert torch.equal(found, expected)

    def test_every_image_is_seen_though_the_last_batch_is_left_out(self):
        """Each epoch leaves 2 of 20 out, others every time: after 8 all were seen but for a chance of 20 / 10^8."""
        batches = self.batches()
        assert len(set(np.concatenate([batches.order(e)[:18] for e in range(8)]))) == 20

    def test_the_order_depends_on_seed_and_epoch_alone(self):
        first, again, other = self.batches(seed=1), self.batches(seed=1), self.batches(seed=2)
        again.order(9)
        assert torch.equal(first.at(4), again.at(4))
        assert not torch.equal(first.at(0), other.at(0))
        assert not torch.equal(first.at(0), self.batches(seed=0).at(3))

    def test_numpys_and_torchs_global_generators_are_left_alone(self):
        before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        self.batches().at(5)
        assert torch.equal(torch.get_rng_state(), before[0])
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002

    def test_pixels_become_minus_one_to_one_in_nchw(self):
        images = np.arange(2 * 3 * 4 * 2, dtype=np.uint8).reshape(2, 3, 4, 2) * 5
        x_NCHW = self.batches(images, size=2).take(np.array([1, 0]))
        expected = images[[1, 0]].transpose(0, 3, 1, 2).astype(np.float64) / 127.5 - 1
        np.testing.assert_allclose(x_NCHW.numpy(), expected, atol=1e-7)
        assert self.batches(np.array([[[[0]]], [[[255]]]], np.uint8)).take(np.arange(2)).flatten().tolist() == [-1, 1]

    def test_float_images_are_taken_as_they_are(self):
        images = np.linspace(-1, 1, 2 * 64, dtype=np.float32).reshape(2, 8, 8, 1)
        x_NCHW = self.batches(images).take(np.arange(2))
        np.testing.assert_array_equal(x_NCHW.numpy(), images.transpose(0, 3, 1, 2))

    def test_a_memory_map_gives_the_same_batches(self, tmp_path):
        np.save(tmp_path / "images.npy", IMAGES)
        mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
        for step in range(4):
            assert torch.equal(self.batches(mapped).at(step), self.batches().at(step))

    def test_some_rows_give_the_batches_of_a_set_of_those_images(self):
        rows = np.array([1, 4, 5, 9, 11, 12, 17, 19])
        some, alone = Batches(IMAGES, 3, 0, CPU, rows), self.batches(IMAGES[rows], size=3)
        assert (some.size, some.per_epoch) == (alone.size, alone.per_epoch) == (3, 2)
        assert all(torch.equal(some.at(step), alone.at(step)) for step in range(6))

    def test_a_small_set_is_one_batch(self):
        batches = self.batches(IMAGES[:4], size=128)
        assert (batches.size, batches.per_epoch) == (4, 1)


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_iter": 0},
        {"max_iter": 2.5},
        {"batch_size": 1},
        {"log_every": 0},
        {"sheets": -1},
        {"evaluations": -1},
        {"evaluations": 2.5},
        {"learning_rate": 0.0},
        {"learning_rate": -1e-3},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"learning_rate": "fast"},
        {"ema": 1.0},
        {"ema": -0.1},
        {"weight_decay": -1e-5},
        {"weight_decay": float("nan")},
        {"checkpoint_seconds": -1.0},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused_by_name(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        LoopSettings(**wrong)


@pytest.mark.parametrize("betas", [(1.0, 0.999), (-0.1, 0.999), (0.5, 1.0)])
def test_betas_outside_of_zero_to_one_are_refused(betas):
    with pytest.raises(InputError, match="beta"):
        LoopSettings(betas=betas)


def test_one_image_is_not_enough():
    with pytest.raises(InputError, match="at least 2 images"):
        new_trainer(IMAGES[:1])
    with pytest.raises(InputError, match=r"n_samples=1: .* at least 2 images"):
        new_trainer(rows=np.array([3]))


# ---------------------------------------------------------------------- a step


def test_a_step_updates_every_player_once():
    trainer = new_trainer()
    before = [p.detach().clone() for p in trainer.objective.parameters()]
    trainer.play()
    assert trainer.step == 1
    assert all(not torch.equal(p, b) for p, b in zip(trainer.objective.parameters(), before, strict=True))
    tensors, _ = trainer.state()
    counts = {k: float(v) for k, v in tensors.items() if k.startswith("optimiser/") and k.endswith("/step")}
    assert len(counts) == len(before)
    assert set(counts.values()) == {1.0}


def test_the_first_step_is_adams():
    """At step 1 Adam's moments cancel: every weight moves by lr * g / (|g| + eps), g with the L2 term added."""
    trainer = new_trainer(learning_rate=1e-3, weight_decay=0.1)
    weight = trainer.objective.discriminator.head.weight
    before = weight.detach().clone()
    trainer.play()
    # the gradient that is left over is the loss's own, and Adam adds weight_decay * weight
    g = weight.grad + 0.1 * before
    torch.testing.assert_close(before - weight.detach(), 1e-3 * g / (g.abs() + 1e-8), atol=2e-8, rtol=1e-3)


def test_the_average_is_a_moving_one_with_a_warm_start():
    """a <- d a + (1 - d) w after every step, from a = w at the start, d = min(ema, (1 + k) / (10 + k))."""
    trainer = new_trainer(ema=0.4)
    weights = [p.detach().double().clone() for p in trainer.objective.sampler().parameters()]
    average = weights
    for k in range(8):
        trainer.play()
        d = min(0.4, (1 + k) / (10 + k))
        weights = [p.detach().double() for p in trainer.objective.sampler().parameters()]
        average = [d * a + (1 - d) * w for a, w in zip(average, weights, strict=True)]
    for mine, expected in zip(trainer.average.parameters(), average, strict=True):
        torch.testing.assert_close(mine.double(), expected, atol=1e-6, rtol=1e-5)
    assert (1 + 7) / (10 + 7) > 0.4 > 1 / 10  # both branches were taken


def test_the_average_does_not_change_the_game():
    plain, averaged = (played(new_trainer(ema=ema), 5).objective.state_dict() for ema in (0.0, 0.9))
    assert all(torch.equal(value, averaged[name]) for name, value in plain.items())


# ---------------------------------------------------------------------- state


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("ema", [0.0, 0.9], ids=["", "ema"])
def test_a_restored_training_goes_on_bit_for_bit(folder, ema, precision):
    """Through the files, into a trainer that began with other weights, in the middle of an epoch."""
    trainer = played(new_trainer(ema=ema, precision=precision), 4)
    folder.write_checkpoint(*trainer.state())
    expected = snapshot(played(trainer, 4))

    other = played(new_trainer(initial_seed=1, ema=ema, precision=precision), 1)
    tensors, state, _ = folder.read_checkpoint()
    other.load(tensors, state)
    assert_same(snapshot(played(other, 4)), expected)


def test_what_is_restored_is_what_was_saved(folder):
    trainer = played(new_trainer(ema=0.9), 3)
    folder.write_checkpoint(*trainer.state())
    other = new_trainer(initial_seed=1, ema=0.9)
    assert other.resume(folder)
    assert_same(snapshot(other), snapshot(trainer))


def test_a_training_that_is_stopped_again_and_again_is_one_training(tmp_path):
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    whole.open({})
    parts.open({})
    one = new_trainer(ema=0.9)
    list(one.run(whole))
    for stop_after in (1, 2, 1, 9):
        trainer = new_trainer(ema=0.9)
        for number, _ in enumerate(trainer.run(parts), 1):
            if number == stop_after:
                trainer.request_stop()
    assert_same(snapshot(trainer), snapshot(one))
    assert (parts.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
    records = [
        [{k: v for k, v in r.items() if k not in TIMING} for r in history.read(f.history)] for f in (whole, parts)
    ]
    assert records[0] == records[1]
    assert steps_of(parts) == [2, 4, 6, 8, 10, 12]
    sheets = [{p.name: p.read_bytes() for p in f.samples.iterdir()} for f in (whole, parts)]
    assert sheets[0] == sheets[1]


def test_a_lost_checkpoint_is_made_up_for_with_a_warning(folder):
    expected = snapshot(played(new_trainer(), 12))
    trainer = new_trainer()
    for _ in range(2):
        played(trainer, 2)
        trainer.save(folder)
    newest = folder.checkpoints / "step-00000004" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    other = new_trainer()
    with pytest.warns(UserWarning, match="step-00000004 is damaged"):
        other.resume(folder)
    assert other.step == 2
    assert_same(snapshot(played(other, 10)), expected)


@pytest.mark.usefixtures("threads")
def test_a_training_goes_on_with_as_many_threads_as_before(folder, monkeypatch):
    """With another number sums come out in another order."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(2)
    trainer = played(new_trainer(), 2)
    trainer.save(folder)
    torch.set_num_threads(1)
    new_trainer().resume(folder)
    assert torch.get_num_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    with pytest.warns(UserWarning, match="trained with 2 threads and goes on with 1, as OMP_NUM_THREADS asks"):
        new_trainer().resume(folder)
    assert torch.get_num_threads() == 1


def test_records_past_the_checkpoint_of_a_killed_process_are_played_again(folder):
    for _ in (trainer := new_trainer()).run(folder):
        trainer.request_stop()
    history.append(folder.history, {"step": 4, "from": "the killed process"})
    list(new_trainer().run(folder))
    assert steps_of(folder) == [2, 4, 6, 8, 10, 12]
    assert all("from" not in r for r in history.read(folder.history))


def test_without_a_checkpoint_a_killed_process_history_is_dropped(folder):
    history.append(folder.history, {"step": 2})
    list(new_trainer().run(folder))
    assert steps_of(folder) == [2, 4, 6, 8, 10, 12]


def test_watching_changes_nothing(folder):
    """Records, sheets, checkpoints, weights for use: the training is the same, bit for bit, without them."""
    expected = snapshot(played(new_trainer(), 12))[0]
    watched = new_trainer(log_every=1, sheets=12, checkpoint_seconds=0.0, evaluations=12, monitor=Sizes())
    for _ in watched.run(folder):
        watched.sheet()
        watched.trained()
    found = snapshot(watched)[0]
    trained = [k for k in expected if not k.startswith("sum/")]
    assert all(torch.equal(found[k], expected[k]) for k in trained)


def test_the_seed_decides_the_training():
    first, again, other = (played(new_trainer(seed=seed), 4).objective.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(v, again[k]) for k, v in first.items())
    assert any(not torch.equal(v, other[k]) for k, v in first.items())


def test_torchs_global_generator_is_left_alone(folder):
    trainer = new_trainer(ema=0.5)
    before = torch.get_rng_state()
    list(trainer.run(folder))
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------------- records


def test_records_count_up_to_the_last_step(folder):
    records = list(new_trainer(log_every=5).run(folder))
    assert [r["step"] for r in records] == [5, 10, 12]
    assert [r["epoch"] for r in records] == [5 / 3, 10 / 3, 4.0]
    assert all(r["total_steps"] == 12 for r in records)
    assert history.read(folder.history) == records
    names = {"loss/discriminator", "loss/generator", "logit/real", "logit/generated"}
    names |= {"gradient/discriminator", "gradient/generator"}
    assert all(names <= r.keys() and all(math.isfinite(r[n]) for n in names) for r in records)
    assert all(r["images_per_second"] > 0 for r in records)
    assert records[0]["seconds"] <= records[1]["seconds"] <= records[2]["seconds"]


@pytest.mark.parametrize("name", ["loss/discriminator", "loss/generator", "logit/real", "logit/generated"])
def test_a_record_is_the_mean_of_its_steps(name):
    fine = [r[name] for r in new_trainer(log_every=1).run()]
    coarse = [r[name] for r in new_trainer(log_every=4).run()]
    np.testing.assert_allclose(coarse, np.reshape(fine, (3, 4)).mean(1), rtol=1e-5, atol=1e-6)


def test_the_first_loss_is_near_two_log_two():
    """The weights start so small that D is undecided."""
    record = next(iter(new_trainer(log_every=1).run()))
    assert record["loss/discriminator"] == pytest.approx(2 * math.log(2), abs=0.05)


def test_the_gradient_of_a_record_is_the_norm_of_the_last_steps():
    trainer = new_trainer(log_every=3)
    record = next(iter(trainer.run()))
    squares = sum(float(p.grad.double().square().sum()) for p in trainer.objective.generator.parameters())
    assert record["gradient/generator"] == pytest.approx(squares**0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("evaluations", "log_every", "due"),
    [
        (3, 1, [4, 8, 12]),
        (3, 5, [5, 10, 12]),
        (2, 5, [10, 12]),
        (1, 2, [12]),
        (5, 1, [2, 5, 7, 10, 12]),
        (100, 4, [4, 8, 12]),
        (3, 100, [12]),
        (0, 1, []),
    ],
)
def test_the_record_after_each_of_equal_parts_says_what_was_measured(evaluations, log_every, due):
    """12 steps. No record tells of two moments twice, and none is lost: the due ones are those after a moment."""
    records = list(new_trainer(monitor=Sizes(), evaluations=evaluations, log_every=log_every).run())
    assert [r["step"] for r in records if "size/generator" in r] == due
    assert all(r["size/step"] == r["step"] for r in records if "size/step" in r)
    assert not any("size/generator" in r for r in new_trainer(evaluations=evaluations, log_every=log_every).run())


def test_what_is_measured_is_what_is_saved(folder):
    """At the end: the averaged G of model.safetensors, not the G that is trained."""
    trainer = new_trainer(monitor=Sizes(), ema=0.9)
    record = list(trainer.run(folder))[-1]
    weights = folder.read_model()
    names = [f"generator.{name}" for name, _ in trainer.objective.generator.named_parameters()]
    saved = sum(float(weights[name].double().square().sum()) for name in names)
    trained = sum(float(p.detach().double().square().sum()) for p in trainer.objective.generator.parameters())
    assert record["size/generator"] == pytest.approx(saved, rel=1e-12) != pytest.approx(trained, rel=1e-6)


def test_a_measure_that_is_not_finite_stops_the_training():
    class Broken(Sizes):
        def measure(self, model, step):
            return {"cycle/z": math.nan}

    with pytest.raises(RunError, match="cycle/z became nan at step 6"):
        list(new_trainer(monitor=Broken(), evaluations=2).run())


# ---------------------------------------------------------------------- stopping


def test_a_request_to_stop_ends_after_the_step_with_a_checkpoint(folder):
    trainer = new_trainer(log_every=1)
    for record in trainer.run(folder):
        if record["step"] == 5:
            trainer.request_stop()
    assert trainer.step == 5
    assert steps_of(folder) == [1, 2, 3, 4, 5]
    assert folder.read_checkpoint()[1]["step"] == 5
    assert (folder.path / "model.safetensors").exists()


def test_checkpoints_are_written_on_the_way_and_at_the_end(folder):
    seen = set()
    for _ in new_trainer(log_every=1, checkpoint_seconds=0.0).run(folder):
        seen |= set(checkpoints_of(folder))
    assert seen == {f"step-{s:08d}" for s in range(1, 12)}
    assert checkpoints_of(folder) == ["step-00000011", "step-00000012"]


def test_time_between_checkpoints_is_respected(folder):
    seen = set()
    for _ in new_trainer(log_every=1, checkpoint_seconds=3600).run(folder):
        seen |= set(checkpoints_of(folder))
    assert seen == set()
    assert checkpoints_of(folder) == ["step-00000012"]


def test_a_finished_run_stays_as_it_is(folder):
    list(new_trainer().run(folder))
    before = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
    assert list(new_trainer().run(folder)) == []
    assert {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()} == before


def test_more_epochs_go_on_with_a_finished_run(folder):
    list(new_trainer(max_iter=2).run(folder))
    longer = new_trainer(max_iter=4)
    list(longer.run(folder))
    once = new_trainer(max_iter=4)
    list(once.run())
    assert_same(snapshot(longer), snapshot(once))
    assert steps_of(folder) == [2, 4, 6, 8, 10, 12]


# ---------------------------------------------------------------------- guards


@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_a_weight_that_is_not_finite_stops_the_training_and_the_last_checkpoint_is_kept(folder, network):
    trainer = new_trainer(log_every=1)
    for record in trainer.run(folder):
        if record["step"] == 3:
            trainer.request_stop()
    before = (folder.path / "model.safetensors").read_bytes()

    trainer = new_trainer(log_every=1)
    records = trainer.run(folder)
    next(records)
    with torch.no_grad():
        next(iter(getattr(trainer.objective, network).parameters()))[0, 0] = float("nan")
    with pytest.raises(RunError, match=r"became nan at step 5 .*The last good checkpoint is of step 3, in .*run\."):
        list(records)
    assert checkpoints_of(folder) == ["step-00000003"]
    assert (folder.path / "model.safetensors").read_bytes() == before
    assert steps_of(folder) == [1, 2, 3, 4]


def test_a_learning_rate_far_too_high_is_named(folder):
    with pytest.raises(RunError) as caught:
        list(new_trainer(log_every=1, learning_rate=1e30).run(folder))
    message = str(caught.value)
    assert "loss/" in message
    assert f"There is no checkpoint in {folder.path} yet" in message
    assert "lower learning_rate (now 1e+30)" in message
    assert folder.read_checkpoint() is None
    assert not (folder.path / "model.safetensors").exists()


def test_bf16_is_named_as_a_suspect():
    trainer = new_trainer(log_every=1, learning_rate=1e30, precision="bf16")
    with pytest.raises(RunError, match="precision='fp32'"):
        list(trainer.run())


def test_no_checkpoint_of_a_broken_network_is_written_between_two_records(folder):
    trainer = new_trainer(log_every=1000, checkpoint_seconds=0.0)
    with torch.no_grad():
        trainer.objective.discriminator.head.bias.fill_(float("nan"))
    with pytest.raises(RunError, match="weights became nan"):
        list(trainer.run(folder))
    assert checkpoints_of(folder) == []


# ---------------------------------------------------------------------- samples, weights for use


def test_sheets_are_drawn_at_the_start_in_equal_distances_and_at_the_end(folder):
    list(new_trainer(sheets=3).run(folder))
    assert sorted(p.name for p in folder.samples.iterdir()) == [f"step-{s:08d}.png" for s in (0, 4, 8, 12)]


def test_a_monitors_sheets_stand_beside_the_samples(folder):
    list(new_trainer(sheets=3, monitor=Sizes()).run(folder))
    steps = (0, 4, 8, 12)
    names = [f"reconstruction-step-{s:08d}.png" for s in steps] + [f"step-{s:08d}.png" for s in steps]
    assert sorted(p.name for p in folder.samples.iterdir()) == names
    assert (read_png(folder.samples / names[-5]) == 7).all()


def test_no_sheets_where_none_are_wanted(folder):
    list(new_trainer(sheets=0, monitor=Sizes()).run(folder))
    assert list(folder.samples.iterdir()) == []


def test_a_sheet_shows_the_same_z_through_the_averaged_generator():
    trainer = played(new_trainer(ema=0.9), 3)
    sheet = trainer.sheet()
    assert sheet.shape == (SHEET, 8, 8, 1)
    assert sheet.dtype == np.uint8
    np.testing.assert_array_equal(trainer.sheet(), sheet)
    trainer.average.load_state_dict(trainer.objective.sampler().state_dict())
    assert not np.array_equal(trainer.sheet(), sheet)


def test_weights_for_use_have_statistics_of_real_images_for_d_and_of_z_for_g():
    """D's first norm: the plain mean over the epoch's batches of the maps' means, without any generated image."""
    trainer = played(new_trainer(), 5)
    before = snapshot(trainer)
    tensors = trainer.trained()
    assert_same(snapshot(trainer), before)
    conv = trainer.objective.discriminator.blocks[0]
    order = trainer.batches.order(0)
    with torch.no_grad():
        maps = [
            trainer.objective.discriminator.blocks[1].conv(conv(trainer.batches.take(order[k * 6 : k * 6 + 6])))
            for k in range(3)
        ]
    mean = torch.stack([m.double().mean((0, 2, 3)) for m in maps]).mean(0)
    variance = torch.stack([m.double().var((0, 2, 3)) for m in maps]).mean(0)
    torch.testing.assert_close(tensors["discriminator.blocks.1.norm.running_mean"].double(), mean, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(tensors["discriminator.blocks.1.norm.running_var"].double(), variance, rtol=1e-4, atol=0)
    assert all(torch.equal(tensors[k], v) for k, v in trainer.objective.named_parameters())
    names = [k for k in tensors if k.startswith("generator.") and k.endswith("running_mean")]
    assert len(names) == len(batch_norms(trainer.objective.generator))
    assert any(not torch.equal(tensors[k], trainer.objective.state_dict()[k]) for k in names)


def test_weights_for_use_hold_the_averaged_generator():
    trainer = played(new_trainer(ema=0.9), 5)
    tensors = trainer.trained()
    for name, value in trainer.average.named_parameters():
        assert torch.equal(tensors[f"generator.{name}"], value)


def test_tensorboard_has_every_record_once_though_the_run_was_stopped(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = new_trainer()
    for record in trainer.run(folder, tensorboard=True):
        if record["step"] == 4:
            trainer.request_stop()
    list(new_trainer().run(folder, tensorboard=True))
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("loss/generator")] == [2, 4, 6, 8, 10, 12]
    np.testing.assert_allclose(
        [e.value for e in events.Scalars("loss/generator")],
        [r["loss/generator"] for r in history.read(folder.history)],
        rtol=1e-6,
    )
    assert events.Images("samples")[-1].step == 12


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_training_on_a_gpu_can_be_stopped_and_goes_on(tmp_path):
    run = RunFolder(tmp_path)
    run.open({})
    for stop in (True, False):
        gan = GAN((16, 16, 1), n_components=5, width=4)
        initialise(gan, torch.Generator().manual_seed(0))
        settings = LoopSettings(max_iter=4, batch_size=6, log_every=2, ema=0.9, precision="bf16")
        images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 1), dtype=np.uint8)
        trainer = Trainer(gan, images, settings, torch.device("cuda"))
        for _ in trainer.run(run):
            if stop:
                trainer.request_stop()
    assert steps_of(run) == [2, 4, 6, 8, 10, 12]


def test_the_average_survives_the_end_of_an_epoch():
    """Decay (1 + t) / (10 + t) counts updates of the average, over every continuation, not steps of this one."""
    trainer = new_trainer(ema=0.999)
    for _ in range(30):
        trainer.play()
    tensors, state = trainer.state()
    again = new_trainer(ema=0.999)
    again.load(tensors, {**state, "step": 0})
    before = [p.clone() for p in again.average.parameters()]
    again.play()
    decay = 31 / 40
    for old, new, now in zip(before, again.average.parameters(), again.objective.sampler().parameters(), strict=True):
        torch.testing.assert_close(new, decay * old + (1 - decay) * now, rtol=1e-4, atol=1e-6)
