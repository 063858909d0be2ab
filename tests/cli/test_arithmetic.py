"""``ganfeat arithmetic``, called as a person calls it, on a tiny network of digits."""

import json
import shlex

import numpy as np
import pytest

from ganfeat import DCGAN, load, load_images
from ganfeat.cli import main
from ganfeat.cli.points import Generator
from ganfeat.latent import read_reference, vector_reference
from ganfeat.pictures import read_png

DIGITS = load_images("digits", limit=80)
FAR = vector_reference(np.full(6, 800))
A, B, C = (["s0.1", "s0.2", "s1.3"], ["s0.4", "s0.5", "s0.6"], ["s0.7", "s0.8", "s2.255"])


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    DCGAN(width=4, n_components=6, max_iter=1, batch_size=40, random_state=0).fit(DIGITS, run=path)
    return path


def call(*arguments):
    return main(["arithmetic", *map(str, arguments)])


def point(gan, reference):
    return read_reference(reference, 6, lambda seed: gan.latents(256, seed))


def test_without_points_there_are_samples_to_choose_from_and_the_next_command_works(run, capsys):
    assert call(run, "--seed", "5") == 0
    printed = capsys.readouterr().out
    assert [p.name for p in (run / "arithmetic").iterdir()] == ["samples.png"]
    sheet = read_png(run / "arithmetic" / "samples.png")
    gan = load(run)
    first = gan.picture(gan.latents(256, 5)[:1]).repeat(12, axis=1).repeat(12, axis=2)[0]
    found = [
        (y, x)
        for y in range(20, 40)
        for x in range(8, 14)
        if np.array_equal(sheet[y : y + 96, x : x + 96], first.repeat(3, axis=2))
    ]
    assert len(found) == 1
    following = shlex.split(next(line for line in printed.splitlines() if line.startswith("Next: ")))[2:]
    assert following[:4] == ["arithmetic", str(run), "--a", "s5.0"] and main([*following, "-q"]) == 0
    names = sorted(p.name for p in (run / "arithmetic").iterdir())
    assert names == ["arithmetic.json", "arithmetic.png", "samples.png"]


def test_the_sum_is_that_of_the_means(run, tmp_path, capsys):
    gan = load(run)
    assert call(run, "--a", *A, "--b", *B, "--c", *C, "-o", tmp_path, "--json", "-q", "--scale", "0.1") == 0
    result = json.loads(capsys.readouterr().out)
    means = [np.mean([point(gan, reference) for reference in group], axis=0) for group in (A, B, C)]
    total = point(gan, result["sum"]["result"])
    assert np.allclose(total, means[0] - means[1] + means[2], atol=1e-5)
    around = np.stack([point(gan, reference) for reference in result["sum"]["neighbours"]])
    assert around.shape == (8, 6) and 0 < np.abs(around - total).max() <= 0.1 + 1e-6
    assert result["sum"]["a"] == A and result["sum"]["length"] == pytest.approx(np.linalg.norm(total), rel=1e-5)
    assert json.loads((tmp_path / "arithmetic.json").read_text()).items() >= result.items() and "turn" not in result
    assert call(run, "--a", *A, "--b", *A, "--c", C[0], "-o", tmp_path, "--json", "-q") == 0
    again = json.loads(capsys.readouterr().out)["sum"]["result"]
    assert np.allclose(point(gan, again), point(gan, C[0]), atol=1e-6)


def test_vectors_are_points_and_few_points_are_warned_of(run, tmp_path, capsys):
    z = load(run).latents(256, 3)[7]
    assert call(run, "--a", vector_reference(z), "s3.7", "-o", tmp_path) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "--a: fewer than three points" in printed
    assert call(run, "--a", "s0.1", "s0.1", "s0.1", "--b", *B, "-o", tmp_path / "same") == 0
    assert "--a: fewer than three points" in " ".join(capsys.readouterr().out.split())
    result = json.loads((tmp_path / "arithmetic.json").read_text())
    assert np.allclose(read_reference(result["sum"]["result"], 6, None), z)
    assert result["sum"]["b"] == [] and "A on the means" in result["pictures"][0]["caption"]


