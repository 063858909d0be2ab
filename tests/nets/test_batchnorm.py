"""Re-estimated batch-norm statistics, against sums written out in float64."""

import pytest
import torch
from torch import nn

from ganfeat.nets.batchnorm import batch_norms, recalibrate

BATCHES = [
    torch.randn(n, 2, 6, 5, generator=torch.Generator().manual_seed(n), dtype=torch.float64) * n + n for n in (4, 7, 3)
]


def _network(**norm):
    """Two conv-norm pairs, some dropout, and statistics that are already wrong."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3, **norm),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, **norm),
    ).double()
    for layer in batch_norms(network):
        if layer.running_mean is not None:
            layer.running_mean.fill_(7.0)
            layer.running_var.fill_(9.0)
    return network


def _naive(network):
    """Plain mean over the batches of each layer's batch mean and unbiased batch variance, float64.

    Each layer's input comes from the layers before it normalising by the batch's own statistics.
    """
    conv_1, norm_1, relu, _, conv_2, _ = network
    statistics = [[], []]
    with torch.no_grad():
        for batch in BATCHES:
            first = conv_1(batch)
            mean, biased = first.mean((0, 2, 3)), first.var((0, 2, 3), unbiased=False)
            statistics[0].append((mean, first.var((0, 2, 3), unbiased=True)))
            shape = (1, -1, 1, 1)
            normalised = (first - mean.view(shape)) / (biased.view(shape) + norm_1.eps).sqrt()
            second = conv_2(relu(normalised * norm_1.weight.view(shape) + norm_1.bias.view(shape)))
            statistics[1].append((second.mean((0, 2, 3)), second.var((0, 2, 3), unbiased=True)))
    return [[torch.stack(values).mean(0) for values in zip(*layer, strict=True)] for layer in statistics]


@pytest.mark.parametrize("norm", [{}, {"momentum": 0.9}, {"track_running_stats": False}], ids=str)
def test_statistics_are_the_plain_mean_of_those_of_the_batches(norm):
    network = _network(**norm)
    expected = _naive(network)
    assert recalibrate(network, iter(BATCHES)) == 3
    for layer, (mean, variance) in zip(batch_norms(network), expected, strict=True):
        torch.testing.assert_close(layer.running_mean, mean, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(layer.running_var, variance, rtol=1e-10, atol=1e-10)


def test_estimating_twice_is_estimating_once():
    network = _network()
    recalibrate(network, BATCHES)
    once = {k: v.clone() for k, v in network.state_dict().items()}
    recalibrate(network, BATCHES)
    assert all(torch.equal(v, once[k]) for k, v in network.state_dict().items())


def test_modes_and_momentum_are_left_as_they_were():
    network = _network(momentum=0.3)
    network[1].eval()
    network[4].eval()
    modes = [m.training for m in network.modules()]
    recalibrate(network, BATCHES)
    assert [m.training for m in network.modules()] == modes
    assert [m.momentum for m in batch_norms(network)] == [0.3, 0.3]


def test_modes_and_momentum_are_left_as_they_were_when_a_batch_cannot_pass():
    network = _network(momentum=0.3)
    with pytest.raises(RuntimeError):
        recalibrate(network, [BATCHES[0], torch.zeros(2, 5, 6, 6, dtype=torch.float64)])
    assert all(m.training for m in network.modules())
    assert [m.momentum for m in batch_norms(network)] == [0.3, 0.3]


def test_only_statistics_change():
    network = _network()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    recalibrate(network, BATCHES)
    changed = {k.split(".")[-1] for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_no_batches_leave_the_network_as_it_was():
    network = _network()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    assert recalibrate(network, []) == 0
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_no_batches_leave_layers_without_statistics_as_they_were():
    network = _network(track_running_stats=False).eval()
    network[3].p = 0.0
    before = network(BATCHES[0])
    recalibrate(network, [])
    torch.testing.assert_close(network(BATCHES[0]), before)


def test_layers_without_statistics_no_longer_see_their_batch():
    network = _network(track_running_stats=False).eval()
    alone, beside = BATCHES[0][:1], torch.cat([BATCHES[0][:1], BATCHES[1]])
    assert not torch.allclose(network(alone)[0], network(beside)[0])
    recalibrate(network, BATCHES)
    torch.testing.assert_close(network(alone)[0], network(beside)[0])


def test_a_network_without_batch_norm_is_not_even_run():
    class Refusing(nn.Module):
        def forward(self, x):
            raise AssertionError("ran")

    assert recalibrate(Refusing(), BATCHES) == 0
