"""``ganfeat train``."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ganfeat.cli.screen import Json, Pace, Quiet, Screen, Stop, stopping, this_command
from ganfeat.distributed import is_main, local_rank, world_size
from ganfeat.errors import InputError

if TYPE_CHECKING:
    from ganfeat.cli.together import Hidden
    from ganfeat.data import ImageDataset
    from ganfeat.estimators.base import GANEstimator
    from ganfeat.health import Health

SETTINGS: dict[str, type] = {
    **dict.fromkeys(("method", "device", "precision", "prior"), str),
    **dict.fromkeys(("architecture", "update_order", "loss"), str),
    **dict.fromkeys(("size", "channels", "limit", "seed", "log_every", "sheets", "evaluations"), int),
    **dict.fromkeys(("width", "n_components", "kernel_size", "convs_per_scale", "generator_size", "n_codes"), int),
    **dict.fromkeys(("n_classes", "n_generators", "shares_removed", "n_features"), int),
    **dict.fromkeys(("max_iter", "batch_size", "decay_iter"), int),
    **dict.fromkeys(("learning_rate", "beta1", "weight_decay", "ema", "checkpoint_every", "max_skipped"), float),
    **dict.fromkeys(("validation", "classification", "diversity"), float),
    **dict.fromkeys(("norm_epsilon", "joint", "noise", "mutual_information", "agreement", "regression"), float),
    **dict.fromkeys(("strict", "tensorboard", "stop_on_collapse", "sync_bn"), bool),
    **dict.fromkeys(("augment", "views"), tuple),
    "pack": Path,
}
"""What a settings file may say, and of which type."""

COLLAPSED = 3
"""Exit status of a run that ``--stop-on-collapse`` ended."""


def train(
    data: str,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    method: Annotated[
        str | None,
        Parameter(
            help="dcgan, mgan, acgan, catgan, bigan, ali, latent-regressor or autoencoder; which, see above. "
            "[default: dcgan]"
        ),
    ] = None,
    size: Annotated[
        int | None,
        Parameter(
            help="Side of the images, after min-resize and centre crop. "
            "[default: their own if all are square, alike and at most 128; else 32]"
        ),
    ] = None,
    channels: Annotated[int | None, Parameter(help="1 for grey, 3 for colour. [default: 1 if all are grey]")] = None,
    architecture: Annotated[
        str | None,
        Parameter(
            help="Networks of the methods with an encoder: conv, DCGAN's; mlp, fully connected ones that are blind to "
            "where a pixel is, for small images; alexnet, its convolutions as E. Only for bigan, "
            "ali, latent-regressor, autoencoder. [default: conv]"
        ),
    ] = None,
    width: Annotated[
        int | None,
        Parameter(help="Maps of the first layer; units of mlp's hidden layers. [default: 64; mlp: 1024; mgan: 128]"),
    ] = None,
    max_iter: Annotated[
        int | None,
        Parameter(
            help="Epochs; more than before goes on with a finished run. [default: 25, and more for small sets: "
            "as many as make 3,000 mini-batches]"
        ),
    ] = None,
    batch_size: Annotated[
        int | None, Parameter(help="Of all processes together, where there are several. [default: 128; mgan: 120]")
    ] = None,
    learning_rate: Annotated[float | None, Parameter(help="Of Adam, for all networks. [default: 0.0002]")] = None,
    decay_iter: Annotated[
        int | None,
        Parameter(help="Epochs at the end over which the learning rate falls exponentially to 1 %. [default: 0]"),
    ] = None,
    beta1: Annotated[float | None, Parameter(help="Adam's first moment. [default: 0.5]")] = None,
    weight_decay: Annotated[float | None, Parameter(help="L2 added to the gradient. [default: 1e-05; mgan: 0]")] = None,
    n_components: Annotated[
        int | None, Parameter(help="Length of z, and so of an encoder's features. [default: 100; mgan: 128]")
    ] = None,
    kernel_size: Annotated[int | None, Parameter(help="Odd. Not for mgan. [default: 5]")] = None,
    convs_per_scale: Annotated[
        int | None,
        Parameter(
            help="Convolutions per halving of the side, 1 or 2. The DCGAN authors' ImageNet network, 28,672 features: "
            "2 with --kernel-size 3 --width 128. Only for dcgan, acgan, catgan. [default: 1]"
        ),
    ] = None,
    generator_size: Annotated[
        int | None,
        Parameter(
            help="Side of the images that G draws and D sees, where E sees larger ones of --size. Only for bigan, "
            "ali, latent-regressor, autoencoder. [default: --size]"
        ),
    ] = None,
    norm_epsilon: Annotated[
        float | None,
        Parameter(
            help="Added to the variance in batch norm; the BiGAN authors' is 1e-8. Not for mgan. [default: 1e-05]"
        ),
    ] = None,
    prior: Annotated[
        str | None,
        Parameter(
            help="Distribution of z: uniform on (-1, 1), or normal. [default: uniform; ali: normal; mgan: normal]"
        ),
    ] = None,
    update_order: Annotated[
        str | None,
        Parameter(
            help="simultaneous: all networks from the same forward pass, as the BiGAN authors do; alternating: each "
            "against the others as just updated. Only for bigan, ali, latent-regressor. [default: simultaneous]"
        ),
    ] = None,
    mutual_information: Annotated[
        float | None,
        Parameter(
            help="Weight of InfoGAN's term: G's images must tell the first --n-codes components of z. Only for dcgan, "
            "bigan, ali. [default: 0]"
        ),
    ] = None,
    n_codes: Annotated[
        int | None,
        Parameter(help="How many, for --mutual-information. Only for dcgan, bigan, ali. [default: 10]"),
    ] = None,
    agreement: Annotated[
        float | None,
        Parameter(
            help="Weight of a contrastive term: E must tell an image from others, however --views transform it. Only "
            "for bigan, ali, latent-regressor, autoencoder. [default: 0]"
        ),
    ] = None,
    views: Annotated[
        tuple[str, ...] | None,
        Parameter(
            help="Transforms for --agreement, applied in turn, as for --augment; they should leave what an image "
            "shows. Only for bigan, ali, latent-regressor, autoencoder. [default: affine, affine, translate]"
        ),
    ] = None,
    regression: Annotated[
        float | None,
        Parameter(
            help="Weight of the regression of z in E's loss; 0 with an --agreement is a control. Only for "
            "latent-regressor. [default: 1]"
        ),
    ] = None,
    joint: Annotated[
        float | None,
        Parameter(
            help="Weight of the regression of z in G's loss: the BiGAN authors' joint regressor has 0.25; with 1, E "
            "and G may agree on a degenerate code. Only for latent-regressor. [default: 0]"
        ),
    ] = None,
    n_classes: Annotated[
        int | None, Parameter(help="How many categories D sorts images into. Only for catgan. [default: 10]")
    ] = None,
    classification: Annotated[
        float | None,
        Parameter(help="Weight of the classes in D's and G's loss. Only for acgan. [default: 1]"),
    ] = None,
    n_generators: Annotated[int | None, Parameter(help="How many. Only for mgan. [default: 10]")] = None,
    shares_removed: Annotated[
        int | None,
        Parameter(
            help="Of the convolutional layers, counted from the last, so many are not shared by the discriminator and "
            "the classifier of generators. Only for mgan. [default: 0]"
        ),
    ] = None,
    n_features: Annotated[
        int | None,
        Parameter(help="Outputs of the last convolutional layer, the features. Only for mgan. [default: 128]"),
    ] = None,
    diversity: Annotated[
        float | None,
        Parameter(
            help="Weight of the classifier in the generators' loss: they are to be told apart. Only for mgan. "
            "[default: 0.02]"
        ),
    ] = None,
    loss: Annotated[
        str | None, Parameter(help="Error of reconstructions, l2 or l1. Only for autoencoder. [default: l2]")
    ] = None,
    noise: Annotated[
        float | None,
        Parameter(
            help="Standard deviation of the noise on what E sees, pixels in [0, 1]; above 0, a denoising autoencoder. "
            "Only for autoencoder. [default: 0]"
        ),
    ] = None,
    augment: Annotated[
        tuple[str, ...] | None,
        Parameter(
            help="Transforms of what D sees (of bigan and ali: of the real images), any of translate, affine, flip, "
            "cutout, colour: "
            "`--augment translate --augment flip`. Worth trying below 50,000 images. Not for mgan. [default: none]"
        ),
    ] = None,
    ema: Annotated[
        float | None, Parameter(help="Decay of averaged weights of G for samples, e.g. 0.999. [default: 0]")
    ] = None,
    precision: Annotated[str | None, Parameter(help="auto, bf16 or fp32. [default: auto]")] = None,
    config: Annotated[Path | None, Parameter(help="YAML file of settings; options on the line override it.")] = None,
    limit: Annotated[int | None, Parameter(help="Use so many images only, evenly spaced. [default: all]")] = None,
    strict: Annotated[bool | None, Parameter(help="Refuse unreadable images instead of skipping them.")] = None,
    max_skipped: Annotated[
        float | None, Parameter(help="Share of unreadable images that is skipped; more is an error. [default: 0.1]")
    ] = None,
    pack: Annotated[
        Path | None,
        Parameter(
            help="Keep the decoded images in this .npy memory map, for sets that are larger than memory or read often."
        ),
    ] = None,
    log_every: Annotated[
        int | None, Parameter(help="Steps between two records of history.jsonl. [default: 10]")
    ] = None,
    checkpoint_every: Annotated[float | None, Parameter(help="Seconds between two checkpoints. [default: 60]")] = None,
    sheets: Annotated[int | None, Parameter(help="Sample sheets over the whole run. [default: 20]")] = None,
    evaluations: Annotated[
        int | None,
        Parameter(
            help="Records over the whole run that also say whether G's samples cover the images, how well an encoder "
            "and G invert each other and, with --validation and labels, how the features' nearest neighbours are "
            "labelled; 0 for none. [default: 10]"
        ),
    ] = None,
    stop_on_collapse: Annotated[
        bool | None,
        Parameter(
            help="End the run, with a checkpoint and exit status 3, at an evaluation with an alarm of mode collapse "
            "(the last one, too); otherwise it only warns. [default: no]"
        ),
    ] = None,
    validation: Annotated[
        float | None,
        Parameter(help="Share of the images that is held out of the training, for the evaluations. [default: 0]"),
    ] = None,
    sync_bn: Annotated[
        bool | None,
        Parameter(
            help="On several processes, let batch norms take their statistics over the whole mini-batch, not over each "
            "process's part. [default: no]"
        ),
    ] = None,
    tensorboard: Annotated[
        bool | None, Parameter(help="Write TensorBoard events. [default: if it is installed]")
    ] = None,
    device: Annotated[str | None, Parameter(help="auto, cpu, cuda, cuda:1 or mps. [default: auto]")] = None,
    seed: Annotated[int | None, Parameter(help="Of everything random. [default: 0]")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Learn from images, without labels but for --method acgan, into a run folder.

    Which --method: start with dcgan, whose features are the layers of its discriminator D, thousands for an image.
    So are those of catgan, whose D sorts images into --n-classes categories, and of acgan, which alone learns from
    the labels of the images, and draws images of a class. mgan has several generators, and a classifier that tells
    them apart: its features (`extract --network classifier`) or those of D, --n-features numbers for an image. The
    others train an encoder E as well, whose features are --n-components numbers for an image, from which G draws
    the image again (`ganfeat reconstruct`): bigan and ali by a D that judges images together with their z,
    latent-regressor by telling the z of what G has drawn; autoencoder by the error of the reconstruction alone,
    without any D. Which is best for your images cannot be told beforehand: `ganfeat compare RUN RUN DATA` measures
    it, on a few labelled ones, for E and D alike.

    Killed at any moment, the same command goes on where it was, to the same weights bit for bit. Ctrl-C
    saves first. If G falls into mode collapse, a warning says so, and --stop-on-collapse ends the run.

    On several CPUs or GPUs: `torchrun --nproc-per-node 4 -m ganfeat train ...`, each process with its part of every
    mini-batch; docs/distributed.md says what stays the same.

    Examples: `ganfeat train photos/ --out runs/photos --size 64`, `ganfeat train digits --out runs/digits
    --max-iter 5`, `ganfeat train mnist5k --out runs/bigan --method bigan --architecture mlp --n-components 50`.

    Parameters
    ----------
    data
        A folder of images (class sub-folders are fine), a parquet, IDX, SVHN .mat, .npy or .npz file, shards
        of parquet as "data/train-*.parquet" (in quotes), or the name of a bundled set: digits, mnist5k.
    out
        The run folder: new, empty, or one to go on with.
    """
    given = {name: value for name, value in locals().items() if name in SETTINGS and value is not None}
    if world_size() == 1:
        return run(data, out, merge(config, given), Screen(json, quiet))
    return together(data, out, config, given, Screen(json and is_main(), quiet or not is_main(), warns=is_main()))


