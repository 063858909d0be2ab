"""``ganfeat extract``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ganfeat.cli.screen import Device, Json, Quiet, Screen


def extract(
    run: Path,
    data: str,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="The .npy file to write.")],
    taps: Annotated[
        tuple[str, ...],
        Parameter(
            help="`all`, indices (negatives from the end: `--taps=-1`), layer names, each with `:conv`, `:norm` or "
            "`:activation` if wanted; repeat the option for several. `ganfeat info RUN` lists them."
        ),
    ] = ("all",),
    at: Annotated[
        str, Parameter(help="Stage of the taps that do not say theirs: conv, norm or activation.")
    ] = "activation",
    pool: Annotated[int, Parameter(help="Side of the grid that maps are pooled to; 0 keeps every pixel.")] = 4,
    pooling: Annotated[str, Parameter(help="max or avg.")] = "max",
    bn: Annotated[
        str,
        Parameter(
            help="eval: batch-norm statistics of the training images, stored in the run. "
            "recalibrate: estimated anew on --recalibrate-on, or on DATA."
        ),
    ] = "eval",
    recalibrate_on: Annotated[
        str | None,
        Parameter(
            help="Images for `--bn recalibrate`: give the training images, so "
            "that training and test features come out alike."
        ),
    ] = None,
    baselines: Annotated[
        bool,
        Parameter(
            help="Write the raw pixels and the features of the untrained network beside, for `probe` to compare with."
        ),
    ] = True,
    dtype: Annotated[str, Parameter(help="float32 or float16.")] = "float32",
    batch_size: Annotated[int, Parameter(help="Images at a time; the features do not depend on it.")] = 256,
    limit: Annotated[int | None, Parameter(help="Use so many images only, evenly spaced.")] = None,
    strict: Annotated[bool, Parameter(help="Refuse unreadable images instead of skipping up to 10 %.")] = False,
    pack: Annotated[
        Path | None,
        Parameter(help="Keep the decoded images in this .npy memory map, for sets larger than memory."),
    ] = None,
    device: Device = "auto",
    seed: Annotated[int | None, Parameter(help="Of the untrained network's weights. [default: the run's]")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Turn images into features with a trained network.

    Writes F.npy (images x features, float32, streamed in constant memory), F.labels.npy where the images have labels,
    and F.json, which says how they were made.

    Example: `ganfeat extract runs/photos photos/ --out features.npy`.

    Parameters
    ----------
    run
        A run folder.
    data
        Images, as `ganfeat train` takes them. They are resized to the run's size.
    """
    screen = Screen(json, quiet)
    files = _files(out, data)
    screen.start()

    import numpy as np

    from ganfeat.data import load_images
    from ganfeat.errors import InputError
    from ganfeat.estimators import load

    gan = load(run, device=device)
    height, width, channels = gan.image_shape_
    if height != width:
        raise InputError(
            f"{run} was trained on {height} x {width} images; extract reads square ones: use Python's load()"
        )
    wanted: dict[str, Any] = {"taps": list(taps), "at": at, "pool": pool or None, "pooling": pooling, "bn": bn}
    wanted |= {"dtype": dtype, "batch_size": batch_size}
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
        images = load_images(data, limit=limit, strict=strict, pack=pack, progress=update, **reading)
    if images.labels is None and files["labels"].exists():
        raise InputError(
            f"{data} has no labels, but {files['labels']} exists from before and would not belong to the "
            "new features: remove it, or choose another --out"
        )
    with screen.stage("extracting", len(images)) as update:
        rows = extractor.transform_to(out, images, progress=update)
    card = {
        "run": str(run),
        "data": images.source,
        "images": len(images),
        "features": int(rows.shape[1]),
        "dtype": dtype,
        "method": gan.method,
        "taps": [tap.name for tap in extractor.taps_],
        "pool": pool,
        "pooling": pooling,
        "batch norm": bn,
        "image_shape": list(gan.image_shape_),
        "fingerprint": images.fingerprint(),
        "skipped": [{"source": s.source, "reason": s.reason} for s in images.skipped],
        "classes": list(images.classes) if images.classes else None,
    }
    from ganfeat.checkpoint import write_array, write_atomically

    if images.labels is not None:
        write_array(files["labels"], np.asarray(images.labels))
    if baselines:
        write_array(files["pixels"], images.images.reshape(len(images), -1))
        with screen.stage("untrained network", len(images)) as update:
            untrained = gan.random_init() if seed is None else gan.random_init(images, random_state=seed)
            baseline = untrained.extractor(**wanted)
            if calibration is not None:
                baseline.fit(calibration)
            baseline.transform_to(files["random_init"], images, progress=update)
    else:
        for name in ("pixels", "random_init"):
            files[name].unlink(missing_ok=True)
    import json as json_module

    write_atomically(files["card"], (json_module.dumps(card, indent=2) + "\n").encode())
    screen.result({**card, "out": str(out), "labels": str(files["labels"]) if images.labels is not None else None})
    screen.table(
        (str(out), ""),
        [
            (
                "images",
                f"{len(images):,}" + (f" ({len(images.skipped)} unreadable, skipped)" if images.skipped else ""),
            ),
            ("features", f"{rows.shape[1]:,} {dtype}"),
            ("taps", ", ".join(card["taps"])),
            ("labels", str(files["labels"]) if images.labels is not None else "none"),
        ],
    )
    if images.labels is not None:
        screen.next(["ganfeat", "probe", str(out), str(files["labels"])])
    else:
        screen.say(f"\nNext, with a label for every image in labels.npy: ganfeat probe {out} labels.npy")
    return 0


def _files(out: Path, data: str) -> dict[str, Path]:
    """Names of what is written beside F.npy; a wrong --out is refused before any work is done."""
    from ganfeat.errors import InputError

    if out.suffix != ".npy":
        raise InputError(f"--out {out} must end in .npy, e.g. {out.with_suffix('.npy')}")
    if out.is_dir():
        raise InputError(f"--out {out} is a folder: name a file in it")
    if not out.parent.is_dir():
        raise InputError(f"the folder of --out {out} does not exist: mkdir -p {out.parent}")
    files = siblings(out)
    if Path(data).resolve() in {path.resolve() for path in (out, *files.values())}:
        raise InputError(f"--out {out} would overwrite the images in {data}: choose another name")
    return files


def siblings(features: Path) -> dict[str, Path]:
    """The files that belong to F.npy."""
    return {
        "labels": features.with_suffix(".labels.npy"),
        "pixels": features.with_suffix(".pixels.npy"),
        "random_init": features.with_suffix(".random_init.npy"),
        "card": features.with_suffix(".json"),
    }
