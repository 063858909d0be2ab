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
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganfeat.config import differences
from ganfeat.data.sets import CARD, FORMAT, INDEX, JOURNAL, WORK, PackedSet, images_file, open_set
from ganfeat.data.work_folder import finished_set, refuse_foreign, remove_work
from ganfeat.errors import InputError, RunError
from ganfeat.files import flush_folder, replacing

_ROWS_AT_ONCE = 1 << 14
_LARGEST_LABEL = 2**63 - 1
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
        try:
            if (path / CARD).is_file():  # written since refuse_foreign, by the process that had the lock
                remove_work(path)
                raise finished_set(path)
            for torn in path.rglob(".*.tmp-*"):  # of a killed process
                torn.unlink(missing_ok=True)
            journal = self._read_journal()
            self.resumed = journal is not None
            self.position: dict[str, Any] = journal["position"] if journal else {}
            self.count: int = journal["count"] if journal else 0
            self.kinds = Counter[str](journal["kinds"] if journal else {})
            lengths = journal["lengths"] if journal else {}
            self._check_room(total)
            if journal is None:  # first of all files: what has none is not taken for a set
                self._write_journal({})
            self._logs = {
                name: self._log(f"{name}.jsonl", lengths.get(name, 0)) for name in ("index", "dropped", "notes")
            }
            self._files = {size: self._open.enter_context(self._pixel_file(size)) for size in self.sizes}
            self._claim(total)
            if journal is None:
                with self._full_disk():
                    flush_folder(self._work)
                    flush_folder(path)  # the pixels' names, which no journal with images in it may outlive
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
            self._write_journal({name: file.tell() for name, file in self._logs.items()})

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
            Names of the classes, where they are known; else, where any label is a string, all labels as strings,
            sorted, unless there are more than 10,000.
        step : str
            What has dropped images.
        details : mapping, optional
            More for ``set.json``.
        """
        with self._full_disk():
            self.commit(self.position)
            naming = _naming(self.rows(), classes)
            labelled, boxed = self._write_index(naming)
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
                "classes": list(naming.classes) if naming.classes and labelled else None,
                "source": source,
                "settings": self._settings,
                **(details or {}),
            }
            with replacing(self.path / CARD) as temporary:
                temporary.write_text(json.dumps(card, indent=2) + "\n", "utf-8")
        self.close()
        remove_work(self.path)
        return open_set(self.path)

    def _make_folder(self) -> None:
        try:
            self._work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path} cannot be made: {error.strerror}") from error

    def _write_journal(self, lengths: Mapping[str, int]) -> None:
        journal = {
            "settings": self._settings,
            "position": self.position,
            "count": self.count,
            "kinds": dict(self.kinds),
            "lengths": lengths,
        }
        with self._full_disk(), replacing(self._work / JOURNAL) as temporary:
            temporary.write_text(json.dumps(journal), "utf-8")

    def _read_journal(self) -> dict[str, Any] | None:
        path = self._work / JOURNAL
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
        self._not_shorter(self._work / name, length)
        file = self._open.enter_context((self._work / name).open("ab"))
        file.truncate(length)
        file.seek(0, os.SEEK_END)
        return file

    def _pixel_file(self, size: int) -> IO[bytes]:
        path = self.path / images_file(size)
        self._not_shorter(path, self.count and _offset(size, self.channels) + self.count * size**2 * self.channels)
        path.touch()
        file = path.open("r+b")
        file.write(_header(0, size, self.channels))
        file.truncate(file.tell() + self.count * size * size * self.channels)
        file.seek(0, os.SEEK_END)
        return file

    def _not_shorter(self, path: Path, length: int) -> None:
        """Refuse to go on where something of what was committed is gone: it would be filled with zeros."""
        found = path.stat().st_size if path.exists() else 0
        if found < length:
            raise InputError(
                f"{path} has {found:,} bytes and not the {length:,} that the journal of {self.path} speaks of (it was "
                f"deleted, or lost in a power cut): delete {self.path} and start again"
            )

    def _check_room(self, total: int | None) -> None:
        if total is None:
            return
        bytes_each = sum(size * size for size in self.sizes) * self.channels
        free = shutil.disk_usage(self.path).free
        if (total - self.count) * bytes_each > free:
            raise InputError(
                f"no room for {total:,} images at {self.path}: they take {total * bytes_each / 1e9:.1f} GB, and "
                f"{free / 1e9:.1f} GB are free. Make room, or give another folder or fewer or smaller sizes"
            )

    def _claim(self, total: int | None) -> None:
        """Claim the room on the disk, so that it is not found to be full after hours."""
        if total is not None and hasattr(os, "posix_fallocate"):
            for size, file in self._files.items():
                try:
                    os.posix_fallocate(file.fileno(), 0, _offset(size, self.channels) + total * size**2 * self.channels)
                except OSError:  # a disk that cannot promise it
                    return

    def _write_index(self, naming: _Naming) -> tuple[bool, bool]:
        """Write the index, and tell whether there are labels, and boxes."""
        import pyarrow as pa

        labelled, boxed = naming.labelled, naming.boxed
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
                yield {**row._asdict(), "label": naming.place(row.label)}

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


@dataclass(frozen=True)
class _Naming:
    """What labels of a set become.

    `numbers` tells whether whole numbers stand for themselves; they are names like the others otherwise.
    """

    classes: tuple[str, ...] | None
    places: Mapping[str, int]
    numbers: bool
    labelled: bool
    boxed: bool

    def place(self, label: int | str | None) -> int | None:
        if label is None or (isinstance(label, int) and not 0 <= label <= _LARGEST_LABEL):
            return None
        return label if isinstance(label, int) and self.numbers else self.places.get(str(label))


def _naming(rows: Iterator[Row], classes: Sequence[str] | None) -> _Naming:
    """Look at all labels: where any is a name, all are, but for places in classes that are known."""
    names, named, boxed, largest, numbers = set[str](), False, False, -1, set[int]()
    for row in rows:
        boxed = boxed or row.box is not None
        if isinstance(row.label, str):
            named = True
            if len(names) <= MOST_CLASSES:
                names.add(row.label)
        elif row.label is not None and 0 <= row.label <= _LARGEST_LABEL:
            largest = max(largest, row.label)
            if len(numbers) <= MOST_CLASSES:
                numbers.add(row.label)
    if classes is not None or not named:
        known = tuple(classes) if classes is not None and largest < len(classes) else None
        places = {name: place for place, name in enumerate(classes or ())}
        return _Naming(known, places, True, largest >= 0 or not places.keys().isdisjoint(names), boxed)
    names |= set(map(str, numbers))
    known = tuple(sorted(names)) if len(names) <= MOST_CLASSES else None
    return _Naming(known, {name: place for place, name in enumerate(known or ())}, False, known is not None, boxed)


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
