"""docs/exchange.md shows the committed result."""

import json
from pathlib import Path

from ganfeat.exchange.parity import TOLERANCE

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_shows_the_result():
    measured = json.loads((DOCS / "results/exchange.json").read_text())
    page = (DOCS / "exchange.md").read_text()
    lines = [line for line in page.splitlines() if line.startswith("|")]
    shown = {row[0]: row[1:] for row in ([c.strip() for c in line.strip("|").split("|")] for line in lines)}
    for name, row in measured["results"].items():
        rate = row["images_per_cpu_second"]
        assert shown[name] == [
            f"{row['features']:,}",
            f"{row['largest']:.3g}",
            f"{row['difference']:.1e}",
            *(f"{rate[key]:,}" for key in ("onnxruntime", "torch fp32", "torch bf16")),
            f"{row['onnxruntime against torch fp32']:.2f}",
        ]
        assert abs(row["onnxruntime against torch fp32"] - rate["onnxruntime"] / rate["torch fp32"]) < 0.006
        assert rate["onnxruntime"] < rate["torch bf16"]
        assert row["difference"] <= TOLERANCE * max(1, row["largest"])
    ratios = [row["onnxruntime against torch fp32"] for name, row in measured["results"].items() if "mlp" not in name]
    assert f"{min(ratios):.2f}\nto {max(ratios):.2f} of the speed" in page
    everything = [*measured["results"].values(), *measured["generators"].values()]
    assert measured["worst"]["difference"] == max(row["difference"] for row in everything)
    assert f"At worst {measured['worst']['difference']:.1e} off" in page
    assert f"{measured['worst']['relative']:.1e} of the largest value" in page
    assert all(size in row["batches"] for row in everything for size in (1, 2, 5, 16))
