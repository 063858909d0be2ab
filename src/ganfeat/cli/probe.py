"""``ganfeat probe``."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ganfeat.cli.extract import siblings
from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ganfeat.feature_files import FeatureTable


# Of a card: what must be the same for training and test features to be columns of the same things.
SAME = ("run", "network", "taps", "pool", "pooling", "mirror", "batch norm", "recalibrated on")
HELD_OUT = "a fifth of the images is held out from the labels; the network may have seen them without labels"
SUPERVISED = "a fifth of the images is held out; the network learned from labels, and may have seen these with theirs"


def probe(
    features: Path,
    labels: Path | None = None,
    /,
    *,
    test: Annotated[
        Path | None,
        Parameter(
            help="Features of the test images, made with the same run and options. "
            "[default: a fifth of FEATURES is held out]"
        ),
    ] = None,
    test_labels: Annotated[
        Path | None,
        Parameter(help="Labels of the test images. [default: those inside, of parquet]"),
    ] = None,
    protocol: Annotated[
        Literal["few-labels", "all-labels", "400-per-class", "svhn-1000"],
        Parameter(
            help="few-labels: accuracy against their number. all-labels: one number. 400-per-class, svhn-1000: as the "
            "DCGAN paper counts (the latter needs more than 10,000 training rows, and takes the features unscaled)."
        ),
    ] = "few-labels",
    labels_per_class: Annotated[
        tuple[int, ...] | None,
        Parameter(
            help="Repeat for several. A class with fewer gives what it has. [default: the protocol's; of few-labels "
            "1, 5, 10, 50, 100, 400]",
            negative="",
        ),
    ] = None,
    draws: Annotated[
        int | None,
        Parameter(help="Training sets a number of labels, at most. [default: the protocol's; of few-labels 20]"),
    ] = None,
    baselines: Annotated[
        bool,
        Parameter(
            help="Compare with raw pixels, PCA and the untrained network, where `extract` left them beside FEATURES."
        ),
    ] = True,
    device: Device = "auto",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Measure what features are worth: accuracy of a linear SVM against the number of labels.

    C is chosen by cross-validation on the training labels only. Beside the features stand raw pixels, PCA and the
    same network untrained, under the same protocol: a random network is a strong baseline.

    Example: `ganfeat probe features.npy features.labels.npy`.

    Parameters
    ----------
    features
        A .npy file, images x features, a parquet file of lists of features, or a folder of such parts, as `ganfeat
        extract` writes them.
    labels
        A .npy file with one label (number or text) an image; -1 or an empty text is an image without one. Parquet may
        have them inside.
    """
    screen = Screen(json, quiet)
    screen.start()

    import numpy as np

    from ganfeat.config import FEATURE_SETS
    from ganfeat.device import resolve_device
    from ganfeat.errors import InputError
    from ganfeat.probes import PROTOCOLS, compare
    from ganfeat.probes.baselines import principal_components
    from ganfeat.probes.curves import AT_EDGE
    from ganfeat.probes.draws import hold_out

    resolve_device(device)
    _table.cache_clear()
    changes: dict[str, Any] = {"seed": seed}
    if labels_per_class is not None:
        changes["labels_per_class"] = labels_per_class
    if draws is not None:
        changes["draws"] = draws
    asked = replace(PROTOCOLS[protocol], **changes)
    if (test is None and test_labels is not None) or (test is not None and test_labels is None and not is_table(test)):
        raise InputError("--test and --test-labels go together")
    y, labels = _labels_of(features, labels, "LABELS, a .npy file")
    sets = {"ganfeat": _read_rows(features)}
    card = _read_card(features)
    missing: list[str] = []
    if baselines:
        missing = _add_baselines(sets, features, card)
    for name, rows in sets.items():
        if len(rows) != len(y):
            raise InputError(
                f"{len(rows)} rows of {name.replace('_', ' ')} and {len(y)} labels in {labels}: they must be as many"
            )
    if test is not None:
        y_test, test_labels = _labels_of(test, test_labels, "--test-labels")
        test_sets = {"ganfeat": _read_rows(test)}
        test_card = _read_card(test)
        _check_same((features, test), (card, test_card), baselines)
        _check_projection(features, test)
        if baselines:
            _add_baselines(test_sets, test, test_card)
        for name in [name for name in sets if name not in test_sets]:
            del sets[name]
            missing.append(f"{name.replace('_', ' ')} of the test images")
        for name, rows in test_sets.items():
            if len(rows) != len(y_test):
                raise InputError(
                    f"{len(rows)} test rows of {name} and {len(y_test)} labels in {test_labels}: they must be as many"
                )
        for name, rows in sets.items():
            if test_sets[name].shape[1] != rows.shape[1]:
                raise InputError(
                    f"{name} of {features} has {rows.shape[1]} columns, of {test} {test_sets[name].shape[1]}: "
                    "extract both with the same run, taps and pool"
                )
        if (y.dtype.kind in "US") != (y_test.dtype.kind in "US"):
            raise InputError(f"labels are {y.dtype} in {labels} and {y_test.dtype} in {test_labels}: use one kind")
        train_rows, test_rows = np.flatnonzero(_known(y)), np.flatnonzero(_known(y_test))
        twice = np.intersect1d(train_rows, test_rows)
        if len(twice) and _same_images((features, test), (card, test_card)):
            raise InputError(
                f"--test {test} holds the images of {features}, and {len(twice):,} of its rows are among those that "
                "labels are drawn from: leave --test and --test-labels out, and a fifth is held out, or give the "
                "features of other images"
            )
    else:
        labelled = np.flatnonzero(_known(y))
        if not len(labelled):
            raise InputError(f"all labels in {labels} are -1: accuracy needs images with a label")
        train_rows, test_rows = (labelled[part] for part in hold_out(y[labelled], 0.2, seed))
        y_test, test_sets = y, sets
    for rows, name in ((train_rows, "training"), (test_rows, "test")):
        if not len(rows):
            raise InputError(f"there are 0 {name} rows with a label: give more labelled images")
    paired = {name: (sets[name][train_rows], test_sets[name][test_rows]) for name in sets}
    if "pca" in paired:
        paired["pca"] = principal_components(*paired["pca"], learn_from=sets["pca"])
    compared = compare(paired, y[train_rows], y_test[test_rows], asked, screen.stage, device=device)
    edges = {AT_EDGE: compared.pop(AT_EDGE)} if AT_EDGE in compared else {}
    fifth = SUPERVISED if card is not None and card.get("learned") == "with labels" else HELD_OUT
    held_out = {"held out": fifth if test is None else f"the images of {test}"}
    if "pca" in sets:
        rows_seen = "all rows, those held out included" if test is None else "the training rows only"
        held_out["PCA"] = f"fitted on {rows_seen}, without labels"
    reduced = _table(features).card or {}
    if test is None and reduced.get("pca"):
        held_out["components"] = _components(reduced)
    screen.result(
        {
            "features": str(features),
            "labels": str(labels),
            "train": len(train_rows),
            "test": len(test_rows),
            **compared,
            "protocol": {**asked.card(), **edges, **held_out, **(card or {})},
        }
    )
    screen.accuracies(compared, {**FEATURE_SETS, "ganfeat": features.name}, asked.half_width)
    screen.say(f"{len(train_rows):,} training and {len(test_rows):,} test images; ± is {asked.card()['interval']}.")
    if test is None:
        also = ", and PCA is fitted on all of them" if "pca" in sets else ""
        screen.say(f"{fifth[0].upper()}{fifth[1:]}{also}.")
    if "components" in held_out:
        screen.say(f"The features' components were {held_out['components']}.")
    if card is not None:
        screen.say(
            f"Features of {card.get('run')}: taps {', '.join(map(str, card.get('taps', [])))}; "
            f"pool {card.get('pool')} ({card.get('pooling')}); batch norm {card.get('batch norm')}"
            f"{'; averaged over mirror images' if card.get('mirror') else ''}."
        )
    if missing:
        screen.say(f"Missing or incomplete beside {features}: {', '.join(missing)}. `ganfeat extract` writes them.")
    if card is not None and features.name != "last.npy":
        screen.next(["ganfeat", "extract", str(card["run"]), "DATA", "--out", "last.npy", "--taps=-1"])
    return 0


