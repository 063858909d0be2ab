"""How good are the features: probes, and the protocols by which they are asked."""

from ganfeat.probes.protocols import FewLabels, compare, few_label_curve, margin
from ganfeat.probes.svm import LinearSVM

__all__ = ["FewLabels", "LinearSVM", "compare", "few_label_curve", "margin"]
