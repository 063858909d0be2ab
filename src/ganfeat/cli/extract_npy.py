"""``ganfeat extract --out F.npy``: one file, all images in memory (or in a pack)."""

from __future__ import annotations

import json as json_module
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ganfeat.cli.screen import Screen


def extract_to_npy(
    run: Path,
    data: str,
    out: Path,
    files: dict[str, Path],
    screen: Screen,
    *,
    network: str | None,
    taps: tuple[str, ...] | None,
    at: str,
    pool: int,
    pooling: str,
    mirror: bool,
    bn: str,
    recalibrate_on: str | None,
    baselines: bool,
    dtype: str,
    batch_size: int,
    limit: int | None,
    strict: bool,
    max_skipped: float,
    pack: Path | None,
    device: str,
    seed: int | None,
) -> int:
    """Do it; the options are those of :func:`~ganfeat.cli.extract.extract`, and ``files`` its :func:`siblings`."""
    from ganfeat.errors import InputError

    if seed is not None and bn != "recalibrate":
        raise InputError(
            f"--seed {seed} asks for an untrained network without batch-norm statistics: it needs --bn recalibrate "
            "--recalibrate-on TRAINING-IMAGES; or leave --seed out: the run keeps its own untrained network"
        )
    screen.start()

    import numpy as np

    from ganfeat.checkpoint import write_array
    from ganfeat.data import load_images
    from ganfeat.estimators import load
    from ganfeat.estimators.hub import given_name

    gan = load(run, device=device)
    if baselines and seed is None and not (run / "untrained.safetensors").exists():
        raise InputError(
            f"{run} keeps no untrained network to compare with: use --no-baselines, or another one's weights with "
            "--seed 0 --bn recalibrate --recalibrate-on TRAINING-IMAGES"
        )
    height, width, channels = gan.image_shape_
    if height != width:
        raise InputError(
            f"{run} was trained on {height} x {width} images; extract reads square ones: use Python's load()"
        )
    network = network or gan.network
    taps = taps or (gan.usual_taps.get(network, "all"),)
    wanted: dict[str, Any] = {
        "network": network,
        "taps": list(taps),
        "at": at,
        "pool": pool or None,
        "pooling": pooling,
        "bn": bn,
    }
    wanted |= {"dtype": dtype, "batch_size": batch_size, "mirror": mirror}
    extractor = gan.extractor(**wanted)
    reading: dict[str, Any] = {"size": height, "channels": channels if channels in (1, 3) else None}
    calibration = None
    if bn == "recalibrate":
        with screen.stage("recalibrating", 0):
            calibration = load_images(recalibrate_on or data, **reading)
            extractor.fit(calibration)
    elif recalibrate_on is not None:
        raise InputError("--recalibrate-on needs --bn recalibrate")
    with screen.stage("reading images", 0) as update:
        images = load_images(
            data, limit=limit, strict=strict, max_skipped=max_skipped, pack=pack, progress=update, **reading
        )
    if images.labels is None and files["labels"].exists():
        raise InputError(
            f"{data} has no labels, but {files['labels']} exists from before and would not belong to the "
            "new features: remove it, or choose another --out"
        )
    with _staged(out, files) as staged:
        with screen.stage("extracting", len(images)) as update:
            columns = int(extractor.transform_to(staged["features"], images, progress=update).shape[1])
        rows = {"features": len(images)}
        if images.labels is not None:
            write_array(staged["labels"], np.asarray(images.labels))
            rows["labels"] = len(images.labels)
        if baselines:
            write_array(staged["pixels"], images.images.reshape(len(images), -1))
            with screen.stage("untrained network", len(images)) as update:
                untrained = gan.random_init() if seed is None else gan.random_init(calibration, random_state=seed)
                baseline = untrained.extractor(**wanted)
                if calibration is not None:
                    baseline.fit(calibration)
                baseline.transform_to(staged["random_init"], images, progress=update)
            rows |= {"pixels": len(images), "random_init": len(images)}
        card = {
            "run": given_name(run),
            "network": gan.describe(network),
            "tapped network": network,
            "data": images.source,
            "images": len(images),
            "features": columns,
            "dtype": dtype,
            "method": gan.method,
            **({"learned": "with labels"} if gan.supervised else {}),
            "taps": [tap.name for tap in extractor.taps_],
            "pool": pool,
            "pooling": pooling,
            "mirror": mirror,
            "batch norm": bn,
            "recalibrated on": calibration.source if calibration is not None else None,
            "untrained network": None if not baselines else "the run's own" if seed is None else f"seed {seed}",
            "image_shape": list(gan.image_shape_),
            "fingerprint": images.fingerprint(),
            "rows": rows,
            "skipped": [{"source": s.source, "reason": s.reason} for s in images.skipped],
            "classes": list(images.classes) if images.classes else None,
        }
        staged["card"].write_text(json_module.dumps(card, indent=2) + "\n", encoding="utf-8")
    screen.result({**card, "out": str(out), "labels": str(files["labels"]) if images.labels is not None else None})
    screen.table(
        (str(out), ""),
        [
            (
                "images",
                f"{len(images):,}" + (f" ({len(images.skipped)} unreadable, skipped)" if images.skipped else ""),
            ),
            ("features", f"{columns:,} {dtype}"),
            ("network", card["network"]),
            ("taps", ", ".join(card["taps"])),
            ("labels", str(files["labels"]) if images.labels is not None else "none"),
        ],
    )
    if images.labels is not None:
        screen.next(["ganfeat", "probe", str(out), str(files["labels"])])
    else:
        screen.say(f"\nNext, with a label for every image in labels.npy: ganfeat probe {out} labels.npy")
    return 0


@contextmanager
def _staged(out: Path, files: dict[str, Path]) -> Iterator[dict[str, Path]]:
    """Names to write under, in a hidden folder; at the end, all that was written takes its place.

    The old card goes first, then all else that belonged to the old F.npy, then F.npy is replaced; the new card comes
    last. Killed at any moment, this leaves no file beside an F.npy of other data.
    """
    folder = out.with_name(f".{out.name}.parts")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        staged = {name: folder / path.name for name, path in {"features": out, **files}.items()}
        yield staged
        files["card"].unlink(missing_ok=True)
        for path in files.values():
            path.unlink(missing_ok=True)
        for name in ("features", "labels", "pixels", "random_init", "card"):
            if staged[name].exists():
                staged[name].replace({"features": out, **files}[name])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
