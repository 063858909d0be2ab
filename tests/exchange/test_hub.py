"""Models to the Hub and back, against a stub of it on loopback."""

import json
from importlib import import_module

import numpy as np
import pytest

from ganfeat import DCGAN, InputError, RunError, load
from ganfeat.cli import main
from ganfeat.errors import MissingExtraError
from ganfeat.estimators.hub import FILES, fetch, given_name, publish, split_name
from ganfeat.exchange import push_folder

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's, of httpx

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def gan():
    return DCGAN(width=4, n_components=5, max_iter=1, batch_size=12, random_state=0, device="cpu").fit(IMAGES)


@pytest.fixture
def run(gan, tmp_path):
    gan.save(tmp_path / "run")
    return tmp_path / "run"


def test_there_and_back(gan, hub, token):
    address = gan.push_to_hub("me/photos", private=True)
    (sha, files), repository = hub.repositories["me/photos"].commits[-1], hub.repositories["me/photos"]
    assert address == f"{hub.address}/me/photos/commit/{sha}" and repository.private
    assert {"config.json", "model.safetensors", "untrained.safetensors", "README.md"} <= set(files)
    assert any(r.startswith("PUT /lfs/") for r in hub.requests), "weights go as large files"
    again = load("hf-hub:me/photos", device="cpu")
    np.testing.assert_array_equal(again.transform(IMAGES), gan.transform(IMAGES))
    np.testing.assert_array_equal(again.sample(3, random_state=1), gan.sample(3, random_state=1))
    np.testing.assert_array_equal(again.random_init().transform(IMAGES), gan.random_init().transform(IMAGES))
    assert 'load("hf-hub:me/photos")' in files["README.md"].decode()


def test_only_what_makes_a_model_is_fetched(gan, hub, token):
    gan.push_to_hub("me/photos")
    _, files = hub.repositories["me/photos"].commits[-1]
    files |= {"model.pkl": b"cos\nsystem\n", "evil.py": b"", "pytorch_model.bin": b"x", "checkpoints/state.json": b"{}"}
    folder = fetch("hf-hub:me/photos")
    assert {p.name for p in folder.rglob("*")} <= set(FILES)
    assert not any(name in r for r in hub.requests for name in ("model.pkl", "evil.py", "pytorch_model.bin"))


def test_a_revision_stays_what_it_was(gan, hub, token):
    gan.push_to_hub("me/photos")
    repository = hub.repositories["me/photos"]
    first = repository.commits[-1][0]
    repository.tags["v1"] = first
    other = DCGAN(width=3, n_components=5, max_iter=1, batch_size=12, random_state=1, device="cpu").fit(IMAGES)
    other.push_to_hub("me/photos")
    for revision, wanted in ((f"@{first}", gan), ("@v1", gan), ("", other)):
        found = load(f"hf-hub:me/photos{revision}", device="cpu")
        np.testing.assert_array_equal(found.transform(IMAGES), wanted.transform(IMAGES))


def test_the_copy_is_used_where_the_hub_is_away(gan, hub, token, monkeypatch):
    gan.push_to_hub("me/photos")
    before = fetch("hf-hub:me/photos")
    hub.broken = True
    assert fetch("hf-hub:me/photos") == before
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    getattr(import_module("huggingface_hub.utils"), "reset_sessions", lambda: None)()  # older versions ask only once
    asked = len(hub.requests)
    assert fetch("hf-hub:me/photos") == before and len(hub.requests) == asked
    with pytest.raises(RunError, match="no copy of hf-hub:me/other is in the cache"):
        fetch("hf-hub:me/other")


@pytest.mark.parametrize(
    "name",
    ["photos", "me/photos@", "me/a/b", "../secret", "me/ph otos", "me/photos@../../x", "me/photos@/x", "me/photos@a b"],
)
def test_wrong_names_ask_nobody(name, hub):
    with pytest.raises(InputError, match="owner/name"):
        load(f"hf-hub:{name}")
    assert hub.requests == []


