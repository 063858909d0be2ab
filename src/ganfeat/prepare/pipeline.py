"""All steps of ``ganfeat prepare`` in turn: each finishes what it began before, and what is done is not done again.

With a step behind *read*, the set that *read* makes lies in ``SET/.work/read`` until the last step has copied what it
keeps to ``SET``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.data.decode import FastJpeg
from ganfeat.data.packed import PackedSet, SetWriter, open_set
from ganfeat.data.sets import WORK
from ganfeat.data.work_folder import refuse_foreign, remove_work
from ganfeat.errors import InputError
from ganfeat.prepare.choose import choose
from ganfeat.prepare.faces import FaceCropper, load_cascade
from ganfeat.prepare.read import Result, check_settings, is_finished, plan, read, refuse_inside
from ganfeat.prepare.report import shown_size, write_json, write_kept

Stage = Callable[[str, float], AbstractContextManager[Callable[..., None]]]
"""Shows the progress of a step: its name and how much there is to do give a context with ``update(done, total)``."""

_LEAST_SIDE = 32
_DUPLICATE = "a duplicate"
_REPORTS = ("counts.json", "groups.parquet", "groups.png")


@dataclass(frozen=True)
class Prepared:
    """A set, and what each step kept and dropped: its name and its ``counts.json``."""

    packed: PackedSet
    steps: dict[str, dict[str, Any]]
    resumed: int
    finished_before: bool


def prepare(
    source: str,
    path: Path,
    sizes: Sequence[int],
    *,
    stage: Stage,
    channels: int | None = None,
    fast_jpeg: FastJpeg | None = None,
    faces: FaceCropper | None = None,
    duplicates: str | None = None,
    seed: int = 0,
    workers: int | None = None,
    processes: bool = False,
) -> Prepared:
    """Run the steps that are asked for, or go on with them.

    Parameters
    ----------
    source, path, sizes, channels, fast_jpeg, workers, processes
        As of :func:`~ganfeat.prepare.read.read`.
    stage : callable
        Shows progress.
    faces : FaceCropper, optional
        Cut faces out.
    duplicates : {"autoencoder", "features"}, optional
        Leave out duplicates, found by this method.
    seed : int
        Of the search for duplicates.

    Returns
    -------
    Prepared

    Raises
    ------
    InputError
        If an argument is wrong, there is nothing to read, or the folder is of a set with other settings.
    RunError
        If the search for duplicates does not tell the images apart.
    """
    if faces is not None:
        load_cascade(faces.cascade)
    if duplicates is not None:
        _check_method(duplicates)
    with stage("listing", 0):
        planned = plan(source, sizes, channels, fast_jpeg, faces)
    more = {} if duplicates is None else {"duplicates": {"method": duplicates, "seed": seed}}
    refuse_inside(source, path)
    if is_finished(path):
        check_settings(path, open_set(path).card["settings"], {**planned.settings, **more})
        remove_work(path)
        return Prepared(open_set(path), _steps(path), 0, True)
    inner = path / WORK / "read"
    if duplicates is None and inner.is_dir():
        raise InputError(f"{path} was begun with --duplicates: give it again, or another folder, or delete this one")
    with stage("reading", planned.source.count or 0) as update:
        made = read(
            source,
            path if duplicates is None else _prepared(path, inner),
            sizes,
            channels=channels,
            fast_jpeg=fast_jpeg,
            cropper=faces,
            workers=workers,
            processes=processes,
            progress=update,
            planned=planned,
        )
    if duplicates is None:
        return Prepared(made.packed, _steps(path), made.resumed, False)
    packed = _without_duplicates(made, path, duplicates, seed, {**planned.settings, **more}, stage)
    return Prepared(packed, _steps(path), made.resumed, False)


def _check_method(method: str) -> None:
    from ganfeat.prepare.duplicates import METHODS

    if method not in METHODS:
        raise InputError(f"duplicates={method!r} is not known: choose one of {', '.join(METHODS)}")
    if method == "features":
        from ganfeat.prepare.duplicates.neighbours import require_faiss

        require_faiss()


def _prepared(path: Path, inner: Path) -> Path:
    """Refuse a folder of something else before any work."""
    refuse_foreign(path)
    if (path / WORK / "index.jsonl").is_file() and not inner.is_dir():
        raise InputError(f"{path} was begun without --duplicates: leave it out, or give another folder, or delete this")
    return inner


def _without_duplicates(
    made: Result, path: Path, method: str, seed: int, settings: dict[str, Any], stage: Stage
) -> PackedSet:
    from ganfeat.prepare.duplicates import find_duplicates

    given = made.packed
    larger = [size for size in given.sizes if size >= _LEAST_SIDE]
    looked_at = open_set(given.path, min(larger) if larger else max(given.sizes))
    work = path / WORK / "duplicates"
    names = (row[0] for row in given.rows())
    with stage("looking for duplicates", 0) as update:
        found = find_duplicates(
            looked_at.images,
            names,
            method=method,
            work=work,
            areas=_areas(given),
            seed=seed,
            signature=given.signature,
            progress=lambda done, total, what: update(done, total, what),
        )
    kept = found.keep
    place = {int(row): number for number, row in enumerate(found.dropped)}

    def why(row: int) -> str:
        return f"a duplicate of row {found.kept[row]} of {len(given):,}, at {found.distance[place[row]]:.3f}"

    def report(writer: SetWriter) -> None:
        folder = path / "steps" / "duplicates"
        folder.mkdir(parents=True, exist_ok=True)
        for name in _REPORTS:
            if (work / name).is_file():
                shutil.copyfile(work / name, folder / name)
        write_json(folder / "counts.json", {**found.card, "reasons": {_DUPLICATE: len(found.dropped)}})
        write_kept(folder / "kept.png", writer.pixels(shown_size(writer.sizes)), f"kept: {writer.count:,} images")

    with stage("writing", len(given)) as update:
        return choose(
            given,
            path,
            kept,
            why,
            report,
            step="duplicates",
            kind=_DUPLICATE,
            settings={key: value for key, value in settings.items() if key not in ("sizes", "channels")},
            progress=update,
        )


def _areas(given: PackedSet) -> NDArray[np.int64]:
    """Pixels that each image was made from."""
    areas = np.empty(len(given), np.int64)
    if given.card["boxed"]:
        for row, (box,) in enumerate(given.rows(["box"])):
            areas[row] = (box[2] - box[0]) * (box[3] - box[1])
    else:
        for row, (width, height) in enumerate(given.rows(["width", "height"])):
            areas[row] = width * height
    return areas


def _steps(path: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for name in ("read", "duplicates"):
        file = path / "steps" / name / "counts.json"
        if file.is_file():
            found[name] = json.loads(file.read_text("utf-8"))
    return found
