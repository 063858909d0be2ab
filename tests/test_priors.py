"""Distributions of z."""

import pytest
import torch
from scipy import stats

from ganfeat.errors import InputError
from ganfeat.priors import PRIORS, get_prior


@pytest.mark.parametrize(
    ("name", "law"), [("uniform", stats.uniform(loc=-1, scale=2)), ("normal", stats.norm())], ids=["uniform", "normal"]
)
def test_draws_follow_the_law(name, law):
    """Kolmogorov-Smirnov on 20,000 draws; and the components of one z are uncorrelated."""
    z_ND = get_prior(name)(4000, 5, torch.Generator().manual_seed(0))
    assert z_ND.dtype == torch.float32
    assert stats.kstest(z_ND.flatten().numpy(), law.cdf).pvalue > 1e-3
    correlation = torch.corrcoef(z_ND.T) - torch.eye(5)
    assert correlation.abs().max() < 5 / 4000**0.5


def test_uniform_stays_within_its_bounds():
    z_ND = get_prior("uniform")(2000, 50, torch.Generator().manual_seed(0))
    assert -1 <= z_ND.min() < -0.999
    assert 0.999 < z_ND.max() <= 1


@pytest.mark.parametrize("name", PRIORS)
def test_only_the_given_generator_is_used(name):
    before = torch.get_rng_state()
    first, second = (get_prior(name)(3, 4, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(get_prior(name)(3, 4, generator), first)
    assert not torch.equal(get_prior(name)(3, 4, generator), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_prior_is_refused_with_the_choices():
    with pytest.raises(InputError, match="'cauchy' is not known: choose one of normal, uniform"):
        get_prior("cauchy")
