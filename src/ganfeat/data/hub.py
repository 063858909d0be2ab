"""Data sets of the Hugging Face Hub, read as a stream through ``datasets``: nothing is kept on the disk.

``"hf://NAME"``, ``"hf://NAME:SPLIT"``, ``"hf://NAME@REVISION:SPLIT"`` or, with a configuration, ``"hf://OWNER/NAME/CONFIG:SPLIT"``;
``NAME`` may be the path of a folder that ``datasets`` reads, beginning with ``/`` or ``.``.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganfeat.data.decode import out_of_memory, raise_if_machine
from ganfeat.data.encoded import Item, Unreadable
from ganfeat.data.folder import Found, printable, signature_line, walk
from ganfeat.data.images import Skipped
from ganfeat.data.shards import Candidate, LabelKind, Shard
from ganfeat.data.tar_files import is_int64
from ganfeat.errors import InputError, MissingExtraError, RunError

_PREFIX = "hf://"
_ARCHIVES = ("zip://", "tar://", "gzip://", "bz2://", "xz://", "zstd://")
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
    labelled: bool | None = None
    label_kind: LabelKind | None = None

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
    local = Path(about["path"]).is_dir()
    if local:
        about["path"] = str(Path(about["path"]).absolute())
    else:
        about["revision"] = _commit(about)
    stream = _stream(about)
    features = stream.features
    if features is None:
        raise InputError(f"{source} does not say what columns it has: download it, and give its folder")
    image, label = _columns(source, features)
    names = getattr(features[label], "names", None) if label else None
    details = {**about, "local": local, "image": image, "label": label, "pieces": max(1, stream.num_shards)}
    digest = hashlib.sha256(json.dumps([details, repr(features), _version(stream)]).encode())
    for found in walk(Path(about["path"])) if local else ():
        digest.update(signature_line(found) if isinstance(found, Found) else b"")
    return HubSource(
        printable(source),
        digest.hexdigest(),
        tuple(map(str, names)) if names else None,
        details["pieces"],
        details,
        labelled=label is not None,
        label_kind=None if label is None else "string" if features[label].dtype.endswith("string") else "int64",
    )


def _commit(about: dict[str, Any]) -> str:
    """Look up what a branch is now: whoever reads a piece later reads the same."""
    _datasets()
    from huggingface_hub import HfApi

    try:
        return str(HfApi().dataset_info(about["path"], revision=about["revision"]).sha)
    except Exception as error:  # of many kinds, by huggingface_hub and what it reads through
        raise _not_opened(about, error) from error


def read(shard: Shard) -> Iterator[Candidate]:
    """Read the images of a piece, not decoded. A connection that breaks ends the run, not the set.

    Raises
    ------
    RunError
        If the connection breaks.
    """
    about, name = shard.details, shard.paths[0]
    stream = _stream(about)
    if max(1, stream.num_shards) != about["pieces"]:
        raise InputError(f"{name} has {stream.num_shards} files now, and had {about['pieces']}: start again")
    if about["pieces"] > 1:
        stream = stream.shard(num_shards=about["pieces"], index=shard.index)
    samples = iter(stream)
    for row in itertools.count():
        place = f"{shard.index}:{row}"
        try:
            sample = next(samples, None)
        except MemoryError as error:
            raise out_of_memory() from error
        except Exception as error:  # of many kinds, by datasets, pyarrow, aiohttp and others
            if isinstance(error, OSError):
                raise_if_machine(error)
            if not about["local"]:
                raise _broken(name, error) from error
            yield Candidate(place, name, Unreadable(f"a file of the data set is damaged here: {_told(error)}"), None)
            return
        if sample is None:
            return
        yield Candidate(place, name, _item(sample.get(about["image"]), about, name), _label(sample.get(about["label"])))


def _label(value: Any) -> int | str | None:
    if isinstance(value, int):
        return int(value) if 0 <= value and is_int64(value) else None
    return value if isinstance(value, str) else None


def _item(cell: Any, about: dict[str, Any], name: str) -> Item:
    if isinstance(cell, bytes):
        return cell
    if not isinstance(cell, dict):
        return Unreadable("no image in this row")
    if cell.get("bytes") is not None:
        content: bytes = cell["bytes"]
        return content
    path = cell.get("path")
    if not isinstance(path, str) or not path:
        return Unreadable("no image in this row")
    if not _is_its_own(path, about):
        return Unreadable("the row names a file that is not of this data set")
    if "://" not in path:
        found = Path(about["path"], path)
        return found if found.is_file() else Unreadable("the row names a file that is not there")
    import fsspec  # type: ignore[import-untyped]

    try:
        with fsspec.open(path, "rb") as file:
            fetched: bytes = file.read()
            return fetched
    except FileNotFoundError:
        return Unreadable("the row names a file that is not there")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        return Unreadable(f"the row names a file that is damaged: {_told(error)}")
    except Exception as error:  # of many kinds, by what fsspec reads through
        raise _broken(name, error) from error


def _is_its_own(path: str, about: dict[str, Any]) -> bool:
    """Tell whether a row names a file of its own data set: it may be written by anybody, and name any file."""
    *inside, last = path.split("::")
    if any(not part.startswith(_ARCHIVES) for part in inside) or ".." in re.split(r"[/\\]", last):
        return False
    if not about["local"]:
        repository = f"hf://datasets/{about['path']}"
        return last.startswith((f"{repository}@{about['revision']}/", f"{repository}/"))
    if "://" in last:
        return False
    root = Path(about["path"])
    found = Path(root, last)
    return found.is_relative_to(root) or found.is_relative_to(root.resolve())


def _broken(name: str, error: Exception) -> RunError:
    return RunError(
        f"reading {name} broke off ({_told(error)}): run the same command again when the connection is there; it goes "
        "on where it was"
    )


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _not_opened(about: dict[str, Any], error: Exception) -> InputError:
    where = f"{_PREFIX}{about['path']} (split {about['split']!r})"
    return InputError(f"{printable(where)} cannot be opened ({_told(error)}): check name and network")


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "datasets", "reading from the Hub") from error
    return datasets


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
    datasets = _datasets()
    try:
        stream = datasets.load_dataset(
            about["path"], about["config"], split=about["split"], revision=about["revision"], streaming=True
        )
        for column, kind in (stream.features or {}).items():
            if isinstance(kind, datasets.Image):
                stream = stream.cast_column(column, datasets.Image(decode=False))
        return stream
    except Exception as error:  # of many kinds, by datasets, huggingface_hub and fsspec
        raise _not_opened(about, error) from error


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
