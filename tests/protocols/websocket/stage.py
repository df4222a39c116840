"""A gateway between a client and a back end that speak WebSocket over either version of HTTP, byte by byte."""

from __future__ import annotations

import base64
import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import anyio.lowlevel
import pytest
from hyperframe.frame import SettingsFrame

from daemun import (
    Exchange,
    Headers,
    NoSettings,
    Observer,
    ObserverType,
    Request,
    Response,
)
from daemun.testing import (
    Answer,
    CutOff,
    Http2Proxy,
    Http2Scene,
    Http2Wire,
    Scene,
    Wire,
    built,
    eventually,
    make_plugin,
    running,
    scripted,
    scripted2,
)

Version = Literal["http1", "http2"]

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ASKS: Headers = ((b"sec-websocket-key", KEY), (b"sec-websocket-version", b"13"))
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MIB = 1024 * 1024
PIECE = hashlib.shake_256(b"piece").digest(64 * 1024)
PIECES = 320
AHEAD = 16 * MIB
KERNEL_BYTES = MIB // 4
AWAY, NORMAL = b"\x03\xe9", b"\x03\xe8"
"""1001 and 1000."""

every_way = pytest.mark.parametrize("up", ["http1", "http2"])
every_client = pytest.mark.parametrize("down", ["http1", "http2"])


def accepted(key: bytes) -> bytes:
    """What a server says to a key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def frame(data: bytes, opcode: int = BINARY, *, masked: bool = False) -> bytes:
    """A frame; one of a client has a mask, of zeros."""
    mask, size = 0x80 if masked else 0, len(data)
    if size < 126:
        head = bytes((0x80 | opcode, mask | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, mask | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, mask | 127)) + size.to_bytes(8, "big")
    return head + bytes(4 if masked else 0) + data


class End(ABC):
    """Either end of a WebSocket: bytes as they are."""

    fields: dict[bytes, bytes]
    """What the other end said in its head."""

    @abstractmethod
    async def send(self, data: bytes) -> None: ...

    @abstractmethod
    def take(self, size: int) -> bytes:
        """What came, up to `size` bytes of it."""

    @abstractmethod
    async def more(self) -> bool:
        """Waits for more; False at the end. Raises `CutOff` after a reset."""

    @abstractmethod
    async def finish(self) -> None: ...

    @abstractmethod
    async def reset(self) -> None: ...

    async def exactly(self, size: int) -> bytes:
        pieces: list[bytes] = []
        while size:
            piece = self.take(size)
            if not piece and not await self.more():
                raise CutOff(f"{size} bytes are missing behind {b''.join(pieces)[:100]!r}")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    async def rest(self) -> bytes:
        pieces = [self.take(1 << 40)]
        while await self.more():
            pieces.append(self.take(1 << 40))
        return b"".join(pieces)

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and data."""
        head = await self.exactly(2)
        size = head[1] & 127
        if size > 125:
            size = int.from_bytes(await self.exactly(2 if size == 126 else 8), "big")
        if head[1] & 128:
            assert await self.exactly(4) == bytes(4)
        return head[0] & 15, await self.exactly(size)

    async def closed(self) -> bytes:
        """The data of the Close that comes next."""
        opcode, data = await self.frame()
        assert opcode == CLOSE
        return data


class End1(End):
    """On an HTTP/1 connection that was switched."""

    def __init__(self, stream: Wire | Scene, head: bytes) -> None:
        self.stream = stream
        lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
        self.fields = {name.lower(): value.strip() for name, _, value in lines if name}

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    def take(self, size: int) -> bytes:
        data, self.stream.received = self.stream.received[:size], self.stream.received[size:]
        return data

    async def more(self) -> bool:
        return await self.stream.more()

    async def finish(self) -> None:
        await self.stream.finish()

    async def reset(self) -> None:
        await self.stream.reset()


class End2(End):
    """On a stream of HTTP/2."""

    def __init__(self, connection: Http2Wire | Http2Scene, stream: int) -> None:
        self.connection = connection
        self.stream = stream
        self.heard = connection.hear(stream)
        self.fields = dict(self.heard.heads[0])

    async def send(self, data: bytes) -> None:
        await self.connection.content(self.stream, data)

    def take(self, size: int) -> bytes:
        data = bytes(self.heard.body[:size])
        del self.heard.body[:size]
        return data

    async def more(self) -> bool:
        heard = self.heard
        await self.connection.until(lambda: bool(heard.body) or heard.ended or heard.code is not None, "more")
        if not heard.body and not heard.ended:
            raise CutOff(f"the stream was reset with {heard.code}")
        return bool(heard.body)

    async def finish(self) -> None:
        await self.connection.content(self.stream, b"", ended=True)

    async def reset(self) -> None:
        await self.connection.cancel(self.stream)


Play = Callable[[End], Awaitable[None]]


class Journal(Observer):
    """Remembers exchanges."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.plugin = make_plugin(
            "journal", daemun_observers=lambda: [ObserverType("journal", NoSettings, built(self))]
        )

    def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
        self.exchanges.append(exchange)


def upgrade(fields: Headers, authority: bytes) -> bytes:
    """An opening by HTTP/1."""
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    return b"GET /chat HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%b\r\n" % (authority, lines)


async def switched(wire: Wire) -> End1:
    """The client's end of a WebSocket by HTTP/1, once it was opened."""
    head = await wire.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    return End1(wire, head)


