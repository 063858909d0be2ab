"""``ganfeat demo``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed, stopping, this_command


def demo(
    *,
    out: Annotated[
        Path, Parameter(name=["--out", "-o"], help="Folder for the report, the results and the run.")
    ] = Path("demo-out"),
    images: Annotated[
        str,
        Parameter(
            help="mnist5k (5,000 real MNIST digits), digits (1,797 of 8 x 8), or a path. "
            "Labels are used for scoring only."
        ),
    ] = "mnist5k",
    max_iter: Annotated[
        int | None, Parameter(help="Epochs. [default: what takes about a minute on 2 CPU cores for mnist5k]")
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Go the whole way on real digits: train, extract, probe, report.

    A DCGAN learns from 80 % of the images without their labels; its discriminator's features are then compared with
    raw pixels, PCA and the same network untrained, on the images that were held out. At most three minutes on 2 CPU
    cores. Stopped and called again, it goes on.
    """
    screen = Screen(json, quiet)
    screen.start()

    from ganfeat.config import FEATURE_SETS
    from ganfeat.recipes import demo as recipe

    with stopping() as stop:
        results = recipe.run(out, images, screen.stage, device=device, seed=seed, epochs=max_iter, on_start=stop.calls)
    if results is None:
        screen.say(f"stopped; the training is saved in {out / 'run'}. To go on:\n{this_command()}")
        return stop.status if stop.signal else 130
    screen.result(results)
    if results["accuracy"]:
        screen.accuracies(results, FEATURE_SETS)
    screen.say(f"{recipe.summary_sentence(results)}\n\nReport: {out / 'report.html'} ({results['seconds']:.0f} s)")
    screen.say(
        f"Look around in it, in the browser: {shlex.join(['ganfeat', 'studio', str(out / 'run'), '--data', images])}"
    )
    screen.next(["ganfeat", "train", "FOLDER-OF-IMAGES", "--out", "runs/mine"])
    return 0
