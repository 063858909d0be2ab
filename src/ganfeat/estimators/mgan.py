"""M-GAN as a scikit-learn estimator."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ganfeat.arrays import ImageShape
from ganfeat.config import require
from ganfeat.distributed.team import team
from ganfeat.errors import InputError
from ganfeat.estimators.base import GANEstimator
from ganfeat.features import Taps
from ganfeat.nets.mgan import generator_of_rows
from ganfeat.objectives.mgan import MGAN as MGANObjective


class MGAN(GANEstimator):
    """GAN with several generators, a discriminator D, and a classifier C that tells the generators apart.

    D and C share layers, as many as ``shares_removed`` leaves; the last layer of either gives the features. The
    defaults are those of table 1 of the study of discriminators as feature extractors, but for the epochs (20 there).

    Parameters
    ----------
    n_components : int
        Length of z.
    n_generators : int
        K.
    shares_removed : int
        How many of the convolutional layers, counted from the last, D and C do *not* share: 0 for all but the heads
        shared, up to all of them (4 for 32 x 32, and for 28 x 28 images 3) for none.
    width : int
        Maps of the first layer of D and C, and of G's last hidden layer; doubled at every halving of the side.
    n_features : int
        Outputs of the last convolutional layer of D and C.
    diversity : float
        The paper's beta: how much the generators heed C, to be told apart.
    prior : {"normal", "uniform"}
        Distribution of z: N(0, 1) or U(-1, 1).
    max_iter : int, optional
        Epochs. By default 25, and more for small sets: as many as make 3,000 mini-batches.
    batch_size : int
        Real images, and generated ones, the generators' in equal parts.
    learning_rate : float
        Of Adam, for D, C and the generators.
    beta1 : float
        Adam's first moment.
    weight_decay : float
        L2 that is added to the gradient.
    decay_iter : int
        Epochs at the end over which the learning rate falls exponentially to 1 %.
    ema : float
        Decay of a moving average of the generators' weights, used for samples; 0 for none.
    taps, at, pool, pooling
        Where features are read, and how they are pooled: see :class:`~ganfeat.features.FeatureExtractor`. -1 is the
        last convolutional layer, ``"all"`` takes all, pooled.
    image_shape : (height, width, channels), optional
        Shape of the images when rows are given; one entry may be -1. Guessed for squares. At least 8 x 8.
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
    objective_ : ganfeat.objectives.mgan.MGAN
        The trained networks, batch-norm statistics re-estimated on the training images.
    generator_, discriminator_, classifier_ : torch.nn.Module
    history_ : list of dict
        The records of the training.
    image_shape_ : (height, width, channels)
    n_iter_ : int
        Epochs trained.
    finished_ : bool
        Whether the last fit ran to its end.

    References
    ----------
    Q. Hoang, T. D. Nguyen, T. Le, D. Phung, "MGAN: Training Generative Adversarial Nets with Multiple Generators",
    ICLR 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from ganfeat import MGAN
    >>> rows = load_digits().data[:200]  # 8 x 8 images
    >>> gan = MGAN(n_generators=3, width=8, shares_removed=1, max_iter=1, random_state=0).fit(rows)
    >>> gan.transform(rows).shape, gan.transform(rows, which="classifier").shape
    ((200, 128), (200, 128))
    >>> gan.sample(5, generator=2).shape
    (5, 8, 8, 1)
    """

    method = "mgan"
    usual_taps: ClassVar[dict[str, str]] = {"discriminator": "-1", "classifier": "-1"}

    def __init__(
        self,
        *,
        n_components: int = 128,
        n_generators: int = 10,
        shares_removed: int = 0,
        width: int = 128,
        n_features: int = 128,
        diversity: float = 0.02,
        prior: str = "normal",
        max_iter: int | None = None,
        batch_size: int = 120,
        learning_rate: float = 2e-4,
        beta1: float = 0.5,
        weight_decay: float = 0.0,
        decay_iter: int = 0,
        ema: float = 0.0,
        taps: Taps = -1,
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
        self.n_generators = n_generators
        self.shares_removed = shares_removed
        self.width = width
        self.n_features = n_features
        self.diversity = diversity
        self.prior = prior
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

    def _objective(self, image_shape: ImageShape) -> MGANObjective:
        for name in ("n_components", "width", "n_features"):
            require(name, getattr(self, name), int, least=1)
        require("n_generators", self.n_generators, int, least=2)
        require("shares_removed", self.shares_removed, int, least=0)
        require("diversity", self.diversity, float, least=0)
        return MGANObjective(
            image_shape,
            n_components=self.n_components,
            n_generators=self.n_generators,
            shares_removed=self.shares_removed,
            width=self.width,
            n_features=self.n_features,
            diversity=self.diversity,
            prior=self.prior,
        )

    def _some_shape(self) -> ImageShape:
        removed = self.shares_removed if isinstance(self.shares_removed, int) else 0
        side = 2 ** (removed + 1)  # so many convolutional layers
        return (side, side, 3) if 32 < side <= 1024 else super()._some_shape()

    def _validated(self, X: Any, *, reset: bool) -> NDArray[Any]:
        images = super()._validated(X, reset=reset)
        own = min(self.batch_size, len(images)) // team().size
        if reset and own < self.n_generators:
            raise InputError(
                f"{self.n_generators} generators share batches of {own} images"
                f"{' on each process' if team().size > 1 else ''}: some "
                "would never draw one and never learn. Give at least as large a batch_size, and as many images, or a "
                "smaller n_generators"
            )
        return images

    def _halved(self) -> list[ImageShape]:
        return []  # no convolution but the first and the last reads maps of less than 8 pixels a side

    def transform(self, X: Any, which: str = "discriminator") -> NDArray[Any]:
        """Features of images: the last convolutional layer of D or of C, or what ``taps`` say.

        Parameters
        ----------
        X : array or ImageDataset
            Images or rows, as in :meth:`fit`.
        which : {"discriminator", "classifier"}

        Returns
        -------
        ndarray ``float32 (n, n_features)``
        """
        check_is_fitted(self, "objective_")
        return self.extractor(which, taps=self.taps).transform(self._validated(X, reset=False))

    @property
    def condition(self) -> tuple[str, list[Any]]:
        """Which generator draws."""
        return "generator", list(range(self.n_generators))

    def _told(self, index: int) -> torch.Tensor:
        return torch.tensor([index])

    def generate(self, z: NDArray[Any], generator: int | None = None) -> NDArray[Any]:
        """Images of latents: G_k(z).

        Parameters
        ----------
        z : array ``(n, n_components)``
        generator : int, optional
            k, from 0. By default the first rows are drawn by the first generator, the last by the last, equally many.

        Returns
        -------
        ndarray ``(n, height, width, channels)``
            ``uint8`` if the model was fitted on ``uint8``, else ``float32`` in the range of its data.
        """
        z = self._checked(z)
        if generator is None:
            return self._generate(z, generator_of_rows(len(z), self.n_generators))
        require("generator", generator, int, least=0, below=self.n_generators)
        return self._generate(z, torch.full((len(z),), generator))

    def sample(self, n_samples: int = 1, random_state: int | None = None, generator: int | None = None) -> NDArray[Any]:
        """Draw new images.

        Parameters
        ----------
        n_samples : int
        random_state : int, optional
            Seed of z; None draws anew every time.
        generator : int, optional
            Which generator draws them, from 0; by default all, the first rows by the first one and so on: as equally as
            so few samples allow, and a single one by any of them.

        Returns
        -------
        ndarray ``(n_samples, height, width, channels)``, see :meth:`generate`
        """
        check_is_fitted(self, "objective_")
        seed = self._draw_seed() if random_state is None else int(random_state)
        z = self._latents(n_samples, seed)
        if generator is not None:
            return self.generate(z, generator)
        start = np.random.default_rng([seed, 1]).random()
        k = ((np.arange(n_samples) + start) * self.n_generators / n_samples).astype(np.int64)
        return self._generate(z, torch.from_numpy(k))
