"""How good are the features: probes, and the protocols by which they are asked."""

from ganfeat.probes.curves import compare, few_label_curve
from ganfeat.probes.intervals import margin
from ganfeat.probes.kmeans import KMeansFeatures
from ganfeat.probes.knn import KNNClassifier
from ganfeat.probes.logistic import LogisticProbe
from ganfeat.probes.protocols import PROTOCOLS, FewLabels, Protocol
from ganfeat.probes.scaler import FeatureScaler
from ganfeat.probes.softmax import SoftmaxRegression
from ganfeat.probes.svm import LinearSVM

__all__ = [
    "PROTOCOLS",
    "FeatureScaler",
    "FewLabels",
    "KMeansFeatures",
    "KNNClassifier",
    "LinearSVM",
    "LogisticProbe",
    "Protocol",
    "SoftmaxRegression",
    "compare",
    "few_label_curve",
    "margin",
]
