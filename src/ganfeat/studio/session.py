"""A run that was loaded to be explored: its networks, its data, and what is kept of both."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ganfeat.arrays import fingerprint, to_uint8
from ganfeat.checkpoint import RunFolder
from ganfeat.data import ImageDataset, load_images
from ganfeat.errors import InputError
from ganfeat.estimators import load
from ganfeat.features import detached_copy
from ganfeat.latent import read_reference
from ganfeat.latent.references import DRAWN
from ganfeat.studio.jobs import Jobs

CHUNK = 64
"""Images that are drawn at a time: a slider waits for no more."""
Value = TypeVar("Value")


class _Entry:
    """A value, or one that is being made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made = self.failed = False
        self.value: Any = None


class Kept:
    """The last few values, made when they are asked for: each once, however many ask, and nobody waits for another's.

    Parameters
    ----------
    size : int
        How many are kept.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key; where making it fails, no other value goes, and the next who asks tries again."""
        while True:
            with self._lock:
                entry = self._entries.setdefault(key, _Entry())
                self._entries.move_to_end(key)
            with entry.lock:
                if entry.failed:  # while this one waited: it is no entry any more
                    continue
                if not entry.made:
                    self._make(key, entry, make)
                value: Value = entry.value
                return value

    def _make(self, key: Hashable, entry: _Entry, make: Callable[[], Any]) -> None:
        try:
            entry.value = make()
        except BaseException:
            entry.failed = True
            with self._lock:
                del self._entries[key]
            raise
        with self._lock:
            entry.made = True
            made = [k for k, e in self._entries.items() if e.made]
            for old in made[: -self.size]:
                del self._entries[old]

    def find(self, key: Hashable) -> Any:
        """The value of a key, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not entry.made:
                return None
            self._entries.move_to_end(key)
            return entry.value


@dataclass
class Session:
    """What all pages share. Everything in it can be made again from the requests: it is no state of theirs.

    Parameters
    ----------
    gan : GANEstimator
        Fitted.
    run : RunFolder
        Where it was loaded from.
    data : ImageDataset, optional
        Real images in the run's size.
    network : str, optional
        Whose features are shown where a request does not say; by default the run's own.
    seed : int
        Of the map, the clusters and all else that is drawn by chance and that a request does not say.
    limit : int, optional
        Of images that were read: where they are as many, there may be more.
    """

    gan: Any
    run: RunFolder
    data: ImageDataset | None = None
    network: str | None = None
    seed: int = 0
    limit: int | None = None
    jobs: Jobs = field(default_factory=Jobs)
    searches: Jobs = field(default_factory=Jobs)
    kept: Kept = field(default_factory=lambda: Kept(16))
    decoders: Kept = field(default_factory=lambda: Kept(4))
    drawing: threading.Lock = field(default_factory=threading.Lock)
    reading: threading.Lock = field(default_factory=threading.Lock)
    _latents: Kept = field(default_factory=lambda: Kept(32))

    def __post_init__(self) -> None:
        self.networks = list(self.gan.objective_.taps())
        self.network = self.network or self.gan.network
        self.check_network(self.network)

    # ------------------------------------------------------------------ z

    @property
    def n_components(self) -> int:
        """Length of z."""
        return int(self.gan.n_components)

    def latents(self, seed: int) -> NDArray[np.float32]:
        """The z of a seed, ``(256, n_components)``."""
        return self._latents.get(seed, lambda: self.gan.latents(DRAWN, seed))

    def z(self, reference: str) -> NDArray[np.float32]:
        """The z that a reference names, ``(n_components,)``."""
        return read_reference(reference, self.n_components, self.latents)

    def zs(self, references: list[str]) -> NDArray[np.float32]:
        """The z of references, ``(n, n_components)``."""
        return np.stack([self.z(r) for r in references]) if references else np.empty((0, self.n_components), np.float32)

    # ------------------------------------------------------------------ pictures

    def given(self, index: int) -> Any:
        """What G is told beside z, by its place in the run's ``condition``; None where it is told nothing.

        Raises
        ------
        InputError
            If there are not so many.
        """
        condition = self.gan.condition
        if condition is None:
            return None
        name, values = condition
        if not 0 <= index < len(values):
            raise InputError(f"given={index}: there are {len(values)} values of {name}, 0 to {len(values) - 1}")
        return values[index]

    def pictures(self, z: NDArray[np.float32], given: int = 0) -> NDArray[np.uint8]:
        """Images of latents ``(n, n_components)``: ``uint8 (n, h, w, c)``, of the shape that G draws."""
        value, parts = self.given(given), []
        for start in range(0, max(len(z), 1), CHUNK):
            with self.drawing:  # two at once would fight for the processor, and be slower than one after the other
                parts.append(self.gan.picture(z[start : start + CHUNK], value))
        return np.concatenate(parts)

    @property
    def drawn_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of what G draws."""
        shape: tuple[int, int, int] = self.kept.get("drawn", lambda: self.pictures(self.latents(0)[:1]).shape[1:])
        return shape

    # ------------------------------------------------------------------ networks and data

    def watched(self, given: int) -> nn.Module:
        """A copy of G to be watched while it runs: use it under ``reading``, and sliders run G itself meanwhile."""
        value = self.given(given)
        return self.decoders.get(given, lambda: detached_copy(self.gan.decoder(value)))

    def check_network(self, name: str | None) -> str:
        """The network of that name, or the usual one.

        Raises
        ------
        InputError
            If the run has none of that name.
        """
        name = name or str(self.network)
        if name not in self.networks:
            raise InputError(f"network={name!r} is unknown: choose {' or '.join(self.networks)}")
        return name

    def extractor(self, network: str) -> Any:
        """The feature extractor of a network, one for all requests: use it under ``reading``."""
        return self.kept.get(("extractor", network), lambda: self.gan.extractor(network))

    def images(self) -> ImageDataset:
        """The data.

        Raises
        ------
        InputError
            If the server was started without.
        """
        if self.data is None:
            raise InputError(f"there are no real images: start with ganfeat studio {self.run.path} --data DATA")
        return self.data

    def drawn_images(self) -> NDArray[np.uint8] | None:
        """The data in the size of what G draws, ``uint8 (n, h, w, c)``; None where there are none."""
        data = self.data
        if data is None or data.shape[1:] == self.drawn_shape:
            return None if data is None else data.images
        return self.kept.get("drawn images", lambda: to_uint8(self.gan.as_drawn(data.images) * 2 - 1))

    def learned_from(self) -> bool | None:
        """Whether the data are what the run has learned from; None where that cannot be known."""
        data, known = self.images(), self.run.config().get("data") or {}
        if "fingerprint" not in known or "imported" in known:
            return None
        if self.kept.get("fingerprint", lambda: fingerprint(data.images)) == known["fingerprint"]:
            return True
        return None if self.limit is not None and len(data) == self.limit < known.get("n", math.inf) else False

    def close(self) -> bool:
        """End the work behind the requests; return whether it has ended."""
        ended = [jobs.close() for jobs in (self.jobs, self.searches)]
        return all(ended)


