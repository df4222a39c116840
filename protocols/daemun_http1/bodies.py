"""Content of requests that is read from the connection while the exchange runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic

import anyio

from daemun import Exchange, ExchangeError, Headers, Reason, Stream
from daemun_http1.chunked import ChunkError
from daemun_http1.reader import Reader
from daemun_http1.settings import Http1Settings
from daemun_http1.watch import Cause, Watch

__all__ = ["RequestBody", "TunnelBody"]


class RequestBody:
    """Content with a length, or chunked, that may not come slower than the settings allow."""

    __slots__ = (
        "_bytes",
        "_exchange",
        "_reader",
        "_send_continue",
        "_settings",
        "_slow_seconds",
        "_stream",
        "_watch",
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
        self._settings = settings
        self._watch = watch
        self._exchange = exchange
        self._send_continue = send_continue
        self._slow_seconds = 0.0
        self._bytes = 0

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

    async def _receive(self) -> bytes:
        settings, watch = self._settings, self._watch
        if self._stream.unread_bytes or not settings.body_min_bytes_per_second:
            data = await _receive(self._stream)
        else:
            since = monotonic()
            allowed = settings.body_grace_seconds + self._bytes / settings.body_min_bytes_per_second
            watch.wait_for(Cause.CONTENT, allowed - self._slow_seconds)
            try:
                data = await _receive(self._stream)
            finally:
                watch.rest()
            self._slow_seconds += monotonic() - since
        self._bytes += len(data)
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

    async def aclose(self) -> None:
        self.ended = True
        self.closed.set()


async def _receive(stream: Stream) -> bytes:
    try:
        return await stream.receive()
    except anyio.EndOfStream:
        raise ExchangeError(Reason.BAD_REQUEST, "the content ends in the middle") from None
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        raise ExchangeError(Reason.CLIENT_LEFT, "the client left in the middle of its content") from None
