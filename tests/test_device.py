"""Where, how precisely, on how many threads."""

import os
import sys

import pytest
import torch

from ganfeat.device import asked_threads, autocast, idle_cpus, resolve_device, resolve_precision, set_threads
from ganfeat.errors import InputError

CPU = torch.device("cpu")


def test_auto_takes_the_accelerator_that_is_there():
    if torch.cuda.is_available():
        expected = "cuda"
    else:
        expected = "mps" if torch.backends.mps.is_available() else "cpu"
    assert resolve_device("auto").type == expected
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "CPU "])
def test_an_unknown_device_is_refused_with_the_choices(name):
    with pytest.raises(InputError, match="choose one of auto, cpu, cuda, mps"):
        resolve_device(name)


@pytest.mark.parametrize("name", ["cuda:99", "meta", "xpu"])
def test_a_device_that_is_not_there_is_refused_with_the_way_out(name):
    with pytest.raises(InputError, match="not on this machine: use device='auto' or 'cpu'"):
        resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused():
    with pytest.raises(InputError, match="'cuda' is not on this machine"):
        resolve_device("cuda")


def test_precision_is_taken_by_name_and_auto_decides_for_one_of_them():
    assert [resolve_precision(name, CPU) for name in ("bf16", "fp32")] == ["bf16", "fp32"]
    assert resolve_precision("auto", CPU) in ("bf16", "fp32")
    assert resolve_precision("auto", torch.device("mps")) == "fp32"
    with pytest.raises(InputError, match="precision='fp16' is not known: choose one of auto, bf16, fp32"):
        resolve_precision("fp16", CPU)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_sets_the_type_of_products_and_leaves_the_weights(precision, dtype):
    layer = torch.nn.Linear(3, 2)
    with autocast(CPU, precision):
        assert layer(torch.zeros(1, 3)).dtype == dtype
    assert layer(torch.zeros(1, 3)).dtype == torch.float32
    assert layer.weight.dtype == torch.float32


@pytest.mark.usefixtures("threads")
def test_threads_are_those_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert asked_threads() == set_threads() == torch.get_num_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert asked_threads() == set_threads() == torch.get_num_threads() == 3


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("nothing", ["", "0", "many", "-1"])
def test_where_nothing_is_asked_for_threads_are_at_most_the_cpus_of_this_process(monkeypatch, nothing):
    monkeypatch.setenv("OMP_NUM_THREADS", nothing)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert asked_threads() is None
    assert 1 <= set_threads() == torch.get_num_threads() <= cpus


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/stat")
def test_no_more_cpus_are_idle_than_there_are():
    """The clock of /proc/stat ticks every 10 ms: a window of 50 ms may count one tick a CPU too many."""
    assert 0 <= idle_cpus(1, windows=1, seconds=0.05) <= 1.4 * os.cpu_count()
