"""Principal components of long rows in constant memory: ours beside scikit-learn's IncrementalPCA.

    python benchmarks/pca.py FEATURES.npy --components 256 --out docs/results/pca-streaming.json

Components are learned from the first part of the rows, a memory map read in blocks, each time in a process of its own,
one after another: CPU seconds (other programs may run beside), peak memory above that of a process that has imported
the libraries, and the share of variance that the components capture of rows learned from and of the last fifth, held
out. The exact components come from the eigenvectors of all products of rows, which needs all rows in memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganfeat.arrays import release
from ganfeat.projection import fit_projection
from measure import conclude

BLOCK = 256


def share(components: NDArray[Any], mean: NDArray[Any], rows: NDArray[Any]) -> float:
    inside = total = 0.0
    for start in range(0, len(rows), BLOCK):
        centred = np.asarray(rows[start : start + BLOCK], np.float32) - mean.astype(np.float32)
        inside += float(np.square(centred @ components.T.astype(np.float32), dtype=np.float64).sum())
        total += float(np.square(centred, dtype=np.float64).sum())
    return inside / total


def exact(rows: NDArray[Any], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    centred = torch.from_numpy(np.asarray(rows, np.float32))
    mean = centred.mean(dim=0)
    centred -= mean
    values, vectors = torch.linalg.eigh((centred @ centred.T).double())
    scaled = (vectors / values.clamp(min=1e-12).sqrt()).flip(1)[:, :k].float()
    return (centred.T @ scaled).T.numpy(), mean.numpy()


def incremental(rows: NDArray[Any], k: int, batch: int) -> tuple[NDArray[Any], NDArray[Any]]:
    from sklearn.decomposition import IncrementalPCA

    model = IncrementalPCA(k)
    for start in range(0, len(rows) // batch * batch, batch):
        model.partial_fit(np.asarray(rows[start : start + batch], np.float32))
        release(rows)
    return model.components_, model.mean_


def ours(rows: NDArray[Any], k: int, passes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    def blocks() -> Iterator[NDArray[Any]]:
        for start in range(0, len(rows), BLOCK):
            yield np.asarray(rows[start : start + BLOCK])
            release(rows)

    found = fit_projection(blocks, k, method="sketch", n_passes=passes)
    return found.components, found.mean


def contestants(k: int) -> dict[str, Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]]:
    mine = {f"ganfeat, passes: {p}": lambda rows, p=p: ours(rows, k, p) for p in (1, 2, 3, 4)}
    theirs = {f"IncrementalPCA, batches of {k}": lambda rows: incremental(rows, k, k)}
    return {**mine, **theirs, "all rows at once": lambda rows: exact(rows, k)}


def child(path: str, k: int, name: str) -> None:
    rows = np.load(path, mmap_mode="r")
    learn = rows[: len(rows) * 4 // 5]
    torch.ones(64, 64) @ torch.ones(64, 64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    components, mean = contestants(k)[name](learn)
    seconds = time.process_time() - began
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    found = {
        "CPU seconds": round(seconds, 1),
        "peak memory, MiB": round(peak),
        "captured": round(share(components, mean, learn[::4]), 5),
        "captured of held-out rows": round(share(components, mean, rows[len(rows) * 4 // 5 :]), 5),
    }
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help="a .npy file")
    parser.add_argument("--components", type=int, default=256)
    parser.add_argument("--rows", help="what they are, in words")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.only:
        child(options.features, options.components, options.only)
        return
    results = {}
    for name in contestants(options.components):
        command = [sys.executable, __file__, options.features, "--components", str(options.components), "--only", name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        results[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, results[name], file=sys.stderr, flush=True)
    rows = np.load(options.features, mmap_mode="r")
    sys.argv[1:] = ["features.npy", "--components", str(options.components)]
    learned = {"rows learned from": len(rows) * 4 // 5, "held out": len(rows) - len(rows) * 4 // 5}
    told = {
        "rows": options.rows,
        "features": rows.shape[1],
        **learned,
        "components": options.components,
        "results": results,
    }
    conclude("pca", told, options.out)


if __name__ == "__main__":
    main()
