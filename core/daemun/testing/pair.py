"""Two ends of a connection that is only memory: no socket, no descriptor, but ends, resets and a full buffer as TCP."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint

from daemun.transport.stream import RECEIVE_BYTES

__all__ = ["BUFFER_BYTES", "MemoryEnd", "memory_pair"]

BUFFER_BYTES = 64 * 1024
"""What one direction holds; who sends more waits until it is taken."""


class _Way:
    """One direction."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False
        """Nothing more is sent."""
        self.refused = False
        """Nobody receives any more."""
        self.reset = False
        self._change = anyio.Event()

    def tell(self) -> None:
        self._change.set()
        self._change = anyio.Event()

    async def change(self) -> None:
        await self._change.wait()


class MemoryEnd(ByteStream):
    """One end. It waits as a stream on a socket would: until something came, and while the buffer is full."""

    def __init__(self, incoming: _Way, outgoing: _Way) -> None:
        self._in = incoming
        self._out = outgoing
        self._closed = False
        self._handle = _Handle(self)

    async def receive(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        await checkpoint()
        way = self._in
        while True:
            if self._closed:
                raise anyio.ClosedResourceError
            if way.data:
                data = bytes(way.data[:max_bytes])
                del way.data[:max_bytes]
                way.tell()
                return data
            if way.reset:
                raise anyio.BrokenResourceError
            if way.ended:
                raise anyio.EndOfStream
            await way.change()

    async def send(self, item: bytes) -> None:
        await checkpoint()
        way, left = self._out, memoryview(item)
        while left:
            if self._closed or way.ended:
                raise anyio.ClosedResourceError
            if way.refused or way.reset:
                raise anyio.BrokenResourceError
            room = BUFFER_BYTES - len(way.data)
            if room > 0:
                way.data += left[:room]
                left = left[room:]
                way.tell()
            else:
                await way.change()

    async def send_eof(self) -> None:
        self._out.ended = True
        self._out.tell()

    async def aclose(self) -> None:
        self.close()
        await checkpoint()

    def close(self) -> None:
        """Ends it now: what was sent may still be received, unless it is to end by a reset."""
        if self._closed:
            return
        self._closed = True
        self._in.refused = True
        self._out.ended = True
        if self._handle.lingers_not:
            self._in.reset = self._out.reset = True
        self._in.tell()
        self._out.tell()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {SocketAttribute.raw_socket: lambda: self._handle}


class _Handle:
    """What stands for the socket: wire protocols end it by a reset, or at once; everything else that they may tell the
    kernel has no meaning here."""

    family = socket.AF_UNIX

    def __init__(self, end: MemoryEnd) -> None:
        self._end = end
        self.lingers_not = False

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """`SO_LINGER` with a time of 0 has the end be a reset."""
        if (level, option) == (socket.SOL_SOCKET, socket.SO_LINGER):
            self.lingers_not = True

    def fileno(self) -> int:
        """There is none."""
        raise OSError(errno.EBADF, "a connection in memory has no descriptor")

    def close(self) -> None:
        """Ends it now."""
        self._end.close()


def memory_pair() -> tuple[MemoryEnd, MemoryEnd]:
    """Both ends of a new connection."""
    there, back = _Way(), _Way()
    return MemoryEnd(back, there), MemoryEnd(there, back)
