"""A generator made by hand, of which every map is known: the maps that draw a patch must be found, and only they go."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from ganfeat import DCGAN, load_images
from ganfeat.errors import InputError
from ganfeat.inspection import forgetting
from ganfeat.inspection.boxes import Box
from ganfeat.inspection.effect import counts, effect, gone
from ganfeat.inspection.forgetting import activations, draw_without, find_layer, fit_forgetting, random_maps
from ganfeat.inspection.presence import fit_presence, measure
from ganfeat.nets.dcgan import Generator

SIDE = 16
PLACES = [(1, 1), (1, 11), (11, 1), (11, 11)]
PATCH = (1, 4)
STROKES = (0, 2, 3, 5)
DEAD = 6
RNG = np.random.default_rng(0)


class Drawing(nn.Module):
    """z (N, 8): four numbers say where a red patch is, if positive; four say which strokes are drawn in the middle.

    Seven maps: two that draw the patch (its red, and what it takes from green), four strokes, and one that is dead.
    """

    def __init__(self, activation=None):
        super().__init__()
        self.first = nn.ConvTranspose2d(8, 7, SIDE)
        self.activation = activation or nn.ReLU(inplace=True)
        self.paint = nn.Conv2d(7, 3, 3, padding=1)
        for parameter in self.parameters():
            parameter.data.zero_()
        for i, (top, left) in enumerate(PLACES):
            for map in PATCH:
                self.first.weight.data[i, map, top : top + 4, left : left + 4] = 1
        middle = torch.zeros(4, SIDE, SIDE)
        middle[0, 3:13, 7], middle[1, 3, 6:10], middle[2, 8, 6:10], middle[3, 12, 6:10] = 1, 1, 1, 1
        for i, map in enumerate(STROKES):
            self.first.weight.data[4 + i, map] = middle[i]
            self.paint.weight.data[:, map, 1, 1] = 1
        self.paint.weight.data[0, PATCH[0], 1, 1], self.paint.weight.data[1:, PATCH[1], 1, 1] = 2, -1
        self.paint.bias.data[:] = torch.tensor([-0.5, -0.4, -0.6])
        self.eval().requires_grad_(False)

    def forward(self, z_ND):
        return torch.tanh(self.paint(self.activation(self.first(z_ND[:, :, None, None]))))


def draws(n, patches=True, seed=0):
    """Latents, and the boxes around the patches that they draw: one or two an image."""
    generator = np.random.default_rng(seed)
    z = np.concatenate([-generator.uniform(0.1, 1, (n, 4)), generator.uniform(-1, 1, (n, 4))], axis=1)
    boxes = []
    for row in z:
        places = generator.choice(4, generator.integers(1, 3), replace=False)
        if patches:
            row[places] = generator.uniform(0.5, 1, len(places))
        boxes.append([Box("s0.0", PLACES[i][1], PLACES[i][0], 4, 4) for i in places])
    return z.astype(np.float32), boxes


def test_exactly_the_patch_maps_are_found_and_only_the_patch_goes():
    """What is drawn then is what z without a patch draws, bit for bit, in these samples and in others."""
    decoder, (z, boxes) = Drawing(), draws(12)
    found = fit_forgetting(decoder, z, boxes, (SIDE, SIDE))
    assert sorted(found.order) == sorted(PATCH) and found.weight[DEAD] == 0 and (found.weight[[*STROKES]] < 0).all()
    assert found.layer.index == 0 and found.layer.maps == 7 and found.layer.grid == (SIDE, SIDE) and found.lowest == 0
    assert found.held_out["accuracy"] == 1 == found.held_out["auc"] and 0.8 < found.held_out["chance"] < 1
    for latents in (z, draws(9, seed=5)[0]):
        before, after = (
            draw_without(decoder, latents, found.layer),
            draw_without(decoder, latents, found.layer, found.order),
        )
        bare = latents.copy()
        bare[:, :4] = -1
        assert (after == draw_without(decoder, bare, found.layer)).all()
        patch = (latents[:, :4] > 0)[:, :, None, None] * np.stack([_square(*place) for place in PLACES])
        assert ((before != after).any(axis=3) == patch.any(axis=1)).all()


def _square(top, left):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + 4, left : left + 4] = True
    return mask


def test_dropping_nothing_is_the_network_itself_and_it_is_not_changed():
    decoder, (z, boxes) = Drawing(), draws(70)
    before = {k: v.clone() for k, v in decoder.state_dict().items()}
    x_NHWC = decoder(torch.from_numpy(z)).permute(0, 2, 3, 1).numpy()
    layer = find_layer(decoder, z)
    fit_forgetting(decoder, z, boxes, (SIDE, SIDE))
    draw_without(decoder, z, layer, [0, 1])
    assert (draw_without(decoder, z, layer) == np.rint((x_NHWC + 1) * 127.5)).all()
    assert all((before[k] == v).all() for k, v in decoder.state_dict().items())


def test_the_activations_are_the_layers_own():
    decoder, (z, _) = Drawing(), draws(70)
    layer = find_layer(decoder, z)
    wanted = torch.relu(decoder.first(torch.from_numpy(z)[:, :, None, None])).numpy()
    assert (activations(decoder, z, layer) == wanted).all()


def test_dropping_all_maps_leaves_what_the_last_layer_adds():
    decoder, (z, _) = Drawing(), draws(3)
    blank = draw_without(decoder, z, find_layer(decoder, z), range(7))
    assert (blank == np.rint((np.tanh([-0.5, -0.4, -0.6]) + 1) * 127.5)).all()


def test_order_of_images_and_maps_does_not_matter():
    decoder, (z, boxes) = Drawing(), draws(12)
    found = fit_forgetting(decoder, z, boxes, (SIDE, SIDE))
    other = fit_forgetting(decoder, z[::-1], boxes[::-1], (SIDE, SIDE))
    assert other.weight == pytest.approx(found.weight, abs=1e-3) and (other.order == found.order).all()
    some = draw_without(decoder, z, found.layer, [4, 1])
    assert (draw_without(decoder, z, found.layer, [1, 4, 4]) == some).all()


def test_the_smallest_activation_tells_whether_zero_is_off():
    z, boxes = draws(12)
    assert fit_forgetting(Drawing(nn.LeakyReLU(0.2)), z, boxes, (SIDE, SIDE)).lowest < -0.01


def test_each_image_may_be_drawn_without_maps_of_its_own():
    """In one batch or in two, as if it was drawn alone; without any, as it is."""
    decoder, (z, _) = Drawing(), draws(70)
    layer = find_layer(decoder, z)
    own = [RNG.permutation(7)[: i % 4] for i in range(70)]
    alone = np.concatenate([draw_without(decoder, z[i : i + 1], layer, own[i]) for i in range(70)])
    assert (draw_without(decoder, z, layer, own) == alone).all()
    with pytest.raises(InputError, match="maps 0 to 6"):
        draw_without(decoder, z[:2], layer, [[0], [7]])


def noisy():
    """A generator of many maps that draw nothing in particular, and boxes anywhere."""
    torch.manual_seed(0)
    decoder = nn.Sequential(
        nn.Unflatten(1, (8, 1, 1)),
        nn.ConvTranspose2d(8, 20, SIDE),
        nn.ReLU(),
        nn.Conv2d(20, 3, 3, padding=1),
        nn.Tanh(),
    )
    generator = np.random.default_rng(3)
    z = generator.normal(size=(13, 8)).astype(np.float32)
    boxes = [[Box("s0.0", *map(int, generator.integers(0, 10, 2)), 6, 6)] for _ in z]
    return decoder.eval().requires_grad_(False), z, boxes


def test_an_image_has_no_say_in_which_maps_it_is_drawn_without():
    """They are those that all other folds' images choose; other boxes on it change the maps of others alone."""
    decoder, z, boxes = noisy()
    found = fit_forgetting(decoder, z, boxes, (SIDE, SIDE), seed=4)
    assert len(found.others) == 5 and sorted(np.unique(found.fold)) == list(range(5))
    for k, order in enumerate(found.others):
        kept = np.flatnonzero(found.fold != k)
        alone = fit_forgetting(decoder, z[kept], [boxes[i] for i in kept], (SIDE, SIDE))
        assert (alone.order == order).all() and not np.array_equal(order, found.order)
    changed = [[Box("s0.0", 0, 0, 5, 16)], *boxes[1:]]
    after = fit_forgetting(decoder, z, changed, (SIDE, SIDE), seed=4)
    assert (after.unseen(6)[0] == found.unseen(6)[0]).all() and len(found.unseen(6)) == 13
    assert any(not np.array_equal(a, b) for a, b in zip(after.others, found.others, strict=True))
    assert not np.array_equal(after.weight, found.weight)


