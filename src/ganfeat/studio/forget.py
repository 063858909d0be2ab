"""Boxes on samples, the maps that draw what is in them, and the samples without these maps."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from ganfeat.errors import InputError
from ganfeat.inspection.boxes import Box, as_boxes
from ganfeat.inspection.effect import effect
from ganfeat.inspection.forgetting import (
    LAYER,
    Forgetting,
    MapLayer,
    draw_without,
    find_layer,
    fit_forgetting,
    random_maps,
)
from ganfeat.inspection.presence import WEAK, Presence, eyes, fit_presence
from ganfeat.studio.encode import data_uris
from ganfeat.studio.parameters import Given, Index, References, plain, references
from ganfeat.studio.session import Kept, Session

MOST_BOXES = 1000
MOST_IMAGES = 256


class DrawnBox(BaseModel):
    """A box on the sample of a z, in pixels of the image."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    z: str = Field(max_length=100_000)
    x: float
    y: float
    width: float
    height: float


class Drawn(BaseModel):
    """What the page sends."""

    model_config = ConfigDict(extra="ignore")
    boxes: list[DrawnBox] = Field(max_length=MOST_BOXES)
    layer: int = Field(LAYER, ge=-1000, le=1000)
    given: int = Field(0, ge=0, le=10**9)


