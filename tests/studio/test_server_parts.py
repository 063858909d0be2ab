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
