"""Why images are left out, in few words: what is counted, where the full reason has numbers in it."""

from __future__ import annotations

import re
from pathlib import Path

from ganfeat.data.decode import UnreadableImageError, raise_if_machine, read_header

BY_CONTENT = "an image by its content, not by its name"

_KINDS = (  # "": the reason is in few words already
    (r"^(broken link|a link that leads back to itself|a link to a folder that \w+ \w+( \w+)?)$", ""),
    (r"^folder: ", "a folder that cannot be read"),
    (r"empty file", "empty (0 bytes)"),
    (r"above the limit of .* pixels", "too many pixels"),
    (r"not a JPEG, PNG", "no image by its content"),
    (r"truncated|ends early|incomplete|cut short", "cut short"),
    (r"^damaged|broken|unrecognized data|is damaged|decoder error|corrupt", "damaged"),
    (r"permission|Permission denied|Operation not permitted", "no permission"),
    (r"^not a regular file", "not a regular file"),
    (rf"^{BY_CONTENT}", BY_CONTENT),
    (r"^no image in this row|the row names a file", "no image in the row"),
    (r"pixels from .* to ", "pixels out of range"),
    (r"No such file", "gone since it was listed"),
)
OTHER = "another reason"
MOST = 40
"""Kinds of reasons; images left out for more of them are of the kind :data:`OTHER`."""
_SNIFFED = 16
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*")


def kind_of(reason: str) -> str:
    """Say a reason in few words, of which there are few; what is not known is taken as it is, without its numbers."""
    for pattern, kind in _KINDS:
        if re.search(pattern, reason):
            return kind or reason
    return re.sub(r"[\d,.]*\d", "…", reason.partition(":")[0])[:80]


def suffix_of_image(path: Path) -> str | None:
    """Tell by how a file begins, and by its header, whether it is an image; give the suffix that it should have."""
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFFED)
        if not (head.startswith(_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")):
            return None
        read_header(path)
    except OSError as error:
        raise_if_machine(error)
        return None
    except UnreadableImageError:
        return None
    if head.startswith(b"\xff\xd8"):
        return ".jpg"
    if head[:1] == b"\x89":
        return ".png"
    known = {b"GI": ".gif", b"BM": ".bmp", b"II": ".tif", b"MM": ".tif", b"RI": ".webp"}
    return known[head[:2]]
