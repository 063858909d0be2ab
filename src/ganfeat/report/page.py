"""The frame of the page: head, contents, sections, foot; and writing it in one piece."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

from ganfeat.files import replacing

# The page may run its own inline script and style and show its own data URIs; it may fetch nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_ANCHOR = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class Section:
    """One headed part of a page.

    Parameters
    ----------
    title : str
        The heading, plain text.
    anchor : str
        The ``id`` to link to: lower-case letters, digits and hyphens, unique in its page.
    body : str
        HTML, taken as it is: the fragments of this package escape what they are given.
    lead : str
        A paragraph under the heading, plain text. Empty: none.
    """

    title: str
    anchor: str
    body: str
    lead: str = ""

    def __post_init__(self) -> None:
        if not _ANCHOR.fullmatch(self.anchor):
            raise ValueError(f"anchor {self.anchor!r}: use lower-case letters, digits and hyphens")


def write_page(
    path: str | os.PathLike[str],
    title: str,
    subtitle: str,
    sections: Iterable[Section],
    *,
    footer: str = "",
) -> Path:
    """Write one self-contained HTML page.

    The file appears whole or not at all: it is written beside its place, flushed to the disk and renamed.

    Parameters
    ----------
    path : path-like
        The file to write. Missing folders above it are made.
    title, subtitle, footer : str
        Plain text; an empty subtitle or footer is left out.
    sections : iterable of Section
        In the order of the page.

    Returns
    -------
    pathlib.Path
        ``path``.

    Raises
    ------
    ValueError
        If two sections have the same anchor.
    """
    path = Path(path)
    # A file name that is not UTF-8 reaches us with lone surrogates; it must not cost us the report.
    content = _page(title, subtitle, list(sections), footer).encode("utf-8", errors="backslashreplace")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def _page(title: str, subtitle: str, sections: list[Section], footer: str) -> str:
    anchors = ["content", *(section.anchor for section in sections)]
    if repeated := sorted({anchor for anchor in anchors if anchors.count(anchor) > 1}):
        raise ValueError(f"anchors must be unique in a page; repeated: {', '.join(repeated)}")
    style = files("ganfeat.report").joinpath("page.css").read_text(encoding="utf-8")
    contents = "\n".join(f'<li><a href="#{section.anchor}">{escape(section.title)}</a></li>' for section in sections)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<h1>{escape(title)}</h1>
{f'<p class="subtitle">{escape(subtitle)}</p>' if subtitle else ""}
{f'<nav aria-label="Contents"><ul>{contents}</ul></nav>' if len(sections) > 1 else ""}
</header>
<main id="content">
{"".join(_section(section) for section in sections)}</main>
{f"<footer><p>{escape(footer)}</p></footer>" if footer else ""}
</body>
</html>
"""


def _section(section: Section) -> str:
    lead = f'<p class="lead">{escape(section.lead)}</p>\n' if section.lead else ""
    return f"""<section id="{section.anchor}">
<h2>{escape(section.title)}</h2>
{lead}{section.body}
</section>
"""
