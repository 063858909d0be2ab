"""Extraction on a Ray cluster: Ray Data hands shards to actors that hold the network, and hears what came of each.

Only numbers of shards and counts travel; workers read the plan, the images and the run, and write the parts, where all
machines see them. So the object store stays nearly empty, and a shard is handed out only when an actor has room for it
(the back-pressure of Ray Data). A shard whose actor died goes to another actor; the folder alone says what is done.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from ganfeat.data.folder import printable
from ganfeat.errors import InputError, MissingExtraError, RunError
from ganfeat.scale.output import Done, Output, read_done
from ganfeat.scale.plan import Plan
from ganfeat.scale.worker import Worker

OBJECT_STORE = 100 << 20
"""Bytes: what a Ray of our own gets; next to nothing is put there."""
MOST_BLOCKS = 10_000
"""Of shards; where there are more shards, a block is several of them."""
IN_FLIGHT = 2
"""Blocks an actor is given at a time: the one it does, and the one it does next."""
MOST_TRIES = 5
"""After so many workers that died of a shard, it is given up."""
ANSWER = 120.0
"""Seconds within which a machine must say what it has."""
WAITING = 60.0
"""Seconds without a worker after which a person is told what is waited for."""
_MOST_CPUS = 8
_QUIET = {
    "RAY_AUTH_MODE": "disabled",  # else a token is written to the home directory
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_worker_niceness": "0",  # of a Ray of our own: its workers are what the machine is wanted for
}


def import_ray() -> Any:
    """Import Ray Data, silently.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
            import ray.data
    except ImportError:
        raise MissingExtraError("ray", "ray", "--engine ray") from None
    return ray


