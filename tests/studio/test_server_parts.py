"""Work behind the requests, what is kept, and pictures as bytes."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganfeat.errors import InputError

pytestmark = pytest.mark.usefixtures("studio_extra")


# ---------------------------------------------------------------------- jobs


def test_jobs_are_done_in_turn_and_once() -> None:
    from ganfeat.studio.jobs import Jobs

    jobs, order = Jobs(), []
    found = [jobs.ask(i % 3, lambda _job, i=i: order.append(i) or i) for i in range(9)]
    assert all(job.done.wait(10) for job in found)
    assert [job.result for job in found] == [0, 1, 2] * 3
    assert order == [0, 1, 2]
    assert jobs.close()


def test_a_failure_is_told_once_and_then_tried_again() -> None:
    from ganfeat.studio.jobs import Jobs

    def wrong(_job: Any) -> None:
        raise InputError("the fix")

    jobs = Jobs()
    first = jobs.ask("key", wrong)
    assert first.done.wait(10)
    assert jobs.ask("key", lambda _job: 1) is first
    with pytest.raises(InputError, match="the fix"):
        first.outcome()
    again = jobs.ask("key", lambda _job: 1)
    assert again.done.wait(10)
    assert again.outcome() == 1
    assert jobs.close()


def test_a_crash_does_not_end_the_thread_and_says_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    from ganfeat.studio.jobs import Jobs

    jobs = Jobs()
    job = jobs.ask(0, lambda _job: 1 / 0)
    assert job.done.wait(10)
    assert "division" not in str(job.error)
    assert "division" in caplog.text
    other = jobs.ask(1, lambda _job: 2)
    assert other.done.wait(10)
    assert other.result == 2
    assert jobs.close()


def test_closing_ends_work_that_tells_its_progress() -> None:
    from ganfeat.studio.jobs import Jobs

    begun = threading.Event()

    def endless(job: Any) -> None:
        while True:
            job.update(0.5, "on and on")
            begun.set()

    jobs = Jobs()
    job = jobs.ask(0, endless)
    assert begun.wait(10)
    assert (job.progress, job.doing) == (0.5, "on and on")
    assert jobs.close(seconds=10)
    assert job.error is not None


def test_old_results_are_dropped_and_unfinished_work_is_not() -> None:
    from ganfeat.studio.jobs import KEPT, Jobs

    jobs, release = Jobs(), threading.Event()
    first = jobs.ask("first", lambda _job: release.wait(20))
    later = [jobs.ask(i, lambda _job: None) for i in range(3 * KEPT)]
    assert jobs.ask("first", lambda _job: None) is first
    release.set()
    assert all(job.done.wait(10) for job in later)
    jobs.ask("last", lambda _job: None).done.wait(10)
    assert jobs.ask(0, lambda _job: None) is not later[0]
    assert jobs.close()


# ---------------------------------------------------------------------- what is kept


def test_many_who_ask_get_the_one_value() -> None:
    from ganfeat.studio.session import Kept

    made, kept = [], Kept(4)

    def make() -> object:
        made.append(threading.get_ident())
        return object()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _i: kept.get("key", make), range(64)))
    assert len(set(map(id, found))) == len(made) == 1


def test_nobody_waits_for_the_value_of_another_key() -> None:
    from ganfeat.studio.session import Kept

    kept, begun, release = Kept(4), threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        assert release.wait(20)
        return 1

    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(kept.get, "slow", slow)
        assert begun.wait(10)
        assert kept.get("quick", lambda: 2) == 2
        assert kept.find("slow") is None
        release.set()
        assert waiting.result(10) == 1


def test_the_least_used_goes_first_and_what_failed_is_tried_again() -> None:
    from ganfeat.studio.session import Kept

    kept = Kept(2)
    for key in ("a", "b", "a", "c"):
        kept.get(key, lambda key=key: key.upper())
    assert (kept.find("a"), kept.find("b"), kept.find("c")) == ("A", None, "C")
    with pytest.raises(ZeroDivisionError):
        kept.get("d", lambda: 1 / 0)
    assert kept.get("d", lambda: 4) == 4


def test_what_fails_drives_nothing_out() -> None:
    from ganfeat.studio.session import Kept

    kept = Kept(2)
    for key in ("a", "b"):
        kept.get(key, lambda key=key: key.upper())
    for key in ("c", "d", "c"):
        with pytest.raises(ZeroDivisionError):
            kept.get(key, lambda: 1 / 0)
    assert (kept.find("a"), kept.find("b"), kept.find("c")) == ("A", "B", None)


def test_what_is_found_is_used() -> None:
    from ganfeat.studio.session import Kept

    kept = Kept(2)
    for key in ("a", "b"):
        kept.get(key, lambda key=key: key.upper())
    assert kept.find("a") == "A"
    kept.get("c", lambda: "C")
    assert (kept.find("a"), kept.find("b")) == ("A", None)


def test_who_waits_for_what_fails_tries_again_and_keeps_it() -> None:
    from ganfeat.studio.session import Kept

    kept, begun, release = Kept(2), threading.Event(), threading.Event()

    def wrong() -> int:
        begun.set()
        assert release.wait(20)
        raise InputError("the fix")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(kept.get, "key", wrong)
        assert begun.wait(10)
        second = pool.submit(kept.get, "key", lambda: 2)
        release.set()
        with pytest.raises(InputError, match="the fix"):
            first.result(10)
        assert second.result(10) == kept.find("key") == 2


# ---------------------------------------------------------------------- neighbours


@pytest.mark.parametrize("copies", [0, 7])
def test_neighbours_are_those_of_a_walk_measured_alone(copies: int) -> None:
    from ganfeat.latent.smoothness import smoothness
    from ganfeat.studio.nearby import nearby

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 4, 4, 3)).astype(np.uint8)
    images = np.concatenate([images[:copies], images])
    pictures = np.concatenate([images[[9, 30]], rng.integers(60, 200, (5, 4, 4, 3)).astype(np.uint8)])
    z = np.arange(14.0).reshape(7, 2)
    expected = smoothness(z, pictures, training=images, compared=200, random_state=3).near_pixels
    among = nearby(images, 3)
    assert among is not None
    assert expected is not None
    found = among.of(pictures)
    np.testing.assert_array_equal(found.indices, expected.indices[:, 0])
    np.testing.assert_allclose(found.distances, expected.distances[:, 0])
    np.testing.assert_allclose(found.closeness, expected.closeness)
    assert among.usual == pytest.approx(expected.usual)


def test_too_few_different_images_tell_nothing() -> None:
    from ganfeat.studio.nearby import nearby

    assert nearby(np.zeros((500, 4, 4, 1), np.uint8)) is None


@pytest.mark.parametrize("memory", [0, 2**28])
def test_features_beyond_float16_have_distances(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In half the memory the nearest are the same, also of features above 65,504, the largest float16."""
    from types import SimpleNamespace

    from scipy.spatial.distance import cdist

    from ganfeat.data import ImageDataset
    from ganfeat.studio import features
    from ganfeat.studio.jobs import Job

    rows = np.random.default_rng(0).normal(size=(40, 16)).astype(np.float32)
    rows *= np.logspace(-4, 7, 40, dtype=np.float32)[:, None]
    rows[7] = 0
    extractor = SimpleNamespace(n_features_out_=16, transform=lambda images: rows[images[:, 0, 0, 0]])
    session = SimpleNamespace(extractor=lambda name: extractor, reading=threading.Lock(), seed=0)
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    monkeypatch.setattr(features, "MEMORY", memory)
    found = features.make_map(session, ImageDataset(images), "d", Job(lambda job: None))  # type: ignore[arg-type]
    assert found.features.dtype == (np.float16 if memory == 0 else np.float32)
    assert None not in np.ravel(found.answer["points"]).tolist()
    for i in (0, 20, 39):
        near, distances, _ = features.nearest(found, i, 3)
        expected = np.delete(cdist(rows[i : i + 1], rows, "cosine")[0], [7, i])
        np.testing.assert_allclose(distances, np.sort(expected)[:3], atol=2e-3)
        assert 7 not in near