def _read_card(features: Path) -> dict[str, Any] | None:
    """F.json, which `extract` writes last; None where it is not there, or is some other file."""
    card = _table(features).card
    if card is None or not {"run", "images", "fingerprint", "rows"} <= set(card) or not isinstance(card["rows"], dict):
        return None
    return card


def _check_same(files: tuple[Path, Path], cards: tuple[dict[str, Any] | None, ...], baselines: bool) -> None:
    """Refuse test features that were made in another way, where both cards are there to tell."""
    from ganfeat.errors import InputError

    card, other = cards
    if card is None or other is None:
        return
    differing = [name for name in SAME if card.get(name) != other.get(name)]
    if "run" in differing and Path(str(card["run"])).resolve() == Path(str(other["run"])).resolve():
        differing.remove("run")
    untrained = {made.get("untrained network") for made in cards if made is not None} - {None}
    if baselines and len(untrained) > 1:
        differing.append("untrained network")
    differences = [f"{name} {_words(card.get(name))} and {_words(other.get(name))}" for name in differing]
    if differences:
        raise InputError(
            f"{files[0]} and {files[1]} were made in different ways ({'; '.join(differences)}): extract both with the "
            "same run and options, and with `--bn recalibrate` name the same --recalibrate-on"
        )


def _check_projection(features: Path, test: Path) -> None:
    """Refuse test features that were not reduced as the training features were, also where nothing else is known."""
    from ganfeat.errors import InputError

    cards = [_table(path).card or {} for path in (features, test)]
    learned, other = (card.get("pca") for card in cards)
    if learned == other:
        if learned and _its_own(cards[1]) and not _its_own(cards[0]):
            raise InputError(
                f"the components of {features} were learned from the test images of {test}: learn them on the training "
                "features alone, and apply them to the test features by `ganfeat reduce --from`"
            )
        return
    reduced, whole = (features, test) if learned else (test, features)
    if learned and other:
        whole = Path("TEST")
    raise InputError(
        f"{test} and {features} were not reduced by the same projection: learn it on the training features alone, and "
        f"apply it to the others by `ganfeat reduce {whole} --from {reduced} --out SMALL`"
    )


