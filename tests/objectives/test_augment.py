"""Transforms of what D sees."""

import numpy as np
import pytest
import torch

from ganfeat.errors import InputError
from ganfeat.objectives.augment import TRANSFORMS, Augment, affine, colour, cutout, flip, translate


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n, channels=2, height=16, width=12):
    return torch.rand(n, channels, height, width, generator=seeded(99)) * 2 - 1


@pytest.fixture(params=TRANSFORMS)
def transform(request):
    return TRANSFORMS[request.param]


def test_the_shape_is_kept_and_only_the_given_generator_is_used(transform):
    x_NCHW = images(8)
    kept = x_NCHW.clone()
    before = torch.get_rng_state()
    first, second = transform(x_NCHW, seeded(5)), transform(x_NCHW, seeded(5))
    assert first.shape == x_NCHW.shape
    assert torch.equal(first, second)
    assert not torch.equal(first, transform(x_NCHW, seeded(6)))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x_NCHW, kept)


def test_every_image_has_its_own_randomness(transform):
    x_NCHW = images(1).expand(40, -1, -1, -1)
    assert len(torch.unique(transform(x_NCHW, seeded()), dim=0)) > 1


def test_an_image_does_not_see_the_others(transform):
    x_NCHW = images(6)
    changed = x_NCHW.clone()
    changed[3:] = 0.5
    torch.testing.assert_close(transform(changed, seeded())[:3], transform(x_NCHW, seeded())[:3])


@pytest.mark.parametrize("transform", [affine, cutout, flip, translate])
def test_moving_transforms_stay_in_range(transform):
    x_NCHW = torch.sign(images(50))
    assert transform(x_NCHW, seeded()).abs().max() <= 1 + 1e-6


def test_the_generator_gets_gradients_through_them(transform):
    """They are linear in the image (colour up to a shift), and each output pixel comes from somewhere."""
    x_NCHW = images(4).requires_grad_()
    transform(x_NCHW, seeded()).square().sum().backward()
    assert torch.isfinite(x_NCHW.grad).all()
    assert (x_NCHW.grad.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("transform", [colour, cutout, flip, translate])  # affine warps in float32: too coarse
def test_gradients_agree_with_finite_differences(transform):
    x_NCHW = torch.rand(2, 2, 8, 8, dtype=torch.float64, generator=seeded()).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: transform(x, seeded(2)), (x_NCHW,))


def test_translate_moves_by_whole_pixels_up_to_an_eighth_and_repeats_the_border():
    x_NCHW = images(200)  # 16 x 12: up to 2 rows and 1 column
    moved = translate(x_NCHW, seeded()).numpy()
    padded = np.pad(x_NCHW.numpy(), ((0, 0), (0, 0), (2, 2), (1, 1)), mode="edge")
    shifts = []
    for i in range(len(moved)):
        fits = [
            (dy - 2, dx - 1)
            for dy in range(5)
            for dx in range(3)
            if np.array_equal(padded[i, :, dy : dy + 16, dx : dx + 12], moved[i])
        ]
        assert len(fits) == 1
        shifts += fits
    assert len(set(shifts)) == 15  # every shift comes up among 200


def test_small_images_are_not_translated():
    x_NCHW = images(20, height=7, width=7)
    assert torch.equal(translate(x_NCHW, seeded()), x_NCHW)


def test_flip_mirrors_about_half_of_the_images_and_twice_is_never():
    x_NCHW = images(400)
    flipped = flip(x_NCHW, seeded())
    mirrored = (flipped == x_NCHW.flip(3)).all(3).all(2).all(1)
    untouched = (flipped == x_NCHW).all(3).all(2).all(1)
    assert torch.equal(mirrored, ~untouched)
    assert abs(int(mirrored.sum()) - 200) < 5 * 10  # five standard deviations of a fair coin
    assert torch.equal(flip(flipped, seeded()), x_NCHW)


