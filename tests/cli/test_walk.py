"""``ganfeat walk``, called as a person calls it, on tiny networks and digits."""

import importlib.util
import json
import sys
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ganfeat import DCGAN, AutoEncoder, load, load_images
from ganfeat.cli import main
from ganfeat.cli.moving import write_gif
from ganfeat.estimators import METHODS
from ganfeat.features import FeatureExtractor
from ganfeat.latent import read_reference, walk
from ganfeat.pictures import captioned, read_png, tile

DIGITS = load_images("digits", limit=120)
SMALL = {"n_components": 6, "max_iter": 1, "batch_size": 40, "random_state": 0}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run[b]"  # no markup
    DCGAN(width=4, **SMALL).fit(DIGITS, run=path)
    return path


@pytest.fixture(scope="module")
def encoding(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "auto"
    AutoEncoder(architecture="mlp", width=16, **SMALL).fit(DIGITS, run=path)
    return path


def call(*arguments):
    return main(["walk", *map(str, arguments)])


def picture(folder, image, name="a.png"):
    Image.fromarray(image[..., 0]).save(folder / name)
    return folder / name


def test_nine_random_points_by_default(run, capsys):
    assert call(run, "--video", "gif") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert sorted(p.name for p in (run / "walk").iterdir()) == ["walk.gif", "walk.json", "walk.png"]
    result = json.loads((run / "walk" / "walk.json").read_text(encoding="utf-8"))
    assert [p["reference"] for p in result["points"]] == [f"s0.{i}" for i in range(9)]
    assert result["kind"] == "linear" and len(result["steps"]["pixels"]["lengths"]) == 80
    assert result["data"] is None and result["memorisation"] == {"pixels": None, "features": None}
    gan = load(run)
    images = gan.picture(walk(gan.latents(256, 0)[:9], 10))
    rows = np.concatenate([images[k * 10 : k * 10 + 11] for k in range(8)])
    words = "Every row leads from a point to the next, which begins the row below."
    assert np.array_equal(read_png(run / "walk" / "walk.png"), captioned([(words, tile(rows, 11))], 8))
    with Image.open(run / "walk" / "walk.gif") as gif:
        assert gif.size == (256, 256) and gif.info["loop"] == 0 and 2 <= gif.n_frames <= 160  # the same ones are joined
    assert "sharp jumps" in printed and "--data" in printed and printed.endswith(f"arithmetic '{run}'")


def test_named_points_a_closed_way_and_json(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ganfeat", "walk", "RUN"])
    options = ["--frames", "4", "--kind", "spherical", "--closed", "--video", "none", "--json", "-q", "--seed", "3"]
    assert call(run, "--points", "s1.3", "s0.255", *options, "-o", tmp_path / "x" / "y") == 0
    result = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "x" / "y" / "walk.json").read_text(encoding="utf-8"))
    assert written.items() >= result.items() and written["pictures"][0]["file"] == "walk.png"
    assert result["videos"] == [] and result["closed"] and len(result["steps"]["features"]["lengths"]) == 8
    assert [p.name for p in (tmp_path / "x" / "y").iterdir() if p.suffix != ".json"] == ["walk.png"]


def test_training_images_tell_copies_and_where_they_came_from(run, tmp_path, capsys):
    np.savez(tmp_path / "others.npz", images=load_images("digits").images[1::7])
    options = ["--video", "none", "--json", "-q", "--number", "3", "-o", tmp_path / "o"]
    np.save(tmp_path / "own.npy", DIGITS.images)
    assert call(run, *options, "--data", tmp_path / "own.npy", "--test", tmp_path / "others.npz") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["data"] == {"source": str(tmp_path / "own.npy"), "images": 120, "limit": None, "learned from": True}
    near = result["memorisation"]["pixels"]
    assert 0 <= near["score"] <= 1 and near["score"] == pytest.approx(np.mean(near["closeness"]))
    assert len(near["images"]) == 21 and 0 < near["chance"] < 1 and near["duplicates"] == 0
    assert result["memorisation"]["features"]["nearer to data than to test"] is not None
    rows = {row[0].split(" (")[0] for row in json.loads((tmp_path / "o" / "walk.json").read_text())["table"]}
    assert {"memorisation score", "nearer to --data than to --test"} <= rows
    assert call(run, "--video", "none", "--number", "2", "-o", tmp_path / "o", "--data", tmp_path / "others.npz") == 0
    assert "has not learned from" in " ".join(capsys.readouterr().out.split())
    assert call(run, *options, "--data", tmp_path / "own.npy", "--limit", "50") == 0
    assert json.loads(capsys.readouterr().out)["data"]["learned from"] is None


