"""Steps per second of a BiGAN's training on MNIST's networks against a plain PyTorch loop, in one run.

    python benchmarks/bigan_step.py --out docs/results/bigan_step.json

The plain loop is what a person writes from the paper's equations: the same permutation-invariant networks, float32,
``torch.optim.Adam``; D is updated on E(x) and G(z) without their gradients, then G and E against the new D, with
passes of their own. Ours is the authors' order: all networks at once, from one forward pass, in bf16 where the hardware
multiplies it. Both see batches of 128 images of 28 x 28. The share of GEMM is as in ``train_step.py``.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ganfeat.device import resolve_precision
from ganfeat.nets.blocks import initialise
from ganfeat.nets.families import Plan, build
from ganfeat.objectives.bigan import BiGAN
from ganfeat.training import LoopSettings, Trainer
from measure import conclude, gemm, interleaved, median, spread

BATCH = 128
PLAN = Plan((28, 28, 1), 50, architecture="mlp", norm_epsilon=1e-8)


class PlainLoop:
    """float32, one update after the other, every pass anew."""

    def __init__(self, images: np.ndarray) -> None:
        self.x = torch.from_numpy(images)
        self.e, self.g, self.d = build(PLAN)
        for i, network in enumerate((self.e, self.g, self.d)):
            initialise(network, torch.Generator().manual_seed(i))
        options = {"lr": 2e-4, "betas": (0.5, 0.999), "weight_decay": 2.5e-5}
        self.optimise_d = torch.optim.Adam(self.d.parameters(), **options)
        self.optimise_ge = torch.optim.Adam([*self.g.parameters(), *self.e.parameters()], **options)
        self.loss = nn.BCEWithLogitsLoss()
        self.ones, self.zeros = torch.ones(BATCH), torch.zeros(BATCH)

    def step(self) -> None:
        """One update of D, and one of G and E."""
        rows = torch.randint(len(self.x), (BATCH,))
        x = self.x[rows].permute(0, 3, 1, 2).float() / 127.5 - 1
        z = torch.rand(BATCH, 50) * 2 - 1
        with torch.no_grad():
            code, fake = self.e(x), self.g(z)
        self.optimise_d.zero_grad()
        (self.loss(self.d(x, code), self.ones) + self.loss(self.d(fake, z), self.zeros)).backward()
        self.optimise_d.step()
        self.optimise_ge.zero_grad()
        (self.loss(self.d(x, self.e(x)), self.zeros) + self.loss(self.d(self.g(z), z), self.ones)).backward()
        self.optimise_ge.step()


def ours(images: np.ndarray) -> Trainer:
    objective = BiGAN(PLAN)
    initialise(objective, torch.Generator().manual_seed(0))
    device = torch.device("cpu")
    settings = LoopSettings(batch_size=BATCH, weight_decay=2.5e-5, precision=resolve_precision("auto", device))
    return Trainer(objective, images, settings, device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10, help="steps a repeat")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (2048, 28, 28, 1)).astype(np.uint8)
    plain, trainer = PlainLoop(images), ours(images)
    with FlopCounterMode(display=False) as counter:
        trainer.play()
    flops = counter.get_total_flops()
    product, product_flops = gemm(torch.bfloat16 if trainer.settings.precision == "bf16" else torch.float32)
    seconds = interleaved(
        {
            "plain": lambda: [plain.step() for _ in range(options.steps)],
            "ganfeat": lambda: [trainer.play() for _ in range(options.steps)],
            "gemm": product,
        },
        options.repeats,
    )
    per_step = {name: 1000 * median(seconds[name]) / options.steps for name in ("plain", "ganfeat")}
    gemm_rate = product_flops / median(seconds["gemm"])
    results = {
        "batch": BATCH,
        "threads": options.threads,
        "precision": trainer.settings.precision,
        "milliseconds_per_step": {name: round(value, 2) for name, value in per_step.items()},
        "quartiles": {
            name: [round(1000 * s / options.steps, 2) for s in spread(seconds[name])] for name in ("plain", "ganfeat")
        },
        "ratio": round(per_step["plain"] / per_step["ganfeat"], 2),
        "gflop_per_step": round(flops / 1e9, 2),
        "gemm_gflop_per_second": round(gemm_rate / 1e9, 1),
        "share_of_gemm": round(flops / per_step["ganfeat"] * 1000 / gemm_rate, 3),
        "minutes_for_400_epochs_of_60000": round(per_step["ganfeat"] * 400 * (60000 // BATCH) / 60000, 1),
    }
    conclude("bigan_step", results, options.out)


if __name__ == "__main__":
    main()
