"""Precision and recall of finding duplicates that were planted among 100,000 real images, and the time it takes.

    python benchmarks/duplicates.py tune --out docs/results/duplicates.json
    python benchmarks/duplicates.py measure --out docs/results/duplicates.json --pictures wrong/

Three quarters of the images are CIFAR-10's training images, every second of LFW's faces and tiles cut from VOC's
photographs, brought to 32 x 32, without plain tiles and without images that are equal pixel for pixel; one quarter are
changed copies of random ones of them, 16 kinds in turns. Changes are made to the 32 x 32 images: harder than to
photographs that are shrunk afterwards. Digits are the controls, every second of mnist5k and MNIST's test images: as no
two are the same picture, all that is dropped is wrong; and once more with copies. ``tune`` uses CIFAR-10's test images,
the other faces and the other digits of mnist5k, with copies, and nothing of what ``measure`` uses. Real images have
natural near-duplicates that count as wrong here: --pictures writes a sample of what was dropped wrongly beside what was
kept, to be looked at; ``judge METHOD RIGHT OF`` adds what was seen to the results. The data folder is $GANFEAT_DATA or
../shared/data.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ganfeat.data import load_images
from ganfeat.data.resize import resize_array
from ganfeat.device import describe_machine
from ganfeat.pictures import captioned, in_pairs, tile, write_png
from ganfeat.prepare.duplicates import METHODS, AutoencoderSettings, Duplicates, find_duplicates, pairs
from ganfeat.prepare.duplicates.autoencoder import spread, train
from ganfeat.prepare.duplicates.grouping import groups_of_codes, same_pixels
from ganfeat.prepare.duplicates.kept import Work
from ganfeat.prepare.duplicates.pairs import groups_by_features
from ganfeat.prepare.duplicates.planted import Planted, agreement, plant

DATA = Path(os.environ.get("GANFEAT_DATA", Path(__file__).parents[1] / "../shared/data"))
SIZES = (12_500, 25_000, 50_000, 100_000)
TILE = 40
PLAIN = 12
"""Grey levels: tiles of a lower contrast are sky or wall, which nobody could tell apart."""
SHOWN = 48
GRID = tuple(
    replace(AutoencoderSettings(), **change)
    for change in (
        {},
        {"noise": 0.0},
        {"noise": 1.0},
        {"noise": 2.0},
        {"noise": 8.0},
        {"dropout": 0.0},
        {"dropout": 0.8},
        {"scaled": False},
        {"epochs": 30},
    )
)
THRESHOLDS = (0.0, 0.25, 0.5, 1.0)
LEAST = (0.8, 0.84, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98)
RULES = ((0.3, 0.96), (1.0, 0.96), (0.5, 0.96), (0.4, 0.96), (0.2, 0.96), (0.3, 0.94), (0.3, 0.98))
"""RATIO and COPY of the rule in ganfeat.prepare.duplicates.pairs."""


def tiles() -> np.ndarray:
    """Squares of 40 pixels side by side, from all of VOC's photographs, as 32 x 32; without plain ones."""
    import pyarrow.parquet as pq
    from PIL import Image

    (file,) = (DATA / "voc2012").glob("*.parquet")
    parts = []
    for entry in pq.read_table(file, columns=["image"])["image"].to_pylist():
        photo = np.asarray(Image.open(io.BytesIO(entry["bytes"])).convert("RGB"))
        for top in range(0, photo.shape[0] - TILE + 1, TILE):
            for left in range(0, photo.shape[1] - TILE + 1, TILE):
                square = photo[top : top + TILE, left : left + TILE]
                if square.mean(axis=2).std() >= PLAIN:
                    parts.append(resize_array(square, 32))
    return np.stack(parts)


def real() -> tuple[np.ndarray, np.ndarray]:
    """All images, and the number of their source: 0 CIFAR-10, 1 LFW, 2 VOC."""
    parts = [
        load_images(str(DATA / "cifar10" / "train-*.parquet")).images,
        load_images(DATA / "lfw", size=32).images[::2],
        tiles(),
    ]
    images, sources = np.concatenate(parts), np.repeat(np.arange(3), [len(part) for part in parts])
    first = same_pixels(images) == np.arange(len(images))
    return images[first], sources[first]


def different(images: np.ndarray) -> np.ndarray:
    return images[same_pixels(images) == np.arange(len(images))]


def tuning_sets() -> dict[str, np.ndarray]:
    (file,) = (DATA / "cifar10").glob("test-*.parquet")
    parts = {
        "CIFAR-10": different(load_images(file).images),
        "LFW": different(load_images(DATA / "lfw", size=32).images[1::2]),
        "mnist5k": different(load_images("mnist5k", size=32).images[::2]),
    }
    mixed = [parts["CIFAR-10"][:5000], parts["LFW"], parts["mnist5k"].repeat(3, axis=3)]
    return {**parts, "mixed": np.concatenate(mixed)}


