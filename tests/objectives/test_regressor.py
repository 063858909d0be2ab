"""Latent regressors: the regression's loss, its gradients, and to whom they go."""

import copy
import math

import pytest
import torch

from ganfeat.errors import InputError
from ganfeat.objectives.losses import discriminator_loss, generator_loss
from ganfeat.objectives.regressor import LatentRegressor, regression_loss

ORDERS = [True, False]


def new_game(tiny, game, architecture="mlp", scale=0.5, prior="uniform", **settings):
    return game.float64(LatentRegressor(tiny(architecture, joint=False, prior=prior), **settings), scale)


def gradients(loss, network):
    return torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)


def reached(loss, network):
    found = [g is not None and bool(g.abs().sum() > 0) for g in gradients(loss, network)]
    assert all(found) or not any(found)
    return all(found)


# ---------------------------------------------------------------------- equations


def test_the_regression_is_the_cross_entropy_of_each_component_as_a_probability(tiny, game):
    """Of (z + 1) / 2 against sigmoid(logit), the mean over components and images."""
    encoder = new_game(tiny, game).encoder
    logits, z = torch.randn(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = z.tanh()
    target, p = (z + 1) / 2, logits.sigmoid()
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).sum() / (7 * 3)
    torch.testing.assert_close(regression_loss(encoder, logits, z), expected)
    assert regression_loss(encoder, torch.zeros_like(z), z).item() == pytest.approx(math.log(2))


