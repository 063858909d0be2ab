"""What is looked at in a GAN while it plays: whether samples reach all of the data, and whether filters differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from ganfeat import health
from ganfeat.device import autocast
from ganfeat.nets.batchnorm import batch_norms, recalibrate
from ganfeat.nets.encoder import resized
from ganfeat.objectives.base import Objective
from ganfeat.probes.kmeans import lloyd
from ganfeat.tracing import Watch, find_blocks
from ganfeat.training import to_networks

MEASURED = 512
"""Samples, at most, and real images in each of two halves."""
LEAST_MEASURED = 64
"""Real images in a half below which nothing is measured: too few to tell chance from collapse."""
CELLS = 32
IMAGES_A_CELL = 16
"""Real images in a cell, on average, or more; fewer images make fewer cells."""
CHUNK = 128
"""Images that pass a network together."""
ROUNDS = 10
"""Of k-means."""
PIXELS = 16
"""Side that larger images are averaged to before their pixels are compared."""
PLACES = 4
"""Rows and columns of a map, at most, at which a filter's activations are read."""
FEWEST_FILTERS = 8
"""A layer with fewer has no share to speak of: G's output."""

Rows = NDArray[np.int64]


class Checkup:
    """Measures how much of the data the samples cover, how far they are apart, and how many filters do the same.

    Parameters
    ----------
    images : ndarray or memory map ``(n, h, w, c)``
        ``uint8``, or ``float32`` in [-1, 1].
    rows : ndarray of int
        The images that are learned from.
    seed : int
        Of the images, the latents and the cells: the same in every evaluation.
    device : torch.device
    precision : {"bf16", "fp32"}

    Notes
    -----
    G uses the batch norms' statistics of its batches of up to 128, as while it learns; D those of real images alone,
    since a batch of samples that is normed by itself looks as varied as any. Up to 512 training images are
    grouped into up to 32 cells (k-means); ``coverage/...`` is the share of the cells that as many samples reach, and
    ``bins/...`` NDB/K (:func:`ganfeat.health.coverage`, :func:`~ganfeat.health.different_bins`); ``..._real`` beside
    them is what as many other real images make of the same cells, the best that samples can do. ``diversity/...`` is
    the samples' mean distance from each other over that of real images. All by ``pixels`` (of at most 16 x 16, larger
    images are averaged) and by ``features``, D's last hidden layer. Fewer than 128 images are not measured.
    ``filters/generator`` and ``filters/discriminator`` are, of the network's convolutional layer where it is largest,
    the share of the filters that follow one mode, and ``mode/...`` their mean activation
    (:func:`~ganfeat.health.one_mode`).
    """

    def __init__(self, images: NDArray[Any], rows: Rows, *, seed: int, device: torch.device, precision: str) -> None:
        self.images, self.seed, self.device, self.precision = images, seed, device, precision
        half = min(len(rows) // 2, MEASURED)
        drawn = np.random.default_rng([seed, 0, 4]).permutation(rows)[: 2 * half]
        self.halves = (np.sort(drawn[:half]), np.sort(drawn[half:]))

    @torch.no_grad()
    def measure(self, model: Objective, step: int) -> dict[str, float]:
        """Numbers of a copy of an objective; nothing for one without a D, or with too few images."""
        network = model.taps().get("discriminator")
        if network is None or len(self.halves[0]) < LEAST_MEASURED:
            return {}
        for norm in batch_norms(model.sampler()):
            norm.train()
        seed = int(np.random.SeedSequence([self.seed, 6]).generate_state(1)[0])
        latents = torch.Generator(self.device).manual_seed(seed)
        z_ND = model.draw_latents(len(self.halves[0]), latents)
        real = [to_networks(torch.from_numpy(np.array(self.images[rows])).to(self.device)) for rows in self.halves]
        with autocast(self.device, self.precision):
            recalibrate(network, torch.split(torch.cat(real), CHUNK), only=model.get_submodule("discriminator"))
            of_generator, _, drawn_NCHW = _watched(model.sampler(), z_ND)
            judged = [_watched(network, resized(x, _size(real[0]))) for x in (*real, drawn_NCHW)]
        found = self._compare("pixels", [_pixels(resized(x, _size(drawn_NCHW))) for x in (*real, drawn_NCHW)])
        found |= self._compare("features", [features_NF for _, features_NF, _ in judged])
        for name, layers in {"generator": of_generator, "discriminator": judged[0][0]}.items():
            if layers:
                share, level = max(health.one_mode(activations_NC) for activations_NC in layers)
                found |= {f"filters/{name}": share, f"mode/{name}": level}
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def _compare(self, name: str, points: Sequence[torch.Tensor]) -> dict[str, float]:
        """Samples, the last of the three, with two halves of real images."""
        one_ND, other_ND, drawn_ND = (p.float().cpu() for p in points)
        distance = health.diversity(other_ND)
        if not distance > 0 or not math.isfinite(distance):
            return {}
        found = {f"diversity/{name}": health.diversity(drawn_ND) / distance}
        cells = min(CELLS, len(one_ND) // IMAGES_A_CELL)
        centroids = lloyd(one_ND, cells, ROUNDS, np.random.default_rng([self.seed, 0, 5]), torch.device("cpu"))
        one_K, other_K, drawn_K = (health.sizes_of_cells(p, centroids) for p in (one_ND, other_ND, drawn_ND))
        for key, measure in {"coverage": health.coverage, "bins": health.different_bins}.items():
            found |= {f"{key}/{name}": measure(one_K, drawn_K), f"{key}/{name}_real": measure(one_K, other_K)}
        return found


def _watched(network: nn.Module, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Run a network, in chunks.

    Returns
    -------
    layers : list of Tensor ``(N * places, C)``
        Activations of each convolutional layer.
    features_NF : Tensor
        The last hidden layer; the output where there is none.
    outputs : Tensor
    """
    blocks = find_blocks(network, x[:2])
    kind = blocks[-1].kind if blocks else "conv"
    layers: dict[int, list[torch.Tensor]] = {
        block.call: [] for block in blocks if kind == "conv" and next(iter(block.stages.values()))[0] >= FEWEST_FILTERS
    }
    features, outputs = [], []
    for chunk in torch.tensor_split(x, math.ceil(len(x) / CHUNK)):
        seen: dict[int, torch.Tensor] = {}

        def see(call: int, stage: str, output: torch.Tensor, seen: dict[int, torch.Tensor] = seen) -> bool:
            seen[call] = output  # of the stages of a layer, the last is kept
            return False

        with Watch(see, kind):
            outputs.append(network(chunk).float())
        features.append(seen[blocks[-1].call].flatten(1) if blocks else outputs[-1].flatten(1))
        for call, parts in layers.items():
            parts.append(_places(seen[call]))
    return [torch.cat(parts) for parts in layers.values()], torch.cat(features), torch.cat(outputs)


def _places(maps_NCHW: torch.Tensor) -> torch.Tensor:
    """Activations at a grid of places, a column for each filter."""
    down, right = (math.ceil(side / PLACES) for side in maps_NCHW.shape[2:])
    return maps_NCHW[:, :, ::down, ::right].permute(0, 2, 3, 1).flatten(0, 2).float().cpu()


def _size(x_NCHW: torch.Tensor) -> tuple[int, int]:
    return x_NCHW.shape[2], x_NCHW.shape[3]


def _pixels(x_NCHW: torch.Tensor) -> torch.Tensor:
    """Rows of pixels, of at most 16 x 16."""
    height, width = x_NCHW.shape[2:]
    return F.adaptive_avg_pool2d(x_NCHW.float(), (min(height, PIXELS), min(width, PIXELS))).flatten(1)
