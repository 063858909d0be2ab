"""A walk's numbers as a table, and what is to be known beside them."""

from __future__ import annotations

from typing import Any


def walk_table(result: dict[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    """What a person reads of the numbers."""
    spaces = [space for space in ("pixels", "features") if result["steps"][space] is not None]
    rows = [
        ["sharp jumps", *(str(len(result["steps"][s]["jumps"])) for s in spaces)],
        ["largest step / median", *(_number(result["steps"][s]["ratio"]) for s in spaces)],
        ["median step per unit of z", *(_number(result["steps"][s]["median"]) for s in spaces)],
    ]
    near = result["memorisation"]
    if near["pixels"] is not None:
        rows += [
            ["memorisation score", *(_number(near[s] and near[s]["score"]) for s in spaces)],
            [
                "distance to training images / theirs",
                *(_number(_relative(near[s])) for s in spaces),
            ],
        ]
        if near["pixels"]["chance"] is not None:
            words = f"nearer to --data than to --test (chance: {100 * near['pixels']['chance']:.0f} %)"
            shares = [near[s] and near[s]["nearer to data than to test"] for s in spaces]
            rows.append([words, *("-" if share is None else f"{100 * share:.0f} %" for share in shares)])
    return (f"{len(result['points'])} points, {result['kind']}", *spaces), rows


def _relative(near: dict[str, Any] | None) -> float | None:
    """Median distance of frames to training images, over that of these to each other."""
    import numpy as np

    if near is None or not near["usual distance"]:
        return None
    return float(np.median(near["distances"])) / near["usual distance"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def walk_notes(result: dict[str, Any]) -> list[str]:
    """What the numbers mean, and what is to be known beside them."""
    lines = [f"A sharp jump is a step longer than {result['sharp']:g} times the median step."]
    for stop in result["points"]:
        if "file" in stop:
            random = f", the best of as many random z {stop['random']:.3f}" if "random" in stop else ""
            lines.append(
                f"{stop['file']}: z by {stop['by']}, off by {stop['error']:.3f} (RMS, pixels 0 to 1){random}; "
                f"a random sample is off by {stop['unrelated']:.3f}"
                + ("; try --search" if stop["by"] == "encoder" and stop["error"] > 0.7 * stop["unrelated"] else "")
            )
    if result["data"] is None:
        lines.append("--data IMAGES (those that the run learned from) also tells whether frames are copies of them.")
        return lines
    lines.append(
        "Memorisation score: how often a frame is nearer to a training image than training images are to each other. "
        "1/2: as different as they are. Near 1: copies, or images of little contrast or detail; look at walk.png"
        + ("." if result["test"] else ", or give images that the run has not seen as --test.")
        + " Near 0: unlike any, which may also mean poor."
    )
    near = result["memorisation"]["pixels"]
    if near["duplicates"]:
        lines.append(f"{near['duplicates']} images of {result['data']['source']} are copies of others and count once.")
    if result["data"]["learned from"] is False:
        lines.append(f"{result['run']} has not learned from {result['data']['source']}: the score then means little.")
    if result["data"]["limit"] is not None:
        lines.append("With --limit, copies of training images that were left out are missed.")
    elif result["data"]["learned from"] is None:
        lines.append(f"What {result['run']} learned from is not known: the score means little for other images.")
    return lines
