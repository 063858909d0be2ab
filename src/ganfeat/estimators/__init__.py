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
from ganfeat.estimators.hub import fetch, is_hub_name
from ganfeat.estimators.mgan import MGAN
from ganfeat.estimators.regressor import LatentRegressor

__all__ = ["ACGAN", "ALI", "DCGAN", "METHODS", "MGAN", "AutoEncoder", "BiGAN", "CatGAN", "LatentRegressor", "load"]

METHODS: dict[str, type[GANEstimator]] = {
    estimator.method: estimator for estimator in (DCGAN, BiGAN, ALI, LatentRegressor, AutoEncoder, MGAN, ACGAN, CatGAN)
}


def load(path: Path | str, *, device: str = "auto", token: str | None = None) -> Any:
    """Load a model from a run folder, or from the Hugging Face Hub.

    Parameters
    ----------
    path : Path or str
        A folder written by ``ganfeat train``, ``fit(run=...)`` or ``save``; or ``"hf-hub:owner/name"``, with
        ``@revision`` if wanted: fetched into the cache of the Hub, or taken from there. Nothing fetched is code.
    device : {"auto", "cpu", "cuda", "mps"}
    token : str, optional
        For a private repository of the Hub; by default the one that a person has logged in with.

    Returns
    -------
    DCGAN (or the estimator of the run's method), fitted

    Raises
    ------
    InputError
        If it is no run folder, was written by a later version, or is damaged; if there is no such model on the Hub.
    RunError
        If the Hub cannot be reached, and no copy is kept.
    """
    folder = RunFolder(fetch(str(path), token=token) if is_hub_name(path) else path)
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
