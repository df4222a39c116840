"""`Stream` on a transport of asyncio or uvloop: bytes are taken as they come and written as they are."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn, cast

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

from daemun.transport.relay import Relay
from daemun.transport.stream import READ_AHEAD_BYTES, RECEIVE_BYTES, Stream

__all__ = ["SocketStream"]

_WRITE_HIGH_BYTES = 256 * 1024
_WRITE_LOW_BYTES = 64 * 1024
_BUFFER_BYTES = 132 * 1024
"""What one read of the kernel takes at most: 128 KiB of content and a head."""

_AT_ONCE = 0, 0
"""Limits with which what is written goes out at once, and tells when it does not."""
_TLS_AT_ONCE = 1, 0
"""The same for TLS, whose transports count differently: they take 0 of 0 for too much."""
_TOGETHER_BYTES = 32 * 1024
"""What `send_soon` holds at most."""

_buffer = memoryview(bytearray(_BUFFER_BYTES))
"""Where all streams read into."""
_grown = False
"""It is larger than usual."""


class SocketStream(asyncio.BufferedProtocol, Stream):
    """A `Stream` on a transport of asyncio or uvloop, plaintext or TLS."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self._plaintext = True
        self._chunks: deque[bytes] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []
        self._relay: Relay | None = None  # it takes what comes
        self._feed: Relay | None = None  # it brings what is sent
        self._paused = False
        self._full = False
        self._closed = False
        self._soon: list[bytes] = []
        self._soon_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by class, only by what it does
        self.transport.set_write_buffer_limits(_WRITE_HIGH_BYTES, _WRITE_LOW_BYTES)
        self._plaintext = transport.get_extra_info("sslcontext") is None

    def get_buffer(self, sizehint: int) -> memoryview:
        global _buffer, _grown
        if sizehint > _BUFFER_BYTES:  # asyncio's TLS reads once more after its peer's end, and drops what is left
            _buffer, _grown = memoryview(bytearray(sizehint)), True
        elif _grown:
            _buffer, _grown = memoryview(bytearray(_BUFFER_BYTES)), False
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._relay is not None:
            self._pass_on(self._relay, nbytes)
            return
        if self.on_data is not None:
            self.on_data(_buffer[:nbytes].tobytes())
            return
        self._chunks.append(_buffer[:nbytes].tobytes())
        self.unread_bytes += nbytes
        reader = self._reader
        if reader is not None:
            self._reader = None
            if not reader.done():
                reader.set_result(None)
        elif self.unread_bytes > READ_AHEAD_BYTES and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def _pass_on(self, relay: Relay, nbytes: int) -> None:
        global _buffer
        data = _buffer[:nbytes]
        if nbytes > relay.left:
            rest = data[relay.left :].tobytes()
            self._chunks.append(rest)
            self.unread_bytes += len(rest)
            data = data[: relay.left]
        if data and relay.pass_on(data):
            _buffer = memoryview(bytearray(_BUFFER_BYTES))

    async def relay(self, sink: Stream, length: int, came: Callable[[memoryview], None] | None = None) -> int:
        if not isinstance(sink, SocketStream):
            return 0
        if self.at_eof or self.lost or sink._full or sink.lost:
            return 0
        relay = Relay(self, sink, length, came)
        self._relay = sink._feed = relay
        sink.transport.set_write_buffer_limits(*(_AT_ONCE if sink._plaintext else _TLS_AT_ONCE))
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        while self._chunks and relay.left:
            relay.pass_on(memoryview(self.take(relay.left)))
        try:
            await relay.over
        finally:
            self._relay = sink._feed = None
            relay.go_on()
            if not sink.transport.is_closing():
                sink.transport.set_write_buffer_limits(_WRITE_HIGH_BYTES, _WRITE_LOW_BYTES)
        return length - relay.left

    def eof_received(self) -> bool:
        self.at_eof = True
        self._wake()
        if self.on_eof is not None:
            self.on_eof()
        return self._plaintext

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            if exc is not None:
                self._rescue()
            elif not self._plaintext and not self.at_eof:  # uvloop, where the peer's TLS ends without a word
                self._rescue_tls()
                self.at_eof = True
        self.lost = True
        self._wake()
        self._wake_writers()
        if self.on_lost is not None:
            self.on_lost()

    def _rescue(self) -> None:
        """Takes in what the peer said before it broke off: a write that fails makes the transport stop reading."""
        raw = self.transport.get_extra_info("socket")
        if raw is None or not self._plaintext:
            return
        try:
            while self.unread_bytes <= READ_AHEAD_BYTES and (data := os.read(raw.fileno(), RECEIVE_BYTES)):
                self._chunks.append(data)
                self.unread_bytes += len(data)
        except OSError:
            pass  # there is no more

    def _rescue_tls(self) -> None:
        """Takes in what was decrypted and not read yet."""
        tls = self.transport.get_extra_info("ssl_object")
        try:
            while tls is not None and (data := tls.read(RECEIVE_BYTES)):
                self._chunks.append(data)
                self.unread_bytes += len(data)
        except (ssl.SSLError, OSError, ValueError):
            pass  # there is no more

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._feed is not None:
            self._feed.go_on()
        self._wake_writers()

    @property
    def unsent_bytes(self) -> int:
        return 0 if self.lost else self.transport.get_write_buffer_size() + self._soon_bytes

    def receive_nowait(self) -> bytes:
        chunks = self._chunks
        if not chunks:
            if self.at_eof or self.lost:
                self._raise_end()
            return b""
        data = chunks.popleft()
        self.unread_bytes -= len(data)
        if self._paused and self.unread_bytes < READ_AHEAD_BYTES // 2 and not self.lost:
            self._paused = False
            self.transport.resume_reading()
        return data

    def _raise_end(self) -> NoReturn:
        if self._closed:
            raise anyio.ClosedResourceError
        if self.at_eof:
            raise anyio.EndOfStream
        raise anyio.BrokenResourceError

    def wait_readable(self) -> Awaitable[None]:
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        self._reader = reader = self._loop.create_future()
        if self._chunks or self.at_eof or self.lost:
            reader.set_result(None)
        return reader

    def unread(self, data: bytes) -> None:
        self._chunks.appendleft(data)
        self.unread_bytes += len(data)

    def send_nowait(self, item: bytes) -> bool:
        if self.lost or self._closed:
            raise anyio.ClosedResourceError if self._closed else anyio.BrokenResourceError
        self.transport.write(item)
        return not self._full

    def send_soon(self, item: bytes, *, alone: bool = False) -> bool:
        if self.lost or self._closed:
            raise anyio.ClosedResourceError if self._closed else anyio.BrokenResourceError
        soon = self._soon
        if not soon:
            if alone:
                self.transport.write(item)
                return not self._full
            self._loop.call_soon(self._send_now)
        soon.append(item)
        self._soon_bytes += len(item)
        if self._soon_bytes > _TOGETHER_BYTES:
            self._send_now()
        return not self._full

    def _send_now(self) -> None:
        soon = self._soon
        if soon:
            if not self.lost and not self._closed:
                if len(soon) == 1:
                    self.transport.write(soon[0])
                elif self._soon_bytes <= _TOGETHER_BYTES:
                    self.transport.write(b"".join(soon))
                else:
                    self.transport.writelines(soon)
            self._soon, self._soon_bytes = [], 0

    async def wait_writable(self) -> None:
        if self._full:
            await self._drain()

    async def send_eof(self) -> None:
        self._send_now()
        if not self.lost and not self._closed and self.transport.can_write_eof():
            try:
                self.transport.write_eof()
            except OSError:
                pass  # the peer has left, and the transport is about to say so

    async def flush(self) -> None:
        self._send_now()
        if self.unsent_bytes:
            self.transport.set_write_buffer_limits(*_AT_ONCE)
            self._full = True
            try:
                while self._full and not self.lost and self.unsent_bytes:
                    await self._drain()
            finally:
                if not self.lost:
                    self.transport.set_write_buffer_limits(_WRITE_HIGH_BYTES, _WRITE_LOW_BYTES)
                    self._full = False

    async def _drain(self) -> None:
        writer = self._loop.create_future()
        self._writers.append(writer)  # one each: a task that is cancelled cancels what it awaits
        if self.on_stall is not None:
            self.on_stall(True)
        try:
            await writer
        finally:
            self._writers.remove(writer)
            if self.on_stall is not None:
                self.on_stall(False)
        if self.lost:
            raise anyio.BrokenResourceError

    async def aclose(self) -> None:
        if not self._closed:
            self._send_now()
            self._closed = True
            self.transport.close()
            self._wake()

    def abort(self) -> None:
        if not self._closed or not self.lost:
            self._send_now()
            self._closed = True
            self._chunks.clear()
            self.unread_bytes = 0
            self.transport.abort()

    def _wake(self) -> None:
        if self._relay is not None:
            self._relay.finish()
        reader = self._reader
        if reader is not None and not reader.done():
            reader.set_result(None)

    def _wake_writers(self) -> None:
        if self._feed is not None and self.lost:
            self._feed.finish()
        for writer in self._writers:
            if not writer.done():
                writer.set_result(None)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        def raw_socket() -> socket.socket:
            found: socket.socket = self.transport.get_extra_info("socket")
            return found

        return {
            SocketAttribute.raw_socket: raw_socket,
            TLSAttribute.alpn_protocol: self._alpn,
            TLSAttribute.ssl_object: lambda: self.transport.get_extra_info("ssl_object"),
        }

    def _alpn(self) -> str | None:
        tls = self.transport.get_extra_info("ssl_object")
        return tls.selected_alpn_protocol() if tls is not None else None
