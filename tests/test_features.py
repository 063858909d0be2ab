"""Features: one image, one row, whatever stands beside it; and the row is what plain hooks would give."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn
from torch.nn import functional as F

from ganfeat import FeatureExtractor, ImageDataset, InputError
from ganfeat.nets.dcgan import Discriminator
from ganfeat.nets.encoder import OnImages
from ganfeat.nets.families import Plan, build
from ganfeat.nets.mlp import MLPDiscriminator

# ---------------------------------------------------------------- networks that somebody else might bring


class Functional(nn.Module):
    """Activations as functions, and a fully connected head."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 4, stride=2, padding=1)
        self.second = nn.Conv2d(8, 12, 4, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.head = nn.Linear(12 * 16, 1)

    def forward(self, x):
        x = F.leaky_relu(self.first(x), 0.2)
        x = F.leaky_relu(self.norm(self.second(x)), 0.2, inplace=True)
        return self.head(x.flatten(1))


class Residual(nn.Module):
    """The sum is activated, not the second convolution's own output."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(x + self.bn2(self.conv2(y)))


class PreActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.bn2, self.conv2 = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, stride=2, padding=1)

    def forward(self, x):
        x = self.conv1(F.relu(self.bn1(x)))
        return self.conv2(F.relu(self.bn2(x)))


def plain(**norm):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8, **norm),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16, **norm),
        nn.LeakyReLU(0.2, inplace=True),
    )


def depthwise():
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1, groups=3),
        nn.ReLU(inplace=True),
        nn.Conv2d(12, 12, 5, padding=2, stride=2, groups=12),
        nn.BatchNorm2d(12),
        nn.SiLU(inplace=True),
        nn.Conv2d(12, 16, 1),
        nn.GELU(),
    )


def spectral():
    norm = nn.utils.parametrizations.spectral_norm
    return nn.Sequential(
        norm(nn.Conv2d(3, 8, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.1),
        norm(nn.Conv2d(8, 8, 3, padding=1)),
        nn.LeakyReLU(0.1),
    )


def dropping():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Dropout2d(0.5),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Dropout(0.5, inplace=True),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
    )


NETWORKS = {
    "ours": lambda: Discriminator((16, 16, 3), width=4),
    "inplace": plain,
    "functional": Functional,
    "residual": Residual,
    "preactivation": PreActivation,
    "depthwise": depthwise,
    "spectral": spectral,
    "no-running-statistics": lambda: plain(track_running_stats=False),
    "dropout": dropping,
    "fully-connected": lambda: MLPDiscriminator((16, 16, 3), 0, 8),
}


def make(name):
    """The network of that name, with uneven batch norms, left in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = NETWORKS[name]()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
                if module.running_mean is not None:
                    module.running_mean.uniform_(-0.5, 0.5)
                    module.running_var.uniform_(0.5, 2.0)
    return network.train()


def noise(n, side=16, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, channels), dtype=np.uint8)


def in_networks(images):
    return torch.from_numpy(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)


def identity(channels=1):
    """A network that changes nothing: its features are pixels."""
    conv = nn.Conv2d(channels, channels, 1, bias=False)
    conv.weight.data = torch.eye(channels)[:, :, None, None]
    return nn.Sequential(conv)


