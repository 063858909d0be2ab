"""Images in tar files, as WebDataset lays them out: ``000017.jpg`` beside ``000017.cls``, in one file after the other.

A sample is what follows each other under one key, the name up to its first dot. Tar files may be compressed (gzip,
bzip2, xz). They are read in one pass, a sample in memory at a time; nothing is ever extracted to the disk.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from ganfeat.data.encoded import Unreadable
from ganfeat.data.folder import is_image_name, printable

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_BYTES = 1 << 30
"""Of an image in a tar file: it is held in memory."""

_LABEL_KEYS = ("label", "labels", "cls", "class", "fine_label", "target")
_LONGEST_LABEL = 100
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError)


class Member(NamedTuple):
    """An image in a tar file: its name there, its content, and the label of its sample."""

    name: str
    content: bytes | Unreadable
    label: int | str | None


class _DamagedError(Exception):
    pass


class _Info(tarfile.TarInfo):
    """A header; one that is damaged is no end of the file, for which :mod:`tarfile` would take it."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Any:
        try:
            return super().fromtarfile(archive)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise _DamagedError(f"{error} at byte {archive.offset:,}") from error


def is_tar_name(name: str) -> bool:
    """Tell by the suffix whether a file is a tar file that we read."""
    return name.lower().endswith(SUFFIXES)


def read_tar(path: Path) -> Iterator[Member]:
    """Read the images of a tar file, in the order in which they lie there.

    Parameters
    ----------
    path : Path
        Labels come from a member with the same key and the suffix ``.cls`` (a whole number or a name), ``.json``
        (``label``, ``cls``, ``class`` or the like) or ``.txt`` (one short line), in this order of preference.

    Yields
    ------
    Member
        Where the file is damaged or cut short, a last one without content says so.
    """
    try:
        with _opened(path) as file, tarfile.open(fileobj=file, mode="r:", tarinfo=_Info) as archive:
            yield from _samples(archive)
    except _DAMAGE as error:
        reason = "no permission to read it" if isinstance(error, PermissionError) else " ".join(str(error).split())
        yield Member("", Unreadable(f"damaged tar file: {reason or type(error).__name__}"), None)
    except _DamagedError as error:
        yield Member("", Unreadable(f"damaged tar file: {error}"), None)


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        head = file.read(2)
    opener: Any = _OPENERS.get(head, open)
    return cast("IO[bytes]", opener(path, "rb"))


def _samples(archive: tarfile.TarFile) -> Iterator[Member]:
    key: str | None = None
    images: list[tuple[str, bytes | Unreadable]] = []
    words: dict[str, bytes] = {}
    infos = _infos(archive)
    damage: Exception | None = None
    while damage is None:
        try:
            info = next(infos, None)
        except (*_DAMAGE, _DamagedError) as error:
            damage = error
            continue
        if info is None:
            break
        name = printable(info.name.removeprefix("./"))
        folder, _, last = name.rpartition("/")
        stem, _, suffix = last.partition(".")
        if f"{folder}/{stem}" != key:
            yield from _sample(images, words)
            key, images, words = f"{folder}/{stem}", [], {}
        if is_image_name(last):
            content, whole = _content(archive, info)
            images.append((name, content))
            if not whole:
                break
        elif suffix in ("cls", "json", "txt") and info.size < MAX_BYTES:
            content, whole = _content(archive, info)
            if isinstance(content, bytes):
                words[suffix] = content
            if not whole:
                break
    yield from _sample(images, words)
    if damage is not None:  # behind the last image that is whole
        raise damage


def _infos(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (info := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # or all of them stay in memory
        if info.isreg() and not info.name.rpartition("/")[2].startswith("."):
            yield info


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> tuple[bytes | Unreadable, bool]:
    """What a member holds, and whether the file goes on behind it."""
    if info.size > MAX_BYTES:
        return Unreadable(f"a file of {info.size / 1e9:.1f} GB in a tar file"), True
    try:
        member = archive.extractfile(info)
        assert member is not None
        return member.read(), True
    except _DAMAGE as error:
        return Unreadable(f"the tar file ends early or is damaged here: {' '.join(str(error).split())}"), False


def _sample(images: list[tuple[str, bytes | Unreadable]], words: dict[str, bytes]) -> Iterator[Member]:
    label = _label(words) if images else None
    for name, content in images:
        yield Member(name, content, label)


def _label(words: dict[str, bytes]) -> int | str | None:
    try:
        if "cls" in words:
            return _number_or_name(words["cls"].decode())
        if "json" in words:
            known = json.loads(words["json"])
            for key in _LABEL_KEYS if isinstance(known, dict) else ():
                if isinstance(value := known.get(key), int | str) and not isinstance(value, bool):
                    return value if isinstance(value, int) else _number_or_name(value)
        return _number_or_name(words["txt"].decode()) if "txt" in words else None
    except (ValueError, RecursionError):
        return None


def _number_or_name(text: str) -> int | str | None:
    text = text.strip()
    if not text or "\n" in text or len(text) > _LONGEST_LABEL:
        return None
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else text
