"""What a source of images is: a name, a path, a pattern, a list or an array, and which reader it goes to."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from ganfeat.data import array_files, folder, mat_files, sets, tables, tar_files
from ganfeat.data.bundled import BUNDLED
from ganfeat.data.decode import SUFFIXES
from ganfeat.data.encoded import EncodedImages
from ganfeat.data.images import ImageDataset
from ganfeat.errors import InputError

_GLOB = frozenset("*?[")
_TAR = "tar files are read into a set first: `ganfeat prepare {} --out SET --size 64`, then give SET"


def open_source(source: Any, size: int | None = None) -> ImageDataset | EncodedImages:
    """Find out what a source is, and open it with the reader for its kind.

    Parameters
    ----------
    source : str, path, list of paths, array or ImageDataset
        As :func:`~ganfeat.data.load_images` takes it.
    size : int, optional
        What the images will be brought to: a packed set gives those that are nearest above.

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
        return sets.open_dataset(path, size) if sets.is_set(path) else _open_folder(path)
    if path.is_file():
        return _open_file(path)
    if path.exists():
        raise InputError(f"{path} is neither a file nor a folder: give one of these")
    if _GLOB & set(str(path)):
        return _open_glob(path)
    raise missing(path, str(source))


def packed_set(source: Any) -> Path | None:
    """Give the folder if a source is a packed set."""
    if not isinstance(source, str | os.PathLike) or source in BUNDLED:
        return None
    path = Path(source).expanduser()
    return path if path.is_dir() and sets.is_set(path) else None


def missing(path: Path, asked: str) -> InputError:
    """Say that there is no such source, with names that are near."""
    return InputError(
        f"there is no {asked!r}{_near_names(path, asked)}. Give a folder, a file, or one of the bundled sets: "
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
    single = array_files.idx_among(others) + [other for other in others if other.suffix.lower() in mat_files.SUFFIXES]
    if len(single) > 1:
        raise InputError(f"{path} holds several image files, say which: {', '.join(map(str, single))}")
    if single:
        return _open_file(single[0])
    if any(tar_files.is_tar_name(other.name) for other in others):
        raise InputError(_TAR.format(path))
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
    if tar_files.is_tar_name(path.name):
        raise InputError(_TAR.format(path))
    if array_files.idx_dimensions(path):
        return array_files.open_idx(path)
    raise InputError(
        f"{path} is of no kind that is read: expected {', '.join(SUFFIXES)}, .parquet, .mat, .npy, .npz or IDX"
    )


def _open_glob(pattern: Path) -> EncodedImages:
    found = matches_of(pattern)
    shards = [path for path in found if path.suffix.lower() in tables.SUFFIXES]
    if not shards:
        raise InputError(
            f"no parquet file matches {str(pattern)!r} ({len(found)} other files do): to read images give their folder"
        )
    return tables.open_parquet(shards, str(pattern))


def matches_of(pattern: Path) -> list[Path]:
    """List the files that a pattern means, sorted; none where it is no pattern."""
    if not _GLOB & set(str(pattern)):
        return []
    depth = next(place for place, part in enumerate(pattern.parts) if _GLOB & set(part))
    root = Path(*pattern.parts[:depth])
    matches = root.glob(str(Path(*pattern.parts[depth:])))
    return sorted(path for path in matches if path.is_file() and not path.name.startswith("."))


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
