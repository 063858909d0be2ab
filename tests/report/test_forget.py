"""The words of forgetting say what the numbers say, and warn where these mean little."""

import numpy as np
import pytest

from ganfeat.inspection.forgetting import Forgetting, MapLayer
from ganfeat.report.forget import HEADINGS, effect_notes, effect_rows

LAYER = MapLayer(1, 1, "upward.3", "activation", 64, (16, 16), 3)


def point(mean, ci95=0.02):
    return {"mean": mean, "ci95": ci95, "images": 30}


def measures(presence, gone):
    return {"presence": point(presence), "change_outside": point(0.0421), "gone": gone}


def row(maps=16, beyond=0.2, ci95=0.05, of_folds=None, shared=0.873):
    share = {"mean": 0.604, "low": 0.51, "high": 0.7}
    return {
        "maps": maps,
        "of_folds": [maps] * 5 if of_folds is None else of_folds,
        "shared": shared,
        "dropped": measures(0.452, share),
        "random": measures(0.651, {"mean": None, "low": None, "high": None}),
        "beyond_random": point(beyond, ci95),
    }


def found(auc=0.8, lowest=0.0):
    weight = np.linspace(1, -1, 64)
    return Forgetting(
        LAYER,
        weight,
        np.arange(32),
        np.ones((2, 16, 16), bool),
        {"auc": auc},
        lowest,
        np.arange(2),
        (np.arange(32),) * 2,
    )


def test_a_row_has_a_cell_a_heading():
    rows = effect_rows([row(8), row(16)], 16)
    assert [len(r) for r in rows] == [len(HEADINGS)] * 2 and [r[0] for r in rows] == ["8", "16 (shown)"]
    assert rows[0][1:] == ["0.45 ± 0.02", "60 % (51 to 70)", "0.65 ± 0.02", "-", "0.042", "0.042"]
    bare = row()
    bare["dropped"]["presence"], bare["dropped"]["change_outside"] = point(0.5, None), point(None, None)
    assert effect_rows([bare], 1)[0][1] == "0.50" and effect_rows([bare], 1)[0][5] == "-"


@pytest.mark.parametrize(
    ("beyond", "says"),
    [(0.2, "presence is lower by 0.20 ± 0.05"), (-0.2, "even lower, by 0.20 ± 0.05"), (0.04, "cannot be told from")],
)
def test_the_verdict_is_by_the_interval_of_the_paired_difference(beyond, says):
    notes = " ".join(effect_notes(found(), {"auc": 0.9}, row(beyond=beyond)))
    assert says in notes and ("no sign of forgetting" in notes) == (beyond < 0.05)


def test_warnings_stand_where_they_belong_and_only_there():
    cases = {
        "hardly tell where the boxes are (AUC 0.60": (found(auc=0.6), {"auc": 0.9}, row()),
        "go down to -0.20": (found(lowest=-0.2), {"auc": 0.9}, row()),
        "can hardly tell where the object is (AUC 0.55": (found(), {"auc": 0.55}, row()),
        "33 of 64 maps are more than half": (found(), {"auc": 0.9}, row(33)),
        "as few as 14 maps have a positive weight": (found(), {"auc": 0.9}, row(of_folds=[16, 14, 16])),
    }
    for words, case in cases.items():
        assert words in " ".join(effect_notes(*case))
        for other in cases:
            assert (other == words) == (other in " ".join(effect_notes(*case)))
    assert len(effect_notes(found(), {"auc": 0.9}, row(ci95=None))) == 1


def test_it_is_said_on_which_images_it_was_measured():
    words = effect_notes(found(), {"auc": 0.9}, row())[0]
    assert "images that had no say" in words and "(87 % of them are among those of all boxes" in words
    assert "of them are among" not in effect_notes(found(), {"auc": 0.9}, row(0, shared=None))[0]
