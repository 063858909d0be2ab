"""Counting while an extraction runs, and at its end: every image once, with features or with the reason why not."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ganfeat.checkpoint import write_atomically
from ganfeat.data.batch import allowed_skips, check_skipped
from ganfeat.data.images import Skipped
from ganfeat.errors import InputError, RunError
from ganfeat.scale.decoding import chosen
from ganfeat.scale.output import LISTING, Done, Output, count_rows, read_done, read_errors
from ganfeat.scale.plan import Plan, ShardList
from ganfeat.scale.worker import MODULUS

SHOWN = 100
"""Unreadable images that the card names; all of them are in ``errors/``."""


@dataclass
class Tally:
    """What is done so far, and whether more is unreadable than allowed.

    Parameters
    ----------
    plan : Plan
    output : Output
    max_skipped : float or int
        A share of all images, or their number.
    """

    plan: Plan
    output: Output
    max_skipped: float
    shards: int = 0
    images: int = 0
    unread: int = field(init=False)

    def __post_init__(self) -> None:
        self.unread = self.plan.listed
        self.check()

    def add(self, done: Done) -> None:
        """Count a shard.

        Raises
        ------
        InputError
            As soon as more images are unreadable than are allowed among as many as there are.
        """
        self.shards += 1
        self.images += done.rows + done.errors
        self.unread += done.errors
        self.check()

    def check(self, *, ended: bool = False) -> None:
        """Compare with the limit, where the number of all images is known."""
        images = self.images if ended else self.plan.images
        if images is None:
            if not isinstance(self.max_skipped, int):
                return
            images = self.images
        total = images + self.plan.listed
        allowed = allowed_skips(self.max_skipped, total)
        if self.unread > allowed:
            shown = _first_unread(self.output, self.plan, self.unread)
            check_skipped(shown, total, allowed, unfinished=not ended)


def _first_unread(output: Output, plan: Plan, unread: int) -> list[Skipped]:
    """As many entries as there are unreadable images; the first few have their names and reasons."""
    named = list(read_errors(output.errors / LISTING, SHOWN))
    for path in sorted(output.errors.glob("part-*.parquet")):
        if len(named) >= SHOWN:
            break
        named += read_errors(path, SHOWN - len(named))
    return [*named[:unread], *[Skipped("", "")] * (unread - len(named))]


def finish(output: Output, plan: Plan, max_skipped: float) -> dict[str, Any]:
    """Count everything that was written, and write the card.

    Parameters
    ----------
    output : Output
    plan : Plan
    max_skipped : float or int

    Returns
    -------
    dict
        The card.

    Raises
    ------
    InputError
        If a part is damaged or does not belong here, or too many images could not be read.
    RunError
        If parts are missing.
    """
    expected = [plan.name(shard) for shard in range(plan.shards)]
    there = output.parts()
    if missing := [name for name in expected if name not in there]:
        raise RunError(f"{output.path}: {len(missing)} of {plan.shards} parts are missing: run the same command again")
    if foreign := sorted(there - set(expected)):
        raise InputError(f"{output.path} holds {foreign[0]}, which is not of its plan: delete it, and run again")
    shards = ShardList(output)
    tally = Tally(plan, output, max_skipped)
    rows = pixels = odd = 0
    for shard, name in enumerate(expected):
        found, errors, noted = read_done(output, name)
        wanted = _candidates(plan, shards, shard)
        if noted.get("errors") != str(errors) or (wanted is not None and found + errors != wanted):
            raise InputError(
                f"{output.part(name)} has {found} rows, its side table {errors}; there were {noted.get('errors')} "
                f"errors among {'its' if wanted is None else wanted} images: delete the part, and run the same command "
                "again"
            )
        tally.add(Done(shard, found, errors))
        rows, pixels, odd = rows + found, pixels + int(noted["pixels"], 16), odd + int(noted.get("odd_labels", 0))
    tally.check(ended=True)
    if not rows:
        raise InputError(f"no image in {plan.source} can be read: {output.errors} says why")
    if count_rows(output.errors / LISTING) != plan.listed:
        raise InputError(f"{output.errors / LISTING} is not as it was written: extract into another folder")
    card = _card(output, plan, rows, tally.unread, f"{pixels % MODULUS:064x}", odd)
    write_atomically(output.card, (json.dumps(card, indent=2) + "\n").encode())
    output.sweep(every=True)
    return card


def _candidates(plan: Plan, shards: ShardList, number: int) -> int | None:
    """How many images a shard has, where that is known."""
    if plan.count is None:
        return None
    shard = shards[number]
    rows = chosen(shard, plan.count, plan.settings["limit"])
    return shard.stop - shard.start if rows is None else len(rows)


def _card(output: Output, plan: Plan, rows: int, unread: int, pixels: str, odd: int) -> dict[str, Any]:
    settings, about = plan.settings, plan.about
    columns = [
        "features",
        *(["labels"] if plan.labels else []),
        *(["pixels", "random_init"] if settings["baselines"] else []),
    ]
    named = _first_unread(output, plan, min(unread, SHOWN))
    return {
        **about,
        "data": plan.source,
        "images": rows,
        "dtype": settings["dtype"],
        "pool": settings["pool"],
        "pooling": settings["pooling"],
        "mirror": settings["mirror"],
        "batch norm": settings["bn"],
        "untrained network": settings["baselines"],
        "image_shape": settings["image_shape"],
        "fingerprint": pixels,
        "rows": dict.fromkeys(columns, rows),
        "labels left out": odd,
        "parts": plan.shards,
        "unreadable": unread,
        "skipped": [{"source": s.source, "reason": s.reason} for s in named],
        "classes": None if plan.classes is None else list(plan.classes),
        "plan": plan.digest,
    }


def read_card(output: Output) -> dict[str, Any] | None:
    """The card of a folder that is whole."""
    try:
        card = json.loads(output.card.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return card if isinstance(card, dict) else None
