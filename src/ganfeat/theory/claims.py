"""Claims, their parts, and verdicts: computed from intervals and thresholds that are written beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

HOLDS, FAILS, OPEN, SKIPPED = "holds", "does not hold", "cannot be told", "not measured"
Claim = dict[str, Any]
Part = dict[str, Any]
Estimate = dict[str, float | None]
"""``value`` and its 95 % interval, ``low`` to ``high``; None where it is not finite or not known."""


def estimate(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    """A value with its interval, fit for JSON: None for what is not finite."""
    return {
        name: float(number) if number is not None and math.isfinite(number) else None
        for name, number in (("value", value), ("low", low), ("high", high))
    }


def part(what: str, found: Estimate, verdict: str, rule: str, unit: str = "") -> Part:
    """One test of a claim.

    Parameters
    ----------
    what : str
        What was estimated, on what.
    found : dict
        As :func:`estimate` gives it.
    verdict : str
    rule : str
        When it holds and when not, in words.
    unit : {"", "%"}
        ``"%"`` for shares, which are kept as fractions of 1.
    """
    return {"what": what, **found, "unit": unit, "verdict": verdict, "rule": rule}


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[Any]], units: Sequence[str]) -> dict[str, Any]:
    """Evidence: a name and cells a row; a cell is a number, an :data:`Estimate`, a str, or None for nothing.

    ``units`` are of the cells, ``""`` or ``"%"``.
    """
    return {"caption": caption, "headings": list(headings), "rows": [list(row) for row in rows], "units": list(units)}


def claim(
    key: str,
    title: str,
    says: str,
    parts: Sequence[Part],
    tables: Sequence[dict[str, Any]] = (),
    notes: Sequence[str] = (),
    **more: Any,
) -> Claim:
    """A claim with its verdict: that of its parts together (:func:`together`)."""
    verdict = together([one["verdict"] for one in parts])
    return {
        "key": key,
        "title": title,
        "says": says,
        "verdict": verdict,
        "parts": list(parts),
        "tables": list(tables),
        "notes": list(notes),
        **more,
    }


def together(verdicts: Sequence[str]) -> str:
    """A claim holds if all its parts hold, and does not if one of them does not; else it cannot be told.

    >>> together(["holds", "cannot be told"]), together(["holds", "does not hold"]), together([])
    ('cannot be told', 'does not hold', 'not measured')
    """
    measured = [verdict for verdict in verdicts if verdict != SKIPPED]
    if not measured:
        return SKIPPED
    if FAILS in measured:
        return FAILS
    return HOLDS if all(verdict == HOLDS for verdict in measured) else OPEN


def judge(holds: bool, fails: bool) -> str:
    """The verdict of a part; comparisons with NaN are False, so what is not a number cannot be told."""
    return HOLDS if holds else FAILS if fails else OPEN


def other_mode(name: str, verdict: str) -> str:
    """A note: the verdict where batch norms do not play as in training, which decides nothing."""
    return f"The verdict would be '{verdict}' for {name}, as when features are extracted; D never plays so."


def below(found: Estimate, holds_below: float, fails_above: float) -> str:
    """Holds if the whole interval is below one number, does not if it is above another."""
    low, high = (math.nan if found[k] is None else float(found[k] or 0.0) for k in ("low", "high"))
    return judge(high < holds_below, low > fails_above)


def above(found: Estimate, holds_above: float, fails_below: float) -> str:
    """Holds if the whole interval is above one number, does not if it is below another."""
    low, high = (math.nan if found[k] is None else float(found[k] or 0.0) for k in ("low", "high"))
    return judge(low > holds_above, high < fails_below)
