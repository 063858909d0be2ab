"""Is this position inside a box? Logistic regression on the values of all maps at one position.

The rule of Radford, Metz & Chintala 2016 (arXiv:1511.06434), section 6.3.2: what is inside a box is positive, all other
positions of the same images are negative. Whatever is said of images is said by a regression that has not seen them:
folds are made of whole images.

Shape legend: N images, C maps, H and W of the grid of positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.errors import InputError
from ganfeat.inspection.boxes import Box

LEAST_IMAGES = 2
"""With boxes: one to learn from, one to be judged."""
FOLDS = 5
MOST_VALUES = 2**24
"""Positions times maps that a regression learns from; of more positions, so many are drawn."""
STILL = 1e-6
"""A map whose spread is below this share of its size says nothing."""


def inside(boxes: Sequence[Sequence[Box]], grid: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which positions of a grid of maps lie inside the boxes of each image.

    A position is a cell, the image divided evenly, and counts by where its centre lies; the left and the top edge
    belong to a box. A box too thin to hold the centre of any row has the row in which its own centre lies, and so for
    columns. (A layer's receptive field may be shifted against its cell by up to half a cell.)

    Parameters
    ----------
    boxes : for each image, its boxes
    grid : (height, width)
        Of the maps.
    size : (height, width)
        Of the image, in the boxes' pixels.

    Returns
    -------
    ndarray of bool ``(n, height, width)``
    """
    found = np.zeros((len(boxes), *grid), np.bool_)
    for mask, of_image in zip(found, boxes, strict=True):
        for box in of_image:
            rows = _along(box.y, box.height, grid[0], size[0])
            mask |= rows[:, None] & _along(box.x, box.width, grid[1], size[1])
    return found


def _along(start: float, length: float, cells: int, side: float) -> NDArray[np.bool_]:
    """Which cells of one axis, never none."""
    centres = (np.arange(cells) + 0.5) * side / cells
    found = (centres >= start) & (centres < start + length)
    if not found.any():
        found[min(int((start + length / 2) * cells / side), cells - 1)] = True
    return found


