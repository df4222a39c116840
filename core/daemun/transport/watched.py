"""`Stream` over any byte stream: anyio's on trio, memory streams in tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import anyio
from anyio.abc import ByteStream, TaskGroup

from daemun.transport.stream import READ_AHEAD_BYTES, RECEIVE_BYTES, Stream

__all__ = ["WatchedStream"]


class WatchedStream(Stream):
    """Reads ahead in a task of `tasks`, so that a peer that leaves is noticed while nobody receives."""

    def __init__(self, inner: ByteStream, tasks: TaskGroup) -> None:
        self._inner = inner
        self._chunks: deque[bytes] = deque()
        self._unsent = 0
        self._news = anyio.Event()
        self._room = anyio.Event()
        self._scope = anyio.CancelScope()
        self._closed = False
        tasks.start_soon(self._read_ahead)

    async def _read_ahead(self) -> None:
        with self._scope:
            try:
                while True:
                    data = await self._inner.receive(RECEIVE_BYTES)
                    self._chunks.append(data)
                    self.unread_bytes += len(data)
                    self._tell()
                    while self.unread_bytes > READ_AHEAD_BYTES:
                        self._room = anyio.Event()
                        await self._room.wait()
            except anyio.EndOfStream:
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
        return self._unsent

    async def receive(self, max_bytes: int = RECEIVE_BYTES) -> bytes:
        while not self._chunks:
            if self._closed:
                raise anyio.ClosedResourceError
            if self.at_eof:
                raise anyio.EndOfStream
            if self.lost:
                raise anyio.BrokenResourceError
            await self._news.wait()
        data = self._chunks.popleft()
        if len(data) > max_bytes:
            self._chunks.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self.unread_bytes -= len(data)
        if self.unread_bytes <= READ_AHEAD_BYTES:
            self._room.set()
        return data

    def unread(self, data: bytes) -> None:
        self._chunks.appendleft(data)
        self.unread_bytes += len(data)

    async def send(self, item: bytes) -> None:
        self._unsent = len(item)
        if self.on_stall is not None:
            self.on_stall(True)
        try:
            await self._inner.send(item)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._lose()
            raise
        finally:
            self._unsent = 0
            if self.on_stall is not None:
                self.on_stall(False)

    async def send_eof(self) -> None:
        try:
            await self._inner.send_eof()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, NotImplementedError):
            self._lose()

    async def flush(self) -> None:
        return None

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._scope.cancel()
            self._tell()
            await self._inner.aclose()

    def abort(self) -> None:
        self._scope.cancel()
        raw = self.extra(anyio.abc.SocketAttribute.raw_socket, None)
        if raw is not None:
            raw.close()
        self._lose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._inner.extra_attributes