def test_nothing_of_an_earlier_model_stays_beside_a_new_one(gan, hub, token, tmp_path):
    gan.save(tmp_path / "run")
    (tmp_path / "run" / "untrained.safetensors").unlink()
    gan.push_to_hub("me/photos")
    old = ("results/probe.json", "samples/step-00000009.png", "features.onnx", "notes.md", "my/own.txt")
    hub.repositories["me/photos"].commits[-1][1].update(dict.fromkeys(old, b"of the earlier one"))
    push_folder(tmp_path / "run", "me/photos")
    files = hub.repositories["me/photos"].commits[-1][1]
    assert sorted(files) == ["README.md", "config.json", "history.jsonl", "model.safetensors", "my/own.txt", "notes.md"]
    with pytest.raises(InputError, match="say which images"):
        load("hf-hub:me/photos", device="cpu").random_init()


def test_private_is_not_published_in_the_open(gan, hub, token):
    gan.push_to_hub("me/photos")
    before = len(hub.requests)
    with pytest.raises(InputError, match=r"me/photos exists and is public.*Nothing was uploaded"):
        gan.push_to_hub("me/photos", private=True)
    assert not any("commit" in r for r in hub.requests[before:])
    hub.repositories["me/photos"].private = True
    gan.push_to_hub("me/photos", private=True)


def test_a_download_that_broke_off(gan, hub, token):
    gan.push_to_hub("me/photos")
    del hub.repositories["me/photos"].commits[-1][1]["model.safetensors"]
    with pytest.raises(InputError, match=r"without model\.safetensors.*broke off"):
        load("hf-hub:me/photos")


def test_what_is_not_there_is_said(gan, hub, monkeypatch):
    with pytest.raises(InputError, match=r"401.*private.*hf auth login"):
        load("hf-hub:me/nothing")
    monkeypatch.setenv("HF_TOKEN", "hf_stub_that_may_write")
    with pytest.raises(InputError, match="there is no hf-hub:me/nothing"):
        load("hf-hub:me/nothing")
    gan.push_to_hub("me/photos", private=True)
    with pytest.raises(InputError, match="no revision 'v9'"):
        load("hf-hub:me/photos@v9")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="401"):
        load("hf-hub:me/photos@main")
    assert load("hf-hub:me/photos", token="hf_stub_that_may_write", device="cpu").n_components == 5
    with pytest.raises(InputError, match=r"may not be written to.*HF_TOKEN"):
        gan.push_to_hub("me/other")
    assert "me/other" not in hub.repositories


def test_a_repository_of_something_else(hub, token, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "README.md").write_text("hello")
    publish(tmp_path / "other", "me/text")
    with pytest.raises(InputError, match=r"me/text has no config\.json"):
        load("hf-hub:me/text")
    (tmp_path / "other" / "config.json").write_text('{"model_type": "bert"}')
    publish(tmp_path / "other", "me/text")
    with pytest.raises(InputError, match="reads format 1"):
        load("hf-hub:me/text")


def test_a_hub_that_cannot_be_reached(gan, hub, token, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RunError, match="cannot be reached"):
        load("hf-hub:me/photos")
    with pytest.raises(RunError, match="cannot be reached"):
        gan.push_to_hub("me/photos")


def test_an_upload_that_is_refused(gan, hub, token):
    hub.full = True
    with pytest.raises(RunError, match=r"403.*did not end"):
        gan.push_to_hub("me/photos")
    assert len(hub.repositories["me/photos"].commits) == 1


def test_a_hub_that_is_broken(gan, hub, token):
    hub.broken = True
    with pytest.raises(RunError, match="503"):
        load("hf-hub:me/photos")


def test_without_the_library(gan, monkeypatch):
    monkeypatch.setattr("ganfeat.estimators.hub.find_spec", lambda name: None)
    for call in (lambda: load("hf-hub:me/photos"), lambda: gan.push_to_hub("me/photos")):
        with pytest.raises(MissingExtraError, match=r"ganfeat\[hub\]"):
            call()


