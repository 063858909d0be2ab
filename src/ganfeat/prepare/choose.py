"""From a set to one with some of its rows: the last step of ``ganfeat prepare`` where a step leaves images out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.packed import Dropped, PackedSet, Row, SetWriter, open_set

_BLOCK = 1024
_COMMIT_ROWS = 1 << 16


def choose(
    given: PackedSet,
    path: Path,
    kept: NDArray[np.bool_],
    why: Callable[[int], str],
    report: Callable[[SetWriter], object],
    *,
    step: str,
    kind: str,
    settings: Mapping[str, Any],
    progress: Callable[[int, int], object] | None = None,
) -> PackedSet:
    """Copy the rows that are kept to another set, with all sizes; what was killed before goes on.

    Parameters
    ----------
    given : PackedSet
        Its reports are copied, too.
    path : Path
        The new set's folder.
    kept : ndarray of bool, shape (n,)
    why : callable
        Gives the full reason why a row is not kept.
    report : callable
        Called with the new set when all rows are in it, before it is finished.
    step, kind : str
        The step that left images out, and why, in few words: for ``steps/STEP/dropped.parquet``.
    settings : mapping
        All that decides what is in the new set.
    progress : callable, optional
        Called with (done, total).
    """
    arrays = {size: open_set(given.path, size).images for size in given.sizes}
    with SetWriter(path, given.sizes, given.channels, settings=settings, total=int(kept.sum())) as writer:
        start = int(writer.position.get("row", 0))
        index = _index(given, start)
        for first in range(start, len(given), _BLOCK):
            stop = min(first + _BLOCK, len(given))
            rows = list(islice(index, stop - first))
            some = np.flatnonzero(kept[first:stop])
            writer.add(
                {size: images[first:stop][some] for size, images in arrays.items()}, [rows[place] for place in some]
            )
            writer.drop(
                [
                    Dropped(rows[place].id, rows[place].source, kind, why(first + int(place)))
                    for place in np.flatnonzero(~kept[first:stop])
                ]
            )
            if stop % _COMMIT_ROWS == 0 or stop == len(given):
                writer.commit({"row": stop})
            if progress is not None:
                progress(stop, len(given))
        shutil.copytree(given.path / "steps", path / "steps", dirs_exist_ok=True)
        report(writer)
        return writer.finish(given.card["source"], given.classes, step=step)


def _index(given: PackedSet, start: int) -> Iterator[Row]:
    columns = ["id", "source", "width", "height", "hash"]
    more = [name for name, has in (("label", given.card["labelled"]), ("box", given.card["boxed"])) if has]
    for values in given.rows([*columns, *more], start):
        known = dict(zip([*columns, *more], values, strict=True))
        if known.get("box") is not None:
            known["box"] = tuple(known["box"])
        yield Row(**known)
