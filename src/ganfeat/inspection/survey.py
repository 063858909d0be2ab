"""One layer surveyed on a data set: the views of some channels, and what can be counted of all of them.

Names: :class:`Survey`, :func:`survey`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.data import ImageDataset
from ganfeat.inspection.activations import Progress, Top, checked_channels, top_images
from ganfeat.inspection.layer import Layer
from ganfeat.inspection.saliency import ChannelView, agreement, chance_purity, channel_view, half_in, purity

ALIKE = 50
"""Images of a channel among which classes are counted, of at least ten times as many."""
LEAST = 20
"""Images that are needed to count classes."""
RULES = ("guided", "plain")
HALF, LIKE = "half of {} in", "{} like another channel's"
"""Keys of a channel's numbers, by rule."""


@dataclass(frozen=True)
class Survey:
    """What :func:`survey` found.

    Attributes
    ----------
    views : list of ChannelView
        Of the channels that were asked for.
    rows : list of dict
        The same in numbers, as JSON.
    all : dict or None
        Of all channels of the layer: ``class share``, the mean share of the most frequent class among a channel's top
        images, and ``above chance``, the share of channels that exceed ``chance["high"]``; both None if no channel is
        counted, and ``left out``, how many are not because they do not say which their top images are
        (:func:`~ganfeat.inspection.saliency.purity`). None without labels.
    chance : dict or None
        Of as many images drawn at random: see :func:`~ganfeat.inspection.saliency.chance_purity`; and ``images``, how
        many.
    """

    views: list[ChannelView]
    rows: list[dict[str, Any]]
    all: dict[str, Any] | None
    chance: dict[str, Any] | None

    @property
    def field(self) -> list[int]:
        """Height and width of the largest crop."""
        return [max(view.crops.shape[axis] for view in self.views) for axis in (1, 2)]

    @property
    def silent(self) -> list[int]:
        """Channels that nothing in their images excites: all guided gradients are 0."""
        return [row["channel"] for row in self.rows if row[HALF.format("guided")] is None]


def survey(
    layer: Layer,
    found: ImageDataset,
    channels: Sequence[int],
    count: int,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    looked: Callable[[int], None] | None = None,
) -> Survey:
    """Find what excites a layer's channels, and look at some of them.

    Parameters
    ----------
    layer : Layer
    found : ImageDataset
        If all images have a label, classes are counted.
    channels : sequence of int
        Those to look at.
    count : int
        Images of each.
    seed : int
        Of the draws that classes are compared with.
    progress : callable(done, total), optional
        Called while images are searched.
    looked : callable(done), optional
        Called after every channel.

    Returns
    -------
    Survey

    Raises
    ------
    InputError
        If a channel does not exist, or the network does not take the images.
    """
    chosen = checked_channels(layer, channels)
    n = len(found)
    labels, names = None, list[str]()
    if found.labels is not None and n >= LEAST and (found.labels >= 0).all():
        values, labels = np.unique(found.labels, return_inverse=True)
        names = [str(value) if found.classes is None else found.classes[value] for value in values.tolist()]
    counted = min(ALIKE, n // 10)
    top = top_images(layer, found.images, max(count, counted + 1 if labels is not None else 0), progress=progress)
    pure = chance = everything = None
    if labels is not None:
        pure = purity(top, labels, counted)
        chance = {"images": counted, **chance_purity(labels, counted, seed)}
        known = pure[np.isfinite(pure)]
        everything = {
            "class share": float(known.mean()) if len(known) else None,
            "above chance": float((known > chance["high"]).mean()) if len(known) else None,
            "left out": len(pure) - len(known),
        }
    views, rows = list[ChannelView](), list[dict[str, Any]]()
    for channel in chosen.tolist():
        views.append(channel_view(layer, found.images, top, channel, count))
        rows.append(_row(layer, found, views[-1]))
        if labels is not None and pure is not None:
            share = float(pure[top.row(channel)])
            most = np.bincount(labels[_images(top, channel)[:counted]]).argmax()
            said = np.isfinite(share)
            rows[-1] |= {"class": names[most] if said else None, "class share": share if said else None}
        if looked is not None:
            looked(len(views))
    return Survey(views, rows, everything, chance)


def _images(top: Top, channel: int) -> NDArray[np.int64]:
    return top.images[top.row(channel)]


def _row(layer: Layer, found: ImageDataset, view: ChannelView) -> dict[str, Any]:
    """One channel, as JSON."""
    row: dict[str, Any] = {
        "channel": view.channel,
        "strongest": float(view.values[0]),
        "weakest shown": float(view.values[-1]),
        "images": view.images.tolist(),
        "units": view.units[:, 1:].tolist(),
        "fields": view.fields.tolist(),
    }
    if found.ids is not None:
        row["ids"] = [found.ids[i] for i in view.images]
    for rule in RULES:
        row[HALF.format(rule)] = half_in(getattr(view, rule), view)
        row[LIKE.format(rule)] = agreement(layer, view, rule)
    return row
