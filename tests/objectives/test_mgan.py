"""M-GAN: who learns from which loss, what D and C share, and the equation."""

import copy
import math

import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax

from ganfeat.errors import InputError
from ganfeat.nets.blocks import initialise
from ganfeat.objectives.losses import discriminator_loss, generator_loss
from ganfeat.objectives.mgan import MGAN
from ganfeat.training import LoopSettings, Trainer

K = 3


def new_game(shares_removed=1, **settings):
    game = MGAN(
        (16, 16, 1), n_components=5, n_generators=K, width=4, n_features=6, shares_removed=shares_removed, **settings
    )
    initialise(game, torch.Generator().manual_seed(0))
    for parameter in game.parameters():
        parameter.data.mul_(8)  # far from the flat start, so that gradients are large
    return game.double().train()


def new_draw(game, n=2 * K):
    real_NCHW = torch.rand(n, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1
    draw = game.draw(real_NCHW, torch.Generator().manual_seed(2))
    draw.z_ND = draw.z_ND.double()
    return draw


def play(game, draw):
    return {player.name: player.loss(draw) for player in game.players()}


@pytest.fixture(params=range(4))
def game(request):
    return new_game(request.param)


def own(game):
    """Parameters of D that are not C's."""
    shared = {id(p) for p in game.classifier.parameters()}
    return [p for p in game.discriminator.parameters() if id(p) not in shared]


def test_the_last_layers_are_not_shared_and_the_heads_never_are():
    for removed in range(4):
        game = new_game(removed)
        same = [a is b for a, b in zip(game.discriminator.blocks, game.classifier.blocks, strict=True)]
        assert same == [True] * (3 - removed) + [False] * removed
        assert game.discriminator.head is not game.classifier.head
        assert (game.discriminator.head.out_features, game.classifier.head.out_features) == (1, K)


@pytest.mark.parametrize("removed", [-1, 4])
def test_more_layers_than_there_are_cannot_be_unshared(removed):
    with pytest.raises(InputError, match=f"shares_removed={removed} must be 0 to 3"):
        new_game(removed)


def test_every_player_sends_gradients_to_its_own_networks_only(game):
    networks = {"discriminator": game.discriminator, "classifier": game.classifier, "generator": game.generator}
    for name, (loss, _) in play(game, new_draw(game)).items():
        for parameter in game.parameters():
            parameter.grad = None
        loss.backward()
        mine = {id(p) for p in networks[name].parameters()}
        for parameter in game.parameters():
            assert (parameter.grad is not None) == (id(parameter) in mine)
        assert all(p.grad.abs().sum() > 0 for p in networks[name].parameters())
    assert all(p.requires_grad for p in game.parameters())


def test_losses_are_those_of_the_equation(game):
    """Equation 16, G's part in its non-saturating form, from the networks alone."""
    draw = new_draw(game)
    other = copy.deepcopy(game)
    losses = {name: loss for name, (loss, _) in play(game, draw).items()}
    generated = other.generator(draw.z_ND).detach()
    d_real, d_generated = other.discriminator(draw.real_NCHW), other.discriminator(generated)
    torch.testing.assert_close(losses["discriminator"], discriminator_loss(d_real, d_generated))
    log_c = log_softmax(other.classifier(generated), 1)
    by_generator = torch.stack([log_c[2 * k : 2 * k + 2, k].mean() for k in range(K)])
    torch.testing.assert_close(losses["classifier"], -by_generator.mean())
    expected = generator_loss(d_generated) - game.diversity * by_generator.mean()
    torch.testing.assert_close(losses["generator"], expected)


def test_the_generators_gradient_is_that_of_both_terms(game):
    draw = new_draw(game)
    other = copy.deepcopy(game)
    play(game, draw)["generator"][0].backward()
    x = other.generator(draw.z_ND)
    k = torch.arange(K).repeat_interleave(2)
    (generator_loss(other.discriminator(x)) + 0.02 * cross_entropy(other.classifier(x), k)).backward()
    for mine, theirs in zip(game.generator.parameters(), other.generator.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_without_diversity_the_classifier_does_not_move_the_generators():
    game = new_game(diversity=0.0)
    draw = new_draw(game)
    play(game, draw)["generator"][0].backward()
    moved = [p.grad.clone() for p in game.generator.parameters()]
    with torch.no_grad():
        game.classifier.head.weight.mul_(-3)
    game.zero_grad()
    play(game, draw)["generator"][0].backward()
    for before, parameter in zip(moved, game.generator.parameters(), strict=True):
        torch.testing.assert_close(before, parameter.grad)


def test_an_undecided_classifier_costs_log_k_and_guesses():
    game = new_game()
    with torch.no_grad():
        game.classifier.head.weight.zero_()
    loss, metrics = play(game, new_draw(game))["classifier"]
    assert loss.item() == pytest.approx(math.log(K))
    assert metrics["accuracy/classifier"].item() == pytest.approx(1 / K)


def test_metrics_hold_no_graph_and_the_spread_is_the_standard_deviation(game):
    draw = new_draw(game)
    played = play(game, draw)
    for loss, metrics in played.values():
        assert loss.ndim == 0
        assert all(v.ndim == 0 and not v.requires_grad for v in metrics.values())
    logits = game.discriminator(draw.real_NCHW)
    torch.testing.assert_close(played["discriminator"][1]["spread/real"], logits.detach().std())


@pytest.mark.parametrize("removed", [0, 2])
def test_shared_layers_get_both_updates_and_stay_shared(removed):
    import numpy as np

    images = np.random.default_rng(0).integers(0, 255, (12, 16, 16, 1), np.uint8)
    game = MGAN((16, 16, 1), n_components=5, n_generators=K, width=4, n_features=6, shares_removed=removed)
    initialise(game, torch.Generator().manual_seed(0))
    trainer = Trainer(game, images, LoopSettings(batch_size=6, weight_decay=0.0), torch.device("cpu"))
    weight = game.discriminator.blocks[0][0].weight
    steps = []
    for name in ("discriminator", "classifier"):
        optimiser = trainer.optimisers[name]
        step = optimiser.step
        optimiser.step = lambda step=step, name=name: (
            before := weight.clone(),
            step(),
            steps.append((name, bool((weight != before).any()))),
        )
    trainer.play()
    assert steps == [("discriminator", True), ("classifier", True)]
    assert game.classifier.blocks[0][0].weight is weight
    assert len({id(q) for player in trainer.players for q in player.parameters()}) == len(list(game.parameters()))
