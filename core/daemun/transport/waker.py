"""One task waits, a call-back wakes it: what streams of a multiplexed connection wait with. Cheaper than an event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import anyio

from daemun.transport.loop import asyncio_loop

__all__ = ["Waker", "new_waker", "waker_factory"]


class Waker:
    """`wait` returns once `wake` was called after it; at once, if it was called since the last wait. One task waits."""

    __slots__ = ("_event", "_woken")

    def __init__(self) -> None:
        self._woken = False
        self._event: anyio.Event | None = None

    def wait(self) -> Awaitable[None]:
        """To be awaited. Cancellation loses nothing."""
        return self._wait()

    async def _wait(self) -> None:
        if not self._woken:
            self._event = anyio.Event()
            await self._event.wait()
        self._woken = False

    def wake(self) -> None:
        """Ends a wait, the next one if there is none. From any call-back."""
        self._woken = True
        if self._event is not None:
            self._event.set()


class _LoopWaker(Waker):
    """The same on asyncio: a future, and no coroutine."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._woken = False
        self._future: asyncio.Future[None] | None = None

    def wait(self) -> Awaitable[None]:
        self._future = future = self._loop.create_future()
        if self._woken:
            self._woken = False
            future.set_result(None)
        return future

    def wake(self) -> None:
        future = self._future
        if future is None or future.done():
            self._woken = True
        else:
            future.set_result(None)


def new_waker() -> Waker:
    """A waker for the event loop that runs."""
    loop = asyncio_loop()
    return Waker() if loop is None else _LoopWaker(loop)


def waker_factory() -> Callable[[], Waker]:
    """What makes wakers for the event loop that runs: for who needs many."""
    loop = asyncio_loop()
    return Waker if loop is None else partial(_LoopWaker, loop)
