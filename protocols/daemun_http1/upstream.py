"""The upstream half: one connection, one exchange at a time, content both ways at once."""

from __future__ import annotations

import math
from collections.abc import Callable

import anyio

from daemun import (
    EMPTY,
    Body,
    Buffered,
    Endpoint,
    ExchangeError,
    Headers,
    NoContent,
    Reason,
    Request,
    Response,
    Retry,
    Stream,
    UpstreamConnection,
)
from daemun_http1 import grammar
from daemun_http1.chunked import ChunkError
from daemun_http1.codec import HeadError
from daemun_http1.lines import Line, Lines
from daemun_http1.pump import Pump
from daemun_http1.reader import CHUNKED, MAX_LENGTH_DIGITS, RELAY_BYTES, UNBOUNDED_BYTES, UNTIL_CLOSE, Reader
from daemun_http1.roles import LENGTH
from daemun_http1.settings import Http1Settings
from daemun_http1.translate import BARE_STATUSES, read_response, read_status, upstream_head
from daemun_http1.written import plain

__all__ = ["Upstream", "UpstreamBody"]

_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
_MAX_INTERIM = 32
_BARE_METHODS = frozenset((b"HEAD", b"CONNECT"))
"""Requests whose responses have no content, or more than their head says."""
_LAST_WORDS_SECONDS = 10.0


class Upstream:
    """An HTTP/1.1 connection to an endpoint."""

    def __init__(self, stream: Stream, endpoint: Endpoint, settings: Http1Settings, lines: Lines) -> None:
        self.capacity = 1
        self.released: Callable[[UpstreamConnection], None]
        self.reader = Reader(settings.max_fields)
        self.stream = stream
        self._settings = settings
        self._lines = lines
        self._timeout_seconds = endpoint.response_timeout_seconds
        self._timer = endpoint.timers.timer(self._silent)
        self._running = False
        self._timed_out = False
        self._reusable = True
        self._pump = Pump(stream, self._content_sent)
        self._answered = False
        self._rest = b""
        """The last plain head without its first line. A server that says the same again is not read again."""
        self._headers: Headers = ()
        self._length = 0
        self._interim: tuple[int, Headers] = (0, ())
        stream.on_eof = stream.on_lost = self._gone

    def close(self) -> None:
        self.capacity = 0
        self._timer.cancel()
        self.stream.on_eof = self.stream.on_lost = None
        self.stream.abort()
        self.reader.waiting = b""

    def _gone(self) -> None:
        if not self._running:
            self.close()

    def _silent(self) -> None:
        self._timed_out = True
        self.stream.abort()

    async def send(self, request: Request) -> Response:
        stream = self.stream
        self.capacity = 0
        self._running = True
        self._answered = False
        try:
            if stream.unread_bytes:
                raise ExchangeError(
                    Reason.UPSTREAM_CLOSED, "the upstream spoke before it was asked", retry=Retry.UNSENT
                )
            body, kind = request.body, type(request.body)
            head = upstream_head(request)
            whole = kind is NoContent or (kind is Buffered and not body.trailers)
            try:
                taken = stream.send_nowait(head + body.data if whole else head)  # type: ignore[attr-defined]
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                raise _closed(Retry.UNSENT) from None
            if not taken:
                await self._written()
            if not whole and not request.protocol:
                await self._pump.start(request)
            if self._pump.sent and self._timeout_seconds:
                self._timer.start(self._timeout_seconds)
            interim, reader = 0, self.reader
            while True:
                if reader.seen or not reader.waiting:
                    await stream.wait_readable()
                block = self._next_head()
                if not block:
                    continue
                response = self._read(request, block)
                if response is not None:
                    self._timer.at = math.inf
                    return response
                interim += 1
                if interim > _MAX_INTERIM:
                    raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the upstream sent too many interim responses")
                await self._pass_on(request)
        except BaseException:
            self.over(reusable=False)
            raise

    async def finish(self) -> None:
        """Delivers what the client said last in a tunnel; the upstream has finished before it."""
        if self._pump.finished:
            with anyio.move_on_after(_LAST_WORDS_SECONDS):
                try:
                    await self.stream.flush()
                except anyio.BrokenResourceError:
                    pass

    def over(self, *, reusable: bool) -> None:
        """The exchange is over; the connection goes back to the pool if both sides ended where they should."""
        if not self._running:
            return
        self._running = False
        stream = self.stream
        self._timer.at = math.inf
        if (
            reusable
            and self._reusable
            and self._pump.sent
            and not stream.at_eof
            and not stream.lost
            and not stream.unread_bytes
            and not self.reader.waiting
        ):
            self.capacity = 1
        else:
            self.close()
        self.released(self)

    async def _written(self) -> None:
        try:
            await self.stream.wait_writable()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise _closed(Retry.IDEMPOTENT) from None

    def _content_sent(self) -> None:
        if self._running and self._timeout_seconds:
            self._timer.start(self._timeout_seconds)

    def _next_head(self) -> bytes:
        """The next head of the upstream if it is there, else b""."""
        reader = self.reader
        seen = reader.seen
        data = b""
        if seen or not reader.waiting:
            try:
                data = self.stream.receive_nowait()
            except _GONE:
                raise self._lost(Retry.NEVER if self._answered else Retry.IDEMPOTENT) from None
            if not data:
                return b""
            self._answered = True
        block = reader.head(data)
        if not block and (
            len(reader.waiting) > self._settings.max_head_bytes or grammar.bare_line_end(reader.waiting, seen)
        ):
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the upstream's head is malformed or too long")
        return block

    def _read(self, request: Request, block: bytes) -> Response | None:
        """The response whose head is `block`; None if it is an interim one, which is in `_interim` then."""
        settings = self._settings
        cut = block.find(b"\r\n")
        rest, first = block[cut:], read_status(block[:cut])
        if first is None or len(block) > settings.max_head_bytes:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the upstream's head is malformed or too long")
        status, minor = first
        usual = minor == 1 and status >= 200 and status not in BARE_STATUSES and request.method not in _BARE_METHODS
        if usual and rest == self._rest:
            return self._plain(status)
        lines = rest[2:-4].split(b"\r\n") if len(rest) > 4 else []
        if len(lines) > settings.max_fields:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the upstream's head is malformed or too long")
        try:
            fields = self._lines.read(lines)
        except HeadError:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the upstream's head is malformed") from None
        found = plain(fields, LENGTH) if usual else None
        if found is not None and found[1].isdigit() and len(found[1]) <= MAX_LENGTH_DIGITS:
            self._headers, self._length, self._rest = found[0], int(found[1]), rest
            return self._plain(status)
        if status < 200 and status != 101:
            self._interim = status, read_response(request.method, status, minor, fields)[0]
            return None
        return self._response(request, status, minor, fields)

    def _plain(self, status: int) -> Response:
        """The response whose head, the last plain one, says no more than the length of its content."""
        reader, length = self.reader, self._length
        waiting = reader.waiting
        self._reusable = True
        body: Body
        if length > len(waiting):
            reader.expect(length)
            body = UpstreamBody(self, length)
        else:
            if length == len(waiting):
                reader.waiting = b""
                body = Buffered(waiting) if waiting else EMPTY
            else:
                body = Buffered(reader.take(length))
            self.over(reusable=True)
        return Response(status, self._headers, body)

    async def _pass_on(self, request: Request) -> None:
        """An interim response."""
        status, headers = self._interim
        if status == 100:
            if self._pump.continued is not None:
                self._pump.continued.set()
        elif request.exchange.interim is not None:
            await request.exchange.interim(status, headers)

    def _lost(self, retry: Retry) -> ExchangeError:
        """Why the connection ended under the exchange."""
        if self._pump.error is not None:
            return self._pump.error
        if self._timed_out:
            return ExchangeError(Reason.UPSTREAM_TIMEOUT, f"the upstream was silent for {self._timeout_seconds:g} s")
        return _closed(retry)

    def _response(self, request: Request, status: int, minor: int, lines: list[Line]) -> Response:
        reader = self.reader
        headers, length, self._reusable, upgrade, announced = read_response(request.method, status, minor, lines)
        if status == 101 or (request.method == b"CONNECT" and 200 <= status < 300):
            if not request.protocol or (status == 101 and upgrade != request.protocol):
                raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the upstream switches to what nobody asked for")
            reader.expect(UNTIL_CLOSE)
            self._reusable = False
            assert request.exchange.tasks is not None
            request.exchange.tasks.start_soon(self._pump.run, request)
            return Response(status, headers, UpstreamBody(self, None))
        if length == 0:
            self.over(reusable=True)
            return Response(status, headers, NoContent(announced))
        if 0 < length <= len(reader.waiting):
            data = reader.take(length)
            self.over(reusable=True)
            return Response(status, headers, Buffered(data))
        reader.expect(length)
        return Response(status, headers, UpstreamBody(self, None if length in (CHUNKED, UNTIL_CLOSE) else length))

    @property
    def ended(self) -> bool:
        """The upstream closed the connection, where that is the end of its content."""
        return self.reader.left == UNTIL_CLOSE and self.stream.at_eof and not self.stream.unread_bytes

    def content_nowait(self) -> bytes:
        """The next content of the response; b"" where there is none yet, or at its end. Raises `ExchangeError`."""
        reader = self.reader
        if not reader.waiting and reader.left:
            if self.ended:
                return b""
            try:
                reader.feed(self.stream.receive_nowait())
            except _GONE:
                raise self._lost(Retry.NEVER) from None
        try:
            return reader.content()
        except ChunkError as error:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, f"the upstream broke its framing: {error}") from None


