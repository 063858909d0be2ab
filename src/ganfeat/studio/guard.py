"""Who may ask, how much they may send, and what a browser may do with the answers.

The server listens on this machine, but every page that the person's browser shows can send requests to it. So:

- the ``Host`` header must be one of ours, or a page of another host whose name an attacker lets point to 127.0.0.1 (DNS
  rebinding) could read the answers;
- a request that says it comes from another site (``Sec-Fetch-Site``, ``Origin``) gets nothing but the page itself;
- a body is read up to a limit, whatever its ``Content-Length`` says;
- the Content-Security-Policy lets the page load from here alone.
"""

from __future__ import annotations

import ipaddress
import json
import logging
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ganfeat.studio.address import bracketed, is_loopback

MAX_BODY = 8 * 2**20
"""Bytes of a request's body."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",  # a later run may be served under the same address
}
log = logging.getLogger("ganfeat.studio")


class GoneError(Exception):
    """Nobody waits for an answer."""


class Guard:
    """Checks requests before the application sees them, and adds :data:`HEADERS` to all answers.

    Parameters
    ----------
    app : ASGI application
    host : str
        The name of what the server listens on, as the person gave it. Beside it, loopback's names are taken.
    port : int
    address : str
        The IP address of ``host``. Where it is no loopback address, any IP address is taken, too: no name can be made
        to be one.
    max_body : int
        Bytes.
    """

    def __init__(
        self, app: ASGIApp, *, host: str, port: int, address: str = "127.0.0.1", max_body: int = MAX_BODY
    ) -> None:
        self.app, self.port, self.max_body = app, port, max_body
        self.names = {*LOOPBACK, bracketed(host).lower(), bracketed(address).lower()}
        self.open = not is_loopback(address)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = {name.lower() for name, _ in message["headers"]}
                extra = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items() if k.lower().encode() not in own]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            try:
                body = await self._body(scope, receive)
            except GoneError:
                return
            if body is None:
                refusal = 413, f"the request has more than {self.max_body // 2**20} MiB: send less"
        if refusal is not None:
            await refuse(answer, *refusal)
            return
        try:
            await self.app(scope, replay(body or b"", receive), answer)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not started:
                await refuse(answer, 500, "something went wrong in the server: its terminal says what")

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and message for a request that is not answered."""
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or not self._ours(hosts[0]):
            return 421, f"this server answers to http://127.0.0.1:{self.port} and http://localhost:{self.port} only"
        reads = scope["method"] in ("GET", "HEAD")
        origins, sites = _values(scope, b"origin"), _values(scope, b"sec-fetch-site")
        foreign = any(site not in ("same-origin", "none") for site in sites)
        foreign = foreign or any(not self._ours(origin.removeprefix("http://")) for origin in origins)
        if foreign and not (reads and scope["path"] == "/"):  # a link from elsewhere may lead to the page
            return 403, "this request comes from another site: use the studio's own page"
        return None

    def _ours(self, host: str) -> bool:
        name, colon, port = host.rpartition(":")
        if not colon or not port.isdigit():
            name, port = host, "80"
        if not port.isascii() or len(port) > 5 or int(port) != self.port:
            return False
        return name.lower() in self.names or (self.open and _is_address(name))

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None where it is too large.

        Raises
        ------
        GoneError
            If whoever sends it leaves before its end.
        """
        lengths = _values(scope, b"content-length")
        if any(not n.isdigit() or len(n) > 12 or int(n) > self.max_body for n in lengths):
            return None
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise GoneError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.max_body:
                return None
            if not message.get("more_body"):
                return b"".join(parts)


def replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives a body that was read already, and then what else comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


async def refuse(send: Send, status: int, message: str) -> None:
    """Answer with an error."""
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _values(scope: Scope, name: bytes) -> list[str]:
    found: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1").strip() for key, value in found if key.lower() == name]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True
