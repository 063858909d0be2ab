"""The start of an extraction: its options, checked, and the folder made ready for workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ganfeat.config import require
from ganfeat.data import load_images
from ganfeat.data.bundled import BUNDLED
from ganfeat.data.decode import UnreadableImageError
from ganfeat.data.shards import ROWS, ShardedSource, decode, open_shards, read_shard
from ganfeat.errors import InputError
from ganfeat.estimators import load
from ganfeat.estimators.hub import given_name
from ganfeat.features import FeatureExtractor
from ganfeat.scale.networks import Networks, extractor_settings
from ganfeat.scale.output import Output
from ganfeat.scale.plan import Plan, make_plan, weights_of
from ganfeat.scale.reduction import given_projection, learned_projection, pca_setting

Stage = Callable[[str, float], AbstractContextManager[Callable[..., None]]]


@dataclass(frozen=True)
class Options:
    """What is wanted of an extraction; defaults as ``ganfeat extract`` has them.

    Parameters
    ----------
    network : str, optional
        Whose layers; by default the run's usual ones.
    taps : tuple of str, optional
    at : {"activation", "norm", "conv"}
    pool : int
        Side of the grid; 0 keeps every pixel.
    pooling : {"max", "avg"}
    mirror : bool
    bn : {"eval", "recalibrate"}
    recalibrate_on : str, optional
        Images; needed by ``recalibrate``, as no worker sees all of the data.
    baselines : bool
        Write the columns ``pixels`` and ``random_init`` as well.
    seed : int, optional
        Of another untrained network.
    dtype : {"float32", "float16"}
    limit : int, optional
        So many images, evenly spaced.
    part_rows : int
        Images a part, about.
    pca : int, optional
        Principal components to keep.
    whiten : bool
        Scale each to variance 1.
    pca_from : Path, optional
        A projection, or features to learn it from; by default some of the images.
    """

    network: str | None = None
    taps: tuple[str, ...] | None = None
    at: str = "activation"
    pool: int = 4
    pooling: str = "max"
    mirror: bool = False
    bn: str = "eval"
    recalibrate_on: str | None = None
    baselines: bool = False
    seed: int | None = None
    dtype: str = "float32"
    limit: int | None = None
    part_rows: int = ROWS
    pca: int | None = None
    whiten: bool = False
    pca_from: Path | None = None

    def check(self) -> None:
        """Refuse what does not go together.

        Raises
        ------
        InputError
        """
        require("part_rows", self.part_rows, int, least=1)
        if self.limit is not None:
            require("limit", self.limit, int, least=1)
        if self.pca is not None:
            require("pca", self.pca, int, least=1)
        if self.whiten and self.pca is None and self.pca_from is None:
            raise InputError("--whiten scales principal components: say how many with --pca, e.g. --pca 512")
        if self.bn == "recalibrate" and self.recalibrate_on is None:
            raise InputError("--bn recalibrate: in parts, no worker sees all images; name some with --recalibrate-on")
        if self.bn != "recalibrate" and self.recalibrate_on is not None:
            raise InputError("--recalibrate-on needs --bn recalibrate")


def absolute(path: str) -> str:
    """A path as every process finds it."""
    place = Path(path).expanduser()
    return str(place.absolute() if ".." not in place.parts else place.resolve())


def absolute_run(run: str) -> str:
    """A run folder as every process finds it; a name of the Hub as it is."""
    return run if run.startswith("hf-hub:") or "://" in run else absolute(run)


def absolute_data(data: str) -> str:
    """Images as every process finds them; names of bundled sets and of the Hub as they are."""
    return data if data in BUNDLED or "://" in data else absolute(data)


@dataclass(frozen=True)
class Wanted:
    """An extraction as it is asked for, checked; nothing is written yet.

    Parameters
    ----------
    run : str
    gan : estimator
    extractor : FeatureExtractor
        Of the stored batch-norm statistics.
    source : ShardedSource
    settings : dict
        Of the plan.
    options : Options
    batch_size : int
    """

    run: str
    gan: Any
    extractor: FeatureExtractor
    source: ShardedSource
    settings: dict[str, Any]
    options: Options
    batch_size: int


def look(run: str, data: str, options: Options, *, device: str, batch_size: int, stage: Stage) -> Wanted:
    """Open the run and list the images.

    Parameters
    ----------
    run, data : str
        Absolute.
    options : Options
    device : str
    batch_size : int
    stage : callable(name, total) -> context manager
        Shows progress.

    Raises
    ------
    InputError
        If something is wrong with an option, the images or the run.
    """
    options.check()
    gan = load(run, device=device)
    height, width, channels = gan.image_shape_
    if height != width:
        raise InputError(f"{run} was trained on {height} x {width} images; extract reads square ones: use load()")
    if options.baselines and options.seed is None and gan._untrained is None:
        raise InputError(
            f"{run} keeps no untrained network to compare with: use --no-baselines, or another one's weights with "
            "--seed 0 --bn recalibrate --recalibrate-on TRAINING-IMAGES"
        )
    network = options.network or gan.network
    settings: dict[str, Any] = {
        "network": network,
        "taps": list(options.taps or (gan.usual_taps.get(network, "all"),)),
        "at": options.at,
        "pool": options.pool,
        "pooling": options.pooling,
        "mirror": options.mirror,
        "dtype": options.dtype,
        "precision": gan.precision_,
        "image_shape": [height, width, channels],
    }
    extractor = gan.extractor(network, bn="eval", **extractor_settings(settings, batch_size))
    with stage("listing images", 0):
        source = open_shards(data, options.part_rows, (height, width, channels))
    untrained = None if not options.baselines else "the run's own" if options.seed is None else f"seed {options.seed}"
    settings |= {
        "weights": weights_of(extractor.network_),
        "data": data,
        "signature": source.signature,
        "part_rows": options.part_rows,
        "limit": options.limit,
        "bn": options.bn,
        "recalibrated on": options.recalibrate_on,
        "baselines": untrained,
        "pca": pca_setting(options.pca, options.whiten, options.pca_from),
    }
    return Wanted(run, gan, extractor, source, settings, options, batch_size)


def begin(output: Output, wanted: Wanted, stage: Stage) -> Plan:
    """Find the plan of the folder, if it is the same; else make it, with all that workers need.

    Parameters
    ----------
    output : Output
    wanted : Wanted
    stage : callable(name, total) -> context manager

    Raises
    ------
    InputError
        If the images cannot be turned into what the network takes, or the folder holds something else.
    """
    gan, settings, source = wanted.gan, wanted.settings, wanted.source
    plan = Plan.read(output)
    if plan is not None:
        plan.check_same(settings, output)
        return plan
    _check_channels(source, settings["image_shape"])
    output.make()
    networks, calibrated = _networks(wanted, stage)
    networks.save(output)
    about = {
        "run": given_name(wanted.run),
        "network": gan.describe(settings["network"]),
        "tapped network": settings["network"],
        "method": gan.method,
        **({"learned": "with labels"} if gan.supervised else {}),
        "features": networks.n_features,
        "taps": [tap.name for tap in networks.trained.taps_],
        "recalibrated on": calibrated,
        "pca": None if networks.projection is None else networks.projection.card(),
    }
    with stage("planning", 0):
        plan = make_plan(source, settings, about, output)
    plan.write(output)
    return plan


def _check_channels(source: ShardedSource, shape: Sequence[int]) -> None:
    """Refuse pixels that a worker could not bring to the network's channels, before anything is written."""
    size, _, channels = shape
    first = next((one for shard in islice(source.shards(), 1) for one in read_shard(shard)), None)
    try:
        if first is not None:
            decode(first, size, channels)
    except UnreadableImageError:
        return
    except InputError:
        own = first.item.shape[-1] if first is not None and isinstance(first.item, np.ndarray) else 3
        raise InputError(
            f"the images in {source.name} have {own} channels and the network takes {channels}: save them with "
            f"{channels}, e.g. images[..., :{channels}]"
            if own > channels
            else f"the images in {source.name} have {own} channels, and the network takes {channels}: give others, or "
            "another run"
        ) from None


