"""What is measured of an encoder while it learns: reconstruction, cycle, and what its features' nearest neighbours say.

Labels are looked at here and nowhere else in a training; nothing that is measured goes back into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganfeat.arrays import to_uint8
from ganfeat.config import require
from ganfeat.device import autocast
from ganfeat.errors import InputError
from ganfeat.features import FeatureExtractor
from ganfeat.objectives.base import Objective
from ganfeat.objectives.encoding import EncodingObjective
from ganfeat.pictures import in_pairs, tile
from ganfeat.probes import KNNClassifier
from ganfeat.training import to_networks

MEASURED = 512
"""Images, at most, that reconstruction and cycle are measured on."""
QUERIES = 2_000
REFERENCES = 10_000
"""Images, at most, whose neighbours are looked for, and among which."""
COLUMNS = 8
SHOWN = 32
"""Pairs of a real image and its reconstruction on a sheet."""
BLOCK = 1024
"""Images read at once, from what may be a memory map."""

Rows = NDArray[np.int64]


def hold_out(n: int, share: float, seed: int) -> tuple[Rows, Rows]:
    """Draw images for validation; which ones depends on nothing but these three.

    Parameters
    ----------
    n : int
        Images there are.
    share : float
        Of them to hold out, from 0 to below 1.
    seed : int

    Returns
    -------
    training, held_out : ndarray of int64
        Indices, ascending; together all of them.

    Raises
    ------
    InputError
        If either would be fewer than two images (none held out is fine where ``share`` is 0).
    """
    require("validation", share, float, least=0, below=1)
    count = round(share * n)
    if share and not 2 <= count <= n - 2:
        raise InputError(
            f"validation={share:g} of {n} images holds {count} out and leaves {n - count} to learn from: "
            "at least 2 are needed for each"
        )
    drawn = np.random.default_rng([seed, 0, 1]).permutation(n)  # the order of epoch e is drawn from [seed, e]
    return np.sort(drawn[count:]), np.sort(drawn[:count])


class Monitor:
    """Measures on held-out images, or on training images where none are held out.

    Parameters
    ----------
    images : ndarray or memory map ``(n, h, w, c)``
        ``uint8``, or ``float32`` in [-1, 1].
    training, held_out : ndarray of int
        Their indices, as :func:`hold_out` gives them.
    labels : ndarray of int ``(n,)``, optional
        -1 where unknown.
    seed : int
    device : torch.device
    precision : {"bf16", "fp32"}
    pool : int, optional
    pooling : {"max", "avg"}
        Of the maps of the layer before the output, as for :class:`~ganfeat.features.FeatureExtractor`.

    Notes
    -----
    :meth:`~ganfeat.objectives.encoding.EncodingObjective.diagnose` gets up to 512 images, the same in every
    evaluation, and latents drawn anew from seed and step. With labels and held-out images, ``knn/output`` is the share
    of the held-out images whose nearest neighbour (Euclidean) among the training images, by E(x), has their label, and
    ``knn/trunk`` the same by the layer before it: of up to 2,000 of the one among up to 10,000 of the others, evenly
    spaced, that have a label.
    """

    def __init__(
        self,
        images: NDArray[Any],
        training: Rows,
        held_out: Rows,
        *,
        seed: int,
        device: torch.device,
        precision: str,
        labels: NDArray[np.int64] | None = None,
        pool: int | None = None,
        pooling: str = "max",
    ) -> None:
        self.images, self.seed, self.device, self.precision = images, seed, device, precision
        self.reading: dict[str, Any] = {"pool": pool, "pooling": pooling, "device": str(device), "precision": precision}
        seen = held_out if len(held_out) else training
        # in no order: a folder is read class by class, and a reconstruction is compared with its neighbour's
        self.measured = np.random.default_rng([seed, 0, 2]).permutation(seen)[:MEASURED]
        self.labels = labels
        self.queries = self.references = np.empty(0, np.int64)
        if labels is not None and len(held_out):
            self.queries = evenly(held_out[labels[held_out] >= 0], QUERIES)
            self.references = evenly(training[labels[training] >= 0], REFERENCES)

    @torch.no_grad()
    def measure(self, model: Objective, step: int) -> dict[str, float]:
        """What :meth:`~ganfeat.objectives.base.Objective.diagnose` says, and ``knn/...``."""
        seed = int(np.random.SeedSequence([self.seed, step, 3]).generate_state(1)[0])
        generator = torch.Generator(self.device).manual_seed(seed)
        with autocast(self.device, self.precision):  # not around the search for neighbours, which is exact
            found = model.diagnose(self._batch(self.measured), generator)
        return {name: float(value) for name, value in found.items()} | self._nearest(model)

    def _nearest(self, model: Objective) -> dict[str, float]:
        if not len(self.queries) or not len(self.references):
            return {}
        assert isinstance(model, EncodingObjective) and self.labels is not None
        extractor = FeatureExtractor(model.encoder, taps=["output", "trunk"], bn="eval", **self.reading)
        extractor.fit(self.images[self.references[:2]])
        queries, references = (self._features(extractor, rows) for rows in (self.queries, self.references))
        width = model.encoder.n_components
        accuracies = {}
        for name, columns in {"output": slice(width), "trunk": slice(width, None)}.items():
            q, r = queries[:, columns], references[:, columns]
            if not (np.isfinite(q).all() and np.isfinite(r).all()):
                accuracies[f"knn/{name}"] = float("nan")  # the loop says what to do about it
                continue
            classifier = KNNClassifier(1, device=str(self.device)).fit(r, self.labels[self.references])
            accuracies[f"knn/{name}"] = float(classifier.score(q, self.labels[self.queries]))
        return accuracies

    def _features(self, extractor: FeatureExtractor, rows: Rows) -> NDArray[np.float32]:
        blocks = [self.images[rows[start : start + BLOCK]] for start in range(0, len(rows), BLOCK)]
        return np.concatenate([extractor.transform(block) for block in blocks])

    @torch.no_grad()
    def sheet(self, model: Objective) -> NDArray[np.uint8]:
        """Rows of real images in the size that G draws, and under each its G(E(x)); always the same images."""
        assert isinstance(model, EncodingObjective)
        x_NCHW = self._batch(self.measured[:SHOWN])
        with autocast(self.device, self.precision):
            again_NCHW = model.generator(model.encoder(x_NCHW))
        real, again = (_pixels(images) for images in (model.small(x_NCHW), again_NCHW))
        return tile(in_pairs(real, again, COLUMNS), min(COLUMNS, len(real)))

    def _batch(self, rows: Sequence[int] | Rows) -> torch.Tensor:
        return to_networks(torch.from_numpy(np.array(self.images[rows])).to(self.device))


def evenly(rows: Rows, most: int) -> Rows:
    """At most so many of the rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.int64)]


def _pixels(x_NCHW: torch.Tensor) -> NDArray[np.uint8]:
    return to_uint8(x_NCHW.float().permute(0, 2, 3, 1).cpu().numpy())