def controls() -> dict[str, np.ndarray]:
    return {
        "mnist5k": different(load_images("mnist5k", size=32).images[1::2]),
        "MNIST": different(load_images(DATA / "mnist" / "t10k-images-idx3-ubyte.gz", size=32).images),
    }


def planted_set(n: int, images: np.ndarray, sources: np.ndarray, seed: int) -> tuple[Planted, np.ndarray]:
    """``n`` images, one in four a copy, and the source of each."""
    if len(images) < n - n // 4:
        raise SystemExit(f"{len(images):,} images are too few for a set of {n:,}")
    rows = np.random.default_rng(seed).permutation(len(images))[: n - n // 4]
    made = plant(images[rows], n // 4, seed)
    source = np.empty(n, np.int64)
    originals = np.flatnonzero(np.array([not kind for kind in made.kinds]))
    key = {images[row].tobytes(): sources[row] for row in rows}
    for row in originals:
        source[row] = key[made.images[row].tobytes()]
    return made, source[made.origins]


def timed(made: Planted, method: str, **options: Any) -> tuple[Duplicates, dict[str, Any]]:
    stages: dict[str, float] = {}
    last = [time.process_time()]

    def progress(done: int, total: int, what: str) -> None:
        now = time.process_time()
        stages[what] = stages.get(what, 0.0) + now - last[0]
        last[0] = now

    began, wall = time.process_time(), time.perf_counter()
    found = find_duplicates(made.images, method=method, progress=progress, **options)
    seconds = {"cpu seconds": round(time.process_time() - began, 1), "seconds": round(time.perf_counter() - wall, 1)}
    return found, {**seconds, "cpu seconds by stage": {name: round(value, 1) for name, value in stages.items()}}


def rounded(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: rounded(value) for key, value in content.items()}
    if isinstance(content, list):
        return [rounded(value) for value in content]
    return round(content, 4) if isinstance(content, float) else content


def wrong_drops(made: Planted, found: Duplicates) -> np.ndarray:
    """Places in ``found.dropped`` of images that are no planted copies of what is kept for them."""
    return np.flatnonzero(made.origins[found.dropped] != made.origins[found.kept[found.dropped]])


def described(
    made: Planted, sources: np.ndarray, found: Duplicates, pictures: Path | None, method: str
) -> dict[str, Any]:
    """What was dropped wrongly: how far it is from what was kept, and from where."""
    wrong = wrong_drops(made, found)
    right = np.setdiff1d(np.arange(len(found.dropped)), wrong)
    shares = (0.1, 0.5, 0.9)
    if pictures is not None and len(wrong):
        pictures.mkdir(parents=True, exist_ok=True)
        some = np.random.default_rng(0).permutation(wrong)[:SHOWN]
        rows = found.dropped[some]
        sheet = tile(in_pairs(made.images[found.kept[rows]], made.images[rows], columns=16), columns=16)
        write_png(pictures / f"{method}.png", captioned([("kept, and below what was dropped for it", sheet)], 2))
    return {
        "wrong drops": len(wrong),
        "of": {
            name: int((sources[found.dropped[wrong]] == i).sum()) for i, name in enumerate(("CIFAR-10", "LFW", "VOC"))
        },
        "quantiles": list(shares),
        "distance of wrong drops": [
            round(float(np.quantile(found.distance[wrong], s)), 4) for s in shares if len(wrong)
        ],
        "distance of right drops": [round(float(np.quantile(found.distance[right], s)), 4) for s in shares],
        "grey levels between wrong drops and what is kept": [
            round(float(np.quantile(found.difference[wrong], s)), 1) for s in shares if len(wrong)
        ],
        "grey levels between right drops and what is kept": [
            round(float(np.quantile(found.difference[right], s)), 1) for s in shares
        ],
    }


def measure(sizes: tuple[int, ...], seed: int, pictures: Path | None) -> dict[str, Any]:
    images, sources = real()
    results: dict[str, Any] = {"seed": seed, "images": {}, "methods": {method: {} for method in METHODS}}
    for n in sizes:
        made, source = planted_set(n, images, sources, seed)
        names = ("CIFAR-10", "LFW", "VOC")
        originals = np.array([not kind for kind in made.kinds])
        results["images"][str(n)] = {
            "copies": int((~originals).sum()),
            **{name: int((source[originals] == i).sum()) for i, name in enumerate(names)},
        }
        for method in METHODS:
            found, seconds = timed(made, method)
            entry: dict[str, Any] = {**seconds, "found": found.card, **agreement(found.groups, made)}
            if n == max(sizes):
                entry["wrongly dropped"] = described(made, source, found, pictures, method)
            results["methods"][method][str(n)] = rounded(entry)
            print(
                n,
                method,
                json.dumps(rounded({k: entry[k] for k in ("cpu seconds", "pairs", "dropped")})),
                file=sys.stderr,
            )
    for runs in results["methods"].values():
        per_image = [run["cpu seconds"] / int(n) * 1e3 for n, run in runs.items()]
        runs["cpu milliseconds an image"] = [round(value, 3) for value in per_image]
    results["controls"] = {name: control(images, seed) for name, images in controls().items()}
    return results


def control(images: np.ndarray, seed: int) -> dict[str, Any]:
    """Images of which no two are the same picture, alone and with copies."""
    results: dict[str, Any] = {"images": len(images), "copies": len(images) // 3}
    made = plant(images, len(images) // 3, seed)
    for method in METHODS:
        alone, mixed = find_duplicates(images, method=method), find_duplicates(made.images, method=method)
        scores = agreement(mixed.groups, made)
        results[method] = rounded(
            {"alone": alone.card, "with copies": {"found": mixed.card, **{k: scores[k] for k in ("pairs", "dropped")}}}
        )
        print(method, len(alone.dropped), json.dumps(rounded(scores["dropped"])), file=sys.stderr)
    return results


def tune(seed: int, methods: Sequence[str]) -> dict[str, Any]:
    results: dict[str, Any] = {"seed": seed, "sets": {}}
    for name, images in tuning_sets().items():
        made = plant(images, len(images) // 3, seed)
        found: dict[str, Any] = {"images": len(made.images)}
        if "autoencoder" in methods and name != "mixed":
            found |= tuned_hash(made, seed)
        if "features" in methods:
            found |= tuned_likeness(made, seed)
        results["sets"][name] = rounded(found)
    return results


def tuned_hash(made: Planted, seed: int) -> dict[str, Any]:
    table = []
    for settings in GRID:
        trained = train(made.images, settings, seed)
        codes = trained.codes(made.images)
        for threshold in THRESHOLDS:
            bits = np.packbits(codes > threshold, axis=1)
            scores, (live, entropy) = agreement(groups_of_codes(bits), made), spread(bits)
            own = {k: getattr(settings, k) for k in ("noise", "dropout", "epochs", "scaled")}
            table.append(
                {
                    **own,
                    "threshold": threshold,
                    "live": live,
                    "entropy": entropy,
                    "pairs": scores["pairs"],
                    "dropped": scores["dropped"],
                }
            )
            print(json.dumps(rounded(table[-1])), file=sys.stderr)
    return {"autoencoder": table}


def tuned_likeness(made: Planted, seed: int) -> dict[str, Any]:
    by_least, by_rule = [], []
    with TemporaryDirectory() as folder:
        work = Work(Path(folder), {})

        def tried(least: float | None) -> dict[str, Any]:
            work.forget("strangers.bin")  # which are asked for depends on the least likeness
            found = groups_by_features(made.images, work, least=least, seed=seed)
            scores = agreement(found.groups, made)
            return {"least": found.least, "pairs": scores["pairs"], "dropped": scores["dropped"]}

        for ratio, copy in RULES:
            pairs.RATIO, pairs.COPY = ratio, copy
            by_rule.append({"ratio": ratio, "copy": copy, **tried(None)})
            print(json.dumps(rounded(by_rule[-1])), file=sys.stderr)
        pairs.RATIO, pairs.COPY = RULES[0]
        for least in LEAST:
            by_least.append(tried(least))
            print(json.dumps(rounded(by_least[-1])), file=sys.stderr)
    return {"features": by_least, "rule": by_rule}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("tune", "measure", "judge"))
    parser.add_argument("seen", nargs="*", help="of judge: METHOD RIGHT OF")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="of tune")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    content: dict[str, Any] = {}
    if options.out and options.out.is_file():
        content = json.loads(options.out.read_text())
    if options.part == "judge":
        method, right, of = options.seen
        content["judged by eye"] = {
            **content.get("judged by eye", {}),
            method: {"wrong drops looked at": int(of), "the same picture to the eye": int(right)},
        }
    else:
        words = ["PICTURES" if word == str(options.pictures) else word for word in sys.argv]
        command = {"command": " ".join(["python", *words]), "machine": describe_machine()}
        if options.part == "tune":
            content["tuning"] = {**command, **tune(1 if options.seed is None else options.seed, options.methods)}
        else:
            done = measure(tuple(options.sizes), 0 if options.seed is None else options.seed, options.pictures)
            content = {**content, **command, **done}
    text = json.dumps(content, indent=2) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
