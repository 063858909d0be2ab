"""Data sets of the Hugging Face Hub, read as a stream through ``datasets``: nothing is kept on the disk.

``"hf://NAME"``, ``"hf://NAME:SPLIT"``, ``"hf://NAME@REVISION:SPLIT"`` or, with a configuration, ``"hf://OWNER/NAME/CONFIG:SPLIT"``;
``NAME`` may be the path of a folder that ``datasets`` reads, beginning with ``/`` or ``.``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganfeat.data.encoded import Item, Unreadable
from ganfeat.data.images import Skipped
from ganfeat.data.shards import Candidate, Shard
from ganfeat.errors import InputError, MissingExtraError

_PREFIX = "hf://"
_IMAGES = ("image", "img", "images", "jpg", "png", "webp", "picture")
_LABELS = ("label", "labels", "fine_label", "class", "target", "cls")


@dataclass(frozen=True)
class HubSource:
    """A split of a data set, as :class:`~ganfeat.data.shards.ShardedSource`."""

    name: str
    signature: str
    classes: tuple[str, ...] | None
    pieces: int
    details: dict[str, Any] = field(repr=False)
    count: int | None = None
    skipped: tuple[Skipped, ...] = ()
    others: tuple[Path, ...] = ()

    def shards(self) -> Iterator[Shard]:
        """Give the pieces: as many as the data set has files."""
        for index in range(self.pieces):
            yield Shard(index, "hub", (self.name,), 0, 0, self.details)


def open_hub(source: str) -> HubSource:
    """Look a data set up.

    Raises
    ------
    InputError
        If there is none of that name, or it has no column of images.
    MissingExtraError
        Without ``datasets``.
    """
    about = _parsed(source)
    stream = _stream(about)
    features = stream.features
    if features is None:
        raise InputError(f"{source} does not say what columns it has: download it, and give its folder")
    image, label = _columns(source, features)
    names = getattr(features[label], "names", None) if label else None
    details = {**about, "image": image, "label": label, "pieces": max(1, stream.num_shards)}
    known = json.dumps([details, repr(features), _version(stream)]).encode()
    return HubSource(
        source,
        hashlib.sha256(known).hexdigest(),
        tuple(map(str, names)) if names else None,
        details["pieces"],
        details,
    )


def read(shard: Shard) -> Iterator[Candidate]:
    """Read the images of a piece, not decoded. A connection that breaks ends the run, not the set."""
    about, name = shard.details, shard.paths[0]
    stream = _stream(about)
    if max(1, stream.num_shards) != about["pieces"]:
        raise InputError(f"{name} has {stream.num_shards} files now, and had {about['pieces']}: start again")
    if about["pieces"] > 1:
        stream = stream.shard(num_shards=about["pieces"], index=shard.index)
    for row, sample in enumerate(stream):
        label = sample.get(about["label"]) if about["label"] else None
        if not isinstance(label, int | str) or (isinstance(label, int) and label < 0):
            label = None
        yield Candidate(f"{shard.index}:{row}", name, _item(sample.get(about["image"])), label)


def _item(cell: Any) -> Item:
    if isinstance(cell, bytes):
        return cell
    if not isinstance(cell, dict):
        return Unreadable("no image in this row")
    if cell.get("bytes") is not None:
        content: bytes = cell["bytes"]
        return content
    path = cell.get("path")
    if not path:
        return Unreadable("no image in this row")
    if "://" not in path:
        return Path(path)
    import fsspec  # type: ignore[import-untyped]

    try:
        with fsspec.open(path, "rb") as file:
            fetched: bytes = file.read()
            return fetched
    except FileNotFoundError:
        return Unreadable("the row names a file that is not there")


def _parsed(source: str) -> dict[str, Any]:
    name = source.removeprefix(_PREFIX)
    name, _, split = name.partition(":")
    name, _, revision = name.partition("@")
    config = None
    if not name.startswith(("/", ".")):
        parts = name.split("/")
        if len(parts) == 3:
            name, config = "/".join(parts[:2]), parts[2]
        elif len(parts) > 3 or not all(parts):
            raise InputError(
                f"{source!r} is no name on the Hub: write hf://OWNER/NAME, or hf://OWNER/NAME/CONFIG:SPLIT"
            )
    return {"path": name, "config": config, "revision": revision or None, "split": split or "train"}


def _stream(about: dict[str, Any]) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "datasets", "reading from the Hub") from error
    try:
        stream = datasets.load_dataset(
            about["path"], about["config"], split=about["split"], revision=about["revision"], streaming=True
        )
        for column, kind in (stream.features or {}).items():
            if isinstance(kind, datasets.Image):
                stream = stream.cast_column(column, datasets.Image(decode=False))
        return stream
    except Exception as error:  # of many kinds, by datasets, huggingface_hub and fsspec
        told = " ".join(str(error).split())[:300]
        raise InputError(
            f"{_PREFIX}{about['path']} (split {about['split']!r}) cannot be opened ({told}): check name and network"
        ) from error


def _columns(source: str, features: Any) -> tuple[str, str | None]:
    import datasets

    images = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
    images = images or [column for column in _IMAGES if column in features]
    named = [column for column in _IMAGES if column in images] or images
    if not named or (named[0] not in _IMAGES and len(named) > 1):
        raise InputError(f"{source} has no column of images that could be told: its columns are {', '.join(features)}")
    labels = [
        column
        for column in _LABELS
        if column in features and getattr(features[column], "dtype", "").startswith(("int", "uint", "string"))
    ]
    return named[0], next(iter(labels), None)


def _version(stream: Any) -> str:
    info = getattr(stream, "info", None)
    return repr([getattr(info, "version", None), sorted(map(str, getattr(info, "download_checksums", None) or ()))])
