"""Pictures made of pixels: sheets of images, samples over the training, nearest neighbours."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ganfeat.pictures import in_pairs
from ganfeat.report.tables import class_name

Images = npt.NDArray[np.uint8]
Item = TypeVar("Item")

_SHEET_WIDTH = 464  # CSS pixels: half of the page's 960, less the gutter
_MOST_FRAMES = 12

# Turns the row of frames into one frame and a slider; without JavaScript the row stays.
_SLIDER = """<script>
(() => {
  const box = document.currentScript.previousElementSibling, frames = [...box.children];
  const make = (tag, more) => Object.assign(document.createElement(tag), more);
  const bar = make("label", {className: "slider"}), range = make("input", {type: "range", min: 0});
  range.max = range.value = frames.length - 1;
  const show = () => {
    frames.forEach((frame, i) => { frame.hidden = i !== range.valueAsNumber; });
    range.setAttribute("aria-valuetext", frames[range.valueAsNumber].dataset.label);
  };
  range.addEventListener("input", show);
  bar.append(make("span", {textContent: "Time in training"}), range);
  box.classList.add("one");
  box.after(bar);
  show();
})();
</script>"""


def image_sheet(images_NHWC: Images, columns: int = 8, *, scale: int = 2, caption: str = "", alt: str) -> str:
    """Lay images out on one sheet.

    Parameters
    ----------
    images_NHWC : ndarray of uint8, shape (n, height, width, channels)
        One channel is shown grey, three as RGB; of four or more the first three, of two the mean.
    columns : int
        Images in a row. The sheet has one transparent pixel between images.
    scale : int
        CSS pixels for a pixel of an image, at most: the sheet shrinks where the screen is narrower.
    caption : str
        Plain text under the sheet. Empty: none.
    alt : str
        What to tell a reader who does not see it, plain text.

    Returns
    -------
    str
        A ``<figure>`` that holds a PNG as a data URI.

    Raises
    ------
    ValueError
        If the images are not ``uint8 (n, height, width, channels)`` with ``n >= 1``, or ``columns`` or
        ``scale`` is below 1.
    """
    return _sheet(images_NHWC, columns, scale, caption, alt)


def samples_over_time(
    frames: Sequence[tuple[str, Images]],
    *,
    reference: Images | None = None,
    reference_label: str = "Real images",
) -> str:
    """Show how the samples change while the network learns.

    All frames stand in a row; where JavaScript runs they become one frame and a slider (arrow keys work).

    Parameters
    ----------
    frames : sequence of (str, ndarray of uint8 (n, height, width, channels))
        A label such as ``"epoch 5"`` and the samples drawn then, first to last. Use the same latents
        throughout. At most 8 x 8 images of a frame are shown and 12 frames, the first and the last of them.
    reference : ndarray of uint8, shape (n, height, width, channels), optional
        Real images to set beside them.
    reference_label : str
        The caption of the reference.

    Returns
    -------
    str
        HTML; empty if there are no frames.
    """
    if not frames:
        return ""
    body = _frames(
        [
            _fitted_sheet(images, label, f"{{n}} generated images, {label}", _data(label))
            for label, images in evenly_spaced(frames)
        ]
    )
    if reference is None:
        return body
    real = _fitted_sheet(reference, reference_label, f"{{n}} {reference_label.lower()}")
    return f'<div class="pair">\n<div>\n{body}\n</div>\n{real}\n</div>'


def reconstructions_over_time(frames: Sequence[tuple[str, Images]], real: Images) -> str:
    """Show images above what the networks make of them, G(E(x)), as they learn; like :func:`samples_over_time`.

    Parameters
    ----------
    frames : sequence of (str, ndarray of uint8 (n, height, width, channels))
        A label such as ``"epoch 5"`` and the reconstructions then, first to last.
    real : ndarray of uint8, shape (n, height, width, channels)
        The images, in the same order and size.

    Returns
    -------
    str
        HTML; empty if there are no frames.

    Raises
    ------
    ValueError
        If there are not as many reconstructions as images, or in another size.
    """
    if wrong := [images.shape for _, images in frames if images.shape != real.shape]:
        raise ValueError(f"reconstructions {wrong[0]} must have the shape of the images, {real.shape}")
    if not frames:
        return ""
    scale, columns = _fit(real)
    n = min(len(real), columns * max(1, columns // 2))
    alt = f"{n} real images in rows, each row above its reconstructions, "
    return _frames(
        [
            _sheet(in_pairs(real[:n], images[:n], columns), columns, scale, label, alt + label, _data(label))
            for label, images in evenly_spaced(frames)
        ]
    )


def neighbours(
    queries: Images,
    neighbours: Images,
    query_labels: npt.ArrayLike | None = None,
    neighbour_labels: npt.ArrayLike | None = None,
    classes: Sequence[str] | None = None,
) -> str:
    """Show images and those nearest to them in feature space.

    Parameters
    ----------
    queries : ndarray of uint8, shape (n, height, width, channels)
        One row of the table each.
    neighbours : ndarray of uint8, shape (n, k, height, width, channels)
        Nearest first.
    query_labels : array-like, shape (n,), optional
        Their labels.
    neighbour_labels : array-like, shape (n, k), optional
        With both, a neighbour of another class gets a dashed outline and its class in words.
    classes : sequence of str, optional
        Names of the integer labels ``0 ... len(classes) - 1``.

    Returns
    -------
    str
        A ``<table>``, its caption counting the neighbours that share the class.

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
    if neighbours.ndim != 5 or neighbours.shape[0] != queries.shape[0]:
        raise ValueError(f"neighbours {neighbours.shape} must be (n, k, h, w, c) with n = {queries.shape[0]}")
    n, k = neighbours.shape[:2]
    labelled = query_labels is not None and neighbour_labels is not None
    own, theirs = np.asarray(query_labels), np.asarray(neighbour_labels)
    if labelled and (own.shape != (n,) or theirs.shape != (n, k)):
        raise ValueError(f"labels {own.shape} and {theirs.shape} must be {(n,)} and {(n, k)}")

    def cell(i: int, j: int) -> str:
        if not labelled:
            return f"<td>{_tile(neighbours[i, j], f'neighbour {j + 1}')}</td>"
        name = class_name(theirs[i, j], classes)
        if theirs[i, j] == own[i]:
            return f"<td>{_tile(neighbours[i, j], f'neighbour {j + 1}: {name}, the same class')}</td>"
        picture = _tile(neighbours[i, j], f"neighbour {j + 1}: {name}, another class")
        return f'<td class="other">{picture}<span title="{escape(name)}">{escape(name)}</span></td>'

    rows = []
    for i in range(n):
        name = class_name(own[i], classes) if labelled else ""
        words = f'<span title="{escape(name)}">{escape(name)}</span>' if labelled else ""
        alt = f"query {i + 1}: {name}" if labelled else f"query {i + 1}"
        head = f'<th scope="row">{_tile(queries[i], alt)}{words}</th>'
        rows.append(f"<tr>{head}{''.join(cell(i, j) for j in range(k))}</tr>")
    caption = f"Left of the rule an image, right of it the {k} nearest to it in feature space, nearest first."
    if labelled and n * k:
        same = int((theirs == own[:, None]).sum())
        caption += (
            f" {same} of {n * k} ({100 * same / (n * k):.0f}%) are of the same class;"
            " those that are not have a dashed outline and their own class written below."
        )
    size = max(1, round(56 / queries.shape[2])) * queries.shape[2]
    return (
        f'<table class="neighbours" style="--across: {k + 1}; --size: {size}px">\n'
        f"<caption>{caption}</caption>\n"
        '<thead><tr><th scope="col">Query</th>'
        f'<th scope="colgroup" colspan="{max(k, 1)}">Nearest</th></tr></thead>\n'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table>"
    )


