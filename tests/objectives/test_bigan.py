"""BiGAN's and ALI's game: its equations, who learns from what, and where it ends."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from ganfeat.nets.encoder import Encoder
from ganfeat.nets.families import Plan
from ganfeat.objectives.base import Draw
from ganfeat.objectives.bigan import BiGAN
from ganfeat.objectives.losses import discriminator_loss

ARCHITECTURES = ["mlp", "conv"]
ORDERS = [True, False]
CHANCE = 2 * math.log(2)


@pytest.fixture(params=[(a, o) for a in ARCHITECTURES for o in ORDERS], ids=lambda p: f"{p[0]}-{p[1]}")
def bigan(request, tiny, game):
    architecture, simultaneous = request.param
    return game.float64(BiGAN(tiny(architecture), simultaneous=simultaneous))


# ---------------------------------------------------------------------- equations


def test_both_losses_are_the_papers_equations_on_probabilities(bigan, game):
    """Equations 2 and 3, and the same with swapped labels, written out with D = sigmoid(logit)."""
    draw, other = game.draw(bigan), copy.deepcopy(bigan)
    losses = game.play(bigan, draw)
    d_real = other.discriminator(draw.real_NCHW, other.encoder(draw.real_NCHW)).sigmoid()
    d_generated = other.discriminator(other.generator(draw.z_ND), draw.z_ND).sigmoid()
    expected = -d_real.log().mean() - (1 - d_generated).log().mean()
    torch.testing.assert_close(losses["discriminator"], expected)
    expected = -(1 - d_real).log().mean() - d_generated.log().mean()
    torch.testing.assert_close(losses["generator_encoder"], expected)


@pytest.mark.parametrize("stochastic", [False, True], ids=["bigan", "ali"])
@pytest.mark.parametrize("prior", ["uniform", "normal"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("simultaneous", ORDERS)
def test_gradients_agree_with_finite_differences(architecture, prior, stochastic, simultaneous, tiny, game):
    """Of ALI's, too: its noise comes from the draw, so it is the same for both differences."""
    plan = tiny(architecture, prior=prior, stochastic=stochastic)
    game.slopes_agree(game.float64(BiGAN(plan, simultaneous=simultaneous), scale=0.3))


def test_the_generalised_form_shows_the_encoder_the_large_images(game):
    plan = Plan((16, 16, 1), 3, width=2, kernel_size=3, generator_size=8)
    bigan = game.float64(BiGAN(plan), scale=0.3)
    draw = game.draw(bigan)
    draw.real_NCHW = torch.rand(6, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    other = copy.deepcopy(bigan)
    loss = game.play(bigan, draw)["discriminator"]
    small = draw.real_NCHW.unflatten(2, (8, 2)).unflatten(4, (8, 2)).mean((3, 5))
    real_N = other.discriminator(small, other.encoder(draw.real_NCHW))
    expected = discriminator_loss(real_N, other.discriminator(other.generator(draw.z_ND), draw.z_ND))
    torch.testing.assert_close(loss, expected)


# ---------------------------------------------------------------------- who learns from what


def gradients(loss, network):
    return torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)


def test_every_network_has_one_player_and_d_plays_first(bigan):
    players = bigan.players()
    assert [p.name for p in players] == ["discriminator", "generator_encoder"]
    owned = [id(q) for p in players for q in p.parameters()]
    assert sorted(owned) == sorted(id(q) for q in bigan.parameters())


def test_e_and_g_learn_from_the_second_loss_and_d_does_not_when_in_turn(bigan, game):
    losses = game.play(bigan)
    for network in (bigan.generator, bigan.encoder):
        assert all(g is not None and g.abs().sum() > 0 for g in gradients(losses["generator_encoder"], network))
    assert all(p.requires_grad for p in bigan.parameters())
    if not bigan.simultaneous:  # there the loop asks for a player's own gradients only; see test_training_orders
        assert all(g is None for g in gradients(losses["generator_encoder"], bigan.discriminator))
        for network in (bigan.generator, bigan.encoder):
            assert all(g is None for g in gradients(losses["discriminator"], network))


@pytest.mark.parametrize("stochastic", [False, True], ids=["bigan", "ali"])
def test_the_orders_have_the_same_losses_and_gradients_where_nothing_is_updated(stochastic, tiny, game):
    at_once = game.float64(BiGAN(tiny(stochastic=stochastic)))
    in_turn = copy.deepcopy(at_once)
    in_turn.simultaneous = False
    first, second = game.play(at_once), game.play(in_turn)
    for (name, loss), other, player in zip(first.items(), second.values(), range(2), strict=True):
        assert loss.item() == pytest.approx(other.item(), rel=1e-14), name
        for mine, theirs in zip(
            torch.autograd.grad(loss, at_once.players()[player].parameters(), retain_graph=True),
            torch.autograd.grad(other, in_turn.players()[player].parameters(), retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(mine, theirs)


def test_in_turn_the_second_loss_is_under_the_discriminator_just_updated(tiny, game):
    bigan = game.float64(BiGAN(tiny(), simultaneous=False))
    draw = game.draw(bigan)
    d, ge = bigan.players()
    d.loss(draw)
    before = ge.loss(draw)[0]
    with torch.no_grad():
        bigan.discriminator.head.weight.mul_(2)
    loss = ge.loss(draw)[0]
    real_N = bigan.discriminator(draw.real_NCHW, bigan.encoder(draw.real_NCHW))
    generated_N = bigan.discriminator(bigan.generator(draw.z_ND), draw.z_ND)
    torch.testing.assert_close(loss, discriminator_loss(generated_N, real_N))
    assert abs(loss - before) > 1e-2


def test_augmented_images_go_to_e_and_to_d_as_the_same_pair(tiny, game):
    """D must not be shown one view of x beside the code of another."""
    bigan = game.float64(BiGAN(tiny(), augment=("flip", "translate")))
    seen = []
    bigan.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    bigan.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    draw = game.draw(bigan)
    game.play(bigan, draw)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], draw.real_NCHW)


