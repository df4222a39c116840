"""`Stream` over any byte stream: anyio's on trio, memory streams in tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import anyio
from anyio.abc import ByteStream, TaskGroup

from daemun.transport.stream import READ_AHEAD_BYTES, RECEIVE_BYTES, Stream

__all__ = ["WatchedStream"]

_SEND_BYTES = 64 * 1024
"""What is sent in one piece, so that `unsent_bytes` tells whether the peer takes any."""


class WatchedStream(Stream):
    """Reads ahead in a task of `tasks`, so that a peer that leaves is noticed while nobody receives."""

    def __init__(self, inner: ByteStream, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._inner = inner
        self._chunks: deque[bytes] = deque()
        self._handed_over: deque[bytes] = deque()
        self._unsent = 0
        self._news = anyio.Event()
        self._room = anyio.Event()
        self._scope = anyio.CancelScope()
        self._closed = False
        self._broken = False
        self._sending = anyio.Lock()
        self._send_scope: anyio.CancelScope | None = None
        """There while something is being sent."""
        tasks.start_soon(self._read_ahead)

    async def _read_ahead(self) -> None:
        with self._scope:
            try:
                while True:
                    data = await self._inner.receive(RECEIVE_BYTES)
                    if self.on_data is not None:
                        self.on_data(data)
                        continue
                    self._chunks.append(data)
                    self.unread_bytes += len(data)
                    self._tell()
                    while self.unread_bytes > READ_AHEAD_BYTES:
                        self._room = anyio.Event()
                        await self._room.wait()
            except anyio.EndOfStream:
                if self._broken:  # an error that a send has met is not told again: this is no end in order
                    self._lose()
                    return
                self.at_eof = True
                self._tell()
                if self.on_eof is not None:
                    self.on_eof()
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                self._lose()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    def _lose(self) -> None:
        if not self.lost:
            self.lost = True
            self._tell()
            if self.on_lost is not None:
                self.on_lost()

    @property
    def unsent_bytes(self) -> int:
        return self._unsent + sum(map(len, self._handed_over))

    def receive_nowait(self) -> bytes:
        if not self._chunks:
            if self._closed:
                raise anyio.ClosedResourceError
            if self.at_eof:
                raise anyio.EndOfStream
            if self.lost:
                raise anyio.BrokenResourceError
            return b""
        data = self._chunks.popleft()
        self.unread_bytes -= len(data)
        if self.unread_bytes <= READ_AHEAD_BYTES:
            self._room.set()
        return data

    async def wait_readable(self) -> None:
        if not (self._chunks or self._closed or self.at_eof or self.lost):
            await self._news.wait()

    def unread(self, data: bytes) -> None:
        self._chunks.appendleft(data)
        self.unread_bytes += len(data)

    def send_nowait(self, item: bytes) -> bool:
        if self._closed or self.lost or self._broken:
            raise anyio.ClosedResourceError if self._closed else anyio.BrokenResourceError
        self._handed_over.append(item)
        return False

    def send_last(self, item: bytes) -> None:
        self.send_nowait(item)
        self._tasks.start_soon(self._say_last)

    async def _say_last(self) -> None:
        try:
            await self.wait_writable()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass

    async def wait_writable(self) -> None:
        while self._handed_over:
            await self.send(self._handed_over.popleft())

    async def send(self, item: bytes) -> None:
        if self._closed or self.lost or self._broken:
            raise anyio.ClosedResourceError if self._closed else anyio.BrokenResourceError
        async with self._sending:
            if self.on_stall is not None:
                self.on_stall(True)
            try:
                with anyio.CancelScope() as self._send_scope:
                    await self._send_pieces(item)
                if self._send_scope.cancelled_caught:
                    raise anyio.BrokenResourceError
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                self._broken = True  # what the peer said before it left may still be read
                raise
            except anyio.EndOfStream:  # TLS says so
                self._broken = True
                raise anyio.BrokenResourceError from None
            finally:
                self._unsent = 0
                self._send_scope = None
                if self.on_stall is not None:
                    self.on_stall(False)

    async def _send_pieces(self, item: bytes) -> None:
        self._unsent = len(item)
        if len(item) <= _SEND_BYTES:
            await self._inner.send(item)
            return
        whole = memoryview(item)
        for start in range(0, len(item), _SEND_BYTES):
            await self._inner.send(bytes(whole[start : start + _SEND_BYTES]))
            self._unsent = len(item) - start - _SEND_BYTES

    async def send_eof(self) -> None:
        try:
            await self.wait_writable()
            async with self._sending:
                await self._inner.send_eof()
        except NotImplementedError:
            pass  # TLS: its end is the end of both directions
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            self._broken = True

    async def flush(self) -> None:
        await self.wait_writable()

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._scope.cancel()
            self._tell()
            await self._inner.aclose()

    def abort(self) -> None:
        self._scope.cancel()
        if self._send_scope is not None:
            self._send_scope.cancel()  # before the descriptor is closed under who sends, and given to another socket
        raw = self.extra(anyio.abc.SocketAttribute.raw_socket, None)
        if raw is not None:
            raw.close()
        self._lose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._inner.extra_attributes
