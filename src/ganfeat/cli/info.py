"""``ganfeat info``."""

from __future__ import annotations

import math
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
    from ganfeat.health import Health

    screen = Screen(json, quiet)
    folder = RunFolder(run)
    config = folder.config()
    absent = {"method", "image_shape", "estimator", "precision", "device", "data"} - set(config)
    if absent or len(config["image_shape"]) != 3:
        raise InputError(
            f"{run}/config.json is damaged: {', '.join(sorted(absent)) or 'image_shape'} is missing or wrong"
        )
    records = history.read(folder.history)
    health = Health.of(records)
    last: dict[str, Any] = records[-1] if records else {}
    try:
        from ganfeat.estimators import load

        gan = load(run, device=device)
        layers = layers_of(gan)
        parameters = {
            name: sum(p.numel() for p in getattr(gan, f"{name}_").parameters())
            for name in ("encoder", "generator", "discriminator")
            if hasattr(gan, f"{name}_")
        }
    except InputError as error:
        layers, parameters = [], {}
        screen.say(f"no weights to show: {error}")
    screen.result(
        {
            "run": str(run),
            "config": config,
            "last_record": last,
            "health": health.summary(),
            "parameters": parameters,
            "layers": layers,
        }
    )
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
        *([("mode collapse", health.verdict())] if health.summary()["last"] else []),
        ("parameters", ", ".join(f"{k} {v:,}" for k, v in parameters.items()) or "-"),
        ("precision", f"{config['precision']} on {config['device']}"),
        *(
            (k, str(v))
            for k, v in config["estimator"].items()
            if v is not None and k not in ("max_iter", "precision", "device")
        ),
    ]
    screen.table((str(run), ""), rows)
    for network in dict.fromkeys(layer["network"] for layer in layers):
        screen.table(
            ("--taps", "name", "stage", "shape", "features at pool 4"),
            [
                (
                    tap_of(layer),
                    layer["name"],
                    layer["stage"] or "-",
                    layer["shape"] or "-",
                    f"{layer['features']:,}",
                )
                for layer in layers
                if layer["network"] == network
            ],
            title=_title(network, gan),
        )
    if layers:
        screen.next(["ganfeat", "extract", str(run), "DATA", "--out", "features.npy"])
    return 0


def _title(network: str, gan: Any) -> str:
    option = "" if network == gan.network else f"--network {network} "
    default = gan.usual_taps.get(network, "all") + (", which is E(x)" if network == "encoder" else "")
    return f"The {network}: `{option}--taps ...`, or just an INDEX for the activation. By default {default}"


def tap_of(layer: dict[str, Any]) -> str:
    """What ``--taps`` takes for a layer of :func:`layers_of`."""
    if layer["index"] is None:
        return str(layer["name"])
    return f"{layer['index']}:{layer['stage']}"


def layers_of(gan: Any) -> list[dict[str, Any]]:
    """What can be tapped of every network: the stages of conv blocks or hidden layers, an encoder's trunk and output.

    Returns
    -------
    list of dict
        ``network``; ``index`` and ``stage``, None for what only its name taps; ``name``; ``shape`` for one image; and
        ``features``, when maps are pooled to 4 x 4.
    """
    found: list[dict[str, Any]] = []
    for network in gan.objective_.taps():
        for block in gan.extractor(network, taps="all", at="activation").blocks_:
            found += [_layer(network, block.index, block.name, stage, shape) for stage, shape in block.stages.items()]
        if network == "encoder":
            for name in ("trunk", "output"):
                tapped = gan.extractor(network, taps=name, pool=4)
                found.append(_layer(network, None, name, None, (tapped.n_features_out_,)))
    return found


def _layer(network: str, index: int | None, name: str, stage: str | None, shape: tuple[int, ...]) -> dict[str, Any]:
    features = math.prod([shape[0], *(min(4, side) for side in shape[1:])])
    return {
        "network": network,
        "index": index,
        "name": name,
        "stage": stage,
        "shape": " x ".join(map(str, shape)),
        "features": features,
    }
