"""One exchange of a downstream connection: its request as it comes, its response as it goes, and how it is cut off."""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable
from typing import Protocol

import anyio

from daemun import (
    EMPTY,
    Body,
    Buffered,
    Connection,
    Exchange,
    ExchangeError,
    Headers,
    NoContent,
    Reason,
    Request,
    Response,
    render,
)
from daemun_http2.encoding import encode
from daemun_http2.frames import ErrorCode
from daemun_http2.inflow import Inflow, Room
from daemun_http2.outflow import Outflow, Outlet
from daemun_http2.patience import Patience
from daemun_http2.settings import Http2Settings
from daemun_http2.translate import BARE_STATUSES, Incoming, response_block, switched

__all__ = ["Cause", "Owner", "Served"]

log = logging.getLogger("daemun.http2")


class Cause(enum.Enum):
    """Why an exchange was cut off."""

    LEFT = enum.auto()
    CONTENT = enum.auto()
    DEADLINE = enum.auto()
    STALLED = enum.auto()
    BROKEN = enum.auto()


_REASONS = {
    Cause.LEFT: Reason.CLIENT_LEFT,
    Cause.CONTENT: Reason.REQUEST_TIMEOUT,
    Cause.STALLED: Reason.CLIENT_LEFT,
    Cause.BROKEN: Reason.BAD_REQUEST,
}


class Owner(Outlet, Room, Protocol):
    """The connection of an exchange, as it sees it."""

    connection: Connection
    settings: Http2Settings
    peer_window: int

    def served(self, served: Served) -> None:
        """The exchange is over."""
        ...


