"""An estimator as a run folder, and back. Nothing is pickled."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from ganfeat import history
from ganfeat.arrays import ImageShape, Scaling
from ganfeat.checkpoint import RunFolder, Tensors, write_atomically
from ganfeat.device import resolve_device
from ganfeat.health import Health
from ganfeat.objectives.base import Objective
from ganfeat.version import __version__


class Saved:
    """The part of an estimator that knows files."""

    method: ClassVar[str]
    network: ClassVar[str]
    supervised: ClassVar[bool] = False
    """Whether it learns from labels."""
    n_iter_: int
    image_shape_: ImageShape
    scaling_: Scaling
    device_: torch.device
    precision_: str
    objective_: Objective
    history_: list[history.Record]
    health_: Health
    _integer: bool
    _drawn_seed: int
    _validation: float = 0.0
    _untrained: Tensors | None
    get_params: Callable[..., dict[str, Any]]
    set_params: Callable[..., Any]

    def _config(
        self, seed: int, precision: str, data: dict[str, Any], validation: float | None = None
    ) -> dict[str, Any]:
        validation = self._validation if validation is None else validation
        usual = type(self)().get_params(deep=False)
        return {
            "ganfeat": __version__,
            "torch": torch.__version__,
            "method": self.method,
            "estimator": {k: plain(v, like=usual[k]) for k, v in self.get_params(deep=False).items()},
            "image_shape": list(self.image_shape_),
            "scaling": dataclasses.asdict(self.scaling_) | {"integer": bool(self._integer)},
            "seed": seed,
            "device": self.device_.type,
            "threads": torch.get_num_threads() if self.device_.type == "cpu" else 0,
            "precision": precision,
            "data": data,
            **self._learned(),
            **({"validation": validation} if validation else {}),
        }

    def _learned(self) -> dict[str, Any]:
        """What the images taught before any training, without which the networks cannot be built: for config.json."""
        return {}

    def _recall(self, config: dict[str, Any]) -> None:
        """Take :meth:`_learned` of another model, or of a run."""

    def describe(self, network: str | None = None) -> str:
        """One of the networks in a few words: ``"bigan encoder, mlp, width 1024, 25 epochs"``.

        Parameters
        ----------
        network : str, optional
            By default the one that features are taken from.
        """
        check_is_fitted(self, "objective_")
        architecture = self.get_params(deep=False).get("architecture")
        return ", ".join(
            [
                f"{self.method} {network or self.network}",
                *([architecture] if architecture else []),
                f"width {self._width(network or self.network)}",
                f"{self.n_iter_} epochs",
            ]
        )

    def _width(self, network: str) -> int:
        """Maps or units of a network's first layer."""
        module = getattr(self.objective_, network)
        return len(next(module.parameters()))

    def save(self, path: Path | str) -> None:
        """Write the fitted model as a run folder: settings, weights, a model card. Nothing is pickled.

        Parameters
        ----------
        path : Path or str
            A new or empty folder, or one that this very model was saved to.

        Raises
        ------
        InputError
            If something else is there.
        """
        check_is_fitted(self, "objective_")
        folder = RunFolder(path)
        config = self._config(self._drawn_seed, self.precision_, getattr(self, "_data", {}))
        folder.open(config)
        folder.write_model(dict(self.objective_.state_dict()))
        if self._untrained is not None:
            folder.write_untrained(self._untrained)
        write_atomically(folder.path / "README.md", card(config, encoder=hasattr(self, "encoder_")).encode())
        write_atomically(folder.history, "".join(json.dumps(r) + "\n" for r in self.history_).encode())

    def push_to_hub(self, name: str, *, private: bool = False, token: str | None = None) -> str:
        """Publish the fitted model on the Hugging Face Hub: settings, weights, a model card. Nothing is pickled.

        ``load("hf-hub:owner/name")`` gives it back. The card says that nothing was measured; ``ganfeat export RUN --hub
        owner/name --results probe.json`` writes one with results.

        Parameters
        ----------
        name : str
            ``owner/name`` of a model repository, which is made where there is none.
        private : bool
            Of a new repository.
        token : str, optional
            That may write; by default the one that a person has logged in with (``hf auth login``, ``HF_TOKEN``).

        Returns
        -------
        str
            Address of the commit.

        Raises
        ------
        InputError
            If the name is none, or the repository may not be written to.
        MissingExtraError
            If huggingface_hub is not installed.
        RunError
            If the Hub cannot be reached.
        """
        import tempfile

        from ganfeat.estimators.hub import PREFIX, publish, split_name
        from ganfeat.estimators.published import published_card, stage

        check_is_fitted(self, "objective_")
        repository, _ = split_name(name)
        with tempfile.TemporaryDirectory() as temporary:
            run, folder = RunFolder(Path(temporary) / "run"), Path(temporary) / "model"
            self.save(run.path)
            pictures = stage(run, folder)
            text = published_card(
                run.config(), encoder=hasattr(self, "encoder_"), place=f"{PREFIX}{repository}", pictures=pictures
            )
            (folder / "README.md").write_text(text, encoding="utf-8")
            return publish(folder, name, private=private, token=token)

    @classmethod
    def _from_folder(cls, folder: RunFolder, config: dict[str, Any], device: str) -> Self:
        known = cls().get_params(deep=False)
        parameters = {
            k: tuple(v) if isinstance(v, list) and k != "taps" else v
            for k, v in config["estimator"].items()
            if k in known
        }
        model = cls(**parameters).set_params(device=device)
        model.image_shape_ = tuple(config["image_shape"])
        model.n_features_in_ = int(np.prod(model.image_shape_))
        model._recall(config)
        scaling = dict(config["scaling"])
        model._integer = scaling.pop("integer")
        model.scaling_ = Scaling(**scaling)
        model.device_ = resolve_device(device)
        model.history_ = history.read(folder.history)
        model.health_ = Health.of(model.history_)
        model._untrained = folder.read_untrained()
        model._data = config["data"]
        model._validation = float(config.get("validation", 0.0))
        precision = model._resolved_precision()
        model._adopt(folder.read_model(), int(config["seed"]), precision)
        last = model.history_[-1] if model.history_ else {"epoch": 0, "step": 0, "total_steps": 1}
        model.n_iter_ = max(1, round(last["epoch"])) if model.history_ else 0
        model.finished_ = folder.finished(last)
        if imported(config):
            model.n_iter_, model.finished_ = int(config["data"]["epochs"]), True
        return model


