"""Who may ask the studio's server, how much they may send, and that no path that a page sends is read."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("studio_extra")


def ask(port: int, path: str, headers: dict[str, str], method: str = "GET", body: bytes | None = None) -> Any:
    """Status, headers and JSON of a request whose headers are these alone."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    kind = answer.getheader("content-type", "")
    return answer.status, dict(answer.getheaders()), json.loads(content) if "json" in kind else content


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_this_machines_names_are_answered(studio: Any, name: str) -> None:
    assert ask(studio.port, "/api/run", {"Host": f"{name}:{studio.port}"})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}",  # DNS rebinding: a name of theirs that points to 127.0.0.1
        "127.0.0.1.evil.example:{port}",
        "localhost.evil.example:{port}",
        "127.0.0.1",  # another server's: port 80
        "127.0.0.1:1",
        "192.168.0.1:{port}",
        "127.0.0.1:{port}@evil.example",
        "evil.example:{port}#127.0.0.1:{port}",
        "[::1]:{port}:{port}",
        "127.0.0.1:+{port}",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/run", "/static/main.js", "/nothing"])
def test_other_names_are_refused(studio: Any, host: str, path: str) -> None:
    status, _, content = ask(studio.port, path, {"Host": host.format(port=studio.port)})
    assert status == 421
    assert str(studio.port) in content["error"]


