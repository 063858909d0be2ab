"""A process that has imported everything once and forks the ranks of the tests: starting each anew would take seconds.

It listens on the socket that it is given the path of, for one JSON object a connection: ``{"run": [arguments of
ganfeat], "env": {...}, "to": FILE}`` starts one and is answered by its process id; ``{"ended": pid}`` by how it ended,
as :func:`os.waitstatus_to_exitcode` says it, or null where it has not. In place of a verb of ganfeat, ``torchrun`` is
that, ``gradients`` compares gradients, ``turns`` has one process wait for another that dies or lives, and ``hashed``
trains and says who gives signs of life while all pixels are read. It ends, with all that it has started, when its
standard input does.
"""

import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # what an optimiser imports when it is made
from torch import nn

import ganfeat.cli.together
import ganfeat.cli.train
import ganfeat.health
from ganfeat import arrays
from ganfeat.arrays import ImageShape
from ganfeat.checkpoint import to_bytes
from ganfeat.cli import main
from ganfeat.distributed import rank
from ganfeat.distributed import team as meeting
from ganfeat.distributed.team import joined, team
from ganfeat.errors import RunError
from ganfeat.estimators import METHODS
from ganfeat.nets.families import Plan
from ganfeat.nets.mgan import generator_of_rows
from ganfeat.objectives.acgan import ACGAN
from ganfeat.objectives.autoencoder import AutoEncoder
from ganfeat.objectives.base import Draw, Objective
from ganfeat.objectives.bigan import BiGAN
from ganfeat.objectives.catgan import CatGAN
from ganfeat.objectives.gan import GAN
from ganfeat.objectives.losses import discriminator_loss, judgements
from ganfeat.objectives.mgan import MGAN
from ganfeat.objectives.regressor import LatentRegressor
from ganfeat.training import LoopSettings, Trainer

SHAPE: ImageShape = (8, 8, 1)
N, RANKS = 8, 2
IMAGES = np.random.default_rng(0).random((N, *SHAPE)) * 2 - 1
LABELS = np.array([0, 1, 2, -1, -1, 1, -1, -1])
PENALTY = 3.0
SMALL = {"n_components": 3, "width": 3, "kernel_size": 3}


def plan(architecture: str = "conv", **changes) -> Plan:
    return Plan(SHAPE, 3, architecture=architecture, width=3, kernel_size=3, **changes)


class Penalised(GAN):
    """With a penalty on the gradient of D's logits by real images (R1: Mescheder et al. 2018, arXiv:1801.04406)."""

    def loss_of_discriminator(self, draw: Draw):
        generated_NCHW = draw.shared["generated"] = self.generator(draw.z_ND)
        seen_NCHW = draw.real_NCHW.clone().requires_grad_()
        real_N = self.discriminator(seen_NCHW)
        generated_N = self.discriminator(generated_NCHW.detach())
        (slope_NCHW,) = torch.autograd.grad(real_N.sum(), seen_NCHW, create_graph=True)
        penalty = slope_NCHW.square().flatten(1).sum(1).mean()
        return discriminator_loss(real_N, generated_N) + PENALTY * penalty, judgements(real_N, generated_N)


CASES: dict[str, Callable[[], Objective]] = {
    "gan": lambda: GAN(SHAPE, **SMALL, augment=("flip", "translate")),
    "gan-infogan": lambda: GAN(SHAPE, **SMALL, mutual_information=0.5, n_codes=2),
    "gan-penalty": lambda: Penalised(SHAPE, **SMALL),
    "bigan": lambda: BiGAN(plan()),
    "bigan-mlp-in-turn": lambda: BiGAN(plan("mlp"), simultaneous=False, mutual_information=0.5, n_codes=2),
    "bigan-agreement": lambda: BiGAN(plan(), agreement=0.7, views=("translate", "colour")),
    "ali": lambda: BiGAN(plan(prior="normal", stochastic=True)),
    "latent-regressor": lambda: LatentRegressor(plan(joint=False), joint=0.25),
    "autoencoder": lambda: AutoEncoder(plan(joint=False), noise=0.1, agreement=0.7, views=("translate", "colour")),
    "mgan": lambda: MGAN(SHAPE, n_components=3, n_generators=2, shares_removed=1, width=3, n_features=4),
    "acgan": lambda: ACGAN(SHAPE, [1, 2, 1], **SMALL),
    "catgan": lambda: CatGAN(SHAPE, n_classes=4, **SMALL),
}


