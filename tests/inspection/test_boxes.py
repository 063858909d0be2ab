"""Files of boxes come from people and from a page: everything wrong is refused by name, nothing is half written."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganfeat.errors import InputError
from ganfeat.inspection.boxes import MOST_BOXES, Box, as_boxes, read_boxes, write_boxes

SIZE = (28, 32)
BOXES = [Box("s0.17", 10, 4, 12, 20), Box("s0.17", 0.5, 0.25, 3, 3), Box("vAAAA", 1, 2, 31, 26)]
GOOD = {"z": "s0.1", "x": 1, "y": 2, "width": 3, "height": 4}


def entry(**changes):
    return {**GOOD, **changes}


@pytest.mark.parametrize("suffix", ["json", "csv", "CSV"])
def test_what_is_written_is_read(tmp_path, suffix):
    path = tmp_path / f"boxes.{suffix}"
    write_boxes(path, BOXES)
    assert read_boxes(path, SIZE).boxes == BOXES
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_boxes_of_a_sample_stay_together_in_order(tmp_path):
    path = tmp_path / "boxes.json"
    write_boxes(path, [BOXES[0], BOXES[2], BOXES[1]], given=3)
    found = read_boxes(path, SIZE)
    assert found.by_sample() == {"s0.17": BOXES[:2], "vAAAA": [BOXES[2]]} and found.given == 3


def test_a_seed_and_an_index_name_a_sample(tmp_path):
    named = [{"seed": 3, "index": 17, "x": 1, "y": 2, "width": 3, "height": 4}]
    assert as_boxes(named, SIZE, "x") == [Box("s3.17", 1, 2, 3, 4)]
    (tmp_path / "b.json").write_text(json.dumps(named))  # the list alone will do
    assert read_boxes(tmp_path / "b.json", SIZE).boxes == [Box("s3.17", 1, 2, 3, 4)]
    (tmp_path / "b.csv").write_text("index, seed,x,y,width,height\n17,3,1,2,3,4\n\n", encoding="utf-8-sig")
    assert read_boxes(tmp_path / "b.csv", SIZE).boxes == [Box("s3.17", 1, 2, 3, 4)]


@given(*(st.floats(-100, 100) for _ in range(2)), *(st.floats(1e-6, 100) for _ in range(2)))
def test_a_box_is_cut_to_the_image_or_refused(x, y, width, height):
    """What is left is the intersection with the image: inside it, inside the box, and as large as can be."""
    left, right, top, bottom = max(x, 0), min(x + width, SIZE[1]), max(y, 0), min(y + height, SIZE[0])
    there = {"z": "s0.0", "x": x, "y": y, "width": width, "height": height}
    if right > left and bottom > top:
        (box,) = as_boxes([there], SIZE, "x")
        assert (box.x, box.y) == (left, top) and box.width == right - left and box.height == bottom - top
    else:
        with pytest.raises(InputError, match="lies outside the image, which is 32 wide and 28 high"):
            as_boxes([there], SIZE, "x")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (entry(x=float("nan")), "'x' is nan"),
        (entry(y=float("inf")), "'y' is inf"),
        (entry(x=10**400), "'x' is a number: write a number of pixels"),
        (entry(width=0), "width and height must be above 0"),
        (entry(height=-2), "width and height must be above 0"),
        (entry(width="wide"), "'width' is wide: write a number"),
        (entry(width=True), "'width' is true or false"),
        (entry(width=[1]), "'width' is a list"),
        (entry(z=None), 'does not name its sample: give "z"'),
        (entry(z=5), '"z" must be the name of a sample'),
        (entry(z="v" * 10**5), '"z" must be the name of a sample'),
        (entry(z=None, seed=-1, index=2), "does not name its sample"),
        (entry(z=None, seed=1, index=2.5), "does not name its sample"),
        ({k: v for k, v in GOOD.items() if k != "height"}, "has no 'height': write"),
        ([1, 2, 3, 4], "is a list: write"),
        (None, "is null: write"),
        (entry(x=32), "lies outside the image"),
    ],
)
def test_a_wrong_box_is_named_with_its_file_and_place(tmp_path, wrong, says):
    path = tmp_path / "my boxes.json"
    path.write_text(json.dumps({"boxes": [GOOD, wrong]}), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_boxes(path, SIZE)
    assert f"{path}, box 2" in str(caught.value) and says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b"", "is no JSON"),
        ("a.json", b"[" * 100_000, "is no JSON"),
        ("a.json", b"\xff\xfe\x00", "is no text"),
        ("a.json", b"[]", "has no boxes yet"),
        ("a.json", b'{"box": []}', 'has no "boxes"'),
        ("a.json", b"7", 'has no "boxes"'),
        ("a.json", b'{"boxes": {}}', "must be a list, not an object"),
        ("a.json", b'{"boxes": []}', "has no boxes yet"),
        ("a.json", b'{"boxes": [], "given": [1]}', '"given" is a list'),
        ("a.json", json.dumps({"boxes": [GOOD] * (MOST_BOXES + 1)}).encode(), "more than 10,000"),
        ("a.json", b" " * (8 * 2**20 + 1), "larger than 8 MiB"),
        ("a.csv", b"", "the first line must name the columns: z,x,y,width,height"),
        ("a.csv", b"z,x,y,w,h\ns0.1,1,2,3,4\n", "the first line must name the columns"),
        ("a.csv", b"z,x,y,width,height\n", "has no boxes yet"),
        ("a.csv", b"z,x,y,width,height\ns0.1,1,2,3\n", "box 1 has no 'height'"),
        ("a.csv", b'z,x,y,width,height\n"s0.1', "is no CSV"),
    ],
)
def test_a_file_that_is_none_says_what_one_is(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says.replace("(", r"\(")) as caught:
        read_boxes(tmp_path / name, SIZE)
    assert str(tmp_path / name) in str(caught.value)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_boxes(tmp_path / "none.json", SIZE)
    with pytest.raises(InputError, match="is a folder"):
        read_boxes(tmp_path, SIZE)


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "boxes.json"
    write_boxes(path, BOXES)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_boxes(path, BOXES, given=object())
    with pytest.raises(InputError, match="no place for what G was told"):
        write_boxes(tmp_path / "boxes.csv", BOXES, given=3)
    with pytest.raises(InputError, match=r"as \.json or \.csv"):
        write_boxes(tmp_path / "boxes.txt", BOXES)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["boxes.json"]


def test_the_boxes_of_the_examples_can_be_read():
    found = read_boxes(Path(__file__).parents[2] / "examples" / "boxes" / "svhn-digits.json", (32, 32))
    assert len(found.by_sample()) >= 30 and len(found.boxes) > 50
