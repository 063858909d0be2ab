"""Images in tar files, as WebDataset lays them out: ``000017.jpg`` beside ``000017.cls``, in one file after the other.

A sample is what follows each other under one key, the name up to its first dot. Tar files may be compressed (gzip,
bzip2, xz). They are read in one pass, a sample (or 64 images of a longer one) in memory at a time; nothing is ever
extracted to the disk.
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

from ganfeat.data.decode import out_of_memory, raise_if_machine
from ganfeat.data.encoded import Unreadable
from ganfeat.data.folder import is_image_name, printable
from ganfeat.data.unique import Unique

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_BYTES = 1 << 30
"""Of an image in a tar file: it is held in memory."""

_LABEL_KEYS = ("label", "labels", "cls", "class", "fine_label", "target")
_LONGEST_LABEL = 100
_WORDS = ("cls", "json", "txt")
_LONGEST_WORDS = 1 << 20
_MOST_HELD, _MOST_BYTES = 64, 1 << 25
"""Images of one sample that are in memory at once."""
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
        A name that occurs again, as where a tar file was appended to, gets ``~2``, ``~3`` and so on behind it. Where
        the file is damaged or cut short, a last one without content says so.
    """
    try:
        with _opened(path) as file, tarfile.open(fileobj=file, mode="r:", tarinfo=_Info) as archive:
            yield from _samples(archive)
    except _DAMAGE as error:
        if isinstance(error, OSError):
            raise_if_machine(error)
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
    sample = _Sample("")
    unique = Unique()
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
        key = f"{folder}/{last.partition('.')[0]}"
        if key != sample.key:
            yield from sample.rest()
            sample = _Sample(key)
        stem, _, suffix = last.rpartition(".")
        whole = True
        if is_image_name(last):
            content, whole = _content(archive, info)
            yield from sample.add(f"{folder}/{stem}", unique.name(name), content)
        elif suffix in _WORDS and info.isreg() and info.size <= _LONGEST_WORDS:
            content, whole = _content(archive, info)
            if isinstance(content, bytes):
                sample.words_of(f"{folder}/{stem}")[suffix] = content
        if not whole:
            break
    yield from sample.rest()
    if damage is not None:  # behind the last image that is whole
        raise damage


class _Held(NamedTuple):
    stem: str
    name: str
    content: bytes | Unreadable


class _Sample:
    """Images that follow each other under one key, and the words beside them.

    Words are for the images that have their name up to its last dot, else for all of the key: `scan.00001.png` goes
    with `scan.00001.cls`, and `17.left.png` with `17.cls`. Of a long sample the first images go out before its end,
    with the labels that are known by then.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        self._held: list[_Held] = []
        self._bytes = 0
        self._words: dict[str, dict[str, bytes]] = {}

    def words_of(self, stem: str) -> dict[str, bytes]:
        """Words beside the images of one name, to be added to."""
        if stem not in self._words and len(self._words) > _MOST_HELD:
            del self._words[next(known for known in self._words if known != self.key)]
        return self._words.setdefault(stem, {})

    def add(self, stem: str, name: str, content: bytes | Unreadable) -> Iterator[Member]:
        """Add an image; give those of another name if too many are held."""
        if self._held and (len(self._held) >= _MOST_HELD or self._bytes > _MOST_BYTES):
            yield from self._given([held for held in self._held if held.stem != stem] or self._held[:])
        self._held.append(_Held(stem, name, content))
        self._bytes += _length(content)

    def rest(self) -> Iterator[Member]:
        """Give all images."""
        yield from self._given(self._held)

    def _given(self, images: list[_Held]) -> Iterator[Member]:
        self._held = [held for held in self._held if held not in images] if images is not self._held else []
        self._bytes = sum(_length(held.content) for held in self._held)
        for stem, name, content in images:
            yield Member(name, content, _label(self._words.get(stem) or self._words.get(self.key) or {}))
        for stem in {held.stem for held in images} - {self.key, *(held.stem for held in self._held)}:
            self._words.pop(stem, None)


def _length(content: bytes | Unreadable) -> int:
    return len(content) if isinstance(content, bytes) else 0


def _infos(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (info := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # or all of them stay in memory
        kept = info.isreg() or (not info.isdir() and is_image_name(info.name))
        if kept and not info.name.rpartition("/")[2].startswith("."):
            yield info


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> tuple[bytes | Unreadable, bool]:
    """What a member holds, and whether the file goes on behind it."""
    if not info.isreg():
        kind = "a link" if info.islnk() or info.issym() else "not a regular file"
        return Unreadable(f"{kind} in a tar file"), True
    if info.size > MAX_BYTES:
        return Unreadable(f"a file of {info.size / 1e9:.1f} GB in a tar file"), True
    try:
        member = archive.extractfile(info)
        assert member is not None
        return member.read(), True
    except MemoryError as error:
        raise out_of_memory() from error
    except _DAMAGE as error:
        if isinstance(error, OSError):
            raise_if_machine(error)
        return Unreadable(f"the tar file ends early or is damaged here: {' '.join(str(error).split())}"), False


def _label(words: dict[str, bytes]) -> int | str | None:
    try:
        if "cls" in words:
            return _number_or_name(words["cls"].decode())
        if "json" in words:
            known = json.loads(words["json"])
            for key in _LABEL_KEYS if isinstance(known, dict) else ():
                if isinstance(value := known.get(key), int | str) and not isinstance(value, bool):
                    return _number_or_name(value) if isinstance(value, str) else value if is_int64(value) else None
        return _number_or_name(words["txt"].decode()) if "txt" in words else None
    except (ValueError, RecursionError):
        return None


def _number_or_name(text: str) -> int | str | None:
    text = text.strip()
    if not text or "\n" in text or len(text) > _LONGEST_LABEL:
        return None
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdecimal() and len(digits) < 19 and str(int(text)) == text:
        return int(text)
    return text  # also "007", which is another name than "7"


def is_int64(value: int) -> bool:
    """Tell whether a label can be kept as a number."""
    return -(2**63) <= value < 2**63
