"""An event loop that synchronous benchmarks call into, and what stays open in it.

pytest-benchmark calls functions; lanes live in task groups, which one task has to enter and leave. So one task works
off what it is given, and the loop runs only while something is asked of it.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from typing import Any, TypeVar

__all__ = ["Host", "hosted"]

T = TypeVar("T")


class Host:
    """An event loop, uvloop where it is installed. Use `hosted` to have one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._jobs: asyncio.Queue[tuple[Awaitable[Any], asyncio.Future[Any]]] = asyncio.Queue()
        self._kept: dict[Any, Any] = {}
        self._stack = AsyncExitStack()

    async def work(self) -> None:
        """Works off what `run` is given, in one task, until cancelled."""
        while True:
            job, done = await self._jobs.get()
            try:
                done.set_result(await job)
            except Exception as error:
                done.set_exception(error)

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        """What `job` returns."""
        done: asyncio.Future[T] = self.loop.create_future()
        self._jobs.put_nowait((job, done))
        return self.loop.run_until_complete(done)

    @contextmanager
    def opened(self, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """What `context` yields, until the block is left."""
        thing = self.run(_enter(context))
        try:
            yield thing
        finally:
            self.run(_leave(context))

    def kept(self, key: Any, make: Callable[[], AbstractAsyncContextManager[T]]) -> T:
        """What the context of `key` yields; entered once, left at the end. Not inside of `opened`."""
        if key not in self._kept:
            self._kept[key] = self.run(_enter_on(self._stack, make()))
        thing: T = self._kept[key]
        return thing

    def close(self) -> None:
        """Leaves what was kept."""
        self.run(self._stack.aclose())


@contextmanager
def hosted() -> Iterator[Host]:
    """A host, until the block is left."""
    factory = None
    if importlib.util.find_spec("uvloop"):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        loop = runner.get_loop()
        host = Host(loop)
        worker = loop.create_task(host.work())
        try:
            yield host
            host.close()
        finally:
            worker.cancel()
            loop.run_until_complete(asyncio.wait([worker]))


async def _enter(context: AbstractAsyncContextManager[T]) -> T:
    return await context.__aenter__()


async def _enter_on(stack: AsyncExitStack, context: AbstractAsyncContextManager[T]) -> T:
    return await stack.enter_async_context(context)


async def _leave(context: AbstractAsyncContextManager[Any]) -> None:
    await context.__aexit__(None, None, None)
