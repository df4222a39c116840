"""What is opened once for equal settings: filters, back ends with their pools. It outlives a reload that does not
concern it, and is closed when the last generation that leased it has drained."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
from anyio.abc import TaskGroup

from daemun.errors import is_fault, ungrouped
from daemun.extend.culprit import Blame, ContractError
from daemun.transport.standing import Standing

__all__ = ["Resource", "Shared"]

log = logging.getLogger("daemun.routing")

_CUT_OFF_SECONDS = 1.0
"""How long it is waited for what was cut off."""


class Resource:
    """One thing that is open, and how many hold it."""

    __slots__ = ("broken", "error", "key", "leases", "opened", "over", "scope", "value")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.leases = 0
        self.opened = anyio.Event()
        self.over = anyio.Event()
        self.scope = anyio.CancelScope()
        self.value: Any = None
        self.error: Exception | None = None
        self.broken = False


class Shared:
    """Context managers by key, each entered and exited in a task of its own."""

    def __init__(self, tasks: TaskGroup, blame: Blame | None = None) -> None:
        self._tasks = tasks
        self._blame = blame or Blame()
        self._resources: dict[Hashable, Resource] = {}
        self._open: set[Resource] = set()
        self._change = anyio.Event()
        self.broken = 0
        """How many have ended by themselves and are still held."""
        self.late: list[str] = []
        """What `close_within` has cut off, in words."""

    async def lease(self, key: Hashable, make: Callable[[], AbstractAsyncContextManager[Any]]) -> Resource:
        """The resource whose `value` the context manager yields; entered only if no one holds `key` yet.

        Raises what its entry raised. Each lease ends with one `release`.
        """
        resource = self._resources.get(key)
        if resource is None or resource.broken:
            resource = self._resources[key] = Resource(key)
            self._tasks.start_soon(self._own, resource, make)
        resource.leases += 1
        try:
            if not resource.opened.is_set():
                await resource.opened.wait()
            if resource.error is not None:
                raise resource.error
        except BaseException:
            self.release(resource)
            raise
        return resource

    def find(self, key: Hashable) -> Resource | None:
        """The resource that is open under `key`, not leased; None if there is none."""
        resource = self._resources.get(key)
        return resource if resource is not None and resource.opened.is_set() and not resource.broken else None

    def release(self, resource: Resource, within_seconds: float = math.inf) -> None:
        """Ends one lease; the last one closes the resource, or gives up opening it. What does not close within
        `within_seconds` is cut off."""
        resource.leases -= 1
        if resource.leases == 0:
            self.broken -= resource.broken
            if self._resources.get(resource.key) is resource:
                del self._resources[resource.key]
            resource.over.set()
            if within_seconds != math.inf:
                resource.scope.deadline = anyio.current_time() + within_seconds
            if not resource.opened.is_set():
                resource.scope.cancel()

    @property
    def open(self) -> list[str]:
        """What is open, or closes, in words."""
        return sorted(_words(resource.key) for resource in self._open)

    def cut_off(self) -> None:
        """Cancels what is open, whether or not it closes already."""
        for resource in self._open:
            resource.scope.cancel()

    async def close_within(self, seconds: float) -> None:
        """Waits until nothing is open any more; what is after `seconds` is named, and cut off."""
        with anyio.move_on_after(seconds) as closing:
            await self.closed()
        if closing.cancelled_caught:
            self.late = self.open
            words, culprits = ", ".join(self.late), self._blame.standing_in(Shared._own.__code__, Standing().stacks())
            log.error("%s did not close within %g s and is cut off: %s", words, seconds, culprits)
            self.cut_off()
            with anyio.move_on_after(_CUT_OFF_SECONDS):
                await self.closed()

    async def closed(self) -> None:
        """Waits until nothing is open any more."""
        while self._open:
            self._change = anyio.Event()
            await self._change.wait()

    async def _own(self, resource: Resource, make: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._open.add(resource)
        try:
            with ungrouped(), resource.scope:
                async with make() as resource.value:
                    resource.opened.set()
                    await resource.over.wait()
                if not resource.over.is_set():
                    raise ContractError("it ended by itself", resource.value)
            if resource.scope.cancelled_caught and anyio.current_time() >= resource.scope.deadline:
                log.error("%s did not close in time and was cut off", _words(resource.key))
        except BaseException as error:
            if not is_fault(error):
                raise
            resource.broken = True
            self.broken += resource.leases > 0
            if resource.opened.is_set():
                words = "broke" if resource.leases else "did not close well"
                log.exception("%s %s, the fault of %s", _words(resource.key), words, self._blame.of(error))
            else:
                resource.error = error if isinstance(error, Exception) else RuntimeError(f"it ended by {error!r}")
                resource.opened.set()
        finally:
            self._open.discard(resource)
            self._change.set()


def _words(key: Hashable) -> str:
    return " ".join(str(part) for part in key[:2]) if isinstance(key, tuple) else str(key)
