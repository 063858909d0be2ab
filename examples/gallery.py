"""The pictures of docs/gallery.md: a trained run, looked into by every verb that fits it.

    python examples/gallery.py digits demo-out/run mnist5k
    python examples/gallery.py cifar10 runs/dcgan-cifar10/run "cifar10/train-*.parquet"
    python examples/gallery.py faces runs/faces lfw_crop64.parquet
    python examples/gallery.py svhn runs/svhn "cifar10/test-*.parquet"

Writes docs/images/gallery/NAME-*.png and the numbers, under NAME, into docs/results/gallery.json. How the runs were
trained is in docs/gallery.md. Points and boxes below were chosen by eye from the samples of these very runs: another
training draws other images at them.
"""

from __future__ import annotations

import argparse
import json
import shlex
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

HERE = Path(__file__).parent
CALLS: dict[str, list[list[str]]] = {
    "digits": [
        ["walk", "RUN", "--data", "DATA"],
        ["saliency", "RUN", "DATA"],
    ],
    "cifar10": [
        ["walk", "RUN", "--number", "7", "--data", "DATA"],
        ["saliency", "RUN", "DATA", "--limit", "20000"],
    ],
    "svhn": [
        ["walk", "RUN"],
        ["saliency", "RUN", "DATA"],
        ["forget", "RUN", "--boxes", str(HERE / "boxes" / "svhn-digits.json"), "--samples", "32"],
    ],
}
SHOWN = {"walk.png", "arithmetic.png", "turn.png", "saliency.png", "receptive.png", "forget.png"}
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
    parser.add_argument("--out", type=Path, default=Path("docs/images/gallery"))
    parser.add_argument("--results", type=Path, default=Path("docs/results/gallery.json"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for number, call in enumerate(CALLS[options.name]):
        verb = call[0]
        words = [{"RUN": str(options.run), "DATA": options.data}.get(word, word) for word in call]
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            status = ganfeat([*words, "--out", folder])
            if status:
                raise SystemExit(status)
            seconds = time.perf_counter() - started
            content = json.loads((Path(folder) / f"{verb}.json").read_text(encoding="utf-8"))
            pictures = [picture for picture in content["pictures"] if picture["file"] in SHOWN]
            for picture in pictures:
                small(Path(folder) / picture["file"], options.out / f"{options.name}-{picture['file']}")
        key = verb if verb not in found else f"{verb} {number}"
        plain = [f"runs/{options.name}" if word == "RUN" else word for word in call]
        plain = [Path(word).name if word.startswith(str(HERE)) else word for word in plain]
        found[key] = {
            "command": shlex.join(["ganfeat", *plain]),
            "seconds": round(seconds, 1),
            "table": content["table"],
            "pictures": [f"{options.name}-{picture['file']}" for picture in pictures],
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