# ---------------------------------------------------------------- one image, one row


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_row_depends_on_its_image_alone(name, precision):
    """Bit for bit: no matter which batch-mates, which position, which batch size."""
    images = noise(9)
    extractor = FeatureExtractor(make(name), pool=3, precision=precision, batch_size=64).fit(images)
    rows = extractor.transform(images)
    assert rows.dtype == np.float32 and np.ptp(rows, axis=0).max() > 0
    order = np.random.default_rng(1).permutation(len(images))
    assert np.array_equal(extractor.transform(images[[5, 5, 2]]), rows[[5, 5, 2]])
    for batch_size in (1, 7, 64, 256):
        extractor.set_params(batch_size=batch_size)
        assert np.array_equal(extractor.transform(images[order]), rows[order]), f"batch_size={batch_size}"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_not_touched(name):
    network = make(name)
    before = copy.deepcopy(network)
    state = torch.get_rng_state()
    FeatureExtractor(network, pool=2).fit(noise(8)).transform(noise(3))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(m.training for m in network.modules())
    assert network.state_dict().keys() == before.state_dict().keys()
    for key, value in before.state_dict().items():
        assert torch.equal(network.state_dict()[key], value), key
    for (key, ours), theirs in zip(network.named_parameters(), before.parameters(), strict=True):
        assert ours.requires_grad and ours.grad is None and ours.stride() == theirs.stride(), key
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_whether_the_network_was_left_in_training_mode_does_not_matter():
    images = noise(9)
    rows = [
        FeatureExtractor(make("dropout").train(mode), bn=bn, precision="fp32").fit(images).transform(images)
        for bn in ("eval", "recalibrate")
        for mode in (True, False)
    ]
    assert np.array_equal(rows[0], rows[1])
    assert np.array_equal(rows[2], rows[3])
    assert not np.allclose(rows[0], rows[2], atol=1e-2)


# ---------------------------------------------------------------- against plain hooks

MODULES = {"conv": ("0", "3"), "norm": ("1", "4"), "activation": ("2", "5")}


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("at", MODULES)
def test_rows_are_hooked_outputs_pooled_flattened_side_by_side(at, pooling):
    """Also where an in-place activation overwrites the very tensor that is tapped before it."""
    images, network = noise(6), make("inplace").eval()
    wanted = {}
    for name in MODULES[at]:
        network.get_submodule(name).register_forward_hook(
            lambda _m, _a, out, name=name: wanted.update({name: out.clone()})
        )
    with torch.no_grad():
        network(in_networks(images))
    pool = {"max": F.adaptive_max_pool2d, "avg": F.adaptive_avg_pool2d}[pooling]
    reference = torch.cat([pool(wanted[name], 3).flatten(1) for name in MODULES[at]], dim=1).numpy()
    extractor = FeatureExtractor(make("inplace"), at=at, pool=3, pooling=pooling, bn="eval", precision="fp32")
    rows = extractor.fit(images).transform(images)
    assert rows.shape == reference.shape
    np.testing.assert_allclose(rows, reference, rtol=1e-5, atol=1e-5)
    assert (at == "activation") == (rows[:, : 8 * 9].min() >= 0)


def test_functions_and_sums_against_the_network_written_out():
    """Residual: the activation of conv2's block is not its own, so the last stage before it is taken."""
    images, net = noise(5), make("residual").eval()
    with torch.no_grad():
        x = F.relu(net.stem(in_networks(images)))
        y = F.relu(net.bn1(net.conv1(x)))
        maps = [x, y, net.bn2(net.conv2(y))]
    reference = torch.cat([F.adaptive_max_pool2d(m, 4).flatten(1) for m in maps], dim=1).numpy()
    extractor = FeatureExtractor(net, bn="eval", precision="fp32").fit(images)
    assert [tap.name for tap in extractor.taps_] == ["stem:activation", "conv1:activation", "conv2:norm"]
    np.testing.assert_allclose(extractor.transform(images), reference, rtol=1e-5, atol=1e-5)


def test_bf16_is_near_fp32():
    images = noise(6)
    exact, rounded = (
        FeatureExtractor(make("ours"), precision=p).fit(images).transform(images) for p in ("fp32", "bf16")
    )
    assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()


# ---------------------------------------------------------------- batch norm


