"""``ganfeat studio``: what it refuses, where it listens, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ganfeat.cli import main

pytestmark = pytest.mark.usefixtures("studio_extra")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--port", "70000"], "0 to 65535"),
        (["--limit", "0"], "--limit 0"),
        (["--seed", "-1"], "--seed -1"),
        (["--host", "no.such.host.invalid"], "no such host"),
        (["--host", "192.0.2.1"], "no such address"),
        (["--network", "encoder"], "choose discriminator"),
        (["--data", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_wrong_options(tiny_run: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studio", str(tiny_run), "--no-open", "--device", "cpu", *options]) == 2
    assert said in capsys.readouterr().err


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studio", str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err


def test_without_the_extra(tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert main(["studio", str(tiny_run)]) == 2
    assert "pip install 'ganfeat[studio]'" in capsys.readouterr().err


def test_a_busy_port(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["studio", str(tiny_run), "--no-open", "--port", str(port)]) == 2
        said = capsys.readouterr().err
        assert f"--port {port} is busy" in said
        assert "Leave --port out" in said


def test_the_usual_port_or_another(monkeypatch: pytest.MonkeyPatch) -> None:
    from ganfeat.studio import address

    port = free_port()
    monkeypatch.setattr(address, "USUAL_PORT", port)
    first, second = address.listen("127.0.0.1", None), address.listen("127.0.0.1", None)
    try:
        assert first.getsockname()[1] == port
        assert second.getsockname()[1] not in (0, port)
        assert address.url(second, "127.0.0.1") == f"http://127.0.0.1:{second.getsockname()[1]}/"
        assert first.proto == socket.IPPROTO_TCP  # or asyncio leaves Nagle's algorithm on: 40 ms an answer
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("host", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
    ],
)
def test_loopback(host: str, alone: bool) -> None:
    from ganfeat.studio.address import is_loopback

    assert is_loopback(host) is alone


@pytest.mark.parametrize("host", ["127.1", "localhost"])
def test_other_names_of_this_machine_are_this_machine(host: str) -> None:
    from ganfeat.studio.address import is_loopback, listen

    with listen(host, 0) as sock:
        assert is_loopback(sock.getsockname()[0])


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_it_serves_and_ends_at_ctrl_c_in_the_middle_of_work(tiny_run: Path) -> None:
    """The address is the last line; Ctrl-C ends it while a map is being made, at once and without a traceback."""
    command = [sys.executable, "-m", "ganfeat", "studio", str(tiny_run), "--data", "digits", "--no-open", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        lines = []
        while not (line := process.stdout.readline()).startswith("http://127.0.0.1:"):
            assert line, process.stderr.read() if process.stderr else ""
            lines.append(line)
        url = line.strip()
        assert "Ctrl-C" in "".join(lines)
        with urllib.request.urlopen(f"{url}api/run", timeout=30) as answer:
            assert answer.status == 200
        for _ in range(1000):
            with urllib.request.urlopen(f"{url}api/features", timeout=30) as answer:
                content = answer.read()
            if b"t-SNE" in content:
                break
            time.sleep(0.02)
        began = time.perf_counter()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        took = time.perf_counter() - began
    finally:
        process.kill()
        process.wait()
    assert b'"progress"' in content, "the map was ready before Ctrl-C"
    assert process.returncode == 0
    assert "Traceback" not in out + err
    assert took < 10


def test_beyond_this_machine_it_warns(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ganfeat.studio import serve

    def run(self: Any, sockets: Any = None) -> None:
        self.ready()

    monkeypatch.setattr(serve.Server, "run", run)
    for host, warned in (("0.0.0.0", True), ("0", True), ("127.0.0.1", False), ("127.1", False)):
        assert main(["studio", str(tiny_run), "--no-open", "--host", host, "--port", "0", "--device", "cpu"]) == 0
        said = capsys.readouterr()
        assert ("without a password" in said.err) is warned
        assert said.out.splitlines()[-1].startswith(f"http://{'127.1' if host == '127.1' else '127.0.0.1'}:")
    assert main(["studio", str(tiny_run), "--no-open", "--port", "0", "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["url"].startswith("http://127.0.0.1:")
