"""CatGAN: entropies in closed form, the losses built of them, and who learns from which."""

import copy
import math

import pytest
import torch

from ganfeat.errors import InputError
from ganfeat.objectives.catgan import CatGAN, marginal_entropy, mean_entropy

K = 5
UNIFORM = torch.zeros(10, K, dtype=torch.float64)
CERTAIN = 200 * torch.eye(K, dtype=torch.float64).repeat(2, 1)
"""Certain of each image, and every category twice."""


def new_game(game, **settings):
    objective = CatGAN((8, 8, 1), **{"n_classes": K, "n_components": 3, "width": 2, "kernel_size": 3, **settings})
    return game.float64(objective)


def gradients(network):
    return [p.grad for p in network.parameters()]


# ---------------------------------------------------------------------- closed forms


def test_entropies_of_no_idea_and_of_certainty():
    """Uniform: log K, of each and of the mean. One-hot: 0 of each; of the mean log K, or 0 if all are alike."""
    assert mean_entropy(UNIFORM).item() == pytest.approx(math.log(K))
    assert marginal_entropy(UNIFORM).item() == pytest.approx(math.log(K))
    assert mean_entropy(CERTAIN).item() == pytest.approx(0, abs=1e-12)
    assert marginal_entropy(CERTAIN).item() == pytest.approx(math.log(K))
    assert marginal_entropy(CERTAIN[:1].expand(7, -1)).item() == pytest.approx(0, abs=1e-12)
    for entropy in (mean_entropy, marginal_entropy):
        logits = CERTAIN[:1].float().clone().requires_grad_()
        entropy(logits).backward()
        assert logits.grad.isfinite().all()  # 0 log 0 is 0, and so is its slope


def test_two_thirds_of_one_category():
    """H(2/3, 1/3) = log 3 - 2/3 log 2."""
    logits = 200 * torch.tensor([[1.0, 0], [1, 0], [0, 1]], dtype=torch.float64)
    assert marginal_entropy(logits).item() == pytest.approx(math.log(3) - 2 / 3 * math.log(2))


def test_entropies_as_their_definitions_and_as_pytorchs():
    logits = 2 * torch.randn(20, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p_NK = logits.softmax(1)
    torch.testing.assert_close(mean_entropy(logits), torch.distributions.Categorical(logits=logits).entropy().mean())
    torch.testing.assert_close(marginal_entropy(logits), torch.distributions.Categorical(p_NK.mean(0)).entropy())
    assert mean_entropy(logits) < marginal_entropy(logits) < math.log(K)  # concavity: their gap is the information
    shifted, order = logits + torch.arange(20.0)[:, None], torch.randperm(K, generator=torch.Generator().manual_seed(1))
    for entropy in (mean_entropy, marginal_entropy):
        torch.testing.assert_close(entropy(shifted), entropy(logits))
        torch.testing.assert_close(entropy(logits[:, order]), entropy(logits))


class Told(torch.nn.Module):
    """A D that says what it is told, first of real images, then of generated ones."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = list(answers)

    def forward(self, x_NCHW):
        return self.answers.pop(0) + 0 * x_NCHW.sum()


@pytest.mark.parametrize(
    ("real", "generated", "loss"),
    [
        (CERTAIN, UNIFORM, -2 * math.log(K)),  # the optimum
        (UNIFORM, UNIFORM, -math.log(K)),
        (CERTAIN, CERTAIN, -math.log(K)),
        (CERTAIN[:1].expand(10, -1), UNIFORM, -math.log(K)),  # one category for all
        (UNIFORM, CERTAIN, 0.0),
    ],
)
def test_the_loss_of_d_at_its_corners(game, real, generated, loss):
    objective = new_game(game)
    draw = game.draw(objective, n=10)
    objective.discriminator = Told(real, generated)
    found, metrics = objective.loss_of_discriminator(draw)
    assert found.item() == pytest.approx(loss, abs=1e-9)
    assert set(metrics) == {"entropy/real", "entropy/generated", "entropy/marginal"}


@pytest.mark.parametrize(
    ("generated", "loss"), [(CERTAIN, -math.log(K)), (UNIFORM, 0.0), (CERTAIN[:1].expand(10, -1), 0.0)]
)
def test_the_loss_of_g_at_its_corners(game, generated, loss):
    """G gains nothing from images of one category alone: it must draw all."""
    objective = new_game(game)
    draw = game.draw(objective, n=10)
    objective.discriminator = Told(UNIFORM, UNIFORM, generated)
    objective.loss_of_discriminator(draw)
    assert objective.loss_of_generator(draw)[0].item() == pytest.approx(loss, abs=1e-9)


# ---------------------------------------------------------------------- gradients


@pytest.mark.parametrize("settings", [{}, {"n_classes": 2, "prior": "normal"}], ids=str)
def test_gradients_are_slopes(game, settings):
    game.slopes_agree(new_game(game, **settings))


@pytest.mark.parametrize("augment", [(), ("translate", "flip")], ids=["plain", "augmented"])
def test_each_loss_reaches_the_networks_of_its_player_alone(game, augment):
    objective = new_game(game, augment=augment)
    players = objective.players()
    assert [p.name for p in players] == ["discriminator", "generator"]
    assert sorted(id(q) for p in players for q in p.parameters()) == sorted(id(q) for q in objective.parameters())
    losses = game.play(objective)
    losses["discriminator"].backward()
    assert all(g is None for g in gradients(objective.generator))
    assert all(g is not None and g.abs().sum() > 0 for g in gradients(objective.discriminator))
    objective.zero_grad()
    losses["generator"].backward()
    assert all(g is None for g in gradients(objective.discriminator))
    assert all(g is not None and g.abs().sum() > 0 for g in gradients(objective.generator))


def test_real_and_generated_images_pass_the_discriminator_as_separate_batches(game):
    objective = new_game(game)
    draw, other = game.draw(objective), copy.deepcopy(objective)
    loss, metrics = objective.loss_of_discriminator(draw)
    real = other.discriminator(draw.real_NCHW)
    generated = other.discriminator(other.generator(draw.z_ND))
    torch.testing.assert_close(loss, mean_entropy(real) - marginal_entropy(real) - mean_entropy(generated))
    assert all(v.ndim == 0 and not v.requires_grad for v in metrics.values())


def test_it_is_never_told_labels():
    assert not CatGAN.supervised


def test_one_category_is_refused():
    with pytest.raises(InputError, match="n_classes=1 must be at least 2"):
        CatGAN((8, 8, 1), n_classes=1)