@dataclass(frozen=True)
class Regression:
    """A fitted logistic regression on single positions.

    Attributes
    ----------
    mean, scale : ndarray ``(C,)``
        Of the positions learned from; ``scale`` is infinite for a map that does not vary.
    weight : ndarray ``(C,)``
        Of the standardised maps: how much one standard deviation of a map adds to the logit.
    intercept : float
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    intercept: float

    def logits(self, maps_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of every position, ``(N, H, W)``."""
        weight = self.weight / self.scale
        found = np.empty((len(maps_NCHW), *maps_NCHW.shape[2:]))
        for i, maps in enumerate(maps_NCHW):  # one by one: in float64 all of them may not fit
            found[i] = np.tensordot(weight, maps, 1)
        return found + (self.intercept - float(self.mean @ weight))

    def probabilities(self, maps_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of being inside a box, ``(N, H, W)``."""
        from scipy.special import expit

        return expit(self.logits(maps_NCHW))


def fit_regression(
    maps_NCHW: NDArray[np.float32],
    inside_NHW: NDArray[np.bool_],
    *,
    C: float = 1.0,
    balanced: bool = False,
    seed: int = 0,
    images: NDArray[np.int64] | None = None,
) -> Regression:
    """Fit scikit-learn's ``LogisticRegression`` (L2) on standardised single positions.

    Standardised, because the penalty and the ranking of maps should not depend on the unit of a map; a sign means
    the same on either scale. ``balanced`` weighs both classes alike, so that 0.5 is where the two are as likely;
    without it, as in the paper, the many positions outside boxes pull the intercept down, which hardly touches the
    weights.

    Parameters
    ----------
    maps_NCHW : ndarray ``(N, C, H, W)``
    inside_NHW : ndarray of bool ``(N, H, W)``
    C : float
        Inverse of the penalty, as scikit-learn's.
    seed : int
        Of the positions that are drawn where there are more than :data:`MOST_VALUES` allows.
    images : ndarray of int, optional
        Indices of those to learn from; by default all.

    Raises
    ------
    InputError
        If no position, or every one, is inside a box.
    """
    from sklearn.linear_model import LogisticRegression

    images = np.arange(len(maps_NCHW)) if images is None else images
    y = inside_NHW[images].reshape(-1)
    if y.all() or not y.any():
        raise InputError(
            f"{'every' if len(y) and y.all() else 'no'} position is inside a box, so there is nothing to tell apart: "
            "draw boxes around the object alone"
        )
    most = max(2, MOST_VALUES // maps_NCHW.shape[1])
    kept = _drawn(y, most, seed) if len(y) > most else np.arange(len(y))
    image, row, column = np.unravel_index(kept, (len(images), *inside_NHW.shape[1:]))
    X, y = maps_NCHW[images[image], :, row, column].astype(np.float64), y[kept]
    mean, std = X.mean(axis=0), X.std(axis=0)
    still = std <= STILL * np.abs(X).max(axis=0)
    scale = np.where(still, np.inf, std)
    model = LogisticRegression(C=C, class_weight="balanced" if balanced else None, max_iter=2000)
    model.fit((X - mean) / scale, y)
    weight = np.where(still, 0.0, model.coef_[0])
    return Regression(mean, scale, weight, float(model.intercept_[0]))


def _drawn(y: NDArray[np.bool_], most: int, seed: int) -> NDArray[np.int64]:
    """Indices of so many positions of too many, with at least one of each class."""
    kept = np.random.default_rng(seed).permutation(len(y))[:most]
    kept[:2] = np.flatnonzero(y)[0], np.flatnonzero(~y)[0]
    return kept


@dataclass(frozen=True)
class HeldOut:
    """What regressions say of images that they have not seen.

    Attributes
    ----------
    models : list of Regression
        One a fold.
    fold : ndarray of int ``(N,)``
        Which of them has not seen an image.
    logits : ndarray ``(N, H, W)``
        By that one.
    scores : dict
        ``accuracy``, ``balanced_accuracy``, ``auc`` over all positions; ``chance``, the accuracy of always saying no;
        ``folds``, ``images``, ``positions`` and how many of these are ``inside``.
    """

    models: list[Regression]
    fold: NDArray[np.int64]
    logits: NDArray[np.float64]
    scores: dict[str, Any]

    def apply(self, maps_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities ``(N, H, W)`` for other pictures of the same N images, each by the one that has not seen it."""
        found = [self.models[k].probabilities(maps_NCHW[i : i + 1])[0] for i, k in enumerate(self.fold.tolist())]
        return np.stack(found)


def hold_out(
    maps_NCHW: NDArray[np.float32],
    inside_NHW: NDArray[np.bool_],
    *,
    C: float = 1.0,
    balanced: bool = False,
    seed: int = 0,
) -> HeldOut:
    """Cross-validate :func:`fit_regression`, at most five folds of whole images.

    Raises
    ------
    InputError
        If fewer than :data:`LEAST_IMAGES` images have boxes, or the boxes leave nothing outside.
    """
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score
    from sklearn.model_selection import KFold

    n = len(maps_NCHW)
    check_enough(inside_NHW)
    folds = KFold(min(FOLDS, n), shuffle=True, random_state=seed)  # of images: all positions of one stay together
    fold, logits, models = np.empty(n, np.int64), np.empty(inside_NHW.shape), []
    for k, (learned, judged) in enumerate(folds.split(np.arange(n))):
        model = fit_regression(maps_NCHW, inside_NHW, C=C, balanced=balanced, seed=seed, images=learned)
        fold[judged] = k
        for i in judged.tolist():
            logits[i] = model.logits(maps_NCHW[i : i + 1])[0]
        models.append(model)
    truth, said = inside_NHW.reshape(-1), logits.reshape(-1)
    scores = {
        "accuracy": float(((said > 0) == truth).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(truth, said > 0)),
        "auc": float(roc_auc_score(truth, said)),
        "chance": float((~truth).mean()),
        "folds": len(models),
        "images": n,
        "positions": int(truth.size),
        "inside": int(truth.sum()),
    }
    return HeldOut(models, fold, logits, scores)


def check_enough(inside_NHW: NDArray[np.bool_]) -> None:
    """Refuse boxes on too few images to hold one out.

    Raises
    ------
    InputError
    """
    n = len(inside_NHW)
    if n < LEAST_IMAGES:
        raise InputError(
            f"boxes on {n} image{'s' * (n != 1)} are too few: at least {LEAST_IMAGES} images must have boxes, so that "
            "one can be held out; 30 or more give steady results (the paper had 52 boxes)"
        )
    if ((~inside_NHW).any(axis=(1, 2))).sum() < LEAST_IMAGES:
        raise InputError(
            "the boxes cover whole images, so there is nothing to tell apart: draw them around the object alone"
        )
