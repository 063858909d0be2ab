"""The run itself, samples, and their z to take away."""

from __future__ import annotations

import io
import json
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from fastapi.responses import Response

from ganfeat.estimators.saved import imported
from ganfeat.latent import sample_reference
from ganfeat.latent.references import DRAWN
from ganfeat.studio.encode import data_uris, png
from ganfeat.studio.parameters import Given, References, Scale, Seed, image, references
from ganfeat.studio.session import Session
from ganfeat.version import __version__


def sample_routes(session: Session) -> APIRouter:
    """Routes of the page *Samples*, and those that all pages use."""
    routes = APIRouter()

    @routes.get("/run")
    def run() -> dict[str, Any]:
        return described(session)

    @routes.get("/samples")
    def samples(seed: Seed = 0, n: Annotated[int, Query(ge=1, le=DRAWN)] = 64, given: Given = 0) -> dict[str, Any]:
        pictures = session.pictures(session.latents(seed)[:n], given)
        return {
            "seed": seed,
            "refs": [sample_reference(seed, i) for i in range(n)],
            "images": data_uris(pictures),
        }

    @routes.get("/images")
    def images(z: References, given: Given = 0) -> dict[str, Any]:
        return {"images": data_uris(session.pictures(session.zs(references(z, "z")), given))}

    @routes.get("/image.png")
    def one(z: References, given: Given = 0, scale: Scale = 1) -> Response:
        (found,) = session.pictures(session.zs(references(z, "z", most=1)), given)
        return image(png(found, scale), download="image.png")

    @routes.get("/latents.json")
    def latents(z: References) -> Response:
        names = references(z, "z", most=DRAWN)
        content = {
            "n_components": session.n_components,
            "latents": [{"ref": r, "z": session.z(r).tolist()} for r in names],
        }
        return image(json.dumps(content).encode(), "application/json", download="latents.json")

    @routes.get("/latents.npy")
    def array(z: References) -> Response:
        file = io.BytesIO()
        np.save(file, session.zs(references(z, "z", most=DRAWN)), allow_pickle=False)
        return image(file.getvalue(), "application/octet-stream", download="latents.npy")

    return routes


def described(session: Session) -> dict[str, Any]:
    """What a page must know of the run before it asks for anything else."""
    gan, config, data = session.gan, session.run.config(), session.data
    condition = gan.condition
    return {
        "name": session.run.path.resolve().name,
        "method": gan.method,
        "describe": gan.describe(),
        "image_shape": list(session.drawn_shape),
        "n_components": session.n_components,
        "prior": gan.prior,
        "condition": None
        if condition is None
        else {"name": condition[0], "values": [v.item() if isinstance(v, np.generic) else v for v in condition[1]]},
        "networks": session.networks,
        "network": session.network,
        "has_encoder": hasattr(gan, "encode"),
        "data": None
        if data is None
        else {
            "source": data.source,
            "n": len(data),
            "classes": None if data.classes is None else list(data.classes),
            "labelled": data.labels is not None,
        },
        "version": __version__,
        "settings": {k: v for k, v in config["estimator"].items() if v is not None}
        | {k: config[k] for k in ("validation", "seed", "device", "precision") if k in config},
        "imported": imported(config),
        "latents_per_seed": DRAWN,
    }
