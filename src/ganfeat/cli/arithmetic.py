"""``ganfeat arithmetic``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ganfeat.cli.points import REFERENCES, Generator, beside, scale_for, within
from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed, refuse, this_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ganfeat.latent import Direction

SHOWN = 64
SHOWN_COLUMNS = 8
SHORT = 20
"""Characters of a point's name that a message shows."""
STEPS = 9
FARTHEST = 1000.0
"""Of --reach and --scale."""


def arithmetic(
    run: Path,
    /,
    *,
    a: Annotated[
        list[str] | None, REFERENCES, Parameter(name="--a", help="Points with the first property: sSEED.INDEX or v...")
    ] = None,
    b: Annotated[
        list[str] | None, REFERENCES, Parameter(name="--b", help="Points with what is to be taken away from it.")
    ] = None,
    c: Annotated[
        list[str] | None, REFERENCES, Parameter(name="--c", help="Points with what is to be put in its place.")
    ] = None,
    from_: Annotated[
        list[str] | None, REFERENCES, Parameter(name="--from", help="A direction: points without a property ...")
    ] = None,
    to: Annotated[list[str] | None, REFERENCES, Parameter(name="--to", help="... and points with it.")] = None,
    apply: Annotated[
        list[str] | None, REFERENCES, Parameter(help="Points to move along the direction. [default: those of --from]")
    ] = None,
    reach: Annotated[
        float, Parameter(help="How far, each way; 1 is as far as from the mean of --from to that of --to.")
    ] = 1.0,
    scale: Annotated[float, Parameter(help="Noise of the 8 neighbours of the result, in each number of z.")] = 0.25,
    given: Annotated[
        str | None, Parameter(help="What G is told beside z: the generator of mgan, the label of acgan. [default: 0]")
    ] = None,
    out: Annotated[
        Path | None, Parameter(name=["--out", "-o"], help="Folder to write to. [default: RUN/arithmetic]")
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Add and subtract what images have in common: mean z of A, minus that of B, plus that of C.

    Without points it draws samples.png: 64 samples with their names to choose from, e.g. s0.17; other --seed, other
    samples. Then name three or more for each concept (single ones give unstable results): A could be sevens in bold
    strokes, B sevens in thin ones, C thin threes; A - B + C should be a bold three. arithmetic.png shows the points,
    what G makes of their means, the result amid 8 neighbours, and the same sum in pixels, which only lays images over
    each other.

    With --from and --to it makes a direction of the means of two groups, and moves images along it (turn.png), beside
    a random direction of the same length.

    Examples: `ganfeat arithmetic runs/digits`;
    `ganfeat arithmetic runs/digits --a s0.1 s0.5 s0.9 --b s0.2 s0.3 s0.4 --c s0.6 s0.7 s0.8`;
    `ganfeat arithmetic runs/digits --from s0.1 s0.2 s0.3 --to s0.7 s0.8 s0.9 --apply s0.20 s0.21`.

    Parameters
    ----------
    run
        Run folder.
    """
    from ganfeat.checkpoint import RunFolder
    from ganfeat.errors import InputError

    screen = Screen(json, quiet)
    RunFolder(run).config()
    within(("--scale", scale, 0, FARTHEST), ("--reach", reach, 0, FARTHEST), seed=seed)
    if (b or c) and not a:
        raise InputError("--b and --c are for --a: A - B + C needs at least --a")
    if bool(from_) != bool(to):
        raise InputError("--from and --to are the two ends of a direction: give both")
    if apply and not from_:
        raise InputError("--apply moves points along a direction: say it with --from and --to")
    out = run / "arithmetic" if out is None else out
    refuse(out)
    screen.start()

    from ganfeat.report.explorations import write_exploration

    generator = Generator(run, device, given)
    if not (a or from_):
        return _offer(screen, generator, out, seed)
    result: dict[str, Any] = {"command": this_command(), **generator.describe()}
    pictures, rows = [], []
    named = {"a": a or [], "b": b or [], "c": c or [], "from": from_ or [], "to": to or [], "apply": apply or []}
    z = {name: generator.points(references, f"--{name}") for name, references in named.items()}
    _refuse_twins(named, z)
    concepts = {name: z[name] for name in "abc" if len(z[name])}
    summed = _summed(concepts, scale, seed) if a else None
    moved = z["apply"] if apply else z["from"]
    turned = _turned(z["from"], z["to"], moved, reach, seed) if from_ else None
    if summed is not None:
        sums, picture = _sum(generator, concepts, *summed, scale, seed)
        result["sum"] = {**{name: named[name] for name in "abc"}, **sums}
        pictures.append(picture)
        rows += [
            ["length of z: result, usual", f"{sums['length']:.2f}, {sums['usual length']:.2f}"],
            ["its neighbours, as unlike as unrelated samples", f"{100 * sums['neighbours apart']:.0f} %"],
        ]
    if turned is not None:
        turn, picture = _turn(generator, z["from"], z["to"], *turned, reach)
        result["turn"] = {name: named[name] for name in ("from", "to", "apply")} | turn
        pictures.append(picture)
        rows += [
            [words, "-" if turn[name] is None else f"{100 * turn[name]:.0f} %"]
            for words, name in (
                ("pairs that the direction orders rightly (chance: 50 %)", "separation"),
                ("random regroupings that do so as well", "chance"),
            )
        ]
    table = (("measure", "value"), rows)
    result["notes"] = _remarks(result)
    written = write_exploration(out, "arithmetic", result, pictures, table)
    screen.result(result)
    screen.table(*table)
    for line in result["notes"]:
        screen.say(line)
    screen.say(f"Written: {', '.join(map(str, written))}")
    ends = [group[0] for group in (a, b, c, from_, to) if group and group[0].startswith("s")]
    screen.next(["ganfeat", "walk", str(run), *(["--points", *ends] if len(ends) > 1 else [])])
    return 0


def _offer(screen: Screen, generator: Generator, out: Path, seed: int) -> int:
    """samples.png, to choose from."""
    from ganfeat.files import replacing
    from ganfeat.pictures import captioned, write_png

    references = [f"s{seed}.{i}" for i in range(SHOWN)]
    images = generator.draw(generator.drawn(seed)[:SHOWN])
    words = generator.words(f"Samples s{seed}.0 to s{seed}.{SHOWN - 1}: each with its index below.")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "samples.png"
    with replacing(path) as temporary:
        write_png(temporary, captioned([(words, _numbered(images, SHOWN_COLUMNS))]))
    result = {"command": this_command(), **generator.describe(), "samples": references, "out": str(path)}
    screen.result(result)
    screen.say(
        f"{path}: {SHOWN} samples of seed {seed}; the one numbered 17 is s{seed}.17. Other seeds draw others.\n"
        "Choose at least three for each of A, B and C; those below are the first ones, not chosen."
    )
    command = ["ganfeat", "arithmetic", str(generator.run)]
    for i, name in enumerate("abc"):
        command += [f"--{name}", *references[3 * i : 3 * i + 3]]
    screen.next(command)
    return 0


def _numbered(images: NDArray[np.uint8], columns: int, height: int = 96) -> NDArray[np.uint8]:
    """Images enlarged, each with its index below it."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    from ganfeat.pictures import INK, PAPER, TEXT_HEIGHT, colour, enlarged

    font = ImageFont.load_default(TEXT_HEIGHT)
    cells = []
    for i, image in enumerate(images):
        large = enlarged(colour(image), max(1, height // image.shape[0]))
        strip = Image.new("RGB", (large.shape[1], TEXT_HEIGHT + 6), (PAPER,) * 3)
        ImageDraw.Draw(strip).text((large.shape[1] / 2, 0), str(i), fill=(INK,) * 3, font=font, anchor="ma")
        cells.append(
            np.pad(np.concatenate([large, np.asarray(strip)]), ((0, 2), (2, 2), (0, 0)), constant_values=PAPER)
        )
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    return np.concatenate(rows)


def _refuse_twins(named: dict[str, list[str]], z: dict[str, NDArray[np.float32]]) -> None:
    """Refuse a point that makes a direction twice: it would seem to separate better, or from itself."""
    from ganfeat.errors import InputError

    seen: dict[bytes, tuple[str, str]] = {}
    for group in ("from", "to"):
        for reference, point in zip(named[group], z[group], strict=True):
            key = (point + 0.0).tobytes()  # -0 and 0 are the same
            if key not in seen:
                seen[key] = group, reference
                continue
            other, name = seen[key]
            also = "" if name == reference else f" (as {_short(name)})"
            raise InputError(
                f"--{group} {_short(reference)} is already in --{other}{also}: name each point of the two groups once"
            )


def _short(reference: str) -> str:
    return reference if len(reference) <= SHORT else f"{reference[:SHORT]}..."


def _near_enough(z: NDArray[np.float32], words: str, fix: str) -> None:
    """Refuse, before anything is drawn, points that are too far out to have a name."""
    import numpy as np

    from ganfeat.errors import InputError
    from ganfeat.latent.references import LARGEST

    if np.abs(z).max() > LARGEST:
        raise InputError(f"{words} has numbers beyond +-{LARGEST:g}, where no point of a network is: {fix}")


def _summed(
    z: dict[str, NDArray[np.float32]], scale: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A - B + C, and its neighbours."""
    from ganfeat.latent import combine, noisy_neighbours

    total = combine(z["a"], z.get("b"), z.get("c"))
    _near_enough(total, "the sum of --a, --b and --c", "name other points")
    around = noisy_neighbours(total, scale=scale, random_state=seed)
    _near_enough(around, f"with --scale {scale:g}, a neighbour of the sum", "make it smaller")
    return total, around


def _sum(
    generator: Generator,
    z: dict[str, NDArray[np.float32]],
    total: NDArray[np.float32],
    around: NDArray[np.float32],
    scale: float,
    seed: int,
) -> tuple[dict[str, Any], Any]:
    """A - B + C: numbers, and the sheet as in fig. 7 of the DCGAN paper."""
    import numpy as np

    from ganfeat.latent import combine_pixels, vector_reference
    from ganfeat.pictures import captioned, tile
    from ganfeat.report.explorations import Picture

    images = {name: generator.draw(points) for name, points in z.items()}
    grid = generator.draw(np.concatenate([around[:4], total[None], around[4:]]))
    middle, neighbours = grid[4], np.delete(grid, 4, axis=0)
    control = combine_pixels(images["a"], images.get("b"), images.get("c"))
    formula = "A" + (" - B" if "b" in z else "") + (" + C" if "c" in z else "")
    parts = []
    for name, points in z.items():
        mean = generator.draw(points.mean(axis=0)[None])
        row = beside(tile(images[name], columns=len(points)), tile(mean))
        parts.append((f"{name.upper()}: exemplars; at the end, G of the mean of their z", row))
    parts.append((f"{formula}: the result in the middle, 8 neighbours (z ± {scale:g})", tile(grid, 3)))
    parts.append((f"The control, {formula} in pixels", tile(control[None])))
    caption = generator.words(
        f"{formula} on the means of latents: exemplars, the result amid 8 neighbours, and the same sum in pixels."
    )
    alt = f"Rows of exemplars of {', '.join(name.upper() for name in z)}, a grid of 3 by 3 results, one image of pixels"
    sample = generator.drawn(seed)
    unrelated = generator.draw(sample[:SHOWN]).astype(np.float64)
    apart = np.sqrt(np.square(neighbours.astype(np.float64) - middle).mean())
    usual = np.sqrt(np.square(unrelated[1:] - unrelated[:-1]).mean())
    numbers = {
        "result": vector_reference(total),
        "neighbours": [vector_reference(row) for row in around],
        "scale": scale,
        "length": float(np.linalg.norm(total)),
        "usual length": float(np.linalg.norm(sample, axis=1).mean()),
        "neighbours apart": float(apart / usual) if usual else 0.0,
    }
    return numbers, Picture("arithmetic.png", captioned(parts, scale_for(grid, 8)), caption, alt)


def _turned(
    without: NDArray[np.float32], having: NDArray[np.float32], moved: NDArray[np.float32], reach: float, seed: int
) -> tuple[Direction, NDArray[np.float64], list[NDArray[np.float32]]]:
    """The direction from a group to another, the steps, and points moved along it; and along a random one."""
    import numpy as np

    from ganfeat.latent import along_direction, direction

    found = direction(without, having)
    noise = np.random.default_rng(seed).standard_normal(len(found.vector))
    random = noise * (np.linalg.norm(found.vector) / np.linalg.norm(noise))
    steps = np.linspace(-reach, reach, STEPS)
    ways = [along_direction(moved, vector, steps) for vector in (found.vector, random)]
    for way in ways:
        _near_enough(way, f"with --reach {reach:g}, a moved point", "make it smaller")
    return found, steps, ways


def _turn(
    generator: Generator,
    without: NDArray[np.float32],
    having: NDArray[np.float32],
    found: Direction,
    steps: NDArray[np.float64],
    ways: list[NDArray[np.float32]],
    reach: float,
) -> tuple[dict[str, Any], Any]:
    """Images moved along the direction from a group to another, as in fig. 8 of the DCGAN paper; and at random."""
    import numpy as np

    from ganfeat.latent import vector_reference
    from ganfeat.pictures import captioned, tile
    from ganfeat.report.explorations import Picture

    sheets = [tile(generator.draw(way.reshape(-1, way.shape[-1])), columns=STEPS) for way in ways]
    groups = [generator.draw(group) for group in (without, having)]
    parts = [
        ("From: exemplars", tile(groups[0], columns=min(STEPS, len(groups[0])))),
        ("To: exemplars", tile(groups[1], columns=min(STEPS, len(groups[1])))),
        (f"Each row a point z (in the middle), from z - {reach:g} to z + {reach:g} times the direction", sheets[0]),
        ("The control: a random direction of the same length", sheets[1]),
    ]
    caption = generator.words(
        "Moved along the direction between the means of two groups; below, along a random one of the same length."
    )
    alt = (
        f"Two groups of exemplars, and {len(ways[0])} rows of {STEPS} images each along the direction and a random one"
    )
    numbers = {
        "direction": vector_reference(found.vector),
        "separation": found.separation,
        "chance": found.chance,
        "length": float(np.linalg.norm(found.vector)),
        "steps": steps.tolist(),
        "moved": [[vector_reference(row) for row in way] for way in ways[0]],
    }
    return numbers, Picture("turn.png", captioned(parts, scale_for(groups[0], STEPS)), caption, alt)


def _remarks(result: dict[str, Any]) -> list[str]:
    """What is to be known beside the pictures."""
    lines = [f"arithmetic.json names the {'result' if 'sum' in result else 'moved points'} (v...) for further use."]
    few = [name for name in "abc" if 0 < len(set(result.get("sum", {}).get(name, []))) < 3]
    if few:
        lines.append(f"{shlex.join(f'--{name}' for name in few)}: fewer than three points give unstable results.")
    if "sum" in result:
        lines.append("Where neighbours differ as much as unrelated samples do, the result alone is an accident.")
    if "turn" in result:
        found = result["turn"]["separation"]
        lines.append(
            "One point on a side: whether the direction separates others cannot be told."
            if found is None
            else "The direction was tested on pairs that took no part in making it; with few points, a rough test."
        )
    return lines
