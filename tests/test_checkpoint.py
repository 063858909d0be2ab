"""The run folder: whole files only, whatever happens, and nobody else's files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ganfeat
from ganfeat.checkpoint import KEPT_CHECKPOINTS, RunFolder, read_tensors, write_array, write_atomically
from ganfeat.errors import InputError, RunError

CONFIG = {
    "ganfeat": "0.1.0",
    "torch": "2.13.0",
    "estimator": {"width": 64, "max_iter": 5, "learning_rate": 2e-4, "verbose": 0, "random_state": None},
    "image_shape": [8, 8, 1],
    "seed": 3,
    "data": {"source": "photos", "n": 9, "fingerprint": "abc"},
}


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"w": torch.full((3, 2), value), "n": torch.tensor(7), "generator": torch.Generator().get_state()}


@pytest.fixture
def folder(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.open(CONFIG)
    return run


def changed(**settings):
    config = json.loads(json.dumps(CONFIG))
    for key, value in settings.items():
        place = config
        *path, last = key.split("__")
        for name in path:
            place = place[name]
        place[last] = value
    return config


def files(path: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(path)): p.read_bytes() if p.is_file() else None for p in sorted(path.rglob("*"))}


# ---------------------------------------------------------------------- single files


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "no bytes")  # type: ignore[arg-type]
    assert files(tmp_path) == {"a": b"old"}


def test_an_array_of_objects_is_refused_and_the_old_one_stays(tmp_path):
    """It could only be pickled."""
    import numpy as np

    path = tmp_path / "a.npy"
    write_array(path, np.arange(3))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="allow_pickle=False"):
        write_array(path, np.array([{}, []], dtype=object))
    assert files(tmp_path) == {"a.npy": before}


def test_weights_come_back_bit_for_bit_whatever_their_layout(folder):
    x_NCHW = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    given = {
        "plain": x_NCHW,
        "channels last": x_NCHW.to(memory_format=torch.channels_last),
        "transposed": x_NCHW.transpose(0, 3),
        "special": torch.tensor([float("nan"), float("inf"), -0.0]),
        "bf16": x_NCHW.bfloat16(),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(5),
    }
    folder.write_model(given)
    read = folder.read_model()
    assert read.keys() == given.keys()
    for name, value in given.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name].nan_to_num(9.0), value.nan_to_num(9.0))


@pytest.mark.parametrize("content", [b"", b"\x00" * 7, b"not a safetensors file at all", b"\xff" * 64])
def test_a_damaged_safetensors_file_is_a_clear_error(tmp_path, content):
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="damaged or no safetensors file"):
        read_tensors(tmp_path / "m.safetensors")


def test_an_absent_safetensors_file_is_a_clear_error(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_tensors(tmp_path / "m.safetensors")


def test_a_run_without_weights_says_why_and_what_to_do(folder):
    with pytest.raises(InputError, match=r"stopped before its first checkpoint\. Run the same train command again"):
        folder.read_model()


def test_nothing_is_ever_pickled():
    """The source names no function that pickles, except to forbid it."""
    forbidden = ("torch.save", "torch.load(", "import pickle", "pickle.", "joblib", "allow_pickle=True", "cloudpickle")
    source = Path(ganfeat.__file__).parent
    found = [
        f"{path.relative_to(source)}: {word}"
        for path in source.rglob("*.py")
        for word in forbidden
        if word in path.read_text(encoding="utf-8")
    ]
    assert found == []


# ---------------------------------------------------------------------- settings


def test_a_new_folder_is_started_and_the_same_settings_continue_it(tmp_path):
    run = RunFolder(tmp_path / "deep" / "run")
    assert not run.exists
    assert run.open(CONFIG) is False
    assert run.exists
    assert run.config() == {**CONFIG, "format": 1}
    assert run.open(CONFIG) is True


def test_an_empty_folder_and_one_of_a_process_killed_at_once_are_new(tmp_path):
    run = RunFolder(tmp_path)
    for leftover in ("samples", "checkpoints"):
        (tmp_path / leftover).mkdir()
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.json.tmp-4711").write_text('{"for')
    with run.locked():
        assert run.open(CONFIG) is False
    assert not (tmp_path / ".config.json.tmp-4711").exists()


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({"estimator__width": 32}, ["estimator.width: 64 -> 32"]),
        ({"seed": 4, "image_shape": [16, 16, 1]}, ["image_shape: [8, 8, 1] -> [16, 16, 1]", "seed: 3 -> 4"]),
        ({"data__n": 10, "data__fingerprint": "def"}, ["data.fingerprint: 'abc' -> 'def'", "data.n: 9 -> 10"]),
    ],
)
def test_other_settings_are_refused_with_each_one_named_and_nothing_is_changed(folder, settings, lines):
    before = files(folder.path)
    with pytest.raises(InputError, match="holds a run with other settings") as caught:
        folder.open(changed(**settings))
    assert [line.strip() for line in str(caught.value).splitlines()[1:-1]] == lines
    assert files(folder.path) == before


@pytest.mark.parametrize(
    "settings",
    [
        {"estimator__max_iter": 50},
        {"estimator__verbose": 1},
        {"estimator__random_state": 3},
        {"data__source": "the same photos elsewhere"},
        {"torch": "2.14.0", "ganfeat": "0.2.0"},
    ],
)
def test_what_does_not_change_the_game_may_change_and_is_written_down(folder, settings):
    assert folder.open(changed(**settings)) is True
    assert folder.config() == {**changed(**settings), "format": 1}


def test_a_setting_whose_name_begins_like_a_free_one_is_not_free(folder):
    with pytest.raises(InputError, match=r"estimator\.max_iterations: None -> 3"):
        folder.open(changed(estimator__max_iterations=3))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 2}', '{"format": "1"}', "\x00"])
def test_a_damaged_or_later_config_is_refused(folder, content):
    (folder.path / "config.json").write_text(content)
    before = files(folder.path)
    for call in (folder.config, lambda: folder.open(CONFIG), lambda: folder.locked().__enter__()):
        with pytest.raises(InputError, match=r"config\.json (cannot be read|is of format .* reads format 1)"):
            call()
    assert files(folder.path) == before


def test_bytes_that_are_no_text_are_no_config(folder):
    (folder.path / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="cannot be read"):
        folder.config()


@pytest.mark.parametrize(("there", "why"), [(False, "does not exist"), (True, r"has no config\.json")])
def test_what_is_no_run_folder_is_named_with_the_command_that_makes_one(tmp_path, there, why):
    path = tmp_path / "run"
    if there:
        path.mkdir()
    with pytest.raises(InputError, match=rf"is not a run folder: it {why}. Train one with: ganfeat train"):
        RunFolder(path).config()


# ---------------------------------------------------------------------- other people's files


@pytest.mark.parametrize(
    "name", ["thesis.tex", "samples/mine.png", "checkpoints/step-00000001/mine.txt", "checkpoints", "model.safetensors"]
)
def test_a_folder_with_other_files_is_refused_and_left_untouched(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = files(tmp_path)
    run = RunFolder(tmp_path)
    with pytest.raises(InputError, match="is no run folder"):
        run.open(CONFIG)
    with pytest.raises(InputError, match="is no run folder"), run.locked():
        pytest.fail("was let in")
    assert files(tmp_path) == before


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("mine")
    run = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match="is no run folder"):
        run.open(CONFIG)
    with pytest.raises(InputError, match="is no run folder"), run.locked():
        pytest.fail("was let in")
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_a_second_process_is_refused_until_the_first_is_gone_however_it_went(folder):
    script = (
        "import sys; from ganfeat.checkpoint import RunFolder\n"
        "with RunFolder(sys.argv[1]).locked():\n print('in', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(InputError, match="another process is training into"), folder.locked():
            pytest.fail("was let in")
        other.kill()
        other.wait()
        with folder.locked():
            pass


# ---------------------------------------------------------------------- checkpoints


def test_there_is_no_checkpoint_at_first(folder):
    assert folder.read_checkpoint() is None
    assert RunFolder(folder.path / "nowhere").read_checkpoint() is None


def test_the_newest_is_read_and_only_the_newest_few_are_kept(folder):
    for step in (5, 40, 300, 2000):
        folder.write_checkpoint(tensors(step), {"step": step, "summed": 1})
    read, state, warnings = folder.read_checkpoint()
    assert (state["step"], state["summed"], warnings) == (2000, 1, [])
    assert all(torch.equal(value, read[name]) for name, value in tensors(2000).items())
    assert sorted(p.name for p in folder.checkpoints.iterdir()) == ["step-00000300", "step-00002000"]
    assert KEPT_CHECKPOINTS == 2


def test_a_checkpoint_of_the_same_step_replaces_the_one_before(folder):
    for value in (1.0, 2.0):
        folder.write_checkpoint(tensors(value), {"step": 9})
    assert folder.read_checkpoint()[0]["w"][0, 0] == 2.0
    assert [p.name for p in folder.checkpoints.iterdir()] == ["step-00000009"]


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "a flipped bit": lambda f: _flip(f / "state.safetensors"),
    "cut short": lambda f: (f / "state.safetensors").write_bytes((f / "state.safetensors").read_bytes()[:-9]),
    "empty tensors": lambda f: (f / "state.safetensors").write_bytes(b""),
    "no tensors": lambda f: (f / "state.safetensors").unlink(),
    "no state": lambda f: (f / "state.json").unlink(),
    "empty state": lambda f: (f / "state.json").write_text(""),
    "state is a list": lambda f: (f / "state.json").write_text("[]"),
    "state is no text": lambda f: (f / "state.json").write_bytes(b"\xff\xfe\xfd"),
    "no checksum": lambda f: (f / "state.json").write_text('{"step": 20}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(folder, damage):
    for step in (10, 20):
        folder.write_checkpoint(tensors(step), {"step": step})
    DAMAGES[damage](folder.checkpoints / "step-00000020")
    read, state, warnings = folder.read_checkpoint()
    assert state["step"] == 10
    assert torch.equal(read["w"], tensors(10)["w"])
    assert len(warnings) == 1
    assert "step-00000020 is damaged" in warnings[0]
    assert "going back to the one before it" in warnings[0]


@pytest.mark.parametrize("damage", DAMAGES)
def test_when_all_are_damaged_the_way_out_is_named(folder, damage):
    for step in (10, 20):
        folder.write_checkpoint(tensors(step), {"step": step})
        DAMAGES[damage](folder.checkpoints / f"step-{step:08d}")
    with pytest.raises(RunError, match=r"all checkpoints of .* are damaged.*Remove the folder .*checkpoints"):
        folder.read_checkpoint()


KILLER = '''
"""Kill a process at each of its file operations in turn; what it leaves must always be a whole checkpoint."""
import os, signal, sys
import torch
from ganfeat.checkpoint import RunFolder

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}
tensors = lambda v: {"w": torch.full((4,), float(v))}
root = sys.argv[1]
STEPS = [1, 1, 2, 3]  # 1 again: a finished run that is started again writes the same step

def scenario(run):
    run.open({"seed": 1})
    for step in STEPS:
        run.write_checkpoint(tensors(step), {"step": step})
        run.write_model(tensors(step))
        print(step, flush=True, file=done)

moment = survived = 0
while not survived:
    run = RunFolder(f"{root}/{moment}")
    done = open(f"{root}/{moment}.done", "w")
    child = os.fork()
    if child == 0:
        left = moment
        def hook(event, _):
            global left
            if event in EVENTS:
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
        sys.addaudithook(hook)
        scenario(run)
        os._exit(0)
    survived = os.waitpid(child, 0)[1] == 0
    completed = [int(line) for line in open(done.name)]
    last = completed[-1] if completed else 0
    with run.locked():
        run.open({"seed": 1})
    found = run.read_checkpoint()  # never an error
    step = found[1]["step"] if found else 0
    assert step in (last, last + 1), (moment, completed, step)
    if found:
        assert torch.equal(found[0]["w"], tensors(step)["w"]), moment
    if (run.path / "model.safetensors").exists():
        assert run.read_model()["w"][0] in (last, last + 1), moment
    assert not list(run.path.glob(".*.tmp-*")), moment
    moment += 1
assert completed == STEPS and step == 3
print(moment)
'''


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_killed_at_any_file_operation_a_whole_checkpoint_is_left(tmp_path):
    """An audit hook sends SIGKILL at the first, the second, ... file operation, until one run survives."""
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30  # so many moments were tried


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_good_one(folder):
    """After a resume from step 1, the damaged step 9 is gone once a whole checkpoint has been written."""
    for step in (1, 9):
        folder.write_checkpoint({"w": torch.full((2,), float(step))}, {"step": step})
    (folder.checkpoints / "step-00000009" / "state.safetensors").write_bytes(b"damaged")
    folder.write_checkpoint({"w": torch.full((2,), 3.0)}, {"step": 3})
    assert sorted(p.name for p in folder.checkpoints.iterdir()) == ["step-00000001", "step-00000003"]
    assert folder.newest_step() == 3


def test_a_changed_state_is_noticed_too(folder):
    folder.write_checkpoint({"w": torch.ones(2)}, {"step": 1})
    folder.write_checkpoint({"w": torch.ones(2)}, {"step": 2, "summed": 4})
    path = folder.checkpoints / "step-00000002" / "state.json"
    path.write_text(path.read_text().replace('"summed": 4', '"summed": 5'))
    _, state, warnings = folder.read_checkpoint()
    assert state["step"] == 1 and "state.json does not match" in warnings[0]
