"""Packed sets: folders of decoded images with an index; ``sets.py`` reads them, ``set_writer.py`` writes them."""

from ganfeat.data.set_writer import Dropped, Row, SetWriter
from ganfeat.data.sets import PackedSet, is_set, nearest, open_dataset, open_set

__all__ = ["Dropped", "PackedSet", "Row", "SetWriter", "is_set", "nearest", "open_dataset", "open_set"]
