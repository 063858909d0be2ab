"""Make a generator forget an object: find the maps that draw it, drop them, draw again.

Radford, Metz & Chintala 2016 (arXiv:1511.06434), section 6.3.2: boxes around an object (windows, in the paper) on a few
generated samples; a logistic regression that tells, from the values of all maps at one position of a layer of G,
whether the position is inside a box; all maps with a positive weight are dropped from every position, of any sample.
The paper took the second-highest conv layer, here block -2 of the decoder (-1 gives the image), after its activation.

Arrays and networks in, arrays out. Shape legend: N images, C maps, H and W of the layer's grid, D latent components.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganfeat import arrays
from ganfeat.errors import InputError
from ganfeat.inspection.boxes import Box
from ganfeat.inspection.positions import LEAST_IMAGES, check_enough, fit_regression, hold_out, inside
from ganfeat.tracing import Watch, find_blocks, watch

LAYER = -2
BATCH = 64
MOST_VALUES = 2**28
"""Activations that are held at once: 1 GiB of them."""


@dataclass(frozen=True)
class MapLayer:
    """A conv layer of a generator, after its activation.

    Attributes
    ----------
    index : int
        In order of execution, from 0.
    call : int
        Which convolution of all that run.
    name : str
    stage : {"activation", "norm", "conv"}
        The activation, or the last stage before it that the layer has.
    maps : int
    grid : (height, width)
    of : int
        How many conv layers the generator has.
    """

    index: int
    call: int
    name: str
    stage: str
    maps: int
    grid: tuple[int, int]
    of: int


@dataclass(frozen=True)
class Forgetting:
    """The maps that draw an object.

    Attributes
    ----------
    layer : MapLayer
    weight : ndarray ``(C,)``
        Of the regression on standardised activations, one a map.
    order : ndarray of int
        The maps with a positive weight, the largest first: drop the first k of them.
    inside : ndarray of bool ``(N, H, W)``
        The positions that were positive.
    held_out : dict
        What the regression is worth on images that it has not seen (:class:`~ganfeat.inspection.positions.HeldOut`).
    lowest : float
        Smallest activation seen. Where it is below 0, a map of zeros is not a map that is off.
    fold : ndarray of int ``(N,)``
        Images are in folds; which one each is in.
    others : tuple of ndarray of int
        For each fold, what ``order`` is by the images outside it.
    """

    layer: MapLayer
    weight: NDArray[np.float64]
    order: NDArray[np.int64]
    inside: NDArray[np.bool_]
    held_out: dict[str, Any]
    lowest: float
    fold: NDArray[np.int64]
    others: tuple[NDArray[np.int64], ...]

    def unseen(self, number: int) -> list[NDArray[np.int64]]:
        """For each of the N images, the first maps in the order of the other folds' images: what may be judged by it.

        So many at most: the others may give fewer maps a positive weight.
        """
        return [self.others[k][:number] for k in self.fold.tolist()]


def find_layer(decoder: nn.Module, z_ND: NDArray[np.float32], index: int = LAYER) -> MapLayer:
    """Find a conv layer of a generator whose maps can be dropped.

    Parameters
    ----------
    decoder : nn.Module
        z ``(N, D)`` to images ``(N, channels, height, width)``, in evaluation mode.
    z_ND : ndarray
        Two latents or more to watch it with.
    index : int
        Negative from the end.

    Raises
    ------
    InputError
        If the generator has no convolutions, not this layer, or the layer is the image itself.
    """
    with torch.no_grad():
        blocks = find_blocks(decoder, _tensor(decoder, z_ND[:2]))
    if not blocks or blocks[0].kind != "conv":
        raise InputError(
            "this generator is fully connected: it has no maps that draw one thing at every position, so there is "
            "nothing to drop. Forgetting is for convolutional generators, e.g. of ganfeat train --method dcgan"
        )
    n = len(blocks)
    if n == 1:
        raise InputError("this generator has one conv layer, which draws the image itself: there is none before it")
    if not -n <= index < n:
        raise InputError(
            f"layer {index} is out of range: the generator has {n} conv layers, 0 to {n - 1} (or -{n} to -1)"
        )
    block = blocks[index]
    if block.index == n - 1:
        raise InputError(f"layer {index} gives the image itself: choose one before it, {-n} to -2")
    stage = block.resolve("activation")
    maps, *grid = block.stages[stage]
    if len(grid) != 2:
        raise InputError(f"layer {index} gives {len(grid)}-dimensional maps, and boxes are on images: choose another")
    return MapLayer(block.index, block.call, block.name, stage, maps, (grid[0], grid[1]), n)


@torch.no_grad()
def activations(decoder: nn.Module, z_ND: NDArray[np.float32], layer: MapLayer) -> NDArray[np.float32]:
    """Values of a layer's maps, ``float32 (N, C, H, W)``."""
    found = np.empty((len(z_ND), layer.maps, *layer.grid), np.float32)
    for start in range(0, len(z_ND), BATCH):

        def see(call: int, stage: str, output: torch.Tensor, start: int = start) -> bool:
            if (call, stage) != (layer.call, layer.stage):
                return False
            found[start : start + len(output)] = output.float().cpu().numpy()
            return True

        watch(decoder, _tensor(decoder, z_ND[start : start + BATCH]), see)
    return found


