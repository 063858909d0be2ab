"""The application: the page, its files, and what it asks for under ``/api``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.exceptions import HTTPException

from ganfeat.errors import InputError
from ganfeat.studio.arithmetic import arithmetic_routes
from ganfeat.studio.channels import channel_routes
from ganfeat.studio.features import feature_routes
from ganfeat.studio.forget import forget_routes
from ganfeat.studio.guard import MAX_BODY, Guard
from ganfeat.studio.samples import sample_routes
from ganfeat.studio.session import Session
from ganfeat.studio.training import training_routes
from ganfeat.studio.uploads import upload_routes
from ganfeat.studio.walks import walk_routes

STATIC = Path(__file__).parent / "static"
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain",
    ".json": "application/json",
}
PAGES: tuple[Callable[[Session], APIRouter], ...] = (
    sample_routes,
    walk_routes,
    arithmetic_routes,
    upload_routes,
    forget_routes,
    feature_routes,
    channel_routes,
    training_routes,
)


def create_app(
    session: Session,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    address: str = "127.0.0.1",
    max_body: int = MAX_BODY,
) -> FastAPI:
    """Make the application of a run.

    Parameters
    ----------
    session : Session
    host, port, address
        Where it will be served: requests to other names are refused (:class:`~ganfeat.studio.guard.Guard`).
    max_body : int
        Bytes of a request's body.

    Returns
    -------
    FastAPI
    """
    app = FastAPI(title="ganfeat studio", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    for page in PAGES:
        app.include_router(page(session), prefix="/api")

    @app.get("/")
    def index() -> FileResponse:
        return file("index.html")

    @app.get("/static/{name:path}")
    def static(name: str) -> FileResponse:
        return file(name, {"Cache-Control": "max-age=60"})  # the same for all runs

    app.add_exception_handler(InputError, _wrong)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_middleware(Guard, host=host, port=port, address=address, max_body=max_body)
    return app


def file(name: str, headers: dict[str, str] | None = None) -> FileResponse:
    """One of the page's files, looked up by its exact name among those that are there."""
    found = {p.relative_to(STATIC).as_posix(): p for p in STATIC.rglob("*") if p.is_file()}
    path = found.get(name)
    kind = KINDS.get(path.suffix) if path is not None else None
    if path is None or kind is None:
        raise HTTPException(404, "there is no such file")
    return FileResponse(path, media_type=kind, headers=headers)


async def _wrong(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=400)


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": str(error.detail)}, status_code=error.status_code, headers=error.headers)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"error": "; ".join(map(_worded, error.errors()[:3]))}, status_code=400)


def _worded(problem: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in problem.get("loc", ())[1:])
    return f"{place}: {problem.get('msg', 'is wrong')}" if place else str(problem.get("msg", "the request is wrong"))
