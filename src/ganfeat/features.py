"""Features from the layers of any network: taps, pooled to a grid, flattened, side by side.

The DCGAN recipe (Radford et al. 2016, section 5.1): every convolutional layer of the discriminator, max-pooled
to 4 x 4, flattened and concatenated. A tap is where a layer is read: ``conv``, ``norm`` (after batch
norm) or ``activation`` (after the non-linearity, as the authors did and as is the default here).
"""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from torch import nn
from torch.nn import functional as F

from ganfeat.arrays import ImageShape, all_finite, as_images, resolve_image_shape
from ganfeat.config import require, suggest
from ganfeat.device import autocast, resolve_device, resolve_precision
from ganfeat.errors import InputError
from ganfeat.files import replacing
from ganfeat.nets.batchnorm import batch_norms, recalibrate
from ganfeat.nets.encoder import parts
from ganfeat.tracing import STAGES, Block, explained, find_blocks, trace, watch

POOLS: dict[str, Callable[[torch.Tensor, tuple[int, int]], torch.Tensor]] = {
    "avg": F.adaptive_avg_pool2d,
    "max": F.adaptive_max_pool2d,
}
RECALIBRATION_BATCH = 128
WHOLE_BATCH = 16
"""Networks get multiples of this: rows that do not fill the processor's registers run other kernels, which round
otherwise."""
MEMORY = 2 * 2**30
"""Bytes of features that are kept in memory where they could go to a file: :func:`needs_file`."""
OUTPUT = "output"
"""The tap of what the network gives."""
Taps = str | int | Sequence[str | int]


@dataclass(frozen=True)
class Tap:
    """One place where features are read.

    ``block`` and ``stage`` say which conv block and where in it; ``module`` names a module instead.
    """

    name: str
    block: int = -1
    stage: str = ""
    module: str = ""


@dataclass(frozen=True)
class _Cells:
    """What a tap gives: ``channels`` maps, pooled to ``grid`` cells."""

    channels: int
    grid: tuple[int, ...]

    @property
    def width(self) -> int:
        return self.channels * math.prod(self.grid)


