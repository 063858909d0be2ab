"""What requests may say, and the bounds of it; all else is refused before anything is computed."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Query
from fastapi.responses import JSONResponse, Response

from ganfeat.config import LARGEST_SEED
from ganfeat.errors import InputError
from ganfeat.studio.jobs import Job

MOST_REFERENCES = 64
LARGEST_INDEX = 10**9

Seed = Annotated[int, Query(ge=0, le=LARGEST_SEED)]
Given = Annotated[int, Query(ge=0, le=LARGEST_INDEX)]
Index = Annotated[int, Query(ge=0, le=LARGEST_INDEX)]
Scale = Annotated[int, Query(ge=1, le=16)]
References = Annotated[str, Query(max_length=500_000)]
Kind = Literal["linear", "spherical"]
Network = Annotated[str | None, Query(max_length=100)]


def references(text: str, name: str, most: int = MOST_REFERENCES, least: int = 1) -> list[str]:
    """The references of a list with commas.

    Raises
    ------
    InputError
        If there are too many or too few.
    """
    found = [part.strip() for part in text.split(",") if part.strip()] if text else []
    if not least <= len(found) <= most:
        raise InputError(f"{name} has {len(found)} references to z: give {least} to {most}, with commas between them")
    return found


def plain(value: Any) -> Any:
    """A value as JSON has it: there is no NaN, and no infinity."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def image(content: bytes, kind: str = "image/png", *, download: str = "", **headers: str) -> Response:
    """Answer with a picture, or with another file to be saved under a name."""
    if download:
        headers["Content-Disposition"] = f'attachment; filename="{download}"'
    return Response(content, media_type=kind, headers={k.replace("_", "-"): v for k, v in headers.items()})


def awaited(job: Job, seconds: float = 0.05) -> Any:
    """The result of a job, or the answer that says how far it is.

    Raises
    ------
    InputError
        If it failed.
    """
    if not job.done.wait(seconds):
        return JSONResponse({"progress": round(job.progress, 3), "doing": job.doing}, status_code=202)
    return job.outcome()
