"""``ganfeat extract --out FOLDER`` or ``--out F.parquet``: any number of images, in parts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ganfeat.cli.screen import Screen


def extract_to_parts(
    run: Path,
    data: str,
    out: Path,
    screen: Screen,
    options: dict[str, Any],
    how: dict[str, Any],
    max_skipped: float,
) -> int:
    """Do it.

    Parameters
    ----------
    run, data, out
        As on the command line.
    screen : Screen
    options : dict
        Of :class:`~ganfeat.scale.Options`.
    how : dict
        Of :func:`~ganfeat.scale.extract`: what does not change the features.
    max_skipped : float or int
    """
    from ganfeat.distributed import is_main, world_size

    if world_size() > 1:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    screen.start()

    from ganfeat.distributed.team import Elsewhere
    from ganfeat.scale import Options, extract

    single = out.suffix == ".parquet"
    folder = out.with_name(f".{out.name}.parts") if single else out
    done = card_beside(out, folder) if single else None
    try:
        card = extract(
            run, data, folder, Options(**options), **how, max_skipped=max_skipped, done=done, stage=screen.stage
        )
    except Elsewhere as error:
        return error.status
    if not is_main():
        return 0
    errors = folder / "errors" if card["unreadable"] else None
    if single:
        errors = _beside(out)["errors"] if card["unreadable"] else None
        if card == done:
            remove_parts(folder)
        else:
            with screen.stage("joining the parts", card["images"]) as update:
                join_parts(folder, out, card, update)
    screen.result({**card, "out": str(out), "errors": None if errors is None else str(errors)})
    pca = card["pca"]
    screen.table(
        (str(out), ""),
        [
            ("images", f"{card['images']:,}"),
            *([("unreadable", f"{card['unreadable']:,}: {errors}")] if errors is not None else []),
            *([] if single else [("parts", f"{card['parts']:,}")]),
            ("features", f"{card['features']:,} {card['dtype']}"),
            *(
                [("components", f"of {pca['of']:,}; they hold {100 * pca['share of variance']:.1f} % of the variance")]
                if pca
                else []
            ),
            ("network", card["network"]),
            ("taps", ", ".join(card["taps"])),
            ("labels", _labels(card)),
        ],
    )
    if "labels" in card["rows"]:
        screen.next(["ganfeat", "probe", str(out)])
    else:
        screen.say(f"\nNext, with a label for every image in labels.npy: ganfeat probe {out} labels.npy")
    return 0


def _labels(card: dict[str, Any]) -> str:
    said = "in the column label" if "labels" in card["rows"] else "none"
    odd = card["labels left out"]
    return f"{said}; {odd:,} of another kind were left out" if odd else said


def _beside(out: Path) -> dict[str, Path]:
    """The files that belong to F.parquet."""
    from ganfeat.cli.extract import siblings
    from ganfeat.projection import PROJECTION

    return {
        "projection": out.with_suffix(f".{PROJECTION}"),
        "errors": out.with_suffix(".errors.parquet"),
        "card": siblings(out)["card"],
    }


def card_beside(out: Path, folder: Path) -> dict[str, Any] | None:
    """The card of F.parquet, if it is there and whole.

    Raises
    ------
    InputError
        If a file that would be written beside F.parquet is there and none of an earlier F.parquet.
    """
    import json

    from ganfeat.errors import InputError

    beside = _beside(out)
    try:
        card = json.loads(beside["card"].read_text(encoding="utf-8"))
    except (OSError, ValueError):
        card = None
    if isinstance(card, dict) and isinstance(card.get("plan"), str):
        wanted = [
            out,
            *([beside["projection"]] if card["pca"] else []),
            *([beside["errors"]] if card["unreadable"] else []),
        ]
        return card if all(path.exists() for path in wanted) else None
    if not (folder / "plan.json").exists():  # else joining them was broken off
        foreign = next((path for path in beside.values() if path.exists()), None)
        if foreign is not None:
            raise InputError(
                f"{foreign} is in the way, and is not of an earlier {out.name}: move it, or choose another --out"
            )
    return None


def remove_parts(folder: Path) -> None:
    """Remove a folder of parts; killed meanwhile, what is left is not taken for one."""
    rubbish = folder.with_name(f"{folder.name}.done")
    shutil.rmtree(rubbish, ignore_errors=True)
    if (folder / "plan.json").exists():
        folder.rename(rubbish)
        shutil.rmtree(rubbish)


def join_parts(folder: Path, out: Path, card: dict[str, Any], update: Any) -> None:
    """Make one file of a folder of parts, and remove the folder.

    Beside F.parquet lie F.json, F.projection.safetensors and F.errors.parquet, as far as there is something to say. The
    folder is kept until the card is there, which is written last: killed at any moment, the same call does it again.
    """
    import json

    import pyarrow.parquet as pq

    from ganfeat.checkpoint import write_atomically
    from ganfeat.feature_files import PartWriter
    from ganfeat.files import replacing
    from ganfeat.projection import PROJECTION

    beside = _beside(out)
    beside["card"].unlink(missing_ok=True)
    lists = ["features", *(["pixels", "random_init"] if "pixels" in card["rows"] else [])]
    with PartWriter(out) as whole:
        for part in sorted(folder.glob("part-*.parquet")):
            for batch in _batches(part):
                rows = {
                    name: batch.column(name).flatten().to_numpy().reshape(len(batch), -1)
                    for name in lists
                    if len(batch)
                }
                if rows:
                    labels = batch.column("label").to_pylist() if "labels" in card["rows"] else None
                    whole.write(batch.column("id").to_pylist(), rows.pop("features"), labels, **rows)
                update(whole.rows)
    if card["pca"]:
        write_atomically(beside["projection"], (folder / PROJECTION).read_bytes())
    else:
        beside["projection"].unlink(missing_ok=True)
    if card["unreadable"]:
        tables = sorted((folder / "errors").glob("*.parquet"))
        schema = pq.read_schema(tables[0])
        with (
            replacing(beside["errors"]) as temporary,
            pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
        ):
            for table in tables:
                for batch in _batches(table):
                    writer.write_batch(batch)
    else:
        beside["errors"].unlink(missing_ok=True)
    write_atomically(beside["card"], (json.dumps(card, indent=2) + "\n").encode())
    remove_parts(folder)


def _batches(path: Path) -> Iterator[Any]:
    """Rows of a part, few at a time; it is opened anew for each row group, since a file keeps what was read of it."""
    from ganfeat.parquet import batches, opened

    with opened(path) as file:
        groups = file.num_row_groups
    for group in range(groups):
        with opened(path) as file:
            yield from batches(file, 1024, groups=[group])
