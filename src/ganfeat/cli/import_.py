"""``ganfeat import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ganfeat.cli.screen import Device, Json, Quiet, Screen

SHEET = 64


def import_(
    kind: Literal["dcgan-code"],
    folder: Path,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"], help="The run folder to write: new or empty.")],
    data: Annotated[
        str | None,
        Parameter(
            help="Images to estimate D's batch-norm statistics on, best those that it learned from; as `ganfeat train` "
            "takes them. [default: 12,800 of the generator's own]"
        ),
    ] = None,
    epoch: Annotated[
        str | None, Parameter(help="Where the folder has several: what the names begin with. [default: the newest]")
    ] = None,
    prior: Annotated[
        str | None,
        Parameter(help="Distribution of z. [default: as its authors had it; normal for three layers, else uniform]"),
    ] = None,
    precision: Annotated[str, Parameter(help="Of the model in use: auto, bf16 or fp32.")] = "fp32",
    device: Device = "auto",
    seed: Annotated[
        int,
        Parameter(help="Of the z and the order of images for statistics, of the untrained network, and of samples."),
    ] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Make a run folder of weights that others trained and released.

    All other verbs then work on it as on your own. The weights' batch-norm statistics are estimated, and an untrained
    network of the same shape is kept as the baseline.

    Example: `ganfeat import dcgan-code models/svhn_unsup_all_conv_dcgan_100z_gaussian_lr_0.0005_64mb --out runs/svhn`.

    Parameters
    ----------
    kind
        Whose weights: dcgan-code, of the DCGAN authors' repository.
    folder
        For dcgan-code, the one with the files *_discrim_params.jl_01.npy, *_gen_params.jl_01.npy and so on; the .jl
        files are not read.
    """
    import time

    from torch.nn import Conv2d

    started = time.perf_counter()
    screen = Screen(json, quiet)
    screen.start()

    from ganfeat.checkpoint import RunFolder
    from ganfeat.data import load_images
    from ganfeat.errors import InputError
    from ganfeat.files import replacing
    from ganfeat.importers.dcgan_code import detect, import_dcgan_code, read_arrays
    from ganfeat.pictures import tile, write_png

    run = RunFolder(out)
    run.refuse_foreign()
    if run.exists and "imported" not in (run.config().get("data") or {}):
        raise InputError(f"{out} holds a training of your own: give another --out")
    image_shape, _ = detect(read_arrays(folder, epoch))
    height, width, channels = image_shape
    images = None
    if data is not None:
        with screen.stage("reading images", 0) as update:
            images = load_images(data, size=height, channels=channels, progress=update)
    with screen.stage("estimating statistics", 0) as update:
        gan = import_dcgan_code(
            folder,
            epoch=epoch,
            images=images,
            prior=prior,
            seed=seed,
            device=device,
            precision=precision,
            progress=update,
        )
    sheet = tile(gan.sample(SHEET, random_state=seed))
    with run.locked():
        gan.save(out)
        with replacing(run.samples / "imported.png") as temporary:
            write_png(temporary, sheet)
    about = run.config()["data"]
    layers = [m for m in gan.discriminator_.modules() if isinstance(m, Conv2d)]
    result: dict[str, Any] = {
        "run": str(out),
        "imported": about["imported"],
        "source": about["source"],
        "image_shape": list(image_shape),
        "layers": [{"maps": m.out_channels, "kernel_size": m.kernel_size[0], "stride": m.stride[0]} for m in layers],
        "convs_per_scale": gan.convs_per_scale,
        "n_components": gan.n_components,
        "prior": gan.prior,
        "features": gan.extractor().n_features_out_,
        "statistics": about["statistics"],
        "samples": str(run.samples / "imported.png"),
        "seconds": round(time.perf_counter() - started, 1),
    }
    screen.result(result)
    strides = ", ".join(str(m.stride[0]) for m in layers)
    distribution = {"normal": "N(0, 1)", "uniform": "U(-1, 1)"}[gan.prior]
    screen.table(
        (str(out), ""),
        [
            ("imported", f"{about['imported']}, {about['source']}"),
            ("images", f"{height} x {width} x {channels}"),
            (
                "layers of D",
                f"{', '.join(str(m.out_channels) for m in layers)} maps, strides {strides}, "
                f"{gan.kernel_size} x {gan.kernel_size} kernels",
            ),
            ("features per image", f"{result['features']:,}"),
            ("z", f"{gan.n_components} from {distribution}"),
            *((f"batch norm of the {k}", v) for k, v in about["statistics"].items()),
            ("samples", result["samples"]),
        ],
    )
    command = ["ganfeat", "extract", str(out), data or "DATA", "--out", "features.npy"]
    if data is None:
        screen.say(
            "D's statistics are of the generator's pictures. For features of real images, estimate them on such, as "
            "the authors did: --data IMAGES here, or --bn recalibrate --recalibrate-on TRAINING-IMAGES in extract."
        )
        command += ["--bn", "recalibrate", "--recalibrate-on", "TRAINING-IMAGES"]
    screen.next(command)
    return 0
