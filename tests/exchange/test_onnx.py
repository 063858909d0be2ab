"""ONNX files say what the network says, whatever it is made of and however many images come."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ganfeat import MGAN, BiGAN, FeatureExtractor, InputError, RunError
from ganfeat.errors import MissingExtraError
from ganfeat.exchange import export_generator, export_onnx
from ganfeat.exchange.graphs import pooled
from ganfeat.exchange.parity import open_session
from ganfeat.projection import fit_projection

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 28, 28, 1), dtype=np.uint8)
SMALL = RNG.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
FITTING = {"max_iter": 1, "batch_size": 6, "random_state": 0, "device": "cpu", "precision": "fp32"}


class Odd(nn.Module):
    """Somebody's network: functions and modules, in place and not, maps of 14 and 7, spectral norm, its own pooling."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 4, 3, 2, 1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 6, 3, 2, 1))
        self.third = nn.Conv2d(6, 5, 3, 1, 1, groups=1)
        self.squeezed = nn.AdaptiveAvgPool2d(3)
        self.last = nn.Linear(45, 2)

    def forward(self, x):
        h = F.relu_(self.norm(self.first(x)))
        h = F.leaky_relu(self.second(h), 0.2, inplace=True)
        h = self.squeezed(torch.tanh(self.third(F.dropout(h, 0.5, self.training))))
        return self.last(h.flatten(1))


def run(path, images):
    (features,) = open_session(path).run(["features"], {"images": images})
    return features


def close(ours, theirs):
    assert ours.dtype == np.float32 and ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * max(1, np.abs(theirs).max()))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "features.onnx"


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """An extractor, its file, what was said of it."""
    taps = ["first:conv", "first:norm", "first:activation", "second:conv", "third:activation", "squeezed", "output"]
    extractor = FeatureExtractor(Odd(), taps=taps, device="cpu", precision="fp32").fit(GREY)
    path = tmp_path_factory.mktemp("strange") / "features.onnx"
    return extractor, path, export_onnx(extractor, path, images=GREY[:5], card={"about": "a test"})


def test_every_stage_of_a_strange_network(strange):
    extractor, path, made = strange
    assert made["parity"]["images"] == 5 and max(made["parity"]["batches"]) >= 16
    names = extractor.get_feature_names_out()
    assert made["parity"]["difference"] <= 1e-4 and made["output"]["shape"] == ["batch", len(names)]
    for n in (1, 3, 12):
        close(run(path, GREY[:n]), extractor.transform(GREY[:n]))
    stored = {p.key: p.value for p in onnx.load(path).metadata_props}
    cells = json.loads(stored["ganfeat.taps"])
    again = [
        f"{c['tap']}[{','.join(map(str, index))}]" for c in cells for index in np.ndindex(c["channels"], *c["grid"])
    ]
    assert again == names.tolist()
    assert json.loads(stored["ganfeat.card"]) == {"about": "a test"}
    assert json.loads(stored["ganfeat.image_shape"]) == [28, 28, 1]
    content = path.read_bytes()
    assert not any(word in content for word in (b"site-packages", b"Traceback", __file__.encode(), b'File "'))


def test_mirror_averages_every_pixel_and_projection(path):
    extractor = FeatureExtractor(
        nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ELU(inplace=True), nn.Conv2d(4, 3, 3, 2, 1), nn.Sigmoid()),
        pool=3,
        pooling="avg",
        mirror=True,
        value_range=(0.0, 1.0),
        device="cpu",
    ).fit(SMALL)
    wanted = FeatureExtractor(**{**extractor.get_params(), "precision": "fp32"}).fit(SMALL)
    rows = wanted.transform(SMALL)
    projection = fit_projection(lambda: [rows], 5, whiten=True)
    made = export_onnx(extractor, path, projection=projection)
    assert made["output"]["shape"] == ["batch", 5]
    close(run(path, SMALL), projection.transform(rows))
    flipped = np.ascontiguousarray(SMALL[:, :, ::-1])
    close(run(path, flipped), run(path, SMALL))
    with pytest.raises(InputError, match="learned from rows"):
        export_onnx(FeatureExtractor(extractor.network, taps=[0]).fit(SMALL), path, projection=projection)


@pytest.mark.parametrize(
    ("model", "images", "network", "tapped"),
    [
        (
            BiGAN(architecture="alexnet", width=4, n_components=3, generator_size=16, **FITTING),
            RNG.integers(0, 256, (12, 20, 20, 3), dtype=np.uint8),
            "discriminator",
            {"taps": ["all", "output"]},
        ),
        (
            BiGAN(architecture="mlp", width=8, n_components=3, **FITTING),
            SMALL,
            "discriminator",
            {"taps": ["all", "trunk"], "at": "conv"},
        ),
    ],
    ids=["joint with AlexNet's encoder", "mlp"],
)
def test_our_own_networks(model, images, network, tapped, path):
    model.fit(images)
    extractor = model.extractor(network, **tapped)
    export_onnx(extractor, path)
    close(run(path, images), extractor.transform(images))


