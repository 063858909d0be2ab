"""``ganfeat theory``, called as a person calls it, on tiny networks and digits."""

import json
import re
import sys

import numpy as np
import pytest

from ganfeat import DCGAN, BiGAN, LatentRegressor, load_images
from ganfeat.cli import main
from ganfeat.estimators import METHODS

DIGITS = load_images("digits", limit=200)
SMALL = {"n_components": 4, "max_iter": 1, "batch_size": 50, "random_state": 0}
KEYS = ["corollary-3", "corollary-4", "theorem-1-useful", "theorem-1-robust", "theorem-1-noise"]
VERDICTS = {"holds", "does not hold", "cannot be told", "not measured"}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run[b]"  # no markup
    DCGAN(width=4, **SMALL).fit(DIGITS, run=path)
    return path


def call(*arguments):
    return main(["theory", *map(str, arguments)])


def test_a_block_a_claim_and_a_page(run, capsys):
    assert call(run, "digits", "--limit", "200") == 0
    printed = capsys.readouterr().out
    words = " ".join(printed.split())
    for claim in ("Corollary 3", "Corollary 4", "Theorem 1, useful", "Theorem 1, robust", "Theorem 1, noise"):
        assert re.search(rf"{claim}: .*: (HOLDS|DOES NOT HOLD|CANNOT BE TOLD)\n", printed)
    for name in (
        "raw pixels",
        "PCA",
        "untrained, full features",
        "null-space part",
        "a random head's null",
        "occlusion",
    ):
        assert name in words
    assert (
        "The verdict would be" in words
        and "checkpoint of step" in words
        and "DATA, statistics of each batch" in words
        and "Rule: holds if" in words
    )
    assert "DATA are the images that the run learned from." in words
    assert sorted(p.name for p in (run / "theory").iterdir()) == ["theory.html", "theory.json"]
    page = (run / "theory" / "theory.html").read_text(encoding="utf-8")
    result = json.loads((run / "theory" / "theory.json").read_text(encoding="utf-8"))
    assert [claim["key"] for claim in result["claims"]] == KEYS
    for claim in result["claims"]:
        assert f'id="{claim["key"]}"' in page and {part["verdict"] for part in claim["parts"]} <= VERDICTS
    assert page.count("<figure>") == 2 and page.count("<svg") == 4
    assert [line.startswith("Next: ganfeat compare") for line in printed.rstrip().splitlines()][-1]


def test_json_seeds_test_images_and_another_folder(run, tmp_path, capsys, monkeypatch):
    """The same seed, the same numbers; what is measured on --test stands beside."""
    np.savez(tmp_path / "a.npz", images=DIGITS.images[:120])
    np.savez(tmp_path / "b.npz", images=DIGITS.images[120:])
    monkeypatch.setattr(sys, "argv", ["ganfeat", "theory", "RUN", "a.npz"])
    found = []
    for seed in (0, 0, 1):
        options = ["--test", tmp_path / "b.npz", "--out", tmp_path / "o" / "x", "--json", "--seed", seed, "--quiet"]
        assert call(run, tmp_path / "a.npz", *options) == 0
        result = json.loads(capsys.readouterr().out)
        found.append(result["claims"])
        assert json.loads((tmp_path / "o" / "x" / "theory.json").read_text(encoding="utf-8")) == result
    assert found[0] == found[1] != found[2]
    assert result["command"] == "ganfeat theory RUN a.npz" and result["images"]["test images"] == 80
    assert [re.search(r", D, (.*) \(random", part["what"])[1] for part in found[0][1]["parts"]] == ["DATA", "--test"]


def test_probes_are_scored_on_the_images_to_test_on(run, tmp_path, capsys):
    """With the features of --test in order: shuffled labels would be worth a tenth."""
    np.savez(tmp_path / "a.npz", images=DIGITS.images[:120], y=DIGITS.labels[:120])
    np.savez(tmp_path / "b.npz", images=DIGITS.images[120:], y=DIGITS.labels[120:])
    assert call(run, tmp_path / "a.npz", "--test", tmp_path / "b.npz", "--out", tmp_path / "o", "--json", "-q") == 0
    claims = json.loads(capsys.readouterr().out)["claims"]
    rows = {row[0]: row[1]["value"] for row in claims[KEYS.index("theorem-1-useful")]["tables"][0]["rows"]}
    assert min(rows[name] for name in rows if name != "row-space part") > 0.6 > rows["row-space part"]


def test_without_labels_what_needs_them_is_left_out(run, tmp_path, capsys):
    np.save(tmp_path / "bare.npy", DIGITS.images[:60])
    assert call(run, tmp_path / "bare.npy", "--out", tmp_path / "o", "--json", "--quiet") == 0
    result = json.loads(capsys.readouterr().out)
    useful = result["claims"][KEYS.index("theorem-1-useful")]
    assert useful["verdict"] == "not measured" and "no labels" in useful["notes"][0]
    assert any("not exactly the images" in note for note in result["notes"])


