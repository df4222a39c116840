"""Writing the response of an exchange: whole, streamed, or as the first bytes of another protocol."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio
from anyio.streams.tls import TLSAttribute

from daemun import (
    Body,
    Buffered,
    Connection,
    Exchange,
    ExchangeError,
    Headers,
    NoContent,
    Reason,
    Response,
    Stream,
    render,
)
from daemun_http1.bodies import RequestBody, TunnelBody
from daemun_http1.incoming import Incoming
from daemun_http1.settings import Http1Settings
from daemun_http1.translate import BARE_STATUSES, length_of, response_head, status_line
from daemun_http1.watch import Cause, Watch
from daemun_http1.written import field_lines

__all__ = ["Responder"]

log = logging.getLogger("daemun.http1")

_TUNNEL_CLOSE_SECONDS = 60.0
_UNREAD_SECONDS = 2.0
"""How long a tunnel that has ended otherwise waits for somebody to read what its client said last."""
_LARGE_BYTES = 16 * 1024


class Responder:
    """The writing side of one connection; `begin` is called for each exchange."""

    __slots__ = (
        "_connection",
        "_settings",
        "_stream",
        "_waits",
        "_watch",
        "body",
        "draining",
        "exchange",
        "head_sent",
        "incoming",
        "keep_alive",
    )

    def __init__(self, stream: Stream, connection: Connection, settings: Http1Settings, watch: Watch) -> None:
        self.incoming = Incoming(b"", b"")
        self.exchange: Exchange | None = None
        """The exchange that runs; stays where it is when it was broken off."""
        self.body: RequestBody | TunnelBody | None = None
        """The content of its request, if that streams."""
        self.draining = False
        """The gateway has told that it drains."""
        self.keep_alive = True
        """Whether a further request may follow."""
        self.head_sent = False
        """The head of the response is out: nothing else can be said any more."""
        self._stream = stream
        self._connection = connection
        self._settings = settings
        self._watch = watch
        self._waits = False

    def respond(self, response: Response) -> Awaitable[None] | None:
        """Writes `response`; what it returns is to be awaited. Raises `ExchangeError` if it is broken off."""
        if self.head_sent:
            raise _left()  # the exchange was given up
        incoming, body = self.incoming, response.body
        request_body = self.body
        if request_body is not None and type(request_body) is RequestBody and self.keep_alive:
            self.keep_alive = request_body.can_be_skipped(self._settings.drain_bytes)
        kind = type(body)
        if kind is not NoContent and (kind is not Buffered or body.trailers):
            return self._stream_response(response)
        status = response.status
        try:
            bare = kind is NoContent or incoming.method == b"HEAD" or status in BARE_STATUSES
            content = b"" if bare else body.data  # type: ignore[attr-defined]
            if bare or status < 200 or not self.keep_alive or not incoming.minor:
                framing = length_of(body.length, status)
                head = response_head(response, framing, close=not self.keep_alive, minor=incoming.minor)
            else:  # the usual: content in memory, on a connection that stays
                lines = field_lines(response.headers)
                head = b"%b%bcontent-length: %d\r\n\r\n" % (status_line(status), lines, len(content))
            whole = head + content if len(content) < _LARGE_BYTES else b""
        except Exception as error:
            return self.respond(self._unsendable(error, body))
        self.head_sent = True
        assert self.exchange is not None
        self.exchange.sent_bytes = len(content)
        stream = self._stream
        try:
            if len(content) < _LARGE_BYTES:
                return None if stream.send_nowait(whole) else self._written()
            taken = stream.send_nowait(head)  # both leave together, and nothing large is copied
            return None if stream.send_nowait(content) and taken else self._written()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise _left() from None

    async def _written(self) -> None:
        try:
            await self._stream.wait_writable()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise _left() from None

    async def _stream_response(self, response: Response) -> None:
        protocol = self.incoming.protocol
        try:
            if protocol and (response.status == 101 or (protocol == b"connect" and response.status < 300)):
                await self._switch(response)
            else:
                await self._stream_body(response, response.body)
        except Exception as error:
            if self.head_sent:
                raise
            instead = self.respond(self._unsendable(error, response.body))
            if instead is not None:
                await instead

    def _unsendable(self, error: Exception, body: object) -> Response:
        """The response in place of one whose head cannot be written."""
        exchange = self.exchange
        assert exchange is not None
        failure = self._connection.fault(exchange, error, body)
        response = render(failure)
        exchange.reason, exchange.status = failure.reason, response.status
        return response

    async def _stream_body(self, response: Response, body: Body) -> None:
        incoming = self.incoming
        if response.status < 200:
            raise ExchangeError(Reason.PLUGIN_FAULT, f"status {response.status} ends no exchange")
        bare = incoming.method == b"HEAD" or response.status in BARE_STATUSES
        chunked = not bare and (body.length is None or bool(body.trailers)) and incoming.minor == 1
        if chunked:
            framing = b"transfer-encoding: chunked\r\n"
        elif body.length is None:
            framing = b""
            self.keep_alive = self.keep_alive and bare
        else:
            framing = length_of(body.length, response.status)
        head = response_head(response, framing, close=not self.keep_alive, minor=incoming.minor)
        self.head_sent = True
        if bare:
            await self.send(head)
            return
        exchange = self.exchange
        assert exchange is not None
        read_nowait = getattr(body, "read_nowait", None)
        data = read_nowait() if read_nowait is not None else b""
        if not data:
            await self.send(head)
            head = b""
            data = await body.read()
        relay = getattr(body, "relay", None)
        left = body.length
        while data:
            exchange.sent_bytes += len(data)
            if chunked:
                data = b"%b%x\r\n%b\r\n" % (head, len(data), data)
            elif left is not None:
                left -= len(data)
                if left < 0:
                    raise ExchangeError(Reason.PLUGIN_FAULT, "a body is longer than it said")
                if head:
                    data = head + data
            elif head:
                data = head + data
            head = b""
            await self.send(data)
            if relay is not None and left is not None:
                left -= await self._relay(relay, exchange)
            data = await body.read()
        if data is None:
            raise ExchangeError(Reason.PLUGIN_FAULT, 'a body read None (accepted: bytes; b"" is the end)')
        if chunked:
            await self.send(b"0\r\n" + field_lines(body.trailers) + b"\r\n")
        elif left:
            raise ExchangeError(Reason.PLUGIN_FAULT, "a body is shorter than it said")

    async def _relay(self, relay: Callable[[Stream], Awaitable[int]], exchange: Exchange) -> int:
        stream = self._stream
        before = stream.relayed_bytes
        try:
            return await relay(stream)
        finally:
            exchange.sent_bytes += stream.relayed_bytes - before

    async def _switch(self, response: Response) -> None:
        """Bytes both ways from here on, until both sides have finished."""
        self.keep_alive = False
        framing = b""
        if response.status == 101:
            framing = b"connection: upgrade\r\nupgrade: %b\r\n" % self.incoming.protocol
        head = response_head(response, framing, close=False, minor=1)
        self.head_sent = True
        await self.send(head)
        tunnel = self.body
        assert isinstance(tunnel, TunnelBody)
        tunnel.open()
        exchange = self.exchange
        assert exchange is not None
        if self.draining and exchange.on_drain is not None:
            exchange.on_drain()
        relay = getattr(response.body, "relay", None)
        while data := await response.body.read():
            exchange.sent_bytes += len(data)
            await self.send(data)
            if relay is not None:
                await self._relay(relay, exchange)
        if self._stream.extra(TLSAttribute.ssl_object, None) is not None:
            return  # TLS has no half of an end
        await self._stream.send_eof()
        if not tunnel.ended:
            self._waits = True
            self._watch.wait_for(Cause.TUNNEL, _TUNNEL_CLOSE_SECONDS)
            if self._stream.at_eof:
                self.client_finished()
            await tunnel.closed.wait()

    def client_finished(self) -> None:
        """The client has said everything. If its tunnel only waits for that, and nobody sends it on, it is over."""
        tunnel, exchange = self.body, self.exchange
        if not self._waits or type(tunnel) is not TunnelBody or exchange is None or exchange.pumped:
            return
        if self._stream.unread_bytes:
            self._watch.wait_for(Cause.TUNNEL, _UNREAD_SECONDS)
        else:
            tunnel.closed.set()

    async def send_continue(self) -> None:
        """`100 Continue`, before the first read of content that the client holds back."""
        if not self.head_sent:
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def interim(self, status: int, headers: Headers) -> None:
        """A 1xx response."""
        if not self.head_sent:
            await self.send(response_head(Response(status, headers), b"", close=False, minor=1))

    async def send(self, data: bytes) -> None:
        """Bytes as they are. Raises `ExchangeError` if the client has left."""
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise _left() from None


def _left() -> ExchangeError:
    return ExchangeError(Reason.CLIENT_LEFT, "the client left before the end of the response")
