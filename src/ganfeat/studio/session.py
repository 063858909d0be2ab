"""A run that was loaded to be explored: its networks, its data, and what is kept of both."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ganfeat.arrays import to_uint8
from ganfeat.checkpoint import RunFolder
from ganfeat.data import ImageDataset, load_images
from ganfeat.errors import InputError
from ganfeat.estimators import load
from ganfeat.latent import read_reference
from ganfeat.studio.jobs import Jobs

LATENTS_PER_SEED = 256
"""Rows that are drawn of a seed: the rows of another number would be others."""
CHUNK = 64
"""Images that are drawn at a time: a slider waits for no more."""
Value = TypeVar("Value")


class _Entry:
    """A value, or one that is being made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made = False
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
        """The value of a key; where making it fails, the next who asks tries again."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > self.size:
                self._entries.popitem(last=False)
        with entry.lock:
            if not entry.made:
                entry.value = make()
                entry.made = True
            value: Value = entry.value
            return value

    def find(self, key: Hashable) -> Any:
        """The value of a key, or None."""
        with self._lock:
            entry = self._entries.get(key)
        return entry.value if entry is not None else None


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
    """

    gan: Any
    run: RunFolder
    data: ImageDataset | None = None
    network: str | None = None
    seed: int = 0
    jobs: Jobs = field(default_factory=Jobs)
    searches: Jobs = field(default_factory=Jobs)
    kept: Kept = field(default_factory=lambda: Kept(16))
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
        return self._latents.get(seed, lambda: self.gan.latents(LATENTS_PER_SEED, seed))

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
    session = Session(gan, RunFolder(run), network=network, seed=seed)
    if data is None:
        return session
    height, width, channels = gan.image_shape_
    if height != width or channels not in (1, 3):
        raise InputError(
            f"{run} is for images of {height} x {width} x {channels}; --data reads square ones of 1 or 3 channels: "
            "leave it out"
        )
    read: dict[str, Any] = {"size": height, "channels": channels, "limit": limit}
    if stage is None:
        session.data = load_images(data, **read)
    else:
        with stage("reading images", 0) as update:
            session.data = load_images(data, **read, progress=update)
    return session
