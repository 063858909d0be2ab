"""A - B + C on means of exemplars, and the same on their pixels."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from ganfeat.latent import vector_reference
from ganfeat.latent.arithmetic import NEIGHBOURS, SCALE, combine, combine_pixels, noisy_neighbours
from ganfeat.studio.encode import data_uri, data_uris
from ganfeat.studio.parameters import Given, References, Seed, references
from ganfeat.studio.session import Session

MOST = 32
"""Exemplars of a basket."""


def arithmetic_routes(session: Session) -> APIRouter:
    """Routes of the page *Arithmetic*."""
    routes = APIRouter()

    @routes.get("/arithmetic")
    def result(
        a: References,
        b: References = "",
        c: References = "",
        noise: Annotated[float, Query(ge=0, le=10, allow_inf_nan=False)] = SCALE,
        seed: Seed = 0,
        given: Given = 0,
    ) -> dict[str, Any]:
        texts = {"a": a, "b": b, "c": c}
        names = {k: references(text, k, most=MOST, least=int(k == "a")) for k, text in texts.items()}
        z = {k: session.zs(found) for k, found in names.items() if found}
        centre = combine(z["a"], z.get("b"), z.get("c"))
        near = noisy_neighbours(centre, NEIGHBOURS, noise, seed)
        exemplars = {k: session.pictures(part, given) for k, part in z.items()}
        means = {k: session.pictures(combine(part)[None], given)[0] for k, part in z.items()}
        (middle,) = session.pictures(centre[None], given)
        around = session.pictures(near, given)
        return {
            "result": {"ref": vector_reference(centre), "image": data_uri(middle)},
            "neighbours": [
                {"ref": vector_reference(one), "image": uri} for one, uri in zip(near, data_uris(around), strict=True)
            ],
            "pixel": data_uri(combine_pixels(exemplars["a"], exemplars.get("b"), exemplars.get("c"))),
            "means": {k: data_uri(means[k]) if k in means else None for k in texts},
        }

    return routes
