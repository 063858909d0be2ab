"""Faces cut from photographs: OpenCV's frontal-face cascade, and square crops around what it finds.

The DCGAN paper's faces are those that "OpenCV's face detector" found in web photographs, the ones of sufficient
resolution (Radford et al. 2016, arXiv:1511.06434, section 4.3). The detector is a cascade of boosted Haar features
(Viola & Jones 2001; Lienhart & Maydt 2002). Which of OpenCV's cascades, and what counts as sufficient, the paper leaves
open: ``benchmarks/faces.py`` measures them.
"""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganfeat.errors import InputError, MissingExtraError
from ganfeat.prepare.work import Box, NothingToCutError

WINDOW = 24
"""Side in pixels of the smallest face that is sought; the cascade was trained on 20 pixels."""
MAX_PIXELS = 4_000_000
"""Of the copy that is searched: what bounds the time of one image."""
STEP = 1.1
"""Between two sizes at which a face is sought."""


class Found(NamedTuple):
    """What is in one image.

    ``boxes`` are the crops to take, largest face first; ``faces`` their detections; ``small`` the detections below the
    least size; ``others`` those that were passed over for a larger one.
    """

    boxes: list[Box]
    faces: list[Box]
    small: list[Box]
    others: list[Box]


@dataclass(frozen=True)
class FaceCropper:
    """Square crops around the faces of an image; a ``Cropper`` for :func:`ganfeat.prepare.read.read`.

    Parameters
    ----------
    min_size : int
        Side in pixels of the smallest detection that is kept, measured in the photograph as it is: the resolution of
        the face, whatever the size of the photograph.
    margin : float
        What is added to the detection on each side, as a share of its side. A crop that would leave the photograph
        is shifted inside; one that is larger than the photograph's short side shrinks to it. Nothing is padded.
    every : bool
        All faces of an image, or its largest alone.
    neighbours : int
        How many overlapping hits of the cascade make a face. Fewer find more faces and more of what is none.
    cascade : str
        Name of one of OpenCV's files, without ``haarcascade_`` and ``.xml``.

    Raises
    ------
    InputError
        If a number is out of its range.

    Notes
    -----
    The photograph is searched on a grey copy in which a face of ``min_size / 2`` has 24 pixels, so that faces of half
    the size are still counted as too small, and the time depends on ``size / min_size`` only. The copy never has more
    than 4 million pixels: in a larger photograph, faces are sought that have at least 24 pixels in the copy.

    Instances hold settings only: they can be pickled, compared, and used by threads and processes, each of which loads
    the cascade when it meets its first image.

    References
    ----------
    P. Viola, M. Jones, "Rapid Object Detection using a Boosted Cascade of Simple Features", CVPR 2001.
    R. Lienhart, J. Maydt, "An Extended Set of Haar-like Features for Rapid Object Detection", ICIP 2002.

    Examples
    --------
    >>> FaceCropper(min_size=96, margin=0.3).name
    'all faces of at least 96 pixels'
    """

    min_size: int = 64
    margin: float = 0.25
    every: bool = True
    neighbours: int = 5
    cascade: str = "frontalface_alt2"

    def __post_init__(self) -> None:
        if isinstance(self.min_size, bool) or not isinstance(self.min_size, int) or self.min_size < WINDOW:
            raise InputError(f"min_size={self.min_size!r}: a face needs at least {WINDOW} pixels to be found")
        if not 0 <= self.margin <= 4:
            raise InputError(f"margin={self.margin!r}: give a share of the face's side, from 0 to 4")
        if isinstance(self.neighbours, bool) or not isinstance(self.neighbours, int) or self.neighbours < 1:
            raise InputError(f"neighbours={self.neighbours!r}: give a whole number of at least 1")

    @property
    def name(self) -> str:
        """What is looked for, in words."""
        which = "all faces" if self.every else "the largest face"
        return f"{which} of at least {self.min_size} pixels"

    @property
    def card(self) -> dict[str, Any]:
        """All settings, as plain values."""
        return asdict(self)

    @property
    def missing(self) -> str:
        """Why an image without any face is left out."""
        return "no face"

    def __call__(self, image: NDArray[np.uint8]) -> list[Box]:
        """Crops of ``uint8 (h, w, 1 or 3)``, the largest face first; none where there is no face.

        Raises
        ------
        NothingToCutError
            Where there are faces, and all of them are too small.
        """
        found = self.find(image)
        if found.small and not found.boxes:
            raise NothingToCutError(f"only faces below {self.min_size} pixels")
        return found.boxes

    def find(self, image: NDArray[np.uint8]) -> Found:
        """Everything that is found in an image ``uint8 (h, w, 1 or 3)``, kept or not."""
        height, width = image.shape[:2]
        seen = self.detect(image)
        small = [face for face in seen if face.right - face.left < self.min_size]
        large = [face for face in seen if face.right - face.left >= self.min_size]
        faces, others = (large, []) if self.every else (large[:1], large[1:])
        return Found([crop_around(face, width, height, self.margin) for face in faces], faces, small, others)

    def detect(self, image: NDArray[np.uint8]) -> list[Box]:
        """Square detections of at least half of ``min_size``, in the image's own pixels, largest first."""
        detector = load_cascade(self.cascade)
        import cv2

        height, width = image.shape[:2]
        scale = detection_scale(width, height, self.min_size)
        grey = image[..., 0] if image.shape[2] == 1 else cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
        if scale < 1:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        least = max(WINDOW, int(self.min_size / 2 * scale))
        hits = detector.detectMultiScale(np.ascontiguousarray(grey), STEP, self.neighbours, minSize=(least, least))
        boxes = [_in_the_image(hit, scale, width, height) for hit in hits]
        return sorted(boxes, key=lambda box: (box.left - box.right, box.top, box.left))


