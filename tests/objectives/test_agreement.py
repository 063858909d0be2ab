"""The agreement of views: its value, whose gradient it is, and that it changes nothing where it is not asked for."""

import math

import numpy as np
import pytest
import torch

from ganfeat import BiGAN, InputError, LatentRegressor
from ganfeat.nets.blocks import initialise
from ganfeat.nets.families import Plan
from ganfeat.objectives.agreement import info_nce
from ganfeat.objectives.augment import Augment
from ganfeat.objectives.autoencoder import AutoEncoder as AutoEncoderObjective
from ganfeat.objectives.bigan import BiGAN as BiGANObjective
from ganfeat.objectives.regressor import LatentRegressor as LatentRegressorObjective

SHAPE = (12, 12, 1)


def views(n=5, p=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, p, generator=generator, dtype=torch.float64) for _ in range(2))


def test_it_is_the_papers_sum_over_pairs():
    u, v = views()
    rows = [row / row.norm() for row in [*u, *v]]
    losses = []
    for i, row in enumerate(rows):
        partner = (i + len(u)) % len(rows)
        similar = [math.exp(float(row @ other) / 0.3) for other in rows]
        losses.append(-math.log(similar[partner] / (sum(similar) - similar[i])))
    assert info_nce(u, v, 0.3).item() == pytest.approx(np.mean(losses), rel=1e-12)


def test_who_tells_nothing_has_the_logarithm_of_the_others():
    same = torch.ones(6, 4)
    assert info_nce(same, same).item() == pytest.approx(math.log(11), rel=1e-6)
    axes = torch.eye(6)
    assert info_nce(axes, axes, 0.01).item() < 1e-6
    assert info_nce(axes, axes.roll(1, 0), 0.01).item() > 50  # each is at its neighbour's place


def test_lengths_do_not_matter():
    u, v = views()
    assert info_nce(3 * u, v * torch.rand(5, 1, dtype=torch.float64).add(0.1)).item() == pytest.approx(
        info_nce(u, v).item(), rel=1e-12
    )


def test_its_gradient_is_that_of_finite_differences():
    u, v = views()
    u.requires_grad_(), v.requires_grad_()
    assert torch.autograd.gradcheck(info_nce, (u, v))


def objective(kind, **settings):
    plan = Plan(SHAPE, 6, width=4, joint=kind is BiGANObjective)
    game = kind(plan, **settings)
    initialise(game, torch.Generator().manual_seed(0))
    return game


def gradients(game, seed=1):
    """Of the loss of the player that updates E, by the name of the parameter."""
    generator = torch.Generator().manual_seed(seed)
    real = torch.rand(16, 1, 12, 12, generator=generator) * 2 - 1
    draw = game.draw(real, generator)
    for player in game.players():
        loss, _ = player.loss(draw)
        if game.encoder in player.networks:
            parameters = dict(game.named_parameters())
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, retain_graph=True)
            return {name: g for name, g in zip(parameters, found, strict=True) if g is not None}
    raise AssertionError


@pytest.mark.parametrize("kind", [BiGANObjective, LatentRegressorObjective, AutoEncoderObjective])
def test_it_adds_its_own_gradient_to_the_trunk_and_to_nobody_else(kind):
    """All that is drawn before it is the same, so the difference of the gradients is the term's own."""
    plain, with_it, twice = (gradients(objective(kind, agreement=weight)) for weight in (0.0, 1.0, 2.0))
    assert any(name.startswith("agreement.projection") for name in with_it)
    for name, gradient in plain.items():
        term = with_it[name] - gradient
        if name.startswith("encoder.trunk"):
            assert term.abs().max() > 1e-3 * gradient.abs().max(), name
            torch.testing.assert_close(twice[name] - gradient, 2 * term, rtol=1e-3, atol=1e-5)
        else:
            torch.testing.assert_close(with_it[name], gradient)


def test_the_control_learns_from_the_agreement_alone():
    found = gradients(objective(LatentRegressorObjective, agreement=1.0, regression=0.0))
    assert found["encoder.head.weight"].abs().max() == 0
    assert found["encoder.trunk.0.conv.weight"].abs().max() > 0


def test_without_it_nothing_is_drawn_and_nothing_is_there(digits_small):
    plain = BiGAN(width=4, n_components=4, max_iter=2, random_state=0).fit(digits_small)
    other = BiGAN(width=4, n_components=4, max_iter=2, random_state=0, views=("flip",)).fit(digits_small)
    assert np.array_equal(plain.transform(digits_small), other.transform(digits_small))
    assert not any(name.startswith("agreement") for name in plain.objective_.state_dict())


@pytest.fixture
def digits_small():
    from sklearn.datasets import load_digits

    return load_digits().data[:150]


def test_views_of_one_image_come_closer_than_other_images(digits_small):
    """What it is for: after training, two views of a digit are nearest to each other far more often than before."""
    model = LatentRegressor(
        width=8,
        n_components=8,
        max_iter=40,
        batch_size=75,
        learning_rate=3e-3,
        agreement=1.0,
        views=("affine",),
        random_state=0,
    ).fit(digits_small)

    def found(objective):
        generator = torch.Generator().manual_seed(0)
        x = torch.from_numpy(digits_small.reshape(-1, 1, 8, 8)).float() / 8 - 1
        view = Augment(model.views)
        with torch.no_grad():
            u, v = (torch.nn.functional.normalize(objective.encoder.features(view(x, generator))) for _ in range(2))
        return float(((u @ v.t()).argmax(1) == torch.arange(len(x))).float().mean())

    before, after = found(model.random_init().objective_), found(model.objective_)
    assert after > before + 0.1, (before, after)


@pytest.mark.parametrize(
    ("name", "value", "says"), [("agreement", -1, "agreement"), ("views", ("zoom",), "choose from")]
)
def test_wrong_settings_name_the_fix(digits_small, name, value, says):
    settings = {"agreement": 1.0, name: value}
    with pytest.raises(InputError, match=says):
        BiGAN(width=4, max_iter=1, **settings).fit(digits_small)
