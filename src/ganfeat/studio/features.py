"""Features of the real images: a map of them in two dimensions, clusters, and nearest neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import Response
from numpy.typing import NDArray

from ganfeat.data import ImageDataset
from ganfeat.studio.encode import data_uri, png
from ganfeat.studio.jobs import Job
from ganfeat.studio.parameters import Index, Network, awaited, image, plain
from ganfeat.studio.session import Session

MOST_POINTS = 2000
"""On the map: t-SNE of more takes longer than a person waits."""
COMPONENTS = 50
CLUSTERS = 10
THUMBNAIL = 32
"""Pixels: larger images are shown smaller on the map."""
MEMORY = 2**28
"""Bytes of features that are kept in float32; of more, in float16."""
BLOCK = 512


@dataclass
class FeatureMap:
    """What is known of the features of the data."""

    features: NDArray[np.floating]
    """Of an image that is kept in float16, divided by ``scales``."""
    scales: NDArray[np.float32]
    norms: NDArray[np.float32]
    """Of ``features``."""
    rows: NDArray[np.int64]
    answer: dict[str, Any]
    sprite: bytes


def feature_routes(session: Session) -> APIRouter:
    """Routes of the page *Features*, without the channels."""
    routes = APIRouter()

    def asked(network: str | None) -> Job:
        data, name = session.images(), session.check_network(network)
        return session.jobs.ask(("features", name), lambda job: make_map(session, data, name, job))

    @routes.get("/features")
    def points(network: Network = None, labels: bool = True) -> Any:
        found = awaited(asked(network))
        if not isinstance(found, FeatureMap):
            return found
        return found.answer if labels else {**found.answer, "labels": None, "classes": None}

    @routes.get("/features/sprite.png")
    def sprite(network: Network = None) -> Any:
        found = awaited(asked(network))
        return image(found.sprite) if isinstance(found, FeatureMap) else found

    @routes.get("/data/image.png")
    def one(i: Index) -> Response:
        return image(png(session.images().images[checked(session.images(), i)]))

    @routes.get("/neighbours")
    def near(i: Index, network: Network = None, k: Annotated[int, Query(ge=1, le=64)] = 8) -> Any:
        data = session.images()
        checked(data, i)
        found = awaited(asked(network))
        if not isinstance(found, FeatureMap):
            return found
        rows, distances, usual = nearest(found, i, k)
        return {
            "i": i,
            "label": label(data, i),
            "measure": "cosine distance",
            "usual": usual,
            "neighbours": [
                {"i": int(row), "distance": float(d), "label": label(data, int(row)), "image": data_uri(data[int(row)])}
                for row, d in zip(rows, distances, strict=True)
            ],
        }

    return routes


def checked(data: ImageDataset, i: int) -> int:
    """An index of the data, or 404."""
    if i >= len(data):
        raise HTTPException(404, f"there is no image {i}: there are {len(data)}, 0 to {len(data) - 1}")
    return i


def label(data: ImageDataset, i: int) -> str | None:
    """The name of an image's class, where it is known."""
    if data.labels is None or (found := int(data.labels[i])) < 0:
        return None
    return data.classes[found] if data.classes is not None and found < len(data.classes) else str(found)


