"""What an extraction is going to do, decided once and written down before any of it is done.

The images are divided into shards, the same every time; shard 12 becomes ``part-00012.parquet``, whoever makes it. The
list lies in ``work/shards.parquet``, so workers read of it what they need, and need not list a folder of a hundred
million files again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ganfeat.checkpoint import write_atomically
from ganfeat.config import differences
from ganfeat.data.shards import Shard, ShardedSource, read_shard
from ganfeat.errors import InputError
from ganfeat.files import replacing
from ganfeat.scale.output import LISTING, ErrorTable, Output, Unread

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1
_PEEK, _PEEK_SHARDS = 64, 8
"""Images of a shard, and tar files evenly spaced, that are looked at to tell what labels are."""
_GROUP_BYTES, _GROUP_ROWS = 1 << 20, 1024


@dataclass(frozen=True)
class Plan:
    """What is made of what.

    Parameters
    ----------
    settings : dict
        All that decides which rows there are, and their digits. Two plans are one where these are equal.
    source : str
        The images, in words.
    classes : tuple of str or None
    labels : {"int64", "string", None}
        Type of the column of labels, if there is one.
    shards : int
    count : int or None
        How many candidates there are, where that is known before they are read.
    listed : int
        How many were found unreadable while listing; they are not among the candidates.
    about : dict
        What the card will say of the features.
    """

    settings: dict[str, Any]
    source: str
    classes: tuple[str, ...] | None
    labels: str | None
    shards: int
    count: int | None
    listed: int
    about: dict[str, Any]

    @property
    def digest(self) -> str:
        """The settings in 64 hex digits; stands in the card."""
        return digest_of(self.settings)

    @property
    def images(self) -> int | None:
        """How many candidates are looked at; None where that is not known before they are."""
        limit = self.settings["limit"]
        return self.count if self.count is None or limit is None else min(self.count, limit)

    def name(self, shard: int) -> str:
        """File name of a shard's part; names sort as shards do."""
        return f"part-{shard:0{max(5, len(str(self.shards - 1)))}d}.parquet"

    def missing(self, output: Output) -> list[int]:
        """The shards that are not done."""
        there = output.parts()
        return [shard for shard in range(self.shards) if self.name(shard) not in there]

    def write(self, output: Output) -> None:
        """Write ``plan.json``, whole or not at all."""
        content = {"format": FORMAT, **vars(self)}
        write_atomically(output.plan, (json.dumps(content, indent=2) + "\n").encode())

    @classmethod
    def read(cls, output: Output) -> Plan | None:
        """The plan of a folder; None where it has none.

        Raises
        ------
        InputError
            If it is damaged, or of another version.
        """
        try:
            content = json.loads(output.plan.read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT:
                raise InputError(
                    f"{output.plan} was written by another version of ganfeat: choose another --out, or delete the "
                    "folder"
                )
            classes = content.pop("classes")
            return cls(classes=None if classes is None else tuple(classes), **content)
        except FileNotFoundError:
            return None
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{output.plan} is damaged: choose another --out, or delete the folder") from None

    def check_same(self, settings: Mapping[str, Any], output: Output) -> None:
        """Refuse to go on with other settings.

        Raises
        ------
        InputError
            It names what differs.
        """
        lines = differences(self.settings, plain(settings))
        if lines:
            told = {"signature": "the images have changed", "weights": "the run has changed"}
            named = "; ".join(told.get(line.partition(":")[0], line) for line in lines)
            raise InputError(
                f"{output.path} holds features of another plan ({named}): choose another --out, or delete the folder"
            )


def digest_of(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings: equal only where plans are."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come back from a JSON file."""
    content: dict[str, Any] = json.loads(json.dumps(settings))
    return content


def make_plan(source: ShardedSource, settings: Mapping[str, Any], about: dict[str, Any], output: Output) -> Plan:
    """List the shards into the folder.

    Parameters
    ----------
    source : ShardedSource
    settings : dict
    about : dict
        For the card.
    output : Output
        Made.

    Returns
    -------
    Plan
        Not written yet.

    Raises
    ------
    InputError
        If there are no images, or ``settings["limit"]`` cannot be met.
    """
    if settings["limit"] is not None and source.count is None:
        raise InputError(
            "--limit takes evenly spaced images, and how many there are is not known before all are read (tar files, "
            "the Hub): leave it out, or name some of the files"
        )
    shards = source.shards()
    first = next(shards, None)
    if first is None:
        raise InputError(f"there are no images in {source.name}")

    def all_of_them() -> Iterator[Shard]:
        yield first
        yield from shards

    count = _write_shards(output.work / "shards.parquet", all_of_them())
    with ErrorTable(output.errors / LISTING) as table:
        table.add(Unread(skipped.source, source.name, skipped.reason) for skipped in source.skipped)
    labels = _label_type(source, first)
    return Plan(plain(settings), source.name, source.classes, labels, count, source.count, table.rows, about)


def _label_type(source: ShardedSource, first: Shard) -> str | None:
    """Type of the column; one name among numbers makes names of all."""
    if source.classes is not None:
        return "int64"
    if source.labelled is not None:
        return source.label_kind if source.labelled else None
    shards = [first]
    if source.count is None:  # few, and large
        every = list(source.shards())
        some = min(_PEEK_SHARDS, len(every))
        shards = [every[i * len(every) // some] for i in range(some)]
    labels = {type(one.label) for shard in shards for one in islice(read_shard(shard), _PEEK)} - {type(None)}
    return ("string" if str in labels else "int64") if labels else None


def _write_shards(path: Path, shards: Iterator[Shard]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field("shard", pa.string(), nullable=False)])
    count, waiting, size = 0, list[str](), 0

    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:

        def flush() -> None:
            writer.write_table(pa.table([pa.array(waiting, pa.string())], schema=schema))
            waiting.clear()

        for shard in shards:
            waiting.append(shard.to_json())
            count, size = count + 1, size + len(waiting[-1])
            if size >= _GROUP_BYTES or len(waiting) >= _GROUP_ROWS:
                flush()
                size = 0
        if waiting:
            flush()
    return count


class ShardList:
    """The shards of a plan by their numbers, read from its list a few at a time.

    Parameters
    ----------
    output : Output

    Raises
    ------
    InputError
        If the list is gone or damaged.
    """

    def __init__(self, output: Output) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = output.work / "shards.parquet"
        try:
            self._file = pq.ParquetFile(path)
        except FileNotFoundError:
            raise gone(path, output) from None
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is damaged ({error}): extract into another folder") from error
        metadata = self._file.metadata
        rows = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *rows])
        self._group, self._held = -1, list[str]()

    def __getitem__(self, number: int) -> Shard:
        """One shard."""
        group = int(np.searchsorted(self._starts, number, side="right")) - 1
        if group != self._group:
            self._held = self._file.read_row_group(group).column(0).to_pylist()
            self._group = group
        return Shard.from_json(self._held[number - int(self._starts[group])])


def gone(path: Path, output: Output) -> InputError:
    """What to say where something of ``work/`` was deleted."""
    return InputError(
        f"{path} is gone: without it, the parts that are missing from {output.path} cannot be made. Extract into "
        "another folder"
    )


def weights_of(*networks: nn.Module | None) -> str:
    """SHA-256 over all names, types and numbers of networks: what they compute is the same where this is."""
    import torch

    digest = hashlib.sha256()
    for network in networks:
        digest.update(b"\1" if network is None else b"\2")
        for name, tensor in sorted(({} if network is None else network.state_dict()).items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
