"""``ganfeat forget``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed, percent, refuse, this_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from ganfeat.cli.points import Generator
    from ganfeat.inspection.boxes import Box, Boxes
    from ganfeat.inspection.forgetting import Forgetting
    from ganfeat.report.explorations import Picture

COLUMNS = 16
WIDEST = 1300


def forget(
    run: Path,
    /,
    *,
    boxes: Annotated[
        Path | None,
        Parameter(help="Boxes around the object: .json or .csv. Without it, a sheet of samples and a template of it."),
    ] = None,
    layer: Annotated[int, Parameter(help="Conv layer of G, negative from the end; -1 gives the image.")] = -2,
    maps: Annotated[
        int | None, Parameter(help="Drop so many, those with the largest weights. [default: all of positive weight]")
    ] = None,
    samples: Annotated[int, Parameter(help="How many to show, those with boxes first.")] = 64,
    given: Annotated[
        str | None,
        Parameter(help="What G is told beside z: a generator of mgan, a label of acgan. [default: the first]"),
    ] = None,
    draws: Annotated[int, Parameter(help="Draws of random maps to drop as the control.")] = 5,
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="Folder for forget.png and forget.json. [default: RUN/forget]"),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Make a generator forget an object: find the maps that draw it, drop them, draw again.

    You say where the object is, by boxes on some 30 samples or more. A logistic regression finds the maps of a layer
    of G that are on inside them. The same samples are drawn without these maps, and, as the control, without as many
    random ones. How much of the object went is told by a probe that learns from the boxes, too, but sees images alone;
    of each sample with boxes, by maps and a probe that others' boxes choose.

    First without --boxes: it writes a numbered sheet of samples, and a file to fill in. Or draw them with the mouse in
    `ganfeat studio RUN`.

    Example: `ganfeat forget runs/digits --boxes boxes.json`.

    Parameters
    ----------
    run
        Run folder of a method with a convolutional generator.
    """
    from ganfeat.checkpoint import RunFolder
    from ganfeat.cli.points import Generator, within
    from ganfeat.errors import InputError
    from ganfeat.latent.references import DRAWN

    screen = Screen(json, quiet)
    RunFolder(run).config()
    within(
        ("--samples", samples, 1, DRAWN),
        ("--draws", draws, 1, 1000),
        ("--maps", 1 if maps is None else maps, 1, None),
        seed=seed,
    )
    out = run / "forget" if out is None else out
    refuse(out)
    if boxes is not None and not boxes.is_file():
        raise InputError(
            f"there is no file {boxes}: `ganfeat forget {run}` writes a template of it, or draw boxes in "
            f"`ganfeat studio {run}`"
        )
    screen.start()

    from ganfeat.inspection.boxes import read_boxes
    from ganfeat.inspection.forgetting import find_layer

    with screen.stage("reading the run", 0):
        generator = Generator(run, device, given)
    gan = generator.gan
    if not hasattr(gan, "generator_"):
        raise InputError(f"{run} was trained by {gan.method}, which has no generator that could forget")
    shown = generator.drawn(seed)[:samples]
    if boxes is None:
        find_layer(gan.decoder(generator.given), generator.drawn(seed)[:2], layer)
        return _template(screen, generator, out, shown, seed)
    found = read_boxes(boxes, generator.draw(shown[:1]).shape[1:3])
    value = _told(generator, found, boxes, given)
    z, by_sample = _samples(generator, found, boxes)
    return _Work(screen, run, gan, value, boxes, z, by_sample, layer, maps, shown, draws, seed, out).do()


def _told(generator: Generator, found: Boxes, path: Path, given: str | None) -> Any:
    """What G was told when the boxes of a file were drawn."""
    from ganfeat.errors import InputError

    if found.given is None:
        return generator.given
    condition = generator.gan.condition
    for value in () if condition is None else condition[1]:
        if str(value) == str(found.given):
            if given is not None and value != generator.given:
                raise InputError(f"the boxes in {path} were drawn for given {value}, not {given}: leave --given out")
            return value
    known = "nothing beside z" if condition is None else f"one of {', '.join(map(str, condition[1]))}"
    raise InputError(f'{path} was drawn with "given": {found.given}, and {generator.run} is told {known}: other boxes?')


