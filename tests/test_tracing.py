"""Tracing: which convolutions ran, in which order, and what was done to their outputs."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ganfeat import InputError
from ganfeat.nets.families import Plan
from ganfeat.objectives.bigan import BiGAN
from ganfeat.objectives.regressor import LatentRegressor
from ganfeat.tracing import Block, trace, watch


def blocks_of(network, channels=3, side=8):
    with torch.no_grad():
        return trace(network.eval(), torch.zeros(2, channels, side, side))


def test_blocks_come_in_order_of_execution_not_of_definition():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Conv2d(6, 5, 3)
            self.first = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.Tanh())

        def forward(self, x):
            return F.relu(self.last(self.first(x)))

    assert blocks_of(Backwards()) == [
        Block(0, "first.0", {"conv": (6, 4, 4), "norm": (6, 4, 4), "activation": (6, 4, 4)}),
        Block(1, "last", {"conv": (5, 2, 2), "activation": (5, 2, 2)}),
    ]


@pytest.mark.parametrize(
    "activation",
    [
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.LeakyReLU(0.2),
        nn.LeakyReLU(0.2, inplace=True),
        nn.ELU(),
        nn.SELU(inplace=True),
        nn.CELU(),
        nn.GELU(),
        nn.SiLU(),
        nn.SiLU(inplace=True),
        nn.Mish(),
        nn.Softplus(),
        nn.PReLU(),
        nn.RReLU(),
        nn.ReLU6(),
        nn.Hardtanh(),
        nn.Hardswish(),
        nn.Hardsigmoid(),
        nn.Tanh(),
        nn.Sigmoid(),
        nn.Softsign(),
        nn.LogSigmoid(),
        nn.Threshold(0.1, 0.0),
    ],
    ids=repr,
)
def test_activations_are_known(activation):
    (block,) = blocks_of(nn.Sequential(nn.Conv2d(3, 4, 3), activation))
    assert list(block.stages) == ["conv", "activation"]


@pytest.mark.parametrize(
    "function",
    [F.relu, torch.relu, torch.relu_, F.leaky_relu_, F.silu, torch.tanh, torch.sigmoid, lambda x: x.relu(),
     lambda x: x.relu_(), lambda x: x.clamp(min=0), lambda x: torch.clamp(x, min=0), lambda x: x.tanh_(),
     lambda x: x.sigmoid_(), lambda x: x.clamp_(min=0), lambda x: x.clamp_min(0)],
)  # fmt: skip
def test_activations_as_functions(function):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return function(self.conv(x))

    (block,) = blocks_of(Net())
    assert list(block.stages) == ["conv", "activation"]


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d(4), nn.InstanceNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm((4, 6, 6))],
    ids=lambda n: type(n).__name__,
)
def test_norms_are_known(norm):
    (block,) = blocks_of(nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU()))
    assert list(block.stages) == ["conv", "norm", "activation"]


def test_dropout_and_casts_do_not_part_a_block():
    class Cast(nn.Module):
        def forward(self, x):
            return x.to(torch.float64).float().contiguous()

    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout2d(), Cast(), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU())
    (block,) = blocks_of(network)
    assert list(block.stages) == ["conv", "norm", "activation"]


def test_what_is_done_to_something_else_belongs_to_no_block():
    """A sum is no longer the convolution's output, and the second of two activations is not the block's."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

        def forward(self, x):
            return torch.sigmoid(torch.tanh(F.relu(x) + self.conv(x)))

    (block,) = blocks_of(Net())
    assert list(block.stages) == ["conv"]
    (block,) = blocks_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Tanh()))
    assert list(block.stages) == ["conv", "activation"]


def test_convolutions_that_are_no_modules_and_transposed_ones():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = nn.Parameter(torch.zeros(4, 3, 3, 3))
            self.up = nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1)

        def forward(self, x):
            return torch.tanh(self.up(F.relu(F.conv2d(x, self.kernel, padding=1))))

    blocks = blocks_of(Net())
    assert [(b.index, b.name, list(b.stages)) for b in blocks] == [
        (0, "conv0", ["conv", "activation"]),
        (1, "up", ["conv", "activation"]),
    ]
    assert blocks[1].stages["conv"] == (2, 16, 16)


