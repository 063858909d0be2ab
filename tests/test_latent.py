"""Walks, arithmetic, directions, and the z of an image: what must be so whatever the generator is."""

import base64
import itertools
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from torch import nn

from ganfeat.errors import InputError
from ganfeat.latent import (
    DRAWN,
    along,
    along_direction,
    combine,
    combine_pixels,
    direction,
    invert,
    noisy_neighbours,
    read_reference,
    sample_reference,
    smoothness,
    vector_reference,
    walk,
)
from ganfeat.probes.knn import KNNClassifier

RNG = np.random.default_rng
DIGITS = (load_digits().images * 255 / 16).astype(np.uint8)[..., None]  # 1,797 of 8 x 8


def no_draw(seed):
    raise AssertionError("nothing is to be drawn")


# ---------------------------------------------------------------------- references


@pytest.mark.parametrize("n", [1, 2, 3, 100])
def test_a_vector_is_its_name_and_back_to_the_last_bit(n):
    z = RNG(n).standard_normal(n).astype(np.float32)
    name = vector_reference(z)
    assert np.array_equal(read_reference(name, n, no_draw), z)
    assert name[0] == "v" and not set(name) & set("+/=")


def test_a_sample_is_a_row_of_all_that_its_seed_draws():
    def draw(seed):
        return RNG(seed).standard_normal((DRAWN, 3)).astype(np.float32)

    assert np.array_equal(read_reference("s7.255", 3, draw), draw(7)[255])
    assert sample_reference(7, 255) == "s7.255"


def as_name(z, kind="<f4"):
    return "v" + base64.urlsafe_b64encode(np.asarray(z, kind).tobytes()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "17",
        "s0",
        "s0.256",
        "s-1.0",
        "s0.1\n",
        "s0.1 ",
        "s٣.1",
        "s4294967296.0",
        "s" + "9" * 5000 + ".1",
        "v",
        "vAAAA",
        "v" + "/" * 16,
        "v" + "é" * 16,
        "v" + "A" * 15 + "=",
        as_name([1, 2]),
        as_name([1, 2, 3, 4]),
        as_name([1, np.nan, 3]),
        as_name([1, -np.inf, 3]),
        as_name([1, 2000, 3]),
        "V" + as_name([1, 2, 3])[1:],
        "../../etc/passwd",
    ],
)
def test_what_names_no_point_is_refused(text):
    with pytest.raises(InputError):
        read_reference(text, 3, no_draw)


@pytest.mark.parametrize("z", [[np.nan], [1e9], [[1.0]], []])
def test_what_is_no_point_gets_no_name(z):
    with pytest.raises(InputError):
        vector_reference(np.asarray(z, np.float32))


# ---------------------------------------------------------------------- walks


@pytest.mark.parametrize("kind", ["linear", "spherical"])
@pytest.mark.parametrize(("n", "frames", "closed"), [(2, 1, False), (3, 7, True), (9, 10, False), (7, 3, True)])
def test_a_walk_meets_its_points_exactly_and_comes_back(kind, n, frames, closed):
    points = RNG(n).standard_normal((n, 5)).astype(np.float32)
    path = walk(points, frames, kind=kind, closed=closed)
    legs = n if closed else n - 1
    assert path.shape == (legs * frames + 1, 5) and path.dtype == np.float32
    assert np.array_equal(path[::frames][:n], points)
    assert np.array_equal(path[-1], points[0 if closed else -1])
    assert np.array_equal(along(points, np.arange(legs * frames + 1) / (legs * frames), kind=kind, closed=closed), path)
    assert np.array_equal(along(points, 1.0, kind=kind, closed=closed), path[-1])


@pytest.mark.parametrize("kind", ["linear", "spherical"])
def test_points_are_met_to_the_last_bit_also_where_they_are_0(kind):
    """1 / 49 * 49 is not 1, and the cosine of a right angle not 0."""
    assert np.array_equal(walk(np.eye(50), 1, kind=kind), np.eye(50))


def test_a_straight_walk_has_equal_steps_and_stays_in_the_cube():
    points = RNG(0).uniform(-1, 1, (5, 40))
    path = walk(points, 8)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1).reshape(4, 8)
    assert np.allclose(steps, np.linalg.norm(np.diff(points, axis=0), axis=1)[:, None] / 8, rtol=1e-5)
    assert np.abs(path).max() <= 1
    assert np.allclose(path[4], points[:2].mean(axis=0))


