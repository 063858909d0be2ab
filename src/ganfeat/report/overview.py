"""One picture of a run: what the features are worth, what the generator draws, and a map of the features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganfeat.pictures import tile
from ganfeat.report.canvas import new_figure, save_figure
from ganfeat.report.tables import method_name

COLOURS = {"raw_pixels": "#c44e00", "pca": "#1a7f4b", "random_init": "#9c3f83", "ganfeat": "#0b63b5"}
SIDE = 8


def draw_overview(
    path: Path,
    results: Mapping[str, Any],
    samples: npt.NDArray[np.uint8],
    points: npt.ArrayLike,
    labels: npt.ArrayLike | None,
) -> Path:
    """Draw accuracy against labels (where there are any), samples, and the map, side by side, as PNG.

    Parameters
    ----------
    path : Path
        Written under a temporary name and renamed.
    results : mapping
        As for :func:`~ganfeat.report.accuracy_curve`; without ``accuracy`` its panel is left out.
    samples : ndarray of uint8 ``(n, height, width, channels)``
        At most 64 are shown.
    points : ndarray ``(n, 2)``
    labels : ndarray ``(n,)`` or None
        They only colour the map.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    accuracy = results.get("accuracy") or {}
    figure = new_figure(13.5 if accuracy else 9, 4.4, "Drawing the overview")
    panels = list(figure.subplots(1, 3 if accuracy else 2))
    if accuracy:
        _draw_accuracy(panels.pop(0), accuracy)
    sheet = tile(samples[: SIDE * SIDE], SIDE)
    panels[0].imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    panels[0].set_title("drawn by the generator", fontsize=11)
    colours: dict[str, Any] = {}
    if labels is not None:
        colours = {"c": np.unique(labels, return_inverse=True)[1] % 10, "cmap": "tab10"}
    panels[1].scatter(*np.asarray(points).T, s=6, **colours)
    panels[1].set_title("held-out images in feature space (t-SNE)", fontsize=11)
    for panel in panels:
        panel.set_axis_off()
    return save_figure(figure, path)


def _draw_accuracy(panel: Any, accuracy: Mapping[str, Any]) -> None:
    for name, curve in accuracy.items():
        sizes = [int(k) for k in curve]
        means = [100 * curve[str(k)]["mean"] for k in sizes]
        widths = [100 * curve[str(k)]["ci95"] for k in sizes]
        ours = name == "ganfeat"
        panel.errorbar(
            sizes, means, widths, color=COLOURS[name], label=method_name(name), linewidth=2.4 if ours else 1.3,
            marker="o" if ours else ".", capsize=2, zorder=3 if ours else 2,
        )  # fmt: skip
    panel.set_xscale("log")
    panel.set_xticks(sizes, [str(k) for k in sizes])
    panel.minorticks_off()
    panel.set_xlabel("labels per class")
    panel.set_title("accuracy on held-out images, % (95 % interval)", fontsize=11)
    panel.legend(frameon=False, loc="lower right")
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
