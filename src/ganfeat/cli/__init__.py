"""The command line: ``ganfeat VERB``. One file a verb, imported when it is called."""

from __future__ import annotations

import keyword
import os
import sys
from collections.abc import Sequence
from typing import Any, get_args

from cyclopts import App, CycloptsError, Parameter, Token, convert

import ganfeat
from ganfeat.cli.hub import from_hub
from ganfeat.errors import InputError, RunError

VERBS = {
    "demo": "The whole way on real digits: train, extract, probe, report. Takes about two minutes after installing.",
    "prepare": "Turn a messy folder, or millions of images in any form, into a set that trains fast: decoded, counted.",
    "train": "Learn from images, without labels, into a run folder (--method acgan learns from labels, too).",
    "extract": "Turn images into features with a trained network.",
    "reduce": "Make features shorter: principal components, whitened or not, learned from them or given.",
    "probe": "Measure what features are worth: accuracy against the number of labels.",
    "compare": "Tell which network, and which of its layers, gives the best features.",
    "reproduce": "Run a table of a paper again, and say by how much it is met or missed.",
    "reconstruct": "Show what an encoder keeps of images: each above what G makes of its E(x), and the error.",
    "theory": "Measure what is claimed of discriminators as feature extractors on a trained GAN: evidence, verdicts.",
    "walk": "Walk through the latent space: sheet, GIF, sharp jumps, and whether images are copies of training images.",
    "arithmetic": "Add and subtract what images have in common: A - B + C on means of z, directions between groups.",
    "saliency": "Show what channels of a layer respond to: images, receptive fields, guided gradients, and untrained.",
    "forget": "Make a generator forget an object: find the maps that draw it, drop them, draw again.",
    "report": "Write a page that shows a run: samples and reconstructions over time, training curves, settings.",
    "studio": "Explore a run by hand in the browser: samples, walks, arithmetic, forgetting, features, training.",
    "info": "Show what a run folder holds: settings, progress, layers that can be tapped.",
    "import": "Make a run folder of weights that others trained and released.",
    "export": "Write a model in forms that others read: ONNX, a folder for the Hugging Face Hub, or onto the Hub.",
}


def strictly(kind: Any, tokens: Sequence[Token]) -> Any:
    """Convert an option; 1.5 is not a whole number, and not one to be rounded."""
    if int in (kind, *get_args(kind)) and float not in get_args(kind):
        for token in tokens:
            if not token.value.lstrip("+-").isdecimal():
                raise ValueError(f"{token.value!r} is not a whole number")
    return convert(kind, tokens)


def _place(verb: str) -> str:
    """Where a verb's function is: in the file of its name, with a ``_`` behind one that Python keeps for itself."""
    name = f"{verb}_" if keyword.iskeyword(verb) else verb
    return f"ganfeat.cli.{name}:{name}"


app = App(
    name="ganfeat",
    version=ganfeat.__version__,
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(converter=strictly),
    help="Features from unlabelled images, learned by generative adversarial networks.\n\n"
    "Start with `ganfeat demo`, or with your own folder: "
    "`ganfeat train photos/ --out runs/photos`. `ganfeat VERB --help` explains a verb.",
)
for _verb, _help in VERBS.items():
    app.command(_place(_verb), name=_verb, help=_help)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0, 1 for a run that failed, 2 for a wrong call, 130 after Ctrl-C, 143 after a termination signal.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        arguments = from_hub(arguments)
        if arguments and arguments[0] in VERBS:  # the verb that is called explains itself in full, not by its line
            del app[arguments[0]]
            app.command(_place(arguments[0]), name=arguments[0])
        status = app(
            arguments,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        return _fail(
            f"{' '.join(str(error).split())}\n`ganfeat --help` lists the verbs, `ganfeat VERB --help` their options.",
            2,
        )
    except InputError as error:
        return _fail(str(error), 2)
    except RunError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (
        FileNotFoundError,
        FileExistsError,
        PermissionError,
        IsADirectoryError,
        NotADirectoryError,
    ) as error:
        return _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 2)
    except OSError as error:
        return _fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", 1)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        return _fail(f"out of memory ({error}): lower --batch-size, --width or --size", 1)
    return status if isinstance(status, int) else 0


def _fail(message: str, status: int) -> int:
    print(f"ganfeat: {message}", file=sys.stderr)
    return status
