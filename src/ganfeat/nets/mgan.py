"""M-GAN's networks: several generators in one, and two judges that share layers (Hoang et al. 2018, ICLR).

As tabled in table 1 of "Discriminator as a feature extractor" (arXiv preprint of January 2020), for 32 x 32 images:
4 x 4 kernels, strides of two with a padding of one, from maps of 4 x 4 on; D and C end in a convolution over the whole
last map, without norm and without activation, whose outputs are the features. Other sizes have as many strided
layers as bring the shorter side below 8.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import linear

from ganfeat.arrays import ImageShape
from ganfeat.errors import InputError

KERNEL = 4
LARGEST_LAST_MAP = 8
"""A side at least this long is halved once more."""


def sides(image_shape: ImageShape) -> list[tuple[int, int]]:
    """Heights and widths of the maps from the image down, odd sides rounded down.

    >>> sides((32, 32, 1)), sides((28, 28, 1))
    ([(32, 32), (16, 16), (8, 8), (4, 4)], [(28, 28), (14, 14), (7, 7)])

    Raises
    ------
    InputError
        If the images are smaller than 8 pixels on either side.
    """
    height, width, _ = image_shape
    if min(height, width) < LARGEST_LAST_MAP:
        raise InputError(
            f"images of {height} x {width} are too small for these networks: give at least "
            f"{LARGEST_LAST_MAP} x {LARGEST_LAST_MAP}, load_images(source, size=32)"
        )
    found = [(height, width)]
    while min(found[-1]) >= LARGEST_LAST_MAP:
        found.append((found[-1][0] // 2, found[-1][1] // 2))
    return found


def count_convs(image_shape: ImageShape) -> int:
    """Convolutions of D and of C: the strided ones, and the one that gives the features. Four for 32 x 32."""
    return len(sides(image_shape))


def generator_of_rows(n: int, n_generators: int, device: torch.device | None = None) -> torch.Tensor:
    """Which generator draws each of ``n`` rows, as evenly as can be: ``int64 (n,)``, ascending.

    >>> generator_of_rows(5, 2)
    tensor([0, 0, 0, 1, 1])
    """
    return torch.arange(n, device=device) * n_generators // n


def first_layers(firsts: nn.ModuleList, z_ND: torch.Tensor, k_N: torch.Tensor | None = None) -> torch.Tensor:
    """What the generators' own first layers make of their rows of z; ``k_N`` as for :class:`MultiGenerator`."""
    if k_N is None:
        k_N = generator_of_rows(len(z_ND), len(firsts))
    counts = torch.bincount(k_N.cpu(), minlength=len(firsts)).tolist()
    return torch.cat([first(z) for first, z in zip(firsts, torch.split(z_ND, counts), strict=True) if len(z)])


class MultiGenerator(nn.Module):
    """K generators, each with a first layer of its own; all other layers are shared.

    Parameters
    ----------
    image_shape : (height, width, channels)
    n_generators : int
        K.
    n_components : int
        Length of z.
    width : int
        Maps of the last hidden layer; twice as many at every scale before it.
    """

    def __init__(
        self, image_shape: ImageShape, n_generators: int = 10, n_components: int = 128, width: int = 128
    ) -> None:
        super().__init__()
        up = sides(image_shape)[::-1]
        maps = [width * 2**i for i in reversed(range(len(up) - 1))]
        self.n_generators = n_generators
        first_map = (maps[0], *up[0])
        self.firsts = nn.ModuleList(
            nn.Sequential(  # a transposed convolution of one pixel is a linear map
                nn.Linear(n_components, maps[0] * up[0][0] * up[0][1], bias=False),
                nn.Unflatten(1, first_map),
                nn.BatchNorm2d(maps[0]),
                nn.ReLU(inplace=True),
            )
            for _ in range(n_generators)
        )
        layers: list[nn.Module] = []
        channels = [*maps, image_shape[2]]
        for i in range(len(maps)):
            odd = (up[i + 1][0] - 2 * up[i][0], up[i + 1][1] - 2 * up[i][1])
            layers.append(
                nn.ConvTranspose2d(
                    channels[i], channels[i + 1], KERNEL, stride=2, padding=1, output_padding=odd, bias=False
                )
            )
            if i < len(maps) - 1:
                layers += [nn.BatchNorm2d(channels[i + 1]), nn.ReLU(inplace=True)]
        self.shared = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z_ND: torch.Tensor, k_N: torch.Tensor | None = None) -> torch.Tensor:
        """``(N, n_components)`` to ``(N, channels, height, width)`` in [-1, 1].

        ``k_N`` says, in ascending order, which generator draws each row; by default all draw equally many
        (:func:`generator_of_rows`).
        """
        return self.shared(first_layers(self.firsts, z_ND, k_N).contiguous(memory_format=torch.channels_last))


class WholeMap(nn.Conv2d):
    """A convolution whose kernel is as large as the map: its output has one pixel.

    While it learns, it is computed as the matrix product that it is, in half the time; and oneDNN's bf16 gradients are
    wrong for maps of one pixel.
    """

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """``(N, in_channels, *kernel_size)`` to ``(N, out_channels, 1, 1)``."""
        if not self.training:
            return super().forward(x_NCHW)  # what the feature extractor sees is a convolution
        rows_NF = x_NCHW.permute(0, 2, 3, 1).flatten(1)  # as they lie in memory
        return linear(rows_NF, self.weight.permute(0, 2, 3, 1).flatten(1))[:, :, None, None]


def judge_blocks(image_shape: ImageShape, width: int, n_features: int) -> list[nn.Module]:
    """Make the convolutional blocks of D or C, from the image down; the last gives ``n_features`` maps of one pixel."""
    sizes = sides(image_shape)
    maps = [image_shape[2], *(width * 2**i for i in range(len(sizes) - 1))]
    blocks: list[nn.Module] = []
    for i in range(len(maps) - 1):
        norm = [nn.BatchNorm2d(maps[i + 1])] if i else []
        blocks.append(
            nn.Sequential(
                nn.Conv2d(maps[i], maps[i + 1], KERNEL, stride=2, padding=1, bias=False),
                *norm,
                nn.LeakyReLU(0.2, inplace=True),
            )
        )
    return [*blocks, WholeMap(maps[-1], n_features, sizes[-1], bias=False)]


class Judge(nn.Module):
    """D or C: convolutional blocks, whose last gives the features, and a linear head without bias.

    Parameters
    ----------
    blocks : sequence of nn.Module
        As :func:`judge_blocks` makes them; those of another judge are shared with it.
    n_features : int
        Maps of the last block.
    n_outputs : int
        1 for D's logit, K for C's.
    """

    def __init__(self, blocks: Sequence[nn.Module], n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(n_features, n_outputs, bias=False)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits of images: ``(N,)`` for one output, else ``(N, n_outputs)``."""
        return self.judge(self.features(x_NCHW))

    def features(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """What the head reads: ``(N, n_features)``."""
        return self.blocks(x_NCHW).flatten(1)

    def judge(self, features_NF: torch.Tensor) -> torch.Tensor:
        """Logits of features."""
        logits = self.head(features_NF)
        return logits.squeeze(1) if self.head.out_features == 1 else logits
