import pytest

from ganfeat import DCGAN, load_images


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A tiny DCGAN of 8 x 8 digits."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    images = load_images("digits", limit=120)
    DCGAN(width=4, n_components=4, max_iter=1, batch_size=32, random_state=0).fit(images, run=path)
    return path
