"""``history.jsonl``: one JSON object a logged step, appended as training goes.

A killed process can leave half a line, and a resumed one starts from a checkpoint that is older than the
last line; :func:`rewind` brings the file back to the checkpoint's step.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ganfeat.files import replacing

Record = dict[str, Any]


def append(path: Path, record: Record) -> None:
    """Add one line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read(path: Path) -> list[Record]:
    """All complete records; a torn last line is left out. An absent file is an empty history."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "step" in record:
            records.append(record)
    return records


def rewind(path: Path, step: int) -> None:
    """Keep the records up to and including ``step``, by writing a new file and renaming it."""
    if not path.exists():
        return
    kept = [r for r in read(path) if r["step"] <= step]
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(r) + "\n" for r in kept), encoding="utf-8")