def test_recalibration_is_the_plain_mean_of_batch_statistics():
    """Against float64: mean over batches of 128 of their means and (unbiased) variances, layer by layer.

    While they are estimated, every layer normalises by its own batch, as in training.
    """
    images, size = noise(256, side=8), 128
    extractor = FeatureExtractor(make("inplace"), precision="fp32").fit(images)
    reference = make("inplace").double()
    seen = {name: [] for name in MODULES["norm"]}
    for name in seen:
        reference.get_submodule(name).register_forward_pre_hook(lambda _m, args, name=name: seen[name].append(args[0]))
    with torch.no_grad():
        for start in range(2):  # evenly spaced batches
            reference(in_networks(images[start::2][:size]).double())
    for name, batches in seen.items():
        norm = extractor.network_.get_submodule(name)
        mean = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
        variance = torch.stack([b.var((0, 2, 3), unbiased=True) for b in batches]).mean(0)
        np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(norm.running_var, variance, rtol=1e-4, atol=1e-5)


def test_recalibration_does_not_care_that_folders_are_read_class_by_class():
    """A dark class, then a bright one: each batch must see both, or the variance between them is lost."""
    images = noise(256, side=8) // 8
    images[128:] += 200
    extractor = FeatureExtractor(make("inplace"), precision="fp32")
    first = extractor.fit(images).network_.get_submodule("1").running_var.clone()
    shuffled = images[np.random.default_rng(0).permutation(256)]
    second = extractor.fit(shuffled).network_.get_submodule("1").running_var
    np.testing.assert_allclose(first, second, rtol=0.1)


def test_statistics_of_the_network_are_kept_with_eval():
    network = make("inplace")
    extractor = FeatureExtractor(network, bn="eval").fit(noise(4))
    for key, value in network.state_dict().items():
        assert torch.equal(extractor.network_.state_dict()[key], value), key


def test_eval_without_statistics_is_refused():
    with pytest.raises(InputError, match="recalibrate"):
        FeatureExtractor(make("no-running-statistics"), bn="eval").fit(noise(4))


def test_a_network_with_batch_norm_must_be_fitted_first():
    with pytest.raises(NotFittedError, match="fit"):
        FeatureExtractor(make("inplace")).transform(noise(3))
    assert FeatureExtractor(make("inplace"), bn="eval").transform(noise(3)).shape == (3, 16 * 8 + 16 * 16)
    assert FeatureExtractor(make("spectral")).transform(noise(3)).shape == (3, 16 * 16)


# ---------------------------------------------------------------- which taps


@pytest.mark.parametrize(
    ("taps", "at", "names"),
    [
        ("all", "activation", ["first:activation", "second:activation"]),
        ("all", "norm", ["first:conv", "second:norm"]),
        (0, "activation", ["first:activation"]),
        (-1, "conv", ["second:conv"]),
        ([-1, 0], "activation", ["second:activation", "first:activation"]),
        (["-2"], "activation", ["first:activation"]),
        ("first", "activation", ["first:activation"]),
        ("second:conv", "activation", ["second:conv"]),
        (["1:norm", "0:conv"], "activation", ["second:norm", "first:conv"]),
        (
            ["all:conv", "all:activation"],
            "norm",
            ["first:conv", "second:conv", "first:activation", "second:activation"],
        ),
        (["head"], "activation", ["head"]),
        (["head", 1], "norm", ["head", "second:norm"]),
        ([0, -2, "first"], "activation", ["first:activation"]),  # the same place is taken once
    ],
)
def test_taps(taps, at, names):
    images = noise(3)
    extractor = FeatureExtractor(make("functional"), taps=taps, at=at, precision="fp32").fit(images)
    assert [tap.name for tap in extractor.taps_] == names
    widths = {"first": 8 * 16, "second": 12 * 16, "head": 1}
    assert extractor.n_features_out_ == sum(widths[name.split(":")[0]] for name in names)
    assert extractor.transform(images).shape == (3, extractor.n_features_out_)


