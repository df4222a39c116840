"""Scripts of upstreams that behave as upstreams do on a bad day; all but `answering` have another script say what."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import anyio
from anyio.abc import ByteStream

from daemun.testing.end2 import StreamReset
from daemun.testing.upstreams import Scene, Script, answer_ok
from daemun.testing.upstreams2 import Http2Scene, Http2Script, answer_ok2
from daemun.testing.wire import CutOff, reset

__all__ = ["answering", "half_closing", "over_http2", "resetting", "slow", "trickling"]

_RECEIVE_BYTES = 256 * 1024


def answering(status: int = 200, headers: Iterable[tuple[str, str]] = (), content: bytes = b"ok") -> Script:
    """Answers every request with this; with its length, unless `headers` say how it ends."""
    fields = list(headers)
    names = {name.lower() for name, _ in fields}
    if status not in (204, 304) and not names & {"content-length", "transfer-encoding"}:
        fields.append(("content-length", str(len(content))))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    head = f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode("latin-1")

    async def script(scene: Scene) -> None:
        while request := await scene.request(willing=True):
            await scene.send(head if request.startswith(b"HEAD ") else head + content)

    return script


def over_http2(script: Http2Script = answer_ok2, settings: Mapping[int, int] | None = None) -> Script:
    """A script of HTTP/2, where scripts of HTTP/1 are wanted. The connection says `settings` before it begins."""

    async def run(scene: Scene) -> None:
        scene2 = Http2Scene(scene.stream, settings, asked=scene.upstream.asked2)
        try:
            await scene2.start()
            await script(scene2)
        except (CutOff, StreamReset):
            pass

    return run


def slow(script: Script, seconds: float) -> Script:
    """`script`, which waits for so long before each piece that it sends."""
    return _over(script, lambda stream: _Slow(stream, seconds))


def trickling(script: Script, seconds_per_byte: float) -> Script:
    """`script`, whose bytes are sent one by one, with so long a time before each."""
    return _over(script, lambda stream: _Trickling(stream, seconds_per_byte))


def resetting(after_bytes: int = 0, script: Script = answer_ok) -> Script:
    """`script`, whose connection is reset once it has sent so many bytes: with 0, instead of its first answer."""
    return _over(script, lambda stream: _Resetting(stream, after_bytes))


def half_closing(script: Script = answer_ok) -> Script:
    """`script`, which says with the end of its first piece that nothing more will be sent (FIN), and reads on."""
    return _over(script, _HalfClosing)


def _over(script: Script, wrap: Callable[[ByteStream], ByteStream]) -> Script:
    async def run(scene: Scene) -> None:
        await script(Scene(wrap(scene.stream), scene.upstream))

    return run


class _Through(ByteStream):
    """A stream that sends in a way of its own."""

    def __init__(self, inner: ByteStream) -> None:
        self.inner = inner

    @abstractmethod
    async def send(self, item: bytes) -> None: ...

    async def receive(self, max_bytes: int = _RECEIVE_BYTES) -> bytes:
        return await self.inner.receive(max_bytes)

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self) -> None:
        await self.inner.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self.inner.extra_attributes


class _Slow(_Through):
    def __init__(self, inner: ByteStream, seconds: float) -> None:
        super().__init__(inner)
        self._seconds = seconds

    async def send(self, item: bytes) -> None:
        await anyio.sleep(self._seconds)
        await self.inner.send(item)


class _Trickling(_Through):
    def __init__(self, inner: ByteStream, seconds: float) -> None:
        super().__init__(inner)
        self._seconds = seconds

    async def send(self, item: bytes) -> None:
        for at in range(len(item)):
            await anyio.sleep(self._seconds)
            await self.inner.send(item[at : at + 1])


class _Resetting(_Through):
    def __init__(self, inner: ByteStream, after_bytes: int) -> None:
        super().__init__(inner)
        self._left = after_bytes

    async def send(self, item: bytes) -> None:
        if len(item) < self._left:
            self._left -= len(item)
            await self.inner.send(item)
            return
        if self._left:
            await self.inner.send(item[: self._left])
        await reset(self.inner)
        raise anyio.ClosedResourceError


class _HalfClosing(_Through):
    async def send(self, item: bytes) -> None:
        await self.inner.send(item)
        await self.inner.send_eof()
