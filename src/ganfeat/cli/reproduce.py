"""``ganfeat reproduce``."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed, percent, stopping, this_command


def reproduce(
    recipe: Literal["bigan-mnist", "dcgan-cifar10", "dcgan-svhn1000", "mgan-cifar10", "mgan-mnist"],
    /,
    *,
    data: Annotated[
        Path,
        Parameter(
            help="Folder of the data set. bigan-mnist, mgan-mnist: MNIST's four IDX files. dcgan-cifar10, "
            "mgan-cifar10: train-*.parquet and test-*.parquet, as the Hub has them. "
            "dcgan-svhn1000: train_32x32.mat and test_32x32.mat, or the Hub's parquet files."
        ),
    ],
    scale: Annotated[
        Literal["smoke", "cpu", "full"],
        Parameter(
            help="smoke: does it run; the numbers mean nothing. cpu: real numbers on 2 CPU cores, about an hour for "
            "dcgan-cifar10, some hours for all of bigan-mnist or mgan-mnist. full: the paper's sizes, or its number of "
            "epochs."
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
    seeds: Annotated[
        int | None,
        Parameter(
            help="bigan-mnist: networks of each method; mgan-mnist, mgan-cifar10: for every number of shares removed. "
            "--seed is the first one's. [default: 1; of mgan-*: 3]"
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        Parameter(
            name=["--jobs", "-j"],
            help="mgan-mnist, mgan-cifar10: networks that are trained side by side, each in a process. [default: one "
            "an idle CPU, or OMP_NUM_THREADS; on a GPU at most 4]",
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
    threads = screen.start()

    from ganfeat.errors import InputError

    out = Path(f"reproduce-{recipe}-{scale}") if out is None else out
    if recipe in ("mgan-cifar10", "mgan-mnist"):
        if weights is not None or methods:
            raise InputError(f"--weights and --methods are not for {recipe}: leave them out")
        return _shares(screen, recipe, data, scale, seeds, jobs, out, device, seed, threads)
    if jobs is not None:
        raise InputError(f"--jobs is for mgan-mnist and mgan-cifar10: leave it out for {recipe}")
    if recipe == "bigan-mnist":
        if weights is not None:
            raise InputError("--weights are for the recipes of DCGAN: leave them out")
        return _nearest(screen, data, scale, tuple(methods or ()), 1 if seeds is None else seeds, out, device, seed)
    if methods or seeds is not None:
        raise InputError(
            "--methods is for bigan-mnist, --seeds for it and for mgan-mnist and mgan-cifar10: leave them out for "
            f"{recipe}"
        )
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


def _shares(
    screen: Screen,
    recipe: str,
    data: Path,
    scale: str,
    seeds: int | None,
    jobs: int | None,
    out: Path,
    device: str,
    seed: int,
    threads: int,
) -> int:
    """M-GAN, D and C sharing fewer and fewer layers."""
    from ganfeat.device import resolve_device
    from ganfeat.recipes import mgan

    table = mgan.TABLES[recipe]
    if jobs is None:
        jobs = min(4, threads) if resolve_device(device).type == "cuda" else threads
    screen.say(f"{table.about}. Scale {scale}: {mgan.SCALES[scale].expects}.")
    with stopping() as stop:
        results = mgan.run(
            table,
            out,
            data,
            screen.stage,
            scale=scale,
            seeds=seeds,
            seed=seed,
            jobs=jobs,
            device=device,
            command=this_command(),
            on_start=stop.calls,
        )
    if results is None:
        screen.say(f"stopped; the trainings are saved in {out}. To go on:\n{this_command()}")
        return stop.status if stop.signal else 130
    screen.result(results)
    for name, title in (("softmax", "the study's probe"), ("svm", "L2-SVM")):
        _show_shares(screen, results, name, title)
    screen.say(f"Results: {out / 'results.json'}")
    return 0


def _show_shares(screen: Screen, results: dict[str, Any], name: str, title: str) -> None:
    """The table by one probe, and whether the gap grows."""

    def number(value: float | None, digits: int = 2, times: float = 100) -> str:
        return "-" if value is None else f"{times * value:.{digits}f}"

    def interval(point: dict[str, Any]) -> str:
        return number(point["mean"]) + ("" if point["ci95"] is None else f" ± {100 * point['ci95']:.2f}")

    rows = []
    for removed, row in results["results"].items():
        paper = row["published"]
        sides = [
            cell
            for which in ("discriminator", "classifier")
            for cell in (
                number(paper[which]),
                interval(row[which][name]),
                number(row[which][name]["untrained"]["mean"]),
            )
        ]
        rows.append((removed, *sides, number(paper["gap"], times=1), interval(row["gap"][name])))
    rows += [(baseline, "", number(entry[name]), *[""] * 6) for baseline, entry in results["baselines"].items()]
    screen.table(
        ("shares removed", "D, paper", "D", "untrained", "C, paper", "C", "untrained", "C-D, paper", "C-D"),
        rows,
        f"Accuracy in % by {title}",
    )
    found = results["trend"][name]
    if (gap := found["gap"]) is not None:
        screen.say(f"C - D with 1 share removed or more: {interval(gap)} points.")
    for key, which in (("from 1", "with 1 share removed or more"), ("from 0", "with 0, too, where it is 0 by nature")):
        trend = found[key]
        if trend is not None and trend["spearman"] is not None:
            screen.say(
                f"C - D {which}: {100 * trend['slope']:+.2f} points a share, rank correlation "
                f"{trend['spearman']:+.2f} (p = {trend['p']:.4f}), over {trend['points']} networks."
            )


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
