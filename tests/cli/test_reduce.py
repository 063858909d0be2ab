"""``ganfeat reduce``, and ``ganfeat probe`` on parquet and on what was reduced."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from ganfeat.cli import main
from ganfeat.feature_files import open_features, write_part
from ganfeat.projection import Projection

ROWS, NAMES = load_digits(return_X_y=True)
ROWS, NAMES = ROWS[:300].astype(np.float32), NAMES[:300]
IDS = [f"{i}.png" for i in range(300)]
QUICK = ["--labels-per-class", "5", "--draws", "3"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def folder(tmp_path):
    """The same features as .npy, as parquet with baselines inside, and as a folder of three parts; a test set."""
    np.save(tmp_path / "f.npy", ROWS)
    np.save(tmp_path / "f.labels.npy", NAMES)
    beside = {"pixels": (ROWS * 15).astype(np.uint8), "random_init": ROWS[:, ::2]}
    write_part(tmp_path / "f.parquet", IDS, NAMES, ROWS, beside)
    (tmp_path / "parts").mkdir()
    for i in range(3):
        part = slice(100 * i, 100 * i + 100)
        write_part(tmp_path / f"parts/part-{i:05d}.parquet", IDS[part], NAMES[part], ROWS[part])
    card = {"run": "runs/digits", "images": 300, "fingerprint": "f", "rows": {"features": 300}, "taps": ["0"]}
    (tmp_path / "parts" / "features.json").write_text(json.dumps(card))
    write_part(tmp_path / "test.parquet", IDS[:100], NAMES[:100], ROWS[100:200] + 1)
    return tmp_path


def answer(capsys, *arguments):
    assert main([*map(str, arguments), "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys, *arguments):
    assert main([*map(str, arguments), "--quiet"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_probe_gives_the_same_of_all_files(folder, capsys):
    given = answer(capsys, "probe", folder / "f.npy", folder / "f.labels.npy", *QUICK)
    inside = answer(capsys, "probe", folder / "f.parquet", *QUICK)
    parts = answer(capsys, "probe", folder / "parts", *QUICK)
    assert set(given["accuracy"]) == set(parts["accuracy"]) == {"ganfeat"}
    assert set(inside["accuracy"]) == {"ganfeat", "raw_pixels", "pca", "random_init"}
    assert given["accuracy"]["ganfeat"] == inside["accuracy"]["ganfeat"] == parts["accuracy"]["ganfeat"]
    assert parts["protocol"]["run"] == "runs/digits"
    assert inside["labels"].endswith("f.parquet")


def test_probe_finds_baselines_as_they_are_beside_npy(folder, capsys):
    np.save(folder / "f.pixels.npy", (ROWS * 15).astype(np.uint8))
    np.save(folder / "f.random_init.npy", ROWS[:, ::2])
    rows = dict.fromkeys(["features", "labels", "pixels", "random_init"], 300)
    (folder / "f.json").write_text(json.dumps({"run": "r", "images": 300, "fingerprint": "f", "rows": rows}))
    beside = answer(capsys, "probe", folder / "f.npy", folder / "f.labels.npy", *QUICK)
    inside = answer(capsys, "probe", folder / "f.parquet", *QUICK)
    assert beside["accuracy"] == inside["accuracy"]


def test_probe_takes_test_features_with_their_labels(folder, capsys):
    result = answer(capsys, "probe", folder / "f.parquet", "--test", folder / "test.parquet", "--no-baselines", *QUICK)
    assert (result["train"], result["test"]) == (300, 100)


def test_probe_without_labels_says_so(folder, capsys):
    message = refusal(capsys, "probe", folder / "f.npy")
    assert "has no labels inside: give LABELS" in message and "f.labels.npy" in message
    write_part(folder / "bare.parquet", IDS, None, ROWS)
    assert "bare.parquet has no labels inside" in refusal(capsys, "probe", folder / "bare.parquet")
    (folder / "parts" / "features.json").unlink()
    assert "has not ended" in refusal(capsys, "probe", folder / "parts")


def test_text_labels_that_are_unknown_are_left_out(folder, capsys):
    text = [None if i < 30 else f"class {y}" for i, y in enumerate(NAMES)]
    write_part(folder / "text.parquet", IDS, text, ROWS)
    result = answer(capsys, "probe", folder / "text.parquet", *QUICK)
    assert result["train"] + result["test"] == 270


@pytest.mark.parametrize("source", ["f.npy", "f.parquet", "parts"])
@pytest.mark.parametrize("out", ["s.npy", "s.parquet", "small"])
def test_all_kinds_of_files_come_out_the_same(source, out, folder, capsys):
    if (source, out) == ("f.npy", "small"):
        message = refusal(capsys, "reduce", folder / source, "--components", 5, "--out", folder / out)
        assert "have no parts; name a file" in message
        return
    said = answer(capsys, "reduce", folder / source, "--components", 5, "--whiten", "--out", folder / out)
    table = open_features(folder / out)
    exact = PCA(5, whiten=True, svd_solver="full").fit(ROWS).transform(ROWS)
    np.testing.assert_allclose(table.read(), exact, atol=1e-4)
    np.testing.assert_allclose(np.cov(table.read(), rowvar=False), np.eye(5), atol=1e-4)
    assert np.array_equal(table.labels, NAMES)
    if not table.is_npy and source != "f.npy":
        assert list(table.ids) == IDS
    if out == "small":
        assert len(list((folder / out).glob("part-*.parquet"))) == (3 if source == "parts" else 1)
    assert table.card["pca"] == said["pca"] == Projection.load(said["projection"]).card()
    assert said["pca"]["whitened"] and said["pca"]["learned from rows"] == 300
    assert "rows" in said and "pixels" not in said["rows"]


def test_a_projection_for_others(folder, capsys):
    """The test rows are projected as the training rows were; never by what they taught themselves."""
    train, test = folder / "small.npy", folder / "small-test.npy"
    assert main(["reduce", str(folder / "f.npy"), "-k", "6", "--out", str(train)]) == 0
    printed = capsys.readouterr().out
    assert printed.rstrip().splitlines()[-1] == f"Next: ganfeat probe {train} {folder / 'small.labels.npy'}"
    assert "not one of their own" in " ".join(printed.split())
    answer(capsys, "reduce", folder / "test.parquet", "--from", train, "--out", test)
    exact = PCA(6, svd_solver="full").fit(ROWS).transform(ROWS[100:200] + 1)
    np.testing.assert_allclose(np.load(test), exact, atol=1e-3)
    probe = ["probe", train, folder / "small.labels.npy", "--test", test, "--test-labels"]
    probe += [folder / "small-test.labels.npy", *QUICK]
    assert answer(capsys, *probe)["test"] == 100
    answer(capsys, "reduce", folder / "test.parquet", "-k", 6, "--out", test)
    assert "were not reduced by the same projection" in refusal(capsys, *probe)
    whole = ["probe", train, folder / "small.labels.npy", "--test", folder / "test.parquet", *QUICK]
    assert f"`ganfeat reduce {folder / 'test.parquet'} --from {train}" in refusal(capsys, *whole)
    answer(capsys, "reduce", folder / "f.npy", "--from", train, "-k", 2, "--out", folder / "two.npy")
    np.testing.assert_array_equal(np.load(folder / "two.npy"), np.load(train)[:, :2])


def test_a_folder_is_gone_on_with(folder, capsys):
    """A part that is there is left alone; of another projection, the folder is refused."""
    small = folder / "small"
    answer(capsys, "reduce", folder / "parts", "-k", 5, "--out", small)
    whole = open_features(small).read()
    (small / "features.json").unlink()
    (small / "part-00001.parquet").unlink()
    kept = (small / "part-00000.parquet").stat().st_mtime_ns
    answer(capsys, "reduce", folder / "parts", "-k", 5, "--out", small)
    assert (small / "part-00000.parquet").stat().st_mtime_ns == kept
    assert np.array_equal(open_features(small).read(), whole)
    assert "reduced in another way" in refusal(capsys, "reduce", folder / "parts", "-k", 4, "--out", small)


WRONG = {
    "nothing said": (["f.npy", "--out", "s.npy"], "--components 512"),
    "too many": (["f.npy", "--out", "s.npy", "-k", "65"], "more than the 64 features"),
    "none": (["f.npy", "--out", "s.npy", "-k", "0"], "at least 1"),
    "another ending": (["f.npy", "--out", "s.csv", "-k", "3"], "must end in .npy or .parquet"),
    "itself": (["f.npy", "--out", "f.npy", "-k", "3"], "would overwrite"),
    "no folder": (["f.npy", "--out", "no/s.npy", "-k", "3"], "mkdir -p"),
    "no projection": (["f.npy", "--out", "s.npy", "--from", "f.parquet"], "there is no"),
    "not one": (["f.npy", "--out", "s.npy", "--from", "f.safetensors"], "cannot read"),
    "other rows": (["f.npy", "--out", "s.npy", "--from", "p.safetensors"], "learned from rows of 10"),
    "overflow": (["huge.npy", "--out", "s.npy", "-k", "1", "--dtype", "float16"], "use float32"),
    "nan": (["nan.npy", "--out", "s.npy", "-k", "1"], "NaN or infinite features in row 2"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_one_clear_line(case, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(10, 10)).astype(np.float32)
    unit, one = np.eye(10, dtype=np.float32), np.ones(10, np.float32)
    Projection(0 * one, unit, one, one.astype(float), 10.0, 10).save(folder / "p.safetensors")
    np.save(folder / "huge.npy", 1e6 * rows)
    rows[2, 3] = np.nan
    np.save(folder / "nan.npy", rows)
    arguments, message = WRONG[case]
    lines = refusal(capsys, "reduce", *arguments).strip().splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert not (folder / "s.npy").exists()
