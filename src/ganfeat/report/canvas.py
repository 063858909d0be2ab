"""matplotlib's figures: made without a screen, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganfeat.errors import MissingExtraError
from ganfeat.files import replacing


def new_figure(width: float, height: float, what: str) -> Any:
    """An empty figure of so many inches.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed; ``what`` says what needs it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "plot", what) from error
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure as PNG, under a temporary name first."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
    return path
