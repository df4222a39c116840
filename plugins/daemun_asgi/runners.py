"""Tasks that run one call after the other: an application needs one of its own, since it sends while others read.

Waking a task costs a fraction of starting one. Each call has its own copy of the context variables of whoever asked,
so that what an application sets is neither seen by the next call nor lost between filters and back ends.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup

from daemun import ExchangeError, Reason, Waker, waker_factory

__all__ = ["Runnable", "Runners", "is_cancellation"]

log = logging.getLogger("daemun.asgi")

_MAX_IDLE = 128
_TO_ALL = (KeyboardInterrupt, GeneratorExit)
"""What is no matter of one call."""


def is_cancellation(error: BaseException) -> bool:
    """Whether `error` is one, alone or in a group. What else comes out of a call is its own fault: `sys.exit` and
    `KeyboardInterrupt`, which is not the user's in a gateway, and the panic of an extension."""
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(cancelled) is not None
    return isinstance(error, cancelled)


class Runnable(Protocol):
    """One call of an application."""

    context: Context
    scope: anyio.CancelScope | None
    """Set while it runs: cancels it."""

    def run(self) -> Coroutine[Any, Any, bool]:
        """The whole call; whether it came to an end that leaves nothing behind in the task. Raises nothing but
        cancellation, alone or in a group with what came of it."""
        ...


class Runners:
    """The tasks of one application, in its task group."""

    def __init__(self, tasks: TaskGroup, max_running: int) -> None:
        self.running = 0
        """Calls that are not over."""
        self._tasks = tasks
        self._max_running = max_running
        self._idle: list[_Runner] = []
        self._new_waker = waker_factory()
        self._at_rest: anyio.Event | None = None
        self._cancelled = anyio.get_cancelled_exc_class()

    def run(self, call: Runnable) -> None:
        """Runs `call` soon. Raises `ExchangeError` (`OVERLOADED`) if as many run as may."""
        if self.running >= self._max_running:
            raise ExchangeError(Reason.OVERLOADED, "too many calls of this application at once", retry_after_seconds=1)
        self.running += 1
        if self._idle:
            runner = self._idle.pop()
            runner.next = call
            runner.waker.wake()
        else:
            self._tasks.start_soon(self._contain, call)

    async def finish(self, seconds: float) -> None:
        """Waits for the calls that run, so long at most."""
        with anyio.move_on_after(seconds):
            while self.running:
                self._at_rest = anyio.Event()
                await self._at_rest.wait()

    async def _contain(self, call: Runnable) -> None:
        """What calls do to their task ends that task, and not the application."""
        try:
            async with anyio.create_task_group() as cell:
                cell.start_soon(self._run, call)
        except BaseExceptionGroup as error:
            if error.subgroup(_TO_ALL):
                raise
            log.warning("a call of an application left a cancel scope open in its task: %s", error.exceptions[0])

    async def _run(self, call: Runnable) -> None:
        runner = _Runner(self._new_waker())
        while await self._served(call) and len(self._idle) < _MAX_IDLE:
            self._idle.append(runner)
            try:
                while runner.next is None:
                    await runner.waker.wait()
            except BaseException:  # it is cancelled, by whoever: no call may come to it any more
                if runner.next is not None:
                    self._tasks.start_soon(self._contain, runner.next)
                else:
                    self._idle.remove(runner)
                raise
            call, runner.next = runner.next, None

    async def _served(self, call: Runnable) -> bool:
        """Runs `call`; whether nothing of it is left in the task, whose next call would get it: a scope that was never
        exited, a cancellation that is still to come."""
        clean = False
        try:
            with anyio.CancelScope() as scope:
                call.scope = scope
                clean = await _InContext(call.run(), call.context)
            return clean and not scope.cancel_called
        except RuntimeError:  # of the scope: others inside it are still open
            return False
        except (BaseExceptionGroup, self._cancelled) as error:
            if isinstance(error, BaseExceptionGroup) and error.subgroup(_TO_ALL):
                raise
            return False
        finally:
            call.scope = None
            self._over()

    def _over(self) -> None:
        self.running -= 1
        if self._at_rest is not None:
            self._at_rest.set()


class _Runner:
    __slots__ = ("next", "waker")

    def __init__(self, waker: Waker) -> None:
        self.next: Runnable | None = None
        self.waker: Waker = waker


class _InContext:
    """A coroutine whose every step runs in a context that is not its task's."""

    __slots__ = ("_context", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, bool], context: Context) -> None:
        self._coroutine = coroutine
        self._context = context

    def __await__(self) -> Generator[Any, Any, bool]:
        run, coroutine = self._context.run, self._coroutine
        step: Any = coroutine.send
        value: Any = None
        while True:
            try:
                waits_for = run(step, value)
            except StopIteration as end:
                return bool(end.value)
            try:
                value = yield waits_for
                step = coroutine.send
            except GeneratorExit:  # nobody runs the task on; one that the call raises itself is a fault of it
                run(coroutine.close)
                raise
            except BaseException as error:
                value, step = error, coroutine.throw
