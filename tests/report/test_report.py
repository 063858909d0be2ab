"""The page parses, stands alone, tells nothing twice and is the same each time."""

from __future__ import annotations

import base64
import io
import os
import re
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganfeat.errors import MissingExtraError
from ganfeat.report import (
    FeatureMap,
    Neighbours,
    RunReport,
    Section,
    accuracy_curve,
    accuracy_table,
    feature_map,
    image_sheet,
    neighbours,
    protocol_card,
    reconstructions_over_time,
    samples_over_time,
    settings_table,
    training_curves,
    write_page,
    write_report,
)
from ganfeat.report.svg import spread

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
EVIL = '<script>alert("1")</script>&'


class Page(HTMLParser):
    """Every element with its attributes; fails at the first tag that does not close what is open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in <{tag}>: {names}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def random_images(n: int, size: int = 8, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


def history(n: int = 30) -> list[dict[str, Any]]:
    noise = np.random.default_rng(0).normal(size=(n, 4)).tolist()
    keys = ("loss/generator", "loss/discriminator", "logit/real", "logit/generated")
    return [{"epoch": i / 10, "seconds": 1.0, **dict(zip(keys, row, strict=True))} for i, row in enumerate(noise)]


def results() -> dict[str, Any]:
    means = {
        "raw_pixels": (0.41, 0.744),
        "pca": (0.42, 0.755),
        "random_init": (0.40, 0.78),
        "ganfeat": (0.55, 0.89),
    }
    return {
        "labels_per_class": [1, 10],
        "accuracy": {
            method: {
                str(count): {"mean": mean, "std": 0.02, "ci95": 0.008, "draws": 10}
                for count, mean in zip((1, 10), pair, strict=True)
            }
            for method, pair in means.items()
        },
    }


def full_report() -> RunReport:
    rng = np.random.default_rng(1)
    classes = ["zero", EVIL, "two"]
    labels = rng.integers(0, 3, 40)
    return RunReport(
        title=f"Run {EVIL}",
        summary=f"It ran. {EVIL}",
        results=results(),
        samples=[("epoch 0", random_images(9)), (f"epoch {EVIL}", random_images(10))],
        real=random_images(9),
        reconstructions=[("epoch 0", random_images(9)), (f"epoch {EVIL}", random_images(9))],
        reconstructed=random_images(9),
        history=history(),
        feature_map=FeatureMap(rng.normal(size=(40, 2)), labels, classes, f"t-SNE {EVIL}"),
        neighbours=Neighbours(
            random_images(2), random_images(6).reshape(2, 3, 8, 8, 1), [0, 1], [[0, 1, 2], [1, 1, 1]], classes
        ),
        protocol={"probe": EVIL, "C": [0.1, 1.0]},
        settings={"optimizer": {"lr": 2e-4}, EVIL: None},
        footer=f"ganfeat {EVIL}",
    )


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(full_report(), tmp_path_factory.mktemp("report") / "report.html").read_text("utf-8")


def test_page_is_well_formed_and_complete(html: str) -> None:
    page = Page(html)
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert max(ids.values()) == 1
    for tag, attributes in page.elements:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or (attributes["role"] == "img" and attributes["aria-label"])
        if tag == "a":
            assert (attributes["href"] or "").removeprefix("#") in ids
        if tag == "use":
            assert (attributes["href"] or "").removeprefix("#") in ids
    for reference in re.findall(r"url\(#([^)]+)\)", html):
        assert reference in ids
    sections = [attributes["id"] for attributes in page.all("section")]
    assert sections == ["worth", "samples", "reconstructions", "training", "map", "neighbours", "settings"]
    assert [tag for tag, _ in page.elements if re.fullmatch(r"h\d", tag)] == ["h1"] + 7 * ["h2"]


def test_page_asks_no_host_for_anything(html: str) -> None:
    assert not re.findall(r"https?://|//[a-z]+\.|@import|url\((?!#)", html.replace("http://www.w3.org/", ""))
    page = Page(html)
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), f"<{tag} {name}={value!r}>"
    policy = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy and "default-src 'none'" in (policy[0] or "")


def test_text_of_users_is_escaped(html: str) -> None:
    assert "<script>alert" not in html
    page = Page(html)
    assert len(page.all("script")) == 2  # the sliders' own
    # title, h1, subtitle, two captions, legend, map, neighbour, query, probe, setting, footer
    assert page.text.count(" ".join(EVIL.split())) >= 11


def test_same_input_gives_same_bytes(html: str, tmp_path: Path) -> None:
    assert write_report(full_report(), tmp_path / "again.html").read_text("utf-8") == html


def test_drawing_leaves_global_matplotlib_settings_alone() -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 31.0, "lines.linewidth": 9.0}):
        styled = training_curves(history())
        assert matplotlib.rcParams["font.size"] == 31.0
    assert styled == training_curves(history())


def test_missing_pieces_leave_sections_out(tmp_path: Path) -> None:
    page = Page(write_report(RunReport("Nothing yet"), tmp_path / "empty.html").read_text())
    assert not page.all("section") and not page.all("nav") and not page.all("footer")
    only = RunReport("Some", samples=[("epoch 1", random_images(4))], history=[{"epoch": 1.0}])
    page = Page(write_report(only, tmp_path / "some.html").read_text())
    assert [attributes["id"] for attributes in page.all("section")] == ["samples"]
    assert not page.all("script")  # one frame needs no slider


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("columns", [1, 3, 99])
def test_sheet_holds_the_very_pixels(channels: int, columns: int) -> None:
    images = random_images(7, 5, channels)
    (img,) = Page(image_sheet(images, columns, scale=3, caption="c", alt="a")).all("img")
    assert img["class"] == "pixels"
    sheet = decode(img["src"])
    assert (int(img["height"] or 0), int(img["width"] or 0)) == (3 * sheet.shape[0], 3 * sheet.shape[1])
    across = min(columns, 7)
    for i, image in enumerate(images):
        top, left = 6 * (i // across), 6 * (i % across)
        tile = sheet[top : top + 5, left : left + 5]
        np.testing.assert_array_equal(tile[..., :channels], image)
        assert (tile[..., channels] == 255).all()
    assert (sheet[..., channels] == 255).sum() == 7 * 25  # all else is see-through


def test_sheet_of_other_channels() -> None:
    four = random_images(1, 5, 4)
    sheet = decode(Page(image_sheet(four, alt="a")).all("img")[0]["src"])
    np.testing.assert_array_equal(sheet[..., :3], four[0, ..., :3])
    two = np.stack([np.full((1, 5, 5), 10), np.full((1, 5, 5), 21)], axis=-1).astype(np.uint8)
    assert (decode(Page(image_sheet(two, alt="a")).all("img")[0]["src"])[..., 0] == 16).all()  # 15.5 to even


def decode(uri: str | None) -> np.ndarray:
    prefix = "data:image/png;base64,"
    assert uri is not None and uri.startswith(prefix)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(prefix)))))


@pytest.mark.parametrize(
    "images", [np.zeros((0, 4, 4, 1), np.uint8), np.zeros((2, 4, 4, 1)), np.zeros((4, 4, 1), np.uint8)]
)
def test_sheet_refuses_what_is_not_images(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        image_sheet(images, alt="a")


def test_frames_keep_first_and_last() -> None:
    frames = [(f"epoch {i}", random_images(1)) for i in range(40)]
    labels = [a["data-label"] for a in Page(samples_over_time(frames)).all("figure")]
    assert len(labels) == 12 and labels[0] == "epoch 0" and labels[-1] == "epoch 39"
    assert samples_over_time([]) == ""


def test_rows_of_images_stand_above_their_reconstructions() -> None:
    real, again = random_images(21), random_images(21) // 2
    page = Page(reconstructions_over_time([("epoch 1", again // 2), ("epoch 2", again)], real))
    assert [a["data-label"] for a in page.all("figure")] == ["epoch 1", "epoch 2"]
    sheet = decode(page.all("img")[1]["src"])[..., :1]
    sheet = np.pad(sheet, ((0, 1), (0, 1), (0, 0))).reshape(6, 9, 8, 9, 1)[:, :8, :, :8].swapaxes(1, 2)
    np.testing.assert_array_equal(sheet[0::2].reshape(24, 8, 8, 1)[:21], real)  # 21 are two rows of 8, and 5
    np.testing.assert_array_equal(sheet[1::2].reshape(24, 8, 8, 1)[:21], again)
    assert "21 real images" in (page.all("img")[1]["alt"] or "")
    assert reconstructions_over_time([], real) == ""
    with pytest.raises(ValueError, match="shape of the images"):
        reconstructions_over_time([("epoch 1", again[:20])], real)


@pytest.mark.parametrize(("n", "side"), [(1, 8), (3, 300), (40, 64)])
def test_large_or_few_images_keep_their_reconstructions_below(n: int, side: int) -> None:
    real = np.full((n, side, side, 1), 200, np.uint8)
    (img,) = Page(reconstructions_over_time([("epoch 1", real // 2)], real)).all("img")
    sheet = decode(img["src"])[: 2 * side + 1]
    assert (sheet[:side, ..., 0][sheet[:side, ..., 1] > 0] == 200).all()
    assert (sheet[side + 1 :, ..., 0][sheet[side + 1 :, ..., 1] > 0] == 100).all()


def test_neighbours_of_another_class_are_marked_in_words() -> None:
    queries, near = random_images(2, 28, 3), random_images(6, 28, 3).reshape(2, 3, 28, 28, 3)
    page = Page(neighbours(queries, near, [0, 1], [[0, 1, 0], [1, 1, 1]], ["cat", "dog"]))
    assert [a.get("class") for a in page.all("td")] == [None, "other", None, None, None, None]
    alts = [a["alt"] or "" for a in page.all("img")]
    assert sum("another class" in alt for alt in alts) == 1 and sum("the same class" in alt for alt in alts) == 5
    assert "5 of 6 (83%)" in page.text
    np.testing.assert_array_equal(decode(page.all("img")[1]["src"]), near[0, 0])
    bare = Page(neighbours(queries, near))
    assert "class" not in bare.text and len(bare.all("td")) == 6
    with pytest.raises(ValueError, match="labels"):
        neighbours(queries, near, [0, 1], [0, 1])
    with pytest.raises(ValueError, match="neighbours"):
        neighbours(queries, near[:1])


def test_accuracy_table_in_per_cent_with_the_best_of_each_column() -> None:
    table = results()
    table["accuracy"]["pca"]["1"] = {"mean": 0.9, "std": None}
    del table["accuracy"]["raw_pixels"]["10"]
    html = accuracy_table(table)
    page = Page(html)
    assert re.findall(r"<strong>(.*?)</strong>", html) == ["90.0", "89.0"]
    assert "89.0 ± 0.8" in page.text and "raw pixels" in page.text and "PCA" in page.text
    titles = [a.get("title") for a in page.all("td")]
    assert titles[:3] == ["standard deviation 2.0 over 10 draws", None, None]
    assert {a["scope"] for a in page.all("th")} == {"row", "col"}
    assert accuracy_table({"labels_per_class": [], "accuracy": {}}) == ""


def test_accuracy_curve_names_lines_and_what_the_bars_are() -> None:
    page = Page(accuracy_curve(results()))
    for name in ("raw pixels", "PCA", "random init", "ganfeat"):
        assert page.text.count(name) == 2  # one drawing for wide, one for narrow screens
    assert "95% interval of the mean over 10 draws" in page.text
    assert "ganfeat 89.0% with 10" in (page.all("svg")[0]["aria-label"] or "")
    assert accuracy_curve({"labels_per_class": [1], "accuracy": {"pca": {}}}) == ""
    one = {"labels_per_class": [10], "accuracy": {"a_$x^_method": {"10": {"mean": 0.5}}}}
    assert "a $x^ method" in Page(accuracy_curve(one)).text


def test_charts_carry_no_colour_of_their_own() -> None:
    svg = accuracy_curve(results()) + training_curves(history(400))
    assert "#0102" not in svg and "#0103" not in svg and "var(--ink" in svg and "var(--series-0" in svg
    assert "DejaVu" not in svg and "<metadata" not in svg and "<style" not in svg


def test_training_curves_leave_out_what_is_missing() -> None:
    assert training_curves([]) == "" and training_curves([{"epoch": 1.0, "lr": 0.1}]) == ""
    losses = [{key: value for key, value in row.items() if "logit" not in key} for row in history()]
    assert len(Page(training_curves(losses)).all("figure")) == 1
    assert len(Page(training_curves(history())).all("figure")) == 2
    broken = [*history(), {"epoch": 3.0, "loss/generator": float("nan"), "logit/real": float("inf")}]
    assert len(Page(training_curves(broken)).all("figure")) == 2
    assert Page(training_curves([{"epoch": 0.5, "loss/generator": 1.0}])).all("svg")


def test_training_curves_show_what_was_measured_now_and_then() -> None:
    """Two of the records say it; the values are in the chart's words."""
    measures = {
        "reconstruction/real": 3.21,
        "reconstruction/real_shuffled": 6.54,
        "reconstruction/generated": 2.34,
        "reconstruction/generated_shuffled": 5.67,
        "cycle/z": 0.123,
        "cycle/z_shuffled": 0.789,
        "knn/output": 0.912,
        "knn/trunk": 0.934,
    }
    records = history()
    for row in (records[3], records[-1]):
        row.update(measures)
    labels = [a["aria-label"] or "" for a in Page(training_curves(records)).all("svg")]
    assert len(labels) == 5
    assert "real 3.21, real, shuffled 6.54, G(z) 2.34, G(z), shuffled 5.67" in labels[2]
    assert "z 0.123, shuffled 0.789" in labels[3]
    assert "E(x) 91.2, layer before 93.4" in labels[4]
    unlabelled = [{k: v for k, v in row.items() if not k.startswith("knn/")} for row in records]
    assert len(Page(training_curves(unlabelled)).all("figure")) == 4


