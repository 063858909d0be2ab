"""Semantic hashing by an autoencoder: the duplicates of the DCGAN paper.

"We fit a 3072-128-3072 de-noising dropout regularized RELU autoencoder on 32x32 downsampled center-crops of training
examples. The resulting code layer activations are then binarized via thresholding the ReLU activation which has been
shown to be an effective information preserving technique and provides a convenient form of semantic-hashing, allowing
for linear time de-duplication" (Radford et al. 2016, arXiv:1511.06434, section 4.1; Salakhutdinov & Hinton 2009 for
semantic hashing, Srivastava et al. 2015 for the thresholded code). Images whose 128 bits are all equal are duplicates.

The paper leaves open: the noise, the rate and place of dropout, the loss, the optimiser, the number of epochs, the
threshold, and how pixels are scaled. :class:`AutoencoderSettings` has what was chosen, by measurements on tuning
samples (docs/duplicates.md).

The set's mean picture is taken away from the input, and the encoder has no bias: so the mean of every unit's input is 0
over the set, and a unit is active for some images and not for others. With a bias, or with a common layout left in (the
dark border of digits), noise and dropout silence every unit for all images alike, and all images share one hash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ganfeat.errors import InputError
from ganfeat.prepare.duplicates.small import BLOCK, chosen

if TYPE_CHECKING:
    import torch

BITS = 128
BYTES = BITS // 8
_FLOOR = 0.05
_SPREAD = 0.25
"""Standard deviation of the inputs: with it Adam's usual learning rate is right."""


@dataclass(frozen=True)
class AutoencoderSettings:
    """What the paper leaves open.

    Parameters
    ----------
    noise : float
        Standard deviation of the Gaussian noise on the input, in units of the picture's own contrast.
    dropout : float
        Share of the code's units that are silent at a training step.
    threshold : float
        A bit is 1 where its unit is above; 0 asks whether the ReLU is active.
    epochs : int
        Of Adam in minibatches.
    batch_size : int
    learning_rate : float
    sample : int
        Images to train on at most, drawn at random: it bounds the time of training.
    scaled : bool
        Whether each picture is brought to mean 0 and contrast 1 first.
    """

    noise: float = 4.0
    dropout: float = 0.5
    threshold: float = 0.0
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    sample: int = 50_000
    scaled: bool = True

    def __post_init__(self) -> None:
        if self.noise < 0 or not 0 <= self.dropout < 1 or self.learning_rate <= 0:
            raise InputError("noise must not be negative, dropout in [0, 1), learning_rate positive")
        if min(self.epochs, self.batch_size, self.sample) < 1:
            raise InputError("epochs, batch_size and sample must be at least 1")


