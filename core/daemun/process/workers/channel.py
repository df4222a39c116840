"""Frames over a Unix socket: a length of four bytes, then so many bytes. Bounded both ways."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import anyio
from anyio.lowlevel import checkpoint

__all__ = ["MAX_FRAME_BYTES", "Channel", "ChannelError", "Deframer", "framed", "receive_blocking"]

T = TypeVar("T")

MAX_FRAME_BYTES = 256 * 1024 * 1024
"""Enough for some hundred thousand routes."""
_MAX_QUEUED_FRAMES = 10_000
_CHUNK_BYTES = 256 * 1024
_LENGTH = struct.Struct(">I")


class ChannelError(Exception):
    """The other side broke the form, or does not read."""


def framed(body: bytes) -> bytes:
    """`body` with its length. Raises `ChannelError` if it is too large."""
    if len(body) > MAX_FRAME_BYTES:
        raise ChannelError(f"a message of {len(body)} bytes is too large (accepted: {MAX_FRAME_BYTES})")
    return _LENGTH.pack(len(body)) + body


class Deframer:
    """Bytes in, frames out."""

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """More bytes, as they came."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next frame that is complete, once. Raises `ChannelError` for a length above the limit."""
        buffer = self._buffer
        if len(buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(buffer)
        if length > self._max_bytes:
            raise ChannelError(f"a message of {length} bytes is announced (accepted: {self._max_bytes})")
        end = _LENGTH.size + length
        if len(buffer) < end:
            return None
        with memoryview(buffer) as view:
            body = bytes(view[_LENGTH.size : end])
        del buffer[:end]
        return body

    @property
    def empty(self) -> bool:
        """Whether nothing of an incomplete frame is held."""
        return not self._buffer


class Channel(Generic[T]):
    """One end of a socket pair. Any task may `post`; one runs `write`, one calls `receive`."""

    def __init__(self, sock: socket.socket, decode: Callable[[bytes], T]) -> None:
        """Takes over `sock`. `decode` raises `ValueError` for what is no frame."""
        sock.setblocking(False)
        self._sock = sock
        self._decode = decode
        self._deframer = Deframer()
        self._queue: deque[bytes] = deque()
        self._news = anyio.Event()
        self._written = anyio.Event()
        self.lost = False
        """The other side is gone, or does not read: what is posted is dropped."""

    def post(self, frame: bytes) -> None:
        """Sends an encoded frame soon. Never waits; if the other side does not read, the channel is lost."""
        if self.lost:
            return
        if len(self._queue) >= _MAX_QUEUED_FRAMES:
            self.lost = True
        self._queue.append(framed(frame))
        self._news.set()

    async def write(self) -> None:
        """Writes what is posted, until the other side is gone."""
        while not self.lost:
            while self._queue:
                try:
                    await self._send(self._queue[0])
                except OSError:
                    self.lost = True
                    break
                self._queue.popleft()
            self._written.set()
            if not self._queue:
                self._news = anyio.Event()
                await self._news.wait()
        self._queue.clear()
        self._written.set()

    async def _send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                await anyio.wait_writable(self._sock)

    async def written(self) -> None:
        """Waits until everything that was posted is in the socket."""
        while self._queue and not self.lost:
            self._written = anyio.Event()
            await self._written.wait()

    async def receive(self) -> T | None:
        """The next frame; None once the other side is gone. Raises `ChannelError` if it breaks the form."""
        while (body := self._deframer.next()) is None:
            try:
                data = self._sock.recv(_CHUNK_BYTES)
            except BlockingIOError:
                await anyio.wait_readable(self._sock)
                continue
            except OSError:
                data = b""
            if not data:
                self.lost = True
                self._news.set()
                return None
            self._deframer.feed(data)
            await checkpoint()
        try:
            return self._decode(body)
        except ValueError as error:
            raise ChannelError(f"a message cannot be read: {error}") from error

    def close(self) -> None:
        """Closes the socket; nobody may read or write any more."""
        self.lost = True
        self._sock.close()


def receive_blocking(sock: socket.socket, decode: Callable[[bytes], Any]) -> Any:
    """The next frame, without an event loop; None if the other side is gone."""
    length = _receive_exactly(sock, _LENGTH.size)
    if length is None:
        return None
    (size,) = _LENGTH.unpack(length)
    if size > MAX_FRAME_BYTES:
        raise ChannelError(f"a message of {size} bytes is announced (accepted: {MAX_FRAME_BYTES})")
    body = _receive_exactly(sock, size)
    return None if body is None else decode(body)


def _receive_exactly(sock: socket.socket, size: int) -> bytes | None:
    received = bytearray()
    while len(received) < size:
        data = sock.recv(min(size - len(received), _CHUNK_BYTES))
        if not data:
            return None
        received += data
    return bytes(received)
