"""Content of requests that is read from the connection while the exchange runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic

import anyio

from daemun import Exchange, ExchangeError, Headers, Reason, Stream
from daemun_http1.chunked import ChunkError
from daemun_http1.reader import RELAY_BYTES, UNBOUNDED_BYTES, Reader
from daemun_http1.settings import Http1Settings
from daemun_http1.watch import Cause, Watch

__all__ = ["Pace", "RequestBody", "TunnelBody"]


class Pace:
    """How slow a client may be with its content: the time that it is waited for is limited by what came."""

    __slots__ = ("_settings", "_since", "_slow_seconds", "_watch", "bytes")

    def __init__(self, watch: Watch, settings: Http1Settings) -> None:
        self.bytes = 0
        """What came."""
        self._watch = watch
        self._settings = settings
        self._slow_seconds = 0.0
        self._since = 0.0

    def wait(self) -> None:
        """The client is waited for from now on."""
        settings = self._settings
        if settings.body_min_bytes_per_second:
            self._since = monotonic()
            allowed = settings.body_grace_seconds + self.bytes / settings.body_min_bytes_per_second
            self._watch.wait_for(Cause.CONTENT, allowed - self._slow_seconds)

    def rest(self) -> None:
        """It is not waited for any more."""
        if self._since:
            self._watch.rest()
            self._slow_seconds += monotonic() - self._since
            self._since = 0.0

    def came(self, data: memoryview) -> None:
        """Content came, and more is waited for."""
        self.rest()
        self.bytes += len(data)
        self.wait()

    def stalled(self, waits: bool) -> None:
        """Who takes the content has no room, or has room again."""
        if waits:
            self.rest()
        else:
            self.wait()


class RequestBody:
    """Content with a length, or chunked, that may not come slower than the settings allow."""

    __slots__ = (
        "_exchange",
        "_pace",
        "_reader",
        "_send_continue",
        "_stream",
        "broken",
        "length",
        "trailers",
    )

    def __init__(
        self,
        stream: Stream,
        reader: Reader,
        settings: Http1Settings,
        watch: Watch,
        exchange: Exchange,
        send_continue: Callable[[], Awaitable[None]] | None,
    ) -> None:
        """`reader` expects the content already. `send_continue` asks a client for it that holds it back."""
        self.length: int | None = reader.left if reader.left >= 0 else None
        self.trailers: Headers = ()
        self.broken = False
        """The coding was broken: what follows on the connection has no meaning."""
        self._stream = stream
        self._reader = reader
        self._pace = Pace(watch, settings)
        self._exchange = exchange
        self._send_continue = send_continue

    @property
    def held_back(self) -> bool:
        """The client waits for `100 Continue` and was not asked yet."""
        return self._send_continue is not None

    async def read(self) -> bytes:
        reader = self._reader
        if self._send_continue is not None:
            send_continue, self._send_continue = self._send_continue, None
            if not reader.waiting:
                await send_continue()
        while reader.left:
            try:
                data = reader.content()
            except ChunkError as error:
                self.broken = True
                raise ExchangeError(Reason.BAD_REQUEST, str(error)) from None
            if data:
                self._exchange.received_bytes += len(data)
                return data
            if reader.left:
                reader.feed(await self._receive())
        self.trailers = reader.trailers
        return b""

    async def relay(self, sink: Stream, came: Callable[[memoryview], None] | None = None) -> int:
        """Passes what is left of content with a length straight to `sink`; how many bytes. 0: read it instead."""
        reader, pace = self._reader, self._pace
        if reader.left < RELAY_BYTES or reader.waiting or self.held_back:
            return 0
        before = sink.relayed_bytes
        sink.on_stall = pace.stalled
        pace.wait()
        try:
            moved = await self._stream.relay(sink, reader.left, pace.came if came is None else _both(pace.came, came))
        finally:
            pace.rest()
            sink.on_stall = None
            self._exchange.received_bytes += sink.relayed_bytes - before
        reader.left -= moved
        return moved

    async def _receive(self) -> bytes:
        if self._stream.unread_bytes:
            return await _receive(self._stream)
        self._pace.wait()
        try:
            data = await _receive(self._stream)
        finally:
            self._pace.rest()
        self._pace.bytes += len(data)
        return data

    async def skip(self, limit: int) -> bool:
        """Reads what nobody wanted, if it is little; whether the connection can be kept."""
        if not self.can_be_skipped(limit):
            return False
        try:
            while data := await self.read():
                limit -= len(data)
                if limit < 0:
                    return False
        except ExchangeError:
            return False
        return True

    def can_be_skipped(self, limit: int) -> bool:
        """Whether what is left can be read in passing, as far as one can know."""
        return not self._reader.left or not (self.broken or self.held_back or self._reader.left > limit)

    async def aclose(self) -> None:
        return None


class TunnelBody:
    """Raw bytes of a client that asked to switch protocols. There are none before the upstream agreed."""

    __slots__ = ("_exchange", "_opened", "_reader", "_stream", "closed", "ended", "length", "trailers")

    def __init__(self, stream: Stream, reader: Reader, exchange: Exchange) -> None:
        self.length: int | None = None
        self.trailers: Headers = ()
        self.closed = anyio.Event()
        """The client has finished, and everything was read."""
        self.ended = False
        self._stream = stream
        self._reader = reader
        self._exchange = exchange
        self._opened = anyio.Event()

    def open(self) -> None:
        """The protocol was switched."""
        self._opened.set()

    async def read(self) -> bytes:
        if self.ended:
            return b""
        await self._opened.wait()
        data = self._reader.take()
        if not data:
            try:
                data = await _receive(self._stream)
            except ExchangeError:
                self.ended = True
                self.closed.set()
        self._exchange.received_bytes += len(data)
        return data

    async def relay(self, sink: Stream, came: Callable[[memoryview], None] | None = None) -> int:
        """Passes everything straight to `sink` until the client has finished; how many bytes. 0: read it instead."""
        if self._reader.waiting or self.ended:
            return 0
        before = sink.relayed_bytes
        try:
            return await self._stream.relay(sink, UNBOUNDED_BYTES, came)
        finally:
            self._exchange.received_bytes += sink.relayed_bytes - before

    async def aclose(self) -> None:
        self.ended = True
        self.closed.set()


def _both(one: Callable[[memoryview], None], other: Callable[[memoryview], None]) -> Callable[[memoryview], None]:
    """One call for two."""

    def call(data: memoryview) -> None:
        one(data)
        other(data)

    return call


async def _receive(stream: Stream) -> bytes:
    try:
        return await stream.receive()
    except anyio.EndOfStream:
        raise ExchangeError(Reason.BAD_REQUEST, "the content ends in the middle") from None
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        raise ExchangeError(Reason.CLIENT_LEFT, "the client left in the middle of its content") from None
