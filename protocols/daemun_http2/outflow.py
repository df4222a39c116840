"""Content that goes out on a stream: as much as the stream, the connection and the transport take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from daemun import ExchangeError, Waker, new_waker
from daemun_http2.codec import Codec

__all__ = ["Outflow", "Outlet"]

_TURN_BYTES = 64 * 1024
"""What one stream sends before others get their turn."""


class Outlet(Protocol):
    """The connection that content leaves by."""

    codec: Codec
    window: int
    full: bool

    def write(self, data: bytes) -> None:
        """Sends bytes as they are."""
        ...


class Outflow:
    """The sending side of one stream."""

    __slots__ = ("_error", "_outlet", "_stream", "_waker", "on_stall", "window")

    def __init__(self, stream: int, outlet: Outlet, window: int) -> None:
        self.window = window
        """What the peer takes."""
        self.on_stall: Callable[[bool], None] | None = None
        """Called with True when a send begins to wait for the peer, with False when it goes on."""
        self._stream = stream
        self._outlet = outlet
        self._waker: Waker | None = None
        self._error: ExchangeError | None = None

    def wake(self) -> None:
        """There may be room now."""
        if self._waker is not None:
            self._waker.wake()

    @property
    def blocked(self) -> bool:
        """Nothing can be sent now."""
        outlet = self._outlet
        return outlet.full or self.window <= 0 or outlet.window <= 0

    async def ready(self) -> None:
        """Returns once something can be sent: what is not taken yet need not be in memory. Raises `ExchangeError`."""
        while self._error is None and self.blocked:
            await self._wait()
        if self._error is not None:
            raise self._error

    def fail(self, error: ExchangeError) -> None:
        """The peer takes no more: who sends gets `error`."""
        self._error = error
        self.wake()

    def send_nowait(self, data: bytes, *, ended: bool, before: bytes = b"") -> bool:
        """Sends all of `data`, behind the frames in `before`, if there is room for it; whether there was."""
        outlet, size = self._outlet, len(data)
        if outlet.full or size > self.window or size > outlet.window or self._error is not None:
            return False
        self.window -= size
        outlet.window -= size
        outlet.write(before + outlet.codec.content(self._stream, data, ended))
        return True

    async def send(self, data: bytes, *, ended: bool) -> None:
        """Sends all of `data`. Raises `ExchangeError` once the peer takes no more."""
        if self.send_nowait(data, ended=ended):
            return
        outlet, whole = self._outlet, memoryview(data)
        while True:
            room = min(len(whole), self.window, outlet.window, _TURN_BYTES)
            if self._error is not None or outlet.full or (room <= 0 and len(whole)):
                await self.ready()
                continue
            piece, whole = whole[:room], whole[room:]
            self.window -= room
            outlet.window -= room
            outlet.write(outlet.codec.content(self._stream, piece, ended and not whole))
            if not whole:
                return

    async def _wait(self) -> None:
        if self._waker is None:
            self._waker = new_waker()
        if self.on_stall is None:
            await self._waker.wait()
            return
        self.on_stall(True)
        try:
            await self._waker.wait()
        finally:
            self.on_stall(False)
