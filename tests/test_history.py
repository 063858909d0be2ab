"""history.jsonl: appended, torn by a kill, rewound to a checkpoint."""

import json

from ganfeat import history


def test_records_come_back_in_order(tmp_path):
    path = tmp_path / "history.jsonl"
    records = [{"step": s, "loss/generator": 0.1 * s} for s in (10, 20, 25)]
    for record in records:
        history.append(path, record)
    assert history.read(path) == records
    assert [json.loads(line) for line in path.read_text().splitlines()] == records


def test_an_absent_file_is_an_empty_history(tmp_path):
    assert history.read(tmp_path / "none.jsonl") == []
    history.rewind(tmp_path / "none.jsonl", 5)
    assert not (tmp_path / "none.jsonl").exists()


def test_a_line_torn_at_any_byte_costs_that_record_alone(tmp_path):
    path = tmp_path / "history.jsonl"
    for step in (1, 2):
        history.append(path, {"step": step, "x": 0.5})
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for length in range(second, len(whole.rstrip())):  # without its last brace at the least
        path.write_bytes(whole[:length])
        assert history.read(path) == [{"step": 1, "x": 0.5}]


def test_bytes_that_are_no_text_and_lines_that_are_no_record_are_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b'{"step": 1}\n\xff\xfe\x00\n[1, 2]\n{"epoch": 3}\n7\n{"step": 4}\n')
    assert [r["step"] for r in history.read(path)] == [1, 4]


def test_rewind_keeps_up_to_and_including_the_step_and_mends_a_torn_end(tmp_path):
    path = tmp_path / "history.jsonl"
    for step in (10, 20, 30):
        history.append(path, {"step": step})
    with path.open("a") as file:
        file.write('{"step": 4')
    history.rewind(path, 20)
    history.append(path, {"step": 30, "again": True})
    assert history.read(path) == [{"step": 10}, {"step": 20}, {"step": 30, "again": True}]
    assert [p.name for p in tmp_path.iterdir()] == ["history.jsonl"]


def test_rewind_to_the_beginning_leaves_an_empty_history(tmp_path):
    path = tmp_path / "history.jsonl"
    history.append(path, {"step": 1})
    history.rewind(path, 0)
    assert path.read_text() == ""