def test_a_walk_over_the_sphere_turns_evenly_and_interpolates_the_length():
    a, b = RNG(1).standard_normal((2, 30))
    b *= 3
    path = walk([a, b], 16, kind="spherical").astype(np.float64)
    lengths = np.linalg.norm(path, axis=1)
    assert np.allclose(lengths, np.linspace(np.linalg.norm(a), np.linalg.norm(b), 17), rtol=1e-6)
    unit = path / lengths[:, None]
    angles = np.arccos((unit[1:] * unit[:-1]).sum(axis=1))
    whole = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert np.allclose(angles, whole / 16, rtol=1e-4)


@pytest.mark.parametrize("apart", [0.0, 1e-15, 1e-9, 1e-4, np.pi - 1e-4, np.pi - 1e-9, np.pi])
def test_directions_that_are_nearly_the_same_or_opposite(apart):
    """Lengths stay, steps are even, and nothing is NaN: also where the plane of the two is lost in rounding."""
    a = np.array([2.0, 3.0, 6.0]) * 5 / 7
    b = 5 * (np.cos(apart) * a / 5 + np.sin(apart) * np.array([3, -2, 0]) / np.sqrt(13))
    path = walk([a, b], 10, kind="spherical").astype(np.float64)
    assert np.allclose(np.linalg.norm(path, axis=1), 5, rtol=1e-6)
    assert np.allclose(np.linalg.norm(np.diff(path, axis=0), axis=1), 10 * np.sin(apart / 20), atol=2e-6)


def test_where_there_is_no_direction_the_way_is_straight():
    straight = walk([[0, 0], [2, 4]], 4)
    assert np.array_equal(walk([[0, 0], [2, 4]], 4, kind="spherical"), straight)
    assert np.array_equal(walk([[0, 0], [0, 0]], 4, kind="spherical"), np.zeros((5, 2)))
    assert np.allclose(walk([[-1], [2]], 3, kind="spherical")[:, 0], [-1, 0, 1, 2])


@pytest.mark.parametrize(
    "call",
    [
        lambda: walk([[1, 2]]),
        lambda: walk([1, 2, 3]),
        lambda: walk([[1, np.nan], [0, 1]]),
        lambda: walk([[1, 2], [0, 1]], 0),
        lambda: walk([[1, 2], [0, 1]], kind="straight"),
        lambda: along([[1, 2], [0, 1]], 1.01),
        lambda: along([[1, 2], [0, 1]], [0, np.nan]),
        lambda: along([[1, 2], [0, 1]], -0.1),
    ],
)
def test_wrong_walks_are_refused(call):
    with pytest.raises(InputError):
        call()


# ---------------------------------------------------------------------- smoothness


def test_equal_steps_have_ratio_1_and_lengths_are_per_unit_of_z():
    z = np.linspace([0, 0], [3, 4], 11)  # steps of 0.5
    images = np.full((11, 2, 2, 1), 10, np.uint8) + np.arange(11, dtype=np.uint8)[:, None, None, None]
    found = smoothness(z, images, features=z * 2)
    assert np.allclose(found.pixels.lengths, 2 / 255 / 0.5) and found.pixels.ratio == pytest.approx(1)
    assert np.allclose(found.features.lengths, 2.0) and not len(found.features.jumps)
    assert found.near_pixels is None and found.near_features is None
    again = smoothness(z, images.astype(np.float32) / 255)
    assert np.allclose(again.pixels.lengths, found.pixels.lengths, rtol=1e-5)


def test_a_planted_jump_is_found_where_it_is():
    z = np.linspace(0, 1, 21)[:, None]
    images = np.linspace(0, 100, 21).astype(np.uint8)[:, None, None, None].repeat(4, axis=1)
    images[13:] += 100
    found = smoothness(z, images).pixels
    assert found.jumps.tolist() == [12] and found.ratio > 5
    assert not len(smoothness(z, images, factor=100).pixels.jumps)


