"""The two orders of updates against plain re-implementations, and the decay of the learning rate."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from ganfeat.checkpoint import RunFolder
from ganfeat.errors import InputError
from ganfeat.nets.blocks import initialise
from ganfeat.nets.families import Plan
from ganfeat.objectives.autoencoder import AutoEncoder
from ganfeat.objectives.bigan import BiGAN
from ganfeat.objectives.infogan import lower_bound
from ganfeat.objectives.regressor import LatentRegressor
from ganfeat.training import FINAL_RATE, LoopSettings, Trainer

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (18, 8, 8, 1), dtype=np.uint8)
SEED = 3


def plan(**changes):
    return Plan((8, 8, 1), 3, **{"architecture": "mlp", "width": 12, **changes})


GAMES = {
    "bigan": lambda **s: BiGAN(plan(), **s),
    "bigan-conv": lambda **s: BiGAN(plan(architecture="conv", width=4), **s),
    "bigan-infogan": lambda **s: BiGAN(plan(), mutual_information=0.5, n_codes=2, **s),
    "ali": lambda **s: BiGAN(plan(stochastic=True, prior="normal"), **s),
    "regressor": lambda **s: LatentRegressor(plan(joint=False), **s),
    "joint-regressor": lambda **s: LatentRegressor(plan(joint=False), joint=0.25, **s),
    "joint-regressor-conv": lambda **s: LatentRegressor(
        plan(joint=False, architecture="conv", width=4), joint=0.25, **s
    ),
}


def new_trainer(game="bigan", simultaneous=True, **settings):
    """18 images, batches of 6: 3 steps an epoch. The weights are far from flat, so that gradients are large."""
    objective = GAMES[game](simultaneous=simultaneous) if isinstance(game, str) else game
    chance = torch.Generator().manual_seed(0)
    initialise(objective, chance)
    for parameter in objective.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape, generator=chance) * 0.3
    settings = {"max_iter": 6, "batch_size": 6, "learning_rate": 1e-2, "seed": SEED, **settings}
    return Trainer(objective, IMAGES, LoopSettings(**settings), CPU)


def assert_close(mine, theirs):
    assert len(mine) == len(theirs) > 0
    for a, b in zip(mine, theirs, strict=True):
        scale = float(b.abs().max())
        assert scale > 0
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * scale)


def far(mine, theirs):
    return any((a - b).norm() > 0.02 * b.norm() for a, b in zip(mine, theirs, strict=True))


# ---------------------------------------------------------------------- plain re-implementations


def log_d(logits):
    return logits.sigmoid().log()


def log_not_d(logits):
    return (1 - logits.sigmoid()).log()


class Naive:
    """Every loss from forward passes of its own, and its gradient in the networks of one player alone."""

    def __init__(self, trainer):
        self.nets = copy.deepcopy(trainer.objective).train()
        self.kind = type(trainer.objective)
        self.x = trainer.batches.at(trainer.step)
        generator = torch.Generator().manual_seed(SEED)  # as the trainer's at its first step
        self.z = self.nets.draw_latents(len(self.x), generator)
        self.noise = torch.randn(self.z.shape, generator=generator) if self.nets.encoder.stochastic else None

    def encoded(self):
        if self.noise is None:
            return self.nets.encoder(self.x)
        mean, log_variance = self.nets.encoder.logits(self.x).chunk(2, 1)
        return mean + log_variance.exp().sqrt() * self.noise

    def judged(self):
        d, g = self.nets.discriminator, self.nets.generator
        if self.kind is BiGAN:
            return d(self.x, self.encoded()), d(g(self.z), self.z)
        return d(self.x), d(g(self.z))

    def regression(self):
        logits = self.nets.encoder.logits(self.nets.generator(self.z))
        return binary_cross_entropy_with_logits(logits, self.z / 2 + 0.5)

    def losses(self):
        """By player: the loss, anew."""
        if self.kind is BiGAN:
            q = self.nets.information
            return {
                "discriminator": lambda real, generated: -log_d(real).mean() - log_not_d(generated).mean(),
                "generator_encoder": lambda real, generated: (
                    -log_not_d(real).mean()
                    - log_d(generated).mean()
                    - (
                        0
                        if q is None
                        else 0.5 * lower_bound(q.network(self.nets.generator(self.z)), self.z[:, :2], "uniform")
                    )
                ),
            }
        return {
            "discriminator": lambda real, generated: -log_d(real).mean() - log_not_d(generated).mean(),
            "generator": lambda _, generated: -log_d(generated).mean() + self.nets.joint * self.regression(),
            "encoder": lambda *_: self.regression(),
        }

    def gradients(self, player):
        parameters = next(p for p in self.nets.players() if p.name == player).parameters()
        loss = self.losses()[player](*self.judged())
        return [g.detach() for g in torch.autograd.grad(loss, parameters)]


def left_over(trainer):
    """The gradients that a step has used, by player."""
    return {p.name: [q.grad for q in p.parameters()] for p in trainer.players}


# ---------------------------------------------------------------------- the orders


@pytest.mark.parametrize("game", GAMES)
def test_at_once_all_gradients_are_those_of_the_losses_at_the_same_point(game):
    """Sharing one forward pass changes nothing: no player's gradient is that of another loss, or of two."""
    trainer = new_trainer(game)
    naive = Naive(trainer)
    expected = {name: naive.gradients(name) for name in naive.losses()}
    trainer.play()
    found = left_over(trainer)
    assert list(found) == list(expected)
    for name, gradients in expected.items():
        assert_close(found[name], gradients)


