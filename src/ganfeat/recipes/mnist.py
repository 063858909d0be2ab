"""MNIST's files, as recipes read them."""

from __future__ import annotations

from pathlib import Path

from ganfeat.data import ImageDataset, load_images
from ganfeat.errors import InputError
from ganfeat.probes.curves import Stage

FILES = {
    part: tuple(f"{stem}-images{sep}idx3-ubyte{end}" for sep in "-." for end in (".gz", ""))
    for part, stem in (("train", "train"), ("test", "t10k"))
}
"""Names that a part of the data set may have."""


def read_pair(
    folder: Path, stage: Stage, *, size: int | None = None, images: int | None = None, test: int | None = None
) -> tuple[ImageDataset, ImageDataset]:
    """MNIST's training and test images, with labels.

    Parameters
    ----------
    folder : Path
    stage
        Opens progress displays.
    size : int, optional
        Side that the images are resized to; by default their own, 28.
    images, test : int, optional
        How many, evenly spaced; all by default.

    Raises
    ------
    InputError
        If the folder has none of :data:`FILES`.
    """
    if not folder.is_dir():
        raise InputError(f"--data {folder} is no folder: give the one with MNIST's {FILES['train'][0]}")
    sets = []
    for part, limit in (("train", images), ("test", test)):
        file = next((folder / name for name in FILES[part] if (folder / name).is_file()), None)
        if file is None:
            raise InputError(f"--data {folder} has no {FILES[part][0]}: give the folder with MNIST's four files")
        with stage(f"reading {part}", 0) as update:
            found = load_images(file, size=size, limit=limit, strict=True, progress=update)
        if found.labels is None:
            raise InputError(f"{file} has no labels file beside it: accuracy needs them")
        sets.append(found)
    return sets[0], sets[1]
