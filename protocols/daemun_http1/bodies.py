"""Content of requests that is read from the connection while the exchange runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from daemun import ExchangeError, Headers

if TYPE_CHECKING:
    from daemun_http1.downstream import Downstream

__all__ = ["RequestBody", "TunnelBody"]


class RequestBody:
    """Content with a length, or chunked."""

    __slots__ = ("_downstream", "_expects_continue", "length", "trailers")

    def __init__(self, downstream: Downstream, length: int, expects_continue: bool) -> None:
        self._downstream = downstream
        self._expects_continue = expects_continue
        self.length: int | None = length if length >= 0 else None
        self.trailers: Headers = ()

    async def read(self) -> bytes:
        if self._expects_continue:
            self._expects_continue = False
            if not self._downstream.reader.waiting:
                await self._downstream.send_continue()
        data = await self._downstream.read_content()
        if not data:
            self.trailers = self._downstream.reader.trailers
        return data

    async def aclose(self) -> None:
        return None


class TunnelBody:
    """Raw bytes of a client that asked to switch protocols. There are none before the upstream agreed."""

    __slots__ = ("_downstream", "_opened", "closed", "ended", "length", "trailers")

    def __init__(self, downstream: Downstream) -> None:
        self._downstream = downstream
        self._opened = anyio.Event()
        self.closed = anyio.Event()
        """The client has finished, and everything was read."""
        self.ended = False
        self.length: int | None = None
        self.trailers: Headers = ()

    def open(self) -> None:
        """The protocol was switched."""
        self._opened.set()

    async def read(self) -> bytes:
        if self.ended:
            return b""
        await self._opened.wait()
        data = self._downstream.reader.take()
        if not data:
            try:
                data = await self._downstream.receive_raw()
            except ExchangeError:
                self.ended = True
                self.closed.set()
        return data

    async def aclose(self) -> None:
        self.ended = True
        self.closed.set()
