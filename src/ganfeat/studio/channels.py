"""What single channels of a network respond to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query
from numpy.typing import NDArray

from ganfeat.errors import InputError
from ganfeat.inspection.activations import Top, scan
from ganfeat.inspection.filters import filter_pictures, first_filters
from ganfeat.inspection.layer import Layer, layers_of
from ganfeat.inspection.saliency import ChannelView, channel_view
from ganfeat.latent import sample_reference
from ganfeat.latent.references import DRAWN
from ganfeat.studio.encode import data_uri, data_uris
from ganfeat.studio.jobs import Job
from ganfeat.studio.parameters import Index, Network, awaited, plain
from ganfeat.studio.session import Session

MOST_IMAGES = 2000
"""That are searched for the most exciting ones; of more, so many are taken, evenly spaced."""
SAMPLED_SEEDS = 4
"""Without data, samples of so many seeds are searched."""
MOST_SHOWN = 16
MOST_FILTERS = 512
BLOCK = 256


@dataclass
class Scanned:
    """The most exciting images of all channels of all layers of a network, and of the same network untrained."""

    images: NDArray[np.uint8]
    names: list[dict[str, Any]]
    of: str
    tops: list[Top]
    untrained: list[Top] | None


def channel_routes(session: Session) -> APIRouter:
    """Routes of the channel browser."""
    routes = APIRouter()

    def layers(network: str) -> list[Layer]:
        return session.kept.get(
            ("layers", network), lambda: layers_of(session.gan.extractor(network, taps="all", pool=None))
        )

    def untrained(network: str) -> list[Layer] | None:
        def make() -> list[Layer] | None:
            try:
                return layers_of(session.gan.random_init().extractor(network, taps="all", pool=None))
            except InputError:  # of a run that did not keep it
                return None

        return session.kept.get(("untrained", network), make)

    @routes.get("/layers")
    def listed() -> dict[str, Any]:
        with session.reading:
            networks = [{"name": name, "layers": described(partial(layers, name))} for name in session.networks]
        return {"networks": networks, "first": session.network}

    @routes.get("/filters")
    def filters(network: Network = None) -> dict[str, Any]:
        name = session.check_network(network)
        with session.reading:
            found = first_filters(layers(name)[0], session.gan.image_shape_)
        return {"network": name, "images": data_uris(filter_pictures(found[:MOST_FILTERS])), "n": len(found)}

    @routes.get("/channel")
    def channel(
        layer: Annotated[int, Query(ge=-1000, le=1000)] = -1,
        channel: Index = 0,
        network: Network = None,
        k: Annotated[int, Query(ge=1, le=MOST_SHOWN)] = 6,
    ) -> Any:
        name = session.check_network(network)
        with session.reading:
            found, random = layers(name), untrained(name)
        if not -len(found) <= layer < len(found):
            raise HTTPException(404, f"there is no layer {layer}: the {name} has {len(found)}, from 0")
        chosen = found[layer]
        if channel >= chosen.channels:
            raise HTTPException(
                404, f"there is no channel {channel}: layer {chosen.name} has {chosen.channels}, from 0"
            )
        job = session.jobs.ask(("channels", name), lambda job: scanned(session, found, random, job))
        done = awaited(job)
        if not isinstance(done, Scanned):
            return done
        with session.reading:
            view = channel_view(chosen, done.images, done.tops[layer], channel, k)
            other = None
            if random is not None and done.untrained is not None:
                other = channel_view(random[layer], done.images, done.untrained[layer], channel, k)
        height, width = view.crops.shape[1:3]
        return {
            "network": name,
            "layer": chosen.block.index,
            "name": chosen.block.name,
            "stage": chosen.stage,
            "channel": channel,
            "channels": chosen.channels,
            "n_images": len(done.images),
            "of": done.of,
            "receptive": {"height": height, "width": width},
            "size": {"height": done.images.shape[1], "width": done.images.shape[2]},
            "items": items(view, done.names),
            "random": None
            if other is None
            else [
                {"crop": crop, "guided": guided}
                for crop, guided in zip(data_uris(other.crops), data_uris(other.guided_pictures), strict=True)
            ],
        }

    return routes


def described(layers: Callable[[], list[Layer]]) -> list[dict[str, Any]]:
    """A network's layers for the page; none of a network that cannot be looked into."""
    try:
        found = layers()
    except InputError:
        return []
    return [
        {
            "index": layer.block.index,
            "name": layer.block.name,
            "stage": layer.stage,
            "channels": layer.channels,
            "height": layer.grid[0],
            "width": layer.grid[1],
        }
        for layer in found
    ]


def scanned(session: Session, layers: list[Layer], untrained: list[Layer] | None, job: Job) -> Scanned:
    """Search images for those that excite the channels most."""
    images, names, of = searched(session)
    share = 1.0 if untrained is None else 0.5
    what = f"{len(images):,} {'images' if of == 'data' else 'samples'}"
    tops = scan(layers, images, MOST_SHOWN, job.counted(0.0, share, f"looking through {what}"))
    others = None
    if untrained is not None:
        others = scan(untrained, images, MOST_SHOWN, job.counted(share, 1.0, f"the untrained network, on {what}"))
    return Scanned(images, names, of, tops, others)


def searched(session: Session) -> tuple[NDArray[np.uint8], list[dict[str, Any]], str]:
    """Images to look through, what each is called, and whether they are data or samples."""
    if session.data is not None:
        n = len(session.data)
        rows = np.linspace(0, n - 1, min(n, MOST_IMAGES)).round().astype(np.int64)
        return session.data.images[rows], [{"i": i} for i in rows.tolist()], "data"
    if session.drawn_shape != tuple(session.gan.image_shape_):
        raise InputError(f"there are no real images: start with ganfeat studio {session.run.path} --data DATA")
    pictures, names = [], []
    for seed in range(SAMPLED_SEEDS):
        pictures.append(session.pictures(session.latents(seed)))
        names += [{"i": seed * DRAWN + i, "ref": sample_reference(seed, i)} for i in range(DRAWN)]
    return np.concatenate(pictures), names, "samples"


def items(view: ChannelView, names: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The images of a channel for the page, with the receptive fields in them."""
    found = []
    guided, gradients = view.guided_pictures, view.plain_pictures
    for n, (row, value, (top, bottom, left, right)) in enumerate(
        zip(view.images.tolist(), view.values.tolist(), view.fields.tolist(), strict=True)
    ):
        found.append(
            {
                **names[row],
                "value": plain(value),
                "x": left,
                "y": top,
                "width": right - left,
                "height": bottom - top,
                "image": data_uri(view.wholes[n]),
                "crop": data_uri(view.crops[n]),
                "guided": data_uri(guided[n]),
                "plain": data_uri(gradients[n]),
            }
        )
    return found
