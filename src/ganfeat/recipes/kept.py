"""What an interrupted recipe keeps, and what it knows of its networks' training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ganfeat.arrays import fingerprint


def kept_scores(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of an interrupted run of the same settings: ``{"settings": ..., "scores": ...}``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("settings") != settings:
        return {}
    scores = content.get("scores")
    return dict(scores) if isinstance(scores, dict) else {}


def digest(network: nn.Module) -> str:
    """SHA-256 of what a network has learned: its parameters."""
    parts = [fingerprint(parameter.detach().cpu().numpy()) for parameter in network.parameters()]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def training_seconds(history: Iterable[Mapping[str, Any]]) -> float:
    """Time of a training over all calls; a record's seconds begin anew whenever it goes on."""
    total, last = 0.0, 0.0
    for record in history:
        seconds = float(record["seconds"])
        total += seconds - last if seconds >= last else seconds
        last = seconds
    return round(total, 1)
