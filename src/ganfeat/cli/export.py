"""``ganfeat export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ganfeat.cli.screen import Json, Quiet, Screen, refuse

GENERATOR = "generator"


def export(
    run: Path,
    /,
    *,
    onnx: Annotated[
        Path | None,
        Parameter(
            name="--onnx",
            help="Write the features' network as this .onnx file: uint8 images (batch, height, width, channels) in, "
            "float32 rows out.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="Write a folder, ready for the Hub: settings, weights, model card."),
    ] = None,
    hub: Annotated[
        str | None, Parameter(help="Publish that folder as owner/name on the Hugging Face Hub; needs a login.")
    ] = None,
    private: Annotated[
        bool, Parameter(negative="", help="The repository of --hub is for its owner alone; a public one is refused.")
    ] = False,
    reconstructions: Annotated[
        bool,
        Parameter(
            negative="",
            help="Add the last sheet of reconstructions to --out or --hub: it SHOWS IMAGES of the run's data. Without "
            "it no image that the run learned from is published.",
        ),
    ] = False,
    results: Annotated[
        tuple[Path, ...] | None,
        Parameter(
            help="What `probe --json`, `compare` or `theory` wrote, for the card; repeat for several. [default: those "
            "that lie in RUN]",
            negative="",
        ),
    ] = None,
    network: Annotated[
        str | None,
        Parameter(
            help="Of --onnx: discriminator, encoder or classifier, for features; generator, for images of z. "
            "[default: encoder, else discriminator]"
        ),
    ] = None,
    taps: Annotated[
        tuple[str, ...] | None,
        Parameter(help="Of --onnx, as of `extract`. [default: all; of an encoder output; of mgan the last]"),
    ] = None,
    at: Annotated[
        str | None,
        Parameter(help="Stage of the taps that do not say theirs: conv, norm or activation. [default: activation]"),
    ] = None,
    pool: Annotated[
        int | None, Parameter(help="Side of the grid that maps are pooled to; 0 keeps every pixel. [default: 4]")
    ] = None,
    pooling: Annotated[str | None, Parameter(help="max or avg. [default: max]")] = None,
    mirror: Annotated[
        bool, Parameter(negative="", help="Average the features of every image and its mirror image.")
    ] = False,
    pca_from: Annotated[
        Path | None,
        Parameter(help="A projection (PCA, whitening) that `extract --pca` learned: applied inside the ONNX file."),
    ] = None,
    given: Annotated[
        str | None,
        Parameter(help="With --network generator: what G is told beside z (generator of mgan, class of acgan)."),
    ] = None,
    check: Annotated[
        str | None,
        Parameter(help="Of --onnx: images to compare onnxruntime and PyTorch on. [default: noise, fine and coarse]"),
    ] = None,
    seed: Annotated[int, Parameter(help="Not used: taken so that all verbs take the same options.")] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Write a model in forms that others read: an ONNX file, a folder for the Hugging Face Hub, or onto the Hub.

    --onnx: one file with everything inside, from pixels to the features of `ganfeat extract`, computed in float32:
    scaling, the network, its taps, pooling, and --pca-from. onnxruntime runs it beside PyTorch, and it is written only
    if both give the same within 1e-4 (where features are larger than 1, of the largest). Whoever has the file needs
    neither PyTorch nor ganfeat: `onnxruntime.InferenceSession("features.onnx").run(None, {"images": images})`.

    --out, --hub: config.json, the weights, the untrained network, the history, the last sheet of samples, and a model
    card with what was measured, under its protocol. No image that the run learned from is published, unless
    --reconstructions is given. Checkpoints stay here, and paths lose their folders. `ganfeat.load` reads the folder,
    and "hf-hub:owner/name"; wherever a verb takes a run folder, it takes hf-hub:owner/name, too. An ONNX file that is
    written in the same call goes along.

    Examples: `ganfeat export runs/photos --onnx features.onnx`.
    `ganfeat probe features.npy features.labels.npy --json > probe.json`, then
    `ganfeat export runs/photos --hub me/photos --results probe.json`.

    Parameters
    ----------
    run
        A run folder.
    """
    from ganfeat.checkpoint import RunFolder
    from ganfeat.errors import InputError

    screen = Screen(json, quiet)
    tapping: dict[str, Any] = {
        "--taps": taps,
        "--at": at,
        "--pool": pool,
        "--pooling": pooling,
        "--mirror": mirror or None,
    }
    tapping |= {"--pca-from": pca_from, "--check": check}
    _check_place(onnx, out, hub)
    of_card = {"--results": results or None, "--reconstructions": reconstructions or None}
    _check_options(
        {"--network": network, "--given": given} | tapping if onnx is None else {},
        tapping if network == GENERATOR else {},
        of_card if out is None and hub is None else {},
    )
    if given is not None and network != GENERATOR:
        raise InputError(f"--given {given} is what a generator is told: add --network generator, or leave it out")
    if private and hub is None:
        raise InputError("--private is of a repository: add --hub owner/name")
    RunFolder(run).config()
    if onnx is not None:
        from ganfeat.exchange.libraries import require_libraries

        require_libraries()
    screen.start()

    from ganfeat.estimators.hub import require_library, split_name
    from ganfeat.estimators.published import reconstruction_sheets
    from ganfeat.exchange.card import read_results, refuse_others, results_in
    from ganfeat.exchange.folder import push_folder, refuse_taken, write_folder

    if hub is not None:
        split_name(hub)
        require_library()
    folder = RunFolder(run)
    content: dict[str, Any] = {"run": str(run)}
    rows: list[tuple[str, str]] = []
    made: dict[str, Any] | None = None
    known: dict[str, dict[str, Any]] = {}
    if out is not None:
        refuse_taken(out)
    if out is not None or hub is not None:
        known = read_results(results or results_in(folder))
        folder.read_model()
        refuse_others(known, folder)
        if reconstructions:
            reconstruction_sheets(folder)
    if onnx is not None:
        with screen.stage("writing and checking ONNX", 0):
            if network == GENERATOR:
                made = _generator(run, onnx, given)
            else:
                made = _features(run, onnx, network, taps, at, pool, pooling, mirror, pca_from, check)
        content |= made
        rows += _onnx_rows(made)
    if out is not None:
        with screen.stage("writing the folder", 0):
            content["files"] = write_folder(run, out, results=known, onnx=made, reconstructions=reconstructions)
        content["out"] = str(out)
        rows += [("folder", str(out)), ("files", ", ".join(content["files"]))]
    if hub is not None:
        with screen.stage(f"publishing {hub}", 0):
            content["commit"] = push_folder(
                run, hub, private=private, results=known, onnx=made, reconstructions=reconstructions
            )
        content["hub"] = f"hf-hub:{hub.removeprefix('hf-hub:')}"
        rows += [("published", content["commit"])]
    if out is not None or hub is not None:
        content["results"] = list(known)
        rows.append(("measured", ", ".join(known) or "nothing: the card says so"))
    screen.result(content)
    screen.table((str(run), ""), rows)
    _next(screen, run, content, onnx, network)
    return 0


