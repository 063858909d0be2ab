"""A comparison of networks, as a table, in sentences, as a chart and as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ganfeat.errors import MissingExtraError
from ganfeat.files import replacing
from ganfeat.report.canvas import new_figure, save_figure
from ganfeat.report.page import Section, write_page
from ganfeat.report.tables import protocol_card, settings_table

MEASURES = {
    "effective_rank": ("rank", "effective rank"),
    "dead": ("dead", "dead features"),
    "duplicate": ("dupl.", "duplicate features"),
    "half_agreement": ("halves", "agreement of neighbours between halves of the features"),
    "network_agreement": ("nets", "agreement of neighbours with the other networks"),
}
"""Label-free measures: heading of the column, and in words."""
COLOURS = {"baseline": "#c44e00", "untrained": "#9c3f83", "trained": "#0b63b5"}


def comparison_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the table: baselines first, then every layer of every network.

    Parameters
    ----------
    result : mapping
        As :func:`ganfeat.comparison.compare_networks` gives it.

    Returns
    -------
    headings : list of str
    rows : list of list of str
        The best row's name begins with ``*``. Untrained networks are in the column of the margin over them.
    """
    headline = str(result["headline"])
    rows = [row for row in result["rows"] if row["kind"] != "untrained"]
    shown = [key for key in MEASURES if any((row.get("label_free") or {}).get(key) is not None for row in rows)]
    headings = ["accuracy in %, by labels per class", "features", *(str(k) for k in result["labels_per_class"])]
    headings += [f"over untrained ({headline})", *(MEASURES[key][0] for key in shown)]
    cells = []
    for row in rows:
        margin = (row.get("over_untrained") or {}).get(headline)
        measures = row.get("label_free") or {}
        cells.append(
            [
                ("* " if row["name"] == result["best"] else "") + row["name"],
                f"{row['features']:,}",
                *(interval(row["accuracy"][str(k)]) for k in result["labels_per_class"]),
                interval(margin, sign=True) if margin else "–",
                *(_measure(key, measures.get(key)) for key in shown),
            ]
        )
    return headings, cells


def interval(value: Mapping[str, Any], *, sign: bool = False) -> str:
    """``{"mean": 0.8712, "ci95": 0.004}`` as ``87.1 ± 0.4``, in per cent."""
    mean = f"{100 * value['mean']:{'+' if sign else ''}.1f}"
    return mean if value["ci95"] is None else f"{mean} ± {100 * value['ci95']:.1f}"


def _measure(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    if key in ("dead", "duplicate"):
        return f"{100 * value:.1f} %"
    return f"{value:.1f}" if key == "effective_rank" else f"{value:.2f}"


def sentences(result: Mapping[str, Any]) -> list[str]:
    """What the table does not say: the tests of the best rows, the label-free measures, what was measured on."""
    images, k = result["images"], result["headline"]
    tests = result["paired_tests"]
    found = [
        f"* the best row with {k} labels per class. The best layer is {result['best_layer']}: "
        f"{'; '.join(map(_test, tests))} (paired t-tests over {tests[0]['draws']} draws of labels). These cover the "
        "draws only, not other training seeds nor other images, and the rows were picked because they came out best."
    ]
    untrained = [row for row in result["rows"] if row["kind"] == "untrained"]
    if untrained:
        best = max(untrained, key=lambda row: row["accuracy"][str(k)]["mean"])
        found.append(f"The best untrained row: {best['name']}, {interval(best['accuracy'][str(k)])}.")
    found.append(_ranking(result["rank_correlation"], k))
    found.append(
        f"{images['learned from']:,} images to draw labels from, {images['held out']:,} held out; ± is the 95 % "
        "interval over draws of labels, for these networks and these held-out images."
    )
    return [*found, *result["notes"]]


def _test(test: Mapping[str, Any]) -> str:
    difference = f"{interval(test, sign=True)} points over {test['second']}"
    if test["p"] is None:
        return f"{difference}, of a single draw: not tested"
    return f"{difference}, {_probability(test['p'])}"


def _probability(p: float) -> str:
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"


def _ranking(correlations: Mapping[str, Mapping[str, Any]], labels: int) -> str:
    rows = max(value["rows"] for value in correlations.values())
    parts = [
        f"{MEASURES[key][1]} {value['spearman']:+.2f} ({_probability(value['p'])})"
        for key, value in correlations.items()
        if value["spearman"] is not None
    ]
    if not parts:
        return f"Label-free measures were not ranked against accuracy: {rows} rows of networks, at least 3 are needed."
    return (
        f"Spearman's rank correlation of label-free measures with accuracy at {labels} labels per class, over the "
        f"{rows} rows of networks: {'; '.join(parts)}. Layers of one network are not independent, so the p-values (by "
        "permutation) flatter."
    )


def write_comparison(result: Mapping[str, Any], folder: Path) -> list[str]:
    """Write ``compare.json``, ``compare.html`` and, where matplotlib is installed, ``compare.png``.

    Parameters
    ----------
    result : mapping
        With the ``command`` that made it.
    folder : Path
        Made if it is not there.

    Returns
    -------
    list of str
        What could not be written, and why. It is in the page and in the JSON file, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notes = []
    try:
        draw_comparison(folder / "compare.png", result)
    except MissingExtraError as error:
        notes.append(str(error))
    result = {**result, "notes": [*result["notes"], *notes]}
    sections = [
        Section("Which layer of which network", "rows", _html_table(*comparison_table(result))),
        Section("What it says", "says", "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences(result))),
        Section(
            "Protocol",
            "protocol",
            protocol_card(result["protocol"])
            + settings_table({n["name"]: n for n in result["networks"]}, caption="The networks")
            + settings_table(result["seconds"], caption="Seconds"),
        ),
    ]
    machine = result["machine"]
    footer = f"{machine['cpu']}, {machine['threads']} threads, {result['seconds']['total']:.0f} s. {result['command']}"
    write_page(folder / "compare.html", "Networks and their layers, compared", "", sections, footer=footer)
    with replacing(folder / "compare.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return notes


def _html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
    body = "\n".join(
        f'<tr{" class=own" if row[0].startswith("* ") else ""}><th scope="row">{escape(row[0])}</th>'
        f"{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return (
        '<div class="scroll" role="region" aria-label="Comparison table" tabindex="0">\n<table class="scores">\n'
        "<caption>Accuracy in per cent on held-out images: mean ± half its 95 % interval.</caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def draw_comparison(path: Path, result: Mapping[str, Any]) -> Path:
    """Draw every row's accuracy with its interval, one panel for a number of labels, as PNG.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    counts, rows = result["labels_per_class"], result["rows"]
    figure = new_figure(3.2 + 3.6 * len(counts), 1.2 + 0.26 * len(rows), "Drawing compare.png")
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for panel, count in zip(panels, counts, strict=True):
        for place, row in enumerate(rows):
            score = row["accuracy"][str(count)]
            panel.errorbar(
                100 * score["mean"], place, xerr=100 * score["ci95"], color=COLOURS[row["kind"]], capsize=2,
                marker="o", markerfacecolor="white" if row["kind"] == "untrained" else None,
            )  # fmt: skip
        panel.set_title(f"{count} labels per class: accuracy, %", fontsize=10)
        panel.grid(axis="x", alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    names = [f"{row['name']} *" if row["name"] == result["best"] else row["name"] for row in rows]
    panels[0].set_yticks(range(len(rows)), names, parse_math=False)
    panels[0].invert_yaxis()
    return save_figure(figure, path)