@dataclass(frozen=True, eq=False)
class HashingAutoencoder:
    """The weights.

    Attributes
    ----------
    settings : AutoencoderSettings
    tensors : dict
        ``mean (p,)`` of the scaled pictures it was trained on, ``encoder.weight (128, p)``, ``decoder.weight (p, 128)``
        and ``decoder.bias (p,)``, with ``p = 1024 * channels``.
    """

    settings: AutoencoderSettings
    tensors: dict[str, torch.Tensor]

    def codes(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Activations of the ReLU layer, ``(n, 128)``, of pictures ``uint8 (n, 32, 32, c)``."""
        import torch

        with torch.inference_mode():
            rows_NP = inputs(pictures, self.settings.scaled) - self.tensors["mean"]
            return _encode(rows_NP, self.tensors).numpy()

    def hashes(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """128 bits a picture, ``(n, 16)``."""
        return np.packbits(self.codes(pictures) > self.settings.threshold, axis=1)


def spread(hashes: NDArray[np.uint8]) -> tuple[int, float]:
    """How far hashes tell images apart.

    Parameters
    ----------
    hashes : ndarray of uint8, shape (n, 16)

    Returns
    -------
    live : int
        Bits, of 128, that are 1 for at least 1 % of the images and for at most 99 %.
    entropy : float
        Of each bit, summed, in bits: at most 128. As bits are correlated, it is an upper bound of the hash's own.

    Examples
    --------
    >>> spread(np.array([[255] * 16, [0] * 16, [255] * 8 + [0] * 8, [0] * 16], np.uint8))
    (128, 115.9...)
    """
    ones = np.zeros(BITS, np.int64)
    for start in range(0, len(hashes), BLOCK):
        ones += np.unpackbits(hashes[start : start + BLOCK], axis=1).sum(axis=0, dtype=np.int64)
    share = ones / max(1, len(hashes))
    parts = np.stack([share, 1 - share])
    entropy = -(parts * np.log2(parts, where=parts > 0, out=np.zeros_like(parts))).sum()
    return int(((share >= 0.01) & (share <= 0.99)).sum()), float(entropy)


def inputs(pictures: NDArray[np.uint8], scaled: bool = True) -> torch.Tensor:
    """Rows of float32 ``(n, 1024 * channels)`` from pictures ``uint8 (n, 32, 32, c)``, the set's mean not yet off."""
    import torch

    rows_NP = torch.from_numpy(np.ascontiguousarray(pictures).reshape(len(pictures), -1)).to(torch.float32) / 255
    if not scaled:
        return rows_NP - 0.5
    rows_NP -= rows_NP.mean(dim=1, keepdim=True)
    contrast_N1 = rows_NP.square().mean(dim=1, keepdim=True).sqrt()
    return rows_NP * (_SPREAD / (contrast_N1 + _FLOOR))


def train(
    images: NDArray[np.uint8],
    settings: AutoencoderSettings,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> HashingAutoencoder:
    """Fit the autoencoder to a random sample of a set.

    Parameters
    ----------
    images : ndarray or memmap of uint8, shape (n, h, w, 1 or 3)
        At least 2.
    settings : AutoencoderSettings
    seed : int
        Decides the sample, the weights, the noise and the dropout.
    progress : callable(done, total), optional
        Called after each epoch.

    Notes
    -----
    The loss is the squared error summed over pixels, between what the decoder (linear) gives and the input without
    noise. The last minibatch of an epoch is left out where it is not full.
    """
    import torch

    sample = np.random.default_rng(seed).permutation(len(images))[: settings.sample]
    pictures = chosen(images, np.sort(sample))
    generator = torch.Generator().manual_seed(seed)
    mean_P = _mean(pictures, settings.scaled)
    tensors = _initial(mean_P.numel(), generator)
    for tensor in tensors.values():
        tensor.requires_grad_()
    optimiser = torch.optim.Adam(tensors.values(), settings.learning_rate)
    batch = min(settings.batch_size, len(pictures))
    for epoch in range(settings.epochs):
        order = torch.randperm(len(pictures), generator=generator).numpy()
        for start in range(0, len(pictures) - batch + 1, batch):
            clean_NP = inputs(pictures[order[start : start + batch]], settings.scaled) - mean_P
            noise_NP = torch.empty_like(clean_NP).normal_(0, settings.noise * _SPREAD, generator=generator)
            code_NB = _encode(clean_NP + noise_NP, tensors)
            alive_NB = torch.rand(code_NB.shape, generator=generator) >= settings.dropout
            code_NB = code_NB * alive_NB / (1 - settings.dropout)
            again_NP = torch.nn.functional.linear(code_NB, tensors["decoder.weight"], tensors["decoder.bias"])
            loss = (again_NP - clean_NP).square().sum(dim=1).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        if progress is not None:
            progress(epoch + 1, settings.epochs)
    return HashingAutoencoder(settings, {"mean": mean_P, **{name: own.detach() for name, own in tensors.items()}})


def _encode(rows_NP: torch.Tensor, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.relu(torch.nn.functional.linear(rows_NP, tensors["encoder.weight"]))


def _mean(pictures: NDArray[np.uint8], scaled: bool) -> torch.Tensor:
    """Mean of all rows, ``(p,)``: a part of them may be one class of a sorted set."""
    import torch

    total_P = torch.zeros(pictures[0].size, dtype=torch.float64)
    for start in range(0, len(pictures), BLOCK):
        total_P += inputs(pictures[start : start + BLOCK], scaled).sum(dim=0, dtype=torch.float64)
    return (total_P / len(pictures)).to(torch.float32)


def _initial(pixels: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Uniform within 1 / sqrt(inputs), as ``torch.nn.Linear``; the decoder's bias starts at 0, the mean picture."""
    import torch

    return {
        "encoder.weight": torch.empty(BITS, pixels).uniform_(-1, 1, generator=generator) / pixels**0.5,
        "decoder.weight": torch.empty(pixels, BITS).uniform_(-1, 1, generator=generator) / BITS**0.5,
        "decoder.bias": torch.zeros(pixels),
    }
