"""Parquet files larger than memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


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
