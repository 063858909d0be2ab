"""Readers: images from folders, parquet, IDX, NumPy files and arrays, as one :class:`ImageDataset`.

``images.py`` is what comes out and ``loading.py`` the door; ``sources.py`` tells what a source is, and
``folder.py``, ``tables.py``, ``array_files.py``, ``mat_files.py`` and ``bundled.py`` read its kind;
``decode.py`` turns one file into pixels, ``batch.py`` many; ``resize.py`` has sizes and channels,
``pack.py`` the memory map that is used again. What is too long for the memory is read in pieces: ``shards.py`` is the
door, ``divided.py`` tells what a source is, and ``listing.py``, ``tar_files.py``, ``pixel_files.py`` and ``hub.py``
read its kind. ``packed.py`` is the door to packed sets, which ``sets.py`` reads and ``set_writer.py`` writes.
"""

from ganfeat.data.images import ImageDataset, Skipped
from ganfeat.data.loading import load_images

__all__ = ["ImageDataset", "Skipped", "load_images"]
