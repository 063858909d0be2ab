"""Reading features: ``.npy``, parquet, folders of parts; in blocks, in constant memory."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganfeat.arrays import release
from ganfeat.errors import InputError
from ganfeat.feature_files.writing import described
from ganfeat.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".npy", ".parquet", ".pq")
CARD = "features.json"
"""In a folder of parts: written last, so that a folder that has it is whole."""
_BLOCK_BYTES = 1 << 24
_MEMORY = 1 << 30


class Rows(NamedTuple):
    """Some rows of a table, in order, as :meth:`FeatureTable.batches` gives them."""

    ids: list[str] | None
    labels: NDArray[Any] | None
    features: NDArray[Any]


@dataclass(frozen=True)
class FeatureTable:
    """Features in a file, or in a folder of parts, read in constant memory; made by :func:`open_features`.

    Parameters
    ----------
    path : Path
        As it was given.
    files : tuple of Path
        What the rows are in, in order.
    n_rows, n_features : int
    dtype : numpy dtype
        Of the features.
    columns : dict of (int, numpy dtype)
        Further lists of fixed size: how long, of what.
    card : dict or None
        How the features were made, where the file (``F.json``) or folder (``features.json``) says.
    """

    path: Path
    files: tuple[Path, ...]
    n_rows: int
    n_features: int
    dtype: np.dtype[Any]
    columns: Mapping[str, tuple[int, np.dtype[Any]]] = field(default_factory=dict)
    card: dict[str, Any] | None = None
    label_type: str | None = None

    @property
    def is_npy(self) -> bool:
        """Whether it is one ``.npy`` file."""
        return self.path.suffix == ".npy" and len(self.files) == 1

    @property
    def has_labels(self) -> bool:
        """Whether :attr:`labels` are there."""
        return self.path.with_suffix(".labels.npy").exists() if self.is_npy else self.label_type is not None

    @property
    def no_labels(self) -> NDArray[Any] | None:
        """Labels of no rows, of the type of :attr:`labels`; None if there are none."""
        if not self.has_labels:
            return None
        if self.is_npy:
            return self.labels[:0]  # type: ignore[index]
        return np.empty(0, "U1" if self.label_type == "string" else np.int64)

    def part(self, number: int) -> FeatureTable:
        """The table of one of :attr:`files`."""
        file = self.files[number]
        table = _open_parquet(file, (file,), None)
        return replace(table, label_type=self.label_type)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_rows, n_features)``."""
        return self.n_rows, self.n_features

    @property
    def ids(self) -> NDArray[np.object_] | None:
        """Names of the rows, strings ``(n_rows,)``; None of a ``.npy`` file, which has none."""
        if self.is_npy:
            return None
        return np.array([one for chunk in self._column_chunks("id") for one in _ids(chunk)], dtype=object)

    @property
    def labels(self) -> NDArray[Any] | None:
        """int64 ``(n_rows,)``, -1 where unknown, or strings, empty where unknown; None if there are none."""
        if self.is_npy:
            path = self.path.with_suffix(".labels.npy")
            return read_labels(path, self.n_rows) if path.exists() else None
        if self.label_type is None:
            return None
        text = self.label_type == "string"
        parts = [_labels(chunk, text) for chunk in self._column_chunks("label")]
        return np.concatenate([np.empty(0, "U1" if text else np.int64), *parts])

    def _column_chunks(self, column: str) -> Iterator[Any]:
        for path in self.files:
            with _reading(path) as file:
                for chunk in _chunks(file, [column]):
                    yield chunk.column(0)

    def batches(self, rows: int | None = None) -> Iterator[Rows]:
        """Yield ids, labels and features of the rows in order, at most ``rows`` at a time: one reading of the file.

        Parameters
        ----------
        rows : int, optional
            By default about 16 MiB of features.

        Yields
        ------
        Rows
            ``ids``, a list of str, or None of a ``.npy`` file; ``labels``, ndarray of int64 or of strings, or None;
            ``features``, ndarray ``(at most rows, n_features)``.

        Raises
        ------
        InputError
            As :meth:`blocks`.
        """
        yield from self._pieces(rows, "features", named=True)

    def blocks(self, rows: int | None = None, column: str = "features") -> Iterator[NDArray[Any]]:
        """Yield the rows in order, at most ``rows`` at a time, by default about 16 MiB of them.

        Parameters
        ----------
        rows : int, optional
        column : str
            ``features``, or one of :attr:`columns`.

        Yields
        ------
        ndarray ``(at most rows, n_features)``

        Raises
        ------
        InputError
            If the file is damaged, or has NaN or infinite features.
        """
        for piece in self._pieces(rows, column, named=False):
            yield piece.features

    def _pieces(self, rows: int | None, column: str, *, named: bool) -> Iterator[Rows]:
        length, dtype = self._column(column)
        rows = max(1, _BLOCK_BYTES // (length * dtype.itemsize)) if rows is None else rows
        if rows < 1:
            raise InputError(f"rows={rows} must be 1 or more")
        start = 0
        for piece in (
            self._npy_pieces(rows, named) if self.is_npy else self._parquet_pieces(rows, column, length, named)
        ):
            block = piece.features
            if dtype.kind == "f" and not np.isfinite(block).all():
                first = start + int(np.argmin(np.isfinite(block).all(axis=1)))
                raise InputError(f"{self.path} has NaN or infinite {column} in row {first}: extract them again")
            start += len(block)
            yield piece
        if start != self.n_rows:
            raise InputError(f"{self.path} held {self.n_rows} rows when it was opened, and now {start}: open it again")

    def _column(self, column: str) -> tuple[int, np.dtype[Any]]:
        if column == "features":
            return self.n_features, self.dtype
        if column not in self.columns:
            raise InputError(f"{self.path} has no column {column!r}: choose one of features, {', '.join(self.columns)}")
        return self.columns[column]

    def _npy_pieces(self, rows: int, named: bool) -> Iterator[Rows]:
        array, labels = _open_npy(self.path), self.labels if named else None
        for start in range(0, len(array), rows):
            some = slice(start, start + rows)
            yield Rows(None, None if labels is None else labels[some], np.asarray(array[some]))
            release(array)

    def _parquet_pieces(self, rows: int, column: str, length: int, named: bool) -> Iterator[Rows]:
        text = self.label_type == "string"
        others = ["id", *(["label"] if self.label_type is not None else [])] if named else []
        for path in self.files:
            with _reading(path) as file:
                for chunk in _chunks(file, [column, *others]):
                    whole = _as_rows(chunk.column(column), length, path, column)
                    for start in range(0, len(whole), rows):
                        part = chunk.slice(start, rows)
                        yield Rows(
                            _ids(part.column("id")) if named else None,
                            _labels(part.column("label"), text) if "label" in others else None,
                            whole[start : start + rows],
                        )

    def read(self, column: str = "features") -> NDArray[Any]:
        """All rows in memory, ``(n_rows, n_features)``; of a ``.npy`` file, a read-only memory map."""
        length, dtype = self._column(column)
        if self.is_npy:
            for _ in self.blocks():  # refuses NaN
                pass
            return _open_npy(self.path)
        array = np.empty((self.n_rows, length), dtype)
        self._fill(array, column)
        return array

    def array(self, column: str = "features") -> NDArray[Any]:
        """All rows ``(n_rows, n_features)``, read-only: in memory up to 1 GiB, else a memory map of a file.

        Of parquet, that is a file in the folder for temporary ones (``$TMPDIR``), which goes with the array.
        """
        length, dtype = self._column(column)
        size = self.n_rows * length * dtype.itemsize
        if self.is_npy or size <= _MEMORY:
            return self.read(column)
        folder = Path(tempfile.gettempdir())
        if size > shutil.disk_usage(folder).free:
            raise InputError(
                f"{column} of {self.path} need {size / 2**30:.1f} GiB in {folder}, which does not have it: set TMPDIR "
                "to a folder on a larger disk"
            )
        handle, name = tempfile.mkstemp(suffix=".npy", dir=folder)
        os.close(handle)
        try:
            return self.to_npy(name, column)
        finally:
            with suppress(OSError):  # a system that does not remove files in use leaves it
                Path(name).unlink()

    def _fill(self, array: NDArray[Any], column: str, progress: Callable[[int, int], None] | None = None) -> None:
        start = 0
        for block in self.blocks(column=column):
            array[start : start + len(block)] = block
            start += len(block)
            if progress is not None:
                progress(start, self.n_rows)

    def to_npy(
        self, path: Path | str, column: str = "features", progress: Callable[[int, int], None] | None = None
    ) -> NDArray[Any]:
        """Write the rows as one ``.npy`` file, whole or not at all, in constant memory.

        Parameters
        ----------
        path : Path or str
        column : str
        progress : callable(done, total), optional

        Returns
        -------
        memory map ``(n_rows, n_features)``, read-only
        """
        length, dtype = self._column(column)
        path = Path(path)
        with replacing(path) as temporary:
            array = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=(self.n_rows, length))
            self._fill(array, column, progress)
            array.flush()
            del array
        return _open_npy(path)