def together(data: str, out: Path, config: Path | None, given: dict[str, Any], screen: Screen) -> int:
    """Train as one of the processes that torchrun has started; the first of them alone speaks."""
    import os

    os.environ.setdefault("OMP_NUM_THREADS", "1")

    from ganfeat.distributed.team import Elsewhere, joined

    try:
        settings = merge(config, given)
    except InputError:
        if local_rank() == 0:  # the others read the same file
            raise
        return 2
    try:
        with joined(str(settings.get("device", "auto"))) as ours:
            status = run(data, out, settings, screen)
            return int(max(ours.gather(bytes([status % 256])))[0])
    except Elsewhere as error:
        return error.status


def merge(config: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    """Settings of the file, overridden by those on the line."""
    from ganfeat.config import read_yaml, typed

    if config is None:
        return given
    return {**typed(read_yaml(config, SETTINGS), SETTINGS, str(config)), **given}


def run(data: str, out: Path, settings: dict[str, Any], screen: Screen) -> int:
    """Train with these settings; see :func:`train`."""
    import inspect
    import time

    started = time.perf_counter()
    threads = screen.start()

    from ganfeat.checkpoint import RunFolder
    from ganfeat.cli.together import held
    from ganfeat.config import suggest
    from ganfeat.distributed.team import team
    from ganfeat.estimators import METHODS
    from ganfeat.training import check_parts

    method = settings.pop("method", "dcgan")
    if method not in METHODS:
        raise InputError(
            f"method {method!r} is not known{suggest(str(method), METHODS)}: choose from {', '.join(METHODS)}"
        )
    tensorboard = _tensorboard(settings.pop("tensorboard", None))
    given = set(settings)
    loop = {
        "log_every": settings.pop("log_every", 10),
        "checkpoint_seconds": settings.pop("checkpoint_every", 60.0),
        "sheets": settings.pop("sheets", 20),
        "evaluations": settings.pop("evaluations", 10),
        "validation": settings.pop("validation", 0.0),
        "stop_on_collapse": settings.pop("stop_on_collapse", False),
        "sync_bn": settings.pop("sync_bn", False),
    }
    reading: dict[str, Any] = {
        k: settings.pop(k) for k in ("size", "channels", "limit", "strict", "max_skipped", "pack") if k in settings
    }
    settings["random_state"] = settings.pop("seed", 0)
    for name in settings:
        having = [m for m, model in METHODS.items() if name in inspect.signature(model).parameters]
        if method not in having:
            raise InputError(f"the method {method!r} has no setting {name!r}: {_and(having)} {_have(having)} it")
    if "validation" in given and METHODS[method].network != "encoder":
        raise InputError(f"--validation is for methods with an encoder, which {method!r} has not: leave it out")
    gan = METHODS[method](**settings)
    gan.check_parameters()  # a typo should not wait for a million images to be read
    ours = team()
    if ours.size > 1:
        check_parts(gan.batch_size, sys.maxsize, ours.size)
    folder = RunFolder(out)
    folder.refuse_foreign()

    def refuse() -> None:
        asked = {name: reading.get(name) for name in ("size", "channels")}
        gan.check_continues(folder, validation=loop["validation"], sync_bn=loop["sync_bn"], **asked)

    with held(folder, refuse) as hidden:
        images = _read(data, reading, screen, hidden)
        records = gan.iter_fit(images, run=folder, tensorboard=tensorboard, **loop)
        first, record, stop = _follow(gan, records, screen, threads)
        if gan.finished_:
            hidden.forget()
    last: dict[str, Any] = gan.history_[-1] if gan.history_ else {}
    result = {
        "run": str(out),
        "method": method,
        "finished": gan.finished_,
        "epochs": last.get("epoch", 0.0),
        "steps": last.get("step", 0),
        "seconds": round(time.perf_counter() - started, 1),
        "images": len(images),
        "skipped": len(images.skipped),
        "images_per_second": speed(first, record, min(gan.batch_size, len(images))),
        "device": gan.device_.type,
        "precision": gan.precision_,
        "features": gan.extractor().n_features_out_,
        "health": gan.health_.summary(),
    }
    screen.result(result)
    if not gan.finished_ and loop["stop_on_collapse"] and gan.health_.up and not stop.signal:
        screen.say(
            f"stopped at epoch {last.get('epoch', 0):.2f}, as --stop-on-collapse asks: {gan.health_.verdict()}. "
            f"Everything is saved in {out}. To go on all the same:\n{_going_on()}"
        )
        return COLLAPSED
    if not gan.finished_:
        screen.say(
            f"stopped at epoch {last.get('epoch', 0):.2f}; everything is saved in {out}. To go on:\n{this_command()}"
        )
        return stop.status if stop.signal else 130
    if not record:
        screen.say(f"{out} was finished already; a larger --max-iter goes on with it")
    encodes = gan.network == "encoder"
    screen.table(
        ("run", str(out)),
        [
            ("method", method),
            ("epochs", f"{result['epochs']:.0f}"),
            ("time", f"{result['seconds']:.0f} s"),
            (
                "speed",
                (f"{result['images_per_second']:,.0f} images/s" if record else "-")
                + f" ({result['device']}, {result['precision']})",
            ),
            ("features per image", f"{result['features']:,}" + (" (E's)" if encodes else " (D's)")),
            *_reconstruction(last, loop["validation"]),
            *_health(gan.health_),
            ("samples", f"{out}/samples"),
        ],
    )
    if encodes:
        look = shlex.join(["ganfeat", "reconstruct", str(out), data, "--out", "sheet.png"])
        screen.say(f"\nTo see what E keeps of an image: {look}")
    screen.next(["ganfeat", "extract", str(out), data, "--out", "features.npy"])
    if loop["stop_on_collapse"] and gan.health_.up:
        screen.say(f"It ended in mode collapse: {gan.health_.verdict()}.")
        return COLLAPSED
    return 0


def _read(data: str, reading: dict[str, Any], screen: Screen, hidden: Hidden) -> ImageDataset:
    """The images, and a word on what they are."""
    from ganfeat.data import load_images
    from ganfeat.distributed.team import team

    with screen.stage("reading images", 0) as update:
        alone = team().size == 1
        images = load_images(data, progress=update, **reading) if alone else hidden.read(data, reading, update)
    height, width, channels = images.shape[1:]
    screen.say(f"{len(images):,} images of {height} x {width} x {channels} from {images.source}")
    if images.skipped:
        screen.say(
            f"{len(images.skipped)} files skipped: "
            + "; ".join(f"{s.source}: {s.reason}" for s in images.skipped[:5])
            + (" ..." if len(images.skipped) > 5 else "")
        )
    return images


def _follow(
    gan: GANEstimator, records: Iterator[dict[str, Any]], screen: Screen, threads: int
) -> tuple[dict[str, Any], dict[str, Any], Stop]:
    """Train, and show how it goes; gives the first and the last record, and what stopped it."""
    from ganfeat.health import HealthWarning

    first: dict[str, Any] = {}
    record: dict[str, Any] = {}
    pace = Pace(threads)
    with stopping(gan) as stop, screen.stage("training", 0) as update:
        for record in records:
            first = first or record
            pace.note(record["images_per_second"])
            for alarm in gan.health_.news():
                warnings.warn(alarm.message, HealthWarning, stacklevel=1)
            update(record["step"], record["total_steps"], note=progress_note(record, list(gan.health_.up)))
    return first, record, stop


def progress_note(record: dict[str, Any], alarms: Sequence[str] = ()) -> str:
    """What is worth watching: what D says of real and generated images, losses of networks that it is not of, alarms.

    >>> progress_note({"images_per_second": 1200.0, "loss/autoencoder": 31.25})
    '1,200 images/s, loss 31.2'
    """
    parts = [f"{record['images_per_second']:,.0f} images/s"]
    if "logit/real" in record:
        parts.append(f"D real {record['logit/real']:+.1f}, generated {record['logit/generated']:+.1f}")
    if "accuracy/real" in record:
        parts.append(f"classes right: real {record['accuracy/real']:.0%}, generated {record['accuracy/generated']:.0%}")
    if "entropy/real" in record:
        parts.append(
            f"D's entropy: real {record['entropy/real']:.2f} of {record['entropy/marginal']:.2f}, "
            f"generated {record['entropy/generated']:.2f}"
        )
    for name, words in (("loss/encoder", "E's loss"), ("loss/autoencoder", "loss")):
        if name in record:
            parts.append(f"{words} {record[name]:.3g}")
    return ", ".join([*parts, *(f"{alarm} ALARM" for alarm in alarms)])


def _health(health: Health) -> list[tuple[str, str]]:
    """A row of the closing table, if anything was measured."""
    return [("mode collapse", health.verdict())] if health.summary()["last"] else []


def _going_on() -> str:
    """The command line as it was typed, without stopping on collapse."""
    typed = [word for word in sys.argv[1:] if word != "--stop-on-collapse"]
    return this_command([*typed, "--no-stop-on-collapse"])


def _reconstruction(record: dict[str, Any], validation: float) -> list[tuple[str, str]]:
    """A row of the closing table, if the last record says how well E and G invert each other."""
    if "reconstruction/real" not in record:
        return []
    seen = "held-out" if validation else "training"
    own, others = record["reconstruction/real"], record["reconstruction/real_shuffled"]
    return [(f"error of G(E(x)), {seen} images", f"{own:.2f}; of another image's {others:.2f}")]


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _have(names: Sequence[str]) -> str:
    return "have" if len(names) > 1 else "has"


def speed(first: dict[str, Any], last: dict[str, Any], per_step: int) -> float | None:
    """Images per second between two records of this process; the only record's own if there is one, None if none."""
    seconds = last["seconds"] - first["seconds"] if last else 0
    if seconds <= 0:
        return last.get("images_per_second")
    return round((last["step"] - first["step"]) * per_step / seconds, 1)


def _tensorboard(asked: bool | None) -> bool:
    import importlib.util

    from ganfeat.errors import MissingExtraError

    there = importlib.util.find_spec("tensorboard") is not None
    if asked and not there:
        raise MissingExtraError("tensorboard", "tensorboard", "--tensorboard")
    return there if asked is None else asked
