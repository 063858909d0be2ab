"""Settings as data."""

import re
from pathlib import Path

import numpy as np
import pytest

from ganfeat.config import differences, read_yaml, require, suggest, typed
from ganfeat.errors import InputError

KNOWN = ("width", "batch_size", "learning_rate")


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_settings_may_be_written_with_dashes_or_underscores(tmp_path):
    path = write(tmp_path / "a.yaml", "width: 32\nbatch-size: 64\n")
    assert read_yaml(path, KNOWN) == {"width": 32, "batch_size": 64}


def test_an_empty_file_sets_nothing(tmp_path):
    assert read_yaml(write(tmp_path / "a.yaml", "# nothing\n"), KNOWN) == {}


def test_an_unknown_setting_is_refused_with_the_one_that_was_meant(tmp_path):
    path = write(tmp_path / "a.yaml", "widht: 32\n")
    with pytest.raises(InputError, match=r"'widht', which does not exist \(did you mean 'width'\?\)"):
        read_yaml(path, KNOWN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- width\n- 32\n", "`name: value` lines"),
        ("32", "`name: value` lines"),
        ("width: [1, 2", "is not YAML"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_yaml(write(tmp_path / "a.yaml", text), KNOWN)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(InputError, match="is not YAML"):
        read_yaml(tmp_path / "a.yaml", KNOWN)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the settings file .*none\.yaml: No such file"):
        read_yaml(tmp_path / "none.yaml", KNOWN)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (32, int, 32),
        (32.0, int, 32),
        ("32", int, 32),
        ("2e-4", float, 2e-4),  # text for YAML 1.1, whose numbers need a point
        (1, float, 1.0),
        (0.5, float, 0.5),
        (True, bool, True),
        ("uniform", str, "uniform"),
        ("images.npy", Path, Path("images.npy")),
        ("flip", tuple, ("flip",)),
        (["flip", "affine"], tuple, ("flip", "affine")),
        ([], tuple, ()),
    ],
)
def test_a_value_of_a_file_is_brought_to_the_type_of_its_setting(value, kind, expected):
    converted = typed({"name": value}, {"name": kind}, "a.yaml")["name"]
    assert converted == expected
    assert isinstance(converted, kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("abc", int),
        (2.5, int),
        ("2.5", int),
        (float("inf"), int),
        (float("nan"), int),
        (True, int),
        ([1], int),
        (None, int),
        ("fast", float),
        (False, float),
        ({"a": 1}, float),
        (1, bool),
        ("yes please", bool),
        (3, str),
        (["a"], str),
        (3, Path),
        (4, tuple),
        (None, tuple),
    ],
)
def test_a_value_of_another_type_is_refused_with_the_file_and_the_setting(value, kind):
    with pytest.raises(InputError, match=f"a.yaml: width: .* must be of type {kind.__name__}"):
        typed({"width": value}, {"width": kind}, "a.yaml")


@pytest.mark.parametrize(
    ("value", "kind", "limits"),
    [
        (1, int, {"least": 1}),
        (np.int64(3), int, {"least": 1}),
        (0, float, {"least": 0, "below": 1}),
        (np.float32(0.5), float, {"above": 0, "below": 1}),
        (1e-30, float, {"above": 0}),
    ],
)
def test_require_lets_what_fits_pass(value, kind, limits):
    require("x", value, kind, **limits)


@pytest.mark.parametrize(
    ("value", "kind", "limits", "wanted"),
    [
        (0, int, {"least": 1}, "a whole number of at least 1"),
        (1.0, int, {"least": 1}, "a whole number of at least 1"),
        (True, int, {"least": 1}, "a whole number of at least 1"),
        ("3", int, {}, "a whole number"),
        (None, float, {}, "a number"),
        (0, float, {"above": 0}, "a number above 0"),
        (1, float, {"least": 0, "below": 1}, "a number of at least 0 and below 1"),
        (float("nan"), float, {"least": 0}, "a number of at least 0"),
        (float("inf"), float, {"above": 0}, "a number above 0"),
    ],
)
def test_require_refuses_the_rest_and_says_what_is_wanted(value, kind, limits, wanted):
    with pytest.raises(InputError, match=f"^x={re.escape(repr(value))} must be {wanted}$"):
        require("x", value, kind, **limits)


def test_suggest_is_silent_where_nothing_is_close():
    assert suggest("widht", KNOWN) == " (did you mean 'width'?)"
    assert suggest("qqq", KNOWN) == ""


def test_differences_name_every_setting_that_differs_by_its_path():
    before = {"a": 1, "b": {"c": 2, "d": {"e": [1]}}, "gone": "x", "same": None}
    after = {"a": 1, "b": {"c": 3, "d": {"e": [1, 2]}}, "same": None, "new": False}
    assert differences(before, after) == [
        "b.c: 2 -> 3",
        "b.d.e: [1] -> [1, 2]",
        "gone: 'x' -> None",
        "new: None -> False",
    ]
    assert differences(before, before) == []
