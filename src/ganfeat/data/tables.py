"""Parquet with encoded images inside, as on the Hugging Face Hub: one file, or several shards."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.decode import out_of_memory, raise_if_machine
from ganfeat.data.encoded import EncodedImages, Item, Unreadable
from ganfeat.data.folder import found_file, printable, signature_of
from ganfeat.errors import InputError
from ganfeat.parquet import batches, opened

SUFFIXES = (".parquet", ".pq")

_IMAGE_COLUMNS = ("image", "img", "images", "jpg", "png", "webp", "bytes")
_LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target")
_SPLITS = {"train": "train", "test": "test", "validation": "validation", "valid": "validation"}
_SPLITS |= {"val": "validation", "dev": "validation"}
_HUB_NAME = re.compile(r"(.+)-\d{5}-of-\d{5}(-.*)?")
_ROWS_AT_ONCE = 64
_LABELS_AT_ONCE = 1 << 16


def open_parquet(paths: list[Path], source: str) -> EncodedImages:
    """Make the images of one or more parquet files ready for decoding.

    Parameters
    ----------
    paths : list of Path
        Read in the order given. All must have the same image and label columns and class names.
    source : str
        What they are, in words.

    Returns
    -------
    EncodedImages
        With labels from the column ``label``, ``labels``, ``fine_label``, ``class`` or ``target`` if there
        is one of integers or strings (-1 where a row has none), and class names from the ``ClassLabel`` in
        the ``huggingface`` metadata, else from the strings.

    Raises
    ------
    InputError
        If a file is not parquet, or has no column of encoded images, or more than one candidate, or is unlike
        the first.
    """
    table = describe(paths)
    ids = [f"{printable(path.name)}:{row}" for path, rows in zip(paths, table.rows, strict=True) for row in range(rows)]
    labels, classes = _labels(paths, table.schema, table.label) if table.label else (None, None)

    def items() -> Iterator[Item]:
        return _encoded(paths, table.image)

    return EncodedImages(
        source=source,
        ids=tuple(ids),
        items=items,
        signature=signature_of(tuple(found_file(path) for path in paths)),
        labels=labels,
        classes=classes,
    )


@dataclass(frozen=True)
class Table:
    """What the footers of parquet files say: their columns, class names if any, and rows by file."""

    schema: Any
    image: str
    label: str | None
    classes: tuple[str, ...]
    rows: tuple[int, ...]

    @property
    def label_kind(self) -> Literal["int64", "string"] | None:
        """Whether labels are numbers or names."""
        import pyarrow.types as types

        if self.label is None:
            return None
        kind = self.schema.field(self.label).type
        return "int64" if types.is_integer(kind.value_type if types.is_dictionary(kind) else kind) else "string"


def describe(paths: list[Path]) -> Table:
    """Read the footers of one or more parquet files of the same columns.

    Raises
    ------
    InputError
        As :func:`open_parquet`.
    """
    import pyarrow.parquet as pq

    image_column = label_column = None
    schema: Any = None
    counts: list[int] = []
    for path in paths:
        try:
            with pq.ParquetFile(path) as table:
                own, rows = table.schema_arrow, table.metadata.num_rows
        except Exception as error:  # ArrowException and OSError alike
            raise InputError(f"{path} cannot be read as parquet: {error}") from error
        if schema is None:
            schema = own
            image_column, label_column = _image_column(own, path), _label_column(own)
        for column in filter(None, (image_column, label_column, _label_column(own))):
            kinds = [one.field(column).type if column in one.names else None for one in (own, schema)]
            if kinds[0] != kinds[1]:
                raise InputError(f"{path} and {paths[0]} differ in the column {column!r}: load them separately")
        if label_column is not None and _class_names(own, label_column) != _class_names(schema, label_column):
            raise InputError(
                f"{path} and {paths[0]} name the classes in {label_column!r} differently: load them separately"
            )
        counts.append(rows)
    assert image_column is not None
    classes = _class_names(schema, label_column) if label_column else ()
    return Table(schema, image_column, label_column, classes, tuple(counts))


def group_sizes(path: Path) -> list[int]:
    """Count the rows of each row group."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as table:
        return [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]


