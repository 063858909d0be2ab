"""Seconds and memory of our L2-SVM against scikit-learn's LinearSVC, at equal objective, on real features.

    python benchmarks/svm.py --data ../shared/data/cifar10 --out docs/results/svm.json

Features are those of an untrained DCGAN discriminator on CIFAR-10's training images (all conv layers, max-pooled to
4 x 4, seed 0), standardised; of the 7,168 of width 64, some at random where fewer are asked for. Every fit runs in a
process of its own, which reads the features from a memory map; its peak memory is the process's, less what it had
before the fit (libraries). Contestants take turns, ``--repeats`` times; medians. The objective of every solution is
computed once more here, in float64.

``LinearSVC`` is scikit-learn's, ``dual=False`` (trust-region Newton) and, where asked for, ``dual=True`` (coordinate
descent), with its tolerance of 1e-4 and float64 data, which it needs; ``dual=True`` gets 10,000 iterations. It has one
thread; ``--threads`` is ours. CPU seconds are given beside: other programs disturb them less.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from measure import conclude, median

CONTESTANTS = ("ganfeat", "LinearSVC primal", "LinearSVC dual")
TEST = 5000


def features(data: str, folder: Path, rows: int, columns: int, threads: int) -> None:
    """Write standardised features of ``rows`` images and of 5,000 others, and their labels."""
    import torch

    from ganfeat import FeatureExtractor, load_images
    from ganfeat.nets.blocks import initialise
    from ganfeat.nets.dcgan import Discriminator
    from ganfeat.probes import FeatureScaler

    torch.set_num_threads(threads)
    train = load_images(f"{data}/train-*.parquet")
    test = load_images(f"{data}/test-*.parquet", limit=TEST)
    learn = np.sort(np.random.default_rng(0).permutation(len(train))[:rows])
    if columns <= 7168:
        network = Discriminator((32, 32, 3), width=64)
    else:  # the authors' six-layer network: 28,672 features
        network = Discriminator((32, 32, 3), width=128, kernel_size=3, convs_per_scale=2)
    initialise(network, torch.Generator().manual_seed(0))
    extractor = FeatureExtractor(network).fit(train.images[learn[:: max(1, rows // 5000)]])
    total = extractor.n_features_out_
    chosen = np.sort(np.random.default_rng(1).permutation(total)[:columns])
    scaler = FeatureScaler()
    for name, images in (("learn", train.images[learn]), ("test", test.images)):
        every = extractor.transform_to(folder / f"{name}.all.npy", images)
        if name == "learn":
            scaler.fit(every)
        kept = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, (len(images), len(chosen)))
        for start in range(0, len(images), 1000):
            kept[start : start + 1000] = scaler.transform(every[start : start + 1000])[:, chosen]
        kept.flush()
        del every, kept
        (folder / f"{name}.all.npy").unlink()
    np.save(folder / "learn.labels.npy", train.labels[learn])
    np.save(folder / "test.labels.npy", test.labels)


def fit(contestant: str, folder: Path, C: float, threads: int) -> None:
    """One fit, in a process of its own: prints seconds and peak memory, writes the weights."""
    import torch

    torch.set_num_threads(threads)
    rows, labels = np.load(folder / "learn.npy", mmap_mode="r"), np.load(folder / "learn.labels.npy")
    if contestant == "ganfeat":
        from ganfeat import LinearSVM

        model: Any = LinearSVM(C=C, scaling="none")
        LinearSVM(C=1.0).fit(np.eye(20), np.arange(20) % 2)  # libraries are loaded
    else:
        from sklearn.svm import LinearSVC

        dual = contestant.endswith("dual")
        model = LinearSVC(C=C, dual=dual, random_state=0, max_iter=10_000 if dual else 1000)
        LinearSVC().fit(np.eye(20), np.arange(20) % 2)
    before = status("VmRSS")
    start, spent = time.perf_counter(), time.process_time()
    model.fit(rows, labels)
    seconds, spent = time.perf_counter() - start, time.process_time() - spent
    peak = status("VmHWM")
    np.save(folder / "weights.npy", np.c_[model.coef_, model.intercept_])
    found = {"seconds": seconds, "cpu": spent, "peak": peak, "added": peak - before}
    if contestant == "ganfeat":
        found["gap"] = float((model.gap_ / model.objective_).max())
    print(json.dumps(found))


def status(field: str) -> int:
    """Bytes of this process: VmRSS, in memory now; VmHWM, the most so far (getrusage's takes in the parent's)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def judge(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared length of every class's weights, its summed squared hinge, and answers for the test rows."""
    weights = np.load(folder / "weights.npy").astype(np.float64)
    rows, labels = np.load(folder / "learn.npy", mmap_mode="r"), np.load(folder / "learn.labels.npy")
    signs = np.where(labels[:, None] == np.unique(labels), 1.0, -1.0)
    hinge = np.zeros(len(weights))
    for start in range(0, len(rows), 1000):
        scores = rows[start : start + 1000].astype(np.float64) @ weights[:, :-1].T + weights[:, -1]
        hinge += (np.maximum(0, 1 - signs[start : start + 1000] * scores) ** 2).sum(axis=0)
    test = np.load(folder / "test.npy", mmap_mode="r")
    scores = test.astype(np.float64) @ weights[:, :-1].T + weights[:, -1]
    return (weights**2).sum(axis=1), hinge, scores.argmax(axis=1)


def measure(folder: Path, C: float, contestants: list[str], repeats: int, threads: int, limit: float) -> dict[str, Any]:
    """All contestants on the same features."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    found: dict[str, Any] = {}
    for _ in range(repeats):
        for name in contestants:
            words = [sys.executable, __file__, "--fit", name, "--folder", str(folder), "--C", str(C)]
            words += ["--threads", str(threads)]
            try:
                done = subprocess.run(words, capture_output=True, text=True, timeout=limit)
            except subprocess.TimeoutExpired:
                print(f"{name}: not done in {limit:.0f} s", file=sys.stderr, flush=True)
                continue
            if done.returncode:
                print(done.stderr[-2000:], file=sys.stderr)
                continue
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(name, {k: round(v) if v > 1e4 else round(v, 2) for k, v in runs[name][-1].items()}, file=sys.stderr)
            if name not in found:
                found[name] = judge(folder)
    labels = np.load(folder / "test.labels.npy")
    results: dict[str, Any] = {}
    objective = {name: float((lengths / 2 + C * hinge).sum()) for name, (lengths, hinge, _) in found.items()}
    best = {name: (lengths / 2 + C * hinge) for name, (lengths, hinge, _) in found.items()}
    lowest = np.min(list(best.values()), axis=0)
    for name, own in runs.items():
        if not own:
            results[name] = {"seconds": None, "note": f"did not finish within {limit:.0f} s or out of memory"}
            continue
        results[name] = {
            "seconds": round(median([r["seconds"] for r in own]), 2),
            "cpu_seconds": round(median([r["cpu"] for r in own]), 2),
            "all_seconds": [round(r["seconds"], 2) for r in own],
            "peak_GiB": round(max(r["peak"] for r in own) / 2**30, 2),
            "added_GiB": round(max(r["added"] for r in own) / 2**30, 2),
            "objective": objective[name],
            **({"gap_at_most": own[0]["gap"]} if "gap" in own[0] else {}),
            "above_the_lowest_found": float(np.max(best[name] / lowest - 1)),
            "accuracy": float(np.mean(found[name][2] == labels)),
        }
    ours = results.get("ganfeat", {})
    for name in results:
        if name != "ganfeat" and results[name]["seconds"] and ours.get("seconds"):
            results[name]["times_slower"] = round(results[name]["seconds"] / ours["seconds"], 1)
            results[name]["times_slower_cpu"] = round(results[name]["cpu_seconds"] / ours["cpu_seconds"], 1)
            results[name]["answers_as_ours"] = float(np.mean(found[name][2] == found["ganfeat"][2]))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data/cifar10", help="folder of CIFAR-10's parquet files")
    parser.add_argument("--sizes", nargs="+", default=["10000x4096", "50000x7168"], help="rows x features")
    parser.add_argument("--C", type=float, nargs="+", default=[1.0, 10.0])
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS), choices=CONTESTANTS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=3600, help="seconds a fit may take")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fit", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="where the features are kept, if they shall be kept")
    parser.add_argument("--out")
    options = parser.parse_args()
    if options.fit:
        fit(options.fit, options.folder, options.C[0], options.threads)
        return
    results: dict[str, Any] = {}
    for size in options.sizes:
        rows, columns = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as temporary:
            folder = (options.folder or Path(temporary)) / size
            if not (folder / "test.labels.npy").exists():
                folder.mkdir(parents=True, exist_ok=True)
                features(options.data, folder, rows, columns, options.threads)
            for C in options.C:
                found = measure(folder, C, options.contestants, options.repeats, options.threads, options.limit)
                results[f"{size}, C={C:g}"] = found
                print(json.dumps(found, indent=2), file=sys.stderr, flush=True)
    conclude("svm", {"threads": options.threads, "repeats": options.repeats, "results": results}, options.out)


if __name__ == "__main__":
    main()
