"""What may go wrong around an extraction: odd labels, a machine in trouble, deleted files, workers that die."""

import io
import os
import tarfile
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganfeat import load, load_images
from ganfeat.data import packed
from ganfeat.errors import InputError, RunError
from ganfeat.feature_files import open_features, write_part
from ganfeat.scale import Options, decoding, extract, local, ray_engine
from ganfeat.scale.begin import absolute, absolute_data, absolute_run
from ganfeat.scale.output import Output
from ganfeat.scale.plan import Plan
from ganfeat.scale.worker import Worker


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def write_tar(path, labels):
    images = load_images("digits", limit=len(labels)).images
    with tarfile.open(path, "w") as tar:
        for i, label in enumerate(labels):
            content = io.BytesIO()
            Image.fromarray(images[i, ..., 0]).save(content, "PNG")
            members = {"png": content.getvalue()} | ({} if label is None else {"cls": str(label).encode()})
            for suffix, data in members.items():
                member = tarfile.TarInfo(f"{i:03d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


ODD = {
    "a name among numbers": ([[0, "cat", 7]], ["0", "cat", "7"], 0),
    "a name in another file": ([[0, 1], [2, "cat"]], ["0", "1", "2", "cat"], 0),
    "a name further on": ([[1] * 70 + ["cat", 3]], [1] * 70 + [-1, 3], 1),
    "labels further on": ([[None] * 70 + [5, "cat"]], None, 2),
    "none at first": ([[None, 5]], [-1, 5], 0),
}


@pytest.mark.parametrize("case", ODD)
def test_labels_are_of_one_kind_and_odd_ones_never_end_a_run(run, tmp_path, case):
    shards, expected, odd = ODD[case]
    for number, labels in enumerate(shards):
        write_tar(tmp_path / f"{number}.tar", labels)
    card = extract(run, str(tmp_path / "*.tar"), tmp_path / "f")
    found = open_features(tmp_path / "f").labels
    assert card["images"] == sum(map(len, shards)) and card["labels left out"] == odd
    assert (found is None) if expected is None else found.tolist() == expected


def test_labels_that_only_the_last_images_have(run, tmp_path):
    np.save(tmp_path / "x.npy", load_images("digits", limit=100).images)
    labels = np.r_[np.full(70, -1), np.arange(30)]
    np.save(tmp_path / "x.labels.npy", labels)
    extract(run, tmp_path / "x.npy", tmp_path / "f", Options(part_rows=40))
    assert open_features(tmp_path / "f").labels.tolist() == labels.tolist()


def test_trouble_of_the_machine_is_no_unreadable_image(run, tmp_path, monkeypatch):
    write_tar(tmp_path / "x.tar", range(9))
    out, whole = tmp_path / "f", decoding.decode
    made = []

    def decode(*arguments):
        made.append(arguments)
        if len(made) > 4:
            raise RunError("too many open files: run the same command again")
        return whole(*arguments)

    monkeypatch.setattr(decoding, "decode", decode)
    with pytest.raises(RunError, match="too many open files"):
        extract(run, tmp_path / "x.tar", out)
    assert not list(out.glob("part-*"))
    monkeypatch.setattr(decoding, "decode", whole)
    card = extract(run, tmp_path / "x.tar", out)
    assert (card["images"], card["unreadable"]) == (9, 0)


@pytest.mark.parametrize("limit", [None, 33, 7])
def test_a_packed_set_is_read_in_blocks_and_gives_what_its_images_give(run, tmp_path, monkeypatch, limit):
    images = load_images("digits", limit=90)
    with packed.SetWriter(tmp_path / "set", (8,), 1, settings={}) as writer:
        rows = [packed.Row(f"n{row}", "x", 8, 8, "0" * 64, int(label)) for row, label in enumerate(images.labels)]
        writer.add({8: images.images}, rows)
        writer.finish(source="x")
    monkeypatch.setattr(decoding, "decode", lambda *_: pytest.fail("one by one"))
    card = extract(run, tmp_path / "set", tmp_path / "f", Options(part_rows=40, limit=limit), batch_size=16)
    rows = np.arange(limit or 90) * 90 // (limit or 90)
    table = open_features(tmp_path / "f")
    assert list(table.ids) == [f"n{row}" for row in rows] and card["images"] == len(rows)
    assert np.array_equal(table.labels, images.labels[rows])
    assert np.array_equal(table.read(), load(run).transform(images.images[rows]))


def test_images_of_other_channels_are_refused_before_anything_is_written(run, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5, 8, 8, 4), np.uint8))
    with pytest.raises(InputError, match=r"4 channels and the network takes 1: .*images\[..., :1\]"):
        extract(run, tmp_path / "x.npy", tmp_path / "f")
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("gone", ["network.safetensors", "shards.parquet"])
def test_what_was_deleted_from_a_finished_folder_is_named(run, tmp_path, gone):
    np.save(tmp_path / "x.npy", load_images("digits", limit=30).images)
    out, options = tmp_path / "f", Options(part_rows=20)
    card = extract(run, tmp_path / "x.npy", out, options)
    (out / "work" / gone).unlink()
    assert extract(run, tmp_path / "x.npy", out, options) == card  # not needed
    (out / "part-00001.parquet").unlink()
    with pytest.raises(InputError, match=f"{gone} is gone.*[Ee]xtract into another folder"):
        extract(run, tmp_path / "x.npy", out, options)


