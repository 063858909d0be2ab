"""Does a generator forget what it is told to? A case with a known answer: digits, half of them with a red patch.

    python examples/forget_patch.py --out docs/results/forget-patch.json --picture docs/images/forget-patch.png

A small DCGAN learns 5,000 MNIST digits; on half of them a red square of 6 x 6 pixels is pasted into one of the four
corners. Boxes around the patches of 40 samples come from their colour, the maps from the boxes (the method of
`ganfeat forget`). What dropping maps does is judged on other samples, and not by any probe of that method: how many red
pixels are gone, whether a classifier trained on real digits still reads the same digit, and how much the pixels outside
the patches changed; beside as many random maps. Everything but the training is repeated with five seeds: of the samples
with boxes, of those judged, and of the random maps. Takes about three minutes on one CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.linear_model import LogisticRegression

from ganfeat import DCGAN, load_images
from ganfeat.device import describe_machine, set_threads
from ganfeat.inspection.boxes import Box
from ganfeat.inspection.effect import effect
from ganfeat.inspection.forgetting import draw_without, fit_forgetting, random_maps
from ganfeat.inspection.positions import inside
from ganfeat.inspection.presence import fit_presence, network_positions
from ganfeat.pictures import captioned, tile, write_png

SIDE, PATCH, RED = 28, 6, (230, 40, 40)
CORNERS = [(1, 1), (1, 21), (21, 1), (21, 21)]
REDDER = 60
"""A pixel is red where its red is so much above its green and blue."""
LEAST_PIXELS = 12
BOXED = 40
LAYERS = (-2, -3)
NUMBERS = (1, 2, 4, 8)
HEAVY = 1e-4
"""A penalty under which every map is weighed nearly by itself; scikit-learn's default is 1."""
SEEDS = 5
KEPT = ("accuracy", "chance", "balanced_accuracy", "auc", "boxes")
DRAWS = 5
SETTINGS = {"width": 24, "n_components": 50, "max_iter": 25, "batch_size": 64, "learning_rate": 5e-4}


