"""Serving, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn

from ganfeat.studio.app import create_app
from ganfeat.studio.session import Session

MOST_HEADERS = 2**20
"""Bytes of a request's first line and headers: z stand in addresses."""
PATIENCE = 0.3
"""Seconds, at the end."""


class Server(uvicorn.Server):
    """Uvicorn's, which calls back when it serves, and ends at the first signal, whatever is going on.

    Parameters
    ----------
    config : uvicorn.Config
    session : Session
        Closed at the end.
    ready : callable, optional
        Called when it serves.
    leave : callable(status), optional
        Called with the process's exit status where work goes on at the end that cannot be stopped: Python would wait
        for its thread.

    Attributes
    ----------
    status : int
        For the process: 0 after Ctrl-C, which is how it is meant to end.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        session: Session,
        ready: Callable[[], None] | None = None,
        leave: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(config)
        self.session, self.ready, self.leave = session, ready, leave
        self.status = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.ready is not None and self.started:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, and give what is at work a moment to end, too."""
        free = self.session.close()
        await super().shutdown(sockets)
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=PATIENCE)
        if self.leave is not None and (self.server_state.tasks or not free):
            self.leave(self.status)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let a signal end it; uvicorn's would raise it again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, _frame: object) -> None:
            self.status = 0 if number == signal.SIGINT else 128 + number
            self.should_exit = self.force_exit = True

        before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def make_server(
    session: Session,
    sock: socket.socket,
    host: str,
    ready: Callable[[], None] | None = None,
    leave: Callable[[int], None] | None = None,
) -> Server:
    """A server of a session on a port that was taken: ``server.run(sockets=[sock])``."""
    logging.getLogger("ganfeat.studio").setLevel(logging.INFO)
    address, port = sock.getsockname()[:2]
    config = uvicorn.Config(
        create_app(session, host=host, port=port, address=address),
        http="h11",
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=MOST_HEADERS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
        limit_concurrency=200,
    )
    return Server(config, session, ready, leave)
