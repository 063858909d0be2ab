"""What channels of a layer respond to: their most exciting images, and what in them excites, by guided backpropagation.

As in figure 5 of A. Radford, L. Metz, S. Chintala, "Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks", ICLR 2016: the first six channels of the discriminator's last convolution beside the
same network untrained.

A guided picture is no proof of what a channel has learned: much of it is the image itself, whichever channel is asked
(W. Nie, Y. Zhang, A. Patel, "A Theoretical Explanation for Perplexing Behaviors of Backpropagation-based
Visualizations", ICML 2018; J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018). So :func:`agreement`
says how alike the pictures of two channels are on the same image, and :func:`purity` what the images have in common.

Names: :class:`ChannelView`, :func:`channel_view` (one channel; well under a second at 32 x 32),
:func:`views_sheet`, :func:`framed_sheet` (the whole images with the fields drawn), :func:`agreement`, :func:`purity`,
:func:`chance_purity`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganfeat.inspection.activations import Top
from ganfeat.inspection.filters import signed_pictures
from ganfeat.inspection.guided import image_gradients
from ganfeat.inspection.layer import Layer, run
from ganfeat.inspection.receptive import crop, crop_size, receptive_fields
from ganfeat.pictures import GREY, colour, enlarged, tile

FRAME = (255, 120, 0)
CHANCE_DRAWS = 1000
CLIPPED = 50


@dataclass(frozen=True)
class ChannelView:
    """A channel's most exciting images, strongest first, and what in them excites it.

    Attributes
    ----------
    channel : int
    values : ndarray ``float32 (k,)``
    images : ndarray ``int64 (k,)``
    units : ndarray ``int64 (k, 3)``
        Channel, row and column in the maps.
    fields : ndarray ``int64 (k, 4)``
        Top, bottom, left and right of the receptive field in the image.
    wholes : ndarray ``uint8 (k, h, w, c)``
    crops : ndarray ``uint8 (k, a, b, c)``
        The fields; mid-grey where a field goes beyond the image.
    guided, plain : ndarray ``float32 (k, a, b, c)``
        Gradients in the crops, 0 beyond the image.
    """

    channel: int
    values: NDArray[np.float32]
    images: NDArray[np.int64]
    units: NDArray[np.int64]
    fields: NDArray[np.int64]
    wholes: NDArray[np.uint8]
    crops: NDArray[np.uint8]
    guided: NDArray[np.float32]
    plain: NDArray[np.float32]

    @property
    def guided_pictures(self) -> NDArray[np.uint8]:
        """``guided`` for the eye: see :func:`gradient_pictures`."""
        return gradient_pictures(self.guided)

    @property
    def plain_pictures(self) -> NDArray[np.uint8]:
        """``plain`` for the eye: see :func:`gradient_pictures`."""
        return gradient_pictures(self.plain)


def gradient_pictures(gradients: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Signed gradients of one channel as ``uint8``: 0 is mid-grey, one scale for all of them.

    The scale is the absolute value that all but one in :data:`CLIPPED` stay below, of those that are not 0: a few
    pixels far above the rest would leave a grey picture. Pictures of one channel compare, and those of two do not.
    """
    sizes = np.abs(gradients[gradients != 0])
    return signed_pictures(gradients, np.quantile(sizes, 1 - 1 / CLIPPED, method="higher") if len(sizes) else 0)


