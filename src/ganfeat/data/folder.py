"""Folders of image files: what is in them, in which order, and which sub-folder is which class.

Order is that of the relative paths, compared name by name. Hidden files and folders (a leading dot) and
``__MACOSX`` are passed over. Links to folders are followed once each, after the real folders, and never
back to a folder that contains the one being read, so loops end.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.decode import SUFFIXES
from ganfeat.data.encoded import EncodedImages
from ganfeat.data.images import Skipped


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
    files: list[Found] = []
    skipped: list[Skipped] = []
    above = root.resolve()
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
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(Skipped(printable("/".join(parts) or str(root)), f"folder: {error.strerror}"))
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            here = (*parts, entry.name)
            path = folder / entry.name
            try:
                status = entry.stat()
            except OSError as error:
                reason = "broken link" if entry.is_symlink() else f"cannot be looked at: {error.strerror}"
                skipped.append(Skipped(printable("/".join(here)), reason))
                continue
            if stat.S_ISDIR(status.st_mode):
                if not entry.is_symlink():
                    real.append((path, here))
                elif not above.is_relative_to(path.resolve()):
                    linked.append((path, here))
            elif stat.S_ISREG(status.st_mode):
                files.append(Found(path, here, status.st_size, status.st_mtime_ns))
            elif is_image_name(entry.name):
                skipped.append(Skipped(printable("/".join(here)), "not a regular file"))
    files.sort(key=lambda found: found.parts)
    return Scan(
        root=root,
        images=tuple(found for found in files if is_image_name(found.parts[-1])),
        others=tuple(found for found in files if not is_image_name(found.parts[-1])),
        skipped=tuple(sorted(skipped)),
    )


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
        digest.update(f"{found.name}\0{found.size}\0{found.modified}\n".encode())
    return digest.hexdigest()
