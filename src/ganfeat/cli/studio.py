"""``ganfeat studio``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ganfeat.cli.points import within
from ganfeat.cli.screen import Device, Json, Quiet, Screen, Seed


def studio(
    run: Path,
    /,
    *,
    data: Annotated[
        str | None,
        Parameter(help="Real images, as `ganfeat train` takes them: for features, channels and neighbours."),
    ] = None,
    limit: Annotated[int, Parameter(help="Use so many images of DATA, evenly spaced.")] = 5000,
    host: Annotated[
        str, Parameter(help="Address to listen on. Others than 127.0.0.1 let other machines in, without a password.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, Parameter(help="Port; 0 lets the system choose. [default: 8765, or a free one if that is busy]")
    ] = None,
    open: Annotated[bool, Parameter(help="Show the page in the browser.")] = True,
    network: Annotated[
        str | None, Parameter(help="Whose features are shown first, e.g. discriminator. [default: the method's own]")
    ] = None,
    device: Device = "auto",
    seed: Seed = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Explore a run by hand, in the browser: samples, walks, arithmetic, forgetting, features, training.

    Serves a page on this machine until Ctrl-C. What you look at stands in the page's address, so that a view can be
    kept or sent to someone who has the same run. Nothing is written to the run and nothing leaves the machine. There is
    no password: whoever else is logged in to this machine can open the page, too, while it is served.

    Example: `ganfeat studio runs/digits --data mnist5k`.

    Parameters
    ----------
    run
        Run folder of a GAN: trained here, or imported.
    """
    from ganfeat.checkpoint import RunFolder
    from ganfeat.errors import InputError, MissingExtraError

    screen = Screen(json, quiet)
    RunFolder(run).config()
    within(("--limit", limit, 1, None), seed=seed)
    if port is not None and not 0 <= port <= 65535:
        raise InputError(f"--port {port} must be 0 to 65535")
    for library in ("fastapi", "uvicorn"):
        try:
            __import__(library)
        except ImportError:
            raise MissingExtraError(library, "studio", "the studio") from None

    from ganfeat.studio.address import is_loopback, listen, url

    sock = listen(host, port)
    try:
        screen.start()

        from ganfeat.studio.serve import make_server
        from ganfeat.studio.session import open_session

        session = open_session(run, data, limit=limit, network=network, device=device, seed=seed, stage=screen.stage)
        address = url(sock, host)
        if not is_loopback(sock.getsockname()[0]):
            print(
                f"warning: --host {host} lets everyone who reaches this machine use the page, without a password",
                file=sys.stderr,
            )
        if data is None:
            screen.say("Without --data there are no maps of features and no neighbours among real images.")

        def ready() -> None:
            screen.say("Ctrl-C ends it. The page:")
            screen.result({"run": str(run), "network": session.gan.describe(), "url": address})
            if not json:
                print(address)
            sys.stdout.flush()
            if open and _has_display():
                _show(address)

        server = make_server(session, sock, host, ready, _leave)
        server.run(sockets=[sock])
    finally:
        sock.close()
    return server.status


def _leave(status: int) -> None:
    """End although a thread is deep in somebody's loop: Python would wait for it, or crash beneath it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _has_display() -> bool:
    """Whether a browser would have a window; without one, Python would start one in the terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _show(address: str) -> None:
    """Open the browser, where there is one, without waiting for it."""
    import threading
    import webbrowser

    def show() -> None:
        try:
            webbrowser.open(address)
        except Exception as error:  # no browser is no reason not to serve
            print(f"warning: no browser could be opened: {error}", file=sys.stderr)

    threading.Thread(target=show, daemon=True).start()
