"""Folders of image files: what is in them, in which order, and which sub-folder is which class.

Order is that of the relative paths, compared name by name. Hidden files and folders (a leading dot) and
``__MACOSX`` are passed over. Links to folders are followed once each, after the real folders, and never
back to a folder that contains the one being read, so loops end.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.decode import SUFFIXES, raise_if_machine
from ganfeat.data.encoded import EncodedImages
from ganfeat.data.images import Skipped
from ganfeat.data.spool import in_order

SPECIAL = "not a regular file"
SELF = "a link that leads back to itself"
LOOP = "a link to a folder that holds it"
TWICE = "a link to a folder that is read elsewhere"
"""Reasons why :func:`walk` passes something over. :func:`scan_folder` does not speak of the last two."""


@dataclass(frozen=True)
class Found:
    """A file with its path relative to the folder, its size in bytes and its time in nanoseconds."""

    path: Path
    parts: tuple[str, ...]
    size: int
    modified: int

    @property
    def name(self) -> str:
        """The relative path with ``/``, always printable, also where it is not valid UTF-8."""
        return printable("/".join(self.parts))


@dataclass(frozen=True)
class Scan:
    """The files under a folder: images by suffix, all others, and what could not be looked at."""

    root: Path
    images: tuple[Found, ...]
    others: tuple[Found, ...]
    skipped: tuple[Skipped, ...]


def printable(name: str) -> str:
    """Write bytes of a file name that are not UTF-8 as backslash escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def is_image_name(name: str) -> bool:
    """Tell by the suffix, in any case, whether a file is an image that we read."""
    return Path(name).suffix.lower() in SUFFIXES


def scan_folder(root: Path) -> Scan:
    """List all files under `root`, without opening any."""
    found = list(walk(root))
    files = [one for one in found if isinstance(one, Found)]
    return Scan(
        root=root,
        images=tuple(one for one in files if is_image_name(one.parts[-1])),
        others=tuple(one for one in files if not is_image_name(one.parts[-1])),
        skipped=tuple(
            sorted(
                one
                for one in found
                if isinstance(one, Skipped)
                and one.reason not in (LOOP, TWICE)
                and (one.reason != SPECIAL or is_image_name(one.source))
            )
        ),
    )


def walk(root: Path) -> Iterator[Found | Skipped]:
    """Go through all files under `root`, in the order of their paths, without opening any.

    Yields
    ------
    Found or Skipped
        Every file, and everything that is none or cannot be looked at, with the reason. In memory are the names of
        all folders, and of some of the files of one folder.
    """
    above = root.resolve()
    followed = _folders(root, above)
    open_folders = [_entries(root, ())]
    while open_folders:
        entry = next(open_folders[-1], None)
        if entry is None:
            open_folders.pop()
            continue
        if isinstance(entry, Skipped):
            yield entry
            continue
        path, here = entry
        try:
            status = path.stat()
        except OSError as error:
            raise_if_machine(error)
            if path.is_symlink():
                reason = SELF if error.errno == errno.ELOOP else "broken link"
            else:
                reason = f"cannot be looked at: {error.strerror}"
            yield Skipped(printable("/".join(here)), reason)
            continue
        if stat.S_ISDIR(status.st_mode):
            if here in followed:
                open_folders.append(_entries(path, here))
            else:
                inside = above.is_relative_to(path.resolve())
                yield Skipped(printable("/".join(here)), LOOP if inside else TWICE)
        elif stat.S_ISREG(status.st_mode):
            yield Found(path, here, status.st_size, status.st_mtime_ns)
        else:
            yield Skipped(printable("/".join(here)), SPECIAL)


def _entries(folder: Path, parts: tuple[str, ...]) -> Iterator[Skipped | tuple[Path, tuple[str, ...]]]:
    try:
        listing = os.scandir(folder)
    except OSError as error:
        raise_if_machine(error)
        yield Skipped(printable("/".join(parts) or str(folder)), f"folder: {error.strerror}")
        return
    broken: list[OSError] = []

    def names() -> Iterator[str]:
        with listing:
            while True:
                try:
                    entry = next(listing, None)
                except OSError as error:  # of the folder, and not of the disk that long lists are written to
                    raise_if_machine(error)
                    broken.append(error)
                    return
                if entry is None:
                    return
                if not _passed_over(entry.name):
                    yield entry.name

    for name in in_order(names()):
        yield folder / name, (*parts, name)
    for damage in broken:
        yield Skipped(printable("/".join(parts) or str(folder)), f"folder: {damage.strerror}")


def _folders(root: Path, above: Path) -> set[tuple[str, ...]]:
    """Which folders are read, by their parts: real ones first, so that a link to one of them is not followed."""
    kept: set[tuple[str, ...]] = set()
    seen: set[tuple[int, int]] = set()
    real: list[tuple[Path, tuple[str, ...]]] = [(root, ())]
    linked: list[tuple[Path, tuple[str, ...]]] = []
    while real or linked:
        folder, parts = real.pop() if real else linked.pop(0)
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            kept.add(parts)
            with os.scandir(folder) as listing:
                below = sorted((one.name, one.is_symlink()) for one in listing if _is_folder(one))
        except OSError:
            continue
        for name, is_link in below:
            if not is_link:
                real.append((folder / name, (*parts, name)))
            elif not above.is_relative_to((folder / name).resolve()):
                linked.append((folder / name, (*parts, name)))
    return kept


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return not _passed_over(entry.name) and entry.is_dir()
    except OSError:  # a link to itself
        return False


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def folder_labels(
    paths: tuple[tuple[str, ...], ...],
) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None]:
    """Take labels from sub-folders.

    Parameters
    ----------
    paths : tuple of tuples of str
        Relative paths of the images, in parts.

    Returns
    -------
    labels : ndarray of int64, shape (n,), or None
    classes : tuple of str or None
        The sub-folders' names, sorted. Both are None unless every image lies in or below a sub-folder of the
        first level, its class, and there are two such sub-folders or more.
    """
    if any(len(parts) < 2 for parts in paths):
        return None, None
    names = sorted({parts[0] for parts in paths})
    if len(names) < 2:
        return None, None
    index = {name: label for label, name in enumerate(names)}
    labels = np.fromiter((index[parts[0]] for parts in paths), dtype=np.int64, count=len(paths))
    return labels, tuple(printable(name) for name in names)


def images_of(scan: Scan) -> EncodedImages:
    """Make the images of a scanned folder ready for decoding."""
    labels, classes = folder_labels(tuple(found.parts for found in scan.images))

    def items() -> Iterator[Path]:
        return (found.path for found in scan.images)

    return EncodedImages(
        source=printable(str(scan.root)),
        ids=tuple(found.name for found in scan.images),
        items=items,
        signature=signature_of(scan.images),
        labels=labels,
        classes=classes,
        skipped=scan.skipped,
    )


def found_file(path: Path) -> Found:
    """Describe a single file, named by its last part."""
    status = path.stat()
    return Found(path, (path.name,), status.st_size, status.st_mtime_ns)


def signature_of(files: tuple[Found, ...]) -> str:
    """SHA-256 over names, sizes and times of change: no file is opened."""
    digest = hashlib.sha256()
    for found in files:
        digest.update(signature_line(found))
    return digest.hexdigest()


def signature_line(found: Found) -> bytes:
    """What a file adds to a signature."""
    return f"{found.name}\0{found.size}\0{found.modified}\n".encode()
