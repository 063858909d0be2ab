"""The processes that train together: how they meet, and what they tell each other.

Nothing is pickled: what is sent are tensors, and bytes as tensors. Tensors on the CPU go through gloo, those on a GPU
through NCCL.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import nn

from ganfeat.distributed import local_rank, local_world_size, rank, world_size
from ganfeat.errors import InputError, RunError

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others within a training before it gives up."""
MEETING = timedelta(minutes=15)
"""How long a process waits for all others to start."""
READING = timedelta(days=7)
"""How long the others wait for whoever prepares their images."""
BEAT = 10.0
"""Seconds between two signs of life of a process that others wait for."""
PATIENCE = 120.0
"""Seconds without one after which it is given up."""
LAST_WORDS = 1.0
"""Seconds in which a process that failed looks whether another one has failed before it, and says why."""


class Elsewhere(RunError):
    """Another process failed, and says why itself; ``status`` is its exit status."""

    def __init__(self, status: int) -> None:
        super().__init__("another of the processes failed")
        self.status = status


class LostPeerError(RunError):
    """Another process is gone without a word."""


class Team:
    """Processes that train one model; by default this one alone.

    Parameters
    ----------
    rank, size : int
        Which one this is, of how many.
    local_rank : int
        Which one it is on its machine.
    store : torch.distributed.Store, optional
        Where they leave each other notes; needed by two or more, whose process group is initialised.
    devices : sequence of str
        Of which types the tensors may be that they send each other.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        local_rank: int = 0,
        store: Any = None,
        devices: Sequence[str] = ("cpu",),
    ) -> None:
        self.rank, self.size, self.local_rank, self.store = rank, size, local_rank, store
        self.devices = tuple(devices)
        self._waits = 0

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def turn(self) -> int:
        """When to look at a file that one process makes for all: 0 the first one, 1 the first of each other machine.

        2 all others. Where the machines share no disk, the first of each makes its own.
        """
        return 0 if self.is_main else 1 if self.local_rank == 0 else 2

    def check_device(self, device: torch.device) -> None:
        """Refuse to train on a device whose tensors these processes cannot send each other, or that is not one each.

        Raises
        ------
        InputError
            The message says which device to give, or what to join with.
        """
        if self.size == 1:
            return
        if device.type not in self.devices:
            raise InputError(
                f"the {self.size} processes were joined to train on the {' or '.join(self.devices)}, and device is "
                f"{str(device)!r}: give device='cpu', or joined('cuda')"
            )
        if device.index not in (None, self.local_rank):
            raise InputError(
                f"device={str(device)!r}: each process takes the GPU of its local rank; give device='cuda'"
            )

    # ------------------------------------------------------------------ numbers

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Add the others' tensors to this one, in place; the digits are the same everywhere.

        Raises
        ------
        LostPeerError
            If one of them is gone.
        Elsewhere
            If it said why.
        """
        if self.size > 1:
            with self._listening():
                torch.distributed.all_reduce(tensor)
        return tensor

    def average_gradients(self, parameters: Iterable[nn.Parameter], words: Sequence[float] = ()) -> list[float]:
        """Replace every gradient by its mean over the processes, in one message for each type of numbers.

        Parameters without a gradient are left without one; they must be the same everywhere.

        Parameters
        ----------
        parameters : iterable of nn.Parameter
        words : sequence of float
            To be added over the processes, too: on the CPU they travel with the gradients.

        Returns
        -------
        list of float
            The sums of the words.
        """
        said = [float(word) for word in words]
        if self.size == 1:
            return said
        by_type: dict[torch.dtype, list[torch.Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        heard: list[float] | None = None
        for gradients in by_type.values():
            parts = [gradient.reshape(-1) for gradient in gradients]
            rides = heard is None and bool(said) and gradients[0].device.type == "cpu"
            if rides:
                parts.append(torch.tensor(said, dtype=gradients[0].dtype))
            flat = self.sum_(torch.cat(parts))
            if rides:
                heard = flat[-len(said) :].tolist()
            flat.div_(self.size)
            means = torch.split(flat[: sum(g.numel() for g in gradients)], [g.numel() for g in gradients])
            torch._foreach_copy_(gradients, [mean.view(g.shape) for mean, g in zip(means, gradients, strict=True)])
        # reading a word off a GPU would make this process wait for it
        return self.sum_(torch.tensor(said)).tolist() if heard is None and said else heard or []

    def share_(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite tensors by those of the first process."""
        if self.size > 1:
            with self._listening(), torch.no_grad():
                for tensor in tensors:
                    sent = tensor.detach().contiguous()
                    torch.distributed.broadcast(sent, 0)
                    tensor.copy_(sent)

    # ------------------------------------------------------------------ bytes

    def share(self, content: bytes | None) -> bytes:
        """Bytes of the first process; what the others give is ignored."""
        if self.size == 1:
            assert content is not None
            return content
        with self._listening():
            length = torch.tensor([len(content) if self.is_main and content is not None else 0])
            torch.distributed.broadcast(length, 0)
            sent = torch.empty(int(length), dtype=torch.uint8)
            if self.is_main and content:
                sent.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
            if len(sent):
                torch.distributed.broadcast(sent, 0)
        return sent.numpy().tobytes()

    def told(self, value: Callable[[], Any]) -> Any:
        """What the first process finds, as JSON can hold it; the others do not look."""
        if self.size == 1:
            return value()
        return json.loads(self.share(json.dumps(value()).encode() if self.is_main else None))

    def gather(self, content: bytes) -> list[bytes]:
        """Bytes of every process, by rank."""
        if self.size == 1:
            return [content]
        lengths = torch.zeros(self.size, dtype=torch.int64)
        lengths[self.rank] = len(content)
        self.sum_(lengths)
        row = torch.zeros(int(lengths.max()), dtype=torch.uint8)
        if content:
            row[: len(content)].copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        rows = [torch.empty_like(row) for _ in range(self.size)]
        with self._listening():
            torch.distributed.all_gather(rows, row)
        return [one[: int(n)].numpy().tobytes() for one, n in zip(rows, lengths, strict=True)]

    def agree(self, name: str, value: Any, relative: float = 0.0) -> None:
        """Make sure that all have the same, of a number up to a relative difference.

        Raises
        ------
        RunError
            If they have not; ``name`` says what.
        """
        found = [json.loads(one) for one in self.gather(json.dumps(value).encode())]
        if any(not math.isclose(one, found[0], rel_tol=relative) if relative else one != found[0] for one in found):
            values = ", ".join(f"rank {r} {value}" for r, value in enumerate(found))
            raise RunError(f"the processes differ in {name}: {values}")

    # ------------------------------------------------------------------ in turn

    def in_turn(self, turn: int, work: Callable[[], T]) -> T:
        """Do something after those whose turn is before have done it, however long it takes them.

        Raises
        ------
        LostPeerError
            If one of those is gone: it gives no sign of life any more.
        Elsewhere
            If it said why.
        """
        if self.size == 1:
            return work()
        self._waits += 1
        place = f"turn/{self._waits}"
        turns = [one[0] for one in self.gather(bytes([turn]))]
        with self._beating(place):
            with self._listening():
                self._wait_for([r for r, one in enumerate(turns) if one < turn], place)
            done = work()
        with self._listening():
            self.store.set(f"{place}/{self.rank}", b"done")
        return done

    def _wait_for(self, others: Sequence[int], place: str) -> None:
        """Wait until others have done their part, as long as they live."""
        keys = [f"{place}/{r}" for r in others]
        heard: dict[int, bytes] = {}
        since = dict.fromkeys(others, time.monotonic())
        pause, end, listened = 0.01, time.monotonic() + READING.total_seconds(), 0.0
        while keys and not self.store.check(keys):
            self.heed(self.failed())
            now = time.monotonic()
            if now > end:
                raise RunError("waited too long for another process")
            if now - listened > BEAT:
                listened = now
                for r in others:
                    beat = f"{place}/beat/{r}"
                    said = self.store.get(beat) if self.store.check([beat]) else b""
                    if said != heard.get(r, b"") or self.store.check([f"{place}/{r}"]):
                        heard[r], since[r] = said, now
                    elif now - since[r] > PATIENCE:
                        raise LostPeerError(
                            f"rank {self.rank} lost rank {r}: there was no sign of life for {PATIENCE:g} seconds. The "
                            "same command goes on from where it was"
                        )
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    @contextmanager
    def _beating(self, place: str) -> Iterator[None]:
        """Give signs of life meanwhile, from a thread."""
        stop = threading.Event()

        def beat() -> None:
            count = 0
            with contextlib.suppress(RuntimeError):  # the store is gone: whoever works notices it
                while True:
                    count += 1
                    self.store.set(f"{place}/beat/{self.rank}", str(count).encode())
                    if stop.wait(BEAT):
                        return

        thread = threading.Thread(target=beat, name="ganfeat-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(PATIENCE)

    # ------------------------------------------------------------------ failing

    def fail(self, status: int) -> None:
        """Tell the others, as the last word, that this process fails; it says itself why.

        Raises
        ------
        Elsewhere
            If one of a lower rank has failed as well, probably by the same mistake: one message is enough.
        """
        if self.size == 1:
            return
        with contextlib.suppress(RuntimeError):
            self.store.set(f"failed/{self.rank}", str(status).encode())
            self.store.set("failed/any", b"yes")
        if not self.is_main:
            self.heed(self.failed(LAST_WORDS, below=self.rank))

    def failed(self, seconds: float = 0.0, below: int | None = None) -> int | None:
        """Exit status of another process that said that it fails; None if none did within some seconds.

        Parameters
        ----------
        seconds : float
            How long to listen.
        below : int, optional
            Only to processes of a lower rank than this.
        """
        others = [r for r in range(self.size if below is None else below) if r != self.rank]
        end = time.monotonic() + seconds
        while True:
            try:
                for other in others if self.store.check(["failed/any"]) else ():
                    if self.store.check([f"failed/{other}"]):
                        return int(self.store.get(f"failed/{other}"))
            except RuntimeError:  # the store is gone with the process that kept it
                return None
            if time.monotonic() >= end:
                return None
            time.sleep(0.02)

    def heed(self, status: int | None) -> None:
        """End in silence where :meth:`failed` found that another process fails.

        Raises
        ------
        Elsewhere
            If ``status`` is not None.
        """
        if status is not None:
            raise Elsewhere(status) from None

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Say in words that another process is gone."""
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, RunError):
                raise
            self.heed(self.failed(LAST_WORDS))
            raise LostPeerError(
                f"rank {self.rank} lost the others: one of the {self.size} processes was killed or hangs "
                f"({str(error).splitlines()[0][:200]}). The same command goes on from the last checkpoint"
            ) from None


_current = Team()


def team() -> Team:
    """The processes that this one works with at the moment; itself alone outside :func:`joined`."""
    return _current


@contextmanager
def joined(device: str = "auto") -> Iterator[Team]:
    """Meet the other processes that torchrun has started, and train as one of them within the block.

    All of them must do the same in it. Without torchrun there is nobody to meet, and nothing changes.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}
        With CUDA, each process takes the GPU of its local rank.

    Yields
    ------
    Team

    Raises
    ------
    InputError
        If there are more processes than GPUs, or the device cannot be shared out.
    RunError
        If the others do not come.
    Elsewhere
        In place of an error that another process meets as well, and reports.
    """
    global _current
    if world_size() == 1 or _current.size > 1:
        yield _current
        return
    if not torch.distributed.is_available():
        raise InputError("this build of PyTorch has no torch.distributed: train without torchrun, or install another")
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    backend = _backend(device)
    store, keeps = _open_store()
    try:
        token = _meet(store, rank(), world_size())
    except RunError:
        raise
    except RuntimeError as error:
        raise LostPeerError(f"rank {rank()} lost the others at the start: {str(error).splitlines()[0][:200]}") from None
    mine = PrefixStore(f"ganfeat/{token}", store)
    torch.distributed.init_process_group(
        backend,
        store=PrefixStore("group", mine),
        rank=rank(),
        world_size=world_size(),
        timeout=TIMEOUT,
    )
    _current = Team(rank(), world_size(), local_rank(), mine, ("cpu",) if backend == "gloo" else ("cpu", "cuda"))
    try:
        yield _current
    except BaseException as error:
        if not isinstance(error, Elsewhere | GeneratorExit):
            _current.fail(status_of(error))
        raise
    finally:
        left, _current = _current, Team()
        with contextlib.suppress(RuntimeError):
            torch.distributed.destroy_process_group()
        with contextlib.suppress(RuntimeError):
            _leave(left, keeps)


def status_of(error: BaseException) -> int:
    """Exit status of a command that ends by this error."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 2 if isinstance(error, InputError) else getattr(error, "status", 1)


def _backend(device: str) -> str:
    """Which library carries the messages; with CUDA, this process's GPU becomes the current one."""
    kind = device.partition(":")[0]
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if kind == "cpu":
        return "gloo"
    if kind != "cuda":
        raise InputError(f"device={device!r}: {world_size()} processes train together on device='cpu' or 'cuda' only")
    if ":" in device:
        raise InputError(f"device={device!r}: each process takes the GPU of its local rank; give device='cuda'")
    count = torch.cuda.device_count()
    if local_rank() >= count:
        raise InputError(
            f"{local_world_size()} processes on this machine and {count} GPUs: start as many as there are GPUs "
            f"(torchrun --nproc-per-node {max(count, 1)}), or give device='cpu'"
        )
    torch.cuda.set_device(local_rank())
    return "cpu:gloo,cuda:nccl"


def _open_store() -> tuple[Any, bool]:
    """The notice board that torchrun keeps, or the one that rank 0 keeps itself; and whether this process keeps it."""
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise InputError(
            f"WORLD_SIZE={world_size()} without {' and '.join(missing)} in the environment: start the processes with "
            "torchrun"
        )
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    keeps = rank() == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    try:
        store = TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            world_size(),
            is_master=keeps,
            timeout=MEETING,
            wait_for_workers=False,
            multi_tenant=True,
        )
    except (RuntimeError, ValueError) as error:
        raise RunError(f"rank {rank()} cannot reach the other processes: {str(error).splitlines()[0]}") from None
    return store, keeps


def _meet(store: Any, number: int, size: int) -> str:
    """Agree on a name that no earlier start of these processes had: the digest of fresh names of all of them.

    torchrun may keep the same notice board when it starts the processes anew, and what the dead ones have left there
    must not be read. How often it has started them does not tell: the agents of several machines count apart.
    """
    base = f"ganfeat/{os.environ.get('TORCHELASTIC_RUN_ID', '')}"
    here = [f"{base}/here/{r}" for r in range(size)]
    mine = uuid.uuid4().hex
    store.set(here[number], mine)
    end, pause = time.monotonic() + MEETING.total_seconds(), 0.002
    while time.monotonic() < end:
        names: list[str] = []
        if number == 0 and store.check(here):
            names = [store.get(key).decode() for key in here]
            store.set(f"{base}/all", ",".join(names))
        elif number and store.check([f"{base}/all"]):
            names = store.get(f"{base}/all").decode().split(",")
        if len(names) == size and names[number] == mine:
            token = hashlib.sha256(",".join(names).encode()).hexdigest()[:16]
            seen, agreed = [f"{base}/{token}/{r}" for r in range(1, size)], f"{base}/{token}/go"
            if number:
                store.set(seen[number - 1], b"seen")
            elif store.check(seen):
                store.set(agreed, b"go")
            if store.check([agreed]):
                return token
        time.sleep(pause)
        pause = min(1.5 * pause, 0.2)
    raise RunError(f"rank {number} waited {MEETING} for the others, of {size} processes: not all of them were started")


def _leave(left: Team, keeps: bool) -> None:
    """Go when the others need no notice board of this process any more."""
    if not keeps:
        left.store.set(f"left/{left.rank}", b"left")
        return
    end = time.monotonic() + 2 * LAST_WORDS
    keys = [f"left/{r}" for r in range(1, left.size)]
    while not left.store.check(keys) and time.monotonic() < end:
        time.sleep(0.01)
