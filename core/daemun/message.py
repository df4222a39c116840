"""Requests, responses and their bodies: what flows through every handler."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from msgspec import Struct
from msgspec.structs import replace

from daemun.exchange import Exchange
from daemun.headers import Headers, header

__all__ = [
    "EMPTY",
    "Body",
    "Buffered",
    "NoContent",
    "Request",
    "Response",
]


@runtime_checkable
class Body(Protocol):
    """A body that is pulled by whoever forwards it: back-pressure without queues.

    Two more methods may be there, for less work: `read_nowait() -> bytes` gives what has come, b"" saying nothing about
    what will; `async relay(stream, came=None) -> int` passes what is left straight to a `Stream` and says how many
    bytes, 0 if it is to be read; `came` is shown each piece, and keeps nothing of it. A body that wraps another and
    changes its bytes offers neither.
    """

    @property
    def length(self) -> int | None:
        """Bytes, or None where it is not known beforehand."""
        ...

    @property
    def trailers(self) -> Headers:
        """Fields after the content (RFC 9110 §6.5). Valid once `read()` returned b""."""
        ...

    async def read(self) -> bytes:
        """The next bytes; b"" is the end, and stays the end.

        Raises `ExchangeError` when the sender broke off or broke the protocol. Cancellation loses no byte that
        was not returned. The first read of a request body sends `100 Continue` if the client waits for it.
        """
        ...

    async def aclose(self) -> None:
        """Gives back what the body holds, read to its end or not. Idempotent."""
        ...


class Buffered(Struct, eq=False):
    """A body that is in memory as a whole. It may be read again by a retry: `data` stays."""

    data: bytes
    """All of it."""
    trailers: Headers = ()
    """Fields after the content."""
    _read: bool = False

    @property
    def length(self) -> int | None:
        """Bytes."""
        return len(self.data)

    async def read(self) -> bytes:
        """All of it, then b""."""
        if self._read:
            return b""
        self._read = True
        return self.data

    async def aclose(self) -> None:
        """Ends reading."""
        self._read = True

    def __repr__(self) -> str:
        return f"Buffered({len(self.data)} bytes)"


class NoContent:
    """No bytes, with the length that the sender announced for another method (HEAD, 304; RFC 9110 §8.6)."""

    __slots__ = ("data", "length", "trailers")

    def __init__(self, length: int | None = 0) -> None:
        self.length = length
        """The length that was announced; None: none was."""
        self.trailers: Headers = ()
        """There are none."""
        self.data = b""
        """b"", as a `Buffered` has its content."""

    async def read(self) -> bytes:
        """The end: b""."""
        return b""

    async def aclose(self) -> None:
        """Nothing is held."""

    def __repr__(self) -> str:
        return f"NoContent(length={self.length})"


EMPTY = NoContent(0)
"""The body of a message without content."""


class Request(Struct, frozen=True, eq=False):
    """One request, immutable; a filter that changes it hands a derived one to the next handler."""

    method: bytes
    """As sent: `GET`; upper and lower case differ (RFC 9110 §9.1)."""
    target: bytes
    """Path and query as sent (`/a?b=c`), `*` for OPTIONS, b"" for CONNECT. Never an absolute form."""
    authority: bytes
    """Host with optional port, lower-case; b"" only for HTTP/1.0 without Host (RFC 9110 §7.2)."""
    headers: Headers
    """Its fields; `host` is not among them, see `authority`."""
    body: Body
    """Its content, `EMPTY` if there is none."""
    exchange: Exchange
    """What belongs to the exchange and not to this version of the request: peer, deadline, tasks, stash."""
    protocol: bytes = b""
    """What the client wants to switch to: `Upgrade` of HTTP/1.1 or `:protocol` of RFC 8441; b"": nothing."""

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What follows the first `?` of the target, without it."""
        return self.target.partition(b"?")[2]

    def header(self, name: bytes) -> bytes | None:
        """The first value of the field `name` (lower-case), or None."""
        return header(self.headers, name)

    def with_header(self, name: bytes, value: bytes) -> Request:
        """The same request with exactly one field `name`."""
        return replace(self, headers=_set(self.headers, name, value))

    def with_headers(self, headers: Headers) -> Request:
        """The same request with other fields."""
        return replace(self, headers=headers)

    def without_header(self, name: bytes) -> Request:
        """The same request without any field `name`."""
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0] != name))

    def with_target(self, target: bytes) -> Request:
        """The same request for another path and query."""
        return replace(self, target=target)

    def with_authority(self, authority: bytes) -> Request:
        """The same request for another host."""
        return replace(self, authority=authority)

    def with_body(self, body: Body) -> Request:
        """The same request with another body; whoever wraps a body closes the wrapped one."""
        return replace(self, body=body)

    def __repr__(self) -> str:
        """For logs: without query and values of fields, where secrets are."""
        names = b" ".join(name for name, _ in self.headers)
        return f"Request({self.method!r}, {self.path!r}, {self.authority!r}, {names!r}, {self.body!r})"


class Response(Struct, frozen=True, eq=False):
    """One response, immutable. Whoever drops a response closes its body."""

    status: int
    """100..999; 101 and a 2xx to CONNECT switch protocols: both bodies are raw bytes then."""
    headers: Headers = ()
    """Its fields."""
    body: Body = EMPTY
    """Its content."""

    def header(self, name: bytes) -> bytes | None:
        """The first value of the field `name` (lower-case), or None."""
        return header(self.headers, name)

    def with_header(self, name: bytes, value: bytes) -> Response:
        """The same response with exactly one field `name`."""
        return replace(self, headers=_set(self.headers, name, value))

    def with_headers(self, headers: Headers) -> Response:
        """The same response with other fields."""
        return replace(self, headers=headers)

    def without_header(self, name: bytes) -> Response:
        """The same response without any field `name`."""
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0] != name))

    def with_status(self, status: int) -> Response:
        """The same response with another status."""
        return replace(self, status=status)

    def with_body(self, body: Body) -> Response:
        """The same response with another body; whoever wraps a body closes the wrapped one."""
        return replace(self, body=body)

    def __repr__(self) -> str:
        """For logs: without values of fields, where secrets are."""
        names = b" ".join(name for name, _ in self.headers)
        return f"Response({self.status!r}, {names!r}, {self.body!r})"


def _set(headers: Headers, name: bytes, value: bytes) -> Headers:
    return (*(pair for pair in headers if pair[0] != name), (name, value))
