"""Latent regressors as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ganfeat.arrays import ImageShape
from ganfeat.config import require
from ganfeat.estimators.encoding import EncoderEstimator
from ganfeat.features import Taps
from ganfeat.objectives.agreement import VIEWS
from ganfeat.objectives.regressor import LatentRegressor as LatentRegressorObjective


class LatentRegressor(EncoderEstimator):
    """A GAN and an encoder that learns to say which z an image was drawn from; E(x) are the features.

    Parameters
    ----------
    joint : float
        Weight of the regression in G's loss: 0 is the plain latent regressor, 0.25 the BiGAN authors' joint one. With
        1 G and E may agree on a degenerate code.
    regression : float
        Weight of the regression in E's loss; 0 with an ``agreement`` leaves E to that alone, as a control.
    n_components : int
        Length of z.
    architecture : {"conv", "mlp", "alexnet"}
        ``conv`` are DCGAN's networks, ``mlp`` BiGAN's permutation-invariant ones (:mod:`ganfeat.nets.mlp`), and
        ``alexnet`` has AlexNet's convolutions as E (:mod:`ganfeat.nets.alexnet`) beside the G and D of ``conv``.
    width : int, optional
        Maps of the first layer of ``conv`` (64), or units of the hidden layers of ``mlp`` (1024). AlexNet's are fixed.
    kernel_size : int
        Of ``conv``, and of the G and D of ``alexnet``; odd.
    generator_size : int, optional
        Side of what G draws and D sees, if E is to see larger images (the generalised BiGAN: 64 where E sees 112).
        The images must be square.
    norm_epsilon : float
        Added to the variance in batch norm. The BiGAN authors' is 1e-8.
    prior : {"uniform", "normal"}
        Distribution of z: U(-1, 1), where E ends in 2 sigmoid - 1, or N(0, 1), where it is linear.
    update_order : {"simultaneous", "alternating"}
        All networks at once from the same forward pass, as the BiGAN authors do, or each against the others as
        updated before it.
    augment : sequence of {"translate", "affine", "flip", "cutout", "colour"}
        Random transforms of what D sees, real and generated alike.
    agreement : float
        Weight of a contrastive term in E's loss: E must tell an image from others, however it is transformed
        (:mod:`ganfeat.objectives.agreement`); 0 for none.
    views : sequence of {"translate", "affine", "flip", "cutout", "colour"}
        The transforms; they should leave what an image shows.
    max_iter : int, optional
        Epochs. By default 25, and more for small sets: as many as make 3,000 mini-batches.
    batch_size : int
    learning_rate : float
        Of Adam.
    beta1 : float
        Adam's first moment; 0.9 oscillates.
    weight_decay : float
        L2 that is added to the gradient.
    decay_iter : int
        Epochs at the end over which the learning rate falls exponentially to 1 %.
    ema : float
        Decay of a moving average of G's weights, used for samples; 0 for none.
    taps, at, pool, pooling
        Where :meth:`transform` reads E: ``"output"`` is E(x), ``"trunk"`` the layer before it, ``"all"`` the hidden
        layers, else as in :class:`~ganfeat.features.FeatureExtractor`.
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
    objective_ : ganfeat.objectives.regressor.LatentRegressor
        The trained networks, batch-norm statistics re-estimated on the training images.
    encoder_, generator_, discriminator_ : torch.nn.Module
    history_ : list of dict
        The records of the training.
    image_shape_ : (height, width, channels)
    n_iter_ : int
        Epochs trained.
    finished_ : bool
        Whether the last fit ran to its end.

    References
    ----------
    J. Donahue, P. Krähenbühl, T. Darrell, "Adversarial Feature Learning", ICLR 2017, arXiv:1605.09782, section 4.
    """

    method = "latent-regressor"

    def __init__(
        self,
        *,
        joint: float = 0.0,
        regression: float = 1.0,
        n_components: int = 100,
        architecture: str = "conv",
        width: int | None = None,
        kernel_size: int = 5,
        generator_size: int | None = None,
        norm_epsilon: float = 1e-5,
        prior: str = "uniform",
        update_order: str = "simultaneous",
        augment: Sequence[str] = (),
        agreement: float = 0.0,
        views: Sequence[str] = VIEWS,
        max_iter: int | None = None,
        batch_size: int = 128,
        learning_rate: float = 2e-4,
        beta1: float = 0.5,
        weight_decay: float = 1e-5,
        decay_iter: int = 0,
        ema: float = 0.0,
        taps: Taps = "output",
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
        self.joint = joint
        self.regression = regression
        self.n_components = n_components
        self.architecture = architecture
        self.width = width
        self.kernel_size = kernel_size
        self.generator_size = generator_size
        self.norm_epsilon = norm_epsilon
        self.prior = prior
        self.update_order = update_order
        self.augment = augment
        self.agreement = agreement
        self.views = views
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

    def _objective(self, image_shape: ImageShape) -> LatentRegressorObjective:
        require("joint", self.joint, float, least=0)
        require("regression", self.regression, float, least=0)
        return LatentRegressorObjective(
            self._plan(image_shape, joint=False),
            joint=self.joint,
            regression=self.regression,
            simultaneous=self._simultaneous(),
            **self._transforms(),
        )
