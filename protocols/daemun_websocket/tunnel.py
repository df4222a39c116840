"""A WebSocket whose bytes pass as they are. It is watched, and something is said in between where that is due.

Where both sides are plain sockets no task wakes for a message: the transport that reads it writes it, and shows it.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio

from daemun import Body, Exchange, Headers, Reason, Stream, Timer
from daemun_websocket.ending import note_ending
from daemun_websocket.frames import PING, Boundary, close_frame
from daemun_websocket.settings import Rules

__all__ = ["FromClient", "FromUpstream", "Tunnel"]

_GOING_AWAY = 1001
_CHECKS = 4
"""Looks at an interval: what is noticed is late by one of them at most."""
_CLOSE_SECONDS = 10.0
"""A client has it to answer a Close of ours that a time-out made."""


class Tunnel:
    """What both directions of one WebSocket have in common."""

    __slots__ = ("_exchange", "_lifetime", "_passed", "_quiet", "_silent", "_watch", "client", "upstream")

    def __init__(self, exchange: Exchange, body: Body) -> None:
        self.client = FromClient(body)
        self.upstream: FromUpstream | None = None
        """There once the protocol was switched, until the end."""
        self._exchange = exchange
        self._watch: Timer | None = None
        self._lifetime: Timer | None = None
        self._passed = -1, -1
        self._quiet = 0
        self._silent = 0

    def open(self, body: Body, rules: Rules) -> FromUpstream:
        """The protocol was switched: `body` is what the upstream says from now on."""
        exchange = self._exchange
        self.upstream = upstream = FromUpstream(body, self.over)
        exchange.on_drain = lambda: self._close("the gateway is about to stop")
        timers = exchange.timers
        if timers is None:
            return upstream
        if rules.idle_timeout_seconds or rules.ping_interval_seconds:
            self._watch = watch = timers.timer(lambda: self._look(rules, step))
            step = min(filter(None, (rules.idle_timeout_seconds, rules.ping_interval_seconds))) / _CHECKS
            watch.start(step)
        if rules.max_lifetime_seconds:
            self._lifetime = timers.timer(lambda: self._end("it lasted as long as it may"))
            self._lifetime.start(rules.max_lifetime_seconds)
        return upstream

    def over(self) -> None:
        """Nothing is watched any more."""
        self._exchange.on_drain = None
        for timer in (self._watch, self._lifetime):
            if timer is not None:
                timer.cancel()
        self._watch = self._lifetime = self.upstream = None

    def _look(self, rules: Rules, step: float) -> None:
        upstream, watch = self.upstream, self._watch
        if upstream is None or watch is None:
            return
        before, self._passed = self._passed, (self.client.passed + upstream.passed, upstream.passed + upstream.said)
        self._quiet = self._quiet + 1 if self._passed[0] == before[0] else 0
        self._silent = self._silent + 1 if self._passed[1] == before[1] else 0
        if rules.idle_timeout_seconds and self._quiet * step >= rules.idle_timeout_seconds:
            self._end("nobody said anything")
            return
        if rules.ping_interval_seconds and self._silent * step >= rules.ping_interval_seconds:
            upstream.ping()
        watch.start(step)

    def _end(self, words: str) -> None:
        if self.upstream is not None:
            self._close(words)
            self._exchange.expire_in(_CLOSE_SECONDS, Reason.IDLE_TIMEOUT)

    def _close(self, words: str) -> None:
        if self.upstream is not None:
            note_ending(self._exchange, f"closed by the gateway, {_GOING_AWAY}: {words}")
            self.upstream.close(_GOING_AWAY, words)


class FromClient:
    """What the client says."""

    __slots__ = ("_body", "_read", "_relay", "_sink", "length", "trailers")

    def __init__(self, body: Body) -> None:
        self.length: int | None = None
        self.trailers: Headers = ()
        self._body = body
        self._read = 0
        self._relay = getattr(body, "relay", None)
        self._sink: Stream | None = None

    @property
    def passed(self) -> int:
        """Grows with what passes."""
        return self._read + (0 if self._sink is None else self._sink.relayed_bytes)

    async def read(self) -> bytes:
        data = await self._body.read()
        self._read += len(data)
        return data

    async def relay(self, sink: Stream) -> int:
        """Passes everything straight to `sink`; how many bytes. 0: read it instead."""
        if self._relay is None:
            return 0
        self._sink = sink
        moved: int = await self._relay(sink)
        return moved

    async def aclose(self) -> None:
        await self._body.aclose()


class FromUpstream:
    """What the upstream says, with what the gateway has to say between two frames."""

    __slots__ = (
        "_body",
        "_boundary",
        "_closing",
        "_ended",
        "_on_close",
        "_ping",
        "_read",
        "_read_nowait",
        "_relay",
        "_scope",
        "_sink",
        "length",
        "said",
        "trailers",
    )

    def __init__(self, body: Body, on_close: Callable[[], None]) -> None:
        self.length: int | None = None
        self.trailers: Headers = ()
        self._body = body
        self._on_close = on_close
        self._relay = getattr(body, "relay", None)
        self._read_nowait = getattr(body, "read_nowait", None)
        self._boundary = Boundary()
        self._scope: anyio.CancelScope | None = None
        self._sink: Stream | None = None
        self.said = 0
        """Grows with what the gateway says itself."""
        self._read = 0
        self._closing = b""
        self._ping = b""
        self._ended = False

    @property
    def passed(self) -> int:
        """Grows with what passes."""
        return self._read + (0 if self._sink is None else self._sink.relayed_bytes)

    def close(self, code: int, reason: str) -> None:
        """Ends the WebSocket: the client's answer to our Close is what the upstream hears."""
        if not self._closing and not self._boundary.closed:
            self._closing = close_frame(code, reason)
            self._interrupt()

    def ping(self) -> None:
        """Sends the client a ping; its pong goes on to the upstream, as one that nobody asked for."""
        if not self._closing and not self._boundary.closed:
            self._ping = PING
            self._interrupt()

    def _interrupt(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    async def read(self) -> bytes:
        while True:
            if (self._closing or self._ping) and self._boundary.whole and not self._ended:
                data, self._ping = self._ping + self._closing, b""
                self._ended = bool(self._closing)
                self.said += len(data)
                return data
            data = b"" if self._read_nowait is None else self._read_nowait()
            if not data:
                with anyio.CancelScope() as self._scope:
                    data = await self._body.read()
                if self._scope.cancelled_caught:
                    continue
                if not data:
                    return b""
            self._read += len(data)
            if self._ended:
                continue  # what is said after our Close is for nobody
            if self._closing:
                data = data[: self._boundary.rest(data)]
                if not data:
                    continue
            self._boundary.feed(data)
            self._ping = b""  # it was due for nothing was said
            return data

    async def relay(self, sink: Stream) -> int:
        """Passes everything straight to `sink`, until something is to be said; how many bytes. 0: read it instead."""
        if self._relay is None or self._closing or self._ping:
            return 0
        self._sink = sink
        before = sink.relayed_bytes
        with anyio.CancelScope() as self._scope:
            await self._relay(sink, self._boundary.feed)
        return sink.relayed_bytes - before

    async def aclose(self) -> None:
        self._on_close()
        await self._body.aclose()
