"""Model cards with what was measured in them: tables beside the baselines, under the protocol that made them.

A *protocol card* says how a number came about: which labels, how often drawn, how C was chosen, what the interval
covers. ``ganfeat probe --json``, ``compare`` and ``theory`` write one beside their numbers; here both become Markdown.
Where nothing was measured the model card says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganfeat.checkpoint import RunFolder
from ganfeat.config import FEATURE_SETS
from ganfeat.errors import InputError
from ganfeat.estimators.places import without_folders
from ganfeat.estimators.published import published_card
from ganfeat.report.comparison import comparison_table, sentences
from ganfeat.report.theory import part_in_words, verdicts

NOT_OF_THE_PROTOCOL = ("rows", "skipped", "fingerprint", "image_shape", "dtype", "classes")
"""Of a card of features, what says nothing on how they were measured."""
SPREAD = "1.96 standard deviations"
"""How the interval of the papers' protocols begins."""


def kind_of(result: Any) -> str | None:
    """``probe``, ``compare`` or ``theory``, by the fields that only these write; None of anything else."""
    if not isinstance(result, Mapping):
        return None
    if {"rows", "networks", "best_layer", "protocol"} <= set(result):
        return "compare"
    if {"claims", "run", "settings"} <= set(result):
        return "theory"
    return "probe" if {"accuracy", "labels_per_class", "protocol"} <= set(result) else None