def test_a_shared_module_makes_two_blocks_of_two_names():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    blocks = blocks_of(nn.Sequential(shared, nn.ReLU(), shared))
    assert [b.index for b in blocks] == [0, 1]
    assert len({b.name for b in blocks}) == 2


def test_a_network_that_is_one_convolution():
    (block,) = blocks_of(nn.Conv2d(3, 4, 3))
    assert (block.index, block.name, block.stages) == (0, "conv", {"conv": (4, 6, 6)})


def test_resolve_is_the_stage_or_the_last_before_it():
    whole = Block(0, "a", {"conv": (1,), "norm": (1,), "activation": (1,)})
    bare = Block(0, "a", {"conv": (1,)})
    no_norm = Block(0, "a", {"conv": (1,), "activation": (1,)})
    assert [whole.resolve(s) for s in ("conv", "norm", "activation")] == ["conv", "norm", "activation"]
    assert [bare.resolve(s) for s in ("conv", "norm", "activation")] == ["conv"] * 3
    assert [no_norm.resolve(s) for s in ("conv", "norm", "activation")] == ["conv", "conv", "activation"]


class TestWithoutConvolutions:
    """Then the blocks are the hidden layers: linear maps with a norm or an activation behind them."""

    def test_hidden_layers(self):
        network = nn.Sequential(
            nn.Flatten(),
            nn.Linear(192, 9),
            nn.LeakyReLU(0.2),
            nn.Linear(9, 8, bias=False),
            nn.BatchNorm1d(8),
            nn.Dropout(),
            nn.ReLU(inplace=True),
            nn.Linear(8, 7),
            nn.LayerNorm(7),
            nn.Linear(7, 1),
        )
        assert blocks_of(network) == [
            Block(0, "1", {"conv": (9,), "activation": (9,)}, "linear", 0),
            Block(1, "3", {"conv": (8,), "norm": (8,), "activation": (8,)}, "linear", 1),
            Block(2, "7", {"conv": (7,), "norm": (7,)}, "linear", 2),
        ]

    def test_linear_maps_without_anything_behind_them_are_counted_but_no_blocks(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.skip, self.inner, self.head = nn.Linear(192, 4), nn.Linear(192, 4), nn.Linear(4, 1)

            def forward(self, x):
                x = x.flatten(1)
                return self.head(F.linear(self.skip(x), torch.eye(4)) + F.relu(self.inner(x)))

        (block,) = blocks_of(Net())
        assert (block.index, block.name, block.call) == (0, "inner", 2)

    @pytest.mark.parametrize("end", [nn.Sigmoid(), nn.Tanh(), nn.Identity()])
    def test_what_gives_the_output_its_range_makes_no_hidden_layer(self, end):
        network = nn.Sequential(nn.Flatten(), nn.Linear(192, 9), nn.Tanh(), nn.Linear(9, 1), end)
        assert [b.name for b in blocks_of(network)] == ["1"]

    def test_a_network_that_ends_in_a_hidden_layer(self):
        for end in ([nn.ReLU()], [nn.BatchNorm1d(9), nn.Tanh()]):
            network = nn.Sequential(nn.Flatten(), nn.Linear(192, 9), nn.ReLU(), nn.Linear(9, 9), *end)
            assert [b.name for b in blocks_of(network)] == ["1", "3"]

    def test_linear_maps_that_are_no_modules_and_one_that_runs_twice(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.twice = nn.Linear(6, 6)

            def forward(self, x):
                x = F.relu(F.linear(x.flatten(1), torch.ones(6, 192)))
                return F.relu(self.twice(F.relu(self.twice(x))))

        assert [b.name for b in blocks_of(Net())] == ["linear0", "twice", "twice#2"]

    def test_one_convolution_and_linear_maps_count_no_more(self):
        network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 9), nn.ReLU(), nn.Linear(9, 1))
        assert blocks_of(network) == [Block(0, "0", {"conv": (2, 6, 6)})]

    def test_no_hidden_layer_either(self):
        with pytest.raises(InputError, match="no convolution and no hidden layer"):
            blocks_of(nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.Sigmoid()))

    def test_no_hooks_are_left(self):
        network = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.ReLU())
        blocks_of(network)
        assert not any(m._forward_pre_hooks or m._forward_hooks for m in network.modules())


