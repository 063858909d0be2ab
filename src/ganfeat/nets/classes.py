"""DCGAN's networks with classes: a G that is given one, and discriminators that tell them.

Shape legend: N images, C channels, H height, W width, D latent components, F features, K classes.
"""

from __future__ import annotations

import torch
from torch import nn

from ganfeat.arrays import ImageShape
from ganfeat.nets.dcgan import Discriminator, Generator


class ConditionalGenerator(Generator):
    """DCGAN's G of z and a class, which stands one-hot behind z (Odena, Olah & Shlens 2017, arXiv:1610.09585).

    Parameters
    ----------
    image_shape : (height, width, channels)
    n_classes : int
    n_components : int
        Length of z, without the class.
    width, kernel_size, convs_per_scale, norm_epsilon
        As in :class:`~ganfeat.nets.dcgan.Generator`.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        n_classes: int,
        n_components: int = 100,
        width: int = 64,
        kernel_size: int = 5,
        convs_per_scale: int = 1,
        norm_epsilon: float = 1e-5,
    ) -> None:
        super().__init__(
            image_shape, n_components + n_classes, width, kernel_size, convs_per_scale, norm_epsilon=norm_epsilon
        )

    def forward(self, z_ND: torch.Tensor, class_NK: torch.Tensor | None = None) -> torch.Tensor:
        """Images ``(N, C, H, W)`` in [-1, 1] of z ``(N, D)`` and one-hot classes ``(N, K)``, or of both in one."""
        return super().forward(z_ND if class_NK is None else torch.cat([z_ND, class_NK], 1))


class Trunk(nn.Module):
    """The convolutions of DCGAN's :class:`~ganfeat.nets.dcgan.Discriminator`, as ``blocks``, with a head of one's own.

    Parameters
    ----------
    image_shape : (height, width, channels)
    n_outputs : int
        Of the head.
    width, kernel_size, convs_per_scale, norm_epsilon
        As there.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        n_outputs: int,
        width: int = 64,
        kernel_size: int = 5,
        convs_per_scale: int = 1,
        norm_epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        whole = Discriminator(image_shape, width, kernel_size, convs_per_scale, norm_epsilon)
        self.blocks = whole.blocks
        self.head = nn.Linear(whole.head.in_features, n_outputs)

    def features(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """What the head reads: the last maps as rows ``(N, F)``."""
        return self.blocks(x_NCHW).permute(0, 2, 3, 1).flatten(1)  # as they lie in memory: no copy


class CategoricalDiscriminator(Trunk):
    """Images to categories, and nothing about their source (Springenberg 2016, arXiv:1511.06390).

    Parameters as of :class:`Trunk`, with a head of as many outputs as there are categories.
    """

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """``(N, channels, height, width)`` to logits of the categories ``(N, K)``."""
        return self.head(self.features(x_NCHW))


class ClassifyingDiscriminator(Trunk):
    """Images to their source, real or generated, by one head, and to their class by another (Odena et al. 2017).

    Parameters
    ----------
    image_shape : (height, width, channels)
    n_classes : int
    width, kernel_size, convs_per_scale, norm_epsilon
        As in :class:`~ganfeat.nets.dcgan.Discriminator`.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        n_classes: int,
        width: int = 64,
        kernel_size: int = 5,
        convs_per_scale: int = 1,
        norm_epsilon: float = 1e-5,
    ) -> None:
        super().__init__(image_shape, 1, width, kernel_size, convs_per_scale, norm_epsilon)
        self.class_head = nn.Linear(self.head.in_features, n_classes)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """``(N, channels, height, width)`` to logits of the source ``(N,)``, positive for real."""
        return self.judge(x_NCHW)[0]

    def judge(self, x_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the source ``(N,)`` and of the classes ``(N, K)``."""
        features_NF = self.features(x_NCHW)
        return self.head(features_NF).squeeze(1), self.class_head(features_NF)


class ClassHead(nn.Module):
    """A :class:`ClassifyingDiscriminator` as a network from images to logits of classes ``(N, K)``."""

    def __init__(self, discriminator: ClassifyingDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """``(N, channels, height, width)`` to ``(N, K)``."""
        return self.discriminator.judge(x_NCHW)[1]