def test_the_effect_is_measured_without_the_maps_that_others_chose():
    decoder, z, boxes = noisy()
    found = fit_forgetting(decoder, z, boxes, (SIDE, SIDE))
    before = draw_without(decoder, z, found.layer)
    presence = fit_presence(before, boxes)
    number = len(found.order)
    (row,) = effect(decoder, z, boxes, found, presence, [number], draws=2, seed=1)
    assert row["of_folds"] == [min(number, len(order)) for order in found.others]
    after, random = before.copy(), [before.copy(), before.copy()]
    for k, order in enumerate(found.others):
        of = found.fold == k
        after[of] = draw_without(decoder, z[of], found.layer, order[:number])
        for images, maps in zip(random, random_maps(found.layer, number, 2, 1), strict=True):
            images[of] = draw_without(decoder, z[of], found.layer, maps[: len(order[:number])])
    wanted = measure(presence, before, after, boxes)["presence"].mean()
    by_all = measure(presence, before, draw_without(decoder, z, found.layer, found.order), boxes)["presence"].mean()
    assert row["dropped"]["presence"]["mean"] == pytest.approx(wanted, abs=1e-3) and abs(wanted - by_all) > 3e-3
    control = [measure(presence, before, images, boxes)["presence"].mean() for images in random]
    assert row["random"]["of_draws"] == pytest.approx(control, abs=1e-3)
    shares = [np.isin(found.others[k][:number], found.order[:number]).mean() for k in found.fold]
    assert row["shared"] == pytest.approx(np.mean(shares)) and 0 < row["shared"] < 1