def _check_place(onnx: Path | None, out: Path | None, hub: str | None) -> None:
    """Refuse what cannot be written, before any work."""
    from ganfeat.errors import InputError

    if onnx is None and out is None and hub is None:
        raise InputError("say what to write: --onnx features.onnx, --out FOLDER or --hub owner/name; several will do")
    if onnx is not None:
        if onnx.suffix != ".onnx":
            raise InputError(f"--onnx {onnx} must end in .onnx, e.g. {onnx.with_suffix('.onnx')}")
        if onnx.is_dir():
            raise InputError(f"--onnx {onnx} is a folder: name a file in it")
        if not onnx.parent.is_dir():
            raise InputError(f"the folder of --onnx {onnx} does not exist: mkdir -p {onnx.parent}")
    if out is not None:
        refuse(out)


def _check_options(of_onnx: dict[str, Any], of_features: dict[str, Any], of_card: dict[str, Any]) -> None:
    """Refuse options that nothing of what is written would follow: those that are not None."""
    from ganfeat.errors import InputError

    for options, why in (
        (of_onnx, "for the ONNX file: add --onnx features.onnx, or leave it out"),
        (of_features, "for features, and --network generator gives images: leave it out"),
        (of_card, "for the model card and its folder: add --out FOLDER or --hub owner/name"),
    ):
        for option, value in options.items():
            if value is not None:
                raise InputError(f"{option} is {why}")


