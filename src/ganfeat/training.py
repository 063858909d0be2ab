"""The one loop: it plays any objective, one update a player and mini-batch, and yields records.

Whoever iterates may stop, print or plot; there are no callbacks. Given a run folder, the loop keeps
checkpoints there and starts from the newest one, so that a process killed at any moment ends, when it is
started again, with the weights of one that was never killed, bit for bit.

Of several processes that train together (:mod:`ganfeat.distributed.team`) each plays its part of every mini-batch, and
every optimiser is given the mean of their gradients, so that all have the same weights. Only the first one writes.
"""

from __future__ import annotations

import copy
import functools
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as unpack
from safetensors.torch import save as pack

from ganfeat import history
from ganfeat.arrays import blocks, to_uint8
from ganfeat.checkpoint import RunFolder, Tensors, to_bytes
from ganfeat.config import require
from ganfeat.device import autocast, keep_threads, repeatable
from ganfeat.distributed.team import Team, team
from ganfeat.errors import InputError, RunError
from ganfeat.files import replacing
from ganfeat.history import Record
from ganfeat.nets.batchnorm import SharedNorms, batch_norms, recalibrate
from ganfeat.objectives.base import Draw, Objective, Player
from ganfeat.pictures import tile, write_png

SHEET = 64
FINAL_RATE = 0.01
"""Share of the learning rate at the end of its decay."""
SAME_WEIGHTS = 1e-6
"""By how much, relatively, the sizes of the weights of processes that train together may differ."""
RECALIBRATION_BATCHES = 500
RECALIBRATION_BATCHES_AT_CHECKPOINTS = 50


@dataclass(frozen=True)
class LoopSettings:
    """How the loop plays.

    Defaults are DCGAN's (section 4): Adam at 2e-4 with beta1 0.5, batches of 128; the L2 of 1e-5 that is
    added to the gradient is the authors' code's.

    Parameters
    ----------
    max_iter : int
        Epochs.
    batch_size : int
        Real images a step, of all processes together; fewer where the data set is smaller. The last, incomplete batch
        of an epoch is left out (another one every epoch).
    learning_rate : float
    betas : (float, float)
        Of Adam.
    weight_decay : float
        L2 penalty, added to the gradient.
    decay_iter : int
        Epochs at the end over which the learning rate falls exponentially to 1 %; 0 for a constant rate.
    ema : float
        Decay of the moving average of the sampler's weights; 0 keeps none.
    seed : int
        Of everything random: initial weights, order of the images, z, augmentation.
    precision : {"bf16", "fp32"}
    log_every : int
        Steps between two records.
    checkpoint_seconds : float
        Time between two checkpoints, in seconds.
    sheets : int
        Sample sheets over the whole run.
    evaluations : int
        Records over the whole run that say what the :class:`Monitor` and the :class:`Checks` measure, where there are
        any; 0 for none.
    sync_bn : bool
        Let batch norms take their statistics over the parts of all processes that train together, not over each alone.
    """

    max_iter: int = 25
    batch_size: int = 128
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 1e-5
    decay_iter: int = 0
    ema: float = 0.0
    seed: int = 0
    precision: str = "fp32"
    log_every: int = 10
    checkpoint_seconds: float = 60.0
    sheets: int = 20
    evaluations: int = 10
    sync_bn: bool = False

    def __post_init__(self) -> None:
        for name, least in {"max_iter": 1, "batch_size": 2, "log_every": 1, "sheets": 0}.items():
            require(name, getattr(self, name), int, least=least)
        require("decay_iter", self.decay_iter, int, least=0)
        if self.decay_iter > self.max_iter:
            raise InputError(
                f"decay_iter={self.decay_iter} must be at most max_iter={self.max_iter}: both count epochs"
            )
        require("evaluations", self.evaluations, int, least=0)
        require("learning_rate", self.learning_rate, float, above=0)
        require("beta1", self.betas[0], float, least=0, below=1)
        require("beta2", self.betas[1], float, least=0, below=1)
        require("ema", self.ema, float, least=0, below=1)
        require("weight_decay", self.weight_decay, float, least=0)
        require("checkpoint_every (checkpoint_seconds)", self.checkpoint_seconds, float, least=0)


