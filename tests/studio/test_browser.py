"""The studio in a browser, page by page: what a person does must change what the page shows."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from ganfeat import MGAN
from ganfeat.data import load_images

ARGUMENTS = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-quic --no-first-run "
    "--disable-component-update --disable-sync"
).split()
SIZE = {"height": 40, "width": 80}
PRESENCE = {
    "before": 0.9,
    "after": 0.2,
    "after_ci": [0.15, 0.25],
    "control": 0.8,
    "control_range": [0.7, 0.85],
    "draws": 5,
    "elsewhere": 0.1,
}
PINS = "s0.1,s0.2,s0.3"
BOXES = ";".join(f"s0.{i}:4,4,7,8" for i in range(6))
# The pixels that an image shows: drawn on a canvas, because a source of the same name can show others.
PIXELS = """(image) => {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
}"""
# How far, and how.
ENLARGED = "(all) => all.map((i) => [i.clientWidth / i.naturalWidth, getComputedStyle(i).imageRendering])"
UNNAMED = """() => {
  const text = (id) => document.getElementById(id)?.textContent ?? "";
  const named = (element) => [
    element.getAttribute("aria-label"),
    (element.getAttribute("aria-labelledby") ?? "").split(" ").map(text).join(""),
    [...(element.labels ?? [])].map((label) => label.textContent).join(""),
    /^(BUTTON|A|SUMMARY)$/.test(element.tagName) ? element.textContent : "",
    /^(BUTTON|A)$/.test(element.tagName) ? [...element.querySelectorAll("img")].map((i) => i.alt).join("") : "",
  ].some((name) => name && name.trim());
  return [...document.querySelectorAll("button, a[href], input, select, textarea, [tabindex='0'], [role=group], aside")]
    .filter((element) => !element.closest("[hidden]") && !named(element))
    .map((element) => element.outerHTML.slice(0, 160));
}"""


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("GANFEAT_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("needs a browser: install chromium, or set GANFEAT_CHROMIUM to one")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser.new_context(accept_downloads=True)  # one for all: what it has fetched it need not fetch again
        browser.close()


@pytest.fixture(scope="module")
def generators(studio_extra: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What the studio keeps of a run of three generators, without data."""
    from ganfeat.studio.session import open_session

    folder = tmp_path_factory.mktemp("mgan") / "three"
    gan = MGAN(n_generators=3, n_components=8, width=4, batch_size=16, max_iter=2, precision="fp32", random_state=0)
    gan.fit(load_images("digits", size=16, limit=48)).save(folder)
    session = open_session(folder, device="cpu")
    yield session
    session.close()


@pytest.fixture(scope="module")
def second(generators: Any, serve: Any) -> Iterator[Any]:
    """The studio of that run."""
    with serve(generators) as own:
        yield own


@dataclass
class Sheet:
    """A page of the browser, with all that went wrong on it."""

    page: Any
    url: str
    wrong: list[str] = field(default_factory=list)

    def open(self, view: str) -> Any:
        self.page.goto("about:blank")
        self.page.goto(f"{self.url.rstrip('/')}/#/{view}")
        self.page.locator("h1").wait_for()
        return self.page

    def query(self) -> dict[str, str]:
        """What stands in the address behind the page's name."""
        _, _, text = str(self.page.evaluate("location.hash")).partition("?")
        return dict(part.split("=", 1) for part in text.split("&") if part)

    def until(self, condition: str, argument: Any = None) -> None:
        # As a function: the page's policy forbids to evaluate a string.
        condition = condition if condition.startswith("(") else f"() => {condition}"
        self.page.wait_for_function(condition, arg=argument, timeout=20_000)

    def pixels(self, selector: str) -> np.ndarray:
        """RGBA values of an image that has loaded."""
        self.until("(s) => document.querySelector(s)?.complete && document.querySelector(s).naturalWidth > 1", selector)
        return np.array(self.page.locator(selector).first.evaluate(PIXELS))


