"""The wire protocols that scenarios run on, each with the bare loop of its codec.

The bare loop is what any server on that codec pays (for our own: on httptools, a parser in C). It takes a request's
head apart and puts the answer together, by the codec alone where that can write, and does nothing else; in HTTP/2 that
is always the library h2. Another protocol joins by one entry in `PROTOCOLS`; on loopback the clients of `far_end.py`
speak HTTP/1 only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from itertools import cycle
from time import process_time_ns
from typing import Any

import h11
from msgspec import Struct
from msgspec.structs import replace

from daemun.testing.measuring import Message, Wire

from .http2 import bare_h2, ends, speak_http2

__all__ = ["PROTOCOLS", "Protocol"]

_DIFFERENT = 5000
_FIELDS = [(b"content-type", b"text/plain"), (b"server", b"bare")]


class Protocol(Struct, frozen=True):
    """A protocol with one of its codecs."""

    name: str
    codec: str
    """Name of the module that its bare loop needs."""
    wire: Wire
    """How a lane speaks it."""
    bare: Callable[[Message, int], float]
    """The bare loop over so many requests: CPU nanoseconds of one."""
    with_plugins: bool = True
    """Whether plugins are measured on it, and loopback."""
    in_short: bool = True
    """Whether it is in the short form."""


def _bare_h11(message: Message, requests: int) -> float:
    data, content = message.data, message.answer
    connection = h11.Connection(h11.SERVER)
    fields = [*_FIELDS, (b"content-length", b"%d" % len(content))]
    since = process_time_ns()
    for _ in range(requests):
        connection.receive_data(data)
        assert type(connection.next_event()) is h11.Request
        assert type(connection.next_event()) is h11.EndOfMessage
        head = connection.send(h11.Response(status_code=200, headers=fields, reason=b"OK"))
        body = connection.send(h11.Data(data=content))
        assert head is not None
        assert body is not None
        connection.send(h11.EndOfMessage())
        _sent(head + body)
        connection.start_next_cycle()
    return (process_time_ns() - since) / requests


class _Request:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


def _bare_httptools(message: Message, requests: int) -> float:
    import httptools

    data, content = message.data, message.answer
    request: Any = _Request()
    parser = httptools.HttpRequestParser(request)
    since = process_time_ns()
    for _ in range(requests):
        request.headers = []
        parser.feed_data(data)
        lines = b"".join([b"%b: %b\r\n" % field for field in _FIELDS])
        _sent(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (lines, len(content), content))
    return (process_time_ns() - since) / requests


def _sent(data: bytes) -> None:
    """Where a server would write."""


def _http1(codec: str) -> Wire:
    return Wire(settings={"codec": codec})


def _varied(codec: str) -> Wire:
    return Wire(settings={"codec": codec}, speak=lambda message: cycle(_different_data(message)))


def _http2(codec: str) -> Wire:
    return Wire("http2", {"codec": codec}, speak_http2, ends)


def _varied2(codec: str) -> Wire:
    return Wire("http2", {"codec": codec}, lambda message: speak_http2(*_different(message)), ends)


@cache
def _different_data(message: Message) -> list[bytes]:
    return [one.data for one in _different(message)]


@cache
def _different(message: Message) -> list[Message]:
    """Requests of which each has another target and an identifier and a cookie of its own: no memory of what was read
    before is of use for those."""
    return [
        replace(
            message,
            target=f"{message.target}/{number}",
            headers=(*message.headers, (b"x-request-id", b"%032x" % number), (b"cookie", b"session=%032x" % number)),
        )
        for number in range(_DIFFERENT)
    ]


PROTOCOLS = [
    Protocol("http1/plain", "httptools", _http1("plain"), _bare_httptools),
    Protocol("http1/h11", "h11", _http1("h11"), _bare_h11),
    Protocol("http1/plain varied", "httptools", _varied("plain"), _bare_httptools, with_plugins=False),
    Protocol("http1/h11 varied", "h11", _varied("h11"), _bare_h11, with_plugins=False),
    Protocol("http2/plain", "h2", _http2("plain"), bare_h2, with_plugins=False),
    Protocol("http2/plain varied", "h2", _varied2("plain"), bare_h2, with_plugins=False),
    Protocol("http2/h2", "h2", _http2("h2"), bare_h2, with_plugins=False, in_short=False),
]
"""Those whose codec is installed. In `varied` no two requests are the same, and each has two fields more."""
PROTOCOLS = [one for one in PROTOCOLS if importlib.util.find_spec(one.codec)]