class Monitor(Protocol):
    """Whoever looks at a copy of the objective now and then, and must not change anything by it."""

    def measure(self, model: Objective, step: int) -> Mapping[str, float]:
        """Numbers for the record of a step; they depend on nothing but the model and the step."""

    def sheet(self, model: Objective) -> NDArray[np.uint8]:
        """A picture ``uint8 (H, W, 1 or 3)`` of what the model makes of images, always the same ones."""


class Checks(Protocol):
    """Whoever looks at a copy of the objective as it plays, for signs that the game is going wrong."""

    def measure(self, model: Objective, step: int) -> Mapping[str, float]:
        """Numbers for the record of a step; they depend on nothing but the model and the step."""


class Batches:
    """Mini-batches ``(N, C, H, W)`` in [-1, 1] on a device, in an order that only seed and epoch decide.

    Parameters
    ----------
    images : ndarray or memory map ``(n, h, w, c)``
        ``uint8``, or ``float32`` already in [-1, 1]. Kept on the device where less than half of its free
        memory is needed; otherwise every batch is read from the array.
    batch_size, seed : int
    device : torch.device
    rows : ndarray of int ``(m,)``, optional
        The images to draw from; by default all.
    part, parts : int
        Of every mini-batch, this process takes one of so many parts; no other image is read.

    Raises
    ------
    InputError
        If the mini-batches cannot be divided into so many parts.
    """

    def __init__(
        self,
        images: NDArray[Any],
        batch_size: int,
        seed: int,
        device: torch.device,
        rows: NDArray[np.int64] | None = None,
        part: int = 0,
        parts: int = 1,
    ) -> None:
        self.images, self.seed, self.device = images, seed, device
        self.rows = np.arange(len(images)) if rows is None else rows
        self.size = min(batch_size, len(self.rows))
        if parts > 1:
            check_parts(batch_size, len(self.rows), parts)
            self.size = self.size // parts * parts
        self.part = slice(part * self.size // parts, (part + 1) * self.size // parts)
        self.per_epoch = len(self.rows) // self.size
        self.resident: torch.Tensor | None = None
        if device.type == "cuda" and images.nbytes < torch.cuda.mem_get_info(device)[0] / 2:
            self.resident = on_device(images, device)
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The images of an epoch, permuted."""
        if self._order[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
            self._order = (epoch, self.rows[order])
        return self._order[1]

    def at(self, step: int) -> torch.Tensor:
        """Images of a step, this process's part of the mini-batch; steps are counted from 0 over the whole run."""
        return self.take(self.indices(step))

    def indices(self, step: int) -> NDArray[np.int64]:
        """Which images this process's part of the mini-batch of a step has."""
        epoch, k = divmod(step, self.per_epoch)
        return self.order(epoch)[k * self.size : (k + 1) * self.size][self.part]

    def take(self, indices: NDArray[np.int64]) -> torch.Tensor:
        """The images of these indices."""
        if self.resident is not None:
            x_NHWC = self.resident[torch.from_numpy(indices).to(self.device)]
        else:
            x_NHWC = torch.from_numpy(self.images[indices]).to(self.device, non_blocking=True)
        return to_networks(x_NHWC)


def on_device(images: NDArray[Any], device: torch.device) -> torch.Tensor:
    """A copy on a device, made block by block: of a memory map, no more than one of them is in memory at a time."""
    copied: torch.Tensor | None = None
    start = 0
    for block in blocks(images):
        part = torch.from_numpy(np.array(block))
        if copied is None:
            copied = torch.empty(images.shape, dtype=part.dtype, device=device)
        copied[start : start + len(part)].copy_(part)
        start += len(part)
    assert copied is not None, "there are no images"
    return copied


def check_parts(batch_size: int, n_images: int, parts: int) -> None:
    """Refuse mini-batches that cannot be divided among processes, two images each at least.

    Raises
    ------
    InputError
        The message names sizes that can.
    """
    if batch_size < 2 * parts or batch_size % parts:
        below, above = (max(2, n) * parts for n in (batch_size // parts, batch_size // parts + 1))
        sizes = f"{below} or {above}" if below < above else f"{below}"
        raise InputError(
            f"batch_size={batch_size} is for all {parts} processes together and cannot be divided evenly among them "
            f"(2 images each at least): give {sizes}"
        )
    if n_images < 2 * parts:
        raise InputError(f"{n_images} images are too few for {parts} processes: each needs 2 at least")


def to_networks(x_NHWC: torch.Tensor) -> torch.Tensor:
    """Images ``uint8``, or ``float32`` in [-1, 1], as networks take them: ``float32 (N, C, H, W)`` in [-1, 1]."""
    x_NCHW = x_NHWC.permute(0, 3, 1, 2)  # channels-last in memory, as the networks want it
    if x_NCHW.dtype == torch.uint8:
        return x_NCHW.float().div_(127.5).sub_(1)
    return x_NCHW


class Trainer:
    """Everything that changes while an objective is trained, and how to save and restore it.

    Parameters
    ----------
    objective : Objective
        Its networks are moved to the device and trained in place.
    images : ndarray or memory map ``(n, h, w, c)``
        As :class:`Batches` takes them.
    settings : LoopSettings
    device : torch.device
    rows : ndarray of int ``(m,)``, optional
        The images to learn from; by default all.
    monitor : Monitor, optional
        Called at ``settings.evaluations`` records and for ``settings.sheets`` sheets, on a copy of the objective with
        the weights for use.
    checks : Checks, optional
        Called at ``settings.evaluations`` records, on a copy of the objective as it is while it plays: no batch norm is
        re-estimated and nothing averaged, so it costs little.
    labels : ndarray of int64 ``(n,)``, optional
        Classes of the images, -1 where one is not known; only for an objective that is ``supervised``.

    Attributes
    ----------
    step : int
        Mini-batches played so far.
    average : nn.Module or None
        The sampler with averaged weights, where ``settings.ema`` asks for one.
    team : Team
        The processes that train together, as they are when this one is made.
    """

    def __init__(
        self,
        objective: Objective,
        images: NDArray[Any],
        settings: LoopSettings,
        device: torch.device,
        *,
        rows: NDArray[np.int64] | None = None,
        monitor: Monitor | None = None,
        checks: Checks | None = None,
        labels: NDArray[np.int64] | None = None,
    ) -> None:
        n = len(images if rows is None else rows)
        if n < 2:
            raise InputError(f"n_samples={n}: a network needs at least 2 images to learn from")
        if labels is not None and not objective.supervised:
            raise ValueError(f"{type(objective).__name__} learns without labels: none may be handed to its training")
        self.labels = labels
        self.objective = objective.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings, self.device, self.monitor, self.checks = settings, device, monitor, checks
        self.team: Team = team()
        parts = self.team.rank, self.team.size
        self.batches = Batches(images, settings.batch_size, settings.seed, device, rows, *parts)
        self.players = objective.players()
        self.optimisers = {player.name: self._optimiser(player) for player in self.players}
        self.average = copy.deepcopy(objective.sampler()).requires_grad_(False) if settings.ema else None
        self.generator = torch.Generator(device).manual_seed(self._own_seed())
        self.sheet_z = objective.draw_latents(SHEET, torch.Generator(device).manual_seed(settings.seed + 1))
        self.step = 0
        self.updates = 0  # of the average
        self._asked_to_stop = self._stop_agreed = self._save_agreed = False
        self._saved = time.perf_counter()
        self._trained: tuple[int, int, Tensors] | None = None
        self._sums: dict[str, torch.Tensor] = {}
        self._summed = 0
        self._norms: dict[str, torch.Tensor] = {}

    def _optimiser(self, player: Player) -> torch.optim.Adam:
        return torch.optim.Adam(
            player.parameters(),
            lr=self.settings.learning_rate,
            betas=self.settings.betas,
            weight_decay=self.settings.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )

    def _own_seed(self, *more: int) -> int:
        """Of what this process draws; with one process, the seed itself."""
        if self.team.size == 1:
            return self.settings.seed
        words = np.random.SeedSequence([self.settings.seed, self.team.rank, *more, 7]).generate_state(2)
        return int(words[0]) << 31 | int(words[1]) >> 1

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.settings.max_iter * self.batches.per_epoch

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.step / self.batches.per_epoch

    def request_stop(self) -> None:
        """End :meth:`run` after the step in progress, with a checkpoint. Safe in a signal handler.

        Of several processes any may ask: all end after the same step, this one or the next.
        """
        self._asked_to_stop = True

    @property
    def _stops(self) -> bool:
        return self._asked_to_stop if self.team.size == 1 else self._stop_agreed

    def _words(self) -> list[float]:
        """What this process has to say to the others: that it was asked to stop, and that it is time to save."""
        return [float(self._asked_to_stop), float(self.team.is_main and self._save_is_due())]

    def _heed(self, words: list[float]) -> None:
        self._stop_agreed, self._save_agreed = words[0] > 0, words[1] > 0

    def _save_is_due(self) -> bool:
        return time.perf_counter() - self._saved > self.settings.checkpoint_seconds

    # ------------------------------------------------------------------ one step

    def play(self) -> None:
        """One mini-batch: every player is updated once."""
        shares = self.settings.sync_bn and self.team.size > 1
        with SharedNorms() if shares else nullcontext():
            self._play()
        self.step += 1

    def _play(self) -> None:
        self.objective.train()
        with autocast(self.device, self.settings.precision):
            draw = self.objective.draw(self.batches.at(self.step), self.generator)
            if self.labels is not None:
                draw.labels_N = torch.from_numpy(self.labels[self.batches.indices(self.step)]).to(self.device)
        self._set_learning_rates()
        if self.objective.simultaneous:
            self._play_at_once(draw)
        else:
            self._play_in_turn(draw)
        if self.average is not None:
            self._update_average()

    def _play_in_turn(self, draw: Draw) -> None:
        """Each player meets the others as they are after their updates."""
        for player in self.players:
            with autocast(self.device, self.settings.precision):
                loss, metrics = player.loss(draw)
            optimiser = self.optimisers[player.name]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self._average_gradients(player)
            self._note_gradients(player)
            optimiser.step()
            self._add({f"loss/{player.name}": loss.detach(), **metrics})

    def _play_at_once(self, draw: Draw) -> None:
        """All losses on the networks as they are, then all gradients, then all updates."""
        with autocast(self.device, self.settings.precision):
            losses = [player.loss(draw) for player in self.players]
        for i, (player, (loss, metrics)) in enumerate(zip(self.players, losses, strict=True)):
            self.optimisers[player.name].zero_grad(set_to_none=True)
            loss.backward(inputs=player.parameters(), retain_graph=i < len(losses) - 1)  # type: ignore[no-untyped-call]
            self._average_gradients(player)
            self._note_gradients(player)
            self._add({f"loss/{player.name}": loss.detach(), **metrics})
        for optimiser in self.optimisers.values():
            optimiser.step()

    def _average_gradients(self, player: Player) -> None:
        """Over all processes; what they have to say to each other goes along once a step."""
        if self.team.size > 1:
            first = player is self.players[0]
            heard = self.team.average_gradients(player.parameters(), self._words() if first else ())
            if first:
                self._heed(heard)

    def _note_gradients(self, player: Player) -> None:
        """For the record of this step: at once, as another player may share these parameters and get its own."""
        if self._record_is_due(self.step + 1):
            self._norms[f"gradient/{player.name}"] = _norm([p.grad for p in player.parameters()])

    def _record_is_due(self, step: int) -> bool:
        """Whether a record follows a step, counted from 1."""
        return step % self.settings.log_every == 0 or step >= self.total_steps

    def _set_learning_rates(self) -> None:
        """Constant, then falling exponentially over the last epochs; it depends on nothing but the step."""
        decay = self.settings.decay_iter * self.batches.per_epoch
        done = max(0, self.step - (self.total_steps - decay)) / decay if decay else 0.0
        rate = self.settings.learning_rate * FINAL_RATE**done
        for optimiser in self.optimisers.values():
            optimiser.param_groups[0]["lr"] = rate

    def _add(self, metrics: dict[str, torch.Tensor]) -> None:
        for name, value in metrics.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    @torch.no_grad()
    def _update_average(self) -> None:
        assert self.average is not None
        sampler = self.objective.sampler()
        decay = min(self.settings.ema, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(list(self.average.parameters()), list(sampler.parameters()), 1 - decay)
        for mine, theirs in zip(self.average.buffers(), sampler.buffers(), strict=True):
            mine.copy_(theirs)

    # ------------------------------------------------------------------ the loop

    def run(self, folder: RunFolder | None = None, *, tensorboard: bool = False) -> Iterator[Record]:
        """Play to the last epoch, yielding a record every ``log_every`` steps and at the end.

        Parameters
        ----------
        folder : RunFolder, optional
            Opened and locked by the caller. Checkpoints, history, samples and weights go there, and
            training continues from its newest checkpoint.
        tensorboard : bool
            Write event files to the folder too.

        Yields
        ------
        dict
            ``step``, ``total_steps``, ``epoch``, ``seconds`` (of this process), ``images_per_second``, and the means
            since the last record of ``loss/<player>``, ``logit/real``, ``logit/generated``, with
            ``gradient/<player>`` (norm at this step). Some records, the last among them, have what the monitor
            measured at this step, too.

        Raises
        ------
        RunError
            If a loss or a weight is no longer finite; the last checkpoint is from before.
        """
        resumed = self.resume(folder) if folder is not None else False
        self._start_alike()
        board = _Board(folder, self.step) if folder is not None and tensorboard and self.team.is_main else None
        try:
            if folder is not None and not resumed:
                self._write_sheet(folder, board)
            yield from self._loop(folder, board)
        finally:
            if board is not None:
                board.close()
        if folder is not None:
            self.save(folder, final=self.step >= self.total_steps)

    def _loop(self, folder: RunFolder | None, board: _Board | None) -> Iterator[Record]:
        start = logged = self._saved = time.perf_counter()
        while self.step < self.total_steps and not self._stops:
            with repeatable(self.device):
                self.play()
            self._summed += 1
            finished = self.step >= self.total_steps
            if self._record_is_due(self.step):
                now = time.perf_counter()
                record = self._record(now - start, now - logged, folder)
                logged = time.perf_counter()
                if folder is not None and self.team.is_main:
                    history.append(folder.history, record)
                    if board is not None:
                        board.add(record)
                yield record
                if self.team.size > 1:  # whoever watches may have asked to stop
                    self._heed(self.team.average_gradients((), self._words()))
            if folder is not None:
                if self._sheet_is_due():
                    self._write_sheet(folder, board)
                due = self._save_is_due() if self.team.size == 1 else self._save_agreed
                if due and not finished:
                    self.save(folder, final=False)
                    self._saved = time.perf_counter()

    def _record(self, seconds: float, since: float, folder: RunFolder | None) -> Record:
        means = {k: v / self._summed for k, v in self._sums_of_all().items()}
        norms = {name: float(value) for name, value in self._norms.items()}
        speed = self._summed * self.batches.size / max(since, 1e-9)
        self._sums, self._summed = {}, 0
        self._guard({**means, **norms}, folder)
        measured = self.team.told(self._measure) if self._evaluation_is_due() else {}
        self._guard(measured, folder)
        return {
            "step": self.step,
            "total_steps": self.total_steps,
            "epoch": self.epoch,
            "seconds": round(seconds, 3),
            "images_per_second": round(speed, 1),
            **means,
            **norms,
            **measured,
        }

    def _sums_of_all(self) -> dict[str, float]:
        """The open sums, each the mean over the processes."""
        sums = {name: float(value) for name, value in self._sums.items()}
        if self.team.size > 1:
            names = sorted(sums)  # after a resume they come in another order
            means = self.team.sum_(torch.tensor([sums[name] for name in names], dtype=torch.float64)) / self.team.size
            sums = dict(zip(names, means.tolist(), strict=True))
        return sums

    def _start_alike(self) -> None:
        """Give all processes the weights of the first one: they begin with the same ones, and stay the same."""
        networks = [self.objective, *([] if self.average is None else [self.average])]
        self.team.share_(tensor for network in networks for tensor in network.state_dict().values())

    def _evaluation_is_due(self) -> bool:
        """Whether one of the moments at equal distances, the last at the end, came since the record before."""
        if (self.monitor is None and self.checks is None) or not self.settings.evaluations:
            return False
        before = (self.step - 1) // self.settings.log_every * self.settings.log_every
        return any(before < moment <= self.step for moment in self._moments(self.settings.evaluations))

    def _measure(self) -> dict[str, float]:
        found: dict[str, float] = {}
        with repeatable(self.device):
            if self.monitor is not None:
                found |= self.monitor.measure(self._copy_for_use(), self.step)
            if self.checks is not None:
                copied = copy.deepcopy(self.objective).eval().requires_grad_(False)
                found |= self.checks.measure(copied, self.step)
        return found

    def _moments(self, count: int) -> set[int]:
        """So many steps at equal distances over the run, the last of them its end."""
        count = min(count, self.total_steps)
        return {round(self.total_steps * i / count) for i in range(1, count + 1)}

    def _guard(self, values: dict[str, float], folder: RunFolder | None) -> None:
        wrong = [name for name, value in values.items() if not np.isfinite(value)]
        if not wrong:
            return
        kept = "."
        if folder is not None:
            checkpoint = folder.read_checkpoint()
            kept = (
                f". The last good checkpoint is of step {checkpoint[1]['step']}, in {folder.path}."
                if checkpoint
                else f". There is no checkpoint in {folder.path} yet."
            )
        raise RunError(
            f"{' and '.join(wrong)} became {values[wrong[0]]} at step {self.step} (epoch {self.epoch:.2f}), "
            f"so training was stopped{kept} Train anew with a lower learning_rate "
            f"(now {self.settings.learning_rate})"
            + (" or with precision='fp32'" if self.settings.precision == "bf16" else "")
        )

    # ------------------------------------------------------------------ samples

    @torch.no_grad()
    def sheet(self) -> NDArray[np.uint8]:
        """Samples of the sheet's fixed z, ``uint8 (64, h, w, c)``, with running batch-norm statistics."""
        sampler = self.average if self.average is not None else self.objective.sampler()
        sampler.eval()
        with autocast(self.device, self.settings.precision):
            x_NCHW = sampler(self.sheet_z)
        sampler.train()
        return to_uint8(x_NCHW.float().permute(0, 2, 3, 1).cpu().numpy())

    def _sheet_is_due(self) -> bool:
        """At equal distances over the run, always at its end; the first is drawn before any training."""
        return self.settings.sheets > 0 and self.step in self._moments(self.settings.sheets)

    def _write_sheet(self, folder: RunFolder, board: _Board | None) -> None:
        if not self.settings.sheets or not self.team.is_main:
            return
        folder.samples.mkdir(exist_ok=True)
        sheets = {"samples": ("", tile(self.sheet()))}
        if self.monitor is not None:
            with repeatable(self.device):
                sheets["reconstructions"] = ("reconstruction-", self.monitor.sheet(self._copy_for_use()))
        for name, (prefix, sheet) in sheets.items():
            with replacing(folder.samples / f"{prefix}step-{self.step:08d}.png") as temporary:
                write_png(temporary, sheet)
            if board is not None:
                board.add_sheet(name, sheet, self.step)

    # ------------------------------------------------------------------ state

    def trained(self, recalibration_batches: int | None = None) -> Tensors:
        """Weights for use: batch norms re-estimated, the sampler's averaged. Training is not touched.

        D's statistics come from real images only, G's from z; see :mod:`ganfeat.nets.batchnorm`. The last
        result is kept: whoever asks at the same step without a number of batches gets what was saved.
        """
        kept = self._trained
        if kept is None or kept[0] != self.step or recalibration_batches not in (None, kept[1]):
            batches = recalibration_batches or RECALIBRATION_BATCHES
            kept = self._trained = (self.step, batches, self._make_trained(batches))
        return kept[2]

    def trained_for_all(self) -> Tensors:
        """:meth:`trained`, made by the first of the processes and given to all."""
        if self.team.size == 1:
            return self.trained()
        return unpack(self.team.share(to_bytes(self.trained()) if self.team.is_main else None))

    def _copy_for_use(self) -> Objective:
        """The objective with the weights that :meth:`save` would write at this step, in evaluation mode."""
        finished = self.step >= self.total_steps
        model = copy.deepcopy(self.objective)
        model.load_state_dict(self.trained(RECALIBRATION_BATCHES if finished else RECALIBRATION_BATCHES_AT_CHECKPOINTS))
        return model.eval().requires_grad_(False)

    def _make_trained(self, recalibration_batches: int) -> Tensors:
        model = copy.deepcopy(self.objective).eval()
        if self.average is not None:
            model.sampler().load_state_dict(self.average.state_dict())
        batches = min(recalibration_batches, self.batches.per_epoch)
        order = self.batches.order(0)
        size = self.batches.size
        generator = torch.Generator(self.device).manual_seed(self.settings.seed + 2)
        with torch.no_grad(), autocast(self.device, self.settings.precision):
            done: set[torch.nn.Module] = set()
            for name, network in model.taps().items():  # each its own batch norms: a joint D is shown E(x)
                norms = set(batch_norms(getattr(model, name)))
                if norms <= done:  # those of layers that networks share, once
                    continue
                done |= norms
                recalibrate(
                    network,
                    (self.batches.take(order[k * size : (k + 1) * size]) for k in range(batches)),
                    only=getattr(model, name),
                )
            if batch_norms(model.sampler()):
                per_epoch = self.batches.per_epoch
                starts = (size * (k % per_epoch) for k in range(max(batches, RECALIBRATION_BATCHES_AT_CHECKPOINTS)))
                takes = (functools.partial(self.batches.take, order[start : start + size]) for start in starts)
                recalibrate(model.sampler(), (model.inputs_of_sampler(size, generator, take) for take in takes))
        return dict(model.state_dict())

    def save(self, folder: RunFolder, *, final: bool = True) -> None:
        """Write a checkpoint, and the weights for use; of several processes, which all call this, the first one does.

        Raises
        ------
        RunError
            If a weight is not finite, or the weights are not those of the other processes (their Euclidean norms
            differ by more than 1e-6); nothing is written.
        """
        size = float(_norm(list(self.objective.parameters())))
        self._guard({"the size of the weights": size}, folder)
        tensors, state = self.state()
        if self.team.size > 1:
            # processors of other kinds may round the same update in another way
            self.team.agree("the size of the weights", size, relative=SAME_WEIGHTS)
            if not self.team.is_main:
                return
        # the weights first: whoever sees the last checkpoint finds the weights of that step
        folder.write_model(self.trained(RECALIBRATION_BATCHES if final else RECALIBRATION_BATCHES_AT_CHECKPOINTS))
        folder.write_checkpoint(tensors, state)

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """The exact state: weights, optimisers, average, random generator, position, open means.

        Of several processes, which all call this, it has the generator and the open means of each.
        """
        tensors: Tensors = {f"objective/{k}": v for k, v in self.objective.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for i, entry in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser/{name}/{i}/{k}": v for k, v in entry.items()}
        if self.average is not None:
            tensors |= {f"average/{k}": v for k, v in self.average.state_dict().items()}
        own = {"generator": self.generator.get_state(), **{f"sum/{k}": v for k, v in self._sums.items()}}
        if self.team.size == 1:
            tensors |= own
        else:
            for rank, content in enumerate(self.team.gather(to_bytes(own))):
                tensors |= {f"rank/{rank}/{k}": v for k, v in unpack(content).items()}
        return tensors, {
            **({"ranks": self.team.size} if self.team.size > 1 else {}),
            "step": self.step,
            "summed": self._summed,
            "updates": self.updates,
            "total_steps": self.total_steps,
            "threads": torch.get_num_threads(),
        }

    def load(self, tensors: Tensors, state: dict[str, Any]) -> None:
        """Put the state of :meth:`state` back."""
        self.objective.load_state_dict(_under(tensors, "objective/"))
        if self.average is not None:
            self.average.load_state_dict(_under(tensors, "average/"))
        for player in self.players:
            parameters = player.parameters()
            entries: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in _under(tensors, f"optimiser/{player.name}/").items():
                index, _, what = key.partition("/")
                if value.ndim:  # the fused kernel walks memory: a moment must lie as its weights do
                    value = torch.empty_like(parameters[int(index)]).copy_(value)
                entries.setdefault(int(index), {})[what] = value
            optimiser = self.optimisers[player.name]
            optimiser.load_state_dict({**optimiser.state_dict(), "state": entries})
        self.step, self._summed, self.updates = int(state["step"]), int(state["summed"]), int(state["updates"])
        own = self._own_state(tensors, int(state.get("ranks", 1)))
        self.generator.set_state(own["generator"])
        self._sums = {k: v.to(self.device) for k, v in _under(own, "sum/").items()}

    def _own_state(self, tensors: Tensors, ranks: int) -> Tensors:
        """Of a state, what is this process's alone.

        If there were others, what it draws from now on is new, and the open means are those over the others.
        """
        each = [tensors] if ranks == 1 else [_under(tensors, f"rank/{rank}/") for rank in range(ranks)]
        if ranks == self.team.size:
            return each[self.team.rank]
        sums = {k: torch.stack([one[k] for one in each]).mean(0) for k in each[0] if k.startswith("sum/")}
        generator = torch.Generator(self.device).manual_seed(
            int(np.random.SeedSequence([self._own_seed(self.step), self.step, ranks]).generate_state(1)[0])
        )
        return {"generator": generator.get_state(), **sums}

    def resume(self, folder: RunFolder) -> bool:
        """Continue from the folder's newest whole checkpoint; return whether there was one.

        Warns
        -----
        UserWarning
            For every damaged checkpoint that was passed over.

        Raises
        ------
        InputError
            If the run was to end earlier or later, and its learning rate has begun to fall towards that end.
        """
        checkpoint = self._read_checkpoint(folder)
        if checkpoint is None:
            if self.team.is_main:
                history.rewind(folder.history, 0)
            return False
        tensors, state, damaged = checkpoint
        for message in damaged:
            warnings.warn(message, stacklevel=2)
        ranks = int(state.get("ranks", 1))
        if ranks != self.team.size and state["step"] < self.total_steps:
            warnings.warn(
                f"this run was trained by {ranks} process{'es' * (ranks > 1)} and goes on with {self.team.size}: the "
                "result is as good, but not the same bit for bit",
                stacklevel=2,
            )
        decay = self.settings.decay_iter * self.batches.per_epoch
        planned = int(state.get("total_steps", self.total_steps))
        if decay and planned != self.total_steps and state["step"] > planned - decay:
            raise InputError(
                f"{folder.path} was to end after {planned // self.batches.per_epoch} epochs, and its learning rate is "
                f"falling towards that end since epoch {(planned - decay) // self.batches.per_epoch}: give it that "
                "max_iter, or train anew"
            )
        if self.device.type == "cpu" and ranks == self.team.size:  # with others it is not the same bit for bit anyway
            keep_threads(int(state["threads"]))
        self.load(tensors, state)
        if self.team.is_main:
            history.rewind(folder.history, self.step)
        return True

    def _read_checkpoint(self, folder: RunFolder) -> tuple[Tensors, dict[str, Any], list[str]] | None:
        """The newest one, as the first of the processes finds it: the others may not see its disk."""
        found = folder.read_checkpoint() if self.team.is_main else None
        if self.team.size == 1:
            return found
        rest = self.team.told(lambda: None if found is None else found[1:])
        if rest is None:
            return None
        return unpack(self.team.share(None if found is None else pack(found[0]))), *rest


def _norm(tensors: list[torch.Tensor | None]) -> torch.Tensor:
    present = [t.detach() for t in tensors if t is not None]
    if not present:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(present)))


def _under(tensors: Tensors, prefix: str) -> Tensors:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


class _Board:
    """TensorBoard's event files of a run, from a step on (later events of a killed process are purged)."""

    def __init__(self, folder: RunFolder, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder.path / "tensorboard"), purge_step=step + 1 if step else None)

    def add(self, record: Record) -> None:
        for name, value in record.items():
            if name not in ("step", "total_steps", "seconds"):
                self.writer.add_scalar(name, value, record["step"])

    def add_sheet(self, name: str, sheet: NDArray[np.uint8], step: int) -> None:
        self.writer.add_image(name, sheet, step, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()
