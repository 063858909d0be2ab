"""What all estimators share: fitting, transforming, drawing."""

from __future__ import annotations

import dataclasses
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as unpack
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from ganfeat import arrays, health, history
from ganfeat.arrays import ImageShape, Scaling
from ganfeat.checkpoint import RunFolder, Tensors, to_bytes, write_atomically
from ganfeat.config import require
from ganfeat.data import ImageDataset
from ganfeat.device import keep_threads, resolve_device, resolve_precision
from ganfeat.distributed.team import Team, team
from ganfeat.errors import InputError
from ganfeat.estimators.checkup import LEAST_MEASURED, Checkup
from ganfeat.estimators.drawing import Drawing
from ganfeat.estimators.monitor import Monitor, Rows, hold_out
from ganfeat.estimators.saved import Saved, card, imported, plain
from ganfeat.features import FeatureExtractor, Taps
from ganfeat.health import Health, HealthWarning
from ganfeat.nets.blocks import initialise, narrowest_input
from ganfeat.objectives.base import Objective
from ganfeat.objectives.encoding import EncodingObjective
from ganfeat.training import LoopSettings, Trainer, check_parts

USUAL_EPOCHS = 25
LEAST_STEPS = 3000
COMPARED = 1000
"""About how many images processes compare, to be sure that all read the same ones."""
NETWORKS = ("encoder", "generator", "discriminator", "classifier")
"""Attributes of an objective that a fitted estimator shows, with a ``_`` behind."""


