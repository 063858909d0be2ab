"""``ganfeat saliency``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed, percent, refuse, this_command

FIRST = 6
"""Channels that the paper shows."""
MOST = 64
"""Channels, and images of each, that a sheet shows at most."""


def saliency(
    run: Path,
    data: str,
    /,
    *,
    network: Annotated[
        str | None,
        Parameter(help="discriminator, encoder or classifier. [default: the one that the run's features come from]"),
    ] = None,
    layer: Annotated[int, Parameter(help="Index of the layer, negative from the end; see ganfeat info.")] = -1,
    at: Annotated[str, Parameter(help="Where in the layer: activation, norm or conv.")] = "activation",
    channels: Annotated[
        list[int] | None,
        Parameter(
            help="Which channels, e.g. --channels 3 17 40. [default: the first 6]", consume_multiple=True, negative=""
        ),
    ] = None,
    top: Annotated[int, Parameter(help="Show so many images of each channel, those that excite it most.")] = 6,
    limit: Annotated[int | None, Parameter(help="Search so many images of DATA, evenly spaced. [default: all]")] = None,
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="Folder for saliency.json and the pictures. [default: RUN/saliency]"),
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Show what channels of a layer respond to: their most exciting images, and what in these excites them.

    For every channel, the images of DATA that excite it most, at most once each, cut to what its unit sees (the
    receptive field). Beside each the gradient of the unit, by guided backpropagation and plain: mid-grey means that a
    pixel does nothing, brighter and darker that more or less of it would excite the unit more. Below, the same of the
    network as it was before its training: what looks as good there has not been learned.

    Writes saliency.png, receptive.png (the whole images, with the fields drawn), filters.png (weights of the first
    layer) and saliency.json. `ganfeat report RUN` shows them, if they are in RUN/saliency.

    Example: `ganfeat saliency runs/photos photos/ --channels 0 1 2 3 4 5 --top 6`.

    Parameters
    ----------
    run
        Run folder of any method with a discriminator, encoder or classifier.
    data
        Images, as `ganfeat train` takes them; with labels, it is counted how often a channel's images are of one class.
    """
    from ganfeat.checkpoint import RunFolder
    from ganfeat.cli.points import within
    from ganfeat.errors import InputError

    screen = Screen(json, quiet)
    config = RunFolder(run).config()
    if RunFolder(data).exists:
        raise InputError(f"DATA, the second argument, is images, and {data} is a run folder: ganfeat saliency RUN DATA")
    within(("--top", top, 1, MOST), seed=seed)
    if channels is not None and not 1 <= len(channels) <= MOST:
        raise InputError(f"--channels names {len(channels)}: give 1 to {MOST}, e.g. --channels 0 1 2")
    if not config["scaling"]["integer"]:
        raise InputError(f"{run} was trained on floating-point arrays; saliency reads images, 0 to 255: train on these")
    out = run / "saliency" if out is None else out
    refuse(out)
    screen.start()

    from rich.markup import escape

    from ganfeat.data import load_images
    from ganfeat.estimators import load
    from ganfeat.inspection.activations import checked_channels
    from ganfeat.inspection.layer import layer_of
    from ganfeat.report.explorations import write_exploration

    gan = load(run, device=device)
    height, width, depth = gan.image_shape_
    if height != width:
        raise InputError(f"{run} was trained on {height} x {width} images; saliency reads square ones")
    network = network or gan.network
    looked = layer_of(gan.extractor(network, taps="all"), layer, at)
    chosen = checked_channels(looked, list(range(min(FIRST, looked.channels))) if channels is None else channels)
    with screen.stage("reading images", 0) as update:
        found = load_images(
            data, size=height, channels=depth if depth in (1, 3) else None, limit=limit, progress=update
        )
    notes: list[str] = []
    if RunFolder(run).read_untrained() is None:
        notes.append(
            f"{run} keeps no untrained network: the baseline is another initialisation of the same network, its batch "
            "norms estimated on DATA."
        )
        untrained = gan.random_init(found, random_state=seed)
    else:
        untrained = gan.random_init()
    twin = layer_of(untrained.extractor(network, taps="all"), layer, at)

    if found.labels is not None and (found.labels < 0).any():
        notes.append(f"{(found.labels < 0).sum():,} images have no label, so classes are not counted.")
    trained, random = (
        _surveyed(screen, name, which, found, chosen, top, seed)
        for name, which in (("trained", looked), ("untrained", twin))
    )
    for name, side in (("trained", trained), ("untrained", random)):
        if side.silent:
            silent = ", ".join(map(str, side.silent))
            notes.append(f"{name}: no image excites channel {silent} above 0: guided gradients are 0.")
    result = {
        "command": this_command(),
        "run": str(run),
        "network": network,
        "layer": looked.name,
        "channels": looked.channels,
        "maps": list(looked.grid),
        "data": found.source,
        "images": len(found),
        "skipped": len(found.skipped),
        "field": trained.field,
        "chance": trained.chance,
        "trained": {"all": trained.all, "channels": trained.rows},
        "untrained": {"all": random.all, "channels": random.rows},
        "notes": notes,
    }
    headings, rows = _table(trained, random)
    words = _in_words(result)
    pictures = _pictures(looked, twin, trained, random, gan, " ".join(words))
    written = write_exploration(out, "saliency", result, pictures, (headings, rows))
    screen.result(result)
    screen.table(
        headings,
        [[escape(cell) for cell in row] for row in rows],
        title=f"{network} {looked.name}, {len(found):,} images",
    )
    for line in (*words, *notes):
        screen.say(line)
    screen.say(f"Written: {', '.join(str(path) for path in written)}")
    screen.next(["ganfeat", "report", str(run)] if out == run / "saliency" else ["ganfeat", "compare", str(run), data])
    return 0


