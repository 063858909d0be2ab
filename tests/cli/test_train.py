"""``ganfeat train``, called as a person calls it."""

import inspect
import json
import re
from typing import get_type_hints

import numpy as np
import pytest
import torch
import yaml
from cyclopts import Parameter
from PIL import Image

import ganfeat
from ganfeat.checkpoint import RunFolder
from ganfeat.cli import main
from ganfeat.cli.train import SETTINGS, progress_note, speed, train
from ganfeat.estimators import DCGAN, METHODS
from ganfeat.training import LoopSettings

TINY = ["--width", "4", "--n-components", "5", "--batch-size", "8", "--no-tensorboard"]
SMALL = [*TINY, "--max-iter", "2"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Sums come out in another order with another number of threads; runs are compared bit for bit here."""
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """24 PNGs of 8 x 8 in two class folders."""
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        place = folder / ("cats" if i % 2 else "dogs")
        place.mkdir(exist_ok=True)
        Image.fromarray(image).save(place / f"{i}.png")
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "runs" / "photos"


def call(*arguments):
    return main(["train", *map(str, arguments)])


def files(path):
    return {p: p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


# ---------------------------------------------------------------------- success


def test_a_folder_becomes_a_run_folder(photos, out, capsys):
    assert call(photos, "--out", out, *SMALL) == 0
    printed = capsys.readouterr()
    assert "24 images of 8 x 8 x 3" in printed.out
    assert "features per image" in printed.out and " images/s (" in printed.out
    assert printed.out.rstrip().splitlines()[-1] == f"Next: ganfeat extract {out} {photos} --out features.npy"
    assert "Traceback" not in printed.err
    names = {"README.md", "config.json", "history.jsonl", "model.safetensors", "samples", "checkpoints"}
    assert names <= {p.name for p in out.iterdir()}
    config = json.loads((out / "config.json").read_text())
    assert config["estimator"]["width"] == 4
    assert config["data"]["n"] == 24
    steps = [json.loads(line)["step"] for line in (out / "history.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 2 * 3
    assert ganfeat.load(out).sample(3, random_state=0).shape == (3, 8, 8, 3)


def test_json_is_all_that_standard_output_holds(photos, out, capsys):
    assert call(photos, "--out", out, *SMALL, "--json", "--precision", "fp32", "--device", "cpu") == 0
    result = json.loads(capsys.readouterr().out)
    assert result.keys() >= {
        *("run", "finished", "epochs", "steps", "seconds", "images", "skipped", "images_per_second"),
        *("device", "precision", "features"),
    }
    assert result["run"] == str(out)
    assert result["finished"] is True
    assert (result["epochs"], result["steps"], result["images"], result["skipped"]) == (2.0, 6, 24, 0)
    assert (result["device"], result["precision"]) == ("cpu", "fp32")
    assert result["features"] == ganfeat.load(out).get_feature_names_out().shape[0]


def test_quiet_prints_nothing(photos, out, capsys):
    assert call(photos, "--out", out, *SMALL, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_the_command_trains_what_the_library_trains(photos, out):
    assert call(photos, "--out", out, *SMALL, "--seed", "7", "--quiet") == 0
    images = ganfeat.load_images(photos)
    gan = DCGAN(width=4, n_components=5, max_iter=2, batch_size=8, random_state=7).fit(images)
    np.testing.assert_array_equal(ganfeat.load(out).transform(images), gan.transform(images))


def test_unreadable_files_are_counted_and_named(photos, out, tmp_path, capsys):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for i, path in enumerate(sorted(photos.rglob("*.png"))):
        (mixed / f"{i}.png").write_bytes(path.read_bytes())
    (mixed / "broken.png").write_bytes(b"no image")
    assert call(mixed, "--out", out, *SMALL) == 0
    printed = capsys.readouterr().out
    assert "1 files skipped" in printed or "1 file skipped" in printed
    assert "broken.png" in printed


# ---------------------------------------------------------------------- other methods

ENCODERS = [name for name, model in METHODS.items() if model.network == "encoder"]


@pytest.mark.parametrize("method", ENCODERS)
def test_every_method_trains_what_the_library_trains(photos, out, capsys, method):
    options = ["--method", method, "--architecture", "mlp", "--norm-epsilon", "1e-4", "--decay-iter", "1"]
    assert call(photos, "--out", out, *SMALL, *options) == 0
    printed = capsys.readouterr()
    assert f"ganfeat reconstruct {out} {photos} --out sheet.png" in " ".join(printed.out.split())
    assert printed.out.rstrip().splitlines()[-1] == f"Next: ganfeat extract {out} {photos} --out features.npy"
    assert "error of G(E(x)), training images" in printed.out and "(E's)" in printed.out
    images = ganfeat.load_images(photos)
    model = METHODS[method](
        architecture="mlp", norm_epsilon=1e-4, decay_iter=1, width=4, n_components=5, max_iter=2, batch_size=8,
        random_state=0,
    ).fit(images)  # fmt: skip
    assert ganfeat.load(out).transform(images).tobytes() == model.transform(images).tobytes()


@pytest.mark.parametrize(
    ("method", "options", "kept"),
    [
        ("bigan", ["--update-order", "alternating", "--prior", "normal"], {"update_order": "alternating"}),
        ("ali", ["--generator-size", "4"], {"generator_size": 4, "prior": "normal"}),
        ("latent-regressor", ["--joint", "0.25"], {"joint": 0.25, "prior": "uniform"}),
        ("autoencoder", ["--loss", "l1", "--noise", "0.1"], {"loss": "l1", "noise": 0.1}),
    ],
)
def test_settings_of_a_method_reach_it(photos, out, tmp_path, method, options, kept):
    """From the line, and from a file."""
    assert call(photos, "--out", out, *SMALL, "--method", method, *options, "--quiet") == 0
    estimator = RunFolder(out).config()["estimator"]
    assert {**estimator, **kept} == estimator
    config = tmp_path / "settings.yaml"
    pairs = zip(options[::2], options[1::2], strict=True)
    config.write_text("".join(f"{name[2:]}: {value}\n" for name, value in pairs) + f"method: {method}\n")
    assert call(photos, "--out", tmp_path / "other", *SMALL, "--config", config, "--quiet") == 0
    assert RunFolder(tmp_path / "other").config()["estimator"] == estimator


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("dcgan", ["--joint", "0.25"], "'dcgan' has no setting 'joint': latent-regressor has it"),
        ("dcgan", ["--architecture", "mlp"], "bigan, ali, latent-regressor and autoencoder have it"),
        ("autoencoder", ["--update-order", "alternating"], "bigan, ali and latent-regressor have it"),
        ("bigan", ["--convs-per-scale", "2"], "dcgan, acgan and catgan have it"),
        ("acgan", ["--n-classes", "2"], "catgan has it"),
        ("catgan", ["--classification", "2"], "acgan has it"),
        ("catgan", ["--n-classes", "1"], "n_classes=1"),
        ("acgan", ["--validation", "0.2"], "for methods with an encoder"),
        ("bigan", ["--noise", "0.1"], "autoencoder has it"),
        ("bigan", ["--architecture", "resnet"], "choose one of"),
        ("ali", ["--update-order", "random"], "simultaneous, alternating"),
        ("ali", ["--generator-size", "99"], "generator_size=99"),
        ("latent-regressor", ["--joint", "-1"], "joint"),
        ("autoencoder", ["--loss", "l3"], "l1, l2"),
        ("autoencoder", ["--noise", "-1"], "noise"),
        ("autoencoder", ["--decay-iter", "-1"], "decay_iter"),
    ],
)
def test_what_a_method_does_not_take_is_refused(photos, out, capsys, method, options, message):
    check_refused(capsys, out, message, photos, "--out", out, *SMALL, "--method", method, *options)


def test_the_progress_shows_what_a_method_has():
    speed = {"images_per_second": 1234.5}
    game = {"logit/real": 0.25, "logit/generated": -1.0, "loss/discriminator": 1.2}
    for record, note in (
        ({}, "1,234 images/s"),
        ({**game, "loss/generator": 0.7}, "1,234 images/s, D real +0.2, generated -1.0"),
        ({**game, "loss/generator_encoder": 1.7}, "1,234 images/s, D real +0.2, generated -1.0"),
        ({**game, "loss/encoder": 0.693147}, "1,234 images/s, D real +0.2, generated -1.0, E's loss 0.693"),
        ({"loss/autoencoder": 25.444}, "1,234 images/s, loss 25.4"),
        (
            {**game, "accuracy/real": 0.914, "accuracy/generated": 1.0},
            "1,234 images/s, D real +0.2, generated -1.0, classes right: real 91%, generated 100%",
        ),
        (
            {"loss/discriminator": -1.2, "entropy/real": 0.5, "entropy/marginal": 2.3, "entropy/generated": 1.9},
            "1,234 images/s, D's entropy: real 0.50 of 2.30, generated 1.90",
        ),
    ):
        assert progress_note({**speed, **record}) == note


# ---------------------------------------------------------------------- going on


def test_a_finished_run_called_again_says_so_and_changes_nothing(photos, out, capsys):
    call(photos, "--out", out, *SMALL, "--quiet")
    before = files(out)
    capsys.readouterr()
    assert call(photos, "--out", out, *SMALL) == 0
    assert f"{out} was finished already" in capsys.readouterr().out
    assert files(out) == before


def test_a_finished_run_called_again_quietly_prints_its_result_alone(photos, out, capsys):
    call(photos, "--out", out, *SMALL, "--quiet")
    assert call(photos, "--out", out, *SMALL, "--quiet", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["finished"], result["steps"], result["images_per_second"]) == (True, 6, None)


def test_the_speed_is_that_of_the_whole_training(photos, out, capsys):
    """Of the records of this process: more images than fit a batch, fewer than a batch, and after going on."""
    arguments = [*TINY, "--log-every", "1", "--quiet", "--json"]
    for extra, per_step, first in ((["--max-iter", "4"], 8, 0), (["--max-iter", "8"], 8, 12)):
        capsys.readouterr()
        assert call(photos, "--out", out, *arguments, *extra) == 0
        records = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
        a, b = records[first], records[-1]
        expected = (b["step"] - a["step"]) * per_step / (b["seconds"] - a["seconds"])
        assert json.loads(capsys.readouterr().out)["images_per_second"] == pytest.approx(expected, abs=0.1)
    few = [*TINY[:4], "--batch-size", "99", "--no-tensorboard", *arguments[len(TINY) :], "--max-iter", "5"]
    capsys.readouterr()
    assert call(photos, "--out", out.with_name("few"), *few) == 0
    records = [json.loads(line) for line in (out.with_name("few") / "history.jsonl").read_text().splitlines()]
    expected = 4 * 24 / (records[-1]["seconds"] - records[0]["seconds"])
    assert json.loads(capsys.readouterr().out)["images_per_second"] == pytest.approx(expected, abs=0.1)


def test_the_speed_of_one_record_and_of_none():
    one = {"step": 10, "seconds": 2.0, "images_per_second": 40.0}
    assert speed(one, one, 8) == 40.0
    assert speed({}, {}, 8) is None
    assert speed(one, {"step": 30, "seconds": 7.0, "images_per_second": 1.0}, 8) == 32.0  # not the last record's


def test_more_epochs_go_on_to_where_one_long_run_ends(photos, out, tmp_path):
    arguments = [*TINY, "--quiet"]
    assert call(photos, "--out", out, *arguments, "--max-iter", "2") == 0
    assert call(photos, "--out", out, *arguments, "--max-iter", "4") == 0
    assert call(photos, "--out", tmp_path / "long", *arguments, "--max-iter", "4") == 0
    model = "model.safetensors"
    assert (out / model).read_bytes() == (tmp_path / "long" / model).read_bytes()
    assert RunFolder(out).config()["estimator"]["max_iter"] == 4


def test_fewer_epochs_than_a_run_has_are_no_interruption(photos, out, capsys):
    """Exit code 130 and `to go on: the same command` would send a person in circles."""
    call(photos, "--out", out, *SMALL, "--quiet")
    capsys.readouterr()
    status = call(photos, "--out", out, *TINY, "--max-iter", "1")
    assert status in (0, 2)
    printed = capsys.readouterr()
    assert "To go on" not in printed.out
    assert "Traceback" not in printed.err


# ---------------------------------------------------------------------- settings from a file


def test_settings_may_come_from_a_file_and_the_line_overrides_it(photos, out, tmp_path):
    config = tmp_path / "settings.yaml"
    config.write_text(
        "width: 8\nn-components: 5\nmax_iter: 1\nbatch_size: 8\nlearning-rate: 6e-4\n"
        "augment: [flip, translate]\nprior: normal\ntensorboard: false\nseed: 3\n"
    )
    assert call(photos, "--out", out, "--config", config, "--width", "4", "--quiet") == 0
    run = RunFolder(out).config()
    estimator = run["estimator"]
    assert estimator["width"] == 4
    assert estimator["learning_rate"] == 6e-4
    assert estimator["augment"] == ["flip", "translate"]
    assert (estimator["prior"], estimator["n_components"], run["seed"]) == ("normal", 5, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("widht: 4", "'widht', which does not exist (did you mean 'width'?)"),
        ("width: wide", "width: 'wide' must be of type int"),
        ("learning-rate: [1]", "learning_rate: [1] must be of type float"),
        ("- width", "`name: value` lines"),
        ("a: [", "is not YAML"),
        ("method: dcgna", "(did you mean 'dcgan'?)"),
        ("augment: [blur]", "augment='blur' is not known"),
    ],
)
def test_a_wrong_file_of_settings_is_refused(photos, out, tmp_path, capsys, text, message):
    config = tmp_path / "settings.yaml"
    config.write_text(text)
    check_refused(capsys, out, message, photos, "--out", out, "--config", config, *SMALL)


def test_an_absent_file_of_settings_is_refused(photos, out, tmp_path, capsys):
    config = tmp_path / "none.yaml"
    check_refused(capsys, out, f"cannot read the settings file {config}", photos, "--out", out, "--config", config)


# ---------------------------------------------------------------------- wrong calls


def check_refused(capsys, out, message, *arguments):
    """Exit code 2, one paragraph on standard error that has the message, no traceback, nothing left behind."""
    existed = out.exists()
    assert call(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" or "images of" in printed.out
    said = [line for line in printed.err.splitlines() if "done in" not in line]
    assert said[0].startswith("ganfeat: ")
    assert message in " ".join(said)
    assert len(said) <= 2, "one clear line, and perhaps one with the help to call"
    assert "Traceback" not in printed.err
    assert out.exists() == existed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--width", "0"], "width"),
        (["--width", "wide"], "width"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["--learning-rate", "nan"], "learning_rate"),
        (["--size", "0"], "size"),
        (["--size", "-8"], "size"),
        (["--channels", "2"], "channels"),
        (["--limit", "0"], "limit"),
        (["--max-iter", "0"], "max_iter"),
        (["--batch-size", "1"], "batch_size"),
        (["--n-components", "0"], "n_components"),
        (["--kernel-size", "4"], "kernel_size"),
        (["--beta1", "1"], "beta1"),
        (["--ema", "1.5"], "ema"),
        (["--weight-decay", "-1"], "weight_decay"),
        (["--log-every", "0"], "log_every"),
        (["--checkpoint-every", "-1"], "checkpoint"),
        (["--sheets", "-1"], "sheets"),
        (["--seed", "-1"], "random_state"),
        (["--seed", str(2**64)], "random_state"),
        (["--method", "dcgna"], "did you mean 'dcgan'?"),
        (["--method", "vae"], "choose from dcgan"),
        (["--device", "gpu"], "choose one of auto, cpu, cuda, mps"),
        (["--device", "cuda:99"], "is not on this machine"),
        (["--precision", "fp16"], "choose one of auto, bf16, fp32"),
        (["--augment", "blur"], "choose from affine"),
        (["--prior", "cauchy"], "choose one of normal, uniform"),
        (["--frobnicate", "3"], "frobnicate"),
        (["--width"], "width"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_values_are_refused(photos, out, capsys, arguments, message):
    check_refused(capsys, out, message, photos, "--out", out, "--no-tensorboard", *arguments)


def test_data_that_is_not_there_is_refused(out, tmp_path, capsys):
    missing = tmp_path / "nothing"
    check_refused(capsys, out, "nothing", missing, "--out", out)


def test_a_folder_without_images_is_refused(out, tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no image")
    check_refused(capsys, out, "notes", tmp_path / "notes", "--out", out)


def test_one_image_is_refused(photos, out, capsys):
    check_refused(capsys, out, "at least 2", photos, "--out", out, "--limit", "1")


def test_a_call_without_data_or_out_is_refused(photos, out, capsys):
    check_refused(capsys, out, "--out", photos)
    check_refused(capsys, out, "", "--out", out)


def test_out_that_is_a_file_is_refused(photos, tmp_path, capsys):
    out = tmp_path / "run"
    out.write_text("mine")
    check_refused(capsys, out, "is no run folder", photos, "--out", out, *SMALL)
    assert out.read_text() == "mine"


def test_out_below_a_file_is_refused(photos, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    check_refused(capsys, tmp_path / "none", "file", photos, "--out", tmp_path / "file" / "run", *SMALL)


def test_out_with_somebodys_files_is_refused_and_untouched(photos, tmp_path, capsys):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    check_refused(capsys, out, "is no run folder", photos, "--out", out, *SMALL)
    assert [p.name for p in out.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (["--kernel-size", "3"], "estimator.kernel_size: 5 -> 3"),
        (["--seed", "1"], "seed: 0 -> 1"),
        (["--size", "16"], "image_shape: [8, 8, 3] -> [16, 16, 3]"),
        (["--augment", "flip"], "estimator.augment: [] -> ['flip']"),
        (["--limit", "20"], "data.n: 24 -> 20"),
    ],
)
def test_other_settings_are_refused_with_the_difference(photos, out, capsys, other, difference):
    call(photos, "--out", out, *SMALL, "--quiet")
    before = files(out)
    assert call(photos, "--out", out, *SMALL, *other) == 2
    said = capsys.readouterr().err
    assert "holds a run with other settings" in said
    assert difference in said
    assert "Traceback" not in said
    assert files(out) == before


def test_a_training_that_diverges_is_a_failure_not_a_wrong_call(photos, out, capsys):
    """Exit code 1, with what happened and what to try."""
    assert call(photos, "--out", out, *SMALL, "--learning-rate", "1e30", "--log-every", "1") == 1
    said = capsys.readouterr().err
    assert "training was stopped" in said
    assert "lower learning_rate" in said
    assert "Traceback" not in said
    assert not (out / "model.safetensors").exists()


# ---------------------------------------------------------------------- help


def _stated_defaults():
    for name, hint in get_type_hints(train, include_extras=True).items():
        for part in getattr(hint, "__metadata__", ()):
            stated = re.search(r"\[default: (.*?)\]", (part.help or "") if isinstance(part, Parameter) else "")
            if stated:
                yield name, stated.group(1)


def _in_words(value):
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return value


def test_the_defaults_in_the_help_are_those_of_the_library():
    """``[default: uniform; ali: normal]``: of all methods but those that are named."""
    loop = inspect.signature(LoopSettings).parameters
    others = {
        "log_every": loop["log_every"].default,
        "sheets": loop["sheets"].default,
        "checkpoint_every": loop["checkpoint_seconds"].default,
        "seed": 0,
        "method": "dcgan",
    }
    stated = dict(_stated_defaults())
    for name, value in others.items():
        assert yaml.safe_load(stated[name]) == value, name
    for method, model in METHODS.items():
        parameters = inspect.signature(model).parameters
        for name in SETTINGS:
            if name not in parameters or name in ("device", "precision"):
                continue
            usual, *special = stated[name].split("; ")
            said = dict(part.split(": ") for part in special).get(method, usual)
            truth = parameters[name].default
            if truth is None:  # what the networks or the loop make of it
                truth = {"max_iter": loop["max_iter"].default, "width": 64, "generator_size": "--size"}[name]
            truth = _in_words(truth)
            said = float(said.split(",")[0]) if isinstance(truth, int | float) else said
            assert said == truth, (method, name)
    layer = METHODS["bigan"](architecture="mlp")._objective((8, 8, 1)).encoder.trunk[1].linear
    assert stated["width"] == f"64; mlp: {layer.out_features}; mgan: 128"


def test_the_help_says_which_methods_an_option_is_for():
    """``Only for A, B.`` or ``Not for A.``, or all methods have it."""
    having = {
        name: {m for m, model in METHODS.items() if name in inspect.signature(model).parameters} for name in SETTINGS
    }
    for name, hint in get_type_hints(train, include_extras=True).items():
        text = "".join(part.help or "" for part in getattr(hint, "__metadata__", ()) if isinstance(part, Parameter))
        for words, those in (("Only for", lambda n: having[n]), ("Not for", lambda n: set(METHODS) - having[n])):
            for listed in re.findall(rf"{words} ([a-z, -]+)\.", text):
                assert set(listed.split(", ")) == those(name), name
        if name in having and having[name] and having[name] != set(METHODS):
            assert "Only for" in text or "Not for" in text, name


def test_every_setting_of_a_file_is_an_option_of_the_line():
    assert set(SETTINGS) <= set(inspect.signature(train).parameters)


def test_help_lists_the_options_and_an_example(capsys):
    assert call("--help") == 0
    printed = capsys.readouterr().out
    for option in ("--out", "--width", "--max-iter", "--seed", "--json", "--quiet", "--device", "--config"):
        assert option in printed
    assert "ganfeat train digits" in " ".join(printed.split())


def test_more_unreadable_images_than_usual_may_be_skipped(photos, out, capsys):
    for i in range(8):
        (photos / f"bad{i}.png").write_text("no picture")
    assert call(photos, "--out", out, *SMALL, "--quiet") == 2
    assert "--max-skipped" in capsys.readouterr().err
    assert not out.exists()
    assert call(photos, "--out", out, *SMALL, "--quiet", "--max-skipped", "0.9") == 0
