"""How alike two pictures are once one is laid over the other as well as it can be.

The largest correlation of the middle 24 x 24 pixels of one picture with any 24 x 24 window of the other, at three
sizes; and the same with the pictures exchanged; the smaller of the two is the likeness. A correlation is of all
channels at once, and the smaller of that of the pictures and that of their details (less what they are when much
blurred): light and shade alone make pictures of different things alike, two faces before a dark wall for one.
Brightness changes nothing of it, nor does contrast up to a factor of 2; a shift by up to 4 pixels or an enlargement
by up to about 15 % change little. (Template matching by normalised cross-correlation, by Fourier transforms: J. P.
Lewis, "Fast Normalized Cross-Correlation", Vision Interface 1995.)
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ganfeat.prepare.duplicates.small import SIDE

if TYPE_CHECKING:
    import torch

WINDOW = 24
"""Side of what is compared."""
REACH = SIDE - WINDOW + 1
ZOOMS = (1.0, 1.1, 1 / 1.1)
HOPELESS = 0.5
"""Pairs that are less alike than this at their own sizes and in grey are not looked at any further."""
_TENT, _WIDE = 1.5, 5.0
"""Half-widths in pixels of what pictures are blurred by."""
_FLOOR = 1.5 / 255
"""Contrast that counts as none: pictures of a plain wall are alike only if they are the same."""
_GAIN = 2.0
"""Contrasts that differ by more are not of the same picture."""
_PAIRS = 512


def likeness(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Largest correlation of pictures, pair by pair.

    Parameters
    ----------
    first, second : ndarray of uint8, shape (m, 32, 32, c)

    Returns
    -------
    ndarray of float32, shape (m,)
        In [-1, 1], whichever of the two is first. Pictures with a contrast of a few grey levels get less than their
        correlation.
    """
    import torch

    alike = np.empty(len(first), np.float32)
    with torch.inference_mode():
        for start in range(0, len(first), _PAIRS):
            part = slice(start, start + _PAIRS)
            a, b = (_planes(pictures[part]) for pictures in (first, second))
            best = _both_ways(a.mean(dim=1, keepdim=True), b.mean(dim=1, keepdim=True), ZOOMS[:1])
            hopeful = best >= HOPELESS
            if hopeful.any():
                best[hopeful] = _both_ways(a[hopeful], b[hopeful], ZOOMS)
            alike[part] = best.numpy()
    return alike


def _planes(pictures: NDArray[np.uint8]) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).to(torch.float32) / 255


def _both_ways(a_NCHW: torch.Tensor, b_NCHW: torch.Tensor, zooms: tuple[float, ...]) -> torch.Tensor:
    import torch

    return torch.minimum(_correlation(a_NCHW, b_NCHW, zooms), _correlation(b_NCHW, a_NCHW, zooms))


def _correlation(a_NCHW: torch.Tensor, b_NCHW: torch.Tensor, zooms: tuple[float, ...]) -> torch.Tensor:
    """The middle of ``a``, enlarged, against all windows of ``b``: the best window's smaller correlation of two."""
    import torch

    best = torch.full((len(a_NCHW),), -1.0)
    plain, fine = (_Windows(_through(b_NCHW, SIDE, 1.0, detail)) for detail in (False, True))
    for zoom in zooms:
        both = [windows.against(_through(a_NCHW, WINDOW, zoom, windows is fine)) for windows in (plain, fine)]
        best = torch.maximum(best, torch.minimum(*both).flatten(1).amax(dim=1))
    return best


class _Windows:
    """All windows of pictures, to be correlated with others."""

    def __init__(self, planes_NCHW: torch.Tensor) -> None:
        import torch

        planes_NCHW = planes_NCHW - planes_NCHW.mean(dim=(1, 2, 3), keepdim=True)
        self.numbers = WINDOW * WINDOW * planes_NCHW.shape[1]
        sums_NYX, squares_NYX = (_window_sums(planes).sum(dim=1) for planes in (planes_NCHW, planes_NCHW.square()))
        self.energy = (squares_NYX - sums_NYX.square() / self.numbers).clamp_min(0)  # of each, less its mean
        self.spectrum = torch.fft.rfft2(planes_NCHW)

    def against(self, middle_NCHW: torch.Tensor) -> torch.Tensor:
        """Correlations of one window with all, ``(n, 9, 9)``."""
        import torch

        middle_NCHW = middle_NCHW - middle_NCHW.mean(dim=(1, 2, 3), keepdim=True)
        own = middle_NCHW.square().sum(dim=(1, 2, 3))[:, None, None]
        product = (torch.fft.rfft2(middle_NCHW, s=(SIDE, SIDE)).conj() * self.spectrum).sum(dim=1)
        across = torch.fft.irfft2(product, s=(SIDE, SIDE))[:, :REACH, :REACH]
        least = _FLOOR**2 * self.numbers
        apart = torch.maximum(own, self.energy) > _GAIN**2 * torch.minimum(own, self.energy) + least
        return (across / ((own + least) * (self.energy + least)).sqrt()).masked_fill(apart, 0)


def _through(planes_NCHW: torch.Tensor, pixels: int, zoom: float, detail: bool) -> torch.Tensor:
    """Planes seen through a lens: a little blurred; of ``detail``, less what they are when much blurred."""
    import torch

    def seen(tent: float) -> torch.Tensor:
        lens = _sampling(pixels, zoom, tent)
        return torch.einsum("ih,nchw,jw->ncij", lens, planes_NCHW, lens)

    return seen(_TENT) - seen(_WIDE) if detail else seen(_TENT)


def _window_sums(planes: torch.Tensor) -> torch.Tensor:
    """Sums over every window, ``(n, c, 9, 9)``, from an integral image."""
    import torch

    integral = torch.nn.functional.pad(planes.double().cumsum(dim=2).cumsum(dim=3), (1, 0, 1, 0))
    far, near = slice(WINDOW, None), slice(0, REACH)
    return (
        integral[..., far, far] - integral[..., far, near] - integral[..., near, far] + integral[..., near, near]
    ).float()


@functools.cache
def _sampling(pixels: int, zoom: float, tent: float) -> torch.Tensor:
    """Weights that take ``pixels`` samples in the middle of 32, ``1 / zoom`` apart, through a tent."""
    import torch

    centres = (SIDE - 1) / 2 + (torch.arange(pixels) - (pixels - 1) / 2) / zoom
    weights = (1 - (centres[:, None] - torch.arange(SIDE)).abs() / tent).clamp_min(0)
    return weights / weights.sum(dim=1, keepdim=True)