def test_random_maps_are_as_many_and_drawn_by_the_seed():
    layer = find_layer(Drawing(), draws(2)[0])
    one, other = list(random_maps(layer, 3, 50, 0)), list(random_maps(layer, 3, 50, 1))
    assert all(len(set(maps)) == 3 for maps in one) and {int(m) for maps in one for m in maps} == set(range(7))
    assert all((a == b).all() for a, b in zip(one, random_maps(layer, 3, 50, 0), strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))
    assert all((a == b[:3]).all() for a, b in zip(one, random_maps(layer, 5, 50, 0), strict=True))  # nested


def test_the_effect_is_that_of_a_patch_that_goes_beside_random_maps():
    """The probe sees pixels alone. Without the two maps it takes the places for bare ground; nothing else changes."""
    decoder, (z, boxes) = Drawing(), draws(30)
    found = fit_forgetting(decoder, z, boxes, (SIDE, SIDE))
    presence = fit_presence(draw_without(decoder, z, found.layer), boxes)
    seen = []

    def progress(done, total):
        seen.append((done, total))

    rows = effect(decoder, z, boxes, found, presence, counts(2, 2), draws=4, progress=progress)
    assert [row["maps"] for row in rows] == [0, 1, 2] and seen[-1] == (3, 3)
    assert presence.held_out.scores["auc"] > 0.97
    none, last = rows[0], rows[-1]
    assert none["dropped"]["gone"]["mean"] == 0 and none["dropped"]["change_inside"]["mean"] == 0
    assert none["dropped"]["presence"]["mean"] > 0.8 and none["dropped"]["presence"]["images"] == 30
    assert last["dropped"]["gone"]["low"] > 0.8 and last["dropped"]["change_outside"]["mean"] == 0
    assert last["random"]["gone"]["high"] < 0.7 and last["random"]["change_outside"]["mean"] > 0
    assert last["dropped"]["change_inside"]["mean"] > 2 * last["random"]["change_inside"]["mean"]
    beyond = last["random"]["presence"]["mean"] - last["dropped"]["presence"]["mean"]
    assert last["beyond_random"]["mean"] == pytest.approx(beyond) and beyond > last["beyond_random"]["ci95"] > 0
    assert len(last["random"]["of_draws"]) == 4
    assert np.mean(last["random"]["of_draws"]) == pytest.approx(last["random"]["presence"]["mean"])


def test_gone_is_zero_where_it_stayed_one_where_it_is_as_elsewhere_and_none_without_an_object():
    before, elsewhere = RNG.uniform(0.7, 0.9, 40), RNG.uniform(0.05, 0.15, 40)
    whole = {"presence": before, "elsewhere": elsewhere}
    assert gone(whole, before) == {"mean": 0, "low": 0, "high": 0}
    all_of_it, half = gone(whole, elsewhere), gone(whole, (before + elsewhere) / 2)
    assert all_of_it["mean"] == all_of_it["low"] == all_of_it["high"] == pytest.approx(1)
    assert half["mean"] == pytest.approx(0.5)
    uneven = gone(whole, np.where(np.arange(40) % 2, before, elsewhere))
    assert uneven["low"] < uneven["mean"] < uneven["high"] and uneven["high"] - uneven["low"] > 0.1
    assert gone({"presence": elsewhere, "elsewhere": before}, elsewhere)["mean"] is None


CURVES = [(1, 1, [0, 1]), (8, 3, [0, 1, 2, 3, 4, 8]), (3, 3, [0, 1, 2, 3])]


@pytest.mark.parametrize(("positive", "dropped", "wanted"), CURVES)
def test_numbers_of_maps_double(positive, dropped, wanted):
    assert counts(positive, dropped) == wanted


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(8, 20), nn.Linear(20, 3 * SIDE**2)

    def forward(self, z_ND):
        return torch.tanh(self.out(torch.relu(self.hidden(z_ND)))).view(-1, 3, SIDE, SIDE)


