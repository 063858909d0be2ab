"""The DCGAN authors' released weights (github.com/Newmu/dcgan_code), as a fitted :class:`~ganfeat.DCGAN`.

A network was saved as numbered ``.npy`` arrays beside a pickle: of G ``w, g, b, w2, g2, b2, ..., wx``, of D
``w, w2, g2, b2, ..., wy``, in the order of our parameters. The pickle is never opened; it holds nothing more.

Theano's convolutions flip their kernels and PyTorch's do not, so every kernel is turned by 180 degrees. D's head
is over maps flattened channel by channel, ours pixel by pixel. Their batch norm, with 1e-8 added to the variance,
always uses the statistics of the batch at hand. None were saved, so they are estimated here: G's on z, D's on images.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganfeat.arrays import ImageShape, all_finite, as_images, fingerprint, to_uint8
from ganfeat.config import require
from ganfeat.device import resolve_device, resolve_precision
from ganfeat.errors import InputError
from ganfeat.estimators import DCGAN
from ganfeat.nets.batchnorm import recalibrate
from ganfeat.nets.blocks import SMALLEST_MAP, initialise
from ganfeat.nets.dcgan import layout
from ganfeat.objectives.gan import GAN
from ganfeat.training import RECALIBRATION_BATCHES, Batches

NETWORKS = {"discrim": "discriminator", "gen": "generator"}
NORM_EPSILON = 1e-8
BATCH = 128
"""Of the estimation of batch-norm statistics, as in the authors' code."""
LATENT_BATCHES = 100

