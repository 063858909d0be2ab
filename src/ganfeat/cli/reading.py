"""What the verbs that look inside read: images in the size that G draws, their z, and their features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganfeat.cli.points import Generator
from ganfeat.cli.screen import Screen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMPARED = 64
"""Samples that images are compared with, so that an error means something."""


def inverted(
    screen: Screen, generator: Generator, files: Sequence[Path], seed: int, search: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32], list[dict[str, Any]]]:
    """Image files as G would draw them, their z, and of each the file, by what z was found, and the error."""
    import numpy as np

    from ganfeat.data.decode import UnreadableImageError, decode_image
    from ganfeat.errors import InputError
    from ganfeat.latent import invert
    from ganfeat.latent.inversion import off

    side, channels = generator.square("--images")
    if channels is None:
        raise InputError(f"--images: {generator.run} draws images of other than 1 or 3 channels; leave it out")
    gan = generator.gan

    def read(size: int) -> NDArray[np.uint8]:
        found = []
        for file in files:
            try:
                found.append(decode_image(file, size, channels))
            except UnreadableImageError as error:
                raise InputError(f"--images {file}: {error}") from None
        return np.stack(found)

    wanted = read(side)
    first = None
    if hasattr(gan, "encode"):
        with screen.stage("encoding", 0):
            first = gan.encode(read(gan.image_shape_[0]))
    others = generator.draw(generator.drawn(seed)[:COMPARED])
    unrelated = [float(off(others, image).mean()) for image in wanted]
    if first is not None and not search:
        z, more = first, [{"by": "encoder", "error": float(e)} for e in off(generator.draw(first), wanted)]
    else:
        with screen.stage("searching for z", 0) as update:
            found = invert(
                gan.decoder(generator.given),
                wanted,
                generator.n_components,
                generator.prior,
                first=first,
                random_state=seed,
                progress=update,
            )
        z, errors = found.z, zip(found.errors.tolist(), found.random.tolist(), strict=True)
        more = [{"by": "search", "error": error, "random": random} for error, random in errors]
    about = [
        {"file": str(file), **row, "unrelated": away} for file, row, away in zip(files, more, unrelated, strict=True)
    ]
    return wanted, z, about


def read_images(screen: Screen, generator: Generator, option: str, source: str, limit: int | None) -> NDArray[np.uint8]:
    """Images in the size that G draws."""
    from ganfeat.data import load_images

    side, channels = generator.square(option)
    with screen.stage(f"reading {option[2:]}", 0) as update:
        return load_images(source, size=side, channels=channels, limit=limit, progress=update).images


def about(generator: Generator, source: str | None, limit: int | None, images: NDArray[np.uint8]) -> dict[str, Any]:
    """What is said of DATA; "learned from" is None where it cannot be known."""
    from ganfeat.arrays import fingerprint
    from ganfeat.checkpoint import RunFolder

    known = RunFolder(generator.run).config().get("data") or {}
    same = None if limit is not None or "imported" in known else fingerprint(images) == known.get("fingerprint")
    return {"source": source, "images": len(images), "limit": limit, "learned from": same}


def features_of(
    screen: Screen,
    generator: Generator,
    network: str | None,
    sets: Sequence[NDArray[np.uint8] | None],
    folder: Path,
) -> list[NDArray[Any] | None]:
    """The network's top layer; None of no images, and of all where it takes another size than G draws.

    Where they are too many for the memory, they are memory maps of files in the folder.
    """
    from ganfeat.errors import InputError
    from ganfeat.features import needs_file

    given = [images for images in sets if images is not None]
    if given[0].shape[1:] != generator.gan.image_shape_:
        if network is not None:
            raise InputError(
                f"--network {network} takes {generator.gan.image_shape_} images, and G draws {given[0].shape[1:]}: "
                "leave it out"
            )
        return [None] * len(sets)
    extractor = generator.gan.extractor(network, taps=[-1])
    to_files = needs_file(
        extractor, sum(map(len, given)), folder, "use --limit, or set TMPDIR to a folder on a larger disk"
    )
    found: list[NDArray[Any] | None] = []
    for i, images in enumerate(sets):
        if images is None:
            found.append(None)
            continue
        with screen.stage("extracting features", len(images)) as update:
            if to_files:
                found.append(extractor.transform_to(folder / f"{i}.npy", images, update))
            else:
                found.append(extractor.transform(images, update))
    return found
