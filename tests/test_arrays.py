"""Arrays at the border of the networks."""

import hashlib

import numpy as np
import pytest

from ganfeat.arrays import (
    Scaling,
    as_images,
    blocks,
    fingerprint,
    resolve_image_shape,
    to_uint8,
)
from ganfeat.errors import InputError


def test_every_uint8_survives_the_way_to_the_networks_and_back():
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    inside = Scaling.learn(pixels).to_networks(pixels)
    assert inside.dtype == np.float32
    assert (inside.min(), inside.max()) == (-1.0, 1.0)
    np.testing.assert_array_equal(to_uint8(inside), pixels)


def test_a_dark_uint8_set_is_not_stretched():
    """uint8 has an agreed range: the brightest pixel that was seen does not become white."""
    assert Scaling.learn(np.full((2, 4, 4, 1), 10, np.uint8)) == Scaling(0.0, 255.0)


@pytest.mark.parametrize(("low", "high"), [(0.0, 16.0), (-3.5, 2.25), (1e6, 1e6 + 1), (-1e-8, 1e-8)])
def test_the_learned_range_becomes_minus_one_to_one_and_comes_back(low, high):
    images = np.linspace(low, high, 64, dtype=np.float64).reshape(1, 8, 8, 1)
    scaling = Scaling.learn(images)
    inside = scaling.to_networks(images)
    assert (inside.min(), inside.max()) == (-1.0, 1.0)
    np.testing.assert_allclose(scaling.from_networks(inside), images, rtol=1e-6, atol=1e-6 * (high - low))


@pytest.mark.parametrize("value", [0.0, -7.0, 3e20])
def test_constant_images_stay_finite(value):
    images = np.full((2, 4, 4, 1), value)
    scaling = Scaling.learn(images)
    inside = scaling.to_networks(images)
    np.testing.assert_array_equal(inside, -1.0)
    np.testing.assert_allclose(scaling.from_networks(inside), images)


def test_to_uint8_rounds_to_the_nearest_and_clips():
    values = np.array([-9.0, -1.0, 0.5 / 127.5 - 1 + 1e-4, 0.0, 1.0, 1.5], np.float32)
    np.testing.assert_array_equal(to_uint8(values), [0, 0, 1, 128, 255, 255])


@pytest.mark.parametrize(
    ("n_features", "asked", "shape"),
    [
        (784, None, (28, 28, 1)),
        (3072, None, (32, 32, 3)),
        (64, None, (8, 8, 1)),
        (48, None, (4, 4, 3)),
        (1, None, (1, 1, 1)),
        (30 * 20 * 2, (30, 20, 2), (30, 20, 2)),
        (30 * 20 * 2, (30, -1, 2), (30, 20, 2)),
        (30 * 20 * 2, (-1, 20, 2), (30, 20, 2)),
        (30 * 20 * 2, (30, 20, -1), (30, 20, 2)),
    ],
)
def test_shape_of_rows(n_features, asked, shape):
    assert resolve_image_shape(n_features, asked) == shape


@pytest.mark.parametrize(
    ("n_features", "asked"),
    [
        (10, None),
        (2 * 64, None),
        (64, (8, 9, 1)),
        (64, (-1, -1, 1)),
        (64, (0, 8, 8)),
        (64, (8, -2, 4)),
        (64, (8, 8)),
        (65, (-1, 8, 1)),
    ],
)
def test_rows_that_fit_no_shape_are_refused_with_the_way_out(n_features, asked):
    with pytest.raises(InputError, match="image_shape"):
        resolve_image_shape(n_features, asked)


def test_rows_become_images_in_row_major_order_without_a_copy():
    rows = np.arange(2 * 3 * 4 * 2).reshape(2, 24)
    images = as_images(rows, (3, 4, 2))
    assert np.shares_memory(rows, images)
    assert images[1, 2, 3, 1] == rows[1, 2 * 8 + 3 * 2 + 1]


def test_grey_images_may_leave_out_their_channel():
    assert as_images(np.zeros((5, 3, 4)), (3, 4, 1)).shape == (5, 3, 4, 1)


@pytest.mark.parametrize("shape", [(5, 4, 3, 1), (5, 3, 4, 3), (5, 3, 4)])
def test_images_of_another_shape_are_refused_and_the_message_says_how_to_load_them(shape):
    with pytest.raises(InputError, match=r"load_images\(source, size=3, channels=2\)"):
        as_images(np.zeros(shape), (3, 4, 2))


def test_blocks_cover_the_array_once_in_pieces_of_at_most_32_mib():
    array = np.broadcast_to(np.arange(80, dtype=np.uint8)[:, None], (80, 1 << 20))  # 80 MiB, no memory used
    pieces = list(blocks(array))
    assert len(pieces) > 1
    assert all(piece.nbytes <= 1 << 25 for piece in pieces)
    np.testing.assert_array_equal(np.concatenate([p[:, 0] for p in pieces]), np.arange(80))


def test_a_row_larger_than_a_block_is_a_block():
    array = np.broadcast_to(np.zeros(1, np.uint8), (2, 1 << 26))
    assert [len(piece) for piece in blocks(array)] == [1, 1]


class TestFingerprint:
    array = np.random.default_rng(0).integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)

    def test_is_sha256_over_type_shape_and_content(self):
        expected = hashlib.sha256(b"|u1(7, 5, 4, 3)" + self.array.tobytes()).hexdigest()
        assert fingerprint(self.array) == expected

    def test_does_not_depend_on_how_the_array_is_stored(self, tmp_path):
        np.save(tmp_path / "a.npy", self.array)
        assert fingerprint(np.load(tmp_path / "a.npy", mmap_mode="r")) == fingerprint(self.array)
        assert fingerprint(np.asfortranarray(self.array)) == fingerprint(self.array)
        assert fingerprint(np.repeat(self.array, 2, axis=0)[::2]) == fingerprint(self.array)

    def test_sees_one_pixel_the_order_the_shape_and_the_type(self):
        pixel = self.array.copy()
        pixel[6, 4, 3, 2] ^= 1
        others = [pixel, self.array[::-1], self.array.reshape(7, 4, 5, 3), self.array.view(np.int8)]
        assert len({fingerprint(a) for a in [self.array, *others]}) == 5
