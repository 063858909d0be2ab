"""Work out a hundred million images from measured steps, and put the tables into docs/scale.md.

    python benchmarks/plan.py docs/results/scale.json docs/results/million.json --page docs/scale.md

Hours are images / (workers x images per second of one x efficiency), and nothing else: rates and the efficiency of two
workers are those of docs/results/scale.json, from that machine's cores; for more than two it is taken to stay.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

IMAGES = 100_000_000
WORKERS = (1, 8, 64, 512)
BEGIN, END = "<!-- worked out by benchmarks/plan.py -->", "<!-- end -->"
RATES_BEGIN, RATES_END = "<!-- rates -->", "<!-- end of rates -->"
MILLION_BEGIN, MILLION_END = "<!-- a million -->", "<!-- end of a million -->"


def table(scale: dict[str, Any], million: dict[str, Any]) -> str:
    """The section's table and sentences, in Markdown."""
    prepare, extract, train = (scale["results"][part] for part in ("prepare", "extract", "train"))
    of_prepare, of_extract = prepare["images_per_second"], extract["images_per_second"]
    shared = min(1.0, extract["efficiency"]["2 processes"])
    decoding = min(1.0, prepare["efficiency"])
    steps = [
        ("prepare, JPEGs of 256 x 256 to 64 x 64", of_prepare["1 thread"], decoding),
        ("the same, `--fast-jpeg draft`", of_prepare["1 thread, --fast-jpeg draft"], decoding),
        ("extract, D of width 64 at 32 x 32, on CPU cores", of_extract["1 process"], shared),
        (
            "extract, what reading, and writing 448 features, allow a core",
            of_extract["1 process, next to no network"],
            shared,
        ),
    ]
    heads = " | ".join(f"{n:,} core{'s' if n > 1 else ''}" for n in WORKERS)
    lines = [f"| step | images/s, one core | {heads} |", "|---|---|" + "---|" * len(WORKERS)]
    for name, rate, efficiency in steps:
        cells = " | ".join(hours(IMAGES / (n * rate * (efficiency if n > 1 else 1))) for n in WORKERS)
        lines.append(f"| {name} | {rate:,.0f} | {cells} |")
    largest = max(million["results"], key=int)
    run = million["results"][largest]
    rows = run["rows"]
    gigabytes = {name: run[f"{name}_GB"] / rows * IMAGES for name in ("set", "features")}
    one, both = train["images_per_second"]["1 rank, batch 128"], train["efficiency"]["2 ranks, batch 256 together"]
    two, ray = extract["efficiency"]["2 processes"], extract["efficiency"]["Ray, 2 actors"]
    start = extract["seconds_to_start"]
    lines += [
        "",
        f"Efficiency of two workers over twice one, as measured: {prepare['efficiency']:.2f} (prepare, threads), "
        f"{two:.2f} (extract, torchrun), {ray:.2f} (extract, Ray), {both:.2f} (training, 128 images a rank). Starting "
        f"takes {start['1 process']:.0f} s (one process) to {start['Ray, 2 actors']:.0f} s (Ray), once.",
        "",
        f"On disk, after the run of {rows:,} images: the set (32 x 32) {gigabytes['set']:,.0f} GB, "
        f"{million['components']} components in float16 {gigabytes['features']:,.0f} GB. One epoch of training on one "
        f"core: {hours(IMAGES / one)}.",
    ]
    return "\n".join(lines)


def measured(million: dict[str, Any]) -> str:
    """The table of benchmarks/million.py, in Markdown."""
    lines = [
        "| images | step | seconds | images/s | memory, GiB | with mapped files, GiB |",
        "|---|---|---|---|---|---|",
    ]
    for images, one in million["results"].items():
        for step in ("prepare", "extract"):
            used = one[step]
            lines.append(
                f"| {int(images):,} | {step} | {used['seconds']:,.0f} | {used['images_per_second']:,} | "
                f"{used['anonymous']:.2f} | {used['resident']:.2f} |"
            )
    return "\n".join(lines)


def rates(scale: dict[str, Any]) -> str:
    """What benchmarks/scale.py measured, in Markdown."""
    once = scale["repeats"] == 1
    lines = ["| step | way | images/s | quartiles | efficiency |", "|---|---|---|---|---|"]
    for step, found in scale["results"].items():
        efficiency = found["efficiency"]
        if not isinstance(efficiency, dict):
            efficiency = {"2 threads": efficiency}
        for way, rate in found["images_per_second"].items():
            low, high = found["quartiles"][way]
            share = f"{efficiency[way]:.2f}" if way in efficiency else ""
            spread = "once" if once else f"{low:,.0f} to {high:,.0f}"
            lines.append(f"| {step} | {way} | {rate:,.0f} | {spread} | {share} |")
    return "\n".join(lines)


def put(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def hours(seconds: float) -> str:
    """A time in the unit that fits."""
    for name, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {name}" if seconds < 100 * size else f"{seconds / size:,.0f} {name}"
    return f"{seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scale", type=Path)
    parser.add_argument("million", type=Path)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    scale, million = (json.loads(path.read_text(encoding="utf-8")) for path in (options.scale, options.million))
    print(rates(scale), table(scale, million), measured(million), sep="\n\n")
    if options.page:
        put(options.page, BEGIN, END, table(scale, million))
        put(options.page, RATES_BEGIN, RATES_END, rates(scale))
        put(options.page, MILLION_BEGIN, MILLION_END, measured(million))


if __name__ == "__main__":
    main()
