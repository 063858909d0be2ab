"""What was measured of the theory, in words, as tables, and as a page: one block a claim."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ganfeat.errors import MissingExtraError
from ganfeat.files import replacing
from ganfeat.report.page import Section, write_page
from ganfeat.report.svg import INK, MUTED, render, series
from ganfeat.report.tables import settings_table

MARKS = {"holds": "✓", "does not hold": "✗", "cannot be told": "?", "not measured": "–"}


def cell(value: Any, unit: str = "") -> str:
    """A number, an estimate with its interval, or a word, for a table.

    >>> cell(0.1234, "%"), cell({"value": 2.0, "low": 1.5, "high": None}), cell(None)
    ('12.3', '2 (1.5 to …)', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        ends = [value.get("low"), value.get("high")]
        middle = cell(value.get("value"), unit)
        if ends == [None, None]:
            return middle
        low, high = ("…" if end is None else cell(end, unit) for end in ends)
        return f"{middle} ({low} to {high})"
    number = float(value) * (100 if unit == "%" else 1)
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def table_cells(table: Mapping[str, Any]) -> list[list[str]]:
    """The rows of a table of evidence as text, their names first."""
    return [
        [row[0], *(cell(value, unit) for value, unit in zip(row[1:], table["units"], strict=True))]
        for row in table["rows"]
    ]


def headings(table: Mapping[str, Any]) -> list[str]:
    """The headings, with ``%`` where cells are in per cent."""
    first, *rest = table["headings"]
    return [first, *(f"{h}, %" if unit == "%" else h for h, unit in zip(rest, table["units"], strict=True))]


def part_in_words(part: Mapping[str, Any]) -> str:
    """One test of a claim: what, how much, and its verdict."""
    unit = " %" if part["unit"] == "%" else ""
    found = {key: part[key] for key in ("value", "low", "high")}
    return f"{part['what']}: {cell(found, part['unit'])}{unit}: {part['verdict']}"


def rules(claim: Mapping[str, Any]) -> list[str]:
    """By which rules the parts of a claim are judged, each once."""
    return list(dict.fromkeys(part["rule"] for part in claim["parts"]))


def verdicts(result: Mapping[str, Any]) -> list[list[str]]:
    """Every claim with its verdict."""
    return [[claim["title"], f"{MARKS[claim['verdict']]} {claim['verdict']}"] for claim in result["claims"]]


def write_theory(result: Mapping[str, Any], folder: Path) -> list[str]:
    """Write ``theory.json`` and ``theory.html``.

    Parameters
    ----------
    result : mapping
        As :func:`ganfeat.theory.measure_theory` gives it, with the ``command`` that made it.
    folder : Path
        Made if it is not there.

    Returns
    -------
    list of str
        What could not be drawn, and why. It is in the page and in the JSON file, too.
    """
    notes: list[str] = []
    try:
        charts = {claim["key"]: chart(claim) for claim in result["claims"]}
    except MissingExtraError as error:
        charts = {}
        notes.append(str(error))
    result = {**result, "notes": [*result["notes"], *notes]}
    folder.mkdir(parents=True, exist_ok=True)
    sections = [
        Section("Verdicts", "verdicts", _verdicts(result) + _notes(result["notes"])),
        *(
            Section(claim["title"], claim["key"], _claim(claim, charts.get(claim["key"], "")), claim["says"])
            for claim in result["claims"]
        ),
        Section(
            "How it was measured",
            "how",
            settings_table(result["settings"], caption="Settings") + settings_table(result["images"], caption="Images"),
        ),
    ]
    machine = result["machine"]
    footer = f"{machine['cpu']}, {machine['threads']} threads, {result['seconds']['total']:.0f} s. {result['command']}"
    subtitle = f"{result['run']}: {result['network']}."
    write_page(folder / "theory.html", "Theory, measured", subtitle, sections, footer=footer)
    with replacing(folder / "theory.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return notes


def _verdicts(result: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f'<tr><th scope="row"><a href="#{claim["key"]}">{escape(claim["title"])}</a></th>'
        f"<td>{MARKS[claim['verdict']]} {escape(claim['verdict'])}</td></tr>"
        for claim in result["claims"]
    )
    return (
        '<table class="settings"><caption>A claim holds if all its parts do, and does not hold if one of them does '
        f"not.</caption>\n<tbody>\n{rows}\n</tbody></table>\n"
    )


def _notes(notes: Sequence[str]) -> str:
    paragraphs = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f'<div class="settings-group">{paragraphs}</div>' if notes else ""


def _claim(claim: Mapping[str, Any], drawn: str) -> str:
    verdict = f"<p><strong>{MARKS[claim['verdict']]} {escape(claim['verdict'])}.</strong></p>"
    parts = "".join(f"<li>{escape(part_in_words(part))}</li>" for part in claim["parts"])
    notes = "".join(f"<p>{escape(note)}</p>" for note in claim["notes"])
    tables = "\n".join(_table(table) for table in claim["tables"])
    rule = f'<p class="lead">Rule: {escape("; ".join(rules(claim)))}.</p>' if parts else ""
    return f"{verdict}{f'<ul>{parts}</ul>' if parts else ''}{rule}{notes}{drawn}{tables}"


def _table(table: Mapping[str, Any]) -> str:
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings(table))
    body = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(_td(text) for text in row[1:])}</tr>'
        for row in table_cells(table)
    )
    return (
        '<div class="scroll" role="region" aria-label="Evidence" tabindex="0">\n<table class="scores">\n'
        f"<caption>{escape(table['caption'])}</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _td(text: str) -> str:
    value, bracket, interval = text.partition(" (")
    if not bracket:
        return f"<td>{escape(text)}</td>"
    return f'<td>{escape(value)} <span class="interval">({escape(interval)}</span></td>'


def chart(claim: Mapping[str, Any]) -> str:
    """The picture of a claim, as a ``<figure>``; empty where it has none.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    if claim["key"] == "corollary-3" and claim.get("series"):
        return _over_time(claim["series"])
    if claim["key"] == "theorem-1-robust" and claim["tables"]:
        return _ratios(claim["tables"][0]["rows"])
    return ""


def _over_time(found: Mapping[str, Sequence[float | None]]) -> str:
    epoch, ratio, std = (np.array(found[key], float) for key in ("epoch", "ratio", "std_real"))
    if not (np.isfinite(ratio) & (ratio > 0)).any():
        return ""
    caption = (
        "Over the training: the ratio of the spread of D's logit over real images to its distance to generated ones, "
        "and the standard deviation of log alpha. Dashed: 0.25 and 0.5, the bounds of the ratio in the "
        "rule above."
    )

    def draw(figure: Any) -> None:
        width, height = (figure.get_figwidth() * 72, figure.get_figheight() * 72)
        axes = figure.add_axes((52 / width, 46 / height, (width - 70) / width, (height - 90) / height))
        for level in (0.25, 0.5):
            axes.axhline(level, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for k, (name, values) in enumerate((("ratio", ratio), ("std of log alpha", std))):
            good = np.isfinite(values) & (values > 0)
            axes.plot(epoch[good], values[good], color=series(k), linewidth=1.6, label=name)
        axes.set_yscale("log")
        axes.set_yticks(*_ticks(*axes.get_ylim()))
        axes.minorticks_off()
        axes.set_xlabel("epoch", labelpad=6)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, frameon=False, labelcolor=INK)

    label = f"Line chart over epochs. At the end the ratio is {ratio[-1]:.3g}."
    drawings = f"{render(720, 320, label, draw, css='wide')}\n{render(360, 300, label, draw, css='narrow')}"
    return f"<figure>{drawings}<figcaption>{escape(caption)}</figcaption></figure>"


def _ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Ticks of a logarithmic axis, at 1, 2 and 5 of every decade; only at 1 where these are many."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1, 2, 5) if len(decades) <= 4 else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    kept = [tick for tick in ticks if low <= tick <= high]
    return kept, [f"{tick:g}" for tick in kept]


def _ratios(rows: Sequence[Sequence[Any]]) -> str:
    points = [(row[0], row[3]) for row in rows if row[3]["value"] and row[3]["low"] and row[3]["high"]]
    if not points:
        return ""

    def draw(figure: Any) -> None:
        width, height = (figure.get_figwidth() * 72, figure.get_figheight() * 72)
        axes = figure.add_axes((150 / width, 46 / height, (width - 170) / width, (height - 60) / height))
        axes.axvline(1.0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for place, (_, ratio) in enumerate(points):
            colour = series(0 if ratio["high"] < 1 else 1 if ratio["low"] > 1 else 5)
            axes.plot([ratio["low"], ratio["high"]], [place, place], color=colour, linewidth=2)
            axes.plot(ratio["value"], place, color=colour, marker="o", markersize=5, markeredgewidth=0)
        axes.set_xscale("log")
        axes.set_xticks(*_ticks(*axes.get_xlim()))
        axes.minorticks_off()
        axes.grid(axis="y", visible=False)
        axes.set_yticks(range(len(points)), [name for name, _ in points])
        axes.set_ylim(len(points) - 0.5, -0.5)
        axes.set_xlabel("drift, null part / row part", labelpad=6)

    least = min(points, key=lambda p: p[1]["value"])
    most = max(points, key=lambda p: p[1]["value"])
    label = (
        f"Drift of the null part over that of the row part by noise: from {least[1]['value']:.3g} ({least[0]}) to "
        f"{most[1]['value']:.3g} ({most[0]})."
    )
    caption = "Left of 1, noise moves the null part less than the row part; right of it, more. Bars: 95 % intervals."
    height = 90 + 22 * len(points)
    drawings = f"{render(640, height, label, draw, css='wide')}\n{render(360, height, label, draw, css='narrow')}"
    return f"<figure>{drawings}<figcaption>{escape(caption)}</figcaption></figure>"