def channel_view(
    layer: Layer,
    images: NDArray[np.uint8],
    top: Top,
    channel: int,
    count: int | None = None,
    size: tuple[int, int] | None = None,
) -> ChannelView:
    """Look at one channel, its most exciting images being known.

    Parameters
    ----------
    layer : Layer
    images : ndarray of uint8 ``(n, h, w, c)``
        Those that ``top`` was found in.
    top : Top
        See :func:`ganfeat.inspection.activations.scan`.
    channel : int
    count : int, optional
        So many of the images; by default all in ``top``.
    size : (height, width), optional
        Of the crops; by default that of the largest field, one in the middle of the map included.

    Raises
    ------
    InputError
        If the channel was not looked at.
    """
    row, units = top.row(channel), top.units(channel, count)
    chosen = top.images[row][:count]
    wholes = np.stack([images[i] for i in chosen.tolist()])
    middle = [channel, layer.grid[0] // 2, layer.grid[1] // 2]
    fields = receptive_fields(layer, wholes.shape[1:], np.vstack([units, middle]))
    size = size or crop_size(fields)
    x_NCHW = layer.prepare(wholes)
    guided, plain = (image_gradients(layer, x_NCHW, units, rule) for rule in ("guided", "plain"))
    crops, *gradients = (
        np.stack([crop(picture, field, size, fill) for picture, field in zip(pictures, fields[:-1], strict=True)])
        for pictures, fill in ((wholes, GREY), (guided, 0), (plain, 0))
    )
    return ChannelView(
        channel, top.values[row][:count], chosen, units, fields[:-1], wholes, crops, gradients[0], gradients[1]
    )


def views_sheet(views: Sequence[ChannelView], gap: int = 6) -> NDArray[np.uint8]:
    """One row a channel: crops, their guided gradients, their plain gradients, a gap between the three.

    Parameters
    ----------
    views : sequence of ChannelView
        Of the same number of images; the crops may be of different sizes.
    gap : int
        Pixels.
    """
    size = (max(view.crops.shape[1] for view in views), max(view.crops.shape[2] for view in views))
    groups = []
    for kind in ("crops", "guided_pictures", "plain_pictures"):
        pictures = np.concatenate([_padded(getattr(view, kind), size) for view in views])
        sheet = tile(pictures, columns=len(views[0].crops))
        groups += [sheet, np.full((sheet.shape[0], gap, sheet.shape[2]), 255, np.uint8)]
    return np.concatenate(groups[:-1], axis=1)


def _padded(pictures: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    more = [(0, 0), (0, size[0] - pictures.shape[1]), (0, size[1] - pictures.shape[2]), (0, 0)]
    return np.pad(pictures, more, constant_values=GREY)


def framed_sheet(views: Sequence[ChannelView], scale: int = 3) -> NDArray[np.uint8]:
    """One row a channel: its whole images, enlarged, with the receptive field of the excited unit drawn."""
    cells = []
    for view in views:
        for image, field in zip(view.wholes, view.fields, strict=True):
            cells.append(framed(image, field, scale))
    return tile(np.stack(cells), columns=len(views[0].wholes), pad=scale)


def framed(image: NDArray[np.uint8], field: NDArray[np.int64], scale: int) -> NDArray[np.uint8]:
    """An image ``(h, w, c)``, enlarged, with a frame just inside the field, ``uint8 (scale * h, scale * w, 3)``."""
    picture = enlarged(colour(image), scale)
    top, bottom, left, right = (scale * field).tolist()
    for rows, columns in (
        (slice(top, top + 1), slice(left, right)),
        (slice(bottom - 1, bottom), slice(left, right)),
        (slice(top, bottom), slice(left, left + 1)),
        (slice(top, bottom), slice(right - 1, right)),
    ):
        picture[rows, columns] = FRAME
    return picture


def half_in(gradients: NDArray[np.float32], view: ChannelView) -> float | None:
    """In what share of the receptive field half of a gradient lies, averaged over the images.

    The fewest pixels that hold half of the sum of absolute values, over the field's pixels: 0.5 for a gradient that is
    the same everywhere, near 0 for a single pixel. None if all gradients are 0.

    Parameters
    ----------
    gradients : ndarray ``(k, a, b, c)``
        ``view.guided`` or ``view.plain``.
    view : ChannelView
    """
    shares = []
    for gradient, (top, bottom, left, right) in zip(gradients, view.fields.tolist(), strict=True):
        strength = np.sort(np.abs(gradient.astype(np.float64)).sum(axis=2).ravel())[::-1]
        if strength[0] > 0:
            pixels = np.searchsorted(np.cumsum(strength), strength.sum() / 2) + 1
            shares.append(pixels / ((bottom - top) * (right - left)))
    return float(np.mean(shares)) if shares else None


def agreement(layer: Layer, view: ChannelView, rule: str = "guided") -> float | None:
    """How alike a channel's gradients are to another channel's, at the same place of the same images.

    The other is the one that is excited most there, whatever it has learned. If the pictures told what excites the
    channel, and nothing else, they would differ.

    Parameters
    ----------
    layer : Layer
    view : ChannelView
    rule : {"guided", "plain"}

    Returns
    -------
    float or None
        Mean over the images of the correlation of their pixels, in [-1, 1]; None where one of the two is never excited.
    """
    x_NCHW = layer.prepare(view.wholes)
    with torch.inference_mode():
        maps = run([layer], x_NCHW)[0].flatten(2 if layer.grid != (1, 1) else 1).cpu().numpy()
    maps = maps.reshape(len(maps), layer.channels, *layer.grid)
    here = maps[np.arange(len(maps)), :, view.units[:, 1], view.units[:, 2]]
    here[:, view.channel] = -np.inf
    others = here.argmax(axis=1)
    kept = np.flatnonzero((here.max(axis=1) > 0) & (view.values > 0))
    if not len(kept):
        return None
    units = view.units[kept]
    mine = image_gradients(layer, x_NCHW[torch.from_numpy(kept)], units, rule)
    theirs = image_gradients(layer, x_NCHW[torch.from_numpy(kept)], np.column_stack([others[kept], units[:, 1:]]), rule)
    found = []
    for pair, (top, bottom, left, right) in zip(
        zip(mine, theirs, strict=True), view.fields[kept].tolist(), strict=True
    ):
        a, b = (gradient[top:bottom, left:right].ravel() for gradient in pair)
        if a.std() > 0 and b.std() > 0:
            found.append(np.corrcoef(a, b)[0, 1])
    return float(np.mean(found)) if found else None


def purity(top: Top, labels: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Share of the most frequent label among each channel's ``count`` most exciting images.

    Equal activations stand in the order of the images, and data are often sorted by class. So a channel whose value at
    ``count`` is that of the next image, too, is not counted: one that is silent on all images but fewer than that, or
    saturated on more. Which images are its first is not its doing.

    Parameters
    ----------
    top : Top
        With one image more than ``count``, unless these are all.
    labels : ndarray of int ``(n,)``
        0 or above, of every image.
    count : int

    Returns
    -------
    ndarray ``(C,)``
        NaN for a channel that is not counted.
    """
    shares = np.array([np.bincount(row).max() / count for row in labels[top.images[:, :count]]])
    if count < len(labels):
        shares[top.values[:, count - 1] == top.values[:, count]] = np.nan
    return shares


def chance_purity(labels: NDArray[np.int64], count: int, seed: int = 0) -> dict[str, Any]:
    """:func:`purity` of ``count`` images drawn at random, without replacement: what a channel of no meaning reaches.

    Returns
    -------
    dict
        ``mean`` and ``high``, which 95 % of the draws do not exceed.
    """
    sizes = np.bincount(labels)
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(sizes, count, size=CHANCE_DRAWS)
    shares = drawn.max(axis=1) / count
    return {"mean": float(shares.mean()), "high": float(np.quantile(shares, 0.95, method="higher"))}