def plain(value: Any, like: Any = None) -> Any:
    """A parameter as JSON can hold it; a whole number as a float where ``like``, its usual value, is one."""
    if isinstance(like, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | bool | type(None)) else None


def imported(config: dict[str, Any]) -> bool:
    """Whether a run folder holds weights that were trained elsewhere."""
    return "imported" in (config.get("data") or {})


NAMES = {
    "dcgan": "DCGAN",
    "bigan": "BiGAN",
    "ali": "ALI model",
    "latent-regressor": "latent regressor",
    "autoencoder": "autoencoder",
    "mgan": "multi-generator GAN",
    "acgan": "auxiliary classifier GAN",
    "catgan": "categorical GAN",
}
"""What a person calls the models of the methods."""
MORE = {
    "acgan": "classes = gan.predict(images)\nones = gan.sample(64, label=gan.classes_[1])\n",
    "catgan": "clusters = gan.predict(images)\n",
}
"""Lines for the card's example, of methods that can do more."""


def card(config: dict[str, Any], *, encoder: bool = False) -> str:
    """A model card in Markdown.

    Parameters
    ----------
    config : dict
        Of the run folder.
    encoder : bool
        Whether the model encodes and reconstructs images.
    """
    height, width, channels = config["image_shape"]
    rows = "\n".join(f"| {k} | {v} |" for k, v in config["estimator"].items())
    data = config["data"]
    learned = ""
    if imported(config):
        statistics = data["statistics"]
        learned = (
            f"\n\nImported from {data['imported']}, {data['source']}. Batch-norm statistics: D's were estimated on "
            f"{statistics['discriminator']}, G's on {statistics['generator']}."
        )
    elif data:
        n = data["n"] - round(config.get("validation", 0) * data["n"])
        how = "with their" if "labels" in data else "without"
        learned = f"\n\nLearned {how} labels from {n} images ({data['source'] or 'an array'})."
    name = NAMES.get(config["method"], config["method"])
    scaling = config["scaling"]
    images = "uint8" if scaling["integer"] else f"floats {scaling['low']:g} to {scaling['high']:g},"
    if encoder:
        use = (
            f'model = load("this folder")\nfeatures = model.transform(images)  # {images} (n, {height}, {width}, '
            f"{channels})\nz = model.encode(images)  # E(x), (n, {config['estimator']['n_components']})\n"
            "pictures = model.reconstruct(images)  # G(E(x)), as model.inverse_transform(z)\n"
        )
    else:
        use = (
            f'gan = load("this folder")\nfeatures = gan.transform(images)  # {images} (n, {height}, {width}, '
            f"{channels})\npictures = gan.sample(64)\n{MORE.get(config['method'], '')}"
        )
    return (
        f"# {'An' if name[0].lower() in 'aeiou' else 'A'} {name} for {height} x {width} images of {channels} "
        f"channel(s){learned}\n\n```python\nfrom ganfeat import load\n\n{use}```\n\n"
        f"Made by ganfeat {config['ganfeat']}, torch {config['torch']}, precision {config['precision']}, "
        f"seed {config['seed']}.\n\n| setting | value |\n|---|---|\n{rows}\n"
    )
