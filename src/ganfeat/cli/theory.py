"""``ganfeat theory``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed, refuse, this_command


def theory(
    run: Path,
    data: str,
    /,
    *,
    test: Annotated[
        str | None,
        Parameter(help="Real images that the network has not seen: measured on them, too, and probes scored on them."),
    ] = None,
    limit: Annotated[int, Parameter(help="Use so many images of DATA, and of --test, evenly spaced.")] = 5000,
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="Folder for theory.json and theory.html. [default: RUN/theory]"),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Measure what is claimed of discriminators as feature extractors on a trained network.

    Does D say the same of all real images? Is the part of their features in the row space of its head constant, is the
    null-space part as useful and more robust to noise? Are the logits of a classifier's classes y_i + lambda 1? One
    block a claim: evidence, and a verdict by a rule that stands beside it (holds, does not hold, cannot be told).
    docs/theory.md explains each. For runs of dcgan, latent-regressor, mgan and imported ones.

    Example: `ganfeat theory runs/digits mnist5k --limit 2000`.

    Parameters
    ----------
    run
        Run folder.
    data
        Real images, as `ganfeat train` takes them, best those that the run learned from; with labels for the claims
        that need them.
    """
    from ganfeat.checkpoint import RunFolder
    from ganfeat.errors import InputError

    screen = Screen(json, quiet)
    RunFolder(run).config()
    if RunFolder(data).exists:
        raise InputError(f"DATA, the second argument, is images, and {data} is a run folder: ganfeat theory RUN DATA")
    out = run / "theory" if out is None else out
    refuse(out)
    screen.start()

    from ganfeat.report.theory import write_theory
    from ganfeat.theory import measure_theory

    result = measure_theory(run, data, screen.stage, test=test, limit=limit, device=device, seed=seed)
    result = {"command": this_command(), **result}
    result["notes"] += write_theory(result, out)
    screen.result(result)
    _show(screen, result)
    screen.say(f"Written: {out / 'theory.html'}, {out / 'theory.json'}")
    screen.next(["ganfeat", "compare", str(run), data])
    return 0


def _show(screen: Screen, result: dict[str, Any]) -> None:
    """One block a claim, and the verdicts together."""
    from rich.markup import escape

    from ganfeat.report.theory import headings, part_in_words, rules, table_cells, verdicts

    for claim in result["claims"]:
        screen.say(f"\n{claim['title']}: {claim['verdict'].upper()}\n{claim['says']}")
        for part in claim["parts"]:
            screen.say(f"- {part_in_words(part)}")
        for rule in rules(claim):
            screen.say(f"Rule: {rule}.")
        for table in claim["tables"]:
            rows = [[escape(cell) for cell in row] for row in table_cells(table)]
            screen.table(headings(table), rows)
        for note in claim["notes"]:
            screen.say(note)
    screen.say("")
    screen.table(("claim", "verdict"), verdicts(result))
    for note in result["notes"]:
        screen.say(note)
