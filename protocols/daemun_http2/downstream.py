"""The downstream half: one connection, its exchanges at the same time, each in a task of its own.

Frames are read in the call-back that brings them; a request that came whole with them is one wake-up of a task. Tasks
are kept for the next exchange (`runners`).
"""

from __future__ import annotations

import logging
import math

import anyio
from anyio.abc import TaskGroup

from daemun import Connection, ExchangeError, Reason, Stream, new_waker, render
from daemun_http2.decoding import Block
from daemun_http2.fields import Malformed
from daemun_http2.frames import MAX_STREAM, ConnectionFault, ErrorCode, Setting, StreamFault
from daemun_http2.patience import Patience
from daemun_http2.runners import Runners
from daemun_http2.served import Cause, Served
from daemun_http2.session import Session
from daemun_http2.settings import Http2Settings
from daemun_http2.translate import Incoming, read_request, read_trailers, response_block

__all__ = ["Downstream"]

log = logging.getLogger("daemun.http2")

_LINGER_SECONDS = 1.0
_LINGER_BYTES = 4 * 1024 * 1024
_CALM_SECONDS = 2.0
_TASKS_AT_REST = 4
_GOAWAY_SECONDS = 1.0
"""What a client gets to answer the ping behind the first GOAWAY."""


class Downstream(Session):
    """Serves one HTTP/2 connection."""

    def __init__(self, stream: Stream, connection: Connection, settings: Http2Settings, tasks: TaskGroup) -> None:
        super().__init__(stream, settings, tasks, connection.timers, client=False)
        self.connection = connection
        peer = connection.peer
        self._scheme = "" if connection.forwarding.trusted_hops else peer.scheme
        self._served: dict[int, Served] = {}
        """The streams whose exchange runs, or has not begun."""
        self.patiences: list[Patience] = []
        self._new: list[Served] = []
        """Those that came with what is being read."""
        self._runners = Runners(tasks)
        self._last = 0
        """The highest stream that is served."""
        self._allowed = MAX_STREAM
        """The highest stream that will be."""
        self._ended = new_waker()
        self._draining = False
        self._in_peace = False
        """The client has had everything that it asked for, or will."""
        self._timer = connection.timers.timer(self._too_slow)
        self._waits_for_settings = True
        self._head_timer = connection.timers.timer(self._head_too_slow)
        self._answered = connection.timers.timer(self._say_last)
        self._calm = connection.timers.timer(self._rest)
        self._lingering = 0

    async def serve(self) -> None:
        """Serves until the connection is over."""
        stream, connection, settings = self.stream, self.connection, self.settings
        stream.on_eof, stream.on_lost, stream.on_stall = self._client_stopped, self.lost, None
        connection.on_drain = self._drain
        self._timer.start(settings.head_timeout_seconds)
        try:
            self.begin(
                {
                    Setting.MAX_CONCURRENT_STREAMS: settings.max_concurrent_streams,
                    Setting.ENABLE_CONNECT_PROTOCOL: 1 if settings.upgrades else 0,
                }
            )
            if connection.draining:
                self._drain()
            if stream.lost or stream.at_eof:
                self.lost()
            while not self.over:
                await self._ended.wait()
            await self._linger()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            stream.on_data = stream.on_eof = stream.on_lost = connection.on_drain = None
            self.over = True
            self._timer.cancel()
            self._head_timer.cancel()
            self._calm.cancel()
            self._stall.cancel()
            self._answered.cancel()
            for served in self._served.values():
                served.forget_timers()
            for patience in self.patiences:
                patience.forget()

    # --- what comes ---

    def received(self) -> None:
        for served in self._new:
            if not served.gone:
                self._runners.run(served)
        self._new.clear()
        head_timer, timer = self._head_timer, self._timer
        if not self.codec.in_head:
            head_timer.at = math.inf
        elif head_timer.at == math.inf:
            head_timer.start(self.settings.head_timeout_seconds)
        if self._served:
            timer.at = math.inf
        elif self.codec.greeted and (timer.at == math.inf or self._waits_for_settings):
            self._waits_for_settings = False
            timer.start(self.settings.keep_alive_seconds)

    def on_head(self, stream: int, block: Block, ended: bool) -> None:
        if stream > self._allowed:
            raise StreamFault(stream, ErrorCode.REFUSED_STREAM, "the connection is about to end")
        if len(self._served) >= self.settings.max_concurrent_streams:
            raise StreamFault(stream, ErrorCode.REFUSED_STREAM, "too many streams at once")
        self._last = stream
        if block.oversized:
            error = ExchangeError(Reason.HEAD_TOO_LARGE, "the fields are too many or too long")
            self._refuse(stream, block, error, ended=ended)
            return
        incoming = block.meaning
        if type(incoming) is not Incoming:
            try:
                incoming = self._read(block)
            except Malformed as error:
                raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, str(error)) from None
            except ExchangeError as error:
                self._refuse(stream, block, error, ended=ended)
                return
        if ended and incoming.length:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "content is announced and does not come")
        served = Served(self, stream, incoming, ended=ended)
        self._served[stream] = served
        self.flows[stream] = served.outflow
        self._new.append(served)

    def _read(self, block: Block) -> Incoming:
        connection = self.connection
        incoming = read_request(block.fields, self.settings, self._scheme, connection.peer.server_name)
        added = connection.forwarding.fields(incoming.authority, b"2", incoming.identity)
        incoming.headers = (*incoming.headers, *added)
        incoming.dialect = connection.dialect(incoming.content_type, incoming.protocol)
        if not incoming.protocol:  # whose key is made for each request
            block.meaning = incoming
        return incoming

    def _refuse(self, stream: int, block: Block, error: ExchangeError, *, ended: bool) -> None:
        """Answers a request that has no exchange."""
        self.connection.refused(error)
        if error.reason is Reason.HEAD_TOO_LARGE:
            self.budget.reset()
        else:
            self.budget.idle_frame()
        response = render(error)
        data = response.body.data  # type: ignore[attr-defined]
        codec, size = self.codec, len(data)
        bare = (b":method", b"HEAD") in block.fields
        if not bare and size <= min(self.window, self.peer_window):
            self.window -= size
            self.write(codec.head(stream, response_block(response, size), False) + codec.content(stream, data, True))
        else:
            self.write(codec.head(stream, response_block(response, size if bare else None), True))
        if not ended:
            self.write(codec.reset(stream, ErrorCode.NO_ERROR))

    def on_trailers(self, stream: int, block: Block) -> None:
        served = self._served.get(stream)
        if served is None or served.inflow is None:
            return
        if block.oversized:
            raise StreamFault(stream, ErrorCode.ENHANCE_YOUR_CALM, "trailers are too many or too long")
        try:
            trailers = read_trailers(block.fields, of_request=True)
        except Malformed as error:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, str(error)) from None
        served.inflow.end(trailers)

    def on_content(self, stream: int, data: bytes, size: int, ended: bool) -> None:
        served = self._served.get(stream)
        if served is None or served.inflow is None:
            return
        served.inflow.feed(data, size)
        if ended:
            served.inflow.end()

    def on_reset(self, stream: int, code: int) -> None:
        served = self._served.get(stream)
        if served is not None:
            if not served.answered:
                self.budget.reset()
            served.cut_off(Cause.LEFT)

    def on_fault(self, stream: int, code: ErrorCode, why: str) -> None:
        served = self._served.get(stream)
        error = ExchangeError(Reason.BAD_REQUEST, why)
        if served is None:
            if code is ErrorCode.REFUSED_STREAM:
                self.connection.refused(ExchangeError(Reason.OVERLOADED, why))
            elif code is not ErrorCode.STREAM_CLOSED:
                self.connection.refused(error)
            return
        if served.inflow is not None:
            served.inflow.fail(error)
        served.cut_off(Cause.BROKEN)

    def on_goaway(self, last: int, code: int) -> None:
        """The client opens no stream to us any more, or is about to leave: what runs ends in peace."""

    # --- how it ends ---

    def served(self, served: Served) -> None:
        """Its exchange is over."""
        if self._served.pop(served.stream, None) is not None:
            del self.flows[served.stream]
            if self.waiting and self.window > 0:
                self.wake_flows()
            if served.answered:
                self.budget.answered()
        if not self._served:
            if self._draining and self._allowed < MAX_STREAM:
                self._close(in_peace=True)
            elif not self.over:
                self._timer.start(self.settings.keep_alive_seconds)
                self._calm.start(_CALM_SECONDS)

    def _rest(self) -> None:
        """A burst is over: few tasks wait for the next exchange."""
        if not self._served:
            self._runners.rest(_TASKS_AT_REST)

    def _drain(self) -> None:
        """Says that the connection will end, and what is served once the client knows (RFC 9113 §6.8)."""
        if not self._draining:
            self._draining = True
            self.write(self.codec.goaway(MAX_STREAM, ErrorCode.NO_ERROR) + self.codec.ping())
            self._answered.start(_GOAWAY_SECONDS)
            for served in list(self._served.values()):
                served.drain()

    def on_ping_answered(self) -> None:
        if self._draining and self._allowed == MAX_STREAM:
            self._say_last()

    def _say_last(self) -> None:
        self._answered.at = math.inf
        if not self.over:
            self._allowed = self._last
            self.write(self.codec.goaway(self._last, ErrorCode.NO_ERROR))
            if not self._served:
                self._close(in_peace=True)

    def _too_slow(self) -> None:
        """No settings, or no exchange, for too long."""
        if self.codec.greeted and not self.settings.send_timeout_seconds and self.stream.unsent_bytes:
            self._timer.start(self.settings.keep_alive_seconds)  # it reads on, as late as it likes
            return
        code = ErrorCode.NO_ERROR if self.codec.greeted else ErrorCode.SETTINGS_TIMEOUT
        self.write(self.codec.goaway(self._last, code))
        self._close()

    def _head_too_slow(self) -> None:
        self.broken(ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a head took too long"))

    def broken(self, fault: ConnectionFault) -> None:
        log.debug("a connection broke the rules: %s", fault)
        reason = Reason.FLOOD if fault.code is ErrorCode.ENHANCE_YOUR_CALM else Reason.BAD_REQUEST
        self.connection.refused(ExchangeError(reason, fault.why))
        self.write(self.codec.goaway(self._last, fault.code, fault.why))
        self._cut_off_all()
        self._close()

    def lost(self) -> None:
        self.over = True
        self._cut_off_all()
        self._close()

    def _client_stopped(self) -> None:
        """The client sends nothing any more; an HTTP/2 connection has no half of an end."""
        self.lost()

    def _cut_off_all(self) -> None:
        for served in list(self._served.values()):
            served.cut_off(Cause.LEFT)

    def _close(self, *, in_peace: bool = False) -> None:
        self.over = True
        self._in_peace = in_peace
        self._runners.rest()
        self._ended.wake()

    async def _linger(self) -> None:
        """Lets the client read our last words before the kernel resets what it still sends: as long as it goes on
        reading if it ends in peace, and a moment if not."""
        stream, in_peace = self.stream, self._in_peace
        stream.on_data = self._discard
        if stream.lost or stream.at_eof:
            return
        stream.on_eof = stream.on_lost = self._ended.wake
        with anyio.move_on_after((self.settings.send_timeout_seconds or None) if in_peace else _LINGER_SECONDS):
            if in_peace:
                await stream.flush()
            await stream.send_eof()
            while not (stream.lost or stream.at_eof) and self._lingering < _LINGER_BYTES:
                before = self._lingering
                with anyio.move_on_after(_LINGER_SECONDS):
                    await self._ended.wait()
                if self._lingering == before:
                    break  # it says nothing: it has read everything, or reads no more
        if stream.unsent_bytes or not stream.at_eof:
            stream.abort()

    def _discard(self, data: bytes) -> None:
        self._lingering += len(data)
        self._ended.wake()
