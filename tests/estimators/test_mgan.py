"""M-GAN as an estimator: two sets of features, samples of one generator, and layers that stay shared on disk."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from ganfeat import MGAN, InputError, load

DIGITS, LABELS = load_digits(return_X_y=True)
IMAGES = (DIGITS.reshape(-1, 8, 8, 1) * 15).astype(np.uint8)
TINY = {"n_generators": 3, "width": 8, "n_features": 12, "n_components": 5, "max_iter": 2, "random_state": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mgan") / "run"
    return MGAN(**TINY, shares_removed=1).fit(IMAGES[:300], run=folder), folder


def test_features_of_both_networks(run):
    gan, _ = run
    d, c = gan.transform(IMAGES[:40]), gan.transform(IMAGES[:40], which="classifier")
    assert d.shape == c.shape == (40, 12)
    assert not np.allclose(d, c)
    np.testing.assert_array_equal(d, gan.transform(IMAGES[:40], which="discriminator"))
    np.testing.assert_array_equal(c, gan.extractor("classifier", taps=-1).transform(IMAGES[:40]))
    names = gan.get_feature_names_out()
    assert len(names) == 12
    assert names[3] == "blocks.1:conv[3,0,0]"


def test_features_are_what_the_head_reads(run):
    import torch

    gan, _ = run
    x = torch.from_numpy(IMAGES[:32]).permute(0, 3, 1, 2).float() / 127.5 - 1
    for which in ("discriminator", "classifier"):
        network = gan.objective_.taps()[which]
        with torch.no_grad():
            logits = network.head(torch.from_numpy(gan.transform(IMAGES[:32], which))).squeeze()
            torch.testing.assert_close(logits, network(x).float(), rtol=0.05, atol=0.01)


def test_with_all_layers_shared_both_have_the_same_features():
    gan = MGAN(**TINY).fit(IMAGES[:200])
    np.testing.assert_array_equal(gan.transform(IMAGES[:20]), gan.transform(IMAGES[:20], "classifier"))


def test_saved_and_loaded_it_is_the_same_and_layers_are_shared(run):
    gan, folder = run
    again = load(folder)
    assert isinstance(again, MGAN)
    for which in ("discriminator", "classifier"):
        np.testing.assert_array_equal(again.transform(IMAGES[:20], which), gan.transform(IMAGES[:20], which))
    np.testing.assert_array_equal(again.sample(7, 1), gan.sample(7, 1))
    assert again.objective_.discriminator.blocks[0] is again.objective_.classifier.blocks[0]
    tensors = load_file(folder / "model.safetensors")
    np.testing.assert_array_equal(tensors["discriminator.blocks.0.0.weight"], tensors["classifier.blocks.0.0.weight"])
    assert not np.array_equal(tensors["discriminator.blocks.1.weight"], tensors["classifier.blocks.1.weight"])
    untrained = gan.random_init()
    for which in ("discriminator", "classifier"):
        np.testing.assert_array_equal(
            untrained.transform(IMAGES[:20], which), again.random_init().transform(IMAGES[:20], which)
        )
        assert not np.allclose(untrained.transform(IMAGES[:20], which), gan.transform(IMAGES[:20], which))


def test_stopped_and_gone_on_with_it_ends_with_the_same_weights(run, tmp_path):
    _, folder = run
    other = MGAN(**TINY, shares_removed=1)
    for record in other.iter_fit(IMAGES[:300], run=tmp_path / "run", log_every=1):
        if record["step"] == 2:
            other.request_stop()
    assert not other.finished_
    assert MGAN(**TINY, shares_removed=1).fit(IMAGES[:300], run=tmp_path / "run").finished_
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_samples_of_one_generator(run):
    gan, _ = run
    z = np.random.default_rng(0).normal(size=(6, 5))
    alone = [gan.generate(z, generator=k) for k in range(3)]
    assert not np.array_equal(alone[0], alone[1])
    mixed = gan.generate(z)
    for k in range(3):
        np.testing.assert_array_equal(mixed[2 * k : 2 * k + 2], alone[k][2 * k : 2 * k + 2])
    assert gan.sample(5, random_state=0, generator=2).shape == (5, 8, 8, 1)
    assert gan.generate(np.empty((0, 5))).shape == (0, 8, 8, 1)


def test_many_samples_are_dealt_out_over_all_of_them(run):
    """More than fit one batch: still the first third by the first generator."""
    gan, _ = run
    z = np.random.default_rng(0).normal(size=(600, 5))
    np.testing.assert_array_equal(gan.generate(z)[150:200], gan.generate(z[150:200], generator=0))
    np.testing.assert_array_equal(gan.generate(z)[410:450], gan.generate(z[410:450], generator=2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_generators": 1}, "n_generators=1 must be a whole number of at least 2"),
        ({"shares_removed": 5}, "shares_removed=5 must be 0 to 2"),
        ({"shares_removed": 1.5}, "shares_removed=1.5 must be a whole number"),
        ({"diversity": -1}, "diversity=-1 must be a number of at least 0"),
        ({"n_features": 0}, "n_features=0 must be"),
        ({"prior": "gamma"}, "gamma"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        MGAN(**{**TINY, **settings}).fit(IMAGES[:50])


def test_wrong_use_is_refused(run):
    gan, _ = run
    with pytest.raises(InputError, match="generator=3 must be a whole number of at least 0 and below 3"):
        gan.sample(2, generator=3)
    with pytest.raises(InputError, match="network='encoder' is unknown: choose discriminator or classifier"):
        gan.transform(IMAGES[:5], which="encoder")
    with pytest.raises(InputError, match="too small"):
        MGAN(**TINY).fit(np.zeros((10, 7, 7, 1), np.uint8))
    with pytest.raises(NotFittedError):
        MGAN().transform(IMAGES[:5])


def test_more_generators_than_images_a_batch_are_refused():
    for settings, n in (({"batch_size": 2}, 50), ({}, 2)):
        with pytest.raises(InputError, match="3 generators share batches of 2 images: some would never draw one"):
            MGAN(**{**TINY, **settings}).fit(IMAGES[:n])


def test_larger_images_have_more_layers_to_unshare():
    """Parameters are checked before the images are known."""
    MGAN(shares_removed=5).check_parameters()
    gan = MGAN(**{**TINY, "width": 2, "max_iter": 1}, shares_removed=5)
    assert gan.fit(np.zeros((6, 64, 64, 1), np.uint8) + np.arange(6, dtype=np.uint8)[:, None, None, None]).finished_
    with pytest.raises(InputError, match="shares_removed=99 must be 0 to 4"):
        MGAN(shares_removed=99).check_parameters()


def test_single_samples_are_of_any_generator(run):
    gan, _ = run
    z = {seed: gan._latents(1, seed) for seed in range(30)}
    drawn = {
        next(k for k in range(3) if np.array_equal(gan.sample(1, seed), gan.generate(z[seed], generator=k)))
        for seed in z
    }
    assert drawn == {0, 1, 2}


@pytest.mark.parametrize("z", [5.0, None, [[1, 2]], "abc", [[np.nan] * 5]])
def test_what_is_no_latent_is_refused(run, z):
    for settings in ({}, {"generator": 1}):
        with pytest.raises(InputError, match="z "):
            run[0].generate(z, **settings)


def test_the_gradient_of_each_player_is_its_own(run):
    """D and C share layers, whose gradients are replaced within a step."""
    import torch

    from ganfeat.nets.blocks import initialise
    from ganfeat.training import LoopSettings, Trainer

    objective = MGAN(**TINY)._objective((8, 8, 1))
    initialise(objective, torch.Generator().manual_seed(0))
    settings = LoopSettings(max_iter=1, batch_size=30, weight_decay=0.0, log_every=1)
    trainer = Trainer(objective, IMAGES[:30], settings, torch.device("cpu"))
    draw = objective.train().draw(trainer.batches.at(0), torch.Generator().manual_seed(0))
    loss, _ = objective.loss_of_discriminator(draw)
    loss.backward()
    expected = torch.stack([p.grad.norm() for p in objective.discriminator.parameters()]).norm()
    (record,) = trainer.run()
    assert record["gradient/discriminator"] == pytest.approx(expected.item(), rel=1e-4)
    assert record["gradient/classifier"] != pytest.approx(expected.item(), rel=0.01)


def test_the_folder_says_what_it_is(run):
    _, folder = run
    config = json.loads((folder / "config.json").read_text())
    assert config["method"] == "mgan"
    assert config["estimator"]["shares_removed"] == 1
    assert "# A multi-generator GAN for 8 x 8 images" in (folder / "README.md").read_text()


def test_the_classifier_learns_to_tell_generators_apart_and_features_to_tell_digits():
    """Longer: the games are played for something."""
    gan = MGAN(**{**TINY, "max_iter": 40, "learning_rate": 1e-3, "shares_removed": 1, "batch_size": 60})
    gan.fit(IMAGES[:1200])
    assert np.mean([r["accuracy/classifier"] for r in gan.history_[-5:]]) > 0.6  # of three generators
    for which in ("discriminator", "classifier"):
        rows = gan.transform(IMAGES, which)
        score = LogisticRegression(max_iter=2000).fit(rows[:1200], LABELS[:1200]).score(rows[1200:], LABELS[1200:])
        assert score > 0.6