@pytest.mark.parametrize(
    ("taps", "at", "names"),
    [
        ("all", "activation", ["first.1.linear:activation", "trunk.linear:activation"]),
        ("all", "norm", ["first.1.linear:conv", "trunk.linear:norm"]),
        ([1, -2], "conv", ["trunk.linear:conv", "first.1.linear:conv"]),
        (["-1:norm", "0:activation"], "conv", ["trunk.linear:norm", "first.1.linear:activation"]),
        ("trunk.linear", "activation", ["trunk.linear:activation"]),
        ("trunk.linear:norm", "activation", ["trunk.linear:norm"]),
        (["trunk", "head"], "activation", ["trunk", "head"]),
        (["head"], "activation", ["head"]),
        (["head", 0], "activation", ["head", "first.1.linear:activation"]),
    ],
)
def test_taps_of_a_network_without_convolutions(taps, at, names):
    images = noise(3)
    extractor = FeatureExtractor(make("fully-connected"), taps=taps, at=at, precision="fp32").fit(images)
    assert [tap.name for tap in extractor.taps_] == names
    widths = [1 if name == "head" else 8 for name in names]
    assert extractor.transform(images).shape == (3, sum(widths))
    columns = [f"{name}[{k}]" for name, width in zip(names, widths, strict=True) for k in range(width)]
    assert list(extractor.get_feature_names_out()) == columns


@pytest.mark.parametrize("at", ["conv", "norm", "activation"])
def test_hidden_layers_against_the_network_written_out(at):
    images, net = noise(6), make("fully-connected").eval()
    with torch.no_grad():
        first = net.first[1].linear((in_networks(images).flatten(1) + 1) / 2)
        second = net.trunk.linear(F.leaky_relu(first, 0.2))
        normed = (second - net.trunk.norm.running_mean) / (net.trunk.norm.running_var + net.trunk.norm.eps).sqrt()
        stages = {
            "conv": [first, second],
            "norm": [first, normed],
            "activation": [F.leaky_relu(first, 0.2), F.leaky_relu(normed, 0.2)],
        }
    extractor = FeatureExtractor(make("fully-connected"), at=at, bn="eval", precision="fp32").fit(images)
    reference = torch.cat(stages[at], dim=1).numpy()
    np.testing.assert_allclose(extractor.transform(images), reference, rtol=1e-5, atol=1e-5)