@pytest.mark.parametrize("game", GAMES)
def test_in_turn_each_player_meets_the_others_as_updated_before_it(game):
    """The images of a step are drawn once, at its beginning: E of a regressor learns on those before G's update."""
    trainer = new_trainer(game, simultaneous=False)
    naive = Naive(trainer)
    stale = {name: naive.gradients(name) for name in naive.losses()}
    trainer.play()
    found = left_over(trainer)
    assert_close(found["discriminator"], stale["discriminator"])
    naive.nets.discriminator.load_state_dict(trainer.objective.discriminator.state_dict())
    for name in list(stale)[1:]:
        assert_close(found[name], naive.gradients(name))
    assert far(found[list(stale)[1]], stale[list(stale)[1]])  # the updated D is another opponent


@pytest.mark.parametrize("simultaneous", [True, False])
@pytest.mark.parametrize("game", GAMES)
def test_every_weight_takes_one_step_of_adam_along_its_own_players_gradient(game, simultaneous):
    """At step 1 Adam's moments cancel, and a weight moves by lr g / (|g| + eps): nothing else touches it."""
    trainer = new_trainer(game, simultaneous, weight_decay=0.0)
    before = {n: p.detach().clone() for n, p in trainer.objective.named_parameters()}
    trainer.play()
    for name, parameter in trainer.objective.named_parameters():
        expected = before[name] - 1e-2 * parameter.grad / (parameter.grad.abs() + 1e-8)
        torch.testing.assert_close(
            parameter.detach(), expected, atol=1e-7, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
        assert not torch.equal(parameter, before[name]), name
    tensors, _ = trainer.state()
    counts = [float(v) for k, v in tensors.items() if k.startswith("optimiser/") and k.endswith("/step")]
    assert counts == [1.0] * len(before)


def test_the_orders_are_different_trainings():
    ends = []
    for simultaneous in (True, False):
        trainer = new_trainer(simultaneous=simultaneous)
        trainer.play()
        ends.append(dict(trainer.objective.named_parameters()))
    same = {n.split(".")[0] for n, p in ends[0].items() if torch.equal(p, ends[1][n])}
    assert same == {"discriminator"}  # only D's first update is the same


@pytest.mark.parametrize("simultaneous", [True, False])
@pytest.mark.parametrize("game", GAMES)
def test_records_have_the_loss_of_every_player(game, simultaneous):
    trainer = new_trainer(game, simultaneous, log_every=1)
    naive = Naive(trainer)
    expected = {name: loss(*naive.judged()).item() for name, loss in naive.losses().items()}
    record = next(iter(trainer.run()))
    assert record["loss/discriminator"] == pytest.approx(expected["discriminator"], rel=1e-4)
    for name in expected:
        assert math.isfinite(record[f"loss/{name}"])
        assert record[f"gradient/{name}"] > 0
        if simultaneous:
            assert record[f"loss/{name}"] == pytest.approx(expected[name], rel=1e-4)


@pytest.mark.parametrize("simultaneous", [True, False])
@pytest.mark.parametrize("game", GAMES)
def test_a_restored_training_goes_on_bit_for_bit(game, simultaneous, tmp_path):
    """In the middle of an epoch and of the decay, into a trainer that began elsewhere."""
    settings = {"decay_iter": 4, "ema": 0.9}
    trainer = new_trainer(game, simultaneous, **settings)
    for _ in range(8):
        trainer.play()
    folder = RunFolder(tmp_path / "run")
    folder.open({})
    folder.write_checkpoint(*trainer.state())
    for _ in range(5):
        trainer.play()
    other = new_trainer(game, simultaneous, **settings)
    other.play()
    assert other.resume(folder)
    assert other.step == 8
    for _ in range(5):
        other.play()
    (mine, where), (theirs, there) = other.state(), trainer.state()
    assert where == there
    assert mine.keys() == theirs.keys()
    assert [k for k, v in mine.items() if not torch.equal(v, theirs[k])] == []


# ---------------------------------------------------------------------- the decay


def rates(trainer, steps=None):
    """The learning rate of every step, the same for all players."""
    found = []
    while trainer.step < (trainer.total_steps if steps is None else steps):
        trainer.play()
        (rate,) = {group["lr"] for o in trainer.optimisers.values() for group in o.param_groups}
        found.append(rate)
    return found


def autoencoder():
    return AutoEncoder(plan(joint=False, width=2))


def test_the_rate_is_constant_and_then_falls_by_one_factor_to_a_hundredth():
    """6 epochs of 3 steps, the last 4 of them decay: 6 steps at 0.01, then 12 that would meet 0.0001 at the next."""
    found = rates(new_trainer(decay_iter=4))
    assert found[:7] == [1e-2] * 7  # the first step of the decay is at its beginning
    ratios = np.divide(found[7:], found[6:-1])
    np.testing.assert_allclose(ratios, 0.01 ** (1 / 12), rtol=1e-12)
    assert found[-1] * ratios[-1] == pytest.approx(1e-4)
    assert FINAL_RATE == 0.01


def test_without_decay_the_rate_is_constant():
    assert rates(new_trainer(autoencoder())) == [1e-2] * 18


def test_it_may_fall_from_the_first_step_on():
    found = rates(new_trainer(autoencoder(), decay_iter=6))
    np.testing.assert_allclose(found, 1e-2 * 0.01 ** (np.arange(18) / 18), rtol=1e-12)


def test_the_rate_depends_on_nothing_but_the_step(tmp_path):
    """Stopped anywhere and gone on with, once with a trainer that has just played other steps at other rates."""
    expected = rates(new_trainer(autoencoder(), decay_iter=4))
    for stop in (3, 6, 7, 13, 17):
        trainer = new_trainer(autoencoder(), decay_iter=4)
        assert rates(trainer, stop) == expected[:stop]
        folder = RunFolder(tmp_path / str(stop))
        folder.open({})
        folder.write_checkpoint(*trainer.state())
        rates(trainer, 18)
        assert trainer.resume(folder)
        assert rates(trainer) == expected[stop:]
        assert new_trainer(autoencoder(), decay_iter=4).resume(folder)


def test_adam_moves_by_the_rate_of_the_step():
    """Under a constant gradient Adam's steps are lr long: here a weight that only the L2 term of 10^6 pulls."""
    trainer = new_trainer(autoencoder(), decay_iter=3, weight_decay=1e6)
    weight = trainer.objective.generator.output.weight
    weight.data.fill_(100.0)
    expected, moves = rates(new_trainer(autoencoder(), decay_iter=3)), []
    for _ in expected:
        before = weight.detach().double().clone()
        trainer.play()
        moves.append((before - weight.detach().double()).mean().item())
    np.testing.assert_allclose(moves, expected, rtol=0.02, atol=1e-5)
    assert moves[-1] < 0.02 * moves[0]


def test_a_run_whose_rate_is_falling_keeps_its_end(tmp_path):
    """A later one would send the rate up again; before the fall it may be moved."""
    folder = RunFolder(tmp_path / "run")
    folder.open({"estimator": {}})
    trainer = new_trainer(max_iter=4, decay_iter=2)
    half = trainer.total_steps // 2
    while trainer.step < half:
        trainer.play()
    trainer.save(folder, final=False)
    assert new_trainer(max_iter=6, decay_iter=2).resume(folder)  # it has not begun to fall
    trainer.play()
    trainer.save(folder, final=False)
    with pytest.raises(InputError, match="was to end after 4 epochs"):
        new_trainer(max_iter=6, decay_iter=2).resume(folder)
    assert new_trainer(max_iter=4, decay_iter=2).resume(folder)
