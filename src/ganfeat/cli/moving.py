"""Moving pictures: GIF by Pillow, MP4 by PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SIDE = 256
"""Small images are enlarged, by whole pixels, to about so many."""


def write_gif(path: Path, frames: NDArray[np.uint8], fps: int) -> None:
    """Write ``uint8 (n, h, w, c)`` as a GIF that repeats. GIFs know hundredths of a second only."""
    from PIL import Image

    pictures = [Image.fromarray(frame[..., 0] if frame.shape[2] == 1 else frame) for frame in _large(frames)]
    pause = max(2, round(100 / fps)) * 10
    pictures[0].save(path, format="GIF", save_all=True, append_images=pictures[1:], duration=pause, loop=0)


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
    large = _large(frames)
    if large.shape[3] == 1:
        large = large.repeat(3, axis=3)
    height, width = large.shape[1:3]
    large = np.pad(large, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")  # 4:2:0 wants even sides
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = large.shape[2], large.shape[1], "yuv420p"
        stream.options = {"crf": "18"}
        for frame in large:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def _large(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Enlarged; of channels other than 1 or 3 their mean."""
    import numpy as np

    if frames.shape[3] not in (1, 3):
        frames = frames.mean(axis=3, keepdims=True).astype(np.uint8)
    scale = max(1, SIDE // max(frames.shape[1:3]))
    return frames.repeat(scale, axis=1).repeat(scale, axis=2)
