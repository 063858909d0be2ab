"""The scikit-learn door: a network is fitted to images, and transforms images into features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganfeat.checkpoint import RunFolder
from ganfeat.config import suggest
from ganfeat.errors import InputError
from ganfeat.estimators.acgan import ACGAN
from ganfeat.estimators.autoencoder import AutoEncoder
from ganfeat.estimators.base import GANEstimator
from ganfeat.estimators.bigan import ALI, BiGAN
from ganfeat.estimators.catgan import CatGAN
from ganfeat.estimators.dcgan import DCGAN
from ganfeat.estimators.mgan import MGAN
from ganfeat.estimators.regressor import LatentRegressor

__all__ = ["ACGAN", "ALI", "DCGAN", "METHODS", "MGAN", "AutoEncoder", "BiGAN", "CatGAN", "LatentRegressor", "load"]

METHODS: dict[str, type[GANEstimator]] = {
    estimator.method: estimator for estimator in (DCGAN, BiGAN, ALI, LatentRegressor, AutoEncoder, MGAN, ACGAN, CatGAN)
}


def load(path: Path | str, *, device: str = "auto") -> Any:
    """Load a model from a run folder.

    Parameters
    ----------
    path : Path or str
        A folder written by ``ganfeat train``, ``fit(run=...)`` or ``save``.
    device : {"auto", "cpu", "cuda", "mps"}

    Returns
    -------
    DCGAN (or the estimator of the run's method), fitted

    Raises
    ------
    InputError
        If it is no run folder, was written by a later version, or is damaged.
    """
    folder = RunFolder(path)
    config = folder.config()
    name = config.get("method")
    if name not in METHODS:
        raise InputError(
            f"{path} was trained by the method {name!r}, which this version does not have"
            f"{suggest(str(name), METHODS)}: it has {', '.join(METHODS)}"
        )
    try:
        return METHODS[name]._from_folder(folder, config, device)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}/config.json is damaged: {error!r} is missing or wrong") from None
