"""Charts: the training, and the accuracy over the number of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from ganfeat.report.svg import INK, MUTED, end_labels, render, series
from ganfeat.report.tables import draws_in_words, method_name

Floats = npt.NDArray[np.float64]

_SMOOTH_ABOVE = 300  # records; below, the raw line alone
_MARKED_UP_TO = 60  # records; above, no dots on the line

_MEASURES: list[tuple[str, dict[str, str], str, dict[str, Any]]] = [
    (
        "Reconstruction error",
        {
            "reconstruction/real": "real",
            "reconstruction/real_shuffled": "real, shuffled",
            "reconstruction/generated": "G(z)",
            "reconstruction/generated_shuffled": "G(z), shuffled",
        },
        "Distance of an image x, real or drawn by G, to G(E(x)), with pixels from 0 to 1. Dashed: to the "
        "reconstruction of another image, which it must be well below.",
        {"zero": True, "baselines": ("real, shuffled", "G(z), shuffled")},
    ),
    (
        "Cycle error",
        {"cycle/z": "z", "cycle/z_shuffled": "shuffled"},
        "Root mean square of z - E(G(z)). Dashed: beside the z of another image.",
        {"zero": True, "baselines": ("shuffled",)},
    ),
    (
        "1-NN accuracy, %",
        {"knn/output": "E(x)", "knn/trunk": "layer before"},
        "How often the training image nearest to a held-out one, by its features, has the same label. Labels are "
        "used for this alone.",
        {"scale": 100.0},
    ),
    (
        "Classes right, %",
        {"accuracy/real": "real", "accuracy/generated": "generated"},
        "How often the discriminator names the class of a training image, and that of which the generator was to draw "
        "one.",
        {"scale": 100.0},
    ),
    (
        "Entropy, nats",
        {"entropy/real": "real", "entropy/generated": "generated", "entropy/marginal": "of their mean, real"},
        "How uncertain the discriminator is of an image's category: low for real images, high for generated ones; high "
        "for the mean over real images if it uses all categories.",
        {"zero": True},
    ),
]
"""Title, keys and their names, caption, and how to draw it, of the charts of what was measured now and then."""

_HEALTH: list[tuple[str, dict[str, str], str, dict[str, Any]]] = [
    (
        "Coverage, %",
        {
            "coverage/pixels": "pixels",
            "coverage/pixels_real": "real, pixels",
            "coverage/features": "D's features",
            "coverage/features_real": "real, features",
        },
        "Of groups of similar real images, the share that the samples reach. Dashed: that other real images reach, the "
        "best that samples can do. D's features tell samples from images, so by them it may be low without a collapse.",
        {"zero": True, "scale": 100.0, "baselines": ("real, pixels", "real, features")},
    ),
    (
        "Diversity, %",
        {"diversity/pixels": "pixels", "diversity/features": "D's features"},
        "How far samples are from each other, on average; real images are at 100.",
        {"zero": True, "scale": 100.0},
    ),
    (
        "Spread of log alpha",
        {"spread/real": "real", "spread/generated": "generated"},
        "Standard deviation of the discriminator's logit over the images of a mini-batch. For real ones, theory wants "
        "it small; no bound of it told collapse on all data, so it raises no alarm.",
        {"zero": True},
    ),
    (
        "Filters in one mode, %",
        {"filters/generator": "G", "filters/discriminator": "D"},
        "Of the layer where it is largest, the share of the filters that follow one and the same mode. It raises no "
        "alarm.",
        {"zero": True, "scale": 100.0},
    ),
]
"""The same of what was measured of the game's health."""


def health_curves(history: Sequence[Mapping[str, Any]]) -> str:
    """Draw what :class:`ganfeat.estimators.checkup.Checkup` measured, and the spread of D's logits, over the epochs.

    Parameters
    ----------
    history : sequence of mapping
        As for :func:`training_curves`.

    Returns
    -------
    str
        Up to four ``<figure>`` elements.
    """
    charts = (_history_chart(history, keys, title, caption, **how) for title, keys, caption, how in _HEALTH)
    drawn = [chart for chart in charts if chart]
    return f'<div class="pair">\n{chr(10).join(drawn)}\n</div>' if drawn else ""


