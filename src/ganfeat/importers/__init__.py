"""Importers: weights that others trained and released, as fitted estimators. One file a source."""

from ganfeat.importers.dcgan_code import import_dcgan_code

__all__ = ["import_dcgan_code"]
