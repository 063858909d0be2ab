"""What the verbs that look into the latent space share: a run's generator, points by name, and where to write."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import Parameter

from ganfeat.config import LARGEST_SEED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REFERENCES = Parameter(consume_multiple=True, negative="")


class Generator:
    """G of a run, and the names of its points.

    Parameters
    ----------
    run : Path
    device : str
    given : str or None
        What G is told beside z, as typed.

    Raises
    ------
    InputError
        If it is no run, or G is not told such a thing.
    """

    def __init__(self, run: Path, device: str, given: str | None) -> None:
        from ganfeat.estimators import load
        from ganfeat.latent import DRAWN

        self.run = run
        self.gan = load(run, device=device)
        self.n_components = int(self.gan.n_components)
        self.prior = str(self.gan.prior)
        self.given = self._given(given)
        self.drawn = lru_cache(maxsize=16)(lambda seed: self.gan.latents(DRAWN, seed))

    def _given(self, text: str | None) -> Any:
        """The value of the condition that was typed; the first by default, None of a G that is told nothing."""
        from ganfeat.errors import InputError

        condition = self.gan.condition
        if condition is None:
            if text is not None:
                raise InputError(f"the generator of {self.run} is told nothing beside z: leave --given {text} out")
            return None
        name, values = condition
        if text is None:
            return values[0]
        for value in values:
            if str(value) == text:
                return value
        raise InputError(f"--given {text}: there is no such {name}; choose one of {', '.join(map(str, values))}")

    def describe(self) -> dict[str, Any]:
        """For the JSON result."""
        condition = self.gan.condition
        return {
            "run": str(self.run),
            "network": self.gan.describe(),
            "given": None if condition is None else {condition[0]: self.given},
            "prior": self.prior,
        }

    def words(self, sentence: str) -> str:
        """A sentence on what G drew, beginning with what it was told: ``"Generator 3: ..."``."""
        if self.gan.condition is None:
            return sentence
        return f"{self.gan.condition[0].capitalize()} {self.given}: {sentence[0].lower()}{sentence[1:]}"

    def points(self, references: Sequence[str], option: str) -> NDArray[np.float32]:
        """The points ``(n, D)`` that references name; an error names the option that they were given to."""
        import numpy as np

        from ganfeat.errors import InputError
        from ganfeat.latent import read_reference

        try:
            found = [read_reference(text, self.n_components, self.drawn) for text in references]
        except InputError as error:
            raise InputError(f"{option} {error}") from None
        return np.stack(found) if found else np.empty((0, self.n_components), np.float32)

    def draw(self, z: NDArray[np.floating]) -> NDArray[np.uint8]:
        """G(z), ``uint8 (n, h, w, c)``."""
        return self.gan.picture(z, self.given)

    def square(self, option: str) -> tuple[int, int | None]:
        """Side of the images that G draws and their channels, for reading others in this size.

        Raises
        ------
        InputError
            If they are not square, or were no images.
        """
        from ganfeat.checkpoint import RunFolder
        from ganfeat.errors import InputError

        height, width, channels = self.draw(self.drawn(0)[:1]).shape[1:]
        if height != width:
            raise InputError(f"{option} reads square images, and {self.run} draws {height} x {width} ones")
        if not RunFolder(self.run).config()["scaling"]["integer"]:
            raise InputError(
                f"{option}: {self.run} was trained on floating-point arrays, and images are 0 to 255: leave it out"
            )
        return height, channels if channels in (1, 3) else None


def within(*options: tuple[str, float, float, float | None], seed: int) -> None:
    """Raise InputError for an option out of its range: name, value, least, most; or a seed whose samples have no names.

    NaN is out of any range.
    """
    from ganfeat.errors import InputError

    for name, value, least, most in (*options, ("--seed", seed, 0, LARGEST_SEED)):
        if not value >= least or (most is not None and value > most):
            also = "" if most is None else f" and at most {most:,}"
            raise InputError(f"{name} {value} must be at least {least}{also}")


def scale_for(images: NDArray[np.uint8], columns: int, width: int = 900) -> int:
    """By how much to enlarge a sheet of so many columns to come near a width."""
    return max(1, min(8, width // (columns * (images.shape[2] + 1))))


def in_columns(rows: Sequence[NDArray[np.uint8]], most: int) -> NDArray[np.uint8]:
    """A sheet of rows of as many images ``(n, h, w, c)`` each, under one another; broken where they are too long."""
    import numpy as np

    from ganfeat.pictures import PAPER, tile

    n = len(rows[0])
    bands = -(-n // most)
    columns = -(-n // bands)
    empty = np.full((bands * columns - n, *rows[0].shape[1:]), PAPER, np.uint8)
    cells = np.stack([np.concatenate([row, empty]) for row in rows])
    cells = cells.reshape(len(rows), bands, columns, *rows[0].shape[1:]).swapaxes(0, 1)
    return tile(cells.reshape(-1, *rows[0].shape[1:]), columns=columns)


def beside(*sheets: NDArray[np.uint8], gap: int = 6) -> NDArray[np.uint8]:
    """Sheets of the same height side by side, white between them."""
    import numpy as np

    from ganfeat.pictures import PAPER

    empty = np.full((len(sheets[0]), gap, sheets[0].shape[2]), PAPER, np.uint8)
    parts = [part for sheet in sheets for part in (empty, sheet)]
    return np.concatenate(parts[1:], axis=1)
