"""Writing a packed set: rows are added in order, by one process, which may be killed at any moment.

What was added counts from :meth:`SetWriter.commit` on. A writer that is opened on a set which is not finished cuts off
what was added after the last commit, and says with which position that was made; so whoever adds the same rows from
there on gets the same files, byte for byte.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganfeat.config import differences
from ganfeat.data.sets import CARD, FORMAT, INDEX, WORK, PackedSet, images_file, open_set
from ganfeat.errors import InputError, RunError
from ganfeat.files import replacing

_ROWS_AT_ONCE = 1 << 14
_JOURNAL = "journal.json"
_LOGS = ("index", "dropped", "notes")
MOST_CLASSES = 10_000
"""Different names of classes: more of them are texts."""


class Row(NamedTuple):
    """What the index says of an image; `box` is (left, top, right, bottom)."""

    id: str
    source: str
    width: int
    height: int
    hash: str
    label: int | str | None = None
    box: tuple[int, int, int, int] | None = None


class Dropped(NamedTuple):
    """An image that is not in the set: `kind` is the reason in a few words, `reason` in full."""

    id: str
    source: str
    kind: str
    reason: str


class SetWriter:
    """Writes a packed set, and goes on with one that is not finished.

    Parameters
    ----------
    path : Path
        Its folder, which is made: new, empty, or of a set that is not finished.
    sizes : sequence of int
    channels : int
    settings : mapping
        All that decides what is in the set, as plain values. A set that was begun with others is refused.
    total : int, optional
        How many images there will be at most: room for them is claimed on the disk.

    Attributes
    ----------
    position : dict
        As given to the last commit; empty at the beginning.
    count : int
        Images so far.

    Raises
    ------
    InputError
        If the folder holds something else, or was begun with other settings, or is being written by another process,
        or the disk has no room for `total` images.
    """

    def __init__(
        self,
        path: Path,
        sizes: Sequence[int],
        channels: int,
        *,
        settings: Mapping[str, Any],
        total: int | None = None,
    ) -> None:
        self.path, self.sizes, self.channels = path, tuple(sizes), channels
        self._settings = json.loads(json.dumps({**settings, "sizes": list(sizes), "channels": channels}))
        self._work = path / WORK
        self._open = ExitStack()
        refuse_foreign(path)
        self._make_folder()
        self._open.enter_context(_locked(self._work / "lock", path))
        for torn in path.rglob(".*.tmp-*"):  # of a killed process
            torn.unlink(missing_ok=True)
        try:
            journal = self._read_journal()
            self.resumed = journal is not None
            self.position: dict[str, Any] = journal["position"] if journal else {}
            self.count: int = journal["count"] if journal else 0
            self.kinds = Counter[str](journal["kinds"] if journal else {})
            lengths = journal["lengths"] if journal else {}
            self._logs = {
                name: self._log(f"{name}.jsonl", lengths.get(name, 0)) for name in ("index", "dropped", "notes")
            }
            self._files = {size: self._open.enter_context(self._pixel_file(size)) for size in self.sizes}
            self._claim(total)
            if journal is None:
                self.commit({})
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> SetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; what was not committed is cut off when the set is opened again."""
        self._open.close()

    def add(self, images: Mapping[int, NDArray[np.uint8]], rows: Sequence[Row]) -> None:
        """Add images.

        Parameters
        ----------
        images : mapping of int to ndarray of uint8, shape (m, size, size, channels)
            By size.
        rows : sequence of Row
            Of length m.
        """
        with self._full_disk():
            for size, file in self._files.items():
                block = np.ascontiguousarray(images[size])
                if block.shape != (len(rows), size, size, self.channels) or block.dtype != np.uint8:
                    raise ValueError(f"{block.dtype} of shape {block.shape} for {len(rows)} rows of size {size}")
                file.write(block.data)
            self._logs["index"].write(b"".join(json.dumps(row).encode("ascii") + b"\n" for row in rows))
        self.count += len(rows)

    def drop(self, dropped: Sequence[Dropped]) -> None:
        """Note images that are left out."""
        with self._full_disk():
            self._logs["dropped"].write(b"".join(json.dumps(one).encode("ascii") + b"\n" for one in dropped))
        self.kinds.update(one.kind for one in dropped)

    def note(self, value: Any) -> None:
        """Keep a plain value until the set is finished."""
        with self._full_disk():
            self._logs["notes"].write(json.dumps(value).encode("ascii") + b"\n")

    def commit(self, position: Mapping[str, Any]) -> None:
        """Make all that was added last, and note the position to go on from."""
        with self._full_disk():
            for file in (*self._files.values(), *self._logs.values()):
                file.flush()
                os.fsync(file.fileno())
            self.position = dict(position)
            journal = {
                "settings": self._settings,
                "position": self.position,
                "count": self.count,
                "kinds": dict(self.kinds),
                "lengths": {name: file.tell() for name, file in self._logs.items()},
            }
            with replacing(self._work / _JOURNAL) as temporary:
                temporary.write_text(json.dumps(journal), "utf-8")

    def rows(self) -> Iterator[Row]:
        """Go through the index as committed."""
        return (Row(*entry) for entry in _lines(self._work / "index.jsonl"))

    def dropped(self) -> Iterator[Dropped]:
        """Go through what was dropped, as committed."""
        return (Dropped(*entry) for entry in _lines(self._work / "dropped.jsonl"))

    def notes(self) -> Iterator[Any]:
        """Go through what was noted, as committed."""
        return _lines(self._work / "notes.jsonl")

    def pixels(self, size: int) -> NDArray[np.uint8]:
        """Memory map of the images so far, as committed."""
        self._files[size].flush()
        if not self.count:
            return np.empty((0, size, size, self.channels), np.uint8)
        offset = _offset(size, self.channels)
        return np.memmap(self.path / images_file(size), np.uint8, "r", offset, (self.count, size, size, self.channels))

    def finish(
        self,
        source: str,
        classes: Sequence[str] | None = None,
        *,
        step: str = "read",
        details: Mapping[str, Any] | None = None,
    ) -> PackedSet:
        """Write the index, the list of what was dropped (``steps/STEP/dropped.parquet``) and, last, ``set.json``.

        Parameters
        ----------
        source : str
            What the images are, in words.
        classes : sequence of str, optional
            Names of the classes, where they are known; else the labels that are strings, sorted, unless there are more
            than 10,000.
        step : str
            What has dropped images.
        details : mapping, optional
            More for ``set.json``.
        """
        with self._full_disk():
            self.commit(self.position)
            known = tuple(classes) if classes is not None else self._names()
            labelled, boxed = self._write_index(known)
            self._write_dropped(step)
            for size, file in self._files.items():
                file.truncate(_offset(size, self.channels) + self.count * size * size * self.channels)
                file.seek(0)
                file.write(_header(self.count, size, self.channels))
                file.flush()
                os.fsync(file.fileno())
            card = {
                "format": FORMAT,
                "count": self.count,
                "sizes": list(self.sizes),
                "channels": self.channels,
                "labelled": labelled,
                "boxed": boxed,
                "classes": list(known) if known and labelled else None,
                "source": source,
                "settings": self._settings,
                **(details or {}),
            }
            with replacing(self.path / CARD) as temporary:
                temporary.write_text(json.dumps(card, indent=2) + "\n", "utf-8")
        self.close()
        shutil.rmtree(self._work, ignore_errors=True)
        return open_set(self.path)

    def _make_folder(self) -> None:
        try:
            self._work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path} cannot be made: {error.strerror}") from error

    def _read_journal(self) -> dict[str, Any] | None:
        path = self._work / _JOURNAL
        if not path.exists():
            return None
        try:
            journal: dict[str, Any] = json.loads(path.read_text("utf-8"))
            told = {"signature": "the images have changed since"}
            found = differences(journal["settings"], self._settings)
            lines = [told.get(line.partition(":")[0], line) for line in found]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged ({error}): delete {self.path} and start again") from error
        if lines:
            raise InputError(
                f"{self.path} was begun with other settings ({'; '.join(lines)}): use the same again, give another "
                "folder, or delete it"
            )
        return journal

    def _log(self, name: str, length: int) -> IO[bytes]:
        file = self._open.enter_context((self._work / name).open("ab"))
        file.truncate(length)
        file.seek(0, os.SEEK_END)
        return file

    def _pixel_file(self, size: int) -> IO[bytes]:
        path = self.path / images_file(size)
        path.touch()
        file = path.open("r+b")
        file.write(_header(0, size, self.channels))
        file.truncate(file.tell() + self.count * size * size * self.channels)
        file.seek(0, os.SEEK_END)
        return file

    def _claim(self, total: int | None) -> None:
        """Claim the room on the disk, so that it is not found to be full after hours."""
        if total is None:
            return
        bytes_each = sum(size * size for size in self.sizes) * self.channels
        free = shutil.disk_usage(self.path).free
        if (total - self.count) * bytes_each > free:
            raise InputError(
                f"no room for {total:,} images at {self.path}: they take {total * bytes_each / 1e9:.1f} GB, and "
                f"{free / 1e9:.1f} GB are free. Make room, or give another folder or fewer or smaller sizes"
            )
        if hasattr(os, "posix_fallocate"):
            for size, file in self._files.items():
                try:
                    os.posix_fallocate(file.fileno(), 0, _offset(size, self.channels) + total * size**2 * self.channels)
                except OSError:  # a disk that cannot promise it
                    return

    def _names(self) -> tuple[str, ...] | None:
        names: set[str] = set()
        for row in self.rows():
            if isinstance(row.label, str):
                names.add(row.label)
                if len(names) > MOST_CLASSES:
                    return None
        return tuple(sorted(names)) or None

    def _write_index(self, classes: tuple[str, ...] | None) -> tuple[bool, bool]:
        """Write the index, and tell whether there are labels, and boxes."""
        import pyarrow as pa

        index = {name: label for label, name in enumerate(classes or ())}
        labelled = any(_label(row.label, index) is not None for row in self.rows())
        boxed = any(row.box is not None for row in self.rows())
        fields = [
            pa.field("id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("hash", pa.string(), nullable=False),
        ]
        if labelled:
            fields.append(pa.field("label", pa.int64()))
        if boxed:
            fields.append(pa.field("box", pa.list_(pa.int32(), 4)))

        def records() -> Iterator[dict[str, Any]]:
            for row in self.rows():
                yield {**row._asdict(), "label": _label(row.label, index)}

        with replacing(self.path / INDEX) as temporary:
            write_table(temporary, pa.schema(fields), records())
        return labelled, boxed

    def _write_dropped(self, step: str) -> None:
        import pyarrow as pa

        folder = self.path / "steps" / step
        folder.mkdir(parents=True, exist_ok=True)
        schema = pa.schema([pa.field(name, pa.string(), nullable=False) for name in Dropped._fields])
        with replacing(folder / "dropped.parquet") as temporary:
            write_table(temporary, schema, (one._asdict() for one in self.dropped()))

    @contextmanager
    def _full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"writing to {self.path} failed: {error.strerror or error}. What was done is kept: make room, or "
                "repair what is wrong, and run the same command again"
            ) from error


