"""Images of a shard in blocks, decoded by threads while the network is busy with the block before."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.decode import UnreadableImageError
from ganfeat.data.packed import PackedSet, open_set
from ganfeat.data.shards import Candidate, Shard, decode, read_shard
from ganfeat.errors import InputError
from ganfeat.scale.output import Unread

AHEAD = 2
"""Blocks that wait for the network, at most: one that is ready, and one that a slow disk may take its time with."""
_CHUNK = 4

T = TypeVar("T")


@dataclass(frozen=True)
class Block:
    """Images of one shard, at most a batch of them; of a shard there is at least one, perhaps empty.

    Parameters
    ----------
    shard : int
    ids : list of str
    labels : list of int, str or None
    images : ndarray of uint8 ``(n, size, size, channels)``
    unread : list of Unread
        What could not be read, among or before these.
    """

    shard: int
    ids: list[str]
    labels: list[int | str | None]
    images: NDArray[np.uint8]
    unread: list[Unread]


def chosen(shard: Shard, count: int | None, limit: int | None) -> NDArray[np.int64] | None:
    """Which of a shard's images are among ``limit`` evenly spaced ones of all, from its first; None for all.

    Over all shards these are the rows ``k * count // limit``, as :func:`~ganfeat.data.load_images` takes them.
    """
    if limit is None or count is None or limit >= count:
        return None
    first, last = (-(-place * limit // count) for place in (shard.start, shard.stop))
    return np.arange(first, last, dtype=np.int64) * count // limit - shard.start


def candidates_of(shard: Shard, count: int | None, limit: int | None) -> Iterator[Candidate]:
    """The images of a shard, or those of an evenly spaced choice."""
    rows = chosen(shard, count, limit)
    if rows is None:
        yield from read_shard(shard)
        return
    wanted = frozenset(rows.tolist())
    last = max(wanted, default=-1)
    for row, candidate in enumerate(islice(read_shard(shard), last + 1)):
        if row in wanted:
            yield candidate


def blocks_of(
    number: int,
    shard: Shard,
    count: int | None,
    limit: int | None,
    size: int,
    channels: int,
    batch: int,
    pool: ThreadPoolExecutor,
    in_flight: int = 6,
) -> Iterator[Block]:
    """The images of a shard, or those of an evenly spaced choice, as pixels.

    Parameters
    ----------
    number : int
        The shard's.
    shard : Shard
    count, limit : int or None
        As :func:`chosen` takes them.
    size, channels, batch, pool, in_flight
        As :func:`decoded` takes them.
    """
    if shard.kind == "packed":
        found = open_set(shard.paths[0], shard.details["size"])
        if found.images.shape[1:] == (size, size, channels):
            return _stored(number, shard, found, chosen(shard, count, limit), batch)
    return decoded(number, candidates_of(shard, count, limit), size, channels, batch, pool, in_flight)


def _stored(number: int, shard: Shard, found: PackedSet, rows: NDArray[np.int64] | None, batch: int) -> Iterator[Block]:
    """Images of a packed set, which are pixels already."""
    if len(found) < shard.stop:
        raise InputError(f"{shard.paths[0]} is not the set that it was: start again")
    known: Iterator[tuple[Any, ...]] = found.rows(
        ("id", "label") if found.card["labelled"] else ("id",), shard.start, shard.stop
    )
    if rows is not None:
        wanted = frozenset(rows.tolist())
        known = (row for place, row in enumerate(known) if place in wanted)
    length = shard.stop - shard.start if rows is None else len(rows)
    for first in range(0, max(1, length), batch):
        some = list(islice(known, batch))
        places = slice(shard.start + first, shard.start + first + len(some))
        images = found.images[places if rows is None else shard.start + rows[first : first + batch]]
        labels = [row[1] for row in some] if found.card["labelled"] else [None] * len(some)
        yield Block(number, [row[0] for row in some], labels, np.array(images), [])


def decoded(
    shard: int,
    candidates: Iterable[Candidate],
    size: int,
    channels: int,
    batch: int,
    pool: ThreadPoolExecutor,
    in_flight: int = 6,
) -> Iterator[Block]:
    """Decode images, in order.

    Parameters
    ----------
    shard : int
    candidates : iterable of Candidate
    size, channels : int
    batch : int
        Images a block.
    pool : ThreadPoolExecutor
    in_flight : int
        Fours of images that are read and not decoded, or decoded and not taken, at most.
    """
    images = np.empty((batch, size, size, channels), np.uint8)
    ids, labels, unread = list[str](), list[int | str | None](), list[Unread]()

    def taken() -> Block:
        return Block(shard, ids, labels, images[: len(ids)], unread)

    whole = 0
    for candidate, pixels in _mapped(candidates, size, channels, pool, in_flight):
        if isinstance(pixels, str):
            unread.append(Unread(candidate.id, candidate.source, pixels))
            if len(unread) < batch:
                continue
        else:
            images[len(ids)] = pixels
            ids.append(candidate.id)
            labels.append(candidate.label)
        if len(ids) == batch or len(unread) == batch:
            yield taken()
            whole += 1
            images = np.empty_like(images)
            ids, labels, unread = [], [], []
    if ids or unread or not whole:
        yield taken()


def _mapped(
    candidates: Iterable[Candidate], size: int, channels: int, pool: ThreadPoolExecutor, in_flight: int
) -> Iterator[tuple[Candidate, NDArray[np.uint8] | str]]:
    def work(chunk: list[Candidate]) -> list[tuple[Candidate, NDArray[np.uint8] | str]]:
        return [(candidate._replace(item=b""), _pixels(candidate, size, channels)) for candidate in chunk]

    source = iter(candidates)
    waiting: deque[Future[list[tuple[Candidate, NDArray[np.uint8] | str]]]] = deque()
    try:
        while chunk := list(islice(source, _CHUNK)):
            if not waiting and all(_is_ready(candidate, size, channels) for candidate in chunk):
                yield from work(chunk)  # nothing to do for a thread
                continue
            waiting.append(pool.submit(work, chunk))
            if len(waiting) >= in_flight:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _is_ready(candidate: Candidate, size: int, channels: int) -> bool:
    return isinstance(candidate.item, np.ndarray) and candidate.item.shape == (size, size, channels)


def _pixels(candidate: Candidate, size: int, channels: int) -> NDArray[np.uint8] | str:
    try:
        return decode(candidate, size, channels)
    except UnreadableImageError as error:
        return str(error)


@contextmanager
def ahead(items: Generator[T], depth: int = AHEAD) -> Iterator[Iterator[T]]:
    """Run a generator in a thread of its own, at most ``depth`` items ahead; it is closed at the end of the block.

    What it raises is raised to whom takes its items.
    """
    waiting: queue.Queue[tuple[T, None] | tuple[None, BaseException | None]] = queue.Queue(depth)
    over = threading.Event()

    def put(entry: tuple[T, None] | tuple[None, BaseException | None]) -> bool:
        while not over.is_set():
            try:
                waiting.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    ended = Exception("the end")

    def run() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((None, ended))
        except BaseException as error:
            put((None, error))
        finally:
            items.close()

    def taken() -> Iterator[T]:
        while True:
            item, error = waiting.get()
            if error is ended:
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]

    thread = threading.Thread(target=run, name="ganfeat-read", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        over.set()
        thread.join()
