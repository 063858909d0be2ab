"""Extraction by processes that are killed at random moments: nothing is lost, nothing is there twice."""

import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ganfeat import load, load_images
from ganfeat.feature_files import open_features
from ganfeat.scale import Options, extract

PATIENCE = 240


def check(out, run, limit=None, **settings):
    """Every image once, in order, with the digits of the plain way; nothing else lies about."""
    table, images = open_features(out), load_images("digits", limit=limit)
    assert list(table.ids) == [str(i * 1797 // len(images)) for i in range(len(images))]
    assert np.array_equal(table.read(), load(run).extractor(**settings).transform(images))
    assert np.array_equal(table.labels, images.labels)
    assert not [p.name for p in out.rglob("*") if any(word in p.name for word in ("tmp", "attempt", "tries"))]


def parts(out):
    return len(list(out.glob("part-*.parquet")))


def test_a_process_killed_again_and_again(run, tmp_path):
    out, options = tmp_path / "f", Options(part_rows=20)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ganfeat.scale", "ganfeat.scale.ray_engine", "sklearn.datasets"])
    chance = random.Random(0)
    kills, seen = 0, 0
    while kills < 6:
        process = context.Process(target=extract, args=(run, "digits", out, options), daemon=True)
        process.start()
        try:
            wanted, end = min(seen + chance.randrange(12), 80), time.monotonic() + 60
            while parts(out) < wanted and process.is_alive() and time.monotonic() < end:
                time.sleep(0.001)
            time.sleep(chance.random() * 0.02)
            kills += process.is_alive()
            process.kill()
        finally:
            process.kill()
            process.join(10)
        assert process.exitcode in (0, -signal.SIGKILL)
        assert parts(out) >= seen
        seen = parts(out)
        if process.exitcode == 0:
            break
    assert kills >= 4
    card = extract(run, "digits", out, options)
    assert card["images"] == 1797 and card["parts"] == parts(out) == 90
    check(out, run)


def start(arguments, **more):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **more}
    return subprocess.Popen(
        [sys.executable, "-m", "ganfeat", "extract", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process, patience=PATIENCE):
    try:
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"still running after {patience} s:\n{out}\n{err}")
    return process.returncode, out, err


def test_two_ranks_share_the_shards(run, tmp_path):
    """As torchrun starts them; the first one alone speaks, and counts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    out = tmp_path / "f"
    about = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    arguments = [run, "digits", "--out", out, "--part-rows", "100", "--device", "cpu"]
    processes = [start(arguments, RANK=str(r), LOCAL_RANK=str(r), **about) for r in range(2)]
    try:
        results = [ended(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [status for status, _, _ in results] == [0, 0], results
    assert "1,797" in results[0][1] and results[1][1:] == ("", "")
    check(out, run)


def actors_of(process):
    """Process ids of Ray's workers that have the network, among the descendants of a process."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                names[int(entry.name)] = (entry / "cmdline").read_bytes()
            except OSError:
                continue

    def descends(pid):
        while pid in parents:
            if pid == process.pid:
                return True
            pid = parents[pid]
        return False

    return [pid for pid in parents if b"ray::MapWorker" in names[pid] and descends(pid)]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_rays_workers_killed_at_random(run, tmp_path):
    pytest.importorskip("ray")
    out, chance = tmp_path / "f", random.Random(1)
    arguments = [run, "digits", "--out", out, "--part-rows", "20", "--batch-size", "1", "--limit", "450"]
    process = start([*arguments, "--engine", "ray", "--actors", "2", "--quiet"])
    killed = []
    try:
        end = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
            if len(killed) < 2 and parts(out) >= (2, 30)[len(killed)]:
                time.sleep(chance.random() * 0.1)
                if alive := [pid for pid in actors_of(process) if pid not in killed]:
                    killed.append(chance.choice(alive))
                    os.kill(killed[-1], signal.SIGKILL)
        status, printed, errors = ended(process, 10)
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()
    assert (status, printed) == (0, ""), errors
    assert len(killed) == 2
    check(out, run, limit=450)
