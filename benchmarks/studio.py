"""How long the studio takes to answer, through real HTTP: median and 95th percentile an endpoint.

    python benchmarks/studio.py RUN --data DATA --out docs/results/studio.json

Starts `ganfeat studio` as a process of its own and asks for one thing after the other, as a slider does that waits for
its image. Beside the time that passes stands the processor time that the server took, which other programs on the
machine do not change. ``while busy`` is a slider moved while the map of the features is made behind it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from measure import conclude

BOXES = [{"z": f"s0.{i}", "x": 4, "y": 4, "width": 12, "height": 12} for i in range(30)]


class Server:
    """The studio of a run, as a process."""

    def __init__(self, arguments: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ganfeat", "studio", *arguments, "--no-open", "--port", "0", "--quiet"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        address = self.process.stdout.readline().strip()
        if not address:
            raise SystemExit("the server did not start")
        self.connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=300)

    def ask(self, path: str, body: Any = None) -> tuple[int, bytes]:
        """GET, or POST of JSON: status and content."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        content = None if body is None else json.dumps(body)
        self.connection.request("GET" if body is None else "POST", path, content, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def waited(self, path: str) -> float:
        """Seconds until it is ready."""
        began = time.perf_counter()
        while self.ask(path)[0] == 202:
            time.sleep(0.2)
        return time.perf_counter() - began

    def seconds(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(20)


def measured(
    server: Server, path: Callable[[int], str], repeats: int, body: Callable[[int], Any] = lambda i: None
) -> dict[str, Any]:
    for i in range(3):
        server.ask(path(i), body(i))
    took, before, size = [], server.seconds(), 0
    for i in range(repeats):
        began = time.perf_counter()
        status, content = server.ask(path(i + 3), body(i + 3))
        took.append(1000 * (time.perf_counter() - began))
        size = len(content)
        assert status in (200, 202), (path(i), status, content[:300])
    return {
        "median_ms": round(float(np.median(took)), 1),
        "p95_ms": round(float(np.percentile(took, 95)), 1),
        "server_cpu_ms": round(1000 * (server.seconds() - before) / repeats, 1),
        "bytes": size,
        "requests": repeats,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data")
    parser.add_argument("--limit", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--out")
    options = parser.parse_args()
    data = [] if options.data is None else ["--data", options.data, "--limit", str(options.limit)]
    server = Server([options.run, *data])
    few = max(5, options.repeats // 10)
    results: dict[str, Any] = {}
    try:
        run = json.loads(server.ask("/api/run")[1])

        def walk(i: int) -> str:
            return f"/api/walk?points=s0.0,s0.1,s0.2&t={2 * (i % 97) / 97:.4f}"

        results["walk"] = measured(server, walk, options.repeats)
        results["images, 8"] = measured(server, lambda i: f"/api/images?z={names(i, 8)}", few)
        results["samples, 64"] = measured(server, lambda i: f"/api/samples?seed={i}", few)
        results["arithmetic, 3 a basket"] = measured(
            server, lambda i: f"/api/arithmetic?a={names(i, 3)}&b={names(i + 3, 3)}&c={names(i + 6, 3)}", few
        )
        results["strip of 13"] = measured(server, lambda i: f"/api/walk/strip?points={names(i, 3)}", few)
        status, content = server.ask("/api/forget", {"boxes": BOXES})
        if status == 200:
            fit = json.loads(content)

            def compare(i: int, more: str = "&measure=0") -> str:
                maps = i % (fit["positive"] + 1)
                return f"/api/forget/compare?id={fit['id']}&maps={maps}&z={names(0, 8)}{more}"

            results["forget slider, 8 samples"] = measured(server, compare, few)
            results["forget slider, with presence"] = measured(server, lambda i: compare(i, ""), 5)
            results["forget, boxes on 30 samples"] = measured(
                server, lambda i: "/api/forget", 5, lambda i: {"boxes": [*BOXES[1:], {**BOXES[0], "x": 5 + i}]}
            )
        results["history"] = measured(server, lambda i: "/api/history", few)
        if data:
            server.ask("/api/features")
            results["walk, while busy"] = measured(server, walk, options.repeats)
            results["map of features"] = {"ready_after_s": round(server.waited("/api/features"), 1)}
            results["map of features"]["points"] = len(json.loads(server.ask("/api/features")[1])["points"])
            results["neighbours"] = measured(server, lambda i: f"/api/neighbours?i={i}", few)
        results["scan of channels"] = {"ready_after_s": round(server.waited("/api/channel?channel=0"), 1)}
        results["channel"] = measured(server, lambda i: f"/api/channel?channel={i}", few)
    finally:
        server.close()
    content = {
        "network": run["describe"],
        "image": run["image_shape"],
        "images": None if run["data"] is None else run["data"]["n"],
        "load": round(os.getloadavg()[0], 1),
        "results": results,
    }
    conclude("studio", content, options.out)


def names(first: int, count: int) -> str:
    return ",".join(f"s{(first + i) // 256}.{(first + i) % 256}" for i in range(count))


if __name__ == "__main__":
    main()
