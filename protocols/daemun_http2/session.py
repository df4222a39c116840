"""A connection as both halves see it: frames in and out, the windows of what is sent, and how it ends."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod

import anyio
from anyio.abc import TaskGroup

from daemun import Stream, Timers, waker_factory
from daemun_http2.budget import Budget
from daemun_http2.choose import new_codec
from daemun_http2.decoding import Block
from daemun_http2.frames import MAX_STREAM, MAX_WINDOW, ConnectionFault, ErrorCode, Setting, StreamFault
from daemun_http2.outflow import Outflow
from daemun_http2.settings import Http2Settings

__all__ = ["Session"]

log = logging.getLogger("daemun.http2")

_CONNECTION_WINDOW = 16 * 1024 * 1024
_SPARE_BYTES = 8 * 1024 * 1024
"""By how much all windows of a connection may grow together."""
_DEFAULT_WINDOW = 65_535
_BEYOND_BYTES = 512 * 1024
"""Who lets so many bytes of heads wait asks for more than it reads."""
_BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError)


class Session:
    """One connection. The halves say what becomes of heads, content and resets; everything else is here."""

    def __init__(
        self, stream: Stream, settings: Http2Settings, tasks: TaskGroup, timers: Timers, *, client: bool
    ) -> None:
        self.stream = stream
        self.settings = settings
        self.budget = Budget()
        self.codec = new_codec(settings, self, self.budget, client=client)
        self.window = _DEFAULT_WINDOW
        """What may be sent on the whole connection."""
        self.peer_window = _DEFAULT_WINDOW
        """What may be sent on a new stream."""
        self.peer_max_streams = MAX_STREAM
        self.peer_connects = False
        """The peer takes extended CONNECT (RFC 8441)."""
        self.new_waker = waker_factory()
        self.greeted = self.new_waker()
        """Woken by the peer's first settings."""
        self.full = False
        """The transport has enough for now."""
        self.waiting = 0
        self.flows: dict[int, Outflow] = {}
        """The streams on which something may be sent."""
        self.window_bytes = settings.window_bytes
        self.max_window_bytes = settings.max_window_bytes
        self.spare_bytes = _SPARE_BYTES
        self.over = False
        """Nothing is read and nothing is sent any more."""
        self._tasks = tasks
        self.unanswered_since = 0.0
        self._beyond_bytes = 0
        """Heads and the like that were sent although the transport had enough; content waits then."""
        self._stall = timers.timer(self._stalled)
        self._unsent_bytes = 0
        self._receiving = False
        self._said: list[bytes] = []

    # --- bytes ---

    def begin(self, settings: dict[int, int]) -> None:
        """Says what is said first, and reads from now on."""
        settings[Setting.INITIAL_WINDOW_SIZE] = self.window_bytes
        settings[Setting.MAX_HEADER_LIST_SIZE] = self.settings.max_head_bytes
        self.write(self.codec.start(settings, _CONNECTION_WINDOW))
        stream = self.stream
        while stream.unread_bytes and not self.over:
            self._on_data(stream.receive_nowait())
        stream.on_data = self._on_data

    def write(self, data: bytes) -> None:
        """Sends bytes as they are, together with what else is said for the same reason."""
        if self._receiving:
            self._said.append(data)
        elif data and not self.over:
            self._send(data)

    def _send(self, data: bytes) -> None:
        if self.full:
            self._beyond_bytes += len(data)
        try:
            if not self.stream.send_soon(data, alone=len(self.flows) < 2) and not self.full:
                self.full = True
                self._unsent_bytes = self.stream.unsent_bytes
                if self.settings.send_timeout_seconds:
                    self._stall.start(self.settings.send_timeout_seconds)
                self._tasks.start_soon(self._wait_for_room)
        except _BROKEN:
            self.lost()

    async def _wait_for_room(self) -> None:
        try:
            await self.stream.wait_writable()
        except _BROKEN:
            self._stall.cancel()
            self.lost()
            return
        self.full = False
        self._stall.at = math.inf
        self._beyond_bytes = 0
        self.wake_flows()

    def _stalled(self) -> None:
        """The transport has enough for too long: cuts the peer off, unless it has taken something."""
        unsent = self.stream.unsent_bytes - self._beyond_bytes
        if unsent < self._unsent_bytes:
            self._unsent_bytes = unsent
            self._stall.start(self.settings.send_timeout_seconds)
        else:
            self.lost()
            self.stream.abort()

    def _on_data(self, data: bytes) -> None:
        if self.over:
            return
        self._receiving = True
        self.unanswered_since = 0.0
        try:
            if self._beyond_bytes > _BEYOND_BYTES:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "answers are asked for and not taken")
            self.codec.receive(data)
            self.received()
        except ConnectionFault as fault:
            self._flush()
            self.broken(fault)
            return
        except Exception:
            log.exception("a connection failed")
            self._flush()
            self.broken(ConnectionFault(ErrorCode.INTERNAL_ERROR, "the gateway failed"))
            return
        self._flush()

    def _flush(self) -> None:
        self._receiving = False
        said = self._said
        said.append(self.codec.pending())
        data = said[0] if len(said) == 1 else b"".join(said)
        said.clear()
        if data:
            self._send(data)

    # --- for the halves ---

    @abstractmethod
    def received(self) -> None:
        """Everything that came was told."""

    @abstractmethod
    def broken(self, fault: ConnectionFault) -> None:
        """The peer broke the rules of the connection."""

    @abstractmethod
    def lost(self) -> None:
        """The connection is gone."""

    # --- windows ---

    def credit(self, stream: int, increment: int) -> None:
        """Lets the peer send more on a stream."""
        self.write(self.codec.credit(stream, increment))

    def on_window(self, stream: int, increment: int) -> None:
        if not stream:
            self.window += increment
            if self.window > MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
            self.wake_flows()
            return
        flow = self.flows.get(stream)
        if flow is not None:
            flow.window += increment
            if flow.window > MAX_WINDOW:
                raise StreamFault(stream, ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
            flow.wake()

    def on_settings(self, settings: dict[int, int]) -> None:
        window = settings.get(Setting.INITIAL_WINDOW_SIZE)
        if window is not None:
            more = window - self.peer_window
            self.peer_window = window
            for flow in self.flows.values():
                flow.window += more
                if flow.window > MAX_WINDOW:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2^31-1")
            if more > 0:
                self.wake_flows()
        self.peer_max_streams = settings.get(Setting.MAX_CONCURRENT_STREAMS, self.peer_max_streams)
        self.peer_connects = bool(settings.get(Setting.ENABLE_CONNECT_PROTOCOL, self.peer_connects))
        self.greeted.wake()

    def wake_flows(self) -> None:
        """Something became free that all streams wait for: as many go on as it is enough for, in turn."""
        flows, room, woken = self.flows, self.window, []
        for stream, flow in flows.items():
            if flow.waits and flow.window > 0:
                flow.wake()
                woken.append(stream)
                room -= flow.window
                if room <= 0:
                    break
        for stream in woken:
            flows[stream] = flows.pop(stream)

    # --- what only one half hears of ---

    def on_ping_answered(self) -> None:
        """Everything that was said before the ping was read."""

    @abstractmethod
    def on_head(self, stream: int, block: Block, ended: bool) -> None: ...

    @abstractmethod
    def on_trailers(self, stream: int, block: Block) -> None: ...

    @abstractmethod
    def on_content(self, stream: int, data: bytes, size: int, ended: bool) -> None: ...

    @abstractmethod
    def on_reset(self, stream: int, code: int) -> None: ...

    @abstractmethod
    def on_fault(self, stream: int, code: ErrorCode, why: str) -> None: ...

    @abstractmethod
    def on_goaway(self, last: int, code: int) -> None: ...
