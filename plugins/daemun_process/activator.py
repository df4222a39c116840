"""The activator: how many processes there are, and which of them are in use."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import anyio
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from daemun import ActivatorContext, EndpointSpec, ExchangeError, Reason
from daemun_process.backoff import Backoff
from daemun_process.guard import GUARD
from daemun_process.instance import Instance, State
from daemun_process.settings import ProcessSettings

__all__ = ["ProcessActivator", "build_process"]

_HEALTHY_SECONDS = 60.0
_SCALE_POLL_SECONDS = 0.05
_SOON_SECONDS = 0.001

log = logging.getLogger("daemun.process")


@asynccontextmanager
async def build_process(settings: ProcessSettings, context: ActivatorContext) -> AsyncIterator[ProcessActivator]:
    """An activator that owns its processes: when it exits they are stopped gracefully, all at once."""
    failed: Exception | None = None
    await run_sync(GUARD.enter)
    try:
        async with anyio.create_task_group() as tasks:
            activator = ProcessActivator(settings, context, tasks)
            tasks.start_soon(activator.tend)
            try:
                yield activator
            except Exception as error:
                failed = error  # raised below: a task group would wrap what is not its own
            finally:
                activator.close()
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await run_sync(GUARD.leave)
    if failed is not None:
        raise failed


class ProcessActivator:
    """Starts processes when requests wait for one, and stops those that nobody needs."""

    def __init__(self, settings: ProcessSettings, context: ActivatorContext, tasks: TaskGroup) -> None:
        self._settings = settings
        self._context = context
        self._endpoints = context.endpoints
        self._tasks = tasks
        self._instances: list[Instance] = []
        self._published: list[EndpointSpec] = []
        self._backoff = Backoff()
        self._changed = anyio.Event()
        self._closed = False
        self._starts = 0
        self._started: Instance | None = None
        """The last that was launched."""
        self._ended: Instance | None = None
        """The last that ended, if that was not our wish."""

    async def activate(self) -> None:
        """Returns once a process answers and is published; starts one if none is being started.

        Raises `ExchangeError` that says how often it was tried, how the last process ended and what the last
        probe said: after `start_timeout_seconds`, or as soon as `start_attempts` starts in a row have failed,
        or the back-off lasts longer than the time that is left.
        """
        began, starts = monotonic(), self._starts
        deadline = began + self._settings.start_timeout_seconds
        with anyio.move_on_after(self._settings.start_timeout_seconds):
            while not self._endpoints.ready and monotonic() < deadline:
                await self._advance(deadline, starts)
        if self._endpoints.ready:
            return
        if not self._settings.min_instances:
            for instance in self._in(State.STARTING):
                instance.abandon()
        words = f"not ready after {monotonic() - began:.1f} s and {_starts(self._starts - starts)}"
        if self._ended is not None and not self._ended.too_slow:
            words += f"; the last process that ended {self._ended.failure}"
        if self._started is not None and self._started.last_probe:
            words += f"; last probe: {self._started.last_probe}"
        raise ExchangeError(Reason.ACTIVATION_FAILED, words)

    async def _advance(self, deadline: float, starts: int) -> None:
        """One step towards an endpoint: starts a process, or waits for what stands in the way."""
        if self._closed:
            raise ExchangeError(Reason.ACTIVATION_FAILED, "its processes are being stopped for good")
        if self._in(State.STARTING) or self._has_lessons():
            await self._changed.wait()
            return
        pause = self._backoff.remaining_seconds
        if self._ended is not None:
            starts, failures, words = self._starts - starts, self._backoff.failures, ""
            if starts and (self._ended.hopeless or failures >= self._settings.start_attempts):
                words = f"the process {self._ended.failure} ({_starts(starts)})"
            elif pause and monotonic() + pause > deadline:
                words = f"the process {self._ended.failure}; it failed {failures} times in a row"
            if words:
                retry_after = max(1, math.ceil(pause))
                raise ExchangeError(Reason.ACTIVATION_FAILED, words, retry_after_seconds=retry_after)
        if pause:
            await anyio.sleep(pause)
        elif len(self._instances) < self._settings.max_instances:
            self._launch()
        else:
            await self._changed.wait()

    def close(self) -> None:
        """Starts nothing more."""
        self._closed = True

    async def tend(self) -> None:
        """Keeps `min_instances` running, adds processes when all are full, retires idle ones."""
        while True:
            self._shrink()
            self._grow()
            changed = self._changed
            with anyio.move_on_after(self._look_again_seconds()):
                await changed.wait()

    def _in(self, state: State) -> list[Instance]:
        return [instance for instance in self._instances if instance.state is state]

    def _has_lessons(self) -> bool:
        """Whether one that failed is still being cleared away: how long to wait is known only then."""
        return any(instance.failure for instance in self._instances)

    def _launch(self) -> None:
        self._started = instance = Instance(self._settings, self._context, self._note)
        self._instances.append(instance)
        self._starts += 1
        self._tasks.start_soon(self._own, instance)

    async def _own(self, instance: Instance) -> None:
        try:
            await instance.run()
        except Exception:
            log.exception("back end %s: a process was lost", self._context.backend)
            instance.failure = "was lost by the gateway"
        finally:
            self._instances.remove(instance)
            self._learn(instance)
            self._note()

    def _learn(self, instance: Instance) -> None:
        self._ended = instance if instance.failure else None
        if instance.failure and monotonic() - instance.ready_at < _HEALTHY_SECONDS:
            self._backoff.failed()
        elif instance.ready_at < math.inf:
            self._backoff.recovered()

    def _note(self) -> None:
        """An instance is in another state: publishes what is ready, and tells all who wait for a change."""
        ready = self._in(State.READY)
        specs = [instance.spec for instance in ready if instance.spec is not None]
        if specs != self._published:
            self._published = specs
            self._endpoints.update(specs)
            for instance, endpoint in zip(ready, self._endpoints.all, strict=True):
                instance.endpoint = endpoint
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _grow(self) -> None:
        settings, ready = self._settings, self._in(State.READY)
        wanted = settings.min_instances
        waiting = self._endpoints.waiting
        if waiting and ready and settings.capacity and not any(e.available for e in self._endpoints.ready):
            wanted = max(wanted, len(ready) + math.ceil(waiting / settings.capacity))
        wanted = min(wanted, settings.max_instances)
        if self._has_lessons() or self._backoff.remaining_seconds:
            return
        room = settings.max_instances - len(self._instances)
        for _ in range(min(room, wanted - len(ready) - len(self._in(State.STARTING)))):
            self._launch()

    def _shrink(self) -> None:
        """Retires what was idle for long enough, the youngest first."""
        endpoints, timeout = self._endpoints, self._settings.idle_timeout_seconds
        ready, now = self._in(State.READY), monotonic()
        for instance in ready:
            if instance.endpoint is not None and instance.endpoint.active:
                instance.busy_at = now
        if not timeout or endpoints.waiting:
            return
        left = len(ready)
        for instance in reversed(ready):
            if left <= self._settings.min_instances or (left == 1 and endpoints.in_flight):
                return
            idle_since = instance.busy_at if left > 1 else max(instance.busy_at, endpoints.idle_since)
            if now - idle_since >= timeout:
                instance.retire()
                left -= 1

    def _look_again_seconds(self) -> float:
        """Until when nothing can become due that is not told by a change."""
        settings, endpoints, ready = self._settings, self._endpoints, self._in(State.READY)
        seconds = math.inf
        if ready and settings.max_instances > 1:
            seconds = _SCALE_POLL_SECONDS
        elif len(ready) > settings.min_instances and settings.idle_timeout_seconds:
            seconds = settings.idle_timeout_seconds
            if not endpoints.in_flight and not endpoints.waiting:
                seconds -= monotonic() - max(ready[0].busy_at, endpoints.idle_since)
        if len(self._instances) < settings.min_instances and not self._has_lessons():
            seconds = min(seconds, self._backoff.remaining_seconds)
        return max(seconds, _SOON_SECONDS)


def _starts(count: int) -> str:
    return f"{count} start" if count == 1 else f"{count} starts"
