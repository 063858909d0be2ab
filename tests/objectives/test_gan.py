"""The game: who learns from which loss, and what D sees together."""

import copy

import pytest
import torch

from ganfeat.errors import InputError
from ganfeat.nets.blocks import initialise
from ganfeat.objectives.base import Draw, frozen
from ganfeat.objectives.gan import GAN
from ganfeat.objectives.losses import discriminator_loss, generator_loss


def new_game(**settings):
    gan = GAN((8, 8, 1), n_components=5, width=4, **settings)
    initialise(gan, torch.Generator().manual_seed(0))
    for parameter in gan.parameters():
        parameter.data.mul_(8)  # far from the flat start, so that gradients are large
    return gan.double().train()


def new_draw(gan, n=6):
    real_NCHW = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1
    draw = gan.draw(real_NCHW, torch.Generator().manual_seed(2))
    draw.z_ND = draw.z_ND.double()
    return draw


def play(gan, draw):
    """Both losses in the order of the players, without an update between them."""
    return {player.name: player.loss(draw) for player in gan.players()}


@pytest.fixture(params=[(), ("translate", "flip")], ids=["plain", "augmented"])
def gan(request):
    return new_game(augment=request.param)


def gradients(network):
    return [p.grad for p in network.parameters()]


def test_every_network_has_one_player_and_d_plays_first(gan):
    players = gan.players()
    assert [p.name for p in players] == ["discriminator", "generator"]
    owned = [id(q) for p in players for q in p.parameters()]
    assert sorted(owned) == sorted(id(q) for q in gan.parameters())


def test_the_discriminators_loss_sends_no_gradient_to_the_generator(gan):
    loss, _ = gan.players()[0].loss(new_draw(gan))
    loss.backward()
    assert all(g is None for g in gradients(gan.generator))
    assert all(g is not None and g.abs().sum() > 0 for g in gradients(gan.discriminator))


def test_the_generators_loss_sends_none_to_the_discriminator_and_leaves_it_trainable(gan):
    loss, _ = play(gan, new_draw(gan))["generator"]
    assert all(p.requires_grad for p in gan.discriminator.parameters())
    loss.backward()
    assert all(g is None for g in gradients(gan.discriminator))
    assert all(g is not None and g.abs().sum() > 0 for g in gradients(gan.generator))


def test_the_discriminator_is_trainable_again_after_a_failure():
    gan = new_game()
    draw = new_draw(gan)
    play(gan, draw)
    draw.shared = {name: value[:, :, :3] for name, value in draw.shared.items()}
    with pytest.raises(RuntimeError):
        gan.players()[1].loss(draw)
    assert all(p.requires_grad for p in gan.discriminator.parameters())


def test_frozen_leaves_alone_what_was_frozen_before():
    network = torch.nn.Linear(2, 1)
    network.bias.requires_grad_(False)
    with pytest.raises(KeyError), frozen(network):
        assert not network.weight.requires_grad
        raise KeyError
    assert network.weight.requires_grad
    assert not network.bias.requires_grad


def test_real_and_generated_images_pass_the_discriminator_as_separate_batches():
    """Each with its own batch statistics: the loss is that of two separate calls, not that of one joint call."""
    gan = new_game()
    draw = new_draw(gan)
    other = copy.deepcopy(gan)
    loss, metrics = gan.players()[0].loss(draw)

    generated = other.generator(draw.z_ND).detach()
    real_N, generated_N = (other.discriminator(x) for x in (draw.real_NCHW, generated))
    torch.testing.assert_close(loss, discriminator_loss(real_N, generated_N))
    torch.testing.assert_close(metrics["logit/real"], real_N.mean())
    torch.testing.assert_close(metrics["logit/generated"], generated_N.mean())
    together = other.discriminator(torch.cat([draw.real_NCHW, generated]))
    assert (discriminator_loss(together[:6], together[6:]) - loss).abs() > 1e-3


def test_the_generator_plays_against_the_discriminator_just_updated():
    gan = new_game()
    draw = new_draw(gan)
    first, second = gan.players()
    first.loss(draw)
    with torch.no_grad():
        gan.discriminator.head.bias.add_(2.0)
    loss, _ = second.loss(draw)
    expected = generator_loss(gan.discriminator(gan.generator(draw.z_ND)))
    torch.testing.assert_close(loss, expected)


def test_the_gradient_of_the_generator_is_that_of_its_equation():
    """d/dG of -E log D(G(z)), built from the networks alone."""
    gan = new_game()
    draw = new_draw(gan)
    other = copy.deepcopy(gan)
    play(gan, draw)["generator"][0].backward()
    generator_loss(other.discriminator(other.generator(draw.z_ND))).backward()
    for mine, theirs in zip(gradients(gan.generator), gradients(other.generator), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_metrics_hold_no_graph(gan):
    for loss, metrics in play(gan, new_draw(gan)).values():
        assert loss.ndim == 0
        assert all(v.ndim == 0 and not v.requires_grad for v in metrics.values())


def test_one_z_an_image_from_the_prior():
    for prior, bound in (("uniform", 1.0), ("normal", 20.0)):
        gan = GAN((8, 8, 1), n_components=5, width=4, prior=prior)
        draw = gan.draw(torch.zeros(50, 1, 8, 8), torch.Generator().manual_seed(0))
        assert isinstance(draw, Draw)
        assert draw.z_ND.shape == (50, 5)
        assert draw.z_ND.abs().max() <= bound
    assert draw.z_ND.abs().max() > 1  # the normal one


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="prior='cauchy'"):
        GAN((8, 8, 1), prior="cauchy")
    with pytest.raises(InputError, match="augment='blur'"):
        GAN((8, 8, 1), augment=("blur",))