def with_patches(digits: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Grey digits in colour, a red patch in a corner of half of them."""
    images = np.repeat(digits, 3, axis=3)
    generator = np.random.default_rng(seed)
    for i in generator.permutation(len(images))[: len(images) // 2]:
        top, left = CORNERS[generator.integers(4)]
        images[i, top : top + PATCH, left : left + PATCH] = RED
    return images


def red(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels are red, ``(n, h, w)``."""
    numbers = images.astype(int)
    return numbers[..., 0] - numbers[..., 1:].max(axis=3) > REDDER


def boxes_by_colour(images: NDArray[np.uint8]) -> list[list[Box]]:
    """A box around every red patch of each image."""
    found = []
    for i, mask in enumerate(red(images)):
        joined, _ = ndimage.label(ndimage.binary_closing(mask) | mask)
        boxes = []
        for rows, columns in ndimage.find_objects(joined):
            if mask[rows, columns].sum() >= LEAST_PIXELS:
                size = (columns.stop - columns.start, rows.stop - rows.start)
                boxes.append(Box(f"s0.{i}", columns.start, rows.start, *size))
        found.append(boxes)
    return found


def having(images: NDArray[np.uint8], z: NDArray[np.float32], most: int) -> tuple[NDArray[np.float32], list[list[Box]]]:
    """Latents and boxes of the first so many samples with a patch."""
    boxes = boxes_by_colour(images)
    kept = [i for i, of_image in enumerate(boxes) if of_image][:most]
    return z[kept], [boxes[i] for i in kept]


def over(values: list[float]) -> dict[str, Any]:
    """Mean and spread."""
    return {"mean": round(float(np.mean(values)), 4), "std": round(float(np.std(values, ddof=1)), 4), "n": len(values)}


class Judge:
    """Compares pictures without some maps with the whole ones, by colour and by a classifier of real digits."""

    def __init__(self, whole: NDArray[np.uint8], boxes: list[list[Box]], classifier: Any) -> None:
        self.whole, self.classifier = whole, classifier
        self.outside = ~inside(boxes, (SIDE, SIDE), (SIDE, SIDE))
        self.red, self.digits = red(whole).sum(), self._read(whole)

    def _read(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        return self.classifier.predict(images[..., 1].reshape(len(images), -1) / 255)  # green: the patch is dark in it

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, float]:
        """Share of the red that is gone, of the digits that are read as before, and the change outside the patches."""
        square = np.square((images.astype(float) - self.whole) / 255).mean(axis=3)
        return {
            "patch gone": float(1 - red(images).sum() / self.red),
            "digit kept": float((self._read(images) == self.digits).mean()),
            "change outside": float(np.sqrt(square[self.outside].mean())),
        }


def of_layer(gan: DCGAN, layer: int, classifier: Any, describe: Any) -> dict[str, Any]:
    """All seeds of one layer."""
    decoder = gan.decoder()
    scores, rows, place = [], {}, None
    for seed in range(SEEDS):
        z = gan.latents(256, seed)
        z, boxes = having(gan.picture(z), z, BOXED)
        found = fit_forgetting(decoder, z, boxes, (SIDE, SIDE), layer=layer, seed=seed)
        place = found.layer
        scores.append({**found.held_out, "boxes": sum(map(len, boxes))})
        fresh = gan.latents(256, 1000 + seed)
        fresh, their_boxes = having(gan.picture(fresh), fresh, 256)
        judge = Judge(draw_without(decoder, fresh, place), their_boxes, classifier)
        probe = fit_presence(draw_without(decoder, z, place), boxes, describe, seed=seed)
        heavy = fit_forgetting(decoder, z, boxes, (SIDE, SIDE), layer=layer, C=HEAVY, seed=seed)
        cases = [(str(n), found, n) for n in NUMBERS]
        cases += [("all", found, len(found.order)), (f"all, C={HEAVY:g}", heavy, len(heavy.order))]
        for name, of, count in cases:
            row = rows.setdefault(name, {"maps": [], "dropped": [], "random": [], "probe": [], "judged": []})
            row["maps"].append(count)
            row["judged"].append(len(fresh))
            row["dropped"].append(judge(draw_without(decoder, fresh, place, of.order[:count])))
            for maps in random_maps(place, count, DRAWS, seed):
                row["random"].append(judge(draw_without(decoder, fresh, place, maps)))
            (seen,) = effect(decoder, z, boxes, of, probe, [count], draws=1, seed=seed)
            row["probe"].append(seen["dropped"]["gone"]["mean"])
    return {
        "maps": place.maps,
        "grid": list(place.grid),
        "held out": {
            k: over([s[k] for s in scores]) for k in ("accuracy", "chance", "balanced_accuracy", "auc", "boxes")
        },
        "dropped": {
            name: {
                "maps": over(row["maps"]),
                "found": {k: over([each[k] for each in row["dropped"]]) for k in row["dropped"][0]},
                "random": {k: over([each[k] for each in row["random"]]) for k in row["random"][0]},
                "gone by the probe": over(row["probe"]),
                "samples judged": over(row["judged"]),
            }
            for name, row in rows.items()
        },
    }


def picture(gan: DCGAN, count: int) -> NDArray[np.uint8]:
    """Sixteen samples with a patch: whole, without the maps, without random ones."""
    z = gan.latents(256, 0)
    z, boxes = having(gan.picture(z), z, BOXED)
    found = fit_forgetting(gan.decoder(), z, boxes, (SIDE, SIDE))
    fresh = gan.latents(256, 1000)
    fresh, _ = having(gan.picture(fresh), fresh, 16)
    control = next(random_maps(found.layer, count, 1, 0))
    parts = [
        ("Samples as they are", found.order[:0]),
        (f"Without {count} of {found.layer.maps} maps, found from boxes around patches", found.order[:count]),
        (f"Without {count} random maps", control),
    ]
    return captioned(
        [(words, tile(draw_without(gan.decoder(), fresh, found.layer, maps), 16)) for words, maps in parts], 2
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="keep the trained network in this folder, or take it from there")
    parser.add_argument("--out", type=Path, help="write the results here as JSON")
    parser.add_argument("--picture", type=Path, help="write a sheet here as PNG")
    options = parser.parse_args()
    set_threads()
    digits = load_images("mnist5k")
    with tempfile.TemporaryDirectory() as folder:
        began, cpu = time.perf_counter(), time.process_time()
        gan = DCGAN(**SETTINGS, device="cpu", precision="fp32", random_state=0)
        gan.fit(with_patches(digits.images, 0), run=options.run or Path(folder) / "run")
        seconds = {"training": time.perf_counter() - began, "training, CPU": time.process_time() - cpu}
    began, cpu = time.perf_counter(), time.process_time()
    classifier = LogisticRegression(C=0.05, max_iter=500)
    classifier.fit(digits.images.reshape(len(digits), -1) / 255, digits.labels)
    described = network_positions(gan.extractor("discriminator", taps="all", pool=None))
    assert described is not None
    layers = {str(layer): of_layer(gan, layer, classifier, described[0]) for layer in LAYERS}
    seconds |= {"forgetting": time.perf_counter() - began, "forgetting, CPU": time.process_time() - cpu}
    for layer, result in layers.items():
        for name, row in result["dropped"].items():
            cells = [
                f"{key} {row['found'][key]['mean']:.3f} ({row['random'][key]['mean']:.3f})" for key in row["found"]
            ]
            sys.stdout.write(f"layer {layer}, {name} maps (random): {', '.join(cells)}\n")
    content = {
        "command": "python examples/forget_patch.py --out docs/results/forget-patch.json "
        "--picture docs/images/forget-patch.png",
        "machine": describe_machine(),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "images": "mnist5k, a red square of 6 x 6 pixels in a corner of half of them",
        "network": {"method": "dcgan", **SETTINGS, "seed": 0},
        "boxes": f"by colour, on {BOXED} samples",
        "probe": f"D's {described[1]}",
        "spread": f"over {SEEDS} seeds of samples; of random maps, over {SEEDS} x {DRAWS} draws",
        "results": layers,
    }
    if options.out:
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.picture:
        write_png(options.picture, picture(gan, 4))


if __name__ == "__main__":
    main()