def test_push_folder_takes_results_along(run, hub, token, tmp_path):
    result = {"accuracy": {"ganfeat": {"10": {"mean": 0.5, "ci95": 0.1, "std": 0.1, "draws": 3}}}}
    result |= {"labels_per_class": [10], "protocol": {"interval": "95 % of the mean", "run": str(run)}}
    push_folder(run, "me/photos", results={"probe.json": result})
    files = hub.repositories["me/photos"].commits[-1][1]
    assert "50.0 ± 10.0" in files["README.md"].decode()
    assert json.loads(files["results/probe.json"])["protocol"]["run"] == "run"
    assert not any(str(tmp_path).encode() in content for content in files.values())


def test_split_name():
    assert split_name("hf-hub:me/photos@refs/pr/1") == ("me/photos", "refs/pr/1")
    assert split_name("me/photos") == ("me/photos", None)


def test_a_fetched_model_is_called_by_its_name(gan, hub, token, tmp_path):
    gan.push_to_hub("me/my-photos.v2")
    sha = hub.repositories["me/my-photos.v2"].commits[-1][0]
    assert given_name(fetch("hf-hub:me/my-photos.v2")) == f"hf-hub:me/my-photos.v2@{sha}"
    for other in (tmp_path, "runs/photos", "models--me--x", "hub/models--me--x/snapshots/main"):
        assert given_name(other) == str(other)


def test_verbs_take_names_of_the_hub(run, hub, token, tmp_path, capsys):
    assert main(["export", str(run), "--hub", "me/photos", "--private", "--json", "-q"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["hub"] == "hf-hub:me/photos" and made["commit"].startswith(hub.address) and made["results"] == []
    assert main(["info", "hf-hub:me/photos", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["config"]["estimator"]["width"] == 4
    np.save(tmp_path / "photos.npy", IMAGES)
    for place, out in ((run, "ours.npy"), ("hf-hub:me/photos", "theirs.npy")):
        assert main(["extract", str(place), str(tmp_path / "photos.npy"), "--out", str(tmp_path / out), "-q"]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "ours.npy"), np.load(tmp_path / "theirs.npy"))
    sha = hub.repositories["me/photos"].commits[-1][0]
    assert json.loads((tmp_path / "theirs.json").read_text())["run"] == f"hf-hub:me/photos@{sha}"
    assert json.loads((tmp_path / "ours.json").read_text())["run"] == str(run)
    capsys.readouterr()
    assert main(["export", "hf-hub:me/photos", "--out", str(tmp_path / "again")]) == 0
    assert f"Next: ganfeat export hf-hub:me/photos@{sha} --hub OWNER/NAME" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        (["info", "hf-hub:me/nothing"], 2, "hf-hub:me/nothing"),
        (["report", "hf-hub:me/photos"], 2, "add --out FOLDER"),
        (["train", "photos", "--out", "hf-hub:me/photos"], 2, "ganfeat export RUN --hub owner/name"),
        (["train", "photos", "--out=hf-hub:me/photos"], 2, "ganfeat export RUN --hub owner/name"),
        (["export", "RUN", "--hub", "photos"], 2, "owner/name"),
        (["export", "RUN", "--hub", "me/photos"], 2, "may not be written to"),
    ],
)
def test_wrong_calls(call, status, words, run, hub, capsys):
    assert main([str(run) if a == "RUN" else a for a in call]) == status
    said = capsys.readouterr().err
    assert words in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (NotADirectoryError(20, "Not a directory", "/x/hub"), 2, "Not a directory: /x/hub"),
        (NotADirectoryError("a file is in the way"), 2, "a file is in the way\n"),
    ],
)
def test_a_fetch_that_stops_is_said_in_words(error, status, words, monkeypatch, capsys):
    def stopped(name):
        raise error

    monkeypatch.setattr("ganfeat.estimators.hub.fetch", stopped)
    assert main(["info", "hf-hub:me/photos"]) == status
    assert words in capsys.readouterr().err