def test_cutout_greys_one_rectangle_of_a_third_of_each_side():
    kept = cutout(torch.ones(300, 2, 18, 12), seeded())
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(kept[:, 0], kept[:, 1])
    gone = kept[:, 0] == 0
    rows, columns = gone.any(2), gone.any(1)
    assert torch.equal(gone, rows[:, :, None] & columns[:, None, :])
    assert rows.sum(1).max() == 6
    assert columns.sum(1).max() == 4
    assert rows.sum(1).min() >= 3  # at the border half of it is outside
    for line in (rows, columns):  # in one piece
        assert ((line[:, 1:] != line[:, :-1]).sum(1) <= 2).all()
    assert gone.any(0).all()  # every place is hit


def test_affine_keeps_a_constant_image():
    x_NCHW = torch.tensor([0.3, -1.0, 1.0]).view(3, 1, 1, 1).expand(3, 2, 9, 14)
    torch.testing.assert_close(affine(x_NCHW, seeded()), x_NCHW)


def test_affine_maps_a_ramp_to_a_ramp_about_the_centre():
    """A bilinear warp is exact on linear images: away from the border a ramp stays one, zero at the centre.

    The ramp x comes out as (scale cos) x + (shear - sin) y, so its slopes tell the transform that was drawn:
    rotations up to 0.26 rad, scales 0.85 to 1.15, shears up to 0.2.
    """
    side = 33
    ramp = (torch.arange(side) * 2 + 1) / side - 1
    warped = affine(ramp.expand(200, 1, side, side), seeded())[:, 0, 11:22, 11:22]
    down, right = warped.diff(dim=1), warped.diff(dim=2)
    torch.testing.assert_close(down, down[:, :1, :1].expand_as(down), atol=1e-5, rtol=0)
    torch.testing.assert_close(right, right[:, :1, :1].expand_as(right), atol=1e-5, rtol=0)
    assert warped[:, 5, 5].abs().max() < 1e-5
    along, across = right[:, 0, 0] * side / 2, down[:, 0, 0] * side / 2
    assert along.min() > 0.85 * np.cos(0.26) - 1e-4
    assert along.max() < 1.15 + 1e-4
    assert across.abs().max() < 0.2 + np.sin(0.26) * 1.15 + 1e-4
    assert along.std() > 0.05
    assert across.std() > 0.1


def test_colour_is_one_affine_map_of_the_greys_of_an_image():
    """Of a grey image saturation sees nothing: brightness and contrast map its values by one straight line."""
    x_NCHW = images(30, channels=1)
    y = colour(x_NCHW, seeded()).flatten(1).double()
    x = x_NCHW.flatten(1).double()
    x_c, y_c = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    contrast = (x_c * y_c).sum(1) / (x_c * x_c).sum(1)
    torch.testing.assert_close(y_c, contrast[:, None] * x_c, atol=1e-5, rtol=1e-4)
    assert contrast.min() >= 0.5 - 1e-5
    assert contrast.max() <= 1.5 + 1e-5
    brightness = (y - x).mean(1)
    assert brightness.abs().max() <= 0.5 + 1e-5
    assert brightness.std() > 0.1


def test_a_sequence_is_applied_in_its_order():
    x_NCHW = images(5)
    generator = seeded(3)
    expected = cutout(flip(x_NCHW, generator), generator)
    assert torch.equal(Augment(("flip", "cutout"))(x_NCHW, seeded(3)), expected)


def test_no_transforms_are_the_identity_and_draw_nothing():
    generator = seeded(3)
    x_NCHW = images(2)
    assert torch.equal(Augment()(x_NCHW, generator), x_NCHW)
    assert torch.equal(generator.get_state(), seeded(3).get_state())


def test_an_unknown_transform_is_refused_with_the_choices():
    with pytest.raises(InputError, match="'rotate' is not known: choose from affine, colour, cutout, flip, translate"):
        Augment(("flip", "rotate"))
