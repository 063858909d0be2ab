"""``ganfeat reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed

COLUMNS = 10


def reconstruct(
    run: Path,
    data: str,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="The .png file to write.")],
    images: Annotated[int, Parameter(help="How many to show, evenly spaced in DATA.")] = 20,
    limit: Annotated[
        int | None, Parameter(help="Measure the error on so many images, evenly spaced. [default: all]")
    ] = None,
    strict: Annotated[bool, Parameter(help="Refuse unreadable images instead of skipping them.")] = False,
    max_skipped: Annotated[
        float, Parameter(help="Share of unreadable images that is skipped; more is an error.")
    ] = 0.1,
    device: Device = "auto",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Show what an encoder keeps of images: each above its reconstruction G(E(x)).

    Also prints the mean distance between an image and its reconstruction, beside the distance to the reconstruction
    of another image: only their ratio means something. 1 would be a reconstruction that has nothing to do with its
    image. Give images that the run has not learned from. Images are compared in the size that G draws.

    Example: `ganfeat reconstruct runs/bigan photos/ --out sheet.png`.

    Parameters
    ----------
    run
        A run folder of a method with an encoder: bigan, ali, latent-regressor or autoencoder.
    data
        Images, as `ganfeat train` takes them. They are resized to the run's size.
    """
    from ganfeat.errors import InputError

    screen = Screen(json, quiet)
    _check(out, data)
    for name, value, least in (("--images", images, 1), ("--seed", seed, 0)):
        if value < least:
            raise InputError(f"{name} {value} must be at least {least}")
    screen.start()

    import numpy as np

    from ganfeat.arrays import fingerprint
    from ganfeat.checkpoint import RunFolder
    from ganfeat.data import load_images
    from ganfeat.estimators import METHODS, load
    from ganfeat.files import replacing
    from ganfeat.pictures import in_pairs, tile, write_png

    gan = load(run, device=device)
    if not hasattr(gan, "reconstruct"):
        encoding = [name for name, model in METHODS.items() if hasattr(model, "reconstruct")]
        raise InputError(
            f"{run} was trained by the method {gan.method}, which has no encoder, so it cannot reconstruct images: "
            f"train with --method {', '.join(encoding[:-1])} or {encoding[-1]}"
        )
    height, width, channels = gan.image_shape_
    if height != width:
        raise InputError(
            f"{run} was trained on {height} x {width} images; reconstruct reads square ones: use Python's load()"
        )
    with screen.stage("reading images", 0) as update:
        found = load_images(
            data,
            size=height,
            channels=channels if channels in (1, 3) else None,
            limit=limit,
            strict=strict,
            max_skipped=max_skipped,
            progress=update,
        )
    config = RunFolder(run).config()
    learned = (config["data"] or {}).get("fingerprint") == fingerprint(found.images)
    held_out = float(config.get("validation", 0)) if learned else 0.0
    with screen.stage("reconstructing", 0):
        errors = gan.reconstruction_error(found, random_state=seed)
    shown = np.linspace(0, len(found) - 1, min(images, len(found))).astype(int)
    above = np.rint(gan.as_drawn(found.images[shown]) * 255).astype(np.uint8)
    sheet = tile(in_pairs(above, gan.reconstruct(found.images[shown]), COLUMNS), columns=min(COLUMNS, len(shown)))
    with replacing(out) as temporary:
        write_png(temporary, sheet)
    result = {
        "run": str(run),
        "network": gan.describe(),
        "data": found.source,
        "images": len(found),
        "skipped": len(found.skipped),
        "learned from": learned,
        "held out": held_out,
        **errors,
        "ratio": errors["error"] / errors["shuffled"] if errors["shuffled"] else None,
        "shown": len(shown),
        "out": str(out),
    }
    screen.result(result)
    screen.table(
        (str(out), ""),
        [
            (
                "images",
                f"{len(found):,}" + (f" ({len(found.skipped)} unreadable, skipped)" if found.skipped else ""),
            ),
            ("network", result["network"]),
            ("mean distance to the reconstruction", f"{errors['error']:.3f}"),
            ("to that of another image", f"{errors['shuffled']:.3f}"),
            ("ratio", "-" if result["ratio"] is None else f"{result['ratio']:.3f}"),
        ],
    )
    if learned:
        share = f"all but a share of these very images ({100 * held_out:g} % were held out)"
        screen.say(
            f"{run} has learned from {share if held_out else 'these very images'}: give others to see what it makes of "
            "new ones"
        )
    screen.say(f"{out}: {len(shown)} images, each above its reconstruction; distances are Euclidean, pixels in [0, 1]")
    return 0


def _check(out: Path, data: str) -> None:
    """Refuse a wrong --out before any work is done."""
    from ganfeat.errors import InputError

    if out.suffix != ".png":
        raise InputError(f"--out {out} must end in .png, e.g. {out.with_suffix('.png')}")
    if out.is_dir():
        raise InputError(f"--out {out} is a folder: name a file in it")
    if not out.parent.is_dir():
        raise InputError(f"the folder of --out {out} does not exist: mkdir -p {out.parent}")
    if Path(data).resolve() in (out.resolve(), *out.resolve().parents):
        raise InputError(f"--out {out} would be one of the images in {data}: choose another place")
