"""Features of any number of images, on one machine or many: shards in, parts out, each exactly once."""

from ganfeat.scale.begin import Options
from ganfeat.scale.extraction import ENGINES, extract

__all__ = ["ENGINES", "Options", "extract"]