def test_runs_of_earlier_versions_keep_no_spread(run, tmp_path, capsys):
    """No spread in the history, no untrained network, a damaged checkpoint: said, and the rest is measured."""
    import shutil

    old = tmp_path / "old"
    shutil.copytree(run, old)
    (old / "untrained.safetensors").unlink()
    records = [json.loads(line) for line in (old / "history.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in record.items() if not k.startswith("spread/")} for record in records]
    (old / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in kept))
    for file in old.glob("checkpoints/*/state.safetensors"):
        file.write_bytes(b"torn")
    np.save(tmp_path / "bare.npy", DIGITS.images[:60])
    assert call(old, tmp_path / "bare.npy", "--json", "--quiet") == 0
    result = json.loads(capsys.readouterr().out)
    assert "earlier versions" in result["claims"][0]["notes"][0] and result["claims"][0]["series"] == {}
    assert any("no untrained network" in note for note in result["notes"])
    assert any("damaged" in note for note in result["notes"])
    assert not any("checkpoint" in part["what"] for part in result["claims"][0]["parts"])


def test_the_discriminator_beside_an_encoder(tmp_path, capsys):
    """Of a latent regressor, D sees images alone; without batch norm there is one mode of statistics."""
    path = tmp_path / "lr"
    LatentRegressor(width=4, architecture="mlp", **SMALL).fit(DIGITS, run=path)
    np.save(tmp_path / "bare.npy", DIGITS.images[:60])
    assert call(path, tmp_path / "bare.npy", "--json", "--quiet") == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["heads"]) == ["discriminator"] and result["heads"]["discriminator"]["outputs"] == 1


def images_of(images, folder):
    np.savez(folder / "labelled.npz", images=images.images, y=images.labels)
    return folder / "labelled.npz"


@pytest.mark.parametrize("shares_removed", [0, 1])
def test_the_classifier_of_generators(shares_removed, tmp_path, capsys):
    """M-GAN's C: proposition 6, theorems 2 and 3 on its generators; with shared layers it has D's features."""
    path = tmp_path / "mgan"
    settings = {"width": 4, "n_features": 8, "n_generators": 3, "shares_removed": shares_removed}
    images = load_images("digits", size=16, limit=100)
    METHODS["mgan"](**settings, **SMALL).fit(images, run=path)
    np.savez(tmp_path / "bare.npz", images=images.images)
    assert call(path, tmp_path / "bare.npz" if shares_removed else images_of(images, tmp_path), "--json", "-q") == 0
    result = json.loads(capsys.readouterr().out)
    claims = {claim["key"]: claim for claim in result["claims"]}
    assert list(claims) == [*KEYS, "proposition-6", "theorem-2", "theorem-3"]
    assert result["heads"]["classifier"] == {"outputs": 3, "features": 8}
    names = [row[0] for row in claims["proposition-6"]["tables"][0]["rows"]]
    assert (
        names[0].startswith("generators, statistics of each batch") and "generators, statistics of real images" in names
    )
    assert any("labels of DATA" in name for name in names) != bool(shares_removed)
    assert ("C, full" in claims["theorem-1-robust"]["tables"][0]["headings"]) == bool(shares_removed)
    assert [row[0] for row in claims["corollary-4"]["tables"][0]["rows"]][-1] == "C, DATA"


def test_the_head_for_classes_of_a_gan_that_learned_from_labels(tmp_path, capsys):
    """Source classes: those that G was asked for, and the labels of DATA; both heads read the same features."""
    path = tmp_path / "acgan"
    METHODS["acgan"](width=4, **SMALL).fit(DIGITS, run=path)
    np.savez(tmp_path / "a.npz", images=DIGITS.images[:100], y=DIGITS.labels[:100])
    assert call(path, tmp_path / "a.npz", "--json", "--quiet") == 0
    result = json.loads(capsys.readouterr().out)
    six = next(claim for claim in result["claims"] if claim["key"] == "proposition-6")
    assert [part["what"].split(", ")[1] for part in six["parts"]] == ["generated", "real"]
    assert all(row[4] is None or 0 <= row[4] <= 1 for row in six["tables"][0]["rows"])
    assert result["heads"]["classifier"]["features"] == result["heads"]["discriminator"]["features"]


def test_categories_without_a_source_are_refused(tmp_path, capsys):
    path = tmp_path / "catgan"
    METHODS["catgan"](width=4, **SMALL).fit(DIGITS, run=path)
    assert call(path, "digits", "--quiet") == 2
    assert "no single logit for real against generated" in capsys.readouterr().err


WRONG = {
    "no run": (["{tmp}/no", "digits"], "is not a run folder"),
    "folder without a run": (["{tmp}", "digits"], "is not a run folder"),
    "images first": (["digits", "{run}"], "is not a run folder"),
    "no images": (["{run}", "{run}"], "is a run folder"),
    "no data": (["{run}", "{tmp}/no"], "there is no"),
    "a joint discriminator": (["{bigan}", "digits"], "pairs of an image and its z"),
    "few images": (["{run}", "digits", "--limit", "20"], "at least 50"),
    "no limit": (["{run}", "digits", "--limit", "0"], "limit"),
    "the same images twice": (["{run}", "digits", "--test", "digits", "--limit", "60"], "same images as DATA"),
    "device": (["{run}", "digits", "--device", "tpu"], "device"),
    "out is a file": (["{run}", "digits", "--out", "{tmp}/file"], "is a file"),
    "negative seed": (["{run}", "digits", "--seed", "-1"], "seed"),
}


@pytest.fixture(scope="module")
def bigan(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "bigan"
    BiGAN(width=4, architecture="mlp", **SMALL).fit(DIGITS[np.arange(60)], run=path)
    return path


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_one_clear_line(case, run, bigan, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    arguments, message = WRONG[case]
    assert call(*(a.format(tmp=tmp_path, run=run, bigan=bigan) for a in arguments), "--quiet") == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("ganfeat: ") and message in lines[0]
    assert printed.out == "" and sorted(tmp_path.rglob("*")) == before


def test_images_of_another_size_are_brought_to_the_networks(run, tmp_path, capsys):
    large = load_images("digits", size=16, limit=60)
    np.savez(tmp_path / "large.npz", images=large.images, y=large.labels)
    assert call(run, tmp_path / "large.npz", "--out", tmp_path / "o", "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["images"]["images"] == 60
