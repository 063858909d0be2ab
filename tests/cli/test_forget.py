"""``ganfeat forget``, called as a person calls it, on tiny networks and digits."""

import json
import re

import numpy as np
import pytest

from ganfeat import DCGAN, MGAN, BiGAN, load, load_images
from ganfeat.checkpoint import write_atomically
from ganfeat.cli import main
from ganfeat.inspection.boxes import Box, read_boxes, write_boxes
from ganfeat.inspection.forgetting import draw_without, find_layer, fit_forgetting
from ganfeat.latent import vector_reference
from ganfeat.pictures import read_png

DIGITS = load_images("digits", limit=200)
SMALL = {"n_components": 4, "max_iter": 1, "batch_size": 50, "random_state": 0}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run[b]"  # no markup
    DCGAN(width=8, **SMALL).fit(DIGITS, run=path)
    return path


@pytest.fixture
def boxes(tmp_path):
    """Around the middle of twelve samples."""
    path = tmp_path / "middle.json"
    write_boxes(path, [Box(f"s{i % 2}.{i}", 2, 2, 4, 4) for i in range(12)])
    return path


def call(*arguments):
    return main(["forget", *map(str, arguments)])


def refused(capsys, *arguments):
    assert call(*arguments) == 2
    printed = capsys.readouterr()
    assert not printed.out and printed.err.count("\n") >= 1 and "Traceback" not in printed.err
    return printed.err


def test_first_a_sheet_of_samples_and_a_file_to_fill_in(run, capsys):
    assert call(run, "--seed", "3", "--samples", "20") == 0
    printed = capsys.readouterr().out
    file, sheet = run / "forget" / "boxes.json", read_png(run / "forget" / "samples.png")
    assert json.loads(file.read_text())["boxes"] == [] and "8 wide and 8 high" in file.read_text()
    assert sheet.shape[0] > 3 * 8 and sheet.shape[1] > 8 * 8 and sheet.shape[2] == 3
    assert "ganfeat studio" in printed and printed.rstrip().splitlines()[-1].startswith("Next: ganfeat forget")
    assert "--boxes" in printed.splitlines()[-1] and sorted(p.name for p in file.parent.iterdir()) == [
        "boxes.json",
        "samples.png",
    ]
    write_atomically(file, b'{"boxes": "mine"}')
    assert call(run, "--json", "-q") == 0  # never over a file that somebody may have filled in
    assert json.loads(capsys.readouterr().out)["kept"] and file.read_bytes() == b'{"boxes": "mine"}'


def test_the_template_can_be_filled_in_and_used(run, tmp_path, capsys):
    assert call(run, "--out", tmp_path / "o", "-q") == 0
    file = tmp_path / "o" / "boxes.json"
    assert "has no boxes yet" in refused(capsys, run, "--boxes", file)
    content = json.loads(file.read_text())
    content["boxes"] = [{"z": f"s0.{i}", "x": 0, "y": 0, "width": 3, "height": 3} for i in range(2)]
    file.write_text(json.dumps(content))
    assert call(run, "--boxes", file, "--out", tmp_path / "o", "-q") == 0


def test_numbers_and_picture_are_those_of_the_functions(run, boxes, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert call(run, "--boxes", boxes, "--out", out, "--json", "--samples", "16", "--draws", "2", "--quiet") == 0
    result = json.loads(capsys.readouterr().out)
    assert sorted(p.name for p in out.iterdir()) == ["forget.json", "forget.png"]
    gan = load(run, device="cpu")
    names = list(read_boxes(boxes, (8, 8)).by_sample())
    z = np.stack([gan.latents(256, int(n[1]))[int(n[3:])] for n in names])
    found = fit_forgetting(gan.decoder(), z, list(read_boxes(boxes, (8, 8)).by_sample().values()), (8, 8))
    assert result["maps"]["order"] == found.order.tolist() and result["maps"]["dropped"] == len(found.order)
    assert result["regression"] == found.held_out
    assert (
        result["layer"]["maps"] == found.layer.maps and result["layer"]["index"] == find_layer(gan.decoder(), z).index
    )
    before = draw_without(gan.decoder(), z, found.layer).astype(float)
    number = len(found.order)
    unseen = [found.others[k][:number] for k in found.fold]  # by the boxes of other samples
    change = (draw_without(gan.decoder(), z, found.layer, unseen) - before) / 255
    assert result["maps"]["others"] == [order.tolist() for order in found.others]
    assert "images that had no say" in result["notes"][0]
    outside = np.ones((8, 8), bool)
    outside[2:6, 2:6] = False
    wanted = np.sqrt(np.square(change)[:, outside].mean(axis=(1, 2))).mean()
    assert result["after"]["change_outside"]["mean"] == pytest.approx(wanted)
    assert result["curve"][0]["maps"] == 0 and result["curve"][-1]["maps"] == len(found.order)
    assert result["curve"][0]["dropped"]["presence"] == result["before"]["presence"]
    assert result["probe"]["sees"].startswith("D's layer 0") and result["probe"]["images"] == 12
    kept = json.loads((out / "forget.json").read_text(encoding="utf-8"))
    assert {**kept, "pictures": None, "table": None} == {**result, "pictures": None, "table": None}
    assert kept["pictures"][0]["file"] == "forget.png" and len(kept["table"]) == 1 + len(result["curve"])
    assert read_png(out / "forget.png").shape[2] == 3


def test_the_same_call_gives_the_same_and_another_seed_other_random_maps(run, boxes, tmp_path, capsys):
    found = []
    for seed in (0, 0, 5):
        assert call(run, "--boxes", boxes, "--out", tmp_path / "o", "--json", "-q", "--maps", 2, "--seed", seed) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1] and found[0]["random"] != found[2]["random"]
    assert found[0]["maps"]["dropped"] == 2 and found[0]["maps"]["order"] == found[2]["maps"]["order"]


