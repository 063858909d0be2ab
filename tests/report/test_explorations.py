"""What looks inside a network: written whole, and shown in the report of its run."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from ganfeat import DCGAN, InputError, load_images
from ganfeat.cli import main
from ganfeat.report.explorations import EXPLORATIONS, Picture, exploration_sections, write_exploration

SHEET = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
EVIL = "<b>&"
PICTURE = Picture("walk.png", SHEET, f"caption {EVIL}", f'alt "{EVIL}')
TABLE = (("leg", "jump"), (("s0.1 to s0.2", EVIL),))


def write(run, verb="walk"):
    return write_exploration(
        run / verb, verb, {"command": f"ganfeat {verb} {EVIL}", "n": 3, "notes": [f"read {EVIL}"]}, [PICTURE], TABLE
    )


def test_files_say_what_was_measured_and_shown(tmp_path):
    assert [path.name for path in write(tmp_path)] == ["walk.png", "walk.json"]
    content = json.loads((tmp_path / "walk/walk.json").read_text())
    assert content["n"] == 3
    assert content["pictures"] == [{"file": "walk.png", "caption": PICTURE.caption, "alt": PICTURE.alt}]
    assert content["table"] == [["leg", "jump"], ["s0.1 to s0.2", EVIL]]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "walk/walk.png")), SHEET)
    assert sorted(path.name for path in (tmp_path / "walk").iterdir()) == ["walk.json", "walk.png"]


def test_numbers_that_json_does_not_know_are_a_mistake_of_the_caller(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_exploration(tmp_path / "walk", "walk", {"ratio": float("nan")}, [], None)
    assert not (tmp_path / "walk/walk.json").exists()


def test_sections_hold_the_very_pixels_and_escape_all_words(tmp_path):
    for verb in ("walk", "forget"):
        write(tmp_path, verb)
    sections = exploration_sections(tmp_path)
    assert [section.anchor for section in sections] == ["walk", "forget"]
    body = sections[0].body
    assert EVIL not in body and body.count("&lt;b&gt;&amp;") == 5  # caption, alt, cell, note, command
    uri = body.split('src="data:image/png;base64,')[1].split('"')[0]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(uri)))), SHEET)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "walk.json").write_text("{"),
        lambda folder: (folder / "walk.json").write_text("[]"),
        lambda folder: (folder / "walk.json").write_text('{"table": null, "pictures": [{"file": "walk.png"}]}'),
        lambda folder: (folder / "walk.json").write_text('{"pictures": [], "table": [["a"], []]}'),
        lambda folder: (folder / "walk.json").write_text('{"pictures": ' + "[" * 100_000),
        lambda folder: (folder / "walk.png").unlink(),
        lambda folder: (folder / "walk.png").write_bytes(b"no picture"),
        lambda folder: (folder / "walk.json").write_text(
            (folder / "walk.json").read_text().replace('"walk.png"', '"../walk/walk.png"')
        ),
    ],
)
def test_a_damaged_one_is_named(tmp_path, damage):
    write(tmp_path)
    damage(tmp_path / "walk")
    with pytest.raises(InputError, match=r"walk\.json is damaged"):
        exploration_sections(tmp_path)


def test_a_picture_of_too_many_pixels_is_left_in_its_folder(tmp_path, monkeypatch):
    """A few bytes of PNG may unfold to gigabytes."""
    for most in (len(SHEET) * SHEET.shape[1] - 1, 20):  # Pillow warns above it, and refuses above twice as many
        write(tmp_path)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
        body = exploration_sections(tmp_path)[0].body
        assert "walk.png is too large for this page" in body and "data:image" not in body


def test_all_files_change_or_none(tmp_path, monkeypatch):
    """Whether drawing, the JSON or a rename fails: what was there is there, and nothing else."""
    write(tmp_path)
    folder = tmp_path / "walk"

    def kept():
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    before = kept()
    other, wrong = Picture("walk.png", 255 - SHEET, "", ""), Picture("more.png", SHEET[None], "", "")
    with pytest.raises(Exception, match=r"."):
        write_exploration(folder, "walk", {}, [other, wrong])
    assert kept() == before
    with pytest.raises(ValueError, match="JSON"):
        write_exploration(folder, "walk", {"ratio": float("inf")}, [other])
    assert kept() == before
    assert write_exploration(folder, "walk", {}, [other])[0].read_bytes() != before["walk.png"]


def test_what_was_named_before_goes_and_nothing_else(tmp_path):
    folder = tmp_path / "walk"
    for name in ("walk.gif", "walk.mp4"):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"moves")
    (folder / "boxes.json").write_text("mine")
    (tmp_path / "near.png").write_text("mine, too")
    more = Picture("more.png", SHEET, "", "")
    write_exploration(folder, "walk", {"videos": ["walk.gif", "walk.mp4"]}, [PICTURE, more])
    content = json.loads((folder / "walk.json").read_text())
    content["videos"] += ["../near.png", "boxes.json"]
    (folder / "walk.json").write_text(json.dumps(content))
    write_exploration(folder, "walk", {"videos": ["walk.gif"]}, [PICTURE])
    assert sorted(path.name for path in folder.iterdir()) == ["boxes.json", "walk.gif", "walk.json", "walk.png"]
    assert (tmp_path / "near.png").exists()
    for damage in ("{", "[]", '{"pictures": 3}', '{"pictures": [{"file": 3}]}', '{"pictures": [], "videos": null}'):
        (folder / "walk.json").write_text(damage)
        write_exploration(folder, "walk", {}, [PICTURE])


def test_the_report_of_a_run_shows_what_lies_in_it(tmp_path):
    run = tmp_path / "run"
    DCGAN(width=8, n_components=4, max_iter=1, random_state=0).fit(load_images("digits", limit=40), run=run)
    page = tmp_path / "page.html"
    assert main(["report", str(run), "--out", str(page), "--quiet"]) == 0
    before = page.read_text()
    for verb in EXPLORATIONS:
        assert f'<section id="{verb}">' not in before
        write(run, verb)
    assert main(["report", str(run), "--out", str(page), "--quiet"]) == 0
    after = page.read_text()
    assert all(f'<section id="{verb}">' in after and f'href="#{verb}"' in after for verb in EXPLORATIONS)
    (run / "saliency/walk.png").unlink()
    assert main(["report", str(run), "--out", str(page), "--quiet"]) == 2
    assert page.read_text() == after
