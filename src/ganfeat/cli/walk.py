"""``ganfeat walk``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ganfeat.cli.points import REFERENCES, Generator, in_columns, scale_for, within
from ganfeat.cli.reading import about, features_of, inverted, read_images
from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed, refuse, this_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_POINTS = 100
MOST_FRAMES = 2048
"""Of a walk; they are kept in memory, as are those of its GIF, which are larger and up to twice as many."""
MOST_FPS = 240


def walk(
    run: Path,
    /,
    *,
    points: Annotated[
        list[str] | None,
        REFERENCES,
        Parameter(help="What to walk through: sSEED.INDEX, or v... from a JSON result. [default: --number random z]"),
    ] = None,
    images: Annotated[
        list[Path] | None,
        REFERENCES,
        Parameter(help="Image files to walk through, after the points: their z is what E says, or is searched for."),
    ] = None,
    number: Annotated[int, Parameter(help="How many random points, where none are named.")] = 9,
    frames: Annotated[int, Parameter(help="Steps from a point to the next.")] = 10,
    kind: Annotated[
        Literal["linear", "spherical"] | None,
        Parameter(help="Straight, or at the length of z over the sphere. [default: spherical for a normal prior]"),
    ] = None,
    closed: Annotated[bool, Parameter(negative="", help="Come back to the first point.")] = False,
    given: Annotated[
        str | None, Parameter(help="What G is told beside z: the generator of mgan, the label of acgan. [default: 0]")
    ] = None,
    data: Annotated[
        str | None,
        Parameter(help="The images that the run learned from: shows the nearest of them, and tells copies from new."),
    ] = None,
    test: Annotated[
        str | None,
        Parameter(help="Images of the same origin that it has not learned from: are frames nearer to those of --data?"),
    ] = None,
    limit: Annotated[
        int | None, Parameter(help="Use so many of DATA, evenly spaced; copies of others are missed. [default: all]")
    ] = None,
    network: Annotated[
        str | None,
        Parameter(
            help="Whose top layer is the feature space: discriminator, encoder or classifier. [default: the run's own]"
        ),
    ] = None,
    search: Annotated[
        bool, Parameter(negative="", help="With --images and an encoder: improve on E(x) by searching from there.")
    ] = False,
    video: Annotated[
        Literal["gif", "mp4", "both", "none"] | None,
        Parameter(help="What moves. [default: both if PyAV is installed (pip install 'ganfeat[video]'), else gif]"),
    ] = None,
    fps: Annotated[int, Parameter(help="Frames a second.")] = 20,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"], help="Folder to write to. [default: RUN/walk]")] = None,
    device: Device = "auto",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Walk through the latent space, and tell whether the images change smoothly.

    Draws the images along a path through points of z: walk.png (a row from a point to the next), walk.gif and
    walk.mp4 (an open walk is shown there and back), walk.json (all numbers). Measures the length of each step per unit
    of z, in pixels and in features; sharp jumps are a sign of a memorising generator. With --data it also finds the
    training images nearest to the frames, and scores whether frames are copies.

    Points have names: s0.17 is sample 17 (0 to 255) of seed 0; `ganfeat arithmetic RUN` draws numbered samples to
    choose from. JSON results name all points, also those found for images (v...), so that they can be used again.

    Examples: `ganfeat walk runs/digits`;
    `ganfeat walk runs/digits --points s0.1 s0.5 s0.9 --closed --data mnist5k`;
    `ganfeat walk runs/bigan --images cat.png dog.png`.

    Parameters
    ----------
    run
        Run folder.
    """
    from ganfeat.checkpoint import RunFolder
    from ganfeat.errors import InputError

    screen = Screen(json, quiet)
    RunFolder(run).config()
    named = list(points or [])
    within(
        ("--number", number, 2, None),
        ("--frames", frames, 1, MOST_FRAMES),
        ("--fps", fps, 1, MOST_FPS),
        ("--limit", 3 if limit is None else limit, 3, None),
        seed=seed,
    )
    if data is None and (limit is not None or test is not None):
        name = "--limit" if limit is not None else "--test"
        raise InputError(f"{name} is for --data, the images that the run learned from: name them, or leave it out")
    if not (named or images):
        named = [f"s{seed}.{i}" for i in range(number)]
    found = len(named) + len(images or [])
    if not 2 <= found <= MOST_POINTS:
        raise InputError(f"a walk goes through 2 to {MOST_POINTS} points, and here are {found}: name others")
    legs = found if closed else found - 1
    if legs * frames > MOST_FRAMES:
        raise InputError(
            f"--frames {frames} for each of {legs} legs: a walk has at most {MOST_FRAMES:,} frames; give --frames "
            f"{MOST_FRAMES // legs}, or fewer points"
        )
    for name, source in (("--data", data), ("--test", test)):
        if source is not None and RunFolder(source).exists:
            raise InputError(f"{name} {source} is a run folder: name images")
    out = run / "walk" if out is None else out
    refuse(out)
    moving_as = _video(video)
    screen.start()

    from tempfile import TemporaryDirectory

    import numpy as np

    from ganfeat.latent import smoothness, vector_reference
    from ganfeat.latent import walk as frames_of
    from ganfeat.latent.smoothness import SHARP
    from ganfeat.report.explorations import write_exploration
    from ganfeat.report.walk import walk_notes, walk_table

    generator = Generator(run, device, given)
    z = generator.points(named, "--points")
    stops: list[dict[str, Any]] = [{"reference": reference} for reference in named]
    wanted = None
    if images:
        wanted, found_z, errors = inverted(screen, generator, images, seed, search)
        z = np.concatenate([z, found_z])
        stops += [{"reference": vector_reference(row), **more} for row, more in zip(found_z, errors, strict=True)]
    kind = kind or ("spherical" if generator.prior == "normal" else "linear")
    path = frames_of(z, frames, kind=kind, closed=closed)
    with screen.stage("drawing", 0):
        pictures = generator.draw(path)
    training = None if data is None else read_images(screen, generator, "--data", data, limit)
    held_out = None if test is None else read_images(screen, generator, "--test", test, None)
    with TemporaryDirectory(prefix="ganfeat-") as folder:
        features = features_of(screen, generator, network, (pictures, training, held_out), Path(folder))
        with screen.stage("measuring", 0):
            measured = smoothness(
                path,
                pictures,
                features[0],
                training,
                features[1],
                held_out=held_out,
                held_out_features=features[2],
                random_state=seed,
                device=str(generator.gan.device_),
            )
    result = {
        "command": this_command(),
        **generator.describe(),
        "points": stops,
        "kind": kind,
        "closed": closed,
        "frames": frames,
        "sharp": SHARP,
        "data": None if training is None else about(generator, data, limit, training),
        "test": None if held_out is None else {"source": test, "images": len(held_out)},
        "features": None if features[0] is None else {"network": network or generator.gan.network, "layer": "top"},
        **_numbers(measured),
    }
    again = None if wanted is None else generator.draw(z[len(named) :])
    sheets = _sheets(generator, pictures, frames, (wanted, again), training, measured)
    out.mkdir(parents=True, exist_ok=True)
    moving = _write_videos(out, pictures, closed, fps, moving_as)
    result["videos"] = [path.name for path in moving]
    result["notes"] = walk_notes(result)
    table = walk_table(result)
    written = [*moving, *write_exploration(out, "walk", result, sheets, table)]
    screen.result(result)
    screen.table(*table)
    for line in result["notes"]:
        screen.say(line)
    screen.say(f"Written: {', '.join(map(str, written))}")
    screen.next(["ganfeat", "arithmetic", str(run)])
    return 0


