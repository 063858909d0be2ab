"""``ganfeat compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed, refuse, this_command


def compare(
    *paths: Annotated[
        str,
        Parameter(
            name="RUN... DATA",
            help="Run folders, and last the images, with labels, as `ganfeat train` takes them.",
        ),
    ],
    test: Annotated[
        str | None, Parameter(help="Labelled images to score on. [default: a fifth of DATA is held out]")
    ] = None,
    labels_per_class: Annotated[
        tuple[int, ...], Parameter(help="Repeat for several. A class with fewer gives what it has.")
    ] = (10, 100),
    draws: Annotated[int, Parameter(help="Training sets a number of labels, at most.")] = 10,
    at: Annotated[str, Parameter(help="Where layers are read: conv, norm or activation.")] = "activation",
    pool: Annotated[int, Parameter(help="Side of the grid that maps are pooled to; 0 keeps every pixel.")] = 4,
    pooling: Annotated[str, Parameter(help="max or avg.")] = "max",
    limit: Annotated[int | None, Parameter(help="Use so many images of DATA, and of --test, evenly spaced.")] = None,
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="Folder for compare.json, compare.html and compare.png."),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Tell which network and which of its layers give the best features.

    Every conv (or fully connected) layer of every run's network, and all its layers together, under one few-label
    protocol; beside each the same layer untrained, and raw pixels, PCA and k-means features. A run with an encoder has
    two networks, E and D, each with its layers; E's output E(x) is a row of its own. Also what can be told of the
    features without a label, and how well that ranks them here.

    Example: `ganfeat compare runs/a runs/b photos/`.
    """
    from ganfeat.checkpoint import RunFolder
    from ganfeat.errors import InputError

    screen = Screen(json, quiet)
    if len(paths) < 2:
        raise InputError("give at least one run folder and, last, images with labels: ganfeat compare RUN... DATA")
    *runs, data = paths
    if RunFolder(data).exists:
        raise InputError(
            f"DATA, the last argument, is images with labels, and {data} is a run folder: ganfeat compare RUN... DATA"
        )
    for run in runs:
        RunFolder(run).config()
    if out is not None:
        refuse(out)
    screen.start()

    from rich.markup import escape

    from ganfeat.comparison import compare_networks
    from ganfeat.probes import FewLabels
    from ganfeat.report.comparison import comparison_table, sentences, write_comparison

    protocol = FewLabels(labels_per_class=labels_per_class, draws=draws, seed=seed)
    result = compare_networks(
        runs,
        data,
        protocol,
        screen.stage,
        test=test,
        limit=limit,
        at=at,
        pool=pool or None,
        pooling=pooling,
        device=device,
    )
    result = {"command": this_command(), **result}
    if out is not None:
        result["notes"] += write_comparison(result, out)
    screen.result(result)
    headings, rows = comparison_table(result)
    screen.table(headings, [[escape(row[0]), *row[1:]] for row in rows])  # a run's name may look like markup
    for sentence in sentences(result):
        screen.say(sentence)
    if out is not None:
        screen.say(f"Written: {', '.join(str(p) for p in sorted(out.glob('compare.*')))}")
    best = next(row for row in result["rows"] if row["name"] == result["best_layer"])
    network = next(network for network in result["networks"] if network["name"] == best["network"])
    both = any(other["run"] == network["run"] and other is not network for other in result["networks"])
    which = ["--network", network["tapped"]] if both else []
    screen.next(["ganfeat", "extract", network["run"], data, "--out", "features.npy", *which, "--taps", best["tap"]])
    return 0
