"""One exchange on an upstream connection: its request as it goes, its response as it comes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from time import monotonic
from typing import Protocol

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
    Timers,
    Waker,
)
from daemun_http2.encoding import encode
from daemun_http2.frames import ErrorCode
from daemun_http2.inflow import Inflow, Room
from daemun_http2.outflow import Outflow, Outlet
from daemun_http2.translate import BARE_STATUSES, switching

__all__ = ["Asked", "Asking", "Silence"]

log = logging.getLogger("daemun.http2")

_CONTINUE_SECONDS = 1.0
_MAX_INTERIM = 32
_END_SECONDS = 5.0
"""What a peer gets to end a response that has no content."""
_SILENCE_SECONDS = 1.0
"""When an exchange ends without an answer, and nothing at all came for so long, the connection may be dead."""


class Silence:
    """A timer that serves one exchange after the other: it stays where it is in the worker's timers."""

    __slots__ = ("asked", "timer")

    def __init__(self, timers: Timers) -> None:
        self.asked: Asked | None = None
        self.timer = timers.timer(self._fire)

    def _fire(self) -> None:
        if self.asked is not None:
            self.asked.silent()


class Asking(Outlet, Room, Protocol):
    """The connection of an exchange, as it sees it."""

    endpoint: Endpoint
    timeout_seconds: float
    peer_window: int
    asked: dict[int, Asked]
    over: bool
    new_waker: Callable[[], Waker]
    silences: list[Silence]
    """Timers that nobody uses."""
    unanswered_since: float
    """`time.monotonic()` at which something was asked since anything came; 0: nothing was."""

    def doubt(self) -> None:
        """Nothing came on it for as long as a request may wait."""
        ...

    def closed(self, asked: Asked) -> None:
        """The exchange is over."""
        ...