def test_what_cannot_be_done_is_refused(monkeypatch):
    decoder, (z, boxes) = Drawing(), draws(6)
    for index, says in ((-1, "the image itself"), (1, "the image itself"), (2, "out of range"), (-3, "2 conv")):
        with pytest.raises(InputError, match=says):
            find_layer(decoder, z, index)
    with pytest.raises(InputError, match="fully connected: it has no maps"):
        find_layer(Dense(), z)
    with pytest.raises(InputError, match="one conv layer, which draws the image itself"):
        find_layer(nn.Sequential(nn.Unflatten(1, (8, 1, 1)), nn.ConvTranspose2d(8, 3, SIDE), nn.Tanh()), z)
    with pytest.raises(InputError, match="boxes on 1 image are too few"):
        fit_forgetting(decoder, z[:1], boxes[:1], (SIDE, SIDE))
    with pytest.raises(InputError, match="boxes on 0 images are too few"):
        fit_forgetting(decoder, z[:0], [], (SIDE, SIDE))
    monkeypatch.setattr(forgetting, "MOST_VALUES", 4 * 7 * SIDE**2)
    with pytest.raises(InputError, match="boxes on 6 images are too many for this layer: give those on 4"):
        fit_forgetting(decoder, z, boxes, (SIDE, SIDE))
    with pytest.raises(InputError, match="maps 0 to 6"):
        draw_without(decoder, z, find_layer(decoder, z), [7])


def test_a_slider_is_answered_at_once():
    """Eight images of a 32 x 32 network with the authors' widths, without half of its maps: a few milliseconds."""
    decoder = Generator((32, 32, 3), n_components=100, width=64).eval().requires_grad_(False)
    z = RNG.normal(size=(8, 100)).astype(np.float32)
    layer = find_layer(decoder, z)
    seconds = []
    for _ in range(5):
        began = time.process_time()
        draw_without(decoder, z, layer, range(32))
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.05


@pytest.fixture(scope="module")
def patched():
    """A DCGAN that has learned digits, a bright square in a corner of half of them, in seconds."""
    digits = load_images("digits").images
    images = np.repeat(np.kron(digits[..., 0], np.ones((1, 2, 2), np.uint8))[..., None], 3, axis=3)
    for i in np.random.default_rng(0).permutation(len(images))[: len(images) // 2]:
        top, left = ((0, 0), (0, 12), (12, 0), (12, 12))[i % 4]
        images[i, top : top + 4, left : left + 4] = (255, 0, 0)
    small = {"width": 16, "n_components": 16, "max_iter": 20, "batch_size": 50, "learning_rate": 1e-3}
    gan = DCGAN(**small, device="cpu", precision="fp32", random_state=1)
    for _ in gan.iter_fit(images, evaluations=0):
        pass
    return gan


def redness(images):
    return np.clip(images[..., 0].astype(int) - images[..., 1:].max(axis=3), 0, None)


def test_a_trained_generator_forgets_a_patch_and_keeps_the_rest(patched):
    """Judged by the colour alone, on samples without boxes; random maps take less of the patch and more of the rest."""
    z = patched.latents(256, 0)
    images = patched.picture(z)
    boxes = [_around(mask) for mask in redness(images) > 80]
    has = np.array([bool(b) for b in boxes])
    assert has.mean() > 0.2
    learned = np.flatnonzero(has)[:30]
    found = fit_forgetting(patched.decoder(), z[learned], [boxes[i] for i in learned], (16, 16))
    fresh = patched.latents(256, 1)
    before = draw_without(patched.decoder(), fresh, found.layer)
    red = redness(before) > 80

    def judged(maps):
        after = draw_without(patched.decoder(), fresh, found.layer, maps)
        change = np.square((after.astype(float) - before) / 255)
        return 1 - (redness(after) > 80).sum() / red.sum(), np.sqrt(change[~red].mean())

    went, changed = judged(found.order[:4])
    random = np.array([judged(maps) for maps in random_maps(found.layer, 4, 8, 0)])
    assert went > 0.7 and went > random[:, 0].mean() + 0.3
    assert changed < random[:, 1].mean()


def _around(mask):
    """One box around the red pixels of each corner."""
    boxes = []
    for top in (0, 8):
        for left in (0, 8):
            part = np.argwhere(mask[top : top + 8, left : left + 8])
            if len(part) >= 6:
                (y, x), (bottom, right) = part.min(0), part.max(0) + 1
                boxes.append(Box("s0.0", left + x, top + y, right - x, bottom - y))
    return boxes
