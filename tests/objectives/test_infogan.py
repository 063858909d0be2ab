"""InfoGAN's term: a lower bound of mutual information, where it is known; its gradients; and that off is off."""

import copy
import math

import pytest
import torch
from torch import nn

from ganfeat.errors import InputError
from ganfeat.nets.blocks import initialise
from ganfeat.objectives.bigan import BiGAN
from ganfeat.objectives.gan import GAN
from ganfeat.objectives.infogan import ENTROPIES, MutualInformation, lower_bound, tightest_bound
from ganfeat.objectives.losses import discriminator_loss, generator_loss
from ganfeat.priors import PRIORS

WEIGHT, CODES = 0.7, 2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def new_gan(game, **settings):
    settings = {"mutual_information": WEIGHT, "n_codes": CODES, **settings}
    return game.float64(GAN((8, 8, 1), n_components=3, width=2, kernel_size=3, **settings), scale=0.3)


def new_bigan(tiny, game, architecture="mlp", simultaneous=True, prior="uniform", **changes):
    settings = {"mutual_information": WEIGHT, "n_codes": CODES}
    plan = tiny(architecture, prior=prior, **changes)
    return game.float64(BiGAN(plan, simultaneous=simultaneous, **settings), scale=0.3)


def gradients(loss, network):
    return torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)


# ---------------------------------------------------------------------- the bound


@pytest.mark.parametrize("prior", PRIORS)
def test_the_entropy_of_a_code_is_that_of_its_prior(prior):
    """-E log p(c), the density as a histogram's of 10^6 draws in bins of 0.02; its bias is about bins / draws / 2."""
    codes = PRIORS[prior](1_000_000, 1, seeded()).double().flatten()
    counts = torch.histc(codes, bins=600, min=-6, max=6)
    share = counts[counts > 0] / len(codes)
    assert -(share * (share / 0.02).log()).sum().item() == pytest.approx(ENTROPIES[prior], abs=5e-3)
    assert ENTROPIES.keys() == PRIORS.keys()


@pytest.mark.parametrize("bound", [lower_bound, tightest_bound])
@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_it_is_a_lower_bound_and_exact_for_the_true_posterior_of_a_gaussian_channel(bound, noise):
    """c ~ N(0, 1), x = c + n with n ~ N(0, s^2): I(c; x) = log(1 + 1 / s^2) / 2, the posterior is Gaussian.

    Its mean is x / (1 + s^2), its variance s^2 / (1 + s^2) = v. With the true mean and the best variance the bound is
    the information itself. With variance 1 it is less by KL(N(0, v) | N(0, 1)) = (v - 1 - log v) / 2, each code. The
    mean over 10^5 samples has a standard error below 0.005.
    """
    c = torch.randn(100_000, 2, generator=seeded(), dtype=torch.float64)
    x = c + noise * torch.randn(c.shape, generator=seeded(1), dtype=torch.float64)
    v = noise**2 / (1 + noise**2)
    information = 2 * math.log(1 + 1 / noise**2) / 2
    loss = 0 if bound is tightest_bound else 2 * (v - 1 - math.log(v)) / 2
    best = bound(x / (1 + noise**2), c, "normal").item()
    assert best == pytest.approx(information - loss, abs=0.02)
    for wrong in (x, 0 * x, x / (1 + noise**2) + 0.3, -x):
        assert bound(wrong, c, "normal") < best - 0.01


def test_with_variance_one_it_is_the_squared_error():
    """Up to a constant, so that its slope in the means is c - m, over the images."""
    means = torch.zeros(5, 3, dtype=torch.float64, requires_grad=True)
    codes = torch.rand(5, 3, generator=seeded(), dtype=torch.float64) * 2 - 1
    bound = lower_bound(means, codes, "uniform")
    expected = 3 * (math.log(2) - math.log(2 * math.pi) / 2) - codes.square().sum() / 2 / 5
    torch.testing.assert_close(bound, expected)
    torch.testing.assert_close(torch.autograd.grad(bound, means)[0], codes / 5)


