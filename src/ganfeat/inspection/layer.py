"""One layer of any network: where its units are, and the network run as far as it.

Names: :class:`Layer`, :func:`layers_of` (every layer of a fitted :class:`~ganfeat.features.FeatureExtractor`),
:func:`layer_of` (one of them), :func:`layers_in` (of a bare network), :func:`run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call

from ganfeat.errors import InputError
from ganfeat.features import FeatureExtractor
from ganfeat.nets.batchnorm import batch_norms
from ganfeat.nets.encoder import OnImages
from ganfeat.tracing import STAGES, Block, explained, trace, watch

Prepare = Callable[[NDArray[Any]], torch.Tensor]


@dataclass(frozen=True)
class Layer:
    """A stage of a block of a network.

    Attributes
    ----------
    network : nn.Module
        It is never changed.
    block : Block
    stage : str
        One that the block has.
    prepare : callable
        Images ``uint8 (n, h, w, c)`` to what the network takes, ``(n, c, h, w)``.
    """

    network: nn.Module
    block: Block
    stage: str
    prepare: Prepare = field(repr=False)

    @property
    def name(self) -> str:
        """``BLOCK:STAGE``."""
        return f"{self.block.name}:{self.stage}"

    @property
    def channels(self) -> int:
        """Maps; units of a hidden layer without maps."""
        return self.block.stages[self.stage][0]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a map; (1, 1) where a channel is a single unit."""
        shape = self.block.stages[self.stage][1:]
        return (shape[0], shape[1]) if shape else (1, 1)


def layers_of(extractor: FeatureExtractor, at: str = "activation") -> list[Layer]:
    """All layers of a fitted extractor's network, in order of execution.

    Parameters
    ----------
    extractor : FeatureExtractor
        Fitted, e.g. ``gan.extractor("discriminator", taps="all")``.
    at : {"activation", "norm", "conv"}
        A block without that stage gives the last one before.

    Raises
    ------
    InputError
        If the network has neither convolutions nor hidden layers.
    """
    blocks = extractor.blocks_ or trace(extractor.network_, extractor._batch(_blank(extractor)))
    return _layers(extractor.network_, blocks, at, extractor._batch)


def layer_of(extractor: FeatureExtractor, index: int = -1, at: str = "activation") -> Layer:
    """The layer of this index, negative from the end: see :func:`layers_of`.

    Raises
    ------
    InputError
        If there is no such layer.
    """
    layers = layers_of(extractor, at)
    if not -len(layers) <= index < len(layers):
        raise InputError(
            f"layer {index} is out of range: the network has {len(layers)} layers, 0 to {len(layers) - 1} "
            f"(or -{len(layers)} to -1): {', '.join(layer.block.name for layer in layers)}"
        )
    return layers[index]


def layers_in(network: nn.Module, image_shape: tuple[int, int, int], at: str = "activation") -> list[Layer]:
    """All layers of a bare network that takes images in [-1, 1].

    Parameters
    ----------
    network : nn.Module
    image_shape : (height, width, channels)
    at : {"activation", "norm", "conv"}
    """

    def prepare(images: NDArray[Any]) -> torch.Tensor:
        found = next(network.parameters(), None)
        x_NHWC = torch.from_numpy(np.array(images)).to(torch.device("cpu") if found is None else found.device)
        if x_NHWC.dtype == torch.uint8:
            x_NHWC = x_NHWC.float().div_(127.5).sub_(1)
        return x_NHWC.float().permute(0, 3, 1, 2)

    with evaluating(network), torch.no_grad():
        blocks = trace(network, prepare(np.zeros((2, *image_shape), np.uint8)))
    return _layers(network, blocks, at, prepare)


def _layers(network: nn.Module, blocks: Sequence[Block], at: str, prepare: Prepare) -> list[Layer]:
    if at not in STAGES:
        raise InputError(f"at={at!r} is not known: choose one of {', '.join(STAGES)}")
    layers = [Layer(network, block, block.resolve(at), prepare) for block in blocks]
    for layer in layers:
        if len(layer.block.stages[layer.stage]) not in (1, 3):
            raise InputError(f"layer {layer.name} gives no maps (channels, height, width), so it cannot be looked into")
    return layers


def _blank(extractor: FeatureExtractor) -> NDArray[np.uint8]:
    return np.zeros((2, *extractor.image_shape_), np.uint8)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode; afterwards every module is in its own again.

    Raises
    ------
    InputError
        If its batch norms keep no running statistics: what is measured of an image would depend on the others.
    """
    if any(norm.running_mean is None for norm in batch_norms(network)):
        raise InputError(
            "the network's batch norms keep no running statistics: give it through "
            "FeatureExtractor(network, bn='recalibrate').fit(images), which estimates them on a copy"
        )
    modes = {module: module.training for module in network.modules()}
    try:
        if any(modes.values()):
            network.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def run(layers: Sequence[Layer], x_NCHW: torch.Tensor) -> list[torch.Tensor]:
    """Outputs of layers of one network for a batch, in float32, the network in evaluation mode.

    Of a joint discriminator D(x, E(x)), z = E(x) is held as it is: no gradient goes through E.

    Parameters
    ----------
    layers : sequence of Layer
        All of the same network, which runs as far as the last of them.
    x_NCHW : Tensor
        Float.

    Returns
    -------
    list of Tensor ``(N, *block.stages[stage])``
        Copies, which an in-place activation behind them does not overwrite.

    Raises
    ------
    InputError
        If the network does not take the images.
    """
    network, kind = layers[0].network, layers[0].block.kind
    wanted: dict[tuple[int, str], list[int]] = {}
    for i, layer in enumerate(layers):
        wanted.setdefault((layer.block.call, layer.stage), []).append(i)
    found: dict[int, torch.Tensor] = {}

    def see(call: int, stage: str, output: torch.Tensor) -> bool:
        places = wanted.get((call, stage), ())
        if places:
            found.update(dict.fromkeys(places, output.clone()))
        return len(found) == len(layers)

    with ExitStack() as stack:
        stack.enter_context(evaluating(network))
        stack.enter_context(torch.autocast(x_NCHW.device.type, enabled=False))
        stack.enter_context(explained(x_NCHW))
        if isinstance(network, OnImages) and network.encoder is not None:
            hook = network.encoder.register_forward_hook(lambda _module, _given, z_ND: z_ND.detach())
            stack.callback(hook.remove)
        watch(_differentiable(network), x_NCHW, see, kind)
    missing = [layer.name for i, layer in enumerate(layers) if i not in found]
    if missing:
        raise InputError(f"{', '.join(missing)} did not run on these images, unlike when the network was traced")
    return [found[i] for i in range(len(layers))]


def _differentiable(network: nn.Module) -> Any:
    """The network with tensors that gradients can pass: not those that were made in inference mode."""
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    made = {name: value for name, value in tensors.items() if value.is_inference()}
    if not made or not torch.is_grad_enabled():
        return network
    copies = {name: value.clone() for name, value in made.items()}
    return lambda x_NCHW: functional_call(network, copies, (x_NCHW,))