class Stage(Http2Proxy):
    """A gateway, with clients of either version."""

    journal: Journal

    async def begin(self, down: Version, fields: Headers, authority: bytes = b"a.test") -> Wire | tuple[Http2Wire, int]:
        """Asks to open a WebSocket."""
        if down == "http1":
            wire1 = await self.connect()
            await wire1.send(upgrade(fields, authority))
            return wire1
        wire = await self.connect2()
        pseudo = ((b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/chat"))
        return wire, await wire.open((*pseudo, (b":authority", authority), *fields), ended=False)

    async def opened(self, down: Version, *fields: tuple[bytes, bytes], asks: Headers = ASKS) -> End:
        """The client's end of a WebSocket that was opened."""
        asked = await self.begin(down, (*asks, *fields))
        if isinstance(asked, Wire):
            return await switched(asked)
        wire, stream = asked
        await wire.until(lambda: bool(wire.hear(stream).heads), "the head")
        end = End2(wire, stream)
        assert end.fields[b":status"] == b"200"
        return end

    async def refused(
        self, down: Version, *fields: tuple[bytes, bytes], asks: Headers = ASKS, authority: bytes = b"a.test"
    ) -> Answer:
        """What is said to a client whose WebSocket is not opened."""
        asked = await self.begin(down, (*asks, *fields), authority)
        return await asked.answer() if isinstance(asked, Wire) else await asked[0].answer(asked[1])

    async def ask_plainly(self, down: Version) -> Answer:
        """The answer to a request that is no opening."""
        if down == "http2":
            return await (await self.connect2()).exchange()
        return await self.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")


async def echo(far: End) -> None:
    """Sends back what comes, byte for byte, until the client has finished."""
    while await far.more():
        await far.send(far.take(1 << 40))
    await far.finish()


async def stay(far: End) -> None:
    """Says nothing until the client has finished."""
    while await far.more():
        far.take(1 << 40)
    await far.finish()


@asynccontextmanager
async def staged(
    play: Play = echo,
    up: Version = "http1",
    *,
    rules: dict[str, Any] | None = None,
    said: Headers = (),
    status: int = 101,
    fits: bool = True,
    before: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
    first: bytes = b"",
    listener: dict[str, Any] | None = None,
    **route: Any,
) -> AsyncIterator[Stage]:
    """A gateway in front of an upstream that opens what it is asked for and plays its part then.

    `rules` are those of the route, `said` are fields of the upstream's answer, whose status is `status`; one that does not
    fit accepts another key; `before` is awaited before it answers, `first` is said with the answer.
    """
    journal = Journal()

    async def script1(scene: Scene) -> None:
        if not (head := await scene.head()):
            return
        await before()
        end = End1(scene, head)
        fields: Headers = said
        if status == 101:
            key = end.fields[b"sec-websocket-key"] if fits else b"another"
            switch = ((b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-accept", accepted(key)))
            fields = (*said, *switch)
        else:
            fields = (*said, (b"content-length", b"4"))
        head = b"HTTP/1.1 %d Whatever\r\n" % status + b"".join(b"%b: %b\r\n" % field for field in fields)
        await scene.send(head + b"\r\n" + (first if status == 101 else b"four"))
        if status == 101:
            await play(end)
        else:
            await scene.gone()

    async def script2(scene: Http2Scene) -> None:
        if not (stream := await scene.begun()):
            return
        await before()
        if status == 101:
            await scene.respond(stream, 200, said, first, ended=False)
            await play(End2(scene, stream))
        else:
            await scene.respond(stream, status, said, b"four")
        await scene.gone()

    settings2 = {SettingsFrame.ENABLE_CONNECT_PROTOCOL: 1}
    upstream_of_either: Any = scripted(script1) if up == "http1" else scripted2(script2, settings2)
    async with upstream_of_either as upstream:
        filters = [] if rules is None else [{"type": "websocket", "settings": rules}]
        settings = {
            "listeners": [{"name": "http", "bind": "127.0.0.1:0", **(listener or {})}],
            "sources": [
                {
                    "type": "inline",
                    "backends": {"up": {"endpoints": [{"url": upstream.url, "protocol": up}]}},
                    "routes": [{"name": "chat", "to": "up", "filters": filters, **route}],
                }
            ],
            "observers": [{"type": "journal"}],
            "drain": {"grace_seconds": 5.0},
        }
        async with running(settings, extra=[journal.plugin]) as gateway:
            stage = Stage(gateway, upstream)
            stage.journal = journal
            try:
                yield stage
            finally:
                await stage.leave()
            await stage.settled()
            await eventually(lambda: stage.connections == 0, "the end of every downstream connection")


@asynccontextmanager
async def draining(stage: Stage, over: anyio.Event | None = None) -> AsyncIterator[None]:
    """The gateway drains meanwhile; `over` is set when it has ended."""
    ended = over or anyio.Event()

    async def drain() -> None:
        await stage.gateway.gateway.connections.drain(20.0)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain)
        yield
        tasks.cancel_scope.cancel()
