"""``ganfeat prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ganfeat.cli.screen import Json, Quiet, Screen, Seed, this_command

if TYPE_CHECKING:
    from ganfeat.prepare.pipeline import Prepared

_NAMED = 3


def prepare(
    data: str,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="The set's folder: new, empty, or begun before.")],
    size: Annotated[
        tuple[int, ...],
        Parameter(
            help="Side of the square images, 1..1024; repeat the option for several, as for a BiGAN whose E sees "
            "larger images than G draws: `--size 64 --size 112`.",
        ),
    ] = (64,),
    channels: Annotated[
        int | None,
        Parameter(help="1 for grey, 3 for colour. [default: 1 if the first 256 images are grey, else 3]"),
    ] = None,
    faces: Annotated[
        Literal["all", "largest"] | None,
        Parameter(help="Cut out the faces of each image, all or the largest, as squares; images without are left out."),
    ] = None,
    face_size: Annotated[int, Parameter(help="Side of the smallest face that is taken, in pixels of the photo.")] = 64,
    face_margin: Annotated[
        float, Parameter(help="What is added around a face on each side, as a share of its side.")
    ] = 0.25,
    duplicates: Annotated[
        Literal["autoencoder", "features"] | None,
        Parameter(
            help="Leave out all but one of images that are alike. autoencoder: equal hashes, as in the DCGAN paper, "
            "for copies that were encoded again; features: near neighbours, also for shifted and cropped ones."
        ),
    ] = None,
    fast_jpeg: Annotated[
        Literal["draft", "simplejpeg"] | None,
        Parameter(
            help="Decode large JPEGs at 1/2, 1/4 or 1/8 of their size, by Pillow or by simplejpeg: several times "
            "faster, with slightly other pixels."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        Parameter(help="How many decode at once; changes no pixel. [default: all cores, and 8 threads at most]"),
    ] = None,
    processes: Annotated[
        bool, Parameter(negative="", help="Workers are processes, not threads; with --faces they always are.")
    ] = False,
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Turn a folder of photos, or millions of images in any form, into a set that trains fast.

    A set holds the decoded images in one or several sizes as memory maps, and a table with each image's name, origin,
    size, hash and label. Files that cannot be read are counted, named with the reason, and left out; nothing stops the
    run. Memory does not grow with the number of images. Interrupted or killed, the same command goes on where it was,
    and ends with the same files, byte for byte.

    Example: `ganfeat prepare photos/ --out sets/photos --size 64`, then `ganfeat train sets/photos --out runs/photos`.

    Parameters
    ----------
    data
        A folder of images at any depth (sub-folders of the first level are the classes); a tar file, a folder or a
        quoted glob of them (WebDataset); parquet; IDX; .mat; .npy; .npz; a set; digits or mnist5k; or
        hf://OWNER/NAME:SPLIT, of the Hugging Face Hub.
    """
    from ganfeat.errors import InputError

    screen = Screen(json, quiet)
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: give a whole number, 1 or more")
    if faces is None and (face_size, face_margin) != (64, 0.25):
        raise InputError("--face-size and --face-margin are for --faces: add `--faces all` or `--faces largest`")

    from ganfeat.prepare.faces import FaceCropper
    from ganfeat.prepare.pipeline import prepare as run

    finder = None if faces is None else FaceCropper(face_size, face_margin, every=faces == "all")
    try:
        made = run(
            data,
            out,
            size,
            stage=screen.stage,
            channels=channels,
            fast_jpeg=fast_jpeg,
            faces=finder,
            duplicates=duplicates,
            seed=seed,
            workers=workers,
            processes=processes,
        )
    except KeyboardInterrupt:
        screen.say(f"\nWhat was done is kept in {out}. To go on: {this_command()}")
        raise
    screen.result(_result(out, made))
    if made.finished_before:
        screen.say(f"{out} is finished already, and was made from the same images with the same settings.")
    elif made.resumed:
        screen.say(f"Went on behind {made.resumed:,} images that had been read before.")
    _show(screen, out, made)
    screen.next(["ganfeat", "train", str(out), "--out", f"runs/{out.resolve().name}"])
    return 0


def _result(out: Path, made: Prepared) -> dict[str, Any]:
    packed = made.packed
    return {
        "set": str(out),
        "images": len(packed),
        "sizes": list(packed.sizes),
        "channels": packed.channels,
        "classes": None if packed.classes is None else len(packed.classes),
        "labelled": packed.card["labelled"],
        "source": packed.card["source"],
        "settings": packed.card["settings"],
        "finished before": made.finished_before,
        "resumed": made.resumed,
        "steps": made.steps,
    }


def _show(screen: Screen, out: Path, made: Prepared) -> None:
    packed = made.packed
    rows = []
    for name, counts in made.steps.items():
        rows.append((f"{name}: kept", f"{counts['kept']:,}", f"{out}/steps/{name}/kept.png"))
        for number, (reason, count) in enumerate(counts["reasons"].items()):
            if count:
                where = f"{out}/steps/{name}/{'dropped.png' if name == 'read' else 'groups.png'}" if not number else ""
                rows.append((f"{name}: dropped, {reason}", f"{count:,}", where))
    read = made.steps["read"]
    for suffix, count in read["other files"].items():
        rows.append((f"no images by name or content, not counted: {suffix}", f"{count:,}", ""))
    for way, words in (
        ("exact copies", "kept, but copies of each other to the byte"),
        ("same name", "kept, of the same name in several folders"),
        ("names alike", "kept, with names that differ in case or Unicode form alone"),
    ):
        if read[way]["images"]:
            named = ", ".join(" = ".join(group[:2]) for group in read[way]["examples"][:_NAMED])
            rows.append((words, f"{read[way]['images']:,}", named))
    screen.table((f"{len(packed):,} images in {out}", "images", "see"), rows)
    sizes = ", ".join(f"{size} x {size}" for size in packed.sizes)
    labels = "with labels" if packed.card["labelled"] else "without labels"
    classes = f" of {len(packed.classes)} classes" if packed.classes else ""
    dropped = [name for name, counts in made.steps.items() if counts["dropped"]]
    named = f" What was dropped, by name: {', '.join(f'{out}/steps/{name}/dropped.parquet' for name in dropped)}"
    screen.say(f"{sizes}, {packed.channels} channels, {labels}{classes}.{named if dropped else ''}")
