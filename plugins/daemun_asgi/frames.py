"""What the client of a WebSocket gets to read: the frames that its call sends, as the body of the response 101."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from daemun import Body, Headers
from daemun_asgi.pipe import Pipe

__all__ = ["Frames"]


class Frames:
    """Frames that are pulled while the application sends them."""

    __slots__ = ("_content", "_left", "_pipe", "length", "trailers")

    def __init__(self, pipe: Pipe, content: Body, left: Callable[[], Awaitable[None]]) -> None:
        """`content` is what the client sends; `left` is called when nobody reads on."""
        self.length: int | None = None
        self.trailers: Headers = ()
        self._pipe = pipe
        self._content = content
        self._left = left

    def read_nowait(self) -> bytes:
        """What was sent already."""
        return self._pipe.read_nowait()

    async def read(self) -> bytes:
        """The next frames."""
        return await self._pipe.read()

    async def aclose(self) -> None:
        """Tells the application that nobody reads on."""
        await self._left()
        await self._content.aclose()
