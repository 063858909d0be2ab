"""``ganfeat extract``, called as a person calls it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ganfeat import DCGAN, BiGAN, load, load_images
from ganfeat.cli import main

BESIDE = ["f.json", "f.labels.npy", "f.npy", "f.pixels.npy", "f.random_init.npy"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "digits"
    images = load_images("digits", limit=120)
    DCGAN(width=4, n_components=4, max_iter=1, batch_size=32, random_state=0).fit(images, run=path)
    return path


def call(*arguments):
    return main(["extract", *map(str, arguments), "--limit", "60"])


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_features_labels_baselines_and_a_card(run, tmp_path, capsys):
    out = tmp_path / "f.npy"
    assert call(run, "digits", "--out", out) == 0
    printed = capsys.readouterr()
    assert printed.out.rstrip().splitlines()[-1] == f"Next: ganfeat probe {out} {tmp_path / 'f.labels.npy'}"
    assert names(tmp_path) == BESIDE
    images, gan = load_images("digits", limit=60), load(run)
    assert np.array_equal(np.load(out), gan.transform(images))
    assert np.array_equal(np.load(tmp_path / "f.labels.npy"), images.labels)
    assert np.array_equal(np.load(tmp_path / "f.pixels.npy"), images.images.reshape(60, -1))
    untrained = np.load(tmp_path / "f.random_init.npy")
    assert untrained.shape == np.load(out).shape and not np.allclose(untrained, np.load(out))
    card = json.loads((tmp_path / "f.json").read_text())
    assert card["images"] == 60 and card["features"] == np.load(out).shape[1] == 16 * 4 + 4 * 8
    assert card["taps"] == ["blocks.0.conv:activation", "blocks.1.conv:activation"]
    assert (card["pool"], card["pooling"], card["batch norm"]) == (4, "max", "eval")
    assert card["rows"] == dict.fromkeys(["features", "labels", "pixels", "random_init"], 60)
    assert "discriminator, width 4, 1 epoch" in card["network"]
    assert card["run"] == str(run) and card["classes"] == list("0123456789")


def test_json_is_all_that_standard_output_holds(run, tmp_path, capsys):
    assert call(run, "digits", "-o", tmp_path / "f.npy", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result.items() >= json.loads((tmp_path / "f.json").read_text()).items()
    assert result["labels"] == str(tmp_path / "f.labels.npy")


def test_quiet_is_silent(run, tmp_path, capsys):
    assert call(run, "digits", "-o", tmp_path / "f.npy", "-q", "--no-baselines") == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert names(tmp_path) == ["f.json", "f.labels.npy", "f.npy"]


@pytest.mark.parametrize(
    ("options", "taps", "width"),
    [
        (["--taps=-1"], ["blocks.1.conv:activation"], 8 * 4),
        (["--taps", "0:conv", "--taps", "1"], ["blocks.0.conv:conv", "blocks.1.conv:activation"], 4 * 16 + 8 * 4),
        (["--taps", "blocks.1.conv", "--at", "norm"], ["blocks.1.conv:norm"], 8 * 4),
        (["--taps", "head"], ["head"], 1),
        (["--pool", "1", "--pooling", "avg"], ["blocks.0.conv:activation", "blocks.1.conv:activation"], 12),
        (["--pool", "0"], ["blocks.0.conv:activation", "blocks.1.conv:activation"], 4 * 16 + 8 * 4),
    ],
)
def test_taps_and_pools(run, tmp_path, options, taps, width):
    assert call(run, "digits", "-o", tmp_path / "f.npy", "-q", *options) == 0
    assert np.load(tmp_path / "f.npy").shape == (60, width)
    assert np.load(tmp_path / "f.random_init.npy").shape == (60, width)
    assert json.loads((tmp_path / "f.json").read_text())["taps"] == taps


@pytest.fixture(scope="module", params=["conv", "mlp"])
def bigan(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "bigan"
    settings = {"width": 4, "n_components": 5, "max_iter": 1, "batch_size": 32, "learning_rate": 0.01}
    BiGAN(architecture=request.param, **settings, random_state=0).fit(load_images("digits", limit=120), run=path)
    return path


@pytest.mark.parametrize(
    ("options", "network", "taps"),
    [
        ([], "encoder", "output"),
        (["--taps", "trunk"], "encoder", "trunk"),
        (["--taps", "all", "--pool", "2", "--pooling", "avg"], "encoder", "all"),
        (["--taps", "output", "--taps=-1"], "encoder", ["output", -1]),
        (["--network", "discriminator"], "discriminator", "all"),
        (["--network", "discriminator", "--taps", "trunk"], "discriminator", "trunk"),
        (["--network", "discriminator", "--taps", "output"], "discriminator", "output"),
        (["--network", "discriminator", "--taps", "1", "--at", "conv"], "discriminator", 1),
        (["--network", "encoder", "--mirror"], "encoder", "output"),
        (["--network", "discriminator", "--bn", "recalibrate", "--recalibrate-on", "digits"], "discriminator", "all"),
        (["--bn", "recalibrate", "--recalibrate-on", "digits", "--seed", "3"], "encoder", "output"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else None,
)
def test_both_networks_of_a_run_with_an_encoder(bigan, tmp_path, options, network, taps):
    """As the library gives them, beside the same layers of the untrained twin; the card says whose they are."""
    assert call(bigan, "digits", "-o", tmp_path / "f.npy", "-q", *options) == 0
    images, model = load_images("digits", limit=60), load(bigan)
    twin = model.random_init(load_images("digits"), random_state=3) if "--seed" in options else model.random_init()
    wanted = {"taps": taps, "mirror": "--mirror" in options}
    wanted |= {"pool": 2, "pooling": "avg"} if "--pool" in options else {}
    wanted |= {"at": "conv"} if "--at" in options else {}
    wanted |= {"bn": "recalibrate"} if "--bn" in options else {}
    for file, owner in (("f.npy", model), ("f.random_init.npy", twin)):
        extractor = owner.extractor(network, **wanted)
        if "--bn" in options:
            extractor.fit(load_images("digits"))
        assert np.array_equal(np.load(tmp_path / file), extractor.transform(images)), file
    card = json.loads((tmp_path / "f.json").read_text())
    assert card["tapped network"] == network and f"bigan {network}, " in card["network"]
    assert card["method"] == "bigan" and card["taps"] == [tap.name for tap in extractor.taps_]
    assert not np.allclose(np.load(tmp_path / "f.npy"), np.load(tmp_path / "f.random_init.npy"), atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network", "generator"], "encoder or discriminator"),
        (["--taps", "2"], "0 to 1"),
        (["--taps", "trnk"], "no layer 'trnk'"),
        (["--network", "discriminator", "--taps", "output:conv"], "output"),
    ],
)
def test_what_an_encoders_run_does_not_have(bigan, tmp_path, capsys, options, message):
    assert call(bigan, "digits", "-o", tmp_path / "f.npy", "-q", *options) == 2
    assert message in capsys.readouterr().err
    assert names(tmp_path) == []


def test_an_encoder_of_a_run_without_one(run, tmp_path, capsys):
    assert call(run, "digits", "-o", tmp_path / "f.npy", "-q", "--network", "encoder") == 2
    assert "discriminator" in capsys.readouterr().err
    assert call(run, "digits", "-o", tmp_path / "f.npy", "-q", "--network", "discriminator") == 0
    assert json.loads((tmp_path / "f.json").read_text())["tapped network"] == "discriminator"


def test_options_that_must_not_change_the_features(run, tmp_path):
    for i, options in enumerate([[], ["--batch-size", "7"], ["--batch-size", "1"], ["--dtype", "float16"]]):
        assert call(run, "digits", "-o", tmp_path / f"{i}.npy", "-q", "--no-baselines", *options) == 0
    rows = [np.load(tmp_path / f"{i}.npy") for i in range(4)]
    assert np.array_equal(rows[0], rows[1]) and np.array_equal(rows[0], rows[2])
    assert rows[3].dtype == np.float16 and np.array_equal(rows[3], rows[0].astype(np.float16))


def test_recalibrating_on_the_data_or_on_others(run, tmp_path):
    images = load_images("digits", limit=200).images
    np.save(tmp_path / "bright.npy", 255 - images)
    for name, options in {
        "eval": [],
        "data": ["--bn", "recalibrate"],
        "digits": ["--bn", "recalibrate", "--recalibrate-on", "digits"],
        "others": ["--bn", "recalibrate", "--recalibrate-on", tmp_path / "bright.npy"],
    }.items():
        assert call(run, "digits", "-o", tmp_path / f"{name}.npy", "-q", "--no-baselines", *options) == 0
    rows = {name: np.load(tmp_path / f"{name}.npy") for name in ("eval", "data", "digits", "others")}
    expected = (
        load(run).extractor(bn="recalibrate").fit(load_images("digits")).transform(load_images("digits", limit=60))
    )
    assert np.array_equal(rows["digits"], expected)
    for name in ("data", "digits", "others"):
        assert np.array_equal(rows[name][:, :64], rows["eval"][:, :64])  # the first layer has no batch norm
        assert not np.array_equal(rows[name], rows["eval"])
    assert np.abs(rows["others"] - rows["digits"]).max() > np.abs(rows["data"] - rows["digits"]).max()


def test_another_untrained_network_sees_the_calibration_images_only(run, tmp_path):
    """Training and test images extracted apart get the same batch-norm statistics: a row is the same in both."""
    images = load_images("digits", limit=60)
    np.save(tmp_path / "test.npy", images.images[:10])
    options = ["--bn", "recalibrate", "--recalibrate-on", "digits", "-q"]
    for data, name, seed in (("digits", "a", 5), (tmp_path / "test.npy", "b", 5), ("digits", "c", 6)):
        assert call(run, data, "-o", tmp_path / f"{name}.npy", *options, "--seed", seed) == 0
    a, b, c = (np.load(tmp_path / f"{name}.random_init.npy") for name in "abc")
    assert np.array_equal(a[:10], b)
    assert not np.array_equal(a, c)
    gan, digits = load(run), load_images("digits")
    baseline = gan.random_init(digits, random_state=5).extractor(bn="recalibrate").fit(digits)
    assert np.array_equal(a, baseline.transform(images))
    assert json.loads((tmp_path / "a.json").read_text())["untrained network"] == "seed 5"


def test_by_default_the_untrained_network_is_the_runs_own(run, tmp_path):
    assert call(run, "digits", "-o", tmp_path / "f.npy", "-q") == 0
    expected = load(run).random_init().transform(load_images("digits", limit=60))
    assert np.array_equal(np.load(tmp_path / "f.random_init.npy"), expected)


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def test_killed_at_any_moment_it_leaves_no_files_of_two_data_sets(run, tmp_path, monkeypatch):
    """Stop before every change of a file: what is there is of one data set, and with a card only if it is whole."""
    images = load_images("digits", limit=60)
    np.savez(tmp_path / "other.npz", images=255 - images.images, labels=(images.labels + 1) % 10)
    out = tmp_path / "out" / "f.npy"
    out.parent.mkdir()

    def extract(data, path):
        assert call(run, data, "-o", path, "-q") == 0
        return {p.name: p.read_bytes() for p in path.parent.glob("f.*")}

    def killed_before(change):
        changes = []

        def counted(method):
            def instead(path, *arguments, **options):
                target = Path(arguments[0] if arguments else path)
                if target.parent == out.parent:  # else it is not in its place yet
                    if len(changes) == change:
                        raise Killed
                    changes.append(target.name)
                return method(path, *arguments, **options)

            return instead

        with monkeypatch.context() as patch:
            for name in ("replace", "unlink"):
                patch.setattr(Path, name, counted(getattr(Path, name)))
            try:
                extract(tmp_path / "other.npz", out)
            except Killed:
                return True
            return False

    new = extract(tmp_path / "other.npz", tmp_path / "f.npy")
    kills = 0
    for change in range(20):
        old = extract("digits", out)
        assert old.keys() == new.keys() and not any(old[name] == new[name] for name in old)
        killed = killed_before(change)
        found = {p.name: p.read_bytes() for p in out.parent.glob("f.*")}
        assert "f.npy" in found
        assert found.items() <= old.items() or found.items() <= new.items(), (change, sorted(found))
        assert "f.json" not in found or found in (old, new)
        if not killed:
            break
        kills += 1
    assert kills >= 9 and found == new


def test_what_a_killed_call_left_is_cleared_by_the_next(run, tmp_path):
    (tmp_path / ".f.npy.parts").mkdir()
    (tmp_path / ".f.npy.parts" / "f.npy").write_bytes(b"half")
    assert call(run, "digits", "-o", tmp_path / "f.npy", "-q") == 0
    assert names(tmp_path) == BESIDE


def test_a_failing_extraction_leaves_what_was_there(run, tmp_path, monkeypatch):
    assert call(run, "digits", "-o", tmp_path / "f.npy", "-q") == 0
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(DCGAN, "random_init", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        assert call(run, "digits", "-o", tmp_path / "f.npy", "-q", "--pool", "1") == 130
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_images_without_labels(run, tmp_path, capsys):
    np.save(tmp_path / "x.npy", load_images("digits", limit=9).images)
    assert call(run, tmp_path / "x.npy", "-o", tmp_path / "f.npy") == 0
    assert "labels.npy" in capsys.readouterr().out.splitlines()[-1]
    assert "f.labels.npy" not in names(tmp_path)


def test_the_same_features_may_be_written_again(run, tmp_path):
    for _ in range(2):
        assert call(run, "digits", "-o", tmp_path / "f.npy", "-q") == 0
    assert call(run, "digits", "-o", tmp_path / "f.npy", "-q", "--no-baselines", "--pool", "1") == 0
    assert names(tmp_path) == ["f.json", "f.labels.npy", "f.npy"]  # of other features, and would mislead


WRONG = {
    "missing run": (["{tmp}/nowhere", "digits", "-o", "{tmp}/f.npy"], "does not exist"),
    "no run folder": (["{tmp}", "digits", "-o", "{tmp}/f.npy"], "not a run folder"),
    "a file as run": (["{tmp}/old.labels.npy", "digits", "-o", "{tmp}/f.npy"], "old.labels.npy"),
    "no data": (["{run}", "{tmp}/nowhere", "-o", "{tmp}/f.npy"], "nowhere"),
    "out without .npy": (["{run}", "digits", "-o", "{tmp}/f.csv"], "must end in .npy"),
    "out a folder": (["{run}", "digits", "-o", "{tmp}/folder.npy"], "is a folder"),
    "no such folder": (["{run}", "digits", "-o", "{tmp}/nowhere/f.npy"], "mkdir -p"),
    "no out": (["{run}", "digits"], "--out"),
    "unknown option": (["{run}", "digits", "-o", "{tmp}/f.npy", "--tap", "1"], "--tap"),
    "tap out of range": (["{run}", "digits", "-o", "{tmp}/f.npy", "--taps", "2"], "0 to 1"),
    "unknown tap": (["{run}", "digits", "-o", "{tmp}/f.npy", "--taps", "blocks.3"], "blocks.0.conv"),
    "unknown stage": (["{run}", "digits", "-o", "{tmp}/f.npy", "--taps", "0:bn"], "conv, norm, activation"),
    "wrong at": (["{run}", "digits", "-o", "{tmp}/f.npy", "--at", "bn"], "conv, norm, activation"),
    "negative pool": (["{run}", "digits", "-o", "{tmp}/f.npy", "--pool", "-1"], "pool=-1"),
    "pool of text": (["{run}", "digits", "-o", "{tmp}/f.npy", "--pool", "four"], "pool"),
    "wrong pooling": (["{run}", "digits", "-o", "{tmp}/f.npy", "--pooling", "mean"], "avg, max"),
    "wrong bn": (["{run}", "digits", "-o", "{tmp}/f.npy", "--bn", "train"], "recalibrate, eval"),
    "recalibrate-on alone": (["{run}", "digits", "-o", "{tmp}/f.npy", "--recalibrate-on", "digits"], "--bn"),
    "another untrained network, not calibrated": (
        ["{run}", "digits", "-o", "{tmp}/f.npy", "--seed", "3"],
        "--bn recalibrate --recalibrate-on TRAINING-IMAGES",
    ),
    "wrong dtype": (["{run}", "digits", "-o", "{tmp}/f.npy", "--dtype", "int8"], "float32, float16"),
    "no batch": (["{run}", "digits", "-o", "{tmp}/f.npy", "--batch-size", "0"], "batch_size=0"),
    "wrong device": (["{run}", "digits", "-o", "{tmp}/f.npy", "--device", "tpu"], "tpu"),
    "stale labels": (["{run}", "{tmp}/x.npy", "-o", "{tmp}/old.npy"], "from before"),
    "onto the images": (["{run}", "{tmp}/x.npy", "-o", "{tmp}/x.npy"], "would overwrite the images"),
    "baselines onto the images": (["{run}", "{tmp}/f.pixels.npy", "-o", "{tmp}/f.npy"], "would overwrite the images"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_one_clear_line_and_leaves_nothing(case, run, tmp_path, capsys):
    for name in ("x", "f.pixels"):
        np.save(tmp_path / f"{name}.npy", load_images("digits", limit=4).images)
    np.save(tmp_path / "old.labels.npy", np.zeros(4, int))
    (tmp_path / "folder.npy").mkdir()
    before = {p: p.read_bytes() if p.is_file() else None for p in tmp_path.rglob("*")}
    arguments, message = WRONG[case]
    status = call(*(a.format(tmp=tmp_path, run=run) for a in arguments), "--quiet")
    printed = capsys.readouterr()
    assert status == 2
    lines = printed.err.strip().splitlines()
    assert lines[0].startswith("ganfeat: ") and message in lines[0]
    assert len(lines) == 1 or lines[1:] == ["`ganfeat --help` lists the verbs, `ganfeat VERB --help` their options."]
    assert printed.out == ""
    assert {p: p.read_bytes() if p.is_file() else None for p in tmp_path.rglob("*")} == before


def test_a_run_without_its_untrained_network_is_told_before_the_work(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "untrained.safetensors").unlink()
    out = tmp_path / "features" / "f.npy"
    out.parent.mkdir()
    assert call(copy, "digits", "--out", out) == 2
    assert "--no-baselines" in capsys.readouterr().err
    assert names(out.parent) == []
    assert call(copy, "digits", "--out", out, "--no-baselines") == 0
