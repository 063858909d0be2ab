"""Seconds of an exact nearest-neighbour search against scikit-learn's brute force, in one run.

    python benchmarks/knn.py --out docs/results/knn.json

Random rows (normal, float32), and the pixels of MNIST where the data folder is there ($GANFEAT_DATA or
../shared/data). ``KNeighborsClassifier(algorithm="brute")`` gets the same float32 rows and the same number of
threads (OMP_NUM_THREADS, or all), and as many of the queries as --peer says: its time grows with their number, so
ours is also taken on these alone, in turns. Answers are compared one by one.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from ganfeat.data import load_images
from ganfeat.probes import KNNClassifier
from measure import conclude, gemm, interleaved, median


def mnist() -> tuple[np.ndarray, ...] | None:
    folder = Path(os.environ.get("GANFEAT_DATA", Path(__file__).parents[1] / "../shared/data")) / "mnist"
    if not folder.is_dir():
        return None
    train, test = (load_images(folder / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k"))
    rows = [images.images.reshape(len(images), -1).astype(np.float32) for images in (train, test)]
    return rows[0], train.labels, rows[1], test.labels


def noise(references: int, queries: int, features: int) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(0)
    rows = [generator.standard_normal((n, features), dtype=np.float32) for n in (references, queries)]
    return rows[0], np.arange(references) % 10, rows[1], np.arange(queries) % 10


def measure(data: tuple[np.ndarray, ...], peer_queries: int, repeats: int, threads: int) -> dict[str, Any]:
    rows, labels, queries, answers = data
    ours = KNNClassifier(device="cpu").fit(rows, labels)
    theirs = KNeighborsClassifier(n_neighbors=1, algorithm="brute").fit(rows, labels)
    some = queries[:peer_queries]
    start = time.perf_counter()
    predicted = ours.predict(queries)
    whole = time.perf_counter() - start
    product, product_flops = gemm(torch.float32)
    with threadpool_limits(threads):
        seconds = interleaved(
            {"ganfeat": lambda: ours.kneighbors(some), "sklearn": lambda: theirs.kneighbors(some), "gemm": product},
            repeats,
        )
        same = ours.kneighbors(some)[1] == theirs.kneighbors(some)[1]
    flops = 2.0 * len(some) * rows.shape[0] * rows.shape[1]
    rate = product_flops / median(seconds["gemm"])
    return {
        "references": len(rows),
        "queries": len(queries),
        "features": rows.shape[1],
        "seconds_of_all_queries": round(whole, 2),
        "accuracy": round(float(np.mean(predicted == answers)), 4),
        "compared_on_queries": len(some),
        "seconds": {name: round(median(seconds[name]), 3) for name in ("ganfeat", "sklearn")},
        "ratio": round(median(seconds["sklearn"]) / median(seconds["ganfeat"]), 2),
        "share_of_same_neighbours": float(same.mean()),
        "gemm_gflop_per_second": round(rate / 1e9, 1),
        "share_of_gemm": round(flops / median(seconds["ganfeat"]) / rate, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=int, default=60_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--peer", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = {}
    data = mnist()
    if data is not None:
        results["mnist pixels, euclidean 1-NN"] = measure(data, options.peer, options.repeats, options.threads)
    random = noise(options.references, options.queries, options.features)
    results["random rows, euclidean 1-NN"] = measure(random, options.peer, options.repeats, options.threads)
    conclude("knn", {"results": results}, options.out)


if __name__ == "__main__":
    main()
