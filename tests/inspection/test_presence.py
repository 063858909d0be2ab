"""The probe that judges images by their pixels or by what D sees of them, and what is measured with it."""

import numpy as np
import pytest
import torch
from torch import nn

from ganfeat import FeatureExtractor
from ganfeat.inspection.boxes import Box
from ganfeat.inspection.presence import eyes, fit_presence, measure, network_positions, over_images, patch_positions
from ganfeat.nets.dcgan import Discriminator

SIDE = 16


def scenes(n=24, seed=0):
    """Noise with a bright square on it, and the boxes around the squares."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 80, (n, SIDE, SIDE, 3)).astype(np.uint8)
    bare, boxes = images.copy(), []
    for image in images:
        x, y = (int(v) for v in generator.integers(0, SIDE - 5, 2))
        image[y : y + 5, x : x + 5] = 220
        boxes.append([Box("s0.0", x, y, 5, 5)])
    return images, bare, boxes


def discriminator():
    network = Discriminator((SIDE, SIDE, 3), width=8)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data.normal_(0, 0.2, generator=generator)
    return FeatureExtractor(network, taps="all", pool=None, bn="eval", device="cpu").fit(scenes(2)[0])


def test_a_patch_is_the_pixels_around_every_second_pixel():
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 6, 3)).astype(np.uint8)
    found = patch_positions(images)
    assert found.shape == (2, 75, 5, 3) and found.dtype == np.float32
    middle = found[1, :, 2, 1].reshape(3, 5, 5)  # around pixel (4, 2)
    assert middle == pytest.approx(images[1, 2:7, 0:5].transpose(2, 0, 1) / 255, abs=1e-6)
    corner = found[0, :, 0, 0].reshape(3, 5, 5)  # edges are repeated beyond the image
    assert (corner[:, :3, :3] == corner[:, 2:3, 2:3]).all()


def test_a_network_is_read_where_it_still_has_seven_cells_a_side():
    """16 -> 8 -> 4: the first layer; its numbers are the network's own, image by image."""
    extractor = discriminator()
    images = scenes(5)[0]
    describe, name = network_positions(extractor)
    assert name == "layer 0 (blocks.0.conv, 8 maps of 8 x 8)"
    x_NCHW = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        wanted = extractor.network_.blocks[0](x_NCHW).numpy()
    assert describe(images) == pytest.approx(wanted, abs=1e-4)
    assert (describe(images[3:]) == describe(images)[3:]).all()


def test_a_network_of_small_maps_is_read_at_its_first_layer_and_a_dense_one_not_at_all():
    small = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    images = scenes(2)[0]
    assert network_positions(FeatureExtractor(small, pool=None, device="cpu").fit(images))[1].startswith("layer 0 (0, ")
    dense = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 5), nn.ReLU())
    assert network_positions(FeatureExtractor(dense, pool=None, device="cpu").fit(images)) is None


def test_eyes_are_ds_where_it_takes_such_images_and_patches_elsewhere():
    extractor, images = discriminator(), scenes(2)[0]
    describe, name = eyes(extractor, (SIDE, SIDE, 3))
    assert name == f"D's {network_positions(extractor)[1]}"
    assert (describe(images) == network_positions(extractor)[0](images)).all()
    dense = FeatureExtractor(nn.Sequential(nn.Flatten(), nn.Linear(768, 5), nn.ReLU()), pool=None, device="cpu")
    for network, shape in ((None, (SIDE, SIDE, 3)), (extractor, (32, 32, 3)), (dense.fit(images), (SIDE, SIDE, 3))):
        describe, name = eyes(network, shape)
        assert describe is patch_positions and name.startswith("patches of 5 x 5 pixels")


@pytest.mark.parametrize("seen", ["pixels", "network"])
def test_what_is_there_is_present_and_what_was_taken_away_is_not(seen):
    """Taken away, the probe says of the place what it says of bare places, on images it has not seen."""
    images, bare, boxes = scenes()
    describe = patch_positions if seen == "pixels" else network_positions(discriminator())[0]
    presence = fit_presence(images, boxes, describe)
    assert presence.held_out.scores["auc"] > 0.95
    before, after = measure(presence, images, images, boxes), measure(presence, images, bare, boxes)
    assert before["presence"].mean() > 0.8 > 0.2 > before["elsewhere"].mean()
    assert after["presence"].mean() < 0.2 and after["detected"].mean() < 0.1 < 0.8 < before["detected"].mean()


def test_changes_are_root_mean_squares_inside_and_outside():
    images, bare, boxes = scenes()
    presence = fit_presence(images, boxes)
    none = measure(presence, images, images, boxes)
    assert (none["change_inside"] == 0).all() and (none["change_outside"] == 0).all()
    found = measure(presence, images, bare, boxes)
    assert (found["change_outside"] == 0).all() and (found["change_inside"] > 0.5).all()
    brighter = measure(presence, images, images + 10, boxes)  # at most 230: nothing wraps
    assert brighter["change_inside"] == pytest.approx(np.full(24, 10 / 255))
    assert brighter["change_outside"] == pytest.approx(np.full(24, 10 / 255))
    whole = [[Box("s0.0", 0, 0, SIDE, SIDE)], *boxes[1:]]
    assert np.isnan(measure(presence, images, bare, whole)["change_outside"][0])


def test_means_over_images_leave_out_what_is_not_there():
    values = np.array([1.0, np.nan, 3.0, 2.0, 2.0])
    found = over_images(values)
    assert found["mean"] == 2 and found["images"] == 4
    assert found["ci95"] == pytest.approx(3.182 * np.sqrt(2 / 3) / 2, abs=1e-3)  # Student's t, 3 degrees of freedom
    assert over_images(np.array([np.nan])) == {"mean": None, "ci95": None, "images": 0}
    assert over_images(np.array([0.5])) == {"mean": 0.5, "ci95": None, "images": 1}
