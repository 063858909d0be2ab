"""The sets of features that a recipe scores, each made only when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ganfeat.config import FEATURE_SETS
from ganfeat.data import ImageDataset
from ganfeat.estimators import DCGAN
from ganfeat.features import FeatureExtractor, needs_file
from ganfeat.probes import KMeansFeatures, curves
from ganfeat.probes.baselines import principal_components

CENTRED = tuple(FEATURE_SETS[name] for name in curves.CENTRED)
"""Those of the sets here that are centred, not standardised, by the names that a table shows."""

Pair = tuple[NDArray[Any], NDArray[Any]]
"""Features to learn from, and of the test images."""
Make = Callable[[Path], Pair]
"""Makes a set of features; the folder takes what is too large for the memory."""


def baselines(
    train: ImageDataset, test: ImageDataset, centroids: int, seed: int, device: str = "auto"
) -> Iterator[tuple[str, Make]]:
    """Sets of features that no GAN made."""
    pixels = train.images.reshape(len(train), -1), test.images.reshape(len(test), -1)

    def kmeans(_: Path) -> Pair:
        model = KMeansFeatures(n_centroids=centroids, random_state=seed, device=device).fit(train.images)
        return model.transform(train.images), model.transform(test.images)

    yield "raw pixels", lambda _: pixels
    yield "PCA", lambda _: principal_components(*pixels)
    yield f"k-means, {centroids} centroids", kmeans


def of_network(
    name: str, gan: DCGAN, train: ImageDataset, test: ImageDataset, *, mirror: bool, recalibrate: bool = False
) -> Iterator[tuple[str, Make]]:
    """Features of the trained discriminator and of its untrained twin; averaged over mirror images too, if asked for.

    ``recalibrate`` estimates batch-norm statistics on the training images: for networks that learned from others.
    """

    def features(model: DCGAN, mirrored: bool, folder: Path) -> Pair:
        changes: dict[str, Any] = {"mirror": mirrored}
        if recalibrate:
            changes["bn"] = "recalibrate"
        extractor = model.extractor(**changes)
        if recalibrate:
            extractor.fit(train.images)
        return extract(extractor, train, test, folder)

    untrained = gan.random_init()
    for mirrored in (False, True)[: 2 if mirror else 1]:
        also = ", with mirror images" if mirrored else ""
        yield f"{name}, untrained{also}", lambda at, mirrored=mirrored: features(untrained, mirrored, at)  # type: ignore[misc]
        yield f"{name}{also}", lambda at, mirrored=mirrored: features(gan, mirrored, at)  # type: ignore[misc]


def extract(extractor: FeatureExtractor, train: ImageDataset, test: ImageDataset, folder: Path) -> Pair:
    """Features in memory, or in files of the folder if both together are large.

    Parameters
    ----------
    extractor : FeatureExtractor
        Fitted.
    train, test : ImageDataset
    folder : Path
        Temporary.

    Returns
    -------
    ndarrays or memory maps of float32 ``(n, n_features_out_)``

    Raises
    ------
    InputError
        If the disk of the folder has no room for them.
    """
    advice = "give --out on a larger disk, or a smaller --scale"
    if not needs_file(extractor, len(train) + len(test), folder, advice):
        return extractor.transform(train), extractor.transform(test)
    return extractor.transform_to(folder / "train.npy", train), extractor.transform_to(folder / "test.npy", test)
