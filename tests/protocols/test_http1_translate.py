"""Messages to heads: what is written reads back as it was, by a parser that is not ours."""

from __future__ import annotations

import re
from typing import Any

import h11
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from daemun import EMPTY, Body, Buffered, Exchange, ExchangeError, Headers, NoContent, Peer, Request, Response
from daemun_http1.translate import length_of, response_head, upstream_head
from daemun_http1.written import field_lines

RESERVED = {
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"expect",
    b"upgrade",
}
NAMES = st.text("!#$%&'*+-.^_`|~abcxyz0123456789", min_size=1, max_size=12).map(str.encode)
VALUES = st.text([chr(code) for code in [9, *range(32, 127), *range(128, 256)]], max_size=20).map(
    lambda text: text.encode("latin-1").strip(b" \t")
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=8).map(
    lambda pairs: tuple(pair for pair in pairs if pair[0] not in RESERVED)
)
TARGETS = st.text([chr(code) for code in range(33, 127)], max_size=20).map(lambda text: b"/" + text.encode())


class Unknown:
    """A body of unknown length."""

    length: int | None = None
    trailers: Headers = ()

    async def read(self) -> bytes:
        return b""

    async def aclose(self) -> None:
        return None


BODIES = st.sampled_from(
    [EMPTY, Buffered(b"abc"), Buffered(b""), Unknown(), Buffered(b"abc", ((b"x-sum", b"1"),)), NoContent(7)]
)


def made(method: bytes, target: bytes, headers: Headers, body: Body, protocol: bytes = b"") -> Request:
    """A request as a handler hands it on."""
    return Request(method, target, b"a.test", headers, body, Exchange(Peer()), protocol)


def parsed(role: Any, data: bytes) -> Any:
    """The head in `data`, by h11."""
    parser = h11.Connection(role)
    if role is h11.CLIENT:
        parser.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        parser.send(h11.EndOfMessage())
    parser.receive_data(data)
    return parser.next_event()


@given(st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"M-SEARCH"]), TARGETS, HEADERS, BODIES)
def test_a_request_reads_back_as_it_was(method: bytes, target: bytes, headers: Headers, body: Body) -> None:
    event = parsed(h11.SERVER, upstream_head(made(method, target, headers, body)))
    assert isinstance(event, h11.Request)
    assert (event.method, event.target, event.http_version) == (method, target, b"1.1")
    fields = [(bytes(name), bytes(value)) for name, value in event.headers]
    assert fields[0] == (b"host", b"a.test")
    assert tuple(pair for pair in fields[1:] if pair[0] not in RESERVED) == headers
    framing = [pair for pair in fields[1:] if pair[0] in RESERVED]
    if isinstance(body, NoContent):
        assert framing == ([(b"content-length", b"0")] if method in (b"POST", b"PUT") else [])
    elif isinstance(body, Buffered) and not body.trailers:
        assert framing == [(b"content-length", b"%d" % len(body.data))]
    else:
        assert framing == [(b"transfer-encoding", b"chunked")]


@given(st.integers(200, 999), HEADERS, st.booleans(), st.sampled_from([0, 1]))
def test_a_response_reads_back_as_it_was(status: int, headers: Headers, close: bool, minor: int) -> None:
    assume(status not in (204, 304))
    response = Response(status, headers, Buffered(b"abc"))
    data = response_head(response, length_of(response.body.length, status), close=close, minor=minor)
    event = parsed(h11.CLIENT, data)
    assert isinstance(event, h11.Response)
    assert event.status_code == status
    fields = tuple((bytes(name), bytes(value)) for name, value in event.headers)
    assert tuple(pair for pair in fields if pair[0] not in RESERVED) == headers
    assert (b"content-length", b"3") in fields
    persistence = [value for name, value in fields if name == b"connection"]
    assert persistence == ([b"close"] if close else [b"keep-alive"] if minor == 0 else [])


@given(st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8)), max_size=4).map(tuple), st.binary(max_size=8))
def test_nothing_that_is_written_adds_a_line(headers: Headers, target: bytes) -> None:
    try:
        head = upstream_head(made(b"GET", b"/" + target, headers, EMPTY))
    except ExchangeError:
        names = [name for name, _ in headers]
        assert any(octet in b"\r\n\x00" for octet in target + b"".join(name + value for name, value in headers)) or any(
            not re.fullmatch(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name) for name in names
        )
        return
    assert len(head.split(b"\r\n")) == len(headers) + 4
    assert head.count(b"\r") == head.count(b"\n") == len(headers) + 3


@pytest.mark.parametrize("value", [b"a\r\nb", b"a\rb", b"a\nb", b"a\x00b", b"\r\n", "text", None, 7])
def test_fields_that_would_break_their_line_are_refused(value: Any) -> None:
    with pytest.raises(ExchangeError):
        field_lines(((b"x-a", value),))
    with pytest.raises(ExchangeError):
        upstream_head(made(b"GET", b"/", ((b"x-a", value),), EMPTY))
    with pytest.raises(ExchangeError):
        response_head(Response(200, ((b"x-a", value),)), b"", close=False, minor=1)


@pytest.mark.parametrize(
    ("status", "body", "framing"),
    [
        (200, Buffered(b"abc"), b"content-length: 3\r\n"),
        (200, EMPTY, b"content-length: 0\r\n"),
        (200, NoContent(None), b""),
        (200, NoContent(1234), b"content-length: 1234\r\n"),
        (204, Buffered(b"abc"), b""),
        (304, EMPTY, b""),
        (304, NoContent(1234), b"content-length: 1234\r\n"),
    ],
)
def test_the_length_that_a_response_announces(status: int, body: Body, framing: bytes) -> None:
    assert length_of(body.length, status) == framing


def test_an_upgrade_asks_for_its_protocol_and_a_connect_for_its_authority() -> None:
    upgrade = upstream_head(made(b"GET", b"/chat", (), Unknown(), b"websocket"))
    assert upgrade == b"GET /chat HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    connect = upstream_head(made(b"CONNECT", b"", (), Unknown(), b"connect"))
    assert connect == b"CONNECT a.test HTTP/1.1\r\nhost: a.test\r\n\r\n"
