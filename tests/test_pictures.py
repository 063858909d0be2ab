"""Sheets of images, and PNG."""

import numpy as np
import pytest
from PIL import Image

from ganfeat.pictures import (
    captioned,
    enlarged,
    grey_or_colour,
    in_pairs,
    out_of_pairs,
    read_png,
    tile,
    untile,
    write_gif,
    write_png,
)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("n", "columns", "pad"), [(6, 3, 1), (4, None, 2), (3, 3, 0), (1, 1, 1)])
def test_untile_is_the_inverse_of_tile(n, columns, pad, channels):
    images = np.random.default_rng(n).integers(0, 256, (n, 5, 4, channels), dtype=np.uint8)
    np.testing.assert_array_equal(untile(tile(images, columns, pad), 5, 4, pad)[:n], images)


@pytest.mark.parametrize("columns", [8, 10])
@pytest.mark.parametrize("n", [1, 3, 5, 8, 10, 11, 20])
def test_pairs_stand_one_above_the_other_and_come_apart_again(n, columns):
    """Where the last rows are not full, grey fills them, and is none of the images afterwards."""
    above, below = np.arange(2 * n, dtype=np.uint8).reshape(2, n, 1, 1, 1)
    pairs = in_pairs(above, below, columns)
    sheet = tile(pairs, min(n, columns), pad=0)[..., 0]
    for rows, images in ((sheet[0::2], above), (sheet[1::2], below)):
        np.testing.assert_array_equal(rows.ravel()[:n], images.ravel())
        assert rows.size < n + columns and (rows.ravel()[n:] == 128).all()
    for found, expected in zip(out_of_pairs(pairs, columns), (above, below), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_grey_image_is_one_still_unless_the_last_with_a_grey_one_below():
    grey, other = np.full((2, 1, 1, 1), 128, np.uint8), np.array([128, 7], np.uint8).reshape(2, 1, 1, 1)
    above, below = out_of_pairs(in_pairs(grey, other))
    assert (len(above), below.ravel().tolist()) == (2, [128, 7])
    assert [len(part) for part in out_of_pairs(in_pairs(grey, grey))] == [0, 0]


def test_empty_cells_and_gaps_of_a_sheet_are_grey():
    sheet = tile(np.zeros((3, 2, 2, 1), np.uint8), columns=2)
    assert sheet.shape == (5, 5, 1)
    assert (sheet[3:, 3:] == 128).all()
    assert (sheet[2] == 128).all()
    assert (sheet == 0).sum() == 3 * 4


def test_a_sheet_of_two_channels_shows_their_mean():
    images = np.stack([np.full((2, 2), 10), np.full((2, 2), 30)], axis=-1).astype(np.uint8)[None]
    np.testing.assert_array_equal(tile(images), np.full((2, 2, 1), 20))


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_lossless(tmp_path, channels):
    sheet = np.random.default_rng(channels).integers(0, 256, (9, 7, channels), dtype=np.uint8)
    write_png(tmp_path / "a.png", sheet)
    np.testing.assert_array_equal(read_png(tmp_path / "a.png"), sheet)


def test_captioned_keeps_every_pixel_and_puts_words_above():
    sheet = np.random.default_rng(0).integers(0, 256, (5, 40, 1)).astype(np.uint8)
    plain = captioned([("", sheet)], scale=3)
    assert plain.shape == (15 + 16, 120 + 16, 3)
    assert (plain[8:-8, 8:-8] == enlarged(sheet, 3)).all()
    assert (plain[:8] == 255).all() and (plain[:, -8:] == 255).all()
    worded = captioned([("words", sheet)], scale=3)
    assert (worded[-8 - 15 : -8, 8:-8] == enlarged(sheet, 3)).all()
    assert worded[8 : -8 - 15].min() < 128  # ink


def test_captioned_stacks_sheets_of_different_widths_and_colours_and_breaks_long_words():
    grey, red = np.zeros((4, 60, 1), np.uint8), np.full((4, 30, 3), (255, 0, 0), np.uint8)
    sheet = captioned([("", grey), ("", red)])
    assert sheet.shape == (4 + 8 + 4 + 16, 60 + 16, 3)
    assert (sheet[20:24, 8:38] == (255, 0, 0)).all() and (sheet[20:24, 38:] == 255).all()
    short, long = captioned([("one", grey)]), captioned([("one two three four five six seven", grey)])
    assert long.shape[1] == short.shape[1] and long.shape[0] > short.shape[0]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_gif_has_every_frame_enlarged(tmp_path, channels):
    frames = np.arange(0, 250, 50, dtype=np.uint8).repeat(4 * 3 * channels).reshape(5, 4, 3, channels)
    write_gif(tmp_path / "a.gif", frames, 0.08, scale=2)
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.size, gif.n_frames, gif.info["loop"], gif.info["duration"]) == ((6, 8), 5, 0, 80)
        for i in range(5):
            gif.seek(i)
            assert (np.asarray(gif.convert("L")) == 50 * i).all()


def test_other_channels_than_1_or_3_are_averaged():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 2), dtype=np.uint8)
    assert np.array_equal(grey_or_colour(image)[..., 0], image.sum(axis=2) // 2)
    assert grey_or_colour(image[..., :1]).shape == (4, 5, 1)
