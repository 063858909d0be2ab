"""A run folder as a report: the only module here that knows how a run lies on disk."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ganfeat import history
from ganfeat.checkpoint import RunFolder
from ganfeat.errors import InputError
from ganfeat.pictures import out_of_pairs, read_png, untile
from ganfeat.report.explorations import exploration_sections
from ganfeat.report.pictures import evenly_spaced
from ganfeat.report.run import RunReport
from ganfeat.version import __version__

Images = npt.NDArray[np.uint8]
Frames = list[tuple[str, Images]]

IMPORTED = "imported.png"
"""The sheet of a run whose weights were trained elsewhere."""
_NEEDED = ("method", "estimator", "image_shape", "seed", "device", "precision", "data")


def report_of_run(run: RunFolder, *, command: str = "") -> RunReport:
    """Gather what a run folder can show, finished or not.

    Parameters
    ----------
    run : RunFolder
    command : str
        What makes the page, for its foot. Empty: none.

    Returns
    -------
    RunReport
        Title, summary, samples, reconstructions, history, what was found inside the networks, settings and foot. The
        images that were reconstructed are also set beside the samples.

    Raises
    ------
    InputError
        If this is no run folder, it is damaged, or nothing has been recorded yet.
    """
    config = settings_of(run)
    records = history.read(run.history)
    samples = samples_of(run)
    reconstructed, reconstructions = reconstructions_of(run)
    if not (samples or records or "imported" in (config["data"] or {})):
        raise InputError(
            f"{run.path} has neither samples nor a history yet, so there is nothing to report: run its train command "
            "again, and report once the training has begun"
        )
    settings = {name: value for name, value in config["estimator"].items() if value is not None}
    return RunReport(
        title=f"{run.path.resolve().name}: {config['method']}",
        summary=_summary(run, config, records),
        samples=samples,
        real=reconstructed,
        reconstructions=reconstructions,
        reconstructed=reconstructed,
        history=records,
        explorations=exploration_sections(run.path),
        # what "auto" and None came to is worth more than that they were given
        settings=settings | {k: config[k] for k in ("validation", "seed", "device", "precision") if k in config},
        footer=". ".join(
            part
            for part in (
                f"Trained by ganfeat {config['ganfeat']}, torch {config['torch']}" if "torch" in config else "",
                f"Page by ganfeat {__version__}{f': {command}' if command else ''}",
            )
            if part
        ),
    )


def settings_of(run: RunFolder) -> dict[str, Any]:
    """``config.json``, with all that a report needs.

    Raises
    ------
    InputError
        If this is no run folder, or something is missing.
    """
    config = run.config()
    absent = [name for name in _NEEDED if name not in config]
    if absent or len(config["image_shape"]) != 3:
        raise InputError(
            f"{run.path / 'config.json'} is damaged: {', '.join(absent) or 'image_shape'} is missing or wrong"
        )
    return config


def finished(run: RunFolder, records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the training came to its end; not without a record."""
    return bool(records) and run.finished({"total_steps": 1, **records[-1]})


def samples_of(run: RunFolder) -> Frames:
    """The sheets of samples, cut into images.

    Returns
    -------
    list of (str, ndarray of uint8 (n, height, width, 1 or 3))
        When, as ``"epoch 5"``, and the images, first to last: at most as many as a page shows, the first and the last
        of them. Of imported weights the one sheet there is.

    Raises
    ------
    InputError
        If a sheet cannot be read, or is none of this run's images.
    """
    frames = _frames(run, "")
    path = run.samples / IMPORTED
    if not frames and path.is_file():
        return [("as imported", _cells(path, *_drawn_size(run)))]
    return frames


def reconstructions_of(run: RunFolder) -> tuple[Images | None, Frames]:
    """The sheets of reconstructions, taken apart.

    Returns
    -------
    real : ndarray of uint8 (n, height, width, 1 or 3) or None
        The images, in the size that G draws; None where the run has no encoder, or no sheet yet.
    frames : list of (str, ndarray of uint8)
        When, and their reconstructions, as for :func:`samples_of`.

    Raises
    ------
    InputError
        As for :func:`samples_of`.
    """
    pairs = [(label, *out_of_pairs(cells)) for label, cells in _frames(run, "reconstruction-")]
    if not pairs:
        return None, []
    n = min(len(real) for _, real, _ in pairs)
    return pairs[-1][1][:n], [(label, again[:n]) for label, _, again in pairs]


