"""Runs whose G is told something beside z, and runs with an encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganfeat import DCGAN, MGAN, BiGAN
from ganfeat.data import load_images
from ganfeat.errors import InputError

pytestmark = pytest.mark.usefixtures("studio_extra")


def client_of(model: Any, folder: Path) -> Iterator[Any]:
    from starlette.testclient import TestClient

    from ganfeat.studio.app import create_app
    from ganfeat.studio.session import open_session

    model.fit(load_images("digits", size=16, limit=32)).save(folder)
    session = open_session(folder, device="cpu")
    with TestClient(create_app(session, port=80), base_url="http://localhost") as client:
        client.gan = session.gan
        yield client
    session.close()


@pytest.fixture(scope="module")
def generators(studio_extra: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    model = MGAN(n_generators=3, n_components=4, width=4, batch_size=16, max_iter=1, precision="fp32", random_state=0)
    yield from client_of(model, tmp_path_factory.mktemp("mgan") / "run")


@pytest.fixture(scope="module")
def encoder(studio_extra: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    model = BiGAN(
        n_components=4, architecture="mlp", width=16, batch_size=16, max_iter=1, precision="fp32", random_state=0
    )
    yield from client_of(model, tmp_path_factory.mktemp("bigan") / "run")


def test_what_g_is_told_is_given_by_its_place(generators: Any, decode: Any) -> None:
    assert generators.get("/api/run").json()["condition"] == {"name": "generator", "values": [0, 1, 2]}
    z = generators.gan.latents(256, 0)[:2]
    seen = []
    for given in range(3):
        for path in (f"/api/samples?n=2&given={given}", f"/api/images?z=s0.0,s0.1&given={given}"):
            seen.append([decode(uri) for uri in generators.get(path).json()["images"]])
            assert np.array_equal(seen[-1], generators.gan.picture(z, given)[..., 0])
    assert not np.array_equal(seen[0], seen[2])


@pytest.mark.parametrize(
    "path",
    [
        "/api/samples?given=3",
        "/api/walk?points=s0.0,s0.1&given=3",
        "/api/arithmetic?a=s0.0&given=3",
        "/api/samples?given=-1",
    ],
)
def test_what_g_cannot_be_told_is_refused(generators: Any, path: str) -> None:
    assert generators.get(path).status_code == 400


def test_maps_are_dropped_from_the_generator_that_was_named(generators: Any) -> None:
    boxes = [{"z": f"s0.{i}", "x": 2 + i, "y": 3, "width": 6, "height": 5} for i in range(5)]
    for given in (0, 2):
        fit = generators.post("/api/forget", json={"boxes": boxes, "given": given}).json()
        found = generators.get(f"/api/forget/compare?id={fit['id']}&maps=0&z=s0.7&measure=0").json()
        assert found["before"] == generators.get(f"/api/images?z=s0.7&given={given}").json()["images"]


def test_an_upload_is_encoded(encoder: Any, decode: Any) -> None:
    """Where there is an E, z is E(x)."""
    from ganfeat.latent import vector_reference

    assert encoder.get("/api/run").json()["has_encoder"]
    sent = encoder.get("/api/image.png?z=s0.3").content
    found = encoder.post("/api/invert", content=sent, headers={"Content-Type": "image/png"}).json()
    z = encoder.gan.encode(decode(sent)[None, ..., None])
    assert found["by"] == "encoder"
    assert found["ref"] == vector_reference(z[0])
    error = np.sqrt(np.mean((decode(found["image"]) / 255.0 - decode(sent) / 255.0) ** 2))
    assert found["error"] == pytest.approx(error)
    assert found["random"] is None  # nothing was searched
    others = encoder.gan.picture(encoder.gan.latents(256, 0)[:64])[..., 0].astype(float)
    assert found["unrelated"] == pytest.approx(
        np.sqrt(((others - decode(found["given_image"])) ** 2).mean(axis=(1, 2))).mean() / 255, abs=1e-3
    )


def test_a_fully_connected_generator_has_no_maps_to_drop(encoder: Any) -> None:
    found = encoder.get("/api/forget/layers").json()
    assert (found["layers"], found["default"]) == ([], None)
    assert "fully connected" in found["note"]


def trained(array: np.ndarray, folder: Path) -> Path:
    DCGAN(n_components=4, width=4, batch_size=16, max_iter=1, precision="fp32", random_state=0).fit(array).save(folder)
    return folder


def test_images_are_not_shown_to_a_network_that_learned_from_floats(tmp_path: Path) -> None:
    """It would see them on a scale of another kind."""
    from ganfeat.studio.session import open_session

    run = trained(np.random.default_rng(0).normal(size=(32, 16, 16, 1)), tmp_path / "run")
    with pytest.raises(InputError, match="floating-point"):
        open_session(run, "digits", device="cpu")
    session = open_session(run, device="cpu")
    assert session.pictures(session.latents(0)[:2]).shape == (2, 16, 16, 1)
    session.close()


@pytest.mark.parametrize(("shape", "reason"), [((16, 16, 2), "2 channels"), ((16, 12, 1), "16 x 12")])
def test_a_picture_that_does_not_fit_is_refused_with_the_reason(
    tmp_path: Path, shape: tuple[int, int, int], reason: str
) -> None:
    from starlette.testclient import TestClient

    from ganfeat.studio.app import create_app
    from ganfeat.studio.session import open_session

    images = np.random.default_rng(0).integers(0, 256, (32, *shape)).astype(np.uint8)
    session = open_session(trained(images, tmp_path / "run"), device="cpu")
    with TestClient(create_app(session, port=80), base_url="http://localhost") as client:
        sent = client.get("/api/image.png?z=s0.0").content
        answer = client.post("/api/invert", content=sent, headers={"Content-Type": "image/png"})
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
    session.close()
