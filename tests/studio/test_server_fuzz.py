"""Whatever is sent, the server answers with 2xx or 4xx, an error in JSON, and goes on."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("studio_extra")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
REFERENCE = st.one_of(
    st.from_regex(r"s[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True),
    st.sampled_from(
        [
            "s0.0",
            "s0.255",
            "s0.256",
            "s4294967296.0",
            "s٣.٤",
            "s-1.0",
            "s1",
            "v",
            "vAAAA",
            "v" + "A" * 43,
            "v" + "/" * 43,
            "v" + "_" * 43,
            "vAADAf" + "A" * 38,  # NaN
            "v" + "A" * 2000,
        ]
    ),
    st.binary(min_size=32, max_size=32).map(lambda b: "v" + encoded(b)),
    TEXT,
)
REFERENCES = st.lists(REFERENCE, max_size=5).map(",".join) | st.just(",".join(["s0.0"] * 65))
NUMBER = st.one_of(
    st.integers(-3, 40).map(str),
    st.sampled_from(
        ["", "nan", "inf", "-inf", "1e400", "-0", "0x10", "1_0", "9" * 30, "9" * 5000, "1.5", "٣", "+1", "true"]
    ),
)
VALUES = {
    **dict.fromkeys(["z", "points", "a", "b", "c"], REFERENCES),
    **dict.fromkeys(
        ["seed", "n", "given", "scale", "t", "frames", "noise", "maps", "i", "k", "layer", "channel"], NUMBER
    ),
    "kind": st.sampled_from(["linear", "spherical"]) | TEXT,
    **dict.fromkeys(["closed", "control", "measure", "labels"], st.sampled_from(["0", "1", "true", "2", ""]) | TEXT),
    **dict.fromkeys(["network", "name", "id"], st.sampled_from(["discriminator", "encoder", "../x"]) | TEXT),
}
ENDPOINTS = {
    "samples": ["seed", "n", "given"],
    "images": ["z", "given"],
    "image.png": ["z", "given", "scale"],
    "latents.json": ["z"],
    "latents.npy": ["z"],
    "walk": ["points", "t", "kind", "closed", "given"],
    "walk/strip": ["points", "frames", "kind", "closed", "given"],
    "walk.gif": ["points", "frames", "kind", "closed", "scale"],
    "arithmetic": ["a", "b", "c", "noise", "seed", "given"],
    "forget/layers": ["given"],
    "forget/compare": ["id", "maps", "z", "control", "measure"],
    "features": ["network", "labels"],
    "features/sprite.png": ["network"],
    "data/image.png": ["i"],
    "neighbours": ["network", "i", "k"],
    "channel": ["network", "layer", "channel", "k"],
    "filters": ["network"],
    "sheet.png": ["name"],
}


def encoded(content: bytes) -> str:
    import base64

    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@st.composite
def queries(draw: Any) -> tuple[str, list[tuple[str, str]]]:
    endpoint = draw(st.sampled_from(sorted(ENDPOINTS)))
    names = [name for name in ENDPOINTS[endpoint] if draw(st.integers(0, 9))]
    pairs = [(name, draw(VALUES[name])) for name in names]
    if pairs and not draw(st.integers(0, 9)):
        pairs.append((pairs[0][0], draw(VALUES[pairs[0][0]])))  # given twice
    return endpoint, pairs


def check(status: int, content: bytes) -> None:
    assert 200 <= status < 500, content
    if status >= 400:
        error = json.loads(content)
        assert set(error) == {"error"}
        assert error["error"]
        assert "Traceback" not in error["error"]


@given(query=queries())
@example(query=("walk", [("points", "s0.0,s0.1"), ("t", "nan")]))
@example(query=("walk", [("points", "v" + "A" * 43 + ",v" + "A" * 43), ("t", "1"), ("kind", "spherical")]))
@example(query=("arithmetic", [("a", "s0.0"), ("noise", "1e400")]))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_queries(http: Any, query: tuple[str, list[tuple[str, str]]]) -> None:
    answer = http.get(f"api/{query[0]}", params=query[1])
    check(answer.status_code, answer.content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | REFERENCE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
BOX = st.fixed_dictionaries(
    {"z": REFERENCE | JSON, **dict.fromkeys(["x", "y", "width", "height"], st.integers(-5, 20) | JSON)}
)


@given(
    content=JSON
    | st.fixed_dictionaries({"boxes": st.lists(BOX | JSON, max_size=5), "layer": st.integers(-4, 4) | JSON})
)
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_boxes(http: Any, content: Any) -> None:
    body = json.dumps(content)
    answer = http.post("api/forget", content=body, headers={"Content-Type": "application/json"})
    check(answer.status_code, answer.content)


@given(content=st.binary(max_size=200), kind=st.sampled_from(["image/png", "image/x", "text/html", ""]))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_uploads(http: Any, content: bytes, kind: str) -> None:
    answer = http.post("api/invert", content=content, headers={"Content-Type": kind})
    check(answer.status_code, answer.content)


@pytest.mark.parametrize("position", [0, 8, 20, 33, 45, 60])
def test_damaged_pictures(http: Any, position: int) -> None:
    """A PNG with one byte turned over is read or refused."""
    whole = bytearray(http.get("api/image.png", params={"z": "s0.0"}).content)
    whole[min(position, len(whole) - 1)] ^= 0xFF
    answer = http.post("api/invert", content=bytes(whole), headers={"Content-Type": "image/png"})
    check(answer.status_code, answer.content)


@pytest.mark.parametrize(
    "query",
    [b"%", b"%00", b"%ff%fe", b"z=%ff", b"z=s0.0&z", b"&&&=", b"z=" + b"," * 5000, b"z=%F0%9F%92%A9", b"z[]=s0.0"],
)
def test_odd_addresses(studio: Any, query: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=30)
    connection.putrequest("GET", "/api/images?" + query.decode("latin-1"))
    connection.endheaders()
    answer = connection.getresponse()
    check(answer.status, answer.read())
    connection.close()


@pytest.mark.parametrize("length", [100_000, 600_000, 1_000_000])
def test_long_addresses(studio: Any, length: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=30)
    connection.request("GET", "/api/images?z=v" + "A" * length)
    answer = connection.getresponse()
    check(answer.status, answer.read())
    assert answer.status == 400
    connection.close()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
@pytest.mark.parametrize("path", ["/", "/api/run", "/api/forget", "/static/x"])
def test_other_methods(http: Any, method: str, path: str) -> None:
    answer = http.request(method, path)
    assert answer.status_code in (404, 405)
    check(answer.status_code, answer.content)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00",  # a browser that tries TLS
        b"POST /api/forget HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/forget HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET /" + b"a" * 2**21,
    ],
)
def test_what_is_no_http_harms_nobody(studio: Any, http: Any, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", studio.port), timeout=30) as sock:
        try:
            sock.sendall(sent.replace(b"{port}", str(studio.port).encode()))
            answer = sock.recv(65536)
            assert answer == b"" or answer.split()[1][:1] == b"4"
        except (BrokenPipeError, ConnectionResetError):
            pass
    assert http.get("api/run").status_code == 200
