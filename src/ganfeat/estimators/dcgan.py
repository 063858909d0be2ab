"""DCGAN as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ganfeat.arrays import ImageShape
from ganfeat.config import require
from ganfeat.estimators.base import GANEstimator
from ganfeat.features import Taps
from ganfeat.objectives.gan import GAN


class DCGAN(GANEstimator):
    """Deep convolutional GAN; its discriminator's layers are the features.

    The defaults are the paper's, and mostly its released code's where the paper is silent (:mod:`ganfeat.nets.dcgan`
    and :mod:`ganfeat.objectives.gan` name the differences). Where D tells all real images from generated ones
    early (its logits drift apart), as on a few thousand digits, ``augment=("affine",)``,
    ``batch_size=64`` and ``learning_rate=6e-4`` gave better features; see docs/log.md.

    Parameters
    ----------
    n_components : int
        Length of z.
    width : int
        Maps of D's first and G's last hidden layer; doubled at every halving of the side.
    kernel_size : int
        Odd.
    convs_per_scale : {1, 2}
        Convolutions per halving of the side. The authors' network for 32 x 32 ImageNet has 2, with ``kernel_size=3``,
        ``width=128`` and ``n_components=256``: 28,672 features.
    generator_maps : sequence of int, optional
        Maps of G's hidden layers, from z on. By default D's, backwards; others come with imported weights.
    norm_epsilon : float
        Added to the variance in batch norm. The authors' is 1e-8, which blows up a map that never varies.
    prior : {"uniform", "normal"}
        Distribution of z: U(-1, 1) or N(0, 1).
    augment : sequence of {"translate", "affine", "flip", "cutout", "colour"}
        Random transforms of what D sees, real and generated alike.
    mutual_information : float
        Weight of InfoGAN's term, which makes G's images tell the first components of z, the codes; 0 for none
        (:mod:`ganfeat.objectives.infogan`).
    n_codes : int
        How many codes; they matter only with ``mutual_information``.
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
    objective_ : ganfeat.objectives.gan.GAN
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
    A. Radford, L. Metz, S. Chintala, "Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks", ICLR 2016, arXiv:1511.06434.

    X. Chen et al., "InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial
    Nets", NIPS 2016, arXiv:1606.03657 (``mutual_information``).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from ganfeat import DCGAN
    >>> rows = load_digits().data[:200]  # 8 x 8 images
    >>> gan = DCGAN(width=8, max_iter=1, random_state=0).fit(rows)
    >>> gan.transform(rows).shape, gan.sample(5).shape
    ((200, 192), (5, 8, 8, 1))
    """

    method = "dcgan"

    def __init__(
        self,
        *,
        n_components: int = 100,
        width: int = 64,
        kernel_size: int = 5,
        convs_per_scale: int = 1,
        generator_maps: Sequence[int] | None = None,
        norm_epsilon: float = 1e-5,
        prior: str = "uniform",
        augment: Sequence[str] = (),
        mutual_information: float = 0.0,
        n_codes: int = 10,
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
        self.n_components = n_components
        self.width = width
        self.kernel_size = kernel_size
        self.convs_per_scale = convs_per_scale
        self.generator_maps = generator_maps
        self.norm_epsilon = norm_epsilon
        self.prior = prior
        self.augment = augment
        self.mutual_information = mutual_information
        self.n_codes = n_codes
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

    def _objective(self, image_shape: ImageShape) -> GAN:
        for name in ("n_components", "width", "kernel_size", "convs_per_scale", "n_codes"):
            require(name, getattr(self, name), int, least=1)
        require("norm_epsilon", self.norm_epsilon, float, above=0)
        require("mutual_information", self.mutual_information, float, least=0)
        return GAN(
            image_shape,
            n_components=self.n_components,
            width=self.width,
            kernel_size=self.kernel_size,
            convs_per_scale=self.convs_per_scale,
            generator_maps=self.generator_maps,
            norm_epsilon=self.norm_epsilon,
            prior=self.prior,
            augment=[self.augment] if isinstance(self.augment, str) else self.augment,
            mutual_information=self.mutual_information,
            n_codes=self.n_codes,
        )