def test_steps_of_unequal_z_are_no_jumps_and_a_pause_is_no_step():
    z = np.array([0, 1, 2, 2, 22, 23.0])[:, None]
    images = (z * 10).astype(np.uint8)[..., None, None]
    found = smoothness(z, images).pixels
    assert np.isnan(found.lengths[2]) and not len(found.jumps) and found.ratio == pytest.approx(1, rel=0.01)


def test_a_generator_that_always_draws_the_same_has_no_ratio():
    found = smoothness(np.arange(5)[:, None], np.zeros((5, 2, 2, 1), np.uint8)).pixels
    assert found.ratio is None and found.median == 0 and not len(found.jumps)


def memory(images, training, **more):
    return smoothness(np.arange(len(images))[:, None], images, training=training, **more).near_pixels


def test_the_memorisation_score_is_1_of_copies_one_half_of_fresh_images_and_0_of_noise():
    order = RNG(0).permutation(len(DIGITS))
    training, fresh = DIGITS[order[:1200]], DIGITS[order[1200:]]
    assert memory(training[:200], training).score == 1
    assert memory(fresh, training).score == pytest.approx(0.5, abs=0.05)
    noise = RNG(1).integers(0, 256, fresh.shape, dtype=np.uint8)
    assert memory(noise, training).score == 0


def test_copies_among_the_training_images_do_not_hide_copying():
    training = DIGITS[:600]
    twice = training.repeat(2, axis=0)
    found = memory(training[:100], twice)
    assert found.score == 1 and found.duplicates == 600
    once = memory(DIGITS[600:800], training)
    again = memory(DIGITS[600:800], twice)
    assert again.score == once.score and np.array_equal(again.indices, once.indices * 2)


def test_closeness_says_which_frame_is_a_copy():
    images = np.concatenate([DIGITS[:3], 255 - DIGITS[3:6]])
    found = memory(images, DIGITS[:600])
    assert found.closeness.tolist() == [1, 1, 1, 0, 0, 0] and found.score == 0.5
    assert np.array_equal(found.indices[:3, 0], [0, 1, 2]) and (found.distances[:3] == 0).all()


def test_blur_changes_the_score_and_not_what_held_out_images_tell():
    """Half way to the mean image: copies are hardly told by the score, and fresh ones are below 1/2."""
    order = RNG(0).permutation(len(DIGITS))
    training, held_out, fresh = (DIGITS[order[i * 599 : (i + 1) * 599]] for i in range(3))
    blurred, copies = ((0.5 * x + 0.5 * DIGITS.mean(axis=0)).astype(np.uint8) for x in (fresh, training))
    found, copied = (memory(x, training, held_out=held_out) for x in (blurred, copies))
    assert found.score < 0.4 and copied.score < 0.7
    assert found.chance == pytest.approx(0.5, abs=0.01)
    assert found.nearer == pytest.approx(0.5, abs=0.06) and copied.nearer > 0.95
    leaked = memory(fresh, training, held_out=np.concatenate([training[:100], held_out]))
    assert leaked.chance == found.chance  # those that are training images do not count


def test_neighbours_are_those_of_scikit_learn_in_pixels_and_features():
    training, images = DIGITS[:500], DIGITS[900:930]
    features = {
        "features": images.reshape(30, -1)[:, 20:40] / 16,
        "training_features": training.reshape(500, -1)[:, 20:40] / 16,
    }
    found = smoothness(np.arange(30)[:, None], images, training=training, n_neighbours=3, **features)
    for near, rows, queries, unit in (
        (found.near_pixels, training.reshape(500, -1), images.reshape(30, -1), 255),
        (found.near_features, features["training_features"], features["features"], 1),
    ):
        expected = NearestNeighbors(n_neighbors=3).fit(rows.astype(float)).kneighbors(queries.astype(float))
        assert np.allclose(near.distances, expected[0] / unit) and (near.indices == expected[1]).mean() > 0.95