def detection_scale(width: int, height: int, min_size: int) -> float:
    """By how much a photograph is shrunk before it is searched, in (0, 1].

    Half of ``min_size`` becomes :data:`WINDOW` pixels, and the copy has :data:`MAX_PIXELS` at most.

    Examples
    --------
    >>> detection_scale(500, 375, 48), detection_scale(4000, 3000, 192), detection_scale(20000, 20000, 48)
    (1.0, 0.25, 0.1)
    """
    return min(1.0, 2 * WINDOW / min_size, (MAX_PIXELS / (width * height)) ** 0.5)


def crop_around(face: Box, width: int, height: int, margin: float) -> Box:
    """A square with a margin around a detection, inside a photograph of ``width x height``.

    Its side is ``face * (1 + 2 margin)``, but no more than the photograph's short side; where it would stick out it is
    shifted inside. It holds the whole detection unless that is larger than the short side.

    Examples
    --------
    >>> crop_around(Box(10, 40, 30, 60), 100, 80, 0.25)
    Box(left=5, top=35, right=35, bottom=65)
    >>> crop_around(Box(0, 60, 20, 80), 100, 80, 0.25)
    Box(left=0, top=50, right=30, bottom=80)
    """
    side = min(round((face.right - face.left) * (1 + 2 * margin)), width, height)
    left = round((face.left + face.right - side) / 2)
    top = round((face.top + face.bottom - side) / 2)
    left, top = min(max(left, 0), width - side), min(max(top, 0), height - side)
    return Box(left, top, left + side, top + side)


_OWN = threading.local()
"""Cascades by name: detection changes them, so that each thread needs its own."""


def load_cascade(name: str) -> Any:
    """One of OpenCV's cascades, once a thread; OpenCV's own threads are turned off.

    Raises
    ------
    MissingExtraError
        If OpenCV is not installed.
    InputError
        If it is an OpenCV without cascades (5.0), or the cascade is not known.
    """
    loaded: dict[str, Any] = _OWN.__dict__
    if name in loaded:
        return loaded[name]
    try:
        import cv2
    except ImportError:
        raise MissingExtraError("opencv-contrib-python-headless", "faces", "Finding faces") from None
    folder = getattr(getattr(cv2, "data", None), "haarcascades", None)
    if not hasattr(cv2, "CascadeClassifier") or not folder:
        raise InputError(
            f"OpenCV {cv2.__version__} has no CascadeClassifier: faces need OpenCV 4, pip install 'ganfeat[faces]'"
        )
    path = Path(folder) / f"haarcascade_{name}.xml"
    if not path.is_file():
        known = sorted(p.stem.removeprefix("haarcascade_") for p in Path(folder).glob("haarcascade_*face*.xml"))
        raise InputError(f"cascade={name!r} is not one of OpenCV's: choose one of {', '.join(known)}")
    cv2.setNumThreads(1)
    detector = cv2.CascadeClassifier(str(path))
    if detector.empty():
        raise InputError(f"OpenCV cannot read {path.name}: install it anew, pip install 'ganfeat[faces]'")
    loaded[name] = detector
    return detector


def _in_the_image(hit: Any, scale: float, width: int, height: int) -> Box:
    """A detection of the copy as a square in the image's own pixels."""
    x, y, w, _ = (float(value) / scale for value in hit)
    side = min(round(w), width, height)
    left, top = min(max(round(x), 0), width - side), min(max(round(y), 0), height - side)
    return Box(left, top, left + side, top + side)
