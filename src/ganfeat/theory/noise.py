"""Noise on images ``(N, C, H, W)`` in [-1, 1], of several kinds and strengths; the size and the range are kept."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

Noise = Callable[[torch.Tensor, float, torch.Generator], torch.Tensor]


def _signs(x_NCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(0, 2, (len(x_NCHW), 1, 1, 1), generator=generator).to(x_NCHW) * 2 - 1


def gaussian(x_NCHW: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Add to every pixel a normal number of this standard deviation."""
    noise = torch.randn(x_NCHW.shape, generator=generator).to(x_NCHW)
    return (x_NCHW + strength * noise).clamp(-1, 1)


def salt_and_pepper(x_NCHW: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Make this share of the pixels black or white, all channels alike."""
    n, _, height, width = x_NCHW.shape
    chance = torch.rand((n, 1, height, width), generator=generator).to(x_NCHW)
    hit = torch.where(chance < strength / 2, -torch.ones_like(chance), torch.ones_like(chance))
    return torch.where(chance < strength, hit, x_NCHW)


def blur(x_NCHW: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Convolve with a Gaussian of this standard deviation in pixels; the border is repeated outwards."""
    radius = max(1, round(3 * strength))
    at = torch.arange(-radius, radius + 1, dtype=x_NCHW.dtype, device=x_NCHW.device)
    kernel = torch.exp(-at.square() / (2 * strength**2))
    kernel = kernel / kernel.sum()
    channels = x_NCHW.shape[1]
    for shape, pad in (((1, 1, -1, 1), (0, 0, radius, radius)), ((1, 1, 1, -1), (radius, radius, 0, 0))):
        weight = kernel.view(shape).repeat(channels, 1, 1, 1)
        x_NCHW = F.conv2d(F.pad(x_NCHW, pad, mode="replicate"), weight, groups=channels)
    return x_NCHW.clamp(-1, 1)


def brightness(x_NCHW: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Make the whole image lighter or darker by this."""
    return (x_NCHW + strength * _signs(x_NCHW, generator)).clamp(-1, 1)


def contrast(x_NCHW: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Move every pixel from or towards the image's mean by this share of its distance."""
    mean = x_NCHW.mean((1, 2, 3), keepdim=True)
    return (mean + (x_NCHW - mean) * (1 + strength * _signs(x_NCHW, generator))).clamp(-1, 1)


def translation(x_NCHW: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Shift by so many pixels along one axis, either way; the border is repeated."""
    by = int(strength)
    choices = [(0, by), (0, -by), (by, 0), (-by, 0)]
    padded = F.pad(x_NCHW, (by, by, by, by), mode="replicate")
    height, width = x_NCHW.shape[2:]
    shifted = [padded[:, :, by + dy : by + dy + height, by + dx : by + dx + width] for dy, dx in choices]
    which = torch.randint(0, len(choices), (len(x_NCHW),), generator=generator).to(x_NCHW.device)
    return torch.stack(shifted)[which, torch.arange(len(x_NCHW), device=x_NCHW.device)]


def occlusion(x_NCHW: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Cover a square of this share of the shorter side, at a random place, with mid-grey."""
    n, _, height, width = x_NCHW.shape
    side = max(1, round(strength * min(height, width)))
    covered = torch.ones((n, height, width), dtype=torch.bool, device=x_NCHW.device)
    for axis, length in ((1, height), (2, width)):
        start = torch.randint(0, length - side + 1, (n, 1), generator=generator).to(x_NCHW.device)
        at = torch.arange(length, device=x_NCHW.device)
        inside = (at >= start) & (at < start + side)
        covered &= inside[:, :, None] if axis == 1 else inside[:, None, :]
    return torch.where(covered[:, None], torch.zeros_like(x_NCHW), x_NCHW)


NOISES: dict[str, tuple[Noise, tuple[float, ...]]] = {
    "gaussian": (gaussian, (0.1, 0.2, 0.4)),
    "salt and pepper": (salt_and_pepper, (0.02, 0.05, 0.1)),
    "blur": (blur, (0.5, 1.0, 1.5)),
    "brightness": (brightness, (0.1, 0.2, 0.4)),
    "contrast": (contrast, (0.1, 0.2, 0.4)),
    "translation": (translation, (1, 2, 3)),
    "occlusion": (occlusion, (0.125, 0.25, 0.375)),
}
"""Kinds and strengths; intensities are of images in [-1, 1], where black and white are 2 apart."""
