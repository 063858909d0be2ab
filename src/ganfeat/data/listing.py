"""A folder of images, listed once; the list lies in a temporary file when it is long."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from ganfeat.data.folder import is_image_name, printable, signature_line, walk
from ganfeat.data.images import Skipped
from ganfeat.data.shards import Candidate, LabelKind, Shard
from ganfeat.data.spool import Spool


class ListedFolder:
    """The images under a folder, as :class:`~ganfeat.data.shards.ShardedSource`.

    Parameters
    ----------
    root : Path
    rows : int
        Images a piece.

    Notes
    -----
    Names, order, labels and signature are those of :func:`~ganfeat.data.folder.images_of`.
    """

    def __init__(self, root: Path, rows: int) -> None:
        self.name = printable(str(root))
        self._root, self._rows = root.absolute(), rows
        self._images, self._others, self._skipped = Spool(), Spool(), Spool()
        digest, first, flat = hashlib.sha256(), set[str](), False
        for found in walk(root):
            if isinstance(found, Skipped):
                self._skipped.append(found)
            elif not is_image_name(found.parts[-1]):
                self._others.append(found.parts)
            else:
                self._images.append("/".join(found.parts))
                digest.update(signature_line(found))
                flat = flat or len(found.parts) < 2
                first.add(found.parts[0]) if len(found.parts) > 1 else None
        labelled = not flat and len(first) > 1
        self.classes = tuple(printable(name) for name in sorted(first)) if labelled else None
        self.signature = digest.hexdigest()
        self.count = len(self._images)

    @property
    def skipped(self) -> Iterable[Skipped]:
        """What is no file, or cannot be looked at."""
        return (Skipped(*entry) for entry in self._skipped)

    @property
    def others(self) -> Iterable[Path]:
        """Files that are no images by their names."""
        return (self._root.joinpath(*parts) for parts in self._others)

    @property
    def labelled(self) -> bool:
        """Whether the sub-folders are classes."""
        return self.classes is not None

    @property
    def label_kind(self) -> LabelKind | None:
        """Places in the classes."""
        return "int64" if self.labelled else None

    def shards(self) -> Iterator[Shard]:
        """Give the pieces."""
        names = iter(self._images)
        start = index = 0
        while some := tuple(islice(names, self._rows)):
            details = {"labelled": self.classes is not None}
            yield Shard(index, "folder", (str(self._root), *some), start, start + len(some), details)
            start, index = start + len(some), index + 1


def read_listed(shard: Shard) -> Iterator[Candidate]:
    """Read a piece of a folder: paths, nothing is opened."""
    root, *names = shard.paths
    for name in names:
        label = printable(name.partition("/")[0]) if shard.details["labelled"] else None
        path = Path(root, name)
        yield Candidate(printable(name), printable(str(path)), path, label)
