"""Tasks that run one exchange after the other: waking one costs a third of starting one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from daemun import Waker, new_waker

if TYPE_CHECKING:
    from daemun_http2.served import Served

__all__ = ["Runners"]

_MAX_IDLE = 128


class Runners:
    """The tasks of one connection, in its task group."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._idle: list[_Runner] = []

    def run(self, served: Served) -> None:
        """Runs the exchange of `served`."""
        if self._idle:
            runner = self._idle.pop()
            runner.next = served
            runner.waker.wake()
        else:
            self._tasks.start_soon(self._run, served)

    def rest(self, keep: int = 0) -> None:
        """Ends the tasks that have nothing to do, but for so many."""
        for runner in self._idle[keep:]:
            runner.waker.wake()
        del self._idle[keep:]

    async def _run(self, served: Served | None) -> None:
        runner = _Runner()
        with anyio.CancelScope() as scope, anyio.CancelScope() as guard:
            while served is not None:
                served.scope, served.guard = scope, guard
                await served.run()
                served = None
                if scope.cancel_called or len(self._idle) >= _MAX_IDLE:
                    return
                self._idle.append(runner)
                await runner.waker.wait()
                served, runner.next = runner.next, None
        if served is not None:
            served.say_last()


class _Runner:
    __slots__ = ("next", "waker")

    def __init__(self) -> None:
        self.next: Served | None = None
        self.waker: Waker = new_waker()
