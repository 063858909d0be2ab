"""Min-resize and centre crop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganfeat.data.resize import convert_channels, min_resize_crop, resize_array
from ganfeat.errors import InputError

sides = st.integers(1, 70)


@settings(max_examples=60, deadline=None)
@given(width=sides, height=sides, size=st.integers(1, 40), grey=st.booleans(), value=st.integers(0, 255))
def test_any_shape_becomes_square_and_a_plain_colour_stays(width, height, size, grey, value):
    image = Image.new("L" if grey else "RGB", (width, height), value if grey else (value, 0, 255))
    result = np.asarray(min_resize_crop(image, size))
    assert result.shape[:2] == (size, size)
    assert (result == np.asarray(image)[0, 0]).all()


@settings(max_examples=60, deadline=None)
@given(side=sides, extra=st.integers(0, 30), tall=st.booleans(), seed=st.integers(0, 99))
def test_only_cropping_leaves_pixels_untouched(side, extra, tall, seed):
    shape = (side + extra, side, 1) if tall else (side, side + extra, 1)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    start = extra // 2
    expected = pixels[start : start + side] if tall else pixels[:, start : start + side]
    assert np.array_equal(resize_array(pixels, side), expected)


@settings(max_examples=30, deadline=None)
@given(height=sides, width=sides, size=st.integers(1, 40), seed=st.integers(0, 99))
def test_commutes_with_mirroring(height, width, size, seed):
    """The crop is exactly central, so a mirrored image gives the mirrored result (but for rounding)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 1), dtype=np.uint8)
    if min(height, width) == size and (height - width) % 2:
        return  # an odd margin cannot be halved without resampling
    mirrored = resize_array(pixels[::-1, ::-1], size)[::-1, ::-1]
    assert np.abs(mirrored.astype(int) - resize_array(pixels, size)).max() <= 1


def test_the_centre_is_kept():
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 255
    assert (resize_array(pixels, 20) == 255).all()
    assert (resize_array(pixels, 10)[:, 2:8] == 255).all()


def test_shrinking_averages_instead_of_picking():
    """A fine chequerboard shrinks to its mean; picking pixels would give black or white."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[:, :, None]
    assert np.abs(resize_array(board, 8).astype(int)[1:-1, 1:-1] - 127.5).max() < 4


def test_every_channel_is_resized_alike():
    five = np.random.default_rng(0).integers(0, 256, (30, 41, 5), dtype=np.uint8)
    assert np.array_equal(resize_array(five, 16)[:, :, :3], resize_array(five[:, :, :3], 16))


def test_channels():
    grey = np.array([[[7]]], np.uint8)
    assert convert_channels(grey, 3).tolist() == [[[7, 7, 7]]]
    assert convert_channels(convert_channels(grey, 3), 1).tolist() == grey.tolist()
    primaries = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    assert convert_channels(primaries, 1).ravel().tolist() == [76, 150, 29]  # 0.299, 0.587, 0.114
    with pytest.raises(InputError, match="channels=4"):
        convert_channels(np.zeros((1, 4), np.uint8), 3)