def _frames(run: RunFolder, prefix: str) -> Frames:
    if not run.samples.is_dir():
        return []
    name = re.compile(rf"{prefix}step-(\d+)\.png")
    found = [(int(match[1]), path) for path in run.samples.iterdir() if (match := name.fullmatch(path.name))]
    kept = evenly_spaced(sorted(found))
    size = _drawn_size(run)
    labels = _moments([step for step, _ in kept], history.read(run.history))
    return [(label, _cells(path, *size)) for label, (_, path) in zip(labels, kept, strict=True)]


def _drawn_size(run: RunFolder) -> tuple[int, int]:
    """Height and width of what G draws."""
    config = settings_of(run)
    height, width, _ = config["image_shape"]
    size = config["estimator"].get("generator_size")
    return (height, width) if size is None else (size, size)


def _cells(path: Path, height: int, width: int) -> Images:
    try:
        sheet = read_png(path)
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's, by where the file is damaged
        raise InputError(f"{path} cannot be read: {error}") from None
    if (sheet.shape[0] + 1) % (height + 1) or (sheet.shape[1] + 1) % (width + 1):
        raise InputError(f"{path} is no sheet of {height} x {width} images: move it out of the run folder")
    return untile(sheet, height, width)


def _moments(steps: list[int], records: list[history.Record]) -> list[str]:
    """Say when the steps were, in epochs where the history tells how long one is, as shortly as tells them apart."""
    last = records[-1] if records else {}
    if not last.get("epoch"):
        return [f"step {step:,}" for step in steps]
    epochs = [step * last["epoch"] / last["step"] for step in steps]
    for digits in range(3):
        labels = [f"epoch {epoch:.{digits}f}" for epoch in epochs]
        if len(set(labels)) == len(labels):
            return labels
    return [f"step {step:,}" for step in steps]


def _summary(run: RunFolder, config: dict[str, Any], records: list[history.Record]) -> str:
    height, width, channels = config["image_shape"]
    data, estimator = config["data"] or {}, config["estimator"]
    network = f"{config['method']}, {estimator['architecture']}" if "architecture" in estimator else config["method"]
    images = f"{height} x {width} x {channels}"
    if "imported" in data:
        return f"{network}: weights for images of {images}, imported from {data['imported']}, {data['source']}."
    if "n" in data:
        held = round(config.get("validation", 0) * data["n"])
        images = f"{data['n'] - held:,} images of {images} from {data.get('source') or 'an array'}"
        if held:
            images += f"; {held:,} more were held out"
    else:
        images = f"images of {images}"
    sentences = [
        f"{network}, learned {'with their' if 'labels' in data else 'without'} labels from {images}.",
        f"{_progress(run, records)}, seed {config['seed']}, {config['device']}, {config['precision']}.",
        _measured(records, "held-out" if config.get("validation") else "training"),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _progress(run: RunFolder, records: list[history.Record]) -> str:
    last = records[-1] if records else {}
    if not last.get("epoch"):
        return "No step has been recorded yet"
    total = last.get("total_steps", last["step"]) * last["epoch"] / last["step"]
    if finished(run, records):
        return f"{total:,.0f} epochs"
    return f"Not finished: {last['epoch']:,.1f} of {total:,.0f} epochs"


def _measured(records: list[history.Record], seen: str) -> str:
    """What was last measured of an encoder, in a sentence; nothing where nothing was."""
    last = next((r for r in reversed(records) if {"reconstruction/real", "reconstruction/real_shuffled"} <= set(r)), {})
    if not last:
        return ""
    text = (
        f"Last measured: {seen} images were {last['reconstruction/real']:.2f} from their reconstructions, "
        f"{last['reconstruction/real_shuffled']:.2f} from those of other images"
    )
    if "knn/output" in last:
        text += (
            f"; by E(x), {100 * last['knn/output']:.1f}% of the held-out ones had a nearest neighbour of their class"
        )
    return f"{text}."
