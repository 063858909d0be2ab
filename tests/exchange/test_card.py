"""Model cards tell what was measured, by which protocol, and nothing else."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from ganfeat import DCGAN, BiGAN, InputError, load
from ganfeat.checkpoint import RunFolder
from ganfeat.config import FEATURE_SETS
from ganfeat.exchange import model_card, read_results, write_folder
from ganfeat.exchange.card import kind_of, results_in
from ganfeat.probes import PROTOCOLS

RESULTS = Path(__file__).parents[2] / "docs/results"
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
FITTING = {"width": 3, "n_components": 4, "max_iter": 1, "batch_size": 12, "random_state": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("private") / "run"
    DCGAN(**FITTING).fit(IMAGES, run=path)
    return path


def front(card):
    _, matter, body = card.split("---\n", 2)
    return yaml.safe_load(matter), body


def rows(table):
    """Cells of every line of Markdown tables."""
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines() if line[:1] == "|"]


def test_without_results_it_says_so(run):
    matter, body = front(model_card(run, place="hf-hub:me/photos"))
    assert matter["library_name"] == "ganfeat" and matter["pipeline_tag"] == "image-feature-extraction"
    assert "dcgan" in matter["tags"] and "license" not in matter
    assert "Not measured" in body and "ganfeat extract hf-hub:me/photos DATA" in body and "ganfeat probe" in body
    assert 'load("hf-hub:me/photos")' in body and "%" not in body.split("## What the features are worth")[1]


def test_every_number_of_a_probe_stands_beside_the_baselines(run):
    result = json.loads((RESULTS / "cifar-folder.json").read_text())
    card = model_card(run, {"probe.json": result})
    counts = [str(k) for k in result["labels_per_class"]]
    stripped = [[cell.strip("*") for cell in row] for row in rows(card)]
    protocol = {row[0]: row[1] for row in stripped if len(row) == 2}
    table = {row[0]: row[1:] for row in stripped if len(row) == 1 + len(counts)}
    assert table["accuracy in %, by labels per class"] == counts
    names = {"ganfeat": result["protocol"]["network"], "random_init": "the same network, untrained"}
    for name, curve in result["accuracy"].items():
        wanted = [f"{100 * curve[k]['mean']:.1f} ± {100 * curve[k]['ci95']:.1f}" for k in counts]
        assert table[names.get(name, FEATURE_SETS[name])] == wanted
    for key in ("probe", "C", "draws", "interval", "held out", "network"):
        assert protocol[key] == str(result["protocol"][key])
    assert result["command"] in card and "Not measured" not in card
    assert "fingerprint" not in card and "(results/probe.json)" in card


def test_the_papers_interval_is_taken_where_the_protocol_says_so(run):
    point = {"mean": 0.5, "std": 0.02, "ci95": 0.01, "draws": 10}
    accuracy = {"ganfeat": {"400": point}, "raw_pixels": {"400": {**point, "draws": 1}}}
    result = {"accuracy": accuracy, "labels_per_class": [400], "protocol": PROTOCOLS["400-per-class"].card()}
    table = {row[0].strip("*"): row[1].strip("*") for row in rows(model_card(run, {"p.json": result})) if len(row) == 2}
    assert table["this model"] == "50.0 ± 3.9" and table["raw pixels"] == "50.0 ± 1.0"
    assert "Not measured beside it: PCA, random init." in model_card(run, {"p.json": result})


@pytest.mark.parametrize(
    ("name", "kind"),
    [("demo", "probe"), ("cifar-folder", "probe"), ("compare-mnist5k", "compare"), ("theory", None), ("extract", None)],
)
def test_results_are_told_apart(name, kind):
    assert kind_of(json.loads((RESULTS / f"{name}.json").read_text())) == kind


def test_comparisons(run):
    result = json.loads((RESULTS / "compare-mnist5k.json").read_text())
    table = {row[0]: row[1:] for row in rows(model_card(run, {"compare.json": result}))}
    for row in result["rows"]:
        if row["kind"] != "untrained":
            cells = table[("* " if row["name"] == result["best"] else "") + row["name"]]
            assert cells[1] == f"{100 * row['accuracy']['10']['mean']:.1f} ± {100 * row['accuracy']['10']['ci95']:.1f}"
    assert table["held out"] == [result["protocol"]["held out"]]


def test_theory_in_the_run_folder_is_found(run, tmp_path):
    part = {"what": "a | b", "value": 0.5, "low": 0.4, "high": 0.6, "unit": "", "verdict": "holds", "rule": "r"}
    claim = {"title": "Corollary 3", "verdict": "holds", "parts": [part], "tables": [], "notes": []}
    result = {"claims": [claim], "run": "elsewhere", "settings": {"seed": 0}, "images": {"images": 9}}
    folder = run / "theory"
    folder.mkdir()
    (folder / "theory.json").write_text(json.dumps(result))
    try:
        assert [p.name for p in results_in(RunFolder(run))] == ["theory.json"]
        card = model_card(run, read_results(results_in(RunFolder(run))))
    finally:
        (folder / "theory.json").unlink()
        folder.rmdir()
    assert ["Corollary 3", "✓ holds"] in rows(card) and "0.5 (0.4 to 0.6)" in card and ["seed", "0"] in rows(card)


def test_a_folder_is_a_run_without_its_training(run, tmp_path):
    written = write_folder(run, tmp_path / "out")
    samples = sorted(p.name for p in (run / "samples").iterdir())
    wanted = ["README.md", "config.json", "history.jsonl", "model.safetensors", f"samples/{samples[-1]}"]
    assert written == sorted([*wanted, "untrained.safetensors"])
    assert len(samples) > 1 and f"(samples/{samples[-1]})" in (tmp_path / "out/README.md").read_text()
    ours, theirs = load(run, device="cpu"), load(tmp_path / "out", device="cpu")
    np.testing.assert_array_equal(ours.transform(IMAGES), theirs.transform(IMAGES))
    np.testing.assert_array_equal(ours.random_init().transform(IMAGES), theirs.random_init().transform(IMAGES))
    assert theirs.n_iter_ == ours.n_iter_


def test_no_image_of_the_data_is_published_unasked(run, tmp_path):
    BiGAN(**FITTING).fit(IMAGES, run=tmp_path / "run")
    sheets = sorted(p.name for p in (tmp_path / "run/samples").glob("reconstruction-*.png"))
    assert sheets, "there is something to keep back"
    for asked, wanted in ((False, []), (True, sheets[-1:])):
        out = tmp_path / f"out-{asked}"
        write_folder(tmp_path / "run", out, reconstructions=asked)
        card = (out / "README.md").read_text()
        assert [p.name for p in out.rglob("*reconstruction*")] == wanted
        assert re.findall(r"samples/(reconstruction[^)]+)", card) == wanted and "(samples/step-" in card
        assert "model.reconstruct(images)" in card
    with pytest.raises(InputError, match="leave --reconstructions out"):
        write_folder(run, tmp_path / "none", reconstructions=True)
    assert not (tmp_path / "none").exists()


def test_no_folder_of_the_persons_machine_is_published(run, tmp_path):
    private = tmp_path / "john smith" / "it's mine"
    photos = private / "cats"
    shutil.copytree(run, private / "run")
    config = json.loads((run / "config.json").read_text())
    config |= {"data": {**config["data"], "source": str(photos)}, "note": f"of {photos}, {private}/b"}
    (private / "run/config.json").write_text(json.dumps(config))
    result = {"accuracy": {"ganfeat": {"10": {"mean": 0.5, "std": float("nan")}}}, "labels_per_class": [10]}
    result |= {"command": f'ganfeat probe "{photos}/f.npy" --test=../../x/g.npy'}
    protocol = {"run": str(private / "gone"), "held out": f"the images of {photos}.npy", str(photos / "k"): 1}
    result |= {"protocol": {**protocol, "skipped": [{"source": str(photos / "me.jpg"), "reason": "no"}]}}
    write_folder(private / "run", tmp_path / "out", results={"p.json": result})
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert [w for w in (b"john", b"it's", b"me.jpg", b"../", bytes(tmp_path)) if w in content] == [], file
    again = json.loads((tmp_path / "out/results/p.json").read_text(), parse_constant=lambda name: 1 / 0)
    assert again["command"] == "ganfeat probe f.npy --test=g.npy"
    assert again["protocol"] == {"run": "gone", "held out": "the images of cats.npy", "k": 1, "skipped": 1}
    assert again["accuracy"]["ganfeat"]["10"] == {"mean": 0.5, "std": None}


def test_nothing_is_left_where_something_is_wrong(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        write_folder(run, out)
    assert [p.name for p in out.iterdir()] == ["mine.txt"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="folder that you are in"):
        write_folder(run, ".")
    (tmp_path / "here").rmdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ganfeat.exchange.folder.model_card", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_folder(run, tmp_path / "other")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_results_of_another_run_are_refused(run, tmp_path):
    other = tmp_path / "other"
    DCGAN(**{**FITTING, "random_state": 1}).fit(IMAGES).save(other)
    point = {"accuracy": {}, "labels_per_class": [10]}
    for named, refused in ((other, True), (run, False), (tmp_path / "gone", False)):
        result = {"p.json": {**point, "protocol": {"run": str(named)}, "accuracy": {"ganfeat": {"10": {"mean": 0.5}}}}}
        if refused:
            with pytest.raises(InputError, match="other weights"):
                write_folder(run, tmp_path / "out", results=result)
        else:
            write_folder(run, tmp_path / f"out-{named.name}", results=result)


def test_what_is_no_result(tmp_path):
    for name, content, words in (("a", "{", "no JSON"), ("b", '{"x": 1}', "no result"), ("c", None, "cannot be read")):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=words):
            read_results([tmp_path / name])


POINT = {"10": {"mean": 0.5}}
THEORY = {"claims": [{"title": "t", "verdict": "holds", "parts": []}], "run": "r", "settings": {}}


@pytest.mark.parametrize(
    "damaged",
    [
        {"accuracy": {}, "labels_per_class": [1], "protocol": {}},
        {"accuracy": {"ganfeat": {"1": {"ci95": 0.1}}}, "labels_per_class": [1], "protocol": {}},
        {"accuracy": 1, "labels_per_class": [1], "protocol": {}},
        {"accuracy": {"ganfeat": POINT}, "labels_per_class": 10, "protocol": {}},
        {"accuracy": {"ganfeat": POINT}, "labels_per_class": [10], "protocol": "none"},
        {"accuracy": {"ganfeat": {"10": {"mean": "half"}}}, "labels_per_class": [10], "protocol": {}},
        {"rows": [{}], "networks": [], "best_layer": None, "protocol": {}},
        {"rows": [], "networks": 3, "best_layer": None, "protocol": {}},
        {**THEORY, "claims": [{}]},
        {**THEORY, "claims": 1},
        {**THEORY, "settings": None},
    ],
)
def test_a_damaged_result_is_refused_and_not_picked_up(damaged, run, tmp_path):
    assert kind_of(damaged) is not None
    (tmp_path / "config.json").touch()
    (tmp_path / "x.json").write_text(json.dumps(damaged))
    with pytest.raises(InputError, match=r"x\.json is damaged"):
        read_results([tmp_path / "x.json"])
    assert results_in(RunFolder(tmp_path)) == []
