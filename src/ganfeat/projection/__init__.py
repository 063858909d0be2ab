"""Fewer numbers an image: principal components, whitened or not, learned from features that pass by in blocks."""

from ganfeat.projection.estimator import StreamingPCA
from ganfeat.projection.files import PROJECTION, beside, check_target, find_projection, project, projection_of
from ganfeat.projection.fit import MOST_COLUMNS, fit_projection
from ganfeat.projection.linear import Projection

__all__ = [
    "MOST_COLUMNS",
    "PROJECTION",
    "Projection",
    "StreamingPCA",
    "beside",
    "check_target",
    "find_projection",
    "fit_projection",
    "project",
    "projection_of",
]