def _features(
    run: Path,
    onnx: Path,
    network: str | None,
    taps: tuple[str, ...] | None,
    at: str | None,
    pool: int | None,
    pooling: str | None,
    mirror: bool,
    pca_from: Path | None,
    check: str | None,
) -> dict[str, Any]:
    from ganfeat.data import load_images
    from ganfeat.estimators import load
    from ganfeat.exchange.onnx import export_onnx

    gan = load(run, device="cpu")
    network = network or gan.network
    taps = taps or (gan.usual_taps.get(network, "all"),)
    extractor = gan.extractor(
        network,
        taps=list(taps),
        at="activation" if at is None else at,
        pool=4 if pool is None else pool or None,
        pooling="max" if pooling is None else pooling,
        mirror=mirror,
        precision="fp32",
    )
    projection = None
    if pca_from is not None:
        from ganfeat.projection import Projection, projection_of

        projection = Projection.load(projection_of(pca_from, "--pca-from"))
    images = None
    if check is not None:
        height, _, channels = gan.image_shape_
        images = load_images(check, size=height, channels=channels if channels in (1, 3) else None, limit=256)
    scaling = None if gan._integer else gan.scaling_
    made = export_onnx(
        extractor, onnx, images=images, scaling=scaling, projection=projection, card=_card(run, gan, network)
    )
    return {"network": gan.describe(network), **made}


def _generator(run: Path, onnx: Path, given: str | None) -> dict[str, Any]:
    from ganfeat.cli.points import Generator
    from ganfeat.exchange.onnx import export_generator

    generator = Generator(run, "cpu", given)
    card = _card(run, generator.gan, GENERATOR)
    made = export_generator(generator.gan, onnx, given=generator.given, card=card)
    return {"network": generator.gan.describe(GENERATOR), **made}


def _card(run: Path, gan: Any, network: str) -> dict[str, Any]:
    """What the file says of its model."""
    from ganfeat.checkpoint import RunFolder
    from ganfeat.estimators.places import without_folders

    config = RunFolder(run).config()
    kept = {key: config.get(key) for key in ("method", "seed", "data", "estimator", "ganfeat", "torch")}
    about = {"run": str(run), "network": gan.describe(network), "tapped network": network, **kept}
    return without_folders(about, [run.absolute().parent])


def _onnx_rows(made: dict[str, Any]) -> list[tuple[str, str]]:
    parity = made["parity"]

    def tensor(one: dict[str, Any]) -> str:
        return f"{one['name']}: {one['dtype']} ({', '.join(map(str, one['shape']))})"

    return [
        ("ONNX file", f"{made['onnx']}, {made['bytes'] / 2**20:.1f} MiB, opset {made['opset']}"),
        ("network", made["network"]),
        ("input", tensor(made["input"])),
        ("output", tensor(made["output"])),
        *([("taps", ", ".join(made["taps"]))] if "taps" in made else []),
        (
            "onnxruntime against PyTorch",
            f"at most {parity['difference']:.1e} off, of values up to {parity['largest']:.3g}, on {parity['images']} "
            f"inputs in batches of {', '.join(map(str, parity['batches']))}",
        ),
    ]


def _next(screen: Screen, run: Path, content: dict[str, Any], onnx: Path | None, network: str | None) -> None:
    if "hub" in content:
        screen.next(["ganfeat", "extract", content["hub"], "DATA", "--out", "features.npy"])
    elif "out" in content:
        screen.next(["ganfeat", "export", str(run), "--hub", "OWNER/NAME"])
    else:
        given = "z" if network == GENERATOR else "images"
        screen.say(
            f'\nNext, in Python: onnxruntime.InferenceSession("{onnx}").run(None, {{"{given}": {given}}})[0]\n'
            f"Or, for others to use: ganfeat export {run} --hub OWNER/NAME"
        )
