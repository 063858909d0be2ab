"""The map of the features: many dots, written as SVG paths by hand, a dozen bytes a dot."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from ganfeat.report.tables import class_name

Floats = npt.NDArray[np.float64]

_SIZE = 620  # CSS pixels, the longer side
_NAME_HEIGHT = 25  # as a phone shows it
_MOST_POINTS, _MOST_NAMES = 20_000, 20
# Petroff (2021), arXiv:2107.02270: ten colours for colour-blind readers too. page.css adapts them.
_COLOURS = "#3f90da #ffa90e #bd1f01 #94a4a2 #832db6 #a96b59 #e76300 #b9ac70 #717581 #92dadd".split()


def feature_map(
    points: npt.ArrayLike,
    labels: npt.ArrayLike | None = None,
    classes: Sequence[str] | None = None,
    caption: str = "",
) -> str:
    """Draw a map of the features in two dimensions.

    Parameters
    ----------
    points : array-like of float, shape (n, 2)
        From t-SNE, UMAP, PCA ... Points that are not finite are left out; of more than 20,000 as many are
        drawn, evenly chosen.
    labels : array-like, shape (n,), optional
        They colour the points. From the eleventh class on the colours come again with another mark.
    classes : sequence of str, optional
        Names of the integer labels ``0 ... len(classes) - 1``.
    caption : str
        Plain text.

    Returns
    -------
    str
        A ``<figure>`` with a legend; up to 20 classes are also named in the map, at their median.

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
    xy: Floats = np.asarray(points, float)
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise ValueError(f"points must be (n, 2), not {xy.shape}")
    values = np.zeros(len(xy), int) if labels is None else np.asarray(labels)
    if values.shape != (len(xy),):
        raise ValueError(f"labels must be {(len(xy),)}, not {values.shape}")
    kept = np.flatnonzero(np.isfinite(xy).all(axis=1))
    if not len(kept):
        return ""
    found, groups = np.unique(values[kept], return_inverse=True)
    xy = xy[kept]
    span = np.maximum(xy.max(axis=0) - xy.min(axis=0), 1e-12)
    scale = (_SIZE - 24) / span.max()
    size = np.ceil(span * scale + 24).astype(int)
    place = 12 + (xy - xy.min(axis=0)) * scale
    place[:, 1] = size[1] - place[:, 1]

    # A random order in a few layers: no class lies on top of the others only because it comes last.
    order = np.random.default_rng(0).permutation(len(place))[:_MOST_POINTS]
    radius = float(np.clip(90 / np.sqrt(len(order)), 1.1, 4.0))
    paths = [
        _marks(k, place[layer[groups[layer] == k]], radius)
        for layer in np.array_split(order, 8)
        for k in range(len(found))
        if (groups[layer] == k).any()
    ]
    names = [] if labels is None else [class_name(value, classes) for value in found]
    legend = words = ""
    if names:
        legend = "".join(f"<li>{_swatch(k)}{escape(name)}</li>" for k, name in enumerate(names))
        legend = f'<ul class="legend" aria-label="Classes">{legend}</ul>'
    if 0 < len(names) <= _MOST_NAMES:
        middle = np.array([np.median(place[groups == k], axis=0) for k in range(len(names))])
        words = "".join(
            f'<text x="{x:.0f}" y="{y + 6:.0f}" text-anchor="middle" font-size="17">{escape(name)}</text>'
            for (x, y), name in zip(_apart(middle, names), names, strict=True)
        )
    words_below = escape(caption)
    if len(order) < len(place):
        words_below += f" {len(order):,} of {len(place):,} points are drawn."
    told = f"Map of {len(order)} images" + (f" of the classes {', '.join(names)}" if names else "")
    return (
        f'<figure class="map"><svg viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" height="{size[1]}" '
        f'role="img" aria-label="{escape(told)}">\n{chr(10).join(paths)}\n{words}</svg>\n<figcaption>{legend}'
        f"{f'<p>{words_below}</p>' if words_below else ''}</figcaption></figure>"
    )


def _apart(middle: Floats, names: Sequence[str]) -> Floats:
    """Move names down until none lies on another."""
    placed = middle.copy()
    done: list[int] = []
    for k in np.argsort(middle[:, 1], kind="stable").tolist():
        for j in done:  # from the top, so a later one can only be pushed further down
            reach = 7 * (len(names[j]) + len(names[k])) + 4
            if abs(placed[j, 0] - placed[k, 0]) < reach and abs(placed[j, 1] - placed[k, 1]) < _NAME_HEIGHT:
                placed[k, 1] = placed[j, 1] + _NAME_HEIGHT
        done.append(k)
        done.sort(key=lambda i: placed[i, 1])
    return placed


def _marks(k: int, place: Floats, radius: float) -> str:
    """One path for all points of a class: a dozen bytes a point."""
    colour = f"var(--class-{k % 10}, {_COLOURS[k % 10]})"
    shape = (k // 10) % 3
    if shape == 0:  # a line of no length with round ends is a dot
        dots = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in place)
        style = f"fill: none; stroke: {colour}; stroke-width: {2 * radius:.2f}; stroke-linecap: round"
        return f'<path d="{dots}" style="{style}"/>'
    r = radius
    outline = f"m{-r:.1f} {-r:.1f}h{2 * r:.1f}v{2 * r:.1f}h{-2 * r:.1f}z"
    if shape == 2:
        outline = f"m0 {-1.3 * r:.1f}l{1.3 * r:.1f} {2.2 * r:.1f}h{-2.6 * r:.1f}z"
    return f'<path d="{"".join(f"M{x:.1f} {y:.1f}{outline}" for x, y in place)}" style="fill: {colour}"/>'


def _swatch(k: int) -> str:
    mark = _marks(k, np.array([[6.0, 6.0]]), 4.5)
    return f'<svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">{mark}</svg>'
