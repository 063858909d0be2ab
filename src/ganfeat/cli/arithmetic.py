"""``ganfeat arithmetic``."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ganfeat.cli.points import REFERENCES, Generator, beside, least, refuse, scale_for
from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed, this_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHOWN = 64
SHOWN_COLUMNS = 8
STEPS = 9


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
    least(("--seed", seed, 0), ("--scale", scale, 0), ("--reach", reach, 0))
    if not (math.isfinite(scale) and math.isfinite(reach)):
        raise InputError("--scale and --reach must be finite numbers")
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
    if a:
        sums, picture = _sum(generator, {name: z[name] for name in "abc" if len(z[name])}, scale, seed)
        result["sum"] = {**{name: named[name] for name in "abc"}, **sums}
        pictures.append(picture)
        rows += [
            ["length of z: result, usual", f"{sums['length']:.2f}, {sums['usual length']:.2f}"],
            ["its neighbours, as unlike as unrelated samples", f"{100 * sums['neighbours apart']:.0f} %"],
        ]
    if from_:
        turn, picture = _turn(generator, z["from"], z["to"], z["apply"] if apply else z["from"], reach, seed)
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
    written = write_exploration(out, "arithmetic", result, pictures, table)
    screen.result(result)
    screen.table(*table)
    for line in _remarks(result):
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
        if image.shape[2] not in (1, 3):
            image = image.mean(axis=2, keepdims=True).astype(np.uint8)
        large = enlarged(colour(image), max(1, height // image.shape[0]))
        strip = Image.new("RGB", (large.shape[1], TEXT_HEIGHT + 6), (PAPER,) * 3)
        ImageDraw.Draw(strip).text((large.shape[1] / 2, 0), str(i), fill=(INK,) * 3, font=font, anchor="ma")
        cells.append(
            np.pad(np.concatenate([large, np.asarray(strip)]), ((0, 2), (2, 2), (0, 0)), constant_values=PAPER)
        )
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    return np.concatenate(rows)


def _sum(
    generator: Generator, z: dict[str, NDArray[np.float32]], scale: float, seed: int
) -> tuple[dict[str, Any], Any]:
    """A - B + C: numbers, and the sheet as in fig. 7 of the DCGAN paper."""
    import numpy as np

    from ganfeat.latent import combine, combine_pixels, noisy_neighbours, vector_reference
    from ganfeat.pictures import captioned, tile
    from ganfeat.report.explorations import Picture

    total = combine(z["a"], z.get("b"), z.get("c"))
    around = noisy_neighbours(total, scale=scale, random_state=seed)
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


def _turn(
    generator: Generator,
    without: NDArray[np.float32],
    having: NDArray[np.float32],
    moved: NDArray[np.float32],
    reach: float,
    seed: int,
) -> tuple[dict[str, Any], Any]:
    """Images moved along the direction from a group to another, as in fig. 8 of the DCGAN paper; and at random."""
    import numpy as np

    from ganfeat.latent import along_direction, direction, vector_reference
    from ganfeat.pictures import captioned, tile
    from ganfeat.report.explorations import Picture

    found = direction(without, having)
    noise = np.random.default_rng(seed).standard_normal(len(found.vector))
    random = noise * (np.linalg.norm(found.vector) / np.linalg.norm(noise))
    steps = np.linspace(-reach, reach, STEPS)
    sheets, ways = [], []
    for vector in (found.vector, random):
        way = along_direction(moved, vector, steps)
        ways.append(way)
        sheets.append(tile(generator.draw(way.reshape(-1, way.shape[-1])), columns=STEPS))
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
    alt = f"Two groups of exemplars, and {len(moved)} rows of {STEPS} images each along the direction and a random one"
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
    few = [name for name in "abc" if 0 < len(result.get("sum", {}).get(name, [])) < 3]
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
