"""The z of a picture that a person gives."""

from __future__ import annotations

import hashlib
import threading
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Request

from ganfeat.errors import InputError
from ganfeat.features import detached_copy
from ganfeat.latent import vector_reference
from ganfeat.latent.inversion import invert, off
from ganfeat.studio.encode import data_uri, read_upload
from ganfeat.studio.jobs import Job
from ganfeat.studio.parameters import Given
from ganfeat.studio.session import Session

STARTS, STEPS = 4, 200
"""Of the search for z: some seconds."""
PATIENCE = 120.0
"""Seconds."""
MOST_WAITING = 4
"""Requests at a time: each holds one of the threads that answer all others, too."""
UNRELATED = 64
"""Samples that a picture is compared with, so that an error means something."""


async def body(request: Request) -> bytes:
    """The bytes that were sent."""
    if not request.headers.get("content-type", "").startswith("image/"):
        raise HTTPException(415, "send the bytes of a picture, Content-Type image/png or the like")
    return await request.body()


def upload_routes(session: Session) -> APIRouter:
    """The route that takes pictures."""
    routes = APIRouter()
    places = threading.BoundedSemaphore(MOST_WAITING)

    @routes.post("/invert")
    def inverted(sent: Annotated[bytes, Depends(body)], given: Given = 0) -> dict[str, Any]:
        session.given(given)
        key = (hashlib.sha256(sent).digest(), given)
        if not places.acquire(blocking=False):
            raise HTTPException(
                503, f"{MOST_WAITING} pictures are being searched for: try again in a moment", {"Retry-After": "5"}
            )
        try:
            job = session.searches.ask(key, lambda job: found(session, sent, given, job))
            if not job.done.wait(PATIENCE):
                raise InputError("the search for z takes too long here: try again when less is going on")
            answer: dict[str, Any] = job.outcome()
        finally:
            places.release()
        return answer

    return routes


def found(session: Session, sent: bytes, given: int, job: Job) -> dict[str, Any]:
    """Z of a picture: by the encoder where there is one, else by search."""
    gan = session.gan
    encodes = hasattr(gan, "encode")
    height, width, channels = gan.image_shape_ if encodes else session.drawn_shape
    if height != width:
        raise InputError(f"this run is for images of {height} x {width}, and pictures are read as squares")
    if channels not in (1, 3):
        raise InputError(f"this run is for images of {channels} channels, and pictures have 1 or 3")
    picture = read_upload(sent, height, channels)
    if encodes:
        with session.reading:
            z = session.kept.get("encoder", lambda: gan.extractor(taps="output")).transform(picture[None])[0]
        shown, random = np.rint(gan.as_drawn(picture[None])[0] * 255).astype(np.uint8), None
    else:
        decoder = detached_copy(gan.decoder(session.given(given)))
        best = invert(
            decoder,
            picture[None],
            session.n_components,
            gan.prior,
            starts=STARTS,
            steps=STEPS,
            random_state=session.seed,
            progress=lambda done, total: job.update(done / total),
        )
        z, shown, random = best.z[0], picture, float(best.random[0])
    (again,) = session.pictures(z[None], given)
    others = session.pictures(session.latents(session.seed)[:UNRELATED], given)
    return {
        "ref": vector_reference(z),
        "image": data_uri(again),
        "given_image": data_uri(shown),
        "error": float(off(shown, again)),
        "random": random,
        "unrelated": float(off(others, shown).mean()),
        "by": "encoder" if encodes else "optimisation",
    }
