"""Slant and stroke width of drawn digits as directions in latent space, measured on digits that had no part in them.

    python examples/digit_directions.py RUN [--out results.json] [--picture sheet.png]

The DCGAN paper's "turn" vector (Radford et al. 2016, figure 8) with a property that a program can measure: of 256
digits that G draws, the 20 with the least and the 20 with the most of it make a direction, the difference of their mean
latents. Added to 200 other latents, does it change the property, and does it leave the other one alone? Beside it,
random directions of the same length. RUN is a run of digits, white on black: `ganfeat demo` leaves one in demo-out/run.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

import numpy as np

from ganfeat import load
from ganfeat.device import describe_machine, set_threads
from ganfeat.latent import along_direction, direction
from ganfeat.pictures import captioned, tile, write_png

GROUP, FRESH, CONTROLS = 20, 200, 20
STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def slant(images: np.ndarray) -> np.ndarray:
    """How far a digit leans to the right: shear, in pixels a row, of its ink (as in the deskewing of MNIST)."""
    ink = images[..., 0].astype(float) / 255 + 1e-6
    rows, columns = np.mgrid[: ink.shape[1], : ink.shape[2]].astype(float)
    total = ink.sum((1, 2))
    y, x = (ink * rows).sum((1, 2)) / total, (ink * columns).sum((1, 2)) / total
    dy, dx = rows - y[:, None, None], columns - x[:, None, None]
    return -(ink * dy * dx).sum((1, 2)) / (ink * dy * dy).sum((1, 2))


def stroke_width(images: np.ndarray) -> np.ndarray:
    """Width of the strokes in pixels: ink over half the length of its outline (total variation)."""
    ink = np.pad(images[..., 0].astype(float) / 255, ((0, 0), (1, 1), (1, 1)))
    down, across = np.diff(ink, axis=1)[:, :, :-1], np.diff(ink, axis=2)[:, :-1]
    return 2 * ink.sum((1, 2)) / np.hypot(down, across).sum((1, 2))


PROPERTIES = {"slant": slant, "stroke width": stroke_width}


def interval(values: np.ndarray) -> dict[str, float]:
    """Mean and half-width of its 95 % interval (normal; hundreds of latents)."""
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return {"mean": round(float(values.mean()), 4), "ci95": round(float(half), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder")
    parser.add_argument("--out", type=Path, help="write the results here as JSON")
    parser.add_argument("--picture", type=Path, help="write a sheet of digits here, as PNG")
    options = parser.parse_args()
    set_threads()
    started = time.perf_counter()
    gan = load(options.run)
    z, fresh = gan.latents(256, 0), gan.latents(FRESH, 1)
    drawn, others = gan.picture(z), gan.picture(fresh)
    results, sheets = {}, []
    for name, measure in PROPERTIES.items():
        order = np.argsort(measure(drawn))
        found = direction(z[order[:GROUP]], z[order[-GROUP:]])
        length = np.linalg.norm(found.vector)
        changes = {
            other: [
                interval(of(gan.picture(along_direction(fresh, found.vector, [step])[:, 0])) - of(others))
                for step in STEPS
            ]
            for other, of in PROPERTIES.items()
        }
        random = np.random.default_rng(0).standard_normal((CONTROLS, len(found.vector)))
        random *= length / np.linalg.norm(random, axis=1, keepdims=True)
        control = [measure(gan.picture((fresh + r).astype(np.float32))) - measure(others) for r in random]
        results[name] = {
            "among the 256": {
                "least": interval(measure(drawn)[order[:GROUP]]),
                "most": interval(measure(drawn)[order[-GROUP:]]),
                "spread": round(float(measure(drawn).std()), 4),
            },
            "separation": found.separation,
            "length": round(float(length), 3),
            "change by step": {other: dict(zip(map(str, STEPS), c, strict=True)) for other, c in changes.items()},
            "change by a random direction": {
                "largest of 20, absolute": round(float(max(abs(c.mean()) for c in control)), 4),
                "mean, absolute": round(float(np.mean([abs(c.mean()) for c in control])), 4),
            },
        }
        rows = along_direction(fresh[:4], found.vector, np.linspace(-1, 1, 9))
        sheet = tile(gan.picture(rows.reshape(-1, rows.shape[-1])), columns=9)
        sheets.append((f"{name}: four digits, and the direction taken from them (left) and added (right)", sheet))
    content = {
        "command": shlex.join(["python", *sys.argv]),
        "network": gan.describe(),
        "machine": describe_machine(),
        "seconds": round(time.perf_counter() - started, 1),
        "settings": {"group": GROUP, "fresh latents": FRESH, "random directions": CONTROLS},
        "results": results,
    }
    print(json.dumps(content, indent=1))
    if options.out:
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.picture:
        write_png(options.picture, captioned(sheets, scale=2))


if __name__ == "__main__":
    main()
