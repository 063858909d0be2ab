"""Many encoded images at once: a look at their headers, then decoding in a pool of threads.

Pillow decodes outside the interpreter's lock, so threads do. The order of the results is that of the
candidates whatever the number of workers.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.decode import Header, UnreadableImageError, decode_image, quiet_pillow, read_header
from ganfeat.data.encoded import EncodedImages, Item, Unreadable
from ganfeat.data.images import Skipped
from ganfeat.data.resize import DEFAULT_SIZE, OWN_SIZE_LIMIT
from ganfeat.errors import InputError

Progress = Callable[[int, int], object]

_CHUNK = 8
_SHOWN = 5
_Result = TypeVar("_Result")


def settle(encoded: EncodedImages, size: int | None, channels: int | None, workers: int) -> tuple[int, int]:
    """Choose what was left open, from the headers of the files, as :func:`load_images` documents."""
    if size is not None and channels is not None:
        return size, channels
    sides: set[int] = set()
    square, grey = True, True
    with quiet_pillow():
        for header in ordered(encoded.items(), _header, workers):
            if header is None:
                continue
            grey = grey and header.grey
            sides.add(header.width)
            square = square and header.width == header.height and len(sides) == 1
            if (size is not None or not square) and (channels is not None or not grey):
                break
    own = next(iter(sides)) if square and sides else DEFAULT_SIZE
    return (
        size if size is not None else own if own <= OWN_SIZE_LIMIT else DEFAULT_SIZE,
        channels if channels is not None else 1 if grey else 3,
    )


def decode_into(
    out: NDArray[np.uint8],
    encoded: EncodedImages,
    *,
    allowed: int,
    workers: int,
    progress: Progress | None = None,
) -> tuple[NDArray[np.int64], tuple[Skipped, ...]]:
    """Decode all candidates that can be, one behind the other, to the front of `out`.

    Parameters
    ----------
    out : ndarray or memmap of uint8, shape (len(encoded), size, size, channels)
        Filled from the front; what remains behind the last image is undefined.
    encoded : EncodedImages
        The candidates.
    allowed : int
        How many may be unreadable, counting those in ``encoded.skipped``.
    workers : int
        Threads.
    progress : callable, optional
        Called with (done, total) from this thread.

    Returns
    -------
    rows : ndarray of int64, shape (m,)
        Which candidates were decoded, ascending.
    skipped : tuple of Skipped
        Those that were not.

    Raises
    ------
    InputError
        As soon as more than `allowed` are unreadable.
    """
    size, channels = out.shape[1], out.shape[3]
    skipped, rows = list(encoded.skipped), list[int]()
    total = len(encoded) + len(skipped)
    check_skipped(skipped, total, allowed)

    def decode(item: Item) -> NDArray[np.uint8] | str:
        if isinstance(item, Unreadable):
            return item.reason
        try:
            return decode_image(item, size, channels)
        except UnreadableImageError as error:
            return str(error)

    with quiet_pillow():
        for row, image in enumerate(ordered(encoded.items(), decode, workers)):
            if isinstance(image, str):
                skipped.append(Skipped(encoded.ids[row], image))
                check_skipped(skipped, total, allowed, unfinished=row + 1 < len(encoded))
            else:
                out[len(rows)] = image
                rows.append(row)
            if progress is not None and ((row + 1) % _CHUNK == 0 or row + 1 == len(encoded)):
                progress(row + 1, len(encoded))
    return np.array(rows, dtype=np.int64), tuple(skipped)


def ordered(items: Iterable[Item], work: Callable[[Item], _Result], workers: int) -> Iterator[_Result]:
    """Map `work` over `items` in `workers` threads, in order, with few items in flight."""
    if workers == 1:
        yield from map(work, items)
        return

    def chunk_of(chunk: list[Item]) -> list[_Result]:
        return [work(item) for item in chunk]

    source = iter(items)
    waiting: deque[Future[list[_Result]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ganfeat-decode")
    try:
        while chunk := list(islice(source, _CHUNK)):
            waiting.append(pool.submit(chunk_of, chunk))
            if len(waiting) > workers + 2:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def default_workers(most: int | None = 8) -> int:
    """Count the cores that this process may use, at most 8 or so many: threads that decode wait for each other."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if most is None else min(most, cores)


def allowed_skips(max_skipped: float, count: int) -> int:
    """Turn the limit into a number: an int is one already, a float is a share of `count`, rounded up."""
    if isinstance(max_skipped, int):
        return max_skipped
    return math.ceil(max_skipped * count - 1e-9)


def check_skipped(skipped: list[Skipped], total: int, allowed: int, *, unfinished: bool = False) -> None:
    """Raise :class:`InputError`, with the first few names and reasons, if there are more than `allowed`."""
    if len(skipped) <= allowed:
        return
    shown = "".join(f"\n  {name}: {reason}" for name, reason in skipped[:_SHOWN])
    more = f"\n  … and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
    least = "at least " if unfinished else ""
    limit = f"the limit is {allowed}" if allowed else "none may be"
    raise InputError(
        f"{least}{len(skipped)} of {total} images cannot be read, and {limit}:{shown}{more}\n"
        "Repair or remove them, or allow more with max_skipped (--max-skipped, without --strict)"
    )


def _header(item: Item) -> Header | None:
    try:
        return None if isinstance(item, Unreadable) else read_header(item)
    except UnreadableImageError:
        return None
