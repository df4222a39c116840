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
    waiting: int
    """How many streams have something to send, and no room for it."""

    def wake_flows(self) -> None:
        """Others may send what this one leaves."""
        ...

    def write(self, data: bytes) -> None:
        """Sends bytes as they are."""
        ...


class Outflow:
    """The sending side of one stream."""

    __slots__ = ("_error", "_outlet", "_stream", "_waker", "on_stall", "waits", "window")

    def __init__(self, stream: int, outlet: Outlet, window: int) -> None:
        self.window = window
        """What the peer takes."""
        self.on_stall: Callable[[bool], None] | None = None
        """Called with True when a send begins to wait for the peer, with False when it goes on."""
        self.waits = False
        """Something is to be sent, and there was no room."""
        self._stream = stream
        self._outlet = outlet
        self._waker: Waker | None = None
        self._error: ExchangeError | None = None

    def wake(self) -> None:
        """There may be room now."""
        self.waits = False
        if self._waker is not None:
            self._waker.wake()

    @property
    def blocked(self) -> bool:
        """Nothing can be sent now."""
        outlet = self._outlet
        return outlet.full or self.window <= 0 or outlet.window <= 0

    async def ready(self) -> None:
        """Returns once something can be sent: what is not taken yet need not be in memory. Raises `ExchangeError`."""
        await self._unblocked()
        outlet = self._outlet
        if outlet.waiting and outlet.window > 0:
            outlet.wake_flows()  # this one may have to wait for something else before it sends

    async def _unblocked(self) -> None:
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
        frames = outlet.codec.content(self._stream, data, ended)
        if frames:
            self.window -= size
            outlet.window -= size
        outlet.write(before + frames)
        return True

    async def send(self, data: bytes, *, ended: bool) -> None:
        """Sends all of `data`. Raises `ExchangeError` once the peer takes no more."""
        if self.send_nowait(data, ended=ended):
            return
        outlet, whole = self._outlet, memoryview(data)
        while True:
            room = min(len(whole), self.window, outlet.window, _TURN_BYTES)
            if self._error is not None or outlet.full or (room <= 0 and len(whole)):
                await self._unblocked()
                continue
            piece, whole = whole[:room], whole[room:]
            frames = outlet.codec.content(self._stream, piece, ended and not whole)
            if frames:
                self.window -= room
                outlet.window -= room
            outlet.write(frames)
            if not whole:
                if outlet.waiting and outlet.window > 0:
                    outlet.wake_flows()
                return

    async def _wait(self) -> None:
        if self._waker is None:
            self._waker = new_waker()
        outlet = self._outlet
        if outlet.waiting and outlet.window > 0 and not outlet.full:
            outlet.wake_flows()  # what this one leaves is for the others
        self.waits = True
        outlet.waiting += 1
        if self.on_stall is not None:
            self.on_stall(True)
        try:
            await self._waker.wait()
        finally:
            self.waits = False
            outlet.waiting -= 1
            if self.on_stall is not None:
                self.on_stall(False)
