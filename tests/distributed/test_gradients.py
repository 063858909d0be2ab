"""Two ranks with half the mini-batch each and shared batch norms have the gradients of one process with all of it."""

import json
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")


@pytest.fixture(scope="module")
def differences(ranks, tmp_path_factory):
    target = tmp_path_factory.mktemp("gradients") / "found.json"
    assert ranks.run("gradients", target) == [0, 0], ranks.said()
    return json.loads(target.read_text())


def test_every_game_has_the_gradients_of_the_whole_batch(differences):
    """Also of losses that couple the images, and of a penalty on gradients; and the running statistics."""
    shared = {name: off for name, off in differences.items() if name.endswith(" shared")}
    assert len(shared) == 12
    assert {name: off for name, off in shared.items() if not off < 1e-9} == {}


def test_with_batch_norms_of_their_own_parts_they_have_not(differences):
    apart = {name: off for name, off in differences.items() if name.endswith(" apart")}
    assert {name: off for name, off in apart.items() if off < 1e-3} == {}


def test_a_penalty_in_a_pass_of_its_own_is_averaged_where_torchs_wrapper_leaves_it_out(differences):
    assert differences["penalty averaged"] < 1e-12
    assert differences["penalty wrapped"] > 1e-3
