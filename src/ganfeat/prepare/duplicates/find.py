"""Find duplicates in a set by one of the two methods, with a report, resumable."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.errors import InputError
from ganfeat.prepare.duplicates.autoencoder import BYTES, AutoencoderSettings, train
from ganfeat.prepare.duplicates.grouping import groups_of_codes, kept_rows
from ganfeat.prepare.duplicates.kept import Work
from ganfeat.prepare.duplicates.neighbours import require_faiss
from ganfeat.prepare.duplicates.pairs import compared, groups_by_features
from ganfeat.prepare.duplicates.sheet import write_report
from ganfeat.prepare.duplicates.small import BLOCK, blocks, check_images

METHODS = ("autoencoder", "features")
Progress = Callable[[int, int, str], object]


@dataclass(frozen=True, eq=False)
class Duplicates:
    """What was found.

    Attributes
    ----------
    groups : ndarray of int64, shape (n,)
        The first row of each image's group: its own, where it has no duplicates.
    kept : ndarray of int64, shape (n,)
        Of each row, the row that its group keeps.
    dropped : ndarray of int64, shape (m,)
        The rows that are not kept, ascending.
    distance, difference : ndarray of float32, shape (m,)
        Of each dropped image from the one kept: 1 less the likeness, and the root mean square difference of the
        32 x 32 pictures in grey levels.
    card : dict
        Counts and settings: ``counts.json``.
    """

    groups: NDArray[np.int64]
    kept: NDArray[np.int64]
    dropped: NDArray[np.int64]
    distance: NDArray[np.float32]
    difference: NDArray[np.float32]
    card: dict[str, Any]

    @property
    def keep(self) -> NDArray[np.bool_]:
        """Which rows are kept, ``(n,)``."""
        return self.kept == np.arange(len(self.kept))

    @property
    def members(self) -> NDArray[np.int64]:
        """Rows of images that have duplicates, ascending."""
        return np.union1d(self.dropped, self.kept[self.dropped])


def find_duplicates(
    images: NDArray[np.uint8],
    ids: Iterable[str] | None = None,
    *,
    method: str = "autoencoder",
    work: Path | None = None,
    areas: NDArray[np.int64] | None = None,
    seed: int = 0,
    settings: AutoencoderSettings | None = None,
    features: NDArray[np.floating] | None = None,
    least: float | None = None,
    signature: str | None = None,
    progress: Progress | None = None,
) -> Duplicates:
    """Find images that are in a set more than once.

    Parameters
    ----------
    images : ndarray or memmap of uint8, shape (n, h, w, 1 or 3)
        Square crops; looked at as 32 x 32 pictures, those of other sizes are min-resized.
    ids : iterable of str, optional
        Names for the report, in the order of the rows; read once. By default, numbers.
    method : {"autoencoder", "features"}
        ``autoencoder``: equal 128-bit codes of a denoising autoencoder (the DCGAN paper's method,
        :mod:`ganfeat.prepare.duplicates.autoencoder`): hardly anything wrong is dropped, and copies that were shifted
        or cropped are not found. ``features``: near neighbours that are alike, pixel by pixel
        (:mod:`ganfeat.prepare.duplicates.pairs`); it needs faiss.
    work : Path, optional
        A folder for the report (``counts.json``, ``groups.parquet``, ``groups.png``) and for what a search that was
        killed goes on from. Without it, no report is written.
    areas : ndarray, shape (n,), optional
        Pixels of each image as it was found: a group keeps the largest, the first of several. Without it, a group
        keeps its first row.
    seed : int
    settings : AutoencoderSettings, optional
    features : ndarray or memmap, shape (n, d), optional
        For ``features``: rows of any network, as ``ganfeat extract`` writes them. By default a descriptor of pixels.
    least : float, optional
        For ``features``: the likeness from which on a pair is one of duplicates. By default chosen by a rule.
    signature : str, optional
        Tells these images from others where `work` holds a search. By default from some of the pixels.
    progress : callable(done, total, what), optional

    Returns
    -------
    Duplicates

    Raises
    ------
    InputError
        If a setting is wrong, or `features` has not a row an image.
    MissingExtraError
        If faiss is not installed and `method` is ``features``.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 256, (300, 32, 32, 1), np.uint8)
    >>> images[7] = images[3]
    >>> found = find_duplicates(images, settings=AutoencoderSettings(epochs=1))
    >>> found.dropped, found.kept[7]
    (array([7]), np.int64(3))
    """
    check_images(images)
    n = len(images)
    if method not in METHODS:
        raise InputError(f"method={method!r} is not known: choose one of {', '.join(METHODS)}")
    if features is not None and (method != "features" or features.ndim != 2 or len(features) != n):
        raise InputError(
            f"features has shape {features.shape}: for method='features' give a row an image, so ({n}, columns)"
        )
    if areas is not None and np.shape(areas) != (n,):
        raise InputError(f"areas has shape {np.shape(areas)}: give one number an image, so ({n},)")
    if least is not None and not 0 < least <= 1:
        raise InputError(f"least={least!r}: give a likeness in (0, 1]")
    if method == "features":
        require_faiss()
    settings = settings or AutoencoderSettings()
    own: dict[str, Any] = asdict(settings) if method == "autoencoder" else {"least": least, "features": _sign(features)}
    plan = {
        "method": method,
        "seed": seed,
        "settings": own,
        "images": list(images.shape),
        "signature": signature or _sign(images),
        "keep": "first" if areas is None else _sign(np.asarray(areas)),
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Work(work or Path(temporary), plan)
        about: dict[str, Any]
        if n < 2:
            groups, about = np.arange(n), {}
        elif method == "autoencoder":
            groups, about = _by_codes(images, folder, settings, seed, progress), {"settings": asdict(settings)}
        else:
            pairs = groups_by_features(
                images, folder, features=features, areas=areas, least=least, seed=seed, progress=progress
            )
            rows = "pixels" if features is None else f"given, {features.shape[1]} columns"
            about = {"settings": {"features": rows, "least": pairs.least}, "pairs compared": pairs.compared}
            groups = pairs.groups
    kept = kept_rows(groups, areas)
    far = compared(images, kept)
    card = {"step": "duplicates", "method": method, "seed": seed, **_counts(groups, far), **about}
    found = Duplicates(groups, kept, far["row"], far["distance"], far["difference"], card)
    if work is not None:
        write_report(work, images, found, _names(ids, found.members))
    return found


def _by_codes(
    images: NDArray[np.uint8], work: Work, settings: AutoencoderSettings, seed: int, progress: Progress | None
) -> NDArray[np.int64]:
    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total, "training the autoencoder")

    trained = work.autoencoder(settings)
    if trained is None:
        trained = train(images, settings, seed, told)
        work.keep_autoencoder(trained)
    codes = work.column("codes.bin", np.uint8, BYTES, BLOCK)
    for _, pictures in blocks(images, codes.done):
        codes.append(trained.hashes(pictures))
        if progress is not None:
            progress(codes.done, len(images), "hashing")
    return groups_of_codes(codes.rows()[: len(images)])


def _counts(groups: NDArray[np.int64], far: dict[str, NDArray[Any]]) -> dict[str, Any]:
    sizes = np.bincount(groups) if len(groups) else groups
    dropped = len(far["row"])
    counts: dict[str, Any] = {
        "images": len(groups),
        "kept": len(groups) - dropped,
        "dropped": dropped,
        "groups": int((sizes > 1).sum()),
        "largest group": int(sizes.max(initial=0)),
    }
    if dropped:
        shares = (0.5, 0.9, 1.0)
        for name in ("distance", "difference"):
            values = np.quantile(far[name], shares)
            counts[name] = {
                f"{share:.0%}".replace("100%", "largest"): round(float(value), 4)
                for share, value in zip(shares, values, strict=True)
            }
    return counts


def _names(ids: Iterable[str] | None, rows: NDArray[np.int64]) -> list[str]:
    """Names of some rows, ascending; the others are read over."""
    if ids is None:
        return [str(row) for row in rows]
    if isinstance(ids, Sequence):
        return [str(ids[row]) for row in rows]
    names, place, iterator = [], 0, iter(ids)
    for row in rows.tolist():
        names.append(str(next(islice(iterator, row - place, None))))
        place = row + 1
    return names


def _sign(array: NDArray[Any] | None) -> str | None:
    """SHA-256 of the shape and of some rows, evenly spread."""
    if array is None:
        return None
    some = np.linspace(0, max(0, len(array) - 1), min(len(array), 1024))
    digest = hashlib.sha256(repr((array.shape, array.dtype.str)).encode())
    for row in np.unique(some.astype(np.int64)):
        digest.update(np.ascontiguousarray(array[row]).tobytes())
    return digest.hexdigest()
