"""What all commands share: their common options, progress, tables, JSON, and stopping on a signal."""

from __future__ import annotations

import json as json_module
import os
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ganfeat.distributed import is_main, local_world_size, rank, world_size

SECONDS_BETWEEN_LINES = 5.0
SECONDS_BEFORE_WARNING = 15.0


Json = Annotated[bool, Parameter(name="--json", negative="", help="Print the result as JSON on standard output.")]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="", help="No progress and no summary.")]
Device = Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1 or mps.")]
Seed = Annotated[int, Parameter(help="Of everything random.")]


@dataclass
class Screen:
    """Progress and messages go to standard error, results to standard output."""

    json: bool = False
    quiet: bool = False
    warns: bool = True
    """Of several processes, those whose work is the same may leave warnings to the first one."""

    def __post_init__(self) -> None:
        warnings.showwarning = self._warn  # type: ignore[assignment]

    def _warn(self, message: Warning | str, *_: Any, **__: Any) -> None:
        if self.warns:
            print(f"{'' if is_main() else f'rank {rank()}: '}warning: {message}", file=sys.stderr)

    def start(self) -> int:
        """Load PyTorch, which takes seconds, and set its threads; return how many."""
        with self.stage("starting", 0):
            from ganfeat.device import set_threads

            return set_threads()

    def say(self, message: str) -> None:
        """Tell a person something."""
        if not self.quiet:
            print(message, file=sys.stderr if self.json else sys.stdout, flush=True)

    def result(self, content: dict[str, Any]) -> None:
        """Print the result for machines, if they asked."""
        if self.json:
            print(json_module.dumps(content, indent=2))

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """Print a table; the first column is left-aligned, the others right."""
        if self.quiet or self.json:
            return
        from rich.console import Console
        from rich.table import Table

        table = Table(title=title or None, title_justify="left")
        for i, heading in enumerate(headings):
            table.add_column(heading, justify="left" if i == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console = Console()
        if not console.is_terminal:
            console = Console(width=120)
        console.print(table)

    def accuracies(
        self,
        compared: dict[str, Any],
        names: dict[str, str],
        half_width: Callable[[dict[str, Any]], float] = lambda point: float(point["ci95"]),
    ) -> None:
        """Print accuracies by set of features and labels per class, in per cent with their intervals."""
        sizes = [str(k) for k in compared["labels_per_class"]]
        rows = [
            (names[name], *(percent(curve[k]["mean"], half_width(curve[k])) for k in sizes))
            for name, curve in compared["accuracy"].items()
        ]
        self.table(("accuracy in %, by labels per class", *sizes), rows)

    def next(self, command: Sequence[str]) -> None:
        """End with the next useful command; a model of the Hub under its name, and not as the folder that keeps it."""
        if any("models--" in argument for argument in command):
            from ganfeat.estimators.hub import given_name

            command = [given_name(argument) for argument in command]
        self.say(f"\nNext: {shlex.join(command)}")

    @contextmanager
    def stage(self, name: str, total: float) -> Iterator[Callable[..., None]]:
        """Show the progress of a piece of work.

        Gives ``update(done, total=None, note="")``. A bar on a terminal; elsewhere a line every five
        seconds and one at the end.
        """
        if self.quiet:
            yield lambda done, total=None, note="": None
        elif sys.stderr.isatty():
            with self._bar(name, total) as update:
                yield update
        else:
            with self._lines(name, total) as update:
                yield update

    @contextmanager
    def _bar(self, name: str, total: float) -> Iterator[Callable[..., None]]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description:<26}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(name, total=total or None, note="")

            def update(done: float, total: float | None = None, note: str = "") -> None:
                fields: dict[str, Any] = {"total": total} if total is not None else {}
                progress.update(task, completed=done, note=note, **fields)

            yield update
            total_now = progress.tasks[0].total
            progress.update(task, total=total_now or 1, completed=total_now or 1)

    @contextmanager
    def _lines(self, name: str, total: float) -> Iterator[Callable[..., None]]:
        began = last = time.perf_counter()
        first: list[tuple[float, float]] = []
        whole = total

        def update(done: float, total: float | None = None, note: str = "") -> None:
            nonlocal last, whole
            whole = whole if total is None else total
            now = time.perf_counter()
            if not first:
                first.append((now, done))
            if now - last < SECONDS_BETWEEN_LINES:
                return
            last = now
            rate = (done - first[0][1]) / (now - first[0][0]) if now > first[0][0] else 0
            left = f", {(whole - done) / rate:.0f} s left" if rate > 0 and whole else ""
            share = f" {100 * done / whole:.0f} %" if whole else f" {done:g}"
            print(f"{name}:{share}{left}{f', {note}' if note else ''}", file=sys.stderr, flush=True)

        yield update
        print(f"{name}: done in {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)


@dataclass
class Pace:
    """Notices when training becomes far slower than it was: somebody else is using the CPUs."""

    threads: int
    best: float = 0.0
    slow_since: float | None = None
    told: bool = False

    def note(self, images_per_second: float) -> None:
        """Warn once, after 15 seconds below a fifth of the best speed so far."""
        self.best = max(self.best, images_per_second)
        now = time.perf_counter()
        if images_per_second > self.best / 5:
            self.slow_since = None
        elif self.slow_since is None:
            self.slow_since = now
        elif now - self.slow_since > SECONDS_BEFORE_WARNING and not self.told and self.threads > 1:
            self.told = True
            warnings.warn(
                f"training is at {images_per_second:,.0f} images/s after {self.best:,.0f} at its best: other programs "
                f"are using the CPUs, and {self.threads} threads wait for each other. It may be faster to press Ctrl-C "
                "and go on with OMP_NUM_THREADS=1 set",
                stacklevel=2,
            )


@dataclass
class Stop:
    """Which signal asked to stop, if any did, and whom to tell."""

    signal: int = 0
    model: Any = None

    def calls(self, model: Any) -> None:
        """From now on, ask this model to stop."""
        self.model = model

    @property
    def status(self) -> int:
        """Exit status of a process stopped by this signal."""
        return 128 + self.signal


@contextmanager
def stopping(model: Any = None) -> Iterator[Stop]:
    """Turn the first Ctrl-C (or SIGTERM) into a request to a model that trains; a second one is obeyed at once.

    While no model trains, a signal interrupts.
    """
    stop = Stop(model=model)

    def handle(number: int, _frame: Any) -> None:
        again, stop.signal = stop.signal, number
        if again or stop.model is None or not stop.model.request_stop():
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        if is_main():
            print("\nstopping after this step; once more to stop at once", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def refuse(out: Path) -> None:
    """Raise InputError for a folder, before the work, where nothing could be written after it."""
    from ganfeat.errors import InputError

    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"--out {out}: {there} is a file; name a folder")
    if not os.access(there, os.W_OK):
        raise InputError(f"--out {out}: {there} may not be written to; name another folder")


def this_command(arguments: Sequence[str] | None = None) -> str:
    """The command line as it was typed, ready to be typed again; or with other arguments."""
    started = ["ganfeat"]
    if world_size() > 1:
        machines = world_size() // local_world_size()
        more = ["--nnodes", str(machines), "..."] if machines > 1 else []
        started = ["torchrun", *more, "--nproc-per-node", str(local_world_size()), "-m", "ganfeat"]
    return shlex.join([*started, *(sys.argv[1:] if arguments is None else arguments)])


def percent(value: float, half_width: float | None = None) -> str:
    """``0.8712, 0.004`` as ``87.1 ± 0.4``."""
    return f"{100 * value:.1f}" + (f" ± {100 * half_width:.1f}" if half_width is not None else "")
