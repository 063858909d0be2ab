"""One worker: it turns shards into parts, one after the other, wherever it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.batch import default_workers
from ganfeat.data.decode import quiet_pillow
from ganfeat.distributed import local_world_size
from ganfeat.errors import InputError
from ganfeat.estimators import load
from ganfeat.feature_files import PartWriter
from ganfeat.scale.decoding import Block, ahead, blocks_of
from ganfeat.scale.networks import Networks
from ganfeat.scale.output import Done, ErrorTable, Output
from ganfeat.scale.plan import Plan, ShardList


class Worker:
    """Does shards of a plan; holds the network.

    Parameters
    ----------
    folder : Path or str
        The output, with its plan.
    run : Path or str
    device : str
    batch_size : int
        Images the network gets at a time; features do not depend on it.
    threads : int, optional
        That decode; by default as many as cores, at most 8, shared among the processes of torchrun on this machine.

    Raises
    ------
    InputError
        If the folder or the run cannot be seen from here.
    """

    def __init__(
        self,
        folder: Path | str,
        run: Path | str,
        *,
        device: str = "auto",
        batch_size: int = 256,
        threads: int | None = None,
    ) -> None:
        self.output = Output(Path(folder))
        plan = Plan.read(self.output)
        if plan is None:
            raise InputError(
                f"there is no {self.output.plan} to be seen from here: all machines must see the images, the run and "
                "--out under the same paths (a shared file system)"
            )
        self.plan = plan
        self.networks = Networks.load(self.output, load(run, device=device), plan.settings, batch_size)
        self.shards = ShardList(self.output)
        self._threads = threads or max(1, default_workers() // local_world_size())

    def run(self, shards: Iterable[int]) -> Iterator[Done]:
        """Do shards, in this order; each is done when it is yielded.

        The images of the next are read and decoded meanwhile.
        """
        with (
            quiet_pillow(),
            ThreadPoolExecutor(self._threads, thread_name_prefix="ganfeat-decode") as pool,
            ahead(self._blocks(shards, pool)) as blocks,
        ):
            for shard, of_one in groupby(blocks, key=lambda block: block.shard):
                yield self._write(shard, of_one)

    def _blocks(self, shards: Iterable[int], pool: ThreadPoolExecutor) -> Generator[Block]:
        settings = self.plan.settings
        height, _, channels = settings["image_shape"]
        for number in shards:
            yield from blocks_of(
                number,
                self.shards[number],
                self.plan.count,
                settings["limit"],
                height,
                channels,
                self.networks.trained.batch_size,
                pool,
                self._threads + 2,
            )

    def _write(self, shard: int, blocks: Iterator[Block]) -> Done:
        name = self.plan.name(shard)
        pixels = odd = 0
        with self.output.attempt() as scratch:
            with PartWriter(scratch / "part.parquet") as part, ErrorTable(scratch / "errors.parquet") as errors:
                for block in blocks:
                    labels, others = self._labels(block)
                    part.write(
                        block.ids,
                        self.networks.features(block.images),
                        labels,
                        **self.networks.columns(block.images),
                    )
                    odd += others
                    errors.add(block.unread)
                    pixels += sum_of_hashes(block.images)
                part.note(errors=str(errors.rows), pixels=f"{pixels % MODULUS:064x}", odd_labels=str(odd))
            self.output.commit(name, scratch / "part.parquet", scratch / "errors.parquet" if errors.rows else None)
        return Done(shard, part.rows, errors.rows)

    def _labels(self, block: Block) -> tuple[NDArray[Any] | None, int]:
        """Labels of the plan's type, -1 or empty where an image has none; and how many do not fit it.

        Of tar files the type is known from some of the images; an odd label further on is no reason to end.
        """
        kind, classes = self.plan.labels, self.plan.classes
        if kind is None:
            return None, sum(label is not None for label in block.labels)
        if kind == "string":
            return np.array(["" if label is None else str(label) for label in block.labels], np.str_), 0
        places = {name: place for place, name in enumerate(classes or ())}
        labels, odd = np.full(len(block.labels), -1, np.int64), 0
        for row, label in enumerate(block.labels):
            number = places.get(label) if isinstance(label, str) else label
            if number is not None and abs(number) < _LARGEST:
                labels[row] = number
            else:
                odd += label is not None
        return labels, odd


MODULUS = 1 << 256
_LARGEST = 1 << 63


def sum_of_hashes(images: NDArray[np.uint8]) -> int:
    """Sum of the SHA-256 of images: tells sets of images apart, in whatever order and shards they come."""
    shape = repr(images.shape[1:]).encode()
    return sum(int.from_bytes(hashlib.sha256(shape + image.tobytes()).digest(), "big") for image in images)
