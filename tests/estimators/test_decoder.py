"""G as a network of z alone, and its pictures."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from ganfeat import ACGAN, DCGAN, MGAN, BiGAN, InputError, load

ROWS, LABELS = load_digits(return_X_y=True)
IMAGES = (ROWS.reshape(-1, 8, 8, 1) * 15).astype(np.uint8)[:80]
TINY = {"n_components": 5, "max_iter": 1, "random_state": 0, "precision": "fp32"}


@pytest.fixture(scope="module")
def models():
    return {
        "dcgan": DCGAN(width=8, **TINY).fit(IMAGES),
        "mgan": MGAN(width=8, n_generators=3, n_features=12, **TINY).fit(IMAGES),
        "acgan": ACGAN(width=8, **TINY).fit(IMAGES, LABELS[:80] % 3),
        "bigan": BiGAN(width=16, architecture="mlp", **TINY).fit(IMAGES),
    }


@pytest.mark.parametrize("name", ["dcgan", "mgan", "acgan", "bigan"])
def test_latents_are_of_the_prior_and_pictures_are_the_decoders(models, name):
    gan = models[name]
    z = gan.latents(7, 3)
    assert z.shape == (7, 5) and z.dtype == np.float32 and np.abs(z).max() > 0.5
    np.testing.assert_array_equal(z, gan.latents(7, 3))
    decoder = gan.decoder()
    assert not decoder.training and not any(p.requires_grad for p in decoder.parameters())
    x_NHWC = decoder(torch.from_numpy(z)).permute(0, 2, 3, 1).numpy()
    assert np.abs(x_NHWC).max() <= 1
    wanted = np.rint((x_NHWC + 1) * 127.5)
    assert np.abs(gan.picture(z) - wanted).max() <= 1


def test_pictures_are_the_samples_of_a_model_of_bytes(models):
    gan = models["dcgan"]
    np.testing.assert_array_equal(gan.picture(gan.latents(6, 1)), gan.sample(6, 1))


def test_floats_are_bytes_in_pictures():
    gan = DCGAN(width=8, **TINY).fit(ROWS[:80])
    assert gan.sample(3, 0).dtype == np.float32
    pictures = gan.picture(gan.latents(3, 0))
    np.testing.assert_allclose(pictures, gan.sample(3, 0) / 16 * 255, atol=0.51)


def test_conditions_are_what_generate_takes(models):
    mgan, acgan = models["mgan"], models["acgan"]
    z = mgan.latents(6, 0)
    assert models["dcgan"].condition is None
    assert mgan.condition == ("generator", [0, 1, 2])
    assert acgan.condition == ("label", [0, 1, 2])
    for k in range(3):
        np.testing.assert_array_equal(mgan.picture(z, k), mgan.generate(z, k))
        np.testing.assert_array_equal(acgan.picture(z, k), acgan.generate(z, k))
    assert (mgan.picture(z, 0) != mgan.picture(z, 1)).any()
    assert (acgan.picture(z, 0) != acgan.picture(z, 1)).any()
    np.testing.assert_array_equal(mgan.picture(z), mgan.picture(z, 0))


def test_gradients_flow_to_z(models):
    for gan in models.values():
        z = torch.from_numpy(gan.latents(2, 0)).requires_grad_()
        gan.decoder()(z).square().sum().backward()
        assert z.grad is not None and z.grad.abs().sum() > 0


def test_what_there_is_not_is_refused(models):
    with pytest.raises(InputError, match="told nothing beside z"):
        models["dcgan"].decoder(1)
    with pytest.raises(InputError, match="there is no generator 3: choose one of 0, 1, 2"):
        models["mgan"].picture(models["mgan"].latents(1, 0), 3)
    with pytest.raises(InputError, match=r"z must be \(n, 5\)"):
        models["dcgan"].picture(np.zeros((2, 4)))


def test_saved_models_draw_the_same(models, tmp_path):
    for name in ("mgan", "acgan"):
        gan = models[name]
        gan.save(tmp_path / name)
        z = gan.latents(4, 0)
        np.testing.assert_array_equal(load(tmp_path / name).picture(z, 2), gan.picture(z, 2))
