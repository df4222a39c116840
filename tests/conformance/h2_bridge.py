"""WebSocket between HTTP/1 and HTTP/2 (RFC 8441), by the library `h2`: so what speaks one version is heard by the other.

python h2_bridge.py down|up PORT TO: at PORT, `down` takes upgrades of HTTP/1 and asks for them at the port TO by extended CONNECT of
HTTP/2; `up` is the reverse. The end of either side's bytes is passed on as such, and a reset as a reset.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskGroup
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import StreamClosedError
from h2.settings import SettingCodes, Settings

Fields = list[tuple[str, str]]

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
OF_CONNECTION = ("host", "connection", "upgrade", "sec-websocket-key", "sec-websocket-accept")
"""Fields of HTTP/1 that extended CONNECT has no use for."""


class Tunnel:
    """A stream of HTTP/2 that carries bytes both ways."""

    def __init__(self, session: Session, number: int) -> None:
        self.head: Fields = []
        self.headed = anyio.Event()
        self.room = anyio.Event()
        self._session = session
        self._number = number
        self._came: deque[bytes | None] = deque()
        self._more = anyio.Event()

    def put(self, data: bytes | None) -> None:
        """Bytes came; b"": their end; None: a reset."""
        self._came.append(data)
        self._more.set()

    async def receive(self) -> bytes:
        """The next bytes; b"" at their end. Raises `anyio.BrokenResourceError` after a reset."""
        while not self._came:
            self._more = anyio.Event()
            await self._more.wait()
        data = self._came.popleft()
        if data is None:
            raise anyio.BrokenResourceError
        return data

    async def taken(self, data: bytes) -> None:
        """Asks for more bytes in place of these."""
        await self._do(self._session.h2.acknowledge_received_data, len(data), self._number)

    async def send(self, data: bytes) -> None:
        h2 = self._session.h2
        while data:
            try:
                room = min(h2.local_flow_control_window(self._number), h2.max_outbound_frame_size)
            except StreamClosedError:
                raise anyio.BrokenResourceError from None
            if room > 0:
                await self._do(h2.send_data, self._number, data[:room])
                data = data[room:]
            else:
                self.room = anyio.Event()
                await self.room.wait()

    async def say(self, head: Fields, *, end: bool = False) -> None:
        await self._do(partial(self._session.h2.send_headers, end_stream=end), self._number, head)

    async def end(self) -> None:
        await self._do(self._session.h2.end_stream, self._number)

    async def reset(self) -> None:
        with suppress(anyio.BrokenResourceError):
            await self._do(self._session.h2.reset_stream, self._number, ErrorCodes.CANCEL)

    async def _do(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            call(*arguments)
        except StreamClosedError:
            raise anyio.BrokenResourceError from None
        await self._session.flush()


class Session:
    """A connection of HTTP/2."""

    def __init__(self, stream: SocketStream, take: Callable[[Tunnel], Coroutine[Any, Any, None]] | None) -> None:
        self.settled = anyio.Event()
        self._stream = stream
        self._take = take
        self._tunnels: dict[int, Tunnel] = {}
        self._lock = anyio.Lock()
        self.h2 = H2Connection(H2Configuration(client_side=take is None, header_encoding="utf-8"))
        if take is not None:
            self.h2.local_settings = Settings(client=False, initial_values={SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})

    async def run(self) -> None:
        """Reads until the connection ends."""
        self.h2.initiate_connection()
        await self.flush()
        try:
            async with anyio.create_task_group() as group:
                async for data in self._stream:
                    for event in self.h2.receive_data(data):
                        self._came(event, group)
                    await self.flush()
        finally:
            for tunnel in self._tunnels.values():
                tunnel.put(None)
                tunnel.headed.set()

    async def open(self, head: Fields) -> Tunnel:
        """A new stream, when it is answered."""
        await self.settled.wait()
        assert self.h2.remote_settings.enable_connect_protocol == 1
        number = self.h2.get_next_available_stream_id()
        tunnel = self._tunnels[number] = Tunnel(self, number)
        await tunnel.say(head)
        await tunnel.headed.wait()
        return tunnel

    async def _serve(self, take: Callable[[Tunnel], Coroutine[Any, Any, None]], tunnel: Tunnel) -> None:
        try:
            await take(tunnel)
        except* (anyio.BrokenResourceError, anyio.EndOfStream):
            await tunnel.reset()  # and no other

    async def flush(self) -> None:
        """Sends what is to be sent, whole: it is of all tunnels, whichever is cancelled meanwhile."""
        async with self._lock:
            with anyio.move_on_after(20, shield=True):
                await self._stream.send(self.h2.data_to_send())

    def _came(self, event: Event, group: TaskGroup) -> None:
        match event:
            case RemoteSettingsChanged():
                self.settled.set()
            case RequestReceived(stream_id=int(number), headers=head) if self._take is not None:
                self._tunnels[number] = Tunnel(self, number)
                self._tunnels[number].head = fields(head)
                group.start_soon(self._serve, self._take, self._tunnels[number])
            case ResponseReceived(stream_id=int(number), headers=head):
                self._tunnels[number].head = fields(head)
                self._tunnels[number].headed.set()
            case DataReceived(stream_id=int(number), data=data):
                if data:
                    self._tunnels[number].put(data)
            case StreamEnded(stream_id=int(number)):
                self._tunnels[number].put(b"")
            case StreamReset(stream_id=int(number)):
                self._tunnels[number].put(None)
                self._tunnels[number].headed.set()
                self._tunnels[number].room.set()
            case WindowUpdated():
                for tunnel in self._tunnels.values():
                    tunnel.room.set()
            case ConnectionTerminated():
                pass  # what is open goes on


def fields(head: Iterable[tuple[str | bytes, str | bytes]] | None) -> Fields:
    return [(str(name), str(value)) for name, value in head or ()]


async def relay(tunnel: Tunnel, stream: SocketStream) -> None:
    """Bytes both ways until both ends came, or a reset."""
    raw: socket.socket = stream.extra(SocketAttribute.raw_socket)

    async def down() -> None:
        while True:
            try:
                data = await tunnel.receive()
            except anyio.BrokenResourceError:
                with suppress(OSError):  # it may be closed by now
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                group.cancel_scope.cancel()
                return
            with suppress(anyio.BrokenResourceError):  # the other direction tells
                await (stream.send(data) if data else stream.send_eof())
            if not data:
                return
            await tunnel.taken(data)

    async with anyio.create_task_group() as group:
        group.start_soon(down)
        try:
            async for data in stream:
                await tunnel.send(data)
            await tunnel.end()
        except anyio.BrokenResourceError:
            await tunnel.reset()
            group.cancel_scope.cancel()


async def down(to: int, stream: SocketStream) -> None:
    """An upgrade of HTTP/1 that is asked for by HTTP/2."""
    async with stream:
        first, asked, rest = await head_of(stream)
        path = first.split(" ")[1]
        host = dict(asked)["host"]
        head = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", path),
            (":authority", host),
        ]
        async with await anyio.connect_tcp("127.0.0.1", to) as connection, anyio.create_task_group() as group:
            session = Session(connection, None)
            group.start_soon(session.run)
            tunnel = await session.open(head + kept(asked))
            told = dict(tunnel.head)
            if told.get(":status") == "200":
                accept = ("sec-websocket-accept", accepted(dict(asked)["sec-websocket-key"]))
                answer = [("upgrade", "websocket"), ("connection", "Upgrade"), accept, *kept(tunnel.head)]
                await stream.send(written("HTTP/1.1 101 Switching Protocols", answer))
                await tunnel.send(rest)
                await relay(tunnel, stream)
            else:
                await stream.send(written(f"HTTP/1.1 {told.get(':status', '502')} No", [("content-length", "0")]))
            group.cancel_scope.cancel()


async def up(to: int, stream: SocketStream) -> None:
    """A connection of HTTP/2 whose tunnels are asked for by HTTP/1."""

    async def take(tunnel: Tunnel) -> None:
        asked = dict(tunnel.head)
        if (asked[":method"], asked.get(":protocol")) != ("CONNECT", "websocket"):
            await tunnel.say([(":status", "404")], end=True)
            return
        key = base64.b64encode(os.urandom(16)).decode()
        head = [
            ("host", asked[":authority"]),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", key),
        ]
        async with await anyio.connect_tcp("127.0.0.1", to) as backend:
            await backend.send(written(f"GET {asked[':path']} HTTP/1.1", head + kept(tunnel.head)))
            first, answered, rest = await head_of(backend)
            if (status := first.split(" ")[1]) != "101":
                await tunnel.say([(":status", status), *kept(answered)], end=True)
                return
            assert dict(answered)["sec-websocket-accept"] == accepted(key)
            await tunnel.say([(":status", "200"), *kept(answered)])
            await tunnel.send(rest)
            await relay(tunnel, backend)

    async with stream:
        await Session(stream, take).run()


async def head_of(stream: SocketStream) -> tuple[str, Fields, bytes]:
    """The first line, the fields, and what follows a head."""
    came = b""
    while b"\r\n\r\n" not in came:
        came += await stream.receive()
    head, _, rest = came.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first, [(name.lower(), value.strip()) for name, _, value in pairs], rest


def kept(head: Fields) -> Fields:
    return [(name, value) for name, value in head if name not in OF_CONNECTION and name[0] != ":"]


def written(first: str, head: Fields) -> bytes:
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in head), "", ""]).encode("latin-1")


def accepted(key: str) -> str:
    """What a server answers to a key."""
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


async def main(mode: str, port: int, to: int) -> None:
    async def take(stream: SocketStream) -> None:
        try:
            await {"down": down, "up": up}[mode](to, stream)
        except* (anyio.BrokenResourceError, anyio.EndOfStream):
            pass  # somebody is gone, and the rest with him

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    await listener.serve(take)


if __name__ == "__main__":
    # a socket of trio whose other side reset it can still be read
    anyio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), backend="trio")