# ---------------------------------------------------------------------- pictures


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_keeps_every_pixel(decode: Any, channels: int) -> None:
    from ganfeat.studio.encode import data_uri, png

    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels)).astype(np.uint8)
    shown = image if channels == 3 else image.mean(axis=2).astype(np.uint8)
    assert np.array_equal(decode(png(image)), shown)
    assert np.array_equal(decode(data_uri(image)), shown)


def test_an_upload_is_turned_upright_cropped_and_scaled() -> None:
    """A photograph of 20 x 60, held upright by its EXIF: the middle 20 x 20 of the upright one, in colour or grey."""
    from ganfeat.studio.encode import read_upload

    lying = np.zeros((20, 60, 3), np.uint8)
    lying[:, 20:40] = (250, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise
    file = io.BytesIO()
    Image.fromarray(lying).save(file, "PNG", exif=exif)
    found = read_upload(file.getvalue(), 10, 3)
    assert found.shape == (10, 10, 3)
    assert (found[3:-3] == (250, 0, 0)).all()  # but for what is smoothed at its ends
    assert (found[:, 0] == found[:, -1]).all()
    assert read_upload(file.getvalue(), 10, 1).shape == (10, 10, 1)
    found[:] = 0  # it may be written to


@pytest.mark.parametrize("shape", [(20, 20), (64, 64), (100, 50)])
def test_thumbnails_are_whole_images_in_cells(shape: tuple[int, int], decode: Any) -> None:
    from ganfeat.studio.features import THUMBNAIL, thumbnails

    images = np.arange(7, dtype=np.uint8)[:, None, None, None].repeat(shape[0], 1).repeat(shape[1], 2) * 30
    content, size, columns = thumbnails(images, np.array([6, 2, 3, 0, 1]))
    sheet = decode(content)
    assert size <= THUMBNAIL
    assert columns == 3
    for place, row in enumerate([6, 2, 3, 0, 1]):
        top, left = divmod(place, columns)
        cell = sheet[top * size : (top + 1) * size, left * size : (left + 1) * size]
        step = -(-max(shape) // THUMBNAIL)
        assert (cell[: shape[0] // step, : shape[1] // step] == 30 * row).all()