def test_q_learns_a_channel_and_the_record_says_how_much_comes_through():
    """x = W c + noise, Q linear: trained by the term alone, what is recorded comes to the information, 1.15 nats."""
    noise = 0.5
    q = MutualInformation(nn.Linear(2, 2), 2, 1.0, "normal")
    initialise(q, seeded())
    optimiser = torch.optim.Adam(q.parameters(), lr=0.02)
    turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]])  # a rotation takes no information
    chance = seeded(1)
    recorded = []
    for _ in range(300):
        z = torch.randn(512, 3, generator=chance)
        x = z[:, :2] @ turn + noise * torch.randn(512, 2, generator=chance)
        term, metrics = q(x, z)
        optimiser.zero_grad()
        term.backward()
        optimiser.step()
        recorded.append(metrics["information/codes"].item())
    information = math.log(1 + 1 / noise**2)
    assert recorded[0] < 0.1 < information
    assert sum(recorded[-50:]) / 50 == pytest.approx(information, abs=0.1)


# ---------------------------------------------------------------------- in the games


@pytest.mark.parametrize("prior", ["uniform", "normal"])
def test_gradients_of_a_gan_agree_with_finite_differences(prior, game):
    game.slopes_agree(new_gan(game, prior=prior))


@pytest.mark.parametrize("prior", ["uniform", "normal"])
@pytest.mark.parametrize("architecture", ["mlp", "conv"])
@pytest.mark.parametrize("simultaneous", [True, False])
def test_gradients_of_a_bigan_agree_with_finite_differences(architecture, prior, simultaneous, tiny, game):
    game.slopes_agree(new_bigan(tiny, game, architecture, simultaneous, prior))


def test_a_gans_losses_are_equation_six(game):
    """V - lambda L_I for G and Q; for the trunk that D shares with Q, -lambda L_I as well."""
    gan = new_gan(game)
    draw, other = game.draw(gan), copy.deepcopy(gan)
    losses = game.play(gan, draw)
    generated = other.generator(draw.z_ND)
    real_N, generated_N = other.discriminator(draw.real_NCHW), other.discriminator(generated)
    means = other.information.network(other.discriminator.features(generated))
    bound = WEIGHT * lower_bound(means, draw.z_ND[:, :CODES], "uniform")
    torch.testing.assert_close(losses["discriminator"], discriminator_loss(real_N, generated_N) - bound)
    torch.testing.assert_close(losses["generator"], generator_loss(generated_N) - bound)


@pytest.mark.parametrize("simultaneous", [True, False])
def test_a_bigans_losses_are_its_own_and_for_g_e_and_q_the_term(simultaneous, tiny, game):
    bigan = new_bigan(tiny, game, simultaneous=simultaneous)
    draw, other = game.draw(bigan), copy.deepcopy(bigan)
    losses = game.play(bigan, draw)
    generated = other.generator(draw.z_ND)
    real_N = other.discriminator(draw.real_NCHW, other.encoder(draw.real_NCHW))
    generated_N = other.discriminator(generated, draw.z_ND)
    bound = WEIGHT * lower_bound(other.information.network(generated), draw.z_ND[:, :CODES], "uniform")
    torch.testing.assert_close(losses["discriminator"], discriminator_loss(real_N, generated_N))
    torch.testing.assert_close(losses["generator_encoder"], discriminator_loss(generated_N, real_N) - bound)


def test_who_learns_from_what_in_a_gan(game):
    """G and Q's layer from the second loss, D from the first, which trains the shared trunk by the term, too."""
    gan = new_gan(game)
    d, g = gan.players()
    assert [len(p.networks) for p in (d, g)] == [1, 2]
    losses = game.play(gan)
    for network, loss in (
        (gan.generator, "generator"),
        (gan.information, "generator"),
        (gan.discriminator, "discriminator"),
    ):
        for name in losses:
            found = gradients(losses[name], network)
            assert all((x is not None and x.abs().sum() > 0) == (name == loss) for x in found), (loss, name)
    without = game.play(new_gan(game, mutual_information=0.0))["discriminator"]
    assert abs(without - losses["discriminator"]) > 0.1
    assert all(p.requires_grad for p in gan.parameters())


