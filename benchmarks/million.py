"""From shards to features, 10,000 to 1,000,000 images: time, memory, and that no row is missing or there twice.

    python benchmarks/million.py --folder scratch --out docs/results/million.json

Makes synthetic tar shards (benchmarks/synthetic.py; one image in a thousand is damaged), trains a small DCGAN on the
first 10,000 images, then runs ``ganfeat prepare`` and ``ganfeat extract --pca 256`` on the first 10,000, 100,000 and
1,000,000, each command in a control group of 2 GiB, which the kernel kills it for leaving. The features' ids are
compared with the set's: the same ones, each once. Needs about 20 GB in the folder, and root for the control group.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

import limited
import synthetic
from measure import conclude

GANFEAT = (sys.executable, "-m", "ganfeat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for shards, sets and features; they are large")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--limit", type=float, default=2.0, help="GiB of memory")
    parser.add_argument("--components", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    folder: Path = options.folder
    shards = synthetic.shards(folder / "shards", max(options.sizes))
    run = folder / "run"
    if not (run / "model.safetensors").exists():
        first = linked(shards[:1], folder / "first")
        command = [*GANFEAT, "prepare", str(first), "--out", str(folder / "first-set"), "--size", "32", "--quiet"]
        limited.run(command)
        limited.run([*GANFEAT, "train", str(folder / "first-set"), "--out", str(run), "--max-iter", "1", "--quiet"])
    results: dict[str, Any] = {}
    for images in options.sizes:
        source = linked(shards[: -(-images // synthetic.PER_SHARD)], folder / f"source-{images}")
        made, features = folder / f"set-{images}", folder / f"features-{images}"
        for old in (made, features):
            shutil.rmtree(old, ignore_errors=True)
        prepare = limited.run(
            [*GANFEAT, "prepare", str(source), "--out", str(made), "--size", "32", "--quiet"], options.limit
        )
        extract = limited.run(
            [
                *(*GANFEAT, "extract", str(run), str(made), "--out", str(features), "--dtype", "float16"),
                *("--pca", str(options.components), "--no-baselines", "--quiet"),
            ],
            options.limit,
        )
        counted = verify(made, features, images)
        results[str(images)] = {
            "prepare": {**asdict(prepare), "images_per_second": round(images / prepare.seconds)},
            "extract": {**asdict(extract), "images_per_second": round(images / extract.seconds)},
            **counted,
            "set_GB": round(size_of(made) / 1e9, 3),
            "features_GB": round(size_of(features) / 1e9, 3),
        }
        print(json.dumps({str(images): results[str(images)]}, indent=2), file=sys.stderr)
        for old in (made, features, source):
            shutil.rmtree(old)
    about = {"limit_GiB": options.limit, "threads": options.threads, "components": options.components}
    conclude("million", {**about, "results": results}, options.out)


def linked(paths: list[Path], folder: Path) -> Path:
    """A folder of just these shards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in paths:
        os.link(path, folder / path.name)
    return folder


def verify(made: Path, features: Path, images: int) -> dict[str, int]:
    """Every readable image has one row in the set and one row of features; the damaged ones are named."""
    kept = list(ids(made / "index.parquet"))
    dropped = list(ids(made / "steps" / "read" / "dropped.parquet"))
    rows = [one for part in sorted(features.glob("part-*.parquet")) for one in ids(part)]
    damaged = synthetic.damaged(images)
    assert len(dropped) == len(set(dropped)) == damaged, (len(dropped), damaged)
    assert len(kept) == len(set(kept)) == images - damaged, (len(kept), images - damaged)
    assert rows == kept, "the features' rows are not the set's"
    return {"rows": len(rows), "unreadable": len(dropped), "twice": len(rows) - len(set(rows)), "missing": 0}


def ids(path: Path) -> Iterator[str]:
    """The column ``id`` of a parquet file."""
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(65536, columns=["id"]):
            yield from pc.cast(batch.column(0), "string").to_pylist()


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