def test_a_few_copies_among_many_rows_do_not_cost_a_copy_of_all(monkeypatch):
    """Block by block, and the same as of the different ones alone."""
    training = DIGITS[RNG(0).permutation(len(DIGITS))[:400]]
    rows = RNG(1).standard_normal((400, 30))
    held_out, unseen = training[:4] // 2, rows[:4] + 1
    more = {"features": RNG(2).standard_normal((8, 30)), "n_neighbours": 3, "compared": 100, "held_out": held_out}
    z, images = np.arange(8)[:, None], DIGITS[:8]
    expected = smoothness(z, images, training=training, training_features=rows, **more, held_out_features=unseen)
    assert expected.near_features.duplicates == 0
    order = np.concatenate([np.arange(200), np.arange(100, 400)])
    training, rows = training[order], rows[order]
    copied, fit = [], KNNClassifier.fit
    monkeypatch.setattr(KNNClassifier, "fit", lambda knn, X, y: [copied.append(X.nbytes), fit(knn, X, y)][1])
    monkeypatch.setattr(sys.modules[smoothness.__module__], "_BLOCK_BYTES", 4096)
    more["held_out"] = np.concatenate([training[:1], held_out])  # the first is a training image
    found = smoothness(
        z, images, training=training, training_features=rows, **more, held_out_features=np.vstack([rows[:1], unseen])
    )
    assert len(copied) > 40 and max(copied) <= 4096
    for one, two in ((expected.near_pixels, found.near_pixels), (expected.near_features, found.near_features)):
        assert two.duplicates == 100 and np.array_equal(order[two.indices], one.indices)
        assert np.array_equal(two.distances, one.distances) and np.array_equal(two.closeness, one.closeness)
        assert (two.usual, two.nearer, two.chance) == (one.usual, one.nearer, one.chance)


def test_wrong_measurements_are_refused():
    z, images = np.arange(4)[:, None], DIGITS[:4]
    for change in (
        {"z": z[:1]},
        {"z": np.zeros((4, 1))},
        {"images": DIGITS[:3]},
        {"features": np.ones((3, 2))},
        {"features": np.full((4, 2), np.nan)},
        {"training": DIGITS[:10].astype(np.float32)},
        {"training": DIGITS[:10, :4]},
        {"training": DIGITS[:1].repeat(10, axis=0)},
        {"training_features": np.ones((10, 2))},
        {"held_out": DIGITS[:10]},
        {"training": DIGITS[:10], "held_out": DIGITS[:5]},
        {"training": DIGITS[:10], "training_features": np.ones((10, 2))},
        {"factor": 0},
    ):
        with pytest.raises(InputError):
            smoothness(**{"z": z, "images": images, **change})


# ---------------------------------------------------------------------- arithmetic


def test_what_is_added_and_taken_away_is_gone():
    a, b, c = RNG(0).standard_normal((3, 4, 10)).astype(np.float32)
    assert np.allclose(combine(a, a[::-1], c), c.mean(axis=0), atol=1e-6)
    assert np.allclose(combine(a), a.mean(axis=0)) and np.allclose(combine(a, c=c), a.mean(axis=0) + c.mean(axis=0))
    assert np.allclose(combine(a[0], b[0], c[0]), a[0] - b[0] + c[0]) and combine(a, b).dtype == np.float32
    for wrong in ([[]], np.empty((0, 3)), [[np.nan]]):
        with pytest.raises(InputError):
            combine(wrong)
    with pytest.raises(InputError):
        combine(a, b[:, :3])


def test_neighbours_are_within_the_noise_and_their_seed_decides():
    z = np.linspace(-3, 3, 50)
    found = noisy_neighbours(z)
    apart = np.abs(found - z)
    assert found.shape == (8, 50) and apart.max() <= 0.25 + 1e-6 and apart.max() > 0.23
    assert np.array_equal(found, noisy_neighbours(z, random_state=0))
    assert not np.array_equal(found, noisy_neighbours(z, random_state=1))
    assert np.allclose(noisy_neighbours(z, 2, scale=0), z)


def test_pixels_are_added_and_clipped():
    a, b, c = (np.full((2, 1, 1, 3), value, np.uint8) for value in (100, 30, 90))
    a[0], a[1] = 90, 111
    assert np.array_equal(combine_pixels(a, b, c), np.full((1, 1, 3), 160))  # 160.5 to even
    assert np.array_equal(combine_pixels(b, c), np.zeros((1, 1, 3)))
    assert np.array_equal(combine_pixels(c, c=a + 100), np.full((1, 1, 3), 255))


