"""Paths of a person's machine in what is published: reduced to their last part.

A value that is known to be a path loses all its folders, and is then known in every sentence beside it. Of commands
each argument is looked at, as a shell would read it. In other texts are found: those paths again, the folders that are
known (the person's, the one worked in), and what looks like an absolute path.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganfeat.estimators.hub import given_name

PATHS = (
    *("source", "run", "features", "labels", "data", "test", "out", "recalibrated on", "reduced from"),
    *("components learned from", "held out"),
)
"""Fields that hold a path, where they hold a text."""
OF_IMAGES = "the images of "
"""What the field "held out" of ``ganfeat probe --test`` begins with; without it, that field is a sentence."""
LOCAL = re.compile(r"(?:file|tar):/*(?=[/\\~.])|(?:file|tar|hf)://(?=[/.])")
"""Schemes of what lies on this machine."""
ELSEWHERE = re.compile(r"[A-Za-z][\w+-]+://|hf-hub:")
ABSOLUTE = re.compile(r"~?[/\\]|~[\w.-]+[/\\]|[A-Za-z]:[/\\]")
FILE = re.compile(r"\bfile:/{0,2}(?=[/~])")
LOOSE = re.compile(
    r"(?:(?<![\w.:/~])|(?<=\btar:))"
    r"(?:(?:~[\w.-]*|[A-Za-z]:)?[/\\](?:[^\s'\",;:/\\]+[/\\])+|(?:\.\.[/\\])+(?:[^\s'\",;:/\\]+[/\\])*)(?=[^\s/\\])"
)
"""A path in a sentence: folders without blanks or marks, up to its last part."""
WORD = re.compile(r"(?:[^\s'\"\\;&|]|\\.|'[^']*'|\"(?:\\.|[^\"\\])*\")+")
"""An argument of a command, with its quotes."""
OPTION = re.compile(r"--?[\w-]+=")


def last_part(path: str) -> str:
    """The last part of a path; what lies on another machine, and what is a name and no path, stays.

    >>> last_part("/home/john smith/it's/cats"), last_part("hf://me/photos"), last_part("tar:/data/x.tar")
    ('cats', 'hf://me/photos', 'tar:x.tar')
    """
    local = LOCAL.match(path)
    if local is not None:
        scheme = "tar:" if path.startswith("tar") else ""
        return scheme + last_part(path[local.end() :])
    path = given_name(path)
    if ELSEWHERE.match(path):
        return path
    parts = [part for part in re.split(r"[/\\]", path) if part not in ("", ".", "..", "~")]
    return parts[-1] if parts else "."


def without_folders(value: Any, folders: Iterable[Path | str] = ()) -> Any:
    """JSON with the paths in its keys and texts reduced to the last part, and without the names of skipped files.

    Parameters
    ----------
    value : JSON
    folders : iterable of path
        More folders to take away wherever they stand, besides the person's own and the one worked in.

    >>> without_folders({"run": "/home/me/runs/photos", "n": 3, "command": "ganfeat probe /tmp/a/f.npy runs/l.npy"})
    {'run': 'photos', 'n': 3, 'command': 'ganfeat probe f.npy runs/l.npy'}
    """
    known = {text: last_part(text) for text in _paths(value) if _is_private(text)}
    places = [Path(folder).absolute() for folder in (*folders, *_home(), Path.cwd())]
    known |= {f"{place}{os.sep}": "" for place in places if len(place.parts) > 1}
    literal = [
        (re.compile(rf"(?<![\w.]){re.escape(path)}" + (r"(?!\w)" if name else "")), name)
        for path, name in sorted(known.items(), key=lambda item: -len(item[0]))
    ]

    def reduced(text: str) -> str:
        left = text
        for path, name in literal:
            left = path.sub(lambda _, name=name: name, left)  # type: ignore[misc]
        left = LOOSE.sub("", FILE.sub("", left))
        return last_part(text) if ABSOLUTE.match(text) and re.search(r"[/\\]", left) else left

    return _without(value, "", reduced)


def _home() -> list[Path]:
    """The person's folder, where there is a person."""
    try:
        return [Path.home()]
    except RuntimeError:
        return []


def _without(value: Any, key: str, reduced: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        if key == "command":
            return WORD.sub(lambda word: _argument(word[0]), value)
        path = _path_of(key, value)
        return reduced(value) if path is None else value.removesuffix(path) + last_part(path)
    if isinstance(value, Mapping):
        made: dict[Any, Any] = {}
        for name, one in value.items():
            if name == "skipped" and isinstance(one, Sequence) and not isinstance(one, str):
                made[name] = len(one)
                continue
            left = reduced(name) if isinstance(name, str) else name
            while left in made:  # two folders with parts of one name
                left = f"{left}'"
            made[left] = _without(one, str(name), reduced)
        return made
    if isinstance(value, list | tuple):
        return [_without(one, key, reduced) for one in value]
    return value


def _path_of(key: str, text: str) -> str | None:
    """The path that a field holds, if it holds one."""
    if key not in PATHS:
        return None
    if key == "held out":
        return text.removeprefix(OF_IMAGES) if text.startswith(OF_IMAGES) else None
    return text


def _paths(value: Any, key: str = "") -> Iterator[str]:
    """Every path that a field holds."""
    if isinstance(value, str):
        path = _path_of(key, value)
        if path:
            yield path
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _paths(one, str(name))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _paths(one, key)


def _is_private(path: str) -> bool:
    """Whether it tells of folders of a machine, and is no relative path."""
    return bool(ABSOLUTE.match(path) or LOCAL.match(path) or re.match(r"(?:\.[/\\])*\.\.[/\\]", path))


def _argument(word: str) -> str:
    """An argument of a command, its path reduced; other arguments as they are."""
    plain = word
    if re.search(r"['\"]", word):
        plain = "".join(shlex.split(word))
    elif not re.search(r"\w:\\", word):
        plain = re.sub(r"\\(.)", r"\1", word)
    option = OPTION.match(plain)
    begin = option[0] if option else ""
    path = plain.removeprefix(begin)
    return shlex.quote(begin + last_part(path)) if _is_private(path) else word
