"""Where to compute, how precisely, and on how many threads."""

from __future__ import annotations

import os
import platform
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch

from ganfeat.errors import InputError

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "bf16", "fp32")


def resolve_device(name: str) -> torch.device:
    """``auto`` takes CUDA, then Apple's MPS, then the CPU; ``cuda:1`` names one of several.

    Raises
    ------
    InputError
        If the device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device={name!r} is not known: choose one of {', '.join(DEVICES)}") from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise InputError(f"device={name!r} is not on this machine: use device='auto' or 'cpu'")
    return device


def _cpu_multiplies_bf16() -> bool:
    """Whether the CPU has bf16 products in hardware (AVX512-BF16 or AMX); emulated ones are slow."""
    probes = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(probe is not None and bool(probe()) for probe in probes)


def resolve_precision(name: str, device: torch.device) -> str:
    """``auto`` is ``bf16`` where the hardware multiplies it faster than ``fp32``, else ``fp32``.

    Raises
    ------
    InputError
        If the name is not one of :data:`PRECISIONS`.
    """
    if name not in PRECISIONS:
        raise InputError(f"precision={name!r} is not known: choose one of {', '.join(PRECISIONS)}")
    if name != "auto":
        return name
    if device.type == "cpu":
        fast = _cpu_multiplies_bf16()
    else:
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if fast else "fp32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Matrix products and convolutions in bf16 with float32 weights, or nothing for ``fp32``."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def repeatable(device: torch.device) -> AbstractContextManager[Any]:
    """Ask cuDNN for kernels that give the same digits every time. The CPU's do without asking."""
    if device.type == "cuda":
        return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
    return nullcontext()


def set_threads() -> int:
    """Use one thread for every CPU that is idle now, unless ``OMP_NUM_THREADS`` says how many.

    Called once, by the command line. More threads than idle CPUs wait for each other at every barrier: one
    busy neighbour on two CPUs made bf16 training 60 times slower with two threads, and 2 times with one.
    """
    threads = asked_threads()
    if threads is None:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = max(1, min(cpus, round(idle_cpus(cpus))))
    torch.set_num_threads(threads)
    return threads


def keep_threads(before: int) -> None:
    """Go on with as many threads as a run had before: with others, sums come out in another order.

    Warns
    -----
    UserWarning
        If ``OMP_NUM_THREADS`` asks for another number; it is obeyed.
    """
    if before == torch.get_num_threads():
        return
    asked = asked_threads()
    if asked is None:
        torch.set_num_threads(before)
        return
    warnings.warn(
        f"this run was trained with {before} threads and goes on with {asked}, as OMP_NUM_THREADS asks: "
        "the result is as good, but not the same bit for bit",
        stacklevel=3,
    )


def asked_threads() -> int | None:
    """What ``OMP_NUM_THREADS`` asks for, if it does."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else None


def idle_cpus(cpus: int, windows: int = 3, seconds: float = 0.1) -> float:
    """How many CPUs had nothing to do, at best over a few short windows; all, where that cannot be told."""
    statistics = Path("/proc/stat")
    best = 0.0
    for _ in range(windows):
        try:
            before, began = _idle_seconds(statistics), time.perf_counter()
            time.sleep(seconds)
            best = max(best, (_idle_seconds(statistics) - before) / (time.perf_counter() - began))
        except (OSError, ValueError, IndexError):
            return float(cpus)
        if best > cpus - 0.5:
            break
    return best


def _idle_seconds(statistics: Path) -> float:
    fields = statistics.read_text(encoding="ascii").split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")  # idle and waiting for a disk


def describe_machine(device: torch.device | None = None) -> dict[str, Any]:
    """What a number was measured on: to be written beside it."""
    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    machine = {
        "cpu": cpu,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bf16 in hardware": _cpu_multiplies_bf16(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if device is not None and device.type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
    return machine


def available_memory(device: torch.device) -> int:
    """Bytes that are free on the device now; a large number where that cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    information = Path("/proc/meminfo")
    if information.exists():
        for line in information.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 1 << 62
