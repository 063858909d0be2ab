"""Known duplicates, planted in a set of images: what a search for duplicates is measured on."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganfeat.errors import InputError

Image = NDArray[np.uint8]
Change = Callable[[Image, np.random.Generator], Image]
"""One image ``uint8 (h, w, c)`` to a changed one of the same shape."""


def same(image: Image, generator: np.random.Generator) -> Image:
    """The image itself."""
    return image


def reencoded(quality: int) -> Change:
    """JPEG with 4:2:0 chroma, as a camera or a web site would write it."""

    def change(image: Image, generator: np.random.Generator) -> Image:
        from PIL import Image as pil

        plain = pil.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        file = io.BytesIO()
        plain.save(file, "JPEG", quality=quality, subsampling=2)
        with pil.open(file) as again:
            return np.asarray(again).reshape(image.shape)

    return change


def shifted(pixels: int) -> Change:
    """By so many pixels along both axes or one, in one of eight directions; the border is repeated."""

    def change(image: Image, generator: np.random.Generator) -> Image:
        down, right = _DIRECTIONS[generator.integers(len(_DIRECTIONS))] * pixels
        padded = np.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
        height, width = image.shape[:2]
        return padded[pixels - down : pixels - down + height, pixels - right : pixels - right + width]

    return change


def cropped(share: float) -> Change:
    """A share of each side is cut off, evenly, and the rest enlarged again: the same picture, nearer."""

    def change(image: Image, generator: np.random.Generator) -> Image:
        height, width = image.shape[:2]
        cut_y, cut_x = height * share / 2, width * share / 2
        return _resized(image, (width, height), (cut_x, cut_y, width - cut_x, height - cut_y))

    return change


def shrunk(factor: float) -> Change:
    """Made smaller by a factor and enlarged again: a thumbnail."""

    def change(image: Image, generator: np.random.Generator) -> Image:
        height, width = image.shape[:2]
        small = _resized(image, (max(1, round(width / factor)), max(1, round(height / factor))))
        return _resized(small, (width, height))

    return change


def brighter(share: float) -> Change:
    """All pixels times ``1 + share`` or ``1 - share``."""

    def change(image: Image, generator: np.random.Generator) -> Image:
        return _as_bytes(image * (1 + share * generator.choice((-1, 1))))

    return change


def contrasted(share: float) -> Change:
    """Differences to the mean grey times ``1 + share`` or ``1 - share``."""

    def change(image: Image, generator: np.random.Generator) -> Image:
        mean = image.mean()
        return _as_bytes(mean + (image - mean) * (1 + share * generator.choice((-1, 1))))

    return change


def mirrored(image: Image, generator: np.random.Generator) -> Image:
    """Left and right exchanged."""
    return image[:, ::-1]


CHANGES: dict[str, Change] = {
    "same pixels": same,
    "JPEG 90": reencoded(90),
    "JPEG 75": reencoded(75),
    "JPEG 50": reencoded(50),
    "thumbnail, half size": shrunk(2),
    "shifted 1 pixel": shifted(1),
    "shifted 2 pixels": shifted(2),
    "shifted 3 pixels": shifted(3),
    "cropped 3 %": cropped(0.03),
    "cropped 6 %": cropped(0.06),
    "cropped 12 %": cropped(0.12),
    "brightness 10 %": brighter(0.1),
    "brightness 25 %": brighter(0.25),
    "contrast 10 %": contrasted(0.1),
    "contrast 25 %": contrasted(0.25),
    "mirrored": mirrored,
}
"""Kinds of duplicates, from none to those that few would call the same picture."""


class Planted(NamedTuple):
    """A set with known duplicates.

    Attributes
    ----------
    images : ndarray of uint8, shape (n + copies, h, w, c)
        In random order.
    origins : ndarray of int64, shape (n + copies,)
        Row of the image that each is a copy of; its own row for an original.
    kinds : tuple of str
        Of each copy; empty for an original.
    """

    images: NDArray[np.uint8]
    origins: NDArray[np.int64]
    kinds: tuple[str, ...]


def plant(images: NDArray[np.uint8], copies: int, seed: int, changes: Sequence[str] = tuple(CHANGES)) -> Planted:
    """Add changed copies of random images, and shuffle.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w, c)
        1 or 3 channels.
    copies : int
        How many; the kinds of change take turns. Originals are drawn with replacement, so some have several copies.
    seed : int
    changes : sequence of str
        Names in :data:`CHANGES`.

    Returns
    -------
    Planted

    Raises
    ------
    InputError
        If a change is not known.
    """
    unknown = [name for name in changes if name not in CHANGES]
    if unknown or not changes:
        raise InputError(f"changes={list(changes)!r}: choose some of {', '.join(CHANGES)}")
    generator = np.random.default_rng(seed)
    n = len(images)
    sources = generator.integers(n, size=copies)
    names = [changes[i % len(changes)] for i in range(copies)]
    place = generator.permutation(n + copies)  # where an image comes to lie
    mixed = np.empty((n + copies, *images.shape[1:]), np.uint8)
    mixed[place[:n]] = images
    for i, (source, name) in enumerate(zip(sources, names, strict=True)):
        mixed[place[n + i]] = CHANGES[name](images[source], generator)
    origins, kinds = np.empty(n + copies, np.int64), [""] * (n + copies)
    origins[place] = place[np.concatenate([np.arange(n), sources])]
    for i, name in enumerate(names):
        kinds[place[n + i]] = name
    return Planted(mixed, origins, tuple(kinds))


def agreement(groups: NDArray[np.int64], planted: Planted, known: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """Compare groups that were found with those that were planted.

    Parameters
    ----------
    groups : ndarray of int64, shape (n,)
        Images with the same number are said to be duplicates.
    planted : Planted
    known : ndarray of bool, shape (n,), optional
        Rows that count. None for all.

    Returns
    -------
    dict
        ``pairs``: precision and recall of pairs of images in one group. ``dropped``: of images dropped when each
        group keeps one: a drop is right where the image's origin has another copy in the group. ``kinds``: by kind of
        change, the share of copies that are in one group with their original.
    """
    rows = np.arange(len(groups)) if known is None else np.flatnonzero(known)
    found, true = _numbered(groups[rows]), _numbered(planted.origins[rows])
    both = _numbered(found * (int(true.max(initial=0)) + 1) + true)
    size_both, size_found, size_true = np.bincount(both), np.bincount(found), np.bincount(true)
    hit, said, real = _pairs(size_both), _pairs(size_found), _pairs(size_true)
    right, dropped, droppable = (int((sizes - 1).sum()) for sizes in (size_both, size_found, size_true))
    kinds: dict[str, list[bool]] = {}
    together = groups == groups[planted.origins]
    for row in rows:
        if planted.kinds[row]:
            kinds.setdefault(planted.kinds[row], []).append(bool(together[row]))
    return {
        "pairs": {"said": said, "planted": real, "right": hit, **_rates(hit, said, real)},
        "dropped": {"said": dropped, "planted": droppable, "right": right, **_rates(right, dropped, droppable)},
        "kinds": {name: {"copies": len(hits), "found": sum(hits) / len(hits)} for name, hits in sorted(kinds.items())},
    }


def _rates(right: int, said: int, real: int) -> dict[str, float | None]:
    return {"precision": right / said if said else None, "recall": right / real if real else None}


def _numbered(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(values, return_inverse=True)[1]


def _pairs(sizes: NDArray[np.int64]) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


_DIRECTIONS = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)])


def _as_bytes(values: NDArray[np.floating]) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _resized(image: Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None) -> Image:
    from PIL import Image as pil

    plain = pil.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
    return np.asarray(plain.resize(size, pil.Resampling.BICUBIC, box=box)).reshape(size[1], size[0], image.shape[2])
