"""The folder that an extraction writes: one part a shard, there whole or not at all.

::

    features/
      part-00000.parquet …   one file a shard of the images: id, label where there are any, features
      errors/part-00000.parquet …  what could not be read: id, source, reason; only of shards that had such
      errors/listing.parquet       what was found unreadable before any shard was
      plan.json              what is made of what: of another plan, nothing is written here
      work/                  the list of shards, weights, and what is being written now; not needed once there is a card
      features.json          the card; written last, so a folder that has it is whole

A part is written under a name that no other attempt has, flushed, and renamed; its errors are in place before. So the
existence of ``part-00012.parquet`` is the only record that shard 12 is done, and it cannot be wrong: a worker that dies
leaves a whole part or none, and one that was thought dead and comes late puts the same rows in the place of the same.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

from ganfeat.data.images import Skipped
from ganfeat.errors import InputError, RunError
from ganfeat.feature_files import CARD
from ganfeat.files import flush_folder
from ganfeat.parquet import batches, opened
from ganfeat.projection import PROJECTION

LISTING = "listing.parquet"
_ROWS_AT_ONCE = 1024
_MARK = "begun-by-ganfeat"


class Unread(NamedTuple):
    """An image without features: its name, the file it lies in, and why."""

    id: str
    source: str
    reason: str


class Done(NamedTuple):
    """A shard that is done: so many rows of features, so many that could not be read."""

    shard: int
    rows: int
    errors: int


@dataclass(frozen=True)
class Output:
    """Names in the folder, and the moves in it that must be of one piece.

    Parameters
    ----------
    path : Path
    """

    path: Path

    @property
    def plan(self) -> Path:
        """Written when everything else that workers need is there."""
        return self.path / "plan.json"

    @property
    def card(self) -> Path:
        """Written last."""
        return self.path / CARD

    @property
    def work(self) -> Path:
        """What workers read, and where they write what is not done."""
        return self.path / "work"

    @property
    def errors(self) -> Path:
        """The side tables."""
        return self.path / "errors"

    def make(self) -> None:
        """Make the folder, or empty it of what a start without a plan has left there.

        Raises
        ------
        InputError
            If it holds anything else: only what lies beside the mark that this leaves in ``work/`` is removed.
        """
        mark = self.work / _MARK
        if self.path.exists():
            ours = {"work", "errors", PROJECTION} if mark.is_file() else {"work"} if _is_empty(self.work) else set()
            found = sorted(entry.name for entry in os.scandir(self.path) if ".tmp-" not in entry.name)
            if others := [name for name in found if name not in ours]:
                more = " …" if len(others) > 3 else ""
                raise InputError(
                    f"--out {self.path} holds other files ({', '.join(others[:3])}{more}) and no plan.json: name a new "
                    "folder"
                )
        self.path.mkdir(exist_ok=True)
        self.work.mkdir(exist_ok=True)
        mark.touch()
        flush_folder(self.work)
        shutil.rmtree(self.errors, ignore_errors=True)
        (self.path / PROJECTION).unlink(missing_ok=True)
        for left in self.work.iterdir():
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            elif left != mark:
                left.unlink()
        self.errors.mkdir()

    def part(self, name: str) -> Path:
        """Where the rows of a shard go."""
        return self.path / name

    def parts(self) -> set[str]:
        """Names of the parts that are there."""
        try:
            return {e.name for e in os.scandir(self.path) if e.name.startswith("part-") and e.name.endswith(".parquet")}
        except FileNotFoundError:
            return set()

    @contextmanager
    def attempt(self) -> Iterator[Path]:
        """A folder that is this attempt's alone, removed at the end."""
        scratch = self.work / f"attempt-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(8)}"
        try:
            scratch.mkdir()
        except FileNotFoundError:
            raise RunError(f"{self.work} is gone: was the folder removed? Run the same command again") from None
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def signs_of_life(self) -> frozenset[tuple[str, int]]:
        """Sizes of what is being written, by whomever: they change while somebody works."""
        found = set()
        for path in (*self.work.glob("attempt-*"), *self.work.glob("attempt-*/*")):
            with suppress(FileNotFoundError):
                found.add((f"{path.parent.name}/{path.name}", path.stat().st_size))
        return frozenset(found)

    def tried(self, shard: int) -> int:
        """Note that a shard is tried, and tell how often it was before, without success."""
        with self._tries(shard).open("ab") as file:
            file.write(b".")
            return file.tell() - 1

    def tries(self, shard: int) -> int:
        """How often a shard was tried without success."""
        path = self._tries(shard)
        return path.stat().st_size if path.exists() else 0

    def any_tried(self) -> bool:
        """Whether a shard is being tried, or was in vain."""
        return any(self.work.glob("tries-*"))

    def forget_tries(self, shard: int | None = None) -> None:
        """Forget them, of one shard or of all."""
        for path in self.work.glob("tries-*") if shard is None else [self._tries(shard)]:
            path.unlink(missing_ok=True)

    def _tries(self, shard: int) -> Path:
        return self.work / f"tries-{shard}"

    def commit(self, name: str, part: Path, errors: Path | None) -> None:
        """Put a part in its place, after its errors (or, where it has none, without those of an earlier attempt)."""
        told = self.errors / name
        if errors is None:
            told.unlink(missing_ok=True)
        else:
            errors.replace(told)
        flush_folder(self.errors)
        part.replace(self.part(name))
        flush_folder(self.path)

    def sweep(self, *, every: bool = False) -> None:
        """Remove what attempts of dead processes of this machine have left; at the end, of all."""
        ours = f"attempt-{socket.gethostname()}-"
        for scratch in self.work.glob("attempt-*"):
            if every or (scratch.name.startswith(ours) and not _lives(int(scratch.name.split("-")[-2]))):
                shutil.rmtree(scratch, ignore_errors=True)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class ErrorTable:
    """Writes a side table in constant memory; of no errors, no file. A context manager: it is flushed at the end.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    rows : int
        Written so far.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._waiting: list[Unread] = []
        self._writer: Any = None
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def add(self, errors: Iterable[Unread]) -> None:
        """Append rows."""
        for error in errors:
            self._waiting.append(error)
            self.rows += 1
            if len(self._waiting) == _ROWS_AT_ONCE:
                self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([pa.field(name, pa.string(), nullable=False) for name in Unread._fields])
        if self._writer is None:
            file = self._stack.enter_context(self._path.open("wb"))
            self._stack.callback(lambda: os.fsync(file.fileno()))
            self._stack.callback(file.flush)
            self._writer = self._stack.enter_context(pq.ParquetWriter(file, schema, compression="zstd"))
        columns = [pa.array(column, pa.string()) for column in zip(*self._waiting, strict=True)]
        self._writer.write_table(pa.table(columns, schema=schema))
        self._waiting.clear()

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with self._stack:
            if kind is None and self._waiting:
                self._flush()


def read_errors(path: Path, most: int | None = None) -> Iterator[Skipped]:
    """The rows of a side table, at most so many, as id and reason."""
    if not path.exists():
        return
    with opened(path) as file:
        rows = (
            Skipped(*pair)
            for batch in batches(file, _ROWS_AT_ONCE, ["id", "reason"])
            for pair in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        )
        yield from islice(rows, most)


def count_rows(path: Path) -> int:
    """Rows of a parquet file by its footer; 0 where there is none.

    Raises
    ------
    InputError
        If it is damaged.
    """
    return _footer(path)[0] if path.exists() else 0


def read_done(output: Output, name: str) -> tuple[int, int, dict[str, str]]:
    """Rows and errors of a part that is there, by the footers, and what its writer noted in it.

    Raises
    ------
    InputError
        If it is damaged.
    """
    rows, noted = _footer(output.part(name))
    return rows, count_rows(output.errors / name), noted


def _footer(path: Path) -> tuple[int, dict[str, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path} is damaged ({' '.join(str(error).split())[:200]}): delete it, and run the same command again"
        ) from error
    noted = metadata.metadata or {}
    return metadata.num_rows, {k.decode(): v.decode() for k, v in noted.items() if not k.startswith(b"ARROW")}
