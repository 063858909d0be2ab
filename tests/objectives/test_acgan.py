"""The auxiliary classifier GAN: its losses, who learns from which, and who is told labels."""

import copy
import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from ganfeat.errors import InputError
from ganfeat.objectives.acgan import ACGAN, accuracy, class_loss
from ganfeat.objectives.losses import discriminator_loss, generator_loss

LABELS = torch.tensor([0, 1, 2, 2, -1, 0])


def new_game(game, **settings):
    objective = ACGAN((8, 8, 1), (3, 1, 1), **{"n_components": 3, "width": 2, "kernel_size": 3, **settings})
    return game.float64(objective)


def new_draw(game, objective, labels=LABELS):
    draw = game.draw(objective)
    draw.labels_N = labels
    return draw


def play(objective, draw):
    return {player.name: player.loss(draw) for player in objective.players()}


def gradients(network):
    return [p.grad for p in network.parameters()]


# ---------------------------------------------------------------------- closed forms


def test_a_class_loss_is_log_k_for_no_idea_and_0_for_certainty():
    assert class_loss(torch.zeros(6, 5), LABELS).item() == pytest.approx(math.log(5))
    right = torch.nn.functional.one_hot(LABELS.clamp(min=0), 5) * 100.0
    assert class_loss(right, LABELS).item() == pytest.approx(0, abs=1e-6)
    assert accuracy(right, LABELS).item() == 1
    assert accuracy(right.roll(1, 1), LABELS).item() == 0


def test_images_without_a_label_change_no_class_loss():
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    known = LABELS >= 0
    torch.testing.assert_close(class_loss(logits, LABELS), cross_entropy(logits[known], LABELS[known]))
    torch.testing.assert_close(accuracy(logits, LABELS), accuracy(logits[known], LABELS[known]))
    nobody = torch.full((6,), -1)
    assert class_loss(logits, nobody) == 0 and accuracy(logits, nobody) == 0


def test_the_losses_are_those_of_the_paper(game):
    """``-L_S - L_C`` and the non-saturating ``L_S - L_C``, built from the networks alone."""
    objective = new_game(game, classification=0.5)
    draw, other = new_draw(game, objective), copy.deepcopy(objective)
    losses = play(objective, draw)
    wanted_N = draw.z_ND[:, 3:].argmax(1)
    generated = other.generator(draw.z_ND)
    real_N, real_NK = other.discriminator.judge(draw.real_NCHW)
    generated_N, generated_NK = other.discriminator.judge(generated)
    known = LABELS >= 0
    classes = cross_entropy(real_NK[known], LABELS[known]) + cross_entropy(generated_NK, wanted_N)
    torch.testing.assert_close(losses["discriminator"][0], discriminator_loss(real_N, generated_N) + 0.5 * classes)
    torch.testing.assert_close(
        losses["generator"][0], generator_loss(generated_N) + 0.5 * cross_entropy(generated_NK, wanted_N)
    )
    metrics = losses["discriminator"][1]
    assert {"logit/real", "logit/generated", "spread/real", "accuracy/real", "accuracy/generated"} <= set(metrics)
    assert all(v.ndim == 0 and not v.requires_grad for v in metrics.values())
    torch.testing.assert_close(metrics["logit/real"], real_N.mean().detach())


# ---------------------------------------------------------------------- gradients


@pytest.mark.parametrize("settings", [{}, {"prior": "normal", "classification": 2.0}], ids=str)
def test_gradients_are_slopes(game, monkeypatch, settings):
    objective = new_game(game, **settings)
    draw = type(objective).draw

    def labelled(self, real_NCHW, generator):
        made = draw(self, real_NCHW, generator)
        made.labels_N = LABELS
        return made

    monkeypatch.setattr(type(objective), "draw", labelled)
    game.slopes_agree(objective)


@pytest.mark.parametrize("augment", [(), ("translate", "flip")], ids=["plain", "augmented"])
def test_each_loss_reaches_the_networks_of_its_player_alone(game, augment):
    objective = new_game(game, augment=augment)
    players = objective.players()
    assert [p.name for p in players] == ["discriminator", "generator"]
    owned = sorted(id(q) for p in players for q in p.parameters())
    assert owned == sorted(id(q) for q in objective.parameters())
    losses = play(objective, new_draw(game, objective))
    losses["discriminator"][0].backward()
    assert all(g is None for g in gradients(objective.generator))
    assert all(g is not None and g.abs().sum() > 0 for g in gradients(objective.discriminator))
    objective.zero_grad()
    losses["generator"][0].backward()
    assert all(g is None for g in gradients(objective.discriminator))
    assert all(g is not None and g.abs().sum() > 0 for g in gradients(objective.generator))


def test_without_its_weight_the_labels_teach_nothing(game):
    found = []
    for labels in (LABELS, LABELS.flip(0)):
        objective = new_game(game, classification=0.0)
        play(objective, new_draw(game, objective, labels))["discriminator"][0].backward()
        found.append([g.clone() for g in gradients(objective.discriminator.blocks)])
        assert all(not g.any() for g in gradients(objective.discriminator.class_head))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_labels_teach(game):
    found = []
    for labels in (LABELS, LABELS.flip(0)):
        objective = new_game(game)
        play(objective, new_draw(game, objective, labels))["discriminator"][0].backward()
        found.append(torch.cat([g.flatten() for g in gradients(objective.discriminator.blocks)]))
    assert (found[0] - found[1]).abs().max() > 1e-3


# ---------------------------------------------------------------------- what is drawn


def test_latents_are_z_and_a_class_as_often_as_asked():
    objective = ACGAN((8, 8, 1), (6, 3, 1), n_components=5, width=2)
    latents = objective.draw_latents(10_000, torch.Generator().manual_seed(0))
    assert latents.shape == (10_000, 8) and latents.dtype == torch.float32
    classes = latents[:, 5:]
    assert torch.equal(classes.sum(1), torch.ones(10_000)) and set(classes.unique().tolist()) == {0, 1}
    assert latents[:, :5].abs().max() <= 1
    torch.testing.assert_close(classes.mean(0), torch.tensor([0.6, 0.3, 0.1]), atol=0.02, rtol=0)  # 4 standard errors
    assert torch.equal(latents, objective.draw_latents(10_000, torch.Generator().manual_seed(0)))


def test_without_labels_it_cannot_play(game):
    objective = new_game(game)
    with pytest.raises(InputError, match="learns from labels"):
        game.play(objective)
