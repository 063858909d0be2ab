"""Features of images in files that other tools read: parquet with lists of fixed size, and ``.npy``.

A parquet file has a column ``id`` of strings, ``label`` (int64 or strings, -1 or null where unknown) if there are
labels, ``features`` (a list of as many float32 or float16 a row), and further lists of fixed size, such as ``pixels``
of uint8. Row groups are small enough that a reader of one at a time needs little memory. Floats have no dictionaries:
no two are alike, and building one costs many times the writing.
"""

from ganfeat.feature_files.reading import CARD, SUFFIXES, FeatureTable, Rows, open_features, read_labels
from ganfeat.feature_files.writing import PartWriter, write_part

__all__ = ["CARD", "SUFFIXES", "FeatureTable", "PartWriter", "Rows", "open_features", "read_labels", "write_part"]
