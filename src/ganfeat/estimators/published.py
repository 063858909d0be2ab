"""What of a run folder is published, and the model card that goes with it.

Published is what rebuilds the model: settings, weights, the untrained network, the history, the last sheet of samples.
No image that it learned from is: sheets of reconstructions show such, and go along only where they are asked for.
Checkpoints, event files and explorations stay; paths of the person's machine are reduced to their last part.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganfeat.checkpoint import RunFolder
from ganfeat.errors import InputError
from ganfeat.estimators.places import without_folders
from ganfeat.estimators.saved import card

UNMEASURED = (
    "Not measured: no results were given when this card was written. To measure them beside raw pixels, PCA and the "
    "same network untrained:\n\n```sh\nganfeat extract {place} DATA --out features.npy\n"
    "ganfeat probe features.npy features.labels.npy\n```"
)
COPIED = ("model.safetensors", "untrained.safetensors", "history.jsonl")
SHEETS = ("imported.png", "step-*.png")
"""Of what the generator drew: the last is published."""
RECONSTRUCTIONS = "reconstruction-step-*.png"
"""Images that the run learned from or was tested on, above G(E(x))."""


def front_matter(config: Mapping[str, Any]) -> str:
    """The YAML that the Hub reads; a license is the author's to add."""
    import yaml

    method = str(config["method"])
    tags = ["ganfeat", "gan", *({method} - {"gan"}), "feature-extraction", "unsupervised-learning", "image-generation"]
    if method == "acgan":
        tags.remove("unsupervised-learning")
    about = {"library_name": "ganfeat", "pipeline_tag": "image-feature-extraction", "tags": tags}
    return f"---\n{yaml.safe_dump(about, sort_keys=False)}# license: to be added by the author\n---\n\n"


def published_card(
    config: Mapping[str, Any],
    *,
    encoder: bool,
    place: str = "this folder",
    measured: str = "",
    pictures: Sequence[str] = (),
    files: Sequence[str] = (),
) -> str:
    """A model card for the Hub.

    Parameters
    ----------
    config : mapping
        Of the run folder.
    encoder : bool
        Whether the model encodes and reconstructs images.
    place : str
        What ``load`` is given: ``hf-hub:owner/name``, or a folder.
    measured : str
        Markdown on what the features are worth; without it the card says that nothing was measured.
    pictures : sequence of str
        Files beside the card that it shows.
    files : sequence of str
        Sentences on other files beside it.
    """
    config = without_folders(config)
    body = card(dict(config), encoder=encoder).replace('load("this folder")', f'load("{place}")')
    title, _, rest = body.partition("\n\n")
    shown = "".join(f"\n![{_caption(name)}]({name})\n" for name in pictures)
    worth = measured or UNMEASURED.format(place=place if place.startswith("hf-hub:") else "RUN")
    more = "".join(f"\n{sentence}\n" for sentence in files)
    return f"{front_matter(config)}{title}\n{shown}\n{rest}{more}\n## What the features are worth\n\n{worth}\n"


def _caption(name: str) -> str:
    if "reconstruction" in name:
        return "Images, above what the generator makes of their codes"
    return "Samples of the generator, not chosen"


def stage(run: RunFolder, folder: Path, *, reconstructions: bool = False) -> list[str]:
    """Copy what is published of a run, but the card, into a folder; return the names of its pictures.

    Parameters
    ----------
    run : RunFolder
    folder : Path
    reconstructions : bool
        Whether the last sheet of reconstructions goes along, which shows images of the run's data.

    Raises
    ------
    InputError
        If it is no run folder, or has no weights yet, or no reconstructions that are asked for.
    """
    config = without_folders(run.config(), [run.path.absolute().parent])
    run.read_model()  # refuses absent and damaged weights
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for name in COPIED:
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, folder / name)
    sheets = [sorted(run.samples.glob(pattern)) for pattern in SHEETS]
    if reconstructions:
        sheets.append(reconstruction_sheets(run))
    pictures = []
    for found in sheets:
        if found:
            (folder / "samples").mkdir(exist_ok=True)
            shutil.copyfile(found[-1], folder / "samples" / found[-1].name)
            pictures.append(f"samples/{found[-1].name}")
    return pictures


def reconstruction_sheets(run: RunFolder) -> list[Path]:
    """Sheets that show images of the run's data, the last one last.

    Raises
    ------
    InputError
        If it has none.
    """
    found = sorted(run.samples.glob(RECONSTRUCTIONS))
    if not found:
        raise InputError(f"{run.path} has no sheet of reconstructions: leave --reconstructions out")
    return found
