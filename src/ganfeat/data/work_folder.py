"""The folder ``.work`` of a set that is not finished: what may be in it, so that nothing of anybody else is deleted."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from ganfeat.data.sets import CARD, INDEX, JOURNAL, WORK, is_begun, is_set
from ganfeat.errors import InputError

LOCK, LOGS = "lock", ("index", "dropped", "notes")
_STEPS = ("read", "duplicates")
"""Folders of the steps of ``ganfeat prepare`` in it."""
_BEFORE = re.compile(rf"lock|read|\.{re.escape(JOURNAL)}\.tmp-\d+")
"""All that is there before the journal."""
_WORK = re.compile("|".join((LOCK, re.escape(JOURNAL), *_STEPS, *(rf"{name}\.jsonl" for name in LOGS))))
_SET = re.compile(rf"{re.escape(INDEX)}|images-\d+\.npy|steps|{re.escape(WORK)}")


def refuse_foreign(path: Path) -> None:
    """Refuse a folder that holds something other than a set that is not finished.

    Raises
    ------
    InputError
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file: give a new or an empty folder")
    if not path.is_dir():
        return
    if (path / CARD).is_file() and is_set(path):
        raise finished_set(path)
    if (found := foreign(path)) is None:
        return
    inside = found.relative_to(path)
    if is_begun(path):
        raise InputError(f"{path} holds {inside}, which is not of the set that was begun there: move it elsewhere")
    raise InputError(f"{path} holds {inside} and is no packed set: give a new or an empty folder")


def finished_set(path: Path) -> InputError:
    """Say that nothing can be added."""
    return InputError(f"{path} is a finished set: give another folder, or delete it")


def foreign(path: Path) -> Path | None:
    """Find something that no unfinished set holds; None where there is nothing."""
    if not path.is_dir():
        return None
    if is_begun(path):
        return _other(path, _SET) or _other_work(path / WORK)
    return _other(path, re.compile(re.escape(WORK)), hidden=False) or _only_begun(path / WORK)


def remove_work(path: Path) -> None:
    """Delete a finished set's ``.work``, if all in it is the writer's."""
    work = path / WORK
    if _other(work, _WORK) is None and _other(work / "read", re.compile(f"{_SET.pattern}|{re.escape(CARD)}")) is None:
        shutil.rmtree(work, ignore_errors=True)


def _only_begun(work: Path) -> Path | None:
    """Of a process that was killed before it had written a journal."""
    if (found := _other(work, _BEFORE, hidden=False)) is not None:
        return found
    lock = work / LOCK
    if lock.exists() and (not lock.is_file() or lock.stat().st_size):
        return lock
    return foreign(work / "read")


def _other_work(work: Path) -> Path | None:
    if (found := _other(work, _WORK)) is not None:
        return found
    read = work / "read"
    return None if (read / CARD).is_file() else foreign(read)


def _other(folder: Path, known: re.Pattern[str], hidden: bool = True) -> Path | None:
    """Find what has another name; hidden files, which systems put anywhere, pass where `hidden` is set."""
    entries: Iterable[Path] = sorted(folder.iterdir()) if folder.is_dir() else ()
    passed = (entry for entry in entries if not known.fullmatch(entry.name))
    return next((entry for entry in passed if not (hidden and entry.name.startswith("."))), None)