def _surveyed(screen: Screen, name: str, layer: Any, found: Any, chosen: Any, top: int, seed: int) -> Any:
    """A survey, with its progress shown."""
    from ganfeat.inspection.survey import survey

    with screen.stage(f"looking, {name}", len(found) + len(chosen)) as update:
        return survey(
            layer,
            found,
            chosen,
            top,
            seed=seed,
            progress=lambda done, _total: update(done),
            looked=lambda done: update(len(found) + done),
        )


def _table(trained: Any, random: Any) -> tuple[list[str], list[list[str]]]:
    """Headings, and a row a channel, the untrained ones last."""
    from ganfeat.inspection.survey import HALF, LIKE, RULES

    counted = trained.chance["images"] if trained.chance else 0
    headings = ["channel", "activation, strongest"]
    if counted:
        headings += [f"most frequent class of the top {counted}", "its share, %"]
    headings += ["half of gradient in % of field, guided / plain", "like another channel's, guided / plain"]
    rows = []
    for side in (trained, random):
        for row in side.rows:
            cells = [f"{row['channel']}" + ("" if side is trained else ", untrained"), f"{row['strongest']:.2f}"]
            if counted:
                share = row["class share"]
                cells += ["-", "-"] if share is None else [row["class"], percent(share)]
            halves, alike = ([row[key.format(rule)] for rule in RULES] for key in (HALF, LIKE))
            cells.append(" / ".join("-" if value is None else percent(value) for value in halves))
            cells.append(" / ".join("-" if value is None else f"{value:.2f}" for value in alike))
            rows.append(cells)
    return headings, rows


def _in_words(result: dict[str, Any]) -> list[str]:
    lines = []
    chance = result["chance"]
    if chance:
        trained, random = result["trained"]["all"], result["untrained"]["all"]
        lines.append(
            f"Over {_channels(result['channels'], trained['left out'])}, the most frequent class is "
            f"{_share(trained['class share'])} of a channel's top {chance['images']} images "
            f"({_share(random['class share'])} untrained, {_share(chance['mean'])} of as many images at random). "
            f"{_share(trained['above chance'])} of the channels ({_share(random['above chance'])} untrained) exceed "
            "what 95 % of random draws stay below."
        )
        if trained["left out"] or random["left out"]:
            lines.append(
                f"Not counted: {trained['left out']} channels ({random['left out']} untrained) that give the last of "
                f"these {chance['images']} images and the next one the same value, mostly 0: the order of DATA would "
                "choose for them."
            )
    lines.append(
        "'Like another channel's' is the correlation with the gradient of the channel that is excited most at the same "
        "place of the same images: the nearer to 1, the less of the picture is about this channel."
    )
    return lines


def _channels(n: int, left_out: int) -> str:
    return f"{n - left_out} of {n} channels" if left_out else f"all {n} channels"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{percent(value)} %"


def _pictures(looked: Any, twin: Any, trained: Any, random: Any, gan: Any, words: str) -> list[Any]:
    from ganfeat.errors import InputError
    from ganfeat.inspection.filters import filter_pictures, first_filters
    from ganfeat.inspection.saliency import framed_sheet, views_sheet
    from ganfeat.pictures import captioned, tile
    from ganfeat.report.explorations import Picture

    listed = ", ".join(str(row["channel"]) for row in trained.rows)
    field = " x ".join(map(str, trained.field))
    sheets = [views_sheet(side.views) for side in (trained, random)]
    scale = max(1, min(3, 1800 // max(sheet.shape[1] for sheet in sheets)))
    columns = "images that excite it most, guided gradients, plain gradients"
    pictures = [
        Picture(
            "saliency.png",
            captioned(
                [
                    (f"{looked.name}, a row a channel ({listed}): {columns}", sheets[0]),
                    ("the same network untrained", sheets[1]),
                ],
                scale,
            ),
            f"What excites channels {listed} of {looked.name}: {columns}; below, the same channels untrained. Images "
            f"are cut to the unit's receptive field, {field} pixels. Gradients: mid-grey is 0, one scale a channel and "
            f"kind. {words}",
            f"Rows of image crops with their gradients, for channels {listed}, trained above untrained.",
        ),
        Picture(
            "receptive.png",
            captioned(
                [(f"the whole images; framed: what the unit of {looked.name} sees", framed_sheet(trained.views))]
            ),
            "The whole images; the frame is what the unit sees of them.",
            "Rows of images, in each a frame around the receptive field.",
        ),
    ]
    try:
        both = [filter_pictures(first_filters(layer, gan.image_shape_)[:256]) for layer in (looked, twin)]
    except InputError:
        return pictures
    scale = max(1, 30 // both[0].shape[1])
    parts = [
        (name, tile(_mounted(each, scale), columns=16, pad=0))
        for name, each in zip(("trained", "untrained"), both, strict=True)
    ]
    pictures.append(
        Picture(
            "filters.png",
            captioned([(f"filters of the first layer, {name}", sheet) for name, sheet in parts]),
            "Weights of the first layer, trained above untrained: mid-grey is 0, each filter on its own scale.",
            f"{len(both[0])} small pictures of weights, trained above untrained.",
        )
    )
    return pictures


def _mounted(pictures: Any, scale: int) -> Any:
    """Pictures enlarged, on white."""
    import numpy as np

    from ganfeat.pictures import PAPER

    margins = ((0, 0), (2, 2), (2, 2), (0, 0))
    return np.pad(pictures.repeat(scale, axis=1).repeat(scale, axis=2), margins, constant_values=PAPER)
