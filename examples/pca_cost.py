"""What does it cost to keep 512 of 28,672 features? Accuracy against the number of principal components.

    python examples/pca_cost.py RUN CIFAR10 --work pca-work --out docs/results/pca.json

RUN is a run folder, CIFAR10 a folder with `train-*.parquet` and `test-*.parquet`. Features of all layers; components
are learned from evenly spaced training images; an L2-SVM learns from training labels, with C chosen on a part of the
training images; the test images are scored on once. Beside them: raw pixels, principal components of pixels, and the
same network untrained. Interrupted, it goes on where it was: pieces lie in --work.

    python examples/pca_cost.py RUN CIFAR10 --work try --try-out 10000 2000

learns from 10,000 of the training images and is scored on 2,000 others of them; the test images are not read.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat import few_label_curve, load, load_images
from ganfeat.arrays import blocks
from ganfeat.checkpoint import write_array, write_atomically
from ganfeat.device import describe_machine, set_threads
from ganfeat.probes import Protocol
from ganfeat.projection import Projection, fit_projection

COMPONENTS = (64, 128, 256, 512, 1024, 2048)
SHOWN = 512
UNTRAINED = 512
MIB = 2**20
MARKS = ("<!-- table of pca.json -->", "<!-- end of table -->")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("data", type=Path, help="folder of CIFAR-10 in parquet")
    parser.add_argument("--work", type=Path, required=True, help="pieces; at 28,672 features 7 GiB")
    parser.add_argument("--out", type=Path, help="write the results here as JSON")
    parser.add_argument("--try-out", type=int, nargs=2, metavar=("TRAIN", "HELD_OUT"), help="of the training images")
    parser.add_argument("--train", type=int, help="use so many of the training images only, evenly spaced")
    parser.add_argument("--learn-from", type=int, default=10_000, help="images that components are learned from")
    parser.add_argument("--draws", type=int, default=5, help="draws of 400 and of 10 labels per class")
    parser.add_argument("--page", type=Path, help="put what was found between the marks of this Markdown file")
    options = parser.parse_args()
    set_threads()
    options.work.mkdir(parents=True, exist_ok=True)
    said = {
        "network": load(options.run).describe(),
        "weights": str((options.run / "model.safetensors").stat().st_mtime_ns),
        "try out": options.try_out,
        "train": options.train,
        "learned from": options.learn_from,
        "draws": options.draws,
    }
    bench = Bench(options.work, said)
    images = read(options)
    pixels = [one.images.reshape(len(one), -1) for one in images]
    labels = [np.asarray(one.labels) for one in images]
    trained = bench.features("trained", lambda: load(options.run), images)
    protocol = Protocol(labels_per_class=(10, 400, None), draws=options.draws, labelled_rows=None)

    def score(name: str, rows: Callable[[], list[NDArray[Any]]], *, standardise: bool, **about: Any) -> None:
        def measured() -> dict[str, Any]:
            train, test = rows()
            curve = few_label_curve(train, labels[0], test, labels[1], protocol, standardise=standardise)
            kept = {"mean": 4, "std": 4, "ci95": 4, "draws": 0, "C": None}
            accuracy = {
                k: {n: v[n] if d is None else round(v[n], d) for n, d in kept.items()} for k, v in curve.items()
            }
            accuracy = {"all" if int(k) > 400 else k: point for k, point in accuracy.items()}
            size = train.itemsize * train.shape[1]
            return {"features": train.shape[1], "bytes an image": size, **about, "accuracy": accuracy}

        point = bench.piece(name, measured)
        print(f"{name:40s}", {k: v["mean"] for k, v in point["accuracy"].items()}, point["CPU seconds"], flush=True)

    score("raw pixels", lambda: pixels, standardise=False)
    untrained = bench.features("untrained", lambda: load(options.run).random_init(), images)
    held: dict[str, float] = {}
    for name, rows, sizes in (
        ("pixels", pixels, (64, 256)),
        ("trained", trained, COMPONENTS),
        ("untrained", untrained, (UNTRAINED,)),
    ):
        most = min(max(sizes), rows[0].shape[1])
        projection = bench.projection(name, rows[0], most, options.learn_from)
        small = bench.projected(name, projection, rows)
        shares = captured(projection, rows[1], small[1])
        for k in [k for k in sizes if k <= most]:
            for whitened in (False, True) if name == "trained" else (False,):
                one = projection.first(k, whiten=whitened)
                called = f"{name}, {k} components{', whitened' if whitened else ''}"
                held[called] = round(float(shares[k - 1]), 4)
                score(
                    called,
                    lambda k=k, one=one, small=small: [np.asarray(part[:, :k]) * one.scale for part in small],
                    standardise=False,
                    kept=round(one.kept, 4),
                )
    score("trained, all features", lambda: trained, standardise=True)
    score("untrained, all features", lambda: untrained, standardise=True)
    content = {
        "command": f"python examples/pca_cost.py runs/{options.run.name} cifar10/ --work pca-work"
        + (f" --train {options.train}" if options.train else "")
        + (f" --try-out {' '.join(map(str, options.try_out))}" if options.try_out else "")
        + f" --learn-from {options.learn_from} --draws {options.draws}",
        "machine": describe_machine(),
        "network": said["network"],
        "features": trained[0].shape[1],
        "train": len(labels[0]),
        "test": len(labels[1]),
        "test images": "held out of the training images" if options.try_out else "CIFAR-10's test images, used once",
        "components learned from": f"{options.learn_from:,} of the training images, without labels",
        "scale": "all features of a network standardised; pixels and components centred",
        "protocol": {k: v for k, v in protocol.card().items() if k != "scale"},
        **bench.told(),
    }
    content["results"] = {
        name: point | ({"kept of test images": held[name]} if name in held else {})
        for name, point in content["results"].items()
    }
    if options.out:
        write_atomically(options.out, (json.dumps(content, indent=2) + "\n").encode())
    if options.page:
        before, _, rest = options.page.read_text().partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        write_atomically(options.page, f"{before}{MARKS[0]}\n{table(content)}{MARKS[1]}{after}".encode())
    print(table(content))


def captured(projection: Projection, rows: NDArray[Any], small: NDArray[Any]) -> NDArray[np.float64]:
    """Share of the variance of rows, about the mean learned, within the first 1, 2, ... components."""
    total = sum(float(np.square(block - projection.mean, dtype=np.float64).sum()) for block in blocks(rows))
    inside = sum(np.square(block, dtype=np.float64).sum(axis=0) for block in blocks(small))
    return np.cumsum(inside) / total


def table(content: dict[str, Any]) -> str:
    """The results in Markdown: of what, in a table, and what keeping few components costs; accuracy in per cent."""
    lines = [
        f"{content['train']:,} training images, {content['test']:,} test images: {content['test images']}. Components "
        f"learned from {content['components learned from']}. The network: {content['network']}, "
        f"{content['features']:,} features an image. Draws of labels: {content['protocol']['draws'].split(',')[0]}.",
        "",
        "| features | bytes an image | variance kept | of test images | 10 labels per class | 400 | all |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, point in content["results"].items():
        kept = [f"{100 * point[k]:.1f} %" if k in point else "" for k in ("kept", "kept of test images")]
        shown = [f"{100 * v['mean']:.1f} ± {100 * v['ci95']:.1f}" for v in point["accuracy"].values()]
        size = f"{point['bytes an image']:,}"
        lines.append(f"| {' | '.join([name, size, *kept, *shown])} |")
    return "\n".join([*lines, "", cost(content), "", whitened(content)]) + "\n"


def cost(content: dict[str, Any]) -> str:
    """What it costs to keep few components of all features, in a sentence."""
    results = content["results"]
    whole, small = results["trained, all features"], results[f"trained, {SHOWN} components"]
    changes = ", ".join(
        f"{100 * (small['accuracy'][k]['mean'] - point['mean']):+.1f} points {_with(k)} "
        f"({100 * point['mean']:.1f} to {100 * small['accuracy'][k]['mean']:.1f} %)"
        for k, point in whole["accuracy"].items()
    )
    return (
        f"**From {whole['features']:,} features to {small['features']:,} components** ({whole['bytes an image']:,} to "
        f"{small['bytes an image']:,} bytes an image), accuracy changes by {changes}."
    )


def whitened(content: dict[str, Any]) -> str:
    """What whitening does, in a sentence."""
    results = content["results"]
    pairs = [(point, results.get(f"{name}, whitened")) for name, point in results.items()]
    found = [(plain["accuracy"], white["accuracy"]) for plain, white in pairs if white is not None]

    def span(k: str) -> str:
        changes = [100 * (white[k]["mean"] - plain[k]["mean"]) for plain, white in found]
        return f"{min(changes):+.1f} to {max(changes):+.1f} points {_with(k)}"

    return (
        f"Whitening, at {results['trained, 64 components']['features']} to "
        f"{max(p['features'] for p, w in pairs if w is not None):,} components, changes accuracy by "
        f"{', '.join(map(span, found[0][0]))}."
    )


def _with(labels: str) -> str:
    return "with all labels" if labels == "all" else f"with {labels} labels per class"


def read(options: argparse.Namespace) -> list[Any]:
    """Training and test images, or two parts of the training images."""
    train = load_images(str(options.data / "train-*.parquet"), size=32, limit=options.train)
    if not options.try_out:
        return [train, load_images(str(options.data / "test-*.parquet"), size=32)]
    learn, held_out = options.try_out
    order = np.random.default_rng(0).permutation(len(train))
    return [train.subset(np.sort(part)) for part in (order[:learn], order[learn : learn + held_out])]


class Bench:
    """Pieces of work in a folder, each done once; and what they took."""

    def __init__(self, folder: Path, said: dict[str, Any]) -> None:
        self.folder, self.results = folder, folder / "pieces.json"
        self.content: dict[str, Any] = {"of": said, "seconds": {}, "files": {}, "results": {}}
        if self.results.exists():
            before = json.loads(self.results.read_text())
            if before["of"] != said:
                raise SystemExit(f"{folder} holds pieces of another measurement ({before['of']}): name a new --work")
            self.content = before

    def told(self) -> dict[str, Any]:
        """Everything but what it is of."""
        return {k: v for k, v in self.content.items() if k != "of"}

    def save(self) -> None:
        """Keep what there is."""
        write_atomically(self.results, (json.dumps(self.content, indent=2) + "\n").encode())

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        """Do it, and keep its CPU seconds (other programs may run beside)."""
        began = time.process_time()
        found = work()
        self.content["seconds"][name] = round(time.process_time() - began, 1)
        self.save()
        print(f"{name}: {self.content['seconds'][name]} s of CPU", flush=True)
        return found

    def piece(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A result; if it is there from before, that."""
        if name not in self.content["results"]:
            began = time.process_time()
            result = work()
            self.content["results"][name] = {**result, "CPU seconds": round(time.process_time() - began, 1)}
            self.save()
        point: dict[str, Any] = self.content["results"][name]
        return point

    def features(self, name: str, model: Callable[[], Any], images: list[Any]) -> list[NDArray[Any]]:
        """Features of all layers, float16, in memory maps."""
        paths = [self.folder / f"{name}-{part}.npy" for part in ("train", "test")]
        if not all(path.exists() for path in paths):
            extractor = model().extractor(dtype="float16")
            count = sum(map(len, images))
            self.timed(
                f"{name}: features of {count:,} images",
                lambda: [extractor.transform_to(path, one) for path, one in zip(paths, images, strict=True)],
            )
        rows = [np.load(path, mmap_mode="r") for path in paths]
        self.content["files"][f"{name}, all features, float16"] = {
            "MiB": round(sum(path.stat().st_size for path in paths) / MIB, 1)
        }
        return rows

    def projection(self, name: str, rows: NDArray[Any], components: int, learn_from: int) -> Projection:
        """Components of evenly spaced rows."""
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            count = min(learn_from, len(rows))

            def some() -> Iterator[NDArray[Any]]:
                start = 0
                for block in blocks(rows):
                    chosen = np.arange(start, start + len(block))
                    yield block[chosen * count // len(rows) != (chosen - 1) * count // len(rows)]
                    start += len(block)

            found = self.timed(
                f"{name}: learning {components:,} components from {count:,} rows of {rows.shape[1]:,}",
                lambda: fit_projection(some, components),
            )
            found.save(path)
        return Projection.load(path)

    def projected(self, name: str, projection: Projection, rows: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """The rows by all components."""
        paths = [self.folder / f"{name}-{part}-small.npy" for part in ("train", "test")]
        if not all(path.exists() for path in paths):

            def write() -> None:
                for path, part in zip(paths, rows, strict=True):
                    write_array(path, np.concatenate([projection.transform(block) for block in blocks(part)]))

            self.timed(f"{name}: {sum(map(len, rows)):,} rows to {projection.n_components:,} components", write)
        self.content["files"][f"{name}, {projection.n_components:,} components, float32"] = {
            "MiB": round(sum(path.stat().st_size for path in paths) / MIB, 1),
            "projection, MiB": round((self.folder / f"{name}.safetensors").stat().st_size / MIB, 1),
        }
        return [np.load(path, mmap_mode="r") for path in paths]


if __name__ == "__main__":
    main()
