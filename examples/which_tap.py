"""Before or after batch norm and activation, max- or average-pooled? Measured on every layer of a trained network.

    python examples/which_tap.py RUN DATA [--out results.json]

`ganfeat compare` tells which layer of which network is best, each read and pooled in one way. This asks about the way:
every conv layer of the run's discriminator and all of them together, read after the convolution, after batch norm, and
after the activation, max-pooled and average-pooled to 4 x 4, under one few-label protocol; beside raw pixels and the
same layers of the network before training. DATA must have labels and should be the images of the run: a fifth is held
out for scoring; of a `ganfeat demo` run, just those images that it held out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from ganfeat import few_label_curve, load, load_images
from ganfeat.device import describe_machine, set_threads
from ganfeat.probes import FewLabels
from ganfeat.probes.draws import hold_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder")
    parser.add_argument("data", help="labelled images")
    parser.add_argument("--limit", type=int, help="use so many images")
    parser.add_argument("--labels", type=int, nargs="+", default=[10, 50], help="labels per class")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--out", help="write the results here as JSON")
    options = parser.parse_args()
    set_threads()
    started = time.perf_counter()
    gan = load(options.run)
    side, _, channels = gan.image_shape_
    images = load_images(options.data, size=side, channels=channels, limit=options.limit)
    if images.labels is None:
        raise SystemExit(f"{options.data} has no labels: class sub-folders would give them")
    images = images.subset(np.flatnonzero(images.labels >= 0))
    learn, test = hold_out(images.labels, 0.2, seed=int(gan.random_state or 0))
    protocol = FewLabels(labels_per_class=options.labels, draws=options.draws)

    def score(rows, standardise=True):  # type: ignore[no-untyped-def]
        labels = images.labels
        curve = few_label_curve(rows[learn], labels[learn], rows[test], labels[test], protocol, standardise=standardise)
        return {k: {name: round(v[name], 4) for name in ("mean", "std", "ci95", "draws")} for k, v in curve.items()}

    results = {
        "raw pixels": {"features": int(images.images[0].size), **score(images.images.reshape(len(images), -1), False)}
    }
    for model_name, model in (("untrained", gan.random_init()), ("trained", gan)):
        for at in ("conv", "norm", "activation"):
            for pooling in ("max", "avg"):
                extractor = model.extractor(taps="all", at=at, pooling=pooling)
                union = extractor.transform(images)  # one pass: a layer is a range of columns
                layers = np.array([name.rpartition("[")[0] for name in extractor.get_feature_names_out()])
                parts = {f"layer {i}": union[:, layers == tap.name] for i, tap in enumerate(extractor.taps_)}
                for layer, rows in {"all layers": union, **parts}.items():
                    name = f"{model_name}, {layer}, {at}, {pooling}-pooled"
                    results[name] = {"features": int(rows.shape[1]), **score(rows)}
                    print(
                        f"{name:45s}", {k: v["mean"] for k, v in results[name].items() if k != "features"}, flush=True
                    )
    content = {
        "command": "python " + " ".join(sys.argv),
        "images": images.source,
        "learned from": len(learn),
        "held out": len(test),
        "network": {
            k: v for k, v in gan.get_params().items() if k in ("width", "augment", "batch_size", "learning_rate")
        },
        "epochs": gan.n_iter_,
        "protocol": protocol.card(),
        "machine": describe_machine(),
        "seconds": round(time.perf_counter() - started, 1),
        "results": results,
    }
    if options.out:
        Path(options.out).write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