def _closed(retry: Retry) -> ExchangeError:
    return ExchangeError(Reason.UPSTREAM_CLOSED, "the upstream closed the connection", retry=retry)


class UpstreamBody:
    """Content of a response that is read while it is handed on; closed before its end, it ends the connection."""

    __slots__ = ("_upstream", "length", "trailers")

    def __init__(self, upstream: Upstream, length: int | None) -> None:
        self._upstream: Upstream | None = upstream
        self.length = length
        self.trailers: Headers = ()

    def read_nowait(self) -> bytes:
        """Content that has come; b"" says nothing about what will. Raises `ExchangeError`."""
        return b"" if self._upstream is None else self._upstream.content_nowait()

    async def relay(self, sink: Stream, came: Callable[[memoryview], None] | None = None) -> int:
        """Passes what is left of content without coding straight to `sink`; how many bytes. 0: read it instead."""
        upstream = self._upstream
        if upstream is None or upstream.reader.waiting:
            return 0
        if upstream.reader.left == UNTIL_CLOSE:
            return await upstream.stream.relay(sink, UNBOUNDED_BYTES, came)
        if upstream.reader.left < RELAY_BYTES:
            return 0
        moved = await upstream.stream.relay(sink, upstream.reader.left, came)
        upstream.reader.left -= moved
        return moved

    async def read(self) -> bytes:
        upstream = self._upstream
        if upstream is None:
            return b""
        while not (data := upstream.content_nowait()):
            if not upstream.reader.left:
                self.trailers = upstream.reader.trailers
                self._upstream = None
                upstream.over(reusable=True)
                return b""
            if upstream.ended:
                return b""
            await upstream.stream.wait_readable()
        return data

    async def aclose(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            await upstream.finish()
            upstream.over(reusable=False)
