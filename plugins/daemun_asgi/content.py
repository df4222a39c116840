"""The content of a request as an application receives it: read when it asks, by a task of the exchange."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio

from daemun import Buffered, NoContent, Request

__all__ = ["Content"]


class Content:
    """What `receive` gives of a request, and how an application learns that the exchange is over."""

    __slots__ = ("_broken", "_came", "_data", "_ended", "_left", "_pumping", "_request", "_wanted", "asked", "over")

    def __init__(self, request: Request, broken: Callable[[Exception], None]) -> None:
        """`broken` is called when the content is broken off."""
        self.asked = False
        """The application has received some of it."""
        self.over = False
        """The client left, or has its whole answer: nothing is read any more."""
        self._request = request
        self._broken = broken
        self._left = request.body.length
        self._ended = False
        self._pumping = False
        self._data: bytes | None = None
        self._came: anyio.Event | None = None
        self._wanted: anyio.Event | None = None

    async def receive(self) -> dict[str, Any]:
        """The next message for the application: content until its end, then that the client is gone."""
        self.asked = True
        if not self._ended and not self.over:
            body = self._request.body
            if type(body) is Buffered or type(body) is NoContent:
                self._ended = True
                return {"type": "http.request", "body": body.data, "more_body": False}
            if self._request.protocol:  # which nobody switches to: there is no content before a switch
                self._ended = True
                return {"type": "http.request", "body": b"", "more_body": False}
            data = await self._next()
            if data is not None:
                return {"type": "http.request", "body": data, "more_body": not self._ended}
        while not self.over:
            await self._change()
        return {"type": "http.disconnect"}

    def end(self) -> None:
        """The exchange is over."""
        self.over = True
        if self._came is not None:
            self._changed()

    async def _next(self) -> bytes | None:
        while self._data is None:
            if self.over or self._ended:
                return None
            if self._request.exchange.tasks is None:  # what was read from a connection has them
                await self._read()
                continue
            if not self._pumping:
                self._pumping = True
                self._request.exchange.tasks.start_soon(self._pump)
            elif self._wanted is not None:
                self._wanted.set()
            await self._change()
        data, self._data = self._data, None
        if self._left is not None:
            self._left -= len(data)
        self._ended = not data or self._left == 0
        return data

    async def _pump(self) -> None:
        """Reads a piece each time that one is asked for. Ends with the exchange, whose task it is."""
        while await self._read():
            self._wanted = anyio.Event()
            await self._wanted.wait()
            self._wanted = None

    async def _read(self) -> bytes:
        try:
            self._data = data = await self._request.body.read()
        except Exception as error:  # a filter may have wrapped it
            self.end()
            self._broken(error)
            return b""
        self._changed()
        return data

    async def _change(self) -> None:
        if self._came is None:
            self._came = anyio.Event()
        await self._came.wait()

    def _changed(self) -> None:
        came, self._came = self._came, None
        if came is not None:
            came.set()