def test_words_for_a_person_and_a_section_of_the_report(run, boxes, capsys):
    assert call(run, "--boxes", boxes, "--samples", "4", "--draws", "1") == 0
    printed = capsys.readouterr().out
    words = " ".join(printed.split())
    for part in ("maps have a positive weight", "always no", "on images held out", "random: presence", "gone"):
        assert part in words
    assert re.search(r"Next: ganfeat report .*run\[b\]", printed.rstrip().splitlines()[-1])
    assert main(["report", str(run), "--quiet"]) == 0
    assert "Forgetting an object" in (run / "report.html").read_text(encoding="utf-8")


def test_a_sample_may_be_a_vector_and_boxes_a_csv(run, tmp_path, capsys):
    gan = load(run, device="cpu")
    z = gan.latents(256, 0)[:2]
    write_boxes(tmp_path / "v.csv", [Box(vector_reference(row), 2, 2, 4, 4) for row in z])
    write_boxes(tmp_path / "s.csv", [Box(f"s0.{i}", 2, 2, 4, 4) for i in range(2)])
    found = []
    for name in ("v.csv", "s.csv"):
        assert call(run, "--boxes", tmp_path / name, "--out", tmp_path / "o", "--json", "-q", "--draws", 1) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["maps"] == found[1]["maps"] and found[0]["curve"] == found[1]["curve"]
    write_boxes(tmp_path / "twice.csv", [Box(vector_reference(z[0]), 2, 2, 4, 4), Box("s0.0", 2, 2, 4, 4)])
    assert "boxes on 1 image are too few" in refused(capsys, run, "--boxes", tmp_path / "twice.csv", "--out", tmp_path)


def test_mistakes_are_refused_by_name(run, boxes, tmp_path, capsys):
    out = ["--out", tmp_path / "o"]
    assert "there is no file" in refused(capsys, run, "--boxes", tmp_path / "none.json", *out)
    assert "is out of range: the generator has 2 conv layers" in refused(
        capsys, run, "--boxes", boxes, "--layer", 7, *out
    )
    assert "gives the image itself" in refused(capsys, run, "--layer", -1, *out)
    assert "have a positive weight; give 1 to" in refused(capsys, run, "--boxes", boxes, "--maps", 16, *out)
    assert "--samples 0 must be at least 1 and at most 256" in refused(capsys, run, "--samples", 0, *out)
    assert "--seed 4294967296 must be" in refused(capsys, run, "--seed", 2**32, *out)
    assert "told nothing beside z" in refused(capsys, run, "--given", 1, *out)
    write_boxes(tmp_path / "told.json", [Box(f"s0.{i}", 2, 2, 4, 4) for i in range(3)], given=1)
    assert "told nothing beside z" in refused(capsys, run, "--boxes", tmp_path / "told.json", *out)
    assert "is a file; name a folder" in refused(capsys, run, "--out", boxes)
    assert "is not a run folder" in refused(capsys, tmp_path, "--boxes", boxes)
    write_boxes(tmp_path / "one.json", [Box("s0.1", 2, 2, 4, 4)])
    assert "boxes on 1 image are too few: at least 2" in refused(capsys, run, "--boxes", tmp_path / "one.json", *out)
    write_boxes(tmp_path / "far.json", [Box("s0.256", 2, 2, 4, 4)])
    message = refused(capsys, run, "--boxes", tmp_path / "far.json", *out)
    assert "far.json" in message and "0 to 255" in message
    write_boxes(tmp_path / "all.json", [Box(f"s0.{i}", 0, 0, 8, 8) for i in range(3)])
    assert "cover whole images" in refused(capsys, run, "--boxes", tmp_path / "all.json", *out)
    assert not (tmp_path / "o").exists()


def test_a_fully_connected_generator_has_no_maps(tmp_path, capsys):
    BiGAN(width=8, architecture="mlp", **SMALL).fit(DIGITS, run=tmp_path / "run")
    assert "fully connected: it has no maps" in refused(capsys, tmp_path / "run")


def test_boxes_belong_to_what_g_was_told(tmp_path, capsys):
    """Each generator of an M-GAN draws its own images of a z."""
    digits = DIGITS.images[:60].repeat(2, axis=1).repeat(2, axis=2)
    MGAN(width=4, n_generators=2, **SMALL).fit(digits, run=tmp_path / "r")
    assert call(tmp_path / "r", "--given", 1, "--out", tmp_path / "o", "-q") == 0
    content = json.loads((tmp_path / "o" / "boxes.json").read_text())
    assert content["given"] == 1
    side = load(tmp_path / "r", device="cpu").picture(np.zeros((1, 4))).shape[1]
    content["boxes"] = [{"z": f"s0.{i}", "x": 1, "y": 1, "width": side / 2, "height": side / 2} for i in range(4)]
    (tmp_path / "b.json").write_text(json.dumps(content))
    assert call(tmp_path / "r", "--boxes", tmp_path / "b.json", "--out", tmp_path / "o", "--json", "-q") == 0
    assert json.loads(capsys.readouterr().out)["given"] == 1
    message = refused(capsys, tmp_path / "r", "--boxes", tmp_path / "b.json", "--given", 0, "--out", tmp_path / "o")
    assert "drawn for given 1, not 0" in message
    assert "choose one of 0, 1" in refused(capsys, tmp_path / "r", "--given", 2)
    content["given"] = 2
    (tmp_path / "b.json").write_text(json.dumps(content))
    assert "is told one of 0, 1" in refused(capsys, tmp_path / "r", "--boxes", tmp_path / "b.json")
