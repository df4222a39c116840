"""The client's end of an HTTP/2 connection, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from anyio.abc import ByteStream
from hyperframe.frame import SettingsFrame

from daemun.headers import Headers
from daemun.testing.end2 import FRAME_BYTES, PREFACE, Http2End
from daemun.testing.wire import Answer

__all__ = ["Http2Wire"]


class Http2Wire(Http2End):
    """The client's end."""

    def __init__(
        self, stream: ByteStream, settings: Mapping[int, int] | None = None, *, crediting: bool = True
    ) -> None:
        super().__init__(stream, settings, crediting=crediting)
        self.next_stream = 1
        """Number of the stream that is opened next."""

    async def start(self) -> None:
        """Says the preface and the settings, and hears those of the gateway."""
        self._unacknowledged.append(self._own)
        await self.send(PREFACE, SettingsFrame(0, self._own))
        await self.until(lambda: bool(self.settings) and self.acknowledged, "SETTINGS")

    async def open(self, fields: Iterable[tuple[bytes, bytes]], *, ended: bool = True) -> int:
        """Opens a stream with a head of `fields` as they are; its number."""
        stream = self.next_stream
        self.next_stream += 2
        self.hear(stream)
        await self.head(stream, fields, ended=ended)
        return stream

    async def ask(
        self,
        method: bytes = b"GET",
        target: bytes = b"/",
        headers: Headers = (),
        content: bytes = b"",
        trailers: Headers = (),
        *,
        ended: bool = True,
    ) -> int:
        """Sends a request to `a.test`, whole unless it is not to be `ended`; the number of its stream.

        Content that fits into one frame goes out together with the head.
        """
        pseudo = ((b":method", method), (b":scheme", b"http"), (b":path", target), (b":authority", b"a.test"))
        stream = self.next_stream
        self.next_stream += 2
        self.hear(stream)
        head = self.head_frames(stream, (*pseudo, *headers), ended=ended and not content and not trailers)
        if 0 < len(content) <= min(FRAME_BYTES, self.window, self.room(stream)):
            await self.send(head, self.content_frame(stream, content, ended=ended and not trailers))
        else:
            await self.send(head)
            if content:
                await self.content(stream, content, ended=ended and not trailers)
        if trailers:
            await self.head(stream, trailers, ended=True)
        return stream

    async def answer(self, stream: int) -> Answer:
        """The answer on a stream. Raises `StreamReset`; `CutOff` if the connection ends before it does."""
        heard = await self.end_of(stream)
        heads = list(heard.heads)
        interim = []
        while heads[0][0][1][:1] == b"1":
            head = heads.pop(0)
            interim.append((int(head[0][1]), head[1:]))
        head = heads.pop(0)
        assert head[0][0] == b":status", head
        trailers = heads.pop(0) if heads else ()
        assert not heads, heads
        return Answer(int(head[0][1]), head[1:], bytes(heard.body), trailers, tuple(interim))

    async def exchange(
        self,
        method: bytes = b"GET",
        target: bytes = b"/",
        headers: Headers = (),
        content: bytes = b"",
        trailers: Headers = (),
    ) -> Answer:
        """Sends a request and gives its answer."""
        return await self.answer(await self.ask(method, target, headers, content, trailers))
