"""What the study of discriminators claims, measured on a trained network: claims, evidence, verdicts.

("Discriminator as a feature extractor", preprint of January 2020, corollaries 3 and 4, theorems 1 to 3, proposition 6.)

Modules: ``measure`` (the whole of it), ``networks`` (a run's heads and what they read), ``noise``, ``resampling``
(intervals, random heads), ``claims`` (parts, rules, verdicts), and by what they are about ``invariance`` (corollary 3),
``spaces`` (corollary 4, and what separates real from generated), ``robustness`` and ``usefulness`` (theorem 1), and
``classes`` (proposition 6, theorems 2 and 3).
"""

from ganfeat.theory.measure import measure_theory

__all__ = ["measure_theory"]
