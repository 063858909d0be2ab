"""``ganfeat reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed, percent, stopping, this_command


def reproduce(
    recipe: Literal["dcgan-cifar10", "dcgan-svhn1000"],
    /,
    *,
    data: Annotated[
        Path,
        Parameter(
            help="Folder of the data set. dcgan-cifar10: train-*.parquet and test-*.parquet, as the Hub has them. "
            "dcgan-svhn1000: train_32x32.mat and test_32x32.mat, or the Hub's parquet files."
        ),
    ],
    scale: Annotated[
        Literal["smoke", "cpu", "full"],
        Parameter(
            help="smoke: does it run; the numbers mean nothing. cpu: real numbers on 2 CPU cores, about an hour for "
            "CIFAR-10. full: the paper's sizes, for a GPU."
        ),
    ] = "cpu",
    weights: Annotated[
        Path | None,
        Parameter(
            help="Folder of the DCGAN authors' released arrays (*_discrim_params.jl_01.npy ...): their network is "
            "scored beside."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="Folder for the results and the run. [default: reproduce-RECIPE-SCALE]"),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Run a table of a paper again, and say by how much it is met or missed.

    Trains a network of our own without labels, and scores its features beside raw pixels, PCA, k-means features and
    the same network untrained, by the paper's protocol; the published numbers stand beside. Stopped and called again,
    it goes on. Writes results.json and the run folder `run` into --out.

    Example: `ganfeat reproduce dcgan-cifar10 --data data/cifar10 --scale smoke`.

    Parameters
    ----------
    recipe
        Which table.
    """
    screen = Screen(json, quiet)
    screen.start()

    from ganfeat.recipes import dcgan_cifar10, dcgan_svhn1000, tables

    recipes = {r.name: r for r in (dcgan_cifar10.RECIPE, dcgan_svhn1000.RECIPE)}
    chosen = recipes[recipe]
    out = Path(f"reproduce-{recipe}-{scale}") if out is None else out
    screen.say(f"{chosen.about}. Scale {scale}: {chosen.scales[scale].expects}.")
    with stopping() as stop:
        results = tables.run(
            chosen,
            out,
            data,
            screen.stage,
            scale=scale,
            weights=weights,
            command=this_command(),
            seed=seed,
            device=device,
            on_start=stop.calls,
        )
    if results is None:
        screen.say(f"stopped; the training is saved in {out / 'run'}. To go on:\n{this_command()}")
        return stop.status if stop.signal else 130
    screen.result(results)
    _show(screen, results, list(chosen.protocols))
    screen.say(f"Results: {out / 'results.json'}")
    if results["network"] is not None:
        screen.next(["ganfeat", "info", str(out / "run")])
    return 0


def _show(screen: Screen, results: dict[str, Any], protocols: list[str]) -> None:
    """The table, the published numbers, and the target."""
    rows = [
        (name, f"{entry['features']:,}", *(percent(entry[p]["mean"], entry[p]["half_width"]) for p in protocols))
        for name, entry in results["results"].items()
    ]
    screen.table(("accuracy, %", "features", *protocols), rows)
    screen.table(
        ("published", "accuracy, %", "source"),
        [(p["what"], f"{p['accuracy']:g}", p["source"]) for p in results["published"]],
    )
    if (target := results["target"]) is not None:
        above = target["points_above"]
        screen.say(
            f"Goal of this scale: {target['goal']:g} % ({target['set']}, {target['protocol']}): "
            f"{'passed' if above >= 0 else 'missed'} by {abs(above):.1f} points."
        )
