"""Features in files, projected into other files, in constant memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.checkpoint import write_array, write_atomically
from ganfeat.errors import InputError
from ganfeat.feature_files import CARD, FeatureTable, PartWriter, open_features
from ganfeat.files import replacing
from ganfeat.projection.linear import Projection

PROJECTION = "projection.safetensors"
_PLAN = "plan.json"
_ROWS = 1024

Progress = Callable[[int, int], None]


def project(
    table: FeatureTable,
    projection: Projection,
    out: Path,
    *,
    dtype: str = "float32",
    progress: Progress | None = None,
) -> None:
    """Write the projected rows of a table: as ``.npy``, as one parquet file, or as a folder of parts like the table's.

    Labels go along, and ids where the rows have any and the file takes them. A folder is gone on with where it was
    left. Cards are the caller's to write: of a folder, last.

    Parameters
    ----------
    table : FeatureTable
    projection : Projection
    out : Path
        ``.npy``, ``.parquet``, or a folder.
    dtype : {"float32", "float16"}
    progress : callable(done, total), optional

    Raises
    ------
    InputError
        If the rows are of another length, numbers do not fit, or the folder holds something else.
    """
    if table.n_features != projection.n_features:
        raise InputError(
            f"{table.path} has rows of {table.n_features} features, and the projection was learned from rows of "
            f"{projection.n_features}: extract them with the same run and options"
        )
    if dtype not in ("float32", "float16"):
        raise InputError(f"dtype={dtype!r} is not known: choose float32 or float16")
    if out.suffix == ".npy":
        _to_npy(table, projection, out, dtype, progress)
    elif out.suffix == ".parquet":
        _to_parquet(table, projection, out, dtype, progress)
    else:
        _to_folder(table, projection, out, dtype, progress)


def _rows(table: FeatureTable, projection: Projection, dtype: str) -> Iterator[NDArray[Any]]:
    for block in table.blocks(_ROWS):
        with np.errstate(over="ignore"):  # refused below, with its row
            yield projection.transform(block).astype(dtype, copy=False)


def _to_npy(table: FeatureTable, projection: Projection, out: Path, dtype: str, progress: Progress | None) -> None:
    labels, beside = table.labels, out.with_suffix(".labels.npy")
    with replacing(out) as temporary:
        array = np.lib.format.open_memmap(
            temporary, mode="w+", dtype=np.dtype(dtype), shape=(table.n_rows, projection.n_components)
        )
        done = 0
        for block in _rows(table, projection, dtype):
            if not np.isfinite(block).all():
                raise InputError(f"projected rows {done} to {done + len(block) - 1} exceed {dtype}: use float32")
            array[done : done + len(block)] = block
            done += len(block)
            if progress is not None:
                progress(done, table.n_rows)
        array.flush()
        del array
        beside.unlink(missing_ok=True)
    if labels is not None:
        write_array(beside, labels)


def _to_parquet(table: FeatureTable, projection: Projection, out: Path, dtype: str, progress: Progress | None) -> None:
    ids, labels = table.ids, table.labels
    if ids is None:
        ids = np.array([str(row) for row in range(table.n_rows)], dtype=object)
    with PartWriter(out) as part:
        part.write([], np.empty((0, projection.n_components), dtype), None if labels is None else labels[:0])
        for block in _rows(table, projection, dtype):
            rows = slice(part.rows, part.rows + len(block))
            part.write(ids[rows].tolist(), block, None if labels is None else labels[rows])
            if progress is not None:
                progress(part.rows, table.n_rows)


def _to_folder(table: FeatureTable, projection: Projection, out: Path, dtype: str, progress: Progress | None) -> None:
    if table.is_npy:
        raise InputError(f"--out {out}: features in .npy have no parts; name a file, .npy or .parquet")
    plan = {"features": str(table.path.resolve()), "rows": table.n_rows, "pca": projection.card(), "dtype": dtype}
    out.mkdir(exist_ok=True)
    if any(out.iterdir()):
        try:
            same = json.loads((out / _PLAN).read_text(encoding="utf-8")) == plan
        except (OSError, ValueError):
            same = False
        if not same:
            raise InputError(f"{out} holds other files, or features reduced in another way: choose another folder")
    write_atomically(out / _PLAN, (json.dumps(plan, indent=2) + "\n").encode())
    (out / CARD).unlink(missing_ok=True)
    done = 0
    for number, file in enumerate(table.files):
        part = out / (file.name if len(table.files) > 1 else f"part-{number:05d}.parquet")
        one = open_features(file)
        if not part.exists():
            _to_parquet(one, projection, part, dtype, None)
        done += one.n_rows
        if progress is not None:
            progress(done, table.n_rows)
