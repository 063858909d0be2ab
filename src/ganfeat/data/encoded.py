"""Images that are still in their files: what every reader of encoded images hands to the decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.images import Skipped


@dataclass(frozen=True)
class Unreadable:
    """Stands in the place of an image of which there is nothing to decode."""

    reason: str


Item = Path | bytes | Unreadable


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Candidates in a fixed order, not decoded yet.

    Attributes
    ----------
    source : str
        What they are, in words.
    ids : tuple of str
        Their names, one a candidate.
    items : callable
        Gives a fresh iterator over as many items as there are ids.
    signature : str
        Changes when the files do; decides whether a pack made from them may be used again.
    labels, classes, skipped
        As in :class:`~ganfeat.data.images.ImageDataset`; `skipped` was found before any decoding.
    """

    source: str
    ids: tuple[str, ...]
    items: Callable[[], Iterator[Item]]
    signature: str
    labels: NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, rows: NDArray[np.int64]) -> EncodedImages:
        """Keep the candidates at the ascending indices `rows`."""
        wanted = frozenset(rows.tolist())
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows.tolist()),
            items=lambda: (item for row, item in enumerate(self.items()) if row in wanted),
            labels=None if self.labels is None else self.labels[rows],
        )