def test_the_separation_is_that_of_pairs_left_out():
    a, b = RNG(3).standard_normal((5, 4)), RNG(4).standard_normal((3, 4)) + 0.5
    right = [
        (b[j] - a[i]) @ (np.delete(b, j, axis=0).mean(axis=0) - np.delete(a, i, axis=0).mean(axis=0)) > 0
        for i, j in itertools.product(range(5), range(3))
    ]
    found = direction(a, b)
    assert found.separation == pytest.approx(np.mean(right))
    assert np.allclose(found.vector, b.mean(axis=0) - a.mean(axis=0), atol=1e-6)


def test_groups_that_do_not_differ_are_separated_by_chance_on_average_and_others_always():
    """Without a bias, also with few members in many dimensions; the same for the p-value."""
    found = [direction(*RNG(seed).standard_normal((2, 4, 100)), regroupings=40) for seed in range(200)]
    assert np.mean([f.separation for f in found]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([f.chance <= 0.1 for f in found]) < 0.16
    apart = direction(RNG(0).standard_normal((6, 20)), RNG(1).standard_normal((6, 20)) + 2)
    assert apart.separation == 1 and apart.chance < 0.02
    even = np.eye(4)  # all pairs are at right angles to what the others say
    assert direction(even[:2], even[2:]).separation == 0.5 and direction(even[:2], even[2:]).chance == 1
    assert direction(even[:1], even[1:]).separation is None and direction(even[:1], even[1:]).chance is None
    with pytest.raises(InputError):
        direction(even, even[:, :2])


def test_exemplars_named_twice_are_judged_once():
    """Else the twin that stays in the mean orders the one left out, and any two groups are separated."""
    a, b, both = RNG(0).standard_normal((3, 3, 100))
    once = direction(a, b)
    assert once.separation < 0.5
    for found in (direction([*a, *a], [*b, *b]), direction([*a, *both], [*both[::-1], *b]), direction([*a, a[0]], b)):
        assert (found.separation, found.chance) == (once.separation, once.chance)
    assert np.allclose(direction([*a, *a], b).vector, once.vector)
    signed = np.array([[0.0, 1.0], [-0.0, 1.0]])
    assert direction(signed, b[:, :2]).separation is None and direction(a, a).separation is None


def test_a_regrouping_is_never_rarer_than_one_in_all_that_were_tried():
    a, b = RNG(0).standard_normal((2, 8, 20))
    assert direction(a, b + 5, regroupings=9).chance == pytest.approx(0.1)


def test_a_direction_leads_from_one_mean_to_the_other():
    a, b = RNG(0).standard_normal((2, 3, 6)).astype(np.float32)
    vector = direction(a, b).vector
    path = along_direction(a.mean(axis=0), vector, [0, 0.5, 1])
    assert np.allclose(path, [a.mean(axis=0), (a.mean(axis=0) + b.mean(axis=0)) / 2, b.mean(axis=0)], atol=1e-6)
    several = along_direction(a, vector, [-1, 0, 1])
    assert several.shape == (3, 3, 6) and np.array_equal(several[:, 1], a)
    assert np.allclose(several[:, 2] - several[:, 0], 2 * vector, atol=1e-5)


# ---------------------------------------------------------------------- inversion


def small_generator(prior):
    """8 numbers to images of 8 x 8: convolutions with random weights, so that z can be read from the image."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(8, 64),
            nn.ReLU(),
            nn.Unflatten(1, (16, 2, 2)),
            nn.ConvTranspose2d(16, 8, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 3, 4, 2, 1),
            nn.Tanh(),
        )
        for parameter in net.parameters():
            parameter.mul_(3) if parameter.ndim == 1 else parameter.mul_(2.5)
    return net.eval()


@pytest.fixture(scope="module")
def generator():
    with torch.no_grad():
        return small_generator("uniform").requires_grad_(False)


def drawn(generator, z):
    with torch.no_grad():
        x = generator(torch.from_numpy(np.asarray(z, np.float32)))
    return ((x.permute(0, 2, 3, 1).numpy() + 1) * 127.5).round().astype(np.uint8)


@pytest.mark.parametrize("prior", ["uniform", "normal"])
def test_the_z_of_a_generated_image_is_found_again(generator, prior):
    z = RNG(5).uniform(-1, 1, (33, 8)) if prior == "uniform" else RNG(5).standard_normal((33, 8))
    images = drawn(generator, z)
    told = []
    found = invert(generator, images, 8, prior, steps=100, progress=lambda done, total: told.append((done, total)))
    assert np.median(found.errors / found.random) < 0.1 and (found.errors < found.random).all()
    assert np.median(np.abs(found.z - z).max(axis=1)) < 0.05
    assert (np.abs(found.z) <= 1).all() or prior == "normal"
    assert (np.linalg.norm(found.z, axis=1) <= np.sqrt(8) + 2 + 1e-5).all()
    off = (drawn(generator, found.z).astype(float) - images) / 255
    assert np.allclose(np.sqrt((off**2).mean(axis=(1, 2, 3))), found.errors, atol=0.003)
    assert told[-1] == (200, 200) and told == sorted(told)  # 33 images from 8 starts are two batches
    assert np.array_equal(found.begun, found.random) and found.first is None


def test_the_same_seed_finds_the_same_and_a_seed_is_not_its_samples(generator):
    """Else a search for sample s0.k would begin at the answer."""
    z = torch.rand(4, 8, generator=torch.Generator().manual_seed(0)).mul(2).sub(1).numpy()
    images = drawn(generator, z)
    one, two = (invert(generator, images, 8, "uniform", starts=2, steps=20) for _ in range(2))
    assert np.array_equal(one.z, two.z) and np.array_equal(one.errors, two.errors)
    assert (one.random > 0.02).all()
    assert not np.array_equal(one.z, invert(generator, images, 8, "uniform", starts=2, steps=20, random_state=1).z)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    invert(generator, images, 8, "uniform", starts=1, steps=2)
    assert torch.equal(before, torch.get_rng_state())


def test_what_an_encoder_says_is_one_of_the_starts(generator):
    z = RNG(6).uniform(-1, 1, (3, 8)).astype(np.float32)
    found = invert(generator, drawn(generator, z), 8, "uniform", starts=1, steps=1, first=z)
    assert (found.first < 0.003).all() and np.array_equal(found.begun, found.first)
    assert (found.errors <= found.first + 1e-6).all() and np.allclose(found.z, z, atol=1e-6)
    with pytest.raises(InputError, match="first"):
        invert(generator, drawn(generator, z), 8, "uniform", first=z[:2])


def test_no_answer_is_worse_than_that_of_the_encoder_also_beyond_the_prior(generator):
    """The nearest z in the cube draws another image, and one step from it does not come back."""
    z = RNG(6).uniform(-3, 3, (5, 8)).astype(np.float32)
    z[0] /= 10
    found = invert(generator, drawn(generator, z), 8, "uniform", starts=1, steps=1, first=z)
    assert (found.first < 0.003).all() and (found.errors <= found.first).all()
    assert np.array_equal(found.z[1:], z[1:]) and np.allclose(found.z[0], z[0], atol=1e-6)
    off = (drawn(generator, found.z).astype(float) - drawn(generator, z)) / 255
    assert np.allclose(np.sqrt((off**2).mean(axis=(1, 2, 3))), found.errors, atol=0.003)
    far = np.full((5, 8), 40, np.float32)  # a start that is of no use is left for what is found within
    found = invert(generator, drawn(generator, z), 8, "uniform", starts=1, steps=1, first=far)
    assert (found.errors < found.first).all() and (np.abs(found.z) <= 1).all()


def test_an_image_that_cannot_be_drawn_is_not_found(generator):
    noise = RNG(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    found = invert(generator, noise, 8, "uniform", starts=4, steps=60)
    assert (found.errors > 0.2).all() and (found.errors <= found.begun).all()


def test_wrong_images_and_settings_are_refused(generator):
    images = drawn(generator, np.zeros((1, 8)))
    for change in (
        {"images": images[:0]},
        {"images": images.astype(np.float32)},
        {"images": images[:, :4]},
        {"prior": "cauchy"},
        {"starts": 0},
        {"steps": 0},
        {"learning_rate": 0.0},
    ):
        with pytest.raises(InputError):
            invert(**{"decoder": generator, "images": images, "n_components": 8, "prior": "uniform", **change})