def make_map(session: Session, data: ImageDataset, network: str, job: Job) -> FeatureMap:
    """Features of all images; a map and clusters of some."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    n = len(data)
    extractor = session.extractor(network)
    dtype = np.float32 if 4 * n * extractor.n_features_out_ <= MEMORY else np.float16
    features = np.empty((n, extractor.n_features_out_), dtype)
    scales, norms = np.ones((n, 1), np.float32), np.empty(n, np.float32)
    tell = job.counted(0.0, 0.5, f"features of {n:,} images")
    for start in range(0, n, BLOCK):
        with session.reading:
            block = extractor.transform(data.images[start : start + BLOCK])
        if dtype == np.float16:  # which ends at 65,504; a direction is the same at any length
            scale = scales[start : start + BLOCK]
            scale[:] = np.abs(block).max(axis=1, keepdims=True)
            block = block / np.maximum(scale, np.finfo(np.float32).tiny)
        norms[start : start + BLOCK] = np.linalg.norm(block, axis=1)
        features[start : start + BLOCK] = block
        tell(start + len(block), n)
    rows = np.linspace(0, n - 1, min(n, MOST_POINTS)).round().astype(np.int64)
    chosen = features[rows] * scales[rows]
    job.update(0.5, "principal components")
    components = min(COMPONENTS, *chosen.shape)
    solver = "randomized" if components < min(chosen.shape) else "full"
    main = PCA(components, svd_solver=solver, random_state=session.seed).fit_transform(chosen)
    job.update(0.6, "clusters")
    k = max(1, min(CLUSTERS, len(np.unique(main, axis=0))))
    clusters = KMeans(k, n_init=3, random_state=session.seed).fit_predict(main)
    job.update(0.7, f"laying {len(rows):,} points out by t-SNE")
    note = f"t-SNE of the first {components} principal components"
    if len(rows) > 4 and k > 1:
        perplexity = min(30.0, (len(rows) - 1) / 3)
        start = main[:, :2] / max(float(main[:, 0].std()), 1e-12) * 1e-4
        flat = TSNE(2, init=padded(start), perplexity=perplexity, random_state=session.seed).fit_transform(main)
    else:
        flat, note = padded(main[:, :2]), "principal components: there are too few images for t-SNE"
    job.update(0.95, "thumbnails")
    if len(rows) < n:
        note += f"; {len(rows):,} of {n:,} images, evenly spaced"
    sheet, size, columns = thumbnails(data.images, rows)
    labels = None if data.labels is None else data.labels[rows].tolist()
    answer = {
        "network": network,
        "n": len(rows),
        "indices": rows.tolist(),
        "points": plain(scaled(flat).round(4).tolist()),
        "labels": labels,
        "classes": None if labels is None else classes(data),
        "clusters": clusters.tolist(),
        "n_clusters": k,
        "sprite": {"url": f"/api/features/sprite.png?network={network}", "size": size, "columns": columns},
        "note": f"{note[0].upper()}{note[1:]}. Clusters: {k}-means of the same components. "
        f"Features: {extractor.n_features_out_:,} numbers of the {network}.",
    }
    return FeatureMap(features, scales, norms, rows, answer, sheet)


def classes(data: ImageDataset) -> list[str]:
    """Names of all labels."""
    assert data.labels is not None
    most = int(data.labels.max(initial=-1)) + 1
    names = [] if data.classes is None else list(data.classes)
    return [names[i] if i < len(names) else str(i) for i in range(max(most, len(names)))]


def padded(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Points of two coordinates, of which the second may be missing."""
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1]))).astype(np.float32)


def scaled(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Into the unit square, one scale for both axes, in its middle."""
    points = points.astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(float((high - low).max()), 1e-12)
    return (points - (low + high) / 2) / side + 0.5


def thumbnails(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> tuple[bytes, int, int]:
    """A PNG of images without gaps, the side of each, and how many are in a row."""
    step = math.ceil(max(images.shape[1:3]) / THUMBNAIL)
    size = math.ceil(max(images.shape[1:3]) / step)
    columns = math.ceil(math.sqrt(len(rows)))
    sheet = np.zeros((math.ceil(len(rows) / columns) * size, columns * size, images.shape[3]), np.uint8)
    for place, row in enumerate(rows):
        top, left = (place // columns) * size, (place % columns) * size
        small = shrunk(images[row], step)
        sheet[top : top + small.shape[0], left : left + small.shape[1]] = small
    return png(sheet), size, columns


def shrunk(picture: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """The mean of every ``step x step`` pixels; what is left over at the edge repeats the edge."""
    if step == 1:
        return picture
    height, width, channels = picture.shape
    full = np.pad(picture, ((0, -height % step), (0, -width % step), (0, 0)), mode="edge")
    return full.reshape(full.shape[0] // step, step, -1, step, channels).mean(axis=(1, 3)).astype(np.uint8)


def nearest(found: FeatureMap, i: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64], float | None]:
    """The images whose features point most nearly where those of image ``i`` do, itself left out.

    Their cosine distances, too, and the median one of all images.
    """
    query = found.features[i].astype(np.float32)
    products = np.empty(len(found.features), np.float64)
    for start in range(0, len(products), BLOCK):
        products[start : start + BLOCK] = found.features[start : start + BLOCK].astype(np.float32, copy=False) @ query
    distances = 1 - products / np.maximum(found.norms.astype(np.float64) * found.norms[i], 1e-30)
    others = np.delete(distances, i)
    distances[i] = np.inf
    rows = np.argsort(distances, kind="stable")[: min(k, len(distances) - 1)]
    return rows, np.maximum(distances[rows], 0), plain(float(np.median(others))) if len(others) else None
