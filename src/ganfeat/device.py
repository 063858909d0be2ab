"""Where to compute, how precisely, and on how many threads."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
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


def set_threads() -> int:
    """Use one thread a CPU that this process may run on, unless ``OMP_NUM_THREADS`` says otherwise.

    Called once, by the command line: more threads than CPUs fight each other, up to ten times slower.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        threads = int(asked)
    elif hasattr(os, "sched_getaffinity"):
        threads = len(os.sched_getaffinity(0))
    else:
        threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    return threads
