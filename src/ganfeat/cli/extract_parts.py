"""``ganfeat extract --out FOLDER`` or ``--out F.parquet``: any number of images, in parts."""

from __future__ import annotations

import os
import shutil
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
    try:
        card = extract(run, data, folder, Options(**options), **how, max_skipped=max_skipped, stage=screen.stage)
    except Elsewhere as error:
        return error.status
    if not is_main():
        return 0
    errors = folder / "errors" if card["unreadable"] else None
    if single:
        with screen.stage("joining the parts", card["images"]) as update:
            errors = join_parts(folder, out, card, update)
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
            ("labels", "in the column label" if "labels" in card["rows"] else "none"),
        ],
    )
    if "labels" in card["rows"]:
        screen.next(["ganfeat", "probe", str(out)])
    else:
        screen.say(f"\nNext, with a label for every image in labels.npy: ganfeat probe {out} labels.npy")
    return 0


def join_parts(folder: Path, out: Path, card: dict[str, Any], update: Any) -> Path | None:
    """Make one file of a folder of parts, and remove the folder; gives the side table of errors, if there is one.

    Beside F.parquet lie F.json, F.projection.safetensors and F.errors.parquet, as far as there is something to say.
    Killed at any moment, the folder is still there, or the file is whole.
    """
    import json

    import pyarrow.parquet as pq

    from ganfeat.checkpoint import write_atomically
    from ganfeat.cli.extract import siblings
    from ganfeat.feature_files import PartWriter
    from ganfeat.files import replacing
    from ganfeat.parquet import batches
    from ganfeat.projection import PROJECTION

    siblings(out)["card"].unlink(missing_ok=True)
    lists = ["features", *(["pixels", "random_init"] if "pixels" in card["rows"] else [])]
    with PartWriter(out) as whole:
        for part in sorted(folder.glob("part-*.parquet")):
            with pq.ParquetFile(part) as file:
                for batch in batches(file, 1024):
                    rows = {
                        name: batch.column(name).flatten().to_numpy().reshape(len(batch), -1)
                        for name in lists
                        if len(batch)
                    }
                    if rows:
                        labels = batch.column("label").to_pylist() if "labels" in card["rows"] else None
                        whole.write(batch.column("id").to_pylist(), rows.pop("features"), labels, **rows)
                    update(whole.rows)
    projection, errors = out.with_suffix(f".{PROJECTION}"), out.with_suffix(".errors.parquet")
    for path in (projection, errors):
        path.unlink(missing_ok=True)
    if card["pca"]:
        (folder / PROJECTION).replace(projection)
    if card["unreadable"]:
        tables = sorted((folder / "errors").glob("*.parquet"))
        schema = pq.read_schema(tables[0])
        with replacing(errors) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(pq.read_table(table))
    write_atomically(siblings(out)["card"], (json.dumps(card, indent=2) + "\n").encode())
    shutil.rmtree(folder)
    return errors if card["unreadable"] else None
