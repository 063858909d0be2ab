"""Precision and recall of finding duplicates that were planted among 100,000 real images, and the time it takes.

    python benchmarks/duplicates.py tune --out docs/results/duplicates.json
    python benchmarks/duplicates.py measure --out docs/results/duplicates.json --pictures wrong/

Three quarters of the images are CIFAR-10's training images, LFW's faces and tiles cut from VOC's photographs, brought
to 32 x 32, without plain tiles and without images that are equal pixel for pixel; one quarter are changed copies of
random ones of them, 16 kinds in turns. Changes are made to the 32 x 32 images: harder than to photographs that are
shrunk afterwards. ``tune`` uses CIFAR-10's test images and copies of those, and nothing of what ``measure`` uses. Real
images have natural near-duplicates that count as wrong here: --pictures writes a sample of what was dropped wrongly
beside what was kept, to be looked at; ``judge METHOD RIGHT OF`` adds what was seen to the results. The data folder is
$GANFEAT_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
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
from ganfeat.prepare.duplicates import METHODS, AutoencoderSettings, Duplicates, find_duplicates
from ganfeat.prepare.duplicates.autoencoder import train
from ganfeat.prepare.duplicates.grouping import groups_of_codes, same_pixels
from ganfeat.prepare.duplicates.kept import Work
from ganfeat.prepare.duplicates.pairs import groups_by_features
from ganfeat.prepare.duplicates.planted import Planted, agreement, plant

DATA = Path(os.environ.get("GANFEAT_DATA", Path(__file__).parents[1] / "../shared/data"))
SIZES = (12_500, 25_000, 50_000, 100_000)
TILE = 42
PLAIN = 12
"""Grey levels: tiles of a lower contrast are sky or wall, which nobody could tell apart."""
SHOWN = 48
GRID = tuple(
    replace(AutoencoderSettings(), **change)
    for change in (
        {},
        {"noise": 0.0},
        {"noise": 1.0},
        {"noise": 8.0},
        {"dropout": 0.0},
        {"dropout": 0.8},
        {"scaled": False},
        {"epochs": 30},
    )
)
THRESHOLDS = (0.0, 0.25, 0.5, 1.0)
LEAST = (0.8, 0.84, 0.88, 0.9, 0.92, 0.94)


def tiles() -> np.ndarray:
    """Squares of 42 pixels side by side, from all of VOC's photographs, as 32 x 32; without plain ones."""
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
        load_images(DATA / "lfw", size=32).images,
        tiles(),
    ]
    images, sources = np.concatenate(parts), np.repeat(np.arange(3), [len(part) for part in parts])
    first = same_pixels(images) == np.arange(len(images))
    return images[first], sources[first]


def planted_set(n: int, images: np.ndarray, sources: np.ndarray, seed: int) -> tuple[Planted, np.ndarray]:
    """``n`` images, one in four a copy, and the source of each."""
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
    for method, runs in results["methods"].items():
        per_image = [run["cpu seconds"] / int(n) * 1e3 for n, run in runs.items()]
        runs["cpu milliseconds an image"] = [round(value, 3) for value in per_image]
        del method
    return results


def tune(seed: int) -> dict[str, Any]:
    (file,) = (DATA / "cifar10").glob("test-*.parquet")
    made = plant(load_images(file).images, 3200, seed)
    table = []
    for settings in GRID:
        trained = train(made.images, settings, seed)
        codes = trained.codes(made.images)
        for threshold in THRESHOLDS:
            bits = np.packbits(codes > threshold, axis=1)
            scores = agreement(groups_of_codes(bits), made)
            own = {k: getattr(settings, k) for k in ("noise", "dropout", "epochs", "scaled")}
            table.append({**own, "threshold": threshold, "pairs": scores["pairs"], "dropped": scores["dropped"]})
            print(json.dumps(rounded(table[-1])), file=sys.stderr)
    likeness = []
    with TemporaryDirectory() as folder:
        work = Work(Path(folder), {})
        for least in (None, *LEAST):
            found = groups_by_features(made.images, work, least=least, seed=seed)
            scores = agreement(found.groups, made)
            likeness.append(
                {"least": found.least, "chosen": least is None, "pairs": scores["pairs"], "dropped": scores["dropped"]}
            )
            print(json.dumps(rounded(likeness[-1])), file=sys.stderr)
    return {"seed": seed, "images": len(made.images), "autoencoder": rounded(table), "features": rounded(likeness)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("tune", "measure", "judge"))
    parser.add_argument("seen", nargs="*", help="of judge: METHOD RIGHT OF")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
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
            content["tuning"] = {**command, **tune(1 if options.seed is None else options.seed)}
        else:
            done = measure(tuple(options.sizes), 0 if options.seed is None else options.seed, options.pictures)
            content = {**content, **command, **done}
    text = json.dumps(content, indent=2) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
