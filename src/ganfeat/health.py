"""Whether a GAN's training goes well: measures of mode collapse on arrays, and alarms that read a run's records.

Which of the measures tell a collapse, how well and how soon, is measured in docs/health.md; those that do not are
recorded without an alarm. This module knows no files, no networks and no screens: what it needs of them is gathered by
:class:`ganfeat.estimators.checkup.Checkup`.

Shape legend: N points, D their dimensions, K cells, C filters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import torch

REACHED = 0.25
"""A cell is reached if it holds this share, or more, of the samples that it holds of as many real images."""
SIGNIFICANT = 1.959964
"""Standard errors that two proportions must be apart to differ at the level of 5 %."""
ONE_MODE = 0.95
"""Correlation with the leading mode of its layer from which a filter is taken to follow nothing else."""
IN_A_ROW = 3
"""Evaluations that count, in a row beyond its bound, that raise an alarm: one noisy evaluation does not."""
LEAST_STEPS = 300
"""Steps before which no evaluation counts: a generator begins by drawing everything alike."""


LEAST_APART = 90
"""Steps between two evaluations that count, about a hundred: of many in short succession, not all do."""


class HealthWarning(UserWarning):
    """A training shows a sign of mode collapse."""


# ---------------------------------------------------------------------- measures


def diversity(points_ND: torch.Tensor) -> float:
    """Mean Euclidean distance between two of the points; 0 for fewer than two."""
    return float(torch.pdist(points_ND.float()).mean()) if len(points_ND) > 1 else 0.0


def sizes_of_cells(points_ND: torch.Tensor, centroids_KD: torch.Tensor) -> torch.Tensor:
    """How many of the points are nearest to each centroid, ``int64 (K,)``."""
    nearest_N = torch.cdist(points_ND.float(), centroids_KD.float()).argmin(dim=1)
    return torch.bincount(nearest_N, minlength=len(centroids_KD))


def coverage(real_K: torch.Tensor, drawn_K: torch.Tensor) -> float:
    """Share of the cells with real images that are reached: with at least a quarter of the samples they should hold.

    Parameters
    ----------
    real_K, drawn_K : Tensor of int64 ``(K,)``
        Sizes of the cells among real images and among samples; the totals may differ.
    """
    real_K, drawn_K = real_K.double(), drawn_K.double()
    reached = drawn_K / drawn_K.sum() >= REACHED * real_K / real_K.sum()
    return float(reached[real_K > 0].double().mean())


def different_bins(real_K: torch.Tensor, drawn_K: torch.Tensor) -> float:
    """NDB/K: share of the cells in which the proportions of real images and samples differ at the level of 5 %.

    By the two-proportion z-test with the pooled variance (Richardson & Weiss 2018, arXiv:1805.12462, section 2).
    Between two draws of one distribution it is about 0.05.

    Parameters
    ----------
    real_K, drawn_K : Tensor of int64 ``(K,)``
    """
    n, m = float(real_K.sum()), float(drawn_K.sum())
    pooled = (real_K + drawn_K).double() / (n + m)
    error = (pooled * (1 - pooled) * (1 / n + 1 / m)).sqrt()
    gap = (real_K.double() / n - drawn_K.double() / m).abs()
    return float((gap > SIGNIFICANT * error).double().mean())


def one_mode(activations_NC: torch.Tensor) -> tuple[float, float]:
    """Which filters of a layer follow one and the same mode.

    Parameters
    ----------
    activations_NC : Tensor ``(N, C)``
        A column for each filter: its activations over images and places.

    Returns
    -------
    share : float
        Of the filters that are not constant, those whose correlation with the layer's leading principal component (of
        standardised activations) is above 0.95 either way.
    level : float
        Mean activation of these filters; 0 if there are none. Both are NaN where an activation is not finite.
    """
    a_NC = activations_NC.double()
    if not bool(a_NC.isfinite().all()):
        return math.nan, math.nan
    a_NC = a_NC[:, a_NC.std(dim=0) > 1e-6 * a_NC.abs().max()]
    if a_NC.shape[1] < 2:
        return 0.0, 0.0
    values, vectors = torch.linalg.eigh(torch.corrcoef(a_NC.T))
    r_C = values[-1].clamp(min=0).sqrt() * vectors[:, -1]
    follows_C = r_C.abs() > ONE_MODE
    return float(follows_C.double().mean()), float(a_NC[:, follows_C].mean()) if bool(follows_C.any()) else 0.0


def alternation(levels: Sequence[float]) -> float:
    """Share of a series' changes that undo the direction of the change before: 1 for one that swings every time.

    A random walk has 0.5, a trend 0. Changes of nothing count as no alternation; fewer than two changes give 0.

    >>> alternation([0, 1, 0, 1, 0]), alternation([0, 1, 2, 3])
    (1.0, 0.0)
    """
    changes = [b - a for a, b in pairwise(levels)]
    turns = [a * b < 0 for a, b in pairwise(changes)]
    return sum(turns) / len(turns) if turns else 0.0


# ---------------------------------------------------------------------- alarms


@dataclass(frozen=True)
class Bound:
    """When a number of the records raises an alarm.

    Parameters
    ----------
    name : str
        Of the alarm.
    key : str
        Of the record.
    floor : str
        Key of what real images reach by the same measure, which the number is divided by; empty for none.
    low : float
        An alarm goes up after :data:`IN_A_ROW` evaluations below this.
    clear : float
        It goes down after as many at or above this; in between, it stays as it is.
    sign : str
        What it is a sign of, with ``{value}`` and ``{bound}``.
    """

    name: str
    key: str
    floor: str
    low: float
    clear: float
    sign: str

    def value(self, record: Mapping[str, Any]) -> float | None:
        """The number of a record; None where it was not measured."""
        value, floor = record.get(self.key), record.get(self.floor) if self.floor else 1.0
        return float(value) / float(floor) if value is not None and floor else None


BOUNDS = (
    Bound(
        "coverage",
        "coverage/pixels",
        "coverage/pixels_real",
        low=0.4,
        clear=0.5,
        sign="samples reach {value:.0%} of the cells of the data that real images reach (alarm below {bound:.0%})",
    ),
    Bound(
        "diversity",
        "diversity/pixels",
        "",
        low=0.4,
        clear=0.5,
        sign="samples are {value:.0%} as far from each other as real images are (alarm below {bound:.0%})",
    ),
)
"""The alarms that were worth it (docs/health.md)."""

REMEDY = (
    "It is a sign of mode collapse, or of a G that learns next to nothing: look at the samples. Train anew with a "
    "lower learning_rate or beta1, with more images, or with MGAN's several generators"
)


@dataclass(frozen=True)
class Alarm:
    """An alarm that went up: when, by which number, and what to do."""

    name: str
    step: int
    epoch: float
    value: float
    bound: float
    message: str


@dataclass
class Health:
    """Reads records, one after the other, and says which alarms are up.

    What it says depends on the records alone: of a run's history, it is what was said while the run went on.

    Parameters
    ----------
    bounds : sequence of Bound

    Attributes
    ----------
    up : dict of str to Alarm
        The alarms that are up now.
    raised : list of Alarm
        All that ever went up.
    records : int
        Records read.
    """

    bounds: Sequence[Bound] = BOUNDS
    up: dict[str, Alarm] = field(default_factory=dict)
    raised: list[Alarm] = field(default_factory=list)
    _last: dict[str, float] = field(default_factory=dict)
    _beyond: dict[str, int] = field(default_factory=dict)
    _within: dict[str, int] = field(default_factory=dict)
    _levels: dict[str, list[float]] = field(default_factory=dict)
    records: int = 0
    _counted: float = -math.inf
    _before: int = 0
    _step: int = 0
    _told: int = 0

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]], bounds: Sequence[Bound] = BOUNDS) -> Health:
        """What a history says."""
        health = cls(bounds)
        for record in records:
            health.read(record)
        return health

    def read(self, record: Mapping[str, Any]) -> list[Alarm]:
        """Take the next record; the alarms that go up by it. One that does not say its step is passed over."""
        if "step" not in record:
            return []
        self.records += 1
        step = int(record["step"])
        if step <= self._step:  # another fit goes on with the same model, and counts from 0
            self._before += self._step
        self._step = step
        now = self._before + step
        counts = self.measured(record) and now >= LEAST_STEPS and now - self._counted >= LEAST_APART
        if counts:
            self._counted = now
        new = []
        for bound in self.bounds:
            value = bound.value(record)
            if value is None:
                continue
            self._last[bound.name] = value
            if not counts:
                continue
            self._count(bound, value)
            if self._beyond[bound.name] >= IN_A_ROW and bound.name not in self.up:
                self.up[bound.name] = alarm = _alarm(bound, value, record)
                self.raised.append(alarm)
                new.append(alarm)
            elif self._within[bound.name] >= IN_A_ROW:
                self.up.pop(bound.name, None)
        for name in ("generator", "discriminator"):
            if f"mode/{name}" in record:
                self._levels.setdefault(name, []).append(float(record[f"mode/{name}"]))
        return new

    def news(self) -> list[Alarm]:
        """The alarms that are up and were not given before."""
        fresh = [alarm for alarm in self.raised[self._told :] if self.up.get(alarm.name) is alarm]
        self._told = len(self.raised)
        return fresh

    def measured(self, record: Mapping[str, Any]) -> bool:
        """Whether a record has a number that could raise an alarm."""
        return any(bound.value(record) is not None for bound in self.bounds)

    def _count(self, bound: Bound, value: float) -> None:
        self._beyond[bound.name] = self._beyond.get(bound.name, 0) + 1 if value < bound.low else 0
        self._within[bound.name] = self._within.get(bound.name, 0) + 1 if value >= bound.clear else 0

    def summary(self) -> dict[str, Any]:
        """For JSON: ``up`` and ``raised``, the last value by alarm, and how much each network's mode swings."""
        return {
            "up": sorted(self.up),
            "raised": [asdict(alarm) for alarm in self.raised],
            "last": dict(self._last),
            "alternation": {name: alternation(levels) for name, levels in self._levels.items()},
        }

    def verdict(self) -> str:
        """In a few words: ``"no alarm (coverage 91 %, diversity 87 %)"``, or which alarms are up since when."""
        numbers = ", ".join(f"{name} {value:.0%}" for name, value in self._last.items())
        if self.up:
            return "; ".join(f"{a.name} alarm since epoch {a.epoch:.1f}" for a in self.up.values()) + f" ({numbers})"
        over = f", {len(self.raised)} that went down again" if self.raised else ""
        return f"no alarm{over} ({numbers})" if numbers else "not measured"


def _alarm(bound: Bound, value: float, record: Mapping[str, Any]) -> Alarm:
    epoch = float(record.get("epoch", math.nan))
    sign = bound.sign.format(value=value, bound=bound.low)
    message = f"epoch {epoch:.1f}: {sign}, {IN_A_ROW} evaluations in a row. {REMEDY}"
    return Alarm(bound.name, int(record["step"]), epoch, value, bound.low, message)
