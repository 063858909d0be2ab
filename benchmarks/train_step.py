"""Images per second of our training step against a plain PyTorch DCGAN loop, in one run.

    python benchmarks/train_step.py --out docs/results/train_step.json

The plain loop is what a person writes after the PyTorch DCGAN example: the same networks, float32, NCHW,
``torch.optim.Adam``, one update of D (real and generated as separate batches) and one of G a mini-batch, on
32 x 32 x 3 images in batches of 128. Like most people's, it lets G's update compute D's weight gradients too, which
nobody uses; ours does not, which is part of the gain. The share of GEMM is our step's floating-point operations
(convolutions and matrix products, counted by ``torch.utils.flop_counter``) per second over those of a 2048 x 2048
matrix product in the precision that the step uses, measured in between.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ganfeat.device import resolve_precision
from ganfeat.nets.blocks import initialise
from ganfeat.nets.dcgan import Discriminator, Generator
from ganfeat.objectives.gan import GAN
from ganfeat.training import LoopSettings, Trainer
from measure import conclude, gemm, interleaved, median, spread

BATCH = 128


class PlainDiscriminator(Discriminator):
    """The same layers, flattened the usual way."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.head(self.blocks(x).flatten(1)).squeeze(1)


class PlainLoop:
    """float32, NCHW, autograd, Adam."""

    def __init__(self, width: int, images: np.ndarray) -> None:
        self.x = torch.from_numpy(images)
        self.g, self.d = Generator((32, 32, 3), width=width), PlainDiscriminator((32, 32, 3), width=width)
        for i, network in enumerate((self.g, self.d)):
            initialise(network, torch.Generator().manual_seed(i))
        options = {"lr": 2e-4, "betas": (0.5, 0.999)}
        self.optimise_g = torch.optim.Adam(self.g.parameters(), **options)
        self.optimise_d = torch.optim.Adam(self.d.parameters(), **options)
        self.loss = nn.BCEWithLogitsLoss()
        self.ones, self.zeros = torch.ones(BATCH), torch.zeros(BATCH)

    def step(self) -> None:
        """One update of D and one of G."""
        rows = torch.randint(len(self.x), (BATCH,))
        real = (self.x[rows].permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()
        z = torch.rand(BATCH, 100) * 2 - 1
        fake = self.g(z)
        self.optimise_d.zero_grad()
        (self.loss(self.d(real), self.ones) + self.loss(self.d(fake.detach()), self.zeros)).backward()
        self.optimise_d.step()
        self.optimise_g.zero_grad()
        self.loss(self.d(fake), self.ones).backward()
        self.optimise_g.step()


def ours(width: int, images: np.ndarray) -> Trainer:
    objective = GAN((32, 32, 3), width=width)
    initialise(objective, torch.Generator().manual_seed(0))
    device = torch.device("cpu")
    settings = LoopSettings(batch_size=BATCH, precision=resolve_precision("auto", device))
    return Trainer(objective, images, settings, device)


def show_profile(trainer: Trainer) -> None:
    for _ in range(3):
        trainer.play()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profile:
        for _ in range(5):
            trainer.play()
    events = profile.key_averages(group_by_input_shape=True)
    for event in sorted(events, key=lambda e: -e.self_cpu_time_total)[:20]:
        print(f"{event.self_cpu_time_total / 5000:8.2f} ms a step  {event.key:30s} {str(event.input_shapes)[:90]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="steps a repeat")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--profile", type=int, metavar="WIDTH", help="show where our step's time goes, and stop")
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (2048, 32, 32, 3)).astype(np.uint8)
    if options.profile:
        show_profile(ours(options.profile, images))
        return
    results = {}
    for width in options.widths:
        plain, trainer = PlainLoop(width, images), ours(width, images)
        dtype = torch.bfloat16 if trainer.settings.precision == "bf16" else torch.float32
        with FlopCounterMode(display=False) as counter:
            trainer.play()
        flops = counter.get_total_flops()
        product, product_flops = gemm(dtype)
        seconds = interleaved(
            {
                "plain": lambda plain=plain: [plain.step() for _ in range(options.steps)],
                "ganfeat": lambda trainer=trainer: [trainer.play() for _ in range(options.steps)],
                "gemm": product,
            },
            options.repeats,
        )
        images_a_call = BATCH * options.steps
        rate = {name: images_a_call / median(seconds[name]) for name in ("plain", "ganfeat")}
        gemm_rate = product_flops / median(seconds["gemm"])
        results[f"width {width}"] = {
            "images_per_second": {name: round(value, 1) for name, value in rate.items()},
            "quartiles": {
                name: sorted(round(images_a_call / s, 1) for s in spread(seconds[name]))
                for name in ("plain", "ganfeat")
            },
            "ratio": round(rate["ganfeat"] / rate["plain"], 2),
            "precision": trainer.settings.precision,
            "gflop_per_step": round(flops / 1e9, 1),
            "gemm_gflop_per_second": round(gemm_rate / 1e9, 1),
            "share_of_gemm": round(flops * options.steps / median(seconds["ganfeat"]) / gemm_rate, 3),
        }
    conclude("train_step", {"batch": BATCH, "image": [32, 32, 3], "results": results}, options.out)


if __name__ == "__main__":
    main()
