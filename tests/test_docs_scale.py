"""The numbers of docs/scale.md are those of its result files."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"


@pytest.fixture(scope="module")
def plan():
    spec = importlib.util.spec_from_file_location("plan", ROOT / "benchmarks" / "plan.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results():
    return {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in ("scale", "million")}


def test_the_table_is_worked_out_from_the_measurements(plan, results):
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    block = page.partition(plan.BEGIN)[2].partition(plan.END)[0].strip()
    assert block == plan.table(results["scale"], results["million"])
    block = page.partition(plan.RATES_BEGIN)[2].partition(plan.RATES_END)[0].strip()
    assert block == plan.rates(results["scale"])
    block = page.partition(plan.MILLION_BEGIN)[2].partition(plan.MILLION_END)[0].strip()
    assert block == plan.measured(results["million"])


def test_hours_are_images_over_workers_rate_and_efficiency(plan, results):
    rate = results["scale"]["results"]["prepare"]["images_per_second"]["1 thread"]
    shown = plan.table(results["scale"], results["million"]).splitlines()[2]
    assert f"| {plan.hours(1e8 / rate)} |" in shown
    assert [plan.hours(s) for s in (50, 600, 7200, 200_000, 20_000_000)] == [
        "50 s",
        "10.0 min",
        "2.0 h",
        "2.3 days",
        "231 days",
    ]


def test_a_million_images_in_memory_that_does_not_grow(results):
    million = results["million"]
    found = {int(images): one for images, one in million["results"].items()}
    assert max(found) == 1_000_000 and min(found) == 10_000
    for images, one in found.items():
        assert one["rows"] + one["unreadable"] == images
        assert one["twice"] == one["missing"] == 0
        for step in ("prepare", "extract"):
            assert one[step]["limit"] == 2.0
            assert one[step]["anonymous"] < 2.0
    for step in ("prepare", "extract"):
        assert found[1_000_000][step]["anonymous"] < found[10_000][step]["anonymous"] + 0.35