@pytest.fixture
def sheet(context: Any, studio: Any) -> Iterator[Callable[..., Sheet]]:
    """Make a page; afterwards, nothing may have gone wrong on any of them."""
    made = []

    def make(width: int = 1280, height: int = 900, url: str = studio.url) -> Sheet:
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.set_default_timeout(20_000)
        new = Sheet(page, url)
        host = urlsplit(url).netloc
        page.on("console", lambda m: new.wrong.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: new.wrong.append(f"error {e}"))
        page.on("request", lambda r: new.wrong.append(f"left for {r.url}") if _is_away(r.url, host) else None)
        page.on(
            "requestfailed",
            lambda r: new.wrong.append(f"failed {r.url}: {r.failure}") if r.failure != "net::ERR_ABORTED" else None,
        )
        page.on("response", lambda r: new.wrong.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        made.append(new)
        return new

    yield make
    wrong = [line for each in made for line in each.wrong]
    for each in made:
        each.page.close()
    assert wrong == []


def _is_away(url: str, host: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != host


SETTLED = """(width) => {
  const page = document.documentElement;
  return page.clientWidth <= width && page.scrollWidth <= page.clientWidth;
}"""

VIEWS = {
    "samples": (f"samples?pins={PINS}", ".grid button img"),
    "walk": (f"walk?walk={PINS}", ".strip img"),
    "arithmetic": ("arithmetic?a=s0.1,s0.2&b=s0.3&c=s0.4", ".nine img"),
    "forget": (f"forget?boxes={BOXES}&sample=s0.1&fit=1", ".after img"),
    "features": ("features?point=5", ".channel-table img"),
    "training": ("training", ".chart"),
}


@pytest.mark.parametrize("name", VIEWS)
def test_each_page_is_whole_on_small_and_dark_screens(name: str, sheet: Callable[..., Sheet], tmp_path: Path) -> None:
    """No error, nothing fetched elsewhere (the fixture sees to that), a name for every control, no overflow."""
    view, content = VIEWS[name]
    own = sheet()
    page = own.open(view)
    page.locator(content).first.wait_for()
    assert page.locator("h1").count() == 1
    assert page.evaluate(UNNAMED) == []
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("nav a[aria-current=page]").inner_text() == page.locator("h1").inner_text()
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert page.locator("input[type=range]:not([aria-valuetext])").count() == 0
    assert page.locator(".failure").count() == 0
    sizes = page.locator(f"{content}.pixels").evaluate_all(ENLARGED)
    assert all(times >= 1 and times == round(times) and how == "pixelated" for times, how in sizes)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    own.until("(light) => getComputedStyle(document.body).backgroundColor !== light", light)
    for width in (360, 1600):
        page.set_viewport_size({"width": width, "height": 800})
        own.until(SETTLED, width)  # parts that measure the page themselves follow a frame later
        page.screenshot(path=tmp_path / f"{name}-{width}.png")


def test_pin_by_click_and_by_keyboard_and_find_it_after_a_reload(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open("samples?n=32")
    cells = page.locator(".grid button")
    cells.nth(3).click()
    assert own.query()["pins"] == "s0.3"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert own.query()["pins"] == "s0.3,s0.4"
    assert cells.nth(4).get_attribute("aria-pressed") == "true"
    page.reload()
    page.locator(".pins button").nth(1).wait_for()
    assert page.locator(".pins button").evaluate_all("(all) => all.map((b) => b.dataset.reference)") == ["s0.3", "s0.4"]
    np.testing.assert_array_equal(own.pixels(".pins li:nth-child(2) img"), own.pixels(".grid button:nth-child(5) img"))
    page.locator(".grid button").nth(3).click()
    assert own.query()["pins"] == "s0.4"
    page.go_back()
    own.until("document.querySelectorAll('.pins button').length === 2")


def test_chosen_pins_go_where_they_are_sent_and_can_be_downloaded(sheet: Callable[..., Sheet], http: Any) -> None:
    own = sheet()
    page = own.open(f"training?pins={PINS}")
    page.locator(".pins button").nth(1).click()
    page.get_by_role("button", name="Add to basket B").click()
    assert own.query()["b"] == "s0.2"
    page.locator(".pins button").nth(2).focus()
    page.keyboard.press("w")
    assert own.query()["walk"] == "s0.3"
    with page.expect_download() as download:
        page.get_by_role("link", name="Download z as JSON").click()
    (found,) = json.loads(Path(download.value.path()).read_bytes())["latents"]
    assert found["ref"] == "s0.2"
    page.locator(".pins button").nth(1).click()  # none is chosen: all are meant
    with page.expect_download() as download:
        page.get_by_role("link", name="Download z as npy").click()
    assert np.load(download.value.path()).shape == (3, len(found["z"]))
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the pictures as one PNG").click()
    assert Path(download.value.path()).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    page.locator(".pins button").nth(0).focus()
    page.keyboard.press("Delete")
    assert own.query()["pins"] == "s0.2,s0.3"
    page.set_viewport_size({"width": 360, "height": 740})
    page.reload()
    page.get_by_role("button", name="Show the pinned pictures").click()
    page.locator(".pins button").nth(1).wait_for()


def test_resampling_draws_other_pictures_and_back_brings_the_old_ones(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open("samples?n=16")
    before = own.pixels(".grid img")
    page.get_by_label("Seed", exact=True).fill("7")
    page.get_by_label("Seed", exact=True).press("Enter")
    own.until("document.querySelector('.grid button')?.dataset.reference === 's7.0'")
    assert not np.array_equal(own.pixels(".grid img"), before)
    page.go_back()
    own.until("document.querySelector('.grid button')?.dataset.reference === 's0.0'")
    np.testing.assert_array_equal(own.pixels(".grid img"), before)


def test_a_picture_from_outside_is_inverted_and_pinned(sheet: Callable[..., Sheet], http: Any) -> None:
    content = http.get("/api/image.png", params={"z": "s0.9"}).content
    own = sheet()
    page = own.open("samples?n=16")
    page.get_by_label("PNG, JPEG or WebP").set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"a"})
    page.get_by_text("is not a PNG, JPEG or WebP image").wait_for()
    page.get_by_label("PNG, JPEG or WebP").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": content}
    )
    page.locator(".inverted img").nth(1).wait_for()
    assert re.fullmatch(r"v[A-Za-z0-9_-]+", own.query()["pins"])


def test_dragging_the_slider_of_the_walk_changes_the_picture(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open("walk?walk=s0.1,s0.2,s0.3&frames=4")
    big = ".stage .huge"
    own.until("document.querySelector('.stage .huge')?.dataset.t === '0'")
    start = own.pixels(big)
    own.until("document.querySelector('.points img').naturalWidth > 1")
    np.testing.assert_array_equal(start, own.pixels(".points li:first-child img"))
    box = page.get_by_label("Place on the path").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 9, middle)
    page.mouse.down()
    for k in range(1, 11):
        page.mouse.move(box["x"] + 9 + (box["width"] - 18) * k / 10, middle)
    page.mouse.up()
    own.until("document.querySelector('.stage .huge').dataset.t === '2'")
    np.testing.assert_array_equal(own.pixels(big), own.pixels(".points li:last-child img"))
    page.get_by_label("Place on the path").press("ArrowLeft")
    own.until("document.querySelector('.stage .huge').dataset.t === '1.99'")
    own.until("location.hash.includes('t=1.99')")
    assert "99 % of the way" in page.get_by_label("Place on the path").get_attribute("aria-valuetext")
    page.reload()
    own.until("document.querySelector('.stage .huge')?.dataset.t === '1.99'")
    page.get_by_role("button", name="Pin this picture").click()
    own.until("document.querySelectorAll('.pins button').length === 1")
    np.testing.assert_array_equal(own.pixels(".pins img"), own.pixels(big))


def test_points_of_the_walk_are_reordered_by_button_and_by_drag(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open("walk?walk=s0.1,s0.2,s0.3&frames=2")
    page.get_by_role("button", name="Move point 1 later").click()
    assert own.query()["walk"] == "s0.2,s0.1,s0.3"
    assert page.evaluate("document.activeElement.dataset.key") == "down-0"
    last, first = page.locator(".points li").nth(2), page.locator(".points li").nth(0)
    last.drag_to(first, target_position={"x": 30, "y": 4})
    own.until("location.hash.includes('walk=s0.3,s0.2,s0.1')")
    page.get_by_role("button", name="Remove point 2").click()
    assert own.query()["walk"] == "s0.3,s0.1"
    own.until("document.querySelectorAll('.strip .frame').length === 3")
    page.get_by_text("closed").click()
    own.until("document.querySelectorAll('.strip .frame').length === 5")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as GIF").click()
    assert Path(download.value.path()).read_bytes()[:6] == b"GIF89a"


def test_an_empty_walk_says_how_to_begin_and_plays_until_paused(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open(f"walk?pins={PINS}&frames=2")
    page.get_by_role("button", name="Walk through the 3 pinned").click()
    assert own.query()["walk"] == PINS
    page.get_by_role("button", name="Play").click()
    own.until("Number(document.querySelector('.stage .huge').dataset.t) > 0.1")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Play").wait_for()


def test_arithmetic_by_click_by_keyboard_and_by_drag(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open("arithmetic?n=32&pins=s0.20")
    cells = page.locator(".grid button")
    cells.nth(1).click()
    own.until("document.querySelector('.result').dataset.done === 'A|0.25|0'")
    alone = own.pixels(".nine .middle img")
    np.testing.assert_array_equal(alone, own.pixels(".grid button:nth-child(2) img"))  # A alone is A
    page.keyboard.press("ArrowRight")
    page.keyboard.press("b")
    assert own.query()["b"] == "s0.2"
    own.until("document.querySelector('.result').dataset.done === 'A − B|0.25|0'")
    cells.nth(3).drag_to(page.locator(".basket-c"))
    own.until("document.querySelector('.result').dataset.done === 'A − B + C|0.25|0'")
    assert own.query()["c"] == "s0.3"
    result = own.pixels(".nine .middle img")
    assert not np.array_equal(result, alone)
    assert page.locator(".nine img").count() == 9
    page.get_by_role("button", name="Add to basket C").click()
    assert own.query()["c"] == "s0.3,s0.20"
    slider = page.get_by_label("Noise of the neighbours")
    slider.focus()
    page.keyboard.press("Home")
    own.until("document.querySelector('.result').dataset.done === 'A − B + C|0|0'")
    np.testing.assert_array_equal(own.pixels(".nine button:first-child img"), own.pixels(".nine .middle img"))
    page.locator(".nine button").nth(4).click()
    assert own.query()["pins"].startswith("s0.20,v")
    page.get_by_role("button", name="Remove sample 1 of seed 0 from basket A").click()
    page.get_by_text("Put one or more pictures into A").wait_for()


def draw_box(own: Sheet, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Drag from one pixel of the enlarged picture to another."""
    box = own.page.locator(".holder .canvas").bounding_box()
    shape = own.page.evaluate("fetch('/api/run').then((a) => a.json()).then((a) => a.image_shape)")
    at = [
        (box["x"] + (x + 0.5) / shape[1] * box["width"], box["y"] + (y + 0.5) / shape[0] * box["height"])
        for x, y in (start, end)
    ]
    own.page.mouse.move(*at[0])
    own.page.mouse.down()
    own.page.mouse.move(*at[1], steps=3)
    own.page.mouse.up()


def test_boxes_are_drawn_moved_and_resized_by_mouse_and_keyboard(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open("forget?sample=s0.2")
    page.locator(".holder img").wait_for()
    draw_box(own, (3, 4), (8, 10))
    assert own.query()["boxes"] == "s0.2:3,4,6,7"
    draw_box(own, (5, 6), (7, 7))  # from inside: moves it
    assert own.query()["boxes"] == "s0.2:5,5,6,7"
    draw_box(own, (10, 11), (12, 12))  # from the corner: resizes it
    assert own.query()["boxes"] == "s0.2:5,5,8,8"
    page.get_by_role("button", name=re.compile("^Box 1")).focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowUp")
    own.until("location.hash.includes('s0.2:4,5,8,7')")
    page.get_by_role("button", name="Add a box").click()
    assert own.query()["boxes"].count(":") == 2
    assert page.evaluate("document.activeElement.dataset.key") == "box-1"
    page.keyboard.press("Delete")
    assert own.query()["boxes"] == "s0.2:4,5,8,7"
    page.reload()
    own.until("document.querySelectorAll('.canvas .box').length === 1")
    assert page.locator(".grid button[data-reference='s0.2'] rect").count() == 1


def test_a_fit_and_how_many_maps_are_dropped(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open(f"forget?boxes={BOXES}&sample=s0.0")
    page.get_by_role("button", name="Fit").click()
    slider = page.get_by_label("Maps dropped")
    slider.wait_for()
    most = int(slider.get_attribute("max"))
    assert most > 0
    assert "guessing gives 50 %" in page.locator(".outcome").inner_text()
    own.until("(n) => document.querySelector('.comparison').dataset.maps === String(n)", most)
    after = own.pixels(".after img")
    np.testing.assert_array_equal(own.pixels(".before img"), own.pixels(".grid button img"))
    assert not np.array_equal(after, own.pixels(".before img"))
    slider.focus()
    page.keyboard.press("Home")
    own.until("document.querySelector('.comparison').dataset.maps === '0'")
    np.testing.assert_array_equal(own.pixels(".after img"), own.pixels(".before img"))
    np.testing.assert_array_equal(own.pixels(".random img"), own.pixels(".before img"))
    page.keyboard.press("End")
    own.until("(n) => location.hash.includes(`maps=${n}`)", most)
    page.reload()
    own.until("(n) => document.querySelector('.comparison')?.dataset.maps === String(n)", most)
    np.testing.assert_array_equal(own.pixels(".after img"), after)
    # What is left of the object stands beside what random maps leave and what there is outside the boxes.
    surety = [0.95]
    page.route(
        re.compile("forget/compare.*measure=1"),
        lambda route: route.fulfill(json=route.fetch().json() | {"presence": {**PRESENCE, "auc": surety[0]}}),
    )
    slider.press("ArrowLeft")
    page.locator(".presence").wait_for()
    lines = [" ".join(row.split()) for row in page.locator(".presence tr").all_inner_texts()]
    assert lines == [
        "before 90 %",
        "after 20 % 15 % to 25 %, 95 % interval over the samples",
        "control: random maps 80 % 70 % to 85 % in 5 draws",
        "outside the boxes, before 10 %",
    ]
    page.get_by_text("Lower than with any of 5 draws").wait_for()
    surety[0] = 0.55
    slider.press("ArrowRight")
    page.get_by_text("cannot be told").wait_for()


def test_boxes_go_out_and_come_back_as_a_file(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open(f"forget?boxes={BOXES}")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export boxes").click()
    content = Path(download.value.path()).read_bytes()
    boxes = json.loads(content)["boxes"]
    assert boxes[1] == {"z": "s0.1", "x": 4, "y": 4, "width": 7, "height": 8}
    page.get_by_role("button", name="Remove all boxes").click()
    assert "boxes" not in own.query()
    field_ = page.get_by_label("Import boxes")
    field_.set_input_files(
        {"name": "bad.json", "mimeType": "application/json", "buffer": b'{"boxes": [{"z": "s0.1"}]}'}
    )
    page.get_by_text("box 1 needs the numbers").wait_for()
    field_.set_input_files({"name": "boxes.json", "mimeType": "application/json", "buffer": content})
    own.until("location.hash.includes('s0.5:4,4,7,8')")
    assert own.query()["boxes"] == BOXES


def test_the_map_by_mouse_and_keyboard(sheet: Callable[..., Sheet], http: Any) -> None:
    own = sheet()
    page = own.open("features")
    page.locator(".legend button").first.wait_for()
    canvas = page.locator(".map-canvas")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    first = page.locator(".tip").get_attribute("data-point")
    page.keyboard.press("ArrowRight")
    second = page.locator(".tip").get_attribute("data-point")
    assert first != second
    page.keyboard.press("Enter")
    answer = http.get("/api/features").json()
    assert own.query()["point"] == str(answer["indices"][int(second)])
    page.locator(".neighbour-grid img").nth(7).wait_for()
    near = http.get("/api/neighbours", params={"i": own.query()["point"], "k": 8}).json()["neighbours"]
    shown = page.locator(".neighbour-grid button").evaluate_all("(all) => all.map((b) => Number(b.dataset.i))")
    assert shown == [one["i"] for one in near]
    # The pointer over a point shows it; a click chooses it.
    box = canvas.bounding_box()
    side = min(box["width"], box["height"]) * 0.94
    x, y = answer["points"][0]
    page.mouse.move(box["x"] + box["width"] / 2 + (x - 0.5) * side, box["y"] + box["height"] / 2 + (0.5 - y) * side)
    page.locator(".tip").wait_for()
    under = int(page.locator(".tip").get_attribute("data-point"))
    assert np.hypot(*(np.array(answer["points"][under]) - answer["points"][0])) < 0.05
    page.mouse.down()
    page.mouse.up()
    assert own.query()["point"] == str(answer["indices"][under])
    page.reload()
    page.locator(".query img").wait_for()
    np.testing.assert_array_equal(
        own.pixels(".query img").reshape(-1, 4)[:, 0],
        pixel_values(http.get("/api/data/image.png", params={"i": own.query()["point"]}).content),
    )


def pixel_values(content: bytes) -> np.ndarray:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        return np.array(picture.convert("RGB"))[..., 0].ravel()


def test_the_map_zooms_and_colours_and_keeps_both_in_the_address(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open("features")
    page.locator(".legend button").first.wait_for()
    seen = "() => document.querySelector('.map-canvas').toDataURL()"
    own.until("document.querySelector('.map-canvas').width > 300")
    whole = page.evaluate(seen)
    page.get_by_role("button", name="Zoom in").click()
    own.until(f"(whole) => ({seen})() !== whole", whole)
    own.until("location.hash.includes('view=')")
    page.get_by_role("button", name="Whole map").click()
    own.until("!location.hash.includes('view=')")
    page.get_by_label("Colour by").select_option("cluster")
    assert own.query()["colour"] == "cluster"
    page.locator(".legend button").first.click()
    page.reload()
    page.locator(".legend button[aria-pressed=true]").wait_for()
    assert "cluster 1" in page.locator(".legend button[aria-pressed=true]").inner_text()


def test_the_channel_browser_shows_another_channel(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open("features")
    page.locator(".channel-table img").first.wait_for()
    before = page.locator(".channel").get_attribute("data-channel")
    page.get_by_role("button", name="Next channel").click()
    own.until("(old) => document.querySelector('.channel').dataset.channel !== old", before)
    assert own.query()["channel"] == "1"
    assert page.locator(".channel-table tbody").first.locator("tr").count() == 4
    assert page.locator(".boxed rect").count() == page.locator(".boxed img").count()
    # Receptive fields are in pixels of the images that were searched, which a generator may draw in another size.
    page.route("**/api/channel?*", lambda route: route.fulfill(json=route.fetch().json() | {"size": SIZE}))
    page.get_by_role("button", name="Next channel").click()
    own.until("document.querySelector('.receptive').getAttribute('viewBox') === '0 0 80 40'")


def test_curves_are_chosen_and_read_and_the_sheets_have_a_slider(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open("training")
    lines = page.locator(".chart .line")
    lines.first.wait_for(state="attached")
    before = lines.count()
    page.locator("input[aria-label='loss/generator']").uncheck()
    assert lines.count() == before - 1
    assert "loss/generator" not in own.query()["curves"]
    page.locator(".chart").focus()
    page.keyboard.press("End")
    assert re.search(r"step [\d,]+: loss/discriminator [\d.]+", page.locator(".readout").inner_text())
    page.get_by_label("log scale").check()
    assert own.query()["log"] == "1"
    last = page.locator("img.sheet").get_attribute("src")
    page.get_by_label("Sheet", exact=True).focus()
    page.keyboard.press("Home")
    own.until("(last) => document.querySelector('img.sheet').getAttribute('src') !== last", last)
    own.until("location.hash.includes('sheet=step-')")


def test_addresses_made_by_hand_do_no_harm(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open("walk?walk=<script>,s0.1,../x,s0.2&t=NaN&kind=odd&closed=maybe&given=-4&seed=1e99&boxes=;;::")
    page.locator(".strip img").first.wait_for()
    assert page.locator(".points li").count() == 2
    own.open("walk?walk=s0.1,s0.2&t=63")
    own.until("document.querySelector('.stage .huge')?.dataset.t === '1'")


def test_a_server_that_is_gone_is_said_and_comes_back(sheet: Callable[..., Sheet]) -> None:
    own = sheet()
    page = own.open("samples?n=16")
    page.locator(".grid img").first.wait_for()
    page.context.set_offline(True)
    page.get_by_role("button", name="Next seed").click()
    page.locator("#banner").get_by_text("does not answer").wait_for()
    page.context.set_offline(False)
    own.until("document.querySelector('#banner').textContent === ''")
    own.until("document.querySelector('.grid button')?.dataset.reference === 's1.0'")
    assert all("ERR_INTERNET_DISCONNECTED" in line for line in own.wrong)
    own.wrong.clear()


def test_a_picture_is_searched_with_the_generator_that_is_chosen_and_there(
    sheet: Callable[..., Sheet], second: Any, http: Any
) -> None:
    content = http.get("/api/image.png", params={"z": "s0.9"}).content
    own = sheet(url=second.url)
    page = own.open("samples?n=16&given=77")  # there is none: the last one is taken
    assert page.get_by_label("Generator").input_value() == "2"
    expected = second.session.pictures(second.session.latents(0)[:1], 2)[0, ..., 0].ravel()
    np.testing.assert_array_equal(own.pixels(".grid img").reshape(-1, 4)[:, 0], expected)
    page.get_by_label("PNG, JPEG or WebP").set_input_files(
        {"name": "a.png", "mimeType": "image/png", "buffer": content}
    )
    page.get_by_label("Generator").select_option("1")  # while it searches: what is found is still of the other one
    page.locator(".inverted img").nth(1).wait_for()
    z = second.session.z(own.query()["pins"])
    shown = own.pixels(".inverted figure:nth-child(2) img").reshape(-1, 4)[:, 0]
    drawn = [second.session.pictures(z[None], given)[0, ..., 0].ravel() for given in range(3)]
    np.testing.assert_array_equal(shown, drawn[2])
    assert not np.array_equal(drawn[0], drawn[2])
    assert "with generator 2" in page.locator(".inverted").inner_text()
    # Beside what the nearest of the random samples and any of them reach.
    sizes = [float(text) for text in page.locator(".differences td").all_inner_texts()]
    assert len(sizes) == 3
    assert sizes == sorted(sizes)
    np.testing.assert_array_equal(own.pixels(".pins img").reshape(-1, 4)[:, 0], drawn[1])
    page.get_by_label("Generator").select_option("2")
    own.until("location.hash.includes('given=2')")
    np.testing.assert_array_equal(own.pixels(".pins img").reshape(-1, 4)[:, 0], drawn[2])


def test_another_run_at_the_same_address_is_shown_as_what_it_is(
    sheet: Callable[..., Sheet], tiny_run: Path, generators: Any, serve: Any
) -> None:
    from ganfeat.studio.session import open_session

    with serve(open_session(tiny_run, device="cpu")) as first:
        own = sheet(url=first.url)
        page = own.open("samples?n=16&pins=s0.3")
        page.locator(".grid img").first.wait_for()
    page.get_by_role("button", name="Next seed").click()
    page.locator("#banner").get_by_text("does not answer").wait_for()
    with serve(open_session(generators.run.path, device="cpu"), first.port):
        own.until("(name) => document.querySelector('#run').textContent === name", generators.run.path.name)
        own.until("document.querySelector('.grid button')?.dataset.reference === 's1.0'")
        assert page.get_by_label("Generator").count() == 1
        expected = generators.pictures(generators.z("s0.3")[None])[0, ..., 0].ravel()
        np.testing.assert_array_equal(own.pixels(".pins img").reshape(-1, 4)[:, 0], expected)
    assert all("ERR_CONNECTION" in line or "ERR_EMPTY" in line for line in own.wrong)
    own.wrong.clear()


def test_answers_that_come_late_do_not_replace_newer_ones(
    sheet: Callable[..., Sheet], studio: Any, second: Any
) -> None:
    own = sheet(url=second.url)
    held = []
    page = own.page
    page.route("**/api/filters?*discriminator*", lambda route: held.append(route))
    own.open("features")
    page.get_by_label("Network").select_option("classifier")
    page.locator(".filter-list img").first.wait_for()
    before = page.locator(".filter-list").inner_html()
    with page.expect_response("**/api/filters?*discriminator*"):
        held[0].fulfill(json={"network": "discriminator", "images": [], "n": 0})
    page.wait_for_timeout(50)
    assert page.locator(".filter-list").inner_html() == before

    own = sheet(url=studio.url)
    held = []
    page = own.page
    page.route("**/api/features?*", lambda route: held.append(route))
    own.open("features?point=3")
    own.until("document.querySelector('.progress-box')")
    page.evaluate("location.hash = '#/features?point=5&colour=cluster'")
    held[0].continue_()
    page.locator(".query img[alt^='Picture 5']").wait_for()
    assert page.get_by_label("Colour by").input_value() == "cluster"
