"""What dropping maps of a generator did, in words: a table, and what a reader of it must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganfeat.inspection.forgetting import Forgetting
from ganfeat.inspection.presence import WEAK

HEADINGS = ("maps", "presence", "gone", "random: presence", "gone", "changed", "random: changed")


def effect_rows(curve: Sequence[Mapping[str, Any]], number: int) -> list[list[str]]:
    """Rows of words under :data:`HEADINGS`, of what :func:`ganfeat.inspection.effect.effect` gives.

    Parameters
    ----------
    curve : sequence of mapping
    number : int
        Of maps that the picture shows dropped.
    """
    rows = []
    for row in curve:
        dropped, random = row["dropped"], row["random"]
        rows.append(
            [
                f"{row['maps']}{' (shown)' if row['maps'] == number else ''}",
                _with_interval(dropped["presence"]),
                _gone(dropped["gone"]),
                _with_interval(random["presence"]),
                _gone(random["gone"]),
                _mean(dropped["change_outside"]),
                _mean(random["change_outside"]),
            ]
        )
    return rows


def _with_interval(value: Mapping[str, Any]) -> str:
    if value["mean"] is None:
        return "-"
    return f"{value['mean']:.2f}" + (f" ± {value['ci95']:.2f}" if value["ci95"] is not None else "")


def _mean(value: Mapping[str, Any]) -> str:
    return "-" if value["mean"] is None else f"{value['mean']:.3f}"


def _gone(value: Mapping[str, Any]) -> str:
    if value["mean"] is None:
        return "-"
    mean, low, high = (round(100 * value[key]) for key in ("mean", "low", "high"))
    return f"{mean} % ({low} to {high})"


def effect_notes(found: Forgetting, probe: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """What a reader of the numbers must know, and whether the control does as much.

    Parameters
    ----------
    found : Forgetting
    probe : mapping
        Held-out scores of the probe.
    row : mapping
        Of the curve, for the number of maps that is shown.
    """
    number, beyond = row["maps"], row["beyond_random"]
    notes = [
        "Maps: how many are dropped, those with the largest weights first. Measured on images that had no say in "
        "which: the images with boxes are dealt into folds, and each is drawn without the maps that the boxes of the "
        f"other folds choose{_overlap(row)}, and judged by a probe that learned from these boxes. Presence: mean "
        "probability, by the probe, of the positions in the boxes. Gone: 100 % where it fell to what the probe says "
        "outside the boxes of whole images. Changed: root mean square change of the pixels outside the boxes, in "
        "[0, 1]. Random: as many maps, drawn from all of the layer. Intervals: 95 %, over images, each fold's maps "
        "being as they are."
    ]
    if (fewest := min(row["of_folds"])) < number:
        notes.append(
            f"By the other folds' boxes, as few as {fewest} maps have a positive weight, and no more are dropped there."
        )
    if beyond["ci95"] is not None:
        size = f"{abs(beyond['mean']):.2f} ± {beyond['ci95']:.2f}"
        if beyond["mean"] > beyond["ci95"]:
            notes.append(
                f"Without {number} maps so chosen, presence is lower by {size} than without as many random ones."
            )
        elif beyond["mean"] < -beyond["ci95"]:
            notes.append(f"Without as many random maps, presence is even lower, by {size}: no sign of forgetting.")
        else:
            notes.append(
                f"Presence without {number} maps so chosen cannot be told from that without as many random ones (lower "
                f"by {beyond['mean']:.2f} ± {beyond['ci95']:.2f}): no sign of forgetting."
            )
    if found.held_out["auc"] < WEAK:
        notes.append(
            f"The maps of this layer hardly tell where the boxes are (AUC {found.held_out['auc']:.2f} on images held "
            "out): try another --layer, or draw more boxes."
        )
    if found.lowest < 0:
        notes.append(
            f"The maps of this layer go down to {found.lowest:.2f}: 0 is not their lowest value, so a dropped map is "
            "not simply off."
        )
    if probe["auc"] < WEAK:
        notes.append(
            f"The probe can hardly tell where the object is (AUC {probe['auc']:.2f} on images held out): go by the "
            "pictures, not by presence."
        )
    if number > found.layer.maps / 2:
        notes.append(
            f"{number} of {found.layer.maps} maps are more than half of the layer: what is left of the rest of the "
            "image matters as much as what went. Try fewer with --maps."
        )
    return notes


def _overlap(row: Mapping[str, Any]) -> str:
    if row["shared"] is None:
        return ""
    return f" ({100 * row['shared']:.0f} % of them are among those of all boxes, which the picture goes without)"
