"""One exchange of a downstream connection: its request as it comes, its response as it goes, and how it is cut off."""

from __future__ import annotations

import enum
import logging
from typing import Protocol

import anyio

from daemun import (
    EMPTY,
    Body,
    Buffered,
    Exchange,
    ExchangeError,
    NoContent,
    Reason,
    Request,
)
from daemun_http2.frames import ErrorCode
from daemun_http2.inflow import Inflow
from daemun_http2.responder import Responder, ResponseOutlet
from daemun_http2.translate import Incoming

__all__ = ["STUCK_SECONDS", "Cause", "Owner", "Served"]

STUCK_SECONDS = 3.0
"""What an exchange that was cut off gets to end."""

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


class Owner(ResponseOutlet, Protocol):
    """The connection of an exchange, as it sees it."""

    def served(self, served: Served) -> None:
        """The exchange is over."""
        ...


class Served(Responder):
    """A stream whose exchange runs, or is about to."""

    __slots__ = (
        "_cause",
        "_owner",
        "_request",
        "gone",
        "guard",
        "inflow",
        "scope",
    )

    def __init__(self, connection: Owner, stream: int, incoming: Incoming, *, ended: bool) -> None:
        super().__init__(connection, stream, incoming)
        self.inflow = None if ended and not incoming.protocol else Inflow(stream, connection, incoming.length)
        if ended and self.inflow is not None:
            self.inflow.end()
        self.guard: anyio.CancelScope | None = None
        """Inside `scope`. Shielded, it spares what does not heed a cancellation from hearing it again and again."""
        self.scope: anyio.CancelScope | None = None
        """Set while the exchange runs."""
        self.gone = False
        """The client left before the exchange began."""
        self._owner = connection
        self._cause: Cause | None = None
        self._request: Request | None = None

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
                await lent.run_streaming(request, self.respond, lambda: not self._head_sent)
            else:
                await lent.run_exchange(request, self.respond)
        except ExchangeError:
            pass  # the response was broken off: `finish` says so
        if inflow is not None:
            exchange.received_bytes = inflow.came_bytes
        self.finish()

    def drain(self) -> None:
        """The gateway drains: tells who outlives requests."""
        exchange = self._exchange
        if exchange is not None and exchange.on_drain is not None and self._head_sent:
            exchange.on_drain()

    def finish(self) -> None:
        """The exchange is over: so is the stream, whatever is missing of it."""
        if self._exchange is None:
            return  # it was let go before
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
        self._owner.served(self)

    # --- what ends it early ---

    def _set_deadline(self, when: float) -> None:
        self._patient().set_deadline(when)

    def _too_slow(self, cause: str) -> None:
        if cause == "STUCK":
            self._let_go()
        else:
            self.cut_off(Cause[cause])

    def _let_go(self) -> None:
        """It was cut off and does not end: its client is told, and what it does goes on for nobody."""
        exchange = self._exchange
        if self.guard is not None and exchange is not None:
            self.guard.shield = True
            self._connection.connection.stuck(exchange)
            self.say_last()

    def cut_off(self, cause: Cause) -> None:
        """Ends the exchange, wherever it is."""
        if self._cause is not None:
            return
        self._cause = cause
        exchange = self._exchange
        if exchange is None:
            self.gone = True
            self._owner.served(self)
            return
        if exchange.reason is None:
            if cause is Cause.DEADLINE:
                exchange.reason = exchange.timeout_reason
            else:
                exchange.reason = _REASONS[cause]
        if cause in (Cause.LEFT, Cause.BROKEN):
            self.outflow.fail(ExchangeError(Reason.CLIENT_LEFT, "the client left before the end of the response"))
        if self.scope is not None:
            self.scope.cancel()
            self._patient().cut_off(STUCK_SECONDS)

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
            patience.rest()
            self._connection.patiences.append(patience)
