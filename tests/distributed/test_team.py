"""What a process knows of the others, and says of itself, without any others."""

import json
import tracemalloc

import numpy as np
import pytest
import torch

from ganfeat import training
from ganfeat.checkpoint import RunFolder
from ganfeat.cli.screen import Screen
from ganfeat.cli.together import Hidden
from ganfeat.distributed.team import Team
from ganfeat.errors import InputError, RunError
from ganfeat.objectives.gan import GAN
from ganfeat.training import LoopSettings, Trainer, on_device


class Said(Team):
    """One of some processes, which have said this."""

    def __init__(self, *values):
        super().__init__(0, len(values))
        self.values = values

    def gather(self, content):
        return [json.dumps(value).encode() for value in self.values]


def test_numbers_agree_up_to_what_other_processors_round():
    Said(1.0, 1.0 + 1e-9).agree("the size", 1.0, relative=1e-6)
    with pytest.raises(RunError, match=r"differ in the size: rank 0 1\.0, rank 1 1\.001"):
        Said(1.0, 1.001).agree("the size", 1.0, relative=1e-6)
    with pytest.raises(RunError, match="differ"):
        Said(1.0, 1.0 + 1e-9).agree("the size", 1.0)


def test_a_device_that_the_processes_do_not_share_is_refused():
    for team in (Team(), Team(1, 2, 1, devices=("cpu", "cuda"))):
        for device in ("cpu", "cuda", "cuda:1"):
            team.check_device(torch.device(device))
    Team(0, 2).check_device(torch.device("cpu"))
    with pytest.raises(InputError, match=r"joined to train on the cpu, and device is 'cuda': give device='cpu', or"):
        Team(0, 2).check_device(torch.device("cuda"))
    with pytest.raises(InputError, match="'mps'"):
        Team(0, 2).check_device(torch.device("mps"))
    with pytest.raises(InputError, match="'cuda:1': each process takes the GPU of its local rank"):
        Team(0, 2, 0, devices=("cpu", "cuda")).check_device(torch.device("cuda:1"))


def test_a_shared_file_is_made_by_the_first_and_then_by_the_first_of_every_machine():
    places = [(0, 0), (1, 1), (2, 0), (3, 1)]
    assert [Team(rank, 4, local).turn for rank, local in places] == [0, 2, 1, 2]


def as_rank(monkeypatch, rank: int, size: int, **more: int) -> None:
    for name, value in {"RANK": rank, "WORLD_SIZE": size, **more}.items():
        monkeypatch.setenv(name, str(value))


def test_each_machine_and_each_way_to_read_has_hidden_images_of_its_own(monkeypatch, tmp_path):
    hidden = Hidden(RunFolder(tmp_path))
    ways = [{}, {"size": 32}, {"size": 64}, {"size": 64, "channels": 1}, {"size": 64, "limit": 1, "strict": True}]
    names = set()
    for rank in range(2):
        as_rank(monkeypatch, rank, 2, GROUP_RANK=rank, LOCAL_RANK=0, LOCAL_WORLD_SIZE=1)
        names |= {hidden.place(way).name for way in ways}
    assert len(names) == 2 * len(ways)
    for name in names:
        (tmp_path / name).touch()
    RunFolder(tmp_path).refuse_foreign()
    assert {".images.0.npy", ".images.1.size64.channels1.npy"} < names


def test_a_warning_of_another_process_has_its_rank(monkeypatch, capsys):
    said = {}
    for rank in (0, 3):
        as_rank(monkeypatch, rank, 4)
        for warns in (True, False):
            Screen(warns=warns)._warn("too dark")
            said[rank, warns] = capsys.readouterr().err
    assert said == {
        (0, True): "warning: too dark\n",
        (3, True): "rank 3: warning: too dark\n",
        (0, False): "",
        (3, False): "",
    }


def test_a_memory_map_goes_to_a_device_block_by_block(tmp_path):
    images = np.lib.format.open_memmap(tmp_path / "i.npy", mode="w+", dtype=np.uint8, shape=(100, 1024, 1024, 1))
    images[::7, 3] = np.arange(100)[::7, None, None]
    tracemalloc.start()
    try:
        copied = on_device(images, torch.device("cpu"))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert copied.dtype == torch.uint8
    assert torch.equal(copied, torch.from_numpy(images))
    assert most < images.nbytes * 0.8  # two blocks of 32 MiB, and not all 100


def test_another_number_of_processes_takes_its_own_number_of_threads(monkeypatch, tmp_path):
    """With as many as before the threads are kept, so that the sums are the same."""
    asked = []
    monkeypatch.setattr(training, "keep_threads", asked.append)
    images = np.zeros((8, 8, 8, 1), np.uint8)

    def trainer() -> Trainer:
        return Trainer(GAN((8, 8, 1), n_components=2, width=2), images, LoopSettings(batch_size=4), torch.device("cpu"))

    tensors, state = trainer().state()
    of_two = {f"rank/{r}/generator": tensors["generator"] for r in range(2)} | tensors
    for name, content, more in (("one", tensors, {}), ("two", of_two, {"ranks": 2})):
        folder = RunFolder(tmp_path / name)
        folder.checkpoints.mkdir(parents=True)
        folder.write_checkpoint(content, {**state, **more, "threads": 64})
        if more:
            with pytest.warns(UserWarning, match="2 processes and goes on with 1"):
                assert trainer().resume(folder)
        else:
            assert trainer().resume(folder)
    assert asked == [64]
