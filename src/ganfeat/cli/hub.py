"""``hf-hub:owner/name`` wherever a verb takes a run folder: the one place where the command line fetches models."""

from __future__ import annotations

import sys
from collections.abc import Sequence

PREFIX = "hf-hub:"
INTO_RUN = ("theory", "walk", "arithmetic", "saliency", "forget", "report")
"""Verbs that write into the run folder where they are not told another."""
OUT = ("--out", "-o")


def from_hub(arguments: Sequence[str]) -> list[str]:
    """The arguments of a verb, with every model of the Hub as the folder that it was fetched to.

    Raises
    ------
    InputError
        If there is no such model, or the verb would write to the Hub or into its cache.
    RunError
        If the Hub cannot be reached, and no copy is kept.
    """
    found = list(arguments)
    places = [i for i, argument in enumerate(found) if argument.startswith(PREFIX)]
    written = [argument for argument in found if argument.startswith(tuple(f"{out}={PREFIX}" for out in OUT))]
    if not places and not written:
        return found

    from ganfeat.errors import InputError

    if written:
        option, _, name = written[0].partition("=")
        raise InputError(f"{option} {name} is no folder: to publish a run use ganfeat export RUN --hub owner/name")
    for i in places:
        before = found[i - 1] if i else ""
        if before in OUT:
            raise InputError(
                f"{before} {found[i]} is no folder: to publish a run use ganfeat export RUN --hub owner/name"
            )
    if found[0] in INTO_RUN and not any(a in OUT or a.startswith("--out=") for a in found):
        raise InputError(
            f"ganfeat {found[0]} writes into its run folder, and {found[places[0]]} is none: add --out FOLDER"
        )

    from ganfeat.estimators.hub import fetch

    for i in places:
        if found[i - 1] == "--hub":
            continue  # export's: where to, not where from
        if not {"-q", "--quiet"} & set(found):
            print(f"fetching {found[i]}", file=sys.stderr, flush=True)
        found[i] = str(fetch(found[i]))
    return found
