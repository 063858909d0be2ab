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
        "walk": "walk RUN --data DATA",
        "saliency": "saliency RUN DATA",
    },
    "cifar10": {
        "walk": "walk RUN --number 7 --data DATA --test TEST",
        "saliency": "saliency RUN DATA --limit 20000",
    },
    "svhn": {
        "walk": "walk RUN --number 7",
        "saliency": "saliency RUN DATA",
        "forget": f"forget RUN --boxes {SVHN_BOXES} --maps 16 --samples 32",
        "forget-deeper": f"forget RUN --boxes {SVHN_BOXES} --layer -3 --samples 32",
    },
}
SHOWN = {"walk.png", "arithmetic.png", "turn.png", "saliency.png", "receptive.png", "forget.png"}
KEPT = ("regression", "probe", "chance", "notes")
"""What is kept of a verb's JSON file beside its table, and of the channels of a layer, how they are all together."""
LARGEST = 300_000
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
    found: dict[str, Any] = {}
    for key, call in CALLS[options.name].items():
        verb = key.partition("-")[0]
        words = [
            {"RUN": str(options.run), "DATA": options.data, "TEST": options.test}.get(word, word)
            for word in call.split()
        ]
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            status = ganfeat([*words, "--out", folder])
            if status:
                raise SystemExit(status)
            seconds = time.perf_counter() - started
            content = json.loads((Path(folder) / f"{verb}.json").read_text(encoding="utf-8"))
            files = [picture["file"] for picture in content["pictures"] if picture["file"] in SHOWN]
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
    gan = load(options.run)
    results.setdefault("networks", {})[options.name] = {"network": gan.describe(), "verbs": found}
    options.results.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {options.results}, {options.out}/{options.name}-*.png", file=sys.stderr)


if __name__ == "__main__":
    main()