def open_features(path: Path | str) -> FeatureTable:
    """Open features: ``F.npy``, ``F.parquet``, or the folder of ``part-*.parquet`` that an extraction has written.

    Labels of ``F.npy`` are in ``F.labels.npy``; the others hold their own.

    Parameters
    ----------
    path : Path or str

    Returns
    -------
    FeatureTable

    Raises
    ------
    InputError
        If there is nothing, or something else, or a folder whose extraction has not ended (it has no
        ``features.json``).
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: give features in .npy or .parquet, or a folder of part-*.parquet")
    if path.suffix == ".npy":
        array = _open_npy(path)
        card = _card(path.with_suffix(".json"))
        return _checked(FeatureTable(path, (path,), len(array), array.shape[1], array.dtype, card=card))
    if path.suffix in SUFFIXES:
        return _checked(_open_parquet(path, (path,), _card(path.with_suffix(".json"))))
    raise InputError(f"{path} is no file of features: give .npy, .parquet, or a folder of part-*.parquet")


def _checked(table: FeatureTable) -> FeatureTable:
    """Refuse a card beside a file that is of other features; any other JSON there is none of ours."""
    card = table.card or {}
    if not isinstance(card.get("rows"), dict) or not isinstance(card.get("images"), int):
        return table
    said, path = (card["images"], card.get("features", table.n_features)), table.path
    if said != table.shape:
        raise InputError(
            f"{path.with_suffix('.json')} is of {said[0]} images and {said[1]} features, {path} has {table.n_rows} "
            f"rows of {table.n_features}: extract them again, or, if the card is of something else, move it away"
        )
    return table


def _open_folder(folder: Path) -> FeatureTable:
    parts = tuple(sorted(folder.glob("part-*.parquet"), key=lambda path: (len(path.name), path.name)))
    if not (folder / CARD).is_file():
        if parts or (folder / "plan.json").is_file():
            raise InputError(
                f"{folder} has no {CARD}: its extraction has not ended. Run the same `ganfeat extract` command again, "
                "and it goes on where it was"
            )
        raise InputError(f"{folder} holds no features (part-*.parquet and {CARD}): `ganfeat extract` writes them")
    if not parts:
        raise InputError(f"{folder} has {CARD} and no part-*.parquet: extract the features again")
    card = _card(folder / CARD)
    table = _open_parquet(folder, parts, card)
    said = (card or {}).get("images")
    if isinstance(said, int) and said != table.n_rows:
        raise InputError(
            f"{folder / CARD} says {said} images, the parts have {table.n_rows} rows: parts are missing or foreign; "
            "extract into an empty folder"
        )
    return table


def _card(path: Path) -> dict[str, Any] | None:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) else None


def _open_parquet(path: Path, files: tuple[Path, ...], card: dict[str, Any] | None) -> FeatureTable:
    import pyarrow as pa

    found: list[tuple[Path, int, dict[str, tuple[int, np.dtype[Any]]], str | None]] = []
    for file in files:
        with _reading(file) as parquet:
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
            lists = {}
            for one in schema:
                kind = _list_of(one.type)
                if kind is not None:
                    size = one.type.list_size if pa.types.is_fixed_size_list(one.type) else _length(parquet, one.name)
                    lists[one.name] = (size, np.dtype(kind.to_pandas_dtype()))
        if "features" not in lists or "id" not in schema.names:
            raise InputError(
                f"{file} is parquet without the columns id (text) and features (lists of numbers): it has "
                f"{described(schema)}. `ganfeat extract` writes them"
            )
        found.append((file, rows, lists, _label_type(schema, file)))
    first = next((one for one in found if one[1]), found[0])
    for file, rows, lists, labels in found:
        if rows and (lists, labels) != first[2:]:
            raise InputError(f"{file} and {first[0]} have other columns: extract both again with the same options")
    columns = {name: kept for name, kept in first[2].items() if kept[0]}
    if "features" not in columns:
        raise InputError(
            f"{first[0]} has no numbers in its first row of features, or no rows and lists of any length: extract them "
            "again"
        )
    length, dtype = columns.pop("features")
    rows = sum(one[1] for one in found)
    return FeatureTable(path, files, rows, length, dtype, columns, card, first[3])


def _list_of(kind: Any) -> Any:
    import pyarrow.types as types

    if not (types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)):
        return None
    return kind.value_type if types.is_floating(kind.value_type) or types.is_integer(kind.value_type) else None


def _length(parquet: Any, column: str) -> int:
    """How long the lists of a column are, where its type does not say: as the first one."""
    for batch in parquet.iter_batches(1, columns=[column]):
        return len(batch.column(0)[0].as_py() or ())
    return 0


def _label_type(schema: pa.Schema, path: Path) -> str | None:
    import pyarrow.types as types

    if "label" not in schema.names:
        return None
    kind = schema.field("label").type
    if types.is_dictionary(kind):  # categories of pandas
        kind = kind.value_type
    if types.is_integer(kind):
        return "int64"
    if types.is_string(kind) or types.is_large_string(kind):
        return "string"
    raise InputError(f"{path} has labels of type {kind}: they must be whole numbers or text")


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """A parquet file; what is wrong with it is said with its name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path} does not exist any more") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path} is damaged, or no parquet file ({' '.join(str(error).split())[:200]}): extract the features again"
        ) from error


