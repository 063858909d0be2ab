"""A comparison as a table, in sentences, as files."""

import json
import sys

import pytest
from PIL import Image

from ganfeat.report.comparison import comparison_table, draw_comparison, interval, sentences, write_comparison

EVIL = "<b>run</b>[/]"


def point(mean, ci95=0.01, draws=10):
    return {"mean": mean, "std": 0.01, "ci95": ci95, "draws": draws, "accuracies": [mean] * draws}


def row(name, kind, mean, **more):
    curve = {"10": point(mean), "100": point(mean + 0.05, draws=3)}
    return {"name": name, "kind": kind, "features": 1234, "accuracy": curve, **more}


@pytest.fixture
def result():
    free = {"effective_rank": 12.34, "dead": 0.005, "duplicate": 0.0, "half_agreement": 0.5, "network_agreement": None}
    correlations = {key: {"spearman": None, "p": None, "rows": 1} for key in free}
    return {
        "command": "ganfeat compare run digits",
        "labels_per_class": [10, 100],
        "headline": 10,
        "best": f"{EVIL}, layer 0",
        "best_layer": f"{EVIL}, layer 0",
        "rows": [
            row("raw pixels", "baseline", 0.6),
            row(f"{EVIL} untrained, layer 0", "untrained", 0.7),
            row(f"{EVIL}, layer 0", "trained", 0.8123, label_free=free, over_untrained={"10": point(0.1123, 0.02)}),
            row(f"{EVIL}, all layers", "trained", 0.8, label_free=free, over_untrained=None),
        ],
        "paired_tests": [
            {"second": f"{EVIL}, all layers", "mean": 0.0123, "ci95": 0.004, "draws": 10, "p": 0.00001},
            {"second": "raw pixels", "mean": 0.2123, "ci95": 0.004, "draws": 10, "p": 0.031},
        ],
        "rank_correlation": correlations | {"effective_rank": {"spearman": 0.8, "p": 0.33, "rows": 4}},
        "networks": [{"name": EVIL, "run": "run"}],
        "images": {"learned from": 4000, "held out": 1000},
        "protocol": {"probe": "L2-SVM"},
        "machine": {"cpu": "a CPU", "threads": 1},
        "seconds": {"total": 60.0},
        "notes": ["run: may have seen them."],
    }


def test_the_table(result):
    headings, rows = comparison_table(result)
    assert headings[1:] == ["features", "10", "100", "over untrained (10)", "rank", "dead", "dupl.", "halves"]
    assert [row[0] for row in rows] == ["raw pixels", f"* {EVIL}, layer 0", f"{EVIL}, all layers"]
    assert rows[1][1:] == ["1,234", "81.2 ± 1.0", "86.2 ± 1.0", "+11.2 ± 2.0", "12.3", "0.5 %", "0.0 %", "0.50"]
    assert rows[0][4:] == ["–"] * 5 and rows[2][4] == "–"
    assert all(len(row) == len(headings) for row in rows)


def test_agreement_between_networks_has_a_column_where_there_are_several(result):
    result["rows"][2]["label_free"]["network_agreement"] = 0.25
    headings, rows = comparison_table(result)
    assert headings[-1] == "nets" and rows[1][-1] == "0.25" and rows[0][-1] == "–"


def test_the_sentences(result):
    text = " ".join(sentences(result))
    assert (
        f"+1.2 ± 0.4 points over {EVIL}, all layers, p < 0.0001; +21.2 ± 0.4 points over raw pixels, p = 0.031" in text
    )
    assert f"The best untrained row: {EVIL} untrained, layer 0, 70.0 ± 1.0." in text
    assert "over the 4 rows of networks: effective rank +0.80 (p = 0.33)." in text and "dead" not in text
    assert "4,000 images to draw labels from, 1,000 held out" in text and text.endswith("run: may have seen them.")


def test_a_single_draw_is_not_tested(result):
    result["paired_tests"] = [{"second": "raw pixels", "mean": 0.2, "ci95": None, "draws": 1, "p": None}]
    result["rank_correlation"] = {"dead": {"spearman": None, "p": None, "rows": 2}}
    text = " ".join(sentences(result))
    assert "+20.0 points over raw pixels, of a single draw: not tested" in text
    assert "2 rows of networks, at least 3 are needed" in text


def test_intervals():
    assert interval({"mean": 0.87123, "ci95": 0.0044}) == "87.1 ± 0.4"
    assert interval({"mean": -0.012, "ci95": None}, sign=True) == "-1.2"


def test_the_files(result, tmp_path):
    assert write_comparison(result, tmp_path / "new") == []
    written = json.loads((tmp_path / "new" / "compare.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(result))
    with Image.open(tmp_path / "new" / "compare.png") as picture:
        picture.load()
        assert picture.format == "PNG" and picture.width > 600
    page = (tmp_path / "new" / "compare.html").read_text(encoding="utf-8")
    assert EVIL not in page and "&lt;b&gt;run&lt;/b&gt;[/], layer 0" in page
    assert "81.2 ± 1.0" in page and "a CPU, 1 threads" in page
    first = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    write_comparison(result, tmp_path / "new")
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == first


def test_without_matplotlib_the_rest_is_written(result, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (note,) = write_comparison(result, tmp_path)
    assert "ganfeat[plot]" in note
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compare.html", "compare.json"]
    assert note in json.loads((tmp_path / "compare.json").read_text(encoding="utf-8"))["notes"]
    with pytest.raises(ImportError, match="ganfeat"):
        draw_comparison(tmp_path / "x.png", result)
