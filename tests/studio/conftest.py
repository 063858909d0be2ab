"""A tiny trained run, and its studio on a free port, once for all tests."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganfeat import DCGAN
from ganfeat.data import load_images

MISSING = [name for name in ("fastapi", "uvicorn", "httpx2") if importlib.util.find_spec(name) is None]
N_IMAGES = 96


@pytest.fixture(scope="session")
def studio_extra() -> None:
    """Skip where the studio is not installed."""
    if MISSING:
        pytest.skip(f"needs {', '.join(MISSING)}: pip install 'ganfeat[studio]' httpx2")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DCGAN trained for a few steps on 16 x 16 digits."""
    folder = tmp_path_factory.mktemp("studio") / "digits"
    data = load_images("digits", size=16, limit=N_IMAGES)
    gan = DCGAN(n_components=8, width=4, batch_size=16, max_iter=2, precision="fp32", device="cpu", random_state=0)
    for _ in gan.iter_fit(data, run=folder, log_every=1, sheets=3, evaluations=2):
        pass
    return folder


@pytest.fixture(scope="session")
def tiny_session(studio_extra: None, tiny_run: Path) -> Iterator[Any]:
    """What the studio keeps of that run."""
    from ganfeat.studio.session import open_session

    session = open_session(tiny_run, "digits", limit=N_IMAGES, device="cpu")
    yield session
    session.close()


@dataclass
class Studio:
    """Where it is served, and by whom."""

    url: str
    port: int
    session: Any


@contextmanager
def served(session: Any, port: int = 0) -> Iterator[Studio]:
    """A session's studio, from a thread on a port of this machine, 0 for a free one; its end is the session's, too."""
    from ganfeat.studio.address import listen, url
    from ganfeat.studio.serve import make_server

    started = threading.Event()
    sock = listen("127.0.0.1", port)
    server = make_server(session, sock, "127.0.0.1", started.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    assert started.wait(20), "the server did not start"
    yield Studio(url(sock, "127.0.0.1"), sock.getsockname()[1], session)
    server.should_exit = server.force_exit = True
    thread.join(10)
    sock.close()


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[Studio]]:
    """Give :func:`served`: test modules cannot import this file."""
    return served


@pytest.fixture(scope="session")
def studio(tiny_session: Any) -> Iterator[Studio]:
    """The studio of the tiny run."""
    with served(tiny_session) as own:
        yield own


@pytest.fixture(scope="session")
def http(studio: Studio) -> Iterator[Any]:
    """A client of the served studio."""
    import httpx2

    with httpx2.Client(base_url=studio.url, timeout=60) as client:
        yield client


def pixels(uri_or_bytes: str | bytes) -> np.ndarray:
    """A data URI, or the bytes of a picture, as ``uint8``."""
    import base64
    import io

    from PIL import Image

    content = uri_or_bytes
    if isinstance(content, str):
        head, _, body = content.partition(",")
        assert head == "data:image/png;base64"
        content = base64.b64decode(body, validate=True)
    with Image.open(io.BytesIO(content)) as picture:
        return np.array(picture)


@pytest.fixture(scope="session")
def decode() -> Any:
    """Give :func:`pixels`: test modules cannot import this file."""
    return pixels