class Served:
    """A stream whose exchange runs, or is about to."""

    __slots__ = (
        "_cause",
        "_connection",
        "_ended",
        "_exchange",
        "_head_sent",
        "_patience",
        "_request",
        "gone",
        "incoming",
        "inflow",
        "outflow",
        "scope",
        "stream",
    )

    def __init__(self, connection: Owner, stream: int, incoming: Incoming, *, ended: bool) -> None:
        self.stream = stream
        self.incoming = incoming
        self.inflow = None if ended else Inflow(stream, connection, incoming.length)
        self.outflow = Outflow(stream, connection, connection.peer_window)
        self.scope: anyio.CancelScope | None = None
        """Set while the exchange runs."""
        self.gone = False
        """The client left before the exchange began."""
        self._connection = connection
        self._patience: Patience | None = None
        self._cause: Cause | None = None
        self._head_sent = False
        self._ended = False
        self._exchange: Exchange | None = None
        self._request: Request | None = None

    @property
    def answered(self) -> bool:
        """The head of a response is out."""
        return self._head_sent

    # --- the exchange ---

    async def run(self) -> None:
        """Runs the exchange to its end. Cancelled by `cut_off`: `say_last` is to be called then."""
        if self.gone:
            return
        connection, incoming, inflow = self._connection, self.incoming, self.inflow
        lent = connection.connection
        self._exchange = exchange = Exchange(lent.peer)
        exchange.version = "HTTP/2"
        exchange.on_deadline = self._set_deadline
        exchange.interim = self._interim
        exchange.dialect = incoming.dialect
        body: Body
        if inflow is None:
            body = EMPTY
        elif inflow.ended and not incoming.protocol:
            body = Buffered(inflow.read_nowait(), inflow.trailers)
            exchange.received_bytes = inflow.came_bytes
        else:
            body = inflow
            if incoming.expects_continue:
                inflow.before_read(self._send_continue)
            if exchange.dialect is None and not incoming.protocol:
                self._patient().watch(inflow)
        self._request = request = Request(
            incoming.method, incoming.target, incoming.authority, incoming.headers, body, exchange, incoming.protocol
        )
        try:
            if body is inflow:
                await self._run_with_tasks(request, exchange)
            else:
                await lent.run_exchange(request, self.respond)
        except ExchangeError:
            pass  # the response was broken off: `finish` says so
        if inflow is not None:
            exchange.received_bytes = inflow.came_bytes
        self.finish()

    async def _run_with_tasks(self, request: Request, exchange: Exchange) -> None:
        """Runs an exchange whose request streams, with a task group to lend."""
        broken: ExchangeError | None = None
        try:
            async with anyio.create_task_group() as tasks:
                exchange.tasks = tasks
                try:
                    await self._connection.connection.run_exchange(request, self.respond)
                except ExchangeError as error:
                    broken = error  # not through the group, which would wrap it
                finally:
                    tasks.cancel_scope.cancel()
        except ExceptionGroup as group:
            log.error("route %s: a task of an exchange failed", exchange.route or "-", exc_info=group)
            exchange.reason = Reason.PLUGIN_FAULT
            broken = ExchangeError(Reason.PLUGIN_FAULT, "a plugin of the gateway failed")
        if broken is not None:
            raise broken

    def finish(self) -> None:
        """The exchange is over: so is the stream, whatever is missing of it."""
        connection, inflow = self._connection, self.inflow
        self.scope = None
        if not self._ended:
            connection.write(connection.codec.reset(self.stream, ErrorCode.INTERNAL_ERROR))
        elif inflow is not None and not inflow.ended:
            connection.write(connection.codec.reset(self.stream, ErrorCode.NO_ERROR))
        self.forget_timers()
        self._exchange = self._request = None  # which know this object: nothing is left to the garbage collector
        if inflow is not None:
            inflow.abandon()
        connection.served(self)

    # --- what is sent ---

    def respond(self, response: Response) -> Awaitable[None] | None:
        """Writes `response`; what it returns is to be awaited. Raises `ExchangeError` if it is broken off."""
        body = response.body
        kind = type(body)
        if self.incoming.protocol and 200 <= response.status < 300 and self.incoming.method != b"CONNECT":
            return self._not_switched(response)
        if kind is not NoContent and kind is not Buffered:
            return self._stream_response(response)
        trailers = body.trailers
        status = response.status
        bare = kind is NoContent or self.incoming.method == b"HEAD" or status in BARE_STATUSES
        content = b"" if bare else body.data  # type: ignore[attr-defined]
        connection = self._connection
        try:
            last = encode(trailers) if trailers and not bare else b""
            length = body.length if bare else len(content)
            block = self._block(response, None if last else length or None)
        except ExchangeError as error:
            return self.respond(self._unsendable(error))
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
        bare = incoming.method == b"HEAD" or response.status in BARE_STATUSES
        try:
            block = self._block(response, None if opened else body.length)
        except ExchangeError as error:
            instead = self.respond(self._unsendable(error))
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
        if left:
            raise ExchangeError(Reason.UPSTREAM_CLOSED, "a body is shorter than it said")
        self._end(encode(body.trailers))

    def _unsendable(self, error: ExchangeError) -> Response:
        """The response in place of one whose head cannot be written."""
        exchange = self._exchange
        assert exchange is not None
        log.error("route %s: its response cannot be sent: %s", exchange.route or "-", error)
        response = render(error)
        exchange.reason, exchange.status = error.reason, response.status
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

    # --- what ends it early ---

    def _patient(self) -> Patience:
        if self._patience is None:
            connection = self._connection
            self._patience = Patience(connection.connection, connection.settings, self._too_slow)
        return self._patience

    def _set_deadline(self, when: float) -> None:
        self._patient().set_deadline(when)

    def _too_slow(self, cause: str) -> None:
        self.cut_off(Cause[cause])

    def cut_off(self, cause: Cause) -> None:
        """Ends the exchange, wherever it is."""
        if self._cause is not None:
            return
        self._cause = cause
        exchange = self._exchange
        if exchange is None:
            self.gone = True
            self._connection.served(self)
            return
        if exchange.reason is None:
            if cause is Cause.DEADLINE:
                exchange.reason = exchange.timeout_reason
            else:
                exchange.reason = _REASONS[cause]
        if self.scope is not None:
            self.scope.cancel()

    def say_last(self) -> None:
        """What is still said after an exchange that was cut off."""
        connection, cause = self._connection, self._cause
        exchange, request = self._exchange, self._request
        if not self._head_sent and exchange is not None and request is not None:
            reason = exchange.timeout_reason
            if cause is Cause.CONTENT:
                self._answer(request, ExchangeError(Reason.REQUEST_TIMEOUT, "the content came too slowly"))
            elif cause is Cause.DEADLINE and reason is not None:
                self._answer(request, ExchangeError(reason, f"the exchange took too long ({reason.value})"))
        if not self._ended:
            code = ErrorCode.INTERNAL_ERROR if cause is None else ErrorCode.CANCEL
            connection.write(connection.codec.reset(self.stream, code))
            self._ended = True
        self.finish()

    def _answer(self, request: Request, error: ExchangeError) -> None:
        response = self._connection.connection.render(request, error)
        waits = None
        if type(response.body) in (Buffered, NoContent):
            waits = self.respond(response)
        if waits is not None:
            waits.close()  # type: ignore[attr-defined]

    def forget_timers(self) -> None:
        """Nothing fires any more."""
        patience, self._patience = self._patience, None
        if patience is not None:
            patience.forget()
