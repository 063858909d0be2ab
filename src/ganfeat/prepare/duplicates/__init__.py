"""Images that are in a set more than once: found, pictured, and left out but one.

``find.py`` is the door. ``autoencoder.py`` is the DCGAN paper's semantic hash; ``pairs.py`` compares near neighbours
(``descriptor.py``, ``neighbours.py``) pixel by pixel (``likeness.py``); ``grouping.py`` makes groups; ``kept.py``
lets a search that was killed go on; ``sheet.py`` reports; ``planted.py`` makes sets whose duplicates are known.
"""

from ganfeat.prepare.duplicates.autoencoder import AutoencoderSettings
from ganfeat.prepare.duplicates.find import METHODS, Duplicates, find_duplicates

__all__ = ["METHODS", "AutoencoderSettings", "Duplicates", "find_duplicates"]
