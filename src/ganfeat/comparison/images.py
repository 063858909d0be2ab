"""The images of a comparison: labelled, at the size of every network, the same ones held out for each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.arrays import ImageShape, as_images, fingerprint
from ganfeat.data import ImageDataset, load_images
from ganfeat.data.bundled import BUNDLED
from ganfeat.errors import InputError
from ganfeat.probes.curves import Stage
from ganfeat.probes.draws import hold_out

HELD_OUT = 0.2
LEAST = 20
SEEN = {
    "learn": "has not seen the held-out images: it learned from the others, without labels",
    "all": "has seen the held-out images, without labels",
    "data": "learned from the images of DATA, without labels; it is scored on those of --test",
    "": "may have seen the held-out images, without labels",
}
"""What a network knows of the images that it is scored on."""
OTHER_SEED = "seed "


@dataclass(frozen=True)
class Images:
    """Labelled images: those to learn from first, then those held out.

    ``prints`` are fingerprints of what a network may have learned from, by keys of :data:`SEEN` and ``"seed K"``.
    """

    pixels: dict[ImageShape, NDArray[np.uint8]]
    labels: NDArray[np.int64]
    learn: int
    prints: dict[ImageShape, dict[str, str]]
    card: dict[str, Any]

    def seen(self, shape: ImageShape, learned_from: str | None, *, supervised: bool = False) -> str:
        """Say what a network that learned from images of this fingerprint knows of the held-out ones."""
        what = next((what for what in SEEN if learned_from and self.prints[shape].get(what) == learned_from), "")
        return SEEN[what].replace("without labels", "with labels") if supervised else SEEN[what]

    def other_seed(self, shape: ImageShape, learned_from: str | None) -> int | None:
        """With which seed the network's own held-out images would be those held out here, if with any."""
        found = (key for key, value in self.prints[shape].items() if value == learned_from)
        return next((int(key.removeprefix(OTHER_SEED)) for key in found if key.startswith(OTHER_SEED)), None)


def read(
    data: Any,
    test: Any,
    shapes: Sequence[ImageShape],
    stage: Stage,
    *,
    limit: int | None,
    seed: int,
    other_seeds: Iterable[int] = (),
) -> Images:
    """Read labelled images at every size, and hold a fifth out where there are no others to test on.

    Parameters
    ----------
    data, test
        As :func:`ganfeat.load_images` takes them; ``test`` may be None.
    shapes : sequence of (height, width, channels)
        Squares.
    stage
        Opens progress displays.
    limit : int, optional
        Use so many images of each, evenly spaced.
    seed : int
        Of what is held out.
    other_seeds : iterable of int
        Seeds with which the networks may have held images out themselves.

    Raises
    ------
    InputError
        If there are no labels, a single class, or too few images, or images would be scored on that are learned from.
    """
    paths = [Path(given).expanduser().resolve() for given in (data, test) if _is_path(given)]
    if len(paths) == 2 and paths[0] == paths[1]:
        raise InputError(_overlap("all", str(test)))
    pixels, prints = dict[ImageShape, NDArray[np.uint8]](), dict[ImageShape, dict[str, str]]()
    labels = learn = images = others = None
    for shape in shapes:
        reading: dict[str, Any] = {"size": shape[0], "channels": shape[2] if shape[2] in (1, 3) else None}
        with stage("reading images", 0) as update:
            images = load_images(data, limit=limit, progress=update, **reading)
            others = images if test is None else load_images(test, limit=limit, progress=update, **reading)
        learn, held_out = _split(images, None if test is None else others, seed)
        found = np.concatenate([_labels(images, "DATA")[learn], _labels(others, "--test")[held_out]])
        if labels is not None and not np.array_equal(labels, found):
            raise InputError(f"{data} gives other images at another size: remove those that cannot be read")
        labels = found
        whole = as_images(images.images, shape)
        pixels[shape] = np.concatenate([whole[learn], as_images(others.images, shape)[held_out]])
        if test is not None:
            prints[shape] = {"data": fingerprint(whole)}
            continue
        prints[shape] = {"learn": fingerprint(pixels[shape][: len(learn)]), "all": fingerprint(whole)}
        if len(labels) == len(images):
            for other in set(other_seeds) - {seed}:
                rows = hold_out(_labels(images, "DATA"), HELD_OUT, other)[0]
                prints[shape][f"{OTHER_SEED}{other}"] = fingerprint(whole[rows])
    assert labels is not None and learn is not None and images is not None and others is not None
    read_in_all = len(images) + (len(others) if test is not None else 0)
    card = {
        "data": images.source,
        "test": None if test is None else others.source,
        "learned from": len(learn),
        "held out": len(labels) - len(learn),
        "classes": len(np.unique(labels)),
        "without a label": read_in_all - len(labels),
        "unreadable": len(images.skipped) + (len(others.skipped) if test is not None else 0),
    }
    return Images(pixels, labels, len(learn), prints, card)


def _is_path(given: Any) -> bool:
    return isinstance(given, str | os.PathLike) and given not in BUNDLED


def _overlap(how_many: str, source: str) -> str:
    return (
        f"{how_many} of the images of --test ({source}) are among those of DATA that labels are drawn from: leave "
        "--test out, and a fifth of DATA is held out, or give other images"
    )


def _split(images: ImageDataset, others: ImageDataset | None, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from, and rows to score on: of ``others``, or of ``images`` too if there are none."""
    y = _labels(images, "DATA")
    known = np.flatnonzero(y >= 0)
    if others is None:
        learn, held_out = (known[part] for part in hold_out(y[known], HELD_OUT, seed))
    else:
        learn, held_out = known, np.flatnonzero(_labels(others, "--test") >= 0)
        if images.classes and others.classes and images.classes != others.classes:
            raise InputError(
                f"the classes of DATA and of --test are not the same ({_some(images.classes)}; "
                f"{_some(others.classes)}): give the same sub-folders to both"
            )
        twice = np.intersect1d(learn, held_out)
        if len(twice) and images.shape == others.shape and images.fingerprint() == others.fingerprint():
            raise InputError(_overlap(f"{len(twice):,}", others.source))
    if len(np.unique(y[known])) < 2:
        raise InputError(f"the labels of {images.source} have 1 class: accuracy needs at least 2")
    if len(learn) < LEAST or not len(held_out):
        raise InputError(
            f"there are {len(learn)} images with a label to learn from and {len(held_out)} to score on: at least "
            f"{LEAST} and 1 are needed, and 3 of a class if some of each are to be held out"
        )
    return learn, held_out


def _labels(images: ImageDataset, what: str) -> NDArray[np.int64]:
    if images.labels is None or not (images.labels >= 0).any():
        raise InputError(
            f"the images of {what} ({images.source}) have no labels: give a folder with a sub-folder for every class, "
            "parquet with a column of labels, .npz with an array y, or F.npy with F.labels.npy"
        )
    return images.labels


def _some(classes: Sequence[str]) -> str:
    return ", ".join(classes[:4]) + (", …" if len(classes) > 4 else "")