def _video(asked: str | None) -> str:
    """Which videos to write; MP4 only where PyAV is, and if asked for by name, not without."""
    import importlib.util

    from ganfeat.errors import MissingExtraError

    if importlib.util.find_spec("av") is not None:
        return asked or "both"
    if asked in ("mp4", "both"):
        raise MissingExtraError("av", "video", f"--video {asked}")
    return asked or "gif"


def _numbers(measured: Any) -> dict[str, Any]:
    """What was measured, as JSON."""
    import numpy as np

    def steps(found: Any) -> dict[str, Any] | None:
        if found is None:
            return None
        lengths = [float(x) if np.isfinite(x) else None for x in found.lengths]
        return {"median": found.median, "ratio": found.ratio, "jumps": found.jumps.tolist(), "lengths": lengths}

    def near(found: Any) -> dict[str, Any] | None:
        if found is None:
            return None
        return {
            "score": found.score,
            "usual distance": found.usual,
            "duplicates": found.duplicates,
            "nearer to data than to test": found.nearer,
            "chance": found.chance,
            "distances": found.distances[:, 0].tolist(),
            "images": found.indices[:, 0].tolist(),
            "closeness": found.closeness.tolist(),
        }

    return {
        "steps": {"pixels": steps(measured.pixels), "features": steps(measured.features)},
        "memorisation": {"pixels": near(measured.near_pixels), "features": near(measured.near_features)},
    }


def _sheets(
    generator: Generator,
    pictures: NDArray[np.uint8],
    frames: int,
    inverted: tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None],
    training: NDArray[np.uint8] | None,
    measured: Any,
) -> list[Any]:
    """walk.png: images over what G makes of their z; a row a leg; frames over their nearest training images."""
    import numpy as np

    from ganfeat.pictures import captioned, tile
    from ganfeat.report.explorations import Picture

    legs = (len(pictures) - 1) // frames
    rows = np.concatenate([pictures[leg * frames : (leg + 1) * frames + 1] for leg in range(legs)])
    words = generator.words("Every row leads from a point to the next, which begins the row below.")
    parts = [(words, tile(rows, columns=frames + 1))]
    caption = generator.words("A walk through the latent space: every row leads from a point to the next.")
    if inverted[0] is not None and inverted[1] is not None:
        parts.insert(
            0, ("Images, and below each what G makes of its z.", in_columns([inverted[0], inverted[1]], frames + 1))
        )
    if training is not None:
        shown = np.arange(0, len(pictures), max(1, frames // 2))
        near = [n.indices[shown, 0] for n in (measured.near_pixels, measured.near_features) if n is not None]
        spaces = "pixels, and below that in features" if len(near) == 2 else "pixels"
        words = f"Frames, and below each its nearest training image in {spaces}."
        parts.append((words, in_columns([pictures[shown], *(training[indices] for indices in near)], frames + 1)))
        caption += f" {words}"
    alt = f"{legs} rows of {frames + 1} generated images that change step by step"
    return [Picture("walk.png", captioned(parts, scale_for(pictures, frames + 1)), caption, alt)]


def _write_videos(out: Path, pictures: NDArray[np.uint8], closed: bool, fps: int, video: str) -> list[Path]:
    """walk.gif and walk.mp4, as asked for; an open walk goes there and back."""
    import numpy as np

    from ganfeat.cli.moving import write_gif, write_mp4
    from ganfeat.files import replacing

    shown = pictures[:-1] if closed else np.concatenate([pictures, pictures[-2:0:-1]])
    written = []
    for name, wanted, write in (("walk.gif", "gif", write_gif), ("walk.mp4", "mp4", write_mp4)):
        if video in (wanted, "both"):
            with replacing(out / name) as temporary:
                write(temporary, shown, fps)
            written.append(out / name)
    return written
