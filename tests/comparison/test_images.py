"""What is learned from, what is held out, and what a network has seen of it."""

from contextlib import contextmanager

import numpy as np
import pytest

from ganfeat import ImageDataset, InputError, load_images
from ganfeat.arrays import fingerprint
from ganfeat.comparison.images import SEEN, read
from ganfeat.probes.draws import hold_out

DIGITS = load_images("digits", limit=200)
SHAPE = (8, 8, 1)


@contextmanager
def silent(name, total):
    yield lambda done, total=None, note="": None


def get(data=DIGITS, test=None, shapes=(SHAPE,), limit=None, seed=0, other_seeds=()):
    return read(data, test, shapes, silent, limit=limit, seed=seed, other_seeds=other_seeds)


def with_labels(labels):
    return ImageDataset(DIGITS.images, labels=np.asarray(labels))


def test_a_fifth_is_held_out_as_by_probe():
    images, (learn, held_out) = get(seed=4), hold_out(DIGITS.labels, 0.2, 4)
    assert images.learn == len(learn) == images.card["learned from"] and len(held_out) == images.card["held out"]
    order = np.concatenate([learn, held_out])
    np.testing.assert_array_equal(images.pixels[SHAPE], DIGITS.images[order])
    np.testing.assert_array_equal(images.labels, DIGITS.labels[order])


def test_images_without_a_label_are_left_out():
    images = get(with_labels(np.where(np.arange(200) < 120, DIGITS.labels, -1)))
    shorter = get(DIGITS[:120])
    np.testing.assert_array_equal(images.labels, shorter.labels)
    np.testing.assert_array_equal(images.pixels[SHAPE], shorter.pixels[SHAPE])
    assert images.card["without a label"] == 80


def test_the_same_images_at_every_size():
    images = get(shapes=(SHAPE, (16, 16, 3)))
    assert images.pixels[16, 16, 3].shape == (200, 16, 16, 3)
    means = [pixels.reshape(200, -1).mean(axis=1) for pixels in images.pixels.values()]
    assert np.corrcoef(*means)[0, 1] > 0.95


def test_other_images_to_test_on():
    images = get(DIGITS[:150], test=DIGITS[150:])
    assert images.learn == 150
    np.testing.assert_array_equal(images.pixels[SHAPE], DIGITS.images)
    np.testing.assert_array_equal(images.labels, DIGITS.labels)
    assert images.seen(SHAPE, fingerprint(DIGITS.images[:150])) == SEEN["data"]
    assert images.seen(SHAPE, fingerprint(DIGITS.images)) == SEEN[""]


def test_the_images_that_are_learned_from_are_not_scored_on(tmp_path):
    """Neither as the same source, nor by another name; the others of a half-labelled set may be."""
    np.savez(tmp_path / "a.npz", images=DIGITS.images, y=DIGITS.labels)
    (tmp_path / "b.npz").symlink_to(tmp_path / "a.npz")
    (tmp_path / "c.npz").write_bytes((tmp_path / "a.npz").read_bytes())
    for test in (tmp_path / "a.npz", str(tmp_path / "b.npz"), tmp_path / "c.npz", DIGITS, DIGITS.images):
        given = ImageDataset(DIGITS.images, DIGITS.labels) if test is DIGITS.images else test
        for data in (tmp_path / "a.npz", DIGITS):
            with pytest.raises(InputError, match=r"labels are drawn from.*leave --test out"):
                get(data, test=given)
    with pytest.raises(InputError, match="labels are drawn from"):
        get("digits", test="digits", limit=60)
    first, second = (with_labels(np.where((np.arange(200) < 120) == part, DIGITS.labels, -1)) for part in (True, False))
    images = get(first, test=second)
    assert images.learn == 120 and len(images.labels) == 200
    overlapping = with_labels(np.where(np.arange(200) > 115, DIGITS.labels, -1))
    with pytest.raises(InputError, match="4 of the images"):
        get(first, test=overlapping)


def test_a_path_that_is_given_twice_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("ganfeat.comparison.images.load_images", lambda *given, **settings: pytest.fail("read"))
    with pytest.raises(InputError, match="leave --test out"):
        get(f"{tmp_path}/x/../photos", test=tmp_path / "photos")


def test_what_a_network_has_seen_is_told_by_its_fingerprint():
    """Of all images, of those to learn from, of others, or unknown; and which seed holds out its own."""
    images = get(other_seeds=[0, 7])
    learn, other = (hold_out(DIGITS.labels, 0.2, seed)[0] for seed in (0, 7))
    assert images.seen(SHAPE, fingerprint(DIGITS.images)) == SEEN["all"]
    assert images.seen(SHAPE, fingerprint(DIGITS.images[learn])) == SEEN["learn"]
    assert images.seen(SHAPE, fingerprint(DIGITS.images[other])) == SEEN[""]
    assert images.seen(SHAPE, None) == images.seen(SHAPE, "") == SEEN[""]
    assert images.other_seed(SHAPE, fingerprint(DIGITS.images[other])) == 7
    assert images.other_seed(SHAPE, fingerprint(DIGITS.images[learn])) is None
    assert images.other_seed(SHAPE, None) is None


NAMED = {"classes": tuple("abcdefghij")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": ImageDataset(DIGITS.images)}, "DATA .* have no labels"),
        ({"data": with_labels(np.full(200, -1))}, "have no labels"),
        ({"data": with_labels(np.zeros(200, int))}, "1 class"),
        ({"data": with_labels(np.arange(200))}, "200 images with a label to learn from and 0 to score on"),
        ({"limit": 15}, "at least 20"),
        ({"test": ImageDataset(DIGITS.images)}, "--test .* have no labels"),
        ({"test": ImageDataset(DIGITS.images, DIGITS.labels, **NAMED)}, r"the same sub-folders|not the same"),
        ({"shapes": ((8, 8, 2),)}, "images are 8x8x1"),
    ],
    ids=["no labels", "unknown", "one class", "none held out", "few", "test without", "classes", "channels"],
)
def test_images_that_cannot_be_compared_on(arguments, message):
    with pytest.raises(InputError, match=message):
        get(**arguments)
