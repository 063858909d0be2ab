"""Boxes around an object on generated samples, as a file that a person or the studio writes.

JSON::

    {"boxes": [{"z": "s0.17", "x": 10, "y": 4, "width": 12, "height": 20}, ...]}

or CSV with the heading ``z,x,y,width,height``. ``x`` and ``y`` are the left and the top edge in pixels of G's image,
whose top left corner is 0, 0; fractions are welcome. ``z`` names the sample (:mod:`ganfeat.latent`); in its place
``seed`` and ``index`` may stand, ``{"seed": 0, "index": 17, ...}`` for ``s0.17``. Other keys of a box are left alone.
A JSON file may say what else G was told, ``"given": 3``.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganfeat.errors import InputError
from ganfeat.files import replacing

MOST_BYTES = 8 * 2**20
MOST_BOXES = 10_000
LONGEST_Z = 64 * 1024
"""Characters that the name of a sample may have: a z of 10,000 numbers has 53,334."""
SIDES = ("x", "y", "width", "height")
HEADINGS = ("z", *SIDES)


@dataclass(frozen=True)
class Box:
    """A rectangle on the sample of one z; edges in pixels of the image, from its top left corner."""

    z: str
    x: float
    y: float
    width: float
    height: float

    def clipped(self, size: tuple[int, int]) -> Box | None:
        """The part on an image of ``(height, width)``; None where there is none."""
        left, top = max(self.x, 0.0), max(self.y, 0.0)
        right, bottom = min(self.x + self.width, float(size[1])), min(self.y + self.height, float(size[0]))
        if not (right > left and bottom > top):
            return None
        return Box(self.z, left, top, right - left, bottom - top)


@dataclass(frozen=True)
class Boxes:
    """What a file of boxes holds.

    Attributes
    ----------
    boxes : list of Box
    given : optional
        What G was told beside z, where the file says so.
    """

    boxes: list[Box]
    given: Any = None

    def by_sample(self) -> dict[str, list[Box]]:
        """The boxes of each z, both in the order of the file."""
        found: dict[str, list[Box]] = {}
        for box in self.boxes:
            found.setdefault(box.z, []).append(box)
        return found


def as_boxes(entries: Any, size: tuple[int, int], source: str) -> list[Box]:
    """Check a list of boxes that came from outside, and clip them to the image.

    Parameters
    ----------
    entries : list of dict
        As in a file; numbers may be strings of them.
    size : (height, width)
        Of G's image. A box that is partly outside is cut to it; one with nothing on it is refused.
    source : str
        Named in messages: the file, or where else they come from.

    Returns
    -------
    list of Box

    Raises
    ------
    InputError
        Naming the source, the entry (counted from 1) and the fix.
    """
    if not isinstance(entries, list):
        raise InputError(f"{source}: the boxes must be a list, not {_kind(entries)}")
    if len(entries) > MOST_BOXES:
        raise InputError(f"{source}: {len(entries):,} boxes are more than {MOST_BOXES:,}: leave some out")
    return [_as_box(entry, size, f"{source}, box {i}") for i, entry in enumerate(entries, 1)]


def read_boxes(path: Path | str, size: tuple[int, int]) -> Boxes:
    """Read boxes from a ``.json`` or ``.csv`` file.

    Parameters
    ----------
    path : Path or str
    size : (height, width)
        Of G's image, see :func:`as_boxes`.

    Raises
    ------
    InputError
        If the file is missing, too large, no such file, or an entry is wrong. No box at all is an error, too.
    """
    path = Path(path)
    text = _text(path)
    given = None
    if path.suffix.lower() == ".csv":
        entries = _csv_entries(path, text)
    else:
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is no JSON ({_first_line(error)}): write {_example()}, or a .csv file") from None
        if isinstance(content, list):  # the boxes alone
            content = {"boxes": content}
        if not isinstance(content, dict) or "boxes" not in content:
            raise InputError(f'{path} has no "boxes": write {_example()}')
        entries, given = content["boxes"], content.get("given")
        if given is not None and not isinstance(given, str | int | float):
            raise InputError(f'{path}: "given" is {_kind(given)}: write one value, e.g. "given": 3')
    boxes = as_boxes(entries, size, str(path))
    if not boxes:
        raise InputError(f"{path} has no boxes yet: fill them in, e.g. {_example()}")
    return Boxes(boxes, given)


def write_boxes(path: Path | str, boxes: Iterable[Box], given: Any = None) -> None:
    """Write boxes to a ``.json`` or ``.csv`` file, whole or not at all.

    Raises
    ------
    InputError
        If the suffix is neither, or a ``given`` does not fit into CSV.
    """
    path = Path(path)
    rows = [{"z": b.z, **{side: _plain(getattr(b, side)) for side in SIDES}} for b in boxes]
    if path.suffix.lower() == ".csv":
        if given is not None:
            raise InputError(f"{path}: a .csv file has no place for what G was told ({given!r}): name a .json file")
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(buffer, HEADINGS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = buffer.getvalue()
    elif path.suffix.lower() == ".json":
        lines = ",\n".join("  " + json.dumps(row) for row in rows)
        told = f'"given": {json.dumps(given)},\n ' if given is not None else ""
        text = f'{{{told}"boxes": [\n{lines}\n]}}\n' if rows else f'{{{told}"boxes": []}}\n'
    else:
        raise InputError(f"{path}: boxes are written as .json or .csv; name such a file")
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _as_box(entry: Any, size: tuple[int, int], place: str) -> Box:
    if not isinstance(entry, Mapping):
        raise InputError(f"{place} is {_kind(entry)}: write {_example_box()}")
    numbers = [_number(entry, side, place) for side in SIDES]
    box = Box(_name(entry, place), *numbers)
    if box.width <= 0 or box.height <= 0:
        raise InputError(
            f"{place} is {box.width:g} wide and {box.height:g} high: width and height must be above 0 (x and y are the "
            "left and the top edge)"
        )
    clipped = box.clipped(size)
    if clipped is None:
        raise InputError(
            f"{place} at x {box.x:g}, y {box.y:g} lies outside the image, which is {size[1]} wide and {size[0]} high "
            "(in pixels, from its top left corner): correct or remove it"
        )
    return clipped


def _name(entry: Mapping[str, Any], place: str) -> str:
    z = entry.get("z")
    if z is None or z == "":
        numbers = [_whole(entry.get(key)) for key in ("seed", "index")]
        if None in numbers:
            raise InputError(f'{place} does not name its sample: give "z", e.g. "s0.17", or "seed" and "index"')
        return f"s{numbers[0]}.{numbers[1]}"
    if not isinstance(z, str) or len(z) > LONGEST_Z:
        raise InputError(f'{place}: "z" must be the name of a sample, e.g. "s0.17" for the 17th of seed 0, from 0')
    return z.strip()


def _whole(value: Any) -> int | None:
    """Of a number, or a string of digits, from 0."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < 2**63 else None
    if isinstance(value, str) and len(value) < 20 and value.strip().isdecimal():
        return int(value)
    return None


