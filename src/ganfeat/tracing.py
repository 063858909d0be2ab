"""Find the conv blocks of any network by watching it run once.

A *block* is a convolution together with the batch norm and the activation that consume its output, be
they modules or functions (``F.leaky_relu``), wherever they stand in the source. Blocks are numbered in the order
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
    """A conv block found in a network.

    Attributes
    ----------
    index : int
        Order of execution, from 0.
    name : str
        Dotted name of the module that holds the convolution, or ``conv<index>``; ``NAME#2`` when it runs for
        the second time.
    stages : dict
        Stage (``conv``, ``norm``, ``activation``) to the shape ``(C, H, W)`` of its output for one image.
    """

    index: int
    name: str
    stages: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def resolve(self, stage: str) -> str:
        """The stage itself, or the last one before it that the block has."""
        wanted = STAGES[: STAGES.index(stage) + 1]
        return next(s for s in reversed(wanted) if s in self.stages)


class _Enough(Exception):
    """All that is wanted has been seen: the rest of the network need not run."""


class Watch(TorchFunctionMode):
    """Follow convolutions and what is done to their outputs while a network runs.

    Parameters
    ----------
    see : callable(block_index, stage, tensor)
        Called with the output of every stage, at once: an in-place activation may overwrite it later.
        If it gives True, the run ends there.
    """

    def __init__(self, see: Callable[[int, str, torch.Tensor], bool]) -> None:
        super().__init__()
        self.see = see
        self.convolutions = 0
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
        if func in CONVOLUTIONS:
            self._note(output, self.convolutions, "conv")
            self.convolutions += 1
        elif before is not None:
            index, stage = before
            if func in PASSES:
                self.known[output] = before
            elif func in NORMS and stage == "conv":
                self._note(output, index, "norm")
            elif func in ACTIVATIONS and stage in ("conv", "norm"):
                self._note(output, index, "activation")
        return output

    def _note(self, output: torch.Tensor, index: int, stage: str) -> None:
        self.known[output] = (index, stage)
        if self.see(index, stage, output):
            raise _Enough


def watch(network: nn.Module, x_NCHW: torch.Tensor, see: Callable[[int, str, torch.Tensor], bool]) -> None:
    """Run a network under a :class:`Watch`, until ``see`` returns True or the network ends."""
    try:
        with Watch(see):
            network(x_NCHW)
    except _Enough:
        return


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

    Raises
    ------
    InputError
        If the network does not take the images, or has no convolution.
    """
    names: list[str] = []
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            handles.append(module.register_forward_pre_hook(lambda _m, _a, name=name: names.append(name)))
    blocks: dict[int, Block] = {}
    runs: Counter[str] = Counter()

    def see(index: int, stage: str, output: torch.Tensor) -> bool:
        if stage == "conv":
            name = (names.pop() or "conv") if names else f"conv{index}"
            names.clear()
            runs[name] += 1
            blocks[index] = Block(index, name if runs[name] == 1 else f"{name}#{runs[name]}")
        blocks[index].stages.setdefault(stage, tuple(output.shape[1:]))
        return False

    try:
        with explained(x_NCHW):
            watch(network, x_NCHW, see)
    finally:
        for handle in handles:
            handle.remove()
    if not blocks:
        raise InputError(
            f"no convolution was seen while {type(network).__name__} ran, so there is nothing to tap: name modules "
            "with taps=['name', ...]"
        )
    return [blocks[i] for i in sorted(blocks)]
