"""What all verbs share: where the words go, and how a signal is turned into a request."""

import json
import os
import signal

import pytest

from ganfeat.cli.screen import Screen, percent, stopping


def test_results_go_to_standard_output_and_words_beside_them(capsys):
    screen = Screen(json=True)
    screen.say("words")
    screen.table(("a", "b"), [("1", "2")])
    screen.next(["ganfeat", "train", "my photos"])
    screen.result({"a": [1, 2.5], "b": None})
    with screen.stage("work", 3) as update:
        update(3)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"a": [1, 2.5], "b": None}
    assert "words" in printed.err and "Next: ganfeat train 'my photos'" in printed.err and "work: done" in printed.err


def test_for_a_person_everything_but_progress_goes_to_standard_output(capsys):
    screen = Screen()
    screen.say("words")
    screen.table(("name", "x"), [("one", "1.5")], title="A title")
    screen.result({"not": "shown"})
    with screen.stage("work", 3) as update:
        update(1, note="slowly")
    printed = capsys.readouterr()
    assert all(words in printed.out for words in ("words", "A title", "one", "1.5"))
    assert "not" not in printed.out
    assert printed.err.startswith("work: done in")


def test_quiet_says_nothing_but_the_result(capsys):
    screen = Screen(json=True, quiet=True)
    screen.say("words")
    screen.table(("a",), [("1",)])
    with screen.stage("work", 3) as update:
        update(1)
    screen.result({})
    printed = capsys.readouterr()
    assert (json.loads(printed.out), printed.err) == ({}, "")


def test_accuracies_in_per_cent(capsys):
    point = {"mean": 0.8712, "ci95": 0.004}
    Screen().accuracies({"labels_per_class": [10], "accuracy": {"ganfeat": {"10": point}}}, {"ganfeat": "mine"})
    line = next(line for line in capsys.readouterr().out.splitlines() if "mine" in line)
    assert "87.1 ± 0.4" in line
    assert percent(0.5) == "50.0"


def test_a_failing_stage_does_not_hide_the_error():
    with pytest.raises(ZeroDivisionError), Screen().stage("work", 1):
        raise ZeroDivisionError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_interrupts(number):
    class Training:
        asked = 0

        def request_stop(self):
            self.asked += 1
            return True

    training, before = Training(), signal.getsignal(number)
    with stopping(training) as stop:
        os.kill(os.getpid(), number)
        assert training.asked == 1
        assert stop.signal == number and stop.status == 128 + number
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as stopped:
            os.kill(os.getpid(), number)
        if number == signal.SIGTERM:
            assert stopped.value.code == 143
        assert training.asked == 1
    assert signal.getsignal(number) is before


def test_while_nothing_trains_a_signal_interrupts():
    from ganfeat import DCGAN

    for model in (None, DCGAN()):
        with stopping() as stop, pytest.raises(KeyboardInterrupt):
            stop.calls(model)
            os.kill(os.getpid(), signal.SIGINT)
