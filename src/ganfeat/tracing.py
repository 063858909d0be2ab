"""Find the conv blocks of any network by watching it run once.

A *block* is a convolution together with the batch norm and the activation that consume its output, be
they modules or functions (``F.leaky_relu``), wherever they stand in the source. In a network without any convolution
the blocks are its hidden layers: linear maps with a norm or an activation behind them. Blocks are numbered in the order
in which they run. The same watch captures activations afterwards, so that nothing needs to be registered
on, or changed in, somebody else's network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from ganfeat.errors import InputError

STAGES = ("conv", "norm", "activation")
"""Of a hidden layer, ``conv`` is its linear map."""

CONVOLUTIONS = frozenset(
    {
        torch.conv1d,
        torch.conv2d,
        torch.conv3d,
        torch.conv_transpose1d,
        torch.conv_transpose2d,
        torch.conv_transpose3d,
    }
)
LINEAR_MAPS = frozenset({F.linear})
NORMS = frozenset(
    {
        F.batch_norm,
        F.instance_norm,
        F.layer_norm,
        F.group_norm,
        torch.batch_norm,
        torch.group_norm,
        torch.layer_norm,
        torch.instance_norm,
    }
)
ACTIVATIONS = frozenset(
    {
        F.relu,
        F.relu_,
        torch.relu,
        torch.relu_,
        F.leaky_relu,
        F.leaky_relu_,
        F.elu,
        F.elu_,
        F.celu,
        F.selu,
        F.gelu,
        F.silu,
        F.mish,
        F.softplus,
        F.prelu,
        torch.prelu,
        F.rrelu,
        F.hardtanh,
        F.hardswish,
        F.relu6,
        F.tanh,
        torch.tanh,
        torch.tanh_,
        torch.sigmoid,
        torch.sigmoid_,
        F.sigmoid,
        F.hardsigmoid,
        F.softsign,
        F.logsigmoid,
        F.threshold,
        torch.Tensor.relu,
        torch.Tensor.relu_,
        torch.Tensor.tanh,
        torch.Tensor.tanh_,
        torch.Tensor.sigmoid,
        torch.Tensor.sigmoid_,
        torch.celu,
        torch.selu,
        torch.clamp,
        torch.clamp_,
        torch.clamp_min,
        torch.clamp_min_,
        torch.Tensor.clamp,
        torch.Tensor.clamp_,
        torch.Tensor.clamp_min,
        torch.Tensor.clamp_min_,
    }
)
BOUNDS = frozenset(
    {
        F.tanh,
        torch.tanh,
        torch.tanh_,
        torch.Tensor.tanh,
        torch.Tensor.tanh_,
        F.sigmoid,
        torch.sigmoid,
        torch.sigmoid_,
        torch.Tensor.sigmoid,
        torch.Tensor.sigmoid_,
    }
)
"""Activations that, behind the last linear map of all, give a network's output its range."""
PASSES = frozenset(
    {
        F.dropout,
        F.dropout1d,
        F.dropout2d,
        F.dropout3d,
        F.alpha_dropout,
        torch.dropout,
        torch.Tensor.contiguous,
        torch.Tensor.float,
        torch.Tensor.to,
    }
)
"""Functions after which a tensor is still the same stage of the same block."""


@dataclass
class Block:
    """A conv block found in a network, or a hidden layer of one without convolutions.

    Attributes
    ----------
    index : int
        Order of execution, from 0.
    name : str
        Dotted name of the module that holds the convolution, or ``conv<index>``; ``NAME#2`` when it runs for
        the second time. ``linear<call>`` for a linear map without a module.
    stages : dict
        Stage (``conv``, ``norm``, ``activation``) to the shape ``(C, H, W)`` of its output for one image; ``(C,)`` of
        a hidden layer, whose ``conv`` is the linear map. What is added to it in place, as z in a joint
        discriminator, is in the later stages only.
    kind : {"conv", "linear"}
    call : int
        Which convolution, or which linear map, of all that run it is. By default the index: only linear maps can be
        no block.
    """

    index: int
    name: str
    stages: dict[str, tuple[int, ...]] = field(default_factory=dict)
    kind: str = "conv"
    call: int = -1

    def __post_init__(self) -> None:
        if self.call < 0:
            self.call = self.index

    def resolve(self, stage: str) -> str:
        """The stage itself, or the last one before it that the block has."""
        wanted = STAGES[: STAGES.index(stage) + 1]
        return next(s for s in reversed(wanted) if s in self.stages)


class _Enough(Exception):
    """All that is wanted has been seen: the rest of the network need not run."""