def test_a_direction_beside_a_random_one(run, tmp_path, capsys):
    gan = load(run)
    options = ["-o", tmp_path, "--json", "-q", "--reach", "2"]
    assert call(run, "--from", *A, "--to", *B, "--apply", "s9.0", *options) == 0
    result = json.loads(capsys.readouterr().out)
    turn = result["turn"]
    vector = point(gan, turn["direction"])
    means = [np.mean([point(gan, reference) for reference in group], axis=0) for group in (A, B)]
    assert np.allclose(vector, means[1] - means[0], atol=1e-6) and 0 <= turn["separation"] <= 1 > turn["chance"] - 1
    moved = np.stack([point(gan, reference) for reference in turn["moved"][0]])
    assert len(turn["moved"]) == 1 and np.array_equal(moved[4], point(gan, "s9.0"))
    assert np.allclose(moved[-1] - moved[0], 4 * vector, atol=1e-5) and turn["steps"][0] == -2
    assert [p["file"] for p in json.loads((tmp_path / "arithmetic.json").read_text())["pictures"]] == ["turn.png"]
    assert call(run, "--from", "s0.0", "--to", *B, "--a", *A, *options) == 0
    both = json.loads(capsys.readouterr().out)
    assert both["turn"]["separation"] is None and both["turn"]["apply"] == [] and "sum" in both
    assert len(both["turn"]["moved"]) == 1


WRONG = {
    "no run": (["{tmp}/no"], "is not a run folder"),
    "no such sample": (["{run}", "--a", "s0.1", "--b", "s0.999"], "--b 's0.999'"),
    "no reference": (["{run}", "--a", "7"], "sSEED.INDEX"),
    "b without a": (["{run}", "--b", "s0.1"], "needs at least --a"),
    "from without to": (["{run}", "--from", "s0.1"], "give both"),
    "apply alone": (["{run}", "--apply", "s0.1"], "--from and --to"),
    "noise": (["{run}", "--a", "s0.1", "--scale", "-1"], "--scale"),
    "endless noise": (["{run}", "--a", "s0.1", "--scale", "inf"], "--scale"),
    "no noise": (["{run}", "--a", "s0.1", "--scale", "nan"], "--scale"),
    "huge noise": (["{run}", "--a", "s0.1", "--scale", "1e300"], "--scale 1e+300 must be"),
    "much noise": (["{run}", "--a", FAR, "--scale", "300"], "with --scale 300,"),
    "far sum": (["{run}", "--a", FAR, "--c", FAR], "the sum of --a, --b and --c"),
    "huge reach": (["{run}", "--from", "s0.1", "--to", "s0.2", "--reach", "1e300"], "--reach 1e+300 must be"),
    "reach": (["{run}", "--from", "s0.1", "--to", FAR, "--reach", "2"], "with --reach 2,"),
    "both, and reach": (["{run}", "--a", "s0.1", "--from", "s0.1", "--to", FAR, "--reach", "3"], "with --reach 3,"),
    "twice in a group": (["{run}", "--from", "s0.1", "s0.2", "s0.1", "--to", "s0.3"], "--from s0.1 is already in --f"),
    "by two names": (["{run}", "--from", "s0.3", "--to", "s0.1", "s0.01"], "--to s0.01 is already in --to (as s0.1)"),
    "in both groups": (["{run}", "--from", "s0.1", "s0.2", "--to", "s0.3", "s0.2"], "--to s0.2 is already in --from"),
    "a seed whose samples have no names": (["{run}", "--seed", "4294967296"], "--seed"),
    "an endless seed": (["{run}", "--seed", "9" * 20], "--seed"),
    "given": (["{run}", "--given", "1"], "--given"),
    "out is a file": (["{run}", "--out", "{tmp}/file"], "is a file"),
    "negative seed": (["{run}", "--seed", "-1"], "--seed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call_is_one_clear_line_before_anything_is_drawn(case, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Generator, "draw", None)
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    arguments, message = WRONG[case]
    assert call(*(a.format(tmp=tmp_path, run=run) for a in arguments), "--quiet") == 2
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert lines[0].startswith("ganfeat: ") and message in lines[0] and len(lines) == 1
    assert printed.out == "" and sorted(tmp_path.rglob("*")) == before
