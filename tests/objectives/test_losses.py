"""The GAN's losses against their closed forms."""

import math

import pytest
import torch

from ganfeat.objectives.losses import discriminator_loss, generator_loss, judgements


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


P, Q = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(1.0, 1.5)


def quantiles(distribution, n=20_000):
    """Points of equal probability: a mean over them is an expectation, up to about 1 / n."""
    return distribution.icdf((torch.arange(n, dtype=torch.float64) + 0.5) / n)


def log_ratio(x):
    """The logit of D* = p / (p + q) (Goodfellow et al. 2014, proposition 1)."""
    return P.log_prob(x) - Q.log_prob(x)


def test_the_loss_of_the_optimal_discriminator_is_two_log_two_less_two_jensen_shannon_divergences():
    """Theorem 1's proof: min over D of the loss is 2 log 2 - 2 JSD(p, q), here integrated on a fine grid."""
    x = torch.linspace(-15, 15, 300_001, dtype=torch.float64)
    p, q = P.log_prob(x).exp(), Q.log_prob(x).exp()
    middle = (p + q) / 2
    divergence = (torch.trapezoid(p * (p / middle).log() + q * (q / middle).log(), x) / 2).item()
    loss = discriminator_loss(log_ratio(quantiles(P)), log_ratio(quantiles(Q))).item()
    assert loss == pytest.approx(2 * math.log(2) - 2 * divergence, abs=1e-4)
    assert divergence > 0.05


@pytest.mark.parametrize("change", [torch.ones_like, torch.sin, torch.tanh, lambda x: x, lambda x: x.square() / 10])
def test_no_change_of_the_log_ratio_lowers_the_loss(change):
    """The loss is convex in the logit, and its slope along any change of the logit vanishes at log p - log q."""

    def along(t):
        return discriminator_loss(*(log_ratio(x) + t * change(x) for x in (quantiles(P), quantiles(Q))))

    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    at_optimum = along(t)
    (slope,) = torch.autograd.grad(at_optimum, t)
    assert abs(slope) < 1e-3
    for size in (-0.5, -0.25, 0.25, 0.5):
        assert along(size) > at_optimum + 1e-4
    wrong = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(along(wrong), wrong)[0] > 1e-2


def test_alpha_is_outlying_beyond_a_factor_of_ten_of_its_median():
    """log alpha = -logit; 2 of 8 are more than log 10 = 2.3026 from the median, 0 (torch's, the lower of the two)."""
    real = torch.tensor([0.0, 0.0, 0.0, 1.0, 2.302, -2.302, 2.303, -5.0])
    found = judgements(real, torch.zeros(4))
    assert float(found["outlying/real"]) == 0.25
    assert float(judgements(real + 7, torch.zeros(4))["outlying/real"]) == 0.25  # alpha is invariant up to a factor
    assert float(found["spread/real"]) == pytest.approx(float(real.std()))