def training_curves(history: Sequence[Mapping[str, Any]]) -> str:
    """Draw the losses, the discriminator's logits and what was measured of an encoder over the epochs.

    Parameters
    ----------
    history : sequence of mapping
        Records with a float ``"epoch"`` and any of ``"loss/<player>"``, ``"logit/real"``, ``"logit/generated"`` and
        what :class:`ganfeat.estimators.monitor.Monitor` measures: ``"reconstruction/..."``, ``"cycle/..."``,
        ``"knn/..."``; ``"accuracy/..."`` of ACGAN and ``"entropy/..."`` of CatGAN. A record may lack a key; values that
        are not finite are left out. Above 300 records a running mean is drawn over the faint raw line.

    Returns
    -------
    str
        Up to six ``<figure>`` elements; a chart without data is left out.
    """
    losses = _losses(history)
    logits = {"logit/real": "real", "logit/generated": "generated"}
    players = "The loss of each player. In a game it need not fall." if len(losses) > 1 else "The loss."
    charts = [
        _history_chart(history, losses, "Loss", players),
        _history_chart(
            history, logits, "Logit",
            "What the discriminator says of real and of generated images: apart, it tells them from each "
            "other; together, it cannot.", zero=True,
        ),
        *(_history_chart(history, keys, title, caption, **how) for title, keys, caption, how in _MEASURES),
    ]  # fmt: skip
    drawn = [chart for chart in charts if chart]
    return f'<div class="pair">\n{chr(10).join(drawn)}\n</div>' if drawn else ""


