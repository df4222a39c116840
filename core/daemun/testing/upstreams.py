"""An upstream that answers as its script says, byte for byte, and remembers what it got."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream, SocketStream

from daemun.testing.wire import Asked, read_asked, reset

__all__ = ["Scene", "Script", "ScriptedUpstream", "answer_ok", "scripted"]

_RECEIVE_BYTES = 256 * 1024


class Scene:
    """One connection to the upstream, in the hands of its script."""

    def __init__(self, stream: ByteStream, upstream: ScriptedUpstream) -> None:
        self.stream = stream
        """The connection itself."""
        self.upstream = upstream
        """The upstream that it came to."""
        self.received = b""
        """What came and was not asked for yet."""

    async def head(self) -> bytes:
        """The head of the next request, up to its empty line. b"" if there is none."""
        while b"\r\n\r\n" not in self.received:
            if not await self.more():
                return b""
        return self._take(self.received.index(b"\r\n\r\n") + 4)

    async def request(self, *, willing: bool = False) -> bytes:
        """The next request: its head, and its content if it has a length or is chunked; b"": there is none.

        `willing`: who waits for `100 Continue` gets it.
        """
        head = await self.head()
        lower, end = head.lower(), 0
        if willing and b"\r\nexpect: 100-continue\r\n" in lower:
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if b"transfer-encoding: chunked" in lower:
            while (end := _end_of_chunks(self.received)) < 0 and await self.more():
                pass
        elif b"content-length:" in lower:
            end = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
            while len(self.received) < end and await self.more():
                pass
        message = head + self._take(end if end >= 0 else len(self.received))
        if message:
            self.upstream.requests.append(message)
        return message

    def _take(self, count: int) -> bytes:
        data, self.received = self.received[:count], self.received[count:]
        return data

    async def more(self) -> bool:
        """Waits for more bytes in `received`; False at their end."""
        try:
            self.received += await self.stream.receive(_RECEIVE_BYTES)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        return True

    async def gone(self) -> None:
        """Waits until the gateway has ended the connection or its side of it; `received` is what came before."""
        while await self.more():
            pass

    async def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        await self.stream.send(data)

    async def finish(self) -> None:
        """Says that nothing more will be sent (FIN)."""
        await self.stream.send_eof()

    async def reset(self) -> None:
        """Ends the connection at once (RST)."""
        await reset(self.stream)

    async def close(self) -> None:
        """Ends the connection."""
        await self.stream.aclose()


Script = Callable[[Scene], Awaitable[None]]
"""`await script(scene)`: what an upstream does on one connection; it ends with the script."""


class ScriptedUpstream:
    """An upstream that runs a script for each connection."""

    def __init__(self, port: int, host: str = "127.0.0.1", script: Script | None = None) -> None:
        self.host = host
        """Where it listens."""
        self.port = port
        """Where it listens."""
        self.script = script
        """What the next connections run; None: they are refused."""
        self.requests: list[bytes] = []
        """Every whole request that scripts asked for, in order."""
        self.asked2: list[Asked] = []
        """The same of those that came over HTTP/2."""
        self.connections = 0
        """How many were accepted."""
        self.open = 0
        """How many scripts run."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    @property
    def asked(self) -> list[Asked]:
        """`requests`, taken apart, or those over HTTP/2. Raises `h11.RemoteProtocolError` for one that is malformed or
        cut."""
        return [read_asked(message) for message in self.requests] + self.asked2

    async def run(self, script: Script, stream: ByteStream) -> None:
        """Has `script` serve one connection, to its end."""
        self.connections += 1
        self.open += 1
        async with stream:
            try:
                await script(Scene(stream, self))
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass
            finally:
                self.open -= 1


async def answer_ok(scene: Scene) -> None:
    """The script that answers every request with 200 and `ok`."""
    while await scene.request():
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@asynccontextmanager
async def scripted(script: Script = answer_ok) -> AsyncIterator[ScriptedUpstream]:
    """An upstream on a free port of the loopback interface, until the context is left."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    upstream = ScriptedUpstream(listener.extra(anyio.abc.SocketAttribute.local_port))

    async def serve(stream: SocketStream) -> None:
        transport = getattr(stream, "_transport", None)
        if transport is not None:
            transport.pause_reading()  # anyio on asyncio would read on without bound until a receive has waited
        await upstream.run(script, stream)

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield upstream
        tasks.cancel_scope.cancel()


def _end_of_chunks(data: bytes) -> int:
    """Where a chunked message in `data` ends; -1: not yet."""
    position = 0
    while True:
        end = data.find(b"\r\n", position)
        if end < 0:
            return -1
        size = int(data[position:end].split(b";")[0], 16)
        if size == 0:
            position = end + 2
            break
        position = end + 2 + size + 2
    while True:
        end = data.find(b"\r\n", position)
        if end < 0:
            return -1
        if end == position:
            return end + 2
        position = end + 2
