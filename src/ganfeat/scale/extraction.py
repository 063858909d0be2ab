"""Extraction of features into a folder of parts, by one of two engines."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ganfeat.distributed import rank, world_size
from ganfeat.distributed.team import Team, joined
from ganfeat.errors import InputError
from ganfeat.scale.begin import Options, Stage, Wanted, absolute, absolute_data, absolute_run, begin, look, no_stage
from ganfeat.scale.finish import Tally, finish, read_card
from ganfeat.scale.local import run_here, share_of, wait_for
from ganfeat.scale.output import Done, Output, read_done
from ganfeat.scale.plan import Plan, digest_of

ENGINES = ("local", "ray")


def extract(
    run: Path | str,
    data: Path | str,
    out: Path | str,
    options: Options | None = None,
    *,
    engine: str = "local",
    address: str | None = None,
    actors: int | None = None,
    device: str = "auto",
    batch_size: int = 256,
    max_skipped: float = 0.1,
    done: Mapping[str, Any] | None = None,
    stage: Stage = no_stage,
) -> dict[str, Any]:
    """Turn images into features in a folder of parquet parts; what is there already is not done again.

    Parameters
    ----------
    run : Path or str
        A run folder, or ``"hf-hub:owner/name"``.
    data : Path or str
        Images, as :func:`~ganfeat.data.shards.open_shards` takes them.
    out : Path or str
        The folder. It may exist if it is empty, or was begun with the same options.
    options : Options, optional
    engine : {"local", "ray"}
        ``local``: this process; under torchrun, each process its share.
    address : str, optional
        Of a Ray cluster; without it, ``ray`` is started on this machine for as long as it takes.
    actors : int, optional
        Ray's workers, each with a network; by default one a GPU, or one a CPU where there is none.
    device : str
    batch_size : int
    max_skipped : float or int
        How many images may be unreadable: a share of all, or a number.
    done : dict, optional
        The card of features that lie elsewhere, as one file. If they are what is asked for, it is given back, and
        nothing is done.
    stage : callable(name, total) -> context manager
        Shows progress.

    Returns
    -------
    dict
        The card, as it is in ``features.json``.

    Raises
    ------
    InputError
        If something is wrong with the arguments, or too many images cannot be read.
    RunError
        If something that went well broke off; the same call goes on.
    MissingExtraError
        For Ray without the library.
    """
    options = options or Options()
    if engine not in ENGINES:
        raise InputError(f"engine={engine!r} is not known: choose one of {', '.join(ENGINES)}")
    if engine != "ray" and (address is not None or actors is not None):
        raise InputError("--address and --actors are of Ray: add --engine ray")
    if engine == "ray":
        if world_size() > 1:
            raise InputError("--engine ray starts its own workers: call it without torchrun")
        from ganfeat.scale.ray_engine import import_ray

        import_ray()
    output = Output(Path(absolute(str(out))))
    if not output.path.parent.is_dir():
        raise InputError(f"the folder of --out {out} does not exist: mkdir -p {output.path.parent}")
    run, data = absolute_run(str(run)), absolute_data(str(data))
    with joined(device) as team:

        def looked() -> Wanted | None:
            if not team.is_main:
                return None
            return look(run, data, options, device=device, batch_size=batch_size, stage=stage)

        wanted = team.in_turn(team.rank > 0, looked)
        if team.told(
            lambda: done is not None and wanted is not None and done.get("plan") == digest_of(wanted.settings)
        ):
            return dict(done or {})

        def ready() -> Plan:
            if wanted is not None:
                return begin(output, wanted, stage)
            plan = Plan.read(output)
            if plan is None:
                raise InputError(f"rank {rank()} does not see {output.plan}: all machines must see the same folders")
            return plan

        plan = team.in_turn(team.rank > 0, ready)
        whole = team.told(lambda: None if plan.missing(output) else read_card(output))
        if whole is not None:
            return dict(whole)
        if team.is_main:
            output.card.unlink(missing_ok=True)  # until every part is there again
            output.sweep()
        missing = plan.missing(output)
        tally = Tally(plan, output, max_skipped)
        for shard in sorted({*range(plan.shards)} - {*missing}):
            rows, errors, _ = read_done(output, plan.name(shard))
            tally.add(Done(shard, rows, errors))
        if engine == "ray":
            from ganfeat.scale.ray_engine import run_on_ray

            work = run_on_ray(
                output, run, missing, plan, address=address, actors=actors, device=device, batch_size=batch_size
            )
        else:
            missing = share_of(missing, team.rank, team.size)
            work = run_here(output, run, missing, device=device, batch_size=batch_size)
        _watch(work, tally, stage, None if team.size > 1 else plan.images, len(missing))
        if team.size > 1:
            with stage("waiting for the others", plan.shards) as update:
                for left in wait_for(plan, output, lambda: team.heed(team.failed())):
                    update(plan.shards - left)
        return _end(team, output, plan, max_skipped)


def _watch(work: Generator[Done], tally: Tally, stage: Stage, images: int | None, shards: int) -> None:
    """Show the progress in images, or in shards where it is not known how many images there are."""
    before = tally.shards
    with stage("extracting", images or shards) as update, closing(work):
        for done in work:
            tally.add(done)
            update(tally.images if images else tally.shards - before)


def _end(team: Team, output: Output, plan: Plan, max_skipped: float) -> dict[str, Any]:
    """The first process counts and writes the card; the others wait for it, to fail with it if it fails."""

    def end() -> dict[str, Any]:
        return finish(output, plan, max_skipped) if team.is_main else read_card(output) or {}

    return team.in_turn(team.rank > 0, end)
