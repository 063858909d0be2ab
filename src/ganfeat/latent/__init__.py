"""The latent space of a generator: walks, arithmetic, directions, and the z of an image. Arrays in, arrays out."""

from ganfeat.latent.arithmetic import (
    Direction,
    along_direction,
    combine,
    combine_pixels,
    direction,
    noisy_neighbours,
)
from ganfeat.latent.inversion import Inversion, invert
from ganfeat.latent.references import DRAWN, read_reference, sample_reference, vector_reference
from ganfeat.latent.smoothness import Neighbours, Smoothness, Steps, smoothness
from ganfeat.latent.walks import along, walk

__all__ = [
    "DRAWN",
    "Direction",
    "Inversion",
    "Neighbours",
    "Smoothness",
    "Steps",
    "along",
    "along_direction",
    "combine",
    "combine_pixels",
    "direction",
    "invert",
    "noisy_neighbours",
    "read_reference",
    "sample_reference",
    "smoothness",
    "vector_reference",
    "walk",
]
