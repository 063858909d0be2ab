"""Recall and false finds of the face step, by the size of the face and by cascade.

    python benchmarks/faces.py --out docs/results/faces.json

Recall: LFW's faces, brought to a size and pasted at random places of VOC's photographs that show no person (by VOC's
own boxes); found where the middle of the pasted crop lies in a detection. False finds: detections in those photographs
as they are. In photographs with persons, detections inside of a person's box are counted beside those outside. The data
folder is $GANFEAT_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import io
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganfeat.pictures import tile, write_png
from ganfeat.prepare.faces import FaceCropper
from measure import conclude

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--out")
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    everything = read("voc2012", ["image", "objects"])
    with_person = [any(thing["name"] == "person" for thing in entry["objects"]) for entry in everything]
    empty = [opened(e) for e, person in zip(everything, with_person, strict=True) if not person][: options.photos]
    peopled = [e for e, person in zip(everything, with_person, strict=True) if person]
    faces = read("lfw", ["image"])
    faces = [opened(faces[i]) for i in generator.permutation(len(faces))[: options.photos]]
    composed = {
        size: [pasted(face, photo, size, generator) for face, photo in zip(faces, empty, strict=False)]
        for size in SIZES
    }
    table = []
    for cascade, neighbours in CASCADES:
        cropper = FaceCropper(min_size=24, cascade=cascade, neighbours=neighbours)
        began = time.process_time()
        false = [cropper.find(np.asarray(photo)).faces for photo in empty]
        seconds = time.process_time() - began
        recall = {}
        for size in SIZES:
            hits = [any(holds(box, middle) for box in cropper.find(image).faces) for image, middle in composed[size]]
            recall[str(size)] = round(float(np.mean(hits)), 3)
        table.append(
            {
                "cascade": cascade,
                "neighbours": neighbours,
                "recall by side of the pasted crop": recall,
                "false finds in all photographs": sum(map(len, false)),
                "of at least 48 pixels": sum(box.right - box.left >= 48 for boxes in false for box in boxes),
                "cpu milliseconds a photograph": round(1e3 * seconds / len(empty), 1),
            }
        )
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
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        write_png(options.pictures / "crops.png", tile(np.stack(crops)))
    conclude(
        "faces",
        {
            "seed": options.seed,
            "photographs without persons": len(empty),
            "pixels of one, mean": round(float(np.mean([photo.width * photo.height for photo in empty]))),
            "results": table,
            "photographs with persons": {
                "number": len(peopled),
                "detections in a person's box": inside,
                "detections elsewhere": outside,
            },
        },
        options.out,
    )


if __name__ == "__main__":
    main()