def test_an_estimator_of_floats_keeps_its_range(path):
    images = RNG.uniform(-3, 7, (12, 28, 28, 1)).astype(np.float32)
    gan = MGAN(width=4, n_features=5, n_generators=2, n_components=3, **FITTING).fit(images)
    made = export_onnx(gan, path)
    assert made["input"]["dtype"] == "float32" and made["taps"] == [t.name for t in gan.extractor().taps_]
    close(run(path, images), gan.transform(images))


def test_one_of_several_generators(tmp_path):
    gan = MGAN(width=4, n_features=5, n_generators=2, n_components=3, **FITTING).fit(SMALL)
    given = gan.condition[1][1]
    made = export_generator(gan, tmp_path / "g.onnx", given=given)
    assert made["output"] == {"name": "images", "dtype": "uint8", "shape": ["batch", 16, 16, 3]}
    z = gan.latents(7, random_state=3)
    pixels, values = open_session(tmp_path / "g.onnx").run(["images", "values"], {"z": z})
    np.testing.assert_array_equal(pixels, np.rint((values + 1) * 127.5))
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels, gan.picture(z, given), atol=1)  # torch's rounding may decide otherwise


def test_a_file_that_says_something_else_is_not_written(strange, path, monkeypatch):
    from ganfeat.exchange import onnx as door

    extractor, honest, made = strange
    rows = door.features_by_torch
    path.write_bytes(b"before")
    monkeypatch.setattr(door, "_write", lambda *a: (honest.read_bytes(), made["opset"]))  # not made twice
    monkeypatch.setattr(door, "features_by_torch", lambda *a: rows(*a) + np.float32(0.01))
    with pytest.raises(RunError, match=r"differ by 0\.01 on a batch of 1.*nothing was written"):
        export_onnx(extractor, path)
    assert path.read_bytes() == b"before" and [p.name for p in path.parent.iterdir()] == [path.name]


class Decides(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.conv, self.how = nn.Conv2d(3, 2, 3), how

    def forward(self, x):
        if self.how == "values" and x.sum() > 0:
            x = -x
        return F.relu(self.conv(x)).reshape(len(x) if self.how == "batch" else x.shape[0], -1)


@pytest.mark.parametrize("how", ["values", "batch"])
def test_networks_that_no_graph_can_hold(how, path):
    extractor = FeatureExtractor(Decides(how), device="cpu").fit(SMALL)
    with pytest.raises(InputError, match=r"Decides cannot be followed.*x\.shape\[0\]"):
        export_onnx(extractor, path)
    assert not path.exists()


def test_what_is_no_fitted_extractor(path):
    for model in (nn.Conv2d(1, 1, 1), FeatureExtractor(nn.Conv2d(3, 2, 3))):
        with pytest.raises(InputError, match="fit"):
            export_onnx(model, path)
    extractor = FeatureExtractor(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()), device="cpu").fit(SMALL)
    with pytest.raises(InputError, match="images to compare on"):
        export_onnx(extractor, path, images=GREY)
    with pytest.raises(InputError, match=r"float32.*Scaling\(-1, 1\)"):
        export_onnx(extractor, path, images=SMALL.astype(np.float32))


@pytest.mark.parametrize(("place", "words"), [(".", "is a folder"), ("none/f.onnx", "make it first")])
def test_where_no_file_can_be_nothing_is_begun(place, words, tmp_path):
    for export in (export_onnx, export_generator):
        with pytest.raises(InputError, match=words):
            export(None, tmp_path / place)


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_library_is_named(library, path, monkeypatch):
    monkeypatch.setattr("ganfeat.exchange.libraries.find_spec", lambda name: None if name == library else object())
    with pytest.raises(MissingExtraError, match=rf"{library}'.*ganfeat\[onnx\]"):
        export_onnx(None, path)


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_pooling_is_torchs(pooling):
    adaptive = {"max": F.adaptive_max_pool2d, "avg": F.adaptive_avg_pool2d}[pooling]
    x = torch.randn(2, 3, 13, 8, generator=torch.Generator().manual_seed(0))
    for rows in range(1, 14):
        for columns in range(1, 9):
            torch.testing.assert_close(pooled(x, (rows, columns), pooling), adaptive(x, (rows, columns)))
    torch.testing.assert_close(pooled(x, (None, 3), pooling), adaptive(x, (None, 3)))
    torch.testing.assert_close(pooled(x, 5, pooling), adaptive(x, 5))
