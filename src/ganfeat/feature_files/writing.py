"""Writing features: parquet with lists of fixed size, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ganfeat.arrays import blocks
from ganfeat.errors import InputError
from ganfeat.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

_GROUP_BYTES = 1 << 24
_GROUP_ROWS = 1 << 15
_RESERVED = ("id", "label", "features")


class PartWriter:
    """Write one parquet file of features, rows as they come; it appears under its name when it is complete.

    A context manager: where the block ends with an error, nothing is left behind. What the first :meth:`write` is given
    (perhaps 0 rows) decides the columns and their types; whether labels are text, the first rows.

    Parameters
    ----------
    path : Path or str
    metadata : dict of str, optional
        Kept in the file's footer.

    Attributes
    ----------
    rows : int
        Written so far.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from ganfeat.feature_files import open_features
    >>> folder = tempfile.TemporaryDirectory()
    >>> with PartWriter(Path(folder.name) / "features.parquet") as part:
    ...     part.write(["a.jpg", "b.jpg"], np.ones((2, 3), np.float32), [0, 1])
    >>> open_features(Path(folder.name) / "features.parquet").read()
    array([[1., 1., 1.],
           [1., 1., 1.]], dtype=float32)
    >>> folder.cleanup()
    """

    def __init__(self, path: Path | str, metadata: Mapping[str, str] | None = None) -> None:
        self.path = Path(path)
        self.rows = 0
        self._metadata = dict(metadata or {})
        self._noted: dict[str, str] = {}
        self._stack = ExitStack()
        self._writer: Any = None
        self._schema: Any = None
        self._waiting: list[Any] = []
        self._group = 0

    def __enter__(self) -> Self:
        self._temporary = self._stack.enter_context(replacing(self.path))
        return self

    def write(
        self,
        ids: Sequence[str],
        features: NDArray[Any],
        labels: Sequence[int | str | None] | NDArray[Any] | None = None,
        **columns: NDArray[Any],
    ) -> None:
        """Append rows.

        Parameters
        ----------
        ids : sequence of str
        features : ndarray of float32 or float16 ``(n, n_features)``
        labels : sequence of int or of str, or ndarray of int, bool or str, optional
            Either always given or never; None where there is none.
        **columns : ndarray of uint8, float16 or float32 ``(n, some)``
            Further lists of fixed size. The same at every call.

        Raises
        ------
        InputError
            If features are NaN or infinite (the message names the first such row), or rows do not go together.
        """
        import pyarrow as pa

        named = {"features": features, **columns}
        for name, values in named.items():
            _check_column(name, values, ids)
        arrays = {"id": pa.array([str(one) for one in ids], pa.string())}
        if labels is not None:
            arrays["label"] = self._labels(labels, len(ids))
        for name, values in named.items():
            copied = np.array(values, order="C").reshape(-1)  # it waits for its row group; the caller's may change
            arrays[name] = pa.FixedSizeListArray.from_arrays(pa.array(copied), type=_list_type(values))
        fields = [pa.field(name, array.type, nullable=name == "label") for name, array in arrays.items()]
        schema = pa.schema(fields, metadata=self._metadata or None)
        if self._schema is None or (not self.rows and _but_labels(schema).equals(_but_labels(self._schema))):
            self._schema, self._waiting = schema, []
            row_bytes = sum(values.itemsize * values.shape[1] for values in named.values())
            self._group = int(max(1, min(_GROUP_ROWS, _GROUP_BYTES // max(1, row_bytes))))
        elif not schema.equals(self._schema):
            raise InputError(
                f"rows for {self.path} have the columns {described(schema)}, the rows before them had "
                f"{described(self._schema)}: they must be the same"
            )
        self._waiting.append(pa.table(list(arrays.values()), schema=self._schema))
        self.rows += len(ids)
        if sum(len(table) for table in self._waiting) >= self._group:
            self._flush(whole_groups=True)

    def _labels(self, labels: Sequence[int | str | None] | NDArray[Any], rows: int) -> Any:
        import pyarrow as pa

        if len(labels) != rows:
            raise InputError(f"{rows} ids and {len(labels)} labels for {self.path}: they must be as many")
        try:
            if isinstance(labels, np.ndarray) and labels.dtype.kind in "iubUS":
                text = labels.dtype.kind in "US"
                return pa.array(labels.astype(str), pa.string()) if text else pa.array(labels.astype(np.int64))
            values = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
            text = any(isinstance(value, str) for value in values)
            if not text and self._schema is not None and not any(value is not None for value in values):
                text = pa.types.is_string(self._schema.field("label").type) if "label" in self._schema.names else False
            return pa.array(values, pa.string() if text else pa.int64())
        except (pa.ArrowException, TypeError, ValueError):
            raise InputError(f"labels for {self.path} must all be whole numbers, or all text") from None

    def _start(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = self._schema
        lists = {one.name: one.type.value_type for one in schema if pa.types.is_fixed_size_list(one.type)}
        self._writer = self._stack.enter_context(
            pq.ParquetWriter(
                self._temporary,
                schema,
                compression="zstd",
                compression_level=1,
                # uint8 is stored as int32: its 256 values go into a dictionary.
                use_dictionary=[f"{name}.list.element" for name, kind in lists.items() if pa.types.is_uint8(kind)],
                # Smaller, and packed in half the time. Of float16, DuckDB and polars do not read it.
                use_byte_stream_split=[f"{name}.list.element" for name, kind in lists.items() if kind == pa.float32()],
                write_statistics=["id", "label"],
                write_page_checksum=True,
                memory_pool=pa.system_memory_pool(),  # the usual one gives its pages back after every row group
            )
        )

    def note(self, **values: str) -> None:
        """Keep more in the file's footer, such as what is only known when all rows are written."""
        self._noted |= values

    def _flush(self, *, whole_groups: bool) -> None:
        import pyarrow as pa

        if self._writer is None:
            self._start()
        table = pa.concat_tables(self._waiting)
        rows = len(table) // self._group * self._group if whole_groups else len(table)
        self._writer.write_table(table.slice(0, rows), row_group_size=self._group)
        self._waiting = [table.slice(rows)] if rows < len(table) else []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                if self._schema is None:
                    raise InputError(f"nothing was written to {self.path}: write at least 0 rows of so many features")
                if self._waiting or self._writer is None:
                    self._flush(whole_groups=False)
                if self._noted:
                    self._writer.add_key_value_metadata(self._noted)
            except BaseException as failed:
                self._stack.__exit__(type(failed), failed, failed.__traceback__)
                raise
        self._stack.__exit__(kind, error, trace)


