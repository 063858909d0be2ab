"""CIFAR-10 by a DCGAN's discriminator and an L2-SVM (DCGAN, section 5.1 and table 1).

The paper's discriminator learned from ImageNet-1k. Here it learns from CIFAR-10's training images alone, with DCGAN's
networks and losses; the authors' own SVHN network, imported, is scored beside it.

What differs from the paper's settings was chosen on training images only; see docs/log.md.
"""

from __future__ import annotations

from dataclasses import replace

from ganfeat.probes import PROTOCOLS
from ganfeat.recipes.tables import Published, Recipe, Scale

CS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)

RECIPE = Recipe(
    name="dcgan-cifar10",
    about="L2-SVM on the discriminator's layers, CIFAR-10: all labels, and 400 of each class",
    data="CIFAR-10's parquet files, train-*.parquet and test-*.parquet",
    files={"train": ("train-*.parquet", "train.parquet"), "test": ("test-*.parquet", "test.parquet")},
    protocols={
        "all labels": replace(PROTOCOLS["all-labels"], Cs=CS),
        "400 per class": replace(PROTOCOLS["400-per-class"], Cs=CS),
    },
    scales={
        "smoke": Scale(
            {"width": 8, "max_iter": 1, "augment": ("flip",)},
            centroids=16,
            images=1000,
            test=500,
            expects="a minute; its numbers mean nothing",
        ),
        "cpu": Scale(
            {
                "width": 64,
                "augment": ("flip", "translate"),
                "batch_size": 64,
                "learning_rate": 4e-4,
                "max_iter": 22,
            },
            centroids=400,
            expects="about an hour on 2 CPU cores",
        ),
        "full": Scale(
            {
                "width": 128,
                "kernel_size": 3,
                "convs_per_scale": 2,
                "n_components": 256,
                "augment": ("flip", "translate"),
                "batch_size": 128,
                "learning_rate": 4e-4,
                "max_iter": 200,
            },
            centroids=1600,
            expects="a GPU; not measured yet",
        ),
    },
    published=(
        Published("DCGAN trained on ImageNet-1k", 82.8, "Radford et al. 2016, table 1"),
        Published("k-means, one layer", 80.6, "Radford et al. 2016, table 1"),
        Published("k-means, three layers", 82.0, "Radford et al. 2016, table 1"),
        Published("Exemplar CNN", 84.3, "Radford et al. 2016, table 1"),
        Published(
            "D of StyleGAN2-ADA trained on CIFAR-10, several layers, linear classifier",
            77.58,
            'Yang et al. 2022, "Distilling Representations from GAN Generator via Squeeze and Span", table 1',
        ),
    ),
    targets={
        "cpu": ("our DCGAN, with mirror images", "all labels", 72.0),
        "full": ("our DCGAN, with mirror images", "all labels", 77.58),
    },
    mirror=True,
    imported="the authors' SVHN network",
)
