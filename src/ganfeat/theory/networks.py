"""A run's networks as the claims see them: features, and the linear heads that read them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganfeat.checkpoint import RunFolder, read_tensors
from ganfeat.errors import InputError
from ganfeat.estimators import load
from ganfeat.nets.batchnorm import batch_norms
from ganfeat.nets.classes import ClassifyingDiscriminator
from ganfeat.nets.encoder import OnImages
from ganfeat.nets.mgan import MultiGenerator, generator_of_rows
from ganfeat.objectives.acgan import ACGAN
from ganfeat.objectives.base import Objective

BATCH = 250
NO_DISCRIMINATOR = "the claims are about a discriminator of images: give a run of dcgan, latent-regressor or mgan"
NAMES = {"discriminator": "D", "classifier": "C"}


@dataclass(frozen=True)
class Head:
    """A linear layer at the end of a network, which reads the features.

    ``beside`` is the layer that reads the same features when the network is called, if that is another one.
    """

    name: str
    network: nn.Module
    layer: nn.Linear
    beside: nn.Linear | None = None

    @property
    def weight(self) -> NDArray[np.float32]:
        """``(n_outputs, n_features)``."""
        return self.layer.weight.detach().float().cpu().numpy()

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(n, n_features)`` to ``(n, n_outputs)``."""
        bias = 0.0 if self.layer.bias is None else self.layer.bias.detach().float().cpu().numpy()
        return features @ self.weight.T + bias


@dataclass(frozen=True)
class Drawn:
    """Generated images, and the class that each was drawn as, where generators or labels make classes."""

    x_NCHW: NDArray[np.float32]
    classes: NDArray[np.int64] | None


@dataclass(frozen=True)
class Opened:
    """A run, ready to be measured."""

    run: Path
    gan: Any
    config: dict[str, Any]
    heads: dict[str, Head]
    untrained: dict[str, Head] | None

    @property
    def batch_size(self) -> int:
        """Of the training."""
        return int(self.config["estimator"].get("batch_size") or 128)


def open_run(run: Path | str, device: str) -> Opened:
    """Load a run and find the heads of its D and C.

    Raises
    ------
    InputError
        If it is no run, or its discriminator does not judge images alone, by one logit.
    """
    folder = RunFolder(run)
    config = folder.config()
    gan = load(run, device=device)
    heads = heads_of(gan.objective_, str(run))
    height, width, _ = gan.image_shape_
    if height != width:
        raise InputError(f"{run} was trained on {height} x {width} images; theory reads square ones")
    if not config["scaling"]["integer"]:
        raise InputError(f"{run} was trained on floating-point arrays; theory reads images, 0 to 255: train on these")
    untrained = None
    if folder.read_untrained() is not None:
        untrained = heads_of(gan.random_init().objective_, str(run))
    return Opened(Path(run), gan, config, heads, untrained)


def heads_of(objective: Objective, run: str) -> dict[str, Head]:
    """D's head, and the classifier's where there is one: ``"discriminator"``, ``"classifier"``.

    Raises
    ------
    InputError
        If there is no discriminator of images with one logit.
    """
    tapped = objective.taps()
    network = tapped.get("discriminator")
    if network is None:
        raise InputError(f"{run} has no discriminator; {NO_DISCRIMINATOR}")
    inner = network
    if isinstance(network, OnImages):
        if network.encoder is not None:
            raise InputError(
                f"the discriminator of {run} judges pairs of an image and its z (BiGAN, ALI), so whether it says the "
                f"same of all real images has no meaning without their z; {NO_DISCRIMINATOR}"
            )
        inner = network.discriminator
    layer: Any = getattr(inner, "head", None)
    if not isinstance(layer, nn.Linear) or layer.out_features != 1:
        raise InputError(
            f"the discriminator of {run} gives no single logit for real against generated; {NO_DISCRIMINATOR}"
        )
    heads = {"discriminator": Head("discriminator", network, layer)}
    if isinstance(inner, ClassifyingDiscriminator):
        heads["classifier"] = Head("classifier", network, inner.class_head, layer)
    elif "classifier" in tapped:
        last: Any = getattr(tapped["classifier"], "head", None)
        assert isinstance(last, nn.Linear), "a classifier ends in a linear head"
        heads["classifier"] = Head("classifier", tapped["classifier"], last)
    return heads


