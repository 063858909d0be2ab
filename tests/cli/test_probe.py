"""``ganfeat probe``, called as a person calls it."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ganfeat.arrays import fingerprint
from ganfeat.cli import main
from ganfeat.probes import FewLabels, few_label_curve
from ganfeat.probes.baselines import principal_components
from ganfeat.probes.draws import hold_out

ROWS, NAMES = load_digits(return_X_y=True)
ROWS, NAMES = ROWS[:300], NAMES[:300]
QUICK = ["--labels-per-class", "1", "--labels-per-class", "5", "--draws", "3"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def folder(tmp_path):
    """Features with baselines beside them, as `extract` leaves them."""
    write(tmp_path / "f", ROWS, NAMES)
    return tmp_path


def write(stem, rows, labels, baselines=True, **made):
    np.save(stem.with_suffix(".npy"), rows.astype(np.float32))
    np.save(stem.with_suffix(".labels.npy"), labels)
    if baselines:
        np.save(stem.with_suffix(".pixels.npy"), (rows * 15).astype(np.uint8))
        np.save(stem.with_suffix(".random_init.npy"), rows[:, ::2].astype(np.float32))
    beside = ["pixels", "random_init"] if baselines else []
    card = {"run": "runs/digits", "network": "dcgan discriminator, width 4, 1 epochs", "images": len(rows)}
    card |= {"taps": ["0", "1"], "pool": 4, "pooling": "max", "batch norm": "eval", "fingerprint": fingerprint(rows)}
    card["rows"] = dict.fromkeys(["features", "labels", *beside], len(rows))
    stem.with_suffix(".json").write_text(json.dumps(card | made))


def call(*arguments):
    return main(["probe", *map(str, arguments)])


def result_of(capsys, *arguments):
    assert call(*arguments, "--json", *QUICK) == 0
    return json.loads(capsys.readouterr().out)


def test_a_table_with_what_has_to_be_beaten(folder, capsys):
    assert call(folder / "f.npy", folder / "f.labels.npy", *QUICK) == 0
    printed = capsys.readouterr().out
    for name in ("raw pixels", "PCA", "random init", "f.npy"):
        assert name in printed
    assert "±" in printed and "240 training and 60 test images" in printed
    assert "Missing" not in printed
    assert "Features of runs/digits: taps 0, 1; pool 4 (max); batch norm eval." in printed
    assert "A fifth of the images is held out from the labels; the network may have seen them without labels" in printed
    assert printed.rstrip().splitlines()[-1] == "Next: ganfeat extract runs/digits DATA --out last.npy --taps=-1"


def test_a_protocol_by_its_name(folder, capsys):
    """All labels at once, and 400 of each class, of which there are fewer: one and the same draw of all rows."""
    names = folder / "f.npy", folder / "f.labels.npy"
    assert call(*names, "--protocol", "all-labels", "--json") == 0
    everything = json.loads(capsys.readouterr().out)
    assert everything["protocol"]["labels per class"] == ["all"]
    (k,) = everything["labels_per_class"]
    assert k < 400 and everything["accuracy"]["ganfeat"][str(k)]["draws"] == 1
    assert call(*names, "--protocol", "400-per-class", "--labels-per-class", "5", "--draws", "4") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "± is 1.96 standard deviations over draws of labels" in printed
    assert call(*names, "--protocol", "svhn-1000") == 2
    assert "10,000 validation rows of 240 leave nothing to learn from" in capsys.readouterr().err
    assert call(*names, "--protocol", "svhn") == 2
    assert "few-labels" in capsys.readouterr().err


def test_json_is_the_curve_of_the_library(folder, capsys):
    result = result_of(capsys, folder / "f.npy", folder / "f.labels.npy")
    train, test = hold_out(NAMES, 0.2, 0)
    rows = ROWS.astype(np.float32)
    expected = few_label_curve(rows[train], NAMES[train], rows[test], NAMES[test], FewLabels((1, 5), draws=3))
    assert result["accuracy"]["ganfeat"] == expected
    assert list(result["accuracy"]) == ["raw_pixels", "pca", "random_init", "ganfeat"]
    assert result["labels_per_class"] == [1, 5] and (result["train"], result["test"]) == (len(train), len(test))
    assert result["margin"].keys() == {"raw_pixels", "pca", "random_init"}
    card = json.loads((folder / "f.json").read_text())
    assert result["protocol"].items() >= {**FewLabels((1, 5), draws=3).card(), **card}.items()
    assert result["protocol"]["held out"].startswith("a fifth of the images is held out from the labels; the network")


def test_text_labels_give_the_same_as_numbers(folder, capsys):
    np.save(folder / "text.npy", np.array(list("abcdefghij"))[NAMES])
    numbers = result_of(capsys, folder / "f.npy", folder / "f.labels.npy")
    text = result_of(capsys, folder / "f.npy", folder / "text.npy")
    assert text["accuracy"] == numbers["accuracy"]


def test_images_without_a_label_are_left_out(folder, capsys):
    """-1 at the end of the file: as if the file ended before them, but for PCA, which learns without labels."""
    np.save(folder / "some.npy", np.where(np.arange(300) < 200, NAMES, -1))
    result = result_of(capsys, folder / "f.npy", folder / "some.npy")
    assert result["train"] + result["test"] == 200
    write(folder / "g", ROWS[:200], NAMES[:200])
    shorter = result_of(capsys, folder / "g.npy", folder / "g.labels.npy")
    del result["accuracy"]["pca"], shorter["accuracy"]["pca"]
    assert result["accuracy"] == shorter["accuracy"]


def test_pca_learns_from_what_the_network_may_have_seen(folder, capsys):
    """From all rows where a fifth is held out from the labels only; from the training rows where there are others."""

    def pca(train, train_y, test, test_y, learn_from):
        rows = principal_components(train, test, learn_from=learn_from)
        return few_label_curve(rows[0], train_y, rows[1], test_y, FewLabels((1, 5), draws=3), standardise=False)

    pixels = (ROWS * 15).astype(np.uint8)
    train, test = hold_out(NAMES, 0.2, 0)
    result = result_of(capsys, folder / "f.npy", folder / "f.labels.npy")
    assert result["accuracy"]["pca"] == pca(pixels[train], NAMES[train], pixels[test], NAMES[test], pixels)
    assert "all rows" in result["protocol"]["PCA"]
    write(folder / "b", ROWS[200:] * 0.5, NAMES[200:])
    pairs = ["--test", folder / "b.npy", "--test-labels", folder / "b.labels.npy"]
    result = result_of(capsys, folder / "f.npy", folder / "f.labels.npy", *pairs)
    other = (ROWS[200:] * 0.5 * 15).astype(np.uint8)
    assert result["accuracy"]["pca"] == pca(pixels, NAMES, other, NAMES[200:], pixels)
    assert "training rows only" in result["protocol"]["PCA"]
    assert result["protocol"]["held out"] == f"the images of {folder / 'b.npy'}"


def test_test_files(folder, capsys):
    write(folder / "a", ROWS[:200], NAMES[:200])
    write(folder / "b", ROWS[200:], NAMES[200:])
    pairs = [folder / "a.npy", folder / "a.labels.npy", "--test", folder / "b.npy"]
    result = result_of(capsys, *pairs, "--test-labels", folder / "b.labels.npy")
    rows = ROWS.astype(np.float32)
    expected = few_label_curve(rows[:200], NAMES[:200], rows[200:], NAMES[200:], FewLabels((1, 5), draws=3))
    assert (result["train"], result["test"]) == (200, 100)
    assert result["accuracy"]["ganfeat"] == expected
    assert len(result["accuracy"]) == 4


def test_rows_that_labels_are_drawn_from_are_not_scored_on(folder, capsys, monkeypatch):
    """The same file by any name, or another file of the same images; not so rows that only one file has labels of."""
    y = ["--test-labels", folder / "f.labels.npy"]
    write(folder / "g", ROWS, NAMES, taps=["0", "1"])  # the same images, extracted again
    (folder / "link.npy").symlink_to(folder / "f.npy")
    monkeypatch.chdir(folder)
    for test in (folder / "f.npy", "f.npy", folder / "link.npy", folder / "g.npy"):
        assert call(folder / "f.npy", folder / "f.labels.npy", "--test", test, *y, *QUICK, "--no-baselines") == 2
        assert "300 of its rows are among those that labels are drawn from" in capsys.readouterr().err
    (folder / "g.json").unlink()  # without its card nothing tells
    assert call(folder / "f.npy", folder / "f.labels.npy", "--test", folder / "g.npy", *y, *QUICK) == 0
    capsys.readouterr()
    np.save(folder / "first.npy", np.where(np.arange(300) < 200, NAMES, -1))
    np.save(folder / "second.npy", np.where(np.arange(300) < 200, -1, NAMES))
    halves = [folder / "f.npy", folder / "first.npy", "--test", folder / "f.npy", "--test-labels"]
    result = result_of(capsys, *halves, folder / "second.npy")
    assert (result["train"], result["test"]) == (200, 100)
    assert call(*halves, folder / "f.labels.npy") == 2
    assert "200 of its rows" in capsys.readouterr().err


MADE = {
    "run": ("runs/digits", "runs/others"),
    "network": ("dcgan discriminator, width 4, 1 epochs", "dcgan discriminator, width 4, 2 epochs"),
    "taps": (["0", "1"], ["0", "2"]),
    "pool": (4, 2),
    "pooling": ("max", "avg"),
    "batch norm": ("eval", "recalibrate"),
    "recalibrated on": ("train/", "test/"),
    "untrained network": ("the run's own", "seed 1"),
}


@pytest.mark.parametrize("name", MADE)
def test_test_features_that_were_made_in_another_way_are_refused(name, folder, capsys):
    """Their columns may be as many, and are still columns of other things."""
    ours, theirs = MADE[name]
    write(folder / "a", ROWS[:200], NAMES[:200], **{name: ours})
    write(folder / "b", ROWS[200:], NAMES[200:], **{name: theirs})
    pairs = [folder / "a.npy", folder / "a.labels.npy", "--test", folder / "b.npy"]
    pairs += ["--test-labels", folder / "b.labels.npy"]
    assert call(*pairs, *QUICK) == 2
    said = capsys.readouterr().err
    words = [", ".join(value) if isinstance(value, list) else value for value in (ours, theirs)]
    assert f"made in different ways ({name} {words[0]} and {words[1]}): extract both with the same run" in said
    if name == "untrained network":
        assert call(*pairs, *QUICK, "--no-baselines") == 0
    (folder / "b.json").unlink()
    assert call(*pairs, *QUICK, "--no-baselines") == 0


def test_another_spelling_of_the_run_or_fewer_baselines_are_no_difference(folder, capsys):
    write(
        folder / "b",
        ROWS[200:],
        NAMES[200:],
        False,
        run=str((folder / "../x").resolve()),
        data="test/",
        dtype="float16",
    )
    write(folder / "a", ROWS[:200], NAMES[:200], run=f"{folder}/../x/", **{"untrained network": "the run's own"})
    pairs = [folder / "a.npy", folder / "a.labels.npy", "--test", folder / "b.npy"]
    assert list(result_of(capsys, *pairs, "--test-labels", folder / "b.labels.npy")["accuracy"]) == ["ganfeat"]


def test_baselines_that_are_not_there_are_named(folder, capsys):
    write(folder / "bare", ROWS, NAMES, baselines=False)
    assert call(folder / "bare.npy", folder / "bare.labels.npy", *QUICK) == 0
    printed = capsys.readouterr().out
    assert "Missing or incomplete beside" in printed and "raw pixels, features of the untrained network" in printed
    assert list(result_of(capsys, folder / "f.npy", folder / "f.labels.npy", "--no-baselines")["accuracy"]) == [
        "ganfeat"
    ]


@pytest.mark.parametrize("card", [None, "", "[1]", '{"features": "f.npy"}'], ids=["none", "empty", "list", "other"])
def test_without_their_card_the_files_beside_are_not_used(card, folder, capsys):
    """A killed `extract` writes no card; a file of that name that is none is not one."""
    (folder / "f.json").unlink()
    if card is not None:
        (folder / "f.json").write_text(card)
    assert call(folder / "f.npy", folder / "f.labels.npy", *QUICK) == 0
    printed = capsys.readouterr().out
    assert "Missing or incomplete" in printed and "PCA  " not in printed and "Next" not in printed
    result = result_of(capsys, folder / "f.npy", folder / "f.labels.npy")
    assert list(result["accuracy"]) == ["ganfeat"] and "run" not in result["protocol"]


def test_a_file_that_the_card_does_not_list_is_not_used(folder, capsys):
    write(folder / "bare", ROWS, NAMES, baselines=False)
    np.save(folder / "bare.pixels.npy", ROWS.astype(np.uint8))
    assert list(result_of(capsys, folder / "bare.npy", folder / "bare.labels.npy")["accuracy"]) == ["ganfeat"]


def test_no_next_command_that_would_overwrite_the_features(folder, capsys):
    write(folder / "last", ROWS, NAMES)
    assert call(folder / "last.npy", folder / "last.labels.npy", *QUICK) == 0
    assert "Next" not in capsys.readouterr().out


def test_seeds(folder, capsys):
    same, again, other = (
        result_of(capsys, folder / "f.npy", folder / "f.labels.npy", "--no-baselines", "--seed", seed)
        for seed in (0, 0, 1)
    )
    assert same["accuracy"] == again["accuracy"] != other["accuracy"]


WRONG = {
    "no features": (["{tmp}/no.npy", "{tmp}/f.labels.npy"], "does not exist"),
    "no labels": (["{tmp}/f.npy", "{tmp}/no.npy"], "does not exist"),
    "one argument": (["{tmp}/f.npy"], "LABELS"),
    "a folder": (["{tmp}", "{tmp}/f.labels.npy"], "holds no features"),
    "other lengths": (["{tmp}/f.npy", "{tmp}/short.npy"], "300 rows of ganfeat and 299 labels"),
    "baseline of other length": (["{tmp}/stale.npy", "{tmp}/short.npy"], "as many"),
    "a card of other images": (["{tmp}/odd.npy", "{tmp}/f.labels.npy"], "is of 299 images"),
    "a test card of other images": (
        ["{tmp}/f.npy", "{tmp}/f.labels.npy", "--test", "{tmp}/odd.npy", "--test-labels", "{tmp}/f.labels.npy"],
        "is of 299 images",
    ),
    "text as features": (["{tmp}/text.npy", "{tmp}/f.labels.npy"], "no readable .npy"),
    "pickled features": (["{tmp}/object.npy", "{tmp}/f.labels.npy"], "no readable .npy"),
    "pickled labels": (["{tmp}/f.npy", "{tmp}/object.npy"], "no readable .npy"),
    "an archive": (["{tmp}/archive.npz", "{tmp}/f.labels.npy"], "no file of features"),
    "half a file": (["{tmp}/half.npy", "{tmp}/f.labels.npy"], "no readable .npy"),
    "nan": (["{tmp}/nan.npy", "{tmp}/f.labels.npy"], "NaN"),
    "flat features": (["{tmp}/f.labels.npy", "{tmp}/f.labels.npy"], "images x features"),
    "no columns": (["{tmp}/empty.npy", "{tmp}/f.labels.npy"], "images x features"),
    "features as labels": (["{tmp}/f.npy", "{tmp}/f.npy"], "one whole number or text an image"),
    "fractions as labels": (["{tmp}/f.npy", "{tmp}/fractions.npy"], "one whole number or text an image"),
    "one class": (["{tmp}/f.npy", "{tmp}/zeros.npy"], "1 class"),
    "no class": (["{tmp}/f.npy", "{tmp}/unknown.npy"], "-1"),
    "too few": (["{tmp}/few.npy", "{tmp}/few.labels.npy"], "0 test rows"),
    "no label sizes": (["{tmp}/f.npy", "{tmp}/f.labels.npy", "--labels-per-class", "0"], "at least 1"),
    "no draws": (["{tmp}/f.npy", "{tmp}/f.labels.npy", "--draws", "0"], "at least 1"),
    "test alone": (["{tmp}/f.npy", "{tmp}/f.labels.npy", "--test", "{tmp}/f.npy"], "go together"),
    "test of other width": (
        ["{tmp}/f.npy", "{tmp}/f.labels.npy", "--test", "{tmp}/few.npy", "--test-labels", "{tmp}/few.labels.npy"],
        "same run, taps and pool",
    ),
    "test labels of another kind": (
        ["{tmp}/f.npy", "{tmp}/f.labels.npy", "--test", "{tmp}/f.npy", "--test-labels", "{tmp}/names.npy"],
        "use one kind",
    ),
    "test of other length": (
        ["{tmp}/f.npy", "{tmp}/f.labels.npy", "--test", "{tmp}/f.npy", "--test-labels", "{tmp}/short.npy"],
        "300 test rows",
    ),
    "test without labels": (
        ["{tmp}/f.npy", "{tmp}/f.labels.npy", "--test", "{tmp}/f.npy", "--test-labels", "{tmp}/unknown.npy"],
        "0 test rows",
    ),
    "negative seed": (["{tmp}/f.npy", "{tmp}/f.labels.npy", "--seed", "-1"], "seed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_one_clear_line(case, folder, capsys):
    np.save(folder / "short.npy", NAMES[:-1])
    write(folder / "stale", ROWS[:-1], NAMES[:-1])
    np.save(folder / "stale.pixels.npy", ROWS.astype(np.uint8))
    write(folder / "odd", ROWS[:-1], NAMES[:-1])
    np.save(folder / "odd.npy", ROWS.astype(np.float32))
    (folder / "text.npy").write_text("1,2,3\n")
    np.save(folder / "object.npy", np.array([{"a": 1}] * 300, object), allow_pickle=True)
    np.savez(folder / "archive.npz", ROWS)
    (folder / "half.npy").write_bytes((folder / "f.npy").read_bytes()[:1000])
    np.save(folder / "nan.npy", np.where(np.arange(64) == 63, np.nan, ROWS))
    np.save(folder / "empty.npy", ROWS[:, :0])
    np.save(folder / "fractions.npy", NAMES + 0.5)
    np.save(folder / "zeros.npy", np.zeros(300, int))
    np.save(folder / "unknown.npy", np.full(300, -1))
    np.save(folder / "names.npy", NAMES.astype(str))
    write(folder / "few", ROWS[:4, :50], np.array([0, 0, 1, 1]))
    arguments, message = WRONG[case]
    status = call(*(a.format(tmp=folder) for a in arguments), "--quiet")
    printed = capsys.readouterr()
    assert status == 2
    lines = printed.err.strip().splitlines()
    assert lines[0].startswith("ganfeat: ") and message in lines[0]
    assert len(lines) == 1 or "--help" in lines[1]
    assert printed.out == ""
