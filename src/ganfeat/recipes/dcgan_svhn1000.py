"""SVHN with 1,000 labels by a DCGAN's discriminator and an L2-SVM (DCGAN, section 5.2 and table 2).

10,000 training images validate C; 100 draws of 100 labels of each class; features as they are. With ``--weights``, the
authors' released network is scored too: the very one of the paper.
"""

from __future__ import annotations

from ganfeat.probes import PROTOCOLS
from ganfeat.recipes.tables import Published, Recipe, Scale

_OURS = {"width": 64, "prior": "normal", "learning_rate": 5e-4, "batch_size": 64}

RECIPE = Recipe(
    name="dcgan-svhn1000",
    about="L2-SVM on the discriminator's layers, SVHN with 1,000 labels",
    data="SVHN's cropped digits, train_32x32.mat and test_32x32.mat, or the Hub's parquet files",
    files={
        "train": ("train_32x32.mat", "train-*.parquet", "train.parquet"),
        "test": ("test_32x32.mat", "test-*.parquet", "test.parquet"),
    },
    protocols={"1,000 labels": PROTOCOLS["svhn-1000"]},
    scales={
        "smoke": Scale(
            {**_OURS, "width": 8, "max_iter": 1},
            centroids=16,
            images=12_000,
            test=500,
            expects="some minutes; its numbers mean nothing",
        ),
        "cpu": Scale({**_OURS, "max_iter": 12}, centroids=400, expects="one to two hours on 2 CPU cores; not measured"),
        "full": Scale({**_OURS, "max_iter": 200}, centroids=1600, expects="a GPU; not measured"),
    },
    published=(
        Published("DCGAN + L2-SVM (22.48 % error)", 77.52, "Radford et al. 2016, table 2"),
        Published("supervised CNN of the same shape (28.87 % validation error)", 71.13, "Radford et al. 2016, table 2"),
        Published("ALI, L2-SVM (19.14 % error)", 80.86, "Dumoulin et al. 2017"),
    ),
    imported="the authors' SVHN network",
)