class Watch(TorchFunctionMode):
    """Follow convolutions, or linear maps, and what is done to their outputs while a network runs.

    Parameters
    ----------
    see : callable(call, stage, tensor)
        Called with the output of every stage, at once: an in-place activation may overwrite it later.
        If it gives True, the run ends there.
    kind : {"conv", "linear"}
        What to follow.
    """

    def __init__(self, see: Callable[[int, str, torch.Tensor], bool], kind: str = "conv") -> None:
        super().__init__()
        self.see = see
        self.followed = {"conv": CONVOLUTIONS, "linear": LINEAR_MAPS}[kind]
        self.calls = 0
        self.bounded: set[int] = set()
        self.known: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the function; note the output if it is a stage of a block."""
        before = None
        if func in NORMS or func in ACTIVATIONS or func in PASSES:
            source = args[0] if args else (kwargs or {}).get("input")
            if isinstance(source, torch.Tensor):
                before = self.known.get(source)  # type: ignore[no-untyped-call]
        output = func(*args, **(kwargs or {}))
        if not isinstance(output, torch.Tensor):
            return output
        if func in self.followed:
            self.calls += 1
            self._note(output, self.calls - 1, "conv")
        elif before is not None:
            index, stage = before
            if func in PASSES:
                self.known[output] = before
            elif func in NORMS and stage == "conv":
                self._note(output, index, "norm")
            elif func in ACTIVATIONS and stage in ("conv", "norm"):
                if func in BOUNDS:
                    self.bounded.add(index)
                self._note(output, index, "activation")
        return output

    def _note(self, output: torch.Tensor, index: int, stage: str) -> None:
        self.known[output] = (index, stage)
        if self.see(index, stage, output):
            raise _Enough


def watch(
    network: nn.Module, x_NCHW: torch.Tensor, see: Callable[[int, str, torch.Tensor], bool], kind: str = "conv"
) -> Watch:
    """Run a network under a :class:`Watch`, until ``see`` returns True or the network ends."""
    watching = Watch(see, kind)
    try:
        with watching:
            network(x_NCHW)
    except _Enough:
        pass
    return watching


@contextmanager
def explained(x_NCHW: torch.Tensor) -> Iterator[None]:
    """Say of any error of a network that it could not run on these images.

    Raises
    ------
    InputError
        In place of any other exception.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"the network could not run on images of shape {tuple(x_NCHW.shape[1:])} (channels, height, width): "
            f"{reason}. Load the images in the size and channels that it was made for"
        ) from error


def trace(network: nn.Module, x_NCHW: torch.Tensor) -> list[Block]:
    """List a network's conv blocks, by running it once on ``x_NCHW`` (two images or more).

    Where no convolution runs, list its hidden layers: linear maps whose output is normalised or activated. The last
    linear map is none if no more than a sigmoid or tanh follows: that is the network's output.

    Raises
    ------
    InputError
        If the network does not take the images, or has neither.
    """
    blocks = find_blocks(network, x_NCHW)
    if not blocks:
        raise InputError(
            f"no convolution and no hidden layer was seen while {type(network).__name__} ran, so there is nothing to "
            "tap: name modules with taps=['name', ...]"
        )
    return blocks


def find_blocks(network: nn.Module, x_NCHW: torch.Tensor) -> list[Block]:
    """As :func:`trace`, but the list may be empty."""
    with explained(x_NCHW):
        blocks, _ = _followed(network, x_NCHW, "conv", nn.modules.conv._ConvNd)
        if blocks:
            return blocks
        maps, watched = _followed(network, x_NCHW, "linear", nn.Linear)
    hidden = [b for b in maps if len(b.stages) > 1]
    last = watched.calls - 1
    if hidden and hidden[-1].call == last and last in watched.bounded and "norm" not in hidden[-1].stages:
        del hidden[-1]
    for index, block in enumerate(hidden):
        block.index = index
    return hidden


def _followed(
    network: nn.Module, x_NCHW: torch.Tensor, kind: str, modules: type[nn.Module]
) -> tuple[list[Block], Watch]:
    """Every convolution or linear map that runs, in order, as a block."""
    names: list[str] = []
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, modules):
            handles.append(module.register_forward_pre_hook(lambda _m, _a, name=name: names.append(name)))
    blocks: dict[int, Block] = {}
    runs: Counter[str] = Counter()

    def see(call: int, stage: str, output: torch.Tensor) -> bool:
        if stage == "conv":
            name = (names.pop() or kind) if names else f"{kind}{call}"
            names.clear()
            runs[name] += 1
            blocks[call] = Block(call, name if runs[name] == 1 else f"{name}#{runs[name]}", kind=kind, call=call)
        blocks[call].stages.setdefault(stage, tuple(output.shape[1:]))
        return False

    try:
        watched = watch(network, x_NCHW, see, kind)
    finally:
        for handle in handles:
            handle.remove()
    return [blocks[call] for call in sorted(blocks)], watched
