"""Estimators with an encoder: BiGAN, ALI, latent regressors, autoencoders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ganfeat.arrays import ImageShape
from ganfeat.config import require
from ganfeat.errors import InputError
from ganfeat.estimators import layers
from ganfeat.estimators.base import GANEstimator
from ganfeat.features import Taps
from ganfeat.nets.encoder import resized
from ganfeat.nets.families import Plan
from ganfeat.objectives.agreement import VIEWS
from ganfeat.objectives.autoencoder import AutoEncoder as AutoEncoderObjective
from ganfeat.objectives.bigan import BiGAN as BiGANObjective
from ganfeat.objectives.encoding import EncodingObjective
from ganfeat.objectives.regressor import LatentRegressor as LatentRegressorObjective

ORDERS = ("simultaneous", "alternating")
CHUNK = 1024
"""Images that are compared with their reconstructions at a time."""


class EncoderEstimator(GANEstimator):
    """What estimators with an encoder add: E(x), G(z), G(E(x))."""

    network = "encoder"

    @abstractmethod
    def _objective(self, image_shape: ImageShape) -> EncodingObjective:
        """A new objective for images of this shape."""

    def _halved(self) -> list[ImageShape]:
        small = self._drawn_shape()
        return {"mlp": [], "alexnet": [small]}.get(self.architecture, [small, self.image_shape_])

    def _drawn_shape(self) -> ImageShape:
        if self.generator_size is None:
            return self.image_shape_
        return (self.generator_size, self.generator_size, self.image_shape_[2])

    def _some_shape(self) -> ImageShape:
        side = self.generator_size if isinstance(self.generator_size, int) else 0
        return (max(side, 32), max(side, 32), 3)

    def _plan(self, image_shape: ImageShape, *, joint: bool, stochastic: bool = False) -> Plan:
        """The networks that the parameters ask for."""
        for name in ("n_components", "kernel_size"):
            require(name, getattr(self, name), int, least=1)
        for name in ("width", "generator_size"):
            if getattr(self, name) is not None:
                require(name, getattr(self, name), int, least=1)
        require("norm_epsilon", self.norm_epsilon, float, above=0)
        return Plan(
            image_shape,
            self.n_components,
            architecture=self.architecture,
            width=self.width,
            kernel_size=self.kernel_size,
            norm_epsilon=self.norm_epsilon,
            prior=self.prior,
            joint=joint,
            stochastic=stochastic,
            generator_size=self.generator_size,
        )

    def _simultaneous(self) -> bool:
        if self.update_order not in ORDERS:
            raise InputError(f"update_order={self.update_order!r} is not known: choose one of {', '.join(ORDERS)}")
        return self.update_order == ORDERS[0]

    def _named(self, network: nn.Module, taps: Taps) -> Taps:
        return layers.named(network, taps)

    def _transforms(self) -> dict[str, Any]:
        require("agreement", self.agreement, float, least=0)
        return {
            "augment": [self.augment] if isinstance(self.augment, str) else self.augment,
            "agreement": self.agreement,
            "views": [self.views] if isinstance(self.views, str) else self.views,
        }

    def transform(self, X: Any) -> NDArray[Any]:
        """Features of images: E(x), or other layers of E, as ``taps`` says.

        Parameters
        ----------
        X : array or ImageDataset
            Images or rows, as in :meth:`fit`.

        Returns
        -------
        ndarray ``float32 (n, n_features)``; ``(n, n_components)`` for E(x)
        """
        return super().transform(X)

    def inverse_transform(self, z: NDArray[Any]) -> NDArray[Any]:
        """Images of latents: G(z), as :meth:`generate`.

        Parameters
        ----------
        z : array ``(n, n_components)``

        Returns
        -------
        ndarray ``(n, height, width, channels)``
            ``uint8`` if the model was fitted on ``uint8``, else ``float32`` in the range of its data.
        """
        return self.generate(z)

    def encode(self, X: Any) -> NDArray[np.float32]:
        """Latents of images: E(x), whatever ``taps`` are.

        Parameters
        ----------
        X : array or ImageDataset
            Images or rows, as in :meth:`fit`.

        Returns
        -------
        ndarray ``float32 (n, n_components)``
        """
        check_is_fitted(self, "objective_")
        return self.extractor(taps="output").transform(self._validated(X, reset=False))

    def reconstruct(self, X: Any) -> NDArray[Any]:
        """G(E(x)): what E has kept of an image.

        Parameters
        ----------
        X : array or ImageDataset
            Images or rows, as in :meth:`fit`.

        Returns
        -------
        ndarray ``(n, height, width, channels)``, see :meth:`inverse_transform`
        """
        return self.generate(self.encode(X))

    def reconstruction_error(self, X: Any, *, random_state: int = 0) -> dict[str, float]:
        """How far G(E(x)) is from x, beside how far it is from other images: only their ratio means something.

        Parameters
        ----------
        X : array or ImageDataset
            Images or rows, as in :meth:`fit`; at least 2. They are compared in G's size.
        random_state : int
            Seed of which other image each is compared with.

        Returns
        -------
        dict
            ``error``, the mean Euclidean distance ``|x - G(E(x))|`` with pixels in [0, 1], and ``shuffled``, that of
            each x to the reconstruction of another image (EGr and EGr_b in the BiGAN authors' code).

        Raises
        ------
        InputError
            If there are fewer than 2 images.
        """
        check_is_fitted(self, "objective_")
        images = self._validated(X, reset=False)
        if len(images) < 2:
            raise InputError(f"n_samples={len(images)}: an error beside that of other images needs at least 2")
        again = self.reconstruct(X)
        again = again if self._integer else self.scaling_.to_networks(again)
        order = np.random.default_rng(random_state).permutation(len(images))
        others = np.empty_like(order)
        others[order] = np.roll(order, 1)  # one round through all of them: nobody meets itself
        totals = {"error": 0.0, "shuffled": 0.0}
        for start in range(0, len(images), CHUNK):
            rows = slice(start, start + CHUNK)
            x_NHWC = self.as_drawn(images[rows])
            for name, other in (("error", again[rows]), ("shuffled", again[others[rows]])):
                totals[name] += float(np.sqrt(np.square(x_NHWC - _unit(other)).sum((1, 2, 3))).sum())
        return {name: total / len(images) for name, total in totals.items()}

    def as_drawn(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Images in the size of those that G draws, with pixels in [0, 1].

        Parameters
        ----------
        images : ndarray ``(n, h, w, c)``
            ``uint8``, or ``float32`` in the networks' [-1, 1].

        Returns
        -------
        ndarray ``float32 (n, height, width, channels)``
        """
        side = self.generator_size
        x_NCHW = torch.from_numpy(_unit(images)).permute(0, 3, 1, 2)
        small_NCHW = x_NCHW if side is None else resized(x_NCHW, (side, side))
        return small_NCHW.permute(0, 2, 3, 1).numpy()


def _unit(images: NDArray[Any]) -> NDArray[np.float32]:
    """Pixels of 0..255, or of [-1, 1], as [0, 1]."""
    if images.dtype == np.uint8:
        return np.divide(images, 255, dtype=np.float32)
    return np.divide(images + 1, 2, dtype=np.float32)


class BiGAN(EncoderEstimator):
    """Bidirectional GAN; E(x) are the features.

    A joint discriminator tells pairs (x, E(x)) from pairs (G(z), z); against it, E learns to invert G.

    Parameters
    ----------
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
        Random transforms of the images that the networks see.
    mutual_information : float
        Weight of InfoGAN's term, which makes G's images tell the first components of z, the codes; 0 for none
        (:mod:`ganfeat.objectives.infogan`).
    n_codes : int
        How many codes; they matter only with ``mutual_information``.
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
    objective_ : ganfeat.objectives.bigan.BiGAN
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
    J. Donahue, P. Krähenbühl, T. Darrell, "Adversarial Feature Learning", ICLR 2017, arXiv:1605.09782.

    X. Chen et al., "InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial
    Nets", NIPS 2016, arXiv:1606.03657 (``mutual_information``).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from ganfeat import BiGAN
    >>> rows = load_digits().data[:200]  # 8 x 8 images
    >>> model = BiGAN(n_components=10, architecture="mlp", width=32, max_iter=1, random_state=0).fit(rows)
    >>> model.transform(rows).shape, model.reconstruct(rows[:5]).shape
    ((200, 10), (5, 8, 8, 1))
    """

    method = "bigan"

    def __init__(
        self,
        *,
        n_components: int = 100,
        architecture: str = "conv",
        width: int | None = None,
        kernel_size: int = 5,
        generator_size: int | None = None,
        norm_epsilon: float = 1e-5,
        prior: str = "uniform",
        update_order: str = "simultaneous",
        augment: Sequence[str] = (),
        mutual_information: float = 0.0,
        n_codes: int = 10,
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
        self.n_components = n_components
        self.architecture = architecture
        self.width = width
        self.kernel_size = kernel_size
        self.generator_size = generator_size
        self.norm_epsilon = norm_epsilon
        self.prior = prior
        self.update_order = update_order
        self.augment = augment
        self.mutual_information = mutual_information
        self.n_codes = n_codes
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

    def _objective(self, image_shape: ImageShape) -> BiGANObjective:
        return self._game(self._plan(image_shape, joint=True))

    def _game(self, plan: Plan) -> BiGANObjective:
        require("mutual_information", self.mutual_information, float, least=0)
        require("n_codes", self.n_codes, int, least=1)
        return BiGANObjective(
            plan,
            simultaneous=self._simultaneous(),
            **self._transforms(),
            mutual_information=self.mutual_information,
            n_codes=self.n_codes,
        )


class ALI(BiGAN):
    """Adversarially learned inference: BiGAN with an encoder that gives a Gaussian; its mean is the feature.

    Parameters
    ----------
    As those of :class:`BiGAN`; z is normal by default.

    References
    ----------
    V. Dumoulin et al., "Adversarially Learned Inference", ICLR 2017, arXiv:1606.00704.
    """

    method = "ali"

    def __init__(
        self,
        *,
        n_components: int = 100,
        architecture: str = "conv",
        width: int | None = None,
        kernel_size: int = 5,
        generator_size: int | None = None,
        norm_epsilon: float = 1e-5,
        prior: str = "normal",
        update_order: str = "simultaneous",
        augment: Sequence[str] = (),
        mutual_information: float = 0.0,
        n_codes: int = 10,
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
        self.n_components = n_components
        self.architecture = architecture
        self.width = width
        self.kernel_size = kernel_size
        self.generator_size = generator_size
        self.norm_epsilon = norm_epsilon
        self.prior = prior
        self.update_order = update_order
        self.augment = augment
        self.mutual_information = mutual_information
        self.n_codes = n_codes
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

    def _objective(self, image_shape: ImageShape) -> BiGANObjective:
        return self._game(self._plan(image_shape, joint=True, stochastic=True))


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
        Random transforms of the images that the networks see.
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


class AutoEncoder(EncoderEstimator):
    """Autoencoder, plain or denoising; E(x) are the features.

    z has the prior's range, but nothing makes E(x) follow the prior, so :meth:`sample` draws poor images.

    Parameters
    ----------
    loss : {"l2", "l1"}
        Squared or absolute error, summed over pixels in [0, 1].
    noise : float
        Standard deviation of Gaussian noise on what E sees, pixels in [0, 1]; 0 for a plain autoencoder.
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
    augment : sequence of {"translate", "affine", "flip", "cutout", "colour"}
        Random transforms of the images, before the noise; G must give the transformed image.
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
    objective_ : ganfeat.objectives.autoencoder.AutoEncoder
        The trained networks, batch-norm statistics re-estimated on the training images.
    encoder_, generator_ : torch.nn.Module
    history_ : list of dict
        The records of the training.
    image_shape_ : (height, width, channels)
    n_iter_ : int
        Epochs trained.
    finished_ : bool
        Whether the last fit ran to its end.

    References
    ----------
    P. Vincent et al., "Stacked Denoising Autoencoders", JMLR 11, 2010.
    """

    method = "autoencoder"

    def __init__(
        self,
        *,
        loss: str = "l2",
        noise: float = 0.0,
        n_components: int = 100,
        architecture: str = "conv",
        width: int | None = None,
        kernel_size: int = 5,
        generator_size: int | None = None,
        norm_epsilon: float = 1e-5,
        prior: str = "uniform",
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
        self.loss = loss
        self.noise = noise
        self.n_components = n_components
        self.architecture = architecture
        self.width = width
        self.kernel_size = kernel_size
        self.generator_size = generator_size
        self.norm_epsilon = norm_epsilon
        self.prior = prior
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

    def _objective(self, image_shape: ImageShape) -> AutoEncoderObjective:
        require("noise", self.noise, float, least=0)
        return AutoEncoderObjective(
            self._plan(image_shape, joint=False), loss=self.loss, noise=self.noise, **self._transforms()
        )
