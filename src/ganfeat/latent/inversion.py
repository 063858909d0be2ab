"""The z of an image, for a generator without an encoder: searched for by gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganfeat.config import require
from ganfeat.errors import InputError
from ganfeat.priors import get_prior
from ganfeat.training import to_networks

STARTS = 8
STEPS = 300
RATE = 0.1
BATCH = 256
"""Rows that go through G at a time: images times starts."""
_BEYOND = 2.0
_OWN = 0x696E76


@dataclass(frozen=True)
class Inversion:
    """What was found.

    Attributes
    ----------
    z : ndarray ``float32 (n, D)``
    errors : ndarray ``float64 (n,)``
        Root mean square difference between an image and G(z), pixels in 0..1.
    begun : ndarray ``float64 (n,)``
        The same of the best start, before any step.
    random : ndarray ``float64 (n,)``
        The same of the best of as many random z as the search has looked at (starts times steps): what looking
        without gradients gives. An error that is not far below it means that nothing was found.
    first : ndarray ``float64 (n,)`` or None
        The same of the ``first`` z that were given.
    """

    z: NDArray[np.float32]
    errors: NDArray[np.float64]
    begun: NDArray[np.float64]
    random: NDArray[np.float64]
    first: NDArray[np.float64] | None


def invert(
    decoder: nn.Module,
    images: NDArray[np.uint8],
    n_components: int,
    prior: str,
    *,
    starts: int = STARTS,
    steps: int = STEPS,
    first: NDArray[np.floating] | None = None,
    learning_rate: float = RATE,
    random_state: int = 0,
    progress: Callable[[float, float], None] = lambda done, total: None,
) -> Inversion:
    """Find z so that G(z) is as near to an image as can be.

    Adam on z itself, from several starts at once, of which the best is kept (Lipton and Tripathi 2017, "Precise
    recovery of latent vectors from generative adversarial networks"). The search stays where the prior puts z. Under a
    uniform prior a coordinate that leaves [-1, 1] is drawn anew (their "stochastic clipping": at the edge it would stay
    for good), in the last fifth of the steps it is put on the edge. Under a normal prior a z that is longer than
    ``sqrt(D) + 2``, beyond all but a few in ten thousand, is shortened to that.

    Parameters
    ----------
    decoder : nn.Module
        Maps z ``(N, D)`` to images ``(N, c, h, w)`` in [-1, 1], in evaluation mode.
    images : ``uint8 (n, h, w, c)``
        Of the size that the decoder draws.
    n_components : int
        D.
    prior : {"uniform", "normal"}
    starts : int
        The nearest of ``starts * steps`` random z, for each image its own.
    steps : int
    first : array ``(n, D)``, optional
        One more start for each image: what an encoder says. It may lie beyond the prior: the search then begins at
        the nearest point within, and where it finds none with a smaller error, ``first`` is the answer as it is.
    learning_rate : float
        At the beginning; it falls to 0 along half a cosine.
    random_state : int
        Seed: the same call finds the same z.
    progress : function
        Is told how many of how many steps are done.

    Returns
    -------
    Inversion

    Raises
    ------
    InputError
        If the images are not those that the decoder draws, or a setting is out of range.

    Notes
    -----
    The error is over pixels, so what is found is faithful in brightness and place before it is in what a person looks
    for; that an image has been found again says little of a network with as many numbers in z as there are pixels.
    """
    for name, value in (("n_components", n_components), ("starts", starts), ("steps", steps)):
        require(name, value, int, least=1)
    require("learning_rate", learning_rate, float, above=0)
    draw = get_prior(prior)
    device = next((p.device for p in decoder.parameters()), torch.device("cpu"))
    # not the seed itself: it names samples, sSEED.INDEX, and a search that begins at the answer finds it
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([random_state, _OWN]).generate_state(1)[0]))
    drawn = [draw(min(BATCH, starts * steps - i), n_components, generator) for i in range(0, starts * steps, BATCH)]
    _check(decoder, images, drawn[0][:1].to(device))
    if first is not None and np.shape(first) != (len(images), n_components):
        raise InputError(f"first must be one z for each image, {(len(images), n_components)}, not {np.shape(first)}")
    z_SD, random_I = _nearest(decoder, images, drawn, starts, device)
    begun_I, first_I = random_I, None
    if first is not None:
        given = torch.from_numpy(np.array(first, np.float32))
        z_SD = torch.cat([z_SD, _inside(given, prior)[:, None]], dim=1)
        first_I = torch.cat([_errors(decoder, g.to(device), x) for g, x in _parts(given, images, device)])
        begun_I = torch.minimum(begun_I, first_I)
    together = max(1, BATCH // z_SD.shape[1])
    found, errors = [], []
    chunks = math.ceil(len(images) / together)
    for chunk in range(chunks):
        part = slice(chunk * together, (chunk + 1) * together)

        def tell(done: float, before: int = chunk * steps) -> None:
            progress(before + done, chunks * steps)

        x_NHWC = torch.from_numpy(images[part]).to(device)
        z, error = _search(decoder, x_NHWC, z_SD[part].to(device), prior, steps, learning_rate, generator, tell)
        found.append(z)
        errors.append(error)
    z_ND, error_I = torch.cat(found), torch.cat(errors)
    if first_I is not None:
        worse = first_I < error_I
        z_ND, error_I = torch.where(worse[:, None], given, z_ND), torch.where(worse, first_I, error_I)
    return Inversion(
        z=z_ND.numpy(),
        errors=error_I.double().numpy(),
        begun=begun_I.double().numpy(),
        random=random_I.double().numpy(),
        first=None if first_I is None else first_I.double().numpy(),
    )


def off(images: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Root mean square difference of images ``(..., h, w, c)``, pixels in 0..1: ``float64 (...)``."""
    return np.sqrt(np.square(images.astype(np.float64) - wanted).mean(axis=(-3, -2, -1))) / 255


def _search(
    decoder: nn.Module,
    x_NHWC: torch.Tensor,
    z_NSD: torch.Tensor,
    prior: str,
    steps: int,
    learning_rate: float,
    generator: torch.Generator,
    progress: Callable[[float], None],
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best z of each image and its error, over all starts and steps."""
    n, starts, n_components = z_NSD.shape
    target = to_networks(x_NHWC).repeat_interleave(starts, dim=0)
    z = z_NSD.reshape(n * starts, n_components).clone().requires_grad_()
    best_z, best = z.detach().clone(), torch.full((n * starts,), math.inf, device=z.device)
    optimiser = torch.optim.Adam([z], lr=learning_rate)
    with torch.enable_grad():
        for step in range(steps + 1):
            loss = (decoder(z).float() - target).square().flatten(1).mean(dim=1)
            better = loss.detach() < best
            best = torch.where(better, loss.detach(), best)
            best_z[better] = z.detach()[better]
            if step == steps:
                break
            optimiser.param_groups[0]["lr"] = learning_rate * (1 + math.cos(math.pi * step / steps)) / 2
            (z.grad,) = torch.autograd.grad(loss.sum(), z)
            optimiser.step()
            with torch.no_grad():
                z.copy_(_inside(z, prior, generator if step < 0.8 * steps else None))
            progress(step + 1)
    least, which = best.view(n, starts).min(dim=1)
    chosen = best_z.view(n, starts, n_components)[torch.arange(n, device=z.device), which]
    return chosen.cpu(), _unit(least).cpu()


def _inside(z: torch.Tensor, prior: str, generator: torch.Generator | None = None) -> torch.Tensor:
    """Bring z ``(..., D)`` to where its prior is; with a generator, uniform coordinates beyond it are drawn anew."""
    if prior == "uniform":
        if generator is None:
            return z.clamp(-1, 1)
        anew = get_prior("uniform")(int(z[..., 0].numel()), z.shape[-1], generator).to(z.device).view_as(z)
        return torch.where(z.abs() > 1, anew, z)
    longest = math.sqrt(z.shape[-1]) + _BEYOND
    return z * (longest / z.norm(dim=-1, keepdim=True).clamp_min(longest))


@torch.no_grad()
def _nearest(
    decoder: nn.Module, images: NDArray[np.uint8], drawn: list[torch.Tensor], starts: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of random z the ``starts`` nearest to each image ``(n, starts, D)``, and the error of the nearest ``(n,)``."""
    x = to_networks(torch.from_numpy(images).to(device)).flatten(1)
    best, place = torch.empty(len(images), 0), torch.empty(len(images), 0, dtype=torch.int64)
    seen = 0
    for z in drawn:
        made = decoder(z.to(device)).float().flatten(1)
        squares = torch.cdist(x, made, compute_mode="donot_use_mm_for_euclid_dist").square().cpu() / x.shape[1]
        best = torch.cat([best, squares], dim=1)
        place = torch.cat([place, torch.arange(seen, seen + len(z)).expand(len(x), -1)], dim=1)
        best, kept = best.topk(min(starts, best.shape[1]), dim=1, largest=False)
        place = place.gather(1, kept)
        seen += len(z)
    return torch.cat(drawn)[place], _unit(best[:, 0])


@torch.no_grad()
def _errors(decoder: nn.Module, z: torch.Tensor, x_NHWC: torch.Tensor) -> torch.Tensor:
    return _unit((decoder(z).float() - to_networks(x_NHWC)).square().flatten(1).mean(dim=1)).cpu()


def _parts(z: torch.Tensor, images: NDArray[np.uint8], device: torch.device) -> Any:
    for i in range(0, len(images), BATCH):
        yield z[i : i + BATCH], torch.from_numpy(images[i : i + BATCH]).to(device)


def _unit(squares: torch.Tensor) -> torch.Tensor:
    """Mean squares of differences in [-1, 1] to root mean squares in 0..1."""
    return squares.sqrt() / 2


@torch.no_grad()
def _check(decoder: nn.Module, images: NDArray[np.uint8], z: torch.Tensor) -> None:
    if images.ndim != 4 or not len(images) or images.dtype != np.uint8:
        raise InputError(f"images must be uint8 (n, height, width, channels), not {images.dtype} {images.shape}")
    channels, height, width = decoder(z).shape[1:]
    if images.shape[1:] != (height, width, channels):
        raise InputError(
            f"images are {images.shape[1:]}, and this generator draws {(height, width, channels)} "
            "(height, width, channels): resize them"
        )