class GANEstimator(Drawing, Saved, TransformerMixin, BaseEstimator, ABC):
    """What all estimators share; subclasses say their parameters and build their objective.

    ``network`` names the tapped network of the objective whose layers are the features.
    """

    network: ClassVar[str] = "discriminator"
    usual_taps: ClassVar[dict[str, str]] = {"encoder": "output", "discriminator": "all"}
    """Which layers of a network the command line takes, where it is not told."""

    @abstractmethod
    def _objective(self, image_shape: ImageShape) -> Objective:
        """A new objective for images of this shape."""

    # ------------------------------------------------------------------ scikit-learn

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _validated(self, X: Any, *, reset: bool) -> NDArray[Any]:
        """Images ``(n, h, w, c)``: ``uint8``, or ``float32`` in the networks' [-1, 1]."""
        if isinstance(X, str | Path):
            raise InputError(f"X is a path: read the images first, load_images({str(X)!r})")
        array = getattr(X, "images", X)
        if getattr(array, "ndim", 0) not in (3, 4):
            array = validate_data(self, array, reset=reset, dtype="numeric", ensure_min_samples=1)
            shape = arrays.resolve_image_shape(array.shape[1], self.image_shape) if reset else self.image_shape_
        else:
            array = array if isinstance(array, np.ndarray) else np.asarray(array)
            array = array[..., None] if array.ndim == 3 else array
            if len(array) == 0:
                raise InputError("there are 0 images: at least 2 are needed")
            if array.shape[1] in (1, 3, 4) and array.shape[2] == array.shape[3] > 4:
                raise InputError(
                    f"images {array.shape} look like channels first: give (n, height, width, channels), "
                    "images.transpose(0, 2, 3, 1)"
                )
            if not arrays.all_finite(array):
                raise InputError("images have NaN or infinite pixels: remove or replace them first")
            shape = array.shape[1:] if reset else self.image_shape_
        images = arrays.as_images(array, shape)
        if reset:
            self.image_shape_: ImageShape = (int(shape[0]), int(shape[1]), int(shape[2]))
            self.n_features_in_ = int(np.prod(shape))
            self.scaling_ = Scaling.learn(images)
            self._integer = images.dtype == np.uint8
        if not reset and (images.dtype == np.uint8) != self._integer:
            fitted = (
                "uint8 images, 0..255" if self._integer else f"values {self.scaling_.low:g}..{self.scaling_.high:g}"
            )
            raise InputError(f"the model was fitted on {fitted}, and these are {images.dtype}: give it the same kind")
        return images if self._integer else self.scaling_.to_networks(images)

    def _targets(self, X: Any, y: Any, n_images: int, *, reset: bool) -> NDArray[np.int64] | None:
        """What the training may know of the images' labels, -1 for an unknown one; by default nothing at all."""
        return None

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """``layer:stage[channel,row,column]`` for every feature.

        Returns
        -------
        ndarray of str ``(n_features,)``
        """
        check_is_fitted(self, "objective_")
        return self.extractor().get_feature_names_out()

    # ------------------------------------------------------------------ fit

    def fit(self, X: Any, y: Any = None, *, run: Path | str | None = None) -> Self:
        """Learn from images, without labels.

        Parameters
        ----------
        X : array or ImageDataset
            Images ``(n, height, width, channels)``, or rows ``(n, height * width * channels)``.
            ``uint8`` is 0..255; the range of other types is learned from X.
        y : ignored
        run : Path or str, optional
            Run folder for checkpoints, history and samples. If it holds the same run, unfinished, the
            training goes on from its newest checkpoint.

        Returns
        -------
        self

        Raises
        ------
        InputError
            If a parameter, the images, or the run folder do not fit.
        RunError
            If the training diverged.

        Warns
        -----
        HealthWarning
            If the generator falls into mode collapse, as :mod:`ganfeat.health` tells it.
        """
        for record in self.iter_fit(X, y, run=run):
            self._warn_of_health()
            if self.verbose:
                losses = "  ".join(f"{k} {v:.3f}" for k, v in record.items() if "/" in k)
                print(f"epoch {record['epoch']:.2f}  {losses}  {record['images_per_second']:.0f} images/s")
        return self

    def iter_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        run: Path | str | RunFolder | None = None,
        log_every: int = 10,
        checkpoint_seconds: float = 60.0,
        sheets: int = 20,
        tensorboard: bool = False,
        evaluations: int = 10,
        validation: float = 0.0,
        stop_on_collapse: bool = False,
        sync_bn: bool = False,
    ) -> Iterator[history.Record]:
        """Fit, step by step: yields the records of :meth:`ganfeat.training.Trainer.run`.

        The model is fitted when the iterator ends, so end it early with :meth:`request_stop`, which also writes a
        checkpoint; an iterator that is dropped leaves the estimator as it was.

        Parameters
        ----------
        X, y, run
            As in :meth:`fit`; the folder may also be a :class:`~ganfeat.checkpoint.RunFolder`, locked already.
        log_every : int
            Steps between two records.
        checkpoint_seconds : float
            Seconds between two checkpoints in ``run``.
        sheets : int
            Sample sheets in ``run`` over the whole training; with an encoder, sheets of reconstructions beside them.
        tensorboard : bool
            Write TensorBoard's event files to ``run``.
        evaluations : int
            Records over the whole training, at equal distances and at its end, that also say whether G's samples cover
            the images (:class:`~ganfeat.estimators.checkup.Checkup`; ``health_`` says which alarms are up) and, where
            there is an encoder, how well it and G invert each other and, if X is an
            :class:`~ganfeat.data.ImageDataset` with labels and some images are held out, how its features' nearest
            neighbours are labelled (:class:`~ganfeat.estimators.monitor.Monitor`); 0 for none. They change nothing in
            the training.
        validation : float
            Share of the images that the training never sees, drawn by the seed; what is measured is measured on them,
            and on training images where it is 0. (The range of images that are not ``uint8`` is learned from all.)
        stop_on_collapse : bool
            End as :meth:`request_stop` does at an evaluation with an alarm up; without it, the same call goes on.
        sync_bn : bool
            Where several processes train together (:func:`ganfeat.distributed.team.joined`), let batch norms take their
            statistics over the parts of all, not over each alone. One process trains as without it.
        """
        starts = not (self.warm_start and hasattr(self, "objective_"))
        images = self._validated(X, reset=starts)
        targets = self._targets(X, y, len(images), reset=starts)
        folder = run if run is None or isinstance(run, RunFolder) else RunFolder(run)
        if self.warm_start and folder is not None:
            raise InputError(
                "warm_start goes on with the model in memory, run= with the one in the folder: use one of them"
            )
        before = self._before() if self.warm_start else None
        ours = team()
        seed = ours.told(lambda: self._seed(folder))
        if validation and self.network != "encoder":
            raise InputError(
                f"validation={validation!r} holds images out to measure how an encoder does, and {self.method} has "
                "none: leave it out"
            )
        # what a warm start goes on with has not seen the images that it held out before, if it held out as many
        training, held_out = hold_out(len(images), validation, seed if before is None else self._drawn_seed)
        settings = self._loop_settings(
            len(training),
            seed,
            log_every=log_every,
            checkpoint_seconds=checkpoint_seconds,
            sheets=sheets,
            evaluations=evaluations,
            sync_bn=sync_bn,
        )
        if ours.size > 1:
            check_parts(settings.batch_size, len(training), ours.size)
            self._check_alike(images, targets, ours)
        if stop_on_collapse:
            self._check_collapse_can_be_told(evaluations, len(training))
        labels = X.labels if isinstance(X, ImageDataset) else None
        playing: dict[str, Any] = {
            "split": (training, held_out),
            "labels": labels,
            "targets": targets,
            "stop_on_collapse": stop_on_collapse,
        }
        self._check_network()
        if folder is None:
            if before is None:
                self._data: dict[str, Any] = {}
            yield from self._train(images, settings, None, before=before, **playing)
            self._validation = float(validation)
            return
        if ours.is_main and folder.exists and imported(folder.config()):
            raise InputError(
                f"{folder.path} holds imported weights, without the state of their training, so they cannot be trained "
                "on: give --out (run=) another folder to train a network of your own"
            )
        if len(images) < 2:
            raise InputError(f"n_samples={len(images)}: a network needs at least 2 images to learn from")

        def described() -> dict[str, Any]:
            return {
                "source": str(getattr(X, "source", "")),
                "n": len(images),
                "fingerprint": arrays.fingerprint(images),
                **({} if targets is None else {"labels": arrays.fingerprint(targets)}),
            }

        # all pixels are read for it, which may take longer than a message may: the others wait in turn
        found = ours.in_turn(not ours.is_main, lambda: described() if ours.is_main else None)
        self._data = ours.told(lambda: found)
        if self.device_.type == "cpu":
            begun = ours.told(lambda: folder.config() if folder.exists and folder.newest_step() is None else {})
            if int(begun.get("ranks", 1)) == ours.size:
                keep_threads(int(begun.get("threads", torch.get_num_threads())))
        config = self._config(settings.seed, settings.precision, self._data, float(validation))
        config |= {**({"ranks": ours.size} if ours.size > 1 else {}), **({"sync_bn": True} if sync_bn else {})}
        with self._opened(folder, config, ours):
            yield from self._train(images, settings, folder, tensorboard=tensorboard, **playing)
            self._validation = float(validation)

    def _check_alike(self, images: NDArray[Any], targets: NDArray[np.int64] | None, ours: Team) -> None:
        """Refuse processes that cannot train together: on a device that they do not share, or on other images.

        Of the images, about 1,000 are compared, evenly spaced: reading all of them would take each process long.
        """
        if ours.size == 1:
            return
        ours.check_device(self.device_)
        step = -(-len(images) // COMPARED)
        sample = arrays.fingerprint(np.ascontiguousarray(images[::step]))[:16]
        labels = None if targets is None else arrays.fingerprint(targets)[:16]
        same = {"shape": list(images.shape), "type": str(images.dtype), "digest": sample, "labels": labels}
        ours.agree("the images that they read", same)

    def check_continues(
        self, folder: RunFolder, *, size: int | None, channels: int | None, validation: float, sync_bn: bool
    ) -> None:
        """Refuse to go on with a run of other settings before any image is read, as far as that can be told.

        Parameters
        ----------
        folder : RunFolder
            Need not exist.
        size, channels : int, optional
            That the images are asked for with.
        validation, sync_bn
            As for :meth:`iter_fit`.

        Raises
        ------
        InputError
            With the settings that differ.
        """
        if not folder.exists:
            return
        before = folder.config()
        if imported(before):
            return  # that is refused in words of its own
        usual = type(self)().get_params(deep=False)
        height, width, depth = before["image_shape"]
        known: dict[str, Any] = {
            "method": self.method,
            "estimator": {k: plain(v, like=usual[k]) for k, v in self.get_params(deep=False).items()},
            "image_shape": [size or height, size or width, channels or depth],
            "validation": validation or None,
            "sync_bn": sync_bn or None,
            **({"seed": self.random_state} if isinstance(self.random_state, int) else {}),
        }
        folder.refuse_other({**before, **known})

    @contextmanager
    def _opened(self, folder: RunFolder, config: dict[str, Any], ours: Team) -> Iterator[None]:
        """Lock the run folder and start it, or find it started; of several processes the first one does."""
        with folder.locked() if ours.is_main else nullcontext():
            if ours.is_main:
                folder.open(config)
                write_atomically(folder.path / "README.md", card(config, encoder=self.network == "encoder").encode())
            ours.told(lambda: True)
            yield

    def _check_collapse_can_be_told(self, evaluations: int, n_images: int) -> None:
        """Refuse to stop at an alarm where none could go up."""
        if evaluations < health.IN_A_ROW:
            raise InputError(f"stop_on_collapse with evaluations={evaluations}: at least {health.IN_A_ROW} are needed")
        if n_images < 2 * LEAST_MEASURED:
            raise InputError(
                f"stop_on_collapse needs at least {2 * LEAST_MEASURED} images to tell a collapse by, and there are "
                f"{n_images}: leave it out"
            )
        with torch.device("meta"):
            has_discriminator = "discriminator" in self._objective(self.image_shape_).taps()
        if not has_discriminator:
            raise InputError(
                f"stop_on_collapse is for methods with a discriminator, which {self.method} has not: leave it out"
            )

    def check_parameters(self) -> None:
        """Refuse wrong parameters before anything else is done, as :meth:`fit` would after reading the images.

        Raises
        ------
        InputError
            The message names the parameter and what it may be.
        """
        model = clone(self)
        model.image_shape_ = model._some_shape()  # what depends on the images' own is refused when they are known
        with torch.device("meta"):
            model._objective(model.image_shape_)
        model._seed(None)
        model._loop_settings(2, seed=0, **({} if self.max_iter is not None else {"decay_iter": 0}))

    def _some_shape(self) -> ImageShape:
        """Images of which the parameters make networks, if of any."""
        return (32, 32, 3)

    def random_init(self, X: Any = None, random_state: int | None = None) -> Self:
        """The same network before any training: the baseline to beat.

        Parameters
        ----------
        X : array or ImageDataset, optional
            Images to estimate the batch norms' statistics on. By default this very network as it was before
            its training, with the statistics of its training images, which it keeps.
        random_state : int, optional
            Seed of other weights; needs X.

        Returns
        -------
        A new estimator; this one is not touched.

        Raises
        ------
        InputError
            If X is left out and there is nothing kept, or with a ``random_state``.
        """
        check_is_fitted(self, "objective_")
        model = clone(self).set_params(warm_start=False)
        model._recall(self._learned())
        model.set_params(random_state=self._drawn_seed if random_state is None else random_state)
        model.history_, model.health_, model.n_iter_, model.finished_ = [], Health(), 0, False
        if X is not None:
            images = model._validated(X, reset=True)
            settings = model._loop_settings(len(images), model._seed(None), decay_iter=0)
            trainer = Trainer(model._new_objective(settings.seed), images, settings, model.device_)
            tensors = trainer.trained()
        else:
            if self._untrained is None or random_state is not None:
                raise InputError("say which images to estimate the batch norms on: random_init(images)")
            for name in ("image_shape_", "n_features_in_", "scaling_", "_integer", "device_"):
                setattr(model, name, getattr(self, name))
            tensors = {**model._new_objective(self._drawn_seed).state_dict(), **self._untrained}
        model._adopt(tensors, model._seed(None), self.precision_)
        model._untrained = model._tapped(tensors)
        return model

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Go on with one more epoch, on these images; the first call starts.

        Parameters
        ----------
        X : array or ImageDataset
            As in :meth:`fit`; must have the shape of the first call's.
        y : array, optional
            As in :meth:`fit`.

        Returns
        -------
        self
        """
        started, before = hasattr(self, "objective_"), self._before()
        images = self._validated(X, reset=not started)
        targets = self._targets(X, y, len(images), reset=not started)
        # who calls once more decides when it ends: the learning rate does not fall
        settings = self._loop_settings(len(images), self._seed(None), evaluations=1, decay_iter=0)
        settings = dataclasses.replace(settings, max_iter=1)
        if not started:
            self._check_network()
        self._check_alike(images, targets, team())
        enough = len(images) // min(self.batch_size, len(images)) >= health.LEAST_APART  # a check costs some steps
        for _ in self._train(images, settings, None, before=before, targets=targets, checked=enough):
            self._warn_of_health()
        self._validation = 0.0
        return self

    def _warn_of_health(self) -> None:
        """Warn of the alarms that went up."""
        for alarm in self.health_.news():
            warnings.warn(alarm.message, HealthWarning, stacklevel=3)

    def _before(self) -> tuple[Tensors, dict[str, Any]] | None:
        """The state at the end of the training before, if there was one."""
        state: tuple[Tensors, dict[str, Any]] | None = getattr(self, "_training", None)
        if state is None and hasattr(self, "objective_") and self.n_iter_:
            raise InputError(
                "this model was loaded, without the state of its optimisers, so it cannot go on: "
                "continue a run folder with fit(images, run=FOLDER) and a larger max_iter"
            )
        return state

    def _check_network(self) -> None:
        """Refuse wrong settings of the networks and the taps before a training, not after it."""
        with torch.random.fork_rng(devices=[]):
            network = self._objective(self.image_shape_).taps()[self.network]
        wanted = {name: getattr(self, name) for name in ("taps", "at", "pool", "pooling")}
        wanted["taps"] = self._named(network, self.taps)
        extractor = FeatureExtractor(network, **wanted, bn="eval", device="cpu", precision="fp32")
        extractor.fit(np.zeros((2, *self.image_shape_), np.uint8))

    def _named(self, network: nn.Module, taps: Taps) -> Taps:
        """Taps by names that the network knows; estimators may know others for the same layers."""
        return taps

    def request_stop(self) -> bool:
        """End a running :meth:`iter_fit` after the step in progress. Safe in a signal handler.

        Returns
        -------
        bool
            Whether anything is running.
        """
        trainer = getattr(self, "_trainer", None)
        if trainer is None:
            return False
        trainer.request_stop()
        return True

    def _seed(self, folder: RunFolder | None) -> int:
        if self.random_state is None:
            if folder is not None and folder.exists:
                return int(folder.config()["seed"])
            return self._draw_seed()
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31 - 1))
        if isinstance(self.random_state, np.random.Generator):
            return int(self.random_state.integers(2**31 - 1))
        require("random_state", self.random_state, int, least=0, below=2**62)
        return int(self.random_state)

    def _draw_seed(self) -> int:
        return int(np.random.default_rng().integers(1, 2**31 - 1))

    def _epochs(self, n_images: int) -> int:
        """``max_iter``, or enough epochs for a network to learn something from a small set."""
        require("batch_size", self.batch_size, int, least=2)
        if self.max_iter is not None:
            return self.max_iter
        steps = max(1, n_images // min(self.batch_size, n_images))
        return max(USUAL_EPOCHS, math.ceil(LEAST_STEPS / steps))

    def _loop_settings(self, n_images: int, seed: int, **changes: Any) -> LoopSettings:
        self.device_ = resolve_device(self.device)
        require("decay_iter", self.decay_iter, int, least=0)
        settings: dict[str, Any] = {
            "max_iter": self._epochs(n_images),
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "betas": (self.beta1, 0.999),
            "weight_decay": self.weight_decay,
            "decay_iter": self.decay_iter,
            "ema": self.ema,
            "seed": seed,
            "precision": self._resolved_precision(),
        }
        return LoopSettings(**{**settings, **changes})

    def _resolved_precision(self) -> str:
        precision = resolve_precision(self.precision, self.device_)
        if precision == "bf16" and self.device_.type == "cpu":
            for height, width, _ in self._halved():
                if narrowest_input(height, width) >= 2:
                    continue
                # oneDNN's bf16 weight gradients are wrong, up to infinite, for maps one pixel wide (torch 2.13)
                if self.precision == "bf16":
                    raise InputError(
                        f"images of {height} x {width} shrink to one pixel, where bf16 gradients are wrong on the CPU: "
                        "use precision='auto' or 'fp32'"
                    )
                return "fp32"
        return precision

    def _halved(self) -> list[ImageShape]:
        """Shapes of the images that networks halve by strided convolutions, as DCGAN's do."""
        return [self.image_shape_]

    def _new_objective(self, seed: int) -> Objective:
        with torch.random.fork_rng(devices=[]):
            objective = self._objective(self.image_shape_)
        initialise(objective, torch.Generator().manual_seed(seed))
        return objective

    def _train(
        self,
        images: NDArray[Any],
        settings: LoopSettings,
        folder: RunFolder | None,
        *,
        before: tuple[Tensors, dict[str, Any]] | None = None,
        tensorboard: bool = False,
        split: tuple[Rows, Rows] | None = None,
        labels: NDArray[np.int64] | None = None,
        targets: NDArray[np.int64] | None = None,
        stop_on_collapse: bool = False,
        checked: bool = True,
    ) -> Iterator[history.Record]:
        calls = int(before[1].get("calls", 0)) + 1 if before is not None else 0
        seed = settings.seed if before is None else self._drawn_seed
        if before is not None:  # another order of the images than in the fits before
            settings = dataclasses.replace(settings, seed=settings.seed + calls)
        training, held_out = split if split is not None else hold_out(len(images), 0.0, settings.seed)
        objective = self._new_objective(settings.seed)
        monitor = None
        if isinstance(objective, EncodingObjective):
            monitor = Monitor(
                images,
                training,
                held_out,
                seed=settings.seed,
                device=self.device_,
                precision=settings.precision,
                labels=labels,
                pool=self.pool,
                pooling=self.pooling,
            )
        checks = None
        if checked:
            checks = Checkup(images, training, seed=settings.seed, device=self.device_, precision=settings.precision)
        trainer = Trainer(
            objective, images, settings, self.device_, rows=training, monitor=monitor, checks=checks, labels=targets
        )
        self._trainer = trainer
        if before is not None:
            trainer.load(before[0], {**before[1], "step": 0})
        else:
            self._keep_untrained(trainer, folder)
        try:
            self.history_ = self._recorded(folder, trainer.team)
            self.health_ = self.health_ if before is not None else Health()
            for record in trainer.run(folder, tensorboard=tensorboard):
                if folder is not None and not self.health_.records:  # what a run that goes on recorded before
                    earlier = self._recorded(folder, trainer.team)
                    self.health_ = Health.of([r for r in earlier if r["step"] < record["step"]])
                self.history_.append(record)
                self.health_.read(record)
                if stop_on_collapse and self.health_.up and self.health_.measured(record):
                    trainer.request_stop()
                yield record
            if folder is not None:
                self.history_ = self._recorded(folder, trainer.team)
                self.health_ = self.health_ if self.health_.records else Health.of(self.history_)
            self._adopt(trainer.trained_for_all(), seed, settings.precision)
            tensors, state = trainer.state()
            self._training = (
                {k: v.detach().cpu().clone() for k, v in tensors.items()},
                {**state, "calls": calls},
            )
            self.n_iter_: int = max(1, round(trainer.epoch)) + (self.n_iter_ if before is not None else 0)
            self.finished_ = trainer.step >= trainer.total_steps
        finally:
            del self._trainer

    @staticmethod
    def _recorded(folder: RunFolder | None, ours: Team) -> list[history.Record]:
        """The run folder's history, as the first of several processes sees it."""
        found: list[history.Record] = ours.told(lambda: history.read(folder.history) if folder is not None else [])
        return found

    def adopt(self, tensors: Tensors, untrained: Tensors, *, image_shape: ImageShape, data: dict[str, Any]) -> Self:
        """Become the fitted model of networks that others trained, for ``uint8`` images.

        Parameters
        ----------
        tensors : dict
            State of the whole objective, batch-norm statistics included.
        untrained : dict
            The same of the objective as ``random_state`` initialises it: the baseline.
        image_shape : (height, width, channels)
        data : dict
            What is known of the training, for the run folder: JSON, with ``imported`` (from where) and ``epochs``.

        Returns
        -------
        self

        Raises
        ------
        InputError
            If the tensors do not fit the parameters.
        """
        self.image_shape_, self.n_features_in_ = image_shape, int(np.prod(image_shape))
        self.scaling_, self._integer = Scaling(), True
        self.device_ = resolve_device(self.device)
        self.history_, self.health_, self.n_iter_, self.finished_ = [], Health(), int(data["epochs"]), True
        self._data = data
        self._untrained = self._tapped(untrained)
        self._adopt(tensors, self._seed(None), self._resolved_precision())
        return self

    def _tapped(self, tensors: Tensors) -> Tensors:
        """Of an objective's tensors, those of the networks whose layers can be features."""
        with torch.device("meta"):
            names = tuple(f"{name}." for name in self._objective(self.image_shape_).taps())
        tapped = {k: v.detach().cpu() for k, v in tensors.items() if k.startswith(names)}
        assert tapped, f"taps() must be named like the attributes that hold them, {names!r} are not"
        return tapped

    def _keep_untrained(self, trainer: Trainer, folder: RunFolder | None) -> None:
        """Remember the tapped network as it is before any training: whatever is measured stands beside it."""
        is_main = trainer.team.is_main
        kept = folder.read_untrained() if folder is not None and is_main else None
        if kept is None and is_main:
            kept = self._tapped(trainer.trained())
            if folder is not None:
                folder.write_untrained(kept)
        if trainer.team.size > 1:
            kept = unpack(trainer.team.share(None if kept is None else to_bytes(kept)))
        self._untrained = kept

    def _adopt(self, tensors: Tensors, seed: int, precision: str) -> None:
        """Take trained weights as this estimator's."""
        objective = self._new_objective(seed)
        try:
            objective.load_state_dict(tensors)
        except RuntimeError as error:
            raise InputError(
                f"the weights do not fit the settings in config.json: {str(error).splitlines()[-1].strip()}"
            ) from None
        objective.eval().requires_grad_(False)
        self.objective_ = objective.to(self.device_, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, network in objective.named_children():
            if name in NETWORKS:
                setattr(self, f"{name}_", network)
        self._drawn_seed, self.precision_ = seed, precision
        self._extractor: FeatureExtractor | None = None
        self._n_features_out = self.extractor().n_features_out_

    # ------------------------------------------------------------------ use

    def extractor(self, network: str | None = None, **changes: Any) -> FeatureExtractor:
        """The feature extractor that :meth:`transform` uses, ready; or one with other settings.

        It takes what networks take: ``uint8`` images, or floats in [-1, 1]. With ``bn="recalibrate"`` it must
        be fitted on images first.

        Parameters
        ----------
        network : str, optional
            Whose layers: ``"discriminator"``, or ``"encoder"`` or ``"classifier"`` where there is one. By default the
            one that :meth:`transform` takes its features from; of another one all layers, if ``taps`` does not say
            which.
        **changes
            Parameters of :class:`~ganfeat.features.FeatureExtractor`, e.g. ``taps=[-1]``.
        """
        check_is_fitted(self, "objective_")
        wanted = {
            "taps": self.taps,
            "at": self.at,
            "pool": self.pool,
            "pooling": self.pooling,
            "device": str(self.device_),
            "precision": self.precision_,
            "bn": "eval",
            **changes,
        }
        tapped = self.objective_.taps()
        if network is not None and network not in tapped:
            raise InputError(f"network={network!r} is unknown: choose {' or '.join(tapped)}")
        other = network not in (None, self.network)
        if other and "taps" not in changes:
            wanted["taps"] = "all"
        wanted["taps"] = self._named(tapped[network or self.network], wanted["taps"])
        kept = None if other else self._extractor
        if kept is not None and all(getattr(kept, name) == value for name, value in wanted.items()):
            return kept
        extractor = FeatureExtractor(tapped[network or self.network], **wanted)
        if wanted["bn"] == "recalibrate":
            return extractor  # the caller fits it on images
        extractor.fit(np.zeros((2, *self.image_shape_), np.uint8))
        if not changes and not other:
            self._extractor = extractor
        return extractor

    def transform(self, X: Any) -> NDArray[Any]:
        """Features of images: all conv layers of D, pooled, flattened, side by side.

        Parameters
        ----------
        X : array or ImageDataset
            Images or rows, as in :meth:`fit`.

        Returns
        -------
        ndarray ``float32 (n, n_features)``
        """
        check_is_fitted(self, "objective_")
        return self.extractor().transform(self._validated(X, reset=False))
