"""The run's curves, its health, and the sheets that it drew while it learned."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import Response

from ganfeat import history
from ganfeat.health import Health
from ganfeat.report.folder import IMPORTED
from ganfeat.report.pictures import evenly_spaced
from ganfeat.studio.parameters import image, plain
from ganfeat.studio.session import Kept, Session

MOST_RECORDS = 600
MOST_SHEETS = 400
_SHEET = re.compile(r"(reconstruction-)?step-([0-9]{1,12})\.png", re.ASCII)


def training_routes(session: Session) -> APIRouter:
    """Routes of the page *Training*."""
    routes = APIRouter()
    run, read = session.run, Kept(1)  # of a run that still trains, every version would be kept

    def records() -> list[history.Record]:
        try:
            stamp = run.history.stat()
        except OSError:
            return list(session.gan.history_)
        return read.get((stamp.st_mtime_ns, stamp.st_size), lambda: history.read(run.history))

    @routes.get("/history")
    def curves() -> dict[str, Any]:
        found = records()
        health = Health.of(found)
        kept = evenly_spaced(found, MOST_RECORDS)
        keys = sorted({key for record in found for key, value in record.items() if _is_number(value)})
        return {
            "records": [plain({k: v for k, v in record.items() if k in keys}) for record in kept],
            "keys": keys,
            "health": {
                "verdict": health.verdict(),
                "alarms": [
                    plain(asdict(alarm)) | {"up": health.up.get(alarm.name) == alarm} for alarm in health.raised
                ],
            },
        }

    @routes.get("/sheets")
    def sheets() -> dict[str, Any]:
        found = records()
        steps_an_epoch = found[-1]["step"] / found[-1]["epoch"] if found and found[-1].get("epoch") else None
        return {
            "sheets": [
                {"name": path.name, "label": _label(path.name, steps_an_epoch), "step": _step(path.name)}
                for path in evenly_spaced(listed(run.samples), MOST_SHEETS)
            ]
        }

    @routes.get("/sheet.png")
    def sheet(name: Annotated[str, Query(max_length=200)]) -> Response:
        path = {p.name: p for p in listed(run.samples)}.get(name)  # by the listing: what a page sends is no path
        if path is None:
            raise HTTPException(404, "there is no such sheet: /api/sheets lists them")
        return image(path.read_bytes())

    return routes


def listed(folder: Path) -> list[Path]:
    """The sheets of a run, by kind and step."""
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if (_SHEET.fullmatch(p.name) or p.name == IMPORTED) and p.is_file()]
    return sorted(found, key=lambda p: (p.name.startswith("reconstruction-"), _step(p.name) or 0))


def _step(name: str) -> int | None:
    found = _SHEET.fullmatch(name)
    return int(found[2]) if found else None


def _label(name: str, steps_an_epoch: float | None) -> str:
    step = _step(name)
    if step is None:
        return "as imported"
    when = f"epoch {step / steps_an_epoch:.1f}" if steps_an_epoch else f"step {step:,}"
    return f"reconstructions, {when}" if name.startswith("reconstruction-") else when


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
