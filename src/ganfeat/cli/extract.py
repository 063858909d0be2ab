"""``ganfeat extract``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ganfeat.cli.screen import Device, Json, Quiet, Screen


def extract(
    run: Path,
    data: str,
    /,
    *,
    out: Annotated[
        Path, Parameter(name=["--out", "-o"], help="A .npy file, a .parquet file, or a folder for parquet in parts.")
    ],
    network: Annotated[
        str | None,
        Parameter(
            help="Whose layers: discriminator, of a run that has one encoder, of mgan classifier. [default: encoder, "
            "else discriminator]"
        ),
    ] = None,
    taps: Annotated[
        tuple[str, ...] | None,
        Parameter(
            help="`all`, indices (negatives from the end: `--taps=-1`), layer names, each with `:conv`, `:norm` or "
            "`:activation` if wanted; of an encoder `output`, which is E(x), and `trunk`, the layer before it; "
            "repeat the option for several. `ganfeat info RUN` lists them. [default: all; of an encoder output; of "
            "mgan the last]"
        ),
    ] = None,
    at: Annotated[
        str, Parameter(help="Stage of the taps that do not say theirs: conv, norm or activation.")
    ] = "activation",
    pool: Annotated[int, Parameter(help="Side of the grid that maps are pooled to; 0 keeps every pixel.")] = 4,
    pooling: Annotated[str, Parameter(help="max or avg.")] = "max",
    mirror: Annotated[
        bool,
        Parameter(
            negative="",
            help="Average the features of every image and its mirror image: better for photographs, wrong for "
            "digits and text; takes twice the time.",
        ),
    ] = False,
    bn: Annotated[
        str,
        Parameter(
            help="eval: batch-norm statistics of the training images, stored in the run. "
            "recalibrate: estimated anew on --recalibrate-on, or on DATA."
        ),
    ] = "eval",
    recalibrate_on: Annotated[
        str | None,
        Parameter(
            help="Images for `--bn recalibrate`: give the training images, so "
            "that training and test features come out alike."
        ),
    ] = None,
    baselines: Annotated[
        bool | None,
        Parameter(
            help="Write the raw pixels and the features of the untrained network beside (in parquet: as further "
            "columns), for `probe` to compare with. [default: with .npy]"
        ),
    ] = None,
    dtype: Annotated[str, Parameter(help="float32 or float16.")] = "float32",
    batch_size: Annotated[int, Parameter(help="Images at a time; the features do not depend on it.")] = 256,
    limit: Annotated[int | None, Parameter(help="Use so many images only, evenly spaced.")] = None,
    strict: Annotated[bool, Parameter(help="Refuse unreadable images instead of skipping them.")] = False,
    max_skipped: Annotated[
        float, Parameter(help="Share of unreadable images that is skipped; more is an error.")
    ] = 0.1,
    pack: Annotated[
        Path | None,
        Parameter(help="Keep the decoded images in this .npy memory map, for sets larger than memory; with .npy."),
    ] = None,
    pca: Annotated[
        int | None,
        Parameter(
            help="Parquet: write so many principal components instead of the features. They are learned, without "
            "labels, from at most 20,000 of the images, evenly spaced, or taken from --pca-from."
        ),
    ] = None,
    whiten: Annotated[bool, Parameter(negative="", help="Scale every component to variance 1.")] = False,
    pca_from: Annotated[
        Path | None,
        Parameter(
            help="The projection in this file, or that of features that were made with one; or features to learn it "
            "from. For test images, name the features of the training images."
        ),
    ] = None,
    part_rows: Annotated[int, Parameter(help="Parquet: images a part, about; a tar file is one part.")] = 4096,
    engine: Annotated[
        Literal["local", "ray"],
        Parameter(help="Parquet: local is this process, or those that torchrun starts; ray a cluster of machines."),
    ] = "local",
    address: Annotated[
        str | None, Parameter(help="Of the Ray cluster, or auto. [default: a Ray of its own on this machine]")
    ] = None,
    actors: Annotated[
        int | None, Parameter(help="Workers of Ray. [default: one a GPU, or one a CPU where there is none]")
    ] = None,
    device: Device = "auto",
    seed: Annotated[
        int | None,
        Parameter(
            help="Of another untrained network's weights; needs `--bn recalibrate`. [default: the run's own network, "
            "as it was before its training]"
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Turn images into features with a trained network.

    Writes F.npy (images x features, float32, streamed in constant memory), F.labels.npy where the images have labels,
    and, last, F.json, which says how they were made. Stopped before, it leaves what was there; without F.json, `probe`
    uses nothing that lies beside F.npy.

    With a folder for --out, features are written to it in parts (part-00000.parquet: id, label, features), in constant
    memory from end to end; what cannot be read goes to errors/, and last comes features.json. Stopped before, the same
    command goes on, and does only the parts that are missing. Several processes share the work under
    `torchrun --nproc-per-node N -m ganfeat extract ...`, machines with `--engine ray --address ...`.

    Example: `ganfeat extract runs/photos photos/ --out features.npy`.

    Parameters
    ----------
    run
        A run folder.
    data
        Images, as `ganfeat train` takes them; for parquet also tar files and packed sets. They are resized to the
        run's size.
    """
    from ganfeat.distributed import is_main, world_size
    from ganfeat.errors import InputError

    kind = _kind(out)
    files = _files(out, data, kind)
    screen = Screen(json and is_main(), quiet or not is_main())
    if seed is not None and bn != "recalibrate":
        raise InputError(
            f"--seed {seed} asks for an untrained network without batch-norm statistics: it needs --bn recalibrate "
            "--recalibrate-on TRAINING-IMAGES; or leave --seed out: the run keeps its own untrained network"
        )
    given: dict[str, Any] = {
        "network": network,
        "taps": taps,
        "at": at,
        "pool": pool,
        "pooling": pooling,
        "mirror": mirror,
    }
    given |= {"bn": bn, "recalibrate_on": recalibrate_on, "dtype": dtype, "limit": limit, "seed": seed}
    if kind == "npy":
        for name, value in (("--pca", pca), ("--pca-from", pca_from), ("--whiten", whiten or None)):
            if value is not None:
                raise InputError(f"{name} is of parquet: name a folder or a .parquet file, or `ganfeat reduce {out}`")
        if engine != "local" or address is not None or actors is not None or world_size() > 1:
            raise InputError(f"--out {out}: several processes write parts: name a folder, e.g. --out {out.stem}/")

        from ganfeat.cli.extract_npy import extract_to_npy

        more: dict[str, Any] = {
            "batch_size": batch_size,
            "strict": strict,
            "max_skipped": max_skipped,
            "pack": pack,
            "device": device,
        }
        return extract_to_npy(run, data, out, files, screen, baselines=baselines is not False, **given, **more)
    if pack is not None:
        raise InputError("--pack is of .npy; parts are read in constant memory. To decode only once: ganfeat prepare")

    from ganfeat.cli.extract_parts import extract_to_parts

    return extract_to_parts(
        run,
        data,
        out,
        screen,
        given
        | {"baselines": bool(baselines), "pca": pca, "whiten": whiten, "pca_from": pca_from, "part_rows": part_rows},
        {"engine": engine, "address": address, "actors": actors, "device": device, "batch_size": batch_size},
        0 if strict else max_skipped,
    )