_FILE = re.compile(r"(?:(?P<epoch>.+)_)?(?P<network>discrim|gen)_params\.jl_(?P<number>\d+)\.npy")
Arrays = dict[str, NDArray[Any]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Released:
    """The arrays of one epoch, by the names of their files, in order."""

    epoch: str
    discriminator: Arrays
    generator: Arrays


def import_dcgan_code(
    folder: Path | str,
    *,
    epoch: str | int | None = None,
    images: Any = None,
    prior: str | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "fp32",
    progress: Progress | None = None,
) -> DCGAN:
    """Make a fitted DCGAN of the arrays in a folder.

    Sizes come from the arrays' shapes: kernels, maps, length of z, one or two convolutions per halving. Images are
    square, and the smallest maps 4 x 4.

    Parameters
    ----------
    folder : Path or str
        With files such as ``200_gen_params.jl_01.npy``.
    epoch : str or int, optional
        What the names begin with, where there are several. By default the largest number.
    images : ImageDataset or array ``uint8 (n, height, width, channels)``, optional
        To estimate D's batch-norm statistics on, and those of its untrained twin: best the images that it learned from.
        At most 64,000 are used. By default 12,800 of G's own.
    prior : {"uniform", "normal"}, optional
        Distribution of z, which the arrays do not tell. By default as the authors had it: ``normal`` for the network
        of three layers (SVHN), else ``uniform``.
    seed : int
        Of the z and the order of images that statistics are estimated on, and of the untrained twin's weights.
    device : {"auto", "cpu", "cuda", "mps"}
    precision : {"auto", "bf16", "fp32"}
        Of the estimator; the statistics are estimated in fp32.
    progress : callable, optional
        Called with (done, total), in batches.

    Returns
    -------
    DCGAN
        Fitted. :meth:`~ganfeat.DCGAN.save` makes a run folder of it.

    Raises
    ------
    InputError
        If there are no such arrays, one is missing, damaged, of another shape than the others ask for, or has values
        that are not finite; or if the images are not of the network's shape.

    References
    ----------
    A. Radford, L. Metz, S. Chintala, "Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks", ICLR 2016, arXiv:1511.06434, and its released code.
    """
    require("seed", seed, int, least=0, below=2**62)
    released = read_arrays(Path(folder), epoch)
    image_shape, settings = detect(released)
    settings["prior"] = prior or settings["prior"]
    model = DCGAN(**settings, random_state=seed, device=device, precision=precision)
    where = resolve_device(device)
    resolve_precision(precision, where)  # a typo should not wait for the statistics
    gan, untrained = (_new_gan(image_shape, settings, seed).to(where) for _ in range(2))
    fill(gan, released)
    checked = None if images is None else _checked_images(images, image_shape)
    statistics = _estimate(gan, untrained, checked, seed, where, progress)
    if images is not None:
        statistics["discriminator"] += f" of {getattr(images, 'source', '') or 'an array'}"
    digests = [fingerprint(array) for array in (*released.discriminator.values(), *released.generator.values())]
    data = {
        "source": str(folder),
        "imported": f"the arrays {released.epoch}_* of dcgan_code" if released.epoch else "arrays of dcgan_code",
        "epochs": int(released.epoch) if released.epoch.isdecimal() else 1,
        "fingerprint": hashlib.sha256("".join(digests).encode()).hexdigest(),
        "statistics": statistics,
    }
    return model.adopt(dict(gan.state_dict()), dict(untrained.state_dict()), image_shape=image_shape, data=data)


# ---------------------------------------------------------------------- files


def read_arrays(folder: Path, epoch: str | int | None = None) -> Released:
    """Read both networks' arrays of one epoch, whole sequences of them or nothing.

    Raises
    ------
    InputError
        As :func:`import_dcgan_code` says.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}: give the one of the arrays"
        )
    found: dict[str, dict[str, set[int]]] = {}
    for path in folder.iterdir():
        match = _FILE.fullmatch(path.name)
        if match and path.is_file():
            networks = found.setdefault(match["epoch"] or "", {name: set() for name in NETWORKS})
            networks[match["network"]].add(int(match["number"]))
    if not found:
        raise InputError(
            f"{folder} has no arrays of dcgan_code: their names are like 200_gen_params.jl_01.npy and "
            "200_discrim_params.jl_01.npy"
        )
    chosen = _choose(found, epoch, folder)
    names = _names(found[chosen], chosen, folder)
    return Released(chosen, *({name: _read(folder / name) for name in names[network]} for network in NETWORKS))


def _choose(found: Mapping[str, Any], epoch: str | int | None, folder: Path) -> str:
    """The epoch that is asked for, or the newest."""
    if epoch is not None:
        if str(epoch) not in found:
            raise InputError(f"{folder} has no epoch {epoch}: it has {', '.join(sorted(found))}")
        return str(epoch)
    if len(found) > 1 and not all(name.isdecimal() for name in found):
        raise InputError(f"{folder} has several networks: choose one with --epoch (epoch=): {', '.join(sorted(found))}")
    return max(found, key=lambda name: int(name) if name.isdecimal() else 0)


def _names(numbers: Mapping[str, set[int]], epoch: str, folder: Path) -> dict[str, list[str]]:
    """Names of all files of both networks; n layers are 3 n - 1 arrays of D and 3 n + 1 of G."""

    def name(network: str, number: int) -> str:
        return f"{epoch}_{network}_params.jl_{number:02d}.npy".removeprefix("_")

    for network, other in (("discrim", "gen"), ("gen", "discrim")):
        if not numbers[network]:
            raise InputError(
                f"{folder / name(network, 1)} is missing: there are arrays of the {NETWORKS[other]} and none of the "
                f"{NETWORKS[network]}, and both networks are needed"
            )
    last = {network: max(numbers[network]) for network in NETWORKS}
    layers = max(2, math.ceil((last["discrim"] + 1) / 3), math.ceil((last["gen"] - 1) / 3))
    counts = {"discrim": 3 * layers - 1, "gen": 3 * layers + 1}
    names: dict[str, list[str]] = {}
    for network, count in counts.items():
        for number in range(1, count + 1):
            if number not in numbers[network]:
                raise InputError(
                    f"{folder / name(network, number)} is missing: a network of {layers} layers, as the other files "
                    f"tell, has {counts['discrim']} arrays of D and {counts['gen']} of G"
                )
        names[network] = [name(network, number) for number in range(1, count + 1)]
    return names


def _read(path: Path) -> NDArray[Any]:
    """Open one array, without reading its content yet; pickles inside are refused."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, SyntaxError) as error:
        raise InputError(
            f"{path} is truncated, damaged, or no .npy file of numbers (pickles are never opened): {error}"
        ) from None
    if array.dtype.kind != "f":
        raise InputError(f"{path} is of dtype {array.dtype}: weights are floating-point numbers")
    return array


# ---------------------------------------------------------------------- shapes


def detect(released: Released) -> tuple[ImageShape, dict[str, Any]]:
    """Tell the network from the shapes of its arrays.

    Returns
    -------
    image_shape : (height, width, channels)
    settings : dict
        Parameters of :class:`~ganfeat.DCGAN`.

    Raises
    ------
    InputError
        If a shape does not fit the others: the message names the file, what was found and what was expected.
    """
    d, g = list(released.discriminator.items()), list(released.generator.items())
    layers = (len(d) + 1) // 3
    kernels = [d[0], *d[1:-1:3], *g[3::3]]
    for name, array in kernels:
        _expect(name, array, array.ndim == 4 and array.shape[2] == array.shape[3], "(maps, maps, side, side)")
    for name, array in (d[-1], g[0]):
        _expect(name, array, array.ndim == 2, "(inputs, outputs)")
    width, channels, kernel_size = d[0][1].shape[:3]
    doubled = layers >= 4 and layers % 2 == 0 and d[1][1].shape[0] == width
    convs_per_scale = 2 if doubled else 1
    side = SMALLEST_MAP * 2 ** (layers // convs_per_scale)
    image_shape: ImageShape = (side, side, channels)
    maps = tuple(array.shape[0] for _, array in g[3::3])
    settings = {
        "n_components": g[0][1].shape[0],
        "width": width,
        "kernel_size": kernel_size,
        "convs_per_scale": convs_per_scale,
        "generator_maps": None if list(maps) == layout(image_shape, width, convs_per_scale).maps[:0:-1] else maps,
        "norm_epsilon": NORM_EPSILON,
        "prior": "normal" if layers == 3 else "uniform",
    }
    with torch.device("meta"):
        gan = GAN(image_shape, **settings)
    for name, array, _, parameter in _pairs(gan, released):
        wanted = tuple(parameter.shape)[:: -1 if parameter.ndim == 2 else 1]
        _expect(name, array, array.shape == wanted, str(wanted))
    return image_shape, settings


def _expect(name: str, array: NDArray[Any], fits: bool, wanted: str) -> None:
    if not fits:
        raise InputError(f"{name} has shape {array.shape}, expected {wanted} beside the other arrays")


# ---------------------------------------------------------------------- weights


def _pairs(gan: GAN, released: Released) -> Iterator[tuple[str, NDArray[Any], str, torch.nn.Parameter]]:
    """Every array with the parameter it is for; D's head has no bias of theirs."""
    for network in NETWORKS.values():
        parameters = [(f"{network}.{k}", v) for k, v in getattr(gan, network).named_parameters() if k != "head.bias"]
        for (name, array), (key, parameter) in zip(getattr(released, network).items(), parameters, strict=True):
            yield name, array, key, parameter


@torch.no_grad()
def fill(gan: GAN, released: Released) -> None:
    """Put the arrays into the networks, in place.

    Raises
    ------
    InputError
        If one holds values that are not finite.
    """
    for name, array, key, parameter in _pairs(gan, released):
        with np.errstate(over="ignore"):
            values = torch.from_numpy(np.array(array, np.float32))
        if not all_finite(values.numpy()):
            raise InputError(f"{name} has NaN or infinite values: it is damaged, fetch it again")
        if key == "discriminator.head.weight":  # over (maps, rows, columns) to over (rows, columns, maps)
            values = values.view(-1, SMALLEST_MAP, SMALLEST_MAP).permute(1, 2, 0).reshape(-1, 1)
        parameter.copy_(values.flip(2, 3) if values.ndim == 4 else values.T if values.ndim == 2 else values)
    gan.discriminator.head.bias.zero_()


def _new_gan(image_shape: ImageShape, settings: dict[str, Any], seed: int) -> GAN:
    """As the estimator makes it, so that its untrained twin is this one."""
    with torch.random.fork_rng(devices=[]):
        gan = GAN(image_shape, **settings)
    initialise(gan, torch.Generator().manual_seed(seed))
    return gan.to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]


# ---------------------------------------------------------------------- statistics


def _checked_images(images: Any, image_shape: ImageShape) -> NDArray[np.uint8]:
    array = np.asarray(getattr(images, "images", images))
    if array.dtype != np.uint8:
        raise InputError(f"the images are {array.dtype}: give uint8, 0..255, as load_images does")
    if array.ndim not in (3, 4):
        raise InputError(f"the images must be (n, height, width, channels), not {array.shape}")
    array = as_images(array, image_shape)
    if len(array) < 2:
        raise InputError(f"{len(array)} image(s): at least 2 are needed to estimate batch-norm statistics on")
    return array


@torch.no_grad()
def _estimate(
    gan: GAN,
    untrained: GAN,
    images: NDArray[np.uint8] | None,
    seed: int,
    device: torch.device,
    progress: Progress | None,
) -> dict[str, str]:
    """Estimate all batch-norm statistics, in place; say on what."""
    gan.eval()
    per_pass = LATENT_BATCHES if images is None else min(RECALIBRATION_BATCHES, max(1, len(images) // BATCH))
    total = 2 * LATENT_BATCHES + 2 * per_pass if images is None else LATENT_BATCHES + 2 * per_pass
    done = 0

    def counted(batches: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        nonlocal done
        for batch in batches:
            yield batch
            done += 1
            if progress is not None:
                progress(done, total)

    def latents(offset: int) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed + offset)
        return (gan.draw_latents(BATCH, generator).to(device) for _ in range(LATENT_BATCHES))

    recalibrate(gan.generator, counted(latents(0)))
    if images is None:
        on = f"{LATENT_BATCHES * BATCH:,} pictures of G's own"
        pictures = (gan.generator(z_ND).permute(0, 2, 3, 1).cpu().numpy() for z_ND in counted(latents(1)))
        images = np.concatenate([to_uint8(x_NHWC) for x_NHWC in pictures])
    else:
        on = f"{min(len(images), per_pass * BATCH):,} images"
    batches = Batches(images, BATCH, seed, device)
    for network in (gan.discriminator, untrained.discriminator):
        recalibrate(network, counted(batches.at(k) for k in range(per_pass)))
    return {"generator": f"{LATENT_BATCHES} batches of {BATCH} z", "discriminator": on}
