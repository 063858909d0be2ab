"""Images for several processes that train together: decoded once on each machine, and mapped by all that are there.

What is no memory map yet becomes a hidden one in the run folder, for as long as it is needed: a file for each machine
and each way to read (``.images.0.size64.npy``), so that no process ever replaces what another one has open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ganfeat.checkpoint import RunFolder
from ganfeat.data import ImageDataset, load_images
from ganfeat.data.packed import is_set, open_dataset
from ganfeat.data.resize import DEFAULT_SIZE, OWN_SIZE_LIMIT
from ganfeat.data.sources import open_source
from ganfeat.distributed import machine
from ganfeat.distributed.team import Elsewhere, status_of, team
from ganfeat.errors import InputError

HIDDEN = ".images."
"""How the names of hidden images begin (:data:`ganfeat.checkpoint.OWN` lets them lie in a run folder)."""


@contextmanager
def held(folder: RunFolder, refuse: Callable[[], None]) -> Iterator[Hidden]:
    """Lock the run and look whether it may go on before images are decoded for it; of several processes the first does.

    Parameters
    ----------
    folder : RunFolder
    refuse : callable
        Raises InputError where the run may not go on as it is asked to. Not called where there is one process.

    Yields
    ------
    Hidden
        To read the images with. Those that are made within the block are deleted where it ends as a wrong call.
    """
    ours, hidden = team(), Hidden(folder)
    if ours.size == 1:
        yield hidden
        return
    with folder.locked() if ours.is_main else nullcontext():
        ours.told(refuse)
        try:
            yield hidden
        except (InputError, Elsewhere) as error:
            if status_of(error) == 2 and hidden.made is not None:
                _delete(hidden.made)
            raise


class Hidden:
    """The hidden images of a run.

    Parameters
    ----------
    folder : RunFolder

    Attributes
    ----------
    made : Path or None
        What this process has made in this call.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.path = folder.path.absolute()
        self.made: Path | None = None

    def place(self, reading: dict[str, Any]) -> Path:
        """Where this machine's images lie, read in this way."""
        ways = [f"{name}{reading[name]}" for name in ("size", "channels", "limit") if name in reading]
        return self.path / f"{HIDDEN}{'.'.join([str(machine()), *ways])}.npy"

    def read(self, data: str, reading: dict[str, Any], update: Callable[..., None]) -> ImageDataset:
        """Images as a memory map that all processes of a machine share, of which each reads what it needs.

        Parameters
        ----------
        data : str
        reading : dict
            Arguments of :func:`~ganfeat.data.load_images`; with ``pack``, that is where the images go, decoded by the
            first process of all, and by the first of every machine that does not see its file.
        update : callable(done, total)
        """
        ours = team()
        if "pack" in reading or ours.told(lambda: mapped_as_it_is(data, reading)):
            return ours.in_turn(ours.turn, lambda: load_images(data, progress=update, **reading))
        place, first = self.place(reading), ours.local_rank == 0

        def read() -> ImageDataset:
            if first:
                _sweep(self.path, f"{HIDDEN}{machine()}.")
                self.made = None if place.exists() else place
            try:
                return load_images(data, progress=update, pack=place, **reading)
            except InputError as error:
                if not first or self.made is not None or str(place.with_suffix("")) not in str(error):
                    raise
            _delete(place)  # of images that have changed since, or damaged
            self.made = place
            return load_images(data, progress=update, pack=place, **reading)

        images = ours.in_turn(not first, read)
        ours.gather(b"")  # nobody may delete what another one has yet to open
        return images

    def forget(self) -> None:
        """Delete what the run needs no more: this machine's images, and by the first process all that it sees."""
        ours = team()
        if ours.local_rank == 0:
            whose = HIDDEN if ours.is_main else f"{HIDDEN}{machine()}."
            for path in self.path.glob(f"{whose}*"):
                path.unlink(missing_ok=True)
            _sweep(self.path, whose)


def _delete(pack: Path) -> None:
    for suffix in (".npy", ".pack.json", ".labels.npy"):
        pack.with_suffix(suffix).unlink(missing_ok=True)


def _sweep(folder: Path, whose: str) -> None:
    """Delete what killed processes have left half made."""
    for path in folder.glob(f".{whose}*.partial"):
        path.unlink(missing_ok=True)


def mapped_as_it_is(data: str, reading: dict[str, Any]) -> bool:
    """Whether the images need no change, so that their own file can be mapped: a ``.npy`` file or a packed set."""
    path = Path(data).expanduser()
    if "limit" in reading:
        return False
    if is_set(path):
        images = open_dataset(path, reading.get("size")).images
    elif path.suffix.lower() == ".npy" and path.is_file():
        opened = open_source(path)
        if not isinstance(opened, ImageDataset):
            return False
        images = opened.images
    else:
        return False
    _, height, width, channels = images.shape
    own = height if height == width and (height <= OWN_SIZE_LIMIT or is_set(path)) else DEFAULT_SIZE
    side = reading.get("size") or own
    asked = reading.get("channels") or channels
    return isinstance(images, np.memmap) and (height, width, channels) == (side, side, asked)
