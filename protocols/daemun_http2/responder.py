"""The response of one exchange as it goes: whole, streamed, or as the first bytes of another protocol."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Awaitable
from typing import Protocol

from daemun import (
    Buffered,
    Connection,
    Exchange,
    ExchangeError,
    Headers,
    NoContent,
    Reason,
    Response,
    render,
)
from daemun_http2.encoding import encode
from daemun_http2.inflow import Room
from daemun_http2.outflow import Outflow, Outlet
from daemun_http2.patience import Patience
from daemun_http2.settings import Http2Settings
from daemun_http2.translate import BARE_STATUSES, Incoming, response_block, switched

__all__ = ["Responder", "ResponseOutlet"]

_SUCCESS = range(200, 300)

log = logging.getLogger("daemun.http2")


class ResponseOutlet(Outlet, Room, Protocol):
    """The connection that a response leaves by."""

    connection: Connection
    settings: Http2Settings
    peer_window: int
    patiences: list[Patience]
    """Timers that no exchange uses."""


class Responder:
    """The sending half of a stream of a client."""

    __slots__ = ("_connection", "_ended", "_exchange", "_head_sent", "_patience", "incoming", "outflow", "stream")

    def __init__(self, connection: ResponseOutlet, stream: int, incoming: Incoming) -> None:
        self.stream = stream
        self.incoming = incoming
        self.outflow = Outflow(stream, connection, connection.peer_window)
        self._connection = connection
        self._patience: Patience | None = None
        self._head_sent = False
        self._ended = False
        self._exchange: Exchange | None = None

    @property
    def answered(self) -> bool:
        """The head of a response is out."""
        return self._head_sent

    def respond(self, response: Response) -> Awaitable[None] | None:
        """Writes `response`; what it returns is to be awaited. Raises `ExchangeError` if it is broken off."""
        if self._exchange is None:
            raise ExchangeError(Reason.CLIENT_LEFT, "the exchange was given up")
        body = response.body
        kind = type(body)
        if self.incoming.protocol and response.status in _SUCCESS and self.incoming.method != b"CONNECT":
            return self._not_switched(response)
        if kind is not NoContent and kind is not Buffered:
            return self._stream_response(response)
        trailers = body.trailers
        status = response.status
        connection = self._connection
        try:
            bare = kind is NoContent or self.incoming.method == b"HEAD" or status in BARE_STATUSES
            content = b"" if bare else body.data  # type: ignore[attr-defined]
            last = encode(trailers) if trailers and not bare else b""
            length = body.length if bare else len(content)
            block = self._block(response, None if last else length or None)
            if not isinstance(content, bytes):
                raise TypeError(f"content is {type(content).__name__}; accepted: bytes")
        except Exception as error:
            return self.respond(self._unsendable(error, body))
        self._head_sent = self._ended = True
        if not content:
            connection.write(connection.codec.head(self.stream, block, not last))
            if last:
                self._end(last)
            return None
        assert self._exchange is not None
        self._exchange.sent_bytes = len(content)
        head = connection.codec.head(self.stream, block, False)
        if self.outflow.send_nowait(content, ended=not last, before=head):
            if last:
                self._end(last)
            return None
        connection.write(head)
        self._ended = False
        return self._send_rest(content, last)

    async def _not_switched(self, response: Response) -> None:
        """A success that is no switch of protocols, which HTTP/2 could not tell from one (RFC 8441 §5)."""
        await response.body.aclose()
        error = ExchangeError(Reason.UPSTREAM_PROTOCOL, "the upstream did not switch protocols")
        assert self._exchange is not None
        response = render(error)
        self._exchange.reason, self._exchange.status = error.reason, response.status
        waits = self.respond(response)
        if waits is not None:
            await waits

    async def _send_rest(self, content: bytes, trailers: bytes) -> None:
        self.outflow.on_stall = self._patient().stalled
        await self.outflow.send(content, ended=not trailers)
        if trailers:
            self._end(trailers)
        self._ended = True

    def _end(self, trailers: bytes) -> None:
        """Ends the response, with the field block of its trailers if there is one."""
        self._ended = True
        codec = self._connection.codec
        last = codec.head(self.stream, trailers, True) if trailers else codec.content(self.stream, b"", True)
        self._connection.write(last)

    def _block(self, response: Response, length: int | None) -> bytes:
        if response.status < 200:
            raise ExchangeError(Reason.PLUGIN_FAULT, f"status {response.status} ends no exchange")
        return response_block(response, None if response.status == 204 else length)

    async def _stream_response(self, response: Response) -> None:
        connection, body, incoming, outflow = self._connection, response.body, self.incoming, self.outflow
        opened = incoming.protocol and (response.status == 101 or incoming.method == b"CONNECT")
        if opened and response.status == 101:
            response = switched(response)
        try:
            bare = incoming.method == b"HEAD" or response.status in BARE_STATUSES
            block = self._block(response, None if opened else body.length)
        except Exception as error:
            instead = self.respond(self._unsendable(error, body))
            if instead is not None:
                await instead
            return
        self._head_sent = True
        connection.write(connection.codec.head(self.stream, block, bare))
        if bare:
            self._ended = True
            return
        exchange, left = self._exchange, body.length
        assert exchange is not None
        outflow.on_stall = self._patient().stalled
        if opened and exchange.on_drain is not None and connection.connection.draining:
            exchange.on_drain()
        if left and outflow.blocked:
            await outflow.ready()  # before it is read, since more is known to come
        while data := await body.read():
            exchange.sent_bytes += len(data)
            if left is not None:
                left -= len(data)
                if left < 0:
                    raise ExchangeError(Reason.PLUGIN_FAULT, "a body is longer than it said")
            if not outflow.send_nowait(data, ended=False):
                await outflow.send(data, ended=False)
            if left and outflow.blocked:
                await outflow.ready()
        if data is None:
            raise ExchangeError(Reason.PLUGIN_FAULT, 'a body read None (accepted: bytes; b"" is the end)')
        if left:
            raise ExchangeError(Reason.PLUGIN_FAULT, "a body is shorter than it said")
        self._end(encode(body.trailers))

    def _unsendable(self, error: Exception, body: object) -> Response:
        """The response in place of one whose head cannot be written."""
        exchange = self._exchange
        assert exchange is not None
        failure = self._connection.connection.fault(exchange, error, body)
        response = render(failure)
        exchange.reason, exchange.status = failure.reason, response.status
        return response

    async def _interim(self, status: int, headers: Headers) -> None:
        if not self._head_sent and 100 <= status < 200 and status != 101:
            connection = self._connection
            block = response_block(Response(status, headers), None)
            connection.write(connection.codec.head(self.stream, block, False))

    def _send_continue(self) -> None:
        if not self._head_sent:
            connection = self._connection
            connection.write(connection.codec.head(self.stream, response_block(Response(100), None), False))

    def _patient(self) -> Patience:
        patience = self._patience
        if patience is None:
            connection = self._connection
            patiences = connection.patiences
            patience = patiences.pop() if patiences else Patience(connection.connection, connection.settings)
            patience.over = self._too_slow
            self._patience = patience
        return patience

    @abstractmethod
    def _too_slow(self, cause: str) -> None:
        """One of the timers ran out."""
