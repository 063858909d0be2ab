"""Fewer numbers an image: principal components, whitened or not, learned from features that pass by in blocks."""

from ganfeat.projection.estimator import StreamingPCA
from ganfeat.projection.files import PROJECTION, project
from ganfeat.projection.fit import MOST_COLUMNS, fit_projection
from ganfeat.projection.linear import Projection

__all__ = ["MOST_COLUMNS", "PROJECTION", "Projection", "StreamingPCA", "fit_projection", "project"]
