"""Readers: images from folders, parquet, IDX, NumPy files and arrays, as one :class:`ImageDataset`.

``images.py`` is what comes out and ``loading.py`` the door; ``sources.py`` tells what a source is, and
``folder.py``, ``tables.py``, ``array_files.py``, ``mat_files.py`` and ``bundled.py`` read its kind;
``decode.py`` turns one file into pixels, ``batch.py`` many; ``resize.py`` has sizes and channels,
``pack.py`` the memory map that is used again.
"""

from ganfeat.data.images import ImageDataset, Skipped
from ganfeat.data.loading import load_images

__all__ = ["ImageDataset", "Skipped", "load_images"]
