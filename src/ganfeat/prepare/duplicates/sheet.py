"""What the search for duplicates reports: counts, a table of the groups, and a picture of some of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.files import replacing
from ganfeat.pictures import GREY, captioned, colour, tile, write_png
from ganfeat.prepare.report import write_json

if TYPE_CHECKING:
    from ganfeat.prepare.duplicates.find import Duplicates

COUNTS, TABLE, SHEET = "counts.json", "groups.parquet", "groups.png"
EACH = 6
"""Groups shown of each sort."""
_ACROSS = 10
_SHOWN_SIZE = 64
_NAME = 60


def write_report(folder: Path, images: NDArray[np.uint8], found: Duplicates, names: list[str]) -> None:
    """Write ``groups.parquet``, ``groups.png`` and, last, ``counts.json``.

    Parameters
    ----------
    folder : Path
    images : ndarray of uint8, shape (n, h, w, c)
    found : Duplicates
    names : list of str
        Of the rows in ``found.members``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_table(folder / TABLE, found, names)
    with replacing(folder / SHEET) as temporary:
        write_png(temporary, groups_sheet(images, found, names))
    write_json(folder / COUNTS, found.card)


def _write_table(path: Path, found: Duplicates, names: list[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = found.members
    distance, difference = np.zeros(len(rows), np.float32), np.zeros(len(rows), np.float32)
    place = np.searchsorted(rows, found.dropped)
    distance[place], difference[place] = found.distance, found.difference
    order = np.lexsort((rows, ~found.keep[rows], found.groups[rows]))
    table = pa.table(
        {
            "id": pa.array([names[i] for i in order], pa.string()),
            "row": rows[order],
            "group": found.groups[rows][order],
            "kept": found.keep[rows][order],
            "distance": distance[order],
            "difference": difference[order],
        }
    )
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def groups_sheet(images: NDArray[np.uint8], found: Duplicates, names: list[str]) -> NDArray[np.uint8]:
    """Picture groups as rows, the image that is kept first: the largest, the least alike, and some of all.

    Returns
    -------
    ndarray of uint8 (H, W, 3)
    """
    name_of = dict(zip(found.members.tolist(), names, strict=True))
    parts: list[tuple[str, NDArray[np.uint8]]] = []
    total = int(found.card["groups"])
    if not total:
        return captioned([("no duplicates were found", np.full((1, 400, 1), 255, np.uint8))])
    groups, sizes = np.unique(found.groups[found.members], return_counts=True)
    worst = np.zeros(len(groups), np.float32)
    np.maximum.at(worst, np.searchsorted(groups, found.groups[found.dropped]), found.distance)
    even = np.unique(np.linspace(0, total - 1, min(total, EACH)).astype(int))
    shown: set[int] = set()
    for words, order in (
        ("the largest groups", np.argsort(-sizes, kind="stable")),
        ("those least alike to the one that is kept", np.argsort(-worst, kind="stable")),
        ("some of all", even),
    ):
        chosen = [int(i) for i in order if int(i) not in shown][:EACH]
        shown.update(chosen)
        for number, i in enumerate(chosen):
            rows = found.members[found.groups[found.members] == groups[i]]
            rows = np.concatenate([rows[found.keep[rows]], rows[~found.keep[rows]]])
            more = f", {_ACROSS - 1} of them shown" if len(rows) > _ACROSS else ""
            title = f"{words} (of {total:,}), the image kept first: " if number == 0 else ""
            name = name_of[int(rows[0])]
            name = name if len(name) <= _NAME else f"...{name[-_NAME:]}"
            parts.append((f"{title}{name}; {sizes[i] - 1:,} dropped{more}", _row(images, rows[:_ACROSS])))
    return captioned(parts)


def _row(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Images side by side, the first apart; every row is as wide as a full one."""
    pictures = np.stack([np.asarray(images[row]) for row in rows])
    scale = max(1, _SHOWN_SIZE // pictures.shape[1]) if pictures.shape[1] < _SHOWN_SIZE else 1
    step = max(1, pictures.shape[1] // (2 * _SHOWN_SIZE))
    pictures = pictures[:, ::step, ::step].repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = pictures.shape[1:3]
    line = np.full((height, _ACROSS * (width + 1) + 6, 3), 255, np.uint8)
    line[:, :width] = colour(pictures[0])
    if len(pictures) > 1:
        rest = colour(tile(pictures[1:], columns=len(pictures) - 1))
        line[:, width + 3] = GREY
        line[:, width + 7 : width + 7 + rest.shape[1]] = rest
    return line


def summary(counts: dict[str, Any]) -> str:
    """One line of words.

    Examples
    --------
    >>> summary({"images": 1000, "groups": 12, "dropped": 20})
    '20 of 1,000 images are duplicates of one that is kept, in 12 groups'
    """
    return (
        f"{counts['dropped']:,} of {counts['images']:,} images are duplicates of one that is kept, "
        f"in {counts['groups']:,} groups"
    )