def test_long_histories_are_smoothed_and_stay_small() -> None:
    assert "running mean" not in training_curves(history(300))
    long = training_curves(history(30_000))
    assert "running mean" in long and len(long) < 150_000
    spike = history(400)
    spike[200]["loss/generator"] = 1e6
    assert "outside the chart" in training_curves(spike) and "1e+06" in training_curves(spike)


def test_map_draws_every_point_once_and_names_the_classes() -> None:
    points = np.random.default_rng(0).normal(size=(500, 2))
    points[3] = np.nan
    html = feature_map(points, np.arange(500) % 12, caption="t-SNE")
    page = Page(html)
    svg = html[: html.index("<figcaption>")]
    assert len(re.findall(r"M[-\d.]+ [-\d.]+", svg)) == 499
    assert len(page.all("li")) == 12 and len(page.all("text")) == 12
    alone = Page(feature_map(points))
    assert not alone.all("li") and not alone.all("text")
    many = Page(feature_map(points, np.arange(500) % 35))
    assert len(many.all("li")) == 35 and not many.all("text")
    assert feature_map(np.full((2, 2), np.nan)) == "" and Page(feature_map([[1.0, 1.0]])).all("path")
    with pytest.raises(ValueError, match="labels"):
        feature_map(points, [1, 2])
    with pytest.raises(ValueError, match="points"):
        feature_map(np.zeros((3, 3)))


