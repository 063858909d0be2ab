"""What a source of images is: a name, a path, a pattern, a list or an array, and which reader it goes to."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from ganfeat.data import array_files, folder, mat_files, tables
from ganfeat.data.bundled import BUNDLED
from ganfeat.data.decode import SUFFIXES
from ganfeat.data.encoded import EncodedImages
from ganfeat.data.images import ImageDataset
from ganfeat.errors import InputError

_GLOB = frozenset("*?[")


def open_source(source: Any) -> ImageDataset | EncodedImages:
    """Find out what a source is, and open it with the reader for its kind.

    Parameters
    ----------
    source : str, path, list of paths, array or ImageDataset
        As :func:`~ganfeat.data.load_images` takes it.

    Returns
    -------
    ImageDataset or EncodedImages
        Pixels of whatever size where they are stored as such, else images to be decoded.

    Raises
    ------
    InputError
        If it is nothing that is read; the message says what would be.
    """
    if isinstance(source, ImageDataset):
        return source
    if isinstance(source, str) and source in BUNDLED:
        return BUNDLED[source]()
    if isinstance(source, list | tuple) and source and all(isinstance(one, str | os.PathLike) for one in source):
        return _open_list([Path(one).expanduser() for one in source])
    if not isinstance(source, str | os.PathLike):
        return array_files.from_array(source)
    path = Path(source).expanduser()
    if path.is_dir():
        return _open_folder(path)
    if path.is_file():
        return _open_file(path)
    if path.exists():
        raise InputError(f"{path} is neither a file nor a folder: give one of these")
    if _GLOB & set(str(path)):
        return _open_glob(path)
    near = _near_names(path, str(source))
    raise InputError(
        f"there is no {str(source)!r}{near}. Give a folder, a file, or one of the bundled sets: "
        f"{', '.join(sorted(BUNDLED))}"
    )


def _open_folder(path: Path) -> ImageDataset | EncodedImages:
    scan = folder.scan_folder(path)
    if scan.images:
        return folder.images_of(scan)
    others = [found.path for found in scan.others]
    shards = [other for other in others if other.suffix.lower() in tables.SUFFIXES]
    if shards:
        return tables.open_parquet(tables.one_split(shards, path), str(path))
    named = [other for other in others if "idx" in other.name.lower() or "ubyte" in other.name.lower()]
    idx = [other for other in named if array_files.idx_dimensions(other) >= 3]
    single = idx + [other for other in others if other.suffix.lower() in mat_files.SUFFIXES]
    if len(single) > 1:
        raise InputError(f"{path} holds several image files, say which: {', '.join(map(str, single))}")
    if single:
        return _open_file(single[0])
    unseen = "".join(f"\n  {name}: {reason}" for name, reason in scan.skipped[:5])
    raise InputError(
        f"no images under {path}: looked for {', '.join(SUFFIXES)} (then parquet, IDX and .mat) in "
        f"{len(others)} files{'; could not be looked at:' if unseen else ''}{unseen}"
    )


def _open_file(path: Path) -> ImageDataset | EncodedImages:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return array_files.open_npy(path)
    if suffix == ".npz":
        return array_files.open_npz(path)
    if suffix in tables.SUFFIXES:
        return tables.open_parquet([path], str(path))
    if suffix in mat_files.SUFFIXES:
        return mat_files.open_mat(path)
    if folder.is_image_name(path.name):
        return folder.images_of(folder.Scan(path, (folder.found_file(path),), (), ()))
    if array_files.idx_dimensions(path):
        return array_files.open_idx(path)
    raise InputError(
        f"{path} is of no kind that is read: expected {', '.join(SUFFIXES)}, .parquet, .mat, .npy, .npz or IDX"
    )


def _open_glob(pattern: Path) -> EncodedImages:
    depth = next(place for place, part in enumerate(pattern.parts) if _GLOB & set(part))
    root = Path(*pattern.parts[:depth])
    matches = root.glob(str(Path(*pattern.parts[depth:])))
    found = sorted(path for path in matches if path.is_file() and not path.name.startswith("."))
    shards = [path for path in found if path.suffix.lower() in tables.SUFFIXES]
    if not shards:
        raise InputError(
            f"no parquet file matches {str(pattern)!r} ({len(found)} other files do): to read images give their folder"
        )
    return tables.open_parquet(shards, str(pattern))


def _open_list(paths: list[Path]) -> EncodedImages:
    for path in paths:
        if path.suffix.lower() not in tables.SUFFIXES:
            raise InputError(
                f"a list of paths must name parquet files, and {str(path)!r} is none: give images by folder"
            )
        if not path.is_file():
            raise InputError(f"there is no file {str(path)!r}{_near_names(path, str(path))}")
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"a file is twice in the list {', '.join(map(str, paths))}: name each once")
    paths = sorted(paths)
    several = f" … {paths[-1]} ({len(paths)} files)" if len(paths) > 1 else ""
    return tables.open_parquet(paths, f"{paths[0]}{several}")


def _near_names(path: Path, asked: str) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        names = []
    near = difflib.get_close_matches(asked, BUNDLED)
    near += [str(path.with_name(name)) for name in difflib.get_close_matches(path.name, names)]
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""