def _chunks(file: Any, columns: list[str]) -> Iterator[Any]:
    """Columns, one row group after another: `iter_batches` keeps all that it has read until its file is closed."""
    for group in range(file.num_row_groups):
        yield from file.read_row_group(group, columns=columns).to_batches()


def _ids(chunk: Any) -> list[str]:
    return ["" if one is None else str(one) for one in chunk.to_pylist()]


def _labels(chunk: Any, text: bool) -> NDArray[Any]:
    """Labels of a piece of the column, int64 or strings; -1 or empty where there is none."""
    import pyarrow as pa

    if pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_decode()
    if not text:
        whole: NDArray[np.int64] = chunk.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
        return whole
    coded = chunk.cast(pa.string()).fill_null("").dictionary_encode()
    names = np.array(coded.dictionary.to_pylist() or [""], dtype=str)
    found: NDArray[np.str_] = names[coded.indices.to_numpy(zero_copy_only=False)]
    return found


def _as_rows(column: Any, length: int, path: Path, name: str) -> NDArray[Any]:
    import pyarrow as pa

    if column.null_count:
        raise InputError(f"{path} has empty cells in {name}: every row must have its features")
    flat = column.flatten()
    if not pa.types.is_fixed_size_list(column.type):
        lengths = np.diff(column.offsets.to_numpy())
        if (lengths != length).any():
            raise InputError(f"{path} has {name} of {lengths.min()} to {lengths.max()} numbers: they must be as many")
    if flat.null_count:
        raise InputError(f"{path} has empty cells in {name}: every row must have its features")
    rows: NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(-1, length)
    return rows


def _open_npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give a .npy file of features (images x features)") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no readable .npy file of features (images x features): {error}") from None
    if getattr(array, "ndim", 0) != 2 or array.dtype.kind not in "fiu" or not array.size:
        raise InputError(
            f"{path} must hold numbers, images x features, not {getattr(array, 'dtype', '?')} of shape "
            f"{getattr(array, 'shape', '?')}"
        )
    return array


def read_labels(path: Path, rows: int | None = None) -> NDArray[Any]:
    """Labels in a ``.npy`` file: whole numbers or text ``(n,)``.

    Raises
    ------
    InputError
        If it is no such file, or they are not as many as ``rows``.
    """
    try:
        labels = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give a .npy file of labels") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is no readable .npy file of labels: {error}") from None
    if labels.ndim != 1 or labels.dtype.kind not in "iuUSb":
        raise InputError(
            f"{path} must hold one whole number or text an image, not {labels.dtype} of shape {labels.shape}"
        )
    if rows is not None and len(labels) != rows:
        raise InputError(f"{path} has {len(labels)} labels for {rows} rows of features: they must be as many")
    return labels
