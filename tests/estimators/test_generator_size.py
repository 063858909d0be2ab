"""The generalised BiGAN: E sees larger images than G draws and D sees."""

import numpy as np
import pytest
import torch
from PIL import Image

from ganfeat import ALI, AutoEncoder, BiGAN, InputError, LatentRegressor, load
from ganfeat.data import load_images
from ganfeat.device import resolve_precision

SMALL = {"n_components": 5, "width": 2, "max_iter": 1, "batch_size": 8, "random_state": 0}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Photographs of another shape, decoded once, at the size that E sees, into a memory map."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(16):
        pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((60, 50)).save(folder / f"{i}.png")
    return load_images(folder, size=48, pack=tmp_path_factory.mktemp("pack") / "photos.npy")


@pytest.mark.parametrize("architecture", ["conv", "alexnet"])
@pytest.mark.parametrize("kind", [BiGAN, ALI, LatentRegressor, AutoEncoder])
def test_one_memory_map_serves_both_sizes(kind, architecture, images, tmp_path):
    assert isinstance(images.images, np.memmap)
    model = kind(architecture=architecture, generator_size=24, **SMALL)
    model.check_parameters()
    model.fit(images, run=tmp_path / "run")
    codes = model.transform(images)
    assert model.image_shape_ == (48, 48, 3)
    assert codes.shape == (16, 5)
    assert np.isfinite(codes).all()
    again = model.reconstruct(images)
    assert again.dtype == np.uint8
    assert again.shape == (16, 24, 24, 3)
    assert np.array_equal(again, model.inverse_transform(codes))
    assert model.sample(3, random_state=0).shape == (3, 24, 24, 3)
    assert model.generate(np.empty((0, 5))).shape == (0, 24, 24, 3)
    sheets = sorted((tmp_path / "run" / "samples").glob("*.png"))
    assert sheets
    with Image.open(sheets[-1]) as sheet:
        assert sheet.width == sheet.height == 8 * 24 + 7  # 64 pictures, a pixel apart
    loaded = load(tmp_path / "run")
    assert np.array_equal(loaded.transform(images), codes)
    assert np.array_equal(loaded.reconstruct(images), again)


def test_layers_of_both_networks(images):
    """E's maps are of 24, 12, 6 and 3 pixels a side, D's of 12, 6 and 3: E has one layer more."""
    model = BiGAN(generator_size=24, **SMALL).fit(images)
    sides = {
        network: [b.stages["activation"][1] for b in model.extractor(network, taps="all").blocks_]
        for network in ("encoder", "discriminator")
    }
    assert sides == {"encoder": [24, 12, 6, 3], "discriminator": [12, 6, 3]}
    assert model.extractor("discriminator", pool=1).transform(images.images).shape == (16, 2 + 4 + 8)


@pytest.mark.parametrize("architecture", ["conv", "mlp", "alexnet"])
def test_g_larger_than_the_images_is_refused_when_they_are_known(architecture, images):
    model = BiGAN(architecture=architecture, generator_size=64, **SMALL)
    model.check_parameters()
    with pytest.raises(InputError, match="generator_size=64 is larger than the images, 48 x 48"):
        model.fit(images)


def test_images_that_are_not_square_are_refused(images):
    with pytest.raises(InputError, match="needs square images, and these are 48 x 40"):
        BiGAN(generator_size=24, **SMALL).fit(images.images[:, :, :40])


@pytest.mark.parametrize("size", [0, -3, 2.5, "24", True])
def test_a_size_that_is_no_size(size):
    with pytest.raises(InputError, match="generator_size"):
        BiGAN(generator_size=size, **SMALL).check_parameters()


class TestPrecision:
    """bf16 gradients of strided convolutions are wrong on the CPU for maps of one pixel."""

    @staticmethod
    def resolved(shape, precision="bf16", **parameters):
        model = BiGAN(device="cpu", precision=precision, **{**SMALL, **parameters})
        model.image_shape_, model.device_ = shape, torch.device("cpu")
        return model._resolved_precision()

    @pytest.mark.parametrize("architecture", ["conv", "alexnet"])
    def test_e_g_and_d_all_count(self, architecture):
        assert self.resolved((64, 64, 3), architecture=architecture) == "bf16"
        assert self.resolved((64, 64, 3), architecture=architecture, generator_size=3) == "bf16"
        with pytest.raises(InputError, match="images of 2 x 2 shrink to one pixel"):
            self.resolved((64, 64, 3), architecture=architecture, generator_size=2)
        with pytest.raises(InputError, match="images of 256 x 20 shrink to one pixel"):
            self.resolved((256, 20, 3), architecture=architecture)

    def test_networks_that_do_not_convolve_have_no_maps(self):
        assert self.resolved((256, 8, 1), architecture="mlp") == "bf16"
        assert self.resolved((8, 8, 1), architecture="mlp", generator_size=1) == "bf16"

    def test_auto_does_what_is_right(self):
        usual = resolve_precision("auto", torch.device("cpu"))  # bf16 on the processors that gain from it
        assert self.resolved((64, 64, 3), "auto") == usual
        assert self.resolved((64, 64, 3), "auto", generator_size=2) == "fp32"
