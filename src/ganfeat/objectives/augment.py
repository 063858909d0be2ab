"""Differentiable augmentation of what a discriminator sees (after Zhao et al. 2020, "DiffAugment").

In a GAN (and a latent regressor) real and generated images pass the same random transforms, so that D cannot memorise
a small training set and G is not pushed to draw the transforms. Where D sees an image with its code (BiGAN, ALI), the
transformed images are the data, and G learns to draw them. All take and give ``(N, C, H, W)`` in [-1, 1]; pixels from
beyond the border repeat the border.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import affine_grid, grid_sample

from ganfeat.errors import InputError

Transform = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(n, generator=generator, device=generator.device) * (high - low) + low


def _warp(x_NCHW: torch.Tensor, theta_N23: torch.Tensor) -> torch.Tensor:
    grid = affine_grid(theta_N23, list(x_NCHW.shape), align_corners=False)
    warped = grid_sample(x_NCHW.float(), grid, padding_mode="border", align_corners=False)
    return warped.contiguous(memory_format=torch.channels_last)


def translate(x_NCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift by whole pixels, up to an eighth of each side (after DiffAugment's translation)."""
    n, _, height, width = x_NCHW.shape
    device = x_NCHW.device

    def source(side: int) -> torch.Tensor:
        shift = torch.randint(-(side // 8), side // 8 + 1, (n, 1), generator=generator, device=generator.device).to(
            device
        )
        return (torch.arange(side, device=device) + shift).clamp_(0, side - 1)

    rows, columns = source(height), source(width)
    batch = torch.arange(n, device=device)[:, None, None]
    moved_NHWC = x_NCHW.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
    return moved_NHWC.permute(0, 3, 1, 2)


def affine(x_NCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rotate by up to 15 degrees, scale by 0.85 to 1.15, shear by up to 0.2, about the centre."""
    n = len(x_NCHW)
    angle = _uniform(n, -0.26, 0.26, generator)
    scale = _uniform(n, 0.85, 1.15, generator)
    shear = _uniform(n, -0.2, 0.2, generator)
    cosine, sine = angle.cos(), angle.sin()
    zero = torch.zeros_like(angle)
    aspect = x_NCHW.shape[2] / x_NCHW.shape[3]  # coordinates run from -1 to 1 along either side
    theta = torch.stack(
        [
            torch.stack([cosine * scale, (shear - sine) * aspect, zero], 1),
            torch.stack([sine / aspect, cosine * scale, zero], 1),
        ],
        1,
    )
    return _warp(x_NCHW, theta.to(x_NCHW.device))


def flip(x_NCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror left and right with probability one half."""
    mirrored = (_uniform(len(x_NCHW), 0.0, 1.0, generator) < 0.5).to(x_NCHW.device)
    return torch.where(mirrored[:, None, None, None], x_NCHW.flip(3), x_NCHW)


def cutout(x_NCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Set a square of a third of each side, at a random place, to mid-grey (0)."""
    n, _, height, width = x_NCHW.shape
    device = x_NCHW.device

    def outside(side: int) -> torch.Tensor:
        centre = _uniform(n, 0, side, generator).to(device)
        return (torch.arange(side, device=device) + 0.5 - centre[:, None]).abs() > side / 6

    kept = outside(height)[:, :, None] | outside(width)[:, None, :]
    return x_NCHW * kept[:, None].to(x_NCHW.dtype)


def colour(x_NCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Brightness, saturation and contrast at random (DiffAugment's colour)."""
    n, device, shape = len(x_NCHW), x_NCHW.device, (-1, 1, 1, 1)
    x_NCHW = x_NCHW + _uniform(n, -0.5, 0.5, generator).to(device).view(shape)
    mean = x_NCHW.mean(1, keepdim=True)
    x_NCHW = (x_NCHW - mean) * _uniform(n, 0.0, 2.0, generator).to(device).view(shape) + mean
    mean = x_NCHW.mean((1, 2, 3), keepdim=True)
    return (x_NCHW - mean) * _uniform(n, 0.5, 1.5, generator).to(device).view(shape) + mean


TRANSFORMS: dict[str, Transform] = {
    "affine": affine,
    "colour": colour,
    "cutout": cutout,
    "flip": flip,
    "translate": translate,
}


class Augment:
    """A sequence of transforms by name; empty is the identity. ``setting`` is what the names were given as.

    Raises
    ------
    InputError
        If a name is not one of :data:`TRANSFORMS`.
    """

    def __init__(self, names: Sequence[str] = (), setting: str = "augment") -> None:
        for name in names or ():
            if name not in TRANSFORMS:
                raise InputError(f"{setting}={name!r} is not known: choose from {', '.join(TRANSFORMS)}")
        self.names = tuple(names or ())

    def __call__(self, x_NCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Apply them in turn, with fresh randomness for every image."""
        for name in self.names:
            x_NCHW = TRANSFORMS[name](x_NCHW, generator)
        return x_NCHW
