"""Moving pictures: GIF by Pillow, MP4 by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SIDE = 256
"""Small images are enlarged, by whole pixels, to about so many."""


def write_gif(path: Path, frames: NDArray[np.uint8], fps: int) -> None:
    """Write ``uint8 (n, h, w, c)`` as a GIF that repeats."""
    from ganfeat import pictures

    pictures.write_gif(path, frames, 1 / fps, _scale(frames))


def write_mp4(path: Path, frames: NDArray[np.uint8], fps: int) -> None:
    """Write ``uint8 (n, h, w, c)`` as H.264, which every browser plays.

    Raises
    ------
    MissingExtraError
        If PyAV is not installed.
    """
    import numpy as np

    from ganfeat.errors import MissingExtraError

    try:
        import av
    except ImportError:
        raise MissingExtraError("av", "video", "writing MP4") from None
    height, width = next(_large(frames)).shape[:2]
    even = ((0, height % 2), (0, width % 2), (0, 0))  # 4:2:0 wants even sides
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.options = {"crf": "18"}
        for frame in _large(frames):
            picture = np.pad(frame.repeat(3, axis=2) if frame.shape[2] == 1 else frame, even, mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _scale(frames: NDArray[np.uint8]) -> int:
    return max(1, SIDE // max(frames.shape[1:3]))


def _large(frames: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """One after the other, enlarged; of channels other than 1 or 3 their mean."""
    from ganfeat.pictures import enlarged, grey_or_colour

    for frame in frames:
        yield enlarged(grey_or_colour(frame), _scale(frames))
