"""Streams without a socket: the far ends of a connection as objects that always have their part ready."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Generator, Iterator
from time import process_time_ns

import anyio
import anyio.lowlevel

from daemun.transport.stream import Stream
from daemun.transport.waker import new_waker

__all__ = ["MemoryClient", "MemoryServer", "MemoryStream"]


class MemoryStream(Stream):
    """A stream without a socket: it never waits."""

    unsent_bytes = 0

    @abstractmethod
    def receive_nowait(self) -> bytes:
        """What the far end says next; b"": it waits for us."""

    @abstractmethod
    def send_nowait(self, item: bytes) -> bool:
        """Tells the far end; always True."""

    def wait_readable(self) -> Awaitable[None]:
        return _AT_ONCE

    async def wait_writable(self) -> None:
        return None

    def unread(self, data: bytes) -> None:
        raise AssertionError("nothing is put back")

    async def flush(self) -> None:
        return None

    async def send_eof(self) -> None:
        return None

    async def aclose(self) -> None:
        self.lost = True

    def abort(self) -> None:
        self.lost = True


class _AtOnce:
    """An awaitable that never suspends."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_AT_ONCE = _AtOnce()


class MemoryClient(MemoryStream):
    """The client of one connection: says the next of `data`, `count` times, each time when the gateway waits for it.

    A gateway that takes what comes by `on_data` waits for nothing: there `feed` runs beside it, and says the next when
    the answer before has come to its `ends`.
    """

    def __init__(self, data: Iterator[bytes], count: int) -> None:
        self._data = data
        self._count = count
        self._awaited = False
        self.asked = 0
        self.begun = 0
        """`process_time_ns` at the first request."""
        self.ended = 0
        """The same when the last answer was there; 0: the gateway closed the connection."""
        self.said: list[bytes] = []
        self.ends: Callable[[bytes], bool] = bool
        """Whether what the gateway sends at once ends an answer; only `feed` needs it."""
        self._answered = new_waker()

    async def feed(self) -> None:
        """Says everything to a gateway that takes it by `on_data`, and leaves."""
        while self.on_data is None:
            await anyio.lowlevel.checkpoint()
        while self.asked < self._count:
            self._awaited = True
            self.on_data(self.receive_nowait())
            await self._answered.wait()
            if self.on_data is None:
                return  # the gateway has ended the connection
        self.ended = process_time_ns()
        self.at_eof = True
        if self.on_eof is not None:
            self.on_eof()

    def wait_readable(self) -> Awaitable[None]:
        self._awaited = True
        return _AT_ONCE

    def receive_nowait(self) -> bytes:
        if not self._awaited:
            return b""
        self._awaited = False
        if not self.asked:
            self.begun = process_time_ns()
        elif self.asked >= self._count:
            self.ended = self.ended or process_time_ns()
            self.at_eof = True
            raise anyio.EndOfStream
        self.asks()
        self.asked += 1
        return next(self._data)

    def send_soon(self, item: bytes, *, alone: bool = False) -> bool:
        self.send_nowait(item)
        if self.ends(item):
            self._answered.wake()
        return True

    def abort(self) -> None:
        self.lost = True
        self._answered.wake()

    def asks(self) -> None:
        """Called before each request."""

    def send_nowait(self, item: bytes) -> bool:
        if self._count == 1:
            self.said.append(item)
        return True


class MemoryServer(MemoryStream):
    """The upstream's end: one answer for each request, as soon as it was sent. `on_sent` is called before it."""

    def __init__(self, answer: bytes, on_sent: Callable[[], None]) -> None:
        self._answer = answer
        self._on_sent = on_sent

    def receive_nowait(self) -> bytes:
        if not self.unread_bytes:
            return b""
        self.unread_bytes = 0
        return self._answer

    def send_nowait(self, item: bytes) -> bool:
        self._on_sent()
        self.unread_bytes = len(self._answer)
        return True
