"""``ganfeat export``, called as a person calls it (what goes to the Hub: tests/exchange/test_hub.py)."""

import json

import numpy as np
import pytest

from ganfeat import ACGAN, DCGAN, BiGAN, load
from ganfeat.cli import main

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 14, 14, 1), dtype=np.uint8)
FITTING = {"width": 3, "n_components": 4, "max_iter": 1, "batch_size": 12, "random_state": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "digits"
    DCGAN(**FITTING).fit(IMAGES, run=path)
    return path


def test_a_file_and_a_folder_in_one_call(run, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    from ganfeat.exchange.parity import open_session

    np.save(tmp_path / "images.npy", IMAGES)
    result = {"accuracy": {"ganfeat": {"10": {"mean": 0.5, "ci95": 0.1}}}, "labels_per_class": [10], "protocol": {}}
    (tmp_path / "probe.json").write_text(json.dumps(result))
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    call = ["export", str(run), "--onnx", str(tmp_path / "f.onnx"), "--taps=-1", "--at", "conv", "--pool", "2"]
    call += ["--check", str(tmp_path / "images.npy"), "--out", str(tmp_path / "out"), "--json"]
    assert main([*call, "--results", str(tmp_path / "probe.json")]) == 0
    printed = capsys.readouterr()
    made = json.loads(printed.out)
    assert printed.err.rstrip().splitlines()[-1].startswith("Next: ganfeat export") and "torchvision" not in printed.err
    assert made["parity"]["difference"] <= made["parity"]["allowed"] and made["parity"]["images"] == len(IMAGES)
    (features,) = open_session(tmp_path / "out" / "f.onnx").run(None, {"images": IMAGES})
    wanted = load(run, device="cpu").extractor(taps=[-1], at="conv", pool=2, precision="fp32").transform(IMAGES)
    np.testing.assert_allclose(features, wanted, atol=1e-4)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "50.0 ± 10.0" in card and "[f.onnx](f.onnx)" in card and made["taps"][0] in card
    assert sorted(made["files"]) == sorted(
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()
    )
    assert before == {p: p.stat().st_mtime_ns for p in run.rglob("*")}, "a run is read, never written"


def test_the_generator(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    from ganfeat.exchange.parity import open_session

    gan = ACGAN(**FITTING).fit(IMAGES, np.arange(len(IMAGES)) % 2, run=tmp_path / "run")
    file = tmp_path / "g.onnx"
    assert main(["export", str(tmp_path / "run"), "--onnx", str(file), "--network", "generator", "--given", "1"]) == 0
    printed = capsys.readouterr().out
    assert "uint8 (batch, 14, 14, 1)" in printed and "z: float32 (batch, 4)" in printed
    assert 'run(None, {"z": z})' in printed
    z = gan.latents(7, random_state=3)
    pixels = open_session(file).run(["images"], {"z": z})[0]
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels, gan.picture(z, 1), atol=1)  # torch's rounding may decide otherwise
    assert np.abs(pixels - gan.picture(z, 0).astype(float)).max() > 1


def test_reconstructions_are_published_where_asked_for(run, tmp_path, capsys):
    gan = BiGAN(**FITTING).fit(IMAGES, run=tmp_path / "run")
    assert hasattr(gan, "encoder_")
    for options, wanted in (([], 0), (["--reconstructions"], 1)):
        out = tmp_path / f"out{wanted}"
        assert main(["export", str(tmp_path / "run"), "--out", str(out), "-q", *options]) == 0
        assert len(list(out.rglob("*reconstruction*.png"))) == wanted
        assert len(list(out.rglob("samples/step-*.png"))) == 1
    assert main(["export", str(run), "--out", str(tmp_path / "none"), "--reconstructions"]) == 2
    assert "leave --reconstructions out" in capsys.readouterr().err and not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say what to write"),
        (["--onnx", "f.pt"], "must end in .onnx"),
        (["--onnx", "no/f.onnx"], "mkdir -p"),
        (["--out", "o", "--taps=-1"], "--taps is for the ONNX file"),
        (["--out", "o", "--network", "generator"], "--network is for the ONNX file"),
        (["--out", "o", "--at", "conv"], "--at is for the ONNX file"),
        (["--out", "o", "--pool", "4"], "--pool is for the ONNX file"),
        (["--out", "o", "--pooling", "max"], "--pooling is for the ONNX file"),
        (["--out", "o", "--check", "nosuch"], "--check is for the ONNX file"),
        (["--onnx", "f.onnx", "--given", "1"], "add --network generator"),
        (["--onnx", "f.onnx", "--network", "generator", "--taps=-1"], "--taps is for features"),
        (["--onnx", "f.onnx", "--network", "generator", "--pool", "0"], "--pool is for features"),
        (["--onnx", "f.onnx", "--network", "generator", "--at", "conv"], "--at is for features"),
        (["--onnx", "f.onnx", "--network", "generator", "--pooling", "avg"], "--pooling is for features"),
        (["--onnx", "f.onnx", "--network", "generator", "--mirror"], "--mirror is for features"),
        (["--onnx", "f.onnx", "--network", "generator", "--check", "nosuch"], "--check is for features"),
        (["--onnx", "f.onnx", "--network", "generator", "--given", "1"], "told nothing"),
        (["--onnx", "f.onnx", "--network", "encoder"], "choose discriminator"),
        (["--onnx", "f.onnx", "--taps", "9"], "out of range"),
        (["--onnx", "f.onnx", "--results", "p.json"], "--results is for the model card"),
        (["--onnx", "f.onnx", "--pca-from", "p.safetensors"], "p.safetensors"),
        (["--onnx", "f.onnx", "--reconstructions"], "--reconstructions is for the model card and its folder"),
        (["--onnx", "f.onnx", "--private"], "--private is of a repository"),
        (["--out", "taken"], "not empty"),
        (["--out", "."], "folder that you are in"),
        (["--out", "o", "--results", "p.json"], "cannot be read"),
        (["--hub", "nobody"], "owner/name"),
    ],
)
def test_wrong_calls_write_nothing(arguments, words, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").touch()
    assert main(["export", str(run), *arguments, "-q"]) == 2
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["mine", "taken"]


def test_what_is_no_run(tmp_path, capsys):
    assert main(["export", str(tmp_path / "none"), "--onnx", str(tmp_path / "f.onnx")]) == 2
    assert "is not a run folder" in capsys.readouterr().err


def test_missing_extras_are_named_before_the_work(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ganfeat.exchange.libraries.find_spec", lambda name: None)
    assert main(["export", str(run), "--onnx", str(tmp_path / "f.onnx")]) == 2
    assert "pip install 'ganfeat[onnx]'" in capsys.readouterr().err
    monkeypatch.setattr("ganfeat.estimators.hub.find_spec", lambda name: None)
    assert main(["export", str(run), "--hub", "me/photos"]) == 2
    assert "pip install 'ganfeat[hub]'" in capsys.readouterr().err
