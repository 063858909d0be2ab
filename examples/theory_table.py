"""Set the verdicts of several `ganfeat theory` reports side by side: docs/results/theory.json.

    python examples/theory_table.py "DCGAN, 5,000 MNIST digits=demo-out/run/theory/theory.json" ... --out theory.json

Prints the table of docs/theory.md, one row a claim, one column a report: the verdict, and the number of its first part.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

KEPT = ("what", "value", "low", "high", "unit", "verdict")


def short(report: dict[str, Any]) -> dict[str, Any]:
    """A report without its tables, and without the names of folders."""
    claims = {
        claim["key"]: {
            "title": claim["title"],
            "verdict": claim["verdict"],
            "parts": [{key: part[key] for key in KEPT} for part in claim["parts"]],
        }
        for claim in report["claims"]
    }
    kept = {key: report[key] for key in ("network", "machine", "seconds", "settings")}
    images = {key: value for key, value in report["images"].items() if isinstance(value, int)}
    return {**kept, "images": images, "claims": claims}


def cell(claim: dict[str, Any] | None) -> str:
    """Verdict and first number of a claim."""
    if claim is None or not claim["parts"]:
        return ""
    part = claim["parts"][0]
    times, unit = (100, " %") if part["unit"] == "%" else (1, "")
    return f"{claim['verdict']}: {times * part['value']:.3g}{unit}" if part["value"] is not None else claim["verdict"]


def main() -> None:
    """Read the reports, write the result, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    networks = {}
    for report in arguments.reports:
        name, _, path = report.rpartition("=")
        networks[name] = short(json.loads(Path(path).read_text(encoding="utf-8")))
    names = [f"{name}=..." for name in networks]
    result = {
        "command": shlex.join(["python", "examples/theory_table.py", *names, "--out", "docs/results/theory.json"]),
        "machine": next(iter(networks.values()))["machine"],
        "networks": networks,
    }
    arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    titles = {key: claim["title"] for network in networks.values() for key, claim in network["claims"].items()}
    sys.stdout.write("| claim | " + " | ".join(networks) + " |\n|" + "---|" * (1 + len(networks)) + "\n")
    for key, title in titles.items():
        cells = [cell(network["claims"].get(key)) for network in networks.values()]
        sys.stdout.write(f"| {title} | " + " | ".join(cells) + " |\n")


if __name__ == "__main__":
    main()