def read_results(paths: Sequence[Path | str]) -> dict[str, dict[str, Any]]:
    """Read files of results.

    Returns
    -------
    dict
        The file's name to its content.

    Raises
    ------
    InputError
        If one cannot be read or is no result of ``probe``, ``compare`` or ``theory``, or a damaged one; or two have the
        same name.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in map(Path, paths):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"--results {path} cannot be read: {error.strerror}") from None
        except ValueError:
            raise InputError(f"--results {path} is no JSON") from None
        if kind_of(result) is None:
            raise InputError(
                f"--results {path} holds no result: give what `ganfeat probe --json`, `ganfeat compare --out` or "
                "`ganfeat theory` wrote"
            )
        if not _is_whole(result):
            raise InputError(f"--results {path} is damaged, or of another version of ganfeat: measure again")
        if path.name in found:
            raise InputError(f"--results has two files of the name {path.name}: rename one")
        found[path.name] = result
    return found


def results_in(run: RunFolder) -> list[Path]:
    """Files of results that lie in a run folder, or in a folder in it."""
    found = []
    for path in sorted([*run.path.glob("*.json"), *run.path.glob("*/*.json")]):
        if path.name != "config.json" and path.parent != run.samples and run.checkpoints not in path.parents:
            try:
                result = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if kind_of(result) is not None and _is_whole(result):
                found.append(path)
    return found


def _is_whole(result: Mapping[str, Any]) -> bool:
    """Whether a card can be written of it."""
    try:
        _BLOCKS[str(kind_of(result))](without_folders(result))
        _runs_of(result)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return False
    return True


def refuse_others(results: Mapping[str, Mapping[str, Any]], run: RunFolder) -> None:
    """Refuse results that say that they are of another run, where that can be told.

    Raises
    ------
    InputError
        If all the runs that a result names are there and hold other weights.
    """
    weights = (run.path / "model.safetensors").read_bytes()
    for name, result in results.items():
        named = [RunFolder(str(r)) for r in _runs_of(result)]
        there = [r for r in named if (r.path / "model.safetensors").is_file()]
        if there and len(there) == len(named):
            if all((r.path / "model.safetensors").read_bytes() != weights for r in there):
                raise InputError(
                    f"--results {name} is of {', '.join(str(r.path) for r in there)}, which holds other weights than "
                    f"{run.path}: give results of this run"
                )


def _runs_of(result: Mapping[str, Any]) -> list[Any]:
    """The run folders that a result names."""
    if kind_of(result) == "compare":
        return [network["run"] for network in result["networks"] if network.get("run")]
    named = result.get("run") or (result.get("protocol") or {}).get("run")
    return [named] if named else []


def model_card(
    run: RunFolder | Path | str,
    results: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    place: str = "this folder",
    pictures: Sequence[str] = (),
    files: Sequence[str] = (),
) -> str:
    """A run's model card for the Hub, with what was measured.

    Parameters
    ----------
    run : RunFolder or path
    results : mapping, optional
        As :func:`read_results` gives it.
    place : str
        What ``load`` is given in its example.
    pictures, files : sequence of str
        As for :func:`ganfeat.estimators.published.published_card`.

    Returns
    -------
    str
        Markdown, with front matter.
    """
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    config = run.config()
    parents = [run.path.absolute().parent]
    blocks = [_BLOCKS[str(kind_of(result))](without_folders(result, parents)) for result in (results or {}).values()]
    measured = "\n\n".join(
        f"{block}\n\nAll of it: [results/{name}](results/{name})."
        for name, block in zip(results or {}, blocks, strict=True)
    )
    encoder = "encoder" in _networks(config)
    return published_card(config, encoder=encoder, place=place, measured=measured, pictures=pictures, files=files)


def _networks(config: Mapping[str, Any]) -> tuple[str, ...]:
    from ganfeat.estimators import METHODS

    method = METHODS.get(str(config["method"]))
    return () if method is None else ("discriminator", method.network)


def _probe(result: Mapping[str, Any]) -> str:
    """Accuracy against the number of labels, and its protocol."""
    counts = [str(k) for k in result["labels_per_class"]]
    protocol = result["protocol"]
    spread = str(protocol.get("interval", "")).startswith(SPREAD)
    rows = [
        [_name(name, protocol), *(_percent(curve.get(k), spread) for k in counts)]
        for name, curve in sorted(result["accuracy"].items(), key=_weakest_first)
    ]
    rows[-1] = [f"**{cell}**" for cell in rows[-1]] if "ganfeat" in result["accuracy"] else rows[-1]
    table = _table(["accuracy in %, by labels per class", *counts], rows)
    absent = [name for key, name in FEATURE_SETS.items() if key not in result["accuracy"]]
    parts = ["### Accuracy of a linear classifier on the features", table]
    if absent:
        parts.append(f"Not measured beside it: {', '.join(absent)}.")
    size = " and ".join(
        f"{result[key]:,} {word} images" for key, word in (("train", "training"), ("test", "test")) if key in result
    )
    command = result.get("command")
    about = ([f"{size}."] if size else []) + ([f"Command: `{command}`."] if command else [])
    return "\n\n".join([*parts, *([" ".join(about)] if about else []), _protocol(protocol)])


def _weakest_first(item: tuple[str, Any]) -> int:
    order = list(FEATURE_SETS)
    return order.index(item[0]) if item[0] in order else len(order) - 1


def _name(key: str, protocol: Mapping[str, Any]) -> str:
    if key == "random_init":
        return "the same network, untrained"
    if key != "ganfeat":
        return FEATURE_SETS.get(key, key.replace("_", " "))
    return str(protocol.get("network") or "this model")


def _percent(point: Mapping[str, Any] | None, spread: bool) -> str:
    if point is None:
        return "–"
    half = 1.96 * point["std"] if spread and point.get("draws", 1) > 1 else point.get("ci95")
    return f"{100 * point['mean']:.1f}" + ("" if half is None else f" ± {100 * half:.1f}")


def _compare(result: Mapping[str, Any]) -> str:
    """Every layer of every network, and the baselines."""
    headings, rows = comparison_table(result)
    said = "\n".join(f"- {sentence.removeprefix('* ')}" for sentence in sentences(result))
    best = "`*` marks the best row. Numbers are for the runs as they are named in the command."
    command = f"\n\nCommand: `{result['command']}`." if result.get("command") else ""
    return "\n\n".join(
        [
            "### Layers and networks compared",
            _table(headings, rows),
            f"{best}{command}",
            said,
            _protocol(result["protocol"]),
        ]
    )


def _theory(result: Mapping[str, Any]) -> str:
    """What is claimed of discriminators, measured on this one."""
    parts = [f"- {claim['title']}. {part_in_words(part)}" for claim in result["claims"] for part in claim["parts"]]
    command = f"Command: `{result['command']}`." if result.get("command") else ""
    images = {f"images: {key}": value for key, value in (result.get("images") or {}).items()}
    return "\n\n".join(
        part
        for part in (
            "### Claims on discriminators as feature extractors, measured",
            _table(["claim", "verdict"], verdicts(result)),
            "\n".join(parts),
            command,
            _protocol({**result["settings"], **images}),
        )
        if part
    )


_BLOCKS = {"probe": _probe, "compare": _compare, "theory": _theory}


def _protocol(protocol: Mapping[str, Any]) -> str:
    """The protocol card, folded."""
    rows = [[key, _words(value)] for key, value in protocol.items() if key not in NOT_OF_THE_PROTOCOL]
    return f"<details><summary>Protocol</summary>\n\n{_table(['', ''], rows)}\n\n</details>"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_words(v)}" for key, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return "–" if value is None else str(value)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(_lines(headings, rows))


def _lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _line(headings)
    yield _line(["---"] * len(headings))
    for row in rows:
        yield _line(row)


def _line(cells: Sequence[str]) -> str:
    escaped = (" ".join(str(cell).split()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
