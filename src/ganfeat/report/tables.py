"""Tables: the accuracies, the settings of the run, the protocol of the measurement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from ganfeat.config import FEATURE_SETS


def method_name(key: str) -> str:
    """Name a set of features as a reader would."""
    return FEATURE_SETS.get(key, key.replace("_", " "))


def class_name(label: Any, classes: Sequence[str] | None) -> str:
    """Name a label: from ``classes`` where they are given, itself otherwise."""
    if classes is None:
        return str(label)
    index = int(label)
    return str(classes[index]) if 0 <= index < len(classes) else str(label)


def draws_in_words(results: Mapping[str, Any]) -> str:
    """Say over how many draws the means were taken: ``"10 draws"``, ``"1 to 10 draws"`` or nothing."""
    cells = (cell for row in results["accuracy"].values() for cell in row.values())
    counts = sorted({int(cell["draws"]) for cell in cells if cell.get("draws")})
    if not counts:
        return ""
    if len(counts) == 1:
        return f"{counts[0]} draw{'s' if counts[0] > 1 else ''}"
    return f"{counts[0]} to {counts[-1]} draws"


def accuracy_table(results: Mapping[str, Any]) -> str:
    """Tabulate accuracy by method and number of labels.

    Parameters
    ----------
    results : mapping
        ``{"labels_per_class": [1, 5, ...], "accuracy": {method: {"1": {"mean", "std", "ci95", "draws"},
        ...}, ...}}`` with accuracies from 0 to 1 and ``ci95`` half the width of the 95 % interval of the
        mean. Methods may lack a number of labels, and cells anything but ``mean``.

    Returns
    -------
    str
        A ``<table>`` in per cent, the highest mean of each column bold, the standard deviation as the
        title of its cell; empty if there is nothing to tell.
    """
    counts, accuracy = results["labels_per_class"], results["accuracy"]
    if not counts or not accuracy:
        return ""
    best = {
        count: max((row[str(count)]["mean"] for row in accuracy.values() if str(count) in row), default=None)
        for count in counts
    }

    def cell(row: Mapping[str, Any], count: int) -> str:
        if str(count) not in row:
            return "<td>–</td>"
        score = row[str(count)]
        mean = f"{100 * score['mean']:.1f}"
        if score["mean"] == best[count]:
            mean = f"<strong>{mean}</strong>"
        interval, spread, draws = score.get("ci95"), score.get("std"), score.get("draws")
        if interval is not None:
            mean += f' <span class="interval">± {100 * interval:.1f}</span>'
        title = ""
        if spread is not None:
            over = f" over {draws} draws" if draws else ""
            title = f' title="standard deviation {100 * spread:.1f}{over}"'
        return f"<td{title}>{mean}</td>"

    head = "".join(f'<th scope="col">{count}</th>' for count in counts)
    rows = "\n".join(
        f'<tr{" class=own" if method == "ganfeat" else ""}><th scope="row">{escape(method_name(method))}</th>'
        f"{''.join(cell(row, count) for count in counts)}</tr>"
        for method, row in accuracy.items()
    )
    draws = draws_in_words(results)
    over = f" over {draws} of the labelled images" if draws else ""
    return (
        '<div class="scroll" role="region" aria-label="Accuracy table" tabindex="0">\n'
        '<table class="scores">\n'
        f"<caption>Accuracy in per cent on held-out images, by labels per class: the mean{over} ± half its "
        "95% interval. Bold: the highest mean of the column. The standard deviation shows on pointing at a "
        "cell.</caption>\n"
        f'<thead><tr><th scope="col">Labels per class</th>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )


def settings_table(settings: Mapping[str, Any], *, caption: str = "Settings") -> str:
    """Tabulate names and values; nested mappings become dotted names.

    Parameters
    ----------
    settings : mapping
        Of numbers, words, lists and mappings of such.
    caption : str
        The title of the table, plain text.

    Returns
    -------
    str
        A ``<table>``; empty if there are no settings.
    """
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in _flat(settings)
    )
    if not rows:
        return ""
    return (
        f'<div class="settings-group"><table class="settings">\n<caption>{escape(caption)}</caption>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def protocol_card(protocol: Mapping[str, Any]) -> str:
    """Tabulate how the features were measured, like :func:`settings_table`."""
    return settings_table(protocol, caption="How the features were measured")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _in_words(value)


def _in_words(value: Any) -> str:
    if value is None or (isinstance(value, Mapping | Sequence) and not value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_in_words(item) for item in value)
    return str(value)