def write_part(
    path: Path | str,
    ids: Sequence[str],
    labels: Sequence[int | str | None] | NDArray[Any] | None,
    features: NDArray[Any] | Iterable[NDArray[Any]],
    columns: Mapping[str, NDArray[Any]] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write a parquet file of features, whole or not at all; see :class:`PartWriter`.

    Parameters
    ----------
    path : Path or str
    ids : sequence of str
    labels : sequence of int or of str, or None
    features : ndarray ``(n, n_features)`` of float32 or float16, or blocks of rows of one, in order
    columns : dict of ndarray ``(n, some)``, optional
        Further lists of fixed size by name.
    metadata : dict of str, optional
        Kept in the file's footer.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    InputError
        As :meth:`PartWriter.write`; and if there are more or fewer rows than ids.
    """
    parts: Iterable[NDArray[Any]] = (
        ([features] if features.ndim != 2 or not len(features) else blocks(features))
        if isinstance(features, np.ndarray)
        else features
    )
    with PartWriter(path, metadata) as part:
        for block in parts:
            rows = slice(part.rows, part.rows + len(block))
            part.write(
                ids[rows],
                block,
                None if labels is None else labels[rows],
                **{name: values[rows] for name, values in (columns or {}).items()},
            )
        if part.rows != len(ids):
            raise InputError(f"{len(ids)} ids and {part.rows} rows of features for {path}: they must be as many")
    return part.rows


def _check_column(name: str, values: NDArray[Any], ids: Sequence[str]) -> None:
    allowed = ("float32", "float16") if name == "features" else ("float32", "float16", "uint8")
    if values.ndim != 2 or values.dtype.name not in allowed or not values.shape[1]:
        raise InputError(f"{name} must be {' or '.join(allowed)} (n, some), not {values.dtype} {values.shape}")
    if name != "features" and name in _RESERVED:
        raise InputError(f"a further column cannot be named {name!r}: choose another name")
    if len(values) != len(ids):
        raise InputError(f"{len(ids)} ids and {len(values)} rows of {name}: they must be as many")
    if values.dtype.kind == "f" and not _all_finite(values):
        first = int(np.argmin(np.isfinite(values).all(axis=1)))
        raise InputError(
            f"{name} of {ids[first]} are NaN or infinite: float16 holds at most 65,504 (use float32); else the "
            "network's weights or its batch-norm statistics are broken"
        )


def _all_finite(values: NDArray[Any]) -> bool:
    if values.dtype != np.float16:
        return bool(np.isfinite(values).all())
    return not ((values.view(np.uint16) & 0x7C00) == 0x7C00).any()  # NumPy turns each into float32 before it looks


def _list_type(values: NDArray[Any]) -> Any:
    import pyarrow as pa

    element = pa.field("element", pa.from_numpy_dtype(values.dtype), nullable=False)
    return pa.list_(element, values.shape[1])


def _but_labels(schema: pa.Schema) -> pa.Schema:
    return schema.remove(schema.get_field_index("label")) if "label" in schema.names else schema


def described(schema: pa.Schema) -> str:
    """Columns and their types, in words."""
    return ", ".join(f"{one.name} ({one.type})" for one in schema)