def _tile(image_HWC: Images, alt: str) -> str:
    height, width = image_HWC.shape[:2]
    source = png_uri(_displayable(image_HWC[None])[0])
    return f'<img class="pixels" src="{source}" width="{width}" height="{height}" alt="{escape(alt)}">'


def evenly_spaced(items: Sequence[Item], most: int = _MOST_FRAMES) -> list[Item]:
    """At most so many, by default as many frames as a page shows; the first and the last of them."""
    count = min(most, len(items))
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def _frames(sheets: Sequence[str]) -> str:
    """Sheets in a row, with a slider where there are several."""
    return f'<div class="frames">\n{chr(10).join(sheets)}\n</div>\n{_SLIDER if len(sheets) > 1 else ""}'


def _data(label: str) -> str:
    return f' data-label="{escape(label)}"'


def _fit(images_NHWC: Images) -> tuple[int, int]:
    """Scale and columns, at most 8, that fill half of the page's width."""
    cell = images_NHWC.shape[2] + 1
    scale = max(_SHEET_WIDTH // (8 * cell), 2 if cell <= 49 else 1)
    return scale, min(8, max(1, _SHEET_WIDTH // (scale * cell)), len(images_NHWC))


def _fitted_sheet(images_NHWC: Images, caption: str, alt: str, attributes: str = "") -> str:
    """Fill half of the page's width with a square of at most 8 x 8 images, small ones enlarged."""
    scale, columns = _fit(images_NHWC)
    shown = images_NHWC[: columns * columns]
    return _sheet(shown, columns, scale, caption, alt.format(n=len(shown)), attributes)


def _sheet(images_NHWC: Images, columns: int, scale: int, caption: str, alt: str, attributes: str = "") -> str:
    if images_NHWC.ndim != 4 or images_NHWC.dtype != np.uint8 or not len(images_NHWC):
        raise ValueError(
            f"images must be uint8 (n, height, width, channels) with n >= 1, "
            f"not {images_NHWC.dtype} {images_NHWC.shape}"
        )
    if columns < 1 or scale < 1:
        raise ValueError(f"columns and scale must be at least 1, not {columns} and {scale}")
    pixels = _displayable(images_NHWC)
    n, height, width, channels = pixels.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    sheet = np.zeros((rows, height + 1, columns, width + 1, channels + 1), np.uint8)  # last channel: alpha
    for i, image in enumerate(pixels):
        sheet[i // columns, :height, i % columns, :width, :channels] = image
        sheet[i // columns, :height, i % columns, :width, channels] = 255
    flat = sheet.reshape(rows * (height + 1), columns * (width + 1), channels + 1)[:-1, :-1]
    # The file keeps the pixels as they are; the browser enlarges them, whole pixels and no blur.
    picture = (
        f'<img class="pixels" src="{png_uri(flat)}" width="{flat.shape[1] * scale}" '
        f'height="{flat.shape[0] * scale}" alt="{escape(alt)}">'
    )
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure{attributes}>{picture}{words}</figure>"


def _displayable(images_NHWC: Images) -> Images:
    channels = images_NHWC.shape[3]
    if channels in (1, 3):
        return images_NHWC
    if channels > 3:
        return images_NHWC[..., :3]
    mean: npt.NDArray[Any] = images_NHWC.mean(axis=3, keepdims=True)
    return mean.round().astype(np.uint8)


def png_uri(pixels_HWC: Images) -> str:
    """``uint8 (H, W, 1 to 4)`` as a data URI; the last of 2 or 4 channels is opacity."""
    from PIL import Image

    pixels = pixels_HWC[..., 0] if pixels_HWC.shape[2] == 1 else pixels_HWC
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
