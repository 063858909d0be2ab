"""The GAN's losses against their closed forms."""

import math

import pytest
import torch

from ganfeat.objectives.losses import discriminator_loss, generator_loss


def test_an_undecided_discriminator_costs_two_log_two():
    """D = 1/2 everywhere: -log(1/2) - log(1/2)."""
    zero = torch.zeros(5, dtype=torch.float64)
    assert float(discriminator_loss(zero, zero)) == pytest.approx(2 * math.log(2), abs=1e-15)
    assert float(generator_loss(zero)) == pytest.approx(math.log(2), abs=1e-15)


def test_losses_are_the_papers_equations_on_probabilities():
    """Equation 1 with D = sigmoid(logit), written out in float64."""
    logits = torch.randn(2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    d_real, d_generated = logits.sigmoid()
    expected = -d_real.log().mean() - (1 - d_generated).log().mean()
    torch.testing.assert_close(discriminator_loss(*logits), expected)
    torch.testing.assert_close(generator_loss(logits[1]), -d_generated.log().mean())


def test_batches_of_different_sizes_weigh_the_same():
    real, generated = torch.tensor([1.0, 3.0, -2.0]), torch.tensor([0.5])
    repeated = discriminator_loss(real, generated.repeat(7))
    torch.testing.assert_close(discriminator_loss(real, generated), repeated)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_losses_and_gradients_are_finite_at_extreme_logits(size):
    """softplus(l) is max(l, 0) there; log(sigmoid(l)) would be infinite."""
    real = torch.full((3,), size, requires_grad=True)
    generated = torch.full((3,), -size, requires_grad=True)
    loss = discriminator_loss(real, generated)
    assert loss.item() == (0.0 if size > 0 else 2e4)
    loss.backward()
    slope = 0.0 if size > 0 else -1 / 3
    torch.testing.assert_close(real.grad, torch.full((3,), slope))
    torch.testing.assert_close(generated.grad, torch.full((3,), -slope))
    assert generator_loss(torch.tensor([size])).item() == (0.0 if size > 0 else 1e4)


def test_gradients_agree_with_finite_differences():
    real, generated = (
        torch.randn(4, generator=torch.Generator().manual_seed(s), dtype=torch.float64, requires_grad=True)
        for s in (0, 1)
    )
    assert torch.autograd.gradcheck(discriminator_loss, (real, generated))
    assert torch.autograd.gradcheck(generator_loss, (generated,))


def test_the_generator_wants_higher_logits_most_where_it_is_found_out():
    """Non-saturating: the slope is -sigmoid(-l), -1 for a fake that is certain to be one, 0 for one that passes."""
    logits = torch.tensor([-20.0, -1.0, 0.0, 1.0, 20.0], requires_grad=True)
    (5 * generator_loss(logits)).backward()
    torch.testing.assert_close(logits.grad, -torch.sigmoid(-logits.detach()))
    assert (logits.grad < 0).all()
    assert logits.grad[0] == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize("mu", [0.5, 1.0])
def test_the_optimal_discriminator_of_two_gaussians_is_a_minimum(mu):
    """log N(x; mu, 1) / N(x; -mu, 1) = 2 mu x, so at the weight 2 mu the expected loss has no slope.

    Each term of the slope has a deviation of at most E|x|, so of n samples its mean has a standard error below
    2 (1 + mu) / sqrt(n); four of them are allowed.
    """
    n = 200_000
    x = torch.randn(2, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    real, generated = x[0] + mu, x[1] - mu

    def slope(weight):
        w = torch.tensor(weight, dtype=torch.float64, requires_grad=True)
        discriminator_loss(w * real, w * generated).backward()
        return float(w.grad)

    error = 4 * 2 * (1 + mu) / n**0.5
    assert abs(slope(2 * mu)) < error
    assert slope(1.5 * mu) < -error < error < slope(3 * mu)
    assert slope(0.0) == pytest.approx(-mu, abs=error)  # -E[x real] / 2 + E[x generated] / 2