def open_session(
    run: Path | str,
    data: Any = None,
    *,
    limit: int | None = 5000,
    network: str | None = None,
    device: str = "auto",
    seed: int = 0,
    stage: Callable[[str, float], AbstractContextManager[Callable[..., None]]] | None = None,
) -> Session:
    """Load a run, and the images to show beside it.

    Parameters
    ----------
    run : Path or str
        Run folder.
    data : optional
        Images, as :func:`~ganfeat.data.load_images` takes them; they are resized to the run's size.
    limit : int, optional
        At most so many of them, evenly spaced.
    network : str, optional
        Whose features are shown first.
    device : str
    seed : int
    stage : callable, optional
        Shows the progress of a piece of work.

    Returns
    -------
    Session

    Raises
    ------
    InputError
        If the run, the network or the data do not fit.
    """
    gan = load(run, device=device)
    session = Session(gan, RunFolder(run), network=network, seed=seed, limit=limit)
    if data is None:
        return session
    height, width, channels = gan.image_shape_
    if height != width or channels not in (1, 3):
        raise InputError(
            f"{run} is for images of {height} x {width} x {channels}; --data reads square ones of 1 or 3 channels: "
            "leave it out"
        )
    if not session.run.config()["scaling"]["integer"]:
        raise InputError(f"--data: {run} was trained on floating-point arrays, and images are 0 to 255: leave it out")
    read: dict[str, Any] = {"size": height, "channels": channels, "limit": limit}
    if stage is None:
        session.data = load_images(data, **read)
    else:
        with stage("reading images", 0) as update:
            session.data = load_images(data, **read, progress=update)
    return session