def test_what_is_written_counts_as_life_of_the_others(tmp_path):
    output = Output(tmp_path)
    (tmp_path / "work" / "attempt-a-1-b").mkdir(parents=True)
    growing = tmp_path / "work" / "attempt-a-1-b" / ".part.parquet.tmp-1"
    plan = Plan({}, "x", None, None, 1, None, 0, {})
    calls = []

    def grow():
        calls.append(None)
        if len(calls) <= 12:
            growing.write_bytes(b"x" * len(calls))

    clock = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local.time, "monotonic", lambda: clock[0])
        patch.setattr(local.time, "sleep", lambda _: clock.__setitem__(0, clock[0] + 10))
        with pytest.raises(RunError, match="nothing was written for 1 min"):
            list(local.wait_for(plan, output, grow, patience=60))
    assert 12 + 5 <= len(calls) <= 12 + 9


def test_ranks_share_the_threads_of_their_machine(run, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", load_images("digits", limit=3).images)
    extract(run, tmp_path / "x.npy", tmp_path / "f")
    monkeypatch.setattr("ganfeat.scale.worker.default_workers", lambda: 6)
    assert Worker(tmp_path / "f", run)._threads == 6
    for name, value in {"RANK": "1", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert Worker(tmp_path / "f", run)._threads == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Worker(tmp_path / "f", run)._threads == 3


def test_names_of_sets_are_names_of_images_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("digits") == absolute_run("mnist5k").replace("mnist5k", "digits") == str(tmp_path / "digits")
    assert absolute_data("digits") == "digits" and absolute_data("x") == str(tmp_path / "x")
    assert absolute_data("hf://a/b") == "hf://a/b" and absolute_run("hf-hub:a/b") == "hf-hub:a/b"


def test_floats_are_split_into_bytes_where_other_readers_know_it(run, tmp_path):
    np.save(tmp_path / "x.npy", load_images("digits", limit=30).images)
    for dtype, split in (("float32", True), ("float16", False)):  # DuckDB and polars read it of float32 alone
        extract(run, tmp_path / "x.npy", tmp_path / dtype, Options(dtype=dtype))
        group = pq.ParquetFile(tmp_path / dtype / "part-00000.parquet").metadata.row_group(0)
        columns = {group.column(i).path_in_schema: group.column(i).encodings for i in range(group.num_columns)}
        assert ("BYTE_STREAM_SPLIT" in columns["features.list.element"]) == split


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_no_number_of_two_bytes_is_refused(tmp_path, value):
    rows = np.array([[65504, -65504, 6e-8, 0], [1, value, -0.0, 2]], np.float16)
    assert write_part(tmp_path / "f.parquet", ["a", "b"], None, np.nan_to_num(rows)) == 2
    with pytest.raises(InputError, match="features of b are NaN or infinite"):
        write_part(tmp_path / "g.parquet", ["a", "b"], None, rows)


def test_a_shard_that_workers_die_of_is_given_up(run, tmp_path, monkeypatch):
    """Each actor is a new one, as after a death; the shards beside it are done."""
    np.save(tmp_path / "x.npy", load_images("digits", limit=60).images)
    out = tmp_path / "f"
    extract(run, tmp_path / "x.npy", out, Options(part_rows=20))
    for path in out.glob("part-*"):
        path.unlink()
    whole = Worker._write

    def write(self, shard, blocks):
        if shard == 1:
            raise Killed
        return whole(self, shard, blocks)

    monkeypatch.setattr(Worker, "_write", write)
    deaths, rows = 0, []
    while deaths < 20:
        actor = ray_engine.ShardActor(str(out), str(run), "cpu", 16, 1)
        try:
            for row in actor({"shard": [0, 1, 2]}):
                rows.append(row)
            break
        except Killed:
            deaths += 1
    assert deaths == ray_engine.MOST_TRIES
    assert rows[-1]["kind"] == ["run"] and "died of shard 1, part-00001.parquet" in rows[-1]["message"][0]
    assert str(tmp_path / "x.npy") in rows[-1]["message"][0]
    monkeypatch.setattr(Worker, "_write", whole)
    done = list(ray_engine.ShardActor(str(out), str(run), "cpu", 16, 1)({"shard": [0, 1, 2]}))
    assert [row["shard"][0] for row in done] == [0, 1, 2] and not any(row["kind"][0] for row in done)
    assert not list((out / "work").glob("tries-*"))


class FakeRay:
    """A cluster whose machines do not answer, or have no CPU."""

    exceptions = SimpleNamespace(RayError=TimeoutError)

    def __init__(self, resources):
        self.resources = resources

    def cluster_resources(self):
        return self.resources

    def available_resources(self):
        return {}

    def nodes(self):
        return [
            {"NodeManagerHostname": "twin", "NodeID": "0" * 56, "Alive": True, "Resources": {"CPU": 2}}
            for _ in range(2)
        ]

    def remote(self, _):
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda: asked.append(None)))

    def get(self, answer, timeout):
        if len(answered) == 1:
            raise TimeoutError
        answered.append(answer)
        return []


asked, answered = [], []


def test_a_cluster_without_room_or_answer_is_named(tmp_path, capfd, monkeypatch):
    with pytest.raises(InputError, match="has no CPU for workers"):
        ray_engine._pipeline(FakeRay({}), Output(tmp_path), "run", [0], None, "cpu", 16)
    pytest.importorskip("ray")
    with pytest.raises(InputError, match="twin of the Ray cluster does not answer"):
        ray_engine._check_nodes(FakeRay({"CPU": 2}), [os.fspath(tmp_path)])
    assert len(asked) == 2 and len(answered) == 1  # both of one name were asked
    monkeypatch.setattr(ray_engine, "WAITING", 0.02)
    with ray_engine._patient(FakeRay({"CPU": 2.0, "GPU": 1.0}), Output(tmp_path)):
        for _ in range(500):
            said = capfd.readouterr().err
            if said:
                break
            local.time.sleep(0.01)
    assert "no worker of Ray has begun" in said and "0 of 2 CPUs, 0 of 1 GPUs" in said
