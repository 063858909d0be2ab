"""Autoencoders: their errors, by hand and by finite differences, and what noise does."""

import copy

import pytest
import torch

from ganfeat.errors import InputError
from ganfeat.objectives.autoencoder import AutoEncoder


def new_game(tiny, game, architecture="mlp", **settings):
    return game.float64(AutoEncoder(tiny(architecture, joint=False), **settings), scale=0.3)


@pytest.mark.parametrize(("loss", "power"), [("l1", 1), ("l2", 2)])
def test_the_error_is_summed_over_pixels_of_zero_to_one(loss, power, tiny, game):
    model = new_game(tiny, game, loss=loss)
    draw, other = game.draw(model), copy.deepcopy(model)
    x, again = ((y + 1) / 2 for y in (draw.real_NCHW, other.generator(other.encoder(draw.real_NCHW))))
    expected = sum((a - b).abs().pow(power).sum() for a, b in zip(x, again, strict=True)) / len(x)
    torch.testing.assert_close(game.play(model, draw)["autoencoder"], expected)


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("loss", ["l1", "l2"])
@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_gradients_agree_with_finite_differences(architecture, loss, noise, tiny, game):
    game.slopes_agree(new_game(tiny, game, architecture, loss=loss, noise=noise))


def test_no_other_image_does_better_than_the_image_itself(tiny, game):
    model = new_game(tiny, game)
    draw = game.draw(model)
    model.encoder, model.generator = torch.nn.Flatten(), torch.nn.Unflatten(1, (1, 8, 8))
    assert game.play(model, draw)["autoencoder"] == 0


def test_without_noise_the_denoising_one_is_the_plain_one_and_draws_nothing(tiny, game):
    plain, denoising = new_game(tiny, game), new_game(tiny, game, noise=0.0)
    draws = game.draw(plain), game.draw(denoising)
    before = draws[1].generator.get_state()
    assert torch.equal(game.play(plain, draws[0])["autoencoder"], game.play(denoising, draws[1])["autoencoder"])
    assert torch.equal(draws[1].generator.get_state(), before)


def test_a_little_noise_is_a_little_change(tiny, game):
    plain = game.play(new_game(tiny, game))["autoencoder"]
    changes = [abs(game.play(new_game(tiny, game, noise=s))["autoencoder"] - plain) for s in (1e-8, 1e-6, 1e-1)]
    assert 0 < changes[0] < 1e-5
    assert changes[0] < changes[1] < changes[2]


def test_e_sees_the_noise_and_the_target_is_without(tiny, game):
    """Pixels run over 2 in [-1, 1], so that a deviation of 0.1 is one of 0.2 there."""
    model = new_game(tiny, game, noise=0.1)
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    draw = game.draw(model, n=300)
    loss = game.play(model, draw)["autoencoder"]
    noise = seen[0] - draw.real_NCHW
    assert noise.std().item() == pytest.approx(0.2, rel=5 / (2 * noise.numel()) ** 0.5)  # five standard errors
    assert abs(noise.mean().item()) < 5 * 0.2 / noise.numel() ** 0.5
    again = model.generator(model.encoder(seen[0]))
    torch.testing.assert_close(loss, ((again - draw.real_NCHW) / 2).square().sum((1, 2, 3)).mean())


def test_the_target_of_an_augmented_image_is_augmented(tiny, game):
    model = new_game(tiny, game, augment=("flip", "translate"))
    draw = game.draw(model)
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    loss = game.play(model, draw)["autoencoder"]
    again = model.generator(model.encoder(seen[0]))
    assert not torch.equal(seen[0], draw.real_NCHW)
    torch.testing.assert_close(loss, ((again - seen[0]) / 2).square().sum((1, 2, 3)).mean())


def test_there_is_one_player_and_no_discriminator(tiny, game):
    model = new_game(tiny, game)
    (player,) = model.players()
    assert sorted(id(p) for p in player.parameters()) == sorted(id(p) for p in model.parameters())
    assert model.discriminator is None
    assert list(model.taps()) == ["encoder"]


def test_an_unknown_error_is_refused(tiny):
    with pytest.raises(InputError, match="loss='l3' is not known: choose one of l1, l2"):
        AutoEncoder(tiny(joint=False), loss="l3")
