"""What a step kept and dropped: counts as JSON, and sheets of pictures of both."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.files import replacing
from ganfeat.pictures import captioned, tile, write_png
from ganfeat.prepare.repeats import Found, Repeats

if TYPE_CHECKING:
    from ganfeat.data.packed import Row, SetWriter

SHOWN = 64
"""Images on the sheet of what was kept."""
_COLUMNS = 16
_NAMED = 10
_LARGEST = 128
_NAME_LENGTH = 40


@dataclass
class Noted:
    """What was noted while reading: suffixes of files that are no images, and pictures of what was dropped."""

    others: dict[str, int] = field(default_factory=dict)
    glimpses: dict[str, list[tuple[str, NDArray[np.uint8]]]] = field(default_factory=dict)


def write_report(writer: SetWriter, candidates: int, noted: Noted) -> None:
    """Write ``steps/read/``: ``counts.json``, ``kept.png`` and ``dropped.png``.

    Parameters
    ----------
    writer : SetWriter
        With everything committed.
    candidates : int
        How many images were looked at.
    noted : Noted
    """
    folder = writer.path / "steps" / "read"
    folder.mkdir(parents=True, exist_ok=True)
    counts: dict[str, Any] = {
        "step": "read",
        "candidates": candidates,
        "kept": writer.count,
        "dropped": sum(writer.kinds.values()),
        "reasons": dict(writer.kinds.most_common()),
        "other files": noted.others,
        **_repeated(writer),
    }
    write_json(folder / "counts.json", counts)
    write_kept(folder / "kept.png", writer.pixels(shown_size(writer.sizes)), f"kept: {writer.count:,} images")
    write_dropped(folder / "dropped.png", counts["reasons"], noted.glimpses)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def write_kept(path: Path, images: NDArray[np.uint8], words: str) -> None:
    """Write a sheet of images ``(n, h, w, c)`` that are evenly spread over all."""
    count = min(SHOWN, len(images))
    rows = np.arange(count) * len(images) // max(1, count)
    more = "" if count == len(images) else f"; {count} of them, evenly spread"
    with replacing(path) as temporary:
        write_png(temporary, captioned([(words + more, tile(images[rows], min(_COLUMNS, max(8, count // 4), count)))]))


def write_dropped(
    path: Path, reasons: dict[str, int], pictures: dict[str, list[tuple[str, NDArray[np.uint8]]]]
) -> None:
    """Write a sheet of what was dropped, by reason, as far as there is anything to see."""
    parts: list[tuple[str, NDArray[np.uint8]]] = []
    width = 8 * 65
    for reason, count in reasons.items():
        seen = pictures.get(reason, [])
        words = f"{count:,} x {reason}" + ("" if seen else " (nothing to show)")
        if not seen:
            parts.append((words, np.full((1, width, 3), 255, np.uint8)))
            continue
        names = ", ".join(name[-_NAME_LENGTH:] for name, _ in seen)
        parts.append((f"{words}: {names}", tile(np.stack([picture for _, picture in seen]), min(8, len(seen)))))
    if not parts:
        parts = [("nothing was dropped", np.full((1, width, 3), 255, np.uint8))]
    with replacing(path) as temporary:
        write_png(temporary, captioned(parts))


def shown_size(sizes: Sequence[int]) -> int:
    """Choose the size that a sheet shows."""
    small = [size for size in sizes if size <= _LARGEST]
    return max(small) if small else min(sizes)


def _repeated(writer: SetWriter) -> dict[str, Any]:
    """Images that are kept and are copies of each other, byte for byte, and names that occur twice.

    Both stay in the set: copies are for the step that looks for duplicates, and equal names in different folders are
    different images.
    """
    ways = {"exact copies": _content, "same name": _name, "names alike": _alike}
    counters = {way: Repeats(writer.count) for way in ways}
    for row in writer.rows():
        for way, key in ways.items():
            counters[way].add(key(row))
    found = {way: counter.found(_NAMED) for way, counter in counters.items()}
    examples = _examples(writer.rows(), ways, found)
    return {way: {"groups": one.groups, "images": one.members, "examples": examples[way]} for way, one in found.items()}


def _examples(rows: Iterator[Row], ways: dict[str, Any], found: dict[str, Found]) -> dict[str, list[list[str]]]:
    groups: dict[str, dict[bytes, list[str]]] = {way: {} for way in ways}
    if any(one.some for one in found.values()):
        for row in rows:
            for way, key in ways.items():
                some = found[way].some
                if some and (place := Repeats.key(key(row))) in some:
                    names = groups[way].setdefault(place, [])
                    if len(names) < _NAMED:
                        names.append(row.id)
    return {way: list(named.values()) for way, named in groups.items()}


def _content(row: Row) -> str:
    return f"{row.hash} {row.box}"


def _name(row: Row) -> str:
    return row.id.rpartition("/")[2]


def _alike(row: Row) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", row.id).casefold())
