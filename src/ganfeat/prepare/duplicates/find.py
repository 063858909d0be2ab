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

from ganfeat.errors import InputError, RunError
from ganfeat.prepare.duplicates.autoencoder import BITS, BYTES, AutoencoderSettings, spread, train
from ganfeat.prepare.duplicates.grouping import groups_of_codes, kept_rows, same_pixels
from ganfeat.prepare.duplicates.kept import PICTURES, Work
from ganfeat.prepare.duplicates.neighbours import require_faiss
from ganfeat.prepare.duplicates.pairs import compared, groups_by_features
from ganfeat.prepare.duplicates.sheet import SHEET, write_report
from ganfeat.prepare.duplicates.small import BLOCK, SIDE, blocks, check_images

METHODS = ("autoencoder", "features")
FORMAT = 2
"""Of what a search keeps in its folder: to be raised with each change of the hash, the descriptor or the likeness."""
SPARE_BITS = 16
"""Entropy that hashes need beyond ``2 log2(n)``, at which one pair of n images is expected to share one by chance."""
UNLIKE, MOST_UNLIKE = 0.2, 0.05
"""Distance and share: a search of whose drops more are as far from what is kept for them has failed."""
_FEW, _GREY_LEVELS = 4, 16
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
        :mod:`ganfeat.prepare.duplicates.autoencoder`), or equal 32 x 32 pictures: little that is wrong is dropped, and
        copies that were shifted or cropped are not found. ``features``: near neighbours that are alike, pixel by pixel
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
        For ``features``: pairs that are less alike are no duplicates. By default chosen by a rule.
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
    RunError
        If the hashes do not tell the images apart: their entropy is too small, or more than 5 % of the images that
        they would drop (and more than 4) are unlike the image that is kept.
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
        "format": FORMAT,
        "method": method,
        "seed": seed,
        "settings": own,
        "images": list(images.shape),
        "signature": signature or _sign(images),
        "keep": "first" if areas is None else _sign(np.asarray(areas)),
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Work(work or Path(temporary), plan)
        pictures = _pictures(images, folder, progress)
        about: dict[str, Any]
        if n < 2:
            groups, about = np.arange(n), {}
        elif method == "autoencoder":
            groups, about = _by_codes(pictures, folder, settings, seed, progress)
        else:
            pairs = groups_by_features(
                pictures, folder, features=features, areas=areas, least=least, seed=seed, progress=progress
            )
            rows = "pixels" if features is None else f"given, {features.shape[1]} columns"
            about = {"settings": {"features": rows, "least": pairs.least}, "pairs compared": pairs.compared}
            if pairs.strangers:
                about["strangers"] = pairs.strangers
            groups = pairs.groups
        kept = kept_rows(groups, areas)
        far = compared(pictures, kept)
        del pictures
        card = {"step": "duplicates", "method": method, "seed": seed, **_counts(groups, far), **about}
        found = Duplicates(groups, kept, far["row"], far["distance"], far["difference"], card)
        if work is not None:
            write_report(work, images, found, _names(ids, found.members))
        if method == "autoencoder":
            _refuse_unlike(found, None if work is None else work / SHEET)
        folder.forget(PICTURES)
    return found


def _pictures(images: NDArray[np.uint8], work: Work, progress: Progress | None) -> NDArray[np.uint8]:
    """The 32 x 32 pictures of all images, made once: 3 KB an image on the disk where the images are larger."""
    n, channels = len(images), images.shape[3]
    if n == 0 or images.shape[1:3] == (SIDE, SIDE):
        return images
    column = work.column(PICTURES, np.uint8, SIDE * SIDE * channels, BLOCK)
    for _, block in blocks(images, column.done):
        column.append(block.reshape(len(block), -1))
        if progress is not None:
            progress(column.done, n, "shrinking")
    return column.mapped().reshape(n, SIDE, SIDE, channels)


def _by_codes(
    pictures: NDArray[np.uint8], work: Work, settings: AutoencoderSettings, seed: int, progress: Progress | None
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total, "training the autoencoder")

    trained = work.autoencoder(settings)
    if trained is None:
        trained = train(pictures, settings, seed, told)
        work.keep_autoencoder(trained)
    codes = work.column("codes.bin", np.uint8, BYTES, BLOCK)
    for _, block in blocks(pictures, codes.done):
        codes.append(trained.hashes(block))
        if progress is not None:
            progress(codes.done, len(pictures), "hashing")
    hashes, same = codes.rows()[: len(pictures)], same_pixels(pictures)
    different = same == np.arange(len(same))
    live, entropy = spread(hashes[different])
    needed = 2 * np.log2(different.sum()) + SPARE_BITS
    if different.sum() > 1 and entropy < needed:
        raise RunError(
            f"the hash does not tell these images apart: {live} of {BITS} bits differ between them, with {entropy:.0f} "
            f"bits of entropy where {different.sum():,} images need {needed:.0f}. Nothing was left out: use "
            "--duplicates features (method='features')"
        )
    # a unit that is nearly 0 may be rounded otherwise in another block: equal pictures get one hash
    groups = groups_of_codes(hashes[same])
    return groups, {"settings": asdict(settings), "bits": {"live": live, "entropy": round(entropy, 1)}}


def _refuse_unlike(found: Duplicates, sheet: Path | None) -> None:
    """Raise RunError where many images are unlike the one that is kept for them, and are no plain pictures."""
    dropped = len(found.dropped)
    unlike = int(((found.distance > UNLIKE) & (found.difference > _GREY_LEVELS)).sum())
    if unlike > max(_FEW, MOST_UNLIKE * dropped):
        where = "" if sheet is None else f" (see {sheet})"
        raise RunError(
            f"the hash does not tell these images apart: of {dropped:,} images that it takes for duplicates, "
            f"{unlike:,} are unlike the one that is kept{where}. Nothing was left out: use "
            "--duplicates features (method='features')"
        )


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