def detached_copy(network: nn.Module) -> nn.Module:
    """Copy a network, also one that keeps results of its last training step.

    ``torch.nn.utils.spectral_norm``, usual in discriminators, leaves such a tensor as its ``weight``;
    :func:`copy.deepcopy` alone refuses it.
    """
    results = {
        id(value): value.detach().clone()
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }
    return copy.deepcopy(network, results)


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Turn images into rows of pooled activations of a network.

    An image's features never depend on the other images of its batch, on its position or on
    ``batch_size``: the network runs in evaluation mode with frozen batch-norm statistics, whatever mode
    it was left in.

    Parameters
    ----------
    network : torch.nn.Module
        Anybody's: takes ``(N, C, H, W)``. It is copied, never changed.
    taps : "all", int, str, or a sequence of int and str
        ``"all"`` takes every conv block; of a network without convolutions, every hidden layer, a linear map with
        its norm and activation. An int (or its digits) is a block's index in order of execution,
        negative from the end. Any other str is ``"INDEX:STAGE"``, the name of a conv module (of a hidden layer's
        linear one), ``"NAME:STAGE"``, or the name of any other module, whose output is taken; ``"output"`` is the
        network's own. ``ganfeat info`` and :attr:`blocks_` list them.
    at : {"activation", "norm", "conv"}
        Stage of the taps that do not say their own. There, a block without that stage gives the last one before.
        ``conv`` of a hidden layer is its linear map.
    pool : int or None
        Side of the grid that maps are pooled to; smaller maps stay as they are. None keeps every pixel.
    pooling : {"max", "avg"}
    bn : {"recalibrate", "eval"}
        ``recalibrate``: ``fit`` estimates the batch-norm statistics on its images, as the plain mean over
        evenly spaced batches of 128 (the DCGAN authors' way). ``eval``: the running statistics stored in the network.
    value_range : (float, float)
        What the network expects black and white, 0 and 255, to be. Floats pass unchanged.
    image_shape : (height, width, channels), optional
        Shape of the images when rows are given.
    batch_size : int
    device : {"auto", "cpu", "cuda", "mps"}
    precision : {"auto", "bf16", "fp32"}
    dtype : {"float32", "float16"}
        Of the features.
    mirror : bool
        Average the features of an image and of its mirror image: better where left and right mean the same, as on
        photographs, at twice the time.

    Attributes
    ----------
    network_ : torch.nn.Module
        The copy, with its statistics.
    blocks_ : list of Block
        The conv blocks found, or the hidden layers where there is no convolution, in order of execution.
    taps_ : list of Tap
    n_features_out_ : int

    References
    ----------
    A. Radford, L. Metz, S. Chintala, "Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks", ICLR 2016, section 5.1.

    Examples
    --------
    >>> import numpy as np, torch
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, stride=2), torch.nn.ReLU())
    >>> images = np.zeros((2, 16, 16, 1), np.uint8)
    >>> FeatureExtractor(net, pool=2).fit(images).transform(images).shape
    (2, 32)
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        taps: Taps = "all",
        at: str = "activation",
        pool: int | None = 4,
        pooling: str = "max",
        bn: str = "recalibrate",
        value_range: tuple[float, float] = (-1.0, 1.0),
        image_shape: ImageShape | None = None,
        batch_size: int = 256,
        device: str = "auto",
        precision: str = "auto",
        dtype: str = "float32",
        mirror: bool = False,
    ) -> None:
        self.network = network
        self.taps = taps
        self.at = at
        self.pool = pool
        self.pooling = pooling
        self.bn = bn
        self.value_range = value_range
        self.image_shape = image_shape
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self.dtype = dtype
        self.mirror = mirror

    # ------------------------------------------------------------------ fit

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the taps, and estimate batch-norm statistics on the images where ``bn="recalibrate"``.

        Parameters
        ----------
        X : array or ImageDataset ``(n, h, w, c)``, or rows
        y : ignored

        Raises
        ------
        InputError
            If a parameter or a tap does not exist, or the network does not take the images.
        """
        self._check_parameters()
        images = self._images(X, fitting=True)
        self.device_ = resolve_device(self.device)
        self.precision_ = resolve_precision(self.precision, self.device_)
        network = detached_copy(self.network).requires_grad_(False)
        self.network_ = network.eval().to(self.device_, memory_format=torch.channels_last)  # type: ignore[call-overload]
        norms = batch_norms(self.network_)
        if self.bn == "eval" and any(n.running_mean is None for n in norms):
            raise InputError(
                "the network's batch norms keep no running statistics, so with bn='eval' a feature would depend "
                "on what else is in its batch: use bn='recalibrate'"
            )
        probe = self._batch(images[: min(2, len(images))])
        with torch.inference_mode(), autocast(self.device_, self.precision_), explained(probe):
            if self.bn == "recalibrate" and norms:
                size = min(RECALIBRATION_BATCH, len(images))
                count = len(images) // size  # evenly spaced: folders are read class by class
                for part in parts(self.network_):
                    recalibrate(self.network_, (self._batch(images[k::count][:size]) for k in range(count)), only=part)
            self.blocks_ = self._find_blocks(probe)
            self.taps_ = self._resolve_taps()
            self._cells = self._measure(probe)
        self.n_features_out_ = sum(cells.width for cells in self._cells)
        return self

    def _check_parameters(self) -> None:
        if not isinstance(self.network, nn.Module):
            raise InputError(f"network is a {type(self.network).__name__}: it must be a torch.nn.Module")
        if not all(isinstance(t, str | int) for t in self._asked()):
            raise InputError(f"taps={self.taps!r} must be 'all', or indices and names of layers")
        if len(self.value_range) != 2 or not self.value_range[0] < self.value_range[1]:
            raise InputError(f"value_range={self.value_range!r} must be (black, white), e.g. (-1, 1) or (0, 1)")
        choices = {
            "at": STAGES,
            "pooling": POOLS,
            "bn": ("recalibrate", "eval"),
            "dtype": ("float32", "float16"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name}={getattr(self, name)!r} is not known: choose one of {', '.join(known)}")
        if self.pool is not None:
            require("pool", self.pool, int, least=1)
        require("batch_size", self.batch_size, int, least=1)

    def _images(self, X: Any, *, fitting: bool = False) -> NDArray[Any]:
        array = getattr(X, "images", X)
        array = array if isinstance(array, np.ndarray) else np.asarray(array)
        if array.ndim == 2:
            array = as_images(array, resolve_image_shape(array.shape[1], self.image_shape))
        elif array.ndim == 3:
            array = array[..., None]
        if array.ndim != 4 or len(array) == 0:
            raise InputError(f"images must be (n, height, width, channels) with n > 0, not {array.shape}")
        if array.dtype != np.uint8 and array.dtype.kind != "f":
            raise InputError(
                f"images are {array.dtype}: give uint8 (0..255), or floats that are already as the network wants them"
            )
        if not all_finite(array):
            raise InputError("images have NaN or infinite pixels: remove or replace them first")
        if fitting:
            self.image_shape_: ImageShape = (array.shape[1], array.shape[2], array.shape[3])
        return as_images(array, self.image_shape_)

    def _batch(self, images: NDArray[Any]) -> torch.Tensor:
        return self._prepared(torch.from_numpy(np.array(images)).to(self.device_))

    def _prepared(self, x_NHWC: torch.Tensor) -> torch.Tensor:
        """Images ``(N, H, W, C)`` as the network takes them, ``float32 (N, C, H, W)``."""
        if x_NHWC.dtype == torch.uint8:
            low, high = self.value_range
            x_NHWC = x_NHWC.float().div_(127.5).sub_(1)
            if (low, high) != (-1.0, 1.0):
                x_NHWC = (x_NHWC + 1) * ((high - low) / 2) + low
        return x_NHWC.float().permute(0, 3, 1, 2)

    # ------------------------------------------------------------------ taps

    def _asked(self) -> list[str | int]:
        if isinstance(self.taps, Sequence) and not isinstance(self.taps, str):
            return list(self.taps)
        return [self.taps]

    def _find_blocks(self, probe: torch.Tensor) -> list[Block]:
        """The blocks, if any tap may be one."""
        modules = dict(self.network_.named_modules())
        convs = {n for n, m in modules.items() if isinstance(m, nn.modules.conv._ConvNd)}
        others = {OUTPUT, *(n for n in modules if not n.isdigit() and n not in convs)}
        if any(t not in others for t in self._asked()):
            return trace(self.network_, probe)
        if not convs and any(isinstance(modules.get(str(t)), nn.Linear) for t in self._asked()):
            return find_blocks(self.network_, probe)
        return []

    def _resolve_taps(self) -> list[Tap]:
        asked = self._asked()
        if not asked:
            raise InputError("taps is empty: use 'all', or name at least one layer")
        taps: list[Tap] = []
        for item in asked:
            name, _, stage = str(item).partition(":")
            if stage and stage not in STAGES:
                raise InputError(f"tap {item!r} asks for {stage!r}: a layer has {', '.join(STAGES)}")
            taps += self._resolve(item, name, stage)
        return list(dict.fromkeys(taps))

    @property
    def _kind(self) -> str:
        return self.blocks_[0].kind if self.blocks_ else "conv"

    def _resolve(self, item: str | int, name: str, stage: str) -> list[Tap]:
        if name == "all":
            return [self._tap(block, stage or self.at) for block in self.blocks_]
        try:
            index = int(name)
        except ValueError:
            block = next((b for b in self.blocks_ if b.name == name), None)
            if block is not None:
                return [self._exact_tap(item, block, stage)]
            if item == OUTPUT or item in dict(self.network_.named_modules()):
                return [Tap(str(item), module=str(item))]
            known = [b.name for b in self.blocks_]
            raise InputError(
                f"there is no layer {name!r} in the network{suggest(name, known)}: "
                f"its {self._kind} layers are {', '.join(known)}, or give indices 0 to {len(known) - 1}"
            ) from None
        if not -len(self.blocks_) <= index < len(self.blocks_):
            raise InputError(
                f"tap {item!r} is out of range: the network has {len(self.blocks_)} {self._kind} layers, "
                f"0 to {len(self.blocks_) - 1} (or -{len(self.blocks_)} to -1)"
            )
        return [self._exact_tap(item, self.blocks_[index], stage)]

    def _exact_tap(self, item: str | int, block: Block, stage: str) -> Tap:
        if stage and stage not in block.stages:
            raise InputError(f"tap {item!r}: layer {block.name!r} has no {stage}, it has {', '.join(block.stages)}")
        return self._tap(block, stage or self.at)

    def _tap(self, block: Block, stage: str) -> Tap:
        stage = block.resolve(stage)
        return Tap(f"{block.name}:{stage}", block=block.index, stage=stage)

    # ------------------------------------------------------------------ forward

    def _pooled(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim == 4 and self.pool is not None:
            grid = (min(self.pool, x.shape[2]), min(self.pool, x.shape[3]))
            if grid != x.shape[2:]:
                return POOLS[self.pooling](x, grid)
        return x

    def _capture(self, x_NCHW: torch.Tensor, whole: bool = False) -> list[torch.Tensor]:
        """Run the network as far as the last tap, or the ``whole`` of it; pooled outputs in the order of ``taps_``."""
        wanted: dict[tuple[int, str], list[int]] = {}
        found: dict[int, torch.Tensor] = {}
        handles = []
        for i, tap in enumerate(self.taps_):
            if tap.module:
                modules = dict(self.network_.named_modules())
                module = modules.get(tap.module, self.network_)  # the network itself where no module is named "output"

                def hook(_module: nn.Module, _args: Any, output: Any, i: int = i, name: str = tap.name) -> None:
                    if not isinstance(output, torch.Tensor) or output.ndim < 2 or output.shape[0] != x_NCHW.shape[0]:
                        raise InputError(f"module {name!r} gives no tensor (N, ...), so it cannot be a tap")
                    found[i] = self._kept(output)

                handles.append(module.register_forward_hook(hook))
            else:
                wanted.setdefault((self.blocks_[tap.block].call, tap.stage), []).append(i)

        def see(call: int, stage: str, output: torch.Tensor) -> bool:
            places = wanted.get((call, stage), ())
            if places:
                kept = self._kept(output)
                found.update(dict.fromkeys(places, kept))
            return not whole and len(found) == len(self.taps_)

        try:
            watch(self.network_, x_NCHW, see, self._kind)
        finally:
            for handle in handles:
                handle.remove()
        for i, tap in enumerate(self.taps_):
            if i not in found:
                raise InputError(f"module {tap.name!r} did not run, so it cannot be a tap")
        return [found[i] for i in range(len(self.taps_))]

    def _kept(self, output: torch.Tensor) -> torch.Tensor:
        pooled = self._pooled(output)
        return pooled.clone() if pooled is output else pooled  # an in-place activation may follow

    def _measure(self, probe: torch.Tensor) -> list[_Cells]:
        return [_Cells(x.shape[1], tuple(x.shape[2:])) for x in self._capture(probe)]

    def _rows(self, images: NDArray[Any]) -> NDArray[Any]:
        """Features of at most ``batch_size`` images, always run as a full batch: same kernels, same digits."""
        n, size = len(images), -(-self.batch_size // WHOLE_BATCH) * WHOLE_BATCH
        if n < size:
            images = np.concatenate([images, np.repeat(images[-1:], size - n, axis=0)])
        with torch.inference_mode(), autocast(self.device_, self.precision_):
            rows = self._flat(images)
            if self.mirror:
                rows = (rows.float() + self._flat(images[:, :, ::-1]).float()) / 2
        return rows[:n].float().cpu().numpy().astype(self.dtype, copy=False)

    def _flat(self, images: NDArray[Any]) -> torch.Tensor:
        return torch.cat([x.flatten(1) for x in self._capture(self._batch(images))], dim=1)

    # ------------------------------------------------------------------ transform

    def _ready(self, X: Any) -> None:
        if not hasattr(self, "network_"):
            if self.bn == "recalibrate" and batch_norms(self.network):
                raise NotFittedError(
                    "call fit(images) first, so that the batch-norm statistics are estimated on them, "
                    "or use bn='eval' for those stored in the network"
                )
            self.fit(X)

    def iterate(self, X: Any) -> Iterator[NDArray[Any]]:
        """Yield features block by block, ``(at most batch_size, n_features_out_)``, in the images' order."""
        self._ready(X)
        yield from self._blocks(self._images(X))

    def _blocks(self, images: NDArray[Any]) -> Iterator[NDArray[Any]]:
        for start in range(0, len(images), self.batch_size):
            yield self._rows(images[start : start + self.batch_size])

    def _fill(
        self, rows: NDArray[Any], images: NDArray[Any], progress: Callable[[int, int], None] | None = None
    ) -> None:
        start = 0
        for block in self._blocks(images):
            rows[start : start + len(block)] = block
            start += len(block)
            if progress is not None:
                progress(start, len(images))

    def transform(self, X: Any, progress: Callable[[int, int], None] | None = None) -> NDArray[Any]:
        """Features of images.

        Parameters
        ----------
        X : array or ImageDataset ``(n, h, w, c)``, or rows
        progress : callable(done, total), optional
            Called after every block of images.

        Returns
        -------
        ndarray ``(n, n_features_out_)`` of ``dtype``
        """
        self._ready(X)
        images = self._images(X)
        rows = np.empty((len(images), self.n_features_out_), self.dtype)
        self._fill(rows, images, progress)
        return rows

    def transform_to(
        self,
        path: Path | str,
        X: Any,
        progress: Callable[[int, int], None] | None = None,
    ) -> NDArray[Any]:
        """Stream features into a ``.npy`` memory map, in constant memory.

        The file appears under its name when it is complete.

        Parameters
        ----------
        path : Path or str
        X : array or ImageDataset ``(n, h, w, c)``, or rows
        progress : callable(done, total), optional
            Called after every block of images.

        Returns
        -------
        memory map ``(n, n_features_out_)``, read-only
        """
        self._ready(X)
        images = self._images(X)
        path = Path(path)
        with replacing(path) as temporary:
            rows = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=self.dtype, shape=(len(images), self.n_features_out_)
            )
            self._fill(rows, images, progress)
            rows.flush()
            del rows
        return np.load(path, mmap_mode="r")

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """``layer:stage[channel,row,column]`` for every feature."""
        if not hasattr(self, "_cells"):
            raise NotFittedError("call fit(images) first")
        names = []
        for tap, cells in zip(self.taps_, self._cells, strict=True):
            for index in np.ndindex(cells.channels, *cells.grid):
                names.append(f"{tap.name}[{','.join(map(str, index))}]")
        return np.array(names, dtype=object)


def needs_file(extractor: FeatureExtractor, images: int, folder: Path, advice: str) -> bool:
    """Whether features of so many images, float32, are more than :data:`MEMORY`, and belong into a file of the folder.

    Parameters
    ----------
    extractor : FeatureExtractor
        Fitted.
    images : int
    folder : Path
        Temporary.
    advice : str
        What to do where its disk has no room for them.

    Raises
    ------
    InputError
        If it has none.
    """
    columns = extractor.n_features_out_
    size = 4 * images * columns
    if size > MEMORY and size > shutil.disk_usage(folder).free:
        raise InputError(
            f"features of {images:,} images x {columns:,} need {size / 2**30:.1f} GiB, which {folder.parent} does not "
            f"have: {advice}"
        )
    return size > MEMORY
