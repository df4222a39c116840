"""The upstream half: one connection, as many exchanges at once as the peer takes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import cast

from daemun import Endpoint, ExchangeError, Headers, Reason, Request, Response, Retry, Stream, UpstreamConnection
from daemun_http2.asked import Asked, Silence
from daemun_http2.decoding import Block
from daemun_http2.fields import Malformed
from daemun_http2.frames import MAX_STREAM, ConnectionFault, ErrorCode, Setting, StreamFault
from daemun_http2.session import Session
from daemun_http2.settings import Http2Settings
from daemun_http2.translate import read_response, read_trailers, request_block

__all__ = ["Upstream"]

log = logging.getLogger("daemun.http2")

_DOUBT_SECONDS = 5.0
_MAX_STREAMS = 1000
"""What we ask of one connection, whatever the peer would take."""


class Upstream(Session):
    """An HTTP/2 connection to an endpoint."""

    def __init__(self, stream: Stream, endpoint: Endpoint, settings: Http2Settings) -> None:
        super().__init__(stream, settings, endpoint.tasks, endpoint.timers, client=True)
        self.released: Callable[[UpstreamConnection], None]
        self.endpoint = endpoint
        self.scheme = b"https" if endpoint.spec.tls else b"http"
        self.timeout_seconds = endpoint.response_timeout_seconds
        self.asked: dict[int, Asked] = {}
        """The streams whose exchange runs."""
        self.silences: list[Silence] = []
        self._leaving = False
        """No stream is opened on it any more."""
        self._doubted = False
        """Nobody is sure that the peer is still there: no stream is opened until it has answered a ping."""
        self._answered = endpoint.timers.timer(self.lost)

    async def open(self) -> None:
        """Says hello, and waits for the peer's settings: they tell what it takes."""
        self.stream.on_eof = self.stream.on_lost = self.lost
        self.begin({Setting.ENABLE_PUSH: 0})
        while not self.codec.greeted:
            if self.over or self.stream.lost or self.stream.at_eof:
                raise ExchangeError(Reason.CONNECT_FAILED, "the upstream does not speak HTTP/2", retry=Retry.UNSENT)
            await self.greeted.wait()

    @property
    def capacity(self) -> int:
        """Exchanges that it would take now."""
        if self._leaving or self._doubted or self.over:
            return 0
        return max(0, min(self.peer_max_streams, _MAX_STREAMS) - len(self.asked))

    async def send(self, request: Request) -> Response:
        try:
            if not self.capacity:
                raise _closed("the connection takes no further exchange", Retry.UNSENT)
            block = request_block(request, self.scheme, connects=self.peer_connects)
        except BaseException:
            self.released(self)
            raise
        asked = Asked(self, self.codec.open(), request)
        self.asked[asked.stream] = asked
        self.flows[asked.stream] = asked.outflow
        self._leaving = self._leaving or asked.stream > MAX_STREAM - 2
        try:
            return await asked.send(block)
        except BaseException:
            asked.over()
            raise

    def closed(self, asked: Asked) -> None:
        """An exchange is over."""
        del self.asked[asked.stream]
        del self.flows[asked.stream]
        if self.waiting and self.window > 0:
            self.wake_flows()
        self.released(self)
        if self._leaving and not self.asked:
            self.close()

    def doubt(self) -> None:
        """Asks whether the peer is still there; ends the connection if it does not answer."""
        if not self._doubted:
            self._doubted = True
            self._answered.start(_DOUBT_SECONDS)
            self.write(self.codec.ping())

    def on_ping_answered(self) -> None:
        self._doubted = False
        self._answered.at = math.inf

    def close(self) -> None:
        self._forget_timers()
        if not self.over:
            self.write(self.codec.goaway(0, ErrorCode.NO_ERROR))
            self.over = True
        stream = self.stream
        stream.on_data = stream.on_eof = stream.on_lost = None
        stream.abort()

    # --- what comes ---

    def received(self) -> None:
        """Everything that came was told."""

    def on_head(self, stream: int, block: Block, ended: bool) -> None:
        asked = self.asked.get(stream)
        if asked is None:
            return
        if block.oversized:
            raise StreamFault(stream, ErrorCode.ENHANCE_YOUR_CALM, "its head is too long")
        found = block.meaning
        if found is None:
            try:
                block.meaning = found = read_response(block.fields)
            except Malformed as error:
                raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, str(error)) from None
        status, headers, length = cast("tuple[int, Headers, int | None]", found)
        if status >= 200:
            if ended and length and not asked.bare(status):
                raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "content is announced and does not come")
            asked.head(status, headers, length, ended=ended)
        elif ended or status == 101:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "an interim response that ends the stream")
        else:
            asked.interim(status, headers)

    def on_trailers(self, stream: int, block: Block) -> None:
        asked = self.asked.get(stream)
        if asked is None or asked.inflow is None:
            return
        try:
            trailers = read_trailers(block.fields)
        except Malformed as error:
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, str(error)) from None
        asked.inflow.end(trailers)
        asked.ended()

    def on_content(self, stream: int, data: bytes, size: int, ended: bool) -> None:
        asked = self.asked.get(stream)
        if asked is None or asked.inflow is None:
            return
        asked.inflow.feed(data, size)
        if ended:
            asked.inflow.end()
            asked.ended()

    def on_reset(self, stream: int, code: int) -> None:
        asked = self.asked.get(stream)
        if asked is None:
            return
        if code == ErrorCode.REFUSED_STREAM:
            asked.fail(_closed("the upstream refused the exchange", asked.retry(Retry.UNSENT)))
        elif code == ErrorCode.NO_ERROR and asked.answered and (asked.inflow is None or asked.inflow.ended):
            asked.outflow.fail(_closed("the upstream wants no more of the request", Retry.NEVER))
        else:
            name = ErrorCode(code).name if code in ErrorCode._value2member_map_ else str(code)
            asked.fail(_closed(f"the upstream ended the exchange ({name})", asked.retry(Retry.IDEMPOTENT)))

    def on_fault(self, stream: int, code: ErrorCode, why: str) -> None:
        asked = self.asked.get(stream)
        if asked is not None:
            asked.fail(ExchangeError(Reason.UPSTREAM_PROTOCOL, f"the upstream broke the rules: {why}"))

    def on_goaway(self, last: int, code: int) -> None:
        self._leaving = True
        for stream, asked in list(self.asked.items()):
            if stream > last:
                asked.fail(_closed("the upstream is about to end the connection", asked.retry(Retry.UNSENT)))
        if not self.asked:
            self.close()

    # --- how it ends ---

    def broken(self, fault: ConnectionFault) -> None:
        log.debug("the upstream %s broke the rules: %s", self.endpoint.address, fault)
        self.write(self.codec.goaway(0, fault.code, fault.why))
        self._fail(ExchangeError(Reason.UPSTREAM_PROTOCOL, f"the upstream broke the rules: {fault.why}"))

    def lost(self) -> None:
        self._fail(None)

    def _forget_timers(self) -> None:
        self._answered.cancel()
        self._stall.cancel()
        for silence in self.silences:
            silence.timer.cancel()
        self.silences.clear()

    def _fail(self, error: ExchangeError | None) -> None:
        if self.over:
            return
        self.over = True
        self._forget_timers()
        self.greeted.wake()
        for asked in list(self.asked.values()):
            asked.fail(error or _closed("the upstream closed the connection", asked.retry(Retry.IDEMPOTENT)))
        self.stream.on_data = self.stream.on_eof = self.stream.on_lost = None
        self.stream.abort()


def _closed(why: str, retry: Retry) -> ExchangeError:
    return ExchangeError(Reason.UPSTREAM_CLOSED, why, retry=retry)
