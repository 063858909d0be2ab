"""Models on the Hugging Face Hub: ``hf-hub:owner/name[@revision]``, there and back.

All talk with the Hub is ``huggingface_hub``'s, which has its settings from the environment (``HF_TOKEN``, ``HF_HOME``,
``HF_ENDPOINT``, ``HF_HUB_OFFLINE``) and keeps what it has fetched. Here are the names, the few files that make a model,
and words for what may go wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ganfeat.checkpoint import RunFolder
from ganfeat.errors import InputError, MissingExtraError, RunError

PREFIX = "hf-hub:"
FILES = ("config.json", "model.safetensors", "untrained.safetensors", "history.jsonl", "README.md")
"""What is fetched of a repository: a run folder without its training. Never anything that holds code."""
OURS = ("untrained.safetensors", "history.jsonl", "samples/*", "results/*", "*.onnx")
"""What a repository may have of an earlier model, and must not keep beside another one's weights."""
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
REVISION = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*")
CACHED = re.compile(
    r".*[/\\]models--(?P<owner>[^/\\]+?)--(?P<name>[^/\\]+)[/\\]snapshots[/\\](?P<sha>[0-9a-f]{7,40})[/\\]?"
)


def is_hub_name(path: Path | str) -> bool:
    """Whether this names a model on the Hub, and no folder."""
    return str(path).startswith(PREFIX)


def split_name(name: str) -> tuple[str, str | None]:
    """``hf-hub:owner/name@revision``, with or without the beginning and the end, as repository and revision.

    >>> split_name("hf-hub:me/photos@v1.0"), split_name("me/photos")
    (('me/photos', 'v1.0'), ('me/photos', None))

    Raises
    ------
    InputError
        If it is no such name.
    """
    repository, at, revision = name.removeprefix(PREFIX).partition("@")
    wrong = at and (not REVISION.fullmatch(revision) or ".." in revision)
    if not NAME.fullmatch(repository) or ".." in repository or "--" in repository or wrong:
        raise InputError(f"{name!r} names no model on the Hub: write {PREFIX}owner/name or {PREFIX}owner/name@revision")
    return repository, revision or None


def given_name(path: Path | str) -> str:
    """What a model is called: of a folder in the Hub's cache its name and commit there, else the path itself.

    >>> given_name("/home/me/.cache/huggingface/hub/models--me--photos/snapshots/7e4ea1c")
    'hf-hub:me/photos@7e4ea1c'
    """
    cached = CACHED.fullmatch(str(path))
    return str(path) if cached is None else f"{PREFIX}{cached['owner']}/{cached['name']}@{cached['sha']}"


def fetch(name: str, *, token: str | None = None) -> Path:
    """Fetch a model from the Hub, or find the copy that was fetched before.

    Where the Hub cannot be reached, the newest copy in the cache is taken.

    Parameters
    ----------
    name : str
        ``hf-hub:owner/name``, with ``@`` and a branch, tag or commit if not the newest is meant.
    token : str, optional
        Of a person; by default the one that ``hf auth login`` or ``HF_TOKEN`` gave.

    Returns
    -------
    Path
        A run folder in the cache of the Hub: not to be written into.

    Raises
    ------
    InputError
        If there is no such model, or it may not be read, or is no model of ganfeat.
    MissingExtraError
        If huggingface_hub is not installed.
    RunError
        If the Hub cannot be reached and no copy is kept.
    """
    repository, revision = split_name(name)
    with _said(repository, revision, "read"):
        from huggingface_hub import HfApi

        folder = Path(HfApi(token=token).snapshot_download(repository, revision=revision, allow_patterns=list(FILES)))
    if not (folder / "config.json").is_file():
        raise InputError(f"{PREFIX}{repository} has no config.json, so it is no model of ganfeat")
    RunFolder(folder).config()
    if not (folder / "model.safetensors").is_file():
        raise InputError(
            f"{PREFIX}{repository} came without model.safetensors: if its page shows one, the download broke off; "
            "connect, and call again"
        )
    return folder