def _networks(wanted: Wanted, stage: Stage) -> tuple[Networks, str | None]:
    """The networks as the plan wants them, and the images that batch norms were estimated on, in words."""
    gan, extractor, options = wanted.gan, wanted.extractor, wanted.options
    height, _, channels = gan.image_shape_
    like = {
        "network": wanted.settings["network"],
        "bn": options.bn,
        **extractor_settings(wanted.settings, wanted.batch_size),
    }
    calibration = None
    if options.recalibrate_on is not None:
        with stage("recalibrating", 0):
            calibration = load_images(
                options.recalibrate_on, size=height, channels=channels if channels in (1, 3) else None
            )
            extractor = gan.extractor(**like).fit(calibration)
    networks = Networks(extractor)
    if options.baselines:
        twin = gan.random_init() if options.seed is None else gan.random_init(calibration, random_state=options.seed)
        networks.untrained = twin.extractor(**like)
        if calibration is not None:
            networks.untrained.fit(calibration)
    if options.pca_from is not None:
        networks.projection = given_projection(options.pca_from, options.pca, options.whiten, extractor, stage)
    elif options.pca is not None:
        networks.projection = learned_projection(extractor, wanted.source, options.pca, options.whiten, stage)
    return networks, None if calibration is None else calibration.source


@contextmanager
def no_stage(_name: str, _total: float) -> Iterator[Callable[..., None]]:
    """Shows nothing."""
    yield lambda *_args, **_options: None