class ShardActor:
    """A worker within an actor of Ray; mistakes come back as rows, so that Ray does not take them for its own.

    Parameters
    ----------
    folder, run, device, batch_size
        As :class:`~ganfeat.scale.worker.Worker` takes them.
    threads : int
        That decode.
    """

    def __init__(self, folder: str, run: str, device: str, batch_size: int, threads: int) -> None:
        self._arguments: dict[str, Any] = {"device": device, "batch_size": batch_size, "threads": threads}
        self._folder, self._run = folder, run
        self._worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Do the shards of a block that are not done, and tell of each."""
        shards = [int(shard) for shard in batch["shard"]]
        try:
            if self._worker is None:
                self._worker = Worker(self._folder, self._run, **self._arguments)
            worker = self._worker
            there = worker.output.parts()
            for shard in [shard for shard in shards if worker.plan.name(shard) in there]:
                rows, errors, _ = read_done(worker.output, worker.plan.name(shard))
                shards.remove(shard)
                yield _row(Done(shard, rows, errors))
            for some in [[shard] for shard in shards] if any(map(worker.output.tries, shards)) else [shards]:
                for shard in some:
                    self._try(worker, shard)
                for done in worker.run(some):
                    worker.output.forget_tries(done.shard)
                    yield _row(done)
        except InputError as error:
            yield _row(Done(-1, 0, 0), "input", str(error))
        except Exception as error:
            where = f"{socket.gethostname()}, shards {shards[0]} to {shards[-1]}" if shards else socket.gethostname()
            said = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
            yield _row(Done(-1, 0, 0), "run", f"a worker failed ({where}): {said}. The same command goes on")

    @staticmethod
    def _try(worker: Worker, shard: int) -> None:
        """Give a shard up that workers die of: Ray would hand it out for ever."""
        tries = worker.output.tried(shard)
        if tries >= MOST_TRIES:
            paths = worker.shards[shard].paths
            worker.output.forget_tries(shard)
            raise RunError(
                f"{tries} workers have died of shard {shard}, {worker.plan.name(shard)} ({printable(paths[0])}"
                f"{f', {printable(paths[1])} to {printable(paths[-1])}' if len(paths) > 1 else ''}): an image in it "
                "ends its process, or needs more memory than there is"
            )


def _row(done: Done, kind: str = "", message: str = "") -> dict[str, Any]:
    return {**{name: [value] for name, value in done._asdict().items()}, "kind": [kind], "message": [message]}


def run_on_ray(
    output: Output,
    run: str,
    missing: Sequence[int],
    plan: Plan,
    *,
    address: str | None,
    actors: int | None,
    device: str,
    batch_size: int,
) -> Generator[Done]:
    """Do shards on a cluster; each is done when it is yielded.

    Parameters
    ----------
    output : Output
        With its plan.
    run : str
    missing : sequence of int
    plan : Plan
    address : str, optional
        Of the cluster; by default a Ray of our own on this machine.
    actors : int, optional
    device : str
    batch_size : int

    Raises
    ------
    InputError
        If the cluster cannot be reached, or its machines do not see the files.
    RunError
        If a worker failed in a way that another try would not mend.
    """
    if not missing:
        return
    if actors is not None and actors < 1:
        raise InputError(f"actors={actors}: give a whole number, 1 or more")
    ray = import_ray()
    with _connected(ray, address, actors):
        if address is not None:
            _check_nodes(ray, [str(output.plan), run, plan.settings["data"]])
        output.forget_tries()
        results = iter(_pipeline(ray, output, run, missing, actors, device, batch_size))
        with _silent(), _patient(ray, output):
            row = next(results, None)
        while row is not None:
            if row["kind"]:
                raise (InputError if row["kind"] == "input" else RunError)(str(row["message"]))
            yield Done(int(row["shard"]), int(row["rows"]), int(row["errors"]))
            with _silent():
                row = next(results, None)


def _pipeline(
    ray: Any, output: Output, run: str, missing: Sequence[int], actors: int | None, device: str, batch_size: int
) -> Any:
    resources = ray.cluster_resources()
    if resources.get("CPU", 0) < 1:
        raise InputError("the Ray cluster has no CPU for workers: start its machines with `ray start --num-cpus N`")
    cpus, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0)) if device in ("auto", "cuda") else 0
    if device == "cuda" and not gpus:
        raise InputError("--device cuda: the cluster has no GPU; leave it out")
    blocks = min(len(missing), MOST_BLOCKS)
    count = min(actors or gpus or max(1, cpus), blocks)
    share = max(1, min(_MOST_CPUS, cpus // count)) if gpus else 1
    with _silent():
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        shards = ray.data.from_items([{"shard": shard} for shard in missing], override_num_blocks=blocks)
        done = shards.map_batches(
            ShardActor,
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=count, initial_size=count, max_tasks_in_flight_per_actor=IN_FLIGHT
            ),
            fn_constructor_args=(str(output.path), run, device, batch_size, share),
            num_cpus=share,
            num_gpus=1 if gpus else 0,
            max_restarts=-1,
            max_task_retries=-1,
        )
        return done.iter_rows()


@contextmanager
def _silent() -> Iterator[None]:
    """Ray warns of itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _patient(ray: Any, output: Output) -> Iterator[None]:
    """Say what is waited for, where no worker begins; Ray would wait in silence."""
    come = threading.Event()

    def watch() -> None:
        pause = WAITING
        while not come.wait(pause):
            if output.any_tried():
                return
            with suppress(Exception):  # the cluster may be ending
                there, free = ray.cluster_resources(), ray.available_resources()
                said = ", ".join(
                    f"{free.get(kind, 0):g} of {there.get(kind, 0):g} {kind}s"
                    for kind in ("CPU", "GPU")
                    if kind in there
                )
                print(
                    f"warning: no worker of Ray has begun yet; free in the cluster are {said}. Waiting: Ctrl-C ends it",
                    file=sys.stderr,
                    flush=True,
                )
            pause = 5 * WAITING

    thread = threading.Thread(target=watch, name="ganfeat-patience", daemon=True)
    thread.start()
    try:
        yield
    finally:
        come.set()
        thread.join()


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Ray's core says how much it is going to say; mistakes come as exceptions."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _connected(ray: Any, address: str | None, actors: int | None) -> Iterator[None]:
    """Use the Ray that is there, or that of an address, or start one; end only what was begun here."""
    if ray.is_initialized():
        yield
        return
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    folder = None
    try:
        if address is not None:
            quiet.pop("include_dashboard")
            _knock(address)
            with _silent(), _without_stderr():
                ray.init(address=address, **quiet)
        else:
            folder = tempfile.mkdtemp(prefix="ganfeat-ray-")
            cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            with _silent(), _without_stderr():
                ray.init(
                    address="local",
                    num_cpus=max(cpus, actors or 0),
                    object_store_memory=OBJECT_STORE,
                    _temp_dir=folder,
                    **quiet,
                )
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise InputError(
            f"cannot reach Ray at {address or 'this machine'} ({str(error).splitlines()[0]}): give auto, or the "
            "host:port that `ray start` has told"
        ) from None
    try:
        with redirect_stdout(sys.stderr):  # where Ray tells of workers that died
            yield
    finally:
        with _silent(), redirect_stdout(sys.stderr):
            ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _knock(address: str) -> None:
    """Fail at once where nobody listens; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _check_nodes(ray: Any, paths: Sequence[str]) -> None:
    """Ask every machine that can work whether it has ganfeat, and sees the files.

    Raises
    ------
    InputError
        It names the machine, and what is not there.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = [path for path in paths if Path(path).exists()]  # others are patterns, and names of the Hub

    def lacks() -> list[str]:  # a function within one is sent as it is, also to where ganfeat is not installed
        import importlib.util

        absent = [] if importlib.util.find_spec("ganfeat") else ["the package ganfeat"]
        return absent + [path for path in here if not Path(path).exists()]

    with _silent():
        asked = [
            (
                node["NodeManagerHostname"],
                ray.remote(lacks)
                .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
                .remote(),
            )
            for node in ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU", 0) > 0
        ]
        for host, answer in asked:
            try:
                absent = ray.get(answer, timeout=ANSWER)
            except ray.exceptions.RayError as error:  # also where none came in time
                raise InputError(
                    f"{host} of the Ray cluster does not answer ({type(error).__name__}): is it busy, or going down? "
                    "`ray status` tells"
                ) from None
            if absent:
                raise InputError(
                    f"{host} of the Ray cluster does not have {', '.join(absent)}: all machines must have ganfeat "
                    "and see the images, the run and --out under the same paths (a shared file system)"
                )