# ---------------------------------------------------------------------- ALI


def test_ali_without_noise_is_bigan(tiny, game):
    """The mean's half of the head as a deterministic encoder's: the same game, to the last digit."""
    ali = game.float64(BiGAN(tiny(stochastic=True)))
    bigan = BiGAN(tiny()).double().train()
    tensors = ali.state_dict()
    tensors["encoder.head.weight"] = tensors["encoder.head.weight"][:3]
    bigan.load_state_dict(tensors)
    noisy = game.play(ali)
    ali.encoder.sample = lambda x, noise: Encoder.sample(ali.encoder, x, torch.zeros_like(noise))
    silent, expected = game.play(ali), game.play(bigan)
    for name, loss in expected.items():
        torch.testing.assert_close(silent[name], loss, rtol=0, atol=1e-14)
        assert abs(noisy[name] - loss) > 1e-3
    means = ali.encoder.head.weight[:3]
    mine = torch.autograd.grad(silent["generator_encoder"], means, allow_unused=True)[0]
    assert mine is None  # a slice is a new tensor: compare the whole head's
    whole = torch.autograd.grad(silent["generator_encoder"], ali.encoder.head.weight)[0]
    theirs = torch.autograd.grad(expected["generator_encoder"], bigan.encoder.head.weight)[0]
    torch.testing.assert_close(whole[:3], theirs)
    assert torch.equal(whole[3:], torch.zeros_like(whole[3:]))  # without noise the variance does not matter


def test_alis_noise_is_drawn_from_the_steps_generator_one_for_every_image(tiny, game):
    ali = game.float64(BiGAN(tiny(stochastic=True)))
    draw = game.draw(ali)
    draw.real_NCHW[:] = draw.real_NCHW[:1].clone()
    before = torch.get_rng_state()
    ali.loss_of_discriminator(draw)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(torch.unique(draw.shared["encoded"], dim=0)) == len(draw.real_NCHW)


# ---------------------------------------------------------------------- where it ends


class Table(nn.Module):
    """A function on finitely many values: the row of the key that lies nearest."""

    stochastic = False

    def __init__(self, keys, values):
        super().__init__()
        self.register_buffer("keys", keys)
        self.register_buffer("values", values)

    def forward(self, x):
        nearest = torch.cdist(x.flatten(1), self.keys.flatten(1)).argmin(1)
        return self.values[nearest]


K = 8


def finite_game(shift=0):
    """Eight images, eight codes. G(z_k) = x_k, and E(x_k) = z_{k + shift}: with no shift they are inverse."""
    bigan = BiGAN(Plan((4, 4, 1), 3, architecture="mlp", width=32))
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(K, 1, 4, 4, generator=generator) * 2 - 1
    z = torch.rand(K, 3, generator=generator) * 2 - 1
    for parameter in bigan.discriminator.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    bigan.generator, bigan.encoder = Table(z, x), Table(x, z.roll(-shift, 0))
    return bigan.train(), x, z


@pytest.mark.parametrize("shift", [0, 1], ids=["inverse", "not inverse"])
def test_a_joint_discriminator_is_at_chance_where_e_and_g_are_inverse_and_only_there(shift):
    """Theorem 2's optimum: x_k = G(z_k) and z_k = E(x_k), so both joint distributions are the same.

    D* is then 1/2 everywhere and the loss 2 log 2. For any other logits l of the same eight pairs it is more,
    softplus(l) + softplus(-l) >= 2 log 2, so that nothing can be learned. Once E is shifted by one, the marginals
    are as before, but no pair of the one joint distribution is one of the other: D can be perfect, with a loss of 0.
    """
    bigan, x, z = finite_game(shift)

    def loss_of_all_pairs():
        return bigan.loss_of_discriminator(Draw(x, z, torch.Generator()))[0].item()

    before = loss_of_all_pairs()
    chance = np.random.default_rng(0)
    optimiser = torch.optim.Adam(bigan.discriminator.parameters(), lr=1e-2)
    for _ in range(400):
        k, j = torch.from_numpy(chance.integers(0, K, (2, 64)))
        loss, _ = bigan.loss_of_discriminator(Draw(x[k], z[j], torch.Generator()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = loss_of_all_pairs()
    if shift:
        assert after < 0.2
    else:
        assert before > CHANCE + 0.01
        assert CHANCE - 1e-6 < after < CHANCE + 0.02


def test_where_e_and_g_are_inverse_the_undecided_discriminator_is_the_optimum():
    """The gradient at D = 1/2 vanishes on all pairs, whatever D's features are; with a shift it does not."""
    slopes = []
    for shift in (0, 1):
        bigan, x, z = finite_game(shift)
        bigan.discriminator.head.weight.data.zero_()
        loss, _ = bigan.loss_of_discriminator(Draw(x, z, torch.Generator()))
        assert loss.item() == pytest.approx(CHANCE)
        loss.backward()
        slopes.append(float(bigan.discriminator.head.weight.grad.abs().max()))
    assert slopes[0] < 1e-6 < 0.02 < slopes[1]
