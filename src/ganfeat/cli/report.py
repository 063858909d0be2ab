"""``ganfeat report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ganfeat.cli.screen import Json, Quiet, Screen

ENDINGS = (".html", ".htm")


def report(
    run: Path,
    /,
    *,
    out: Annotated[
        Path | None, Parameter(name=["--out", "-o"], help="The .html file to write. [default: report.html in RUN]")
    ] = None,
    seed: Annotated[int, Parameter(help="Not used: taken so that all verbs take the same options.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Write a page that shows a run: samples and reconstructions over time, training curves, settings.

    One HTML file that needs no other and asks no host for anything. The run may be of any method, finished or still
    training, or imported. The same run gives the same page.

    Example: `ganfeat report runs/photos --out photos.html`.

    Parameters
    ----------
    run
        A run folder.
    """
    import shlex

    screen = Screen(json, quiet)
    out = run / "report.html" if out is None else out
    _check(out)

    from ganfeat.checkpoint import RunFolder
    from ganfeat.report import report_of_run, write_report
    from ganfeat.report.folder import finished

    folder = RunFolder(run)
    page = report_of_run(folder, command=shlex.join(["ganfeat", "report", str(run), "--out", str(out)]))
    with screen.stage("drawing the report", 0):
        write_report(page, out)
    config = folder.config()
    last = page.history[-1] if page.history else {}
    result: dict[str, Any] = {
        "run": str(run),
        "method": config["method"],
        "finished": "imported" in (config["data"] or {}) or finished(folder, page.history),
        "epochs": last.get("epoch", 0.0),
        "steps": last.get("step", 0),
        "samples": len(page.samples),
        "reconstructions": len(page.reconstructions),
        "records": len(page.history),
        "out": str(out),
    }
    screen.result(result)
    screen.say(f"{page.summary}\n\nReport: {out}")
    screen.next(["ganfeat", "extract", str(run), "DATA", "--out", "features.npy"])
    return 0


def _check(out: Path) -> None:
    """Refuse a wrong --out before any work is done."""
    from ganfeat.errors import InputError

    if out.is_dir():
        raise InputError(f"--out {out} is a folder: name a file in it, e.g. {out / 'report.html'}")
    if out.suffix not in ENDINGS:
        raise InputError(f"--out {out} must end in .html, e.g. {out.with_suffix('.html')}")
