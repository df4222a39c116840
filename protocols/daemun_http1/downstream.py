"""The downstream half: one connection, its requests one after the other, whatever the client does meanwhile.

No request gets a task, a scope or a queue of its own, unless its content streams: the connection has one cancel
scope, and an exchange that is cancelled is the connection's last.
"""

from __future__ import annotations

import fcntl
import logging
import math
import socket
import struct
import sys
import termios

import anyio
from anyio.abc import SocketAttribute

from daemun import EMPTY, Body, Buffered, Connection, Exchange, ExchangeError, Reason, Request, Stream, render
from daemun_http1.bodies import RequestBody, TunnelBody
from daemun_http1.heads import Heads
from daemun_http1.incoming import Incoming
from daemun_http1.lines import Lines
from daemun_http1.reader import Reader
from daemun_http1.responder import Responder
from daemun_http1.settings import Http1Settings
from daemun_http1.translate import length_of, response_head
from daemun_http1.watch import STUCK_SECONDS, Cause, Watch

__all__ = ["Downstream"]

log = logging.getLogger("daemun.http1")

_LINGER_SECONDS = 2.0
_LINGER_BYTES = 4 * 1024 * 1024
_LAST_WORDS_SECONDS = 5.0
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a close that discards what is unsent and tells the peer so."""


class Downstream:
    """Serves one HTTP/1 connection."""

    def __init__(self, stream: Stream, connection: Connection, settings: Http1Settings, lines: Lines) -> None:
        self._stream = stream
        self._connection = connection
        self._settings = settings
        self._reader = Reader(settings.max_fields)
        self._watch = watch = Watch(stream, connection, settings)
        self._heads = Heads(stream, self._reader, connection, settings, lines, watch)
        self._responder = Responder(stream, connection, settings, watch)
        self._respond = self._responder.respond
        self._interim = self._responder.interim
        self._set_deadline = watch.deadline.set
        self._responder.draining = connection.draining
        self._request: Request | None = None
        """The one whose exchange began last."""
        watch.cut_off = self._reset
        watch.on_time_out = self._time_out
        watch.on_stuck = self._stuck

    async def serve(self) -> None:
        """Serves until the connection is over, and closes it."""
        stream, connection, watch = self._stream, self._connection, self._watch
        stream.on_eof, stream.on_lost = self._client_stopped_sending, self._client_left
        stream.on_stall = watch.stalled
        connection.on_drain = self._drain
        try:
            with watch.scope, watch.guard:
                if not stream.lost:
                    await self._exchanges()
                    await self._end()
            if watch.scope.cancelled_caught:
                await self._last_words()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            stream.on_eof = stream.on_lost = stream.on_stall = connection.on_drain = None
            watch.end()
            if self._responder.exchange is not None and self._responder.head_sent:
                self._break_off()
            elif watch.cause is Cause.IDLE and _held_by_kernel(stream):
                self._reset()  # its last answer was never read: an end in order would wait behind it
            elif stream.unsent_bytes:
                stream.abort()
            else:
                await stream.aclose()
            self._request = self._responder.exchange = self._responder.body = None  # what they hold goes now

    # --- exchanges ---

    async def _exchanges(self) -> None:
        heads, reader, responder, stream = self._heads, self._reader, self._responder, self._stream
        connection, respond, deadline = self._connection, self._respond, self._watch.deadline
        run_exchange = connection.run_exchange
        try:
            while True:
                incoming = heads.take() if reader.waiting or stream.unread_bytes else None
                while incoming is None:
                    if responder.draining and not reader.waiting:
                        return
                    await heads.more()
                    incoming = heads.take()
                    if heads.over:
                        return
                self._request = request = self._begin(incoming)
                try:
                    if responder.body is None:
                        await run_exchange(request, respond)
                    else:
                        await connection.run_streaming(request, respond, self._unanswered)
                except ExchangeError as error:
                    if not responder.head_sent:
                        await self._refuse(error)
                    return  # the exchange stays where it was broken off: `serve` ends the connection accordingly
                responder.exchange = None
                deadline.at = math.inf
                if responder.body is not None:
                    await self._skip_body()
                if not responder.keep_alive:
                    return
        except ExchangeError as error:
            await self._refuse(error)

    def _begin(self, incoming: Incoming) -> Request:
        """The request of the exchange that begins."""
        connection, responder = self._connection, self._responder
        exchange = Exchange(connection.peer)
        exchange.on_deadline = self._set_deadline
        exchange.dialect = incoming.dialect
        if incoming.minor == 1:
            exchange.interim = self._interim
        else:
            exchange.version = "HTTP/1.0"
        responder.incoming = incoming
        responder.keep_alive = incoming.keep_alive and not (responder.draining or connection.leaving)
        responder.head_sent = False
        responder.exchange = exchange
        responder.body = None
        return Request(
            incoming.method,
            incoming.target,
            incoming.authority,
            incoming.headers,
            self._open_body(incoming, exchange) if incoming.length or incoming.protocol else EMPTY,
            exchange,
            incoming.protocol,
        )

    async def _skip_body(self) -> None:
        """Reads what nobody wanted of the request that is over, or gives the connection up."""
        responder, body = self._responder, self._responder.body
        responder.body = None
        if responder.keep_alive and isinstance(body, RequestBody):
            responder.keep_alive = await body.skip(self._settings.drain_bytes)

    def _unanswered(self) -> bool:
        """Whether an answer can still be sent; it is the last one."""
        self._responder.keep_alive = False
        return not self._responder.head_sent

    def _open_body(self, incoming: Incoming, exchange: Exchange) -> Body:
        reader, responder = self._reader, self._responder
        if incoming.protocol:
            responder.body = TunnelBody(self._stream, reader, exchange)
            return responder.body
        if 0 < incoming.length <= len(reader.waiting):
            exchange.received_bytes = incoming.length
            return Buffered(reader.take(incoming.length))
        reader.expect(incoming.length)
        send_continue = responder.send_continue if incoming.expects_continue else None
        responder.body = RequestBody(self._stream, reader, self._settings, self._watch, exchange, send_continue)
        return responder.body

    # --- what happens meanwhile ---

    def _client_left(self) -> None:
        exchange = self._responder.exchange
        if exchange is not None and exchange.reason is None:
            exchange.reason = Reason.CLIENT_LEFT
        self._watch.cancel(Cause.LEFT)

    def _client_stopped_sending(self) -> None:
        exchange = self._responder.exchange
        if exchange is None:
            return
        self._responder.client_finished()
        if exchange.on_half_close is not None:
            exchange.on_half_close()
        elif self._responder.body is None:
            _probe(self._stream)

    def _time_out(self, cause: Cause) -> None:
        exchange = self._responder.exchange
        if exchange is not None:
            exchange.reason = exchange.timeout_reason if cause is Cause.DEADLINE else Reason.REQUEST_TIMEOUT

    def _drain(self) -> None:
        responder = self._responder
        responder.keep_alive = False
        responder.draining = True
        exchange = responder.exchange
        if exchange is None:
            if not self._reader.waiting and not self._stream.unread_bytes:
                self._watch.cancel(Cause.IDLE)
        elif responder.head_sent and exchange.on_drain is not None:
            exchange.on_drain()

    # --- endings ---

    async def _last_words(self) -> None:
        """What is still said after a cancelled exchange that had no response. The connection is over."""
        exchange = self._responder.exchange
        self._watch.disarm()
        if exchange is not None and self._responder.head_sent:
            return
        error = self._last_error()
        if error is not None:
            with anyio.move_on_after(_LAST_WORDS_SECONDS):
                await self._refuse(error)

    def _last_error(self) -> ExchangeError | None:
        """What the client is told of why it was cancelled."""
        exchange, cause = self._responder.exchange, self._watch.cause
        reason = exchange.timeout_reason if exchange is not None else None
        if cause is Cause.HEAD:
            return ExchangeError(Reason.REQUEST_TIMEOUT, "the head took too long")
        if cause is Cause.CONTENT and exchange is not None:
            return ExchangeError(Reason.REQUEST_TIMEOUT, "the content came too slowly")
        if cause is Cause.DEADLINE and reason is not None:
            return ExchangeError(reason, f"the exchange took too long ({reason.value})")
        return None

    def _stuck(self) -> None:
        """An exchange was cancelled and does not end: its client is let go, and what it does goes on for nobody."""
        watch, exchange = self._watch, self._responder.exchange
        if watch.guard.shield or exchange is None:
            self._stream.abort()
            return
        watch.guard.shield = True
        self._connection.stuck(exchange)
        error = self._last_error()
        if error is not None and not self._responder.head_sent:
            try:
                self._stream.send_last(self._refusal(error))
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass
        self._responder.head_sent = True
        watch.wait_for(Cause.STUCK, STUCK_SECONDS)

    async def _refuse(self, error: ExchangeError) -> None:
        """The last response of the connection, for a request that has no exchange or lost it."""
        last = self._refusal(error)
        try:
            await self._stream.send(last)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
        await self._linger()

    def _refusal(self, error: ExchangeError) -> bytes:
        responder = self._responder
        responder.keep_alive = False
        if responder.exchange is None:
            self._connection.refused(error)
        request = self._request if responder.exchange is not None else None
        response = render(error) if request is None else self._connection.render(request, error)
        body = response.body
        if not isinstance(body, Buffered):  # a dialect's; its words can wait for no one
            response = render(error)
            body = response.body
            assert isinstance(body, Buffered)
        head = response_head(response, length_of(body.length, response.status), close=True, minor=1)
        bare = responder.exchange is not None and responder.incoming.method == b"HEAD"
        return head if bare else head + body.data

    async def _linger(self) -> None:
        """Lets the client read our last words before the kernel resets what it still sends (RFC 9112 §9.6)."""
        with anyio.move_on_after(_LINGER_SECONDS):
            try:
                await self._stream.send_eof()
                left = _LINGER_BYTES
                while left > 0:
                    left -= len(await self._stream.receive())
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass

    async def _end(self) -> None:
        """A close in order: what is written is delivered first."""
        stream = self._stream
        if stream.lost or self._responder.exchange is not None:
            return
        if stream.unsent_bytes:
            await stream.flush()
        if self._reader.left or stream.unread_bytes:
            await self._linger()

    def _break_off(self) -> None:
        """Ends the connection in the middle of a response: by a reset where its end would pass for the response's."""
        incoming = self._responder.incoming
        if incoming.minor == 0 or incoming.protocol:
            self._reset()
        else:
            self._stream.abort()

    def _reset(self) -> None:
        """Ends the connection by a reset: the kernel forgets what is unsent, and the client learns it at once."""
        raw = self._stream.extra(SocketAttribute.raw_socket, None)
        if raw is not None:
            try:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except (OSError, ValueError):  # it is closed
                pass
        self._stream.abort()


def _held_by_kernel(stream: Stream) -> int:
    """Bytes that were sent and that the client has not acknowledged."""
    raw = stream.extra(SocketAttribute.raw_socket, None)
    if raw is None or raw.family == socket.AF_UNIX:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0


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
    except (OSError, ValueError):  # it is closed
        pass