class Asked:
    """A stream that we opened."""

    __slots__ = (
        "_connection",
        "_continued",
        "_error",
        "_head",
        "_interim",
        "_interims",
        "_request",
        "_sent",
        "_silence",
        "_waker",
        "dropped",
        "inflow",
        "outflow",
        "stream",
    )

    def __init__(self, connection: Asking, stream: int, request: Request) -> None:
        self.stream = stream
        self.inflow: Inflow | None = None
        """The content of the response, if there is any to come."""
        self.dropped = False
        """The response was handed on, and only its end is to come."""
        self.outflow = Outflow(stream, connection, connection.peer_window)
        self._connection = connection
        self._request = request
        self._waker = connection.new_waker()
        self._head: tuple[int, Headers, int | None, bool] | None = None
        self._error: ExchangeError | None = None
        self._interim: list[tuple[int, Headers]] = []
        self._interims = 0
        self._continued: anyio.Event | None = None
        self._sent = False
        """Nothing of the request is left to be sent."""
        self._silence: Silence | None = None
        if connection.timeout_seconds:
            silences = connection.silences
            self._silence = silences.pop() if silences else Silence(connection.endpoint.timers)
            self._silence.asked = self

    # --- the request ---

    def bare(self, status: int) -> bool:
        """Whether a response with `status` has no content, whatever it announces."""
        return self._request.method == b"HEAD" or status in BARE_STATUSES

    def retry(self, retry: Retry) -> Retry:
        """`retry`, if the request can be sent again at all."""
        request = self._request
        repeatable = type(request.body) in (NoContent, Buffered) or bool(request.protocol)
        return retry if repeatable and self._head is None else Retry.NEVER

    @property
    def answered(self) -> bool:
        """The head of the response is there."""
        return self._head is not None

    async def send(self, block: bytes) -> Response:
        """Sends the request; the response once its head is there. Raises `ExchangeError`."""
        connection, request = self._connection, self._request
        body, kind = request.body, type(request.body)
        whole = kind is NoContent or (kind is Buffered and not body.trailers)
        content = body.data if whole else b""  # type: ignore[attr-defined]
        codec = connection.codec
        if whole and not content:
            connection.write(codec.head(self.stream, block, True))
            self._all_sent()
        elif whole:
            head = codec.head(self.stream, block, False)
            if self.outflow.send_nowait(content, ended=True, before=head):
                self._all_sent()
            else:
                connection.write(head)
                connection.endpoint.tasks.start_soon(self._send_rest, content)
        elif request.protocol:  # there is nothing to be sent before the switch
            connection.write(codec.head(self.stream, block, False))
            self._wait_for_answer()
        else:
            connection.write(codec.head(self.stream, block, False))
            if request.exchange.tasks is not None:
                if request.header(b"expect") is not None:
                    self._continued = anyio.Event()
                request.exchange.tasks.start_soon(self._pump)
            else:
                await self._pump()
        while self._head is None:
            await self._waker.wait()
            if self._interim:
                await self._pass_on()
            if self._head is None and self._error is not None:
                raise self._error
        return self._response(*self._head)

    async def _send_rest(self, content: bytes) -> None:
        """Sends what the peer's windows hold up, beside whatever it answers. `over` ends it."""
        self.outflow.on_stall = self._stalled
        try:
            await self.outflow.send(content, ended=True)
        except ExchangeError:
            return
        except Exception as error:
            self._give_up(_failed(error))
            return
        self._all_sent()

    def _stalled(self, waits: bool) -> None:
        """The peer takes no content, or goes on."""
        if waits:
            self._wait_for_answer()
        else:
            self._heard()

    async def _pump(self) -> None:
        """Sends content that streams; what goes wrong with it ends the exchange."""
        request, body, outflow = self._request, self._request.body, self.outflow
        connection = self._connection
        outflow.on_stall = self._stalled
        if request.protocol:
            request.exchange.pumped = True
        try:
            if self._continued is not None:
                with anyio.move_on_after(_CONTINUE_SECONDS):
                    await self._continued.wait()
            while data := await body.read():
                if not outflow.send_nowait(data, ended=False):
                    await outflow.send(data, ended=False)
            if self.stream not in connection.asked:
                return
            if body.trailers:
                connection.write(connection.codec.head(self.stream, encode(body.trailers), True))
            else:
                connection.write(connection.codec.content(self.stream, b"", True))
        except ExchangeError as error:
            self._give_up(error)
        except Exception as error:
            self._give_up(_failed(error))
        else:
            self._all_sent()
        finally:
            if request.protocol:
                request.exchange.pumped = False
                await body.aclose()

    def _all_sent(self) -> None:
        self._sent = True
        self._wait_for_answer()

    def _wait_for_answer(self) -> None:
        connection = self._connection
        if not connection.unanswered_since:
            connection.unanswered_since = monotonic()
        if self._silence is not None and self._head is None:
            self._silence.timer.start(connection.timeout_seconds)

    def _heard(self) -> None:
        """Nothing is waited for."""
        if self._silence is not None:
            self._silence.timer.at = math.inf

    def silent(self) -> None:
        """Nothing came for too long."""
        if self.dropped:
            self.over()
            return
        if self._connection.unanswered_since:
            self._connection.doubt()
        seconds = self._connection.timeout_seconds
        self._give_up(ExchangeError(Reason.UPSTREAM_TIMEOUT, f"the upstream was silent for {seconds:g} s"))

    def _give_up(self, error: ExchangeError) -> None:
        """Ends the exchange from our side: who waits for the response gets `error`."""
        self._connection.write(self._connection.codec.reset(self.stream, ErrorCode.CANCEL))
        self.fail(error)

    # --- the response ---

    def interim(self, status: int, headers: Headers) -> None:
        """A 1xx response came."""
        self._interims += 1
        if self._interims > _MAX_INTERIM:
            self._give_up(ExchangeError(Reason.UPSTREAM_PROTOCOL, "the upstream sent too many interim responses"))
        elif status == 100:
            if self._continued is not None:
                self._continued.set()
        else:
            self._interim.append((status, headers))
            self._waker.wake()

    def head(self, status: int, headers: Headers, length: int | None, *, ended: bool) -> None:
        """The head of the response came; `ended`: and there is no content."""
        self._heard()
        if not ended:
            self.inflow = Inflow(self.stream, self._connection, 0 if self.bare(status) else length)
        self._head = status, headers, length, ended
        self._waker.wake()

    def fail(self, error: ExchangeError) -> None:
        """The exchange will not come to its end."""
        self._heard()
        self._error = error
        self.outflow.fail(error)
        if self.inflow is not None:
            self.inflow.fail(error)
        self._waker.wake()
        if self.dropped:
            self.over()

    async def _pass_on(self) -> None:
        waiting, self._interim = self._interim, []
        interim = self._request.exchange.interim
        if interim is not None:
            for status, headers in waiting:
                await interim(status, headers)

    def _response(self, status: int, headers: Headers, length: int | None, ended: bool) -> Response:
        request, inflow = self._request, self.inflow
        switched = bool(request.protocol) and 200 <= status < 300
        body: Body
        bare = self.bare(status) and not switched
        if inflow is None or bare:
            announced = length if bare else None
            body = NoContent(announced) if announced is not None or switched else EMPTY
            if inflow is None or inflow.ended:
                self.over()
            else:
                self._drop()
        elif inflow.ended and not switched:
            body = Buffered(inflow.read_nowait(), inflow.trailers)
            self.over()
        else:
            body = inflow
            inflow.on_closed = self.over
            if switched:
                assert request.exchange.tasks is not None
                request.exchange.tasks.start_soon(self._pump)
        response = Response(status, headers, body)
        if switched and request.method != b"CONNECT":
            return switching(request, response)
        return response

    def _drop(self) -> None:
        """There is no content, but the peer has not said so yet."""
        self.dropped = True
        if self._silence is None:
            self._silence = Silence(self._connection.endpoint.timers)
            self._silence.asked = self
        self._silence.timer.start(_END_SECONDS)

    def ended(self) -> None:
        """The response came to its end."""
        if self.dropped:
            self.over()

    def over(self) -> None:
        """The exchange is over, however it ended."""
        connection = self._connection
        self._heard()
        silence, self._silence = self._silence, None
        if silence is not None:
            silence.asked = None
            if connection.over:
                silence.timer.cancel()
            else:
                connection.silences.append(silence)
        if connection.asked.get(self.stream) is self:
            head, inflow = self._head, self.inflow
            answered = head is not None and (inflow is None or inflow.ended)
            if not (answered and self._sent):
                since = connection.unanswered_since
                if since and monotonic() - since > _SILENCE_SECONDS:
                    connection.doubt()
                code = ErrorCode.NO_ERROR if answered else ErrorCode.CANCEL
                connection.write(connection.codec.reset(self.stream, code))
                self.outflow.fail(ExchangeError(Reason.UPSTREAM_CLOSED, "the upstream has answered already"))
            connection.closed(self)


def _failed(error: Exception) -> ExchangeError:
    """The end of an exchange whose content failed; the edge logs the cause, and knows whose it is."""
    failure = ExchangeError(Reason.PLUGIN_FAULT, "the content of a request failed in a plugin")
    failure.__cause__ = error
    return failure