def accuracy_curve(results: Mapping[str, Any]) -> str:
    """Draw accuracy over the number of labels per class.

    Parameters
    ----------
    results : mapping
        As for :func:`~ganfeat.report.accuracy_table`.

    Returns
    -------
    str
        A ``<figure>`` with one drawing for wide and one for narrow screens.
    """
    lines = {
        method: [(count, row[str(count)]) for count in results["labels_per_class"] if str(count) in row]
        for method, row in results["accuracy"].items()
    }
    lines = {method: points for method, points in lines.items() if points}
    if not lines:
        return ""
    last = ", ".join(
        f"{method_name(method)} {100 * points[-1][1]['mean']:.1f}% with {points[-1][0]}"
        for method, points in lines.items()
    )
    label = f"Line chart of accuracy over labels per class; at the right end {last}. The table has all values."

    def draw(figure: Any) -> None:
        _draw_accuracy(figure, lines, results["labels_per_class"])

    draws = draws_in_words(results)
    over = f" over {draws} of the labelled images" if draws else ""
    caption = f"Accuracy on held-out images. Bars and bands: the 95% interval of the mean{over}."
    return (
        f"<figure>{render(960, 420, label, draw, css='wide')}\n{render(360, 340, label, draw, css='narrow')}"
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _draw_accuracy(figure: Any, lines: Mapping[str, list[tuple[int, Any]]], counts: Sequence[int]) -> None:
    width, height = figure.get_figwidth() * 72, figure.get_figheight() * 72
    names = [method_name(method) for method in lines]
    right = width - 12 - 7.4 * max(map(len, names))
    axes = figure.add_axes((38 / width, 46 / height, (right - 56) / width, (height - 84) / height))
    axes.set_xscale("log")
    axes.set_autoscale_on(False)
    low, high, ends, colours = 100.0, 0.0, [], list[str]()
    for k, (method, points) in enumerate(lines.items()):
        x = np.array([count for count, _ in points], float)
        mean = np.array([100 * score["mean"] for _, score in points])
        half = np.array([100 * (score.get("ci95") or 0.0) for _, score in points])
        own = method == "ganfeat"
        colours.append(series(0 if own else k + ("ganfeat" not in list(lines)[:k])))
        style = {"color": colours[k], "zorder": 4 if own else 3}
        axes.fill_between(x, mean - half, mean + half, alpha=0.13, linewidth=0, color=colours[k], zorder=2)
        axes.vlines(x, mean - half, mean + half, linewidth=1.4, **style)
        marks = {"marker": "os^D"[k % 4], "markersize": 6, "markeredgewidth": 0}
        axes.plot(x, mean, linewidth=2.6 if own else 1.6, **marks, **style)
        low, high = min(low, float((mean - half).min())), max(high, float((mean + half).max()))
        ends.append((float(x[-1]), float(mean[-1])))
    pad = max(1.0, 0.06 * (high - low))
    axes.set_ylim(max(0.0, low - pad), min(101.0, high + pad))
    axes.set_xlim(min(counts) / 1.12, max(counts) * 1.12)
    axes.set_xticks(list(counts), _room_for(counts, axes))
    axes.minorticks_off()
    axes.set_xlabel("labels per class", labelpad=6)
    _title(axes, "Accuracy, %")
    end_labels(axes, ends, names, colours, right=right, bold=method_name("ganfeat"))


def _history_chart(
    history: Sequence[Mapping[str, Any]],
    keys: Mapping[str, str],
    title: str,
    caption: str,
    *,
    zero: bool = False,
    scale: float = 1.0,
    baselines: Sequence[str] = (),
) -> str:
    found = {name: _line(history, key) for key, name in keys.items()}
    lines = {name: (x, scale * y) for name, (x, y) in found.items() if len(x)}
    if not lines:
        return ""
    finite = np.concatenate([y for _, y in lines.values()])
    low, high = (float(v) for v in np.quantile(finite, (0.005, 0.995)))
    low, high = (min(low, 0.0), max(high, 0.0)) if zero else (low, high)
    room = 0.12 * (high - low) or 0.5
    outside = int(((finite < low - room) | (finite > high + room)).sum())

    def draw(figure: Any) -> None:
        width, height = 460, 300
        right = width - 8 - 7.2 * max(map(len, lines))
        axes = figure.add_axes((40 / width, 46 / height, (right - 52) / width, (height - 84) / height))
        ends = []
        if zero:
            axes.axhline(0, color=MUTED, linewidth=1)
        colours = list[str]()
        for name, (x, y) in lines.items():
            baseline = name in baselines
            colours.append(colours[-1] if baseline and colours else series(len(set(colours))))
            smooth = len(x) > _SMOOTH_ABOVE
            style: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.3} if smooth else {"linewidth": 1.6}
            if baseline:
                style["linestyle"] = (0, (4, 3))
            elif len(x) <= _MARKED_UP_TO:
                style |= {"marker": "o", "markersize": 3.5, "markeredgewidth": 0}
            axes.plot(*_thinned(x, y), color=colours[-1], **style)
            if smooth:
                y = _running_mean(y, max(5, len(y) // 60))
                axes.plot(*_thinned(x, y), color=colours[-1], linewidth=1.8)
            ends.append((float(x[-1]), float(np.clip(y[-1], low - room, high + room))))
        axes.set_ylim(low - room, high + room)
        axes.margins(x=0.01)
        axes.autoscale(axis="x")
        axes.locator_params(axis="both", nbins=6)
        axes.set_xlabel("epoch", labelpad=6)
        _title(axes, title)
        end_labels(axes, ends, list(lines), colours, right=right)

    if any(len(x) > _SMOOTH_ABOVE for x, _ in lines.values()):
        caption += " Faint: every record; strong: their running mean."
    if outside:
        ends = f"from {finite.min():.3g} to {finite.max():.3g}"
        caption += f" {outside} of {len(finite)} values lie outside the chart; all go {ends}."
    last = ", ".join(f"{name} {y[-1]:.3g}" for name, (_, y) in lines.items())
    label = f"Line chart of {title.lower()} over epochs. At the end: {last}."
    return f"<figure>{render(460, 300, label, draw)}<figcaption>{escape(caption)}</figcaption></figure>"


def _title(axes: Any, text: str) -> None:
    top = axes.get_window_extent().y1
    axes.annotate(text, (0, top + 16), xycoords="figure pixels", color=INK, fontweight=700)


def _room_for(counts: Sequence[int], axes: Any) -> list[str]:
    """Label the ticks that have room, from the right."""
    pixels = axes.transData.transform([(count, 1.0) for count in counts])[:, 0]
    words, free = [], np.inf
    for count, pixel in sorted(zip(counts, pixels, strict=True), reverse=True):
        half = 4.3 * len(str(count))
        words.append(str(count) if pixel + half < free else "")
        free = pixel - half if words[-1] else free
    return [words[sorted(counts, reverse=True).index(count)] for count in counts]


def _losses(history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    keys = sorted({key for row in history for key in row if key.startswith("loss/")})
    return {key: key.removeprefix("loss/") for key in keys}


def _line(history: Sequence[Mapping[str, Any]], key: str) -> tuple[Floats, Floats]:
    pairs = [(row.get("epoch"), row.get(key)) for row in history]
    points = np.array(pairs, float).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    return points[:, 0], points[:, 1]


def _running_mean(values: Floats, window: int) -> Floats:
    """Mean over a centred window, cut off at both ends."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    centre = np.arange(len(values))
    start, stop = np.maximum(centre - window // 2, 0), np.minimum(centre + window // 2 + 1, len(values))
    return np.asarray((total[stop] - total[start]) / (stop - start))


def _thinned(x: Floats, y: Floats, bins: int = 350) -> tuple[Floats, Floats]:
    """Keep the lowest and the highest value of each bin, so that no spike is lost."""
    if len(x) <= 2 * bins:
        return x, y
    parts = np.array_split(np.arange(len(x)), bins)
    kept = np.unique([(part[np.argmin(y[part])], part[np.argmax(y[part])]) for part in parts])
    return x[kept], y[kept]
