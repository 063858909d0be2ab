"""Which network, and which of its layers? Every layer of several networks under one few-label protocol.

Modules: ``compare`` (the measurement), ``networks`` (runs, and all their layers in one pass), ``images`` (what is
learned from and what is held out, and what the networks have seen of it), ``findings`` (what the rows say).
"""

from ganfeat.comparison.compare import compare_networks

__all__ = ["compare_networks"]
