"""CatGAN as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ganfeat.arrays import ImageShape
from ganfeat.config import require
from ganfeat.estimators.classes import ClassEstimator
from ganfeat.features import Taps
from ganfeat.objectives.catgan import CatGAN as CatGANObjective


class CatGAN(ClassEstimator):
    """Categorical GAN: its discriminator sorts images into categories, without labels.

    D is to be certain of every real image, to use all categories, and to be uncertain of generated images; nothing
    tells it what the categories should mean. The layers of D are the features, :meth:`predict` gives the category: a
    cluster, by a number that means nothing by itself.

    Parameters
    ----------
    n_classes : int
        How many categories; at least 2.
    n_components : int
        Length of z.
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
        Real images a step. Whether D uses all categories is judged on a mini-batch: it should be several times
        ``n_classes``.
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
        Let ``fit`` go on from the model fitted before.
    device : {"auto", "cpu", "cuda", "mps"}
    precision : {"auto", "bf16", "fp32"}
        ``auto`` multiplies in bf16 where the hardware gains from it. Weights are float32 always.
    random_state : int, numpy Generator or RandomState, optional
        Seed of everything; the global generators are never touched.
    verbose : int
        1 prints a line a record.

    Attributes
    ----------
    objective_ : ganfeat.objectives.catgan.CatGAN
        The trained networks, batch-norm statistics re-estimated on the training images.
    generator_, discriminator_ : torch.nn.Module
    history_ : list of dict
        The records of the training.
    image_shape_ : (height, width, channels)
    n_iter_ : int
        Epochs trained.
    finished_ : bool
        Whether the last fit ran to its end.

    References
    ----------
    J. T. Springenberg, "Unsupervised and Semi-supervised Learning with Categorical Generative Adversarial Networks",
    ICLR 2016, arXiv:1511.06390.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from ganfeat import CatGAN
    >>> rows = load_digits().data[:200]  # 8 x 8 images
    >>> gan = CatGAN(n_classes=5, width=8, max_iter=1, random_state=0).fit(rows)
    >>> gan.transform(rows).shape, gan.predict_proba(rows).shape, gan.sample(3).shape
    ((200, 192), (200, 5), (3, 8, 8, 1))
    """

    method = "catgan"

    def __init__(
        self,
        *,
        n_classes: int = 10,
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
        self.n_classes = n_classes
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

    def _objective(self, image_shape: ImageShape) -> CatGANObjective:
        for name in ("n_components", "width", "kernel_size", "convs_per_scale"):
            require(name, getattr(self, name), int, least=1)
        require("n_classes", self.n_classes, int, least=2)
        require("norm_epsilon", self.norm_epsilon, float, above=0)
        return CatGANObjective(
            image_shape,
            n_classes=self.n_classes,
            n_components=self.n_components,
            width=self.width,
            kernel_size=self.kernel_size,
            convs_per_scale=self.convs_per_scale,
            norm_epsilon=self.norm_epsilon,
            prior=self.prior,
            augment=[self.augment] if isinstance(self.augment, str) else self.augment,
        )

    def _sorter(self) -> nn.Module:
        return self.discriminator_
