"""What of a run folder is published, and the model card that goes with it.

Published is what rebuilds the model: settings, weights, the untrained network, the history, the last sheet of samples.
Checkpoints, event files and explorations stay; paths of the person's machine are reduced to their last part.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganfeat.checkpoint import RunFolder
from ganfeat.estimators.saved import card

UNMEASURED = (
    "Not measured: no results were given when this card was written. To measure them beside raw pixels, PCA and the "
    "same network untrained:\n\n```sh\nganfeat extract {place} DATA --out features.npy\n"
    "ganfeat probe features.npy features.labels.npy\n```"
)
COPIED = ("model.safetensors", "untrained.safetensors", "history.jsonl")
SHEETS = ("imported*.png", "step-*.png", "reconstruction-step-*.png")
FOLDERS = re.compile(r"(?<![\w.:/~])(?:~|[A-Za-z]:)?[/\\](?:[^\s'\",;:/\\]+[/\\])+(?=[^\s/\\])")


def without_folders(value: Any) -> Any:
    """JSON with every absolute path in its texts reduced to the last part.

    >>> without_folders({"run": "/home/me/runs/photos", "n": 3, "command": "ganfeat probe /tmp/a/f.npy runs/l.npy"})
    {'run': 'photos', 'n': 3, 'command': 'ganfeat probe f.npy runs/l.npy'}
    """
    if isinstance(value, str):
        return FOLDERS.sub("", value)
    if isinstance(value, Mapping):
        return {key: without_folders(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(v) for v in value]
    return value


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


def stage(run: RunFolder, folder: Path) -> list[str]:
    """Copy what is published of a run, but the card, into a folder; return the names of its pictures.

    Raises
    ------
    InputError
        If it is no run folder, or has no weights yet.
    """
    config = without_folders(run.config())
    run.read_model()  # refuses absent and damaged weights
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for name in COPIED:
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, folder / name)
    pictures = []
    for pattern in SHEETS:
        found = sorted(run.samples.glob(pattern))
        if found:
            (folder / "samples").mkdir(exist_ok=True)
            shutil.copyfile(found[-1], folder / "samples" / found[-1].name)
            pictures.append(f"samples/{found[-1].name}")
    return pictures
