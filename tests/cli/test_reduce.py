"""``ganfeat reduce``, and ``ganfeat probe`` on parquet and on what was reduced."""

import json
import subprocess
import sys
from pathlib import Path

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
    "its card": (["f.npy", "--out", "f.parquet", "-k", "3"], "would overwrite the features (f.json)"),
    "its labels": (["f.parquet", "--out", "f.npy", "-k", "3"], "would overwrite the features (f.json)"),
    "itself, a folder": (["parts", "--out", "parts/", "-k", "3"], "would overwrite the features (parts)"),
    "its card, of a folder": (["parts", "--out", "parts/features.npy", "-k", "3"], "would overwrite the features"),
    "a folder's, by its path": (["parts", "--out", "other/../parts/s.parquet", "-k", "3"], "would overwrite the feat"),
    "what made it": (["f.npy", "--out", "v.npy", "--from", "v.npy"], "would overwrite what --from names (v.npy)"),
    "its projection": (["f.npy", "--out", "v.parquet", "--from", "v.projection.safetensors"], "would overwrite what"),
    "another's folder": (["parts", "--out", "other", "-k", "3"], "other holds other files"),
    "here": (["f.npy", "--out", ".", "-k", "3"], "would overwrite|have no parts"),
    "a plain file": (["parts", "--out", "plain", "-k", "3"], "plain is a file"),
    "a file of settings": (["f.npy", "--out", "config.npy", "-k", "3"], "config.json would be replaced"),
    "labels of others": (["bare.npy", "--out", "l.npy", "-k", "3"], "l.labels.npy exists from before"),
    "a stale card": (["stale.npy", "--out", "s.npy", "-k", "3"], "stale.json is of 290 images and 64 features"),
    "more than rows": (["few.npy", "--out", "s.npy", "-k", "11"], "cannot be learned from 10 rows"),
    "none of them": (["f.npy", "--out", "s.npy", "--from", "v.npy", "-k", "0"], "at least 1"),
    "no folder": (["f.npy", "--out", "no/s.npy", "-k", "3"], "mkdir -p"),
    "no projection": (["f.npy", "--out", "s.npy", "--from", "f.parquet"], "there is no"),
    "not one": (["f.npy", "--out", "s.npy", "--from", "g.safetensors"], "does not exist"),
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
    np.save(folder / "few.npy", ROWS[:10])
    np.save(folder / "bare.npy", ROWS)
    np.save(folder / "l.labels.npy", NAMES)
    (folder / "plain").write_text("mine")
    (folder / "config.json").write_text('{"mine": 1}')
    np.save(folder / "stale.npy", ROWS)
    (folder / "stale.json").write_text(json.dumps({"run": "r", "images": 290, "fingerprint": "f", "rows": {}}))
    (folder / "f.json").write_text(json.dumps({"run": "r", "images": 300, "fingerprint": "f", "rows": {}}))
    answer(capsys, "reduce", "test.parquet", "-k", 4, "--out", "v.npy")
    (folder / "other").mkdir()
    write_part(folder / "other/part-00000.parquet", IDS, NAMES, ROWS)
    (folder / "other/features.json").write_text('{"images": 300}')
    before = contents(folder)
    arguments, message = WRONG[case]
    lines = refusal(capsys, "reduce", *arguments).strip().splitlines()
    assert len(lines) == 1 and any(one in lines[0] for one in message.split("|"))
    assert contents(folder) == before


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("source", ["f.npy", "f.parquet", "parts"])
@pytest.mark.parametrize("out", ["s.npy", "s.parquet", "small"])
@pytest.mark.parametrize("kind", ["text", "truth"])
def test_labels_go_along_whatever_they_are(kind, source, out, folder, capsys):
    labels = np.array([f"class {y}" for y in NAMES]) if kind == "text" else NAMES > 4
    np.save(folder / "f.labels.npy", labels)
    write_part(folder / "f.parquet", IDS, labels, ROWS)
    for i in range(3):
        part = slice(100 * i, 100 * i + 100)
        write_part(folder / f"parts/part-{i:05d}.parquet", IDS[part], labels[part], ROWS[part])
    write_part(folder / "parts/part-00003.parquet", [], None if kind == "truth" else labels[:0], ROWS[:0])
    if (source, out) == ("f.npy", "small"):
        return
    answer(capsys, "reduce", folder / source, "-k", 3, "--out", folder / out)
    assert np.array_equal(open_features(folder / out).labels, labels)


def test_a_folder_of_features_that_have_changed_is_not_gone_on_with(folder, capsys):
    """Other images, as many, under the same names: the parts that are there are of the old ones."""
    small = folder / "small"
    answer(capsys, "reduce", folder / "f.npy", "-k", 5, "--out", folder / "p.npy")
    arguments = ["reduce", folder / "parts", "--from", folder / "p.npy", "--out", small]
    answer(capsys, *arguments)
    answer(capsys, *arguments)
    write_part(folder / "parts/part-00001.parquet", IDS[100:200], NAMES[100:200], ROWS[100:200] + 1)
    before = contents(small)
    assert "of features that have changed since" in refusal(capsys, *arguments)
    assert contents(small) == before


