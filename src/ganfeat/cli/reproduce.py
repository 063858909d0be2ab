"""``ganfeat reproduce``."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed, percent, stopping, this_command


def reproduce(
    recipe: Literal["bigan-mnist", "dcgan-cifar10", "dcgan-svhn1000"],
    /,
    *,
    data: Annotated[
        Path,
        Parameter(
            help="Folder of the data set. bigan-mnist: MNIST's four IDX files. dcgan-cifar10: train-*.parquet and "
            "test-*.parquet, as the Hub has them. "
            "dcgan-svhn1000: train_32x32.mat and test_32x32.mat, or the Hub's parquet files."
        ),
    ],
    scale: Annotated[
        Literal["smoke", "cpu", "full"],
        Parameter(
            help="smoke: does it run; the numbers mean nothing. cpu: real numbers on 2 CPU cores, about an hour for "
            "CIFAR-10, some hours for all of bigan-mnist. full: the paper's sizes, or its number of epochs."
        ),
    ] = "cpu",
    weights: Annotated[
        Path | None,
        Parameter(
            help="Folder of the DCGAN authors' released arrays (*_discrim_params.jl_01.npy ...): their network is "
            "scored beside."
        ),
    ] = None,
    methods: Annotated[
        tuple[str, ...] | None,
        Parameter(
            help="bigan-mnist: only these of bigan, lr (gives the row D, too), jlr, ae-l2, ae-l1, conv-lr, "
            "conv-lr-agreement, agreement, longer: "
            "`--methods bigan --methods ae-l2`. Several processes may train different ones into the same --out. "
            "[default: all]"
        ),
    ] = None,
    seeds: Annotated[int, Parameter(help="bigan-mnist: networks of each method, --seed the first one's.")] = 1,
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

    from ganfeat.errors import InputError

    out = Path(f"reproduce-{recipe}-{scale}") if out is None else out
    if recipe == "bigan-mnist":
        if weights is not None:
            raise InputError("--weights are for the recipes of DCGAN: leave them out")
        return _nearest(screen, data, scale, tuple(methods or ()), seeds, out, device, seed)
    if methods or seeds != 1:
        raise InputError(f"--methods and --seeds are for bigan-mnist: leave them out for {recipe}")
    return _table(screen, recipe, data, scale, weights, out, device, seed)


def _table(
    screen: Screen, recipe: str, data: Path, scale: str, weights: Path | None, out: Path, device: str, seed: int
) -> int:
    """A recipe of a DCGAN and an L2-SVM."""
    from ganfeat.recipes import dcgan_cifar10, dcgan_svhn1000, tables

    chosen = {r.name: r for r in (dcgan_cifar10.RECIPE, dcgan_svhn1000.RECIPE)}[recipe]
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


def _nearest(
    screen: Screen, data: Path, scale: str, methods: tuple[str, ...], seeds: int, out: Path, device: str, seed: int
) -> int:
    """The encoder family and one nearest neighbour."""
    from ganfeat.recipes import bigan_mnist

    screen.say(f"{bigan_mnist.ABOUT}. Scale {scale}: {bigan_mnist.SCALES[scale].expects}.")
    with stopping() as stop:
        results = bigan_mnist.run(
            out,
            data,
            screen.stage,
            scale=scale,
            methods=methods,
            seeds=seeds,
            seed=seed,
            device=device,
            command=this_command(),
            on_start=stop.calls,
        )
    if results is None:
        screen.say(f"stopped; the training is saved in {out}. To go on:\n{this_command()}")
        return stop.status if stop.signal else 130
    screen.result(results)
    rows = []
    for name, row in results["results"].items():
        first = next(iter(row["seeds"].values()))["trunk"]
        published = "-" if row["published"] is None else f"{row['published']:.2f}"
        untrained = fmean([100 * entry["trunk"]["untrained"]["accuracy"] for entry in row["seeds"].values()])
        rows.append(
            (name, published, f"{row['accuracy']:.2f}", f"± {100 * first['half_width']:.2f}", f"{untrained:.2f}")
        )
    rows += [
        (name, "", f"{100 * entry['accuracy']:.2f}", f"± {100 * entry['half_width']:.2f}", "")
        for name, entry in results["baselines"].items()
    ]
    screen.table(("1 nearest neighbour, accuracy, %", "paper", "here", "test images", "untrained"), rows)
    for target in results["targets"]:
        _goal(screen, target)
    screen.say(f"Results: {out / 'results.json'}")
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
        _goal(screen, {**target, "row": f"{target['set']}, {target['protocol']}"})


def _goal(screen: Screen, target: dict[str, Any]) -> None:
    """By how much the goal of a scale is passed or missed."""
    above = target["points_above"]
    screen.say(
        f"Goal of this scale: {target['goal']:g} % ({target['row']}): "
        f"{'passed' if above >= 0 else 'missed'} by {abs(above):.2f} points."
    )