def _samples(generator: Generator, found: Boxes, path: Path) -> tuple[NDArray[np.float32], list[list[Box]]]:
    """Latents of the samples with boxes, and the boxes of each."""
    import numpy as np

    by_sample = found.by_sample()
    samples: dict[bytes, tuple[NDArray[np.float32], list[Box]]] = {}  # one may stand there by two names
    for z, boxes in zip(generator.points(list(by_sample), f"{path}:"), by_sample.values(), strict=True):
        samples.setdefault(z.tobytes(), (z, []))[1].extend(boxes)
    return np.stack([z for z, _ in samples.values()]), [boxes for _, boxes in samples.values()]


@dataclass
class _Work:
    """Forgetting by boxes, step by step."""

    screen: Screen
    run: Path
    gan: Any
    given: Any
    path: Path
    z: NDArray[np.float32]
    boxes: list[list[Box]]
    layer: int
    maps: int | None
    shown: NDArray[np.float32]
    draws: int
    seed: int
    out: Path

    @property
    def decoder(self) -> nn.Module:
        return self.gan.decoder(self.given)

    def do(self) -> int:
        """Fit, measure, write, tell."""
        from ganfeat.errors import InputError
        from ganfeat.inspection.effect import counts, effect
        from ganfeat.inspection.forgetting import draw_without, find_layer, fit_forgetting
        from ganfeat.inspection.presence import eyes, fit_presence
        from ganfeat.report.explorations import write_exploration
        from ganfeat.report.forget import HEADINGS, effect_notes, effect_rows

        screen = self.screen
        place = find_layer(self.decoder, self.z[:2], self.layer)
        whole = draw_without(self.decoder, self.z, place)
        with screen.stage("finding the maps", 0):
            found = fit_forgetting(self.decoder, self.z, self.boxes, whole.shape[1:3], layer=self.layer, seed=self.seed)
        positive = len(found.order)
        if not positive:
            raise InputError(
                f"no map of layer {self.layer} is on inside the boxes: look at them again, or try another --layer"
            )
        number = positive if self.maps is None else self.maps
        if number > positive:
            raise InputError(
                f"--maps {number}: of the {place.maps} maps of layer {self.layer}, {positive} have a positive weight; "
                f"give 1 to {positive}"
            )
        with screen.stage("training the probe", 0):
            has_d = "discriminator" in self.gan.objective_.taps()
            network = self.gan.extractor("discriminator", taps="all", pool=None) if has_d else None
            describe, sees = eyes(network, whole.shape[1:])
            presence = fit_presence(whole, self.boxes, describe, seed=self.seed)
        with screen.stage("dropping maps", 0) as update:
            curve = effect(
                self.decoder,
                self.z,
                self.boxes,
                found,
                presence,
                counts(positive, number),
                draws=self.draws,
                seed=self.seed,
                progress=update,
            )
        at = next(row for row in curve if row["maps"] == number)
        result = {
            "command": this_command(),
            "run": str(self.run),
            "network": self.gan.describe(),
            "given": self.given,
            "seed": self.seed,
            "boxes": {"file": str(self.path), "images": len(self.z), "boxes": sum(map(len, self.boxes))},
            "layer": {
                "index": place.index,
                "name": place.name,
                "stage": place.stage,
                "of": place.of,
                "maps": place.maps,
                "grid": list(place.grid),
            },
            "maps": {
                "positive": positive,
                "dropped": number,
                "order": found.order.tolist(),
                "others": [order.tolist() for order in found.others],
                "weights": [round(float(w), 5) for w in found.weight],
            },
            "regression": found.held_out,
            "probe": {"sees": sees, **presence.held_out.scores},
            "before": {name: curve[0]["dropped"][name] for name in ("presence", "detected", "elsewhere")},
            "after": at["dropped"],
            "random": {**at["random"], "draws": self.draws},
            "beyond_random": at["beyond_random"],
            "curve": curve,
            "notes": effect_notes(found, presence.held_out.scores, at),
            "out": str(self.out),
        }
        table = (HEADINGS, effect_rows(curve, number))
        files = write_exploration(self.out, "forget", result, [self._picture(found, number)], table)
        screen.result(result)
        self._tell(result, table)
        screen.say(f"Written: {', '.join(map(str, files))}")
        screen.next(["ganfeat", "report", str(self.run)])
        return 0

    def _picture(self, found: Forgetting, number: int) -> Picture:
        """Before, after, control."""
        import numpy as np

        from ganfeat.inspection.drawing import with_boxes
        from ganfeat.inspection.forgetting import draw_without, random_maps
        from ganfeat.pictures import captioned, tile
        from ganfeat.report.explorations import Picture

        n = len(self.shown)
        boxed = min(len(self.z), n)
        fresh = [z for z in self.shown if not (self.z == z).all(axis=1).any()]
        z = np.stack([*self.z[:boxed], *fresh[: n - boxed]])
        n = len(z)
        columns = math.ceil(n / math.ceil(n / COLUMNS))
        maps = next(random_maps(found.layer, number, 1, self.seed))
        parts = []
        words = [
            f"As they are; the first {boxed} with the boxes",
            f"Without the {number} maps of layer {self.layer} that draw what is in the boxes (of {found.layer.maps})",
            f"Control: without {number} random maps of the same layer",
        ]
        for i, (text, dropped) in enumerate(zip(words, (found.order[:0], found.order[:number], maps), strict=True)):
            images = draw_without(self.decoder, z, found.layer, dropped)
            scale = min(4, max(1, WIDEST // (columns * (images.shape[2] + 1))))
            parts.append((text, tile(with_boxes(images, self.boxes[:boxed] if i == 0 else (), scale), columns)))
        caption = (
            f"Samples as they are (boxes drawn), without the {number} maps that draw what is in the boxes (by all of "
            f"them), and without {number} random maps."
        )
        alt = f"{n} samples of the generator three times: whole, with the found maps dropped, with random maps dropped"
        return Picture("forget.png", captioned(parts), caption, alt)

    def _tell(self, result: dict[str, Any], table: tuple[Any, Any]) -> None:
        screen, layer, maps = self.screen, result["layer"], result["maps"]
        shape = f"{layer['maps']} maps of {layer['grid'][0]} x {layer['grid'][1]}"
        screen.say(
            f"\nLayer {layer['index']} of {layer['of']} of G ({layer['name']}, {shape}): {maps['positive']} maps have "
            f"a positive weight, {maps['dropped']} are dropped."
        )
        screen.table(
            ("which position is in a box? on images held out", "accuracy", "always no", "balanced", "AUC"),
            [
                (
                    name,
                    percent(scores["accuracy"]),
                    percent(scores["chance"]),
                    percent(scores["balanced_accuracy"]),
                    f"{scores['auc']:.3f}",
                )
                for name, scores in (
                    (f"G's layer {layer['index']}, which finds the maps", result["regression"]),
                    (f"{result['probe']['sees']}: the probe", result["probe"]),
                )
            ],
        )
        screen.table(*table)
        for note in result["notes"]:
            screen.say(note)


def _template(screen: Screen, generator: Generator, out: Path, shown: NDArray[np.float32], seed: int) -> int:
    """A numbered sheet of samples, and a file of boxes to fill in."""
    import json

    from ganfeat.checkpoint import write_atomically
    from ganfeat.files import replacing
    from ganfeat.inspection.drawing import numbered
    from ganfeat.latent import sample_reference
    from ganfeat.pictures import write_png

    run, value, images = generator.run, generator.given, generator.draw(shown)
    names = [sample_reference(seed, i) for i in range(len(shown))]
    scale = max(1, min(6, 160 // max(images.shape[1:3])))
    out.mkdir(parents=True, exist_ok=True)
    sheet, file = out / "samples.png", out / "boxes.json"
    with replacing(sheet) as temporary:
        write_png(temporary, numbered(images, names, 8, scale))
    kept = file.exists()
    if not kept:
        height, width = images.shape[1:3]
        how = (
            f"One entry a box, on samples of {sheet.name}, around every instance of the object: "
            '{"z": "s0.17", "x": 10, "y": 4, "width": 12, "height": 20}. x, y: its left and top edge in pixels of the '
            f"image, which is {width} wide and {height} high, as the rulers show. 30 samples or more are best."
        )
        content = {"how": how, **({} if value is None else {"given": value}), "boxes": []}
        write_atomically(file, (json.dumps(content, indent=1) + "\n").encode())
    screen.result({"command": this_command(), "run": str(run), "sheet": str(sheet), "boxes": str(file), "kept": kept})
    screen.say(f"Written: {sheet}{'' if kept else f', {file}'}")
    if kept:
        screen.say(f"{file} was there and is left as it is.")
    screen.say(
        f"Now draw boxes around one kind of object on some 30 samples: with the mouse in `ganfeat studio {run}`, or by "
        f"writing their edges, as the rulers of {sheet.name} show them, into {file.name}."
    )
    screen.next(["ganfeat", "forget", str(run), "--boxes", str(file)])
    return 0