def test_images_by_the_encoder_and_by_search(encoding, run, tmp_path, capsys):
    gan, image = load(encoding), DIGITS.images[:2]
    files = [picture(tmp_path, x, f"{i}.png") for i, x in enumerate(image)]
    options = ["--frames", "2", "--video", "none", "--json", "-q", "-o", tmp_path / "o"]
    assert call(encoding, "--images", *files, *options) == 0
    first = json.loads(capsys.readouterr().out)["points"]
    found = np.stack([read_reference(p["reference"], 6, None) for p in first])
    assert np.array_equal(found, gan.encode(image)) and {p["by"] for p in first} == {"encoder"}
    off = np.sqrt(((gan.reconstruct(image).astype(float) - image) ** 2).mean(axis=(1, 2, 3))) / 255
    assert np.allclose([p["error"] for p in first], off)
    assert call(encoding, "--images", *files, "--search", *options) == 0
    better = json.loads(capsys.readouterr().out)["points"]
    assert all(b["error"] < f["error"] and b["by"] == "search" for f, b in zip(first, better, strict=True))
    assert call(run, "--images", files[0], "--points", "s0.0", *options) == 0
    mixed = json.loads(capsys.readouterr().out)["points"]
    assert mixed[0] == {"reference": "s0.0"} and mixed[1]["by"] == "search" and mixed[1]["file"] == str(files[0])
    assert mixed[1]["error"] < mixed[1]["random"] < mixed[1]["unrelated"]


def test_a_generator_among_several(tmp_path, capsys):
    path = tmp_path / "mgan"
    images = load_images("digits", size=16, limit=60)
    METHODS["mgan"](width=4, n_features=8, n_generators=3, **SMALL).fit(images, run=path)
    options = ["--number", "2", "--frames", "2", "--video", "none", "--json", "-q"]
    found = []
    for given in (["--given", "2"], [], ["--given", "0"]):
        assert call(path, *options, *given) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["given"] == {"generator": 2} and found[0]["kind"] == "spherical"  # its prior is normal
    assert found[1]["steps"] == found[2]["steps"] != found[0]["steps"] and found[1]["given"] == {"generator": 0}
    assert call(path, *options, "--given", "3") == 2
    assert "choose one of 0, 1, 2" in capsys.readouterr().err


def test_without_pyav_there_is_no_mp4_and_only_who_asks_for_it_hears_of_it(run, tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "av" else find(name, *a))
    assert call(run, "--number", "2", "--frames", "2", "-o", tmp_path / "o", "--json", "-q") == 0
    assert json.loads(capsys.readouterr().out)["videos"] == ["walk.gif"]
    for video in ("mp4", "both"):
        assert call(run, "--video", video, "-o", tmp_path / "p", "-q") == 2
        assert "ganfeat[video]" in capsys.readouterr().err and not (tmp_path / "p").exists()


def test_with_pyav_the_film_has_every_frame(run, tmp_path, capsys):
    av = pytest.importorskip("av")
    points = ["--points", "s0.0", "s0.1", "s0.2", "--frames", "3"]
    assert call(run, *points, "-o", tmp_path, "-q", "--fps", "10") == 0
    assert call(run, *points, "-o", tmp_path / "round", "-q", "--closed", "--video", "mp4") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["round", "walk.gif", "walk.json", "walk.mp4", "walk.png"]
    gan = load(run)
    expected = gan.picture(walk(gan.latents(256, 0)[:3], 3))
    for path, n in ((tmp_path, 12), (tmp_path / "round", 9)):  # there and back: 7 and 5; once round: 9
        with av.open(str(path / "walk.mp4")) as film:
            frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
            assert len(frames) == n and frames[0].shape == (256, 256, 3)
            assert film.streams.video[0].average_rate == (10 if n == 12 else 20)
        assert np.abs(frames[3][16::32, 16::32, 0].astype(int) - expected[3, ..., 0]).mean() < 12


def test_moving_pictures_are_enlarged_one_at_a_time(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), dtype=np.uint8)
    tracemalloc.start()
    write_gif(tmp_path / "a.gif", frames, 20)
    assert tracemalloc.get_traced_memory()[1] < 100 * 256 * 256 / 2
    tracemalloc.stop()
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 100
        for i in (0, 50, 99):
            gif.seek(i)
            assert np.array_equal(np.asarray(gif.convert("L"))[16::32, 16::32], frames[i, ..., 0])


