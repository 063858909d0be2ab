"""A run folder on disk: settings, weights, history, samples, and the exact state of the training.

::

    RUN/
      config.json          everything needed to rebuild the model
      model.safetensors    the weights that `load` and `extract` use
      untrained.safetensors  the tapped network before its training: the baseline
      README.md            a model card
      history.jsonl        one line a logged step
      samples/step-00001234.png  a sheet of samples, always from the same z
      samples/reconstruction-step-00001234.png  with an encoder: images, the same ones, above their G(E(x))
      checkpoints/step-00001234/{state.safetensors,state.json}

Nothing is pickled. Every file but the growing history is written under a temporary name, flushed to the disk and
renamed, so a process may be killed at any moment; a checkpoint carries the SHA-256 of its tensors and of its
state, and one that does not match is passed over for the one before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ganfeat.config import differences
from ganfeat.errors import InputError, RunError
from ganfeat.files import flush_folder, replacing

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]

FORMAT = 1
KEPT_CHECKPOINTS = 2
OWN = (".lock", ".images.", "..images.")
"""Beginnings of the names of files that may be in a run folder before the run is started."""
CONTINUABLE = (
    *(
        f"estimator.{name}:"
        for name in (
            *("max_iter", "verbose", "warm_start"),
            *("device", "precision", "random_state"),  # what they came to is compared, at the top level
            *("taps", "at", "pool", "pooling"),
        )
    ),
    "data.source:",
    "ranks:",
    "threads:",
    "ganfeat:",
    "torch:",
    "estimator.convs_per_scale: None -> 1",  # of a run that is older than these settings
    "estimator.norm_epsilon: None -> 1e-05",
    "estimator.decay_iter: None -> 0",
    "estimator.mutual_information: None -> 0.0",
    "estimator.n_codes: None -> 10",
    "estimator.agreement: None -> 0.0",
    "estimator.regression: None -> 1.0",
    "estimator.views: None -> ['affine', 'affine', 'translate']",
)
"""Differences that are allowed between the start of a run and its continuation: whole lines, or all of a setting
where a line ends in a colon."""


def continuable(line: str) -> bool:
    """Whether a run may go on in spite of a difference, as :func:`~ganfeat.config.differences` words it."""
    return line in CONTINUABLE or line.startswith(tuple(c for c in CONTINUABLE if c.endswith(":")))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a ``.npy`` file whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def to_bytes(tensors: Tensors) -> bytes:
    """Tensors as the content of a safetensors file, whatever memory they share."""
    import torch
    from safetensors.torch import save

    written: Tensors = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        one = tensor.detach().cpu().contiguous(memory_format=torch.contiguous_format)
        if one.data_ptr() in places:  # networks that share layers: the format wants each tensor to have its own memory
            one = one.clone()
        places.add(one.data_ptr())
        written[name] = one
    return save(written)


def _digest(state: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in state.items() if key != "state_sha256"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def read_tensors(path: Path) -> Tensors:
    """Read a safetensors file.

    Raises
    ------
    InputError
        If it is absent or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path} is damaged or no safetensors file: {error}") from None


