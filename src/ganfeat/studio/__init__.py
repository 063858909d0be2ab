"""A page in the browser, served on this machine, to explore a run by hand: ``ganfeat studio RUN``."""
