"""What looks inside a trained network: pictures and numbers in a folder of their own, and in the report of the run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.errors import InputError
from ganfeat.files import replacing
from ganfeat.pictures import read_png, write_png
from ganfeat.report.page import Section
from ganfeat.report.pictures import png_uri

EXPLORATIONS = {
    "walk": ("Walks in latent space", "Images that G draws along a way from z to z: changes should be gradual."),
    "arithmetic": ("Arithmetic in latent space", "Means of latents, added and subtracted, and what G makes of them."),
    "saliency": ("What channels respond to", "Images that excite a channel most, and what in them does."),
    "forget": ("Forgetting an object", "What G draws without the maps that draw an object."),
}
"""The verbs that look inside, with the headings of their sections."""
LARGEST = 4 * 2**20
"""Bytes of a picture that goes into a page."""
FILES = {".png", ".gif", ".mp4"}
"""What may lie beside an exploration's JSON file and be replaced with it."""


@dataclass(frozen=True)
class Picture:
    """A picture of an exploration.

    Parameters
    ----------
    name : str
        Of the file: ``"walk.png"``.
    sheet : ndarray of uint8 (H, W, 1 or 3)
    caption : str
        What it shows, for whoever sees it.
    alt : str
        What it shows, for whoever does not.
    """

    name: str
    sheet: NDArray[np.uint8]
    caption: str
    alt: str


Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Headings, and rows of words."""


def write_exploration(
    folder: Path, verb: str, result: Mapping[str, Any], pictures: Sequence[Picture], table: Table | None = None
) -> list[Path]:
    """Write ``VERB.json`` and the pictures it names, all of them or none; files that it named before and not now go.

    All are written beside their places first, then renamed, the JSON file last.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    verb : {"walk", "arithmetic", "saliency", "forget"}
    result : mapping
        Everything measured, as JSON can hold it; ``"videos"`` names other files that belong to it, already there.
    pictures : sequence of Picture
    table : (headings, rows), optional
        What the report of the run shows of the numbers.

    Returns
    -------
    list of Path
        The files.
    """
    assert verb in EXPLORATIONS, verb
    shown = [{"file": picture.name, "caption": picture.caption, "alt": picture.alt} for picture in pictures]
    content = {**result, "pictures": shown, "table": None if table is None else [list(table[0]), *map(list, table[1])]}
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    path = folder / f"{verb}.json"
    folder.mkdir(parents=True, exist_ok=True)
    stale = _named(path) - _names(content)
    with ExitStack() as stack:  # renames in reverse order
        stack.enter_context(replacing(path)).write_text(text, encoding="utf-8")
        for picture in reversed(pictures):
            write_png(stack.enter_context(replacing(folder / picture.name)), picture.sheet)
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    return [*(folder / picture.name for picture in pictures), path]


def _named(path: Path) -> set[str]:
    """Files beside an exploration's JSON file that it names; none where it is not there, or cannot be read."""
    try:
        return _names(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return set()


def _names(content: Mapping[str, Any]) -> set[str]:
    names = [*(picture["file"] for picture in content["pictures"]), *content.get("videos", ())]
    return {name for name in names if Path(name).name == name and Path(name).suffix in FILES}


def exploration_sections(run: Path) -> list[Section]:
    """One section an exploration that lies in a run folder, as its verb writes it there.

    Raises
    ------
    InputError
        If one is damaged.
    """
    found = []
    for verb, (title, lead) in EXPLORATIONS.items():
        path = run / verb / f"{verb}.json"
        if path.is_file():
            found.append(Section(title, verb, _body(path), lead))
    return found


def _body(path: Path) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        figures = [_figure(path.parent, **picture) for picture in content["pictures"]]
        table = content["table"] or []
        words = _table([[str(cell) for cell in row] for row in table])
        notes = [str(note) for note in content.get("notes") or []]
        command = str(content.get("command", ""))
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({error}): write it again, or move {path.parent} out of the run") from None
    parts = [*figures, words, *(f'<p class="note">{escape(note)}</p>' for note in notes)]
    if command:
        parts.append(f'<p class="lead note">Made by <code>{escape(command)}</code></p>')
    return "\n".join(part for part in parts if part)


def _figure(folder: Path, *, file: str, caption: str, alt: str) -> str:
    from PIL import Image

    path = folder / file
    if path.name != file or path.suffix != ".png":
        raise ValueError(f"{file!r} is no picture beside it")
    sheet = None
    if path.stat().st_size <= LARGEST:
        with warnings.catch_warnings(), suppress(Image.DecompressionBombWarning, Image.DecompressionBombError):
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            sheet = read_png(path)
    if sheet is None:
        return f"<p>{escape(file)} is too large for this page: see the folder {escape(folder.name)}.</p>"
    return (
        f'<figure><img class="pixels" src="{png_uri(sheet)}" width="{sheet.shape[1]}" height="{sheet.shape[0]}" '
        f'alt="{escape(alt)}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _table(rows: list[list[str]]) -> str:
    if len(rows) < 2:
        return ""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    body = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows[1:]
    )
    return (
        f'<div class="scroll"><table class="scores"><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'
    )