def _kind(out: Path) -> str:
    """What --out names: ``npy``, ``parquet`` or a ``folder``."""
    from ganfeat.errors import InputError

    if out.suffix in (".npy", ".parquet"):
        return out.suffix[1:]
    if out.suffix and not out.is_dir():
        raise InputError(
            f"--out {out} must end in .npy or .parquet, e.g. {out.with_suffix('.npy')}, or name a folder, "
            f"e.g. {out.with_suffix('')}/"
        )
    return "folder"


def _files(out: Path, data: str, kind: str) -> dict[str, Path]:
    """Names of what is written beside a file; a wrong --out is refused before any work is done."""
    from ganfeat.errors import InputError

    if kind != "folder" and out.is_dir():
        raise InputError(f"--out {out} is a folder: name a file in it")
    if out.is_file() and kind == "folder":
        raise InputError(f"--out {out} is a file: name a folder, or a file that ends in .npy or .parquet")
    if not out.parent.is_dir():
        raise InputError(f"the folder of --out {out} does not exist: mkdir -p {out.parent}")
    files = siblings(out)
    if Path(data).resolve() in {path.resolve() for path in (out, *(files.values() if kind != "folder" else ()))}:
        raise InputError(f"--out {out} would overwrite the images in {data}: choose another name")
    return files


def siblings(features: Path) -> dict[str, Path]:
    """The files that belong to F.npy."""
    return {
        "labels": features.with_suffix(".labels.npy"),
        "pixels": features.with_suffix(".pixels.npy"),
        "random_init": features.with_suffix(".random_init.npy"),
        "card": features.with_suffix(".json"),
    }
