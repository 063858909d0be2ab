"""The pictures of docs/gallery.md: a trained run, looked into by every verb that fits it.

    python examples/gallery.py digits demo-out/run mnist5k
    python examples/gallery.py cifar10 runs/cifar10 "cifar10/train-*.parquet" --test "cifar10/test-*.parquet"
    python examples/gallery.py faces runs/faces lfw_crop64.parquet
    python examples/gallery.py svhn runs/svhn "cifar10/test-*.parquet"

Writes docs/images/gallery/NAME-*.png and the numbers, under NAME, into docs/results/gallery.json. How the runs were
trained is in docs/gallery.md. Points and boxes below were chosen by eye from the samples of these very runs: another
training draws other images at them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganfeat import load
from ganfeat.cli import main as ganfeat
from ganfeat.device import describe_machine
from ganfeat.pictures import read_png

SVHN_BOXES = "examples/boxes/svhn-digits.json"
CALLS: dict[str, dict[str, str]] = {
    "digits": {
        "walk": "walk RUN",
        "walk-scored": "walk RUN --data DATA",
        "saliency": "saliency RUN SAMPLES",
        "saliency-scored": "saliency RUN DATA",
    },
    "cifar10": {
        "walk": "walk RUN --number 7",
        "walk-scored": "walk RUN --number 7 --data DATA --test TEST",
        "saliency": "saliency RUN SAMPLES",
        "saliency-scored": "saliency RUN DATA --limit 20000",
    },
    "faces": {
        "walk": "walk RUN --number 7",
        "walk-scored": "walk RUN --number 7 --data DATA",
        "saliency": "saliency RUN SAMPLES",
        # a smile: dark hair and smiling - dark hair and serious + fair hair and serious
        "arithmetic": "arithmetic RUN --a s0.34 s0.36 s0.42 --b s0.40 s0.46 s0.57 --c s0.12 s0.33 s0.39",
        "arithmetic-turn": "arithmetic RUN --from s0.2 s0.6 s0.13 s0.21 s0.40 s0.46 s0.48 s0.57 "
        "--to s0.10 s0.23 s0.28 s0.34 s0.36 s0.42 s0.45 s0.38 --apply s0.7 s0.18 s0.20 s0.60",
    },
    "svhn": {
        "walk": "walk RUN --number 7",
        "saliency": "saliency RUN SAMPLES",
        "saliency-scored": "saliency RUN DATA",
        "forget": f"forget RUN --boxes {SVHN_BOXES} --maps 16 --samples 32",
        "forget-deeper": f"forget RUN --boxes {SVHN_BOXES} --layer -3 --samples 32",
    },
}
"""Pictures are made without DATA, so that none shows a photograph that is not ours to give away: top images of channels
are sought among SAMPLES, 3,000 images that G draws. Numbers are those of real images."""
N_SAMPLES = 3000
SHOWN = {"walk.png", "arithmetic.png", "turn.png", "saliency.png", "receptive.png", "forget.png"}
KEPT = ("regression", "probe", "chance", "notes")
"""What is kept of a verb's JSON file beside its table, and of the channels of a layer, how they are all together."""
LARGEST = 400_000
"""Bytes of a picture in the documents."""


def small(source: Path, path: Path) -> None:
    """A picture as few bytes: a palette where that keeps it alike, and half its size if it is still too large."""
    picture = Image.fromarray(np.squeeze(read_png(source)))
    for image in (picture, picture.quantize(256), picture.reduce(2), picture.reduce(2).quantize(256)):
        image.save(path, optimize=True)
        if path.stat().st_size <= LARGEST:
            return


def main() -> None:
    """Call the verbs, keep their pictures and numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(CALLS))
    parser.add_argument("run", type=Path)
    parser.add_argument("data")
    parser.add_argument("--test", help="images that the run has not seen, for cifar10")
    parser.add_argument("--out", type=Path, default=Path("docs/images/gallery"))
    parser.add_argument("--results", type=Path, default=Path("docs/results/gallery.json"))
    options = parser.parse_args()
    if options.name == "cifar10" and not options.test:
        parser.error("cifar10 needs --test")
    options.out.mkdir(parents=True, exist_ok=True)
    gan = load(options.run)
    found: dict[str, Any] = {}
    for key, call in CALLS[options.name].items():
        verb = key.partition("-")[0]
        with tempfile.TemporaryDirectory() as folder:
            samples = Path(folder) / "samples.npy"
            if "SAMPLES" in call:
                np.save(samples, gan.picture(gan.latents(N_SAMPLES, 1)))
            places = {"RUN": options.run, "DATA": options.data, "TEST": options.test, "SAMPLES": samples}
            words = [str(places.get(word, word)) for word in call.split()]
            started = time.perf_counter()
            status = ganfeat([*words, "--out", folder])
            if status:
                raise SystemExit(status)
            seconds = time.perf_counter() - started
            content = json.loads((Path(folder) / f"{verb}.json").read_text(encoding="utf-8"))
            files = [picture["file"] for picture in content["pictures"] if picture["file"] in SHOWN]
            files = [] if "DATA" in call else files
            names = [f"{options.name}-{file.replace(verb, key)}" for file in files]
            for file, name in zip(files, names, strict=True):
                small(Path(folder) / file, options.out / name)
        found[key] = {
            "command": f"ganfeat {call.replace('RUN', f'runs/{options.name}')}",
            "seconds": round(seconds, 1),
            "table": content["table"],
            "pictures": names,
            **{name: content[name] for name in KEPT if name in content},
            **{name: content[name]["all"] for name in ("trained", "untrained") if content.get(name)},
        }
    results = json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else {}
    results.setdefault("command", "python examples/gallery.py NAME RUN DATA")
    results["machine"] = describe_machine()
    results.setdefault("networks", {})[options.name] = {"network": gan.describe(), "verbs": found}
    options.results.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {options.results}, {options.out}/{options.name}-*.png", file=sys.stderr)


if __name__ == "__main__":
    main()