@dataclass
class Fit:
    """Maps that draw an object, and who judges whether it is there; the latter is made when it is asked for.

    ``decoder`` is G itself, to draw with; ``watched`` is a copy, which may be watched while G draws.
    """

    forgetting: Forgetting
    decoder: nn.Module
    watched: nn.Module
    z: NDArray[np.float32]
    boxes: list[list[Box]]
    seed: int
    judges: Kept = field(default_factory=lambda: Kept(1))
    measures: Kept = field(default_factory=lambda: Kept(256))

    def maps(self, count: int) -> NDArray[np.int64]:
        """The first so many, the largest weights first."""
        return self.forgetting.order[:count]

    def control(self, count: int) -> NDArray[np.int64]:
        """As many, drawn at random."""
        return next(random_maps(self.forgetting.layer, count, 1, self.seed))

    def draw(self, maps: NDArray[np.int64], z: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Images without these maps."""
        return draw_without(self.decoder, z, self.forgetting.layer, maps)


def forget_routes(session: Session) -> APIRouter:
    """Routes of the page *Forget*."""
    routes = APIRouter()
    fits = Kept(8)

    @routes.get("/forget/layers")
    def layers(given: Given = 0) -> dict[str, Any]:
        with session.reading:
            network, z = session.watched(given), session.latents(0)[:2]
            try:
                first = find_layer(network, z, 0)
                found = [find_layer(network, z, i) for i in range(first.of - 1)]
            except InputError as error:
                return {"layers": [], "default": None, "note": str(error)}
        return {"layers": [described(layer) for layer in found], "default": LAYER if first.of > 1 else None, "note": ""}

    @routes.post("/forget")
    def fit(drawn: Drawn) -> dict[str, Any]:
        content = json.dumps([drawn.layer, drawn.given, session.seed, [box.model_dump() for box in drawn.boxes]])
        key = hashlib.sha256(content.encode()).hexdigest()[:32]
        height, width, _ = session.drawn_shape
        boxes = as_boxes([box.model_dump() for box in drawn.boxes], (height, width), "the page")
        by_sample: dict[str, list[Box]] = {}
        for box in boxes:
            by_sample.setdefault(box.z, []).append(box)
        if not by_sample:
            raise InputError("there are no boxes yet: draw some around the object on two samples or more")
        if len(by_sample) > MOST_IMAGES:
            raise InputError(f"boxes on {len(by_sample)} samples are more than {MOST_IMAGES}: leave some out")
        z = session.zs(list(by_sample))
        parts = list(by_sample.values())

        def make() -> Fit:
            network = session.watched(drawn.given)
            with session.reading:
                found = fit_forgetting(network, z, parts, (height, width), layer=drawn.layer, seed=session.seed)
            return Fit(found, session.gan.decoder(session.given(drawn.given)), network, z, parts, session.seed)

        done: Fit = fits.get(key, make)
        found, scores = done.forgetting, done.forgetting.held_out
        return {
            "id": key,
            "layer": described(found.layer),
            "positive": len(found.order),
            "weights": [{"map": int(m), "weight": float(found.weight[m])} for m in found.order],
            "accuracy": plain(
                {
                    "held_out": scores["accuracy"],
                    "balanced": scores["balanced_accuracy"],
                    "auc": scores["auc"],
                    "chance": scores["chance"],
                }
            ),
            "images": len(parts),
            "boxes": len(boxes),
            "notes": notes(found, len(parts)),
        }

    @routes.get("/forget/compare")
    def compare(
        id: Annotated[str, Query(max_length=64)],
        z: References,
        maps: Index = 0,
        control: bool = True,
        measured: Annotated[bool, Query(alias="measure")] = True,
    ) -> dict[str, Any]:
        done: Fit | None = fits.find(id)
        if done is None:
            raise HTTPException(404, "this fit is not kept any more: fit again")
        count = min(maps, len(done.forgetting.order))
        chosen = session.zs(references(z, "z"))
        with session.drawing:
            before = done.draw(done.maps(0), chosen)
            after = done.draw(done.maps(count), chosen)
            random = done.draw(done.control(count), chosen) if control else None
        return {
            "before": data_uris(before),
            "after": data_uris(after),
            "control": None if random is None else data_uris(random),
            "presence": done.measures.get(count, lambda: presence(session, done, count)) if measured else None,
            "maps": count,
        }

    return routes


def described(layer: MapLayer) -> dict[str, Any]:
    """A layer for the page."""
    return {
        "index": layer.index,
        "name": layer.name,
        "maps": layer.maps,
        "height": layer.grid[0],
        "width": layer.grid[1],
    }


def notes(found: Forgetting, images: int) -> list[str]:
    """What a person should know before believing it."""
    said = []
    if images < 10:
        said.append(f"Boxes on {images} samples give unsteady results: 30 or more are better, the paper had 52 boxes.")
    if not len(found.order):
        said.append("No map has a positive weight, so there is nothing to drop: draw boxes on more samples.")
    if found.held_out["auc"] < WEAK:
        said.append("On samples held out, the maps hardly tell where the boxes are: what is dropped may be anything.")
    if found.lowest < 0:
        said.append("This layer's maps go below 0, so a map of zeros is not one that is off.")
    return said


def presence(session: Session, fit: Fit, count: int) -> dict[str, Any]:
    """How much of the object is there, before, after and in the control, by a probe that never saw G's maps."""
    found = fit.forgetting

    def rows(count: int) -> Any:
        (row,) = effect(fit.watched, fit.z, fit.boxes, found, judge, [count], seed=fit.seed)
        return row

    with session.reading:
        judge: Presence = fit.judges.get("", lambda: judged(session, fit))
        first = fit.measures.get("first", lambda: rows(0))
        row = rows(count) if count else first
    whole, after, draws = first["dropped"], row["dropped"]["presence"], row["random"]["of_draws"]
    mean, half = after["mean"], after["ci95"]
    return plain(
        {
            "before": whole["presence"]["mean"],
            "after": mean,
            "after_ci": None if half is None else [mean - half, mean + half],
            "control": float(np.mean(draws)),
            "control_range": [min(draws), max(draws)],
            "draws": len(draws),
            "elsewhere": whole["elsewhere"]["mean"],
            "auc": judge.held_out.scores["auc"],
        }
    )


def judged(session: Session, fit: Fit) -> Presence:
    """The probe, trained on the boxes."""
    images = draw_without(fit.watched, fit.z, fit.forgetting.layer)
    seen = None
    if "discriminator" in session.networks:
        seen = session.gan.extractor("discriminator", taps="all", pool=None)
    return fit_presence(images, fit.boxes, eyes(seen, images.shape[1:])[0], seed=session.seed)
