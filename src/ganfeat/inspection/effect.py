"""What dropping maps does to an object and to the rest of the images, beside dropping as many random ones.

Maps that were chosen by an image, and a probe that learned from it, would both do better on it than on any other. So
each image is drawn without the maps that the *other* folds' images choose, and judged by a probe that learned from
others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ganfeat.inspection.boxes import Box
from ganfeat.inspection.forgetting import Forgetting, draw_without, random_maps
from ganfeat.inspection.presence import Presence, measure, over_images

MEASURES = ("presence", "detected", "elsewhere", "change_inside", "change_outside")
DRAWS = 5
RESAMPLES = 2000


def counts(positive: int, dropped: int) -> list[int]:
    """Numbers of maps for a curve: 0, 1, 2, 4, ..., those dropped, and all with a positive weight.

    >>> counts(20, 5)
    [0, 1, 2, 4, 5, 8, 16, 20]
    """
    doublings = [2**i for i in range(positive.bit_length()) if 2**i < positive]
    return sorted({0, *doublings, dropped, positive})


def effect(
    decoder: nn.Module,
    z_ND: NDArray[np.float32],
    boxes: Sequence[Sequence[Box]],
    found: Forgetting,
    presence: Presence,
    numbers: Sequence[int],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Draw the images with boxes without the first maps that others choose, and without random ones, and measure both.

    What is measured is thus what boxes do to images that are not among them, with four fifths of the boxes (five folds;
    fewer of fewer than five images); ``found.order``, in which all images have a say, is not measured itself.

    Parameters
    ----------
    decoder, z_ND, boxes
        As :func:`~ganfeat.inspection.forgetting.fit_forgetting` had them.
    found : Forgetting
        Its ``others`` are what is dropped (:meth:`~ganfeat.inspection.forgetting.Forgetting.unseen`).
    presence : Presence
    numbers : sequence of int
        How many of the maps with a positive weight to drop, each time anew; of an image whose others have fewer, all.
    draws : int
        Of random maps for every number, from all maps of the layer; of each image as many as are dropped of it.
    seed : int
    progress : callable(done, total)

    Returns
    -------
    list of dict
        One a number. ``maps``; ``of_folds``, how many are dropped in each fold; ``shared``, the share of them that is
        among the first so many of ``found.order``, a mean over images; ``dropped`` and ``random``, each with the
        measures of :func:`~ganfeat.inspection.presence.measure` as ``{"mean", "ci95", "images"}`` over images (random:
        of each image's mean over the draws; ``of_draws`` has the means of each draw's presence) and ``gone``, see
        :func:`gone`. ``beyond_random``: by how much presence is lower than without random maps, image by image.
    """
    before = draw_without(decoder, z_ND, found.layer)
    whole = measure(presence, before, before, boxes)
    rows = []
    for i, number in enumerate(numbers):
        progress(i, len(numbers))
        unseen = found.unseen(number)
        dropped = measure(presence, before, draw_without(decoder, z_ND, found.layer, unseen), boxes)
        random = []
        for maps in random_maps(found.layer, number, draws if number else 1, seed):
            after = draw_without(decoder, z_ND, found.layer, [maps[: len(others)] for others in unseen])
            random.append(measure(presence, before, after, boxes))
        shares = [np.isin(maps, found.order[:number]).mean() for maps in unseen if len(maps)]
        mean = {name: np.mean([each[name] for each in random], axis=0) for name in MEASURES}
        of_draws = [float(each["presence"].mean()) for each in random]
        rows.append(
            {
                "maps": int(number),
                "of_folds": [len(order[:number]) for order in found.others],
                "shared": float(np.mean(shares)) if shares else None,
                "dropped": {**_summaries(dropped), "gone": gone(whole, dropped["presence"], seed)},
                "random": {**_summaries(mean), "gone": gone(whole, mean["presence"], seed), "of_draws": of_draws},
                "beyond_random": over_images(mean["presence"] - dropped["presence"]),
            }
        )
    progress(len(numbers), len(numbers))
    return rows


def gone(whole: dict[str, NDArray[np.float64]], after: NDArray[np.float64], seed: int = 0) -> dict[str, Any]:
    """Share of an object's presence that went, over images, and its 95 % interval.

    ``(before - after) / (before - elsewhere)`` of the means: 0 where it stayed; 1 where the probe says of the boxes'
    positions what it says of the whole images outside boxes; above 1 where it says still less. None where the probe saw
    no object to begin with. The interval is a bootstrap over images.

    Parameters
    ----------
    whole : dict
        What :func:`~ganfeat.inspection.presence.measure` gives of the images as they are.
    after : ndarray ``(N,)``
        Presence afterwards.
    seed : int
        Of the bootstrap.
    """
    before, elsewhere = whole["presence"], whole["elsewhere"]
    kept = np.isfinite(elsewhere)
    before, elsewhere, after = before[kept], elsewhere[kept], after[kept]
    rows = np.random.default_rng(seed).integers(len(before), size=(RESAMPLES, len(before)))
    above = (before - elsewhere)[rows].mean(axis=1)
    if before.mean() <= elsewhere.mean() or (above <= 0).mean() > 0.025:
        return {"mean": None, "low": None, "high": None}
    shares = ((before - after)[rows].mean(axis=1) / np.where(above > 0, above, np.nan))[above > 0]
    low, high = np.quantile(shares, [0.025, 0.975])
    mean = (before - after).mean() / (before - elsewhere).mean()
    return {"mean": float(mean), "low": float(low), "high": float(high)}


def _summaries(values: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    return {name: over_images(values[name]) for name in MEASURES}