def to_tensor(images: NDArray[Any], device: torch.device) -> torch.Tensor:
    """``uint8 (n, h, w, c)``, or float32 ``(n, c, h, w)`` in [-1, 1], as the networks take it."""
    x = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    if x.dtype == torch.uint8:
        x = x.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    return x


@contextmanager
def batch_statistics(*networks: nn.Module) -> Iterator[None]:
    """Let batch norms normalise by the batch at hand, as in training; what they have stored stays as it is."""
    norms = [norm for network in networks for norm in batch_norms(network)]
    kept = [(norm, norm.training, norm.momentum) for norm in norms]
    try:
        for norm in norms:
            norm.train()
            norm.momentum = 0.0
        yield
    finally:
        for norm, training, momentum in kept:
            norm.train(training)
            norm.momentum = momentum


@torch.inference_mode()
def read(
    head: Head,
    images: NDArray[Any],
    device: torch.device,
    *,
    change: Callable[[torch.Tensor], torch.Tensor] | None = None,
    size: int = BATCH,
) -> NDArray[np.float32]:
    """What a head reads of images: features ``float32 (n, n_features)``, computed in float32.

    Parameters
    ----------
    head : Head
        Its network in evaluation mode, or within :func:`batch_statistics`.
    images : ndarray
        See :func:`to_tensor`.
    device : torch.device
    change : callable, optional
        Noise on a batch.
    size : int
        Of the batches. The last one is left out if it is smaller, except where it is the only one, if statistics are
        those of the batch.
    """
    found: list[torch.Tensor] = []
    whole = not any(norm.training for norm in batch_norms(head.network))
    n = len(images) if whole else max(len(images) // size * size, min(len(images), size))
    rows = np.empty((n, head.layer.in_features), np.float32)
    handle = (head.beside or head.layer).register_forward_pre_hook(lambda _, given: found.append(given[0]))
    try:
        for start in range(0, n, size):
            x_NCHW = to_tensor(images[start : min(n, start + size)], device)
            head.network(x_NCHW if change is None else change(x_NCHW))
            rows[start : start + len(x_NCHW)] = found.pop().float().cpu().numpy()
    finally:
        handle.remove()
    return rows


@torch.inference_mode()
def draw(objective: Objective, n: int, seed: int, device: torch.device, size: int = BATCH) -> Drawn:
    """Generated images as D meets them, not rounded to whole pixels, in random order.

    Of several generators each draws an equal share of every batch of ``size``, and is a class; of a GAN that learned
    from labels, the classes are those that it was asked for.
    """
    sampler = objective.sampler()
    generator = torch.Generator().manual_seed(seed)
    pictures, classes = [], []
    for start in range(0, n, size):
        z_ND = objective.draw_latents(min(size, n - start), generator)
        pictures.append(sampler(z_ND.to(device)).float().cpu().numpy())
        if isinstance(sampler, MultiGenerator):
            classes.append(generator_of_rows(len(z_ND), sampler.n_generators).numpy())
        elif isinstance(objective, ACGAN):
            classes.append(z_ND[:, -objective.n_classes :].argmax(1).numpy())
    order = np.random.default_rng([seed, 9]).permutation(n)
    return Drawn(np.concatenate(pictures)[order], np.concatenate(classes)[order] if classes else None)


def checkpoints(opened: Opened, notes: list[str]) -> Iterator[tuple[int, Objective]]:
    """Objectives of the checkpoints kept in the run folder, by step, as they played."""
    folder = RunFolder(opened.run).checkpoints
    for place in sorted(folder.glob("step-*")) if folder.is_dir() else []:
        objective = copy.deepcopy(opened.gan.objective_)
        try:
            tensors = read_tensors(place / "state.safetensors")
            state = {k.removeprefix("objective/"): v for k, v in tensors.items() if k.startswith("objective/")}
            objective.load_state_dict(state)
        except (InputError, RuntimeError) as error:
            notes.append(f"Checkpoint {place.name} is left out: {str(error).splitlines()[0]}")
            continue
        yield int(place.name.removeprefix("step-")), objective.eval()
