"""``ganfeat reduce``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ganfeat.cli.extract import siblings
from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed

if TYPE_CHECKING:
    from ganfeat.feature_files import FeatureTable
    from ganfeat.projection import Projection


def reduce(
    features: Path,
    /,
    *,
    out: Annotated[
        Path, Parameter(name=["--out", "-o"], help="A .npy or .parquet file, or, of features in parts, a folder.")
    ],
    components: Annotated[
        int | None, Parameter(name=["--components", "-k"], help="Numbers an image afterwards. [default: of --from all]")
    ] = None,
    whiten: Annotated[
        bool, Parameter(negative="", help="Scale every component to variance 1. Rarely better with few labels.")
    ] = False,
    given: Annotated[
        Path | None,
        Parameter(
            name="--from",
            help="Learn nothing: use the projection in this file, or the one that made these reduced features. For "
            "test images, name what was learned on the training images.",
        ),
    ] = None,
    passes: Annotated[
        int, Parameter(help="Times that features of more than 8,192 columns are read to learn from; shorter ones once.")
    ] = 3,
    dtype: Annotated[Literal["float32", "float16"], Parameter(help="float32 or float16.")] = "float32",
    device: Device = "auto",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Make features shorter: principal components, learned from all rows of FEATURES, or taken from elsewhere.

    Reads and writes in constant memory. Beside OUT lie OUT.projection.safetensors, what was learned, and OUT.json,
    which says how (in a folder projection.safetensors and features.json). Labels and ids go along. `probe` refuses
    test features that were not reduced by the projection of the training features.

    Example: `ganfeat reduce train.npy --components 512 --out small.npy`, then
    `ganfeat reduce test.npy --from small.npy --out small-test.npy`.

    Parameters
    ----------
    features
        A .npy file, a .parquet file, or a folder of parts, as `ganfeat extract` writes them.
    """
    screen = Screen(json, quiet)

    from ganfeat.errors import InputError
    from ganfeat.feature_files import open_features

    _check_out(out, features, given)
    if components is None and given is None:
        raise InputError("say how many components to learn, e.g. --components 512, or name a projection by --from")
    table = open_features(features)
    screen.start()

    from ganfeat.config import require
    from ganfeat.projection import Projection, beside, check_target, fit_projection, project, projection_of

    require("--seed", seed, int, least=0)
    require("--passes", passes, int, least=1)
    if components is not None:
        require("--components", components, int, least=1)
    check_target(table, out, dtype=dtype)
    if given is not None:
        learned = Projection.load(projection_of(given))
        learned = learned.first(
            learned.n_components if components is None else components, whiten=True if whiten else None
        )
    else:
        with screen.stage("learning components", 0) as update:
            learned = fit_projection(
                table.blocks,
                components,
                whiten=whiten,
                n_passes=passes,
                random_state=seed,
                device=device,
                n_rows=table.n_rows,
                progress=update,
            )
    card = _card(table, features, learned, dtype, given)
    with screen.stage("projecting", table.n_rows) as update:
        project(table, learned, out, dtype=dtype, card=card, progress=update)
    projection_file = beside(out)[1]
    before, after = (4 if dtype == "float32" else 2) * learned.n_components, table.n_features * table.dtype.itemsize
    screen.result({**card, "out": str(out), "projection": str(projection_file)})
    screen.table(
        (str(out), ""),
        [
            ("images", f"{table.n_rows:,}"),
            ("features", f"{learned.n_components:,} {dtype}, of {table.n_features:,}"),
            ("bytes an image", f"{before:,}, of {after:,}"),
            ("variance kept", f"{100 * learned.kept:.1f} % of that of the {learned.n_rows:,} rows learned from"),
            ("whitened", "yes" if learned.whitens else "no"),
            ("projection", str(projection_file)),
        ],
    )
    if given is None:
        screen.say(
            "Learned from all rows, without labels. For test images: --from this projection, not one of their own."
        )
    if table.has_labels:
        labels = [str(siblings(out)["labels"])] if out.suffix == ".npy" else []
        screen.next(["ganfeat", "probe", str(out), *labels])
    else:
        screen.say(f"\nNext, with a label for every image in labels.npy: ganfeat probe {out} labels.npy")
    return 0


def _is_file(out: Path) -> bool:
    return out.suffix in (".npy", ".parquet")


def _check_out(out: Path, features: Path, given: Path | None) -> None:
    import os

    from ganfeat.errors import InputError

    if _is_file(out) and out.is_dir():
        raise InputError(f"--out {out} is a folder: name a file in it")
    if not _is_file(out) and out.suffix:
        raise InputError(f"--out {out} must end in .npy or .parquet, or name a folder")
    if not out.absolute().parent.is_dir():
        raise InputError(f"the folder of --out {out} does not exist: mkdir -p {out.parent}")
    if not os.access(out.absolute().parent, os.W_OK):
        raise InputError(f"the folder of --out {out} cannot be written to: choose another")
    for path, what in ((features, "the features"), (given, "what --from names")):
        if path is not None and (clash := _overwritten(out, path)):
            raise InputError(f"--out {out} would overwrite {what} ({clash.name}): choose another name or folder")


def _overwritten(out: Path, kept: Path) -> Path | None:
    """What would be written that is one of the files of other features, or of a projection."""
    from ganfeat.projection import beside

    def files_of(path: Path) -> list[Path]:
        return [path, *siblings(path).values(), *beside(path), path.with_suffix(".errors.parquet")]

    written = [out]
    if _is_file(out):
        written += [*beside(out), *([siblings(out)["labels"]] if out.suffix == ".npy" else [])]
    if kept.is_dir():
        folder = kept.resolve()
        inside = [path for path in written if _is_file(out) and path.resolve().parent == folder]
        return next((path for path in (*written, *inside) if path.resolve() == folder or path in inside), None)
    others = {path.resolve() for path in ([kept] if kept.suffix == ".safetensors" else files_of(kept))}
    return next((path for path in written if path.resolve() in others), None)


def _card(table: FeatureTable, features: Path, learned: Projection, dtype: str, given: Path | None) -> dict[str, Any]:
    """The card of the features, with what has become of them; what lay beside or in them has not come along.

    What was reduced before names, by "after" in "pca", what it was reduced by.
    """
    before = table.card or {}
    first = before.get("pca")
    rows = {"features": table.n_rows, **({"labels": table.n_rows} if table.has_labels else {})}
    return {
        **before,
        "images": table.n_rows,
        "features": learned.n_components,
        "dtype": dtype,
        "rows": rows,
        "untrained network": None,
        "reduced from": str(features),
        "pca": {**learned.card(), **({"after": first} if first else {})},
        "components learned from": str(features if given is None else given),
    }