class RunFolder:
    """The files of one run.

    Parameters
    ----------
    path : Path or str
        Need not exist yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.history = self.path / "history.jsonl"
        self.samples = self.path / "samples"
        self.checkpoints = self.path / "checkpoints"
        self._held = False

    @property
    def exists(self) -> bool:
        """Whether a run has been started here."""
        return (self.path / "config.json").is_file()

    def config(self) -> dict[str, Any]:
        """Read ``config.json``.

        Raises
        ------
        InputError
            If this is no run folder, or one written by a later version.
        """
        path = self.path / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            there = "has no config.json" if self.path.is_dir() else "does not exist"
            raise InputError(
                f"{self.path} is not a run folder: it {there}. Train one with: ganfeat train DATA --out {self.path}"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}") from None
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise InputError(
                f"{path} is of format {config.get('format') if isinstance(config, dict) else None!r}, "
                f"this version of ganfeat reads format {FORMAT}"
            )
        return config

    def open(self, config: Mapping[str, Any]) -> bool:
        """Start a run with these settings, or find it started; return whether it was.

        Raises
        ------
        InputError
            If the folder holds a run with other settings (the message lists them), or other files.
        """
        config = json.loads(json.dumps({**config, "format": FORMAT}))
        self.refuse_foreign()
        if self.exists:
            if self.refuse_other(config) != config:
                self.write_json("config.json", config)
            return True
        for folder in (self.path, self.samples, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        self.write_json("config.json", config)
        return False

    def refuse_other(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Raise InputError, with a line for each, where the run has other settings than these; return the run's."""
        before = self.config()
        config = json.loads(json.dumps(config))
        lines = [line for line in differences(before, config) if not continuable(line)]
        if lines:
            raise InputError(
                f"{self.path} holds a run with other settings (the run's -> yours):\n  "
                + "\n  ".join(lines)
                + "\nGive those settings to continue it, or another --out to start anew."
            )
        return before

    def refuse_foreign(self) -> None:
        """Raise InputError, before anything is written, where the path is taken by something else."""
        if self.exists:
            self.config()
        elif self.path.exists() and (not self.path.is_dir() or self._foreign_files()):
            raise InputError(
                f"{self.path} exists and is no run folder: give --out a new or an empty folder, so that "
                "nothing of yours is overwritten"
            )

    def _foreign_files(self) -> bool:
        ours = {self.samples, self.checkpoints}  # empty until there is a config.json
        return any(
            (any(p.iterdir()) if p in ours and p.is_dir() else not p.name.startswith(OWN) and ".tmp-" not in p.name)
            for p in self.path.iterdir()
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process from writing to the same run; a killed process leaves no lock.

        Whoever has locked the folder may do so again with this same object.

        Raises
        ------
        InputError
            If another process is training into this folder, or it is no run folder.
        """
        self.refuse_foreign()
        if self._held:
            yield
            return
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(
                    f"another process is training into {self.path}: wait for it or give another --out"
                ) from None
            for torn in self.path.glob(".*.tmp-*"):  # of a killed process
                torn.unlink(missing_ok=True)
            self._held = True
            try:
                yield
            finally:
                self._held = False

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file atomically."""
        write_atomically(self.path / name, (json.dumps(content, indent=2) + "\n").encode())

    def write_model(self, tensors: Tensors) -> None:
        """Write ``model.safetensors``."""
        write_atomically(self.path / "model.safetensors", to_bytes(tensors))

    def read_model(self) -> Tensors:
        """Read ``model.safetensors``.

        Raises
        ------
        InputError
            If the run has no weights yet, or they are damaged.
        """
        path = self.path / "model.safetensors"
        if not path.exists():
            raise InputError(
                f"{self.path} has no weights yet: the training stopped before its first checkpoint. "
                "Run the same train command again"
            )
        return read_tensors(path)

    def write_untrained(self, tensors: Tensors) -> None:
        """Write ``untrained.safetensors``."""
        write_atomically(self.path / "untrained.safetensors", to_bytes(tensors))

    def read_untrained(self) -> Tensors | None:
        """Read ``untrained.safetensors``; None where there is none.

        Raises
        ------
        InputError
            If it is damaged.
        """
        path = self.path / "untrained.safetensors"
        return read_tensors(path) if path.exists() else None

    def write_checkpoint(self, tensors: Tensors, state: Mapping[str, Any]) -> None:
        """Write the exact state of a training and drop all but the newest two.

        ``state`` must have ``step``. The folder appears under its name only when it is complete.
        """
        target = self.checkpoints / f"step-{state['step']:08d}"
        content = to_bytes(tensors)
        state = {**state, "tensors_sha256": hashlib.sha256(content).hexdigest()}
        described = json.dumps({**state, "state_sha256": _digest(state)}).encode()
        if (target / "state.safetensors").is_file() and (target / "state.safetensors").read_bytes() == content:
            write_atomically(target / "state.json", described)  # a finished run, started again
        else:
            temporary = self.checkpoints / f".{target.name}.tmp-{os.getpid()}"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            write_atomically(temporary / "state.safetensors", content)
            write_atomically(temporary / "state.json", described)
            if target.exists():  # moved away whole: a process killed while it deletes must not leave half of it
                target.rename(temporary.with_name(f".{target.name}.tmp-before-{os.getpid()}"))
            temporary.rename(target)
            flush_folder(self.checkpoints)
        # later ones are damaged, or the run would have gone on from them
        folders = self._checkpoint_folders()
        later = [folder for folder in folders if folder.name > target.name]
        for old in [*later, *folders[len(later) + KEPT_CHECKPOINTS :]]:
            shutil.rmtree(old, ignore_errors=True)
        for torn in self.checkpoints.glob(".step-*.tmp-*"):
            shutil.rmtree(torn, ignore_errors=True)

    def _checkpoint_folders(self) -> list[Path]:
        return sorted(self.checkpoints.glob("step-*"), reverse=True) if self.checkpoints.is_dir() else []

    def newest_step(self) -> int | None:
        """The step of the newest checkpoint, whole or not; None where there is none."""
        folders = self._checkpoint_folders()
        return int(folders[0].name.removeprefix("step-")) if folders else None

    def finished(self, last: Mapping[str, Any]) -> bool:
        """Whether the training came to its end: by the newest checkpoint, or the last record of a model saved alone."""
        newest = self.newest_step()
        return bool((last["step"] if newest is None else newest) >= last["total_steps"])

    def read_checkpoint(self) -> tuple[Tensors, dict[str, Any], list[str]] | None:
        """Read the newest checkpoint that is whole.

        Returns
        -------
        tensors, state, warnings
            One warning for each damaged checkpoint that was passed over. None where there is no
            checkpoint at all.

        Raises
        ------
        RunError
            If there are checkpoints and all are damaged.
        """
        from safetensors.torch import load

        folders = self._checkpoint_folders()
        warnings: list[str] = []
        for folder in folders:
            try:
                state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
                content = (folder / "state.safetensors").read_bytes()
                if _digest(state) != state["state_sha256"]:
                    raise ValueError("the checksum of state.json does not match")
                if hashlib.sha256(content).hexdigest() != state["tensors_sha256"]:
                    raise ValueError("the checksum of state.safetensors does not match")
                return load(content), state, warnings
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                warnings.append(f"checkpoint {folder} is damaged ({error}): going back to the one before it")
        if folders:
            raise RunError(
                f"all checkpoints of {self.path} are damaged. "
                f"Remove the folder {self.checkpoints} to start this run from its beginning"
            )
        return None
