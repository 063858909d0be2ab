"""``ganfeat info``, called as a person calls it."""

import json

import numpy as np
import pytest

from ganfeat import DCGAN, AutoEncoder, BiGAN
from ganfeat.cli import main
from ganfeat.cli.info import tap_of


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    images = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)
    model = DCGAN(width=4, n_components=4, max_iter=2, batch_size=16, random_state=7)
    return path, model.fit(images, run=path)


def info(*arguments):
    return main(["info", *map(str, arguments)])


def test_what_a_run_holds(gan, capsys):
    assert info(gan[0]) == 0
    printed = capsys.readouterr().out
    assert printed.rstrip().splitlines()[-1] == f"Next: ganfeat extract {gan[0]} DATA --out features.npy"
    for words in ("16 x 16 x 3, 32", "2.00", "blocks.1.conv", "1:norm", "8 x 4 x 4", "width"):
        assert words in printed


def test_json_has_the_settings_the_layers_and_the_counts(gan, capsys):
    path, model = gan
    assert info(path, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["config"]["estimator"]["width"] == 4 and result["config"]["seed"] == 7
    assert result["last_record"]["step"] == 4
    assert result["parameters"] == {
        name: sum(p.numel() for p in getattr(model, f"{name}_").parameters()) for name in ("generator", "discriminator")
    }
    taps = {f"{layer['index']}:{layer['stage']}": layer for layer in result["layers"]}
    assert list(taps) == ["0:conv", "0:activation", "1:conv", "1:norm", "1:activation"]
    for tap, layer in taps.items():  # every tap that is listed can be taken, and has the width that is said
        assert model.extractor(taps=[tap]).n_features_out_ == layer["features"]
        assert model.extractor(taps=[f"{layer['name']}:{layer['stage']}"]).n_features_out_ == layer["features"]


@pytest.mark.parametrize("architecture", ["conv", "mlp"])
@pytest.mark.parametrize("kind", [BiGAN, AutoEncoder])
def test_both_networks_of_a_run_with_an_encoder(kind, architecture, tmp_path, capsys):
    """Every tap that is listed can be taken as it is listed, has the width that is said, and is of its network."""
    images = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)
    model = kind(architecture=architecture, width=4, n_components=5, max_iter=1, batch_size=16, random_state=0)
    model.fit(images, run=tmp_path / "run")
    networks = ["encoder", "discriminator"] if kind is BiGAN else ["encoder"]
    assert info(tmp_path / "run", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["parameters"]) == [
        name for name in ("encoder", "generator", "discriminator") if name in (*networks, "generator")
    ]
    assert [*dict.fromkeys(layer["network"] for layer in result["layers"])] == networks
    for layer in result["layers"]:
        assert model.extractor(layer["network"], taps=[tap_of(layer)]).n_features_out_ == layer["features"]
    names = [layer["name"] for layer in result["layers"] if layer["network"] == "encoder"]
    assert names[-2:] == ["trunk", "output"] and len(names) == 7
    assert info(tmp_path / "run") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert kind.method in printed and architecture in printed and "output, which is E(x)" in printed
    assert ("--network discriminator" in printed) == (kind is BiGAN)


def test_quiet_is_silent(gan, capsys):
    assert info(gan[0], "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_a_saved_model(gan, tmp_path, capsys):
    gan[1].save(tmp_path / "model")
    assert info(tmp_path / "model") == 0
    assert "16 x 16 x 3" in capsys.readouterr().out


def test_a_run_without_weights_shows_its_settings(gan, tmp_path, capsys):
    import shutil

    shutil.copytree(gan[0], tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    assert info(tmp_path / "run") == 0
    printed = capsys.readouterr().out
    assert "no weights" in printed and "16 x 16 x 3" in printed and "Next" not in printed


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "not a run folder"),
        ("{", "cannot be read"),
        ("[1]", "format"),
        ('{"format": 2}', "format 2"),
        ('{"format": 1}', "damaged"),
        ('{"format": 1, "method": "dcgan", "image_shape": [8, 8]}', "damaged"),
    ],
)
def test_what_is_no_run(config, message, tmp_path, capsys):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    assert info(tmp_path) == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("ganfeat: ") and message in lines[0]
    assert printed.out == ""


def test_no_such_folder(tmp_path, capsys):
    assert info(tmp_path / "no", "-q") == 2
    assert "does not exist" in capsys.readouterr().err
