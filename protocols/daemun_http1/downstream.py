"""The downstream half: one connection, its requests one after the other, whatever the client does meanwhile.

No request gets a task, a scope or a queue of its own, unless its content streams: the connection has one cancel
scope, left and entered anew only when an exchange was cancelled.
"""

from __future__ import annotations

import enum
import logging
import math
import socket
import struct
from time import monotonic

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

from daemun import (
    EMPTY,
    Body,
    Buffered,
    Connection,
    Exchange,
    ExchangeError,
    NoContent,
    Reason,
    Request,
    Response,
    Stream,
    render,
)
from daemun_http1 import grammar
from daemun_http1.bodies import RequestBody, TunnelBody
from daemun_http1.chunked import ChunkError
from daemun_http1.codec import Codec, HeadError
from daemun_http1.reader import Reader
from daemun_http1.settings import Http1Settings
from daemun_http1.translate import Incoming, field_lines, length_of, read_request, response_head

__all__ = ["Downstream"]

log = logging.getLogger("daemun.http1")

_LINGER_SECONDS = 2.0
_LINGER_BYTES = 4 * 1024 * 1024
_LAST_WORDS_SECONDS = 5.0
_TUNNEL_CLOSE_SECONDS = 60.0
_STALL_CHECKS = 6
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a close that discards what is unsent and tells the peer so."""


class _Cause(enum.Enum):
    """Why the scope of a connection was cancelled."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    CONTENT = enum.auto()
    DEADLINE = enum.auto()
    LEFT = enum.auto()
    TUNNEL = enum.auto()


