"""``ganfeat import``, called as a person calls it: our own weights, written as the DCGAN authors wrote theirs."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ganfeat import load
from ganfeat.cli import main
from ganfeat.nets.blocks import initialise
from ganfeat.objectives.gan import GAN

SHAPE = (16, 16, 3)
SETTINGS = {"n_components": 6, "width": 3, "kernel_size": 3, "norm_epsilon": 1e-8}


def new_gan():
    gan = GAN(SHAPE, **SETTINGS).requires_grad_(False)
    initialise(gan, torch.Generator().manual_seed(11))
    for parameter in gan.parameters():
        parameter += 0.1
    gan.discriminator.head.bias.zero_()  # theirs has none
    return gan


@pytest.fixture
def folder(tmp_path):
    """Kernels turned by 180 degrees, dense weights (inputs, outputs), the head over (maps, rows, columns)."""
    folder = tmp_path / "arrays"
    folder.mkdir()
    for name, network in (("discrim", "discriminator"), ("gen", "generator")):
        parameters = [p.numpy() for k, p in getattr(new_gan(), network).named_parameters() if k != "head.bias"]
        for i, p in enumerate(parameters, 1):
            if p.shape[0] == 1 and p.ndim == 2:
                p = p.reshape(4, 4, -1).transpose(2, 0, 1).reshape(-1, 1)
            elif p.ndim == 2:
                p = p.T
            elif p.ndim == 4:
                p = p[:, :, ::-1, ::-1]
            np.save(folder / f"30_{name}_params.jl_{i:02d}.npy", p)
    return folder


@pytest.fixture
def photos(tmp_path):
    np.save(tmp_path / "photos.npy", np.random.default_rng(0).integers(0, 256, (40, *SHAPE), dtype=np.uint8))
    return tmp_path / "photos.npy"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "runs" / "imported"


def call(*arguments):
    return main(["import", "dcgan-code", *map(str, arguments)])


def files(path):
    return {p: p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_there_and_back(folder, out, photos, capsys):
    assert call(folder, "--out", out, "--data", photos) == 0
    printed = capsys.readouterr()
    assert printed.out.rstrip().splitlines()[-1] == f"Next: ganfeat extract {out} {photos} --out features.npy"
    for words in (
        "the arrays 30_* of dcgan_code",
        "40 images of",
        "16 x 16 x 3",
        "144",
        "6 from U(-1, 1)",
        "3, 6 maps",
    ):
        assert words in printed.out, words
    gan = load(out)
    for (key, ours), theirs in zip(new_gan().named_parameters(), gan.objective_.parameters(), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=0, atol=0, msg=key)
    assert gan.norm_epsilon == 1e-8 and gan.n_iter_ == 30
    with Image.open(out / "samples" / "imported.png") as sheet:
        assert np.array_equal(np.array(sheet)[:16, :16], gan.sample(64, random_state=0)[0])


def test_json(folder, out, capsys):
    assert call(folder, "--out", out, "--json", "--prior", "normal", "--seed", "4", "--epoch", "30") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["run"] == str(out) and result["features"] == 144 and result["image_shape"] == [16, 16, 3]
    assert [layer["maps"] for layer in result["layers"]] == [3, 6]
    assert [layer["stride"] for layer in result["layers"]] == [2, 2]
    assert result["prior"] == "normal" and result["n_components"] == 6 and result["convs_per_scale"] == 1
    assert result["statistics"] == {
        "generator": "100 batches of 128 z",
        "discriminator": "12,800 pictures of G's own",
    }
    assert load(out).random_state == 4


def test_without_images_the_next_command_recalibrates(folder, out, capsys):
    assert call(folder, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "--bn recalibrate --recalibrate-on TRAINING-IMAGES" in printed.rstrip().splitlines()[-1]
    assert "statistics are of the generator's pictures" in printed


def test_quiet_is_silent(folder, out, photos, capsys):
    assert call(folder, "--out", out, "--data", photos, "-q") == 0
    assert capsys.readouterr() == ("", "")


def test_the_other_verbs_work_on_it(folder, out, photos, tmp_path, capsys):
    assert call(folder, "--out", out, "--data", photos, "-q") == 0
    assert main(["info", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "30, elsewhere" in printed and "40 images of" in printed and "dcgan_code" in printed
    features = tmp_path / "features.npy"
    assert main(["extract", str(out), str(photos), "--out", str(features), "-q"]) == 0
    assert np.load(features).shape == np.load(tmp_path / "features.random_init.npy").shape == (40, 144)
    again = ["extract", str(out), str(photos), "--out", str(features), "-q", "--bn", "recalibrate"]
    assert main([*again, "--recalibrate-on", str(photos)]) == 0
    before = files(out)
    assert main(["train", str(photos), "--out", str(out), "-q"]) == 2
    assert "imported weights" in capsys.readouterr().err
    assert {p: c for p, c in files(out).items() if p in before} == before


def test_imported_twice_it_is_the_same(folder, out, photos):
    assert call(folder, "--out", out, "--data", photos, "-q") == 0
    before = files(out)
    assert call(folder, "--out", out, "--data", photos, "-q") == 0
    assert files(out) == before


def test_another_import_is_not_overwritten(folder, out, photos, capsys):
    assert call(folder, "--out", out, "--data", photos, "-q") == 0
    before = files(out)
    assert call(folder, "--out", out, "--data", photos, "-q", "--seed", "1") == 2
    assert "holds a run with other settings" in capsys.readouterr().err
    assert files(out) == before


def test_a_run_or_files_in_its_place_are_not_overwritten(folder, out, photos, tmp_path, capsys):
    training = ["--width", "2", "--max-iter", "1", "--batch-size", "8", "--no-tensorboard", "-q"]
    assert main(["train", str(photos), "--out", str(out), *training]) == 0
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    before = files(tmp_path)
    for there, message in ((out, "a training of your own"), (tmp_path / "notes", "is no run folder")):
        assert call(folder, "--out", there, "-q") == 2
        assert message in capsys.readouterr().err
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "30_gen_params.jl_04.npy").unlink(), "30_gen_params.jl_04.npy is missing"),
        (lambda folder: (folder / "30_gen_params.jl_04.npy").write_bytes(b"x"), "30_gen_params.jl_04.npy is truncated"),
        (
            lambda folder: np.save(folder / "30_discrim_params.jl_05.npy", np.full((96, 1), np.nan)),
            "30_discrim_params.jl_05.npy has NaN",
        ),
    ],
)
def test_damaged_arrays_leave_nothing_behind(harm, message, folder, out, capsys):
    harm(folder)
    assert call(folder, "--out", out) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert printed[-1].startswith("ganfeat: ") and message in printed[-1]
    assert not any("Traceback" in line for line in printed)
    assert not out.exists() and not out.parent.exists()


def test_a_mistyped_call(folder, out, tmp_path, capsys):
    for arguments, message in (
        (["dcgan-cod", str(folder), "--out", str(out)], "dcgan-code"),
        (["dcgan-code", str(tmp_path / "no"), "--out", str(out)], "does not exist"),
        (["dcgan-code", str(folder)], "--out"),
        (["dcgan-code", str(folder), "--out", str(out), "--data", str(tmp_path / "no.npy")], "no.npy"),
        (["dcgan-code", str(folder), "--out", str(out), "--epoch", "7"], "has no epoch 7"),
    ):
        assert main(["import", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert not out.exists()
