"""The two errors a person may meet: theirs (fix the call) and ours to report (the run failed).

The command line turns :class:`InputError` into exit code 2 and :class:`RunError` into exit code 1,
both with the message alone and no traceback.
"""

from __future__ import annotations


class InputError(ValueError):
    """A wrong argument, path, file or setting. The message names the fix."""


class RunError(RuntimeError):
    """A run that started well and could not go on. The message says what is left and how to continue."""


class MissingExtraError(InputError, ImportError):
    """An optional library is not installed. The message names the extra that brings it."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the library {library!r}: pip install 'ganfeat[{extra}]'")