class Downstream:
    """Serves one HTTP/1 connection."""

    def __init__(self, stream: Stream, connection: Connection, settings: Http1Settings, codec: Codec) -> None:
        self.stream = stream
        self.reader = Reader(settings.max_fields)
        self._connection = connection
        self._settings = settings
        self._codec = codec
        self._scope = anyio.CancelScope()
        self._timer = connection.timers.timer(self._too_slow)
        self._deadline = connection.timers.timer(self._deadline_passed)
        self._writes = connection.timers.timer(self._not_reading)
        self._unsent = -1
        self._stalled_since = 0.0
        self._waits_for = _Cause.IDLE
        self._cause: _Cause | None = None
        self._exchange: Exchange | None = None
        self._body: RequestBody | TunnelBody | None = None
        self._incoming = Incoming(b"", b"", 1, keep_alive=True)
        self._keep_alive = True
        self._head_sent = False
        self._slow_seconds = 0.0
        self._content_bytes = 0

    async def serve(self) -> None:
        """Serves until the connection is over, and closes it."""
        stream, connection = self.stream, self._connection
        stream.on_eof, stream.on_lost = self._client_stopped_sending, self._client_left
        stream.on_stall = self._stalled
        connection.on_drain = self._drain
        try:
            while True:
                with anyio.CancelScope() as self._scope:
                    if stream.lost:
                        return
                    await self._exchanges()
                    break
                if not await self._after_cancel():
                    return
            await self._end()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            stream.on_eof = stream.on_lost = stream.on_stall = connection.on_drain = None
            self._timer.cancel()
            self._deadline.cancel()
            self._writes.cancel()
            if self._exchange is not None and self._head_sent:
                self._break_off()
            elif stream.unsent_bytes:
                stream.abort()
            else:
                await stream.aclose()

    # --- requests ---

    async def _exchanges(self) -> None:
        while True:
            try:
                incoming = await self._next_request()
                if incoming is None:
                    return
                await self._run(incoming)
            except ExchangeError as error:
                await self._refuse(error)
                return
            if not self._keep_alive:
                return

    async def _next_request(self) -> Incoming | None:
        reader, settings = self.reader, self._settings
        head = None
        if reader.waiting:
            reader.skip_empty_line()
            head = reader.head(grammar.REQUEST)
        while head is None:
            waiting = reader.waiting
            if not waiting:
                if self._connection.draining or (self.stream.at_eof and not self.stream.unread_bytes):
                    return None
                self._waits_for = _Cause.IDLE
                self._timer.set(monotonic() + settings.keep_alive_seconds)
            elif self._waits_for is _Cause.IDLE or self._timer.at == math.inf:
                self._waits_for = _Cause.HEAD
                self._timer.set(monotonic() + settings.head_timeout_seconds)
            seen = reader.seen
            try:
                reader.feed(await self.stream.receive())
            except anyio.EndOfStream:
                if waiting:
                    raise ExchangeError(Reason.BAD_REQUEST, "the head ends in the middle") from None
                return None
            if seen < 2 and reader.waiting[:1] == b"\r":
                reader.skip_empty_line()
            head = reader.head(grammar.REQUEST)
            if head is None and reader.waiting:
                self._check_start(seen)
        self._timer.at = math.inf
        self._waits_for = _Cause.IDLE
        return self._read_head(*head)

    def _check_start(self, seen: int) -> None:
        waiting = self.reader.waiting
        if len(waiting) > self._settings.max_head_bytes:
            raise self._too_large(waiting)
        fault = grammar.early_fault(waiting, seen)
        if fault is not None:
            raise fault

    def _too_large(self, block: bytes) -> ExchangeError:
        limit = self._settings.max_head_bytes
        if 0 <= block.find(b"\r\n") <= limit:
            return ExchangeError(Reason.HEAD_TOO_LARGE, f"the head is longer than {limit} bytes")
        return ExchangeError(Reason.TARGET_TOO_LONG, f"the request line is longer than {limit} bytes")

    def _read_head(self, block: bytes, match: object) -> Incoming:
        settings = self._settings
        if len(block) > settings.max_head_bytes:
            raise self._too_large(block)
        if block.count(b"\n") > settings.max_fields + 2:
            raise ExchangeError(Reason.HEAD_TOO_LARGE, f"the head has more than {settings.max_fields} fields")
        if match is None:
            raise grammar.request_fault(block)
        method, target, minor, lines = match.groups()  # type: ignore[attr-defined]
        if settings.underscores != "keep" and b"_" in lines:
            lines = self._without_underscores(lines)
        try:
            fields = self._codec.request_fields(lines)
        except HeadError:
            raise grammar.request_fault(block) from None
        return read_request(method, target, 0 if minor == b"0" else 1, fields, self._connection.peer.scheme, settings)

    def _without_underscores(self, lines: bytes) -> bytes:
        kept = [line for line in lines.splitlines(keepends=True) if b"_" not in line.partition(b":")[0]]
        if self._settings.underscores == "refuse" and len(kept) < lines.count(b"\n"):
            raise ExchangeError(Reason.BAD_REQUEST, "field names with an underscore are refused here")
        return b"".join(kept)

    async def _run(self, incoming: Incoming) -> None:
        connection, reader = self._connection, self.reader
        self._incoming = incoming
        self._keep_alive = incoming.keep_alive and not connection.draining
        self._head_sent = False
        exchange = Exchange(connection.peer)
        exchange.on_deadline = self._deadline.set
        if incoming.minor == 1:
            exchange.interim = self._interim
        self._exchange = exchange
        body = self._open_body(incoming)
        request = Request(
            incoming.method,
            incoming.target,
            incoming.authority,
            incoming.headers
            + connection.forwarding.fields(incoming.authority, b"1.1" if incoming.minor else b"1.0", incoming.identity),
            body,
            exchange,
            incoming.protocol,
        )
        try:
            if self._body is None:
                await connection.run_exchange(request, self._respond)
            else:
                await self._run_with_tasks(request)
        except ExchangeError as error:
            self._keep_alive = False
            if not self._head_sent:
                await self._refuse(error)
            return  # the exchange stays where it was broken off: `serve` ends the connection accordingly
        self._exchange = None
        self._deadline.at = math.inf
        if self._body is not None:
            self._body = None
            if self._keep_alive and reader.left:
                self._keep_alive = await self._skip_content()

    async def _run_with_tasks(self, request: Request) -> None:
        """Runs an exchange whose request streams, with a task group to lend."""
        broken: ExchangeError | None = None
        try:
            async with anyio.create_task_group() as tasks:
                request.exchange.tasks = tasks
                try:
                    await self._connection.run_exchange(request, self._respond)
                except ExchangeError as error:
                    broken = error  # not through the group, which would wrap it
                finally:
                    tasks.cancel_scope.cancel()
        except ExceptionGroup as group:
            log.error("route %s: a task of an exchange failed", request.exchange.route or "-", exc_info=group)
            request.exchange.reason = Reason.PLUGIN_FAULT
            broken = ExchangeError(Reason.PLUGIN_FAULT, "a plugin of the gateway failed")
        if broken is not None:
            raise broken

    def _open_body(self, incoming: Incoming) -> Body:
        reader = self.reader
        if incoming.protocol:
            self._body = TunnelBody(self)
            return self._body
        reader.expect(incoming.length)
        if incoming.length == 0:
            self._body = None
            return EMPTY
        if 0 < incoming.length <= len(reader.waiting):
            self._body = None
            return Buffered(reader.content())
        self._slow_seconds = 0.0
        self._content_bytes = 0
        self._body = RequestBody(self, incoming.length, incoming.expects_continue)
        return self._body

    async def _skip_content(self) -> bool:
        """Reads what nobody wanted, if it is little; whether the connection can be kept."""
        if self._incoming.expects_continue or self.reader.left > self._settings.drain_bytes:
            return False
        left = self._settings.drain_bytes
        try:
            while self.reader.left:
                left -= len(await self.read_content())
                if left < 0:
                    return False
        except (ExchangeError, anyio.EndOfStream):
            return False
        return True

    # --- what the bodies of requests ask for ---

    async def read_content(self) -> bytes:
        """The next content of the request; b"" at its end. Raises `ExchangeError`."""
        reader = self.reader
        while reader.left:
            try:
                data = reader.content()
            except ChunkError as error:
                self._keep_alive = False
                raise ExchangeError(Reason.BAD_REQUEST, str(error)) from None
            if data:
                return data
            if reader.left:
                reader.feed(await self._receive_content())
        return b""

    async def _receive_content(self) -> bytes:
        settings = self._settings
        if self.stream.unread_bytes == 0 and settings.body_min_bytes_per_second:
            since = monotonic()
            allowed = settings.body_grace_seconds + self._content_bytes / settings.body_min_bytes_per_second
            self._waits_for = _Cause.CONTENT
            self._timer.set(since + allowed - self._slow_seconds)
            try:
                data = await self.receive_raw()
            finally:
                self._timer.at = math.inf
            self._slow_seconds += monotonic() - since
        else:
            data = await self.receive_raw()
        self._content_bytes += len(data)
        return data

    async def receive_raw(self) -> bytes:
        """Bytes from the client. Raises `ExchangeError` if it has left."""
        try:
            return await self.stream.receive()
        except anyio.EndOfStream:
            raise ExchangeError(Reason.BAD_REQUEST, "the content ends in the middle") from None
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise ExchangeError(Reason.CLIENT_LEFT, "the client left in the middle of its content") from None

    async def send_continue(self) -> None:
        """`100 Continue`, before the first read of content that the client holds back."""
        self._incoming.expects_continue = False
        if not self._head_sent:
            await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _interim(self, status: int, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        if not self._head_sent:
            await self._send(response_head(Response(status, headers), b"", close=False, minor=1))

    # --- responses ---

    async def _respond(self, response: Response) -> None:
        incoming, body = self._incoming, response.body
        if self._body is not None and not incoming.protocol and self._keep_alive and not self._content_will_end():
            self._keep_alive = False
        kind = type(body)
        try:
            if kind is Buffered and not body.trailers:
                framing = length_of(body, response.status)
                head = response_head(response, framing, close=not self._keep_alive, minor=incoming.minor)
                self._head_sent = True
                bare = incoming.method == b"HEAD" or not framing or response.status == 304
                await self._send(head if bare else head + body.data)  # type: ignore[attr-defined]
            elif kind is NoContent:
                framing = length_of(body, response.status)
                head = response_head(response, framing, close=not self._keep_alive, minor=incoming.minor)
                self._head_sent = True
                await self._send(head)
            elif incoming.protocol and (
                response.status == 101 or (incoming.protocol == b"connect" and response.status < 300)
            ):
                await self._switch(response)
            else:
                await self._stream(response, body)
        except ExchangeError as error:
            if self._head_sent:
                raise
            await self._respond(self._unsendable(error))

    def _unsendable(self, error: ExchangeError) -> Response:
        """The response in place of one whose head cannot be written."""
        exchange = self._exchange
        assert exchange is not None
        log.error("route %s: its response cannot be sent: %s", exchange.route or "-", error)
        response = render(error)
        exchange.reason, exchange.status = error.reason, response.status
        return response

    def _content_will_end(self) -> bool:
        """Whether what is left of the request can be read in passing, so that the connection is kept."""
        if not self.reader.left:
            return True
        if self._incoming.expects_continue:
            return False
        return self.reader.left <= self._settings.drain_bytes

    async def _stream(self, response: Response, body: Body) -> None:
        incoming = self._incoming
        if response.status < 200:
            raise ExchangeError(Reason.PLUGIN_FAULT, f"status {response.status} ends no exchange")
        bare = incoming.method == b"HEAD" or response.status in (204, 304)
        chunked = not bare and (body.length is None or bool(body.trailers)) and incoming.minor == 1
        if chunked:
            framing = b"transfer-encoding: chunked\r\n"
        elif body.length is None:
            framing = b""
            self._keep_alive = self._keep_alive and bare
        else:
            framing = length_of(body, response.status)
        head = response_head(response, framing, close=not self._keep_alive, minor=incoming.minor)
        self._head_sent = True
        await self._send(head)
        if bare:
            return
        left = body.length
        while data := await body.read():
            if chunked:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            elif left is not None:
                left -= len(data)
                if left < 0:
                    raise ExchangeError(Reason.PLUGIN_FAULT, "a body is longer than it said")
            await self._send(data)
        if chunked:
            await self._send(b"0\r\n" + field_lines(body.trailers) + b"\r\n")
        elif left:
            raise ExchangeError(Reason.UPSTREAM_CLOSED, "a body is shorter than it said")

    async def _switch(self, response: Response) -> None:
        """Bytes both ways from here on, until both sides have finished."""
        self._keep_alive = False
        framing = b""
        if response.status == 101:
            framing = b"connection: upgrade\r\nupgrade: %b\r\n" % self._incoming.protocol
        head = response_head(response, framing, close=False, minor=1)
        self._head_sent = True
        await self._send(head)
        tunnel = self._body
        assert isinstance(tunnel, TunnelBody)
        tunnel.open()
        while data := await response.body.read():
            await self._send(data)
        if self.stream.extra(TLSAttribute.ssl_object, None) is not None:
            return  # TLS has no half of an end
        await self.stream.send_eof()
        if not tunnel.ended:
            self._waits_for = _Cause.TUNNEL
            self._timer.set(monotonic() + _TUNNEL_CLOSE_SECONDS)
            await tunnel.closed.wait()

    async def _send(self, data: bytes) -> None:
        try:
            await self.stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise ExchangeError(Reason.CLIENT_LEFT, "the client left before the end of the response") from None

    # --- what happens meanwhile ---

    def _cancel(self, cause: _Cause) -> None:
        if self._cause is None:
            self._cause = cause
            self._scope.cancel()

    def _too_slow(self) -> None:
        self._cancel(self._waits_for)

    def _deadline_passed(self) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.reason = exchange.timeout_reason
            self._cancel(_Cause.DEADLINE)

    def _stalled(self, waits: bool) -> None:
        if not waits:
            self._writes.at = math.inf
            return
        self._unsent = -1
        self._stalled_since = now = monotonic()
        self._writes.set(now + self._settings.send_timeout_seconds / _STALL_CHECKS)

    def _not_reading(self) -> None:
        """A write waits: cuts the client off once nothing moved for the whole time allowed."""
        unsent, limit, now = self.stream.unsent_bytes, self._settings.send_timeout_seconds, monotonic()
        if unsent != self._unsent:
            if self._unsent >= 0:
                self._stalled_since = now
            self._unsent = unsent
        elif now - self._stalled_since >= limit - limit / _STALL_CHECKS / 2:
            self._break_off()
            return
        self._writes.set(now + limit / _STALL_CHECKS)

    def _client_left(self) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.reason is None:
            exchange.reason = Reason.CLIENT_LEFT
        self._cancel(_Cause.LEFT)

    def _client_stopped_sending(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.on_half_close is not None:
            exchange.on_half_close()
        elif self._body is None:
            _probe(self.stream)

    def _drain(self) -> None:
        if self._exchange is None and not self.reader.waiting and not self.stream.unread_bytes:
            self._cancel(_Cause.IDLE)
        self._keep_alive = False

    # --- endings ---

    async def _after_cancel(self) -> bool:
        """What is still said after a cancelled exchange that had no response. The connection is over."""
        cause, exchange = self._cause, self._exchange
        reason = exchange.timeout_reason if exchange is not None else None
        self._writes.at = self._timer.at = self._deadline.at = math.inf
        if self._head_sent and exchange is not None:
            return False
        with anyio.move_on_after(_LAST_WORDS_SECONDS):
            if cause is _Cause.HEAD:
                await self._refuse(ExchangeError(Reason.REQUEST_TIMEOUT, "the head took too long"))
            elif cause is _Cause.CONTENT and exchange is not None:
                await self._refuse(ExchangeError(Reason.REQUEST_TIMEOUT, "the content came too slowly"))
            elif cause is _Cause.DEADLINE and reason is not None:
                await self._refuse(ExchangeError(reason, f"the exchange took too long ({reason.value})"))
        return False

    async def _refuse(self, error: ExchangeError) -> None:
        """The last response of the connection, for a request that has no exchange or lost it."""
        self._keep_alive = False
        response = render(error)
        body = response.body
        assert isinstance(body, Buffered)
        head = response_head(response, length_of(body, response.status), close=True, minor=1)
        bare = self._exchange is not None and self._incoming.method == b"HEAD"
        try:
            await self.stream.send(head if bare else head + body.data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
        await self._linger()

    async def _linger(self) -> None:
        """Lets the client read our last words before the kernel resets what it still sends (RFC 9112 §9.6)."""
        with anyio.move_on_after(_LINGER_SECONDS):
            try:
                await self.stream.send_eof()
                left = _LINGER_BYTES
                while left > 0:
                    left -= len(await self.stream.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass

    async def _end(self) -> None:
        """A close in order: what is written is delivered first."""
        stream = self.stream
        if stream.lost or self._exchange is not None:
            return
        if stream.unsent_bytes:
            await stream.flush()
        if self.reader.left or stream.unread_bytes:
            await self._linger()

    def _break_off(self) -> None:
        """Ends the connection in the middle of a response: by a reset where its end would pass for the response's."""
        if self._incoming.minor == 0 or self._incoming.protocol:
            raw = self.stream.extra(SocketAttribute.raw_socket, None)
            if raw is not None:
                try:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                except OSError:
                    pass
        self.stream.abort()


def _probe(stream: Stream) -> None:
    """The client stopped sending: it waits for its answer, or it is gone. TCP's own probes tell within a minute."""
    raw = stream.extra(SocketAttribute.raw_socket, None)
    if raw is None or raw.family == socket.AF_UNIX:
        return
    try:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    except OSError:
        pass
