"""What the tests of games with an encoder share: tiny games in float64, and finite differences."""

from collections.abc import Callable

import pytest
import torch

from ganfeat.nets.families import Plan
from ganfeat.objectives.base import Draw, Objective

SHAPE = (8, 8, 1)
COMPONENTS = 3


def tiny_plan(architecture="mlp", **changes) -> Plan:
    width = 5 if architecture == "mlp" else 2
    return Plan(SHAPE, COMPONENTS, **{"architecture": architecture, "width": width, "kernel_size": 3, **changes})


def in_float64(objective: Objective, scale: float = 0.5) -> Objective:
    """Every weight drawn anew, none of them zero, so that every gradient is large."""
    generator = torch.Generator().manual_seed(7)
    for parameter in objective.double().parameters():
        drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data = drawn * scale + (parameter.ndim == 1)  # gains about 1
    return objective.train()


def new_draw(objective: Objective, n: int = 6, seed: int = 2) -> Draw:
    """The same draw every time, with nothing shared yet."""
    channels = 1
    real_NCHW = torch.rand(n, channels, *SHAPE[:2], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    draw = objective.draw(real_NCHW * 2 - 1, torch.Generator().manual_seed(seed))
    draw.z_ND = draw.z_ND.double()
    return draw


def play(objective: Objective, draw: Draw | None = None) -> dict[str, torch.Tensor]:
    """All losses in the order of the players, with no update between them."""
    draw = new_draw(objective) if draw is None else draw
    return {player.name: player.loss(draw)[0] for player in objective.players()}


def slopes_agree(objective: Objective) -> None:
    """Every loss against central differences, along one random direction in each of its player's parameters.

    The losses are of order 10 and computed to about 1e-15, so that a step of 1e-7 leaves an error of about 1e-7.
    A longer one meets kinks: ReLU's, and l1's.
    """
    generator = torch.Generator().manual_seed(11)
    step = 1e-7
    for player in objective.players():
        parameters = player.parameters()
        gradients = torch.autograd.grad(play(objective)[player.name], parameters)
        for (name, parameter), gradient in zip(_named(player), gradients, strict=True):
            direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            expected = 0.0
            for sign in (1, -1):
                parameter.data.add_(direction, alpha=sign * step)
                expected += sign * play(objective)[player.name].item() / (2 * step)
                parameter.data.sub_(direction, alpha=sign * step)
            slope = (gradient * direction).sum().item()
            assert slope == pytest.approx(expected, rel=1e-5, abs=1e-6), (player.name, name)
            assert abs(slope) > 1e-4, (player.name, name)  # else the comparison says nothing


def _named(player):
    return [(name, p) for network in player.networks for name, p in network.named_parameters()]


@pytest.fixture
def tiny() -> Callable[..., Plan]:
    return tiny_plan


@pytest.fixture
def game():
    """A namespace of the functions above: ``game.play(objective)``."""

    class Game:
        float64 = staticmethod(in_float64)
        draw = staticmethod(new_draw)
        play = staticmethod(play)
        slopes_agree = staticmethod(slopes_agree)

    return Game
