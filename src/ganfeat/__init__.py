"""Features from unlabelled images, learned by generative adversarial networks.

Names are imported when they are first used, so that ``import ganfeat`` and ``ganfeat --help`` answer at
once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ganfeat.version import __version__ as __version__

_HOMES = {
    "ACGAN": "ganfeat.estimators",
    "ALI": "ganfeat.estimators",
    "AutoEncoder": "ganfeat.estimators",
    "BiGAN": "ganfeat.estimators",
    "CatGAN": "ganfeat.estimators",
    "DCGAN": "ganfeat.estimators",
    "FeatureExtractor": "ganfeat.features",
    "ImageDataset": "ganfeat.data",
    "InputError": "ganfeat.errors",
    "KMeansFeatures": "ganfeat.probes",
    "KNNClassifier": "ganfeat.probes",
    "LatentRegressor": "ganfeat.estimators",
    "LinearSVM": "ganfeat.probes",
    "LogisticProbe": "ganfeat.probes",
    "MGAN": "ganfeat.estimators",
    "RunError": "ganfeat.errors",
    "SoftmaxRegression": "ganfeat.probes",
    "StreamingPCA": "ganfeat.projection",
    "SubspaceSplit": "ganfeat.subspace",
    "few_label_curve": "ganfeat.probes",
    "load": "ganfeat.estimators",
    "load_images": "ganfeat.data",
}

__all__ = [
    "ACGAN",
    "ALI",
    "DCGAN",
    "MGAN",
    "AutoEncoder",
    "BiGAN",
    "CatGAN",
    "FeatureExtractor",
    "ImageDataset",
    "InputError",
    "KMeansFeatures",
    "KNNClassifier",
    "LatentRegressor",
    "LinearSVM",
    "LogisticProbe",
    "RunError",
    "SoftmaxRegression",
    "StreamingPCA",
    "SubspaceSplit",
    "few_label_curve",
    "load",
    "load_images",
]

if TYPE_CHECKING:
    from ganfeat.data import ImageDataset, load_images
    from ganfeat.errors import InputError, RunError
    from ganfeat.estimators import ACGAN, ALI, DCGAN, MGAN, AutoEncoder, BiGAN, CatGAN, LatentRegressor, load
    from ganfeat.features import FeatureExtractor
    from ganfeat.probes import (
        KMeansFeatures,
        KNNClassifier,
        LinearSVM,
        LogisticProbe,
        SoftmaxRegression,
        few_label_curve,
    )
    from ganfeat.projection import StreamingPCA
    from ganfeat.subspace import SubspaceSplit


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'ganfeat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
