"""One nearest neighbour on a network's layers, and how well its encoder and generator invert each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganfeat.data import ImageDataset
from ganfeat.device import autocast
from ganfeat.estimators.encoding import EncoderEstimator
from ganfeat.estimators.layers import TRUNK
from ganfeat.features import OUTPUT
from ganfeat.probes import KNNClassifier
from ganfeat.probes.intervals import margin
from ganfeat.training import to_networks

Score = dict[str, Any]
Pair = tuple[NDArray[Any], NDArray[Any]]
"""Features of the training and of the test images."""
CHUNK = 1000


@dataclass(frozen=True)
class Judge:
    """Scores features of labelled training and test images by one nearest neighbour."""

    learn: ImageDataset
    test: ImageDataset

    def pixels(self) -> Pair:
        """Raw pixels, as rows."""
        learn, test = (s.images.reshape(len(s), -1).astype(np.float32) for s in (self.learn, self.test))
        return learn, test

    def features(self, model: EncoderEstimator, network: str, tap: str) -> Pair:
        """A layer of a network."""
        extractor = model.extractor(network, taps=tap)
        return extractor.transform(self.learn.images), extractor.transform(self.test.images)

    def hits(self, rows: NDArray[Any], queries: NDArray[Any]) -> NDArray[np.bool_]:
        """Which test images have the class of their nearest training image."""
        assert self.learn.labels is not None and self.test.labels is not None
        right = KNNClassifier(1).fit(rows, self.learn.labels).predict(queries) == self.test.labels
        return np.asarray(right, bool)

    def rows(self, rows: NDArray[Any], queries: NDArray[Any]) -> Score:
        """Accuracy of features, 0 to 1, and the half-width of its 95 % interval over test images."""
        return {"features": int(rows.shape[1]), **_accuracy(self.hits(rows, queries))}

    def against_untrained(self, model: EncoderEstimator, network: str, *, output: bool) -> Score:
        """The layer before a network's output and, if asked for, the output; beside the same network untrained.

        Returns
        -------
        dict
            ``trunk`` and ``output``, each with its own ``accuracy``, that of the ``untrained`` network, and the paired
            difference ``above_untrained``; ``inverse`` of an encoder: see :meth:`inverse`.
        """
        twin = model.random_init()
        score: Score = {}
        for layer, tap in {"trunk": TRUNK, **({"output": OUTPUT} if output else {})}.items():
            ours, theirs = (self.features(m, network, tap) for m in (model, twin))
            hits, before = self.hits(*ours), self.hits(*theirs)
            points = ({"accuracies": [float(h.mean())], "_hits": h} for h in (hits, before))
            gain = margin(*points)
            score[layer] = {
                "features": int(ours[0].shape[1]),
                **_accuracy(hits),
                "untrained": _accuracy(before),
                "above_untrained": {"mean": gain["mean"], "half_width": gain["ci95"]},
            }
        if network == "encoder":
            score["inverse"] = self.inverse(model)
        return score

    def inverse(self, model: EncoderEstimator, seed: int = 0) -> dict[str, float]:
        """What :meth:`~ganfeat.objectives.encoding.EncodingObjective.diagnose` measures, the mean over test images."""
        generator = torch.Generator(model.device_).manual_seed(seed)
        totals: dict[str, float] = {}
        for start in range(0, len(self.test), CHUNK):
            images = self.test.images[start : start + CHUNK]
            x_NCHW = to_networks(torch.from_numpy(np.array(images)).to(model.device_))
            with autocast(model.device_, model.precision_):
                measures = model.objective_.diagnose(x_NCHW, generator)
            for name, value in measures.items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(images) / len(self.test)
        return totals


def _accuracy(hits: NDArray[np.bool_]) -> Score:
    mean = float(hits.mean())
    return {"accuracy": mean, "half_width": 1.96 * math.sqrt(mean * (1 - mean) / len(hits))}
