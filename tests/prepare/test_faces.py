import io
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganfeat.errors import InputError, MissingExtraError
from ganfeat.prepare import faces
from ganfeat.prepare.faces import FaceCropper, crop_around, detection_scale, load_cascade
from ganfeat.prepare.work import Box, NothingToCutError


class Told:
    """A cascade that finds what it is told, in the pixels of the copy that it is given."""

    def __init__(self, *squares: tuple[int, int, int]) -> None:
        self.squares, self.seen, self.least = squares, (0, 0), 0

    def detectMultiScale(self, grey, step, neighbours, minSize):
        self.seen, self.least = grey.shape, minSize[0]
        return np.array([(x, y, side, side) for x, y, side in self.squares], np.int32).reshape(-1, 4)


def told(monkeypatch, *squares):
    cascade = Told(*squares)
    monkeypatch.setattr(faces, "load_cascade", lambda name: cascade)
    return cascade


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 4), st.data())
def test_crop_is_a_square_inside_the_image_that_holds_the_face(width, height, margin, data):
    side = data.draw(st.integers(1, min(width, height)))
    left, top = data.draw(st.integers(0, width - side)), data.draw(st.integers(0, height - side))
    box = crop_around(Box(left, top, left + side, top + side), width, height, margin)
    assert box.right - box.left == box.bottom - box.top == min(round(side * (1 + 2 * margin)), width, height)
    assert 0 <= box.left <= left and left + side <= box.right <= width
    assert 0 <= box.top <= top and top + side <= box.bottom <= height


def test_crop_in_the_middle_is_centred_and_at_a_border_is_shifted_not_shrunk():
    assert crop_around(Box(40, 40, 60, 60), 100, 100, 0.5) == Box(30, 30, 70, 70)
    assert crop_around(Box(80, 0, 100, 20), 100, 100, 0.5) == Box(60, 0, 100, 40)


def test_sizes_count_in_the_photograph_and_not_in_the_copy_that_is_searched(monkeypatch):
    cascade = told(monkeypatch, (10, 10, 24), (60, 60, 12))
    found = FaceCropper(min_size=96, margin=0.0).find(np.zeros((400, 600, 3), np.uint8))
    assert cascade.seen == (200, 300) and cascade.least == 24
    assert found.boxes == found.faces == []
    assert found.small == [Box(20, 20, 68, 68), Box(120, 120, 144, 144)]
    told(monkeypatch, (10, 10, 48), (60, 60, 47))
    found = FaceCropper(min_size=96, margin=0.0).find(np.zeros((400, 600, 3), np.uint8))
    assert found.boxes == [Box(20, 20, 116, 116)] and len(found.small) == 1


def test_every_face_or_the_largest(monkeypatch):
    image = np.zeros((200, 200, 1), np.uint8)
    told(monkeypatch, (5, 90, 50), (80, 20, 70), (5, 5, 50))
    every = FaceCropper(min_size=48, margin=0.0)
    assert every(image) == [Box(80, 20, 150, 90), Box(5, 5, 55, 55), Box(5, 90, 55, 140)]
    largest = FaceCropper(min_size=48, margin=0.0, every=False).find(image)
    assert largest.boxes == every(image)[:1] and largest.others == every(image)[1:]


def test_why_an_image_gives_nothing(monkeypatch):
    image = np.zeros((100, 100, 3), np.uint8)
    told(monkeypatch)
    assert FaceCropper()(image) == [] and FaceCropper().missing == "no face"
    told(monkeypatch, (5, 5, 30))
    with pytest.raises(NothingToCutError, match=r"^only faces below 64 pixels$"):
        FaceCropper(min_size=64)(image)


@given(st.integers(1, 40_000), st.integers(1, 40_000), st.integers(24, 2000))
def test_what_is_searched_is_bounded(width, height, min_size):
    scale = detection_scale(width, height, min_size)
    assert 0 < scale <= 1
    assert width * scale * height * scale <= faces.MAX_PIXELS * (1 + 1e-9)
    if scale * scale * width * height < faces.MAX_PIXELS * 0.999:
        assert scale == min(1, 2 * faces.WINDOW / min_size)


def test_settings_travel_to_other_processes_without_the_cascade():
    cropper = FaceCropper(min_size=48, margin=0.1, every=False)
    load_cascade(cropper.cascade)
    again = pickle.loads(pickle.dumps(cropper))
    assert again == cropper and again.card == cropper.card
    assert len(pickle.dumps(cropper)) < 300


def test_every_thread_has_a_cascade_of_its_own():
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(load_cascade, "frontalface_alt2").result(60)
    assert other is not load_cascade("frontalface_alt2")
    assert load_cascade("frontalface_alt2") is load_cascade("frontalface_alt2")


def test_the_cascade_finds_nothing_in_noise_and_nothing_in_nothing():
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    for image in (noise, np.zeros_like(noise), noise[:1, :1], noise[:30, :30, :1]):
        assert FaceCropper(min_size=32)(image) == []


@pytest.mark.data
@pytest.mark.parametrize("side", [64, 160])
def test_faces_are_found_where_they_are(data_folder, side):
    import pyarrow.parquet as pq
    from PIL import Image

    (file,) = (data_folder / "lfw").glob("*.parquet")
    rows = pq.ParquetFile(file).iter_batches(24, columns=["image"])
    entries = next(rows).column(0).to_pylist()
    generator = np.random.default_rng(0)
    found = 0
    for entry in entries:
        left, top = generator.integers(0, 320 - side), generator.integers(0, 240 - side)
        face = Image.open(io.BytesIO(entry["bytes"])).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        photo = Image.new("RGB", (320, 240), (90, 120, 60))
        photo.paste(face, (int(left), int(top)))
        seen = FaceCropper(min_size=32).find(np.asarray(photo)).faces
        middle = (left + side / 2, top + side / 2)
        found += any(b.left < middle[0] < b.right and b.top < middle[1] < b.bottom for b in seen)
    assert found >= 21


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"min_size": 10}, "min_size=10"),
        ({"min_size": 64.0}, "min_size=64.0"),
        ({"margin": -0.1}, "margin=-0.1"),
        ({"margin": float("nan")}, "margin=nan"),
        ({"neighbours": 0}, "neighbours=0"),
    ],
)
def test_wrong_settings_are_named(wrong, words):
    with pytest.raises(InputError, match=words):
        FaceCropper(**wrong)


def test_an_unknown_cascade_names_those_there_are():
    with pytest.raises(InputError, match="frontalface_alt2"):
        FaceCropper(cascade="nose")(np.zeros((64, 64, 3), np.uint8))


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    faces._OWN.__dict__.clear()
    with pytest.raises(MissingExtraError, match=r"ganfeat\[faces\]"):
        FaceCropper()(np.zeros((64, 64, 3), np.uint8))


def test_opencv_5_is_named_as_the_reason(monkeypatch):
    import cv2

    monkeypatch.delattr(cv2, "CascadeClassifier")
    faces._OWN.__dict__.clear()
    with pytest.raises(InputError, match="OpenCV 4"):
        FaceCropper()(np.zeros((64, 64, 3), np.uint8))
