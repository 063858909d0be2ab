"""``ganfeat info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ganfeat.cli.screen import Device, Json, Quiet, Screen


def info(
    run: Path,
    /,
    *,
    device: Device = "cpu",
    seed: Annotated[int, Parameter(help="Not used: taken so that all verbs take the same options.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Show what a run folder holds: settings, progress, layers that can be tapped.

    Example: `ganfeat info runs/photos`.

    Parameters
    ----------
    run
        A run folder.
    """
    from ganfeat import history
    from ganfeat.checkpoint import RunFolder
    from ganfeat.errors import InputError

    screen = Screen(json, quiet)
    folder = RunFolder(run)
    config = folder.config()
    absent = {"method", "image_shape", "estimator", "precision", "device", "data"} - set(config)
    if absent or len(config["image_shape"]) != 3:
        raise InputError(
            f"{run}/config.json is damaged: {', '.join(sorted(absent)) or 'image_shape'} is missing or wrong"
        )
    records = history.read(folder.history)
    last: dict[str, Any] = records[-1] if records else {}
    try:
        from ganfeat.estimators import load

        gan = load(run, device=device)
        layers = layers_of(gan)
        parameters = {
            name: sum(p.numel() for p in getattr(gan, f"{name}_").parameters())
            for name in ("generator", "discriminator")
        }
    except InputError as error:
        layers, parameters = [], {}
        screen.say(f"no weights to show: {error}")
    screen.result({"run": str(run), "config": config, "last_record": last, "parameters": parameters, "layers": layers})
    height, width, channels = config["image_shape"]
    data = config["data"]
    rows = [
        ("method", config["method"]),
        (
            "images",
            f"{height} x {width} x {channels}" + (f", {data['n']:,} from {data['source']}" if "n" in data else ""),
        ),
        *(
            [("imported", f"{data['imported']}, {data['source']}")]
            + [(f"batch norm of the {k}", v) for k, v in data["statistics"].items()]
            if "imported" in data
            else []
        ),
        (
            "epochs",
            f"{data['epochs']}, elsewhere"
            if "imported" in data
            else f"{last.get('epoch', 0):.2f}, {last.get('step', 0):,} of {last.get('total_steps', 0):,} mini-batches",
        ),
        ("parameters", ", ".join(f"{k} {v:,}" for k, v in parameters.items()) or "-"),
        ("precision", f"{config['precision']} on {config['device']}"),
        *(
            (k, str(v))
            for k, v in config["estimator"].items()
            if v is not None and k not in ("max_iter", "precision", "device")
        ),
    ]
    screen.table((str(run), ""), rows)
    screen.table(
        ("tap", "name", "stage", "maps", "features at pool 4"),
        [
            (
                f"{layer['index']}:{layer['stage']}",
                layer["name"],
                layer["stage"],
                layer["shape"],
                f"{layer['features']:,}",
            )
            for layer in layers
        ],
        title="Layers of the discriminator: `--taps INDEX:STAGE`, or just INDEX for the activation",
    )
    if layers:
        screen.next(["ganfeat", "extract", str(run), "DATA", "--out", "features.npy"])
    return 0


def layers_of(gan: Any) -> list[dict[str, Any]]:
    """Every stage of every conv block, with the size of its maps."""
    return [
        {
            "index": block.index,
            "name": block.name,
            "stage": stage,
            "shape": " x ".join(map(str, shape)),
            "features": shape[0] * min(4, shape[1]) * min(4, shape[2]),
        }
        for block in gan.extractor(taps="all").blocks_
        for stage, shape in block.stages.items()
    ]