def write_table(path: Path, schema: Any, records: Iterator[dict[str, Any]]) -> None:
    """Write records as parquet, with few of them in memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        waiting: list[dict[str, Any]] = []
        for record in records:
            waiting.append(record)
            if len(waiting) == _ROWS_AT_ONCE:
                writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
                waiting = []
        if waiting:
            writer.write_table(pa.Table.from_pylist(waiting, schema=schema))


def refuse_foreign(path: Path) -> None:
    """Refuse a folder that holds something other than a set that is not finished.

    Raises
    ------
    InputError
    """
    if path.is_dir() and not (path / WORK).is_dir():
        found = next(path.iterdir(), None)
        if (path / CARD).is_file():
            raise InputError(f"{path} is a finished set: give another folder, or delete it")
        if found is not None:
            raise InputError(f"{path} holds {found.name} and is no packed set: give a new or an empty folder")
    elif path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file: give a new or an empty folder")


def _label(value: int | str | None, index: Mapping[str, int]) -> int | None:
    if isinstance(value, str):
        return index.get(value)
    return None if value is None or value < 0 else value


def _header(count: int, size: int, channels: int) -> bytes:
    import io

    stream = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, channels)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def _offset(size: int, channels: int) -> int:
    """Where pixels begin. NumPy leaves room in the header for any number of rows."""
    return len(_header(0, size, channels))


def _lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        yield from map(json.loads, file)


@contextmanager
def _locked(path: Path, folder: Path) -> Iterator[None]:
    """Keep a second process out; a killed one leaves no lock."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"another process is writing to {folder}: wait for it, or give another folder") from None
        yield
