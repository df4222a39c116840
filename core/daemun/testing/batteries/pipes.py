"""A connection in memory: two ends, and what happens on the way: pieces, a full pipe, an end at any byte."""

from __future__ import annotations

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, TaskGroup

from daemun.transport.watched import WatchedStream

__all__ = ["Flow", "PipeStream", "pipe"]

_MAX_UNREAD_BYTES = 64 * 1024


class Flow:
    """One direction. `piece_bytes` is what arrives at once, `cut_after` so many bytes the connection ends."""

    def __init__(
        self, *, piece_bytes: int = 1 << 20, cut_after: int | None = None, resets: bool = False, paused: bool = False
    ) -> None:
        self.sent = bytearray()
        """Everything that was sent into it, and taken."""
        self.ended = False
        self.broken = False
        self.cut = False
        """It ended where it should be cut."""
        self._piece_bytes = piece_bytes
        self._cut_after = cut_after
        self._resets = resets
        self._paused = paused
        self._read = 0
        self._news = anyio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self._news.set()
        self._news = anyio.Event()

    def resume(self) -> None:
        """Lets the reader read."""
        self._paused = False
        self.tell()

    @property
    def unread_bytes(self) -> int:
        """Sent, and not received yet."""
        return len(self.sent) - self._read

    async def receive(self, max_bytes: int) -> bytes:
        while True:
            if self.broken:
                raise anyio.BrokenResourceError
            if self.unread_bytes and not self._paused:
                size = min(max_bytes, self._piece_bytes, self.unread_bytes)
                data = bytes(self.sent[self._read : self._read + size])
                self._read += size
                self.tell()
                await anyio.lowlevel.checkpoint()
                return data
            if self.ended and not self.unread_bytes:
                raise anyio.EndOfStream
            await self._news.wait()

    async def send(self, item: bytes) -> None:
        left = memoryview(item)
        while left:
            if self.broken or self.ended:
                raise anyio.BrokenResourceError
            room = _MAX_UNREAD_BYTES - self.unread_bytes
            if self._cut_after is not None:
                room = min(room, self._cut_after - len(self.sent))
                if room <= 0 and len(self.sent) >= self._cut_after:
                    self._cut()
                    continue
            if room <= 0:
                await self._news.wait()
                continue
            self.sent += left[:room]
            left = left[room:]
            self.tell()
        if self._cut_after is not None and len(self.sent) >= self._cut_after:
            self._cut()
        await anyio.lowlevel.checkpoint()

    def _cut(self) -> None:
        self.cut = True
        if self._resets:
            self.broken = True
        else:
            self.ended = True
        self.tell()

    def end(self) -> None:
        """Nothing more is sent."""
        self.ended = True
        self.tell()

    def reset(self) -> None:
        """Nothing is sent or received any more."""
        self.broken = True
        self.tell()


class _End(ByteStream):
    """One end: what it sends goes into `out`, what it receives comes from `into`."""

    def __init__(self, out: Flow, into: Flow) -> None:
        self.out = out
        self.into = into

    async def receive(self, max_bytes: int = 65536) -> bytes:
        return await self.into.receive(max_bytes)

    async def send(self, item: bytes) -> None:
        await self.out.send(item)

    async def send_eof(self) -> None:
        self.out.end()

    async def aclose(self) -> None:
        self.out.end()
        self.into.reset()

    def reset(self) -> None:
        """Ends both directions at once."""
        self.out.reset()
        self.into.reset()


class PipeStream(WatchedStream):
    """One end of a pipe as protocols see connections."""

    def __init__(self, end: _End, tasks: TaskGroup) -> None:
        super().__init__(end, tasks)
        self.end = end

    def abort(self) -> None:
        self.end.reset()
        super().abort()


def pipe(tasks: TaskGroup, there: Flow, back: Flow) -> tuple[PipeStream, PipeStream]:
    """Both ends of a connection: the one who asks, and the one who answers. `there` is what the first sends."""
    return PipeStream(_End(there, back), tasks), PipeStream(_End(back, there), tasks)
