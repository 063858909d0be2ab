"""Parquet files larger than memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

_BUFFER = 1 << 20


def opened(path: str | Path) -> AbstractContextManager[Any]:
    """Open a file so that of a row group a few pages are in memory, and not all of it.

    By default PyArrow reads the columns of a row group in one piece, and many files are one group. (Common writers put
    up to 1,024 encoded images on a page.) Open it anew for each group: what was read of a group stays in memory until
    the file is closed.

    Returns
    -------
    pyarrow.parquet.ParquetFile
    """
    import pyarrow.parquet as pq

    file: AbstractContextManager[Any] = pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER)
    return file


def batches(
    file: Any, rows: int, columns: Sequence[str] | None = None, groups: Sequence[int] | None = None
) -> Iterator[Any]:
    """Go through a file with one row group in memory.

    PyArrow's ``iter_batches`` keeps every row group that it has read until it ends, so it is asked for one at a time.

    Parameters
    ----------
    file : pyarrow.parquet.ParquetFile
    rows : int
        At most so many in a batch; one never has rows of two groups.
    columns : sequence of str, optional
    groups : sequence of int, optional
        By default all.

    Yields
    ------
    pyarrow.RecordBatch
    """
    for group in range(file.num_row_groups) if groups is None else groups:
        yield from file.iter_batches(rows, row_groups=[group], columns=columns)
