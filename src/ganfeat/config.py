"""Settings as data: read YAML, refuse unknown keys by name, and say how two settings differ."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ganfeat.errors import InputError

Settings = dict[str, Any]

FEATURE_SETS = {"raw_pixels": "raw pixels", "pca": "PCA", "random_init": "random init", "ganfeat": "ganfeat"}
"""Sets of features that every result compares, weakest first, and what a person calls them."""


LARGEST_SEED = 2**32 - 1
"""Of samples that have names, ``sSEED.INDEX``."""


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


def require(
    name: str,
    value: Any,
    kind: type,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> None:
    """Refuse a number of the wrong kind or outside its range.

    Parameters
    ----------
    name, value
    kind : {int, float}
        An int is fine where a float is wanted. A bool is no number.
    least, above, below : float, optional
        ``value >= least``, ``value > above``, ``value < below``.

    Raises
    ------
    InputError
        The message says what was given and what is wanted.
    """
    wanted = "a whole number" if kind is int else "a number"
    if least is not None:
        wanted += f" of at least {least:g}"
    if above is not None:
        wanted += f" above {above:g}"
    if below is not None:
        wanted += f" and below {below:g}"
    number = numbers.Integral if kind is int else numbers.Real
    fits = isinstance(value, number) and not isinstance(value, bool) and math.isfinite(value)
    fits = fits and (least is None or value >= least) and (above is None or value > above)
    if not fits or (below is not None and value >= below):
        raise InputError(f"{name}={value!r} must be {wanted}")


def typed(settings: Settings, types: Mapping[str, type], source: str) -> Settings:
    """Bring settings that were read from a file to their types: ``"6e-4"``, text for YAML, is a number.

    Raises
    ------
    InputError
        If a value is not of its type; ``source`` is named.
    """
    converted: Settings = {}
    for name, value in settings.items():
        kind = types[name]
        try:
            if kind is tuple:
                converted[name] = (value,) if isinstance(value, str) else tuple(str(v) for v in value)
            elif kind is bool and not isinstance(value, bool):
                raise ValueError
            elif kind in (int, float) and isinstance(value, bool):
                raise ValueError
            elif kind is int and int(value) != float(value):
                raise ValueError
            elif kind in (str, Path) and not isinstance(value, str):
                raise ValueError
            else:
                converted[name] = kind(value)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{source}: {name}: {value!r} must be of type {kind.__name__}") from None
    return converted


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