def test_a_hidden_layer_behind_a_linear_map_that_is_none():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.skip, self.inner, self.head = nn.Linear(768, 4), nn.Linear(768, 4), nn.Linear(4, 1)

        def forward(self, x):
            x = x.flatten(1)
            return self.head(self.skip(x) + F.relu(self.inner(x)))

    images, net = noise(5), Net()
    with torch.no_grad():
        reference = F.relu(net.inner(in_networks(images).flatten(1)))
    rows = FeatureExtractor(net, precision="fp32").fit(images).transform(images)
    np.testing.assert_allclose(rows, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("network", ["encoder", "joint discriminator"])
@pytest.mark.parametrize("architecture", ["mlp", "conv"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_codes_and_joint_layers_do_not_depend_on_the_batch_size(precision, architecture, network):
    """Bit for bit, though matrix products and sigmoids round otherwise where they fill no whole register."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, _, discriminator = build(Plan((28, 28, 1), 50, architecture=architecture, width=36))
    net = encoder if network == "encoder" else OnImages(discriminator, (28, 28), encoder)
    images = noise(70, side=28, channels=1)
    order = np.random.default_rng(0).permutation(len(images))
    for taps in ("all", "output") if network == "encoder" else ("all",):
        extractor = FeatureExtractor(net, taps=taps, precision=precision, batch_size=64).fit(images)
        rows = extractor.transform(images)
        for batch_size in (1, 3, 31, 50, 100):
            extractor.set_params(batch_size=batch_size)
            assert np.array_equal(extractor.transform(images[order]), rows[order]), f"batch_size={batch_size}"


def test_statistics_of_a_joint_discriminator_are_those_of_the_codes_it_is_shown():
    """E's are estimated first, and stand still while D's are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, _, discriminator = build(Plan((16, 16, 1), 6, width=4))
    images = noise(128, side=16, channels=1)
    net = OnImages(discriminator, (16, 16), encoder)
    fitted = FeatureExtractor(net, precision="fp32").fit(images).network_
    x = in_networks(images)
    with torch.no_grad():
        shown = fitted.encoder.eval()(x)
        block = fitted.discriminator.blocks[1]
        joined = block.conv(fitted.discriminator.blocks[0](x)) + block.join(shown)[:, :, None, None]
    torch.testing.assert_close(block.norm.running_mean, joined.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(block.norm.running_var, joined.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["conv", "mlp"])
def test_z_joins_between_the_map_and_its_norm(architecture):
    """The stage named conv of a joint D is the map of x alone, W h; its norm reads W h + V z."""
    plan = Plan((16, 16, 3), 5, architecture=architecture, width=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, _, discriminator = build(plan)
    network = OnImages(discriminator, (16, 16), encoder).eval()
    images = noise(4)
    with torch.no_grad():
        x_NCHW = in_networks(images)
        if architecture == "mlp":
            block = discriminator.trunk
            alone, z = block.linear(discriminator.first(x_NCHW)), block.join(encoder(x_NCHW))
        else:
            block = discriminator.blocks[1]
            alone, z = block.conv(discriminator.blocks[0](x_NCHW)), block.join(encoder(x_NCHW))[..., None, None]
        reference = {"-1:conv": alone, "-1:norm": block.norm(alone + z)}
    for tap, expected in reference.items():
        extractor = FeatureExtractor(network, taps=tap, pool=None, bn="eval", precision="fp32").fit(images)
        np.testing.assert_allclose(extractor.transform(images), expected.flatten(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        (2, "out of range: the network has 2 linear layers"),
        ("trunk.linaer:norm", "its linear layers are first.1.linear, trunk.linear"),
        ("first.1.linear:norm", "has no norm, it has conv, activation"),
    ],
)
def test_hidden_layers_that_are_not_there(taps, message):
    with pytest.raises(InputError, match=message):
        FeatureExtractor(make("fully-connected"), taps=taps).fit(noise(3))


def test_a_module_tap_is_that_modules_output():
    images, net = noise(4), make("functional").eval()
    with torch.no_grad():
        reference = net(in_networks(images)).numpy()
    rows = FeatureExtractor(net, taps="head", bn="eval", precision="fp32").fit_transform(images)
    np.testing.assert_allclose(rows, reference, rtol=1e-5, atol=1e-5)


class Pair(nn.Module):
    def forward(self, x):
        return x, x


class Mean(nn.Module):
    def forward(self, pair):
        return pair[0].mean(dim=1)


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        (2, "0 to 1"),
        (-3, "-2 to -1"),
        ("7:conv", "out of range"),
        ("frist", "did you mean 'first'"),
        ("frist:conv", "first, second"),
        ("0:relu", "conv, norm, activation"),
        ([], "empty"),
        (["first", "nothing"], "nothing"),
        ("unused", "did not run"),
        ("head.0", "gives no tensor"),
        ("head.1", "gives no tensor"),
    ],
)
def test_a_wrong_tap_is_refused_with_what_there_is(taps, message):
    network = make("functional")
    network.unused = nn.Linear(2, 2)
    network.head = nn.Sequential(Pair(), Mean())
    with pytest.raises(InputError, match=message):
        FeatureExtractor(network, taps=taps).fit(noise(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"at": "relu"}, "conv, norm, activation"),
        ({"pooling": "mean"}, "avg, max"),
        ({"bn": "train"}, "recalibrate, eval"),
        ({"dtype": "int8"}, "float32, float16"),
        ({"pool": 0}, "pool=0"),
        ({"pool": -1}, "pool=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"precision": "fp8"}, "precision='fp8'"),
    ],
)
def test_a_wrong_setting_is_refused_at_fit(settings, message):
    extractor = FeatureExtractor(make("inplace"), **settings)
    with pytest.raises(InputError, match=message):
        extractor.fit(noise(3))


@pytest.mark.parametrize("bn", ["eval", "recalibrate"])
@pytest.mark.parametrize("taps", ["all", "head"])
def test_images_that_the_network_does_not_take(taps, bn):
    for images in (noise(3, channels=1), noise(3, side=8)):
        with pytest.raises(InputError, match="channels, height, width"):
            FeatureExtractor(make("functional"), taps=taps, bn=bn).fit(images)


def test_numbers_are_indices_even_where_modules_are_called_so():
    """The modules of nn.Sequential have numbers for names: "3" is its second convolution, and not block 3."""
    images = noise(3)
    rows = FeatureExtractor(make("inplace"), taps="1").fit_transform(images)
    assert np.array_equal(rows, FeatureExtractor(make("inplace"), taps=1).fit_transform(images))
    with pytest.raises(InputError, match="2 conv layers"):
        FeatureExtractor(make("inplace"), taps="5").fit(images)


def test_images_of_another_size_than_fitted():
    extractor = FeatureExtractor(make("inplace")).fit(noise(3))
    with pytest.raises(InputError, match="16x16x3"):
        extractor.transform(noise(3, side=8))


@pytest.mark.parametrize("images", [noise(0), np.zeros((2, 3, 4, 5, 6), np.uint8), np.uint8(3)])
def test_what_is_no_set_of_images(images):
    with pytest.raises(InputError, match="images"):
        FeatureExtractor(make("inplace")).fit(images)


def test_nan_pixels_are_refused():
    images = noise(3) / 255
    images[1, 2, 3, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        FeatureExtractor(make("inplace")).fit(images)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("pool", [None, 3])
def test_names_are_unique_and_as_many_as_columns(name, pool):
    extractor = FeatureExtractor(make(name), pool=pool).fit(noise(4))
    names = extractor.get_feature_names_out()
    assert len(names) == len(set(names)) == extractor.n_features_out_ == extractor.transform(noise(2)).shape[1]


def test_names_are_unique_where_a_module_runs_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return F.relu(self.conv(F.relu(self.conv(x))))

    extractor = FeatureExtractor(Twice(), pool=2, precision="fp32").fit(noise(2))
    names = extractor.get_feature_names_out()
    assert len(set(names)) == len(names) == 24
    rows = extractor.transform(noise(2))
    assert not np.array_equal(rows[:, :12], rows[:, 12:])
    for i, block in enumerate(extractor.blocks_):  # either may be asked for by its name
        one = FeatureExtractor(extractor.network, taps=block.name, pool=2, precision="fp32").fit(noise(2))
        assert np.array_equal(one.transform(noise(2)), rows[:, 12 * i : 12 * i + 12])


@pytest.mark.parametrize("channel", [0, 5, 15])
def test_names_point_to_the_channel(channel):
    """Silence one channel of the last layer: exactly the features that bear its name change."""
    images, network = noise(4), make("inplace")
    before = FeatureExtractor(network, bn="eval", pool=2).fit(images)
    network[4].weight.data[channel] = 0
    network[4].bias.data[channel] = 7
    after = FeatureExtractor(network, bn="eval", pool=2).fit(images)
    changed = (before.transform(images) != after.transform(images)).any(axis=0)
    named = [name.startswith(f"3:activation[{channel},") for name in before.get_feature_names_out()]
    assert changed.tolist() == named


def test_names_point_to_the_cell():
    """Through the identity, one bright pixel shows in one cell: that of its quarter."""
    images = np.zeros((4, 8, 8, 2), np.uint8)
    for i, (row, column) in enumerate(np.ndindex(2, 2)):
        images[i, 4 * row + 1, 4 * column + 2, 1] = 255
    extractor = FeatureExtractor(identity(2), pool=2).fit(images)
    names, rows = extractor.get_feature_names_out(), extractor.transform(images)
    bright = [names[row == 1].tolist() for row in rows]
    assert bright == [["0:conv[1,0,0]"], ["0:conv[1,0,1]"], ["0:conv[1,1,0]"], ["0:conv[1,1,1]"]]


# ---------------------------------------------------------------- pooling, ranges, dtypes


def test_without_pooling_and_with_a_grid_larger_than_the_maps():
    images = noise(3)
    rows = [FeatureExtractor(make("spectral"), pool=pool).fit_transform(images) for pool in (None, 8, 100)]
    assert rows[0].shape == (3, 16 * 8 * 8)
    assert np.array_equal(rows[0], rows[1]) and np.array_equal(rows[0], rows[2])


def test_average_and_maximum_of_known_pixels():
    images = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    for pooling, reduce in (("avg", np.mean), ("max", np.max)):
        extractor = FeatureExtractor(identity(), pool=2, pooling=pooling, value_range=(0, 255), precision="fp32")
        cells = [reduce(images[0, r : r + 4, c : c + 4]) for r in (0, 4) for c in (0, 4)]
        np.testing.assert_allclose(extractor.fit_transform(images)[0], cells, rtol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 1), (0, 255), (-2.5, 0.5)])
def test_value_range_is_what_black_and_white_become(low, high):
    images = noise(2, side=8, channels=1)
    extractor = FeatureExtractor(identity(), pool=None, value_range=(low, high), precision="fp32")
    wanted = low + float(high - low) * images.reshape(2, -1) / 255.0
    np.testing.assert_allclose(extractor.fit_transform(images), wanted, atol=1e-6 * (high - low))


def test_rows_images_data_sets_and_floats_are_the_same_images():
    images = noise(5)
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    extractor = FeatureExtractor(make("inplace"), image_shape=(16, 16, 3), precision="fp32")
    rows = extractor.fit(images).transform(images)
    for same in (images.reshape(5, -1), ImageDataset(images), list(images)):
        assert np.array_equal(clone(extractor).fit(same).transform(same), rows)
    floats = images / 127.5 - 1  # as the network wants them: they pass unchanged
    np.testing.assert_allclose(clone(extractor).fit(floats).transform(floats), rows, atol=1e-5)
    assert np.array_equal(clone(extractor).fit(images).transform(images.reshape(5, -1)), rows)
    grey = noise(3, channels=1)
    one = FeatureExtractor(identity(), pool=2)
    assert np.array_equal(one.fit_transform(grey), one.fit_transform(grey[..., 0]))


def test_half_precision_features_are_rounded():
    images = noise(4)
    whole, half = (FeatureExtractor(make("inplace"), dtype=d).fit_transform(images) for d in ("float32", "float16"))
    assert half.dtype == np.float16
    assert np.array_equal(half, whole.astype(np.float16))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_streaming_to_a_file_gives_the_same(tmp_path, dtype):
    images, calls = noise(10), []
    extractor = FeatureExtractor(make("inplace"), batch_size=4, dtype=dtype).fit(images)
    mapped = extractor.transform_to(tmp_path / "f.npy", images, progress=lambda *a: calls.append(a))
    assert isinstance(mapped, np.memmap) and not mapped.flags.writeable and mapped.dtype == dtype
    assert calls == [(4, 10), (8, 10), (10, 10)]
    assert np.array_equal(np.load(tmp_path / "f.npy"), extractor.transform(images))
    assert [p.name for p in tmp_path.iterdir()] == ["f.npy"]


def test_a_file_is_whole_or_as_it_was(tmp_path):
    images, path = noise(10), tmp_path / "f.npy"
    extractor = FeatureExtractor(make("inplace"), batch_size=4).fit(images)

    def stop(done, total):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extractor.transform_to(path, images, progress=stop)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        extractor.transform_to(str(path), images, progress=stop)
    assert [p.name for p in tmp_path.iterdir()] == ["f.npy"]
    assert path.read_bytes() == b"before"


def test_iterate_yields_blocks_in_order():
    images = noise(9)
    extractor = FeatureExtractor(make("inplace"), batch_size=4).fit(images)
    blocks = list(extractor.iterate(images))
    assert [len(b) for b in blocks] == [4, 4, 1]
    assert np.array_equal(np.concatenate(blocks), extractor.transform(images))


def test_memory_maps_are_read(tmp_path):
    np.save(tmp_path / "x.npy", noise(5))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    extractor = FeatureExtractor(make("inplace")).fit(mapped)
    assert np.array_equal(extractor.transform(mapped), extractor.transform(noise(5)))


# ---------------------------------------------------------------- scikit-learn's manners


def test_clone_and_parameters():
    extractor = FeatureExtractor(make("inplace"), taps=[-1], pool=2).fit(noise(4))
    copied = clone(extractor)
    assert not hasattr(copied, "network_")
    assert copied.get_params()["taps"] == [-1] and copied.get_params()["pool"] == 2
    assert np.array_equal(copied.fit(noise(4)).transform(noise(4)), extractor.transform(noise(4)))


def test_data_frames():
    pytest.importorskip("pandas")
    extractor = FeatureExtractor(make("inplace"), pool=1).set_output(transform="pandas")
    frame = extractor.fit_transform(noise(3))
    assert frame.columns.tolist() == extractor.get_feature_names_out().tolist()
    assert frame.columns[0] == "0:activation[0,0,0]"


def test_names_before_fit():
    with pytest.raises(NotFittedError):
        FeatureExtractor(make("inplace")).get_feature_names_out()


# ---------------------------------------------------------------- the papers' numbers


def stack(maps, strides, kernel, channels=3):
    layers, before = [], channels
    for i, (after, stride) in enumerate(zip(maps, strides, strict=True)):
        layers.append(nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=False))
        layers += [nn.BatchNorm2d(after)] * (i > 0) + [nn.LeakyReLU(0.2, inplace=True)]
        before = after
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("maps", "strides", "kernel", "side", "features"),
    [
        ((128, 128, 256, 256, 512, 512), (1, 2, 1, 2, 1, 2), 3, 32, 28_672),  # the paper's, on ImageNet at 32 x 32
        ((64, 128, 256), (2, 2, 2), 5, 32, 7_168),  # its SVHN network
        ((64, 128, 256, 512), (2, 2, 2, 2), 5, 64, 15_360),  # the one that was asked about
    ],
)
def test_widths_of_the_papers(maps, strides, kernel, side, features):
    """4 x 4 cells of every map of every layer: 16 * sum(maps)."""
    images = noise(2, side=side)
    extractor = FeatureExtractor(stack(maps, strides, kernel), pool=4, batch_size=2).fit(images)
    assert extractor.n_features_out_ == features == 16 * sum(maps)
    assert extractor.transform(images).shape == (2, features)


def test_our_discriminator_has_the_svhn_width():
    extractor = FeatureExtractor(Discriminator((32, 32, 3), width=64), batch_size=2).fit(noise(2, side=32))
    assert extractor.n_features_out_ == 7_168


def test_a_discriminator_with_spectral_norm_that_was_just_trained():
    """The older spectral_norm keeps its last weight, a result with a graph behind it, which deepcopy refuses."""
    network = nn.Sequential(torch.nn.utils.spectral_norm(nn.Conv2d(1, 4, 3, stride=2)), nn.LeakyReLU(0.2))
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)
    network(torch.randn(2, 1, 8, 8)).sum().backward()
    assert not network[0].weight.is_leaf
    rows = FeatureExtractor(network, pool=None, precision="fp32").fit(images).transform(images)
    network.eval()
    with torch.no_grad():
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        expected = network(x).flatten(1).numpy()
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)