def test_features_that_are_too_many_for_the_memory_go_to_files(run, tmp_path, capsys, monkeypatch):
    np.save(tmp_path / "own.npy", DIGITS.images)
    np.savez(tmp_path / "others.npz", images=load_images("digits").images[1::7])
    data = ["--data", tmp_path / "own.npy", "--test", tmp_path / "others.npz"]
    options = ["--number", "3", "--video", "none", "--json", "-q", "-o", tmp_path / "o", *data]
    assert call(run, *options) == 0
    expected = json.loads(capsys.readouterr().out)
    written, transform_to = [], FeatureExtractor.transform_to

    def spied(extractor, path, *arguments):
        written.append(path)
        return transform_to(extractor, path, *arguments)

    monkeypatch.setattr(FeatureExtractor, "transform_to", spied)
    monkeypatch.setattr("ganfeat.features.MEMORY", 0)
    assert call(run, *options) == 0
    assert json.loads(capsys.readouterr().out) == expected
    assert len(written) == 3 and not any(path.exists() for path in written)
    monkeypatch.setattr("ganfeat.features.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    assert call(run, *options) == 2
    assert "use --limit" in capsys.readouterr().err


def test_every_method_says_the_prior_of_its_z():
    """Else a verb would have to guess it, and walk off the prior's way."""
    assert {method().get_params()["prior"] for method in METHODS.values()} == {"uniform", "normal"}


WRONG = {
    "no run": (["{tmp}/no"], "is not a run folder"),
    "no such sample": (["{run}", "--points", "s0.1", "s0.256"], "--points 's0.256'"),
    "no reference": (["{run}", "--points", "s0.1", "seven"], "sSEED.INDEX"),
    "another network's z": (["{run}", "--points", "s0.1", "vAAAA"], "no point of this network"),
    "one point": (["{run}", "--points", "s0.1"], "2 to 100 points"),
    "one random point": (["{run}", "--number", "1"], "--number"),
    "too many": (["{run}", "--number", "101"], "2 to 100 points"),
    "no frames": (["{run}", "--frames", "0"], "--frames"),
    "half a frame": (["{run}", "--frames", "1.5"], "whole number"),
    "kind": (["{run}", "--kind", "straight"], "linear"),
    "fps": (["{run}", "--fps", "0"], "--fps"),
    "limit of nothing": (["{run}", "--limit", "10"], "--data"),
    "test without data": (["{run}", "--test", "digits"], "--test is for --data"),
    "too small a limit": (["{run}", "--data", "digits", "--limit", "2"], "--limit"),
    "a run as data": (["{run}", "--data", "{run}"], "is a run folder"),
    "no data": (["{run}", "--data", "{tmp}/no"], "there is no"),
    "no image": (["{run}", "--images", "{tmp}/no.png", "{tmp}/file"], "no.png"),
    "not an image": (["{run}", "--images", "{tmp}/file", "{tmp}/file"], "not a JPEG"),
    "given to who takes nothing": (["{run}", "--given", "1"], "--given"),
    "network": (["{run}", "--network", "encoder"], "discriminator"),
    "device": (["{run}", "--device", "tpu"], "device"),
    "out is a file": (["{run}", "--out", "{tmp}/file"], "is a file"),
    "negative seed": (["{run}", "--seed", "-1"], "--seed"),
    "a seed whose samples have no names": (["{run}", "--points", "s0.1", "s0.2", "--seed", "4294967296"], "--seed"),
    "an endless seed": (["{run}", "--images", "{tmp}/a.png", "{tmp}/b.png", "--seed", "9" * 20], "at most 4,294,967"),
    "too many frames": (["{run}", "--number", "2", "--frames", "1000000"], "--frames"),
    "too many frames over all": (["{run}", "--number", "9", "--frames", "257"], "give --frames 256"),
    "too many frames and back": (["{run}", "--number", "8", "--frames", "257", "--closed"], "give --frames 256"),
    "too fast": (["{run}", "--fps", "1000000000000"], "--fps"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_one_clear_line(case, run, tmp_path, capsys):
    (tmp_path / "file").write_text("no image at all")
    before = sorted(tmp_path.rglob("*"))
    arguments, message = WRONG[case]
    assert call(*(a.format(tmp=tmp_path, run=run) for a in arguments), "--quiet") == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert lines[0].startswith("ganfeat: ") and message in " ".join(lines)
    assert printed.out == "" and sorted(tmp_path.rglob("*")) == before and len(lines) <= 2