@torch.no_grad()
def draw_without(
    decoder: nn.Module,
    z_ND: NDArray[np.float32],
    layer: MapLayer,
    maps: Sequence[int] | NDArray[np.int64] | Sequence[NDArray[np.int64]] = (),
) -> NDArray[np.uint8]:
    """Draw images with maps of a layer set to 0 at every position.

    Parameters
    ----------
    decoder : nn.Module
    z_ND : ndarray ``float32 (N, D)``
    layer : MapLayer
    maps : sequence of int, or for each of the N images an array of int
        Which; none gives the images as they are.

    Returns
    -------
    ndarray ``uint8 (N, height, width, channels)``

    Raises
    ------
    InputError
        If the layer has no such map.
    """
    dropped_NC = torch.from_numpy(_marked(layer, len(z_ND), maps))
    any_dropped = bool(dropped_NC.any())
    pictures = []
    for start in range(0, len(z_ND), BATCH):
        z, of_batch = _tensor(decoder, z_ND[start : start + BATCH]), dropped_NC[start : start + BATCH]

        def see(call: int, stage: str, output: torch.Tensor, of_batch: torch.Tensor = of_batch) -> bool:
            if any_dropped and (call, stage) == (layer.call, layer.stage):
                output.masked_fill_(of_batch.to(output.device)[:, :, None, None], 0.0)
            return False

        with Watch(see):
            x_NCHW = decoder(z)
        pictures.append(arrays.to_uint8(x_NCHW.float().permute(0, 2, 3, 1).cpu().numpy()))
    return np.concatenate(pictures)


def _marked(layer: MapLayer, n: int, maps: Any) -> NDArray[np.bool_]:
    """Which maps of each image are dropped, ``(N, C)``."""
    each = len(maps) > 0 and np.ndim(maps[0]) == 1
    found = np.zeros((n, layer.maps), np.bool_)
    for row, of_image in zip(found, maps if each else [maps] * n, strict=True):
        chosen = np.asarray(of_image, np.int64)
        if len(chosen) and not (0 <= chosen.min() and chosen.max() < layer.maps):
            raise InputError(f"layer {layer.index} has maps 0 to {layer.maps - 1}: drop some of those")
        row[chosen] = True
    return found


def fit_forgetting(
    decoder: nn.Module,
    z_ND: NDArray[np.float32],
    boxes: Sequence[Sequence[Box]],
    size: tuple[int, int],
    *,
    layer: int = LAYER,
    C: float = 1.0,
    seed: int = 0,
) -> Forgetting:
    """Find the maps that draw what is in the boxes.

    Parameters
    ----------
    decoder : nn.Module
        z ``(N, D)`` to images, in evaluation mode; not changed.
    z_ND : ndarray ``float32 (N, D)``
        Of the images with boxes.
    boxes : for each of them, one Box or more
        Everything outside them in these images is taken as free of the object, so draw all that there are.
    size : (height, width)
        Of the images.
    layer : int
        Conv layer of the generator, negative from the end.
    C : float
        Inverse of the regression's penalty, as scikit-learn's. Maps that draw the object together stand in for each
        other in the regression, so that one of them may get a negative weight; with a heavy penalty (1e-4) each is
        weighed nearly by itself.
    seed : int
        Of the folds.

    Raises
    ------
    InputError
        If fewer than two images have boxes, or too many to be held in memory, or the layer does not do.
    """
    if len(boxes) < LEAST_IMAGES:
        check_enough(np.zeros((len(boxes), 1, 1), np.bool_))
    found = find_layer(decoder, z_ND, layer)
    most = max(LEAST_IMAGES, MOST_VALUES // (found.maps * found.grid[0] * found.grid[1]))
    if len(z_ND) > most:
        raise InputError(f"boxes on {len(z_ND):,} images are too many for this layer: give those on {most:,}, or fewer")
    positive = inside(boxes, found.grid, size)
    check_enough(positive)
    maps_NCHW = activations(decoder, z_ND, found)
    weight = fit_regression(maps_NCHW, positive, C=C, seed=seed).weight
    unseen = hold_out(maps_NCHW, positive, C=C, seed=seed)
    others = tuple(_order(model.weight) for model in unseen.models)
    lowest = float(maps_NCHW.min())
    return Forgetting(found, weight, _order(weight), positive, unseen.scores, lowest, unseen.fold, others)


def _order(weight: NDArray[np.float64]) -> NDArray[np.int64]:
    """The maps with a positive weight, the largest first."""
    order = np.argsort(-weight, kind="stable")
    return order[weight[order] > 0]


def random_maps(layer: MapLayer, count: int, draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """The control: as many maps of the layer, drawn at random from all of them, ``draws`` times.

    With the same seed, more maps are those of fewer and others.
    """
    generator = np.random.default_rng(seed)
    for _ in range(draws):
        yield generator.permutation(layer.maps)[:count]


def _tensor(decoder: nn.Module, z_ND: NDArray[np.float32]) -> torch.Tensor:
    """On the network's device."""
    tensor = next(iter(decoder.state_dict().values()), torch.empty(0))
    return torch.from_numpy(np.array(z_ND, np.float32)).to(tensor.device)
