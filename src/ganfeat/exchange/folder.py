"""A run as a folder that is ready for the Hub: whole or not at all."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganfeat.checkpoint import RunFolder
from ganfeat.errors import InputError
from ganfeat.estimators.hub import PREFIX, publish, split_name
from ganfeat.estimators.places import without_folders
from ganfeat.estimators.published import stage
from ganfeat.exchange.card import model_card, refuse_others
from ganfeat.files import flush_folder


def write_folder(
    run: Path | str,
    out: Path | str,
    *,
    results: Mapping[str, Mapping[str, Any]] | None = None,
    onnx: Mapping[str, Any] | None = None,
    place: str = "",
    reconstructions: bool = False,
) -> list[str]:
    """Write what is published of a run into a new folder: settings, weights, card, results, the last sheet of samples.

    ``ganfeat.load`` reads it as any run folder. No image that the run learned from is in it.

    Parameters
    ----------
    run : Path or str
        A run folder.
    out : Path or str
        New or empty. It appears under its name when it is complete.
    results : mapping, optional
        As :func:`~ganfeat.exchange.card.read_results` gives it, for the card.
    onnx : mapping, optional
        An ONNX file that goes with it, as :func:`~ganfeat.exchange.export_onnx` or ``export_generator`` tells of it.
    place : str
        What the card's example loads; by default the folder's name.
    reconstructions : bool
        Add the last sheet of reconstructions. It shows images of the run's data.

    Returns
    -------
    list of str
        What was written, relative to the folder.

    Raises
    ------
    InputError
        If ``run`` is no run folder or has no weights, ``out`` is taken, or results are of another run.
    """
    source, out = RunFolder(run), Path(out).absolute()
    refuse_taken(out)
    source.config()
    if results:
        source.read_model()
        refuse_others(results, source)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _fill(source, temporary, results or {}, onnx, place or out.name, reconstructions)
        written = sorted(p.relative_to(temporary).as_posix() for p in temporary.rglob("*") if p.is_file())
        if out.is_dir():
            out.rmdir()  # empty
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    flush_folder(out.parent)
    return written


def push_folder(
    run: Path | str,
    name: str,
    *,
    private: bool = False,
    token: str | None = None,
    results: Mapping[str, Mapping[str, Any]] | None = None,
    onnx: Mapping[str, Any] | None = None,
    reconstructions: bool = False,
) -> str:
    """Publish a run on the Hub, as :func:`write_folder` writes it; return the commit's address.

    Parameters
    ----------
    run : Path or str
    name : str
        ``owner/name``.
    private, token
        As for :meth:`ganfeat.DCGAN.push_to_hub`.
    results, onnx, reconstructions
        As for :func:`write_folder`.
    """
    repository, _ = split_name(name)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        place = f"{PREFIX}{repository}"
        write_folder(run, out, results=results, onnx=onnx, place=place, reconstructions=reconstructions)
        return publish(out, name, private=private, token=token)


def refuse_taken(out: Path) -> None:
    """Raise InputError where something is in the way."""
    if out.exists() and out.samefile(Path.cwd()):
        raise InputError(f"{out} is the folder that you are in: name a new folder in it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not empty: name a new folder, so that nothing of yours is overwritten")


def _fill(
    run: RunFolder,
    folder: Path,
    results: Mapping[str, Mapping[str, Any]],
    onnx: Mapping[str, Any] | None,
    place: str,
    reconstructions: bool,
) -> None:
    pictures = stage(run, folder, reconstructions=reconstructions)
    files = []
    if onnx is not None:
        name = Path(onnx["onnx"]).name
        shutil.copyfile(onnx["onnx"], folder / name)
        files.append(_about(name, onnx))
    if results:
        (folder / "results").mkdir()
    for name, result in results.items():
        text = json.dumps(_finite(without_folders(result, [run.path.absolute().parent])), indent=2) + "\n"
        (folder / "results" / name).write_text(text, encoding="utf-8")
    card = model_card(run, results, place=place, pictures=pictures, files=files)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _finite(value: Any) -> Any:
    """With null for what JSON has no number for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value


def _about(name: str, onnx: Mapping[str, Any]) -> str:
    """What the card says of an ONNX file."""
    given, gives = (
        f"`{one['name']}`, `{one['dtype']}` ({', '.join(map(str, one['shape']))})"
        for one in (onnx["input"], onnx["output"])
    )
    taps = f", of the layers {', '.join(onnx['taps'])}" if "taps" in onnx else ""
    parity = onnx["parity"]
    return (
        f"[{name}]({name}) needs no PyTorch: {given} in, {gives} out{taps}, under any runtime for ONNX of opset "
        f"{onnx['opset']}. Under onnxruntime it was at most {parity['difference']:.1e} from PyTorch's float32, on "
        f"{parity['images']} inputs with results up to {parity['largest']:.3g}."
    )
