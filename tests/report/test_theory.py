"""The page of ``ganfeat theory``: cells, escapes, what is drawn, and what is said where nothing can be."""

import json
import sys

import numpy as np
import pytest

from ganfeat.report.theory import _ticks, cell, headings, part_in_words, rules, table_cells, write_theory
from ganfeat.theory.claims import claim, estimate, part, table

HOSTILE = "<i>x</i> & [b]"


def result():
    parts = [part(HOSTILE, estimate(0.125, 0.1, 0.15), "holds", "rule & <b>", "%")] * 2
    evidence = table("caption <u>", ["", "share", "n"], [[HOSTILE, estimate(0.5), "<s>"], ["b", None, "2"]], ["%", ""])
    series = {"epoch": [0.5, 1.0], "ratio": [1.0, None], "std_real": [0.5, 0.6]}
    rows = [["blur 1", None, None, estimate(0.5, 0.4, 0.6)], ["blur 2", None, None, estimate(1.0)]]
    robust = table("drift", ["noise", "a", "b", "ratio"], rows, ["", "", ""])
    return {
        "command": "ganfeat theory <a>",
        "run": HOSTILE,
        "network": "dcgan",
        "claims": [
            claim("corollary-3", "Title <em>", "Says <em>", parts, [evidence], ["note <em>"], series=series),
            claim("theorem-1-robust", "Robust", "Says", [], [robust]),
        ],
        "settings": {"a": HOSTILE},
        "images": {"data": HOSTILE},
        "machine": {"cpu": "cpu", "threads": 1},
        "seconds": {"total": 1.0},
        "notes": [HOSTILE],
    }


def test_the_page_shows_everything_and_runs_nothing(tmp_path):
    assert write_theory(result(), tmp_path / "a") == []
    page = (tmp_path / "a" / "theory.html").read_text(encoding="utf-8")
    for tag in ("<i>", "<b>", "<u>", "<em>", "<s>", "<a>"):
        assert tag not in page
    for shown in ("✓ holds.", "12.5 (10 to 15) %: holds", "– not measured", "note &lt;em&gt;", "&lt;i&gt;x&lt;/i&gt;"):
        assert shown in page
    assert page.count("<figure>") == 2 and page.count("Rule: ") == 1 and page.count("rule &amp; &lt;b&gt;") == 1
    assert json.loads((tmp_path / "a" / "theory.json").read_text(encoding="utf-8")) == result()


def test_without_matplotlib_the_page_has_no_charts(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    notes = write_theory(result(), tmp_path)
    assert len(notes) == 1 and "ganfeat[plot]" in notes[0]
    page = (tmp_path / "theory.html").read_text(encoding="utf-8")
    assert "<figure>" not in page and "ganfeat[plot]" in page


def test_cells_in_words():
    found = result()["claims"][0]
    assert table_cells(found["tables"][0]) == [[HOSTILE, "50", "<s>"], ["b", "–", "2"]]
    assert headings(found["tables"][0]) == ["", "share, %", "n"]
    assert part_in_words(found["parts"][0]) == f"{HOSTILE}: 12.5 (10 to 15) %: holds"
    assert rules(found) == ["rule & <b>"]
    assert [cell(v) for v in (1234.5, 0.00012345, estimate(np.nan))] == ["1,234", "0.000123", "–"]


@pytest.mark.parametrize(("low", "high"), [(0.21, 0.3), (0.09, 1.2), (1e-4, 1e4)])
def test_ticks_of_a_logarithmic_axis(low, high):
    ticks, words = _ticks(low, high)
    assert all(low <= tick <= high for tick in ticks) and len(ticks) == len(words) < 12
    assert ticks or high / low < 2.5