def publish(folder: Path, name: str, *, private: bool = False, token: str | None = None) -> str:
    """Put a folder into a model repository of the Hub, which is made where there is none.

    What the repository has of an earlier model and the folder does not (:data:`OURS`) is removed in the same commit.
    Other files are left alone.

    Parameters
    ----------
    folder : Path
        All of it is published.
    name : str
        ``owner/name``; with ``@branch`` for a branch that exists.
    private : bool
        Of a new repository; one that exists must be private then.
    token : str, optional
        As for :func:`fetch`; it must allow writing.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    InputError, MissingExtraError, RunError
        As :func:`fetch`.
    """
    repository, revision = split_name(name)
    with _said(repository, revision, "write"):
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        api.create_repo(repository, private=private, exist_ok=True)
        if private and api.model_info(repository).private is not True:
            raise InputError(
                f"{PREFIX}{repository} exists and is public, and a private one was asked for: make it private on its "
                "page, or name another. Nothing was uploaded"
            )
        commit: Any = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            revision=revision,
            commit_message="Upload a model of ganfeat",
            delete_patterns=list(OURS),
        )
    return str(commit.commit_url)


def require_library() -> None:
    """Raise MissingExtraError where huggingface_hub is not installed."""
    if find_spec("huggingface_hub") is None:
        raise MissingExtraError("huggingface_hub", "hub", "a model on the Hugging Face Hub")


@contextmanager
def _said(repository: str, revision: str | None, what: str) -> Iterator[None]:
    """The library's errors in a person's words; its progress bars silent."""
    require_library()
    from huggingface_hub import errors

    bars: Any = import_module("huggingface_hub.utils")

    model = f"{PREFIX}{repository}"
    shown = not bars.are_progress_bars_disabled()
    if shown:
        bars.disable_progress_bars()
    try:
        yield
    except errors.GatedRepoError:
        raise InputError(
            f"{model} is open only to those who accepted its terms: accept them on its page, and log in with "
            "`hf auth login`"
        ) from None
    except errors.RepositoryNotFoundError as error:
        raise InputError(_not_found(model, what, _status(error))) from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{model} has no revision {revision or 'main'!r}: name a branch, a tag or a commit") from None
    except errors.LocalEntryNotFoundError as error:
        status = _status(error.__cause__) or _status(error.__context__)
        if status:
            raise RunError(f"the Hub answered {status} for {model}: try again later") from None
        raise RunError(_unreachable(model, revision)) from None
    except errors.OfflineModeIsEnabled:
        raise RunError(_unreachable(model, revision)) from None
    except errors.HFValidationError as error:
        raise InputError(f"{model}: {str(error).splitlines()[0]}") from None
    except errors.HfHubHTTPError as error:
        status = _status(error)
        if status in (401, 403):
            raise InputError(_not_found(model, what, status)) from None
        detail = str(getattr(error, "server_message", None) or error).strip().splitlines()
        raise RunError(
            f"the Hub answered {status or 'with an error'} for {model}: {detail[0] if detail else ''}"
        ) from None
    except Exception as error:
        chain = list(_causes(error))
        status = next((s for s in map(_status, chain) if s is not None), None)
        if status is not None:  # an upload in a thread wraps what it met
            raise RunError(f"the Hub answered {status} for {model}: the upload did not end, call again") from None
        if any(map(_is_transport, chain)):
            raise RunError(_unreachable(model, revision)) from None
        raise
    finally:
        if shown:
            bars.enable_progress_bars()


def _status(error: BaseException | None) -> int | None:
    """The number that the Hub answered with."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return int(status) if status is not None else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it came of, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_transport(error: BaseException) -> bool:
    """Whether no answer came: of requests or of httpx, whichever the library is built on."""
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    return isinstance(error, ConnectionError | TimeoutError) or bool(
        names
        & {
            *("httpx.TransportError", "httpx2.TransportError", "httpcore.ConnectError"),
            *("requests.ConnectionError", "requests.Timeout"),
        }
    )


def _not_found(model: str, what: str, status: int | None) -> str:
    if what == "write":
        return (
            f"{model} may not be written to (the Hub answered {status}): log in with `hf auth login`, or set HF_TOKEN "
            "to a token that may write, and name a repository of your own"
        )
    if status in (401, 403):
        return (
            f"{model} is not to be read (the Hub answered {status}): there is no such model, or it is private. Check "
            "the name; for a private one log in with `hf auth login`, or set HF_TOKEN"
        )
    return f"there is no {model}: check owner and name"


def _unreachable(model: str, revision: str | None) -> str:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    why = "HF_HUB_OFFLINE forbids to ask the Hub" if offline else "the Hub cannot be reached"
    return (
        f"{why}, and no copy of {model}{f'@{revision}' if revision else ''} is in the cache: connect, or give the "
        "folder of a copy that you have"
    )