def _number(entry: Mapping[str, Any], side: str, place: str) -> float:
    value = entry.get(side)
    if value is None or value == "":
        raise InputError(f"{place} has no {side!r}: write {_example_box()}")
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        shown = value if isinstance(value, str) and len(value) < 40 else _kind(value)
        raise InputError(f"{place}: {side!r} is {shown}: write a number of pixels") from None
    if not math.isfinite(number):
        raise InputError(f"{place}: {side!r} is {number}: write a number of pixels")
    return number


def _text(path: Path) -> str:
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file of boxes, .json or .csv")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}: without --boxes, a template of it is written") from None
    if len(content) > MOST_BYTES:
        raise InputError(f"{path} is larger than {MOST_BYTES // 2**20} MiB, which is no file of boxes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text (UTF-8): boxes are .json or .csv files") from None


def _csv_entries(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        headings: Sequence[str] = [h.strip() for h in reader.fieldnames or ()]
        missing = [side for side in SIDES if side not in headings]
        if missing or not ("z" in headings or {"seed", "index"} <= set(headings)):
            raise InputError(f"{path}: the first line must name the columns: {','.join(HEADINGS)}")
        reader.fieldnames = headings
        return [row for row in reader if any(row.values())]
    except csv.Error as error:
        raise InputError(f"{path} is no CSV ({error}): write a line {','.join(HEADINGS)} and one a box") from None


def _plain(number: float) -> float | int:
    rounded = round(number, 3)
    return int(rounded) if rounded == int(rounded) else rounded


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _example_box() -> str:
    return '{"z": "s0.17", "x": 10, "y": 4, "width": 12, "height": 20}'


def _example() -> str:
    return f'{{"boxes": [{_example_box()}]}}'
