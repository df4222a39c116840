"""The client's end of a connection, byte by byte. Answers are read by h11: nothing of ours can colour them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

import anyio
import h11
from anyio.abc import ByteStream, SocketAttribute

from daemun.headers import Headers, header, header_values
from daemun.testing.patience import patience_seconds

__all__ = ["Answer", "Asked", "CutOff", "Wire", "read_asked", "reset"]

_ANY_BYTES = 1 << 30
_RECEIVE_BYTES = 256 * 1024


class CutOff(Exception):
    """The connection ended where an answer had not ended, or without one."""


class Answer(NamedTuple):
    """A response, read to its end."""

    status: int
    """Its status."""
    headers: Headers
    """Its fields, names in lower case."""
    body: bytes
    """All of its content."""
    trailers: Headers
    """Fields after the content."""
    interim: tuple[tuple[int, Headers], ...]
    """The 1xx responses that came before it."""

    def field(self, name: bytes) -> bytes | None:
        """The first value of the field `name` (lower-case), or None."""
        return header(self.headers, name)

    def values(self, name: bytes) -> list[bytes]:
        """Every value of the field `name` (lower-case), in order."""
        return header_values(self.headers, name)


class Asked(NamedTuple):
    """A request as an upstream received it."""

    method: bytes
    """Its method."""
    target: bytes
    """Path and query, as they were sent."""
    headers: Headers
    """Its fields, names in lower case."""
    body: bytes
    """All of its content."""
    trailers: Headers
    """Fields after the content."""

    def field(self, name: bytes) -> bytes | None:
        """The first value of the field `name` (lower-case), or None."""
        return header(self.headers, name)

    def values(self, name: bytes) -> list[bytes]:
        """Every value of the field `name` (lower-case), in order."""
        return header_values(self.headers, name)


def read_asked(message: bytes) -> Asked:
    """A whole request, from its bytes. Raises `h11.RemoteProtocolError` if it is none, or not only one."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_ANY_BYTES)
    parser.receive_data(message)
    request = parser.next_event()
    if not isinstance(request, h11.Request):
        raise h11.RemoteProtocolError("no whole head")
    body: list[bytes] = []
    while True:
        event = parser.next_event()
        if isinstance(event, h11.Data):
            body.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            break
        else:
            raise h11.RemoteProtocolError("the content is cut")
    if parser.trailing_data[0]:
        raise h11.RemoteProtocolError("bytes follow the message")
    headers, trailers = _pairs(request.headers), _pairs(event.headers)
    return Asked(request.method, request.target, headers, b"".join(body), trailers)


class Wire:
    """A plain connection to the gateway. What takes longer than `patience_seconds()` raises `TimeoutError`."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        """The connection itself."""
        self.received = b""
        """What came and was not asked for yet."""
        self.ended = False
        """The gateway has finished sending."""

    async def send(self, data: bytes) -> None:
        """Sends bytes as they are. Raises `CutOff` if the gateway takes no more."""
        try:
            with anyio.fail_after(patience_seconds()):
                await self.stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise CutOff("the connection is gone") from None

    async def finish(self) -> None:
        """Says that nothing more will be sent (FIN)."""
        await self.stream.send_eof()

    async def reset(self) -> None:
        """Leaves at once (RST)."""
        await reset(self.stream)

    async def aclose(self) -> None:
        """Leaves."""
        await self.stream.aclose()

    async def more(self) -> bool:
        """Waits for more bytes in `received`; False at their end. Raises `CutOff` after a reset."""
        if self.ended:
            return False
        try:
            with anyio.fail_after(patience_seconds()):
                self.received += await self.stream.receive(_RECEIVE_BYTES)
        except anyio.EndOfStream:
            self.ended = True
            return False
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self.ended = True
            raise CutOff("the connection was reset") from None
        return True

    async def until(self, marker: bytes) -> bytes:
        """Everything up to and with `marker`. Raises `CutOff` if it does not come."""
        while marker not in self.received:
            if not await self.more():
                raise CutOff(f"{marker!r} did not come, but {self.received[:200]!r}")
        end = self.received.index(marker) + len(marker)
        data, self.received = self.received[:end], self.received[end:]
        return data

    async def rest(self) -> bytes:
        """Everything up to the end of the connection. Raises `CutOff` if that is a reset."""
        pieces = [self.received]
        self.received = b""
        while await self.more():
            pieces.append(self.received)
            self.received = b""
        return b"".join(pieces)

    async def answer(self, method: str = "GET") -> Answer:
        """The next answer, to a request with `method`. Raises `CutOff` if it does not come to its end."""
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=_ANY_BYTES)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        parser.send(h11.EndOfMessage())
        interim: list[tuple[int, Headers]] = []
        head: h11.Response | None = None
        body: list[bytes] = []
        if self.received:
            parser.receive_data(self.received)
        while True:
            self.received = b""
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:
                if self.ended:
                    raise CutOff("the connection ended in the middle of an answer") from None
                raise
            if event is h11.NEED_DATA:
                await self.more()
                parser.receive_data(self.received)
            elif isinstance(event, h11.InformationalResponse):
                interim.append((event.status_code, _pairs(event.headers)))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                self.received = parser.trailing_data[0]
                headers, trailers = _pairs(head.headers), _pairs(event.headers)
                return Answer(head.status_code, headers, b"".join(body), trailers, tuple(interim))
            else:
                raise CutOff("the connection ended without an answer")


async def reset(stream: ByteStream) -> None:
    """Closes a TCP connection with a RST, whatever was sent before."""
    stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


def _pairs(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    return tuple((bytes(name), bytes(value)) for name, value in headers)
