"""Settings as data: read YAML, refuse unknown keys by name, and say how two settings differ."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ganfeat.errors import InputError

Settings = dict[str, Any]


def suggest(name: str, known: Iterable[str]) -> str:
    """Say ``" (did you mean 'width'?)"`` where a known name is close, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def read_yaml(path: Path, known: Iterable[str]) -> Settings:
    """Read a YAML mapping of settings.

    Keys may be written with dashes or underscores (``batch-size`` is ``batch_size``).

    Raises
    ------
    InputError
        If the file is absent, is no mapping, or has a key that is not in ``known``.
    """
    import yaml

    known = set(known)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold settings as `name: value` lines")
    settings = {str(key).replace("-", "_"): value for key, value in content.items()}
    for key in settings:
        if key not in known:
            raise InputError(
                f"{path} has the setting {key!r}, which does not exist{suggest(key, known)}: "
                f"known are {', '.join(sorted(known))}"
            )
    return settings


def differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Name every setting that differs, one line each: ``width: 64 -> 32``."""
    lines = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old!r} -> {new!r}")
    return lines
