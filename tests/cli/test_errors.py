"""The command line as a whole: help without heavy imports, and no traceback for anybody's mistake."""

import os
import subprocess
import sys

import pytest

import ganfeat
from ganfeat.cli import VERBS, app, main
from ganfeat.errors import InputError, RunError

HEAVY = {"torch", "sklearn", "numpy", "scipy", "matplotlib", "pyarrow", "PIL", "rich.progress", "tensorboard"}


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "120", **environment},
    )


def test_help_needs_no_heavy_library():
    """Of the command and of every verb: not by the clock, but by what was imported."""
    code = (
        "import sys\nfrom ganfeat.cli import main\n"
        f"for words in ([], *([v] for v in {list(VERBS)!r})):\n"
        "    assert main([*words, '--help']) == 0\n"
        "assert main(['--version']) == 0\n"
        f"print('imported:', sorted({HEAVY!r} & set(sys.modules)))"
    )
    result = python("-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "imported: []"
    for verb in VERBS:
        assert f"ganfeat {verb}" in result.stdout.lower()


def test_python_m_ganfeat():
    result = python("-m", "ganfeat", "--help")
    assert result.returncode == 0 and result.stderr == ""
    assert all(verb in result.stdout for verb in VERBS)
    wrong = python("-m", "ganfeat", "info", "/no/such/run")
    assert wrong.returncode == 2 and wrong.stdout == ""
    assert wrong.stderr.startswith("ganfeat: /no/such/run is not a run folder") and "Traceback" not in wrong.stderr


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == ganfeat.__version__


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_every_option(verb, capsys):
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--json" in text and "--quiet" in text
    if verb in ("demo", "train", "extract"):
        assert "--device" in text and "--out" in text
    if verb in ("demo", "train", "probe"):
        assert "--seed" in text


def test_no_arguments_show_the_help(capsys):
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "trian"),
        (["--jsn"], "--jsn"),
        (["info"], "RUN"),
        (["info", "a", "b"], "b"),
        (["extract", "run"], "DATA"),
        (["probe", "x.npy", "y.npy", "--draws", "many"], "many"),
        (["demo", "--max-iter", "many"], "many"),
        (["demo", "--max-iter", "1.5"], "'1.5' is not a whole number"),
        (["train", "digits", "--widht", "4", "--out", "/no"], "--widht"),
    ],
)
def test_a_mistyped_command(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    first, second = printed.err.strip().splitlines()
    assert first.startswith("ganfeat: ") and message in first
    assert "--help" in second
    assert printed.out == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InputError("do it so"), 2, "do it so"),
        (RunError("it diverged"), 1, "it diverged"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (FileNotFoundError(2, "No such file or directory", "x.png"), 2, "No such file or directory: x.png"),
        (PermissionError(13, "Permission denied", "/root/x"), 2, "Permission denied: /root/x"),
        (OSError(28, "No space left on device", "/x"), 1, "No space left on device: /x"),
        (MemoryError("1 TB"), 1, "--batch-size"),
    ],
    ids=lambda e: type(e).__name__ if isinstance(e, BaseException) else str(e),
)
def test_errors_and_their_exit_codes(error, status, message, capsys):
    """A verb that fails in each of these ways, called through the real command."""

    def failing():
        """Fail."""
        raise error

    app.command(failing, name="fail-for-the-test")
    try:
        assert main(["fail-for-the-test"]) == status
    finally:
        del app["fail-for-the-test"]
    printed = capsys.readouterr()
    assert printed.err.startswith("ganfeat: ") and message in printed.err and "Traceback" not in printed.err
    assert printed.out == ""


def test_our_own_faults_are_not_hidden():
    """An error that is nobody's wrong call keeps its traceback."""

    def failing():
        """Fail."""
        raise ZeroDivisionError

    app.command(failing, name="fail-for-the-test")
    try:
        with pytest.raises(ZeroDivisionError):
            main(["fail-for-the-test"])
    finally:
        del app["fail-for-the-test"]


def test_a_closed_pipe_is_no_complaint():
    code = "import sys; from ganfeat.cli import main; sys.exit(main(['info', '--help']))"
    writer = subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    writer.stdout.close()
    error = writer.stderr.read()
    writer.stderr.close()
    assert writer.wait(60) != 2
    assert error == ""