class Joint:
    """The random generators of all ranks as one: each draws its rows."""

    device = torch.device("cpu")

    def __init__(self, generators: list[torch.Generator]) -> None:
        self.generators = generators


def drawing_by_rank(draw: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """torch.randn and its like, also for a Joint: a size is all that the callers give, or the last argument."""

    def drawn(*arguments, generator=None, **settings):
        if not isinstance(generator, Joint):
            return draw(*arguments, generator=generator, **settings)
        *before, size = arguments
        size = (size,) if isinstance(size, int) else tuple(size)
        part = (size[0] // RANKS, *size[1:])
        return torch.cat([draw(*before, part, generator=g, **settings) for g in generator.generators])

    return drawn


def generator(rank: int) -> torch.Generator:
    return torch.Generator().manual_seed(100 + rank)


def gradients_of(name: str, sync_bn: bool) -> dict[str, torch.Tensor]:
    """What a step hands to each optimiser, of this process and those that it is in a team with."""
    objective = CASES[name]().double()
    drawn = torch.Generator().manual_seed(7)
    for parameter in objective.parameters():
        weights = torch.randn(parameter.shape, generator=drawn, dtype=torch.float64)
        parameter.data = weights * 0.5 + (parameter.ndim == 1)
    alone = team().size == 1
    source = Joint([generator(r) for r in range(RANKS)]) if alone else generator(team().rank)

    def draw(real_NCHW: torch.Tensor, _: object) -> Draw:
        if not alone:
            return Draw(real_NCHW, objective.draw_latents(len(real_NCHW), source).double(), source)
        parts = [objective.draw_latents(N // RANKS, one) for one in source.generators]
        z_ND = torch.cat(parts).double()
        if isinstance(objective, MGAN):  # a generator's rows are side by side in the whole batch, too
            z_ND = z_ND[generator_of_rows(N // RANKS, objective.n_generators).repeat(RANKS).argsort(stable=True)]
        return Draw(real_NCHW, z_ND, source)

    objective.draw = draw
    labels = LABELS if objective.supervised else None
    settings = LoopSettings(batch_size=N, sync_bn=sync_bn, learning_rate=1e-12, weight_decay=0.0)
    trainer = Trainer(objective, IMAGES, settings, torch.device("cpu"), labels=labels)
    found: dict[str, torch.Tensor] = {}
    for player in trainer.players:
        optimiser, parameters = trainer.optimisers[player.name], player.parameters()

        def step(player: str = player.name, parameters: list[nn.Parameter] = parameters) -> None:
            for i, parameter in enumerate(parameters):
                if parameter.grad is not None:
                    found[f"{player}/{i}"] = parameter.grad.clone()

        optimiser.step = step
    trainer.play()
    found["statistics"] = torch.cat([b.flatten().double() for b in objective.buffers()])
    return found


def penalty_twice(wrapped: bool) -> list[torch.Tensor]:
    """Gradients of a plain loss and, in a backward pass of its own, of a penalty, with and without torch's wrapper."""
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(108, 1)).double()
    drawn = torch.Generator().manual_seed(7)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=drawn, dtype=torch.float64) * 0.5
    model = nn.parallel.DistributedDataParallel(network) if wrapped else network
    part = N // team().size
    x_NCHW = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)[team().rank * part :][:part].clone().requires_grad_()
    nn.functional.softplus(-model(x_NCHW)).mean().backward()
    (slope_NCHW,) = torch.autograd.grad(model(x_NCHW).sum(), x_NCHW, create_graph=True)
    (slope_NCHW.square().flatten(1).sum(1).mean() * PENALTY).backward()
    if not wrapped:
        team().average_gradients(network.parameters())
    return [parameter.grad.clone() for parameter in network.parameters()]


def far(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """Largest difference, over the largest gradient of the same tensor."""
    assert found.keys() == wanted.keys()
    return max(float((found[k] - w).abs().max() / w.abs().max().clamp(min=1e-3)) for k, w in wanted.items())


def gradients(target: Path) -> None:
    """Write how far the gradients of two ranks are from those of one process."""
    for name in ("rand", "randn", "randint"):
        setattr(torch, name, drawing_by_rank(getattr(torch, name)))
    together = {}
    with joined("cpu") as ours:
        for name in CASES:
            for sync_bn in (True, False):
                found = together[name, sync_bn] = gradients_of(name, sync_bn)
                mine, others = ours.gather(to_bytes({k: v for k, v in found.items() if k != "statistics"}))
                assert mine == others, name
        twice = [penalty_twice(wrapped) for wrapped in (False, True)]
        is_main = ours.is_main
    if not is_main:
        return
    said: dict[str, float] = {}
    for (name, sync_bn), found in together.items():
        alone = gradients_of(name, sync_bn)
        keys = [k for k in alone if sync_bn or k != "statistics"]
        off = far({k: found[k] for k in keys}, {k: alone[k] for k in keys})
        said[f"{name} {'shared' if sync_bn else 'apart'}"] = off
    wanted = penalty_twice(False)
    for name, found in zip(("averaged", "wrapped"), twice, strict=True):
        named = [{str(i): g for i, g in enumerate(gs)} for gs in (found, wanted)]
        said[f"penalty {name}"] = far(*named)
    target.write_text(json.dumps(said))


def turns(end: str) -> int:
    """The one with the first turn dies in it, or works for longer than others wait for one that says nothing."""
    meeting.BEAT, meeting.PATIENCE = 0.05, 0.5
    works = 1 if end == "last dies" else 0

    def work() -> None:
        if rank() == works:
            time.sleep(0.1 if end != "lives" else 3 * meeting.PATIENCE)
            if end != "lives":
                os._exit(7)
        print("worked")

    with joined("cpu") as ours:
        ours.in_turn(rank() != works, work)
    return 0


def hashed(arguments: list[str]) -> int:
    """Train, and say whether this process gives signs of life whenever it reads pixels for a fingerprint."""
    fingerprint = arrays.fingerprint

    def found(images):
        print("pixels, alive" if any(t.name == "ganfeat-beat" for t in threading.enumerate()) else "pixels")
        return fingerprint(images)

    arrays.fingerprint = found
    return main(arguments)


def torchrun(arguments: list[str]) -> int:
    from torch.distributed.run import main as run

    run(arguments)
    return 0


def child(order: dict) -> int:
    with Path(order["to"]).open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(order["env"])
    os.chdir(order.get("in", "."))
    arguments = order["run"]
    sys.argv = ["ganfeat", *arguments]
    try:
        if arguments[0] == "gradients":
            gradients(Path(arguments[1]))
            return 0
        if arguments[0] == "turns":
            return turns(arguments[1])
        if arguments[0] == "hashed":
            return hashed(arguments[1:])
        if arguments[0] == "torchrun":
            return torchrun(arguments[1:])
        return main(arguments)
    except SystemExit as error:
        return int(error.code or 0)
    except RunError as error:
        print(error)
        return 1
    except BaseException:
        traceback.print_exc()
        return 99


def nursery(path: str) -> None:
    torch.set_num_threads(1)
    assert METHODS and ganfeat.health and ganfeat.cli.train and ganfeat.cli.together
    running: set[int] = set()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{path}.new")
        server.listen()
        Path(f"{path}.new").rename(path)
        try:
            while sys.stdin not in select.select([sys.stdin, server], [], [])[0]:
                with server.accept()[0] as asking:
                    order = json.loads(asking.makefile().readline())
                    asking.sendall(json.dumps(obey(order, running)).encode() + b"\n")
        finally:
            for pid in running:
                os.kill(pid, signal.SIGKILL)


def obey(order: dict, running: set[int]) -> int | None:
    if "ended" in order:
        ended, status = os.waitpid(order["ended"], os.WNOHANG)
        running -= {ended}
        return os.waitstatus_to_exitcode(status) if ended else None
    pid = os.fork()
    if pid == 0:
        running.clear()
        status = child(order)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    running.add(pid)
    return pid


if __name__ == "__main__":
    nursery(sys.argv[1])
    os._exit(0)  # tidying up after all that was imported would take a second
