"""An upstream that answers over HTTP/2 as its script says, frame by frame, and remembers what it got."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from hyperframe.frame import GoAwayFrame, SettingsFrame

from daemun.headers import Headers
from daemun.testing.end2 import PREFACE, Http2End, StreamReset
from daemun.testing.wire import Asked, CutOff

__all__ = ["Http2Scene", "Http2Script", "ScriptedHttp2Upstream", "answer_ok2", "scripted2"]


class Http2Scene(Http2End):
    """The upstream's end, in the hands of a script."""

    def __init__(
        self,
        stream: ByteStream,
        settings: Mapping[int, int] | None = None,
        *,
        crediting: bool = True,
        asked: list[Asked] | None = None,
    ) -> None:
        super().__init__(stream, settings, crediting=crediting)
        self._preface_left = PREFACE
        self._begun = 0
        self._served: set[int] = set()
        self._asked = asked if asked is not None else []

    async def start(self) -> None:
        """Says the settings."""
        self._unacknowledged.append(self._own)
        await self.send(SettingsFrame(0, self._own))

    def _read(self) -> None:
        left = self._preface_left
        if left:
            part, self._received = self._received[: len(left)], self._received[len(left) :]
            assert left.startswith(part), f"not the preface of HTTP/2: {part!r}"
            self._preface_left = left[len(part) :]
        super()._read()

    async def begun(self) -> int:
        """The next stream that was opened; 0: there is none, the connection has ended."""
        while len(self.streams) <= self._begun:
            if not await self.more() and len(self.streams) <= self._begun:
                return 0
        stream = list(self.streams)[self._begun]
        self._begun += 1
        return stream

    async def request(self) -> int:
        """The next stream whose request came to its end; 0: there is none. `Http2Upstream.asked` holds it then."""
        while True:
            for stream, heard in self.streams.items():
                if heard.ended and stream not in self._served:
                    self._served.add(stream)
                    self._asked.append(self.asked(stream))
                    return stream
            if not await self.more() and not self._unserved():
                return 0

    def _unserved(self) -> bool:
        return any(heard.ended and stream not in self._served for stream, heard in self.streams.items())

    def asked(self, stream: int) -> Asked:
        """The request on a stream as it came, its pseudo-header fields among its fields."""
        heard = self.streams[stream]
        fields = dict(heard.heads[0])
        trailers = heard.heads[1] if len(heard.heads) > 1 else ()
        return Asked(fields[b":method"], fields.get(b":path", b""), heard.heads[0], bytes(heard.body), trailers)

    async def respond(
        self,
        stream: int,
        status: int = 200,
        headers: Headers = (),
        content: bytes = b"",
        trailers: Headers = (),
        *,
        ended: bool = True,
    ) -> None:
        """Sends a response, whole unless it is not to be `ended`."""
        fields = ((b":status", b"%d" % status), *headers)
        await self.head(stream, fields, ended=ended and not content and not trailers)
        if content:
            await self.content(stream, content, ended=ended and not trailers)
        if trailers:
            await self.head(stream, trailers, ended=True)

    async def goaway(self, last: int, code: int = 0) -> None:
        """Says that nothing above `last` is served."""
        await self.send(GoAwayFrame(0, last, code))

    async def gone(self) -> None:
        """Waits until the gateway has ended the connection."""
        while await self.more():
            pass


Http2Script = Callable[[Http2Scene], Awaitable[None]]


class ScriptedHttp2Upstream:
    """An upstream that runs a script for each HTTP/2 connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        """Where it listens, on the loopback interface."""
        self.asked: list[Asked] = []
        """Every whole request that scripts asked for, in order."""
        self.connections = 0
        """How many were accepted."""
        self.open = 0
        """How many scripts run."""
        self.scenes: list[Http2Scene] = []
        """Its connections, in the order in which they came."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


async def answer_ok2(scene: Http2Scene) -> None:
    """The script that answers every request with 200 and `ok`."""
    while stream := await scene.request():
        await scene.respond(stream, 200, ((b"content-length", b"2"),), b"ok")


@asynccontextmanager
async def scripted2(
    script: Http2Script = answer_ok2, settings: Mapping[int, int] | None = None, *, crediting: bool = True
) -> AsyncIterator[ScriptedHttp2Upstream]:
    """An upstream on a free port of the loopback interface, until the context is left.

    Each connection says `settings` before its script begins.
    """
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    upstream = ScriptedHttp2Upstream(listener.extra(SocketAttribute.local_port))

    async def serve(stream: SocketStream) -> None:
        scene = Http2Scene(stream, settings, crediting=crediting, asked=upstream.asked)
        upstream.scenes.append(scene)
        upstream.connections += 1
        upstream.open += 1
        async with stream:
            try:
                await scene.start()
                await script(scene)
            except (CutOff, StreamReset):
                pass
            finally:
                upstream.open -= 1

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield upstream
        tasks.cancel_scope.cancel()
