"""Matplotlib to inline SVG that belongs to its page.

Colours are names: a chart draws with the sentinels :data:`INK`, :data:`MUTED`, :data:`RULE` and
:func:`series`, which become the CSS variables of ``page.css``, so one drawing serves light and dark. Text
stays text in the page's own font. What the drawing does not refer to is dropped, and the ids that are left
carry a digest of the drawing, so several may stand in one page.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from ganfeat.errors import MissingExtraError

INK, MUTED, RULE = "#010200", "#010201", "#010202"
_SERIES = 6
_VARIABLES = {
    INK: "var(--ink, currentColor)",
    MUTED: "var(--muted, currentColor)",
    RULE: "var(--rule, #8886)",
}
_VARIABLES |= {f"#0103{k:02x}": f"var(--series-{k}, currentColor)" for k in range(_SERIES)}

_RC: Any = {
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": MUTED,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.linewidth": 1.0,
    "font.size": 13.0,
    "text.parse_math": False,
    "grid.color": RULE,
    "grid.linewidth": 1.0,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "ganfeat",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.major.size": 4.0,
    "xtick.minor.size": 0.0,
    "ytick.color": MUTED,
    "ytick.major.size": 0.0,
}


def series(k: int) -> str:
    """Return the colour of the k-th line."""
    return f"#0103{k % _SERIES:02x}"


def render(width: int, height: int, label: str, draw: Callable[[Any], None], *, css: str = "") -> str:
    """Draw a chart of ``width`` x ``height`` CSS pixels.

    Parameters
    ----------
    width, height : int
        Size in CSS pixels; a smaller screen shrinks it.
    label : str
        Text for a reader who does not see it.
    draw : callable
        Gets a ``matplotlib.figure.Figure`` in which one point is one CSS pixel.
    css : str
        Class of the element.

    Returns
    -------
    str
        An ``<svg>`` element.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "plot", "Drawing the report") from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a person's matplotlibrc must not change the page
        matplotlib.rcParams.update(_RC)
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue(), width, height, label, css)


def _inline(document: str, width: int, height: int, label: str, css: str) -> str:
    body = document[document.index(">", document.index("<svg")) + 1 : document.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href=", "href=")
    # Weight and size stay, the family comes from the page; matplotlib writes "font: 700 13px 'DejaVu', ..."
    # or one property each, by its version.
    body = re.sub(r"font: (?:(\d+) )?([\d.]+)px [^;\"]*", _font, body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", body)
    body = re.sub(r' (?:d|x|y|transform)="[^"]*"', _rounded, body)
    body = re.sub(r"#010[23][0-9a-f]{2}", lambda match: _VARIABLES[match.group()], body)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    prefix = "f" + hashlib.sha256(f"{label}{width}{body}".encode()).hexdigest()[:10]
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", body)
    body = re.sub(r"\n\s*", "\n", body).strip()
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)  # would reach the whole page
    kind = f' class="{css}"' if css else ""
    return (
        f'<svg{kind} viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(label)}" stroke-linejoin="round">\n{body}\n</svg>'
    )


def _rounded(match: re.Match[str]) -> str:
    """Hundredths of a pixel are enough."""
    tidy = re.sub(r"\s*\n\s*", " ", match.group()).replace(' "', '"')
    return re.sub(r"(\d+\.\d\d)\d+", r"\1", tidy)


def _font(match: re.Match[str]) -> str:
    weight = f"font-weight: {match[1]}; " if match[1] else ""
    return f"{weight}font-size: {match[2]}px"


def end_labels(
    axes: Any,
    ends: Sequence[tuple[float, float]],
    names: Sequence[str],
    colours: Sequence[str],
    *,
    right: float,
    bold: str = "",
) -> None:
    """Write the names of lines at their right ends, pushed apart where they would overlap.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        With its limits set and its place in the figure final.
    ends : sequence of (float, float)
        Last point of each line, in data coordinates.
    names, colours : sequence of str
        One for each line.
    right : float
        Where the labels begin, in CSS pixels from the left edge of the figure.
    bold : str
        The name to stress.
    """
    pixels = axes.transData.transform(np.asarray(ends, float))
    for i, y in enumerate(spread(pixels[:, 1], 17.0)):
        if abs(y - pixels[i, 1]) > 3:
            start = (pixels[i, 0] + 5, pixels[i, 1])
            line = {"arrowstyle": "-", "color": colours[i], "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}
            axes.annotate(
                "", start, (right - 3, y), xycoords="figure pixels", textcoords="figure pixels",
                arrowprops=line,
            )  # fmt: skip
        axes.annotate(
            names[i], (right, y), xycoords="figure pixels", color=colours[i], va="center_baseline",
            fontweight=700 if names[i] == bold else 400, annotation_clip=False,
        )  # fmt: skip


def spread(positions: npt.ArrayLike, gap: float) -> npt.NDArray[np.float64]:
    """Move positions as little as possible (least squares) so that neighbours are ``gap`` apart.

    With ``gap`` taken out along the order this is isotonic regression, solved by pooling.

    Examples
    --------
    >>> spread([0.0, 10.0, 11.0], 5.0)
    array([ 0.,  8., 13.])
    """
    values = np.asarray(positions, float)
    order = np.argsort(values, kind="stable")
    steps = gap * np.arange(len(values))
    pools: list[tuple[float, int]] = []  # mean and size
    for value in values[order] - steps:
        mean, size = float(value), 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        pools.append((mean, size))
    result = np.empty_like(values)
    result[order] = np.repeat([mean for mean, _ in pools], [size for _, size in pools]) + steps
    return result
