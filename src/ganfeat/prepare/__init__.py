"""From a messy folder, or from millions of images in any form, to a packed set: steps that can each be resumed.

``pipeline.py`` is all of them in turn. ``read.py`` decodes a source into a set (``work.py`` is what its workers do),
``faces.py`` cuts faces from the images while they are read, ``duplicates/`` finds images that are in a set twice, and
``choose.py`` copies the rows that are kept; ``report.py`` has counts and pictures.
"""