def _its_own(card: dict[str, Any]) -> bool:
    """Whether the components of reduced features were learned from these very features."""
    return card.get("reduced from") is not None and card["reduced from"] == card.get("components learned from")


def _components(card: dict[str, Any]) -> str:
    """What reduced features' components were learned from."""
    if _its_own(card):
        return "learned from all rows, those held out included, without labels"
    if "components learned from" in card:
        return f"learned from {card['components learned from']}, without labels"
    return "learned without labels, from images that may be among those held out"


def _same_images(files: tuple[Path, Path], cards: tuple[dict[str, Any] | None, ...]) -> bool:
    """Whether both are the same file, or by their cards features of the same images."""
    card, other = cards
    if files[0].resolve() == files[1].resolve():
        return True
    if card is None or other is None or card["fingerprint"] is None:
        return False
    return bool(card["fingerprint"] == other["fingerprint"])


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _add_baselines(sets: dict[str, Any], features: Path, card: dict[str, Any] | None) -> list[str]:
    """Add what `extract` left beside F.npy and its card lists, or in further columns; return what there is not."""
    files, missing = siblings(features), []
    inside = _table(features).columns if is_table(features) else ()
    listed = card["rows"] if card is not None else ()
    for file, names, what in (
        ("pixels", ("raw_pixels", "pca"), "raw pixels"),
        ("random_init", ("random_init",), "features of the untrained network"),
    ):
        if file in inside:
            sets |= dict.fromkeys(names, _read_rows(features, file))
        elif file in listed and files[file].exists() and not is_table(features):
            sets |= dict.fromkeys(names, _read_rows(files[file]))
        else:
            missing.append(what)
    return missing


def _known(y: NDArray[Any]) -> NDArray[np.bool_]:
    return y != -1 if y.dtype.kind in "iuf" else y != "" if y.dtype.kind == "U" else y == y


def is_table(path: Path) -> bool:
    """Whether features are in parquet: a file, or a folder of parts."""
    from ganfeat.feature_files import SUFFIXES

    if path.is_dir():
        return any(path.glob("part-*.parquet")) or (path / "plan.json").is_file()
    return path.suffix in SUFFIXES and path.suffix != ".npy"


@lru_cache(maxsize=8)
def _table(path: Path) -> FeatureTable:
    from ganfeat.feature_files import open_features

    return open_features(path)


def _labels_of(features: Path, labels: Path | None, wanted: str) -> tuple[NDArray[Any], Path]:
    """Labels, and the file that they are in."""
    from ganfeat.errors import InputError

    if labels is not None:
        from ganfeat.feature_files import read_labels

        return read_labels(labels), labels
    found = _table(features).labels if is_table(features) else None
    if found is None:
        example = f", e.g. {siblings(features)['labels']}" if siblings(features)["labels"].exists() else ""
        raise InputError(f"{features} has no labels inside: give {wanted}{example}")
    return found, features


def _read_rows(path: Path, column: str = "features") -> Any:
    return _table(path).array(column)