def read_rows(path: Path, image: str, label: str | None, groups: Sequence[int]) -> Iterator[tuple[Item, Any]]:
    """Read images, not decoded, and labels (None where there is none) of some row groups of a file.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    for cells in _cells(path, [image] if label is None else [image, label], _ROWS_AT_ONCE, groups):
        yield _item(cells[0]), cells[1] if label is not None else None


def one_split(paths: list[Path], root: Path) -> list[Path]:
    """Refuse shards of several splits in the folder `root`, which nobody means to mix.

    Raises
    ------
    InputError
        Naming the glob, or the folder, of each split.
    """
    choices = dict(filter(None, (_split_of(path, root) for path in reversed(paths))))
    if len(choices) > 1:
        sources = ", ".join(map(repr, sorted(choices.values())))
        raise InputError(f"{root} holds the splits {', '.join(sorted(choices))}: say which, one of {sources}")
    return paths


def _split_of(path: Path, root: Path) -> tuple[str, str] | None:
    """Give a shard's split and the source that is this split alone; None where no name tells."""
    hub = _HUB_NAME.fullmatch(path.stem)
    word = hub[1] if hub else re.split("[-_.]", path.stem)[0]
    pattern = f"{glob.escape(str(path.parent))}/{word}{'-' if hub else ''}*{path.suffix}"
    if split := _SPLITS.get(word.lower()):
        return split, pattern
    for above in path.relative_to(root).parents:
        if split := _SPLITS.get(above.name.lower()):
            return split, str(root / above)
    return (word, pattern) if hub else None


def _image_column(schema: Any, path: Path) -> str:
    candidates = [field.name for field in schema if _holds_bytes(field.type)]
    named = [name for name in _IMAGE_COLUMNS if name in candidates]
    if named:
        return named[0]
    if len(candidates) == 1:
        return str(candidates[0])
    found = f"several ({', '.join(candidates)})" if candidates else "none"
    raise InputError(
        f"{path}: looked for one column of encoded images (binary, or a struct with a field 'bytes'), found "
        f"{found}; the columns are {', '.join(schema.names)}. Rename the one you mean to 'image'"
    )


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        position = kind.get_field_index("bytes")
        return position >= 0 and _holds_bytes(kind.field(position).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _label_column(schema: Any) -> str | None:
    import pyarrow.types as types

    for name in _LABEL_COLUMNS:
        if name in schema.names:
            kind = schema.field(name).type
            if types.is_dictionary(kind):
                kind = kind.value_type
            if types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind):
                return name
    return None


def _labels(paths: list[Path], schema: Any, column: str) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None]:
    values = [value for path in paths for (value,) in _cells(path, [column], _LABELS_AT_ONCE)]
    if all(value is None for value in values):
        return None, None
    if any(isinstance(value, str) for value in values):
        classes = tuple(sorted({value for value in values if value is not None}))
        index = {name: label for label, name in enumerate(classes)}
        values = [None if value is None else index[value] for value in values]
    else:
        classes = _class_names(schema, column)
    labels = np.array([-1 if value is None else value for value in values], dtype=np.int64)
    return labels, classes if labels.max() < len(classes) else None


def _class_names(schema: Any, column: str) -> tuple[str, ...]:
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
        feature = described["info"]["features"][column]
        return tuple(map(str, feature["names"])) if feature["_type"] == "ClassLabel" else ()
    except (KeyError, TypeError, ValueError):
        return ()


def _encoded(paths: list[Path], column: str) -> Iterator[Item]:
    for path in paths:
        for (cell,) in _cells(path, [column], _ROWS_AT_ONCE):
            yield _item(cell)


def _item(cell: Any) -> Item:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if content is not None:
        return cast("bytes", content)
    if isinstance(cell, dict) and cell.get("path"):
        return Unreadable(f"the row names a file, {cell['path']!r}, and does not hold it")
    return Unreadable("no image in this row")


def _cells(
    path: Path, columns: list[str], rows_at_once: int, groups: Sequence[int] | None = None
) -> Iterator[tuple[Any, ...]]:
    import pyarrow as pa

    try:
        if groups is None:
            groups = range(len(group_sizes(path)))
        for group in groups:
            with opened(path) as table:
                for batch in batches(table, rows_at_once, columns, [group]):
                    yield from zip(*(batch.column(column).to_pylist() for column in columns), strict=True)
    except MemoryError as error:
        raise out_of_memory() from error
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError):
            raise_if_machine(error)
        raise InputError(f"{path} is damaged ({' '.join(str(error).split())}): fetch it again") from error
