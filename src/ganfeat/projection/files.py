"""Features in files, projected into other files; and where the projection of features lies."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.checkpoint import write_array, write_atomically
from ganfeat.errors import InputError
from ganfeat.feature_files import CARD, SUFFIXES, FeatureTable, PartWriter, Rows
from ganfeat.projection.linear import Projection

PROJECTION = "projection.safetensors"
_PLAN = "plan.json"
_ROWS = 1024

Progress = Callable[[int, int], None]


def beside(path: Path) -> tuple[Path, Path]:
    """Where card and projection of features are: ``F.json`` and ``F.projection.safetensors``, or inside a folder."""
    if path.suffix in SUFFIXES and not path.is_dir():
        return path.with_suffix(".json"), path.with_suffix(f".{PROJECTION}")
    return path / CARD, path / PROJECTION


def find_projection(given: Path, option: str = "--from") -> Path | None:
    """The file of a projection: itself, or that which lies beside or in reduced features; None if there is none.

    Parameters
    ----------
    given : Path
        ``.safetensors``, or features: a file or a folder.
    option : str
        What it was given as.

    Raises
    ------
    InputError
        If it does not exist.
    """
    if not given.exists():
        raise InputError(f"{option} {given} does not exist: give a projection (.safetensors), or features")
    path = given if given.suffix == ".safetensors" else beside(given)[1]
    return path if path.is_file() else None


def projection_of(given: Path, option: str = "--from") -> Path:
    """The file of a projection, as :func:`find_projection`.

    Raises
    ------
    InputError
        If there is none.
    """
    path = find_projection(given, option)
    if path is None:
        raise InputError(
            f"{option} {given}: there is no {beside(given)[1]}; name a projection (.safetensors), or features that "
            "`ganfeat reduce` or `ganfeat extract --pca` has written"
        )
    return path


def check_target(
    table: FeatureTable, out: Path, *, dtype: str = "float32", projection: Projection | None = None
) -> None:
    """Refuse a place for projected rows before anything is learned or touched.

    Parameters
    ----------
    table : FeatureTable
    out : Path
        As of :func:`project`.
    dtype : str
    projection : Projection, optional
        Where it is known.

    Raises
    ------
    InputError
        If a file there is not of features, or would not belong to the new ones; if a folder holds something else.
    """
    if dtype not in ("float32", "float16"):
        raise InputError(f"dtype={dtype!r} is not known: choose float32 or float16")
    if out.suffix not in (".npy", ".parquet"):
        _check_folder(table, out, dtype, projection)
        return
    if out.is_dir():
        raise InputError(f"--out {out} is a folder: name a file in it")
    card, labels = beside(out)[0], out.with_suffix(".labels.npy")
    if card.exists() and not _is_card(card):
        raise InputError(f"{card} would be replaced, and is no card of features: choose another --out")
    if out.suffix == ".npy" and labels.exists() and not table.has_labels:
        raise InputError(
            f"{table.path} has no labels, but {labels} exists from before and would not belong to the new features: "
            "remove it, or choose another --out"
        )


def project(
    table: FeatureTable,
    projection: Projection,
    out: Path,
    *,
    dtype: str = "float32",
    card: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the projected rows of a table: as ``.npy``, as one parquet file, or as a folder of parts like the table's.

    Labels go along, and ids where the rows have any and the file takes them; beside them the projection and the card,
    which is written last. Files that are there are replaced when all new ones are written, the old card and projection
    first: killed at any moment, this leaves none beside rows that it does not belong to. A folder is gone on with where
    it was left.

    Parameters
    ----------
    table : FeatureTable
    projection : Projection
    out : Path
        ``.npy``, ``.parquet``, or a folder.
    dtype : {"float32", "float16"}
    card : dict, optional
        Plain values. A folder without one is not taken for whole.
    progress : callable(done, total), optional

    Raises
    ------
    InputError
        If the rows are of another length, numbers do not fit, or as :func:`check_target`.
    """
    if table.n_features != projection.n_features:
        raise InputError(
            f"{table.path} has rows of {table.n_features} features, and the projection was learned from rows of "
            f"{projection.n_features}: extract them with the same run and options"
        )
    check_target(table, out, dtype=dtype, projection=projection)
    if out.suffix in (".npy", ".parquet"):
        _to_file(table, projection, out, dtype, card, progress)
    else:
        _to_folder(table, projection, out, dtype, card, progress)