@pytest.mark.parametrize("simultaneous", [True, False])
def test_who_learns_from_what_in_a_bigan(simultaneous, tiny, game):
    """G and Q from the term; E and D have with it the very gradients that they have without."""
    with_term = new_bigan(tiny, game, simultaneous=simultaneous)
    without = copy.deepcopy(with_term)
    without.information = None
    mine, theirs = game.play(with_term), game.play(without)
    for name, loss in (("encoder", "generator_encoder"), ("discriminator", "discriminator")):
        pairs = (gradients(x[loss], getattr(o, name)) for x, o in ((mine, with_term), (theirs, without)))
        assert all(torch.equal(a, b) for a, b in zip(*pairs, strict=True))
    a = gradients(mine["generator_encoder"], with_term.generator)
    b = gradients(theirs["generator_encoder"], without.generator)
    assert all((x - y).abs().max() > 1e-4 for x, y in zip(a, b, strict=True))
    assert all(x.abs().sum() > 0 for x in gradients(mine["generator_encoder"], with_term.information))
    assert all(x is None for x in gradients(mine["discriminator"], with_term.information))


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_in_a_bigan_q_reads_images_and_never_z(architecture, tiny, game):
    """There is no path from z to Q's means but through G, and where all images are the same, so are the means."""
    bigan = new_bigan(tiny, game, architecture)
    draw = game.draw(bigan)
    draw.z_ND.requires_grad_()
    generated = bigan.generator(draw.z_ND).detach()
    means = bigan.information.network(generated)
    assert torch.autograd.grad(means.sum(), draw.z_ND, allow_unused=True, materialize_grads=True)[0].abs().max() == 0
    bigan.generator = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8))).double()
    nn.init.zeros_(bigan.generator[0].weight)
    game.play(bigan, draw := game.draw(bigan))
    means = bigan.information.network(draw.shared["generated"])
    torch.testing.assert_close(means, means[:1].expand_as(means), rtol=0, atol=1e-12)


def test_in_a_generalised_bigan_q_sees_images_of_gs_size(game, tiny):
    bigan = BiGAN(tiny("conv", generator_size=4), mutual_information=WEIGHT, n_codes=CODES)
    assert bigan.information.network(torch.zeros(2, 1, 4, 4)).shape == (2, CODES)


def test_means_are_not_held_within_the_codes_range(tiny, game):
    bigan = new_bigan(tiny, game, prior="uniform")
    bigan.information.network.head.weight.data.fill_(50.0)
    assert bigan.information.network(torch.rand(9, 1, 8, 8, dtype=torch.float64)).abs().max() > 1


# ---------------------------------------------------------------------- off is off


@pytest.mark.parametrize("make", ["gan", "bigan"])
def test_with_weight_zero_nothing_is_there(make, tiny):
    """Networks, keys and initial weights; with a weight, G, D and E begin as they do without."""

    def new(**settings):
        if make == "gan":
            objective = GAN((8, 8, 1), n_components=3, width=2, **settings)
        else:
            objective = BiGAN(tiny(), **settings)
        generator = seeded(4)
        initialise(objective, generator)
        return objective.state_dict(), generator.get_state()

    (plain, state), (off, off_state) = new(), new(mutual_information=0.0, n_codes=99)
    assert plain.keys() == off.keys()
    assert all(torch.equal(v, off[k]) for k, v in plain.items())
    assert torch.equal(state, off_state)
    on, _ = new(mutual_information=0.1, n_codes=CODES)
    assert {k for k in on.keys() - plain.keys()} == {k for k in on if k.startswith("information.")} != set()
    assert all(torch.equal(v, on[k]) for k, v in plain.items())


@pytest.mark.parametrize("simultaneous", [True, False])
def test_the_term_draws_nothing(simultaneous, tiny, game):
    with_term, without = new_bigan(tiny, game, simultaneous=simultaneous), None
    without = copy.deepcopy(with_term)
    without.information = None
    draws = game.draw(with_term), game.draw(without)
    game.play(with_term, draws[0])
    game.play(without, draws[1])
    assert torch.equal(draws[0].z_ND, draws[1].z_ND)
    assert torch.equal(draws[0].generator.get_state(), draws[1].generator.get_state())


def test_more_codes_than_components_are_refused(tiny):
    for make in (
        lambda: GAN((8, 8, 1), n_components=3, width=2, mutual_information=0.1, n_codes=4),
        lambda: BiGAN(tiny(), mutual_information=0.1, n_codes=4),
    ):
        with pytest.raises(InputError, match="n_codes=4 must be at most n_components=3"):
            make()