def test_a_folder_of_another_projection_is_not_gone_on_with(folder, capsys):
    """Of which no more can be said than of the first: all variance is kept, of as many rows."""
    for name, rows in (("a", ROWS[:60, :6]), ("b", ROWS[60:120, :6])):
        write_part(
            folder / f"{name}.parquet", IDS[:60], None, rows + np.random.default_rng(0).normal(size=(60, 6)).astype("f")
        )
        answer(capsys, "reduce", folder / f"{name}.parquet", "-k", 6, "--out", folder / f"{name}6.npy")
    answer(capsys, "reduce", folder / "a.parquet", "--from", folder / "a6.npy", "--out", folder / "small")
    message = refusal(capsys, "reduce", folder / "a.parquet", "--from", folder / "b6.npy", "--out", folder / "small")
    assert "reduced in another way" in message
    assert "rows" in json.loads((folder / "small/features.json").read_text())


def test_probe_notices_another_projection_that_keeps_as_much(folder, capsys):
    for name in ("a", "b"):
        noise = np.random.default_rng(ord(name)).normal(size=(100, 6)).astype(np.float32)
        write_part(folder / f"{name}.parquet", IDS[:100], NAMES[:100], ROWS[:100, 18:24] + noise)
        answer(capsys, "reduce", folder / f"{name}.parquet", "-k", 6, "--out", folder / f"{name}6.parquet")
    probe = ["probe", folder / "a6.parquet", "--test", folder / "b6.parquet", *QUICK]
    assert "were not reduced by the same projection" in refusal(capsys, *probe)
    answer(capsys, "reduce", folder / "b.parquet", "--from", folder / "a6.parquet", "--out", folder / "b6.parquet")
    answer(capsys, *probe)
    assert "were learned from the test images" in refusal(
        capsys, "probe", folder / "b6.parquet", "--test", folder / "a6.parquet", *QUICK
    )


def test_probe_says_what_components_were_learned_from(folder, capsys):
    answer(capsys, "reduce", folder / "f.parquet", "-k", 6, "--out", folder / "own.parquet")
    answer(capsys, "reduce", folder / "f.parquet", "--from", folder / "own.parquet", "--out", folder / "given.parquet")
    for name, words in (
        ("own", "learned from all rows, those held out included, without labels"),
        ("given", f"learned from {folder / 'own.parquet'}, without labels"),
    ):
        said = answer(capsys, "probe", folder / f"{name}.parquet", *QUICK)
        assert said["protocol"]["components"] == words
    assert main(["probe", str(folder / "own.parquet"), *QUICK]) == 0
    assert "those held out included" in " ".join(capsys.readouterr().out.split())
    assert "components" not in answer(capsys, "probe", folder / "f.parquet", *QUICK)["protocol"]


def test_a_reduction_of_a_reduction_names_both(folder, capsys):
    answer(capsys, "reduce", folder / "f.npy", "-k", 9, "--out", folder / "nine.npy")
    answer(capsys, "reduce", folder / "nine.npy", "-k", 3, "--out", folder / "three.npy")
    first, then = (open_features(folder / f"{name}.npy").card["pca"] for name in ("nine", "three"))
    assert (then["components"], then["of"], then["after"]) == (3, 9, first)


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
@pytest.mark.parametrize("when", ["projecting", "replacing"])
def test_a_failure_leaves_the_old_files_or_none_that_do_not_belong(suffix, when, folder, capsys, monkeypatch):
    """While rows are projected all is as it was; between two renames, no card or projection is beside other rows."""
    out = folder / f"s{suffix}"
    answer(capsys, "reduce", folder / "f.npy", "-k", 3, "--out", out)
    before = contents(folder)
    if when == "projecting":
        huge = np.concatenate([ROWS, 1e6 * ROWS[:1]])
        np.save(folder / "huge.npy", huge)
        np.save(folder / "huge.labels.npy", np.zeros(301, int))
        before = contents(folder)
        refusal(capsys, "reduce", folder / "huge.npy", "-k", 2, "--dtype", "float16", "--out", out)
        assert contents(folder) == before
        return
    replace = Path.replace

    def failing(path, target):
        if Path(target) == out.with_suffix(".projection.safetensors"):
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    main(["reduce", str(folder / "f.npy"), "-k", "5", "--out", str(out), "--quiet"])
    monkeypatch.undo()
    capsys.readouterr()
    assert open_features(out).n_features == 5
    assert not out.with_suffix(".json").exists()
    assert "there is no" in refusal(capsys, "reduce", folder / "f.npy", "--from", out, "--out", folder / "t.npy")
    assert not list(folder.glob(".*parts"))


def test_memory_does_not_grow_with_the_rows(tmp_path):
    """Nor with their names and labels; in a process of its own."""
    code = """if True:
        import resource, sys
        from pathlib import Path
        import numpy as np
        from ganfeat.feature_files import PartWriter, open_features
        from ganfeat.projection import fit_projection, project

        def go(n):
            folder, block = Path(sys.argv[1]), np.random.default_rng(0).normal(size=(5000, 4)).astype(np.float32)
            with PartWriter(folder / "f.parquet") as part:
                for i in range(n):
                    part.write([f"photos/{i}/{j}" for j in range(5000)], block, np.arange(5000))
            table = open_features(folder / "f.parquet")
            project(table, fit_projection(table.blocks, 2), folder / "s.parquet")
            assert open_features(folder / "s.parquet").n_rows == 5000 * n
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        small = go(15)
        print(go(75) - small)
    """
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 15