class TestBiGAN:
    """A joint D alone is seen, though E runs first, and where z joins, too."""

    @staticmethod
    def taps(architecture, joint=True, channels=3):
        plan = Plan((32, 32, channels), 5, architecture=architecture, width=4, joint=joint)
        objective = BiGAN(plan) if joint else LatentRegressor(plan)
        return {name: blocks_of(network, channels, 32) for name, network in objective.taps().items()}

    @pytest.mark.parametrize("joint", [True, False])
    @pytest.mark.parametrize("architecture", ["conv", "alexnet"])
    def test_d_of_convolutions(self, architecture, joint):
        taps = self.taps(architecture, joint)
        first = Block(0, "discriminator.blocks.0.conv", {"conv": (4, 16, 16), "activation": (4, 16, 16)})
        later = [
            Block(i, f"discriminator.blocks.{i}.conv", dict.fromkeys(("conv", "norm", "activation"), (4 * 2**i, s, s)))
            for i, s in ((1, 8), (2, 4))
        ]
        assert taps["discriminator"] == [first, *later]

    def test_e_of_convolutions(self):
        assert [b.name for b in self.taps("conv")["encoder"]] == [f"trunk.{i}.conv" for i in range(3)]
        blocks = self.taps("alexnet")["encoder"]
        assert [b.name for b in blocks] == [f"trunk.conv{i}.conv" for i in range(1, 6)]
        assert [b.stages["activation"] for b in blocks] == [
            (96, 8, 8),
            (256, 4, 4),
            *[(c, 2, 2) for c in (384, 384, 256)],
        ]
        assert ["norm" in b.stages for b in blocks] == [False, True, True, True, True]

    @pytest.mark.parametrize("joint", [True, False])
    def test_fully_connected_ones(self, joint):
        first = {"conv": (4,), "activation": (4,)}
        second = {"conv": (4,), "norm": (4,), "activation": (4,)}
        taps = self.taps("mlp", joint, channels=1)
        assert taps["encoder"] == [
            Block(0, "trunk.1.linear", first, "linear", 0),
            Block(1, "trunk.2.linear", second, "linear", 1),
        ]
        assert taps["discriminator"] == [
            Block(0, "discriminator.first.1.linear", first, "linear", 0),
            Block(1, "discriminator.trunk.linear", second, "linear", 1),
        ]


def test_images_that_the_network_does_not_take():
    with pytest.raises(InputError, match=r"\(1, 8, 8\) \(channels, height, width\)"):
        blocks_of(nn.Conv2d(3, 4, 3), channels=1)
    with pytest.raises(InputError, match="could not run"):
        blocks_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 1)))


def test_tracing_leaves_no_hooks_even_after_an_error():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 1))
    with pytest.raises(InputError):
        blocks_of(network)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in network.modules())


def test_watching_stops_as_soon_as_enough_was_seen():
    ran = []

    class Probe(nn.Module):
        def forward(self, x):
            ran.append(True)
            return x

    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Probe(), nn.Conv2d(4, 4, 3))
    seen = []

    def see(index, stage, output):
        seen.append((index, stage))
        return stage == "activation"

    watch(network, torch.zeros(1, 3, 8, 8), see)
    assert seen == [(0, "conv"), (0, "activation")]
    assert not ran


def test_values_are_seen_before_they_are_overwritten():
    network, kept = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)), {}

    def see(index, stage, output):
        kept[stage] = output.clone()
        return False

    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        watch(network, x, see)
        assert torch.equal(kept["conv"], network[0](x))
    assert kept["conv"].min() < 0
    assert torch.equal(kept["activation"], kept["conv"].relu())
