"""Walks between points: one image while a slider moves, a strip, a GIF."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from fastapi.responses import Response
from numpy.typing import NDArray

from ganfeat.errors import InputError
from ganfeat.latent import vector_reference
from ganfeat.latent.smoothness import SHARP, smoothness
from ganfeat.latent.walks import along, walk
from ganfeat.studio.encode import data_uris, gif, png
from ganfeat.studio.nearby import nearby
from ganfeat.studio.parameters import Given, Kind, References, Scale, image, plain, references
from ganfeat.studio.session import Session

MOST_POINTS = 32
MOST_FRAMES = 1024
"""Of a strip or a GIF, over all legs."""
MOST_PIXELS = 2**26
"""Of a GIF: 64 megapixels of colours are 200 MB before they are packed."""
MOST_SHOWN = 512
HIGH = 0.6
"""Closeness above which frames are nearer to what was learned from than that is to itself."""
Frames = Annotated[int, Query(ge=1, le=64)]


def walk_routes(session: Session) -> APIRouter:
    """Routes of the page *Walk*."""
    routes = APIRouter()

    def stops(points: str) -> NDArray[np.float32]:
        return session.zs(references(points, "points", most=MOST_POINTS, least=2))

    @routes.get("/walk")
    def one(
        points: References,
        t: Annotated[float, Query(ge=0, le=MOST_POINTS, allow_inf_nan=False)] = 0.0,
        kind: Kind = "linear",
        closed: bool = False,
        given: Given = 0,
    ) -> Response:
        z = stops(points)
        legs = len(z) if closed else len(z) - 1
        if t > legs:
            raise InputError(f"t={t:g} is beyond the path: it has {legs} legs, so t is 0 to {legs}")
        here = along(z, t / legs, kind=kind, closed=closed)
        (picture,) = session.pictures(here[None], given)
        return image(png(picture), X_Reference=vector_reference(here))

    def path(points: str, frames: int, kind: str, closed: bool) -> NDArray[np.float32]:
        z = stops(points)
        legs = len(z) if closed else len(z) - 1
        if legs * frames >= MOST_FRAMES:
            raise InputError(f"{legs} legs of {frames} frames are more than {MOST_FRAMES}: take fewer frames")
        return walk(z, frames, kind=kind, closed=closed)

    @routes.get("/walk/strip")
    def strip(
        points: References, frames: Frames = 6, kind: Kind = "linear", closed: bool = False, given: Given = 0
    ) -> dict[str, Any]:
        z = path(points, frames, kind, closed)
        if len(z) > MOST_SHOWN:
            raise InputError(f"{len(z)} frames are more than {MOST_SHOWN}: take fewer frames a leg")
        pictures = session.pictures(z, given)
        return {
            "t": [i / frames for i in range(len(z))],
            "refs": [vector_reference(row) for row in z],
            "images": data_uris(pictures),
            **measured(session, z, pictures),
        }

    @routes.get("/walk.gif")
    def animation(
        points: References,
        frames: Frames = 10,
        kind: Kind = "linear",
        closed: bool = False,
        given: Given = 0,
        scale: Scale = 4,
    ) -> Response:
        z = path(points, frames, kind, closed)
        height, width, _ = session.drawn_shape
        if len(z) * height * width * scale**2 > MOST_PIXELS:
            raise InputError(f"{len(z)} frames of {height * scale} x {width * scale} are too much: lower the scale")
        z = z[:-1] if closed else z  # the last frame of a closed walk is its first
        return image(gif(session.pictures(z, given), scale), "image/gif", download="walk.gif")

    return routes


def measured(session: Session, z: NDArray[np.float32], pictures: NDArray[np.uint8]) -> dict[str, Any]:
    """How smooth a walk is, and how near its frames are to real images."""
    nothing = {"smoothness": None, "memorisation": None, "neighbours": None}
    if len(np.unique(z, axis=0)) < 2:
        return nothing
    steps = smoothness(z, pictures).pixels
    answer: dict[str, Any] = {
        **nothing,
        "smoothness": plain(
            {
                "pixel_steps": steps.lengths.tolist(),
                "median": steps.median,
                "jumps": steps.jumps.tolist(),
                "ratio": steps.ratio,
                "sharp": SHARP,
            }
        ),
    }
    images = session.drawn_images()
    among = None if images is None else session.kept.get("nearby", lambda: nearby(images, session.seed))
    if images is None or among is None:
        return answer
    near, learned = among.of(pictures), session.learned_from()
    answer["memorisation"] = plain(
        {
            "score": float(near.closeness.mean()),
            "closeness": near.closeness.tolist(),
            "distances": near.distances.tolist(),
            "usual": among.usual,
            "learned_from": learned,
            "words": in_words(float(near.closeness.mean()), learned),
        }
    )
    answer["neighbours"] = data_uris(images[near.indices])
    return answer


def in_words(score: float, learned: bool | None) -> str:
    """What the score says: of copies, only beside what the run is known to have learned from."""
    words = (
        f"How often a frame is nearer to one of these images than they are to each other: {score:.0%} "
        "(50% among themselves)."
    )
    if learned is None:
        return (
            f"{words} That these are all images that the run has learned from is not known, so this says nothing of "
            "memorising."
        )
    if not learned:
        return f"{words} The run has not learned from these images, so this says nothing of memorising."
    if score > HIGH:
        return f"{words} Copies of what the run has learned from, or frames of little contrast or detail: compare them."
    if score < 1 - HIGH:
        return f"{words} Unlike anything that the run has learned from, which may also mean poor."
    return f"{words} About as different from what the run has learned from as that is from itself: no sign of copies."
