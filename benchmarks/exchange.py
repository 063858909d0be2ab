"""ONNX files against the networks they were written from: largest differences, and speed under onnxruntime.

    python benchmarks/exchange.py --runs runs/dcgan runs/bigan --out docs/results/exchange.json

For every network of every run whose layers can be features, and for its generator: the largest difference between
onnxruntime and PyTorch's float32, in batches of several sizes, over 256 images (noise of four coarsenesses, black and
white), and over 32 z of the prior. Beside the runs, networks of the papers' shapes, trained on noise for a step.
Speed: 256 images at a time, one thread each, the contestants taking turns; CPU seconds, of which ratios mean something.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from ganfeat import BiGAN, load
from ganfeat.exchange import export_generator, export_onnx
from ganfeat.exchange.parity import images_to_compare, open_session
from measure import conclude, interleaved, median, spread

BATCH = 256
SHAPES = {
    "bigan, AlexNet, 64 x 64, of noise": ({"architecture": "alexnet", "generator_size": 64}, (64, 64, 3)),
    "bigan, mlp, 28 x 28, of noise": ({"architecture": "mlp"}, (28, 28, 1)),
}


def models(runs: list[Path]) -> Iterator[tuple[str, Any]]:
    for run in runs:
        yield run.name, load(run, device="cpu")
    for name, (settings, shape) in SHAPES.items():
        images = np.random.default_rng(0).integers(0, 256, (16, *shape), dtype=np.uint8)
        made = BiGAN(**settings, n_components=50, max_iter=1, batch_size=16, random_state=0, device="cpu")
        yield name, made.fit(images)


def differences(folder: Path, gan: Any, network: str) -> dict[str, Any]:
    taps = [gan.usual_taps.get(network, "all")]
    extractor = gan.extractor(network, taps=taps, precision="fp32", device="cpu")
    images = many(gan.image_shape_)
    made = export_onnx(extractor, folder / "features.onnx", images=images)
    return {
        "network": gan.describe(network),
        "taps": len(made["taps"]),
        "features": made["output"]["shape"][1],
        **{key: made["parity"][key] for key in ("difference", "largest", "batches")},
        "bytes": made["bytes"],
    }


def many(shape: tuple[int, int, int]) -> np.ndarray:
    some = images_to_compare(None, shape, None)
    rng = np.random.default_rng(1)
    more = rng.integers(0, 256, (BATCH - len(some), *shape), dtype=np.uint8)
    return np.concatenate([some, more])


def speed(folder: Path, gan: Any, network: str, repeats: int) -> dict[str, Any]:
    taps = [gan.usual_taps.get(network, "all")]
    images = many(gan.image_shape_)
    session = open_session(folder / "features.onnx", threads=1)
    contestants = {"onnxruntime": lambda: session.run(None, {"images": images})}
    for precision in ("fp32", "bf16"):
        extractor = gan.extractor(network, taps=taps, precision=precision, device="cpu", batch_size=BATCH)
        contestants[f"torch {precision}"] = lambda extractor=extractor: extractor.transform(images)
    seconds = interleaved(contestants, repeats, clock=time.process_time)
    rate = {name: BATCH / median(values) for name, values in seconds.items()}
    return {
        "images_per_cpu_second": {name: round(value) for name, value in rate.items()},
        "quartiles": {n: sorted(round(BATCH / s) for s in spread(values)) for n, values in seconds.items()},
        "onnxruntime against torch fp32": round(rate["onnxruntime"] / rate["torch fp32"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results, generators = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, gan in models(options.runs):
            for network in gan.objective_.taps():
                found = differences(folder, gan, network)
                results[f"{name}, {network}"] = {**found, **speed(folder, gan, network, options.repeats)}
                print(name, network, results[f"{name}, {network}"], flush=True)
            given = None if gan.condition is None else gan.condition[1][0]
            made = export_generator(gan, folder / "generator.onnx", given=given)
            generators[name] = {key: made["parity"][key] for key in ("difference", "largest", "batches")}
    conclude(
        "exchange",
        {
            "onnxruntime": onnxruntime.__version__,
            "batch": BATCH,
            "results": results,
            "generators": generators,
            "worst": {
                "difference": max(row["difference"] for row in [*results.values(), *generators.values()]),
                "relative": max(
                    row["difference"] / max(1, row["largest"]) for row in [*results.values(), *generators.values()]
                ),
            },
        },
        options.out,
    )


if __name__ == "__main__":
    main()
