"""The auxiliary classifier GAN as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ganfeat.arrays import ImageShape
from ganfeat.config import require
from ganfeat.errors import InputError
from ganfeat.estimators.classes import ClassEstimator, class_labels
from ganfeat.features import Taps
from ganfeat.nets.classes import ClassHead
from ganfeat.objectives.acgan import ACGAN as ACGANObjective
from ganfeat.objectives.acgan import UNKNOWN


class ACGAN(ClassEstimator):
    """Auxiliary classifier GAN: it learns from labels, draws images of a class, and names the class of an image.

    G is given a class beside z, and D says the class of an image beside its source. The layers of D are the features;
    they have learned from labels, so they are no peers of features that were learned without.

    Parameters
    ----------
    classification : float
        Weight of the classes in both losses; 0 teaches the networks nothing of the labels.
    n_components : int
        Length of z, without the class.
    width : int
        Maps of D's first and G's last hidden layer; doubled at every halving of the side.
    kernel_size : int
        Odd.
    convs_per_scale : {1, 2}
        Convolutions per halving of the side.
    norm_epsilon : float
        Added to the variance in batch norm.
    prior : {"uniform", "normal"}
        Distribution of z: U(-1, 1) or N(0, 1).
    augment : sequence of {"translate", "affine", "flip", "cutout", "colour"}
        Random transforms of what D sees, real and generated alike.
    max_iter : int, optional
        Epochs. By default 25, and more for small sets: as many as make 3,000 mini-batches.
    batch_size : int
    learning_rate : float
        Of Adam, for G and D.
    beta1 : float
        Adam's first moment; 0.9 oscillates.
    weight_decay : float
        L2 that is added to the gradient.
    decay_iter : int
        Epochs at the end over which the learning rate falls exponentially to 1 %.
    ema : float
        Decay of a moving average of G's weights, used for samples; 0 for none, 0.999 is usual.
    taps, at, pool, pooling
        Where features are read, and how they are pooled: see :class:`~ganfeat.features.FeatureExtractor`.
    image_shape : (height, width, channels), optional
        Shape of the images when rows are given; one entry may be -1. Guessed for squares.
    warm_start : bool
        Let ``fit`` go on from the model fitted before; the classes stay those of the first fit.
    device : {"auto", "cpu", "cuda", "mps"}
    precision : {"auto", "bf16", "fp32"}
        ``auto`` multiplies in bf16 where the hardware gains from it. Weights are float32 always.
    random_state : int, numpy Generator or RandomState, optional
        Seed of everything; the global generators are never touched.
    verbose : int
        1 prints a line a record.

    Attributes
    ----------
    objective_ : ganfeat.objectives.acgan.ACGAN
        The trained networks, batch-norm statistics re-estimated on the training images.
    generator_, discriminator_ : torch.nn.Module
    classes_ : ndarray ``(n_classes,)``
        The labels that were found, sorted.
    class_counts_ : ndarray of int ``(n_classes,)``
        How many images have each; G is asked for classes as often.
    history_ : list of dict
        The records of the training.
    image_shape_ : (height, width, channels)
    n_iter_ : int
        Epochs trained.
    finished_ : bool
        Whether the last fit ran to its end.

    References
    ----------
    A. Odena, C. Olah, J. Shlens, "Conditional Image Synthesis with Auxiliary Classifier GANs", ICML 2017,
    arXiv:1610.09585.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from ganfeat import ACGAN
    >>> rows, digits = load_digits(return_X_y=True)
    >>> gan = ACGAN(width=8, max_iter=1, random_state=0).fit(rows[:200], digits[:200])
    >>> gan.transform(rows).shape, gan.predict(rows).shape, gan.sample(5, label=3).shape
    ((1797, 192), (1797,), (5, 8, 8, 1))
    """

    method = "acgan"
    supervised = True

    def __init__(
        self,
        *,
        classification: float = 1.0,
        n_components: int = 100,
        width: int = 64,
        kernel_size: int = 5,
        convs_per_scale: int = 1,
        norm_epsilon: float = 1e-5,
        prior: str = "uniform",
        augment: Sequence[str] = (),
        max_iter: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 2e-4,
        beta1: float = 0.5,
        weight_decay: float = 1e-5,
        decay_iter: int = 0,
        ema: float = 0.0,
        taps: Taps = "all",
        at: str = "activation",
        pool: int | None = 4,
        pooling: str = "max",
        image_shape: ImageShape | None = None,
        warm_start: bool = False,
        device: str = "auto",
        precision: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.classification = classification
        self.n_components = n_components
        self.width = width
        self.kernel_size = kernel_size
        self.convs_per_scale = convs_per_scale
        self.norm_epsilon = norm_epsilon
        self.prior = prior
        self.augment = augment
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.weight_decay = weight_decay
        self.decay_iter = decay_iter
        self.ema = ema
        self.taps = taps
        self.at = at
        self.pool = pool
        self.pooling = pooling
        self.image_shape = image_shape
        self.warm_start = warm_start
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    def _objective(self, image_shape: ImageShape) -> ACGANObjective:
        for name in ("n_components", "width", "kernel_size", "convs_per_scale"):
            require(name, getattr(self, name), int, least=1)
        require("norm_epsilon", self.norm_epsilon, float, above=0)
        require("classification", self.classification, float, least=0)
        frequencies = getattr(self, "class_counts_", np.ones(2))  # any, to check the parameters before there are labels
        return ACGANObjective(
            image_shape,
            frequencies.tolist(),
            classification=self.classification,
            n_components=self.n_components,
            width=self.width,
            kernel_size=self.kernel_size,
            convs_per_scale=self.convs_per_scale,
            norm_epsilon=self.norm_epsilon,
            prior=self.prior,
            augment=[self.augment] if isinstance(self.augment, str) else self.augment,
        )

    # ------------------------------------------------------------------ labels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(self, X: Any, y: Any = None, *, run: Path | str | None = None) -> Self:
        """Learn from labelled images.

        Parameters
        ----------
        X : array or ImageDataset
            Images ``(n, height, width, channels)``, or rows ``(n, height * width * channels)``.
            ``uint8`` is 0..255; the range of other types is learned from X.
        y : array ``(n,)``, optional
            Labels: whole numbers, where -1 is an image without one, which teaches D its source alone; or names. By
            default those of an :class:`~ganfeat.data.ImageDataset`.
        run : Path or str, optional
            Run folder, as in :meth:`ganfeat.DCGAN.fit`. Other labels than those it began with are refused.

        Returns
        -------
        self

        Raises
        ------
        InputError
            If a parameter, the images, the labels, or the run folder do not fit.
        RunError
            If the training diverged.
        """
        return super().fit(X, y, run=run)

    def _targets(self, X: Any, y: Any, n_images: int, *, reset: bool) -> NDArray[np.int64]:
        labels, known = class_labels(getattr(X, "labels", None) if y is None else y, n_images)
        if reset:
            classes, counts = np.unique(labels[known], return_counts=True)
            if len(classes) < 2:
                raise InputError(
                    f"y has {'one class' if len(classes) else 'no class'} in {known.sum()} labels: ACGAN needs at "
                    "least two to tell apart (-1 is an image without a label)"
                )
            self.classes_, self.class_counts_ = classes, counts
        targets = np.full(n_images, UNKNOWN, np.int64)
        targets[known] = self._indices(labels[known])
        return targets

    def _indices(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """Where labels are among the classes."""
        if labels.dtype.kind not in "biufU":
            raise InputError(f"labels are {labels.dtype}: give {', '.join(map(repr, self.classes_.tolist()))}")
        wrong = [label for label in np.unique(labels).tolist() if label not in self.classes_.tolist()]
        if wrong:
            raise InputError(
                f"the label {wrong[0]!r} is none that the model has learned: give "
                f"{', '.join(map(repr, self.classes_.tolist()))}"
            )
        return np.searchsorted(self.classes_, labels)

    def _learned(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist(), "class_counts": self.class_counts_.tolist()}

    def _recall(self, config: dict[str, Any]) -> None:
        self.classes_ = np.array(config["classes"])
        self.class_counts_ = np.array(config["class_counts"])

    # ------------------------------------------------------------------ use

    def _sorter(self) -> nn.Module:
        return ClassHead(self.discriminator_)

    def predict(self, X: Any) -> NDArray[Any]:
        """Labels of images, by D's head for the classes.

        Parameters
        ----------
        X : array or ImageDataset
            Images or rows, as in :meth:`fit`.

        Returns
        -------
        ndarray ``(n,)``, of ``classes_``
        """
        indices = super().predict(X)
        return self.classes_[indices]

    @property
    def condition(self) -> tuple[str, list[Any]]:
        """The class that is drawn."""
        return "label", self.classes_.tolist()

    def _told(self, index: int) -> torch.Tensor:
        return torch.eye(len(self.classes_))[index : index + 1]

    def generate(self, z: NDArray[Any], labels: Any = None) -> NDArray[Any]:
        """Images of latents and classes: G(c, z).

        Parameters
        ----------
        z : array ``(n, n_components)``
        labels : array ``(n,)``, or one label, optional
            Of ``classes_``. By default each in turn.

        Returns
        -------
        ndarray ``(n, height, width, channels)``
            ``uint8`` if the model was fitted on ``uint8``, else ``float32`` in the range of its data.
        """
        check_is_fitted(self, "objective_")
        n, n_classes = len(np.atleast_1d(z)), len(self.classes_)
        if labels is None:
            indices = np.arange(n) % n_classes
        else:
            labels = np.asarray(labels)
            if labels.shape not in ((), (n,)):
                raise InputError(f"labels has shape {labels.shape} for {n} latents: give one label, or one a latent")
            indices = self._indices(np.broadcast_to(labels, n))
        return self._generate(z, torch.from_numpy(np.eye(n_classes, dtype=np.float32)[indices]))

    def sample(self, n_samples: int = 1, random_state: int | None = None, label: Any = None) -> NDArray[Any]:
        """Draw new images.

        Parameters
        ----------
        n_samples : int
        random_state : int, optional
            Seed of z and of the classes; None draws anew every time.
        label : of ``classes_``, optional
            What all of them show; by default classes are drawn as often as they are in the training images.

        Returns
        -------
        ndarray ``(n_samples, height, width, channels)``, see :meth:`generate`
        """
        latents = self._latents(n_samples, random_state)
        z, drawn = latents[:, : self.n_components], latents[:, self.n_components :].argmax(1)
        return self.generate(z, self.classes_[drawn] if label is None else label)
