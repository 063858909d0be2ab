"""Eight Gaussians on a ring: M-GAN covers them, a bad GAN does not, and the alarms tell."""

import numpy as np
import pytest
import torch

from ganfeat import health
from ganfeat.estimators.checkup import Checkup
from ganfeat.health import Health
from ganfeat.recipes.ring import MODES, RADIUS, SCALE, RingGAN, RingMGAN, centres, count_modes, draw_points, ring
from ganfeat.training import LoopSettings, Trainer

CPU = torch.device("cpu")


def test_the_modes_lie_on_a_circle_at_equal_distances():
    where = centres()
    np.testing.assert_allclose(np.linalg.norm(where, axis=1), RADIUS)
    np.testing.assert_allclose(
        np.linalg.norm(where - np.roll(where, 1, axis=0), axis=1), 2 * RADIUS * np.sin(np.pi / 8)
    )


def test_real_points_cover_all_modes_and_are_good_as_often_as_the_normal_says():
    """P(distance <= 3 sigma) in two dimensions is 1 - exp(-9/2) = 0.989."""
    points = ring(4000, seed=0)
    assert points.shape == (4000, 1, 1, 2) and np.abs(points).max() <= 1
    covered, good = count_modes(points.reshape(-1, 2))
    assert covered == MODES and good == pytest.approx(1 - np.exp(-4.5), abs=0.006)


@pytest.mark.parametrize("k", range(1, MODES + 1))
def test_modes_are_counted(k):
    points = np.repeat(centres()[:k], 800 // k, axis=0)
    assert count_modes(points) == (k, 1.0)
    far = points + 4 * SCALE / np.sqrt(2)
    assert count_modes(far) == (0, 0.0)


def test_a_mode_with_less_than_a_quarter_of_its_share_is_not_covered():
    points = np.concatenate([np.repeat(centres()[:1], 776, axis=0), np.repeat(centres()[1:2], 24, axis=0)])
    assert count_modes(points).covered == 1  # 24 of 800, where a quarter of an eighth is 25


def played(objective, steps=512):
    points = ring(2048, seed=0)
    settings = LoopSettings(
        max_iter=steps // 16, batch_size=128, learning_rate=1e-3, weight_decay=0.0, seed=0, log_every=20, evaluations=24
    )
    checks = Checkup(points, np.arange(len(points)), seed=0, device=CPU, precision="fp32")
    trainer = Trainer(objective, points, settings, CPU, checks=checks)
    reader = Health()
    for record in trainer.run():
        reader.read(record)
    return count_modes(draw_points(objective, 1000, seed=1)), reader


def test_m_gan_covers_the_eight_gaussians_and_raises_no_alarm():
    modes, reader = played(RingMGAN(seed=0))
    assert modes.covered == MODES and modes.good > 0.7
    assert not reader.raised and reader.summary()["last"]["coverage"] > 0.4


def test_a_gan_that_falls_into_few_modes_is_detected(monkeypatch):
    """G learns ten times as fast as D."""
    original = Trainer._set_learning_rates

    def faster(self):
        original(self)
        self.optimisers["discriminator"].param_groups[0]["lr"] /= 10

    monkeypatch.setattr(Trainer, "_set_learning_rates", faster)
    modes, reader = played(RingGAN(seed=0))
    assert modes.covered <= MODES // 2
    assert "coverage" in reader.up and reader.raised[0].step >= health.LEAST_STEPS
