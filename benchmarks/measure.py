"""Shared by the benchmarks: interleaved repeats, and the machine's GEMM rate.

Machines are shared and noisy, so contestants take turns within one run and medians are compared; only ratios
mean something.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ganfeat.device import describe_machine


def interleaved(
    contestants: dict[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every call by ``clock``, contestants taking turns; each is called once before, unmeasured."""
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return seconds


def gemm(dtype: torch.dtype, n: int = 2048) -> tuple[Callable[[], Any], float]:
    """A square matrix product, and its floating-point operations."""
    a, b = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype)
    return lambda: a @ b, 2.0 * n**3


def median(values: list[float]) -> float:
    return statistics.median(values)


def spread(values: list[float]) -> list[float]:
    """First and third quartile."""
    quartiles = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    return [quartiles[0], quartiles[2]]


def conclude(name: str, results: dict[str, Any], out: str | None) -> None:
    """Print the results as JSON, and write them where asked."""
    content = {"command": " ".join(["python", *sys.argv]), "machine": describe_machine(), **results}
    print(json.dumps(content, indent=2))
    if out:
        Path(out).write_text(json.dumps(content, indent=2) + "\n")
        print(f"{name}: written to {out}", file=sys.stderr)
