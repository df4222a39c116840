"""Event loops on virtual time: when everything waits, it is at once as late as the next timer asks for.

What happens outside of the loop takes no time: only threads of `anyio.to_thread` (and `run_in_executor`) are waited
for. Sockets and other processes are not, so virtual time goes with `in_memory`.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from threading import Event
from typing import Any

from anyio._core._eventloop import get_async_backend

from daemun.testing.clock import VirtualTime

__all__ = ["VirtualLoop", "virtual_backends"]

_TURN_SECONDS = 0.0005
_never = Event()
"""What a loop waits for that has nothing to do but for a thread. No `sleep`: that would pass for a plugin's."""


class _LoopTime(VirtualTime):
    """Of a `VirtualLoop`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self._monotonic
        self.idle: list[asyncio.Future[None]] = []
        """Wait for everything else to wait."""

    def seconds(self) -> float:
        return round(self.now - self._monotonic, 9)

    def monotonic(self) -> float:
        return self.now

    async def all_wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self.idle.append(waiter)
        await waiter


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop on virtual time; the product's clocks follow it until it is closed."""

    def __init__(self) -> None:
        self.virtual = _LoopTime()
        super().__init__(_JumpingSelector(self))
        self._restore = _count_threads("asyncio", self.virtual)
        self.virtual.begin()

    def time(self) -> float:
        return self.virtual.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = super().run_in_executor(executor, func, *args)
        self.virtual.threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _: object) -> None:
        self.virtual.threads -= 1

    def close(self) -> None:
        if not self.is_closed():
            self._restore()
            self.virtual.end()
        super().close()

    @property
    def next_timer(self) -> float:
        """When the next one is due; there is one."""
        timers: Any = self
        when: float = timers._scheduled[0]._when
        return when


class _JumpingSelector(selectors.BaseSelector):
    """A selector that has time jump instead of waiting."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        virtual = self._loop.virtual
        if virtual.threads:
            return self._real.select(None)  # the thread's end wakes it
        if virtual.idle:
            for waiter in virtual.idle:
                if not waiter.done():
                    waiter.set_result(None)
            virtual.idle.clear()
        elif timeout is None:
            return self._real.select(None)
        else:
            virtual.now = max(virtual.now, self._loop.next_timer)
            virtual.jumped()
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


def _count_threads(backend: str, virtual: VirtualTime) -> Callable[[], None]:
    """Keeps `virtual.threads`; what is returned ends it. A thread that waits for the loop is not at work."""
    kind: Any = get_async_backend(backend)
    in_thread, from_thread = kind.run_sync_in_worker_thread, kind.run_async_from_thread

    async def run_sync_in_worker_thread(*args: Any, **options: Any) -> Any:
        virtual.threads += 1
        try:
            return await in_thread(*args, **options)
        finally:
            virtual.threads -= 1

    def run_async_from_thread(func: Any, *rest: Any, **options: Any) -> Any:
        async def lent(*args: Any) -> Any:
            virtual.threads -= 1
            try:
                return await func(*args)
            finally:
                virtual.threads += 1

        return from_thread(lent, *rest, **options)

    replaced = {name: vars(kind)[name] for name in ("run_sync_in_worker_thread", "run_async_from_thread")}
    kind.run_sync_in_worker_thread = staticmethod(run_sync_in_worker_thread)
    kind.run_async_from_thread = staticmethod(run_async_from_thread)

    def restore() -> None:
        for name, value in replaced.items():
            setattr(kind, name, value)

    return restore


virtual_backends: list[Any] = [("asyncio", {"loop_factory": VirtualLoop})]
"""Values for the fixture `anyio_backend`: event loops on virtual time, of asyncio, and of trio if it is installed."""

if find_spec("trio") is not None:
    import trio
    import trio.testing

    class _TrioTime(VirtualTime):
        """Of one run of trio."""

        def __init__(self, clock: trio.testing.MockClock) -> None:
            super().__init__()
            self._clock = clock
            self._began = clock.current_time()

        def seconds(self) -> float:
            return round(self._clock.current_time() - self._began, 9)

        async def all_wait(self) -> None:
            while True:
                await trio.testing.wait_all_tasks_blocked()
                if not self.threads:
                    return
                _never.wait(_TURN_SECONDS)

    class _TrioRuns(trio.abc.Instrument):
        """Begins and ends the virtual time of each run, and has it jump."""

        def __init__(self) -> None:
            self.clock = trio.testing.MockClock(autojump_threshold=0)
            self._time: _TrioTime
            self._restore: Callable[[], None]
            jumping: Any = self.clock
            self._jump: Callable[[], None] = jumping._autojump
            jumping._autojump = self.jump

        def before_run(self) -> None:
            self._time = _TrioTime(self.clock)
            self._restore = _count_threads("trio", self._time)
            self._time.begin()

        def after_run(self) -> None:
            self._restore()
            self._time.end()

        def jump(self) -> None:
            """Called by trio when all tasks wait."""
            if self._time.threads:
                _never.wait(_TURN_SECONDS)
                return
            before = self.clock.current_time()
            self._jump()
            if self.clock.current_time() > before:
                self._time.jumped()

    _runs = _TrioRuns()
    virtual_backends.append(("trio", {"clock": _runs.clock, "instruments": [_runs]}))
