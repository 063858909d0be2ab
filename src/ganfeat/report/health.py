"""The part of a page that says whether a GAN's training went well: its alarms, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ganfeat.health import Health
from ganfeat.report import figures


def health_section(history: Sequence[Mapping[str, Any]]) -> str:
    """Say which alarms went up, and draw what was measured.

    Parameters
    ----------
    history : sequence of mapping
        A run's records, as :class:`ganfeat.health.Health` reads them.

    Returns
    -------
    str
        A paragraph, a list of the alarms if there were any, and charts; empty if nothing was measured.
    """
    health = Health.of(history)
    if not health.summary()["last"]:
        return ""
    alarms = "".join(f"<li>{escape(alarm.message)}</li>" for alarm in health.raised)
    verdict = health.verdict()
    return (
        f"<p>At the end: {escape(verdict)}.</p>\n"
        + (f"<ul>{alarms}</ul>\n" if alarms else "")
        + figures.health_curves(history)
    )