def test_the_regression_of_a_normal_z_is_half_the_squared_error_of_each_component(tiny, game):
    """-log N(z; a, 1) up to a constant, the mean over components and images."""
    encoder = new_game(tiny, game, prior="normal").encoder
    a, z = torch.randn(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = -torch.distributions.Normal(a, 1.0).log_prob(z).mean() - math.log(2 * math.pi) / 2
    torch.testing.assert_close(regression_loss(encoder, a, z), expected)


def test_the_regression_is_least_where_e_gives_z(tiny, game):
    """2 sigmoid(a) - 1 = z at a = log((1 + z) / (1 - z)), for a normal z at a = z: no slope there, and E says z."""
    z = torch.tensor([[-0.9, 0.2, 0.7]], dtype=torch.float64)
    for prior, best in (("uniform", ((1 + z) / (1 - z)).log()), ("normal", z)):
        encoder = new_game(tiny, game, prior=prior).encoder
        a = best.clone().requires_grad_()
        loss = regression_loss(encoder, a, z)
        assert torch.autograd.grad(loss, a)[0].abs().max() < 1e-15
        torch.testing.assert_close(encoder.bound(a), z)
        assert regression_loss(encoder, a + 0.1, z) > loss + 1e-4
    assert loss == 0


@pytest.mark.parametrize("joint", [0.0, 0.25])
@pytest.mark.parametrize("simultaneous", ORDERS)
def test_losses_are_the_gans_and_the_weighted_regression(simultaneous, joint, tiny, game):
    regressor = new_game(tiny, game, joint=joint, simultaneous=simultaneous)
    draw, other = game.draw(regressor), copy.deepcopy(regressor)
    losses = game.play(regressor, draw)
    generated = other.generator(draw.z_ND)
    real_N, generated_N = other.discriminator(draw.real_NCHW), other.discriminator(generated)
    regression = regression_loss(other.encoder, other.encoder.logits(generated), draw.z_ND)
    torch.testing.assert_close(losses["discriminator"], discriminator_loss(real_N, generated_N))
    torch.testing.assert_close(losses["generator"], generator_loss(generated_N) + joint * regression)
    torch.testing.assert_close(losses["encoder"], regression)


@pytest.mark.parametrize("joint", [0.0, 0.25])
@pytest.mark.parametrize("prior", ["uniform", "normal"])
@pytest.mark.parametrize("architecture", ["mlp", "conv"])
@pytest.mark.parametrize("simultaneous", ORDERS)
def test_gradients_agree_with_finite_differences(architecture, prior, joint, simultaneous, tiny, game):
    settings = {"joint": joint, "simultaneous": simultaneous}
    game.slopes_agree(new_game(tiny, game, architecture, scale=0.3, prior=prior, **settings))


# ---------------------------------------------------------------------- who learns from what


def test_every_network_has_one_player(tiny, game):
    regressor = new_game(tiny, game)
    players = regressor.players()
    assert [p.name for p in players] == ["discriminator", "generator", "encoder"]
    owned = [id(q) for p in players for q in p.parameters()]
    assert sorted(owned) == sorted(id(q) for q in regressor.parameters())


@pytest.mark.parametrize("joint", [0.0, 0.25])
def test_when_in_turn_a_loss_reaches_no_network_but_its_players(joint, tiny, game):
    regressor = new_game(tiny, game, joint=joint, simultaneous=False)
    losses = game.play(regressor)
    for name, loss in losses.items():
        for network in ("discriminator", "generator", "encoder"):
            assert reached(loss, getattr(regressor, network)) == (name == network), (name, network)
    assert all(p.requires_grad for p in regressor.parameters())


def test_the_generator_gets_the_regressions_gradient_only_in_the_joint_form(tiny, game):
    """With weight w, its gradient is that of the plain form plus w times that of the regression."""
    for simultaneous in ORDERS:
        plain = new_game(tiny, game, simultaneous=simultaneous)
        joint = new_game(tiny, game, simultaneous=simultaneous, joint=0.25)
        draw = game.draw(plain)
        logits = plain.encoder.logits(plain.generator(draw.z_ND))
        regression = gradients(regression_loss(plain.encoder, logits, draw.z_ND), plain.generator)
        alone = gradients(game.play(plain)["generator"], plain.generator)
        together = gradients(game.play(joint)["generator"], joint.generator)
        for a, r, t in zip(alone, regression, together, strict=True):
            torch.testing.assert_close(t, a + 0.25 * r)
            assert r.abs().max() > 1e-4


def test_in_the_plain_form_the_encoder_does_not_change_the_gan(tiny, game):
    regressor, other = new_game(tiny, game), new_game(tiny, game)
    for parameter in other.encoder.parameters():
        parameter.data.neg_()
    mine, theirs = game.play(regressor), game.play(other)
    assert not torch.equal(mine["encoder"], theirs["encoder"])
    for name in ("discriminator", "generator"):
        assert torch.equal(mine[name], theirs[name])
        network = (getattr(o, name) for o in (regressor, other))
        for g, h in zip(*(gradients(x[name], n) for x, n in zip((mine, theirs), network, strict=True)), strict=True):
            assert torch.equal(g, h)


@pytest.mark.parametrize("joint", [0.0, 0.25])
@pytest.mark.parametrize("augment", [(), ("translate", "flip")], ids=["plain", "augmented"])
def test_the_orders_have_the_same_losses_and_gradients_where_nothing_is_updated(joint, augment, tiny, game):
    """But for augmentation: at once, D judges one transform of G(z) for both; in turn, G's loss draws another."""
    at_once = new_game(tiny, game, joint=joint, augment=augment)
    in_turn = copy.deepcopy(at_once)
    in_turn.simultaneous = False
    first, second = game.play(at_once), game.play(in_turn)
    for player in at_once.players():
        if augment and player.name == "generator":
            assert abs(first[player.name] - second[player.name]) > 1e-4
            continue
        torch.testing.assert_close(first[player.name], second[player.name])
        network = getattr(at_once, player.name), getattr(in_turn, player.name)
        for g, h in zip(
            gradients(first[player.name], network[0]), gradients(second[player.name], network[1]), strict=True
        ):
            torch.testing.assert_close(g, h)


def test_what_does_not_go_together_is_refused(tiny):
    with pytest.raises(InputError, match="sees images alone"):
        LatentRegressor(tiny(joint=True))
    with pytest.raises(InputError, match="gives a point"):
        LatentRegressor(tiny(joint=False, stochastic=True))
