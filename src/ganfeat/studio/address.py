"""Where the server listens: names of this machine, and its ports."""

from __future__ import annotations

import errno
import ipaddress
import socket

from ganfeat.errors import InputError

USUAL_PORT = 8765


def is_loopback(address: str) -> bool:
    """Whether an IP address, as :meth:`socket.socket.getsockname` gives it, is this machine's alone."""
    return ipaddress.ip_address(address).is_loopback


def bracketed(host: str) -> str:
    """A host as it stands in a URL: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def listen(host: str, port: int | None) -> socket.socket:
    """Take a port: the given one, or the usual one, or, where that is busy, one that the system chooses.

    Raises
    ------
    InputError
        If the host is none of this machine's, or the port is busy or not allowed.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise InputError(f"--host {host}: there is no such host; use 127.0.0.1") from None
    for wanted in (USUAL_PORT, 0) if port is None else (port,):
        # named, so that asyncio sends at once what it has: without, an answer waits 40 ms for an acknowledgement
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((address[0], wanted, *address[2:]))
            sock.listen(128)
        except OSError as error:
            sock.close()
            if error.errno == errno.EADDRNOTAVAIL:
                raise InputError(f"--host {host}: this machine has no such address; use 127.0.0.1") from None
            if error.errno == errno.EACCES:
                raise InputError(f"--port {port}: this port is not allowed; take one from 1024 on") from None
            if error.errno != errno.EADDRINUSE:
                raise InputError(f"--host {host} --port {wanted}: {error.strerror}") from None
            continue
        return sock
    raise InputError(f"--port {port} is busy: another program listens there. Leave --port out, and a free one is taken")


def url(sock: socket.socket, host: str) -> str:
    """The address to open, without a name that only means all addresses."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(sock.getsockname()[0], host)
    return f"http://{bracketed(host)}:{sock.getsockname()[1]}/"
