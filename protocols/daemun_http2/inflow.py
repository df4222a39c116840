"""Content that comes on a stream: the window that its sender has follows its reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from daemun import ExchangeError, Headers, Waker, new_waker
from daemun_http2.frames import ErrorCode, StreamFault

__all__ = ["Inflow", "Room"]


_SMALL_BYTES = 512
_PIECE_BYTES = 4096
"""Small pieces are put together up to it: an object for each would weigh more than they do."""


class Room(Protocol):
    """What the streams of a connection share for their windows."""

    window_bytes: int
    """What a stream begins with."""
    max_window_bytes: int
    """What the window of one stream may grow to."""
    spare_bytes: int
    """By how much all windows together may still grow."""

    def credit(self, stream: int, increment: int) -> None:
        """Lets the peer send more on a stream."""
        ...


class Inflow:
    """A body that is fed by its connection. What was not read holds the sender up, and nobody else.

    The window begins small, and doubles each time the reader has taken everything before the sender has filled it.
    """

    __slots__ = (
        "_chunks",
        "_error",
        "_on_read",
        "_room",
        "_stream",
        "_taken",
        "_unread",
        "_waker",
        "_window",
        "came_bytes",
        "ended",
        "length",
        "on_closed",
        "on_wait",
        "trailers",
    )

    def __init__(self, stream: int, room: Room, length: int | None) -> None:
        self.length = length
        self.trailers: Headers = ()
        self.ended = False
        """Everything came."""
        self.came_bytes = 0
        """Content that came, without padding."""
        self.on_closed: Callable[[], None] | None = None
        """Called once: it was read to its end, or nobody will read on."""
        self.on_wait: Callable[[bool], None] | None = None
        """Called with True when a reader begins to wait, with False when it goes on."""
        self._on_read: Callable[[], None] | None = None
        self._stream = stream
        self._room = room
        self._window = room.window_bytes
        self._chunks: list[bytes] = []
        self._unread = 0
        self._taken = 0
        self._waker: Waker | None = None
        self._error: ExchangeError | None = None

    def before_read(self, call: Callable[[], None]) -> None:
        """Has `call` called before the first read that would wait."""
        self._on_read = call

    def feed(self, data: bytes, size: int) -> None:
        """More came; `size` is what it took of the window. Raises `StreamFault` if it is more than was announced."""
        came = self.came_bytes + len(data)
        if self.length is not None and came > self.length:
            raise StreamFault(self._stream, ErrorCode.PROTOCOL_ERROR, "more content than announced")
        self.came_bytes = came
        if data:
            chunks = self._chunks
            if chunks and len(data) < _SMALL_BYTES and len(chunks[-1]) < _PIECE_BYTES:
                chunks[-1] += data
            else:
                chunks.append(data)
        self._unread += size
        if self._waker is not None:
            self._waker.wake()

    def end(self, trailers: Headers = ()) -> None:
        """Everything came. Raises `StreamFault` if it is less than was announced."""
        if self.length is not None and self.came_bytes < self.length:
            raise StreamFault(self._stream, ErrorCode.PROTOCOL_ERROR, "less content than announced")
        self.trailers = trailers
        self.ended = True
        if self._waker is not None:
            self._waker.wake()

    def fail(self, error: ExchangeError) -> None:
        """It will not come to its end: readers get `error`, after what came."""
        if not self.ended and self._error is None:
            self._error = error
            if self._waker is not None:
                self._waker.wake()

    def read_nowait(self) -> bytes:
        """What came; b"" says nothing about what will."""
        chunks = self._chunks
        if not chunks:
            return b""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        if not self.ended:
            self._give_back()
        else:
            self._unread = 0
        return data

    def _give_back(self) -> None:
        """Lets the sender send as much again, and more if it was the sender who waited."""
        self._taken += self._unread
        self._unread = 0
        window, room = self._window, self._room
        if self._taken * 2 < window:
            return
        increment = self._taken
        self._taken = 0
        more = min(window, room.max_window_bytes - window, room.spare_bytes)
        if more > 0:
            room.spare_bytes -= more
            self._window += more
            increment += more
        room.credit(self._stream, increment)

    async def read(self) -> bytes:
        while not (data := self.read_nowait()):
            if self._error is not None:
                raise self._error
            if self.ended:
                self._close()
                return b""
            if self._unread:
                self._give_back()  # padding
            if self._on_read is not None:
                call, self._on_read = self._on_read, None
                call()
            if self._waker is None:
                self._waker = new_waker()
            if self.on_wait is None:
                await self._waker.wait()
                continue
            self.on_wait(True)
            try:
                await self._waker.wait()
            finally:
                if self.on_wait is not None:  # the exchange may be over by now
                    self.on_wait(False)
        return data

    async def aclose(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Nobody will read on."""
        self._chunks.clear()
        self._close()

    def _close(self) -> None:
        if self._window > self._room.window_bytes:
            self._room.spare_bytes += self._window - self._room.window_bytes
            self._window = self._room.window_bytes
        call, self.on_closed = self.on_closed, None
        if call is not None:
            call()
