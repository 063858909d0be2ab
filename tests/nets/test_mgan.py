"""M-GAN's networks: the table's shapes, generators that differ in their first layer only, judges that share."""

import pytest
import torch
from torch import nn

from ganfeat.errors import InputError
from ganfeat.nets.blocks import initialise
from ganfeat.nets.mgan import Judge, MultiGenerator, WholeMap, count_convs, generator_of_rows, judge_blocks, sides


def seeded(network):
    initialise(network, torch.Generator().manual_seed(0))
    return network


def shapes_of(network, x):
    """Outputs of every convolution, in the order in which they run, without the batch."""
    found = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(lambda _m, _i, out: found.append(tuple(out.shape[1:])))
    network.eval()(x)
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_layers_are_those_of_the_table(channels):
    """Table 1 of the study, at its full width."""
    generator = MultiGenerator((32, 32, channels))
    assert tuple(generator.firsts[0](torch.zeros(2, 128)).shape) == (2, 512, 4, 4)
    assert shapes_of(generator, torch.zeros(10, 128)) == [(256, 8, 8), (128, 16, 16), (channels, 32, 32)]
    judge = Judge(judge_blocks((32, 32, channels), 128, 128), 128, 10)
    x = torch.zeros(2, channels, 32, 32)
    assert shapes_of(judge, x) == [(128, 16, 16), (256, 8, 8), (512, 4, 4), (128, 1, 1)]
    for network in (generator, judge):
        assert all(m.bias is None for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        assert all(m.bias is None for m in network.modules() if isinstance(m, nn.ConvTranspose2d))
        kernels = {m.kernel_size for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)}
        assert kernels == {(4, 4)}
    norms = [[isinstance(m, nn.BatchNorm2d) for m in block.modules()] for block in judge.blocks]
    assert [sum(n) for n in norms] == [0, 1, 1, 0]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in generator.shared) == 2  # none at the output
    assert count_convs((32, 32, channels)) == 4


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 13, 3), (28, 28, 1), (31, 33, 1), (64, 48, 3)])
def test_any_size_from_8_on_is_drawn_and_judged(shape):
    x = MultiGenerator(shape, 3, 5, 4)(torch.randn(6, 5))
    assert tuple(x.shape) == (6, shape[2], shape[0], shape[1])
    assert x.abs().max() <= 1
    judge = Judge(judge_blocks(shape, 4, 7), 7, 3)
    assert tuple(judge.features(x).shape) == (6, 7)
    assert tuple(judge(x).shape) == (6, 3)
    assert min(sides(shape)[-1]) < 8


def test_smaller_images_are_refused():
    with pytest.raises(InputError, match=r"7 x 20 are too small .* at least 8 x 8"):
        sides((7, 20, 1))


@pytest.mark.parametrize(("n", "k"), [(120, 10), (64, 10), (3, 10), (10, 3)])
def test_rows_are_dealt_out_evenly_and_in_order(n, k):
    rows = generator_of_rows(n, k)
    assert (rows.diff() >= 0).all()
    counts = torch.bincount(rows, minlength=k)
    assert counts.max() - counts.min() <= 1
    assert counts.sum() == n


def test_each_row_is_drawn_by_its_generator():
    generator = seeded(MultiGenerator((8, 8, 1), 3, 5, 4)).eval()
    z = torch.randn(4, 5)
    k = torch.tensor([0, 0, 2, 2])
    one_by_one = [generator.shared(generator.firsts[i](z[n : n + 1])) for n, i in enumerate(k.tolist())]
    torch.testing.assert_close(generator(z, k), torch.cat(one_by_one))
    torch.testing.assert_close(generator(z), generator(z, torch.tensor([0, 0, 1, 2])))


def test_generators_differ_in_nothing_but_their_first_layer():
    generator = seeded(MultiGenerator((8, 8, 1), 2, 5, 4)).eval()
    z = torch.randn(3, 5)
    first, second = (generator(z, torch.full((3,), k)) for k in (0, 1))
    assert not torch.allclose(first, second)
    generator.firsts[1].load_state_dict(generator.firsts[0].state_dict())
    torch.testing.assert_close(first, generator(z, torch.ones(3, dtype=torch.long)))


def test_each_generators_batch_norm_sees_its_own_rows_only():
    generator = seeded(MultiGenerator((8, 8, 1), 2, 5, 4)).train()
    generator(torch.cat([torch.zeros(4, 5), torch.randn(4, 5)]))
    assert generator.firsts[0][2].running_mean.abs().max() == 0
    assert generator.firsts[1][2].running_mean.abs().max() > 0


def test_the_last_layer_is_the_same_map_while_it_learns_and_later():
    layer = WholeMap(6, 5, (4, 3), bias=False).double().to(memory_format=torch.channels_last)
    x = torch.randn(7, 6, 4, 3, dtype=torch.float64, requires_grad=True)
    learning, used = layer.train()(x), layer.eval()(x)
    torch.testing.assert_close(learning, used)
    gradients = [torch.autograd.grad(y.square().sum(), (x, layer.weight)) for y in (learning, used)]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_one_output_is_a_logit_an_image():
    assert Judge(judge_blocks((8, 8, 1), 4, 6), 6, 1)(torch.zeros(5, 1, 8, 8)).shape == (5,)
