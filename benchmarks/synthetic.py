"""Synthetic sets of any size: tar shards of small JPEGs (WebDataset's layout), one in a thousand of them damaged.

Images are smooth random fields with a few random rectangles, so JPEG and networks have something to do; image i is the
same whatever the number of images, and no two are alike.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

PER_SHARD = 10_000
CLASSES = 10
DAMAGED_EVERY = 1000


def shards(folder: Path, images: int, size: int = 32) -> list[Path]:
    """Make (or find) as many shards as hold so many images."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for first in range(0, images, PER_SHARD):
        path = folder / f"shard-{first // PER_SHARD:05d}.tar"
        if not path.exists():
            partial = path.with_suffix(".partial")
            _write(partial, first, min(PER_SHARD, images - first), size)
            partial.rename(path)
        paths.append(path)
    return paths


def damaged(images: int) -> int:
    """How many of the first so many images cannot be read."""
    return len(range(DAMAGED_EVERY - 1, images, DAMAGED_EVERY))


def _write(path: Path, first: int, count: int, size: int) -> None:
    generator = np.random.default_rng([first, size])
    coarse = generator.integers(0, 256, (count, 5, 5, 3)).astype(np.uint8)
    boxes = generator.integers(0, size, (count, 3, 4))
    colours = generator.integers(0, 256, (count, 3, 3)).astype(np.uint8)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for k in range(count):
            pixels = np.array(Image.fromarray(coarse[k]).resize((size, size), Image.Resampling.BICUBIC))
            for (a, b, c, d), colour in zip(boxes[k], colours[k], strict=True):
                pixels[min(a, b) : max(a, b), min(c, d) : max(c, d)] = colour
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
            content = buffer.getvalue()
            number = first + k
            if number % DAMAGED_EVERY == DAMAGED_EVERY - 1:
                content = content[: len(content) // 2]
            _add(archive, f"{number:09d}.jpg", content)
            _add(archive, f"{number:09d}.cls", str(number % CLASSES).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