def _to_file(
    table: FeatureTable,
    projection: Projection,
    out: Path,
    dtype: str,
    card: Mapping[str, Any] | None,
    progress: Progress | None,
) -> None:
    card_file, projection_file = beside(out)
    labels_file = out.with_suffix(".labels.npy")
    folder = out.with_name(f".{out.name}.parts")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        if out.suffix == ".npy":
            _to_npy(table, projection, folder / out.name, dtype, progress)
        else:
            _to_parquet(table, projection, folder / out.name, dtype, progress)
        projection.save(folder / projection_file.name)
        for path in (card_file, projection_file, *([labels_file] if out.suffix == ".npy" else [])):
            path.unlink(missing_ok=True)
        for path in (out, labels_file, projection_file):
            if (folder / path.name).exists():
                (folder / path.name).replace(path)
        if card is not None:
            _write_json(card_file, card)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _batches(table: FeatureTable, projection: Projection, dtype: str) -> Iterator[Rows]:
    for rows in table.batches(_ROWS):
        with np.errstate(over="ignore"):  # refused below, with its row
            yield rows._replace(features=projection.transform(rows.features).astype(dtype, copy=False))


def _to_npy(table: FeatureTable, projection: Projection, out: Path, dtype: str, progress: Progress | None) -> None:
    array = np.lib.format.open_memmap(
        out, mode="w+", dtype=np.dtype(dtype), shape=(table.n_rows, projection.n_components)
    )
    labels: list[NDArray[Any]] = []
    done = 0
    for rows in _batches(table, projection, dtype):
        block: NDArray[Any] = rows.features
        if not np.isfinite(block).all():
            raise InputError(f"projected rows {done} to {done + len(block) - 1} exceed {dtype}: use float32")
        array[done : done + len(block)] = block
        labels += [] if rows.labels is None else [rows.labels]
        done += len(block)
        if progress is not None:
            progress(done, table.n_rows)
    array.flush()
    if labels:
        write_array(out.with_suffix(".labels.npy"), np.concatenate(labels))


def _to_parquet(table: FeatureTable, projection: Projection, out: Path, dtype: str, progress: Progress | None) -> None:
    with PartWriter(out) as part:
        part.write([], np.empty((0, projection.n_components), dtype), table.no_labels)
        for rows in _batches(table, projection, dtype):
            names = rows.ids or [str(row) for row in range(part.rows, part.rows + len(rows.features))]
            part.write(names, rows.features, rows.labels)
            if progress is not None:
                progress(part.rows, table.n_rows)


def _to_folder(
    table: FeatureTable,
    projection: Projection,
    out: Path,
    dtype: str,
    card: Mapping[str, Any] | None,
    progress: Progress | None,
) -> None:
    out.mkdir(exist_ok=True)
    (out / CARD).unlink(missing_ok=True)
    _write_json(out / _PLAN, _plan(table, dtype, projection))
    projection.save(out / PROJECTION)
    done = 0
    for number, file in enumerate(table.files):
        part = out / (file.name if len(table.files) > 1 else f"part-{number:05d}.parquet")
        one = table.part(number)
        if not part.exists():
            _to_parquet(one, projection, part, dtype, None)
        done += one.n_rows
        if progress is not None:
            progress(done, table.n_rows)
    if card is not None:
        _write_json(out / CARD, card)


def _check_folder(table: FeatureTable, out: Path, dtype: str, projection: Projection | None) -> None:
    if table.is_npy:
        raise InputError(f"--out {out}: features in .npy have no parts; name a file, .npy or .parquet")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file: name a folder, or a file that ends in .npy or .parquet")
    if not out.exists() or all(".tmp-" in path.name for path in out.iterdir()):
        return
    try:
        found = json.loads((out / _PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    wanted = _plan(table, dtype, projection)
    if projection is None and isinstance(found, dict):
        found.pop("pca", None)
    if found != wanted:
        raise InputError(
            f"{out} holds other files, or features reduced in another way, or of features that have changed since: "
            "choose another folder"
        )


def _plan(table: FeatureTable, dtype: str, projection: Projection | None) -> dict[str, Any]:
    """What the parts of a folder must all be of."""
    digest = hashlib.sha256(json.dumps(table.card, sort_keys=True).encode())
    for file in table.files:
        state = file.stat()
        digest.update(f"\n{file.name} {state.st_size} {state.st_mtime_ns}".encode())
    return {
        "features": str(table.path.resolve()),
        "sha256 of card, names, sizes and times": digest.hexdigest(),
        "rows": table.n_rows,
        "dtype": dtype,
        **({"pca": projection.card()} if projection is not None else {}),
    }


def _is_card(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "images" in content and isinstance(content.get("rows"), dict)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
