"""An upstream that answers as its script says, byte for byte, and remembers what it got."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketStream

__all__ = ["Scene", "ScriptedUpstream", "scripted"]


class Scene:
    """One connection to the upstream, in the hands of its script."""

    def __init__(self, stream: SocketStream, upstream: ScriptedUpstream) -> None:
        self.stream = stream
        self.received = b""
        self._upstream = upstream

    async def request(self) -> bytes:
        """The next request: its head, and its content if it has a length or is chunked. b"" if there is none."""
        while b"\r\n\r\n" not in self.received:
            if not await self.more():
                return b""
        end = self.received.index(b"\r\n\r\n") + 4
        head = self.received[:end].lower()
        if b"transfer-encoding: chunked" in head:
            while b"\r\n0\r\n" not in b"\r\n" + self.received[end:] or not self.received.endswith(b"\r\n\r\n"):
                if not await self.more():
                    break
            end = len(self.received)
        elif b"content-length:" in head:
            end += int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            while len(self.received) < end and await self.more():
                pass
        message, self.received = self.received[:end], self.received[end:]
        self._upstream.requests.append(message)
        return message

    async def more(self) -> bool:
        """Waits for more bytes in `received`; False at their end."""
        try:
            self.received += await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        return True

    async def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        await self.stream.send(data)

    async def close(self) -> None:
        """Ends the connection."""
        await self.stream.aclose()


Script = Callable[[Scene], Awaitable[None]]


class ScriptedUpstream:
    """An upstream that runs a script for each connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[bytes] = []
        """Every whole request that scripts asked for, in order."""
        self.connections = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


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
        upstream.connections += 1
        async with stream:
            try:
                await script(Scene(stream, upstream))
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield upstream
        tasks.cancel_scope.cancel()
