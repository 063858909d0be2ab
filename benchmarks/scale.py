"""Images per second of preparing, extracting and training, by how many workers do it, in one run.

    python benchmarks/scale.py --folder scratch --out docs/results/scale.json

Contestants take turns, every worker has one thread, and medians are compared. Scaling efficiency is the rate of two
workers over twice the rate of one. Machines differ in what a second core is worth (shared caches, memory, clock), so
the same is measured for two training processes that know nothing of each other: no way of working together can do
better than that.

- prepare: a folder of JPEG photographs of 256 x 256, to 64 x 64, by 1 and 2 threads, with and without --fast-jpeg,
  beside a loop of plain Pillow (open, convert, resize, crop);
- extract: a packed set of 32 x 32 x 3 images, a DCGAN's 7,168 features, to parquet shards: one process, two by
  torchrun, Ray with one actor and two; and one process with next to no network (width 4, 448 features), which is what
  reading and writing allow. The rate is that between two sizes of set, so starting up is left out; how long that takes
  stands beside it;
- train: DCGAN, by torchrun with one rank and with two: the same mini-batch for each rank (128, so 256 together), and
  the same together (64 each).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import synthetic
from measure import conclude, median, spread

PYTHON = sys.executable
GANFEAT = [PYTHON, "-m", "ganfeat"]
TORCHRUN = [PYTHON, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", default=["prepare", "extract", "train"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--photographs", type=int, default=6000)
    parser.add_argument("--images", type=int, nargs=2, default=[20_000, 80_000], help="sizes of set for extract")
    parser.add_argument("--steps", type=int, default=60, help="of each training")
    parser.add_argument("--out")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    parts = {
        "prepare": lambda: preparing(folder, options.photographs, options.repeats),
        "extract": lambda: extracting(folder, options.images, options.repeats),
        "train": lambda: training(folder, options.steps, options.repeats),
    }
    for part in options.parts:
        results[part] = parts[part]()
        conclude("scale", {"repeats": options.repeats, "results": results}, options.out)  # what is done is kept


def photographs(folder: Path, count: int, side: int = 256) -> Path:
    """A folder of JPEGs with the detail, and so the size, of photographs."""
    if (folder / f"{count - 1:06d}.jpg").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        layers = [
            np.array(
                Image.fromarray(generator.integers(0, 256, (grid, grid, 3)).astype(np.uint8)).resize(
                    (side, side), Image.Resampling.BICUBIC
                ),
                np.float32,
            )
            for grid in (4, 16, 64)
        ]
        pixels = 0.55 * layers[0] + 0.3 * layers[1] + 0.15 * layers[2]
        buffer = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=90)
        (folder / f"{number:06d}.jpg").write_bytes(buffer.getvalue())
    return folder


def plain_pillow(source: Path, size: int) -> int:
    """What a person writes: pixels in memory, one after the other."""
    made = 0
    for path in sorted(source.glob("*.jpg")):
        with Image.open(path) as image:
            rgb = image.convert("RGB")
            side = min(rgb.size)
            left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
            rgb = rgb.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
            made += np.asarray(rgb).shape[0] == size
    return made


def preparing(folder: Path, count: int, repeats: int) -> dict[str, Any]:
    """Images per second from files to a packed set."""
    source = photographs(folder / "photographs", count)
    common = [*GANFEAT, "prepare", str(source), "--size", "64", "--quiet"]
    small = photographs(folder / "few", 200)
    kinds = {
        "1 thread": ["--workers", "1"],
        "2 threads": ["--workers", "2"],
        "1 thread, --fast-jpeg draft": ["--workers", "1", "--fast-jpeg", "draft"],
        "1 thread, --fast-jpeg simplejpeg": ["--workers", "1", "--fast-jpeg", "simplejpeg"],
    }
    rates: dict[str, list[float]] = {name: [] for name in ["plain Pillow, 1 thread", *kinds]}
    for _ in range(repeats):
        started = time.perf_counter()
        plain_pillow(source, 64)
        rates["plain Pillow, 1 thread"].append(count / (time.perf_counter() - started))
        for name, more in kinds.items():
            seconds = []
            for images in (small, source):
                out = folder / "prepared"
                shutil.rmtree(out, ignore_errors=True)
                command = [*common, "--out", str(out), *more]
                command[len(GANFEAT) + 1] = str(images)
                seconds.append(timed(command))
            rates[name].append((count - 200) / (seconds[1] - seconds[0]))
    found = described(rates)
    found["bytes_an_image"] = round(statistics.mean(p.stat().st_size for p in source.glob("*.jpg")))
    found["efficiency"] = efficiency(rates["1 thread"], rates["2 threads"])
    return found


def extracting(folder: Path, sizes: list[int], repeats: int) -> dict[str, Any]:
    """Images per second from a packed set to parquet shards, between two sizes of set."""
    sets = {images: packed(folder, images) for images in sizes}
    run, narrow = trained(folder, sets[sizes[0]], 64), trained(folder, sets[sizes[0]], 4)
    common = ["extract", str(run), "SET", "--out", str(folder / "features"), "--dtype", "float16", "--quiet"]
    kinds = {
        "1 process": [*GANFEAT, *common],
        "1 process, next to no network": [*GANFEAT, *(str(narrow) if word == str(run) else word for word in common)],
        "2 processes": [*TORCHRUN, "2", "-m", "ganfeat", *common],
        "Ray, 1 actor": [*GANFEAT, *common, "--engine", "ray", "--actors", "1"],
        "Ray, 2 actors": [*GANFEAT, *common, "--engine", "ray", "--actors", "2"],
    }
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    starting: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(repeats):
        for name, command in kinds.items():
            seconds = {}
            for images, made in sets.items():
                shutil.rmtree(folder / "features", ignore_errors=True)
                seconds[images] = timed([str(made) if word == "SET" else word for word in command])
            rate = (sizes[1] - sizes[0]) / (seconds[sizes[1]] - seconds[sizes[0]])
            rates[name].append(rate)
            starting[name].append(seconds[sizes[0]] - sizes[0] / rate)
    found = described(rates)
    found["seconds_to_start"] = {name: round(median(values), 1) for name, values in starting.items()}
    found["efficiency"] = {
        "2 processes": efficiency(rates["1 process"], rates["2 processes"]),
        "Ray, 2 actors": efficiency(rates["Ray, 1 actor"], rates["Ray, 2 actors"]),
    }
    return found


def training(folder: Path, steps: int, repeats: int) -> dict[str, Any]:
    """Images per second of training by one rank and by two."""
    made = packed(folder, 20_000)
    rates: dict[str, list[float]] = {}
    for _ in range(repeats):
        for name, ranks, batch in (
            ("1 rank, batch 128", 1, 128),
            ("2 ranks, batch 256 together", 2, 256),
            ("2 ranks, batch 128 together", 2, 128),
        ):
            (process,) = [start(folder, made, ranks, batch, steps, 0)]
            rates.setdefault(name, []).append(rate_of(folder, process, batch, 0))
        both = [start(folder, made, 1, 128, steps, k) for k in range(2)]
        together = sum(rate_of(folder, process, 128, k) for k, process in enumerate(both))
        rates.setdefault("2 processes that know nothing of each other", []).append(together)
    found = described(rates)
    one = rates["1 rank, batch 128"]
    found["efficiency"] = {name: efficiency(one, values) for name, values in rates.items() if name[0] == "2"}
    return found


def start(folder: Path, made: Path, ranks: int, batch: int, steps: int, number: int) -> subprocess.Popen[bytes]:
    """Train in another process, of its own core where it is one rank."""
    out = folder / f"trained-{number}"
    shutil.rmtree(out, ignore_errors=True)
    launcher = [*TORCHRUN, str(ranks), "-m", "ganfeat"] if ranks > 1 else GANFEAT
    command = [
        *launcher,
        "train",
        str(made),
        "--out",
        str(out),
        "--batch-size",
        str(batch),
        "--limit",
        str(batch * steps),
    ]
    command += [
        "--max-iter",
        "1",
        "--log-every",
        "5",
        "--sheets",
        "0",
        "--evaluations",
        "0",
        "--checkpoint-every",
        "1e6",
    ]
    return subprocess.Popen([*command, "--quiet"], stdout=subprocess.DEVNULL)


def rate_of(folder: Path, process: subprocess.Popen[bytes], batch: int, number: int) -> float:
    """Images per second between the first quarter of the steps and the end."""
    if process.wait():
        raise SystemExit("a training failed")
    lines = (folder / f"trained-{number}" / "history.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    first, last = records[len(records) // 4], records[-1]
    return (last["step"] - first["step"]) * batch / (last["seconds"] - first["seconds"])


def packed(folder: Path, images: int) -> Path:
    """A packed set of synthetic images."""
    out = folder / f"set-{images}"
    if not (out / "set.json").exists():
        source = folder / f"source-{images}"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        for shard in synthetic.shards(folder / "shards", images):
            os.link(shard, source / shard.name)
        timed([*GANFEAT, "prepare", str(source), "--out", str(out), "--size", "32", "--quiet"])
    return out


def trained(folder: Path, made: Path, width: int) -> Path:
    """A DCGAN after a few steps; what it has learned does not matter for its speed."""
    run = folder / f"run-{width}"
    if not (run / "model.safetensors").exists():
        command = [*GANFEAT, "train", str(made), "--out", str(run), "--limit", "2560", "--max-iter", "1"]
        timed([*command, "--width", str(width), "--sheets", "0", "--evaluations", "0", "--quiet"])
    return run


def timed(command: list[str]) -> float:
    """Seconds of a command."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def described(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Medians and quartiles."""
    return {
        "images_per_second": {name: round(median(values), 1) for name, values in rates.items()},
        "quartiles": {name: [round(v, 1) for v in spread(values)] for name, values in rates.items()},
    }


def efficiency(one: list[float], two: list[float]) -> float:
    """Rate of two over twice the rate of one, of medians."""
    return round(median(two) / (2 * median(one)), 3)


if __name__ == "__main__":
    main()