def test_two_hosts_or_none_are_refused(studio: Any) -> None:
    good = f"Host: 127.0.0.1:{studio.port}\r\n"
    for hosts in ("", good + "Host: evil.example\r\n", "Host: evil.example\r\n" + good):
        with socket.create_connection(("127.0.0.1", studio.port), timeout=10) as sock:
            sock.sendall(f"GET /api/run HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        assert answer.split()[1] in (b"400", b"421"), hosts


SITES = [
    ({"Origin": "http://127.0.0.1:{port}"}, True),
    ({"Origin": "http://localhost:{port}", "Sec-Fetch-Site": "same-origin"}, True),
    ({}, True),
    ({"Origin": "http://evil.example"}, False),
    ({"Origin": "https://127.0.0.1:{port}"}, False),
    ({"Origin": "http://127.0.0.1:1"}, False),
    ({"Origin": "null"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site"}, False),  # another port of this machine
]


@pytest.mark.parametrize(("headers", "taken"), SITES)
@pytest.mark.parametrize(("method", "path"), [("POST", "/api/forget"), ("GET", "/api/run")])
def test_requests_of_other_sites_are_refused(
    studio: Any, headers: dict[str, str], taken: bool, method: str, path: str
) -> None:
    host = f"127.0.0.1:{studio.port}"
    given = {k: v.format(port=studio.port) for k, v in headers.items()}
    body = None
    if method == "POST":
        body, given = b'{"boxes": []}', {**given, "Content-Type": "application/json"}
    status, _, content = ask(studio.port, path, {"Host": host, **given}, method, body)
    assert status == ({"GET": 200, "POST": 400}[method] if taken else 403), content


def test_a_link_from_elsewhere_leads_to_the_page(studio: Any) -> None:
    headers = {"Host": f"127.0.0.1:{studio.port}", "Sec-Fetch-Site": "cross-site"}
    status, found, content = ask(studio.port, "/", headers)
    assert status == 200
    assert found["content-type"].startswith("text/html")
    assert b"<html" in content


@pytest.mark.parametrize(
    "path", ["/", "/api/run", "/api/walk?points=s0.0,s0.1&t=0", "/api/walk", "/nothing", "/static/x"]
)
def test_every_answer_binds_the_browser(http: Any, path: str) -> None:
    headers = http.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "no-store" in headers["cache-control"]
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/..%5capp.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/pages/../../app.py",
        "/static/",
        "/static/pages",
        "/static/index.html%00.js",
        "/static/" + "a" * 5000,
        "/app.py",
        "//etc/passwd",
        "/api/sheet.png?name=../config.json",
        "/api/sheet.png?name=..%2fmodel.safetensors",
        "/api/sheet.png?name=%2fetc%2fpasswd",
        "/api/sheet.png?name=step-00000000.png%00",
        "/api/sheet.png?name=./step-00000000.png",
        "/api/sheet.png?name=",
    ],
)
def test_no_path_that_a_page_sends_is_read(studio: Any, path: str) -> None:
    status, _, content = ask(studio.port, path, {"Host": f"127.0.0.1:{studio.port}"})
    assert status == 404, (path, content)
    assert set(content) == {"error"}


MEBIBYTE = 2**20


def test_a_declared_length_above_the_limit_is_refused_unread(studio: Any) -> None:
    with socket.create_connection(("127.0.0.1", studio.port), timeout=10) as sock:
        sock.sendall(
            f"POST /api/invert HTTP/1.1\r\nHost: 127.0.0.1:{studio.port}\r\nContent-Type: image/png\r\n"
            f"Content-Length: {9 * MEBIBYTE}\r\nConnection: close\r\n\r\n".encode()
        )
        assert sock.recv(65536).split()[1] == b"413"  # though not one byte of it was sent


def test_a_chunked_body_is_counted(studio: Any) -> None:
    """Without Content-Length, 9 MiB are refused when the limit of 8 is passed."""

    def chunks() -> Iterator[bytes]:
        for _ in range(9):
            yield b"x" * MEBIBYTE

    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=30)
    headers = {"Content-Type": "image/png", "Transfer-Encoding": "chunked"}
    try:
        connection.request("POST", "/api/invert", chunks(), headers, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 413
        assert "8 MiB" in json.loads(answer.read())["error"]
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused while the rest was on its way
    finally:
        connection.close()
    assert ask(studio.port, "/api/run", {"Host": f"127.0.0.1:{studio.port}"})[0] == 200


def test_a_body_that_breaks_off_reaches_nobody(studio_extra: None) -> None:
    """Who leaves in the middle of a body has said nothing that could be acted on."""
    import asyncio

    from ganfeat.studio.guard import Guard

    reached: list[bytes] = []
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        reached.append((await receive())["body"])

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/forget", "headers": [(b"host", b"localhost:7")]}
    for last, expected in (({"type": "http.disconnect"}, []), ({"type": "http.request", "body": b"cd"}, [b"abcd"])):
        messages = iter([{"type": "http.request", "body": b"ab", "more_body": True}, last])

        async def receive(messages: Iterator[Any] = messages) -> Any:
            return next(messages)

        asyncio.run(Guard(application, host="127.0.0.1", port=7)(scope, receive, send))
        assert reached == expected
    assert sent == []


def test_an_exception_never_reaches_the_page(studio_extra: None, caplog: pytest.LogCaptureFixture) -> None:
    """The page gets 500 and a sentence, the terminal the traceback."""
    import asyncio

    from ganfeat.studio.guard import Guard

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("secret")

    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost:7")]}
    asyncio.run(Guard(broken, host="127.0.0.1", port=7)(scope, receive, send))
    assert sent[0]["status"] == 500
    assert b"secret" not in sent[1]["body"]
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("bound", "address", "host", "ours"),
    [
        ("127.0.0.1", "127.0.0.1", "10.0.0.7:7", False),
        ("127.1", "127.0.0.1", "10.0.0.7:7", False),
        ("127.1", "127.0.0.1", "127.0.0.1:7", True),
        ("studio.local", "127.0.0.2", "10.0.0.7:7", False),
        ("0.0.0.0", "0.0.0.0", "10.0.0.7:7", True),  # no name can be made to point to it
        ("0.0.0.0", "0.0.0.0", "evil.example:7", False),
        ("0", "0.0.0.0", "10.0.0.7:7", True),
        ("studio.home", "10.0.0.7", "studio.home:7", True),
        ("::", "::", "[fe80::1]:7", True),
    ],
)
def test_beyond_loopback_addresses_are_taken_and_names_are_not(
    studio_extra: None, bound: str, address: str, host: str, ours: bool
) -> None:
    from ganfeat.studio.guard import Guard

    assert Guard(None, host=bound, port=7, address=address)._ours(host) is ours  # type: ignore[arg-type]