def test_map_keeps_the_proportions() -> None:
    """Distances in a t-SNE map mean something only if both axes have one scale."""
    html = feature_map([[0.0, 0.0], [4.0, 0.0], [4.0, 1.0]])
    places = {(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)", html)}
    (left, bottom), (right, low), (_, high) = sorted(places, key=lambda place: (place[0], -place[1]))
    assert bottom == low and right - left == pytest.approx(4 * (low - high), abs=0.3)


def test_settings_become_words() -> None:
    page = Page(settings_table({"a": {"b": 2e-4, "c": True}, "d": None, "e": [1, 2.5], "f": {}, "g": Path("x")}))
    assert page.text == "Settings a.b0.0002 a.cyes d– e1, 2.5 f– gx"
    assert settings_table({}) == protocol_card({}) == ""


def test_names_are_pushed_apart_no_more_than_needed() -> None:
    """Far apart they stay; else they keep their order and their mean, as least squares demands."""
    np.testing.assert_array_equal(spread([30.0, 0.0, 60.0], 17.0), [30.0, 0.0, 60.0])
    values = np.random.default_rng(0).normal(scale=20, size=9)
    moved = spread(values, 17.0)
    order = np.argsort(values)
    assert (np.diff(moved[order]) >= 17.0 - 1e-9).all()
    assert moved.mean() == pytest.approx(values.mean())
    assert spread([], 17.0).shape == (0,)


def test_page_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "page.html"
    assert write_page(path, "Old", "", [Section("A", "a", "<p>a</p>")]) == path
    old = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "fsync", full)
        write_page(path, "New", "", [])
    assert path.read_bytes() == old and list(path.parent.iterdir()) == [path]
    with pytest.raises(IsADirectoryError):
        write_page(path.parent, "New", "", [])
    assert [entry.name for entry in tmp_path.iterdir()] == ["new"]
    write_page(path, "New", "", [])
    assert b"New" in path.read_bytes()


def test_a_file_name_that_is_not_utf8_does_not_cost_the_report(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    assert "caf" in write_page(tmp_path / "page.html", name, "", []).read_text("utf-8")


def test_anchors_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="anchor"):
        Section("A", 'a" onclick="', "")
    for twice in (["a", "a"], ["content"]):
        with pytest.raises(ValueError, match=f"repeated: {twice[0]}"):
            write_page(tmp_path / "page.html", "T", "", [Section("A", anchor, "") for anchor in twice])


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"ganfeat\[plot\]"):
        training_curves(history())
    assert feature_map([[0.0, 1.0], [1.0, 0.0]])  # needs none
