"""Recall and false finds of the face step, by the size of the face and by cascade.

    python benchmarks/faces.py choose --out docs/results/faces.json
    python benchmarks/faces.py report --out docs/results/faces.json

``choose`` compares cascades and numbers of neighbours on 100 photographs; ``report`` measures what was chosen on all
others, with other faces.

Recall: LFW's faces, brought to a size and pasted at random places of VOC's photographs that show no person (by VOC's
own boxes); found where the middle of the pasted crop lies in a detection. False finds: detections in those photographs
as they are. In photographs with persons, detections inside of a person's box are counted beside those outside. The data
folder is $GANFEAT_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganfeat.device import describe_machine
from ganfeat.pictures import tile, write_png
from ganfeat.prepare.faces import FaceCropper

DATA = Path(os.environ.get("GANFEAT_DATA", Path(__file__).parents[1] / "../shared/data"))
SIZES = (32, 48, 64, 96, 128, 192)
CASCADES = (
    ("frontalface_alt2", 3),
    ("frontalface_alt2", 5),
    ("frontalface_alt2", 8),
    ("frontalface_alt", 5),
    ("frontalface_default", 5),
    ("frontalface_default", 8),
)


def read(name: str, columns: list[str]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    (file,) = (DATA / name).glob("*.parquet")
    return pq.read_table(file, columns=columns).to_pylist()


def opened(entry: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(entry["image"]["bytes"])).convert("RGB")


def pasted(face: Image.Image, photo: Image.Image, size: int, generator: np.random.Generator) -> tuple[np.ndarray, Any]:
    """A photograph with the face in it, and the middle of the face."""
    photo = photo.copy()
    left, top = (int(generator.integers(0, side - size + 1)) for side in photo.size)
    photo.paste(face.resize((size, size), Image.Resampling.BICUBIC), (left, top))
    return np.asarray(photo), (left + size / 2, top + size / 2)


def holds(box: Any, point: tuple[float, float]) -> bool:
    return box.left <= point[0] < box.right and box.top <= point[1] < box.bottom


def scored(cropper: FaceCropper, empty: list[Image.Image], composed: dict[int, list[Any]]) -> dict[str, Any]:
    """Recall by size, false finds, and time."""
    began = time.process_time()
    false = [cropper.find(np.asarray(photo)).faces for photo in empty]
    seconds = time.process_time() - began
    recall = {}
    for size, images in composed.items():
        hits = [any(holds(box, middle) for box in cropper.find(image).faces) for image, middle in images]
        recall[str(size)] = round(float(np.mean(hits)), 3)
    return {
        "cascade": cropper.cascade,
        "neighbours": cropper.neighbours,
        "recall by side of the pasted crop": recall,
        "false finds in all photographs": sum(map(len, false)),
        "of at least 48 pixels": sum(box.right - box.left >= 48 for boxes in false for box in boxes),
        "photographs with a false find": sum(bool(boxes) for boxes in false),
        "cpu milliseconds a photograph": round(1e3 * seconds / len(empty), 1),
    }


def in_persons(peopled: list[dict[str, Any]], pictures: Path | None) -> dict[str, Any]:
    """Detections in photographs with persons, inside of a person's box and elsewhere."""
    cropper, crops, inside, outside = FaceCropper(min_size=24), [], 0, 0
    for entry in peopled:
        photo = np.asarray(opened(entry))
        found = cropper.find(photo)
        boxes = [thing["bbox"] for thing in entry["objects"] if thing["name"] == "person"]
        for face, crop in zip(found.faces, found.boxes, strict=True):
            x, y = (face.left + face.right) / 2, (face.top + face.bottom) / 2
            hit = any(left <= x <= right and top <= y <= bottom for left, top, right, bottom in boxes)
            inside, outside = inside + hit, outside + (not hit)
            square = Image.fromarray(photo[crop.top : crop.bottom, crop.left : crop.right])
            crops.append(np.asarray(square.resize((64, 64), Image.Resampling.BICUBIC)))
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
        write_png(pictures / "crops.png", tile(np.stack(crops)))
    return {"number": len(peopled), "detections in a person's box": inside, "detections elsewhere": outside}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("choose", "report"))
    parser.add_argument("--photos", type=int, default=100, help="that are for choosing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    everything = read("voc2012", ["image", "objects"])
    with_person = [any(thing["name"] == "person" for thing in entry["objects"]) for entry in everything]
    empty = [e for e, person in zip(everything, with_person, strict=True) if not person]
    peopled = [e for e, person in zip(everything, with_person, strict=True) if person]
    faces = read("lfw", ["image"])
    part = slice(0, options.photos) if options.part == "choose" else slice(options.photos, None)
    order = generator.permutation(len(faces))
    large = [photo for photo in map(opened, empty) if min(photo.size) >= max(SIZES)]
    photos = large[part]
    pasted_in = [opened(faces[i]) for i in order[part][: len(photos)]]
    composed = {
        size: [pasted(face, photo, size, generator) for face, photo in zip(pasted_in, photos, strict=True)]
        for size in SIZES
    }
    command = " ".join(["python", *("PICTURES" if word == str(options.pictures) else word for word in sys.argv)])
    content: dict[str, Any] = {
        "command": command,
        "machine": describe_machine(),
        "seed": options.seed,
        "photographs without persons": len(photos),
        "pixels of one, mean": round(float(np.mean([photo.width * photo.height for photo in photos]))),
    }
    if options.part == "choose":
        croppers = [FaceCropper(min_size=24, cascade=name, neighbours=least) for name, least in CASCADES]
        content["results"] = [scored(cropper, photos, composed) for cropper in croppers]
        content["photographs with persons"] = in_persons(peopled, options.pictures)
    else:
        from scipy.stats import binomtest

        content["result"] = scored(FaceCropper(min_size=24), photos, composed)
        share = binomtest(content["result"]["photographs with a false find"], len(photos)).proportion_ci(0.95, "wilson")
        content["share of photographs with a false find, 95 %"] = [round(share.low, 4), round(share.high, 4)]
    print(json.dumps(content, indent=2))
    if options.out:
        kept = json.loads(options.out.read_text()) if options.out.is_file() else {}
        kept = {**kept, **content} if options.part == "choose" else {**kept, "held out": content}
        options.out.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
