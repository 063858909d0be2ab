"""How much of an object went, and how much of the rest: measured on the images alone.

The regression that chooses the maps cannot also be the judge of what dropping them does, so a second one is trained on
the boxes: a logistic regression on single positions of what D sees in the image (or, without a convolutional D, of
patches of its pixels). It never sees G's activations, and each image is judged by one trained on other images.

Shape legend: N images, C maps or numbers of a patch, H and W of the grid of positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ganfeat.features import FeatureExtractor
from ganfeat.inspection.boxes import Box
from ganfeat.inspection.positions import HeldOut, hold_out, inside
from ganfeat.probes.intervals import summary

FINEST = 7
"""Cells a side that a layer of D must have to tell where an object is."""
PATCH = 5
STEP = 2
WEAK = 0.7
"""Area under the curve, held out, below which the probe is no judge."""

Describe = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Images ``uint8 (N, h, w, c)`` to numbers of every position, ``float32 (N, C, H, W)``."""


def network_positions(extractor: FeatureExtractor) -> tuple[Describe, str] | None:
    """Activations of the middle of a network at every position.

    The highest conv layer that still has :data:`FINEST` cells a side is taken, or the first layer where none has.

    Parameters
    ----------
    extractor : FeatureExtractor
        Fitted, of the whole network: ``taps="all"``, ``pool=None``.

    Returns
    -------
    describe, name
        None for a network without convolutions.
    """
    if not extractor.blocks_ or extractor.blocks_[0].kind != "conv":
        return None
    shapes = [(block, block.stages[block.resolve("activation")]) for block in extractor.blocks_]
    fine = [block for block, shape in shapes if len(shape) == 3 and min(shape[1:]) >= FINEST]
    block = fine[-1] if fine else extractor.blocks_[0]
    shape = block.stages[block.resolve("activation")]
    if len(shape) != 3:
        return None
    one = FeatureExtractor(
        extractor.network_,
        taps=block.index,
        pool=None,
        bn="eval",
        value_range=extractor.value_range,
        batch_size=64,
        device=extractor.device,
        precision="fp32",
    )

    def describe(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return one.transform(images).reshape(len(images), *shape)

    name = f"layer {block.index} ({block.name}, {shape[0]} maps of {shape[1]} x {shape[2]})"
    return describe, name


def patch_positions(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The pixels of the 5 x 5 patch around every second pixel, ``float32 (N, 25 * c, H, W)`` in [0, 1]."""
    x_NCHW = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(255)
    x_NCHW = F.pad(x_NCHW, [PATCH // 2] * 4, mode="replicate")
    columns = F.unfold(x_NCHW, PATCH, stride=STEP)
    rows = (x_NCHW.shape[2] - PATCH) // STEP + 1
    return columns.reshape(*columns.shape[:2], rows, -1).numpy()


def eyes(network: FeatureExtractor | None, image_shape: tuple[int, ...]) -> tuple[Describe, str]:
    """What the probe is to see of images, and how that is called.

    Parameters
    ----------
    network : FeatureExtractor or None
        Of D, for :func:`network_positions`; None where there is no D.
    image_shape : (height, width, channels)
        Of the images.

    Returns
    -------
    describe, name
        D's middle, if it takes such images and has convolutions; else :func:`patch_positions`.
    """
    if network is not None and tuple(network.image_shape_) == tuple(image_shape):
        found = network_positions(network)
        if found is not None:
            return found[0], f"D's {found[1]}"
    return patch_positions, "patches of 5 x 5 pixels (there is no convolutional D for images of this size)"


@dataclass(frozen=True)
class Presence:
    """A probe of where an object is in images, trained on boxes.

    Attributes
    ----------
    describe : callable
    inside : ndarray of bool ``(N, H, W)``
        The probe's positions inside the boxes of the N images.
    held_out : HeldOut
    """

    describe: Describe
    inside: NDArray[np.bool_]
    held_out: HeldOut

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """That a position shows the object, for other pictures of the same N images, ``(N, H, W)``."""
        return self.held_out.apply(self.describe(images))


def fit_presence(
    images: NDArray[np.uint8], boxes: Sequence[Sequence[Box]], describe: Describe = patch_positions, *, seed: int = 0
) -> Presence:
    """Train the probe, once a fold, on images as G draws them whole.

    Both classes weigh the same, so that a probability above one half is a detection.

    Parameters
    ----------
    images : ndarray ``uint8 (N, h, w, c)``
    boxes : for each image, one Box or more
    describe : callable
        What it may see of images: :func:`patch_positions`, or the first of :func:`network_positions`.
    seed : int
        Of the folds.

    Raises
    ------
    InputError
        If fewer than two images have boxes.
    """
    maps_NCHW = describe(images)
    positive = inside(boxes, maps_NCHW.shape[2:], images.shape[1:3])  # type: ignore[arg-type]
    return Presence(describe, positive, hold_out(maps_NCHW, positive, balanced=True, seed=seed))


def measure(
    presence: Presence, before: NDArray[np.uint8], after: NDArray[np.uint8], boxes: Sequence[Sequence[Box]]
) -> dict[str, NDArray[np.float64]]:
    """What became of the object and of the rest of each image.

    Parameters
    ----------
    presence : Presence
    before, after : ndarray ``uint8 (N, h, w, c)``
        The images that the probe was trained on, and the same drawn without some maps.
    boxes : for each image, one Box or more

    Returns
    -------
    dict of ndarray ``(N,)``
        ``presence``: mean probability over the positions inside the boxes; ``detected``: share of these positions above
        one half; ``elsewhere``: mean probability over the positions outside, what presence falls to where the object
        leaves no trace; ``change_inside``, ``change_outside``: root mean square difference of the pixels, which are in
        [0, 1], inside and outside the boxes (NaN where there is no such pixel).
    """
    said, positive = presence.probabilities(after), presence.inside
    pixels = inside(boxes, before.shape[1:3], before.shape[1:3])  # type: ignore[arg-type]
    square = np.square((after.astype(np.float64) - before) / 255).mean(axis=3)
    return {
        "presence": _mean(said, positive),
        "detected": _mean(said > 0.5, positive),
        "elsewhere": _mean(said, ~positive),
        "change_inside": np.sqrt(_mean(square, pixels)),
        "change_outside": np.sqrt(_mean(square, ~pixels)),
    }


def over_images(values: NDArray[np.float64]) -> dict[str, Any]:
    """Mean over images with its 95 % interval (Student's t): ``mean``, ``ci95`` (half its width), ``images``."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return {"mean": float(values[0]) if len(values) else None, "ci95": None, "images": len(values)}
    found = summary(values.tolist(), len(values))
    return {"mean": found["mean"], "ci95": found["ci95"], "images": len(values)}


def _mean(values: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Over the positions of each image; NaN for an image without any."""
    count = where.sum(axis=(1, 2))
    total = np.where(where, values, 0.0).sum(axis=(1, 2))
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
